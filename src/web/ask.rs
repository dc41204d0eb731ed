//! The routes by which a person asks for something. The loop does it; we wait for its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::shelf::{self, Filter, MOST, Name};
use super::{Refusal, Seen};
use crate::fault::Result as OurResult;
use crate::mapping::{ColumnMapping, RecordId};
use crate::planning::{CONFLICT, Existence, Reason, RecordState};
use crate::store::Ledger as _;
use crate::supervisor::command::{Command, Held, MOST_RELEASED};
use crate::supervisor::decide::Side;
use crate::supervisor::start::Handle;

/// The loop answers between two windows, and a window takes as long as the CRM does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// These records.
    #[serde(default)]
    pub records: Vec<Name>,
    /// Every record on the shelf.
    #[serde(default)]
    pub all: bool,
    /// Of them, only those that are there for this reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// Of them, only those of this table, in the configuration's words.
    #[serde(default)]
    pub table: Option<String>,
    /// Of them, only those with this code.
    #[serde(default)]
    pub code: Option<String>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Granted {
    /// Records that it reached.
    pub records: usize,
    /// Names under which nothing is on the shelf.
    pub missing: Vec<Name>,
    /// There are more: ask again.
    pub more: bool,
    /// What to write into the configuration so that it says what was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// Of what is held, records that are left: both sides have changed a field, and a decision needs a
    /// side.
    #[serde(default, skip_serializing_if = "is_none")]
    pub conflicts: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A decision on conflicts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Which.
    #[serde(flatten)]
    pub wish: Wish,
    /// Whose value stays.
    pub take: Side,
    /// From now on, too.
    #[serde(default)]
    pub always: bool,
}

type Reply = oneshot::Sender<OurResult<usize>>;

pub(super) async fn retry(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<Wish>,
) -> Result<Json<Granted>, Refusal> {
    grant(&seen, wish, |records, reply| Command::Retry {
        records,
        reply,
    })
    .await
}

pub(super) async fn discard(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<Wish>,
) -> Result<Json<Granted>, Refusal> {
    grant(&seen, wish, |records, reply| Command::Discard {
        records,
        reply,
    })
    .await
}

pub(super) async fn decide(
    State(seen): State<Arc<Seen>>,
    Json(decision): Json<Decision>,
) -> Result<Json<Granted>, Refusal> {
    let Decision {
        mut wish,
        take: side,
        always: rule,
    } = decision;
    // What is held for another reason has no two sides.
    wish.reason.get_or_insert_with(|| "held".to_owned());
    if wish.all {
        wish.code.get_or_insert_with(|| CONFLICT.to_owned());
    }
    let (mut always, mut lines) = (Vec::new(), Vec::new());
    if rule {
        for name in &wish.records {
            let Some(pending) = shelf::find(&*seen.store, &seen.objects, name).await? else {
                continue;
            };
            for conflict in &pending.conflicts {
                always.push((pending.object.clone(), conflict.field.clone()));
                lines.push(line(&seen, &pending.table, &conflict.field, side));
            }
        }
        if always.is_empty() {
            let what = "a rule needs a record in conflict by its name: it tells of which fields";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
        }
    }
    let granted = grant(&seen, wish, |records, reply| Command::Decide {
        records,
        side,
        always,
        reply,
    });
    let Json(granted) = granted.await?;
    Ok(Json(Granted { lines, ..granted }))
}

/// The line of the configuration that says whose a field is.
fn line(seen: &Seen, table: &str, field: &str, side: Side) -> String {
    let owner = match side {
        Side::Source => "source",
        Side::Crm => "crm",
    };
    let mapping = seen.handle.get().and_then(|h| h.status.snapshot().mapping);
    let rules = mapping.as_ref().and_then(|m| m.by_name(table));
    let column = rules.and_then(|rules| {
        rules
            .columns
            .iter()
            .find_map(|(name, column)| match column {
                ColumnMapping::Field(rule) if rule.field.name.eq_ignore_ascii_case(field) => {
                    Some(name.to_string())
                }
                _ => None,
            })
    });
    let column = column.unwrap_or_else(|| "…".to_owned());
    format!("[tables.{table:?}] columns.{column} = {{ field = {field:?}, owner = {owner:?} }}")
}

/// Lets go what is held. All of it goes in several wishes, where it is much.
pub(super) async fn release(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<Wish>,
) -> Result<Json<Granted>, Refusal> {
    let reason = wish.reason.as_deref();
    if reason.is_some_and(|r| r != "held") {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "only what is held can be released",
        ));
    }
    let conflicts = conflicts(&seen, &wish).await?;
    if !wish.all {
        let wish = Wish {
            reason: Some("held".into()),
            ..wish
        };
        let granted = grant(&seen, wish, |records, reply| Command::Release {
            which: Held::Records(records),
            reply,
        });
        let Json(granted) = granted.await?;
        return Ok(Json(Granted {
            conflicts,
            ..granted
        }));
    }
    let handle = seen.handle.get().ok_or_else(Refusal::starting)?;
    let (table, code) = (wish.table, wish.code);
    let records = asked(handle, |reply| Command::Release {
        which: Held::All { table, code },
        reply,
    })
    .await?;
    Ok(Json(Granted {
        records,
        missing: Vec::new(),
        more: records >= MOST_RELEASED,
        conflicts,
        ..Granted::default()
    }))
}

/// Records of a wish that a release leaves: their fields need a decision.
async fn conflicts(seen: &Seen, wish: &Wish) -> Result<usize, Refusal> {
    if !wish.all {
        let mut found = 0;
        for name in &wish.records {
            let pending = shelf::find(&*seen.store, &seen.objects, name).await?;
            let fault = pending.and_then(|p| p.fault);
            found += usize::from(fault.is_some_and(|f| f.code == CONFLICT));
        }
        return Ok(found);
    }
    if wish.code.as_ref().is_some_and(|code| code != CONFLICT) {
        return Ok(0);
    }
    let filter = Filter {
        reason: Some(Reason::Held),
        table: wish.table.clone(),
        code: Some(CONFLICT.to_owned()),
    };
    Ok(shelf::all(&*seen.store, &filter).await?.0.len())
}

/// Makes records again that people deleted in the CRM.
pub(super) async fn recreate(
    State(seen): State<Arc<Seen>>,
    Json(wish): Json<Wish>,
) -> Result<Json<Granted>, Refusal> {
    if wish.all || wish.records.is_empty() || wish.records.len() > MOST {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "name the records, at most 10000",
        ));
    }
    let handle = seen.handle.get().ok_or_else(Refusal::starting)?;
    let mut records = Vec::new();
    let mut missing = Vec::new();
    for name in wish.records {
        let named = shelf::named(&seen.objects, std::slice::from_ref(&name));
        let states = seen.store.records(&named).await?;
        let is_kept = |s: &RecordState| {
            let existence = s.ledger.as_ref().map(|l| l.existence);
            existence == Some(Existence::Kept)
        };
        let found = named.into_iter().zip(states).find(|(_, s)| is_kept(s));
        match found {
            Some((record, _)) => records.push(record),
            None => missing.push(name),
        }
    }
    let count = match records.is_empty() {
        true => 0,
        false => asked(handle, |reply| Command::Recreate { records, reply }).await?,
    };
    Ok(Json(Granted {
        records: count,
        missing,
        more: false,
        ..Granted::default()
    }))
}

async fn grant(
    seen: &Seen,
    wish: Wish,
    command: impl FnOnce(Vec<RecordId>, Reply) -> Command,
) -> Result<Json<Granted>, Refusal> {
    let bad = |what| Refusal::new(StatusCode::BAD_REQUEST, what);
    if wish.all != wish.records.is_empty() {
        return Err(bad("either name records, or say \"all\": true"));
    }
    if wish.records.len() > MOST {
        return Err(bad("too many records at once; at most 10000"));
    }
    let reason = match wish.reason.as_deref() {
        None => None,
        Some(word) => Some(
            shelf::reason(word)
                .ok_or_else(|| bad("reason is dead_letter, waiting, held or deferred"))?,
        ),
    };
    let handle = seen.handle.get().ok_or_else(Refusal::starting)?;
    let (records, missing, more) = if wish.all {
        let filter = Filter {
            reason,
            table: wish.table,
            code: wish.code,
        };
        let (records, more) = shelf::all(&*seen.store, &filter).await?;
        (records, Vec::new(), more)
    } else {
        let named = shelf::resolve(&*seen.store, &seen.objects, &wish.records, reason).await?;
        (named.0, named.1, false)
    };
    if records.is_empty() {
        let records = 0;
        return Ok(Json(Granted {
            records,
            missing,
            more,
            ..Granted::default()
        }));
    }
    let answered = asked(handle, |reply| command(records, reply)).await?;
    Ok(Json(Granted {
        records: answered,
        missing,
        more,
        ..Granted::default()
    }))
}

/// Sends a command and waits for its answer.
pub(super) async fn asked(
    handle: &Handle,
    command: impl FnOnce(Reply) -> Command,
) -> Result<usize, Refusal> {
    let (reply, answer) = oneshot::channel();
    let gone = |()| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the process is ending");
    let sent = handle.commands.send(command(reply));
    let waited = timeout(PATIENCE, async {
        sent.await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))
    });
    let answered = waited.await.map_err(|_elapsed| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the window under way has not come back yet; the wish stands and is carried out after it",
        )
        .remedy("look at `syncline status`: the CRM may be slow or away")
    })??;
    Ok(answered?)
}
