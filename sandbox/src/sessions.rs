//! Access tokens: `00D…!…`, each bound to a user, alive while they are used.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::Id;

/// Tokens in force.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    tokens: Mutex<HashMap<String, (Id, Instant)>>,
}

impl Sessions {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, (Id, Instant)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token for a user.
    pub(crate) fn open(&self, organization: Id, user: Id) -> String {
        use std::hash::{BuildHasher, RandomState};
        let tail: String = (0..5)
            .map(|i| format!("{:016x}", RandomState::new().hash_one((i, user))))
            .collect();
        let token = format!("{}!AQEAQ{tail}", organization.short());
        self.tokens().insert(token.clone(), (user, Instant::now()));
        token
    }

    /// The user of a token, whose life is extended by this.
    pub(crate) fn user(&self, token: &str, life: Duration) -> Option<Id> {
        let mut tokens = self.tokens();
        let (user, used) = tokens.get_mut(token)?;
        if used.elapsed() > life {
            tokens.remove(token);
            return None;
        }
        *used = Instant::now();
        Some(*user)
    }

    /// Ends a session.
    pub(crate) fn close(&self, token: &str) -> bool {
        self.tokens().remove(token).is_some()
    }

    /// Ends every session.
    pub(crate) fn close_all(&self) -> usize {
        let mut tokens = self.tokens();
        let count = tokens.len();
        tokens.clear();
        count
    }
}
