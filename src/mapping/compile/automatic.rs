//! Columns without a line of their own: by a routing rule, else by the naming rule.

use std::sync::Arc;

use super::columns::kind_for;
use super::fields::{Draft, undescribed};
use super::{Compiler, Prepared};
use crate::capture::CatalogColumn;
use crate::config::{NullRule, OnInvalid, OnRename, RoutingRule, Unmapped as Route, matches};
use crate::fault::Severity;
use crate::mapping::FieldDescription;
use crate::mapping::bind::unmapped;
use crate::mapping::naming;
use crate::mapping::table::{Adjusted, ColumnMapping, DroppedColumn, FieldRule, Unmapped};
use crate::value::ValueType;

/// What the rules say of a column.
pub(super) enum Way<'a> {
    /// The first of these fields that is there, free and fitting.
    Fields {
        names: Vec<String>,
        rule: Option<&'a RoutingRule>,
    },
    /// It is left out; why.
    Ignore(String),
    /// Its table cannot go on; why.
    Halt(String),
}

/// What is wanted of a field: for a column, under which rule.
pub(super) struct Wanted<'c, 'a> {
    pub(super) column: &'c CatalogColumn,
    pub(super) value_type: ValueType,
    pub(super) rule: Option<&'a RoutingRule>,
}

const MAP_IT: &str = "map it, or say that it is left out: { ignore = true }";

impl<'a> Compiler<'a> {
    /// What the rules say of a column of this name.
    fn way(&self, table: &Prepared<'a>, name: &str, column: &CatalogColumn) -> Way<'a> {
        let source = table.source;
        let short = short_type(&column.type_name);
        let hit = |pattern: &Option<String>, texts: &[&str]| {
            pattern
                .as_ref()
                .is_none_or(|p| texts.iter().any(|t| matches(p, t)))
        };
        let found = (1..).zip(&self.config.routing.rules).find(|(_, rule)| {
            hit(&rule.schema, &[&source.schema])
                && hit(&rule.table, &[&source.name])
                && hit(&rule.column, &[name])
                && hit(&rule.column_type, &[&column.type_name, &short])
        });
        if let Some((number, rule)) = found {
            if rule.ignore {
                return Way::Ignore(format!("routing.rules[{number}] leaves it out: counted"));
            }
            if rule.halt {
                return Way::Halt(format!("routing.rules[{number}] says halt"));
            }
            let names = match &rule.field {
                Some(field) => vec![expand(field, name, &source.name)],
                None => naming::candidates(name).into(),
            };
            return Way::Fields {
                names,
                rule: Some(rule),
            };
        }
        let routing = &self.config.routing;
        match routing.unmapped {
            Route::Auto => Way::Fields {
                names: naming::candidates(name).into(),
                rule: None,
            },
            Route::Ignore => Way::Ignore(unmapped(Route::Ignore, routing.missing_field, name).0),
            Route::Halt => Way::Halt(unmapped(Route::Halt, routing.missing_field, name).0),
        }
    }

    /// A column without an explicit rule.
    pub(super) fn route(
        &mut self,
        table: &Prepared<'a>,
        draft: &mut Draft,
        column: &'a CatalogColumn,
    ) {
        let value_type = (self.types)(column.type_oid, column.typmod);
        if let Some((before, field, rule)) = self.kept(table, draft, column.attnum, column) {
            let wanted = Wanted {
                column,
                value_type,
                rule,
            };
            return self.keep(table, draft, wanted, before, &field);
        }
        let at = table.place(&format!("columns.{}", column.name));
        match self.way(table, &column.name, column) {
            Way::Ignore(why) => {
                self.find(Severity::Note, at, why.clone(), MAP_IT);
                draft.leave_out(column, why);
            }
            Way::Halt(why) => {
                self.wrong(
                    table.history.ran(),
                    table.name,
                    at,
                    why.clone(),
                    MAP_IT,
                    &[],
                );
                draft.leave_out(column, why);
            }
            Way::Fields { names, rule } => {
                let wanted = Wanted {
                    column,
                    value_type,
                    rule,
                };
                match self.named(table, draft, &names, &wanted.value_type) {
                    Some(field) => {
                        let by = match rule {
                            Some(_) => "by a routing rule",
                            None => "by the naming rule",
                        };
                        self.note(at, format!("it goes to {} {by}", field.name));
                        self.bind_field(table, draft, wanted, field, None);
                    }
                    None => self.without_field(table, draft, wanted, &names),
                }
            }
        }
    }

    /// The field that the column filled before, as long as the rules give it to one of its names; with
    /// that name.
    pub(super) fn kept<'n>(
        &self,
        table: &Prepared<'a>,
        draft: &Draft,
        attnum: i16,
        column: &'n CatalogColumn,
    ) -> Option<(&'n str, String, Option<&'a RoutingRule>)>
    where
        'a: 'n,
    {
        table.history.earlier(column).next()?;
        let oid = table.source.oid;
        let known = self.remembered.columns.get(&(oid, attnum));
        let mut of_table = self.remembered.columns.range((oid, 0)..=(oid, i16::MAX));
        if known.is_none() && of_table.next().is_some() && attnum != 0 {
            return None;
        }
        let before = |field: &str| match known {
            Some(known) => known.eq_ignore_ascii_case(field),
            None => self.ours(table, field),
        };
        let mut names: Vec<&'n str> = table.history.names(column);
        names.push(&column.name);
        names.into_iter().find_map(|name| {
            let Way::Fields { names, rule } = self.way(table, name, column) else {
                return None;
            };
            let field = names.into_iter().find(|field| {
                before(field) && !draft.is_key_field(field) && !draft.written(field)
            })?;
            Some((name, field, rule))
        })
    }

    /// The column goes where it went before, whatever has happened to its name or its field.
    fn keep(
        &mut self,
        table: &Prepared<'a>,
        draft: &mut Draft,
        wanted: Wanted<'_, 'a>,
        before: &str,
        field: &str,
    ) {
        let column = wanted.column;
        let what = format!("columns.{}", column.name);
        let found = self.field(table, &what, field, kind_for(&wanted.value_type));
        let Some((field, fault)) = found else {
            return;
        };
        let fault = fault.or_else(|| self.writable(table, &what, &field));
        if *before != *column.name {
            let words = format!("the column {before} is called {} now", column.name);
            match self.config.routing.on_rename {
                OnRename::Follow => {
                    let words = format!("{words}: it still goes to {}", field.name);
                    self.note(table.place(&what), words);
                }
                OnRename::Halt => {
                    let line = format!("columns.{} = {:?}", column.name, field.name);
                    self.renamed(table.name, table.place(&what), words, line);
                }
            }
        } else if fault.is_none() {
            self.note(table.place(&what), format!("it goes to {}", field.name));
        }
        self.bind_field(table, draft, wanted, field, fault);
    }

    fn bind_field(
        &mut self,
        table: &Prepared<'a>,
        draft: &mut Draft,
        wanted: Wanted<'_, 'a>,
        field: Arc<FieldDescription>,
        fault: Option<crate::fault::Fault>,
    ) {
        let column = wanted.column;
        let at = table.place(&format!("columns.{}", column.name));
        draft.claim(
            &field.name,
            format!("columns.{} (by its name)", column.name),
        );
        let slot = draft.slot(&field, None);
        draft.break_field(slot, fault);
        if !self.fits(table, &column.name, column, &field, &wanted.value_type) {
            return draft.leave_out(column, format!("{} cannot take its type", field.name));
        }
        let null = self.null(table, &at, column, &field, &NullRule::Clear, false);
        let rule = FieldRule {
            normal: None,
            slot,
            field,
            null,
            parent: None,
            value_type: wanted.value_type,
            automatic: true,
            backfill: wanted.rule.is_some_and(|r| r.backfill),
            high: false,
            on_invalid: OnInvalid::default(),
            adjusted: Adjusted::default(),
        };
        draft
            .columns
            .insert(column.name.clone(), ColumnMapping::Field(Arc::new(rule)));
    }

    /// The first of these fields that we may write, that is free and that takes the type.
    fn named(
        &self,
        table: &Prepared<'a>,
        draft: &Draft,
        names: &[String],
        value_type: &ValueType,
    ) -> Option<Arc<FieldDescription>> {
        let free = |name: &str| !draft.is_key_field(name) && !draft.written(name);
        let Some(object) = table.object else {
            // Of a lost object only what was written before is known.
            let name = names.first().filter(|n| !table.lost && free(n))?;
            return Some(Arc::new(undescribed(name, kind_for(value_type))));
        };
        let field = names.iter().find_map(|name| {
            let field = object.field(name)?;
            (free(&field.name) && naming::suits(field, value_type)).then_some(field)
        });
        field.map(|f| Arc::new(f.clone()))
    }

    /// Automatic columns that are gone: rows of before still bring them, and `on_drop` may clear.
    pub(super) fn dropped_automatic(&mut self, table: &Prepared<'a>, draft: &mut Draft) {
        for (attnum, column) in table.history.gone(table.source) {
            let known = table.table.columns.contains_key(&*column.name)
                || table.key_numbers.contains(&attnum)
                || table.key.columns.contains(&column.name)
                || draft.dropped.iter().any(|d| {
                    d.attnum == attnum && attnum != 0 || attnum == 0 && d.name == column.name
                });
            if known {
                continue;
            }
            let field = self
                .kept(table, draft, attnum, column)
                .map(|(_, field, _)| field);
            let value_type = (self.types)(column.type_oid, column.typmod);
            let Some(field) = field.and_then(|field| match table.object {
                Some(object) => object.field(&field).cloned(),
                None => Some(undescribed(&field, kind_for(&value_type))),
            }) else {
                continue;
            };
            if !naming::suits(&field, &value_type) {
                continue;
            }
            draft.claim(&field.name, format!("columns.{} (dropped)", column.name));
            let field = Arc::new(field);
            let rule = Arc::new(FieldRule {
                normal: None,
                slot: draft.slot(&field, None),
                null: crate::mapping::bind::null_by_default(&field),
                field,
                parent: None,
                value_type,
                automatic: true,
                backfill: false,
                high: false,
                on_invalid: OnInvalid::default(),
                adjusted: Adjusted::default(),
            });
            let hidden = attnum != 0
                && !table.source.dropped.is_empty()
                && !table.source.dropped.contains(&attnum);
            let clear = self.dropped(table, &column.name, hidden, &rule, Severity::Note);
            draft.dropped.push(DroppedColumn {
                attnum,
                name: column.name.clone(),
                rule,
                clear,
            });
        }
    }
}

impl Draft {
    /// The column goes nowhere.
    pub(super) fn leave_out(&mut self, column: &CatalogColumn, why: impl Into<Box<str>>) {
        self.unmapped.push(Unmapped {
            column: column.name.clone(),
            why: why.into(),
        });
    }
}

/// The name of a field for a column of a table.
fn expand(pattern: &str, column: &str, table: &str) -> String {
    let words = |name: &str| {
        let [custom, _] = naming::candidates(name);
        custom.trim_end_matches("__c").to_owned()
    };
    pattern
        .replace("{Column}", &words(column))
        .replace("{column}", column)
        .replace("{Table}", &words(table))
        .replace("{table}", table)
}

/// The short name of a type, for those that Postgres prints long.
///
/// <https://www.postgresql.org/docs/current/datatype.html#DATATYPE-TABLE>
fn short_type(name: &str) -> String {
    let long = [
        ("character varying", "varchar"),
        ("character", "char"),
        ("bigint", "int8"),
        ("integer", "int4"),
        ("smallint", "int2"),
        ("double precision", "float8"),
        ("real", "float4"),
        ("boolean", "bool"),
        ("bit varying", "varbit"),
    ];
    for (zone, suffix) in [(" with time zone", "tz"), (" without time zone", "")] {
        if let Some(at) = name.find(zone) {
            // timestamp(3) with time zone
            let head = name.get(..at).unwrap_or(name);
            let tail = name.get(at + zone.len()..).unwrap_or_default();
            return match head.split_once('(') {
                Some((base, digits)) => format!("{base}{suffix}({digits}{tail}"),
                None => format!("{head}{suffix}{tail}"),
            };
        }
    }
    for (from, to) in long {
        if let Some(rest) = name.strip_prefix(from)
            && (rest.is_empty() || rest.starts_with(['(', '[']))
        {
            return format!("{to}{rest}");
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_short_names() {
        for (long, short) in [
            ("character varying(80)", "varchar(80)"),
            ("character varying", "varchar"),
            ("character(3)", "char(3)"),
            ("timestamp(3) with time zone", "timestamptz(3)"),
            ("timestamp without time zone", "timestamp"),
            ("timestamp with time zone[]", "timestamptz[]"),
            ("time with time zone", "timetz"),
            ("bigint[]", "int8[]"),
            ("numeric(12,2)", "numeric(12,2)"),
            ("text", "text"),
        ] {
            assert_eq!(short_type(long), short);
        }
    }

    #[test]
    fn names_of_fields_are_made_from_names() {
        for (pattern, made) in [
            ("{Column}__c", "Shoe_Size__c"),
            ("App_{Table}_{Column}__c", "App_Order_Line_Shoe_Size__c"),
            ("x{column}y{table}", "xshoe_sizeyorder_line"),
            ("Plain__c", "Plain__c"),
        ] {
            assert_eq!(expand(pattern, "shoe_size", "order_line"), made);
        }
    }
}
