//! Bad records: what the CRM refuses stops nobody else, says why, and is mended in two ways.

use serde_json::{Value, json};
use syncline::fault::Result;

use super::app::{App, Table, literal};
use super::crm::Crm;
use super::data::{self, COMPANY, CUSTOMER, DEAL, Dice};
use super::machine::failed;
use super::play::Play;
use super::screen::Screen;
use super::sidecar::Sidecar;

const RULE: &str = "Companies with this name need a signed contract before they are saved";

/// What came of it.
pub(super) struct Letters {
    pub(super) opened: usize,
    pub(super) closed: usize,
}

fn shelf(status: &Value, reason: &str) -> i64 {
    status["shelf"][reason].as_i64().unwrap_or(-1)
}

pub(super) async fn act(
    screen: &Screen,
    app: &mut App,
    crm: &Crm,
    sidecar: &mut Sidecar,
    noise: impl Fn(Vec<Value>) -> Value,
) -> Result<Letters> {
    let mut dice = Dice::new(23);
    let company = "unsigned-ventures-9001".to_owned();
    crm.faults(noise(vec![json!({
        "kind": "reject", "object": "Account", "external_ids": [company],
        "code": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": RULE,
    })]))
    .await?;
    // A company that a validation rule of the CRM refuses, and what belongs to it.
    let people = [dice.uuid(), dice.uuid()];
    let row = data::company(&mut dice, 9_001, company.clone(), None);
    let customers: Vec<_> = people
        .iter()
        .zip(9_001..)
        .map(|(id, n)| data::customer(&mut dice, n, 9_001, id.clone(), Some(company.clone())))
        .collect();
    let deal = data::deal(&mut dice, company.clone(), 1, Some(people[0].clone()));
    app.begin().await?;
    app.insert(Table::Company, COMPANY, &[row]).await?;
    app.insert(Table::Customer, CUSTOMER, &customers).await?;
    app.insert(Table::Deal, DEAL, &[deal]).await?;
    app.commit().await?;
    // A customer with an address that Postgres takes and the CRM does not.
    let typo = app
        .one("SELECT id FROM customer WHERE email IS NOT NULL ORDER BY md5(id::text) LIMIT 1")
        .await?;
    app.write_alone(
        Table::Customer,
        &format!(
            "UPDATE customer SET email = 'renata@intranet', title = 'Procurement', \
             lock_version = lock_version + 1 WHERE id = {}",
            literal(Some(&typo))
        ),
    )
    .await?;
    screen.done("a customer gets an e-mail address that the CRM does not take; a rule of the CRM refuses a new company");
    let before = app.total();
    let mut play = Play::new();
    for _ in 0..10 {
        play.happen(app, super::play::Event::Logins).await?;
    }
    let others = app.total() - before;
    sidecar.caught_up(app).await?;
    expect(sidecar, 2, 3).await?;
    let letters = sidecar.dead_letters().await?;
    let mut rows = Vec::new();
    for letter in &letters {
        let object = letter["object"].as_str().unwrap_or("?");
        let key = letter["external_id"].as_str().unwrap_or("?");
        let shown = sidecar.dead_letter(object, key).await?;
        let message = shown["message"].as_str().unwrap_or("?");
        screen.blow(format!(
            "{object} {key}: {}",
            letter["code"].as_str().unwrap_or("?")
        ));
        screen.line(format!("            “{message}”"));
        rows.push((object.to_owned(), key.to_owned(), message.to_owned()));
    }
    let told = |object: &str, key: &str, words: &str| {
        rows.iter()
            .any(|(o, k, m)| o == object && k == key && m.contains(words))
    };
    if !told("Account", &company, RULE) || !told("Contact", &typo, "invalid email address") {
        return Err(failed("the dead letters do not say what was wrong"));
    }
    screen.note(format!(
        "3 records wait for their company; {} other changes went through meanwhile",
        others
    ));

    // In the database: nobody has to touch the dead letter.
    app.write_alone(
        Table::Customer,
        &format!(
            "UPDATE customer SET email = 'renata@intranet.example.com', lock_version = lock_version + 1 \
             WHERE id = {}",
            literal(Some(&typo))
        ),
    )
    .await?;
    expect(sidecar, 1, 3).await?;
    screen.done("address corrected in Postgres: that dead letter closed by itself");

    // In the CRM: what is on the shelf is tried again.
    crm.faults(noise(Vec::new())).await?;
    sidecar
        .run(&["dead-letters", "retry", "Account", &company])
        .await?;
    screen.done(format!(
        "rule relaxed in the CRM, then: syncline dead-letters retry Account {company}"
    ));
    expect(sidecar, 0, 0).await?;
    screen.done("the company is there, and the three that waited for it after it");
    Ok(Letters {
        opened: letters.len(),
        closed: letters.len(),
    })
}

/// Waits until the shelf holds so many.
async fn expect(sidecar: &mut Sidecar, dead: i64, waiting: i64) -> Result<()> {
    let what = format!("{dead} dead letters and {waiting} waiting records");
    for _ in 0..400 {
        sidecar.check()?;
        let status = sidecar.status().await?;
        if shelf(&status, "dead_letter") == dead && shelf(&status, "waiting") == waiting {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
    let status = sidecar.status().await?;
    Err(failed(format!(
        "expected {what}; the shelf holds {}",
        status["shelf"]
    )))
}
