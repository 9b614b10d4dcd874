//! The configuration that is in force, as a configuration file.

use std::any::TypeId;
use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::args::takes_several;
use super::file::ConfigFile;
use crate::secret::Secret;

/// Every option of this command with its value and the origin of the value, in the form of a
/// configuration file. Options without a value are comments. Secrets and URLs with parameters are
/// hidden, and their lines are comments too.
pub(super) fn text(command: &Command, matches: &ArgMatches, file: Option<&ConfigFile>) -> String {
    let mut text = String::new();
    let mut group = "";
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    for option in command.get_arguments() {
        let Some(name) = option.get_long().filter(|name| !matches!(*name, "help" | "config")) else {
            continue;
        };
        let heading = option.get_help_heading().unwrap_or("Options");
        if heading != group {
            group = heading;
            let between = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{between}# {group}");
        }
        let mut values = values(option, matches);
        let is_secret = option.get_value_parser().type_id() == TypeId::of::<Secret>()
            || values.iter().any(|value| has_query(value));
        let mut begin = "";
        if is_secret && !values.is_empty() {
            (begin, values) = ("# ", vec!["\"…\"".to_owned()]);
        }
        let origin = match matches.value_source(option.get_id().as_str()) {
            Some(ValueSource::CommandLine) => "command line",
            Some(ValueSource::EnvVariable) => "environment",
            _ if file.is_some_and(|file| file.has(name)) => "file",
            _ => "default",
        };
        let _ = match values.as_slice() {
            [] => writeln!(text, "# {name} is not set"),
            [value] if is_secret || !takes_several(option) => {
                writeln!(text, "{begin}{name} = {value} # {origin}")
            }
            values => writeln!(text, "{name} = [{}] # {origin}", values.join(", ")),
        };
    }
    text
}

/// Whether a value is a URL with parameters. A parameter may be a secret.
fn has_query(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| rest.contains('?'))
}

/// The values of an option as TOML.
fn values(option: &Arg, matches: &ArgMatches) -> Vec<String> {
    let raw = matches.get_raw(option.get_id().as_str()).into_iter().flatten();
    let texts = raw.map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty());
    texts
        .map(|text| match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => text,
            _ => toml::Value::String(text).to_string(),
        })
        .collect()
}
