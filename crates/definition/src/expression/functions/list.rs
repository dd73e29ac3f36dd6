//! Lists.

use std::{cmp::Ordering, sync::Arc};

use crate::{Value, value::Map};

use super::{
    super::{
        access, arithmetic,
        ast::Operator,
        compare::{key, sortable, total_order},
        evaluator::Evaluator,
        failure::{Failure, Outcome},
        meter::Meter,
    },
    Function, Style, list_of, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "size", arguments: (1, 1), style: Style::Both, call: size },
    Function { name: "sum", arguments: (1, 1), style: Style::Both, call: sum },
    Function { name: "min", arguments: (1, 4), style: Style::Both, call: min },
    Function { name: "max", arguments: (1, 4), style: Style::Both, call: max },
    Function { name: "sort", arguments: (1, 2), style: Style::Both, call: sort },
    Function { name: "unique", arguments: (1, 1), style: Style::Both, call: unique },
    Function { name: "flatten", arguments: (1, 1), style: Style::Both, call: flatten },
    Function { name: "group_by", arguments: (2, 2), style: Style::Both, call: group_by },
    Function { name: "range", arguments: (1, 1), style: Style::Global, call: range },
    Function { name: "first", arguments: (1, 1), style: Style::Both, call: first },
    Function { name: "last", arguments: (1, 1), style: Style::Both, call: last },
    Function { name: "reverse", arguments: (1, 1), style: Style::Both, call: reverse },
];

/// Code points of a text, bytes, items, or entries.
fn size(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let size = match &arguments[0] {
        Value::String(text) => {
            evaluator.meter.bytes(text.len())?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        other => return Err(unsuited("size", other)),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// As `+` adds; 0 of nothing.
fn sum(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let items = list_of("sum", &arguments[0])?;
    evaluator.meter.elements(items.len())?;
    let Some((first, rest)) = items.split_first() else { return Ok(Value::Int(0)) };
    if let Some(other) = items.iter().find(|item| !summable(item)) {
        return Err(Failure::no_such_overload(format!("`sum` adds numbers or durations, not {}", other.type_name())));
    }
    rest.iter().try_fold(first.clone(), |total, item| {
        arithmetic::apply(&mut evaluator.meter, Operator::Add, total, item.clone())
    })
}

fn summable(value: &Value) -> bool {
    arithmetic::as_double(value).is_some() || matches!(value, Value::Duration(_))
}

fn min(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    extreme(evaluator, arguments, ("min", Ordering::Less))
}

fn max(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    extreme(evaluator, arguments, ("max", Ordering::Greater))
}

/// The first item that no other one comes before (or behind); null of nothing.
fn extreme(evaluator: &mut Evaluator<'_>, arguments: &[Value], (name, wanted): (&str, Ordering)) -> Outcome {
    let items = if arguments.len() == 1 { list_of(name, &arguments[0])? } else { arguments };
    let mut best: Option<&Value> = None;
    for item in items {
        evaluator.meter.whole(item, 1)?;
        comparable(best.unwrap_or(item), item)?;
        if best.is_none_or(|best| total_order(item, best) == wanted) {
            best = Some(item);
        }
    }
    Ok(best.cloned().unwrap_or_default())
}

fn comparable(left: &Value, right: &Value) -> Outcome<()> {
    if sortable(left, right) {
        return Ok(());
    }
    let (left, right) = (left.type_name(), right.type_name());
    Err(Failure::no_such_overload(format!("{left} and {right} have no order between them")))
}

/// Ascending and stable; by the field of that name when one is given.
fn sort(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let items = list_of("sort", &arguments[0])?;
    let rows = match arguments.get(1) {
        None => items.iter().map(|item| (item.clone(), item.clone())).collect(),
        Some(name) => by_field(items, name)?,
    };
    sort_rows(&mut evaluator.meter, rows)
}

/// The second of each pair, in the order of the first ones.
pub(crate) fn sort_rows(meter: &mut Meter, mut rows: Vec<(Value, Value)>) -> Outcome {
    charge_sorting(meter, rows.iter().map(|row| &row.0), rows.len())?;
    if let Some(first) = rows.first() {
        rows.iter().try_for_each(|row| comparable(&first.0, &row.0))?;
    }
    rows.sort_by(|left, right| total_order(&left.0, &right.0));
    Ok(Value::list(rows.into_iter().map(|row| row.1)))
}

/// Sorting looks at each value about as often as the count has binary digits.
fn charge_sorting<'a>(meter: &mut Meter, values: impl Iterator<Item = &'a Value>, count: usize) -> Outcome<()> {
    let rounds = u64::from(usize::BITS - count.leading_zeros()) + 1;
    for value in values {
        meter.whole(value, rounds)?;
    }
    Ok(())
}

/// Without what is equal to something before it.
fn unique(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let items = list_of("unique", &arguments[0])?;
    charge_sorting(&mut evaluator.meter, items.iter(), items.len())?;
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|left, right| total_order(&items[*left], &items[*right]).then(left.cmp(right)));
    order.dedup_by(|right, left| total_order(&items[*right], &items[*left]).is_eq());
    order.sort_unstable();
    Ok(Value::list(order.into_iter().map(|index| items[index].clone())))
}

/// One level of lists in the list.
fn flatten(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let mut flat = Vec::new();
    for item in list_of("flatten", &arguments[0])? {
        match item {
            Value::List(items) => {
                evaluator.meter.elements(items.len() + 1)?;
                flat.extend(items.iter().cloned());
            }
            other => {
                evaluator.meter.elements(1)?;
                flat.push(other.clone());
            }
        }
    }
    Ok(Value::List(Arc::new(flat)))
}

/// A map from each value of that field to the items that have it.
fn group_by(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let rows = by_field(list_of("group_by", &arguments[0])?, &arguments[1])?;
    group(&mut evaluator.meter, rows)
}

/// Each item with its field of that name before it.
fn by_field(items: &[Value], name: &Value) -> Outcome<Vec<(Value, Value)>> {
    let field = match name {
        Value::String(text) => crate::value::Key::String(text.clone()),
        other => {
            return Err(Failure::no_such_overload(format!("a field is named by a text, not {}", other.type_name())));
        }
    };
    items.iter().map(|item| access::field(item, &field).map(|value| (value, item.clone()))).collect()
}

/// A map from each first of the pairs to its second ones.
pub(crate) fn group(meter: &mut Meter, rows: Vec<(Value, Value)>) -> Outcome {
    let mut groups: std::collections::BTreeMap<_, Vec<Value>> = std::collections::BTreeMap::new();
    for (by, item) in rows {
        meter.whole(&by, 2)?;
        let Some(key) = key(&by) else {
            let message = format!("items are grouped by texts, whole numbers or bools, not {}", by.type_name());
            return Err(Failure::no_such_overload(message));
        };
        groups.entry(key).or_default().push(item);
    }
    let groups: Map = groups.into_iter().map(|(key, items)| (key, Value::List(Arc::new(items)))).collect();
    Ok(Value::Map(Arc::new(groups)))
}

/// The whole numbers from 0 to below n.
fn range(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let count = arguments[0].as_i64().ok_or_else(|| unsuited("range", &arguments[0]))?;
    evaluator.meter.charge(u64::try_from(count).unwrap_or(0))?;
    Ok(Value::list((0..count).map(Value::Int)))
}

/// Null of nothing.
fn first(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    Ok(list_of("first", &arguments[0])?.first().cloned().unwrap_or_default())
}

/// Null of nothing.
fn last(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    Ok(list_of("last", &arguments[0])?.last().cloned().unwrap_or_default())
}

fn reverse(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let items = list_of("reverse", &arguments[0])?;
    evaluator.meter.elements(items.len())?;
    Ok(Value::list(items.iter().rev().cloned()))
}
