//! TLS with an authority that the sandbox makes for itself.

use serde_json::{Value, json};
use syncline_sandbox::{Config, Tls};

use crate::common::{Org, client};

fn tls(names: &[&str]) -> Config {
    Config {
        tls: Some(Tls {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Tls::default()
        }),
        ..Config::default()
    }
}

async fn health(http: &reqwest::Client, url: &str) -> Result<Value, reqwest::Error> {
    http.get(format!("{url}/sandbox/health"))
        .send()
        .await?
        .json()
        .await
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_as_ever() {
    let org = Org::with(tls(&[])).await;
    assert!(org.url.starts_with("https://127.0.0.1:"), "{}", org.url);
    let results = org
        .upsert("Account", json!([{"Ext_Id__c": "a", "Name": "A"}]))
        .await;
    assert_eq!(results[0]["success"], true);
    let job = org.upsert_job("Account", "Ext_Id__c,Name\nb,B\n").await;
    assert_eq!(job["state"], "JobComplete");
    // What the sandbox says of itself is reached the same way.
    let (_, root) = org.get("").await;
    let identity = root["identity"].as_str().unwrap();
    assert!(identity.starts_with(&org.url), "{identity}");
}

#[tokio::test]
async fn whoever_does_not_trust_it_hangs_up() {
    let org = Org::with(tls(&[])).await;
    let other = Org::with(tls(&[])).await;
    for stranger in [client(None), client(other.sandbox.authority())] {
        let error = health(&stranger, &org.url).await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
    }
    // No answer in plain text either.
    let plain = org.url.replace("https", "http");
    assert!(health(&client(None), &plain).await.is_err());
    assert_eq!(health(&org.http, &org.url).await.unwrap()["ok"], true);
}

#[tokio::test]
async fn the_certificate_is_good_for_its_names_only() {
    let org = Org::with(tls(&["acme.my.salesforce.com"])).await;
    let address = org.sandbox.address();
    let named = |name: &str| {
        let pem = org.sandbox.authority().unwrap();
        let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        reqwest::Client::builder()
            .resolve(name, address)
            .tls_certs_only([trusted])
            .build()
            .unwrap()
    };
    for (name, good) in [
        ("acme.my.salesforce.com", true),
        ("localhost", true),
        ("evil.my.salesforce.com", false),
    ] {
        let url = format!("https://{name}:{}", address.port());
        assert_eq!(health(&named(name), &url).await.is_ok(), good, "{name}");
    }
}

#[tokio::test]
async fn an_authority_is_written_down_and_outlives_a_restart_with_data() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: Some(dir.path().to_owned()),
        ..tls(&[])
    };
    let org = Org::with(config.clone()).await;
    let pem = std::fs::read_to_string(dir.path().join("authority.pem")).unwrap();
    assert_eq!(Some(pem.as_str()), org.sandbox.authority());
    org.sandbox.stop().await;
    let org = Org::with(config).await;
    assert_eq!(
        health(&client(Some(&pem)), &org.url).await.unwrap()["ok"],
        true
    );

    let file = dir.path().join("elsewhere.pem");
    let chosen = Tls {
        authority: Some(file.clone()),
        ..Tls::default()
    };
    let org = Org::with(Config {
        tls: Some(chosen),
        ..Config::default()
    })
    .await;
    let pem = std::fs::read_to_string(file).unwrap();
    assert!(health(&client(Some(&pem)), &org.url).await.is_ok());
}
