//! Who makes a request.

use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::ids::Id;
use crate::store::grants::Viewer;
use crate::usage::AppId;

/// A request's user and app.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Id,
    pub(crate) app: AppId,
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

/// The app that makes a request, whether or not its session is still good.
pub(crate) fn app(app: &App, request: &Request) -> Option<AppId> {
    let token = token(request).or_else(|| super::soap::session(request))?;
    app.sessions.app(&token)
}

/// The answer to a token that is not, or no longer, good.
pub(crate) fn expired() -> Reply {
    Reply::error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        .header("WWW-Authenticate", "Token")
}

/// Who holds a token.
pub(crate) fn of_token(app: &App, token: &str) -> Option<Caller> {
    let life = app.config.session;
    let (user, app) = app.sessions.user(token, life, app.clock.now())?;
    Some(Caller { user, app })
}

/// The user of the request's session.
pub(crate) fn caller(app: &App, request: &Request) -> Result<Caller, Reply> {
    let token = token(request).ok_or_else(expired)?;
    of_token(app, &token).ok_or_else(expired)
}
