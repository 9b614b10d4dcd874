//! `GET /v1/history`: the retained events of one topic.

use events::Limit;
use http::Response;
use transport::{Batch, Request, ResetNotice, parse_after};

use super::call::Call;
use super::reading::{may_read, topic_of};
use crate::http::answer::{Body, json_bytes};
use crate::problem::Problem;
use crate::session::admission::BATCH_BYTES;
use crate::session::resume;

/// `GET /v1/history`: the retained events of one topic.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let topic = topic_of(call)?;
    let grant = may_read(call, &topic).await?;
    let after = parse_after(call.parameter("after").filter(|after| !after.is_empty()).unwrap_or("earliest"))?;
    let limit = Request::parse(call.parameter("limit").map(|limit| ("limit", limit)))?.limit;
    let mut reader = resume::history_reader(call.app, topic, after, grant.as_deref()).await?;
    let limit = Limit { events: limit, bytes: BATCH_BYTES };
    let mut events = Vec::new();
    let mut notice = None;
    let mut at = reader.cursor();
    let span = loop {
        match reader.read(limit, &mut events) {
            Ok(span) => break span,
            Err(reset) => {
                at = reset.at;
                notice = Some(ResetNotice::new(
                    reset.reason,
                    reset.topics,
                    call.app.pacing.refetch_after(reset.reason),
                ));
            }
        }
    };
    let mut body = Vec::new();
    let batch = Batch { more: span.more, reset: notice.as_ref(), ..Batch::new(at, span.cursor, &events) };
    batch.write_json(&mut body);
    Ok(json_bytes(body))
}
