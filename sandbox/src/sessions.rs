//! Access tokens: `00D…!…`, each bound to a user and an app, alive while they are used.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Millis;
use crate::ids::Id;
use crate::usage::AppId;

/// Who has a token, and when it was last used.
#[derive(Clone, Copy, Debug)]
struct Session {
    user: Id,
    app: AppId,
    used: Millis,
}

/// Tokens in force.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    tokens: Mutex<HashMap<String, Session>>,
}

impl Sessions {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token for a user of an app.
    pub(crate) fn open(&self, organization: Id, user: Id, app: AppId, now: Millis) -> String {
        use std::hash::{BuildHasher, RandomState};
        let tail: String = (0..5)
            .map(|i| format!("{:016x}", RandomState::new().hash_one((i, user))))
            .collect();
        let token = format!("{}!AQEAQ{tail}", organization.short());
        let session = Session {
            user,
            app,
            used: now,
        };
        self.tokens().insert(token.clone(), session);
        token
    }

    /// The user and the app of a token, whose life is extended by this.
    pub(crate) fn user(&self, token: &str, life: Duration, now: Millis) -> Option<(Id, AppId)> {
        let mut tokens = self.tokens();
        let session = tokens.get_mut(token)?;
        if now.saturating_sub(session.used) as u128 > life.as_millis() {
            tokens.remove(token);
            return None;
        }
        session.used = session.used.max(now);
        Some((session.user, session.app))
    }

    /// The app of a token, whether or not it is still good.
    pub(crate) fn app(&self, token: &str) -> Option<AppId> {
        self.tokens().get(token).map(|session| session.app)
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
