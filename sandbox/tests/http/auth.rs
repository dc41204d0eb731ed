//! Logging in, versions, sessions, and the forgiving parts of HTTP.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use syncline_sandbox::Config;

use crate::common::{Org, encode, read};

async fn token(org: &Org, body: &str) -> (u16, Value) {
    let request = org.http.post(format!("{}/services/oauth2/token", org.url));
    let request = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned());
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn client_credentials_are_taken_in_the_body_and_as_basic() {
    let org = Org::new().await;
    let (status, reply) = token(
        &org,
        "grant_type=client_credentials&client_id=sandbox&client_secret=sandbox",
    )
    .await;
    assert_eq!(status, 200);
    let token_text = reply["access_token"].as_str().unwrap();
    assert!(token_text.starts_with("00D") && token_text.as_bytes()[15] == b'!');
    assert_eq!(
        (reply["token_type"].as_str(), reply["instance_url"].as_str()),
        (Some("Bearer"), Some(org.url.as_str()))
    );
    assert!(reply["issued_at"].is_string() && reply.get("expires_in").is_none());
    let basic = org
        .http
        .post(format!("{}/services/oauth2/token", org.url))
        .basic_auth("sandbox", Some("sandbox"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials");
    assert_eq!(basic.send().await.unwrap().status(), 200);
    let (status, error) = token(
        &org,
        "grant_type=client_credentials&client_id=sandbox&client_secret=wrong",
    )
    .await;
    assert_eq!(
        (status, error["error"].as_str().unwrap()),
        (400, "invalid_client")
    );
    let (_, error) = token(
        &org,
        "grant_type=client_credentials&client_id=who&client_secret=sandbox",
    )
    .await;
    assert_eq!(error["error"], "invalid_client_id");
    assert_eq!(
        token(&org, "grant_type=magic").await.1["error"],
        "unsupported_grant_type"
    );
}

#[tokio::test]
async fn a_password_logs_in_by_oauth_and_by_soap() {
    let org = Org::new().await;
    let good = "grant_type=password&client_id=sandbox&client_secret=sandbox&username=admin%40sandbox.test&password=sandboxTOKEN";
    assert_eq!(token(&org, good).await.0, 200);
    let (status, error) = token(&org, &good.replace("sandboxTOKEN", "no")).await;
    assert_eq!(
        (status, error["error"].as_str().unwrap()),
        (400, "invalid_grant")
    );
    let soap = |password: &str| {
        let body = format!(
            "<se:Envelope xmlns:se=\"http://schemas.xmlsoap.org/soap/envelope/\"><se:Header/><se:Body><n1:login xmlns:n1=\"urn:partner.soap.sforce.com\"><n1:username>admin@sandbox.test</n1:username><n1:password>{password}</n1:password></n1:login></se:Body></se:Envelope>"
        );
        org.http
            .post(format!("{}/services/Soap/u/59.0", org.url))
            .header("content-type", "text/xml")
            .body(body)
            .send()
    };
    let reply = soap("sandbox").await.unwrap();
    assert_eq!(reply.status(), 200);
    let text = reply.text().await.unwrap();
    let session = text
        .split("<sessionId>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let limits = org
        .http
        .get(format!("{}/services/data/v59.0/limits/", org.url))
        .header("authorization", format!("OAuth {session}"));
    assert_eq!(limits.send().await.unwrap().status(), 200);
    let refused = soap("wrong").await.unwrap();
    assert_eq!(refused.status(), 500);
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>")
    );
}

fn assertion(claims: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2lnbmF0dXJl",
        part(&json!({"alg": "RS256"})),
        part(&claims)
    )
}

#[tokio::test]
async fn an_assertion_is_taken_as_real_clients_send_it() {
    let org = Org::new().await;
    let later = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 120;
    let grant = |claims: Value| {
        format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            assertion(claims)
        )
    };
    let claims = |exp: Value| json!({"iss": "sandbox", "sub": "admin@sandbox.test", "aud": "https://login.salesforce.com", "exp": exp});
    for exp in [json!(later), json!(later * 1000), json!(later.to_string())] {
        assert_eq!(
            token(&org, &grant(claims(exp.clone()))).await.0,
            200,
            "{exp}"
        );
    }
    for (change, value) in [
        ("iss", json!("who")),
        ("sub", json!("nobody")),
        ("exp", json!(1)),
        ("aud", Value::Null),
    ] {
        let mut claims = claims(json!(later));
        claims[change] = value;
        assert_eq!(token(&org, &grant(claims)).await.0, 400, "{change}");
    }
}

#[tokio::test]
async fn a_configured_key_must_have_signed_the_assertion() {
    let later = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 120;
    let claims = json!({"iss": "sandbox", "sub": "admin@sandbox.test", "aud": "x", "exp": later});
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(include_bytes!("keys/private.pem")).unwrap();
    let signed = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256),
        &claims,
        &key,
    )
    .unwrap();
    for public in [
        include_str!("keys/public.pem"),
        include_str!("keys/certificate.pem"),
    ] {
        let org = Org::with(Config {
            jwt_key: Some(public.to_owned()),
            ..Config::default()
        })
        .await;
        let grant = |text: &str| {
            format!(
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={text}"
            )
        };
        let (status, reply) = token(&org, &grant(&signed)).await;
        assert_eq!(status, 200, "{reply}");
        assert_eq!(
            token(&org, &grant(&assertion(claims.clone()))).await.1["error"],
            "invalid_grant"
        );
    }
}

#[tokio::test]
async fn sessions_end() {
    let org = Org::with(Config {
        session: Duration::from_millis(300),
        ..Config::default()
    })
    .await;
    assert_eq!(org.get("limits").await.0, 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (status, error) = org.get("limits").await;
    assert_eq!(
        (status, error),
        (
            401,
            json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
        )
    );
    let org = Org::new().await;
    let revoke = org
        .http
        .post(format!("{}/services/oauth2/revoke", org.url))
        .body(format!("token={}", encode(&org.token)));
    let reply = revoke.send().await.unwrap();
    assert_eq!(
        (
            reply.status().as_u16(),
            reply.text().await.unwrap().as_str()
        ),
        (200, "")
    );
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn versions_and_identity_tell_where_things_are() {
    let org = Org::new().await;
    let reply = org
        .http
        .get(format!("{}/services/data", org.url))
        .send()
        .await
        .unwrap();
    assert!(reply.headers().get("sforce-limit-info").is_none());
    let list: Value = reply.json().await.unwrap();
    assert_eq!(
        list[0],
        json!({"label": "Spring '24", "url": "/services/data/v60.0", "version": "60.0"})
    );
    assert_eq!(list[6]["version"], "66.0");
    let (_, root) = org.get("").await;
    let identity = root["identity"].as_str().unwrap();
    let me = org.http.get(format!(
        "{identity}?format=json&oauth_token={}",
        encode(&org.token)
    ));
    let (status, me) = read(me.send().await.unwrap()).await;
    assert_eq!(
        (status, me["username"].as_str().unwrap()),
        (200, "integration@sandbox.test")
    );
    let info = org
        .http
        .get(format!("{}/services/oauth2/userinfo", org.url))
        .bearer_auth(&org.token);
    let (_, info) = read(info.send().await.unwrap()).await;
    assert_eq!(info["user_id"], me["user_id"]);
    for (version, status) in [
        ("v99.0", 404),
        ("v20.0", 410),
        ("66.0", 404),
        ("v51.0", 200),
    ] {
        let got = org
            .http
            .get(format!("{}/services/data/{version}/limits", org.url))
            .bearer_auth(&org.token);
        assert_eq!(
            got.send().await.unwrap().status().as_u16(),
            status,
            "{version}"
        );
    }
}

#[tokio::test]
async fn http_is_taken_as_clients_send_it() {
    let org = Org::new().await;
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let made = org
        .request(Method::POST, "sobjects/Account/")
        .header("content-encoding", "gzip")
        .body(gzip(r#"{"Name":"Packed"}"#));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let over = org
        .request(
            Method::POST,
            "sobjects/Account/Ext_Id__c/k?_HttpMethod=PATCH",
        )
        .json(&json!({"Name": "Over"}));
    assert_eq!(over.send().await.unwrap().status(), 201);
    let slashes = org
        .http
        .get(format!("{}//services//data/v66.0/limits//", org.url))
        .bearer_auth(&org.token);
    assert_eq!(slashes.send().await.unwrap().status(), 200);
    let pretty = org
        .request(Method::GET, "limits")
        .header("X-PrettyPrint", "1")
        .send()
        .await
        .unwrap();
    assert!(
        pretty
            .text()
            .await
            .unwrap()
            .contains("{\n  \"DailyApiRequests\": {\n")
    );
    let head = org
        .request(Method::HEAD, "sobjects/Account/describe")
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.text().await.unwrap(), "");
    let raw = org
        .request(Method::GET, "sobjects/Account/describe")
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(raw.headers()["content-encoding"], "gzip");
    let (status, error) = org.get("nowhere").await;
    assert_eq!(
        (status, error[0]["errorCode"].as_str().unwrap()),
        (404, "NOT_FOUND")
    );
}
