//! The reference of the command line, written from its grammar: `docs/cli.md`.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use crate::args::grammar;

/// The reference in Markdown.
pub fn markdown() -> String {
    let mut command = grammar();
    command.build();
    let mut text = String::from(
        "# The command line\n\nWritten from the program's own grammar by `windlass reference`; a test compares the \
         two. Do not edit.\n\n",
    );
    let _ = writeln!(text, "{}\n", about(&command));
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "```text\n{after}\n```\n");
    let _ = writeln!(text, "## Options of every command\n");
    options(&mut text, command.get_arguments().filter(|arg| arg.is_global_set()));
    for inner in shown(&command) {
        section(&mut text, inner, "windlass", 2);
    }
    text.trim_end().to_owned()
}

fn section(text: &mut String, command: &Command, above: &str, level: usize) {
    let name = format!("{above} {}", command.get_name());
    let _ = writeln!(text, "{} `{name}`\n\n{}\n", "#".repeat(level), about(command));
    let inner: Vec<&Command> = shown(command).collect();
    if inner.is_empty() {
        let mut usage = command.clone();
        let usage = usage.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").replace('\n', " ");
        let _ = writeln!(text, "```text\n{}\n```\n", usage.split_whitespace().collect::<Vec<_>>().join(" "));
        options(text, command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help"));
    }
    for inner in inner {
        section(text, inner, &name, level + 1);
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn options<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let rows: Vec<String> = arguments
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_action(), ArgAction::Version))
        .map(row)
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "| option | meaning |\n|---|---|\n{}\n", rows.join("\n"));
}

fn row(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| format!(" {name}"));
    let takes_value = arg.get_action().takes_values();
    let name = match arg.get_long() {
        Some(long) => format!("--{long}{}", value.filter(|_| takes_value).unwrap_or_default()),
        None => arg.get_value_names().and_then(|names| names.first()).map_or(String::new(), ToString::to_string),
    };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let words: Vec<String> = arg.get_possible_values().iter().map(|it| format!("`{}`", it.get_name())).collect();
    if takes_value && !words.is_empty() && words.len() < 8 {
        let _ = write!(meaning, " ({})", words.join(", "));
    }
    let defaults = arg.get_default_values();
    if !arg.is_hide_default_value_set() && !defaults.is_empty() && takes_value {
        let defaults: Vec<String> = defaults.iter().map(|it| it.to_string_lossy().into_owned()).collect();
        let _ = write!(meaning, "; default `{}`", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(meaning, "; `{}`", variable.to_string_lossy());
    }
    format!("| `{}` | {} |", name.replace('|', "\\|"), meaning.replace('|', "\\|"))
}
