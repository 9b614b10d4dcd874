//! A configuration file: TOML whose keys are the names of options.
//!
//! The values of a file become the defaults of the command line. Options and environment variables
//! therefore take precedence over the file, and all later code reads values in one way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::ConfigError;
use super::args::{one_line, takes_several};

/// Most bytes of a file that are read. A file with every option has a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The options in a configuration file, each with a value that the option accepts.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One key of the file.
#[derive(Debug)]
struct Entry {
    /// The option's long name.
    name: String,
    /// The id of the option in clap.
    id: clap::Id,
    /// The values of the option, in the syntax of the command line.
    values: Vec<String>,
    /// The line of the file, counted from 1.
    line: usize,
}

impl ConfigFile {
    /// Reads a file for this command.
    ///
    /// # Errors
    /// Every problem of the file, each with its line and the remedy.
    pub(super) fn read(path: &Path, command: &Command) -> Result<Self, Vec<ConfigError>> {
        let text = text_of(path)
            .map_err(|why| vec![ConfigError::new(format!("--config {}: {why}", path.display()))])?;
        Self::parse(path, &text, command)
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// As for [`ConfigFile::read`].
    pub(super) fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, Vec<ConfigError>> {
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let problem =
            |line: usize, what: String| ConfigError::new(format!("{}:{line}: {what}", path.display()));
        let (table, broken) = DeTable::parse_recoverable(text);
        let mut problems: Vec<ConfigError> = broken
            .iter()
            .map(|error| {
                let line = error.span().map_or(1, |span| line_of(span.start));
                problem(line, format!("not TOML: {}", error.message()))
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut entries = Vec::new();
        let mut keys: Vec<_> = table.get_ref().iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let line = line_of(key.span().start);
            match entry(command, key.get_ref(), value, line) {
                Ok(entry) => entries.push(entry),
                Err(what) => problems.push(problem(line, what)),
            }
        }
        if problems.is_empty() { Ok(Self { path: path.to_owned(), entries }) } else { Err(problems) }
    }

    /// The command with the values of the file as its defaults.
    pub(super) fn defaults(&self, mut command: Command) -> Command {
        for Entry { id, values, .. } in self.entries.iter().filter(|entry| !entry.values.is_empty()) {
            command = command.mut_arg(id, |arg| arg.required(false).default_values(values.clone()));
        }
        command
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has this option.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Adds a line number to an error about a combination of options: the line of the first option
    /// that the error names and the file contains.
    pub(super) fn locate(&self, error: ConfigError) -> ConfigError {
        let text = error.to_string();
        let named = self.entries.iter().filter_map(|entry| {
            let option = format!("--{}", entry.name);
            let at = text.match_indices(&option).find(|(at, _)| {
                let behind = text[at + option.len()..].bytes().next();
                !behind.is_some_and(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
            })?;
            Some((at.0, entry.line))
        });
        match named.min() {
            Some((_, line)) => ConfigError::new(format!("{}:{line}: {text}", self.path.display())),
            None => error,
        }
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("the file has {size} bytes: at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Converts a key and its value into an entry for this command.
///
/// # Errors
/// The fault and its remedy.
fn entry(command: &Command, key: &str, value: &Spanned<DeValue<'_>>, line: usize) -> Result<Entry, String> {
    let arg = option_of(command, key)?;
    let values = match value.get_ref() {
        DeValue::Array(values) if !takes_several(arg) => {
            return Err(format!(
                "{key} takes one value: write it without brackets ({} were given)",
                values.len()
            ));
        }
        DeValue::Array(values) => {
            values.iter().map(|value| scalar(key, value.get_ref())).collect::<Result<Vec<_>, _>>()?
        }
        value => vec![scalar(key, value)?],
    };
    // This uses the same parser as the command line, for this option alone.
    let alone =
        Command::new("gateway").arg(arg.clone().required(false).env(None::<&str>)).disable_help_flag(true);
    let typed = std::iter::once(OsString::from("gateway"))
        .chain(values.iter().map(|value| format!("--{key}={value}").into()));
    alone.try_get_matches_from(typed).map_err(|error| one_line(&error).to_string())?;
    Ok(Entry { name: key.to_owned(), id: arg.get_id().clone(), values, line })
}

fn option_of<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    if key == "config" {
        return Err("config stands on the command line alone: remove it here".to_owned());
    }
    let options: Vec<&Arg> =
        command.get_arguments().filter(|arg| arg.get_long().is_some() && arg.get_id() != "help").collect();
    if let Some(arg) = options.iter().find(|arg| arg.get_long() == Some(key)) {
        return Ok(arg);
    }
    let plain = |text: &str| text.trim_start_matches('-').to_lowercase().replace('_', "-");
    let meant = plain(key);
    let singular = meant.trim_end_matches('s');
    match options.iter().find(|arg| arg.get_long().is_some_and(|long| long == meant || long == singular)) {
        Some(arg) => Err(format!("unknown key {key:?}: write {}", arg.get_long().unwrap_or_default())),
        None => Err(format!(
            "unknown key {key:?}: the keys are the options of `gateway {} --help` without the dashes",
            command.get_name()
        )),
    }
}

/// A value in the syntax of the command line.
fn scalar(key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => whole(number).ok_or_else(|| format!("{key} is too large a number")),
        DeValue::Boolean(_) => Err(format!("{key} takes a value and not true or false")),
        DeValue::Float(_) => Err(format!("{key} takes a whole number or a text in quotes")),
        DeValue::Datetime(_) => Err(format!("{key} takes no date: write a text in quotes")),
        DeValue::Array(_) => Err(format!("{key} takes texts and not lists of lists")),
        DeValue::Table(_) => Err(format!(
            "there are no tables such as [{key}]: each option stands by its own name, such as listen = \"…\""
        )),
    }
}

fn whole(number: &DeInteger<'_>) -> Option<String> {
    let digits = number.as_str().replace('_', "");
    let number = i128::from_str_radix(&digits, number.radix()).ok()?;
    Some(number.to_string())
}
