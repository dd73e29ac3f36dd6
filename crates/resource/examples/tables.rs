//! Prints the statements that make all tables, or those that are named: `tables sqlite folders tags`.
//! What a migration that adds tables begins with.

use windlass_resource::{Dialect, ddl};

#[expect(clippy::print_stdout, reason = "this is a program whose output is its result")]
fn main() {
    let mut words = std::env::args().skip(1);
    let dialect = if words.next().as_deref() == Some("postgres") { Dialect::Postgres } else { Dialect::Sqlite };
    let named: Vec<String> = words.collect();
    let chosen =
        ddl::declared().into_iter().filter(|it| named.is_empty() || named.iter().any(|name| name == it.name()));
    println!("{}", chosen.map(|it| it.create(dialect)).collect::<Vec<_>>().join("\n").trim_end());
}
