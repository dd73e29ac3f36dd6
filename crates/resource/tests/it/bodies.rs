//! What callers send: everything that is wrong at once, and nothing else let in.

use serde_json::{Value, json};
use windlass_resource::{FieldError, validate};
use windlass_testkit::library::{ALARMS, BOOKS};

const SHELF: &str = "019aa7d0-0000-7000-8000-000000000001";

fn lines(errors: Vec<FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{} {}", error.pointer, error.message)).collect()
}

/// A body of a new book beside what is needed, and what is wrong with it.
fn check_new(more: Value, expected: &[&str]) {
    let mut body = json!({ "title": "T", "shelf_id": SHELF });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    match validate::create(&BOOKS, &body) {
        Ok(_) => assert!(expected.is_empty(), "{body} is taken"),
        Err(errors) => assert_eq!(lines(errors), expected, "{body}"),
    }
}

#[test]
fn new_ones() {
    check_new(json!({}), &[]);
    check_new(json!({ "copies": 5, "slug": "Upper-Case", "price": "12.50", "language": "de" }), &[]);
    check_new(json!({ "barcode": i64::MIN, "weight": 0.1, "extra": [1], "editor_id": null }), &[]);
    check_new(json!({ "title": "" }), &["/title must not be empty"]);
    check_new(json!({ "title": null }), &["/title must not be null"]);
    check_new(json!({ "title": "ä".repeat(80) }), &[]);
    check_new(json!({ "title": "ä".repeat(81) }), &["/title has 81 characters; at most 80 are allowed"]);
    check_new(json!({ "title": "a\u{0}b" }), &["/title holds a NUL character, which is not allowed"]);
    check_new(json!({ "pin": "12" }), &["/pin has 2 characters; at least 4 are needed"]);
    check_new(json!({ "copies": -1 }), &["/copies must be 0 to 1000000"]);
    check_new(json!({ "copies": 1.5 }), &["/copies must be a whole number of 64 bits"]);
    check_new(json!({ "copies": "1" }), &["/copies must be a whole number"]);
    check_new(json!({ "barcode": u64::MAX }), &["/barcode must be a whole number of 64 bits"]);
    check_new(json!({ "price": "0.001" }), &["/price must be a decimal with at most 2 decimals, such as \"12.5\""]);
    check_new(json!({ "price": -1 }), &["/price must be 0.00 to 1000000.00"]);
    check_new(json!({ "lendable": 1 }), &["/lendable must be true or false"]);
    check_new(json!({ "due_at": "tomorrow" }), &["/due_at must be a time such as 2026-11-21T15:00:00Z"]);
    check_new(json!({ "bought_on": "2026-02-30" }), &["/bought_on must be a day such as 2026-11-21"]);
    check_new(json!({ "bought_on": "2026-2-3" }), &["/bought_on must be a day such as 2026-11-21"]);
    check_new(json!({ "labels": [] }), &["/labels must be an object"]);
    check_new(json!({ "labels": { "a": "\u{0}" } }), &["/labels holds a NUL character, which is not allowed"]);
    check_new(json!({ "labels": { "a": "\\u0000" } }), &[]);
    check_new(json!({ "authors": ["a", 1] }), &["/authors must be a list of texts"]);
    check_new(json!({ "cover": "?" }), &["/cover must be base64"]);
    check_new(json!({ "cover": "AAAA".repeat(334) }), &["/cover has 1002 bytes; at most 1000 are allowed"]);
    check_new(json!({ "language": "fr" }), &["/language must be one of de, en, other"]);
    check_new(json!({ "status": "published" }), &["/status is changed by the record's transitions alone"]);
    check_new(
        json!({ "published_at": "2026-01-01T00:00:00Z" }),
        &["/published_at is set by the program; leave it out"],
    );
    check_new(
        json!({ "id": SHELF, "revision": 7 }),
        &["/id is set by the program; leave it out", "/revision is set by the program; leave it out"],
    );
    check_new(
        json!({ "titel": 1, "a/b": 1 }),
        &[
            "/a~1b is no field of `book`; there are title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, labels, authors, chapters, extra, cover, twin, language, pin, badge, shelf_id, editor_id, isbn10",
            "/titel is no field of `book`; did you mean `title`?",
        ],
    );
    check_new(
        json!({ "search_text": "x" }),
        &[
            "/search_text is no field of `book`; there are title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, labels, authors, chapters, extra, cover, twin, language, pin, badge, shelf_id, editor_id, isbn10",
        ],
    );
}

#[test]
fn everything_at_once() {
    let errors = validate::create(&BOOKS, &json!({ "copies": "x", "language": 1, "pin": "1", "nope": 0 })).unwrap_err();
    let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/nope", "/title", "/copies", "/language", "/pin", "/shelf_id"]);
    assert_eq!(lines(validate::create(&BOOKS, &json!([])).unwrap_err())[0], " must be an object");
}

#[test]
fn changes() {
    let check = |body: Value, expected: &[&str]| match validate::update(&BOOKS, &body) {
        Ok(values) => assert_eq!(values.iter().map(|(it, _)| it.name).collect::<Vec<_>>(), expected, "{body}"),
        Err(errors) => assert_eq!(lines(errors), expected, "{body}"),
    };
    check(json!({}), &[]);
    check(json!({ "copies": 2, "editor_id": null }), &["copies", "editor_id"]);
    check(json!({ "slug": "x" }), &["/slug never changes once it is set; leave it out"]);
    check(json!({ "title": null, "copies": null }), &["/title must not be null", "/copies must not be null"]);
    check(json!({ "status": "draft" }), &["/status is changed by the record's transitions alone"]);
}

#[test]
fn transitions() {
    let check = |verb: &str, body: Value, expected: &[&str]| {
        let record = if verb == "close" { &ALARMS } else { &BOOKS };
        match validate::transition(record, record.transition(verb).unwrap(), &body) {
            Ok(values) => assert_eq!(values.iter().map(|(it, _)| it.name).collect::<Vec<_>>(), expected, "{body}"),
            Err(errors) => assert_eq!(lines(errors), expected, "{body}"),
        }
    };
    check("reject", json!({ "reason": "too long" }), &["reason"]);
    check("reject", json!({}), &["/reason is needed"]);
    check("reject", json!({ "reason": null }), &["/reason is needed"]);
    check("archive", json!({}), &[]);
    check("archive", json!({ "reason": "x", "titel": 1 }), &["/titel is no field of `archive`; there are reason"]);
    check("submit", json!({ "x": 1 }), &["/x is no field of `submit`, which has none"]);
    check("close", json!(7), &[" must be an object"]);
}
