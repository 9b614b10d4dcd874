//! Tests of options and configurations. Environment variables are tested in
//! `tests/command_line.rs`, in a process of their own.

use super::*;

fn read(line: &str) -> Result<Command, Stop> {
    super::read(std::iter::once("gateway").chain(line.split_whitespace()))
}

fn config(line: &str) -> Config {
    match read(line) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    match read(line) {
        Err(Stop::Refuse(errors)) => {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(!texts.is_empty());
            assert!(
                texts.iter().all(|text| !text.is_empty() && !text.contains(char::is_control)),
                "{texts:?}"
            );
            texts.join("\n")
        }
        other => panic!("{line}: {other:?}"),
    }
}

fn help(line: &str) -> String {
    match read(line) {
        Err(Stop::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_protocol() {
    let config = config("serve --listen 127.0.0.1:0 --publish-key k");
    assert!(!config.dev);
    assert_eq!(config.store, StoreConfig::Memory);
    assert_eq!(
        config.limits,
        Limits {
            ring_events: 256,
            ring_age: Duration::from_secs(600),
            log_bytes: 1 << 30,
            data_bytes_max: 10 * 1024,
            command_bytes_max: 16 * 1024,
            body_bytes_max: 1 << 20,
            replay_bytes: 64 << 20,
            ids_bytes: events::TOKEN_BYTES_MAX,
            topics_per_session_max: 64,
            connections_max: 16_000,
            connections_per_user_max: Some(20),
            connections_per_ip_max: None,
            commands_per_minute: Some(60),
            publishes_per_minute: Some(60),
            ephemerals_per_second: Some(10),
            presence_ttl: Duration::from_secs(1800),
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
        }
    );
    assert_eq!(
        config.streams,
        Streams {
            write_timeout: Duration::from_secs(15),
            message_bytes_max: 32 << 10,
            sse_refusals: SseRefusals::Bye,
            drain: Duration::from_secs(30),
            reconnects_per_second: NonZeroU32::new(1000).unwrap(),
            sse_age_max: Some(Duration::from_secs(300)),
            websocket_age_max: None,
        }
    );
    assert_eq!(config.logs.format, LogFormat::Text);
    assert!(config.admin_listen.is_none() && config.allow_origins.is_empty());
    assert_eq!(config.deployment, None);
}

#[test]
fn every_option_has_its_variable_and_its_place_in_the_help() {
    let command = Typed::clap();
    for subcommand in command.get_subcommands() {
        let is_option = |argument: &&clap::Arg| argument.get_id() != "help" && !argument.is_positional();
        let arguments: Vec<_> = subcommand.get_arguments().filter(is_option).collect();
        assert!(arguments.len() >= 2, "{}", subcommand.get_name());
        for argument in arguments {
            let option = argument.get_long().expect("a long name");
            let variable = format!("GATEWAY_{}", option.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
            assert!(argument.is_hide_env_values_set() && argument.get_help().is_some(), "{option}");
            if !["token", "outbox-sql"].contains(&subcommand.get_name()) {
                assert!(argument.get_help_heading().is_some(), "{option}");
            }
        }
    }
    let help = help("serve --help");
    let headings = ["Listening:", "Store:", "Access:", "Sources:", "Limits:", "Streams:", "Logs:"];
    let places: Vec<_> = headings.iter().map(|heading| help.find(heading).expect(heading)).collect();
    assert!(places.is_sorted(), "{help}");
    for option in [
        "--listen",
        "--admin-listen",
        "--store",
        "--data-dir",
        "--redis-url",
        "--redis-ca",
        "--log-name",
        "--jwt-secret",
        "--jwt-secret-file",
        "--jwt-public-key",
        "--jwks",
        "--publish-key",
        "--database-url",
        "--database-ca",
        "--source-notify",
        "--source-outbox",
        "--outbox-poll-ms",
        "--allow-origin",
        "--trusted-proxy",
        "--ring-events",
        "--ring-seconds",
        "--log-bytes",
        "--max-data-bytes",
        "--max-connections-per-user",
        "--max-connections-per-ip",
        "--commands-per-minute",
        "--write-timeout-seconds",
        "--drain-seconds",
        "--max-stream-seconds",
        "--fsync",
        "--redis-wait",
        "--redis-down",
        "--log-format",
    ] {
        assert!(help.contains(&format!("{option} ")), "{option}");
    }
}

#[test]
fn dev_listens_on_loopback_and_knows_its_keys() {
    let dev = config("dev");
    assert!(dev.dev && dev.auth.user_parameter);
    assert_eq!(dev.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(dev.auth.jwt_secrets, [Secret::new("dev-secret")]);
    assert_eq!(dev.auth.publish_keys, [Secret::new("dev")]);
    assert_eq!(config("dev --listen [::1]:0").listen.to_string(), "[::1]:0");
    assert!(config("dev --listen localhost:0").listen.ip().is_loopback());
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:80"] {
        assert!(refusal(&format!("dev --listen {address}")).contains("loopback"), "{address}");
    }
    assert!(refusal("dev --store disk").contains("--store"));
    assert!(refusal("dev --jwt-secret s").contains("--jwt-secret"));
}

#[test]
fn serve_without_a_key_is_refused() {
    assert!(refusal("serve --listen 127.0.0.1:0").starts_with("no key"));
    assert!(refusal("serve --listen 127.0.0.1:0 --jwt-secret=").starts_with("no key"));
    assert!(refusal("serve --listen 127.0.0.1:0 --publish-key=").starts_with("no key"));
    for key in ["--jwt-secret s", "--jwt-public-key f", "--jwks f", "--publish-key k"] {
        assert!(!config(&format!("serve --listen 127.0.0.1:0 {key}")).auth.user_parameter, "{key}");
    }
}

#[test]
fn wrong_and_missing_options_are_one_line() {
    for (line, part) in [
        ("", "dev, serve, check, config, token or outbox-sql"),
        ("fly", "fly"),
        ("dev --wings", "(see `gateway --help`)"),
        ("serve --publish-key k", "--listen <ADDR>"),
        ("serve --listn 1", "tip: a similar argument exists: '--listen'"),
        ("serve --listen here --publish-key k", "ADDRESS:PORT"),
        ("serve --listen 127.0.0.1 --publish-key k", "ADDRESS:PORT"),
        ("serve --listen 8080 --publish-key k", "ADDRESS:PORT"),
        ("serve --listen 127.0.0.1:99999 --publish-key k", "ADDRESS:PORT"),
        ("dev --listen", "--listen <ADDR>"),
        ("dev --ring-events 0", "--ring-events"),
        ("dev --ring-events -1", "-1 is not in 1.."),
        ("dev --ring-events many", "expected a whole number"),
        ("dev --log-bytes 10", "--log-bytes"),
        ("dev --log-format xml", "[possible values: text, json]"),
        ("dev --log gateway=loud", "--log"),
        ("dev --allow-origin *", "`*` cannot be allowed"),
        ("dev --allow-origin app.example", "https://app.example"),
        ("dev --allow-origin https://app.example/path", "without a path"),
        ("dev --trusted-proxy proxy", "10.0.0.0/8"),
        ("dev --trusted-proxy 10.0.0.0/33", "10.0.0.0/8"),
        ("dev --deployment a,b", "--deployment"),
        ("token", "--user <NAME>"),
        ("token --user a", "--jwt-secret <S>"),
        ("token --user a* --jwt-secret s", "--user"),
        ("token --user a --jwt-secret=", "--jwt-secret is empty"),
        ("token --user a --jwt-secret s --subscribe a*b", "--subscribe"),
        ("token --user a --jwt-secret s --ttl-seconds soon", "--ttl-seconds"),
    ] {
        let text = refusal(line);
        assert!(text.contains(part), "{line}: {text}");
        assert!(!text.contains("Usage") && !text.starts_with("error"), "{text}");
    }
}

#[test]
fn options_that_cannot_work_together_are_refused() {
    for (options, part) in [
        ("--store disk", "--store disk needs --data-dir"),
        ("--store redis", "--store redis needs --redis-url"),
        ("--store redis --redis-url http://x", "not a URL of Redis"),
        ("--store redis --redis-url hunter2", "not a URL of Redis"),
        ("--store redis --redis-url redis://x --log-name a:b", "--log-name"),
        ("--data-dir d", "--data-dir needs --store disk"),
        ("--fsync never", "--fsync needs --store disk"),
        ("--store disk --data-dir d --redis-wait 1", "--redis-wait needs --store redis"),
        ("--log-name x", "--log-name needs --store redis"),
        ("--redis-ca x", "--redis-ca needs --store redis"),
        ("--redis-down local", "--redis-down needs --store redis"),
        ("--jwt-secret a --jwt-secret-file b", "use one of them"),
        ("--jwt-issuer i", "--jwt-issuer"),
        ("--jwks ftp://x", "--jwks"),
        ("--jwt-secret-file /nowhere/at/all", "/nowhere/at/all"),
    ] {
        let text = refusal(&format!("serve --listen 127.0.0.1:1 --publish-key k {options}"));
        assert!(text.contains(part) && !text.contains("hunter2"), "{options}: {text}");
    }
    let same = refusal("serve --listen 127.0.0.1:1 --admin-listen 127.0.0.1:1 --publish-key k");
    assert!(same.contains("--admin-listen"), "{same}");
}

#[test]
fn each_wrong_option_of_a_source_is_one_line_that_names_the_remedy() {
    const POSTGRES: &str = "--source-outbox=o --database-url=postgres://u:hunter2@h/d";
    const REDIS: &str = "--source-redis=a=>draft --source-redis-url=redis://:hunter2@h";
    let many = (0..257).map(|n| format!("--source-redis=c{n}=>draft ")).collect::<String>();
    let (no_file, too_many) =
        (format!("{REDIS} --source-redis-ca=/nowhere/at/all"), format!("{many} {REDIS}"));
    for (options, part) in [
        ("--source-redis=a=>draft", "needs --source-redis-url URL, --redis-url, or the variable REDIS_URL"),
        ("--source-redis-stream=a=>draft", "needs --source-redis-url URL"),
        ("--source-redis-url=redis://:hunter2@h", "add one, or remove them"),
        ("--source-redis-ca=f", "add one, or remove them"),
        ("--source-redis=a=>draft --source-redis-url=http://:hunter2@h", "expected redis://HOST:6379"),
        (&format!("{REDIS} --source-redis=a=>topics=x"), "lacks type="),
        (&format!("{REDIS} --source-redis=a"), "PATTERN => RULE"),
        (&format!("{REDIS} --source-redis=a=>cloudevents"), "twice: give it one rule"),
        (&format!("{REDIS} --source-redis-stream=a=>draft --source-redis-stream=a=>draft"), "one rule"),
        (&format!("{REDIS} --source-redis-stream=a*=>draft"), "by its key, not by a pattern"),
        (&format!("{REDIS} --source-gap=maybe"), "[possible values: reset, ignore]"),
        (&too_many, "at most 256 rules"),
        ("--source-outbox=o", "need --database-url URL"),
        ("--source-notify=c=>draft", "need --database-url URL"),
        ("--database-url=postgres://u:hunter2@h/d", "add --source-notify or --source-outbox, or remove it"),
        ("--database-ca=f", "--database-ca needs --database-url: add it, or remove the option"),
        ("--outbox-poll-ms=20", "--outbox-poll-ms needs --source-outbox: add it, or remove the option"),
        (&format!("{POSTGRES} --outbox-poll-ms=9"), "10..=60000"),
        (&format!("{POSTGRES} --outbox-poll-ms=soon"), "expected a whole number"),
        (&format!("{POSTGRES} --database-ca=/nowhere/at/all"), "/nowhere/at/all"),
        (&format!("{POSTGRES} --source-notify=c=>wrong=1"), "no word of a rule"),
        (&format!("{POSTGRES} --source-notify=c=>draft --source-notify=c=>draft"), "twice: give it one rule"),
        (&format!("{POSTGRES} --source-notify={}=>draft", "x".repeat(64)), "at most 63 bytes"),
        ("--source-outbox=a.b.c --database-url=postgres://u:hunter2@h/d", "expected TABLE or SCHEMA.TABLE"),
        ("--source-outbox=o --database-url=postgres:///d", "names no host"),
        ("--source-outbox=o --database-url=hunter2", "expected postgres://USER:PASSWORD@HOST:5432/NAME"),
        ("--source-outbox=o --database-url=postgres://u:hunter2@h/d?sslmode=verify-full", "sslmode=require"),
        ("--source-outbox=o --database-url=postgres://u:hunter2@h/d?sslrootcert=/f", "--database-ca FILE"),
        ("--source-outbox=o --database-url=postgres://u:hunter2@a:1,b:2,c/d?port=1,2", "--database-url"),
    ] {
        let text = refusal(&format!("serve --listen 127.0.0.1:1 --publish-key k {options}"));
        assert!(text.contains(part) && !text.contains("hunter2"), "{options}: {text}");
    }
    // A fault of the file itself is found when the gateway starts: see `tests/command_line.rs`.
    config(&format!("serve --listen 127.0.0.1:1 --publish-key k {no_file}"));
}

#[test]
fn stores_are_typed() {
    let store =
        |options: &str| config(&format!("serve --listen 127.0.0.1:0 --publish-key k {options}")).store;
    assert_eq!(
        store("--store disk --data-dir /var/lib/throughline"),
        StoreConfig::Disk { data_dir: "/var/lib/throughline".into(), fsync: DiskFsync::Always }
    );
    assert_eq!(
        store("--store redis --redis-url rediss://u:p@redis:6380/0 --redis-wait 1 --redis-down local"),
        StoreConfig::Redis(RedisConfig {
            url: Secret::new("rediss://u:p@redis:6380/0"),
            ca: None,
            log_name: "throughline".to_owned(),
            wait_replicas: 1,
            when_down: RedisDown::Local,
        })
    );
}

#[test]
fn zero_means_no_limit_where_the_help_says_so() {
    let config = config(
        "dev --max-connections-per-user 0 --max-connections-per-ip 3 --commands-per-minute 0 --max-stream-seconds 0",
    );
    assert_eq!(config.limits.connections_per_user_max, None);
    assert_eq!(config.limits.connections_per_ip_max, Some(3));
    assert_eq!(config.limits.commands_per_minute, None);
    assert_eq!((config.streams.sse_age_max, config.streams.websocket_age_max), (None, None));
    let both = self::config("dev --max-stream-seconds 7").streams;
    let seven = Some(Duration::from_secs(7));
    assert_eq!((both.sse_age_max, both.websocket_age_max), (seven, seven));
}

#[test]
fn repeatable_options_repeat() {
    let config = config(
        "serve --listen 127.0.0.1:0 --publish-key a --publish-key b,c --allow-origin https://a.example \
         --allow-origin https://b.example --trusted-proxy 10.1.2.3/8 --trusted-proxy ::1",
    );
    assert_eq!(config.auth.publish_keys, ["a", "b", "c"].map(Secret::new));
    assert_eq!(config.allow_origins.len(), 2);
    assert!(config.trusted_proxies.contains("10.9.9.9".parse().unwrap()));
    assert!(config.trusted_proxies.contains("::1".parse().unwrap()));
    assert!(!config.trusted_proxies.contains("11.0.0.1".parse().unwrap()));
}

#[test]
fn a_secret_file_ends_before_its_line_end() {
    let path = std::env::temp_dir().join(format!("throughline-secret-{}", std::process::id()));
    let line = format!("serve --listen 127.0.0.1:0 --jwt-secret-file {}", path.display());
    for content in ["two words", "two words\n", "two words\r\n"] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(config(&line).auth.jwt_secrets, [Secret::new("two words")]);
    }
    for content in ["", "\n"] {
        std::fs::write(&path, content).unwrap();
        assert!(refusal(&line).contains("empty"));
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn no_dump_of_a_configuration_shows_a_secret() {
    let config = config(
        "serve --listen 127.0.0.1:0 --jwt-secret hunter2 --publish-key hunter2 --store redis \
         --redis-url redis://:hunter2@h \
         --source-outbox o --database-url postgres://u:hunter2@h/d \
         --jwks https://idp.example/k?key=hunter2",
    );
    let dump = format!("{config:?}");
    assert!(!dump.contains("hunter2"), "{dump}");
    let token = read("token --user alice --jwt-secret hunter2").unwrap();
    assert!(!format!("{token:?}").contains("hunter2"));
}

#[test]
fn an_error_is_one_line_whatever_was_typed() {
    for wrong in [["--deployment", "a\nb\u{1b}[31m"], ["--ring-events", "1\n2"]] {
        let Err(Stop::Refuse(errors)) = super::read(["gateway", "dev", wrong[0], wrong[1]]) else {
            panic!("{wrong:?} is taken");
        };
        assert!(errors.iter().all(|error| !error.to_string().contains(char::is_control)), "{errors:?}");
    }
}
