//! The commands of records: `windlass <area> <noun> <verb>`, made from the same descriptors as the API.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use windlass_resource::{Access, Column, Kind, Operation, Record, list, openapi, records, validate};

/// What a command asks of a record.
#[derive(Debug)]
pub struct RecordCall {
    /// Of which.
    pub record: &'static Record,
    /// What.
    pub operation: Operation,
    /// Its options.
    pub matches: ArgMatches,
}

/// The command line with the commands of every record.
#[must_use]
pub fn augment(mut command: Command) -> Command {
    for record in records::ALL {
        let area = record.area;
        let has_area = command.find_subcommand(area.name).is_some();
        if !has_area {
            let about = area.doc.trim_end_matches('.').to_owned();
            let empty = Command::new(area.name).about(about).subcommand_required(true).arg_required_else_help(true);
            command = command.subcommand(empty);
        }
        command = command.mut_subcommand(area.name, |area| match is_the_area(record) {
            true => area.subcommands(verb_commands(record)),
            false => area.subcommand(noun_command(record)),
        });
    }
    command
}

/// The record's command that was given, if it was one.
pub fn call_of(matches: &ArgMatches) -> Option<RecordCall> {
    let (area, matches) = matches.subcommand()?;
    let (noun, matches) = matches.subcommand()?;
    let of_area = |record: &&&'static Record| record.area.name == area;
    let operation = |record: &Record, verb: &str| record.operations().into_iter().find(|it| kebab(it.verb()) == verb);
    if let Some(record) = records::ALL.iter().filter(of_area).find(|record| is_the_area(record))
        && let Some(operation) = operation(record, noun)
    {
        return Some(RecordCall { record, operation, matches: matches.clone() });
    }
    let (verb, matches) = matches.subcommand()?;
    let record = records::ALL.iter().filter(of_area).find(|record| record.command_name() == noun)?;
    Some(RecordCall { record, operation: operation(record, verb)?, matches: matches.clone() })
}

/// Whether the record is what its area is called after: its verbs stand in the area's own command then.
fn is_the_area(record: &Record) -> bool {
    record.slug() == record.area.name
}

fn noun_command(record: &'static Record) -> Command {
    let first = record.doc.split_once(". ").map_or(record.doc, |(first, _)| first);
    Command::new(record.command_name())
        .about(first.trim_end_matches('.').to_owned())
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(verb_commands(record))
}

fn verb_commands(record: &'static Record) -> impl Iterator<Item = Command> {
    record.operations().into_iter().map(move |operation| verb_command(record, operation))
}

fn verb_command(record: &'static Record, operation: Operation) -> Command {
    let about = openapi::summary(record, operation).trim_end_matches('.').to_owned();
    let command = Command::new(kebab(operation.verb())).about(about);
    let id = Arg::new("id").required(true).value_name("ID").help(format!("The {}'s id", record.noun));
    let if_match = Arg::new("if_match").long("if-match").value_name("REVISION").value_parser(value_parser!(i64));
    let if_match = if_match.help("Only if it still has this revision");
    let body = Arg::new("body").long("body").value_name("JSON|@FILE").help("All of it: JSON, `@file`, or `-`");
    let settable = |may: fn(&Column) -> bool| record.columns.iter().filter(move |column| may(column));
    let command = match operation {
        Operation::List => return list_command(record, command),
        Operation::Export => return export_command(record, command),
        Operation::Get => return command.arg(id),
        Operation::Create => {
            let columns = settable(|column| column.access != Access::ReadOnly);
            return command.arg(body).args(columns.map(option));
        }
        Operation::Update => {
            let columns = settable(|column| column.access == Access::Editable);
            let clear = Arg::new("clear").long("clear").value_name("FIELD").action(ArgAction::Append);
            let clear = clear.help("Set this field to null; may be given more than once");
            command.arg(id).arg(body).arg(clear).args(columns.map(option))
        }
        Operation::Delete | Operation::Restore => command.arg(id),
        Operation::Transition(transition) => {
            let taken = validate::taken(record, transition);
            command.arg(id).args(taken.into_iter().map(|(column, needed)| option(column).required(needed)))
        }
    };
    if record.changes() { command.arg(if_match) } else { command }
}

fn list_command(record: &'static Record, command: Command) -> Command {
    let limit = Arg::new("limit").long("limit").value_name("LIMIT").value_parser(value_parser!(u32).range(1..=1000));
    let after = Arg::new("after").long("after").value_name("CURSOR");
    let after = after.help("Go on after this cursor, which the page before ended with");
    command.arg(limit.help("Rows of a page")).arg(after).args(filters(record))
}

fn export_command(record: &'static Record, command: Command) -> Command {
    let format = Arg::new("format").long("format").value_parser(["jsonl", "json", "csv"]).default_value("jsonl");
    let output = Arg::new("output").long("output").short('o').value_name("FILE").value_parser(value_parser!(PathBuf));
    command
        .arg(format.help("`jsonl` is what `windlass apply` reads, `json` an array of these, `csv` a table"))
        .arg(output.help("Where to; standard output when left out"))
        .args(filters(record))
}

/// What says which rows, and in which order.
fn filters(record: &'static Record) -> Vec<Arg> {
    let sorts: Vec<&str> = list::sortable(record).map(|column| column.name).collect();
    let sorts = format!("Columns with commas between, `-` before one for the greatest first: {}", sorts.join(", "));
    let filter =
        "Only rows of which this holds, such as `created_at.gte=2026-01-01T00:00:00Z`; may be given more than once";
    let mut all = vec![
        Arg::new("sort").long("sort").value_name("COLUMNS").allow_hyphen_values(true).help(sorts),
        Arg::new("where").long("where").value_name("FIELD[.OP]=VALUE").action(ArgAction::Append).help(filter),
    ];
    if record.is_searchable() {
        all.push(Arg::new("q").long("q").value_name("WORDS").help("Words that all have to be found"));
    }
    if record.deletion == windlass_resource::Deletion::Soft {
        let deleted = Arg::new("deleted").long("deleted").action(ArgAction::SetTrue);
        all.push(deleted.help("Those that are deleted and can be restored"));
    }
    all
}

/// The option of a column.
fn option(column: &'static Column) -> Arg {
    let value = match column.kind {
        Kind::Integer { .. } | Kind::Decimal { .. } => "NUMBER",
        Kind::Boolean => "BOOL",
        Kind::Timestamp => "TIME",
        Kind::Date => "DAY",
        Kind::Json { .. } => "JSON",
        Kind::Bytes { .. } => "BASE64",
        Kind::Id | Kind::Reference { .. } => "ID",
        Kind::Enum { .. } | Kind::State { .. } => "WORD",
        Kind::Text { .. } => "TEXT",
    };
    let help = column.doc.trim_end_matches('.').to_owned();
    let arg =
        Arg::new(column.name).long(kebab(column.name)).value_name(value).help(help.clone()).allow_hyphen_values(true);
    if column.is_secret() {
        // Everybody on a machine sees the arguments of its processes.
        let help = format!("{help} Read from a file or, with `-`, from standard input, so that nobody sees it");
        return arg.value_name("@FILE").help(help.replacen(" Read", ". Read", 1)).value_parser(from_file);
    }
    match column.words() {
        Some(words) => arg.value_parser(words.to_vec()),
        None => arg,
    }
}

fn from_file(text: &str) -> Result<String, String> {
    match text == "-" || text.starts_with('@') {
        true => Ok(text.to_owned()),
        false => Err("a secret is no argument, for others would see it: `@file`, or `-` for standard input".to_owned()),
    }
}

fn kebab(name: &str) -> String {
    name.replace('_', "-")
}
