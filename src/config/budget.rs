//! What may be used of the CRM's daily limit, and what goes first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Portion, Span};

/// What may be used of the limit that the CRM sets for the requests of a day, by all its clients.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Our part of the limit.
    pub share: Portion,
    /// What is left for others: no request is made once no more than this is left of the limit.
    pub floor: Portion,
    /// How late what has `priority = "high"` may be while the rest is deferred.
    pub deadline: Span,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            share: Portion::Part(0.5),
            floor: Portion::Part(0.2),
            deadline: Span(Duration::from_secs(15 * 60)),
        }
    }
}

/// What goes first when not all can go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// It waits with the rest.
    #[default]
    Normal,
    /// It goes on while the rest is deferred, at most `budget.deadline` late.
    High,
}
