//! Access to a topic without a session.

use std::sync::Arc;

use events::Topic;

use super::call::Call;
use crate::audit::{self, Deed};
use crate::auth::Grant;
use crate::problem::{Code, Problem};

/// The topic that a request names.
pub(super) fn topic_of(call: &Call<'_>) -> Result<Topic, Problem> {
    let topic = call.parameter("topic").ok_or_else(|| Problem::bad_request("topic: is needed"))?;
    topic.parse().map_err(|error| Problem::bad_request(format!("topic: {error}")))
}

/// A publish key may read every topic, a token the topics that it may subscribe to. Returns the token's
/// grant.
pub(super) async fn may_read(call: &Call<'_>, topic: &Topic) -> Result<Option<Arc<Grant>>, Problem> {
    if call.bearer().is_some_and(|bearer| call.app.auth.publish_key(bearer.token())) {
        return Ok(None);
    }
    call.check_origin(&call.query)?;
    let grant = call.grant(&call.query).await?;
    if grant.may_subscribe(topic) {
        return Ok(Some(grant));
    }
    let detail = format!("reading {topic} is not allowed");
    audit::record(Deed::TopicRefused, &grant.user, call.address(), &detail);
    Err(Problem::new(Code::Forbidden, detail))
}
