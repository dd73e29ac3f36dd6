//! The check of descriptors: ours are right, and a wrong one is found with everything at once.

use expect_test::expect;
use windlass_resource::{
    Area, Column, DefaultValue, Effect, Guard, Index, OnDelete, Pattern, Record, Table, Unique, boolean,
    check::{check, check_tables},
    enumeration, index, integer, json, number, reference, refers, state, tables, text, transition,
};
use windlass_testkit::library;

#[test]
fn ours_are_right() {
    assert_eq!(check(library::and_the_products()), Vec::<String>::new());
    assert_eq!(check_tables(tables::all()), Vec::<String>::new());
}

/// Wrong in every way that is looked for.
#[test]
fn a_wrong_table_is_found() {
    static TABLE: Table = Table::of("runs")
        .doc("no sentence")
        .columns(&[text("key").doc("Its key."), number("lane_id").required(), text("key").doc("Again.")])
        .key(&["key"])
        .indexes(&[index("by_nothing", &["nothing desc"]), index("by_nothing", &["key"])])
        .references(&[refers(&["lane_id"], "lanes", &["number"]), refers(&["key"], "nowhere", &["key"])])
        .by_bytes(&["lane"]);
    expect![[r#"
        runs: its documentation must be a sentence: a capital first, a full stop last
        runs.lane_id: its documentation must be a sentence: a capital first, a full stop last
        runs.key: there are two columns of this name
        runs: `key` is no key
        runs: there is no column `nothing`
        runs: there are two indexes `by_nothing`
        runs: there is no column `lane`
        runs: there is no `number` in `lanes`
        runs: there is no table `nowhere`"#]]
    .assert_eq(&check_tables([&TABLE].into_iter()).join("\n"));
}

static BROKEN: Pattern = Pattern::new("(", "broken");
static AREA: Area = Area { name: "wrong", read: "wrong", write: "wrong.write", doc: "Wrong." };
const LABELS: Column = json("labels", windlass_resource::Shape::Any).doc("Labels.");

static WRONG: Record = Record::of(&AREA, "Wrong", "Wrong")
    .doc("no sentence")
    .columns(&[
        text("name").chars(5, 4).required().default(DefaultValue::Text("x")).doc("A name."),
        text("name").pattern(&BROKEN).doc("Again."),
        text("order").doc("An order."),
        text("revision").doc("A revision."),
        integer("count").range(3, 1).default(DefaultValue::Bool(true)).searchable().doc("A count."),
        boolean("maybe").required().read_only().doc("Perhaps."),
        enumeration("one", &["Only"]).doc("One word."),
        reference("nowhere_id", "nowhere").required().on_delete(OnDelete::SetNull).doc("Nowhere."),
        state("status", &["a", "b", "c"]).doc("A state."),
        LABELS,
    ])
    .unique(&[Unique(&["maybe"]), Unique(&["missing"])])
    .indexes(&[Index(&[]), Index(&["labels"])])
    .transitions(&[
        transition("delete", &["a"], "b").doc("Verb that is taken."),
        transition("go", &[], "d"),
        transition("go", &["b"], "a")
            .doc("Again.")
            .guards(&[Guard::Past("name"), Guard::Has("missing")])
            .effects(&[Effect::Stamp("name"), Effect::Take("id")])
            .permission("nothing"),
    ])
    .examples(&["{", r#"{"maybe": 1}"#]);

static HIDDEN: Record = Record::of(&AREA, "hidden", "hidden")
    .doc("It is hidden.")
    .columns(&[text("a").doc("A.")])
    .global()
    .soft_delete()
    .examples(&["{}"]);
static REFERS: Record = Record::of(&AREA, "refers", "refer")
    .doc("It refers.")
    .columns(&[
        reference("hidden_id", "hidden").on_delete(OnDelete::Cascade).doc("A hidden one."),
        reference("later_id", "wrong_later").doc("A later one."),
        reference("workflow_id", "workflows").doc("One of the core."),
    ])
    .soft_delete()
    .examples(&["{}"]);
static LATER: Record =
    Record::of(&AREA, "wrong_later", "later").doc("It comes later.").columns(&[text("b").doc("B.")]).examples(&["{}"]);

#[test]
fn a_wrong_one_is_found_with_everything_at_once() {
    let found = check(&[&WRONG, &HIDDEN, &REFERS, &LATER, &LATER]).join("\n");
    expect![[r#"
        Wrong: a name must be letters in lower case, digits and `_`, and begin with a letter
        Wrong: its documentation must be a sentence: a capital first, a full stop last
        Wrong: the noun must be words in lower case
        Wrong: the permission `wrong` must be `area.verb`
        Wrong.name: the default has 1 characters; at least 5 are needed
        Wrong.name: what is required needs no default
        Wrong.name: no text has 5 to 4 characters
        Wrong.name: there are two columns of this name
        Wrong.name: its pattern is no regular expression
        Wrong.order: SQL does not take this word for a name
        Wrong.revision: every record has this name already, or lists do
        Wrong.count: the default must be a whole number
        Wrong.count: only text that is shown can be searched
        Wrong.count: no number is 3 to 1
        Wrong.maybe: nobody could give what is required and set by the program alone
        Wrong.one: there must be two words at least
        Wrong.one: the word `Only` must be letters in lower case, digits, `_` and `-`
        Wrong.nowhere_id: what cannot be null cannot become null
        Wrong unique (missing): there is no column `missing`
        Wrong index (): it names no column
        Wrong index (labels): `labels` cannot be part of a key
        Wrong delete: this verb means something already
        Wrong go: its documentation must be a sentence: a capital first, a full stop last
        Wrong go: it leads from no state
        Wrong go: there is no state `d`
        Wrong go: there are two transitions of this verb
        Wrong go: the permission `nothing` must be `area.verb`
        Wrong go: no guard can ask that the time in `name` must be over
        Wrong go: there is no column `missing`
        Wrong go: no effect sets `name` to the time
        Wrong go: there is no column `id` of its own
        Wrong.status: nothing leads to the state `c`
        Wrong: an example is no JSON: EOF while parsing an object at line 1 column 1
        Wrong: an example is refused: /maybe is set by the program; leave it out
        Wrong: an example is refused: /name is needed
        Wrong: an example is refused: /nowhere_id is needed
        Wrong.nowhere_id: there is no table `nowhere`
        hidden: the permission `wrong` must be `area.verb`
        refers: the permission `wrong` must be `area.verb`
        refers.hidden_id: what tenants refer to, being the installation's, cannot be deleted by callers
        refers.hidden_id: what is hidden when it is deleted cannot go with what is hidden
        refers.later_id: `wrong_later` must be declared before
        wrong_later: the permission `wrong` must be `area.verb`
        wrong_later: there are two tables of this name
        wrong_later: there are two records of this noun
        wrong_later: the permission `wrong` must be `area.verb`"#]]
    .assert_eq(&found);
}
