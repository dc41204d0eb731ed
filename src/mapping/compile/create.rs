//! Fields that are to be made: what columns wish for, and what of it can be granted.

use std::collections::BTreeMap;

use super::automatic::Wanted;
use super::fields::Draft;
use super::history::qualified;
use super::{Compiler, MissingField, Prepared};
use crate::config::{MissingField as Missing, Unmapped as Route};
use crate::fault::Severity;
use crate::mapping::bind::unmapped;
use crate::mapping::derive::{self, Refused, Reservation};
use crate::mapping::{FieldDescription, FieldSpec, NewField, Unmapped, naming};

/// A field that a column would like to have made.
pub(super) struct Wish<'a> {
    table: &'a str,
    object: &'a str,
    column: Box<str>,
    spec: FieldSpec,
    reservation: Option<Reservation>,
    backfill: bool,
}

impl<'a> Compiler<'a> {
    /// A column whose field the CRM does not have, or cannot give.
    pub(super) fn without_field(
        &mut self,
        table: &Prepared<'a>,
        draft: &mut Draft,
        wanted: Wanted<'_, 'a>,
        names: &[String],
    ) {
        let column = wanted.column;
        let routing = &self.config.routing;
        let missing = wanted
            .rule
            .and_then(|r| r.missing_field)
            .unwrap_or(routing.missing_field);
        let at = table.place(&format!("columns.{}", column.name));
        let explicit = wanted.rule.and_then(|r| r.field.as_ref());
        let mut why = match explicit {
            None => unmapped(Route::Auto, Missing::Ignore, &column.name).0,
            Some(_) => format!(
                "the object has no free field {} that we may write and that takes its type: left out and counted",
                names.first().map_or("", String::as_str)
            ),
        };
        let mut remedy = "map it, or say that it is left out: { ignore = true }";
        let mut severity = Severity::Note;
        let name = names.first().map_or("", String::as_str);
        match (missing, table.object) {
            (Missing::Halt, _) => {
                why = why.replace(": left out and counted", "") + ", and missing_field = \"halt\"";
                if wanted.rule.is_none_or(|r| r.missing_field.is_none()) {
                    why = why.replace(", and missing_field", ", and routing.missing_field");
                }
                self.wrong(
                    table.history.ran(),
                    table.name,
                    at,
                    why.clone(),
                    remedy,
                    &[],
                );
                return draft.leave_out(column, why);
            }
            (Missing::Create, Some(object)) => {
                let there = object.field(name).map(|field| {
                    let writer = draft.writer(&field.name);
                    collision(draft.is_key_field(name), writer, field, &wanted)
                });
                let there = there.or_else(|| {
                    let writer = draft.writer(name)?;
                    Some(format!("its field would be {name}, which {writer} fills"))
                });
                let words = derive::words(&column.name);
                let label = wanted.rule.and_then(|r| r.label.as_deref());
                let made = match there {
                    Some(why) => Err(Refused::new(why)),
                    None => derive::spec(
                        &qualified(table.source),
                        column,
                        &wanted.value_type,
                        name,
                        label.unwrap_or(&words),
                    ),
                };
                match made {
                    Ok((spec, reservation)) => {
                        self.wishes.push(Wish {
                            table: table.name,
                            object: table.object_name,
                            column: column.name.clone(),
                            spec,
                            reservation,
                            backfill: wanted.rule.is_some_and(|r| r.backfill),
                        });
                        return;
                    }
                    Err(refused) => {
                        why = format!("{}: left out and counted", refused.why);
                        remedy = refused.remedy;
                        severity = Severity::Warning;
                    }
                }
            }
            _ => {}
        }
        self.find(severity, at, why.clone(), remedy);
        draft.leave_out(column, why);
    }

    /// A field that the configuration names for a column, and that is to be made. Whether it can.
    pub(super) fn wish(
        &mut self,
        table: &Prepared<'a>,
        draft: &mut Draft,
        wanted: &Wanted<'_, 'a>,
        name: &str,
        line: &str,
    ) {
        let at = table.place(line);
        if let Some(other) = draft.claim(name, line.to_owned()) {
            self.problem(
                at,
                format!("{name} is filled by {other} already: one field, one source"),
                "map one of the two to another field, or leave it out: { ignore = true }",
            );
            return;
        }
        let made = derive::spec(
            &qualified(table.source),
            wanted.column,
            &wanted.value_type,
            name,
            &derive::words(name),
        );
        match made {
            Ok((spec, reservation)) => self.wishes.push(Wish {
                table: table.name,
                object: table.object_name,
                column: wanted.column.name.clone(),
                spec,
                reservation,
                backfill: false,
            }),
            Err(refused) => {
                let what = format!(
                    "{} has no field {name}, and {}",
                    table.object_name, refused.why
                );
                if !table.history.ran() {
                    return self.problem(at, what, refused.remedy);
                }
                let what = format!("{what}: left out and counted");
                self.drift(at, what.clone(), refused.remedy);
                draft.leave_out(wanted.column, what);
            }
        }
    }

    /// What is to be made of the wishes: no two fields of one name on an object, and of two columns of
    /// a table that want one field neither gets it.
    pub(super) fn grant(
        &mut self,
        tables: &mut BTreeMap<&'a str, (&Prepared<'a>, Draft)>,
    ) -> Vec<MissingField> {
        let wishes = std::mem::take(&mut self.wishes);
        let lower = |wish: &Wish<'_>| wish.spec.name.to_ascii_lowercase();
        let mut missing: Vec<MissingField> = Vec::new();
        for wish in &wishes {
            let Some((table, draft)) = tables.get_mut(wish.table) else {
                continue;
            };
            let at = table.place(&format!("columns.{}", wish.column));
            let rival = wishes.iter().find(|w| {
                w.table == wish.table && w.column != wish.column && lower(w) == lower(wish)
            });
            let same = missing.iter_mut().find(|m| {
                m.object.eq_ignore_ascii_case(wish.object)
                    && m.spec.name.eq_ignore_ascii_case(&wish.spec.name)
            });
            let refused = match (rival, same) {
                (Some(rival), _) => Some(format!(
                    "{} and {} would both go to a new field {}: none is made",
                    wish.column, rival.column, wish.spec.name
                )),
                (None, None) => {
                    missing.push(MissingField {
                        table: wish.table.into(),
                        column: wish.column.clone(),
                        object: wish.object.into(),
                        spec: wish.spec.clone(),
                        backfill: wish.backfill,
                    });
                    None
                }
                (None, Some(other)) => match derive::wider(other.spec.kind, wish.spec.kind) {
                    Some(kind) => {
                        other.spec.kind = kind;
                        None
                    }
                    None => Some(format!(
                        "{}.{} would be made for {}.{}, and cannot take its type as well",
                        wish.object, wish.spec.name, other.table, other.column
                    )),
                },
            };
            let why = match refused {
                Some(why) => {
                    let why = format!("{why}: left out and counted");
                    self.find(Severity::Warning, at, why.clone(), derive::MAP_IT);
                    why
                }
                None => {
                    let mut what = format!(
                        "a field {}.{} ({}) is to be made for it",
                        wish.object,
                        wish.spec.name,
                        words(wish.spec.kind)
                    );
                    let mut severity = Severity::Note;
                    if let Some(reservation) = wish.reservation {
                        what = format!("{what}; {}", reservation.words);
                        if reservation.lossy {
                            severity = Severity::Warning;
                        }
                    }
                    self.find(
                        severity,
                        at,
                        what,
                        "map it to another field, if that is not meant",
                    );
                    format!("its field {} is to be made", wish.spec.name)
                }
            };
            draft.unmapped.push(Unmapped {
                column: wish.column.clone(),
                why: why.into(),
            });
        }
        missing
    }
}

/// Why a column cannot have the field that bears its name.
fn collision(
    key: bool,
    writer: Option<&str>,
    field: &FieldDescription,
    wanted: &Wanted<'_, '_>,
) -> String {
    let name = &field.name;
    if key {
        format!("its field would be {name}, which is the external id")
    } else if let Some(writer) = writer {
        format!("its field would be {name}, which {writer} fills")
    } else if !naming::eligible(field) {
        format!("its field would be {name}, which is there and which we may not write")
    } else {
        format!(
            "its field would be {name}, which is there and does not take {}",
            wanted.column.type_name
        )
    }
}

fn words(kind: NewField) -> String {
    match kind {
        NewField::Text { length } => format!("text, {length} characters"),
        NewField::LongText { length } => format!("long text, {length} characters"),
        NewField::Number { precision, scale } => {
            format!("number, {precision} digits, {scale} of them right of the point")
        }
        NewField::Checkbox => "checkbox".into(),
        NewField::Date => "date".into(),
        NewField::DateTime => "date and time".into(),
        NewField::Time => "time".into(),
    }
}
