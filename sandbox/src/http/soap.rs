//! SOAP `login()` and `logout()` of the partner API (salesforce.md §2.8).
//!
//! Clients read the answer by regular expressions: the tags inside it carry no prefix, and
//! a fault's carry exactly `sf:`. The call exists up to version 64.0.

use super::oauth;
use super::reply::Reply;
use super::request::Request;
use crate::app::App;
use crate::ids::Id;

/// A login request is at most 10 KB.
const MAX_LOGIN: usize = 10 * 1024;

/// `/services/Soap/{u|c}/{version}[/{organization}]`
pub(super) fn route(app: &App, request: &Request) -> Reply {
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
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>')?;
        let tag = rest[..end].split([' ', '\t', '\r', '\n', '/']).next()?;
        let local = tag.rsplit(':').next()?;
        rest = &rest[end + 1..];
        if local == name && !tag.is_empty() {
            let text = rest.split('<').next().unwrap_or("");
            return Some(unescape(text.trim()));
        }
    }
    None
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
