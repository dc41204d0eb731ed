//! SOAP `login()`, `logout()` and `undelete()` of the partner API (salesforce.md §2.8, §12).
//!
//! Clients read the answer by regular expressions: the tags inside it carry no prefix, and
//! a fault's carry exactly `sf:`. The call exists up to version 64.0.

use serde_json::Map;

use super::auth::Caller;
use super::reply::Reply;
use super::request::Request;
use super::{oauth, rows};
use crate::app::App;
use crate::ids::Id;
use crate::write::error::RecordError;
use crate::write::{self, Action, Asked, Change};

/// A login request is at most 10 KB.
const MAX_LOGIN: usize = 10 * 1024;
/// The most records that one `undelete` takes.
const MAX_UNDELETED: usize = 200;

/// `/services/Soap/{u|c}/{version}[/{organization}]`
pub(super) async fn route(app: &App, request: &Request) -> Reply {
    app.count("soap");
    if request.method != "POST" {
        return Reply::text(405, "text/plain", "SOAP calls are POST");
    }
    let body = String::from_utf8_lossy(&request.body);
    let version: f64 = request.path(3).and_then(|v| v.parse().ok()).unwrap_or(0.0);
    if element(&body, "logout").is_some() {
        if let Some(session) = element(&body, "sessionId") {
            app.sessions.close(&session);
        }
        return envelope(200, "<logoutResponse/>");
    }
    if element(&body, "undelete").is_some() {
        return undelete(app, request, &body).await;
    }
    if element(&body, "login").is_none() {
        return fault(
            "soapenv:Client",
            "UNKNOWN_EXCEPTION",
            "No operation available for request",
        );
    }
    if !(31.0..=64.0).contains(&version) {
        return fault(
            "sf:UNSUPPORTED_API_VERSION",
            "UNSUPPORTED_API_VERSION",
            "Invalid Api version specified on URL",
        );
    }
    let username = element(&body, "username").unwrap_or_default();
    let password = element(&body, "password").unwrap_or_default();
    let user = oauth::login(app, &username, &password).filter(|_| body.len() <= MAX_LOGIN);
    match user {
        Some(user) => granted(app, request, user, &username),
        None => fault(
            "sf:INVALID_LOGIN",
            "INVALID_LOGIN",
            "Invalid username, password, security token; or user locked out.",
        ),
    }
}

/// The only way to take records out of the recycle bin: REST has none.
async fn undelete(app: &App, request: &Request, body: &str) -> Reply {
    let session = element(body, "sessionId").unwrap_or_default();
    let Some(user) = app.sessions.user(&session, app.config.session) else {
        return fault(
            "sf:INVALID_SESSION_ID",
            "INVALID_SESSION_ID",
            "Invalid Session ID found in SessionHeader: Illegal Session",
        );
    };
    if !app.take_call() {
        return fault(
            "sf:REQUEST_LIMIT_EXCEEDED",
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        );
    }
    let ids = elements(body, "ids");
    if ids.is_empty() || ids.len() > MAX_UNDELETED {
        return fault(
            "sf:EXCEEDED_ID_LIMIT",
            "EXCEEDED_ID_LIMIT",
            "undelete takes 1 to 200 ids",
        );
    }
    let asked: Vec<Asked> = {
        let store = app.store();
        let ask = |text: &String| {
            let object = Id::parse(text).and_then(|id| store.schema.by_prefix(id.prefix()));
            match object {
                Some(object) => Ok(Change {
                    object,
                    action: Action::Undelete(text.clone()),
                    fields: Map::new(),
                }),
                None => Err(Box::new((RecordError::malformed_id(text), None))),
            }
        };
        ids.iter().map(ask).collect()
    };
    let ctx = rows::context(request, Caller { user }, "soap", false);
    let outcomes = write::write(app, &ctx, asked, request.delay).await;
    let results: String = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(done) => format!(
                "<result><id>{}</id><success>true</success></result>",
                done.id
            ),
            Err(error) => format!(
                "<result><errors><message>{}</message><statusCode>{}</statusCode></errors>\
                 <id xsi:nil=\"true\"/><success>false</success></result>",
                escape(&error.message),
                error.code
            ),
        })
        .collect();
    envelope(
        200,
        &format!("<undeleteResponse>{results}</undeleteResponse>"),
    )
}

fn granted(app: &App, request: &Request, user: Id, username: &str) -> Reply {
    let session = app.sessions.open(app.people.organization, user);
    let organization = app.people.organization;
    let version = request.path(3).unwrap_or("60.0");
    let url = |kind: &str| {
        format!(
            "{}/services/Soap/{kind}/{version}/{}",
            request.base,
            organization.short()
        )
    };
    let name = escape(username);
    envelope(
        200,
        &format!(
            "<loginResponse><result><metadataServerUrl>{}</metadataServerUrl>\
             <passwordExpired>false</passwordExpired><sandbox>false</sandbox>\
             <serverUrl>{}</serverUrl><sessionId>{session}</sessionId><userId>{user}</userId>\
             <userInfo><organizationId>{organization}</organizationId>\
             <organizationName>Syncline Sandbox</organizationName><userFullName>{name}</userFullName>\
             <userId>{user}</userId><userLanguage>en_US</userLanguage><userLocale>en_US</userLocale>\
             <userName>{name}</userName><userTimeZone>GMT</userTimeZone><userType>Standard</userType>\
             </userInfo></result></loginResponse>",
            url("m"),
            url("u"),
        ),
    )
}

fn envelope(status: u16, body: &str) -> Reply {
    Reply::text(
        status,
        "text/xml; charset=UTF-8",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
             xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xmlns:sf=\"urn:fault.partner.soap.sforce.com\" \
             xmlns=\"urn:partner.soap.sforce.com\"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
        ),
    )
}

fn fault(fault: &str, code: &str, message: &str) -> Reply {
    envelope(
        500,
        &format!(
            "<soapenv:Fault><faultcode>{fault}</faultcode><faultstring>{code}: {message}</faultstring>\
             <detail><sf:LoginFault><sf:exceptionCode>{code}</sf:exceptionCode>\
             <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault>"
        ),
    )
}

/// The text of the first element with this local name, whatever its prefix.
fn element(xml: &str, name: &str) -> Option<String> {
    elements(xml, name).into_iter().next()
}

/// The texts of all elements with this local name.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((tag, after)) = after.split_once('>') else {
            break;
        };
        let whole = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or("");
        if whole.rsplit(':').next() == Some(name) && !whole.is_empty() {
            let text = after.split('<').next().unwrap_or("");
            found.push(unescape(text.trim()));
        }
        rest = after;
    }
    found
}

fn unescape(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn escape(text: &str) -> String {
    let pairs = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
