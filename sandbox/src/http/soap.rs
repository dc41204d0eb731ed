//! SOAP of the partner API: `login()` and `logout()` (salesforce.md §2.8), and the calls that
//! REST lacks: `undelete()` and `emptyRecycleBin()` (§12).
//!
//! Clients read the answer by regular expressions: the tags inside it carry no prefix, and
//! a fault's carry exactly `sf:`. The call exists up to version 64.0.

use super::reply::Reply;
use super::request::Request;
use super::{auth, oauth};
use crate::app::App;
use crate::ids::Id;
use crate::write::error::RecordError;
use crate::write::{self, Action, Asked, Change, Outcome};

/// A login request is at most 10 KB.
const MAX_LOGIN: usize = 10 * 1024;

/// The most records of one call.
const MAX_IDS: usize = 200;

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
    if let Some(call) = operation(request) {
        return binned(app, request, &body, call).await;
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

/// The call on records that a request makes.
pub(super) fn operation(request: &Request) -> Option<&'static str> {
    let body = String::from_utf8_lossy(&request.body);
    ["undelete", "emptyRecycleBin"]
        .into_iter()
        .find(|call| element(&body, call).is_some())
}

/// The session of a call, from its header.
pub(super) fn session(request: &Request) -> Option<String> {
    let soap = request
        .path(1)
        .is_some_and(|word| word.eq_ignore_ascii_case("soap"));
    let body = String::from_utf8_lossy(&request.body);
    soap.then(|| element(&body, "sessionId")).flatten()
}

/// `undelete()` and `emptyRecycleBin()` of up to 200 records.
async fn binned(app: &App, request: &Request, body: &str, call: &'static str) -> Reply {
    let caller = session(request).and_then(|token| auth::of_token(app, &token));
    let Some(caller) = caller else {
        return fault(
            "sf:INVALID_SESSION_ID",
            "INVALID_SESSION_ID",
            "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing session key",
        );
    };
    if super::rest::charge(app, caller).is_some() {
        return fault(
            "sf:REQUEST_LIMIT_EXCEEDED",
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        );
    }
    let ids = elements(body, "ids");
    if ids.len() > MAX_IDS {
        return fault(
            "sf:EXCEEDED_ID_LIMIT",
            "EXCEEDED_ID_LIMIT",
            "record limit reached. cannot submit more than 200 records in this operation",
        );
    }
    let asked: Vec<Asked> = {
        let store = app.store();
        ids.into_iter()
            .map(|id| {
                let object = Id::parse(&id).and_then(|id| store.schema.by_prefix(id.prefix()));
                let object =
                    object.ok_or_else(|| Box::new((RecordError::malformed_id(&id), None)))?;
                let action = match call {
                    "undelete" => Action::Undelete(id),
                    _ => Action::Purge(id),
                };
                Ok(Change {
                    object,
                    action,
                    fields: serde_json::Map::new(),
                })
            })
            .collect()
    };
    let ctx = super::rows::context(app, request, caller, "soap", false);
    let outcomes = write::write(app, &ctx, asked, request.delay).await;
    let results: String = outcomes.iter().map(result).collect();
    envelope(200, &format!("<{call}Response>{results}</{call}Response>"))
}

fn result(outcome: &Outcome) -> String {
    match outcome {
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
    }
}

fn granted(app: &App, request: &Request, user: Id, username: &str) -> Reply {
    let session = app.sessions.open(
        app.people.organization,
        user,
        app.usage.app("SOAP login"),
        app.clock.now(),
    );
    let organization = app.people.organization;
    let version = request.path(3).unwrap_or("60.0");
    let url = |kind: &str| {
        format!(
            "{}/services/Soap/{kind}/{version}/{}",
            super::instance::base(app, request),
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
        rest = after;
        let full = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or("");
        if full.rsplit(':').next() == Some(name) {
            let text = rest.split('<').next().unwrap_or("");
            found.push(unescape(text.trim()));
        }
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
