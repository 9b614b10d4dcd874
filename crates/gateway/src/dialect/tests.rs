use super::*;

const SONG_ROOMS: &str = include_str!("../../../../fixtures/socketio/song-rooms.json");
const PREVIEW_QUEUE: &str = include_str!("../../../../fixtures/socketio/preview-queue.json");

fn command(dialect: &Dialect, name: &str, argument: &str) -> Result<String, Missing> {
    let payload: Box<RawValue> = serde_json::from_str(argument).unwrap();
    let context = Context {
        payload: Some(&payload),
        user: "ann",
        tag: "t.1",
        time_ms: 5,
        ..Context::at(std::time::SystemTime::UNIX_EPOCH)
    };
    match &dialect.on(name).unwrap().action {
        Action::Command(template) | Action::Publish(template) | Action::Auth(template) => {
            template.render(&context)
        }
        action => panic!("{action:?}"),
    }
}

#[test]
fn the_dialects_of_the_fixtures_are_valid() {
    let songs = Dialect::parse(SONG_ROOMS).unwrap();
    assert!(songs.has_auth());
    assert_eq!(
        command(&songs, "join_room", r#"{"room_id":"s1"}"#).unwrap(),
        r#"{"op":"subscribe","topics":["room:s1"],"presence":{"status":"online"}}"#
    );
    assert_eq!(
        command(&songs, "broadcast_message", r#"{"room_id":"s1","message":"hi","user_id":"mallory"}"#)
            .unwrap(),
        r#"{"op":"publish","topic":"room:s1","type":"room_message","data":{"message":"hi","timestamp":5,"user_id":"ann"},"event_id":"t.1"}"#
    );
    assert!(command(&songs, "join_room", "{}").is_err());
    let queue = Dialect::parse(PREVIEW_QUEUE).unwrap();
    assert!(!queue.has_auth());
}

#[test]
fn a_wrong_file_names_what_is_wrong() {
    for (text, why) in [
        ("", "EOF"),
        ("[]", "expected an object"),
        (r#"{"x":1}"#, "unknown field `x`"),
        (r#"{"on":{"a":{"op":"x"}}}"#, "unknown variant `x`"),
        (r#"{"on":{"a":{"op":"publish","topic":"t","type":"x"}}}"#, "on.a: data is missing"),
        (r#"{"on":{"a":{"op":"subscribe","topics":"t"}}}"#, "on.a: topics: a list is expected"),
        (r#"{"connect":[{"emit":"connect"}]}"#, "keep this name"),
        (r#"{"connect":[{"emit":"a","data":"{b}"}]}"#, "{b} is no place"),
    ] {
        let error = Dialect::parse(text).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn answers_are_packets_of_the_application() {
    let songs = Dialect::parse(SONG_ROOMS).unwrap();
    let payload: Box<RawValue> = serde_json::from_str(r#"{"room_id":"s1"}"#).unwrap();
    let context =
        Context { payload: Some(&payload), count: Some(2), ..Context::at(std::time::SystemTime::UNIX_EPOCH) };
    let on = songs.on("join_room").unwrap();
    assert_eq!(
        songs.answer(on, true, &context),
        [r#"42["room_joined",{"participant_count":2,"room_id":"s1"}]"#]
    );
    let context = Context { message: "no", ..Context::at(std::time::SystemTime::UNIX_EPOCH) };
    assert_eq!(songs.answer(on, false, &context), [r#"42["error",{"message":"no"}]"#]);
}
