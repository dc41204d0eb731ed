//! `[bulk]`.

use serde::{Deserialize, Serialize};

use super::ByteSize;

/// When many records of one object go as one bulk job, not as many requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// Whether, at all.
    pub mode: BulkMode,
    /// Least records of one object and one action.
    pub min_rows: usize,
    /// Most bytes in a job, and in the window or page that may become one.
    pub max_bytes: ByteSize,
}

/// Whether bulk jobs are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkMode {
    /// Where they cost less, in calls and in time.
    #[default]
    Auto,
    /// Never.
    Never,
    /// Wherever there are `min_rows`.
    Always,
}

impl Default for Bulk {
    fn default() -> Self {
        Bulk {
            mode: BulkMode::Auto,
            min_rows: 2_000,
            max_bytes: ByteSize(32 << 20),
        }
    }
}
