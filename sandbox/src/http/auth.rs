//! Who makes a request.

use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::ids::Id;
use crate::store::grants::Viewer;

/// A request's user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Id,
}

impl Caller {
    /// What the user may see.
    pub(crate) fn viewer(&self) -> Viewer {
        Viewer::User(self.user)
    }
}

/// The access token: schemes `Bearer` and `OAuth` are both taken.
pub(crate) fn token(request: &Request) -> Option<String> {
    let header = request.header("authorization")?;
    let (scheme, token) = header.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth");
    known.then(|| token.trim().to_owned())
}

/// The answer to a token that is not, or no longer, good.
pub(crate) fn expired() -> Reply {
    Reply::error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        .header("WWW-Authenticate", "Token")
}

/// The user of the request's session.
pub(crate) fn caller(app: &App, request: &Request) -> Result<Caller, Reply> {
    let token = token(request).ok_or_else(expired)?;
    let user = app
        .sessions
        .user(&token, app.config.session)
        .ok_or_else(expired)?;
    Ok(Caller { user })
}
