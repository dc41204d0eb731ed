//! Contracts from the outside: a real Postgres, the sandbox, and the binary as a CI job runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::crm::{Crm, EXTERNAL_ID};
use support::postgres::{Options, Postgres};
use support::sidecar::{Sidecar, lsn};

const TABLES: &str = "
    CREATE TYPE stage AS ENUM ('new', 'won', 'lost');
    CREATE TABLE company (
        id int PRIMARY KEY,
        name varchar(80) NOT NULL,
        website text,
        note text,
        misc text);
    CREATE TABLE deal (
        company_id int NOT NULL REFERENCES company,
        number int NOT NULL,
        title varchar(60) NOT NULL CHECK (title <> ''),
        stage stage NOT NULL,
        amount numeric(9,2) CHECK (amount >= 0),
        closes_on date NOT NULL,
        PRIMARY KEY (company_id, number));
    COMMENT ON TABLE company IS 'Everybody we sell to | or try to.';
    COMMENT ON COLUMN company.name IS 'As on the invoice';
    COMMENT ON COLUMN deal.amount IS 'Net, in euro';";

const CONFIG: &str = r#"
[source]
url = "postgres://postgres@127.0.0.1:1/postgres"
[destination]
kind = "salesforce"
url = "http://127.0.0.1:1"
client_id = "sandbox"
client_secret = "sandbox"
[tables."public.company"]
object = "Account"
key = { column = "id", field = "Company_Id__c" }
on_delete = { set = { Active__c = false } }
constants = { Active__c = true }
columns.name = "Name"
columns.website = { field = "Website", null = "skip" }
columns.note = { ignore = true }
[tables."public.deal"]
object = "Opportunity"
key = { column = ["company_id", "number"], field = "Deal_Id__c", separator = "/" }
on_delete = "delete"
columns.title = "Name"
columns.stage = { field = "StageName", values = { new = "Prospecting", won = "Closed Won", lost = "Closed Lost" } }
columns.amount = { field = "Discount__c", null = { default = 0 } }
columns.closes_on = "CloseDate"
columns.company_id = { field = "Account", references = "public.company" }
"#;

/// An org with our fields; `discount` is what the tests let drift.
fn org(discount: Option<&str>) -> Crm {
    let crm = Crm::start(None);
    crm.put("fields/Account/Company_Id__c", EXTERNAL_ID);
    crm.put("fields/Opportunity/Deal_Id__c", EXTERNAL_ID);
    let active = r#"{"type":"Checkbox","label":"Active","defaultValue":"false"}"#;
    crm.put("fields/Account/Active__c", active);
    if let Some(discount) = discount {
        crm.put("fields/Opportunity/Discount__c", discount);
    }
    crm
}

const DISCOUNT: &str = r#"{"type":"Number","label":"Discount","precision":16,"scale":2}"#;

struct Place {
    postgres: Postgres,
    dir: tempfile::TempDir,
    crm: Crm,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "not printed: {text}\n{}", self.out);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "not said: {text}\n{}", self.err);
        self
    }
}

impl Place {
    fn new() -> Self {
        let postgres = Postgres::start(Options::default());
        postgres.psql(TABLES);
        let place = Place {
            postgres,
            dir: tempfile::tempdir().unwrap(),
            crm: org(Some(DISCOUNT)),
        };
        fs::write(place.dir.path().join("config.toml"), CONFIG).unwrap();
        place
    }

    fn sets(&self) -> Vec<String> {
        vec![
            format!("source.url={}", self.postgres.url("postgres")),
            format!("destination.url={}", self.crm.url()),
            format!("contract.path={}", self.contracts().display()),
        ]
    }

    fn contracts(&self) -> PathBuf {
        self.dir.path().join("contracts")
    }

    fn contract(&self, table: &str) -> Value {
        let file = self.contracts().join(format!("public.{table}.json"));
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    fn cli(&self, arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_syncline"))
            .args(arguments)
            .arg("--config")
            .arg(self.dir.path().join("config.toml"))
            .args(self.sets().iter().flat_map(|s| ["--set", s]))
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_contract_is_kept_broken_and_mended() {
    let place = Place::new();
    place
        .cli(&["contract", "check"])
        .is(2)
        .says("syncline contract export");
    place
        .cli(&["contract", "export"])
        .is(0)
        .prints("public.company.json: version 1")
        .prints("public.deal.json: version 1");
    let file = place.contracts().join("public.deal.json");
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    place
        .cli(&["contract", "export"])
        .is(0)
        .prints("public.deal.json: unchanged");
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
    place
        .cli(&["contract", "check"])
        .is(0)
        .prints("2 contracts kept.");
    let alone = ["contract", "check", "--database-only"];
    place.cli(&alone).is(0);

    for (alter, mend, sentence) in [
        (
            "ALTER TABLE company ALTER name TYPE varchar(300)",
            "ALTER TABLE company ALTER name TYPE varchar(80)",
            "tables.\"public.company\".columns.name: the type was character varying(80) and is character varying(300) now: Account.Name takes 255 characters",
        ),
        (
            "ALTER TABLE company RENAME website TO homepage",
            "ALTER TABLE company RENAME homepage TO website",
            "columns.website: the column is called homepage now: Account.Website is filled from it",
        ),
        (
            "ALTER TABLE deal ALTER title DROP NOT NULL",
            "ALTER TABLE deal ALTER title SET NOT NULL",
            "columns.title: the column may be NULL now",
        ),
        (
            "ALTER TABLE deal ALTER amount TYPE numeric(12,4)",
            "ALTER TABLE deal ALTER amount TYPE numeric(9,2)",
            "columns.amount: the type was numeric(9,2) and is numeric(12,4) now",
        ),
        (
            "ALTER TABLE deal REPLICA IDENTITY NOTHING",
            "ALTER TABLE deal REPLICA IDENTITY DEFAULT",
            "the replica identity was default (company_id, number) and is nothing now",
        ),
        (
            "ALTER TABLE deal DROP CONSTRAINT deal_pkey",
            "ALTER TABLE deal ADD PRIMARY KEY (company_id, number)",
            "the primary key was (company_id, number) and is none now",
        ),
        (
            "ALTER TABLE deal RENAME TO opportunity",
            "ALTER TABLE opportunity RENAME TO deal",
            "tables.\"public.deal\": the table is gone",
        ),
    ] {
        place.postgres.psql(alter);
        for arguments in [&["contract", "check"][..], &alone] {
            place
                .cli(arguments)
                .is(3)
                .prints("Drift\n")
                .prints(sentence)
                .prints("    → ");
        }
        place.postgres.psql(mend);
        place.cli(&["contract", "check"]).is(0);
    }
    // What nothing needs is a note.
    place.postgres.psql(
        "ALTER TABLE company ADD founded date; ALTER TABLE company DROP misc;
         ALTER TABLE company ALTER website SET NOT NULL",
    );
    let notes = place.cli(&["contract", "check", "--json"]).is(0);
    let notes: Value = serde_json::from_str(&notes.out).unwrap();
    assert_eq!(notes["ok"], true);
    assert_eq!(notes["drift"], 0);
    assert!(notes["notes"].as_u64().unwrap() >= 3, "{notes:#}");
    place
        .postgres
        .psql("ALTER TABLE company DROP founded, ADD misc text, ALTER website DROP NOT NULL");

    // An enumeration grows: agreed on, with its value, the contract has a new version.
    place.postgres.psql("ALTER TYPE stage ADD VALUE 'stalled'");
    let drift = place.cli(&["contract", "check", "--json"]).is(3);
    let drift: Value = serde_json::from_str(&drift.out).unwrap();
    assert_eq!(drift["findings"][0]["severity"], "problem");
    assert!(
        drift["findings"][0]["what"]
            .as_str()
            .unwrap()
            .contains("new value, \"stalled\""),
        "{drift:#}"
    );
    place
        .cli(&["contract", "export"])
        .is(0)
        .prints("public.deal.json: version 2");
    assert_eq!(place.contract("deal")["x-syncline"]["version"], 2);
    place.cli(&["contract", "check"]).is(0);
}

#[test]
fn the_crm_drifts_too() {
    let mut place = Place::new();
    place.cli(&["contract", "export"]).is(0);
    // The same org, as it became.
    for (discount, sentence) in [
        (None, "Opportunity.Discount__c is gone"),
        (
            Some(r#"{"type":"Number","label":"Discount","precision":9,"scale":1}"#),
            "Opportunity.Discount__c had 16 digits, 2 of them right of the point, and has 9 and 1 now",
        ),
        (
            Some(r#"{"type":"Text","label":"Discount","length":40}"#),
            "Opportunity.Discount__c was a field of the kind number and is text now",
        ),
        (
            Some(
                r#"{"type":"Number","label":"Discount","precision":16,"scale":2,"required":true}"#,
            ),
            "Opportunity.Discount__c takes no null any more",
        ),
    ] {
        place.crm = org(discount);
        place
            .cli(&["contract", "check"])
            .is(3)
            .prints(&format!("columns.amount: {sentence}"));
        // Nothing of the database's.
        place.cli(&["contract", "check", "--database-only"]).is(0);
    }
    place.crm = org(Some(DISCOUNT));
    place.cli(&["contract", "check"]).is(0);
}

#[test]
fn no_credentials_are_needed_for_the_database_alone() {
    let place = Place::new();
    place.cli(&["contract", "export"]).is(0);
    let config = place.dir.path().join("config.toml");
    fs::write(&config, CONFIG.replace("client_secret = \"sandbox\"\n", "")).unwrap();
    place
        .cli(&["contract", "check"])
        .is(2)
        .says("no credentials");
    place.cli(&["contract", "check", "--database-only"]).is(0);
}

#[test]
fn the_dictionary_says_where_everything_comes_from() {
    let place = Place::new();
    place
        .cli(&["contract", "export", "--dictionary"])
        .is(0)
        .prints("dictionary.md: the data dictionary");
    let text = fs::read_to_string(place.contracts().join("dictionary.md")).unwrap();
    for line in [
        "## Account from `public.company`",
        "Everybody we sell to | or try to.",
        "- **A deleted row:** keeps its record and sets `Active__c` to `false`.",
        "- **A deleted row:** moves its record to the recycle bin.",
        "- **Key:** `Deal_Id__c` is made from `company_id`, `number`, joined by `/`.",
        "| `Name` | text (255) | `name` | character varying(80) | NOT NULL | source | the row becomes a dead letter |  | As on the invoice |",
        "| `Website` | web address (255) | `website` | text |  | source | leaves the field as it is |",
        "| `Discount__c` | number (16, 2) | `amount` | numeric(9,2) | CHECK ((amount >= (0)::numeric)) | source | writes `0` |  | Net, in euro |",
        "lookup to Account by Company_Id__c",
        "FOREIGN KEY (company_id) REFERENCES company(id)",
        "`lost` is `Closed Lost`; `new` is `Prospecting`; `won` is `Closed Won`; others stay",
        "| `Active__c` | | constant | | | source | | always `true` | |",
        "- `note`: left out on purpose",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let printed = place
        .cli(&["contract", "export", "--dictionary", "-"])
        .is(0);
    assert_eq!(printed.out, text);
}

#[test]
fn rows_that_break_the_contract_cost_no_call() {
    let place = Place::new();
    place.cli(&["contract", "export"]).is(0);
    // Nobody told us.
    place.postgres.psql(
        "ALTER TABLE company ALTER name TYPE text, ALTER name DROP NOT NULL;
         ALTER TYPE stage ADD VALUE 'stalled'",
    );
    let mut sidecar = Sidecar::new(CONFIG);
    sidecar.sets = place.sets();
    sidecar.start();
    let running = |s: &Value| s["state"] == "running";
    sidecar.wait_until("it runs", Duration::from_secs(30), running);
    place.postgres.psql(
        "INSERT INTO company VALUES (1, 'Acme'), (2, repeat('x', 81)), (3, NULL);
         INSERT INTO deal VALUES (1, 1, 'Desk', 'won', 5, '2026-12-01'), (1, 2, 'Lamp', 'stalled', 5, '2026-12-01')",
    );
    let end = lsn(&place.postgres.psql("SELECT pg_current_wal_lsn()"));
    sidecar.wait_until(
        "all have a verdict",
        Duration::from_secs(30),
        |s: &Value| {
            let durable = s["source"]["durable_lsn"].as_str();
            durable.is_some_and(|durable| lsn(durable) >= end)
        },
    );
    let pending = sidecar.get("/pending").unwrap();
    let mut told: Vec<String> = pending["pending"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            assert_eq!(p["code"], "contract", "{p:#}");
            assert_eq!(p["reason"], "dead_letter");
            let field = p["code_fields"][0].as_str().unwrap();
            format!("{} {field}", p["external_id"].as_str().unwrap())
        })
        .collect();
    told.sort();
    assert_eq!(told, ["1/2 StageName", "2 Name", "3 Name"]);
    let mut written = Vec::new();
    place.crm.writes(0, |entry| {
        assert_eq!(entry["outcome"], "accepted", "{entry}");
        written.push(entry["external_id"].as_str().unwrap_or_default().to_owned());
    });
    written.sort();
    assert_eq!(written, ["1", "1/1"]);
    assert!(!sidecar.log().contains("xxxxxxxx"));
    sidecar.stop();
    // A row that somebody mends closes its dead letter.
    sidecar.start();
    place
        .postgres
        .psql("UPDATE company SET name = 'Best' WHERE id = 3");
    sidecar.wait_until("mended", Duration::from_secs(30), |s: &Value| {
        s["shelf"]["dead_letter"] == 2
    });
    sidecar.stop();
    // A table without a contract does not start: nobody would know that it is not checked.
    fs::remove_file(place.contracts().join("public.deal.json")).unwrap();
    place
        .cli(&["run"])
        .is(2)
        .says("has no contract for public.deal");
}

/// Every kind of column, as Postgres prints its rows, against the schema as others would read it.
#[test]
fn schemas_are_valid_and_hold_for_the_rows_of_the_table() {
    let place = Place::new();
    place.postgres.psql(
        r#"CREATE DOMAIN code AS varchar(5) CHECK (VALUE <> '');
           CREATE TYPE pair AS (a int, b text);
           CREATE TABLE wide (
             id bigint PRIMARY KEY, b bool, i2 smallint, i4 int NOT NULL, f8 float8, f4 real,
             n numeric, n52 numeric(5,2), n20 numeric(20,10), nneg numeric(3,-2), t text NOT NULL, v varchar(5), c char(4),
             d code, e stage, es stage[], ts timestamp, tz timestamptz, dt date, ti time, tt timetz,
             iv interval, u uuid, j jsonb, ip inet, m money, by bytea, p pair, r int4range, ia int[]);
           INSERT INTO wide VALUES
             (1, true, -32768, 2147483647, 1.5, -2.25, 123456789012345678901234567890.5, 999.99,
              1234567890.0123456789, 99900, 'text', 'ééééé', 'ab', 'abcde', 'won', '{new,lost}',
              '2026-11-04 12:10:35.123456', '2026-11-04 12:10:35+02', '2026-11-04', '12:10:35.5',
              '12:10:35+05:30', '1 day 2 hours', '0a1b2c3d-0000-ffff-1234-0123456789ab',
              '{"a": [1, null]}', '10.0.0.0/8', 12.5, '\x00ff', '(1,x)', '[1,5)', '{{1,2},{3,4}}'),
             (2, NULL, NULL, 0, 'NaN', '-Infinity', 'NaN', NULL, 0.1, 0, '', NULL, NULL, NULL, NULL, NULL,
              'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
             (9223372036854775807, false, 32767, -2147483648, 1e300, 0, 0, -19.99, 0, -100, 'x', 'x',
              '', 'x', 'new', '{}', '0044-03-15 12:00:00 BC', '1999-12-31 23:59:59.999999-08', '0001-01-01',
              '24:00:00', '00:00:00-08', '-1 year', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '3', '::1',
              -1, '', '(,)', 'empty', '{}')"#,
    );
    let config = format!(
        "{CONFIG}\n[tables.\"public.wide\"]\nobject = \"Contact\"\nkey = {{ column = \"id\", field = \"Wide_Id__c\" }}\n\
         on_delete = \"ignore\"\nconstants = {{ LastName = \"x\" }}\n[routing]\nunmapped = \"ignore\"\n"
    );
    fs::write(place.dir.path().join("config.toml"), config).unwrap();
    place.crm.put("fields/Contact/Wide_Id__c", EXTERNAL_ID);
    place.cli(&["contract", "export"]).is(0);
    let schema = place.contract("wide");
    assert!(jsonschema::meta::is_valid(&schema));
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let rows = place
        .postgres
        .psql("SELECT to_json(w) FROM wide AS w ORDER BY id");
    let rows: Vec<Value> = rows
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let errors: Vec<String> = validator
            .iter_errors(row)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{row:#}");
    }
    // Each of these is a row that the table could not hold.
    for (column, bad) in [
        ("id", r#""1""#),
        ("id", "null"),
        ("b", r#""t""#),
        ("i2", "32768"),
        ("i4", "2147483648"),
        ("i4", "1.5"),
        ("n", r#""abc""#),
        ("n52", "1000"),
        ("nneg", "150"),
        ("t", "null"),
        ("v", r#""123456""#),
        ("c", r#""12345""#),
        ("d", r#""123456""#),
        ("e", r#""stalled""#),
        ("es", r#""new""#),
        ("ts", r#""2026-11-04""#),
        ("tz", r#""2026-11-04T12:10:35""#),
        ("dt", r#""04.11.2026""#),
        ("ti", r#""noon""#),
        ("tt", r#""12:10:35""#),
        ("u", r#""0a1b""#),
        ("by", r#""ff""#),
        ("ia", "7"),
    ] {
        let mut row = rows[0].clone();
        row[column] = serde_json::from_str(bad).unwrap();
        assert!(!validator.is_valid(&row), "{column} = {bad} passes");
    }
    let mut row = rows[0].clone();
    row.as_object_mut().unwrap().remove("t");
    assert!(!validator.is_valid(&row));
    // What we read back is what we wrote, and the rows that Postgres sends keep it.
    place.cli(&["contract", "check"]).is(0);
    for table in ["company", "deal"] {
        assert!(
            jsonschema::meta::is_valid(&place.contract(table)),
            "{table}"
        );
    }
}
