//! Tests of configuration files.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::*;

/// A file of one test, removed when the test is over.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gateway-config-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read_with(command: &str, path: &Path, more: &[&str]) -> Result<Command, Stop> {
    let path = path.to_str().unwrap();
    read([&["gateway", command, "--config", path], more].concat())
}

fn config(name: &str, text: &str, more: &[&str]) -> Config {
    let file = Written::new(name, text);
    match read_with("serve", &file.0, more) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{text}: {other:?}"),
    }
}

/// The problems of a file, each without the file's path.
fn problems(name: &str, text: &str) -> Vec<String> {
    let file = Written::new(name, text);
    let Err(Stop::Refuse(errors)) = read_with("check", &file.0, &[]) else { panic!("{text} is taken") };
    let path = format!("{}:", file.0.display());
    errors.iter().map(|error| error.to_string().trim_start_matches(&path).to_owned()).collect()
}

const GOOD: &str = r#"
listen = "127.0.0.1:0"
publish-key = ["one", "two"]
jwt-secret = "a secret of at least thirty-two bytes"
ring-events = 1_000
log-bytes = 0x1000_0000
redact = ["job:*=/cost,staff"]
"#;

#[test]
fn a_file_configures_what_the_command_line_would() {
    let config = config("good", GOOD, &[]);
    assert_eq!(config.listen, "127.0.0.1:0".parse().unwrap());
    assert_eq!(config.auth.publish_keys, [Secret::new("one"), Secret::new("two")]);
    assert_eq!((config.limits.ring_events, config.limits.log_bytes), (1000, 0x1000_0000));
    assert_eq!(config.redact.len(), 1);
    assert_eq!(config.limits.data_bytes_max, 10 * 1024, "what the file does not name has its default");
}

#[test]
fn an_option_wins_over_the_file() {
    let config = config("wins", GOOD, &["--ring-events", "7", "--publish-key", "three"]);
    assert_eq!(config.limits.ring_events, 7);
    assert_eq!(config.auth.publish_keys, [Secret::new("three")]);
}

#[test]
fn each_problem_has_its_line_and_a_remedy() {
    let text = "listen = \"127.0.0.1:0\"\nring_events = 5\nring-seconds = \"soon\"\nlog-bytes = 1.5\n\
                listen-on = 1\nstore = [\"disk\"]\nconfig = \"x\"\nfsync = true\n";
    assert_eq!(
        problems("lines", text),
        [
            "2: unknown key \"ring_events\": write ring-events",
            "3: invalid value 'soon' for '--ring-seconds <N>': expected a whole number",
            "4: log-bytes takes a whole number or a text in quotes",
            "5: unknown key \"listen-on\": the keys are the options of `gateway check --help` without the dashes",
            "6: store takes one value: write it without brackets (1 were given)",
            "7: config stands on the command line alone: remove it here",
            "8: fsync takes a value and not true or false",
        ]
    );
}

#[test]
fn options_that_do_not_go_together_are_named_all_at_once_with_their_lines() {
    let text = "listen = \"127.0.0.1:0\"\nadmin-listen = \"nowhere\"\ndata-dir = \"/tmp/x\"\n\
                jwt-issuer = \"me\"\npublish-key = \"k\"\ndeployment = \"a b\"\n";
    let found = problems("together", text);
    let starts: Vec<&str> = found.iter().map(|problem| problem.split_once(':').unwrap().0).collect();
    assert_eq!(starts, ["2", "3", "4", "6"], "{found:#?}");
    assert!(found[1].contains("--data-dir needs --store disk"), "{found:#?}");
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let found = problems("broken", "listen = \"127.0.0.1:0\"\nring-events = = 5\n");
    assert!(found[0].starts_with("2: not TOML: "), "{found:?}");
    let found = problems("twice", "listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:1\"\n");
    assert!(found[0].starts_with("2: not TOML: "), "{found:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let Err(Stop::Refuse(errors)) = read_with("serve", Path::new("/nowhere/gateway.toml"), &[]) else {
        panic!()
    };
    assert!(errors[0].to_string().starts_with("--config /nowhere/gateway.toml: No such file"), "{errors:?}");
}

#[test]
fn files_with_keys_are_read_by_the_check() {
    let found = problems(
        "keys",
        "listen = \"127.0.0.1:0\"\njwt-public-key = \"/nowhere/key.pem\"\njwks = \"/nowhere/keys.json\"\n",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("2: --jwt-public-key /nowhere/key.pem"), "{found:?}");
    assert!(found[1].starts_with("3: --jwks /nowhere/keys.json"), "{found:?}");
}

#[test]
fn what_is_in_force_is_a_file_that_configures_the_same_and_shows_no_secret() {
    let secrets = format!(
        "{GOOD}deployment = \"0042\"\njwks = \"https://idp.example/keys?key=hunter2\"\nstore = \"redis\"\nredis-url = \"redis://:hunter2@h\"\n"
    );
    let file = Written::new("force", &secrets);
    let Ok(Command::Print(text)) = read_with("config", &file.0, &["--ring-events", "9"]) else { panic!() };
    assert!(text.contains("ring-events = 9 # command line\n"), "{text}");
    assert!(text.contains("log-bytes = 268435456 # file\n"), "{text}");
    assert!(text.contains("max-data-bytes = 10240 # default\n"), "{text}");
    assert!(text.contains("# admin-listen is not set\n"), "{text}");
    assert!(text.contains("\n# publish-key = \"…\" # file\n"), "{text}");
    assert!(text.contains("\n# redis-url = \"…\" # file\n"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("thirty-two"), "{text}");
    assert!(text.contains("deployment = \"0042\" # file\n"), "{text}");
    let again = config("again", &text, &["--redis-url", "redis://h", "--publish-key", "k"]);
    assert_eq!((again.limits.ring_events, again.limits.log_bytes), (9, 0x1000_0000));
}

/// The lines of a file: some are right, some are wrong, and some are noise.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let names: Vec<String> = command_of(&Typed::clap(), "serve")
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    let name = prop_oneof![8 => proptest::sample::select(names), 1 => "[a-z-]{1,12}"];
    let value = prop_oneof![
        4 => (0u64..100_000).prop_map(|n| n.to_string()),
        2 => "[a-z:/*=.,]{0,12}".prop_map(|text| format!("{text:?}")),
        1 => Just("\"127.0.0.1:0\"".to_owned()),
        1 => Just("[1, \"b\", 3]".to_owned()),
        1 => Just("true".to_owned()),
        1 => Just("{ a = 1 }".to_owned()),
        1 => Just("1979-05-27".to_owned()),
        1 => Just("-1e9".to_owned()),
        1 => any::<String>(),
    ];
    let line = prop_oneof![
        12 => (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => any::<String>(),
        1 => Just("# a comment".to_owned()),
        1 => Just("[limits]".to_owned()),
    ];
    proptest::collection::vec(line, 0..12)
}

#[test]
fn no_file_brings_the_reading_down_and_each_problem_of_a_file_has_a_line() {
    let mut runner = TestRunner::new(Cases { cases: 500, ..Cases::default() });
    let clap = Typed::clap();
    let command = command_of(&clap, "serve");
    let outcome = runner.run(&lines(), |lines| {
        let text = lines.join("\n");
        let count = text.lines().count().max(1) + 1;
        if let Err(errors) = ConfigFile::parse(Path::new("gateway.toml"), &text, command) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let error = error.to_string();
                let line = error.strip_prefix("gateway.toml:").and_then(|rest| rest.split_once(": "));
                let line = line.and_then(|(line, _)| line.parse::<usize>().ok());
                prop_assert!(line.is_some_and(|line| (1..=count).contains(&line)), "{}", error);
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
