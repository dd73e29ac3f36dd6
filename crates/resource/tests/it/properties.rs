//! What holds for any value.

use proptest::prelude::*;
use windlass_resource::{Column, Datum, date, decimal, integer, text, timestamp};
use windlass_testkit::library;

fn reads_back(column: Column, datum: &Datum) {
    let shown = column.kind.show(datum);
    assert_eq!(column.kind.read(&shown).as_ref(), Ok(datum), "{shown}");
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(number: i64, scale in 1u32..=9, words in any::<String>(), day in 0i64..3_000_000, micros in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
        reads_back(integer("n"), &Datum::Int(number));
        reads_back(decimal("d", scale), &Datum::Int(number));
        let words: String = words.replace('\0', "").chars().take(200).collect();
        reads_back(text("t"), &Datum::Text(words));
        let day = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap() + chrono::TimeDelta::days(day);
        reads_back(date("day"), &Datum::Text(day.format("%Y-%m-%d").to_string()));
        reads_back(timestamp("at"), &Datum::Time(windlass_definition::time::Timestamp::from_micros(micros)));
    }

    #[test]
    fn no_parameter_of_a_list_panics(pairs in prop::collection::vec((".{0,20}", ".{0,40}"), 0..4), known in 0usize..26) {
        let books = &library::BOOKS;
        let mut pairs: Vec<(String, String)> = pairs;
        for (at, pair) in pairs.iter_mut().enumerate() {
            if at % 2 == 0 {
                pair.0 = books.stored()[known % books.stored().len()].name.to_owned();
            }
        }
        let _ = windlass_resource::list::ListQuery::parse(books, &pairs);
    }
}

#[test]
fn bounds_are_taken_and_what_lies_beyond_is_not() {
    for record in library::and_the_products() {
        for column in record.columns {
            for value in library::bounds(column).into_iter().filter(|value| !value.is_null()) {
                let datum = column.kind.read(&value);
                let datum = datum.unwrap_or_else(|error| panic!("{}.{} {error}: {value}", record.name, column.name));
                reads_back(*column, &datum);
            }
        }
    }
    for (column, beyond) in [
        (integer("n").range(-5, 5), ["-6", "6"]),
        (decimal("d", 2).range(-500, 500), ["-5.01", "5.01"]),
        (timestamp("t"), ["0000-12-31T23:59:59Z", "+10000-01-01T00:00:00Z"]),
    ] {
        for text in beyond {
            assert!(column.kind.parse(text).is_err(), "{} {text}", column.name);
        }
    }
}
