//! Pages by keys of other kinds.

use crate::sides::{PATIENCE, compare, configured, is_loaded, load, settle};
use crate::support::crm::{Crm, EXTERNAL_ID};
use crate::support::postgres::{Options, Postgres};

const TABLES: &str = r#"
CREATE TABLE word (code text PRIMARY KEY, title text);
INSERT INTO word SELECT (ARRAY['a','A','ä','Z','o''n','b\','k "q"','名','a-','_%'])[1 + g % 10] || '/' || g / 10, 't' || g
FROM generate_series(0, 999) g;
CREATE TABLE token (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), title text);
INSERT INTO token (title) SELECT 't' || g FROM generate_series(1, 1000) g;
CREATE TABLE part (tenant int, code text, title text, PRIMARY KEY (tenant, code));
-- More rows of one tenant than a page holds.
INSERT INTO part SELECT g % 5 - 2, 'c' || g % 250, 't' || g FROM generate_series(1, 1000) g ON CONFLICT DO NOTHING;
INSERT INTO part SELECT 7, (ARRAY['x','X','ö'])[1 + g % 3] || g, 't' || g FROM generate_series(1, 500) g;
"#;

const CONFIG: &str = r#"
[tables."public.word"]
object = "Word__c"
key = { column = "code", field = "Ext_Id__c" }
on_delete = "delete"
columns.title = "Title__c"
[tables."public.token"]
object = "Token__c"
key = { column = "id", field = "Ext_Id__c" }
on_delete = "delete"
columns.title = "Title__c"
[tables."public.part"]
object = "Part__c"
key = { column = ["tenant", "code"], field = "Ext_Id__c" }
on_delete = "delete"
columns.title = "Title__c"
"#;

#[test]
fn text_uuid_and_composite_keys_load_equal() {
    let postgres = Postgres::start(Options::default());
    postgres.psql(TABLES);
    let crm = Crm::start(None);
    for name in ["Word", "Token", "Part"] {
        let object = format!(
            r#"{{"label": "{name}", "fields": {{"Title__c": {{"type": "Text", "label": "Title", "length": 80}}}}}}"#
        );
        crm.put(&format!("objects/{name}__c"), &object);
        crm.put(&format!("fields/{name}__c/Ext_Id__c"), EXTERNAL_ID);
    }
    let url = postgres.url("postgres");
    let mut sidecar = configured(&url, &crm, "page_rows = 37", CONFIG);
    sidecar.start();
    sidecar.wait_until("everything is read", PATIENCE, is_loaded);
    settle(&mut sidecar, &postgres);
    let status = sidecar.status().unwrap();
    sidecar.stop();
    assert!(load(&status)["pages"].as_u64() > Some(20), "{status:#}");
    let title: &[(&str, &str)] = &[("title", "Title__c")];
    assert_eq!(
        compare(&postgres, &crm, "word", "code", "Word__c", title),
        1_000
    );
    assert_eq!(
        compare(&postgres, &crm, "token", "id", "Token__c", title),
        1_000
    );
    let key = "tenant || ':' || code";
    let parts = compare(&postgres, &crm, "part", key, "Part__c", title);
    // Every row once: nothing was written a second time.
    let mut creates = 0;
    crm.writes(0, |entry| {
        assert_eq!(
            (&entry["operation"], &entry["outcome"]),
            (&"create".into(), &"accepted".into()),
            "{entry}"
        );
        creates += 1;
    });
    assert_eq!(creates, 2_000 + parts);
}
