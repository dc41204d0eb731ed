//! SOAP login.

use super::reply::Reply;
use super::request::Request;
use crate::app::App;

/// `/services/Soap/…`
pub(super) fn route(_app: &App, _request: &Request) -> Reply {
    Reply::not_found()
}
