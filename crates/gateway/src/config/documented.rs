//! Checks the table of options in `docs/operating.md`, which is generated from the command line
//! itself.
//!
//! `make docs` regenerates it.

use std::fmt::Write as _;
use std::path::Path;

use clap::Arg;

use super::args::Typed;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
const BEGIN: &str = "<!-- options: made by `make docs` -->\n";
const END: &str = "<!-- end of options -->\n";

/// The options of a command, as one table for each group.
fn tables(command: &str) -> String {
    let all = Typed::clap();
    let command = all.find_subcommand(command).expect("the command exists");
    let mut text = String::new();
    let mut group = "";
    for option in command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_long() != Some("help")) {
        let heading = option.get_help_heading().unwrap_or("Options");
        if heading != group {
            group = heading;
            let _ = write!(text, "\n**{group}**\n\n| option | meaning | default |\n| --- | --- | --- |\n");
        }
        text += &row(option);
    }
    text
}

fn row(option: &Arg) -> String {
    let name = option.get_long().expect("every option has a long name");
    let values: Vec<_> = option.get_possible_values();
    let value = match values.as_slice() {
        [] => option.get_value_names().map_or_else(String::new, |names| names.join(" ")),
        values => values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join("\\|"),
    };
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let (mut meaning, mut default) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    for value in &values {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(meaning, "<br>`{}`: {help}", value.get_name());
    }
    for value in option.get_default_values() {
        default += &format!("`{}`", value.to_string_lossy());
    }
    if option.is_required_set() {
        default += "required";
    }
    format!("| `--{name} {value}` | {meaning} | {default} |\n")
}

#[test]
fn the_table_of_options_is_the_command_lines() {
    let page = std::fs::read_to_string(PAGE).expect("docs/operating.md is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the options");
    let (_, after) = rest.split_once(END).expect("the place for the options ends");
    let made = format!("{before}{BEGIN}{}\n{END}{after}", tables("serve"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(Path::new(PAGE), &made).expect("docs/operating.md can be written");
        return;
    }
    assert!(made == page, "docs/operating.md lists other options than the gateway has: run `make docs`");
}
