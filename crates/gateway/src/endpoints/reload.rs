//! `POST /v1/reload`: the configuration is read again.

use http::Response;
use serde::Serialize;

use super::call::Call;
use crate::audit::{self, Deed};
use crate::http::answer::{Body, json};
use crate::problem::Problem;
use crate::reload::reload;

/// The most problems that an answer names. The log has all of them.
const PROBLEMS_MAX: usize = 20;

/// `POST /v1/reload`: reads the configuration again and puts it in force, or says what is wrong with it.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Answer {
        waiting: Vec<&'static str>,
    }
    call.operator().await?;
    match reload(call.app).await.outcome {
        Ok(waiting) => {
            audit::record(Deed::Reloaded, "", call.address(), "the configuration is in force");
            Ok(json(&Answer { waiting }))
        }
        Err(errors) => {
            audit::record(Deed::Reloaded, "", call.address(), "the configuration was refused");
            let lines: Vec<String> = errors.iter().take(PROBLEMS_MAX).map(ToString::to_string).collect();
            let more = errors.len().saturating_sub(PROBLEMS_MAX);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            Err(Problem::bad_request(lines.join("; ") + &more))
        }
    }
}
