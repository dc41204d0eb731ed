//! OAuth: tokens, userinfo, identity, revoke (salesforce.md §2).
//!
//! Leniency that real clients need: the expiry of an assertion may be in milliseconds or a
//! string, and any audience is taken. Errors are objects, not arrays.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::auth;
use super::reply::Reply;
use super::request::{Request, form};
use crate::app::App;
use crate::ids::Id;

const JWT_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// `/services/oauth2/…`
pub(super) fn route(app: &App, request: &Request) -> Reply {
    match (request.path(2), request.method.as_str()) {
        (Some("token"), "POST") => token(app, request),
        (Some("token"), method) => Reply::wrong_method(method, "POST"),
        (Some("revoke"), _) => revoke(app, request),
        (Some("userinfo"), _) => match auth::caller(app, request) {
            Ok(caller) => Reply::json(200, userinfo(app, request, caller.user)),
            Err(_) => Reply::text(403, "text/plain", "Bad_OAuth_Token"),
        },
        _ => Reply::not_found(),
    }
}

/// `/id/{organization}/{user}`
pub(super) fn identity(app: &App, request: &Request) -> Reply {
    let token = request
        .query("oauth_token")
        .map(str::to_owned)
        .or_else(|| auth::token(request));
    let caller = token.and_then(|t| auth::of_token(app, &t));
    let asked = request.path(2).and_then(Id::parse);
    match (caller, asked) {
        (Some(_), Some(user)) if app.store().live(user).is_some() => {
            let mut info = userinfo(app, request, user);
            info["id"] = info["sub"].clone();
            info["username"] = info["preferred_username"].clone();
            info["display_name"] = info["name"].clone();
            Reply::json(200, info)
        }
        (Some(_), _) => Reply::not_found(),
        (None, _) => Reply::text(403, "text/plain", "Bad_OAuth_Token"),
    }
}

fn failed(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(
        status,
        json!({"error": error, "error_description": description}),
    )
}

fn basic(request: &Request) -> Option<(String, String)> {
    let (scheme, value) = request.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    // Both parts may be form-encoded, as RFC 6749 asks.
    let plain = |part: &str| {
        form(&format!("x={part}"))
            .pop()
            .map(|(_, v)| v)
            .unwrap_or_default()
    };
    Some((plain(id), plain(secret)))
}

fn token(app: &App, request: &Request) -> Reply {
    let fields = request.form();
    let field = |name: &str| {
        let given = fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str());
        given.or_else(|| request.query(name))
    };
    let (id, secret) = match basic(request) {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (
            field("client_id").map(str::to_owned),
            field("client_secret").map(str::to_owned),
        ),
    };
    let client = id.unwrap_or_default();
    let expected = app.usage.secret(&client);
    let known_client = expected.is_some();
    let known_secret = known_client && secret == expected;
    app.count("oauth");
    match field("grant_type") {
        Some("client_credentials") => {
            if !known_client {
                return failed(400, "invalid_client_id", "client identifier invalid");
            }
            if !known_secret {
                return failed(400, "invalid_client", "invalid client credentials");
            }
            granted(app, request, app.people.integration, &client)
        }
        Some("password") => {
            if !known_client {
                return failed(400, "invalid_client_id", "client identifier invalid");
            }
            if secret.is_some() && !known_secret {
                return failed(400, "invalid_client", "invalid client credentials");
            }
            match field("username")
                .and_then(|name| login(app, name, field("password").unwrap_or("")))
            {
                Some(user) => granted(app, request, user, &client),
                None => failed(400, "invalid_grant", "authentication failure"),
            }
        }
        Some(JWT_GRANT) => match assertion(app, field("assertion").unwrap_or("")) {
            Ok((user, client)) => granted(app, request, user, &client),
            Err((error, description)) => failed(400, error, &description),
        },
        _ => failed(400, "unsupported_grant_type", "grant type not supported"),
    }
}

/// The active user with this name and password. A security token may follow the password.
pub(super) fn login(app: &App, username: &str, password: &str) -> Option<Id> {
    let user = app.user_named(username)?;
    password.starts_with(&app.config.password).then_some(user)
}

type Denied = (&'static str, String);

fn assertion(app: &App, text: &str) -> Result<(Id, String), Denied> {
    let denied = |what: &str| ("invalid_grant", what.to_owned());
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(denied("invalid assertion"));
    };
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (Some(header), Some(claims)) = (read(header), read(claims)) else {
        return Err(denied("invalid assertion"));
    };
    if header.get("alg").and_then(Value::as_str) != Some("RS256") || signature.is_empty() {
        return Err(denied("invalid assertion: only RS256 is supported"));
    }
    let client = claims.get("iss").and_then(Value::as_str).unwrap_or("");
    if app.usage.secret(client).is_none() {
        return Err(("invalid_client_id", "client identifier invalid".to_owned()));
    }
    if let Some(key) = &app.config.jwt_key {
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(key.as_bytes())
            .map_err(|e| denied(&format!("the sandbox's key cannot be read: {e}")))?;
        // Only the signature: time and audience are judged here, as leniently as needed.
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims = HashSet::new();
        jsonwebtoken::decode::<Value>(text, &key, &rules)
            .map_err(|_| denied("invalid assertion"))?;
    }
    let expiry = match claims.get("exp") {
        Some(Value::String(text)) => text.parse::<f64>().ok(),
        Some(other) => other.as_f64(),
        None => None,
    };
    let millis = expiry.map(|e| if e > 1e11 { e } else { e * 1_000.0 });
    if millis.is_none_or(|e| e < app.clock.now() as f64) {
        return Err(denied("expired authorization code"));
    }
    if claims.get("aud").is_none_or(Value::is_null) {
        return Err(denied("Audience validation failed"));
    }
    let sub = claims
        .get("sub")
        .or_else(|| claims.get("prn"))
        .and_then(Value::as_str)
        .unwrap_or("");
    app.user_named(sub)
        .map(|user| (user, client.to_owned()))
        .ok_or_else(|| denied("user hasn't approved this consumer"))
}

fn granted(app: &App, request: &Request, user: Id, client: &str) -> Reply {
    let now = app.clock.now();
    let of = app.usage.app(client);
    let token = app.sessions.open(app.people.organization, user, of, now);
    Reply::json(
        200,
        json!({
            "access_token": token,
            "signature": "c2FuZGJveA==",
            "scope": "api id",
            "instance_url": super::instance::base(app, request),
            "id": identity_url(app, request, user),
            "token_type": "Bearer",
            "issued_at": now.to_string(),
        }),
    )
    .header("Cache-Control", "no-store")
}

/// Where a user's identity is served: here, so that clients stay on this machine.
pub(super) fn identity_url(app: &App, request: &Request, user: Id) -> String {
    format!("{}/id/{}/{user}", request.base, app.people.organization)
}

fn userinfo(app: &App, request: &Request, user: Id) -> Value {
    let store = app.store();
    let row = store.live(user);
    let text = |name: &str| {
        let row = row?;
        let object = store.schema.object(row.object);
        let at = object.field(name)?;
        row.value(object, &object.fields[at], at)
            .as_str()
            .map(str::to_owned)
    };
    let organization = app.people.organization.to_string();
    let base = &request.base;
    json!({
        "sub": identity_url(app, request, user),
        "user_id": user.to_string(), "organization_id": organization,
        "preferred_username": text("Username"), "nickname": text("Alias"), "name": text("Name"),
        "email": text("Email"), "email_verified": true,
        "given_name": text("FirstName"), "family_name": text("LastName"),
        "zoneinfo": text("TimeZoneSidKey"),
        "urls": {
            "enterprise": format!("{base}/services/Soap/c/{{version}}/{organization}"),
            "metadata": format!("{base}/services/Soap/m/{{version}}/{organization}"),
            "partner": format!("{base}/services/Soap/u/{{version}}/{organization}"),
            "rest": format!("{base}/services/data/v{{version}}/"),
            "sobjects": format!("{base}/services/data/v{{version}}/sobjects/"),
            "query": format!("{base}/services/data/v{{version}}/query/"),
            "tooling_rest": format!("{base}/services/data/v{{version}}/tooling/"),
        },
        "active": true, "user_type": "STANDARD", "language": "en_US", "locale": "en_US", "utcOffset": 0,
    })
}

fn revoke(app: &App, request: &Request) -> Reply {
    let fields = request.form();
    let token = fields
        .iter()
        .find(|(n, _)| n == "token")
        .map(|(_, v)| v.as_str())
        .or_else(|| request.query("token"));
    match token {
        Some(token) if app.sessions.close(token) => Reply::empty(200),
        _ => failed(
            400,
            "unsupported_token_type",
            "this token type is not supported",
        ),
    }
}
