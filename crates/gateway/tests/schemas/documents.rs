//! The documents of `proto/` and the data of `fixtures/` agree with one another.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::schema_set::{SchemaSet, files, parse, read, repository, stem};
use crate::transcript::Transcript;

/// The numbers of the rules that PROTOCOL.md states, in the order in which it states them.
fn rules(protocol: &str) -> Vec<String> {
    let stated = Regex::new(r"(?m)^(?:- |\| )\*\*([A-Z][0-9]+)\*\* ").expect("a pattern");
    stated.captures_iter(protocol).map(|found| found[1].to_owned()).collect()
}

#[test]
fn schemas_are_valid_and_their_examples_fit() {
    let schemas = SchemaSet::load();
    for (name, schema) in &schemas.sources {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}.json: {error}"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}.json");
        let examples = schema["examples"].as_array();
        assert!(examples.is_some() || name == "names", "{name}.json has no example");
        for example in examples.into_iter().flatten() {
            assert_eq!(schemas.fault(name, example), None);
        }
    }
}

#[test]
fn schemas_refuse_what_the_rules_refuse() {
    let schemas = SchemaSet::load();
    let event = |event: &str| format!(r#"{{"after":"a.1","cursor":"a.2","events":[{event}]}}"#);
    let wrong = [
        ("batch", r#"{"after":"a.1","cursor":"a.1"}"#.to_owned()),
        ("batch", r#"{"after":"a.01","cursor":"a.1","events":[]}"#.to_owned()),
        ("batch", r#"{"after":"a.1","cursor":"a.1","live":false,"events":[]}"#.to_owned()),
        ("batch", r#"{"after":"a.1","cursor":"a.1","live":true,"more":true,"events":[]}"#.to_owned()),
        ("batch", r#"{"after":"a.1","cursor":"a.1","extra":1,"events":[]}"#.to_owned()),
        ("batch", event(r#"{"seq":0,"topic":"t","type":"x","time":"2026-11-20T03:30:12.123Z","data":1}"#)),
        ("batch", event(r#"{"seq":2,"topic":"t","type":"x","time":"2026-11-20T03:30:12Z","data":1}"#)),
        ("batch", event(r#"{"seq":2,"topic":"t x","type":"x","time":"2026-11-20T03:30:12.123Z","data":1}"#)),
        ("batch", event(r#"{"seq":2,"topic":"t","type":"a,b","time":"2026-11-20T03:30:12.123Z","data":1}"#)),
        ("batch", event(r#"{"seq":2,"topic":"t","type":"x","time":"2026-11-20T03:30:12.123Z"}"#)),
        ("draft", r#"{"topic":"t","topics":["u"],"type":"x","data":1}"#.to_owned()),
        ("draft", r#"{"type":"x","data":1}"#.to_owned()),
        ("draft", r#"{"topic":"t","type":"x","data":1,"ttl":5}"#.to_owned()),
        ("draft", r#"{"topic":"t","type":"x","data":1,"ttl_ms":0}"#.to_owned()),
        ("draft", r#"{"topic":"t","type":"x","data":1,"expect":1,"ephemeral":true}"#.to_owned()),
        ("command", r#"{"id":"1","op":"fly"}"#.to_owned()),
        ("command", r#"{"id":"1","op":"auth"}"#.to_owned()),
        ("reply", r#"{"reply":"1"}"#.to_owned()),
        ("reply", r#"{"reply":"1","ok":{},"error":{"code":"forbidden","message":"m"}}"#.to_owned()),
        ("reply", r#"{"reply":"1","error":{"code":"conflict","message":"m"}}"#.to_owned()),
        ("reply", r#"{"reply":"1","error":{"code":"forbidden","message":"m","seq":1}}"#.to_owned()),
        (
            "problem",
            r#"{"type":"urn:throughline:problem:forbidden","title":"t","status":401,"detail":"d","code":"forbidden"}"#.to_owned(),
        ),
        ("publish-result", r#"{"cursor":"a.1","seq":1.5,"duplicate":false}"#.to_owned()),
        ("disconnect", r#"{"user":"a","session":"nV3xq8m2LrT0aZ9d"}"#.to_owned()),
    ];
    for (name, text) in wrong {
        assert!(schemas.fault(name, &parse(&text)).is_some(), "{name} lets this pass: {text}");
    }
}

#[test]
fn examples_in_the_texts_fit_the_schemas_that_they_name() {
    let schemas = SchemaSet::load();
    let block = Regex::new(r"(?ms)^ *```json(?: ([a-z -]+))?\n(.*?)^ *```$").expect("a pattern");
    for name in ["proto/PROTOCOL.md", "README.md"] {
        let path = repository().join(name);
        let text = if path.exists() { read(&path) } else { continue };
        let mut seen = 0;
        for found in block.captures_iter(&text) {
            let names =
                found.get(1).unwrap_or_else(|| panic!("{name}: name the schema: {}", &found[2])).as_str();
            for line in found[2].lines() {
                let value = parse(line);
                let faults: Vec<String> =
                    names.split(' ').filter_map(|name| schemas.fault(name, &value)).collect();
                assert!(faults.len() < names.split(' ').count(), "{name}: {}", faults.join("\n"));
                seen += 1;
            }
        }
        assert!(seen > 0 || name != "proto/PROTOCOL.md", "no examples in {name}");
    }
}

#[test]
fn every_rule_has_one_number_and_every_number_a_rule() {
    let stated = rules(&read(&repository().join("proto/PROTOCOL.md")));
    assert!(stated.len() > 100, "only {} rules found", stated.len());
    let known: BTreeSet<&str> = stated.iter().map(String::as_str).collect();
    assert_eq!(known.len(), stated.len(), "a number stands for two rules");
    let mut last = (String::new(), 0);
    for rule in &stated {
        let (section, number) = rule.split_at(1);
        let number: u32 = number.parse().expect("digits");
        assert!(last.0 != section || last.1 < number, "{rule} is out of order");
        last = (section.to_owned(), number);
    }

    let named = Regex::new(r"\b([ABCDEGLMNOPRTV][0-9]{1,2})\b").expect("a pattern");
    // Words that only look like rules.
    let quoted = Regex::new("(?ms)```.*?```|`[^`]*`|\"task[^\"]*\"|T0[0-9]").expect("a pattern");
    let mut texts = Vec::new();
    for name in ["PROTOCOL.md", "openapi.yaml", "asyncapi.yaml"] {
        texts.push((name.to_owned(), read(&repository().join("proto").join(name))));
    }
    for (name, schema) in SchemaSet::load().sources {
        texts.push((name, descriptions(&schema).join("\n")));
    }
    for path in files(&repository().join("fixtures/transcripts")) {
        texts.push((path.display().to_string(), Transcript::read(&path).rules.join(" ")));
    }
    for (name, text) in texts {
        for found in named.captures_iter(&quoted.replace_all(&text, " ")) {
            assert!(known.contains(&found[1]), "{name} names {}, which is no rule", &found[1]);
        }
    }
}

#[test]
fn the_command_line_is_the_documented_one() {
    let protocol = read(&repository().join("proto/PROTOCOL.md"));
    let option = Regex::new("--[a-z][a-z-]+").expect("a pattern");
    let options = |text: &str| -> BTreeSet<String> {
        option.find_iter(text).map(|found| found.as_str().to_owned()).collect()
    };
    let rule = |number: &str| {
        let (_, rest) = protocol.split_once(&format!("- **{number}** ")).expect("the rule is there");
        rest.split("\n- **").next().unwrap_or(rest).to_owned()
    };
    for (command, number) in [("serve", "G3"), ("token", "G4")] {
        let help = Command::new(env!("CARGO_BIN_EXE_gateway")).args([command, "--help"]).output();
        let help = String::from_utf8(help.expect("the gateway runs").stdout).expect("help is text");
        let listed: Vec<&str> = help.lines().filter(|line| line.trim_start().starts_with("--")).collect();
        let real: BTreeSet<String> = listed
            .iter()
            .filter_map(|line| option.find(line))
            .map(|found| found.as_str().to_owned())
            .collect();
        assert_eq!(options(&rule(number)), real, "{number} and `gateway {command} --help`");
    }
}

fn descriptions(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "description" || name == "$comment" => vec![text.clone()],
                Value::String(_) => Vec::new(),
                value if name == "examples" || name == "enum" || value.is_number() => Vec::new(),
                value => descriptions(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(descriptions).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn transcripts_keep_the_rules() {
    let schemas = SchemaSet::load();
    let folder = repository().join("fixtures/transcripts");
    let protocol = read(&repository().join("proto/PROTOCOL.md"));
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).expect("below the folder").display().to_string();
        let transcript = Transcript::read(&path);
        transcript.check(&name, &schemas);
        for option in transcript.options.keys() {
            assert!(protocol.contains(&format!("`--{option} ")), "{name}: there is no option --{option}");
        }
    }
    let scenarios = |transport: &str| -> BTreeSet<String> {
        files(&folder.join(transport)).iter().map(|path| stem(path)).collect()
    };
    for transport in ["ws", "sse", "poll"] {
        let have = scenarios(transport);
        for name in [
            "hello",
            "event",
            "heartbeat",
            "resume",
            "reset-expired",
            "reset-epoch",
            "reset-ahead",
            "bye",
            "refused",
        ] {
            assert!(have.contains(name), "there is no transcript {transport}/{name}.json");
        }
    }
}

#[test]
fn drafts_of_the_five_systems_fit() {
    let schemas = SchemaSet::load();
    let paths = files(&repository().join("fixtures/systems"));
    assert_eq!(paths.len(), 5);
    for path in paths {
        let system = parse(&read(&path));
        let drafts = system["drafts"].as_array().expect("a system has drafts");
        assert!(!drafts.is_empty(), "{}", path.display());
        for draft in drafts {
            assert_eq!(schemas.fault("draft", draft), None, "{}", path.display());
        }
        let messages = system["messages"].as_array();
        for (message, draft) in messages.into_iter().flatten().zip(drafts) {
            assert_eq!(message["message"], draft["data"], "a worker's message becomes the data");
            let user = message["message"]["userId"].as_str().expect("a job has a user");
            assert_eq!(draft["topic"], format!("user:{user}"));
        }
    }
}
