//! The SQL text that reads a page. Values of keys go into it as literals, because rows are read by
//! the simple protocol, which has no parameters.

use super::super::refusal::{ident, literal};

/// A table, as it is read.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What stands behind FROM.
    pub(super) from: String,
    /// The publication's row filter.
    pub(super) row_filter: Option<String>,
    /// The columns to page by; empty when there is no such key.
    pub(super) key: Vec<KeyColumn>,
}

/// A column to page by, with the order of the index that makes it unique.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    /// Quoted; none when it is the column's own.
    pub(super) collation: Option<String>,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
    /// `OPERATOR(schema.name)` of `<`, `<=`, `=`, `>=`, `>`.
    pub(super) operators: [String; 5],
}

impl KeyColumn {
    /// The column, as the index sees it.
    fn expression(&self) -> String {
        match &self.collation {
            Some(collation) => format!("{} COLLATE {collation}", ident(&self.name)),
            None => ident(&self.name),
        }
    }

    fn order(&self) -> String {
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        format!(
            "{} USING {} NULLS {nulls}",
            self.expression(),
            self.before()
        )
    }

    fn before(&self) -> &str {
        let [less, _, _, _, greater] = &self.operators;
        if self.descending { greater } else { less }
    }

    fn behind(&self) -> &str {
        let [less, _, _, _, greater] = &self.operators;
        if self.descending { less } else { greater }
    }

    fn not_before(&self) -> &str {
        let [_, less, _, greater, _] = &self.operators;
        if self.descending { less } else { greater }
    }

    fn equal(&self) -> &str {
        let [_, _, equal, _, _] = &self.operators;
        equal
    }
}

/// Quotes a table's name.
pub(super) fn table(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A condition of the user's. On lines of its own: it may end in a comment.
fn parentheses(condition: &str) -> String {
    format!("(\n{condition}\n)")
}

impl Target {
    /// `WHERE …`, or nothing.
    pub(super) fn conditions(&self, after: Option<&[String]>, filter: Option<&str>) -> String {
        let mut all = Vec::new();
        all.extend(after.and_then(|after| behind(&self.key, after)));
        all.extend(self.row_filter.as_deref().map(parentheses));
        all.extend(filter.map(parentheses));
        if all.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", all.join(" AND "))
        }
    }

    /// The query for a page.
    pub(super) fn page(
        &self,
        columns: &[&str],
        after: Option<&[String]>,
        filter: Option<&str>,
        rows: usize,
    ) -> String {
        let columns: Vec<String> = columns.iter().map(|c| ident(c)).collect();
        let order: Vec<String> = self.key.iter().map(KeyColumn::order).collect();
        format!(
            "SELECT {} FROM {}{} ORDER BY {} LIMIT {rows}",
            columns.join(", "),
            self.from,
            self.conditions(after, filter),
            order.join(", "),
        )
    }
}

/// What is true of the rows behind `after`. A form that the key's index can be entered by: a
/// comparison of rows where all columns are compared alike, else one by the first column, and the
/// rest worked out.
fn behind(key: &[KeyColumn], after: &[String]) -> Option<String> {
    let (first, rest) = key.split_first()?;
    let expressions: Vec<String> = key.iter().map(KeyColumn::expression).collect();
    let literals: Vec<String> = after.iter().map(|value| literal(value)).collect();
    if rest.is_empty() {
        let (expression, value) = (expressions.first()?, literals.first()?);
        return Some(format!("{expression} {} {value}", first.behind()));
    }
    if rest.iter().all(|column| column.behind() == first.behind()) {
        return Some(format!(
            "ROW({}) {} ROW({})",
            expressions.join(", "),
            first.behind(),
            literals.join(", ")
        ));
    }
    let mut text = String::new();
    for ((column, expression), value) in key.iter().zip(&expressions).zip(&literals).rev() {
        let behind = format!("{expression} {} {value}", column.behind());
        text = if text.is_empty() {
            behind
        } else {
            format!(
                "{behind} OR ({expression} {} {value} AND ({text}))",
                column.equal()
            )
        };
    }
    let (expression, value) = (expressions.first()?, literals.first()?);
    Some(format!(
        "{expression} {} {value} AND ({text})",
        first.not_before()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(name: &str, schema: &str, descending: bool) -> KeyColumn {
        KeyColumn {
            name: name.into(),
            collation: None,
            descending,
            nulls_first: descending,
            operators: ["<", "<=", "=", ">=", ">"].map(|o| format!("OPERATOR({schema}.{o})")),
        }
    }

    fn target(key: Vec<KeyColumn>) -> Target {
        Target {
            from: "ONLY \"public\".\"t\"".into(),
            row_filter: None,
            key,
        }
    }

    #[test]
    fn a_page_is_read_by_its_key() {
        let single = target(vec![column("i\"d", "pg_catalog", false)]);
        assert_eq!(
            single.page(&["i\"d", "v"], None, None, 5),
            "SELECT \"i\"\"d\", \"v\" FROM ONLY \"public\".\"t\" ORDER BY \"i\"\"d\" USING OPERATOR(pg_catalog.<) NULLS LAST LIMIT 5"
        );
        let condition = single.conditions(Some(&["it's \\".to_owned()]), Some("x --"));
        assert_eq!(
            condition,
            " WHERE \"i\"\"d\" OPERATOR(pg_catalog.>) 'it''s \\' AND (\nx --\n)"
        );
        let mut two = target(vec![
            column("a", "pg_catalog", false),
            column("b", "pg_catalog", false),
        ]);
        two.row_filter = Some("(a > 1)".into());
        two.key[1].collation = Some("pg_catalog.\"C\"".into());
        let after = ["1".to_owned(), "2".to_owned()];
        assert_eq!(
            two.conditions(Some(&after), None),
            " WHERE ROW(\"a\", \"b\" COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.>) ROW('1', '2') AND (\n(a > 1)\n)"
        );
    }

    #[test]
    fn columns_that_are_ordered_differently_are_compared_one_by_one() {
        let mixed = target(vec![
            column("a", "pg_catalog", true),
            column("b", "ext", false),
            column("c", "ext", false),
        ]);
        let after = ["1", "2", "3"].map(str::to_owned);
        assert_eq!(
            mixed.conditions(Some(&after), None),
            " WHERE \"a\" OPERATOR(pg_catalog.<=) '1' AND (\"a\" OPERATOR(pg_catalog.<) '1' OR (\"a\" OPERATOR(pg_catalog.=) '1' AND (\"b\" OPERATOR(ext.>) '2' OR (\"b\" OPERATOR(ext.=) '2' AND (\"c\" OPERATOR(ext.>) '3')))))"
        );
    }
}
