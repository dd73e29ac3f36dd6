//! What the audit says of runs that were tampered with: each property is broken at least once, and told to be.
//!
//! A case is a workflow, a script that plays it, and edits of what came of that. What is stored is judged as `windlass
//! verify` judges it. What a journal alone cannot show (who was asked when, how the state stood) is judged as the
//! random tests judge the engine.

use std::{collections::BTreeSet, fs, panic::catch_unwind, path::Path, sync::Arc};

use serde_json::Value as Json;
use windlass_definition::{Plan, Timestamp, duration};
use windlass_engine::{
    Effect, Entry, Run, Transition,
    audit::{self, History, check_end, check_status},
};

use crate::script::{plan, transitions};

/// A run that was tampered with.
struct Case {
    document: &'static str,
    script: &'static str,
    /// One edit a line; see [`edit`].
    edits: &'static str,
    /// What is broken.
    told: &'static [&'static str],
}

const fn case(
    (document, script): (&'static str, &'static str),
    edits: &'static str,
    told: &'static [&'static str],
) -> Case {
    Case { document, script, edits, told }
}

const TWO: &str = "steps: [{id: a, type: act}, {id: b, type: act}]";
const TWO_DONE: (&str, &str) = (TWO, "start; ok a 1; ok b 2");
const DELAY_DONE: (&str, &str) = ("steps: [{id: d, type: delay, with: {for: 1h}}]", "start; +1h");
const RETRY: &str = "steps: [{id: a, type: act, retry: {attempts: 3, delay: 1s, within: 10s, jitter: false}}]";
const RETRIED: (&str, &str) = (RETRY, "start; fail a !http/500; +1s; ok a 1");
const EACH_DONE: (&str, &str) = (
    "steps: [{id: each, type: foreach, items: [1, 2], do: [{id: a, type: act}]}]",
    "start; ok each[0].a 1; ok each[1].a 2",
);
const UNDONE: (&str, &str) = (
    "
steps:
  - {id: a, type: act, undo: {type: act, with: {gave: '${{ steps.a.output }}'}}}
  - {id: b, type: act, undo: {type: act}}
  - {id: c, type: act}
",
    "start; ok a 1; ok b 2; fail c user/no; ok b:undo; ok a:undo",
);
const TRY: &str = "
steps:
  - id: t
    type: try
    do: [{id: a, type: act}]
    catch: [{on: [timeout], do: [{id: c, type: act}]}]
    finally: [{id: f, type: act}]
";
const CAUGHT: (&str, &str) = (TRY, "start; fail t.a timeout/late; ok t.c; ok t.f");
const SIGNALS: (&str, &str) = (
    "steps: [{id: w, type: wait, with: {signal: go}}, {id: v, type: wait, with: {signal: go}}]",
    "start; signal go 1; signal go 2",
);

const ONE_RECORD: &str = "one final record per path";
const COMPLETE: &str = "a block that completed is complete";
const EDGES: &str = "a step starts only when its edges allow it";
const ATTEMPTS: &str = "retries never exceed `attempts`";
const EARLY: &str = "no timer fires early";
const FOLD: &str = "the fold of the journal is the state";
const ITEMS: &str = "a `foreach` runs its body once per item";
const SIGNALS_ONCE: &str = "signals are taken once and in order";
const FINAL: &str = "a final status never changes";
const UNDO_ORDER: &str = "undo runs in reverse order of completion, each once";

/// Judged as stored journals.
const STORED: &[Case] = &[
    case(TWO_DONE, "", &[]),
    case(TWO_DONE, "drop 1", &["the journal folds"]),
    case(TWO_DONE, "lose 2", &["the journal folds"]),
    case(TWO_DONE, "at 3 -1s", &["a run's time does not go back"]),
    case(TWO_DONE, "copy 2 3", &[ONE_RECORD, EDGES]),
    case(TWO_DONE, "copy 4 5", &[FINAL]),
    case(TWO_DONE, "set 4 /status \"cancelled\"", &["the final status says what happened"]),
    case(TWO_DONE, "set 4 /undo/status \"done\"", &["the final status says what was taken back"]),
    case((TWO, "start; ok a; fail b user/no"), "unset 4 /error", &["a run that did not complete says why"]),
    case(DELAY_DONE, "set 3 /input/for \"2h\"", &[EARLY]),
    case(RETRIED, "", &[]),
    case(RETRIED, "set 2 /error/class \"validation\"", &["only errors that are to be retried are"]),
    case(RETRIED, "set 2 /next_at \"1970-01-01T00:00:00.5Z\"", &["the next attempt keeps its distance"]),
    case(RETRIED, "at 2.. +10s\nset 2 /next_at \"1970-01-01T00:00:11Z\"", &["all attempts stay `within`"]),
    case(
        ("steps: [{id: a, type: act, retry: {attempts: 2}}]", "start; fail a user/no"),
        "set 2 /error/retryable true",
        &["no retry is left out"],
    ),
    case(
        (
            "steps: [{id: a, type: act, at_most_once: true, retry: {attempts: 2, delay: 1s, jitter: false}}]",
            "start; fail a !http/500; +1s; ok a",
        ),
        "set 2 /unknown true",
        &["nothing of unknown outcome is repeated when it may happen at most once"],
    ),
    case(EACH_DONE, "set 4 /input/items 3", &[ITEMS]),
    case(EACH_DONE, "set 4 /output [2, 1]", &["a `foreach` gives its outputs in order"]),
    case(
        (
            "steps: [{id: i, type: if, when: '${{ true }}', then: [{id: a, type: act}], else: [{id: b, type: act}]}]",
            "start; ok i.a",
        ),
        "set 3 /input false",
        &["exactly one branch of a condition runs"],
    ),
    case(
        (
            "steps: [{id: ok, type: approval, with: {to: [a, b], title: x, quorum: {of: 2, need: 2}}}]",
            "start; approve ok bob; approve ok carl",
        ),
        "set 3 /by {\"person\": \"bob\"}",
        &["nobody decides twice"],
    ),
    case(SIGNALS, "", &[]),
    case(SIGNALS, "set 2 /key \"k\"\nset 4 /key \"k\"", &["a signal's key counts once"]),
    case(SIGNALS, "set 5 /output 1", &[SIGNALS_ONCE]),
    case(UNDONE, "", &[]),
    case(UNDONE, "set 8 /undo/left [\"a\"]", &["what is still to be taken back is listed"]),
    case(UNDONE, "set 8 /undo/unknown [\"c\"]", &["steps of unknown outcome are listed"]),
];

/// Judged as what the engine did.
const LIVE: &[Case] = &[
    case(TWO_DONE, "", &[]),
    case(TWO_DONE, "lose 2", &["the journal has no gaps"]),
    case(TWO_DONE, "path 2 other", &["only steps of the plan have records"]),
    case(TWO_DONE, "state 2 /status \"waiting\"", &[FOLD]),
    case(TWO_DONE, "more 3", &[]),
    case(
        ("steps: [{id: w, type: wait, with: {signal: go}}]", "start"),
        "more 1",
        &["the status of a run says what is open in it"],
    ),
    case((TWO, "start"), "state 1 /status \"compensating\"", &[FOLD, "undo never mixes with what goes forward"]),
    case(TWO_DONE, "drop 3", &[COMPLETE]),
    case(TWO_DONE, "path 2 b\npath 3 a", &[EDGES]),
    case(TWO_DONE, "drop 4", &["a run ends with its record"]),
    case((TWO, "start; pause; ok a; resume; ok b"), "effects 3 from 4", &["a paused run starts nothing"]),
    case(
        ("steps: [{id: a, type: act}, {id: w, type: wait, with: {signal: go}}]", "start; pause; signal go 1"),
        "effects 3 from 1",
        &["what comes during a pause moves nothing"],
    ),
    case(RETRIED, "attempt 3 9", &[ATTEMPTS]),
    case((RETRY, "start; ok a"), "attempt 1 2", &["an attempt follows the end of the one before"]),
    case(RETRIED, "at 3 -500ms", &["no attempt starts early"]),
    case(
        ("steps: [{id: a, type: act, at_most_once: true}]", "start; ok a"),
        "again 1",
        &["what may happen at most once is asked for once"],
    ),
    case(DELAY_DONE, "at 2.. -1s", &[EARLY]),
    case(("timeout: 1h\nsteps: [{id: w, type: wait, with: {signal: never}}]", "start; +1h"), "at 2.. -1s", &[EARLY]),
    case(EACH_DONE, "path 3 each[2].a", &[ITEMS]),
    case(
        ("steps: [{id: w, type: while, when: index < 1, max: 5, do: [{id: a, type: act}]}]", "start; ok w[0].a"),
        "path 2 w[1].a",
        &["the rounds of a `while` follow each other"],
    ),
    case(CAUGHT, "", &[]),
    case(CAUGHT, "set 2 /error/class \"user\"", &["a `catch` takes what it names"]),
    case(CAUGHT, "drop 4", &["`finally` always runs"]),
    case(
        (
            "steps: [{id: p, type: parallel, branches: {x: [{id: a, type: act}], y: [{id: b, type: act}]}}]",
            "start; ok p.a; ok p.b",
        ),
        "set 2 /status \"failed\"",
        &["enough branches of a `parallel` complete"],
    ),
    case(UNDONE, "", &[]),
    case(UNDONE, "drop 5", &["undo runs only when a run did not complete"]),
    case(UNDONE, "path 6 a:undo\npath 7 b:undo", &[UNDO_ORDER]),
    case(
        (UNDONE.0, "start; ok a 1; cancel; fail b cancelled/stopped; ok a:undo"),
        "copy 3 6",
        &["undo runs to the end"],
    ),
    case(UNDONE, "with 5 {\"gave\": 7}", &["an undo sees what its step gave"]),
];

fn moved(at: Timestamp, span: &str) -> Timestamp {
    let (sign, span) = span.split_at(1);
    let span = duration::parse(span).unwrap_or_else(|| panic!("`{span}` is no duration"));
    let micros = i64::try_from(span.as_micros()).unwrap();
    Timestamp::from_micros(at.micros() + if sign == "-" { -micros } else { micros })
}

/// `2` or `2..`.
fn places(text: &str, count: usize) -> std::ops::Range<usize> {
    match text.strip_suffix("..") {
        Some(first) => first.parse::<usize>().unwrap() - 1..count,
        None => text.parse::<usize>().unwrap() - 1..text.parse().unwrap(),
    }
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// Sets what a pointer leads to, or removes it.
fn put(value: &mut Json, pointer: &str, new: Option<Json>) {
    let (outer, key) = pointer.rsplit_once('/').expect("a pointer");
    let outer = value.pointer_mut(outer).unwrap_or_else(|| panic!("nothing at {pointer}")).as_object_mut().unwrap();
    match new {
        Some(new) => drop(outer.insert(key.to_owned(), new)),
        None => drop(outer.remove(key).expect("something to remove")),
    }
}

/// Does one edit. Entries and transitions count from 1:
///
/// - `set ENTRY POINTER JSON`, `unset ENTRY POINTER`: what the record says
/// - `at ENTRY[..] SPAN`, `path ENTRY PATH`: when, of what
/// - `drop ENTRY`, `copy ENTRY BEFORE`: the others are counted anew; `lose ENTRY`: they are not
/// - `effects TRANSITION from TRANSITION`, `again TRANSITION`: what was asked for, or asked for twice
/// - `attempt TRANSITION NUMBER`, `with TRANSITION JSON`: what the attempt is that was asked for
/// - `more TRANSITION`, `state TRANSITION POINTER JSON`: how it says that the run stands
fn edit(done: &mut [(Transition, Run)], line: &str) {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let number = |at: usize| words[at].parse::<usize>().unwrap() - 1;
    let all: Vec<(usize, usize)> = (done.iter().enumerate())
        .flat_map(|(move_, (transition, _))| (0..transition.entries.len()).map(move |entry| (move_, entry)))
        .collect();
    let asked = |effects: &mut Vec<Effect>, change: &mut dyn FnMut(&mut windlass_engine::effect::RunStep)| {
        let step = effects.iter_mut().find_map(|it| match it {
            Effect::RunStep(step) => Some(step),
            _ => None,
        });
        change(step.expect("an attempt was asked for"));
    };
    match words[0] {
        "set" | "unset" => {
            let (of, entry) = all[number(1)];
            let entry = &mut done[of].0.entries[entry];
            let mut record = serde_json::to_value(&entry.record).unwrap();
            let inner = record.as_object_mut().unwrap().values_mut().next().unwrap();
            put(inner, words[2], words.get(3).map(|text| json(text)));
            entry.record = serde_json::from_value(record).unwrap();
        }
        "at" => {
            for (of, entry) in &all[places(words[1], all.len())] {
                let at = &mut done[*of].0.entries[*entry].at;
                *at = moved(*at, words[2]);
            }
        }
        "path" => {
            let (of, entry) = all[number(1)];
            done[of].0.entries[entry].path = words[2].into();
        }
        "drop" | "lose" => {
            let (of, entry) = all[number(1)];
            done[of].0.entries.remove(entry);
        }
        "copy" => {
            let (from, before) = (all[number(1)], all.get(number(2)).copied());
            let entry = Entry { opens: true, ..done[from.0].0.entries[from.1].clone() };
            match before {
                Some((of, at)) => done[of].0.entries.insert(at, entry),
                None => done.last_mut().unwrap().0.entries.push(entry),
            }
        }
        "effects" => done[number(1)].0.effects = done[words[3].parse::<usize>().unwrap() - 1].0.effects.clone(),
        "again" => {
            let effects = &mut done[number(1)].0.effects;
            effects.extend(effects.clone());
        }
        "attempt" => {
            let attempt = u32::try_from(number(2) + 1).unwrap();
            asked(&mut done[number(1)].0.effects, &mut |step| step.attempt = attempt);
        }
        "with" => {
            let with = json(words[2..].join(" ").as_str());
            asked(&mut done[number(1)].0.effects, &mut |step| step.with = with.clone().into());
        }
        "more" => done[number(1)].0.more = true,
        "state" => {
            let run = &mut done[number(1)].1;
            let mut state = serde_json::to_value(&*run).unwrap();
            put(&mut state, words[2], Some(json(words[3])));
            *run = serde_json::from_value(state).unwrap();
        }
        word => panic!("`{word}` is no edit"),
    }
    if matches!(words[0], "drop" | "copy") {
        let entries = done.iter_mut().flat_map(|(transition, _)| &mut transition.entries);
        entries.zip(1..).for_each(|(entry, seq)| entry.seq = seq);
    }
}

fn tampered(case: &Case) -> (Arc<Plan>, Vec<(Transition, Run)>) {
    let (plan, mut done) = transitions(case.document, case.script);
    case.edits.lines().for_each(|line| edit(&mut done, line));
    (plan, done)
}

/// What the audit of a stored journal says.
fn stored(case: &Case) -> Vec<&'static str> {
    let (plan, done) = tampered(case);
    let entries = done.into_iter().flat_map(|(transition, _)| transition.entries).collect();
    audit::journal(&plan, entries).violations.into_iter().map(|it| it.property).collect()
}

/// What the checks of a run say that is watched as it goes, as far as the case speaks of it: one mistake leads to
/// others. That what was tampered with does not fold is another matter.
fn live(case: &Case) -> Vec<&'static str> {
    let (plan, done) = tampered(case);
    let mut history = History::new(plan.clone(), done[0].1.info().clone());
    let mut told = Vec::new();
    for (transition, run) in &done {
        told.extend(history.append(transition, run).err());
        told.extend(check_status(run, &plan, &history, transition.more).err());
    }
    if done.last().is_some_and(|(_, run)| run.status().is_final()) {
        told.extend(check_end(&history).err());
    }
    let mut told: Vec<&str> = told.into_iter().map(|it| it.property).collect();
    told.retain(|it| *it != "the journal folds" && (case.edits.starts_with("state") || *it != FOLD));
    told.truncate(case.told.len().max(1));
    told
}

fn check(cases: &[Case], judge: fn(&Case) -> Vec<&'static str>) {
    let mut wrong = Vec::new();
    for case in cases {
        // An edit of what is not there is shown like any other surprise.
        let told = catch_unwind(|| judge(case)).unwrap_or_else(|_| vec!["it panicked"]);
        if told != case.told {
            let (_, done) = transitions(case.document, case.script);
            let entries =
                done.iter().enumerate().flat_map(|(at, (it, _))| it.entries.iter().map(move |it| (at + 1, it)));
            let entries = entries.map(|(at, it)| format!("  {} ({at}) {} {:?}", it.seq, it.path, it.record));
            let entries = entries.collect::<Vec<_>>().join("\n");
            wrong.push(format!("{}\n{}\n{entries}\ntold: {told:?}\nnot:  {:?}", case.script, case.edits, case.told));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_tampered_journal_is_told_how() {
    check(STORED, stored);
}

#[test]
fn what_a_journal_alone_cannot_show_is_told() {
    check(LIVE, live);
}

#[test]
fn a_loop_above_its_bound_is_told() {
    let document = |parallel: u32| {
        format!("steps: [{{id: each, type: foreach, parallel: {parallel}, items: [1, 2], do: [{{id: a, type: act}}]}}]")
    };
    let (wide, narrow) = (document(2), plan(&document(1)));
    let (_, done) = transitions(&wide, "start");
    let (transition, run) = &done[0];
    let mut history = History::new(plan(&wide), run.info().clone());
    history.append(transition, run).unwrap();
    assert_eq!(check_status(run, &plan(&wide), &history, false), Ok(()));
    assert_eq!(check_status(run, &narrow, &history, false).unwrap_err().property, BOUND);
}

const BOUND: &str = "a loop keeps its bound";

/// Every property that the audit knows is broken by one of these cases.
#[test]
fn every_property_is_broken_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/audit");
    let mut known = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let parts = text.split("violated(").skip(1).chain(text.split("property: ").skip(1));
        known.extend(parts.filter_map(|rest| Some(rest.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())));
    }
    let broken = STORED.iter().chain(LIVE).flat_map(|case| case.told).chain([&BOUND]);
    let broken: BTreeSet<String> = broken.map(|it| (*it).to_owned()).collect();
    assert!(known.len() > 40, "{known:#?}");
    assert_eq!(known, broken);
}
