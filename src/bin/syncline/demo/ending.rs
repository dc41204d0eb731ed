//! What was seen, in numbers.

use std::collections::BTreeMap;

use serde_json::Value;
use syncline::fault::Result;
use syncline::supervisor::intake::MESSAGES;

use super::app::{App, Table};
use super::compare::compare;
use super::crm::Crm;
use super::letters::Letters;
use super::load::Loaded;
use super::machine::failed;
use super::order;
use super::play::Play;
use super::schema::Evolution;
use super::screen::{Screen, count, span};
use super::sidecar::Sidecar;

/// The verdicts that a change can have.
const VERDICTS: [&str; 7] = [
    "applied",
    "merged",
    "unchanged",
    "stale",
    "kept",
    "ignored",
    "pending",
];
/// Most differences that are printed.
const SHOWN: usize = 20;

/// What the acts before it have to tell.
pub(super) struct Seen<'a> {
    pub(super) play: &'a Play,
    pub(super) loaded: &'a Loaded,
    pub(super) evolution: &'a Evolution,
    pub(super) letters: &'a Letters,
}

/// Compares, adds up, and prints. True when everything is right.
pub(super) async fn tell(
    screen: &Screen,
    app: &App,
    crm: &Crm,
    sidecar: &mut Sidecar,
    seen: &Seen<'_>,
) -> Result<bool> {
    let Seen {
        play,
        loaded,
        evolution,
        letters,
    } = *seen;
    let calls = crm.calls().await?;
    // From here on nothing goes wrong any more: what is compared is read in peace.
    let struck = crm.struck().await?;
    let status = sidecar.status().await?;
    let comparison = compare(app, crm, &play.archived).await?;
    let writes = crm.writes().await?;
    let order = order::check(&writes);
    let lag = order::lag(&writes, &app.versions)
        .ok_or_else(|| failed("no change was found in the CRM's write log"))?;

    let mut records = 0;
    let mut fields = 0;
    for (object, rows, values) in &comparison.compared {
        records += rows;
        fields += values;
        screen.done(format!(
            "{object}: {} records, {} fields",
            count(*rows),
            count(*values)
        ));
    }
    let accepted = count(order.accepted);
    if order.broken.is_empty() {
        screen.done(format!(
            "write log: {accepted} accepted writes; no value went back, parents came first, nothing is doubled"
        ));
    } else {
        let broken = order.broken.len();
        screen.bad(format!(
            "write log: {broken} of {accepted} accepted writes break a promise"
        ));
    }

    screen.act("Changes by verdict");
    let sums = verdicts(screen, app, &status, loaded);
    let open = status["shelf"].as_object().into_iter().flatten();
    let open: i64 = open.filter_map(|(_, n)| n.as_i64()).sum();
    let differences = comparison.differences.len();
    let arrived = loaded.read == loaded.rows && evolution.is_good();
    let good = differences == 0 && order.broken.is_empty() && sums && open == 0 && arrived;

    screen.act("Summary");
    let total = app.total();
    let list = |counts: &BTreeMap<String, i64>| {
        let parts = counts
            .iter()
            .map(|(word, n)| format!("{word} {}", count(*n)));
        parts.collect::<Vec<String>>().join(" · ")
    };
    let rows: Vec<(&str, String)> = vec![
        ("rows loaded", loaded.words()),
        ("fields made", evolution.fields()),
        ("schema changes", evolution.changes()),
        (
            "changes",
            format!(
                "{} in {} transactions",
                count(total),
                count(app.transactions)
            ),
        ),
        (
            "API calls",
            format!(
                "{} ({:.0} rows and changes a call)",
                count(calls),
                (total + loaded.read + evolution.read) as f64 / calls.max(1) as f64
            ),
        ),
        ("faults injected", list(&struck)),
        ("records refused at first", list(&order.refused)),
        (
            "lag, median",
            format!(
                "{} (of {} live changes found in the CRM's log)",
                span(lag.median),
                count(lag.measured)
            ),
        ),
        ("lag, 95 %", span(lag.p95)),
        (
            "lag, longest",
            format!("{} (a kill -9 was in between)", span(lag.longest)),
        ),
        (
            "dead letters",
            format!(
                "{} opened, {} closed, {} open",
                letters.opened, letters.closed, open
            ),
        ),
        (
            "promises broken",
            count(i64::try_from(order.broken.len()).unwrap_or(i64::MAX)),
        ),
        (
            "differences",
            format!(
                "{differences} in {} fields of {} records",
                count(fields),
                count(records)
            ),
        ),
        ("run time", span(screen.elapsed())),
    ];
    for (what, value) in rows {
        screen.line(format!("        {what:<26} {value}"));
    }
    for difference in comparison.differences.iter().take(SHOWN) {
        screen.bad(format!(
            "{} {} {}: Postgres {}, CRM {}",
            difference.object,
            difference.key,
            difference.field,
            short(&difference.postgres),
            short(&difference.crm)
        ));
    }
    if differences > SHOWN {
        screen.bad(format!("… and {} more", differences - SHOWN));
    }
    for broken in order.broken.iter().take(SHOWN) {
        screen.bad(broken);
    }
    let words = if good {
        "The CRM and Postgres are the same in every field."
    } else {
        "This is not as it should be."
    };
    screen.verdict(good, words);
    Ok(good)
}

/// The table; whether each sum is what was committed.
fn verdicts(screen: &Screen, app: &App, status: &Value, loaded: &Loaded) -> bool {
    let mut head = vec!["table"];
    head.extend(VERDICTS);
    head.extend(["sum", "committed"]);
    let mut rows = Vec::new();
    let mut good = true;
    let mut totals: BTreeMap<usize, i64> = BTreeMap::new();
    for table in Table::ALL {
        let name = format!("public.{}", table.name());
        let counts: Vec<i64> = VERDICTS
            .iter()
            .map(|verdict| status["verdicts"][&name][verdict].as_i64().unwrap_or(0))
            .collect();
        let sum: i64 = counts.iter().sum();
        let committed = app.changes.get(&table).copied().unwrap_or(0);
        good &= sum == committed;
        let numbers: Vec<i64> = counts.into_iter().chain([sum, committed]).collect();
        for (at, number) in numbers.iter().enumerate() {
            *totals.entry(at).or_default() += number;
        }
        let mut row = vec![table.name().to_owned()];
        row.extend(numbers.into_iter().map(count));
        rows.push(row);
    }
    let mut row = vec!["all".to_owned()];
    row.extend(totals.into_values().map(count));
    rows.push(row);
    screen.table(&head, &rows);
    let marks = &status["verdicts"][MESSAGES];
    screen.note(format!(
        "{} rows of before are no changes: the backfill accounts for them, not this table",
        count(loaded.read)
    ));
    screen.note(format!(
        "{} marks that the backfill put into the stream to find its place are counted apart, as ignored {MESSAGES}",
        count(marks["ignored"].as_i64().unwrap_or(0))
    ));
    // Nothing else may have been counted: neither another table nor another verdict of the marks.
    let known = ["public.company", "public.customer", "public.deal", MESSAGES];
    let tables = status["verdicts"].as_object().into_iter().flatten();
    good &= tables
        .map(|(name, _)| name.as_str())
        .all(|name| known.contains(&name));
    let others = marks.as_object().into_iter().flatten();
    good &= others
        .filter(|(verdict, _)| *verdict != "ignored")
        .all(|(_, n)| n.as_i64() == Some(0));
    if !good {
        screen.bad("the verdicts do not add up to what was committed");
    }
    good
}

/// A value is printed as long as a line takes.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
