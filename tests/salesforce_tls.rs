//! The connector against `syncline sandbox --tls`, whose authority nobody knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use syncline::config::{Destination, Secret};
use syncline::fault::{Finding, Severity};
use syncline::sinks::salesforce::Salesforce;

/// A sandbox in a process of its own, ended when dropped.
struct Served {
    process: Child,
    url: String,
    told: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(more: &[&str]) -> Served {
    let mut process = Command::new(env!("CARGO_BIN_EXE_syncline"))
        .args(["sandbox", "--listen", "127.0.0.1:0", "--tls"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    while !told.contains("Ctrl-C ends it.") {
        assert_ne!(out.read_line(&mut told).unwrap(), 0, "{told}");
    }
    let url = told.split_whitespace().nth(1).unwrap().to_owned();
    Served { process, url, told }
}

async fn check(url: &str, authority: Option<&Path>) -> Vec<Finding> {
    let text = format!("kind = \"salesforce\"\nurl = \"{url}\"\nclient_id = \"sandbox\"");
    let mut config: Destination = toml::from_str(&text).unwrap();
    config.client_secret = Some(Secret("sandbox".into()));
    config.ca_file = authority.map(Into::into);
    Salesforce::connect(&config).unwrap().check().await
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_what_to_do_and_a_named_one_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authority.pem");
    let sandbox = serve(&["--tls-authority", file.to_str().unwrap()]);
    assert!(sandbox.url.starts_with("https://"), "{}", sandbox.told);
    let hint = format!("ca_file = \"{}\"", file.display());
    assert!(sandbox.told.contains(&hint), "{}", sandbox.told);

    let refused = check(&sandbox.url, None).await;
    let [problem] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(problem.severity, Severity::Problem);
    assert!(problem.what.contains("certificate_refused"), "{problem:?}");
    assert!(
        problem.remedy.contains("destination.ca_file"),
        "{problem:?}"
    );

    let trusted = check(&sandbox.url, Some(&file)).await;
    assert!(
        trusted.iter().all(|f| f.severity == Severity::Note),
        "{trusted:?}"
    );
}

#[tokio::test]
async fn an_authority_that_is_in_no_file_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = serve(&[]);
    let (_, pem) = sandbox.told.split_once("-----BEGIN").unwrap();
    let (pem, _) = pem.split_once("Ctrl-C").unwrap();
    let file = dir.path().join("printed.pem");
    std::fs::write(&file, format!("-----BEGIN{pem}")).unwrap();
    let findings = check(&sandbox.url, Some(&file)).await;
    assert!(
        findings.iter().all(|f| f.severity == Severity::Note),
        "{findings:?}"
    );
    let stranger = serve(&[]);
    let findings = check(&stranger.url, Some(&file)).await;
    assert_eq!(findings[0].severity, Severity::Problem, "{findings:?}");
}
