//! `POST /v1/reload`: the configuration is read again.

use http::Response;
use serde::Serialize;

use super::call::Call;
use crate::audit::{self, Deed};
use crate::http::answer::{Body, json};
use crate::problem::Problem;
use crate::reload::{Reloaded, reload};

/// `POST /v1/reload`: reads the configuration again and puts it in force, or says what is wrong with it.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Answer {
        waiting: Vec<&'static str>,
    }
    call.operator().await?;
    match reload(call.app).await {
        Ok(Reloaded { waiting, .. }) => {
            audit::record(Deed::Reloaded, "", call.address(), "the configuration was read again");
            Ok(json(&Answer { waiting }))
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(Problem::bad_request(lines.join("; ")))
        }
    }
}
