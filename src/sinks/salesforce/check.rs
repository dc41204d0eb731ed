//! The connection test of `syncline check`: each finding with what to do.

use std::time::Duration;

use serde::Deserialize;

use super::http::Call;
use super::{Place, Salesforce, errors, version};
use crate::fault::{Class, Fault, Finding, Severity};
use reqwest::Method;

/// Share of the daily requests from which their use is a warning.
const SCARCE: f64 = 0.8;

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    preferred_username: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    organization_id: String,
    #[serde(default)]
    language: Option<String>,
}

impl Salesforce {
    /// Logs in, agrees on a version, asks who we are and how much of the daily limit is used. One
    /// attempt each; goes on as far as it can.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let session = match self.auth.session(&self.http).await {
            Ok(session) => session,
            Err(fault) => {
                findings.push(problem(
                    "destination",
                    "cannot log in to Salesforce",
                    &fault,
                ));
                return findings;
            }
        };
        let versions = self.org_versions(&session).await;
        let version = versions.and_then(|listed| match self.pinned {
            Some(pinned) if listed.contains(&pinned) => Ok(pinned),
            Some(pinned) => Err(Fault::new(
                Class::Configuration,
                "UNSUPPORTED_API_VERSION",
                format!("the org does not speak version {pinned}"),
            )),
            None => version::choose(&listed),
        });
        let version = match version {
            Ok(version) => version,
            Err(fault) => {
                let place = "destination.api_version";
                findings.push(problem(place, "cannot agree on an API version", &fault));
                return findings;
            }
        };
        let host = session.instance.host_str().unwrap_or_default();
        findings.push(note(
            "destination",
            format!("logged in at {host}, API version {version}"),
        ));
        // The version's root tells whether the API may be used at all.
        if let Err(fault) = self.get(Call::Check, "/").await {
            findings.push(problem("destination", "the API cannot be used", &fault));
            return findings;
        }
        let place = Place::Host("/services/oauth2/userinfo");
        let user = self
            .with_session(Call::Check, Method::GET, place, None, None)
            .await;
        let user = user.and_then(|answer| answer.accepted());
        match user.map(|body| serde_json::from_slice::<User>(&body)) {
            Ok(Ok(user)) => {
                findings.push(note(
                    "destination",
                    format!(
                        "acts as {} (user {}) in org {}",
                        user.preferred_username, user.user_id, user.organization_id
                    ),
                ));
                let language = user.language.unwrap_or_default();
                if !language.is_empty() && !language.starts_with("en") {
                    findings.push(Finding {
                        severity: Severity::Warning,
                        place: "destination".into(),
                        what: format!(
                            "Salesforce words its errors in the user's language, {language}"
                        ),
                        remedy: "set the integration user's language to English: some errors with \
                                 the same code can only be told apart by their words"
                            .into(),
                    });
                }
            }
            // It needs a scope that writing does not.
            _ => findings.push(note("destination", "the user's name cannot be read".into())),
        }
        if let Some(daily) = self.http.usage().daily {
            let share = daily.used as f64 / daily.max.max(1) as f64;
            let what = format!(
                "{} of {} daily API requests are used",
                daily.used, daily.max
            );
            findings.push(if share < SCARCE {
                note("destination", what)
            } else {
                Finding {
                    severity: Severity::Warning,
                    place: "destination".into(),
                    what,
                    remedy:
                        "lower the use of other clients, or buy more requests; Syncline pauses \
                             when none are left"
                            .into(),
                }
            });
        }
        findings
    }
}

fn note(place: &str, what: String) -> Finding {
    Finding {
        severity: Severity::Note,
        place: place.into(),
        what,
        remedy: String::new(),
    }
}

fn problem(place: &str, what: &str, fault: &Fault) -> Finding {
    let wait = fault.retry_after.unwrap_or(Duration::ZERO).as_secs();
    let remedy = match errors::advice(fault) {
        Some(advice) => advice.to_owned(),
        None if wait > 0 => format!("try again in {wait} s"),
        None => "check destination.url, and that this machine can reach it".into(),
    };
    Finding {
        severity: Severity::Problem,
        place: place.into(),
        // A refusal of the login or of the API as a whole quotes no row.
        what: format!("{what}: {fault}: {}", fault.message),
        remedy,
    }
}
