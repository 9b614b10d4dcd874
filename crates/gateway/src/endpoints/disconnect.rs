//! `POST /v1/disconnect`: an operator ends sessions.

use http::Response;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::call::Call;
use crate::audit::{self, Deed};
use crate::cluster::ClusterQuestion;
use crate::http::answer::{Body, json};
use crate::object;
use crate::problem::Problem;

/// `POST /v1/disconnect`: ends the sessions of a user, or one session, whichever gateway of the log has them.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        user: Option<String>,
        session: Option<String>,
    }
    #[derive(Serialize)]
    struct Ended {
        sessions: usize,
    }
    call.operator().await?;
    let body = call.collect(body).await?;
    let wanted: Wanted = object::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("not a valid request: {error}")))?;
    let (ended, asked) = match (wanted.user, wanted.session) {
        (Some(user), None) => (user.clone(), ClusterQuestion::EndUser(user)),
        (None, Some(session)) => (String::new(), ClusterQuestion::EndSession(session)),
        _ => return Err(Problem::bad_request("either user or session is needed")),
    };
    let sessions = call.app.cluster.end(&asked).await;
    audit::record(Deed::Disconnected, &ended, call.address(), &format!("{sessions} sessions"));
    Ok(json(&Ended { sessions }))
}
