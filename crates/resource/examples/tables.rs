//! Prints the statements that make the tables of all records, or of those that are named: `tables sqlite folders tags`.
//! What a migration that adds tables begins with.

use windlass_resource::{Dialect, ddl, records};

#[expect(clippy::print_stdout, reason = "this is a program whose output is its result")]
fn main() {
    let mut words = std::env::args().skip(1);
    let dialect = if words.next().as_deref() == Some("postgres") { Dialect::Postgres } else { Dialect::Sqlite };
    let named: Vec<String> = words.collect();
    let chosen = records::ALL.iter().copied().filter(|it| named.is_empty() || named.iter().any(|name| name == it.name));
    println!("{}", ddl::create_tables(&chosen.collect::<Vec<_>>(), dialect).trim_end());
}
