use events::Topics;

use super::*;
use crate::metrics::labels::SourceKind;
use crate::publish::Author;

/// Applies a rule to a payload on the channel `job:7`.
fn apply(rule: &str, payload: &[u8]) -> Vec<Result<Draft, RejectReason>> {
    let rule: SourceRule = rule.parse().unwrap();
    let message = SourceMessage {
        rule: Arc::new(rule),
        channel: "job:7".into(),
        first: Some("7".into()),
        payload: Bytes::copy_from_slice(payload),
        id: None,
    };
    message.drafts(&mut |body| body.check(&Author::Source(SourceKind::Redis), 1000))
}

/// The drafts as text: topics, type, key, id and data, or the reason for the rejection.
fn said(rule: &str, payload: &[u8]) -> String {
    let word = |made: Result<Draft, RejectReason>| match made {
        Ok(draft) => {
            let names =
                |topics: &Topics| topics.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
            let key = draft.key.as_ref().map_or("-", |key| key.as_str());
            let id = draft.id.as_ref().map_or("-", |id| id.as_str());
            let data = String::from_utf8(draft.data.as_bytes().to_vec()).unwrap();
            format!("{} {} {key} {id} {data}", names(&draft.topics), draft.kind.as_str())
        }
        Err(reason) => reason.as_str().to_owned(),
    };
    apply(rule, payload).into_iter().map(word).collect::<Vec<_>>().join(" | ")
}

const JOB: &str = "job:* => topics=user:{/userId},job:{/jobId} type=sync:progress key={/jobId}";
const ONE: &str = "job:* => topics=t type=x";

const JOB_PAYLOAD: &str = r#"{"jobId":"9","userId":"al","progress":45.50,"message":"\u00e9é"}"#;
const JOB_SAID: &str =
    r#"user:al+job:9 sync:progress 9 - {"jobId":"9","userId":"al","progress":45.50,"message":"\u00e9é"}"#;
/// Nested in 65 levels.
const DEEP: &str = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";
/// A number with more digits than `data` may have.
const LARGE: [u8; 1001] = [b'1'; 1001];
/// An array of 101 numbers.
const MANY: [u8; 203] = {
    let mut many = [b','; 203];
    let mut at = 1;
    while at < 203 {
        many[at] = b'1';
        at += 2;
    }
    many[0] = b'[';
    many[202] = b']';
    many
};

/// Rules, payloads and the expected results. Data passes through byte for byte, except for white
/// space outside strings.
const CASES: [(&str, &[u8], &str); 40] = [
    (JOB, JOB_PAYLOAD.as_bytes(), JOB_SAID),
    (JOB, br#"{"jobId":9,"userId":"al"}"#, r#"user:al+job:9 sync:progress 9 - {"jobId":9,"userId":"al"}"#),
    (JOB, br#"{"jobId":true}"#, r#"job:true sync:progress true - {"jobId":true}"#),
    (JOB, br#"{"userId":"al"}"#, r#"user:al sync:progress - - {"userId":"al"}"#),
    (JOB, br#"{"userId":null,"jobId":[1]}"#, "no_topic"),
    (JOB, br#"{"userId":"","jobId":1.0}"#, "no_topic"),
    (JOB, br#"{"userId":"a b"}"#, "bad_draft"),
    (JOB, br#"{"userId":"a,b"}"#, "bad_draft"),
    (JOB, br#"{"userId":"a","userId":"b"}"#, r#"user:b sync:progress - - {"userId":"a","userId":"b"}"#),
    (JOB, br#"{"user\u0049d":"a"}"#, r#"user:a sync:progress - - {"user\u0049d":"a"}"#),
    (JOB, br#"{"\ud83d":1,"userId":"a"}"#, r#"user:a sync:progress - - {"\ud83d":1,"userId":"a"}"#),
    (JOB, br#"{"userId":"\ud83d"}"#, "no_topic"),
    (JOB, br#"{"jobId":1180591620717411303424}"#,
        r#"job:1180591620717411303424 sync:progress 1180591620717411303424 - {"jobId":1180591620717411303424}"#),
    (JOB, br#"{"jobId":1e400}"#, "no_topic"),
    (JOB, b"[1,2]", "no_topic"),
    (ONE, br#"{"x":"\ud83d"}"#, r#"t x - - {"x":"\ud83d"}"#),
    (ONE, b"1e400", "t x - - 1e400"),
    (ONE, b"1180591620717411303424", "t x - - 1180591620717411303424"),
    (ONE, b" { \"a b\" : 1.0 } ", r#"t x - - {"a b":1.0}"#),
    (ONE, b"null", "t x - - null"),
    (ONE, b"NaN", "not_json"),
    (ONE, br#"{"x":NaN}"#, "not_json"),
    (ONE, br#"{"x":-Infinity}"#, "not_json"),
    (ONE, b"[object Object]", "not_json"),
    (ONE, b"", "not_json"),
    (ONE, b"{\"x\":1} 2", "not_json"),
    (ONE, b"\"\xed\xa0\xbd\"", "not_utf8"),
    (ONE, DEEP.as_bytes(), "bad_draft"),
    (ONE, &LARGE, "too_large"),
    ("job:* => topics=t type=x text", b"[object Object]", r#"t x - - "[object Object]""#),
    ("job:* => topics={channel},all type=n:{1}", b"1", "job:7+all n:7 - - 1"),
    ("job:* => topics=t type={/a/1/b~1c}", br#"{"a":[0,{"b/c":"y"}]}"#, r#"t y - - {"a":[0,{"b/c":"y"}]}"#),
    ("job:* => topics=t type={/a/01}", br#"{"a":[0,1]}"#, "bad_draft"),
    ("job:* => topics=t type={/type}", br#"{"x":1}"#, "bad_draft"),
    ("job:* => topics=t type=presence.join", b"1", "bad_draft"),
    ("job:* => topics=t type=x data={/d} id={/i}", br#"{"d": [1 ,2],"i":"e1"}"#, "t x - e1 [1,2]"),
    ("job:* => topics=t type=x data={/d}", br#"{"e":1}"#, "bad_draft"),
    ("job:* => draft", br#"[{"topic":"a","type":"t","data":1},{"topic":"b","type":"t","data":2,"expect":0}]"#,
        "a t - - 1 | bad_draft"),
    ("job:* => draft", &MANY, "too_large"),
    ("job:* => cloudevents",
        br#"{"specversion":"1.0","id":"i","source":"/s","type":"com.x","subject":"a:b","ext":1,"data":{"y": 1}}"#,
        r#"a:b com.x - i {"y":1}"#),
];

#[test]
fn what_goes_through_a_rule_does_so_byte_for_byte() {
    for (rule, payload, expected) in CASES {
        assert_eq!(said(rule, payload), expected, "{rule} {}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn a_rule_says_how_long_an_event_matters() {
    let made = apply("a => topics=t type=x ttl=60 ephemeral", b"1").pop().unwrap().unwrap();
    assert_eq!((made.ttl_ms, made.ephemeral, made.once), (Some(60_000), true, None));
}

#[test]
fn ids_of_a_source_are_in_a_scope_of_their_own() {
    let once = |rule: &str, payload: &[u8]| apply(rule, payload).pop().unwrap().unwrap().once.unwrap();
    assert_eq!(&*once("a => topics=t type=x id={/i}", br#"{"i":"7"}"#), "s\nredis\n7");
    let cloud = br#"{"specversion":"1.0","id":"7","source":"/s","type":"t","topic":"a"}"#;
    assert_eq!(&*once("a => cloudevents", cloud), "s\nredis\n/s\n7", "id and source are its identity");
}

#[test]
fn a_cloud_event_that_is_none_is_rejected() {
    for (event, expected) in [
        (r#"{"specversion":"0.3","id":"7","source":"/s","type":"t","topic":"a"}"#, "bad_draft"),
        (r#"{"specversion":"1.0","source":"/s","type":"t","topic":"a"}"#, "bad_draft"),
        (r#"{"specversion":"1.0","id":"7","source":"/s","type":"t"}"#, "bad_draft"),
        (r#"["1.0","7","/s","t",null,"a"]"#, "bad_draft"),
        (r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","topic":"a"}"#, "a t - 7 null"),
        (
            r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","topic":"a","data_base64":"AQI="}"#,
            r#"a t - 7 "AQI=""#,
        ),
    ] {
        assert_eq!(said("a => cloudevents", event.as_bytes()), expected, "{event}");
    }
}
