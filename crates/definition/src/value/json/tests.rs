//! What values are as JSON.

use chrono::{DateTime, TimeDelta};

use super::*;

#[test]
fn json_keeps_the_kind_of_each_number() {
    for (text, written) in [
        ("1", "1"),
        ("1.0", "1.0"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("1e2", "100.0"),
    ] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value.to_string(), written, "{text}");
    }
}

#[test]
fn maps_are_written_in_code_point_order() {
    let value: Value = serde_json::from_str(r#"{"b":1,"a":{"é":1,"z":2},"A":[]}"#).unwrap();
    assert_eq!(value.to_string(), r#"{"A":[],"a":{"z":2,"é":1},"b":1}"#);
}

#[test]
fn what_json_does_not_know_becomes_text() {
    let value = Value::list([
        Value::Uint(7),
        Value::Duration(TimeDelta::milliseconds(250)),
        Value::Timestamp(DateTime::from_timestamp(0, 0).unwrap()),
    ]);
    assert_eq!(value.into_json().unwrap().to_string(), r#"[7,"0.25s","1970-01-01T00:00:00Z"]"#);
    assert!(Value::Double(f64::NAN).into_json().is_err());
}

#[test]
fn keys_that_become_the_same_text_are_refused() {
    let keys = [Key::Int(1), Key::from("1")];
    let map = Value::Map(Arc::new(keys.into_iter().map(|key| (key, Value::Null)).collect()));
    assert!(map.into_json().is_err());
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth| (0..depth).fold(Value::Null, |value, _| Value::list([value]));
    assert!(nested(DEPTH_MAX).into_json().is_ok());
    assert!(nested(DEPTH_MAX + 1).into_json().is_err());
    assert!(check_json_depth(&nested(DEPTH_MAX).to_string()).is_ok());
    assert!(check_json_depth(&nested(DEPTH_MAX + 1).to_string()).is_err());
    assert!(check_json_depth(&format!(r#"["\"{}"]"#, "[".repeat(200))).is_ok());

    // Sixty lists of two that share their item: more bytes than there are atoms, counted in no time.
    let doubled = (0..60).fold(Value::Null, |value, _| Value::list([value.clone(), value]));
    assert_eq!(doubled.json_bytes_within(BYTES_MAX), None);
    assert_eq!(Value::list([Value::from(1i64), Value::string("ab")]).json_bytes_within(BYTES_MAX), Some(12));
}

#[test]
fn a_map_is_asked_for_a_text() {
    let map = Value::map([("a", Value::from(1i64)), ("b", Value::from(2i64))]);
    assert_eq!(map.get("b"), Some(&Value::Int(2)));
    assert_eq!(map.get("c"), None);
}

#[test]
fn doubles_read_back_as_the_same_ones() {
    for number in [0.1 + 0.2, 5e-324, 2.225_073_858_507_201e-308, f64::MAX, 1e23, 123_456_789.123_456_78, -0.0] {
        let read: Value = serde_json::from_str(&Value::Double(number).to_string()).unwrap();
        let Value::Double(read) = read else { panic!("{number} became {read}") };
        assert_eq!(read.to_bits(), number.to_bits(), "{number:e}");
    }
}
