#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use super::schema::{COLUMN_KEYS, KEYS, OUTBOX_KEYS, RULE_KEYS, TABLE_KEYS};
use super::*;

mod doubles;
mod outbox;

const EXAMPLE: &str = include_str!("../../config.toml");

fn load_with(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    let flags: Vec<(String, String)> = flags.iter().map(pair).collect();
    Config::load(file.path(), env.iter().map(pair), &flags).map_err(|e| {
        e.to_string()
            .replace(&file.path().display().to_string(), "F")
    })
}

fn load(text: &str) -> Result<Loaded, String> {
    load_with(text, &[], &[])
}

const SMALL: &str = r#"[source]
url = "postgres://u@h/app"
[destination]
kind = "discard"
"#;

const TABLE: &str = r#"[tables."public.customer"]
object = "Contact"
key = { column = "id", field = "Customer_Id__c" }
on_delete = "delete"
"#;

#[test]
fn the_example_loads_and_means_what_it_says() {
    let config = Config::load(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml"),
        std::iter::empty(),
        &[],
    )
    .unwrap()
    .config;
    assert_eq!(config.destination.url, "http://127.0.0.1:8801");
    assert_eq!(config.tables.len(), 3);
    let company = &config.tables["public.company"];
    assert!(
        matches!(&company.on_delete, OnDelete::Marked(marks) if marks.set["Active__c"].as_bool() == Some(false))
    );
    let deal = &config.tables["public.deal"];
    assert_eq!(deal.key.column.names(), ["company_id", "number"]);
    assert_eq!(deal.key.separator, "/");
    let customer = &config.tables["public.customer"];
    let Column::Rule(rule) = &customer.columns["last_name"] else {
        panic!("not a rule");
    };
    assert_eq!(
        rule.null,
        NullRule::Default(toml::Value::String("Unknown".into()))
    );
}

/// What the example states as a default is the default.
#[test]
fn the_example_documents_every_key_with_its_default() {
    for info in KEYS {
        let said = EXAMPLE
            .lines()
            .map(|l| l.trim_start_matches("# "))
            .any(|l| {
                l.starts_with(&format!("{} = ", info.name))
                    || l == format!("[[{}.{}]]", info.section, info.name)
            });
        assert!(said, "{}.{} is not in config.toml", info.section, info.name);
    }
    for name in TABLE_KEYS
        .iter()
        .chain(&COLUMN_KEYS)
        .chain(&RULE_KEYS)
        .chain(&OUTBOX_KEYS)
    {
        assert!(EXAMPLE.contains(name), "{name} is not in config.toml");
    }
    let example = super::show::leaves(&load(EXAMPLE).unwrap().config);
    let defaults = super::show::leaves(&load(SMALL).unwrap().config);
    for (key, default) in defaults {
        if !matches!(
            key.as_str(),
            "source.url" | "destination.kind" | "destination.url" | "destination.client_id"
        ) {
            assert_eq!(example.get(&key), Some(&default), "{key}");
        }
    }
}

#[test]
fn the_schema_lists_exactly_the_keys_of_the_types() {
    let mut config = load(SMALL).unwrap().config;
    let text = || Some("x".to_owned());
    config.source.password = Some(Secret("p".into()));
    config.source.password_file = Some("x".into());
    config.destination.client_secret = Some(Secret("p".into()));
    config.destination.client_secret_file = Some("x".into());
    config.destination.private_key_file = Some("x".into());
    config.destination.ca_file = Some("x".into());
    config.destination.username = text();
    config.destination.audience = text();
    config.destination.api_version = text();
    config.admin.token = Some(Secret("p".into()));
    config.contract.path = Some("x".into());
    let types: BTreeSet<String> = super::show::leaves(&config).into_keys().collect();
    let schema: BTreeSet<String> = KEYS
        .iter()
        .map(|k| format!("{}.{}", k.section, k.name))
        .collect();
    assert_eq!(types, schema);
}

#[test]
fn later_layers_win_and_every_origin_is_known() {
    let text =
        format!("{SMALL}[delivery]\nmax_rows = 10\nlinger = \"1s\"\n[state]\npath = \"a\"\n");
    let loaded = load_with(
        &text,
        &[
            ("SYNCLINE_DELIVERY__MAX_ROWS", "20"),
            ("SYNCLINE_DELIVERY__LINGER", "2s"),
            ("SYNCLINE_SOURCE__WAL_BUDGET", "1024"),
            ("SYNCLINE_SOURCE__PASSWORD", "12345"),
            ("SYNCLINE_PORT_7878_TCP", "tcp://10.0.0.1:7878"),
            ("PATH", "/bin"),
        ],
        &[("delivery.max_rows", "30")],
    )
    .unwrap();
    assert_eq!(loaded.config.delivery.max_rows, 30);
    assert_eq!(loaded.config.delivery.linger.0, Duration::from_secs(2));
    assert_eq!(loaded.config.source.wal_budget, ByteSize(1024));
    assert_eq!(loaded.config.source.password.as_ref().unwrap().0, "12345");
    assert_eq!(loaded.origins["delivery.max_rows"], Origin::Flag);
    assert_eq!(
        loaded.origins["delivery.linger"],
        Origin::Variable("SYNCLINE_DELIVERY__LINGER".into())
    );
    assert!(matches!(
        &loaded.origins["state.path"],
        Origin::File { line: 9, .. }
    ));
    assert_eq!(loaded.origins["admin.listen"], Origin::Default);
}

#[test]
fn what_is_shown_can_be_read_and_holds_no_secret() {
    let text = EXAMPLE
        .replace("syncline@127.0.0.1", "syncline:hush@127.0.0.1")
        .replace("client_secret = \"sandbox\"", "client_secret = \"hush\"")
        .replace("# token = \"…\"", "token = \"hush\"");
    let loaded = load_with(&text, &[("SYNCLINE_SOURCE__PASSWORD", "hush")], &[]).unwrap();
    let shown = loaded.show();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(!loaded.show_json().to_string().contains("hush"));
    assert!(!format!("{loaded:?}").contains("client_secret: Some(\"hush"));
    assert!(
        shown.contains("url = \"postgres://syncline:***@127.0.0.1:5432/app\""),
        "{shown}"
    );
    assert!(shown.contains("# SYNCLINE_SOURCE__PASSWORD"), "{shown}");
    assert!(shown.contains("[tables.\"public.company\"]"), "{shown}");
    let line = shown
        .lines()
        .find(|l| l.starts_with("columns.name"))
        .unwrap();
    let at = 1 + EXAMPLE
        .lines()
        .position(|l| l.starts_with("columns.name"))
        .unwrap();
    assert!(line.ends_with(&format!(":{at}")), "{line}");
    assert!(load(&shown).is_ok(), "{shown}");
}

#[test]
fn routing_rules_are_read_and_shown() {
    let text = format!(
        "{SMALL}[routing]\nmissing_field = \"create\"\non_drop = \"clear\"\non_rename = \"halt\"\n\
         [[routing.rules]]\ncolumn = \"*_at\"\ntype = \"timestamp*\"\nfield = \"{{Column}}__c\"\nbackfill = true\n\
         [[routing.rules]]\nschema = \"public\"\ntable = \"order?\"\nmissing_field = \"ignore\"\nlabel = \"L\"\n"
    );
    let loaded = load(&text).unwrap();
    let routing = &loaded.config.routing;
    assert_eq!(routing.missing_field, MissingField::Create);
    assert_eq!(
        (routing.on_drop, routing.on_rename),
        (OnDrop::Clear, OnRename::Halt)
    );
    assert_eq!(routing.rules.len(), 2);
    assert_eq!(routing.rules[0].column_type.as_deref(), Some("timestamp*"));
    assert!(routing.rules[0].backfill);
    let shown = load(&loaded.show()).unwrap();
    assert_eq!(shown.config.routing, *routing, "{}", loaded.show());
    // A later rule may be narrower in another way.
    let rules = "[[routing.rules]]\ncolumn = \"a*\"\nignore = true\n[[routing.rules]]\ncolumn = \"*a\"\nignore = true\n";
    assert!(load(&format!("{SMALL}{rules}")).is_ok());
}

/// Each of these is refused, at this place, with these words.
#[test]
fn mistakes_are_told_with_their_place() {
    let table = |rest: &str| format!("{SMALL}{TABLE}{rest}");
    let salesforce = "[source]\nurl = \"postgres://h\"\n[destination]\nkind = \"salesforce\"\nurl = \"https://x\"\nclient_id = \"i\"\n";
    for (text, expected) in [
        (
            SMALL.replace("[destination]", "slto = \"x\"\n[destination]"),
            "F:3: unknown key source.slto; did you mean \"slot\"?",
        ),
        (
            SMALL.replace("[destination]", "slot = 5\n[destination]"),
            "F:3: source.slot takes a text in quotes; this is a whole number",
        ),
        (
            SMALL.replace("[destination]", "slot = \"Sync Line\"\n[destination]"),
            "F:3: source.slot is 1 to 63 small letters",
        ),
        (
            SMALL.replace("[destination]", "queue = \"16 parsec\"\n[destination]"),
            "F:3: source.queue takes a size such as",
        ),
        (
            SMALL.replace("[destination]", "queue = 0\n[destination]"),
            "F:3: source.queue takes a size such as",
        ),
        (
            SMALL.replace("discard", "salesforec"),
            "did you mean \"salesforce\"?",
        ),
        (
            SMALL.replace("discard", "hubspot"),
            "comes in a later release",
        ),
        (
            SMALL.replace("url = \"postgres://u@h/app\"", ""),
            "F:1: source.url is missing: a text in quotes",
        ),
        (
            "[destination]\nkind = \"discard\"\n".into(),
            "source.url is missing",
        ),
        (
            format!("{SMALL}[rooting]\n"),
            "F:5: unknown key rooting; did you mean \"routing\"?",
        ),
        (
            format!("{SMALL}[routing]\nmissing_field = \"made\"\n"),
            "F:6: routing.missing_field is one of \"create\", \"ignore\", \"halt\", not \"made\"",
        ),
        (
            format!("{SMALL}[routing]\nrules = \"a\"\n"),
            "F:6: routing.rules are sections, each headed [[routing.rules]]",
        ),
        (
            format!(
                "{SMALL}[[routing.rules]]\ncolumn = \"a\"\nignore = true\n[[routing.rules]]\ncolunm = \"*\"\nignore = true\n"
            ),
            "F:9: unknown key routing.rules[2].colunm; did you mean \"column\"?",
        ),
        (
            format!("{SMALL}[[routing.rules]]\ncolumn = \"\"\nignore = true\n"),
            "F:6: routing.rules[1].column: it is empty",
        ),
        (
            format!("{SMALL}[[routing.rules]]\ncolumn = \"^a.*\"\nignore = true\n"),
            "F:6: routing.rules[1].column: this looks like a regular expression",
        ),
        (
            format!("{SMALL}[[routing.rules]]\ntable = \"public.o*\"\nignore = true\n"),
            "F:6: routing.rules[1].table: the schema has a key of its own: schema = \"public\", table = \"o*\"",
        ),
        (
            format!("{SMALL}[[routing.rules]]\ntype = 5\nignore = true\n"),
            "F:6: routing.rules[1].type takes a text in quotes; this is a whole number",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nfield = \"{{Colum}}__c\"\n"),
            "F:6: routing.rules[1].field: in a field's name there may be {Column}, {column}, {Table}, {table}",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nfield = \"1{{Column}}__c\"\n"),
            "F:6: routing.rules[1].field: a field's name starts with a letter",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nlabel = \"{}\"\n", "x".repeat(41)),
            "F:6: routing.rules[1].label is 1 to 40 characters long",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nmissing_field = \"make\"\n"),
            "F:6: routing.rules[1].missing_field is one of \"create\"",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nbackfill = 1\n"),
            "F:6: routing.rules[1].backfill takes true or false",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nignore = true\nhalt = true\n"),
            "F:5: routing.rules[1] says ignore and halt at once",
        ),
        (
            format!("{SMALL}[[routing.rules]]\nignore = true\nfield = \"A\"\n"),
            "F:5: routing.rules[1] says ignore = true, so that field means nothing",
        ),
        (
            format!("{SMALL}[[routing.rules]]\ncolumn = \"a\"\n"),
            "F:5: routing.rules[1] does nothing",
        ),
        (
            format!(
                "{SMALL}[[routing.rules]]\ncolumn = \"a*\"\nignore = true\n[[routing.rules]]\nschema = \"s\"\ncolumn = \"ab\"\nhalt = true\n"
            ),
            "F:8: routing.rules[2] can never match: rule 1 before it takes every column that it would",
        ),
        (
            format!("{SMALL}[bulk]\nmode = \"sometimes\"\n"),
            "F:6: bulk.mode is one of \"auto\", \"never\", \"always\", not \"sometimes\"",
        ),
        (
            format!("{SMALL}[bulk]\nmax_bytes = \"1GiB\"\n"),
            "F:6: bulk.max_bytes is at most \"100MiB\"",
        ),
        (
            format!("{SMALL}[delivery]\nmax_rows = 0\n"),
            "F:6: delivery.max_rows takes a whole number from 1 to 1000000",
        ),
        (
            format!("{SMALL}[delivery]\nlinger = 50\n"),
            "F:6: delivery.linger takes a length of time",
        ),
        (
            format!("{SMALL}[admin]\nlisten = \"localhost\"\n"),
            "F:6: admin.listen is an address and a port",
        ),
        (
            format!("{SMALL}admin = 3\n"),
            "F:5: unknown key destination.admin",
        ),
        (
            format!("delivery = 3\n{SMALL}"),
            "F:1: delivery is a section: [delivery]",
        ),
        (
            format!("{SMALL}[brake]\ndeletes = \"500\"\n"),
            "F:6: brake.deletes takes a whole number (0 for no limit), or a share such as \"5%\"",
        ),
        (
            format!("{SMALL}[brake]\nwrites_per_record = 60001\n"),
            "F:6: brake.writes_per_record takes a whole number from 0 to 60000",
        ),
        (
            format!("{SMALL}[brake]\nwithin = 600\n"),
            "F:6: brake.within takes a length of time",
        ),
        (
            table("on_crm_delete = \"keep\"\n"),
            "on_crm_delete is one of \"undelete\", \"recreate\", \"keep_deleted\"",
        ),
        (
            table("").replace("\"delete\"", "{ set = { A = 1 }, restor = { A = 2 } }"),
            "on_delete.restor; did you mean \"restore\"?",
        ),
        (
            table("").replace("\"delete\"", "{ set = { A = 1 }, restore = 2 }"),
            "on_delete.restore is { Active__c = true }: what a row that comes back writes",
        ),
        (format!("{SMALL}x = "), "F:5: "),
        (format!("{SMALL}kind = \"discard\"\n"), "F:5: duplicate key"),
        (
            format!("{SMALL}[tables.public.customer]\nobject = \"Contact\"\n"),
            "F:5: the name of a table is quoted as a whole: [tables.\"public.customer\"]",
        ),
        (
            table("").replace("on_delete = \"delete\"\n", ""),
            "F:5: tables.\"public.customer\".on_delete is missing: say what a deleted row does to its record: \"delete\" (it goes to the recycle bin), \"hard_delete\" (it goes for good), { set = ",
        ),
        (
            table("").replace("\"delete\"", "\"remove\""),
            "F:8: tables.\"public.customer\".on_delete is not understood",
        ),
        (
            table("").replace("\"delete\"", "{ set = { A = [1] } }"),
            "on_delete.set.A takes one value; this is a list",
        ),
        (
            table("").replace("object = \"Contact\"\n", ""),
            "object is missing",
        ),
        (
            table("").replace("column = \"id\", ", ""),
            "F:7: tables.\"public.customer\".key.column is missing",
        ),
        (
            table("").replace("\"id\"", "[]"),
            "F:7: tables.\"public.customer\".key.column is a column, or a list",
        ),
        (
            table("").replace(", field = \"Customer_Id__c\"", ""),
            "key.field is missing",
        ),
        (
            table("").replace(", field =", ", fiedl ="),
            "unknown key tables.\"public.customer\".key.fiedl; did you mean \"field\"?",
        ),
        (
            table("on_truncate = \"drop\"\n"),
            "F:9: tables.\"public.customer\".on_truncate is one of",
        ),
        (
            table("colums.a = \"B\"\n"),
            "F:9: unknown key tables.\"public.customer\".colums; did you mean \"columns\"?",
        ),
        (
            table("columns.a = 5\n"),
            "F:9: tables.\"public.customer\".columns.a is a field's name or",
        ),
        (
            table("columns.a = \"\"\n"),
            "columns.a takes a text in quotes; this is empty",
        ),
        (
            table("columns.a = { feild = \"B\" }\n"),
            "unknown key tables.\"public.customer\".columns.a.feild; did you mean \"field\"?",
        ),
        (
            table("columns.a = { field = \"B\", owner = \"nevest\" }\n"),
            "columns.a.owner is one of \"source\", \"crm\", \"newest\", \"ask\", not \"nevest\"; did you mean \"newest\"?",
        ),
        (
            table("version_field = 1\n"),
            "version_field takes a text in quotes; this is a whole number",
        ),
        (
            table("columns.a = { field = \"B\", null = \"keep\" }\n"),
            "null says what a NULL does",
        ),
        (
            table("columns.a = { field = \"B\", ignore = \"yes\" }\n"),
            "ignore takes true or false",
        ),
        (
            table("columns.a = { field = \"B\", trm = \"ends\" }\n"),
            "columns.a.trm; did you mean \"trim\"?",
        ),
        (
            table("columns.a = { field = \"B\", trim = \"both\" }\n"),
            "F:9: tables.\"public.customer\".columns.a.trim is one of \"none\", \"ends\", \"collapse\", not \"both\"",
        ),
        (
            table("columns.a = { field = \"B\", empty = true }\n"),
            "columns.a.empty takes one of \"null\", \"keep\"; this is true or false",
        ),
        (
            table("columns.a = { field = \"B\", unicode = \"nfd\" }\n"),
            "not \"nfd\"; did you mean \"nfc\"?",
        ),
        (
            table("columns.a = { field = \"B\", controls = \"strip\" }\n"),
            "one of \"keep\", \"drop\"",
        ),
        (
            table("columns.a = { field = \"B\", values = \"x\" }\n"),
            "columns.a.values says what stands for what",
        ),
        (
            table("columns.a = { field = \"B\", values = { x = [1] } }\n"),
            "columns.a.values.x takes one value; this is a list",
        ),
        (
            table("columns.a = { field = \"B\", values = { x = 1 }, otherwise = \"drop\" }\n"),
            "columns.a.otherwise says what a value becomes that `values` does not name",
        ),
        (
            table("columns.a = { field = \"B\", otherwise = \"reject\" }\n"),
            "columns.a.values does not name, and there is none",
        ),
        (
            table("columns.a = { field = \"B\", time_zone = 2 }\n"),
            "columns.a.time_zone takes a text in quotes; this is a whole number",
        ),
        (table("constants.A = []\n"), "constants.A takes one value"),
        (
            salesforce.to_owned(),
            "no credentials: give destination.client_secret_file",
        ),
        (
            format!("{salesforce}username = \"u\"\n"),
            "which needs destination.private_key_file",
        ),
        (
            format!("{salesforce}private_key_file = \"k\"\n"),
            "destination.username is missing",
        ),
        (
            format!("{salesforce}client_secret = \"a\"\nclient_secret_file = \"b\"\n"),
            "are both given",
        ),
        (
            format!("{salesforce}client_secret = \"a\"\napi_version = \"latest\"\n"),
            "a version such as \"66.0\"",
        ),
        (
            salesforce.replace("https://x", "acme.my.salesforce.com"),
            "destination.url is the address of the org",
        ),
    ] {
        let error = load(&text).expect_err(&format!("taken: {text}"));
        assert!(
            error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_no_secret_in_any() {
    let error = load_with(
        &format!("{SMALL}[admin]\ntoken = 77777\n[delivery]\nmax_row = 3\n"),
        &[
            ("SYNCLINE_SOURCE__PASWORD", "hush"),
            ("SYNCLINE_SOURCE_PASSWORD", "hush"),
            ("SYNCLINE_TABLES__X", "hush"),
            ("SYNCLINE_DELIVERY__MAX_BYTES", "many"),
        ],
        &[("delivery.max_rwos", "3"), ("tables.x.object", "3")],
    )
    .unwrap_err();
    for part in [
        "8 mistakes",
        "F:6: admin.token takes a text in quotes; this is a whole number",
        "F:8: unknown key delivery.max_row; did you mean \"max_rows\"?",
        "SYNCLINE_SOURCE__PASWORD: no key has this name; did you mean SYNCLINE_SOURCE__PASSWORD?",
        "SYNCLINE_SOURCE_PASSWORD: two underscores stand between levels: SYNCLINE_SOURCE__PASSWORD",
        "SYNCLINE_TABLES__X: tables are not set by variables",
        "SYNCLINE_DELIVERY__MAX_BYTES: delivery.max_bytes takes a size",
        "no key is named delivery.max_rwos; did you mean delivery.max_rows?",
        "no key is named tables.x.object",
    ] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
    assert!(
        !error.contains("hush") && !error.contains("77777"),
        "{error}"
    );
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let error = Config::load(
        Path::new("/nonexistent/config.toml"),
        std::iter::empty(),
        &[],
    )
    .unwrap_err();
    assert_eq!(error.kind, crate::fault::ErrorKind::Usage);
    assert!(error.to_string().contains("/nonexistent/config.toml"));
    assert!(error.remedy.unwrap().contains("syncline init"));
}

#[test]
fn a_secret_file_gives_its_first_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hush\nnot this\n").unwrap();
    assert_eq!(Secret::from_file(&path).unwrap().0, "hush");
    std::fs::write(&path, "hush\r\n").unwrap();
    assert_eq!(Secret::from_file(&path).unwrap().0, "hush");
    for empty in ["", "\nhush\n", "  \n"] {
        std::fs::write(&path, empty).unwrap();
        assert!(
            Secret::from_file(&path)
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
    }
    let error = Secret::from_file(&dir.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    let mut config = load(SMALL).unwrap().config;
    assert!(config.source.secret().unwrap().is_none());
    std::fs::write(&path, "from file\n").unwrap();
    config.source.password_file = Some(path);
    assert_eq!(config.source.secret().unwrap().unwrap().0, "from file");
}
