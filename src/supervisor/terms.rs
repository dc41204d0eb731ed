//! What the CRM says of its objects, and how it is told that it, the source and the configuration do not
//! fit together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Config;
use crate::fault::{Class, Error, ErrorKind, Fault, Finding, Result, Severity};
use crate::mapping::ObjectDescription;
use crate::sinks::Delivery;
use crate::sinks::salesforce::advice;

/// How often a wait for the CRM is explained at the start.
const EXPLAIN: Duration = Duration::from_secs(3);

/// What the CRM says of the objects that the configuration names, by name.
pub(super) async fn describe(
    config: &Config,
    delivery: &Delivery,
) -> Result<BTreeMap<String, ObjectDescription>> {
    let tables = config.tables.values().map(|t| &t.object);
    let messages = config.outbox.values().map(|o| &o.object);
    let mut objects: Vec<String> = tables.chain(messages).cloned().collect();
    objects.sort();
    objects.dedup();
    let described = {
        let described = delivery.describe(&objects);
        tokio::pin!(described);
        loop {
            tokio::select! {
                described = &mut described => break described.map_err(refused)?,
                () = tokio::time::sleep(EXPLAIN) => explain_wait(config, delivery),
            }
        }
    };
    Ok(objects
        .into_iter()
        .zip(described)
        .filter_map(|(name, d)| Some((name, d?)))
        .collect())
}

/// A CRM that is down at the start is waited for as well.
fn explain_wait(config: &Config, delivery: &Delivery) {
    let fault = delivery.health().last_fault;
    tracing::warn!(
        url = config.destination.url,
        fault = fault.map_or_else(|| "no answer yet".to_owned(), |(code, _)| code),
        remedy = "start it, or check destination.url and the way there: `syncline check`",
        "waiting for the CRM; nothing has been made or written yet"
    );
}

/// The CRM does not let us in.
pub(super) fn refused(fault: Fault) -> Error {
    let kind = match fault.class {
        Class::Service | Class::Unknown => ErrorKind::DestinationUnreachable,
        _ => ErrorKind::DestinationRefused,
    };
    Error::new(
        kind,
        format!("the CRM refuses us: {}: {}", fault.code, fault.message),
    )
    .remedy(advice(&fault).unwrap_or(
        "check destination.url, client_id, the secret, and that the app may act as its user",
    ))
}

/// Every problem at once: a person mends them in one go.
pub(super) fn unfit(kind: ErrorKind, what: &str, findings: &[Finding]) -> Error {
    let problems: Vec<&Finding> = findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .collect();
    let mut what = match problems.len() {
        1 => format!("{what}:"),
        n => format!("{what}, for {n} reasons:"),
    };
    for finding in problems {
        what.push_str(&format!(
            "\n  {}: {}\n    → {}",
            finding.place, finding.what, finding.remedy
        ));
    }
    Error::new(kind, what).remedy("nothing was started or made; `syncline check` tells more")
}

pub(super) fn tell(finding: &Finding) {
    match finding.severity {
        // Told by the error that follows.
        Severity::Problem => {}
        Severity::Warning => {
            tracing::warn!(place = %finding.place, remedy = %finding.remedy, "{}", finding.what);
        }
        Severity::Note => tracing::info!(place = %finding.place, "{}", finding.what),
    }
}

/// Says it, however bad it is.
pub(super) fn tell_all(finding: &Finding) {
    if finding.severity == Severity::Problem {
        tracing::error!(place = %finding.place, remedy = %finding.remedy, "{}", finding.what);
    }
    tell(finding);
}
