//! One ordered log of events, bounded replay rings per topic, and cursors that read them.

mod position;
mod topic_name;

pub use position::{Cursor, CursorError, Epoch, Seq};
pub use topic_name::{Topic, TopicError};
