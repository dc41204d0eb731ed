//! Records that vanish from the CRM without our doing: the next change of the row brings the whole
//! row back, not the columns that this change touched.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};
use crate::support::sidecar::{Sidecar, lsn};

const TABLES: &str = "
CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE customer (
  id int PRIMARY KEY,
  last_name text NOT NULL,
  email text,
  phone text,
  company_id int REFERENCES company ON DELETE SET NULL);
";

struct Both {
    postgres: Postgres,
    crm: Crm,
    sidecar: Sidecar,
}

impl Both {
    fn start(max_rows: usize) -> Self {
        let postgres = Postgres::start(Options::default());
        postgres.psql(TABLES);
        let crm = Crm::start(None);
        for object in ["Account", "Contact"] {
            crm.put(&format!("fields/{object}/Ext_Id__c"), EXTERNAL_ID);
        }
        let mut sidecar = Sidecar::new(&format!(
            r#"
[source]
url = "{}"
[destination]
kind = "salesforce"
url = "{}"
client_id = "sandbox"
client_secret = "sandbox"
requests_per_second = 1000
[delivery]
max_rows = {max_rows}
[tables."public.company"]
object = "Account"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.name = "Name"
[tables."public.customer"]
object = "Contact"
key = {{ column = "id", field = "Ext_Id__c" }}
on_delete = "delete"
columns.last_name = "LastName"
columns.email = "Email"
columns.phone = "Phone"
columns.company_id = {{ field = "Account", references = "public.company" }}
"#,
            postgres.url("postgres"),
            crm.url(),
        ));
        sidecar.start();
        sidecar.wait_until("it runs", Duration::from_secs(20), |s| {
            s["state"] == "running"
        });
        Both {
            postgres,
            crm,
            sidecar,
        }
    }

    /// Does this, and waits until the CRM has it.
    fn change(&mut self, sql: &str) {
        self.postgres.psql(sql);
        let end = lsn(&self.postgres.psql("SELECT pg_current_wal_lsn()"));
        self.sidecar
            .wait_until("it is through", Duration::from_secs(20), |status| {
                let durable = status["source"]["durable_lsn"].as_str();
                let shelf = status["shelf"].as_object().unwrap();
                durable.is_some_and(|d| lsn(d) >= end) && shelf.values().all(|n| n == 0)
            });
    }

    fn contacts(&self) -> Vec<Value> {
        let fields = "Ext_Id__c,LastName,Email,Phone,AccountId";
        let mut contacts = self.crm.records("Contact", fields);
        contacts.sort_by_key(|c| c["Ext_Id__c"].as_str().unwrap().to_owned());
        contacts
    }
}

fn contact(id: u32, name: &str) -> Value {
    json!({"Ext_Id__c": id.to_string(), "LastName": name, "Email": format!("c{id}@example.test"),
           "Phone": "555", "AccountId": null})
}

#[test]
fn a_record_that_somebody_deleted_comes_back_whole() {
    let mut both = Both::start(2_000);
    both.change("INSERT INTO customer VALUES (1, 'Lee', 'c1@example.test', '555')");
    both.crm.delete("Contact", "Ext_Id__c", "1");
    assert!(both.contacts().is_empty());
    both.change("UPDATE customer SET last_name = 'Leigh' WHERE id = 1");
    assert_eq!(both.contacts(), [contact(1, "Leigh")]);
    both.sidecar.stop();
}

/// Salesforce deletes an account's contacts with it. The database deletes the company and then frees
/// its customers, in one transaction; where a window ends between the two, the contacts are gone
/// before they are freed.
#[test]
fn contacts_that_went_with_their_account_come_back_whole() {
    let mut both = Both::start(1);
    both.change(
        "INSERT INTO company VALUES (1, 'Acme');
         INSERT INTO customer SELECT n, 'Lee', format('c%s@example.test', n), '555', 1
           FROM generate_series(1, 5) n",
    );
    assert_eq!(both.contacts().len(), 5);
    both.change("DELETE FROM company WHERE id = 1");
    let whole: Vec<Value> = (1..=5).map(|id| contact(id, "Lee")).collect();
    assert_eq!(both.contacts(), whole);
    both.sidecar.stop();
}
