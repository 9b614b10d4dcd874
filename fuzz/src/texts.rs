//! Texts that are checked on the way in: cursors, topics, types, JSON.

use std::cell::RefCell;
use std::sync::Arc;

use events::{
    Cursor, Data, Draft, DraftError, Epoch, Fact, Kind, Limit, Log, Options, Reader, Seq, Sequenced, Start,
    Topic, Topics, TypeFilter,
};
use serde_json::Value;
use serde_json::value::RawValue;

/// What parses as a cursor prints as the same text, and no longer one than the protocol allows.
///
/// # Panics
/// When it does not.
pub fn cursor(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
        assert!(text.len() <= Cursor::TEXT_BYTES_MAX);
        assert_eq!(serde_json::to_string(&cursor).ok(), Some(format!("\"{text}\"")));
    }
}

thread_local! {
    /// One log for many inputs: making one costs more than the rest.
    static LOG: RefCell<Option<Arc<Log>>> = const { RefCell::new(None) };
}

/// Three lines: types, a type, a topic. An event of that type and topic passes the filter exactly if one of the types
/// is its own, or a start of it that ends in `*`.
///
/// # Panics
/// When it does not.
pub fn filter(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut lines = text.splitn(3, '\n');
    let (types, kind, name) = (lines.next(), lines.next(), lines.next());
    let topic = name.and_then(|name| {
        let topic = name.parse::<Topic>().ok()?;
        assert_eq!(topic.as_str(), name);
        let json = serde_json::to_string(&topic).unwrap_or_default();
        assert_eq!(
            serde_json::from_str::<Topic>(&json).ok().as_ref(),
            Some(&topic),
            "a topic needs no escapes"
        );
        Some(topic)
    });
    let filter = types.and_then(|types| TypeFilter::parse(types).ok());
    let (Some(filter), Some(Ok(kind)), Some(topic)) = (filter, kind.map(str::parse::<Kind>), topic) else {
        return;
    };
    let matches = types.unwrap_or_default().split(',').any(|wanted| match wanted.strip_suffix('*') {
        Some(start) => kind.as_str().starts_with(start),
        None => kind.as_str() == wanted,
    });
    let log = LOG.with_borrow_mut(|log| {
        // Before its budget is used up: then a topic may give way as soon as it has its event.
        log.take_if(|log| log.tail().number() >= 1000);
        Arc::clone(log.get_or_insert_with(new_log))
    });
    let mut reader = Reader::new(&log, std::slice::from_ref(&topic), Some(filter), Start::Latest);
    let draft = Draft::new(Topics::one(topic), kind, Data::null());
    log.apply(Fact::Events(vec![Sequenced { seq: Some(log.tail().next()), time_ms: 0, age_ms: 0, draft }]));
    let mut out = Vec::new();
    let span = reader.read(Limit { events: 10, bytes: 1 << 20 }, &mut out);
    assert_eq!(span.map(|span| span.cursor.seq), Ok(log.tail()), "the cursor moves over what is filtered");
    assert_eq!(out.len(), usize::from(matches), "{text:?}");
    assert!(out.iter().all(|event| serde_json::from_slice::<Value>(event.json()).is_ok()), "{text:?}");
}

fn new_log() -> Arc<Log> {
    let log = Log::new(&Options { ring_events_max: 4, log_bytes_max: 1 << 24, ..Options::default() });
    log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
    log
}

/// JSON stays the same value when it is folded onto one line, and what is too deep is refused.
///
/// # Panics
/// When it does not.
pub fn data(input: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(input) else { return };
    let data = match Data::from_raw(&raw) {
        Ok(data) => data,
        Err(error) => {
            assert_eq!(error, DraftError::Depth);
            return;
        }
    };
    let folded = data.as_bytes();
    assert!(!folded.contains(&b'\n') && !folded.contains(&b'\r'), "one line");
    assert!(folded.len() <= input.len());
    // Half a surrogate pair or 1e999 is JSON, and yet no `Value`.
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        assert_eq!(serde_json::from_slice::<Value>(folded).ok(), Some(value));
    }
    let Ok(again) = serde_json::from_slice::<Box<RawValue>>(folded) else { panic!("no JSON any more") };
    assert_eq!(Data::from_raw(&again), Ok(data), "folding twice is folding once");
}
