//! Logging in, renewing, and where the token goes.

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use syncline::fault::{Class, Severity};
use syncline::sinks::Sink;
use syncline::sinks::salesforce::Salesforce;

use super::server::{Reply, Server, basic, pem};
use super::*;

#[tokio::test]
async fn client_credentials_travel_in_the_header() {
    let server = Server::start(vec![results(&[Ok("003A")])]).await;
    connect(&server).write(&upsert(&["c-1"])).await.unwrap();
    let logins = server.logins();
    let login = logins.first().unwrap();
    assert_eq!(login.header("authorization"), basic("app", "s3cret"));
    assert_eq!(login.body, b"grant_type=client_credentials");
    assert_eq!(
        server.api().first().unwrap().header("authorization"),
        "Bearer token-1"
    );
}

#[tokio::test]
async fn a_jwt_is_signed_and_short_lived() {
    let server = Server::start(vec![results(&[Ok("003A")])]).await;
    let mut config = destination(&server.url);
    config.client_secret = None;
    config.username = Some("cdc@acme.example".into());
    config.private_key_file = Some(pem("signing-key.pem"));
    let salesforce = Salesforce::connect(&config).unwrap();
    salesforce.write(&upsert(&["c-1"])).await.unwrap();

    let logins = server.logins();
    let body = String::from_utf8(logins.first().unwrap().body.clone()).unwrap();
    let (grant, assertion) = body.split_once("&assertion=").unwrap();
    assert_eq!(
        grant,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    );
    assert!(logins.first().unwrap().header("authorization").is_empty());
    let key = std::fs::read(pem("signing-key.pub.pem")).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[server.url.as_str()]);
    validation.set_issuer(&["app"]);
    let claims = jsonwebtoken::decode::<serde_json::Value>(
        assertion,
        &DecodingKey::from_rsa_pem(&key).unwrap(),
        &validation,
    )
    .unwrap()
    .claims;
    assert_eq!(claims.get("sub").unwrap(), "cdc@acme.example");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let life = claims.get("exp").unwrap().as_u64().unwrap() - now.as_secs();
    assert!((60..=180).contains(&life), "{life}");
}

#[tokio::test]
async fn an_expired_session_is_renewed_but_not_for_ever() {
    let server = Server::start(vec![Reply::expired(), results(&[Ok("003A")])]).await;
    let outcomes = connect(&server).write(&upsert(&["c-1"])).await.unwrap();
    assert_eq!(outcomes, [written("003A")]);
    let tokens: Vec<String> = server
        .api()
        .iter()
        .map(|r| r.header("authorization").to_owned())
        .collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-2"]);

    let server = Server::start(vec![Reply::expired(); 5]).await;
    let fault = connect(&server).write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(fault.class, Class::Authentication);
    assert_eq!((server.api().len(), server.logins().len()), (3, 3));
}

#[tokio::test]
async fn many_refused_requests_make_one_login() {
    let mut script = vec![results(&[Ok("003A")])];
    script.extend((0..8).map(|_| Reply::expired()));
    script.extend((0..8).map(|_| results(&[Ok("003A")])));
    let server = Server::start(script).await;
    let salesforce = connect(&server);
    salesforce.write(&upsert(&["c-1"])).await.unwrap();
    let batches: Vec<_> = (0..8).map(|_| upsert(&["c-1"])).collect();
    for result in join_all(batches.iter().map(|b| salesforce.write(b))).await {
        assert_eq!(result.unwrap(), [written("003A")]);
    }
    assert_eq!(server.logins().len(), 2);
}

#[tokio::test]
async fn a_refused_login_is_not_repeated_by_those_who_wait() {
    let refusal = r#"{"error":"invalid_grant","error_description":"authentication failure"}"#;
    let logins = vec![Reply::json(400, refusal); 8];
    let server = Server::start_with(logins, Vec::new(), false).await;
    let salesforce = connect(&server);
    let batches: Vec<_> = (0..8).map(|_| upsert(&["c-1"])).collect();
    for result in join_all(batches.iter().map(|b| salesforce.write(b))).await {
        let fault = result.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_ref()),
            (Class::Authentication, "invalid_grant")
        );
    }
    assert_eq!(server.logins().len(), 1);
}

#[tokio::test]
async fn a_login_that_cannot_be_answered_now_is_tried_again_later() {
    for (reply, class) in [
        (Reply::html(503), Class::Service),
        (Reply::html(502), Class::Service),
        (Reply::html(200), Class::Service),
        (Reply::HangUp, Class::Service),
        (Reply::Cut(200, b"{".to_vec()), Class::Service),
        (Reply::json(200, r#"{"access_token":"x"}"#), Class::Service),
        (
            Reply::json(400, r#"{"error":"unknown_error"}"#),
            Class::Service,
        ),
        (
            Reply::json(400, r#"{"error":"invalid_client_id"}"#),
            Class::Configuration,
        ),
        (
            Reply::json(401, r#"{"error":"invalid_client"}"#),
            Class::Configuration,
        ),
        (Reply::html(404), Class::Configuration),
        (
            Reply::json(302, "").with("location", "https://elsewhere.example/"),
            Class::Configuration,
        ),
    ] {
        let server = Server::start_with(vec![reply.clone()], Vec::new(), false).await;
        let fault = connect(&server).write(&upsert(&["c-1"])).await.unwrap_err();
        assert_eq!(fault.class, class, "{reply:?}: {fault:?}");
    }
}

#[tokio::test]
async fn the_token_goes_where_the_login_says_and_never_after_a_redirect() {
    let elsewhere = Server::start(vec![results(&[Ok("003A")])]).await;
    let token = serde_json::json!({"access_token": "t", "instance_url": elsewhere.url});
    let login = vec![Reply::json(200, &token.to_string())];
    let server = Server::start_with(login, Vec::new(), false).await;
    connect(&server).write(&upsert(&["c-1"])).await.unwrap();
    assert!(server.api().is_empty());
    assert_eq!(
        elsewhere.api().first().unwrap().header("authorization"),
        "Bearer t"
    );

    let thief = Server::start(Vec::new()).await;
    let redirect = Reply::json(307, "").with("location", format!("{}/x", thief.url));
    let server = Server::start(vec![redirect; 5]).await;
    let fault = connect(&server).write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Configuration, "redirected")
    );
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let server = Server::start_with(Vec::new(), vec![results(&[Ok("003A")])], true).await;
    let mut config = destination(&server.url);
    let stranger = Salesforce::connect(&config).unwrap();
    let fault = stranger.write(&upsert(&["c-1"])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_ref()),
        (Class::Service, "certificate_refused")
    );
    assert!(server.requests().is_empty());
    config.ca_file = Some(pem("ca.pem"));
    let known = Salesforce::connect(&config).unwrap();
    assert_eq!(
        known.write(&upsert(&["c-1"])).await.unwrap(),
        [written("003A")]
    );
}

#[tokio::test]
async fn the_version_is_the_newest_common_one_or_the_pinned_one() {
    let server = Server::start(vec![results(&[Ok("003A")]), results(&[Ok("003A")])]).await;
    connect(&server).write(&upsert(&["c-1"])).await.unwrap();
    let mut config = destination(&server.url);
    config.api_version = Some("61.0".into());
    let pinned = Salesforce::connect(&config).unwrap();
    pinned.write(&upsert(&["c-1"])).await.unwrap();
    let api = server.api();
    assert!(
        api.first()
            .unwrap()
            .target
            .starts_with("/services/data/v66.0/")
    );
    assert!(
        api.last()
            .unwrap()
            .target
            .starts_with("/services/data/v61.0/")
    );
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let good = || destination("https://acme.my.salesforce.com");
    assert!(Salesforce::connect(&good()).is_ok());
    for (change, word) in [
        (
            (|c| c.url = "http://acme.my.salesforce.com".into()) as fn(&mut Destination),
            "TLS",
        ),
        (|c| c.url = String::new(), "url"),
        (|c| c.client_id = String::new(), "client_id"),
        (|c| c.client_secret = None, "client_secret"),
        (|c| c.api_version = Some("21.0".into()), "api_version"),
        (|c| c.api_version = Some("99".into()), "api_version"),
        (|c| c.private_key_file = Some(pem("ca.pem")), "username"),
        (
            |c| {
                c.username = Some("u".into());
                c.private_key_file = Some(pem("ca.pem"));
            },
            "RSA",
        ),
        (
            |c| {
                c.client_secret = None;
                c.client_secret_file = Some("/nowhere".into());
            },
            "client_secret_file",
        ),
        (|c| c.ca_file = Some("/nowhere".into()), "ca_file"),
    ] {
        let mut config = good();
        change(&mut config);
        let error = Salesforce::connect(&config).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("s3cret"));
    }
    let shown = format!("{:?}", Salesforce::connect(&good()).unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_check_tells_who_we_are() {
    let user = r#"{"preferred_username":"cdc@acme.example","user_id":"005","organization_id":"00D","language":"de"}"#;
    let limits = ("sforce-limit-info", "api-usage=4500/5000");
    let server = Server::start(vec![
        Reply::json(200, "{}").with(limits.0, limits.1),
        Reply::json(200, user),
    ])
    .await;
    let findings = connect(&server).check().await;
    let text: Vec<&str> = findings.iter().map(|f| f.what.as_str()).collect();
    assert!(
        text.iter().any(|t| t.contains("API version 66.0")),
        "{text:?}"
    );
    assert!(
        text.iter().any(|t| t.contains("cdc@acme.example")),
        "{text:?}"
    );
    let warnings: Vec<&str> = findings
        .iter()
        .filter(|f| f.severity == Severity::Warning)
        .map(|f| f.what.as_str())
        .collect();
    assert!(warnings[0].contains("language, de"), "{warnings:?}");
    assert!(warnings[1].contains("4500 of 5000"), "{warnings:?}");

    let mut config = destination(&server.url);
    config.api_version = Some("61.0".into());
    let findings = Salesforce::connect(&config).unwrap().check().await;
    let problem = findings.last().unwrap();
    assert_eq!(problem.severity, Severity::Problem);
    assert_eq!(problem.place, "destination.api_version");

    let refused = Reply::error(403, "API_DISABLED_FOR_ORG", "API is not enabled");
    let server = Server::start(vec![refused]).await;
    let findings = connect(&server).check().await;
    let problem = findings
        .iter()
        .find(|f| f.severity == Severity::Problem)
        .unwrap();
    assert!(problem.remedy.contains("API Enabled"), "{problem:?}");
}
