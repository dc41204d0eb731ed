//! Looking up the names of a query and checking that its comparisons make sense.

use serde_json::Value;

use super::QueryError;
use super::ast::{Expr, Item, Literal, Op, Path, Query};
use crate::clock;
use crate::schema::Object;
use crate::schema::field::{Field, Kind, Source};
use crate::store::Store;
use crate::store::grants::Viewer;

/// A field, and the lookups to follow from the row to get to its record.
#[derive(Clone, Debug)]
pub(super) struct FieldPath {
    /// Field positions of the lookups, each in the object the one before leads to.
    pub(super) hops: Vec<usize>,
    pub(super) object: usize,
    pub(super) field: usize,
    /// Through a polymorphic lookup: the field of this name in whatever record it is.
    pub(super) by_name: Option<String>,
}

/// A condition with its names looked up and its literals in the stored form.
#[derive(Clone, Debug)]
pub(super) enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Compare {
        path: FieldPath,
        op: Op,
        values: Vec<Operand>,
        exact: bool,
    },
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Null,
    /// Folded to lower case unless the field tells case apart.
    Text(String),
    Number(f64),
    Bool(bool),
    /// A half-open stretch of time, in the stored form of the field.
    Range(String, String),
}

/// A sort key.
#[derive(Clone, Debug)]
pub(super) struct SortKey {
    pub(super) path: FieldPath,
    pub(super) descending: bool,
    pub(super) nulls_last: bool,
}

/// A query ready to run.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) object: usize,
    pub(super) columns: Vec<FieldPath>,
    pub(super) count: bool,
    pub(super) filter: Option<Test>,
    pub(super) order: Vec<SortKey>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

struct Binder<'a> {
    store: &'a Store,
    viewer: Viewer,
    query: &'a str,
    object: usize,
    alias: Option<String>,
    now: i64,
}

/// Looks up every name of a query.
pub(super) fn bind(
    store: &Store,
    viewer: Viewer,
    text: &str,
    query: Query,
    now: i64,
) -> Result<Bound, QueryError> {
    let Some(object) = store.find_for(viewer, &query.from) else {
        let at = text.find(&query.from).unwrap_or(0);
        let what = format!(
            "sObject type '{}' is not supported. If you are attempting to use a custom object, be \
             sure to append the '__c' after the entity name. Please reference your WSDL or the \
             describe call for the appropriate names.",
            query.from
        );
        return Err(QueryError::at("INVALID_TYPE", text, at, &what));
    };
    if query.offset > 2_000 {
        return Err(QueryError::new(
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Maximum SOQL offset allowed is 2000",
        ));
    }
    let binder = Binder {
        store,
        viewer,
        query: text,
        object,
        alias: query.alias,
        now,
    };
    let mut columns: Vec<FieldPath> = Vec::new();
    for item in &query.items {
        match item {
            Item::Count => {}
            Item::Field(path) => columns.push(binder.path(path)?),
            Item::Fields(which) => columns.extend(binder.fields(which, query.limit)?),
        }
    }
    let mut named: Vec<String> = query
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Field(path) => Some(path.parts.join(".").to_lowercase()),
            _ => None,
        })
        .collect();
    named.sort_unstable();
    if let Some(twice) = named.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(QueryError::new(
            "MALFORMED_QUERY",
            format!("duplicate field selected: {}", twice[0]),
        ));
    }
    let order = query.order.iter().map(|order| {
        let path = binder.path(&order.path)?;
        let field = binder.field(&path);
        if field.is_some_and(|f| {
            f.is_long_text() || f.kind.is_compound() || f.kind == Kind::MultiPicklist
        }) {
            let what = format!(
                "field '{}' can not be sorted in a query call",
                order.path.parts.join(".")
            );
            return Err(QueryError::at(
                "MALFORMED_QUERY",
                text,
                order.path.at,
                &what,
            ));
        }
        Ok(SortKey {
            path,
            descending: order.descending,
            nulls_last: order.nulls_last,
        })
    });
    let order = order.collect::<Result<_, _>>()?;
    let filter = query
        .filter
        .as_ref()
        .map(|filter| binder.test(filter))
        .transpose()?;
    let count = query.items.iter().any(|item| matches!(item, Item::Count));
    Ok(Bound {
        object,
        columns,
        count,
        filter,
        order,
        limit: query.limit,
        offset: query.offset,
    })
}

impl Binder<'_> {
    fn field(&self, path: &FieldPath) -> Option<&Field> {
        self.store.schema.object(path.object).fields.get(path.field)
    }

    fn no_column(&self, name: &str, object: &Object, at: usize) -> QueryError {
        let what = format!(
            "No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be \
             sure to append the '__c' after the custom field name. Please reference your WSDL or the \
             describe call for the appropriate names.",
            object.name
        );
        QueryError::at("INVALID_FIELD", self.query, at, &what)
    }

    fn visible(&self, object: usize, name: &str) -> Option<usize> {
        let definition = self.store.schema.object(object);
        let at = definition.field(name)?;
        self.store
            .sees(self.viewer, object, at, &definition.fields[at])
            .then_some(at)
    }

    fn path(&self, path: &Path) -> Result<FieldPath, QueryError> {
        let mut parts: &[String] = &path.parts;
        let mut object = self.object;
        let own = |name: &String| {
            self.alias
                .as_ref()
                .is_some_and(|alias| alias.eq_ignore_ascii_case(name))
                || self
                    .store
                    .schema
                    .object(self.object)
                    .name
                    .eq_ignore_ascii_case(name)
        };
        if let [first, rest @ ..] = parts
            && !rest.is_empty()
            && own(first)
            && self
                .store
                .schema
                .object(object)
                .relationship(first)
                .is_none()
        {
            parts = rest;
        }
        let [steps @ .., last] = parts else {
            return Err(QueryError::new("MALFORMED_QUERY", "empty path"));
        };
        if steps.len() > 5 {
            return Err(QueryError::new(
                "MALFORMED_QUERY",
                "relationship path is more than 5 levels deep",
            ));
        }
        let mut hops = Vec::new();
        for (level, step) in steps.iter().enumerate() {
            let definition = self.store.schema.object(object);
            let hop = definition.relationship(step).filter(|at| {
                self.store
                    .sees(self.viewer, object, *at, &definition.fields[*at])
            });
            let Some(hop) = hop else {
                let what = format!(
                    "Didn't understand relationship '{step}' in field path. If you are attempting to use a custom relationship, be sure to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the appropriate names."
                );
                return Err(QueryError::at("INVALID_FIELD", self.query, path.at, &what));
            };
            hops.push(hop);
            let field = &definition.fields[hop];
            if field.polymorphic() {
                let plain = ["Id", "Name", "Type"]
                    .iter()
                    .find(|n| n.eq_ignore_ascii_case(last));
                return match plain.filter(|_| level + 1 == steps.len()) {
                    Some(name) => Ok(FieldPath {
                        hops,
                        object,
                        field: hop,
                        by_name: Some((*name).to_owned()),
                    }),
                    None => Err(self.no_column(last, definition, path.at)),
                };
            }
            let target = field
                .reference_to
                .first()
                .and_then(|name| self.store.schema.find(name));
            object = target.ok_or_else(|| self.no_column(step, definition, path.at))?;
        }
        match self.visible(object, last) {
            Some(field) => Ok(FieldPath {
                hops,
                object,
                field,
                by_name: None,
            }),
            None => Err(self.no_column(last, self.store.schema.object(object), path.at)),
        }
    }

    fn fields(&self, which: &str, limit: Option<usize>) -> Result<Vec<FieldPath>, QueryError> {
        let bounded = limit.is_some_and(|limit| limit <= 200);
        if which != "STANDARD" && !bounded {
            return Err(QueryError::new(
                "MALFORMED_QUERY",
                "The SOQL FIELDS function must have a LIMIT of at most 200",
            ));
        }
        let wanted: fn(&Field) -> bool = match which {
            "ALL" => |_| true,
            "STANDARD" => |f| !f.custom,
            "CUSTOM" => |f| f.custom,
            _ => {
                return Err(QueryError::new(
                    "MALFORMED_QUERY",
                    format!("unknown FIELDS argument: {which}"),
                ));
            }
        };
        let object = self.store.schema.object(self.object);
        let seen = object
            .fields
            .iter()
            .enumerate()
            .filter(|(at, f)| wanted(f) && self.store.sees(self.viewer, self.object, *at, f));
        Ok(seen
            .map(|(field, _)| FieldPath {
                hops: Vec::new(),
                object: self.object,
                field,
                by_name: None,
            })
            .collect())
    }

    fn test(&self, expr: &Expr) -> Result<Test, QueryError> {
        let all = |list: &[Expr]| {
            list.iter()
                .map(|e| self.test(e))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match expr {
            Expr::And(list) => Test::And(all(list)?),
            Expr::Or(list) => Test::Or(all(list)?),
            Expr::Not(inner) => Test::Not(Box::new(self.test(inner)?)),
            Expr::Compare {
                path: name,
                op,
                values,
            } => {
                let path = self.path(name)?;
                let shown = name.parts.join(".");
                let Some(field) = self.field(&path) else {
                    return Err(QueryError::new("INVALID_FIELD", shown));
                };
                let refuse =
                    |what: String| QueryError::at("INVALID_FIELD", self.query, name.at, &what);
                if path.by_name.is_none() && (field.is_long_text() || field.kind.is_compound()) {
                    return Err(refuse(format!(
                        "field '{shown}' can not be filtered in a query call"
                    )));
                }
                let multi = matches!(op, Op::Includes | Op::Excludes);
                let like_ok = field.kind.is_text() && field.kind != Kind::MultiPicklist;
                if (*op == Op::Like && !like_ok && path.by_name.is_none())
                    || (multi && field.kind != Kind::MultiPicklist)
                {
                    let what = format!("invalid operator on {} field", field.kind.name());
                    return Err(QueryError::at(
                        "INVALID_QUERY_FILTER_OPERATOR",
                        self.query,
                        name.at,
                        &what,
                    ));
                }
                let exact = path.by_name.is_none() && field.unique && field.case_sensitive;
                let values = values.iter().map(|value| match &path.by_name {
                    Some(_) => {
                        text_operand(value).ok_or_else(|| refuse(wrong_type(&shown, "string")))
                    }
                    None => self
                        .operand(field, value, exact)
                        .map_err(|wanted| refuse(wrong_type(&shown, wanted))),
                });
                Test::Compare {
                    values: values.collect::<Result<_, _>>()?,
                    path,
                    op: *op,
                    exact,
                }
            }
        })
    }

    /// A literal in the stored form of a field, or the type that it should have had.
    fn operand(
        &self,
        field: &Field,
        literal: &Literal,
        exact: bool,
    ) -> Result<Operand, &'static str> {
        let kind = field.kind;
        match (kind, literal) {
            (_, Literal::Null) => Ok(Operand::Null),
            (Kind::Boolean, Literal::Bool(flag)) => Ok(Operand::Bool(*flag)),
            (Kind::Boolean, _) => Err("boolean"),
            (Kind::Int | Kind::Double | Kind::Currency | Kind::Percent, Literal::Number(n)) => {
                Ok(Operand::Number(*n))
            }
            (Kind::Int | Kind::Double | Kind::Currency | Kind::Percent, _) => Err(kind.name()),
            (Kind::Date, Literal::Date(text)) => clock::parse_date(text)
                .map(|d| Operand::Text(d.to_string()))
                .ok_or("date"),
            (Kind::DateTime, Literal::DateTime(text)) => clock::parse_datetime(text)
                .map(|at| Operand::Text(clock::datetime(at)))
                .ok_or("dateTime"),
            (Kind::Date | Kind::DateTime, Literal::Range(word, n)) => {
                Ok(self.range(kind, word, n.unwrap_or(0)))
            }
            (Kind::Date, _) => Err("date"),
            (Kind::DateTime, _) => Err("dateTime"),
            (Kind::Id | Kind::Reference, Literal::Text(text)) => {
                match crate::ids::Id::parse(text) {
                    Some(id) => Ok(Operand::Text(id.to_string().to_lowercase())),
                    None if text.is_empty() => Ok(Operand::Null),
                    None => Err("ID"),
                }
            }
            (_, Literal::Text(text)) if text.is_empty() => Ok(Operand::Null),
            (_, Literal::Text(text)) if exact => Ok(Operand::Text(text.clone())),
            (_, Literal::Text(text)) => Ok(Operand::Text(text.to_lowercase())),
            _ => Err("string"),
        }
    }

    fn range(&self, kind: Kind, word: &str, n: i64) -> Operand {
        let (from, to) = match word {
            "YESTERDAY" => (-1, 0),
            "TOMORROW" => (1, 2),
            "LAST_N_DAYS" => (-n, 1),
            "NEXT_N_DAYS" => (1, n + 1),
            "N_DAYS_AGO" => (-n, 1 - n),
            _ => (0, 1),
        };
        let show = |days| {
            let date = clock::day(self.now, days);
            match kind {
                Kind::Date => date.to_string(),
                _ => clock::datetime(clock::midnight(date)),
            }
        };
        Operand::Range(show(from), show(to))
    }
}

fn text_operand(literal: &Literal) -> Option<Operand> {
    match literal {
        Literal::Null => Some(Operand::Null),
        Literal::Text(text) => Some(Operand::Text(text.to_lowercase())),
        _ => None,
    }
}

fn wrong_type(shown: &str, wanted: &str) -> String {
    match wanted {
        "string" | "ID" => format!(
            "value of filter criterion for field '{shown}' must be of type {wanted} and should be enclosed in quotes"
        ),
        _ => format!(
            "value of filter criterion for field '{shown}' must be of type {wanted} and should not be enclosed in quotes"
        ),
    }
}

/// Whether the field is kept in the row and indexed, so that rows can be found by it.
pub(super) fn is_indexed(object: &Object, path: &FieldPath) -> bool {
    path.hops.is_empty() && object.fields[path.field].indexed()
}

/// Whether the field is the record's own id.
pub(super) fn is_id(object: &Object, path: &FieldPath) -> bool {
    path.hops.is_empty()
        && object.fields[path.field].source == Source::System(crate::schema::field::System::Id)
}

/// A stored value in the form that operands have.
pub(super) fn comparable(value: &Value, exact: bool) -> Operand {
    match value {
        Value::String(text) if exact => Operand::Text(text.clone()),
        Value::String(text) => Operand::Text(text.to_lowercase()),
        Value::Number(number) => Operand::Number(number.as_f64().unwrap_or(0.0)),
        Value::Bool(flag) => Operand::Bool(*flag),
        _ => Operand::Null,
    }
}
