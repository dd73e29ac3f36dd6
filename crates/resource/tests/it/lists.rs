//! What lists are asked for, and the statements that come of it.

use expect_test::{Expect, expect};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, Dialect, Record,
    list::ListQuery,
    statement::{Lock, Statement, Writer},
};
use windlass_testkit::library::{BOOKS, EDITORS, LANGUAGES, LOANS, SHELVES};

fn parse(record: &'static Record, query: &str) -> Result<ListQuery, Vec<windlass_resource::FieldError>> {
    let pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.replace('+', " ")))
        .collect();
    ListQuery::parse(record, &pairs)
}

fn shown(statement: Statement) -> String {
    // The columns of a row are many, and the same each time.
    let sql = match statement.sql.split_once(" FROM ") {
        Some((_, rest)) if statement.sql.starts_with("SELECT") => format!("SELECT … FROM {rest}"),
        _ => statement.sql,
    };
    format!("{sql}\n{:?}", statement.params)
}

fn check(query: &str, expect: Expect) {
    let writer = Writer { dialect: Dialect::Postgres, tenant: TenantKey(7) };
    let text = match parse(&BOOKS, query) {
        Ok(query) => shown(writer.list(&BOOKS, &query)),
        Err(errors) => errors.iter().map(|it| format!("{} {}", it.pointer, it.message)).collect::<Vec<_>>().join("\n"),
    };
    expect.assert_eq(&text);
}

#[test]
fn queries() {
    check(
        "",
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 ORDER BY "id" DESC LIMIT $2
        [Int(7), Int(51)]"#]],
    );
    check(
        "status=draft&status=review&copies.gte=2&due_at.null=true&limit=7",
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND "copies" >= $2 AND "due_at" IS NULL AND "status" IN ($3, $4) ORDER BY "id" DESC LIMIT $5
        [Int(7), Int(2), Text("draft"), Text("review"), Int(8)]"#]],
    );
    check(
        "language.ne=de&price.lt=12.5&lendable=true",
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND ("language" NOT IN ($2) OR "language" IS NULL) AND "lendable" IN ($3) AND "price" < $4 ORDER BY "id" DESC LIMIT $5
        [Int(7), Text("de"), Bool(true), Int(1250), Int(51)]"#]],
    );
    check(
        "q=Sea+100%25_\\&sort=-due_at,title",
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND "search_text" LIKE $2 ESCAPE E'\\' AND "search_text" LIKE $3 ESCAPE E'\\' ORDER BY "due_at" IS NULL ASC, "due_at" DESC, "title" ASC, "id" ASC LIMIT $4
        [Int(7), Text("%sea%"), Text("%100\\%25\\_\\\\%"), Int(51)]"#]],
    );
    check(
        "sort=price",
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 ORDER BY "price" ASC, "id" ASC LIMIT $2
        [Int(7), Int(51)]"#]],
    );
}

#[test]
fn queries_that_are_refused() {
    check(
        "limit=0&sort=labels&nope=1&copies=x&status=gone&copies.like=1&after=x&title.gt=a&title.gt=b",
        expect![[r#"
        /limit must be 1 to 1000
        /sort `labels` cannot be sorted by; there are id, title, slug, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, updated_at
        /copies must be a whole number
        /copies.like has no operator `like`; there are ne, lt, lte, gt, gte
        /nope is no parameter of this list; there are id, title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, shelf_id, editor_id, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, created_by, updated_at, updated_by, limit, after, sort, q
        /status must be one of draft, review, published, archived
        /title.gt is given more than once
        /after is no cursor of a list in this order; begin again without it"#]],
    );
    check(
        "pin=1234&labels=1&deleted=true&search_text=x",
        expect![[r#"
        /deleted is no parameter of this list; there are id, title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, shelf_id, editor_id, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, created_by, updated_at, updated_by, limit, after, sort, q
        /labels is no parameter of this list; there are id, title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, shelf_id, editor_id, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, created_by, updated_at, updated_by, limit, after, sort, q
        /pin is no parameter of this list; there are id, title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, shelf_id, editor_id, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, created_by, updated_at, updated_by, limit, after, sort, q
        /search_text is no parameter of this list; there are id, title, slug, summary, copies, barcode, price, weight, lendable, due_at, bought_on, twin, language, shelf_id, editor_id, status, published_at, published_by, reason, rejections, isbn10, revision, created_at, created_by, updated_at, updated_by, limit, after, sort, q"#]],
    );
    check("sort=title,-title", expect!["/sort names `title` twice"]);
    check("q=1+2+3+4+5+6+7+8+9", expect!["/q must be at most 8 words"]);
}

#[test]
fn a_cursor_leads_on_in_its_order_alone() {
    let query = parse(&BOOKS, "sort=-due_at,title").unwrap();
    let mut row = vec![Datum::Null; BOOKS.stored().len()];
    row[BOOKS.position("id").unwrap()] = Datum::Uuid(Uuid::nil());
    row[BOOKS.position("title").unwrap()] = Datum::Text("T".to_owned());
    let cursor = query.cursor(&BOOKS, &row);
    check(
        &format!("sort=-due_at,title&after={cursor}"),
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND (("due_at" IS NULL AND "title" > $2) OR ("due_at" IS NULL AND "title" = $3 AND "id" > $4)) ORDER BY "due_at" IS NULL ASC, "due_at" DESC, "title" ASC, "id" ASC LIMIT $5
        [Int(7), Text("T"), Text("T"), Uuid(00000000-0000-0000-0000-000000000000), Int(51)]"#]],
    );
    check(
        &format!("sort=due_at,title&after={cursor}"),
        expect!["/after is no cursor of a list in this order; begin again without it"],
    );
    row[BOOKS.position("due_at").unwrap()] = Datum::Time(windlass_definition::time::Timestamp::from_micros(5));
    let cursor = query.cursor(&BOOKS, &row);
    check(
        &format!("sort=-due_at,title&after={cursor}"),
        expect![[r#"
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND ("due_at" < $2 OR "due_at" IS NULL OR ("due_at" = $3 AND "title" > $4) OR ("due_at" = $5 AND "title" = $6 AND "id" > $7)) ORDER BY "due_at" IS NULL ASC, "due_at" DESC, "title" ASC, "id" ASC LIMIT $8
        [Int(7), Time(Timestamp(5)), Time(Timestamp(5)), Text("T"), Time(Timestamp(5)), Text("T"), Uuid(00000000-0000-0000-0000-000000000000), Int(51)]"#]],
    );
}

#[test]
fn statements() {
    let id = Uuid::nil();
    let mut text = String::new();
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let writer = Writer { dialect, tenant: TenantKey(7) };
        let (editor, _, _) = BOOKS.references().nth(1).unwrap();
        let name = || Datum::Text("n".to_owned());
        let at = windlass_definition::time::Timestamp::from_micros(1_700_000_000_000_000);
        let all = [
            writer.get(&SHELVES, id, Lock::None),
            writer.get(&SHELVES, id, Lock::Update),
            writer.insert(&EDITORS, &[("id", Datum::Uuid(id)), ("name", name())]),
            writer.insert(&LANGUAGES, &[("id", Datum::Uuid(id)), ("name", name())]),
            writer.update(&SHELVES, (id, 3), &[("name", name()), ("above_id", Datum::Null)]),
            writer.delete(&LOANS, id),
            writer.is_there("shelves", Some(&SHELVES), id),
            writer.is_there("workflows", None, id),
            writer.alike(&SHELVES, id, &[("above_id", Datum::Null), ("name", name())]),
            writer.referring(&BOOKS, editor, id),
            writer.let_go(&BOOKS, editor, id),
            writer.delete_referring(&BOOKS, editor, id),
            writer.over(&SHELVES, Some(at), Some(at)).unwrap(),
        ];
        text.extend(all.into_iter().map(|statement| shown(statement) + "\n"));
    }
    expect![[r#"
        SELECT … FROM "shelves" WHERE "tenant_key" = ? AND "id" = ?
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = ? AND "id" = ?
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        INSERT INTO "editors" ("tenant_key", "id", "name") VALUES (?, ?, ?)
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Text("n")]
        INSERT INTO "languages" ("id", "name") VALUES (?, ?)
        [Uuid(00000000-0000-0000-0000-000000000000), Text("n")]
        UPDATE "shelves" SET "name" = ?, "above_id" = ?, "revision" = ? WHERE "tenant_key" = ? AND "id" = ? AND "revision" = ?
        [Text("n"), Null, Int(4), Int(7), Uuid(00000000-0000-0000-0000-000000000000), Int(3)]
        DELETE FROM "loans" WHERE "tenant_key" = ? AND "id" = ?
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = ? AND "id" = ? AND "deleted_at" IS NULL
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "workflows" WHERE "tenant_key" = ? AND "id" = ? AND "deleted_at" IS NULL
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = ? AND "id" <> ? AND "above_id" IS NULL AND "name" = ? AND "deleted_at" IS NULL LIMIT ?
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Text("n"), Int(1)]
        SELECT … FROM "books" WHERE "tenant_key" = ? AND "editor_id" = ? LIMIT ?
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Int(1)]
        UPDATE "books" SET "editor_id" = ? WHERE "tenant_key" = ? AND "editor_id" = ? RETURNING "id", "title", "slug", "summary", "copies", "barcode", "price", "weight", "lendable", "due_at", "bought_on", "labels", "authors", "chapters", "extra", "cover", "twin", "language", "pin", "badge", "shelf_id", "editor_id", "status", "published_at", "published_by", "reason", "rejections", "isbn10", "search_text", "revision", "created_at", "created_by", "updated_at", "updated_by"
        [Null, Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        DELETE FROM "books" WHERE "tenant_key" = ? AND "editor_id" = ? RETURNING "id", "title", "slug", "summary", "copies", "barcode", "price", "weight", "lendable", "due_at", "bought_on", "labels", "authors", "chapters", "extra", "cover", "twin", "language", "pin", "badge", "shelf_id", "editor_id", "status", "published_at", "published_by", "reason", "rejections", "isbn10", "search_text", "revision", "created_at", "created_by", "updated_at", "updated_by"
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = ? AND ("id" < ? OR "deleted_at" < ?) LIMIT ?
        [Int(7), Uuid(018bcfe5-6800-7000-8000-000000000000), Time(Timestamp(1700000000000000)), Int(500)]
        SELECT … FROM "shelves" WHERE "tenant_key" = $1 AND "id" = $2
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = $1 AND "id" = $2 FOR UPDATE
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        INSERT INTO "editors" ("tenant_key", "id", "name") VALUES ($1, $2, $3)
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Text("n")]
        INSERT INTO "languages" ("id", "name") VALUES ($1, $2)
        [Uuid(00000000-0000-0000-0000-000000000000), Text("n")]
        UPDATE "shelves" SET "name" = $1, "above_id" = $2, "revision" = $3 WHERE "tenant_key" = $4 AND "id" = $5 AND "revision" = $6
        [Text("n"), Null, Int(4), Int(7), Uuid(00000000-0000-0000-0000-000000000000), Int(3)]
        DELETE FROM "loans" WHERE "tenant_key" = $1 AND "id" = $2
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = $1 AND "id" = $2 AND "deleted_at" IS NULL FOR KEY SHARE
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "workflows" WHERE "tenant_key" = $1 AND "id" = $2 AND "deleted_at" IS NULL FOR KEY SHARE
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = $1 AND "id" <> $2 AND "above_id" IS NULL AND "name" = $3 AND "deleted_at" IS NULL LIMIT $4
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Text("n"), Int(1)]
        SELECT … FROM "books" WHERE "tenant_key" = $1 AND "editor_id" = $2 LIMIT $3
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000), Int(1)]
        UPDATE "books" SET "editor_id" = $1 WHERE "tenant_key" = $2 AND "editor_id" = $3 RETURNING "id", "title", "slug", "summary", "copies", "barcode", "price", "weight", "lendable", "due_at", "bought_on", "labels", "authors", "chapters", "extra", "cover", "twin", "language", "pin", "badge", "shelf_id", "editor_id", "status", "published_at", "published_by", "reason", "rejections", "isbn10", "search_text", "revision", "created_at", "created_by", "updated_at", "updated_by"
        [Null, Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        DELETE FROM "books" WHERE "tenant_key" = $1 AND "editor_id" = $2 RETURNING "id", "title", "slug", "summary", "copies", "barcode", "price", "weight", "lendable", "due_at", "bought_on", "labels", "authors", "chapters", "extra", "cover", "twin", "language", "pin", "badge", "shelf_id", "editor_id", "status", "published_at", "published_by", "reason", "rejections", "isbn10", "search_text", "revision", "created_at", "created_by", "updated_at", "updated_by"
        [Int(7), Uuid(00000000-0000-0000-0000-000000000000)]
        SELECT … FROM "shelves" WHERE "tenant_key" = $1 AND ("id" < $2 OR "deleted_at" < $3) LIMIT $4
        [Int(7), Uuid(018bcfe5-6800-7000-8000-000000000000), Time(Timestamp(1700000000000000)), Int(500)]
    "#]].assert_eq(&text);
}
