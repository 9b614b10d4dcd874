//! The program itself: options from the environment, exit codes, and what stands on which stream.

use std::process::{Command, Output};

fn gateway(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program runs")
}

/// The one line on standard error of a call that was refused.
fn refusal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = gateway(arguments, environment);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = gateway(arguments, environment);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_wrong_call_is_one_line_and_exit_code_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["serve"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["serve", "--listen", "127.0.0.1:0", "--wings"],
        &["dev", "--listen", "0.0.0.0:0"],
        &["dev", "--ring-events", "0"],
        &["token"],
    ] {
        assert!(refusal(arguments, &[]).starts_with("gateway: "), "{arguments:?}");
    }
}

#[test]
fn options_come_from_the_environment_too() {
    let with_key = [("GATEWAY_LISTEN", "127.0.0.1:0"), ("GATEWAY_PUBLISH_KEY", "k")];
    let with = |name: &'static str, value: &'static str| {
        let mut all = with_key.to_vec();
        all.push((name, value));
        all
    };
    assert!(refusal(&["serve"], &[("GATEWAY_LISTEN", "127.0.0.1:0")]).contains("no key"));
    assert!(refusal(&["serve"], &with("GATEWAY_RING_EVENTS", "few")).contains("few"));
    assert!(refusal(&["serve"], &with("GATEWAY_STORE", "disk")).contains("--data-dir"));
    assert!(refusal(&["serve"], &with("GATEWAY_STORE", "redis")).contains("--redis-url"));
    assert!(refusal(&["serve"], &with("GATEWAY_ALLOW_ORIGIN", "*")).contains("`*`"));
    assert!(refusal(&["serve"], &with("RUST_LOG", "gateway=loud")).contains("--log"));
    assert!(refusal(&["dev"], &[("GATEWAY_LISTEN", "0.0.0.0:1")]).contains("loopback"));
    let line = refusal(&["serve"], &with("GATEWAY_DATABASE_URL", "postgres://u:hunter2@h"));
    assert!(line.contains("--database-url is for sources") && !line.contains("hunter2"), "{line}");
    let mut outbox = with("GATEWAY_SOURCE_OUTBOX", "throughline_outbox");
    assert!(refusal(&["serve"], &outbox).contains("need --database-url"));
    outbox.push(("GATEWAY_DATABASE_URL", "http://hunter2"));
    let line = refusal(&["serve"], &outbox);
    assert!(line.contains("not a URL of PostgreSQL") && !line.contains("hunter2"), "{line}");
    let mut redis = with("GATEWAY_STORE", "redis");
    redis.push(("REDIS_URL", "http://hunter2"));
    let line = refusal(&["serve"], &redis);
    assert!(line.contains("not a URL of Redis") && !line.contains("hunter2"), "{line}");
}

#[test]
fn a_variable_wins_over_the_file_unless_it_is_empty() {
    let path = std::env::temp_dir().join(format!("gateway-command-line-{}.toml", std::process::id()));
    std::fs::write(&path, "listen = \"127.0.0.1:0\"\npublish-key = [\"k\"]\nring-events = 5\n")
        .expect("written");
    let path = path.to_str().expect("a plain path");
    let ring = |environment: &[(&str, &str)]| {
        let text = printed(&["config", "--config", path], environment);
        text.lines().find(|line| line.starts_with("ring-events")).expect("a line for it").to_owned()
    };
    assert_eq!(ring(&[]), "ring-events = 5 # file");
    assert_eq!(ring(&[("GATEWAY_RING_EVENTS", "")]), "ring-events = 5 # file");
    assert_eq!(ring(&[("GATEWAY_RING_EVENTS", "7")]), "ring-events = 7 # environment");
    let text = printed(&["check"], &[("GATEWAY_CONFIG", path)]);
    assert_eq!(text, "no problem was found\n");
    std::fs::write(path, "listen = \"here\"\nstore = \"disk\"\nring-events = 5\n").expect("written");
    let output = gateway(&["check", "--config", path], &[]);
    let lines = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), lines.lines().count()), (Some(2), 3), "{lines}");
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn an_option_wins_over_its_variable() {
    let line = refusal(&["dev", "--listen", "192.0.2.1:1"], &[("GATEWAY_LISTEN", "127.0.0.1:0")]);
    assert!(line.contains("192.0.2.1"), "{line}");
}

#[test]
fn help_never_prints_a_value_of_the_environment() {
    let secrets = [
        ("GATEWAY_JWT_SECRET", "hunter2"),
        ("GATEWAY_PUBLISH_KEY", "hunter2"),
        ("GATEWAY_REDIS_URL", "redis://:hunter2@h"),
        ("GATEWAY_DATABASE_URL", "postgres://u:hunter2@h"),
        ("GATEWAY_JWKS", "https://h/?k=hunter2"),
        ("GATEWAY_DEPLOYMENT", "hunter2"),
    ];
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["dev", "--help"],
        &["token", "--help"],
        &["outbox-sql", "--help"],
        &["serve", "-h"],
    ] {
        let help = printed(arguments, &secrets);
        assert!(help.contains("Usage:") && !help.contains("hunter2"), "{help}");
    }
    assert!(printed(&["serve", "--help"], &secrets).contains("[env: GATEWAY_JWT_SECRET]"));
    assert_eq!(printed(&["--version"], &[]), format!("gateway {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn token_prints_a_token_and_nothing_else() {
    let text = printed(
        &["token", "--user", "alice", "--subscribe", "room:*", "--subscribe", "job:1", "--ttl-seconds", "0"],
        &[("GATEWAY_JWT_SECRET", "dev-secret")],
    );
    let token = text.strip_suffix('\n').expect("one line");
    assert_eq!(token.split('.').count(), 3);
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
}
