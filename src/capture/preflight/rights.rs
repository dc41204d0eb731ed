//! Which right is missing to read a table's existing rows, and the statement that gives it.

use super::facts::{TableFacts, table_facts};
use crate::capture::catalog::CatalogTable;
use crate::capture::refusal::ident;
use crate::capture::sql::Sql;
use crate::fault::Result;

/// Looks it up: what the role may not, and the SQL to run; `None` when nothing is missing.
pub(in crate::capture) async fn missing_rights(
    sql: &Sql,
    table: &CatalogTable,
    publication: &str,
) -> Result<Option<(String, String)>> {
    let name = format!("{}.{}", table.schema, table.name);
    let facts = table_facts(sql, publication, std::slice::from_ref(&name)).await?;
    Ok(facts
        .first()
        .and_then(|facts| missing(&sql.conninfo().user, table, facts)))
}

/// The same, of what is known.
pub(super) fn missing(
    user: &str,
    table: &CatalogTable,
    facts: &TableFacts,
) -> Option<(String, String)> {
    let role = ident(user);
    let quoted = format!("{}.{}", ident(&table.schema), ident(&table.name));
    let mut lacks = Vec::new();
    let mut grants = Vec::new();
    if !facts.may_use_schema {
        lacks.push(format!("may not use the schema {}", table.schema));
        grants.push(format!(
            "GRANT USAGE ON SCHEMA {} TO {role};",
            ident(&table.schema)
        ));
    }
    if !facts.may_select && !facts.may_select_some {
        lacks.push("may not read the table".to_owned());
        grants.push(format!("GRANT SELECT ON {quoted} TO {role};"));
    } else if !facts.may_select && !facts.unreadable.is_empty() {
        let columns: Vec<String> = facts.unreadable.iter().map(|c| ident(c)).collect();
        lacks.push(format!(
            "may not read its columns {}",
            facts.unreadable.join(", ")
        ));
        grants.push(format!(
            "GRANT SELECT ({}) ON {quoted} TO {role};",
            columns.join(", ")
        ));
    }
    if facts.row_security {
        lacks.push(
            "is shown only some rows of the table by its policies (row level security)".to_owned(),
        );
        grants.push(format!("ALTER ROLE {role} BYPASSRLS;"));
    }
    if lacks.is_empty() {
        return None;
    }
    let what = format!("the role {user:?} {}", lacks.join(" and "));
    Some((what, grants.join(" ")))
}
