//! Faults that can be injected, by chance or at chosen requests and records.
//!
//! | kind | what happens |
//! |---|---|
//! | `throttle` | 403 `REQUEST_LIMIT_EXCEEDED`, the message of concurrent requests |
//! | `throttle_429` | 429 with `Retry-After` (the rule's delay in seconds, default 1) |
//! | `unavailable` | 503 with an error array |
//! | `bad_gateway` | 502 with HTML |
//! | `maintenance` | 503 with HTML, for logins too |
//! | `false_ok` | 200 with an error array (`code`, `message`); nothing was done |
//! | `html_ok` | 200 with an HTML page; nothing was done |
//! | `redirect` | `status` (default 302) to the same path at `location` |
//! | `timeout_before` | the connection is held for the delay (default 5 s), then dropped; nothing was written |
//! | `lost` | the request is done, then the connection is dropped without an answer |
//! | `cut` | the request is done, half of the answer is sent, the connection is closed |
//! | `slow` | the request takes the delay (default 1 s); writes hold their row locks meanwhile |
//! | `unauthorized` | the session is ended: 401 `INVALID_SESSION_ID` |
//! | `drain` | another app uses up `amount` calls (default 100) of the daily limit |
//! | `lock` | per record: `UNABLE_TO_LOCK_ROW` |
//! | `reject` | per record: the rule's `code` (default `UNKNOWN_EXCEPTION`) |
//! | `fail_job` | before a chunk (200 rows) of a bulk job: the job fails with `message` |
//!
//! Logins and the list of versions are left alone unless a rule's `path` names them.
//!
//! A rule applies with its `probability` (default 1), to requests (or records) that fit
//! its `object`, `path` (part of the path), `method` and `external_ids`, after the first
//! `after` fitting ones, only every `every`-th of them, and at most `times` times. Chances
//! come from the seed, so equal runs of requests meet equal faults.

mod parse;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::Store;
use crate::write::error::RecordError;
use crate::write::{Action, Change};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Throttle,
    #[serde(rename = "throttle_429")]
    Throttle429,
    Unavailable,
    BadGateway,
    Maintenance,
    FalseOk,
    HtmlOk,
    Redirect,
    TimeoutBefore,
    Lost,
    Cut,
    Slow,
    Unauthorized,
    Drain,
    Lock,
    Reject,
    FailJob,
}

impl Kind {
    fn per_record(self) -> bool {
        matches!(self, Kind::Lock | Kind::Reject)
    }

    fn per_request(self) -> bool {
        !self.per_record() && self != Kind::FailJob
    }
}

fn certain() -> f64 {
    1.0
}

/// One rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    #[serde(default = "certain")]
    pub(crate) probability: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) external_ids: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) every: Option<u64>,
    #[serde(default)]
    pub(crate) after: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) amount: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// How often it fitted, and how often it struck. Output only.
    #[serde(default, skip_deserializing)]
    pub(crate) seen: u64,
    #[serde(default, skip_deserializing)]
    pub(crate) hits: u64,
}

impl Rule {
    fn of(kind: Kind) -> Rule {
        Rule {
            kind,
            probability: 1.0,
            object: None,
            path: None,
            method: None,
            external_ids: BTreeSet::new(),
            every: None,
            after: 0,
            times: None,
            delay_ms: None,
            amount: None,
            code: None,
            message: None,
            location: None,
            status: None,
            seen: 0,
            hits: 0,
        }
    }
}

/// What `PUT /sandbox/faults` takes and `GET` gives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    #[serde(default)]
    pub(crate) seed: u64,
    /// Added to every write, while its row locks are held.
    #[serde(default)]
    pub(crate) latency_ms: u64,
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    chance: Vec<u64>,
}

/// What a request looks like to the rules.
pub(crate) struct Seen<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) segments: &'a [String],
    pub(crate) body: &'a [u8],
}

/// What is to go wrong with one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Struck {
    pub(crate) delay: Duration,
    pub(crate) drained: u64,
    /// Instead of doing the request: the rule and its delay.
    pub(crate) instead: Option<(Box<Rule>, Duration)>,
    /// After doing the request: `lost` or `cut`.
    pub(crate) after: Option<Kind>,
}

impl Faults {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all rules.
    pub(crate) fn set(&self, plan: Plan) {
        let chance = (0..plan.rules.len() as u64)
            .map(|i| mix(plan.seed ^ i.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            .collect();
        *self.state() = State { plan, chance };
    }

    /// Replaces all rules by those of the compact form.
    pub(crate) fn set_spec(&self, spec: &str) -> Result<(), String> {
        self.set(parse::spec(spec)?);
        Ok(())
    }

    /// Replaces all rules by JSON: a plan, or `{"spec": "…"}`.
    pub(crate) fn set_json(&self, value: Value) -> Result<(), String> {
        if let Some(spec) = value.get("spec").and_then(Value::as_str) {
            return self.set_spec(spec);
        }
        let plan: Plan = serde_json::from_value(value).map_err(|e| e.to_string())?;
        self.set(plan);
        Ok(())
    }

    /// The rules with how often they struck.
    pub(crate) fn show(&self) -> Plan {
        self.state().plan.clone()
    }

    /// How long every write takes.
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_millis(self.state().plan.latency_ms)
    }

    /// Decides on a request.
    pub(crate) fn request(&self, seen: &Seen<'_>) -> Struck {
        let mut struck = Struck::default();
        let mut state = self.state();
        let State { plan, chance } = &mut *state;
        for (rule, chance) in plan.rules.iter_mut().zip(chance) {
            if !rule.kind.per_request() || !fits(rule, seen) || !strikes(rule, chance) {
                continue;
            }
            let delay = |default| Duration::from_millis(rule.delay_ms.unwrap_or(default));
            match rule.kind {
                Kind::Slow => struck.delay += delay(1_000),
                Kind::Drain => struck.drained += rule.amount.unwrap_or(100),
                Kind::Lost | Kind::Cut => struck.after = struck.after.or(Some(rule.kind)),
                kind if struck.instead.is_none() => {
                    let default = match kind {
                        Kind::TimeoutBefore => 5_000,
                        _ => 1_000,
                    };
                    struck.instead = Some((Box::new(rule.clone()), delay(default)));
                }
                _ => {}
            }
        }
        struck
    }

    /// Decides on the next chunk of a bulk job: why the job fails, if it does.
    pub(crate) fn job(&self, object: &str) -> Option<String> {
        let mut state = self.state();
        let State { plan, chance } = &mut *state;
        let struck = plan
            .rules
            .iter_mut()
            .zip(chance)
            .find_map(|(rule, chance)| {
                let named = rule.object.as_ref();
                let fits = named.is_none_or(|name| name.eq_ignore_ascii_case(object));
                (rule.kind == Kind::FailJob && fits && strikes(rule, chance)).then_some(rule)
            })?;
        let message = struck.message.clone();
        let default = || "InternalServerError : Retried more than 20 times".to_owned();
        Some(message.unwrap_or_else(default))
    }

    /// Decides on a record.
    pub(crate) fn record(&self, store: &Store, change: &Change) -> Option<RecordError> {
        let mut state = self.state();
        let State { plan, chance } = &mut *state;
        for (rule, chance) in plan.rules.iter_mut().zip(chance) {
            if !rule.kind.per_record()
                || !fits_record(rule, store, change)
                || !strikes(rule, chance)
            {
                continue;
            }
            if rule.kind == Kind::Lock {
                return Some(RecordError::locked(None));
            }
            let message = rule.message.clone().unwrap_or_else(|| {
                "An unexpected error occurred. Please include this ErrorId if you contact support: \
                 1234567890-12345 (1234567890)"
                    .to_owned()
            });
            let mut error = RecordError::new("UNKNOWN_EXCEPTION", message);
            if let Some(code) = &rule.code {
                error.code = code.clone().into();
            }
            return Some(error);
        }
        None
    }
}

fn fits(rule: &Rule, seen: &Seen<'_>) -> bool {
    let object = rule.object.as_ref().is_none_or(|object| {
        let quoted = format!("\"{object}\"");
        seen.segments.iter().any(|s| s.eq_ignore_ascii_case(object))
            || contains(seen.body, quoted.as_bytes())
    });
    // Logins and the list of versions are hit only by a rule that names their path.
    let path = match &rule.path {
        Some(part) => seen.path.contains(part.as_str()),
        None if rule.kind == Kind::Maintenance => true,
        None => seen.segments.len() > 2 && seen.segments.iter().any(|s| s == "data"),
    };
    let method = rule
        .method
        .as_ref()
        .is_none_or(|m| m.eq_ignore_ascii_case(seen.method));
    let keys = rule.external_ids.is_empty()
        || rule.external_ids.iter().any(|key| {
            seen.segments.contains(key)
                || contains(seen.body, Value::from(key.as_str()).to_string().as_bytes())
        });
    object && path && method && keys
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && hay.windows(needle.len()).any(|w| w == needle)
}

fn fits_record(rule: &Rule, store: &Store, change: &Change) -> bool {
    let object = store.schema.object(change.object);
    if rule
        .object
        .as_ref()
        .is_some_and(|name| !name.eq_ignore_ascii_case(&object.name))
    {
        return false;
    }
    if rule.external_ids.is_empty() {
        return true;
    }
    let holds = |value: &Value| match value {
        Value::String(text) => rule.external_ids.contains(text.trim()),
        other => rule.external_ids.contains(&other.to_string()),
    };
    match &change.action {
        Action::Upsert { key, .. } => {
            let name = &object.fields[*key].name;
            change
                .fields
                .iter()
                .any(|(n, v)| n.eq_ignore_ascii_case(name) && holds(v))
        }
        Action::Create => change.fields.iter().any(|(n, v)| {
            object
                .field(n)
                .is_some_and(|at| object.fields[at].external_id)
                && holds(v)
        }),
        Action::Update(id) | Action::Delete(id) | Action::Undelete(id) | Action::Purge(id) => {
            let row = crate::ids::Id::parse(id).and_then(|id| store.get(id));
            rule.external_ids.contains(id)
                || row
                    .and_then(|row| row.external_id(object))
                    .is_some_and(|(_, value)| holds(value))
        }
    }
}

/// Counts a fitting request and says whether the rule strikes now.
fn strikes(rule: &mut Rule, chance: &mut u64) -> bool {
    rule.seen += 1;
    if rule.seen <= rule.after || rule.times.is_some_and(|times| rule.hits >= times) {
        return false;
    }
    if rule
        .every
        .is_some_and(|n| n > 0 && !(rule.seen - rule.after).is_multiple_of(n))
    {
        return false;
    }
    *chance = chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let drawn = (mix(*chance) >> 11) as f64 / (1u64 << 53) as f64;
    let strikes = drawn < rule.probability;
    rule.hits += u64::from(strikes);
    strikes
}

/// SplitMix64's finisher.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
