//! Control steps: all they say stands beside `type`, not in `with`.

use super::shape::anything;
use crate::{
    Value,
    step_type::{Family, StepType},
};

const IF: &str = "Runs one of two blocks.\n\n\
    `when` decides: true runs `then`, false runs `else`. The output is that of the block that ran, null when there was \
    none to run.";
const SWITCH: &str = "Runs the first case that matches.\n\n\
    `on` is evaluated once and compared with each case's `is` in order; `default` runs when none is equal. In `is` a \
    text is literal unless it is `${{ … }}`.";
const FOREACH: &str = "Runs a block for each item of a list.\n\n\
    `items` is evaluated once. At most `parallel` items are open at once (default 1), started in order. Inside, `item` \
    and `index` are this item's. `on_error` says what a failed item means: `stop` (the default) stops the others and \
    fails the step, `continue` leaves null in its place, `collect` gives `{status, output, error}` for every item. The \
    output is the list of the bodies' outputs, in order.";
const WHILE: &str = "Runs a block as long as a condition holds.\n\n\
    `when` is evaluated before every round and sees `index`, the number of finished rounds, and `last`, the output of \
    the last one (null at first). After `max` rounds (default 1,000) a condition that still holds fails the step with \
    `limit/loop_limit`. The output is the last body's.";
const PARALLEL: &str = "Runs several blocks side by side.\n\n\
    `branches` names them; `join` says how many must complete (`all`, `any`, `{at_least: n}`), and what still runs then \
    is stopped. `parallel` bounds how many are open at once. The output is a map by branch name, null where a branch \
    did not complete.";
const TRY: &str = "Runs a block and catches its errors.\n\n\
    The first `catch` clause whose `on` names the error's class or code takes it (without `on`: any error); inside, \
    `e` or the name after `as` is the error. `finally` always runs, also on a cancel or timeout. The output is that of \
    `do`, or of the `catch` that ran.";
const JOIN: &str = "Waits for several paths and gathers their outputs.\n\n\
    It waits for the steps in `needs`, or at the other ends of its edges, as `mode` says (`all`, `any`, \
    `{at_least: n}`). The output is a map of their outputs by step id.";
const BREAK: &str = "Leaves the nearest loop.\n\n\
    A `while` ends with the output it has; a `foreach` starts no more items, and those that did not end are null.";
const NEXT: &str = "Ends this item or round of the nearest loop.\n\n\
    The loop goes on with the next item or round; the output of this one is null.";

/// The control steps that the engine runs.
pub(super) fn step_types() -> Vec<StepType> {
    let names = [
        ("if", IF),
        ("switch", SWITCH),
        ("foreach", FOREACH),
        ("while", WHILE),
        ("parallel", PARALLEL),
        ("try", TRY),
        ("join", JOIN),
        ("break", BREAK),
        ("next", NEXT),
    ];
    names.into_iter().map(|(name, documentation)| control(name, documentation)).collect()
}

fn control(name: &'static str, documentation: &'static str) -> StepType {
    let output_schema = match name {
        "foreach" => Value::map([("type", Value::from("array"))]),
        "parallel" | "join" => Value::map([("type", Value::from("object"))]),
        "break" | "next" => Value::map([("type", Value::from("null"))]),
        _ => anything(),
    };
    StepType {
        name,
        documentation,
        family: Family::Control,
        with_schema: Value::map([
            ("type", Value::from("object")),
            ("properties", Value::map::<&str>([])),
            ("additionalProperties", Value::from(false)),
        ]),
        output_schema,
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: false,
    }
}
