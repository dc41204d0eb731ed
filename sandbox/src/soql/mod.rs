//! The part of SOQL that row-by-row clients use.
//!
//! `SELECT` fields (with parent paths), `COUNT()` or `FIELDS(...)` `FROM` one object, with
//! `WHERE`, `ORDER BY`, `LIMIT` and `OFFSET`. Not there: `GROUP BY` and other aggregates,
//! child subqueries, `TYPEOF`; they are refused as malformed.
//!
//! Text is compared without case, except in fields that are unique and case-sensitive
//! (salesforce.md §9). Rows come in order of creation unless ordered otherwise.

mod ast;
mod bind;
mod eval;
mod lexer;
mod output;
mod parser;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::ids::Id;
use crate::store::Store;
use crate::store::grants::Viewer;
use bind::Bound;
pub(crate) use eval::like;

/// Why a query was refused: an error code and its message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueryError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl QueryError {
    fn new(code: &'static str, message: impl Into<String>) -> QueryError {
        QueryError {
            code,
            message: message.into(),
        }
    }

    /// With the query, a caret under the place, and the place in words.
    fn at(code: &'static str, query: &str, at: usize, what: &str) -> QueryError {
        let column = query.get(..at).map_or(0, |before| before.chars().count());
        let from = query
            .char_indices()
            .rev()
            .map(|(i, _)| i)
            .find(|i| *i + 40 <= at)
            .unwrap_or(0);
        let shown = query.get(from..).unwrap_or(query);
        let shown: String = shown.chars().take(80).collect();
        let indent = query.get(from..at).map_or(0, |t| t.chars().count());
        let caret = format!("{}^", " ".repeat(indent));
        QueryError::new(
            code,
            format!(
                "\n{shown}\n{caret}\nERROR at Row:1:Column:{}\n{what}",
                column + 1
            ),
        )
    }
}

/// A query whose matching rows are known: what is left is to show them, page by page.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    bound: Bound,
    viewer: Viewer,
    ids: Vec<Id>,
    count_only: Option<usize>,
}

/// What a query looks like, as far as objects differ in what they take.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The object, in lower case.
    pub(crate) from: String,
    pub(crate) count: bool,
    pub(crate) or: bool,
    /// Anything but a comparison for equality.
    pub(crate) not: bool,
    /// Whether `LIMIT` and `OFFSET` are heeded.
    pub(crate) limited: bool,
}

/// Reads a query without running it.
pub(crate) fn shape(query: &str) -> Result<Shape, QueryError> {
    fn any(expr: &ast::Expr, test: &impl Fn(&ast::Expr) -> bool) -> bool {
        test(expr)
            || match expr {
                ast::Expr::And(list) | ast::Expr::Or(list) => list.iter().any(|e| any(e, test)),
                ast::Expr::Not(inner) => any(inner, test),
                ast::Expr::Compare { .. } => false,
            }
    }
    let parsed = parser::parse(query)?;
    let has = |test: &dyn Fn(&ast::Expr) -> bool| {
        parsed.filter.as_ref().is_some_and(|f| any(f, &|e| test(e)))
    };
    Ok(Shape {
        from: parsed.from.to_lowercase(),
        count: parsed.items.iter().any(|i| matches!(i, ast::Item::Count)),
        or: has(&|e| matches!(e, ast::Expr::Or(_))),
        not: has(&|e| match e {
            ast::Expr::Not(_) => true,
            ast::Expr::Compare { op, .. } => !matches!(op, ast::Op::Eq | ast::Op::In),
            _ => false,
        }),
        limited: true,
    })
}

/// Runs a query. `deleted` includes the recycle bin, as queryAll does.
pub(crate) fn run(
    store: &Store,
    viewer: Viewer,
    query: &str,
    deleted: bool,
    now: i64,
) -> Result<Cursor, QueryError> {
    run_limited(store, viewer, query, deleted, now, true)
}

/// The same, with `LIMIT` and `OFFSET` ignored unless `limited`.
pub(crate) fn run_limited(
    store: &Store,
    viewer: Viewer,
    query: &str,
    deleted: bool,
    now: i64,
    limited: bool,
) -> Result<Cursor, QueryError> {
    if query.chars().count() > 100_000 {
        return Err(QueryError::new(
            "MALFORMED_QUERY",
            "SOQL statements cannot be longer than 100000 characters.",
        ));
    }
    let mut parsed = parser::parse(query)?;
    if !limited {
        (parsed.limit, parsed.offset) = (None, 0);
    }
    let bound = bind::bind(store, viewer, query, parsed, now)?;
    let ids = eval::matching(store, &bound, deleted);
    let count_only = bound.count.then_some(ids.len());
    Ok(Cursor {
        bound,
        viewer,
        ids,
        count_only,
    })
}

impl Cursor {
    /// How many rows match.
    pub(crate) fn total(&self) -> usize {
        self.count_only.unwrap_or(self.ids.len())
    }

    /// The name of the object that is read.
    pub(crate) fn object_name<'a>(&self, store: &'a Store) -> &'a str {
        &store.schema.object(self.bound.object).name
    }

    /// Whether the query was made by this viewer.
    pub(crate) fn is_of(&self, viewer: Viewer) -> bool {
        self.viewer == viewer
    }

    /// One page of the answer. `next` makes the URL of the page that starts at a row.
    pub(crate) fn page(
        &self,
        store: &Store,
        version: &str,
        start: usize,
        size: usize,
        next: impl FnOnce(usize) -> String,
    ) -> Value {
        if let Some(count) = self.count_only {
            return json!({"totalSize": count, "done": true, "records": []});
        }
        let end = self.ids.len().min(start.saturating_add(size));
        let rows = self.ids.get(start..end).unwrap_or(&[]);
        let records: Vec<Value> = rows
            .iter()
            .filter_map(|id| store.get(*id))
            .map(|row| output::record(store, &self.bound, row, version))
            .collect();
        if end < self.ids.len() {
            let url = next(end);
            json!({"totalSize": self.ids.len(), "done": false, "nextRecordsUrl": url, "records": records})
        } else {
            json!({"totalSize": self.ids.len(), "done": true, "records": records})
        }
    }

    /// The names of the columns, with the relationships that lead to them.
    pub(crate) fn names(&self, store: &Store) -> Vec<String> {
        output::names(store, &self.bound)
    }

    /// Rows as a bulk query gives them: texts, empty for null. Rows that were removed for
    /// good since are left out.
    pub(crate) fn texts<'a>(
        &'a self,
        store: &'a Store,
        start: usize,
        size: usize,
    ) -> impl Iterator<Item = Vec<String>> + 'a {
        let end = self.ids.len().min(start.saturating_add(size));
        let rows = self.ids.get(start..end).unwrap_or(&[]).iter();
        rows.filter_map(|id| store.get(*id))
            .map(|row| output::texts(store, &self.bound, row))
    }

    /// Whether an address or a location is selected.
    pub(crate) fn has_compound(&self, store: &Store) -> bool {
        output::has_compound(store, &self.bound)
    }

    /// What `&columns=true` asks for.
    pub(crate) fn columns(&self, store: &Store) -> Value {
        output::columns(store, &self.bound)
    }
}
