//! The page where a person looks at records and edits them.

use super::reply::Reply;
use super::request::Request;
use crate::app::App;

/// `/` and `/ui/…`
pub(super) async fn route(_app: &App, _request: &Request) -> Reply {
    Reply::html("<h1>Syncline sandbox</h1>")
}
