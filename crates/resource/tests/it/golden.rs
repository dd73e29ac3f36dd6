//! What follows from the library's descriptors, pinned: tables, schemas, routes, the diagram and the reference.

use expect_test::{ExpectFile, expect_file};
use serde_json::Value;
use windlass_resource::{Dialect, Record, ddl, openapi, print, records, schema};
use windlass_testkit::library;

fn check_json(value: &Value, expect: ExpectFile) {
    expect.assert_eq(&format!("{}\n", serde_json::to_string_pretty(value).unwrap()));
}

#[test]
fn tables() {
    expect_file!["golden/sqlite.sql"].assert_eq(&ddl::create_tables(library::ALL, Dialect::Sqlite));
    expect_file!["golden/postgres.sql"].assert_eq(&ddl::create_tables(library::ALL, Dialect::Postgres));
}

#[test]
fn schemas_and_forms() {
    let all: serde_json::Map<String, Value> =
        library::ALL.iter().flat_map(|record| schema::components(record)).collect();
    check_json(&Value::Object(all), expect_file!["golden/schemas.json"]);
    check_json(&schema::form(&library::BOOKS), expect_file!["golden/form.json"]);
}

#[test]
fn routes() {
    let all: serde_json::Map<String, Value> = openapi::paths(&library::BOOKS).into_iter().collect();
    check_json(&Value::Object(all), expect_file!["golden/routes.json"]);
}

#[test]
fn pages() {
    expect_file!["golden/library.mmd"].assert_eq(&print::mermaid(library::ALL));
    expect_file!["golden/library.md"].assert_eq(&print::markdown(library::ALL));
    check_json(&print::to_json(&[&library::LOANS]), expect_file!["golden/loans.json"]);
}

/// The reference of the product's own records, and of the core's tables behind them.
#[test]
fn the_reference_is_the_descriptors() {
    let page = print::markdown(records::ALL) + &print::core_markdown();
    expect_file!["../../../../docs/schema.md"].assert_eq(&page);
}

/// An example of each record passes the schema that is made for it, and what the checks refuse is refused by it too.
#[test]
fn schemas_say_what_the_checks_say() {
    let records: Vec<&Record> = library::and_the_products().to_vec();
    for record in records {
        let schema = schema::new(record);
        let validator = jsonschema::validator_for(&schema).unwrap();
        for example in record.examples.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()) {
            if windlass_resource::validate::create(record, &example).is_ok() {
                assert!(validator.is_valid(&example), "{}: {example}", record.name);
            }
            let mut more = example.clone();
            more["no_such_field"] = 1.into();
            assert!(!validator.is_valid(&more), "{}", record.name);
        }
    }
}
