//! Finding the rows of a query and putting them in order.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::ast::Op;
use super::bind::{Bound, FieldPath, Operand, Test, comparable, is_id, is_indexed};
use crate::ids::Id;
use crate::store::Store;
use crate::store::row::Row;

/// The ids of the rows that match, in order, after OFFSET and LIMIT.
pub(super) fn matching(store: &Store, bound: &Bound, deleted: bool) -> Vec<Id> {
    let passes = |row: &&Row| {
        (deleted || row.deleted.is_none())
            && bound.filter.as_ref().is_none_or(|t| holds(store, t, row))
    };
    let narrowed = bound
        .filter
        .as_ref()
        .filter(|_| !deleted)
        .and_then(|t| narrow(store, bound.object, t));
    let rows: Box<dyn Iterator<Item = &Row>> = match narrowed {
        Some(ids) => Box::new(ids.into_iter().filter_map(|id| store.live(id))),
        None => Box::new(store.rows(bound.object)),
    };
    let limit = bound.limit.unwrap_or(usize::MAX);
    let rows = rows.filter(passes);
    if bound.order.is_empty() {
        return rows
            .skip(bound.offset)
            .take(limit)
            .map(|row| row.id)
            .collect();
    }
    let mut keyed: Vec<(Vec<Operand>, Id)> = rows
        .map(|row| {
            let keys = bound
                .order
                .iter()
                .map(|key| comparable(&value(store, &key.path, row), false));
            (keys.collect(), row.id)
        })
        .collect();
    keyed.sort_by(|(a, x), (b, y)| {
        let pairs = a.iter().zip(b).zip(&bound.order);
        pairs
            .map(|((a, b), key)| match (a, b) {
                (Operand::Null, Operand::Null) => Ordering::Equal,
                (Operand::Null, _) if key.nulls_last => Ordering::Greater,
                (Operand::Null, _) => Ordering::Less,
                (_, Operand::Null) if key.nulls_last => Ordering::Less,
                (_, Operand::Null) => Ordering::Greater,
                (a, b) if key.descending => order(b, a).unwrap_or(Ordering::Equal),
                (a, b) => order(a, b).unwrap_or(Ordering::Equal),
            })
            .find(|o| *o != Ordering::Equal)
            .unwrap_or_else(|| x.cmp(y))
    });
    keyed
        .into_iter()
        .skip(bound.offset)
        .take(limit)
        .map(|(_, id)| id)
        .collect()
}

/// The only rows that can match, if an id or an indexed field says so.
fn narrow(store: &Store, object: usize, test: &Test) -> Option<BTreeSet<Id>> {
    match test {
        Test::And(list) => list.iter().find_map(|t| narrow(store, object, t)),
        Test::Compare {
            path,
            op: Op::Eq | Op::In,
            values,
            ..
        } => {
            let definition = store.schema.object(object);
            let keys = values.iter().map(|v| match v {
                Operand::Text(text) => Some(text.to_lowercase()),
                Operand::Number(n) => Some(n.to_string()),
                _ => None,
            });
            let keys: HashSet<String> = keys.collect::<Option<_>>()?;
            if is_id(definition, path) {
                // Ids are folded here; the 18th to 16th characters give their case back.
                let parse = |key: &String| values_id(key);
                return Some(keys.iter().filter_map(parse).collect());
            }
            if !is_indexed(definition, path) {
                return None;
            }
            Some(
                keys.iter()
                    .flat_map(|key| store.lookup(object, path.field, key))
                    .copied()
                    .collect(),
            )
        }
        _ => None,
    }
}

/// An 18-character id from its lower-case form: the check part tells which letters are
/// upper-case.
fn values_id(folded: &str) -> Option<Id> {
    const CHECKS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let bytes = folded.as_bytes();
    if bytes.len() != 18 {
        return None;
    }
    let mut raw = bytes[..15].to_vec();
    for (group, check) in bytes[15..].iter().enumerate() {
        let bits = CHECKS.iter().position(|c| c.eq_ignore_ascii_case(check))?;
        for i in 0..5 {
            if bits >> i & 1 == 1 {
                raw[group * 5 + i].make_ascii_uppercase();
            }
        }
    }
    Id::parse(std::str::from_utf8(&raw).ok()?)
}

/// The record a path leads to.
pub(super) fn follow<'a>(store: &'a Store, hops: &[usize], row: &'a Row) -> Option<&'a Row> {
    let mut row = row;
    for hop in hops {
        let object = store.schema.object(row.object);
        let id = Id::parse(row.value(object, &object.fields[*hop], *hop).as_str()?)?;
        row = store.get(id)?;
    }
    Some(row)
}

/// The value a path gives for a row.
pub(super) fn value(store: &Store, path: &FieldPath, row: &Row) -> Value {
    let Some(row) = follow(store, &path.hops, row) else {
        return Value::Null;
    };
    let object = store.schema.object(row.object);
    match path.by_name.as_deref() {
        Some("Type") => Value::String(object.name.clone()),
        Some("Name") => Value::String(store.name_of(row)),
        Some(_) => Value::String(row.id.to_string()),
        None => match object.fields.get(path.field) {
            Some(field) => row.value(object, field, path.field),
            None => Value::Null,
        },
    }
}

/// Whether a condition holds. A comparison of order with nothing is false.
fn holds(store: &Store, test: &Test, row: &Row) -> bool {
    match test {
        Test::And(list) => list.iter().all(|t| holds(store, t, row)),
        Test::Or(list) => list.iter().any(|t| holds(store, t, row)),
        Test::Not(inner) => !holds(store, inner, row),
        Test::Compare {
            path,
            op,
            values,
            exact,
        } => {
            let held = comparable(&value(store, path, row), *exact);
            compare(*op, &held, values).unwrap_or(false)
        }
    }
}

fn compare(op: Op, held: &Operand, values: &[Operand]) -> Option<bool> {
    let first = values.first()?;
    match op {
        Op::Eq => Some(equal(held, first)),
        // Not equal also finds rows without a value, as Salesforce does.
        Op::Ne => Some(!equal(held, first)),
        Op::In => Some(values.iter().any(|v| equal(held, v))),
        Op::NotIn => Some(!values.iter().any(|v| equal(held, v))),
        Op::Like => match (held, first) {
            (Operand::Text(text), Operand::Text(pattern)) => Some(like(text, pattern)),
            _ => Some(false),
        },
        Op::Includes => Some(includes(held, values)),
        Op::Excludes => Some(!includes(held, values)),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            if *held == Operand::Null {
                return Some(false);
            }
            let bound = match (first, op) {
                (Operand::Range(from, _), Op::Lt | Op::Ge) => Operand::Text(from.to_lowercase()),
                // Later than a stretch of time is at or after its end.
                (Operand::Range(_, to), _) => Operand::Text(to.to_lowercase()),
                (other, _) => other.clone(),
            };
            let ranged = matches!(first, Operand::Range(..));
            let order = order(held, &bound)?;
            Some(match op {
                Op::Lt => order.is_lt(),
                Op::Le if ranged => order.is_lt(),
                Op::Le => order.is_le(),
                Op::Gt if ranged => order.is_ge(),
                Op::Gt => order.is_gt(),
                _ => order.is_ge(),
            })
        }
    }
}

fn equal(held: &Operand, value: &Operand) -> bool {
    match (held, value) {
        (Operand::Text(text), Operand::Range(from, to)) => {
            *text >= from.to_lowercase() && *text < to.to_lowercase()
        }
        // Dates and times are stored with capital letters and compared folded.
        (Operand::Text(a), Operand::Text(b)) => {
            a == b || (is_moment(b) && a.eq_ignore_ascii_case(b))
        }
        (a, b) => a == b,
    }
}

fn is_moment(text: &str) -> bool {
    text.len() == 28 && text.ends_with("+0000")
}

fn order(a: &Operand, b: &Operand) -> Option<Ordering> {
    match (a, b) {
        (Operand::Text(a), Operand::Text(b)) => Some(a.to_lowercase().cmp(&b.to_lowercase())),
        (Operand::Number(a), Operand::Number(b)) => a.partial_cmp(b),
        (Operand::Bool(a), Operand::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn includes(held: &Operand, wanted: &[Operand]) -> bool {
    let Operand::Text(held) = held else {
        return false;
    };
    let chosen: Vec<&str> = held.split(';').collect();
    wanted.iter().any(|want| match want {
        Operand::Text(want) => want.split(';').all(|part| chosen.contains(&part)),
        _ => false,
    })
}

/// `%` stands for any text, `_` for one character, `\%` and `\_` for themselves.
pub(crate) fn like(text: &str, pattern: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        Char(char),
    }
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Part::Any,
            '_' => Part::One,
            '\\' => Part::Char(chars.next().unwrap_or('\\')),
            c => Part::Char(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut t, mut p) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                back = Some((p, t));
                p += 1;
            }
            Some(Part::One) => {
                t += 1;
                p += 1;
            }
            Some(Part::Char(c)) if *c == text[t] => {
                t += 1;
                p += 1;
            }
            _ => match back {
                Some((at, from)) => {
                    back = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    parts[p..].iter().all(|part| *part == Part::Any)
}
