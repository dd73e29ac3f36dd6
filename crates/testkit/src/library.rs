//! A small library as records: every kind of column, rule and writing once, for tests of what holds for all records.

use serde_json::{Value, json};
use windlass_resource::{
    Area, Column,
    DefaultValue::{Bool, Int, Json, Text},
    Effect, Guard, Index, Kind, OnDelete, Record, Retention, Shape, Unique, Writing, boolean, bytes, date, decimal,
    enumeration, id, integer, json as json_column,
    patterns::SLUG,
    records, reference, state, text, timestamp, transition,
};

/// Books and who has to do with them.
pub static LIBRARY: Area =
    Area { name: "library", read: "library.read", write: "library.write", doc: "A library, for tests." };

/// Soft deletion, and references within one table.
pub static SHELVES: Record = Record::of(&LIBRARY, "shelves", "shelf")
    .doc("A shelf.")
    .columns(&[
        text("name").required().chars(1, 40).searchable().doc("Its name."),
        reference("above_id", "shelves").doc("The shelf above."),
    ])
    .unique(&[Unique(&["above_id", "name"])])
    .soft_delete()
    .examples(&[r#"{"name": "Poetry"}"#]);

/// Who is let go of.
pub static EDITORS: Record = Record::of(&LIBRARY, "editors", "editor")
    .doc("An editor.")
    .columns(&[text("name").required().chars(1, 40).searchable().doc("The name.")])
    .examples(&[r#"{"name": "Ada"}"#]);

/// Every kind of column, and a life.
pub static BOOKS: Record = Record::of(&LIBRARY, "books", "book")
    .doc("A book, from its draft to the archive.")
    .columns(&[
        text("title").required().chars(1, 80).searchable().doc("Its title."),
        text("slug").chars(1, 40).lower().pattern(&SLUG).write_once().doc("Its name in addresses."),
        text("summary").chars(0, 2_000).default(Text("")).searchable().doc("What it is about."),
        integer("copies").range(0, 1_000_000).default(Int(1)).doc("How many there are."),
        integer("barcode").doc("Any number of 64 bits."),
        decimal("price", 2).range(0, 100_000_000).default(Int(0)).doc("What it costs."),
        decimal("weight", 6).doc("What it weighs."),
        boolean("lendable").default(Bool(true)).doc("Whether it may be taken home."),
        timestamp("due_at").doc("When it must be back."),
        date("bought_on").doc("When it was bought."),
        json_column("labels", Shape::Object).default(Json("{}")).doc("What is on its back."),
        json_column("authors", Shape::Texts).doc("Who wrote it."),
        json_column("chapters", Shape::List).doc("What is in it."),
        json_column("extra", Shape::Any).doc("Whatever else."),
        bytes("cover").bytes_max(1_000).doc("Its picture."),
        id("twin").doc("Another book of another library."),
        enumeration("language", &["de", "en", "other"]).default(Text("en")).doc("Its language."),
        text("pin").chars(4, 8).secret().doc("Who knows it may take the book."),
        text("badge").chars(8, 40).hashed().doc("What opens the cupboard that it stands in."),
        reference("shelf_id", "shelves").required().doc("Where it stands."),
        reference("editor_id", "editors").on_delete(OnDelete::SetNull).doc("Who made it."),
        state("status", &["draft", "review", "published", "archived"]).doc("Where it stands in its life."),
        timestamp("published_at").read_only().doc("When it came out."),
        text("published_by").chars(1, 300).read_only().doc("Who brought it out."),
        text("reason").chars(1, 200).read_only().doc("Why it was sent back."),
        integer("rejections").range(0, i64::MAX).default(Int(0)).read_only().doc("How often it was sent back."),
        text("isbn10").chars(0, 10).deprecated("use `barcode`.").doc("Its old number."),
    ])
    .unique(&[Unique(&["slug"]), Unique(&["shelf_id", "title"])])
    .indexes(&[Index(&["status", "due_at"])])
    .transitions(&[
        transition("submit", &["draft"], "review").doc("Asks for a review.").guards(&[Guard::Has("slug")]),
        transition("publish", &["review"], "published")
            .doc("Brings it out.")
            .guards(&[Guard::AnotherThan("created_by"), Guard::Past("due_at")])
            .effects(&[Effect::Stamp("published_at"), Effect::Sign("published_by"), Effect::Clear("reason")])
            .permission("library.publish"),
        transition("reject", &["review"], "draft")
            .doc("Sends it back.")
            .effects(&[Effect::Demand("reason"), Effect::Count("rejections")]),
        transition("archive", &["draft", "published"], "archived")
            .doc("Puts it away.")
            .effects(&[Effect::Take("reason")]),
        transition("reopen", &["archived"], "draft")
            .doc("Begins anew.")
            .effects(&[Effect::Clear("published_at"), Effect::Clear("published_by")]),
    ])
    .examples(&[EXAMPLE]);

const EXAMPLE: &str = r#"{"title": "Windlass", "slug": "windlass", "due_at": "2020-01-01T00:00:00Z", "pin": "1234",
    "shelf_id": "019aa7d0-0000-7000-8000-000000000001"}"#;

/// What goes with what it refers to, and after a while.
pub static REMARKS: Record = Record::of(&LIBRARY, "remarks", "remark")
    .doc("A remark on a book, which stays as it is.")
    .columns(&[
        reference("book_id", "books").required().on_delete(OnDelete::Cascade).doc("The book."),
        text("text").required().chars(1, 2_000).searchable().doc("The remark."),
    ])
    .writing(Writing::Append)
    .retention(Retention::Days(30))
    .examples(&[r#"{"book_id": "019aa7d0-0000-7000-8000-000000000001", "text": "Read it."}"#]);

/// A link.
pub static LOANS: Record = Record::of(&LIBRARY, "loans", "loan")
    .doc("That somebody has a book.")
    .columns(&[
        reference("book_id", "books").required().on_delete(OnDelete::Cascade).doc("The book."),
        text("reader").required().chars(1, 40).doc("Who has it."),
    ])
    .writing(Writing::Link)
    .unique(&[Unique(&["book_id", "reader"])])
    .examples(&[r#"{"book_id": "019aa7d0-0000-7000-8000-000000000001", "reader": "Grace"}"#]);

/// What the program writes, and callers take on.
pub static ALARMS: Record = Record::of(&LIBRARY, "alarms", "alarm")
    .doc("An alarm of the door.")
    .columns(&[
        integer("gate").required().read_only().range(1, 9).doc("Which gate."),
        state("status", &["open", "closed"]).doc("Whether somebody looked."),
        timestamp("closed_at").read_only().doc("When somebody had looked."),
    ])
    .writing(Writing::Program)
    .transitions(&[transition("close", &["open"], "closed")
        .doc("Says that somebody looked.")
        .effects(&[Effect::Stamp("closed_at")])])
    .examples(&[r#"{"gate": 3}"#]);

/// What belongs to no tenant.
pub static LANGUAGES: Record = Record::of(&LIBRARY, "languages", "language")
    .doc("A language, the same for everybody.")
    .columns(&[text("name").required().chars(1, 40).searchable().doc("Its name.")])
    .unique(&[Unique(&["name"])])
    .global()
    .examples(&[r#"{"name": "Latin"}"#]);

/// The library.
pub static ALL: &[&Record] = &[&SHELVES, &EDITORS, &BOOKS, &REMARKS, &LOANS, &ALARMS, &LANGUAGES];

/// The product's own records and the library.
pub fn and_the_products() -> &'static [&'static Record] {
    static BOTH: std::sync::LazyLock<Vec<&'static Record>> =
        std::sync::LazyLock::new(|| records::ALL.iter().chain(ALL).copied().collect());
    &BOTH
}

/// Values at the bounds of what a column holds, as JSON; what has a pattern has none here.
pub fn bounds(column: &Column) -> Vec<Value> {
    let mut values = match column.kind {
        Kind::Text { pattern: Some(_), .. } | Kind::Reference { .. } | Kind::State { .. } => Vec::new(),
        Kind::Text { chars_min, chars_max, .. } => {
            let long = chars_max.min(5_000) as usize;
            let odd = "'\"\\%_\u{7f}\u{10ffff}\n".chars().cycle().take(long).collect::<String>();
            vec![json!("x".repeat(chars_min as usize)), json!("ä".repeat(long)), json!(odd)]
        }
        Kind::Integer { min, max } => vec![json!(min), json!(max)],
        Kind::Decimal { min, max, .. } => vec![column.kind.show(&min.into()), column.kind.show(&max.into())],
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Timestamp => {
            vec![
                json!("0001-01-01T00:00:00.000000Z"),
                json!("9999-12-31T23:59:59.999999Z"),
                json!("2026-02-28T12:00:00.000001Z"),
            ]
        }
        Kind::Date => vec![json!("0001-01-01"), json!("9999-12-31"), json!("2000-02-29")],
        Kind::Json { shape: Shape::Texts, .. } => vec![json!([]), json!(["", "ä\"'\\"])],
        Kind::Json { shape: Shape::List, .. } => vec![json!([]), json!([1, [null, {"a": 1.5}], i64::MIN])],
        Kind::Json { shape: Shape::Object, .. } => vec![json!({}), json!({"": {"ä": [u64::MAX, 1e-7, 1.0]}})],
        Kind::Json { shape: Shape::Any, .. } => vec![json!(0), json!("text"), json!(false), json!([1.25])],
        Kind::Bytes { .. } => vec![json!(""), json!("AAH//g==")],
        Kind::Id => vec![json!("00000000-0000-0000-0000-000000000000"), json!("ffffffff-ffff-ffff-ffff-ffffffffffff")],
        Kind::Enum { values } => values.iter().map(|word| json!(word)).collect(),
    };
    if column.is_nullable() {
        values.push(Value::Null);
    }
    values
}
