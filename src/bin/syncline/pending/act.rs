//! Trying again, and giving up.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use syncline::config::Config;
use syncline::fault::{Error, ErrorKind, Result};
use syncline::store::{Checkpoints as _, SledStore, Store as _};
use syncline::supervisor::command::discard_settlement;
use syncline::supervisor::decide::Side;
use syncline::web::ask::{Decision, Granted, Wish};
use syncline::web::shelf::{self, Name};

use super::{ReasonArg, Which};
use crate::reach::{Reach, reach};
use crate::{exit, out};

fn wish(reason: ReasonArg, which: &Which) -> Wish {
    Wish {
        records: which.names(),
        all: which.all(),
        reason: Some(reason.word().to_owned()).filter(|r| !r.is_empty()),
        table: which.of.table.clone(),
        code: which.of.code.clone(),
    }
}

/// What is held goes. All of it goes in several wishes, between which live changes flow.
pub(super) async fn release(
    config: &Config,
    reason: ReasonArg,
    which: &Which,
    json: bool,
) -> Result<ExitCode> {
    let Reach::Running(client) = reach(config).await? else {
        return Err(nobody_runs());
    };
    let wish = wish(reason, which);
    let mut granted: Granted = client.post("pending/release", &wish).await?;
    while granted.more {
        let next: Granted = client.post("pending/release", &wish).await?;
        granted.records += next.records;
        granted.more = next.more;
    }
    tell(&granted, json, |n| match n {
        1 => "1 record is released: what came of it shows in `syncline pending list`".into(),
        n => {
            format!("{n} records are released: what came of them shows in `syncline pending list`")
        }
    })
}

/// Records that people deleted are made again.
pub(super) async fn recreate(config: &Config, names: Vec<Name>, json: bool) -> Result<ExitCode> {
    let Reach::Running(client) = reach(config).await? else {
        return Err(nobody_runs());
    };
    let wish = Wish {
        records: names,
        ..Wish::default()
    };
    let granted: Granted = client.post("kept/recreate", &wish).await?;
    tell(&granted, json, |n| match n {
        1 => "1 record is made again: its row is read from the database".into(),
        n => format!("{n} records are made again: their rows are read from the database"),
    })
}

pub(super) async fn retry(
    config: &Config,
    reason: ReasonArg,
    which: &Which,
    json: bool,
) -> Result<ExitCode> {
    let granted: Granted = match reach(config).await? {
        Reach::Running(client) => client.post("pending/retry", &wish(reason, which)).await?,
        Reach::Stored(store) => {
            store.close().await?;
            return Err(nobody_runs());
        }
        Reach::Nothing => return Err(nobody_runs()),
    };
    tell(&granted, json, |n| match n {
        1 => "1 record is tried again: what came of it shows in `syncline pending list`".into(),
        n => {
            format!("{n} records are tried again: what came of it shows in `syncline pending list`")
        }
    })
}

/// Decides conflicts: whose value stays.
pub(super) async fn decide(
    config: &Config,
    reason: ReasonArg,
    which: &Which,
    take: Side,
    always: bool,
    json: bool,
) -> Result<ExitCode> {
    let decision = Decision {
        wish: wish(reason, which),
        take,
        always,
    };
    let granted: Granted = match reach(config).await? {
        Reach::Running(client) => client.post("pending/decide", &decision).await?,
        Reach::Stored(store) => {
            store.close().await?;
            return Err(nobody_runs());
        }
        Reach::Nothing => return Err(nobody_runs()),
    };
    let lines = granted.lines.clone();
    let side = match take {
        Side::Source => "the database's values are written",
        Side::Crm => "the CRM keeps its values",
    };
    let code = tell(&granted, json, |n| match n {
        1 => format!("1 conflict is decided: {side}"),
        n => format!("{n} conflicts are decided: {side}"),
    })?;
    if !json && !lines.is_empty() {
        out::line("It is the rule from now on. Write it into the configuration:")?;
        for line in lines {
            out::line(&format!("  {line}"))?;
        }
    }
    Ok(code)
}

fn nobody_runs() -> Error {
    Error::new(
        ErrorKind::Machine,
        "nobody runs with this state directory, and only a running syncline can write to the CRM",
    )
    .remedy("start `syncline run`, then retry")
}

pub(super) async fn discard(
    config: &Config,
    reason: ReasonArg,
    which: &Which,
    yes: bool,
    json: bool,
) -> Result<ExitCode> {
    if !yes && !agreed(which, reason)? {
        out::line("Nothing was given up.")?;
        return Ok(ExitCode::from(exit::FAILED));
    }
    let granted = match reach(config).await? {
        Reach::Running(client) => client.post("pending/discard", &wish(reason, which)).await?,
        Reach::Stored(store) => {
            let done = discard_stored(config, &store, reason, which).await;
            store.close().await?;
            done?
        }
        Reach::Nothing => Granted {
            records: 0,
            missing: which.names(),
            more: false,
            ..Granted::default()
        },
    };
    tell(&granted, json, |n| match n {
        1 => "1 record was given up; its change counts as ignored".into(),
        n => format!("{n} records were given up; their changes count as ignored"),
    })
}

/// Without a running process: the same settlement, made by us.
async fn discard_stored(
    config: &Config,
    store: &SledStore,
    reason: ReasonArg,
    which: &Which,
) -> Result<Granted> {
    let (records, missing, more) = if which.all() {
        let (records, more) = shelf::all(store, &which.of.filter(reason)).await?;
        (records, Vec::new(), more)
    } else {
        let objects = shelf::objects(config);
        let names = which.names();
        let (records, missing) = shelf::resolve(store, &objects, &names, reason.get()).await?;
        (records, missing, false)
    };
    let recovered = store.recover().await?;
    let (mut settlement, found) = discard_settlement(store, &records, recovered.progress).await?;
    if found > 0 {
        // A window that may have been sent still has to be sent again as it was.
        settlement.intent = recovered.intent;
        store.settle(settlement).await?;
    }
    Ok(Granted {
        records: found,
        missing,
        more,
        ..Granted::default()
    })
}

/// Asks on the terminal; without one the answer is no.
fn agreed(which: &Which, reason: ReasonArg) -> Result<bool> {
    let of = |what: String| match (&which.of.table, &which.of.code) {
        (None, None) => what,
        (Some(table), None) => format!("{what} for {table}"),
        (None, Some(code)) => format!("{what} with the code {code}"),
        (Some(table), Some(code)) => format!("{what} for {table} with the code {code}"),
    };
    let what = match (which.all(), reason.word()) {
        (true, "") => of("everything that is pending".to_owned()),
        (true, reason) => of(format!(
            "everything that is pending as {}",
            reason.replace('_', " ")
        )),
        (false, _) => {
            let names: Vec<String> = which.names().iter().map(ToString::to_string).collect();
            names.join(", ")
        }
    };
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("giving up {what} has to be confirmed, and nobody can be asked"),
        )
        .remedy("add --yes"));
    }
    eprint!("Give up {what}? The changes will not reach the CRM. [y/N] ");
    let unasked = |e| Error::new(ErrorKind::Machine, "cannot ask").source(e);
    std::io::stderr().flush().map_err(unasked)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(unasked)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn left(conflicts: usize) -> String {
    let which = match conflicts {
        1 => "1 record stays held: both sides have changed a field of it".to_owned(),
        n => format!("{n} records stay held: both sides have changed a field of each"),
    };
    format!(
        "{which}. Decide with --take source or --take crm; `syncline pending show` has both values."
    )
}

/// A name that is not there is a mistake, and is told as one; the others were served.
fn tell(granted: &Granted, json: bool, words: impl Fn(usize) -> String) -> Result<ExitCode> {
    if json {
        out::json(granted)?;
    } else if granted.records > 0 || granted.missing.is_empty() {
        match granted.records {
            0 if granted.conflicts > 0 => {}
            0 => out::line("Nothing is pending.")?,
            n => out::line(&words(n))?,
        }
        if granted.more {
            out::line("There are more: run it again when these are done.")?;
        }
        if granted.conflicts > 0 {
            out::line(&left(granted.conflicts))?;
        }
    }
    if granted.conflicts > 0 && granted.missing.is_empty() {
        return Ok(ExitCode::from(exit::ATTENTION));
    }
    if granted.missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<String> = granted.missing.iter().map(ToString::to_string).collect();
    Err(Error::new(
        ErrorKind::Machine,
        format!("nothing is pending for {}", names.join(", ")),
    )
    .remedy("`syncline pending list` names the records"))
}
