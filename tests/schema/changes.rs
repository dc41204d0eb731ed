//! Every kind of change that a table can go through, made live and made while stopped.

use crate::driver::both_ways;

both_ways! {
    a_column_goes_to_the_field_of_its_name
    a_column_gets_a_field_of_its_own
    a_dropped_column_keeps_its_field
    a_dropped_column_clears_its_field
    a_renamed_column_loses_nothing
    a_type_that_fits
    a_type_that_does_not_fit
    nullability
    a_primary_key_that_grows
    a_key_column_that_goes
    the_replica_identity
    a_renamed_table
    a_table_made_anew
}

mod cases {
    use serde_json::{Value, json};

    use crate::driver::{Mode, World};

    const ACME: &str = "INSERT INTO company VALUES (1, 'Acme', 'Bonn', 7)";

    pub fn a_column_goes_to_the_field_of_its_name(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.alter(&[
            "INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)",
            "ALTER TABLE company ADD COLUMN phone text",
            "INSERT INTO company VALUES (3, 'Cat', 'Ulm', 9, '333')",
            "UPDATE company SET phone = '111' WHERE id = 1",
        ]);
        let expected = json!([
            ["1", "Acme", "Bonn", "111"],
            ["2", "Brit", "Köln", null],
            ["3", "Cat", "Ulm", "333"]
        ]);
        world.shows("Account", "Name,City__c,Phone", &expected);
        world.counted("column_added", 1);
        world.finding("note", &["columns.phone", "it goes to Phone"]);
        world.shelf_empty();
        world.end();
    }

    pub fn a_column_gets_a_field_of_its_own(mode: Mode) {
        let mut world = World::start(mode, "[routing]\nmissing_field = \"create\"");
        world.crm.put("limits", r#"{"describe_lag_ms": 700}"#);
        world.change(ACME);
        world.alter(&["BEGIN;
             INSERT INTO company VALUES (2, 'Brit', 'Köln', 8);
             ALTER TABLE company ADD COLUMN loyalty_tier varchar(12), ADD COLUMN credit_line numeric(9,2);
             INSERT INTO company VALUES (3, 'Cat', 'Ulm', 9, 'gold', 12.50);
             UPDATE company SET loyalty_tier = 'tin', credit_line = 1 WHERE id < 3;
             COMMIT"]);
        let expected = json!([
            ["1", "Acme", "tin", 1.0],
            ["2", "Brit", "tin", 1.0],
            ["3", "Cat", "gold", 12.5]
        ]);
        world.shows("Account", "Name,Loyalty_Tier__c,Credit_Line__c", &expected);
        world.counted("column_added", 2);
        let tier = world.field("Account", "Loyalty_Tier__c");
        assert_eq!(tier["type"], "string", "{tier:#}");
        assert_eq!(tier["length"], 12, "{tier:#}");
        assert_eq!(tier["label"], "Loyalty Tier", "{tier:#}");
        let credit = world.field("Account", "Credit_Line__c");
        assert_eq!(credit["metadata"]["precision"], 9, "{credit:#}");
        assert_eq!(credit["metadata"]["scale"], 2, "{credit:#}");
        for field in [tier, credit] {
            assert_eq!(field["visible"], true, "{field:#}");
            assert_eq!(field["editable"], true, "{field:#}");
            let granted = &field["granted"][0];
            assert_eq!(granted["user"], "integration@sandbox.test", "{field:#}");
            assert_eq!(
                (&granted["read"], &granted["edit"]),
                (&json!(true), &json!(true))
            );
        }
        world.shelf_empty();
        world.end();
    }

    /// What is left of a dropped column's field, in a row that changed afterwards and in one that did
    /// not.
    fn dropped(mode: Mode, config: &str, changed: &Value) {
        let mut world = World::start(mode, config);
        world.change(ACME);
        world.change("INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)");
        world.alter(&[
            "UPDATE company SET city = 'Bonn am Rhein' WHERE id = 1",
            "ALTER TABLE company DROP COLUMN city",
            "UPDATE company SET size = 70 WHERE id = 1",
            "INSERT INTO company VALUES (3, 'Cat', 9)",
        ]);
        let expected = json!([
            ["1", "Acme", changed, 70.0],
            ["2", "Brit", "Köln", 8.0],
            ["3", "Cat", null, 9.0]
        ]);
        world.shows("Account", "Name,City__c,Size__c", &expected);
        world.counted("column_dropped", 1);
        world.shelf_empty();
        world.end();
    }

    pub fn a_dropped_column_keeps_its_field(mode: Mode) {
        dropped(mode, "", &json!("Bonn am Rhein"));
    }

    pub fn a_dropped_column_clears_its_field(mode: Mode) {
        dropped(mode, "[routing]\non_drop = \"clear\"", &json!(null));
    }

    pub fn a_renamed_column_loses_nothing(mode: Mode) {
        let mut world = World::start(mode, "[routing]\nmissing_field = \"create\"");
        world.change(ACME);
        world.alter(&[
            "INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)",
            // One that found its field by name, and one that the configuration names.
            "ALTER TABLE company RENAME COLUMN city TO town",
            "INSERT INTO company VALUES (3, 'Cat', 'Ulm', 9)",
            "ALTER TABLE company RENAME COLUMN name TO firm",
            "UPDATE company SET town = 'Bonn am Rhein', firm = 'Acme AG' WHERE id = 1",
            "INSERT INTO company VALUES (4, 'Dog', 'Hof', 10)",
        ]);
        let expected = json!([
            ["1", "Acme AG", "Bonn am Rhein"],
            ["2", "Brit", "Köln"],
            ["3", "Cat", "Ulm"],
            ["4", "Dog", "Hof"]
        ]);
        world.shows("Account", "Name,City__c", &expected);
        world.counted("column_renamed", 2);
        world.finding("warning", &["firm", "name", "followed"]);
        assert_eq!(world.field("Account", "Town__c"), json!(null));
        world.shelf_empty();
        world.end();
    }

    pub fn a_type_that_fits(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.alter(&[
            "ALTER TABLE company ALTER COLUMN city TYPE text",
            "ALTER TABLE company ALTER COLUMN size TYPE bigint",
            "INSERT INTO company VALUES (2, 'Brit', repeat('x', 60), 8000000000)",
            "UPDATE company SET size = 70 WHERE id = 1",
        ]);
        let expected = json!([
            ["1", "Acme", "Bonn", 70.0],
            ["2", "Brit", "x".repeat(60), 8_000_000_000.0]
        ]);
        world.shows("Account", "Name,City__c,Size__c", &expected);
        world.counted("type_changed", 2);
        world.no_problems();
        world.shelf_empty();
        world.end();
    }

    pub fn a_type_that_does_not_fit(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.alter(&[
            "ALTER TABLE company ALTER COLUMN size TYPE date USING date '2000-01-01' + size",
            "INSERT INTO company VALUES (2, 'Brit', 'Köln', '2000-01-09')",
            "UPDATE company SET size = '2000-03-11', city = 'Ulm' WHERE id = 1",
            "INSERT INTO customer VALUES (1, 'Lee', 'x', 1)",
        ]);
        world.counted("type_changed", 1);
        world.finding("problem", &["public.company", "size", "Size__c"]);
        // The other table goes on, and this one is held.
        world.shows("Contact", "LastName", &json!([["1", "Lee"]]));
        world.shelved("held", 2);
        let before = json!([["1", "Acme", "Bonn", 7.0]]);
        world.shows("Account", "Name,City__c,Size__c", &before);

        world.alter(&[
            "INSERT INTO company VALUES (3, 'Cat', 'Hof', '2000-01-10')",
            "ALTER TABLE company ALTER COLUMN size TYPE int USING size - date '2000-01-01'",
        ]);
        let expected = json!([
            ["1", "Acme", "Ulm", 70.0],
            ["2", "Brit", "Köln", 8.0],
            ["3", "Cat", "Hof", 9.0]
        ]);
        world.shows("Account", "Name,City__c,Size__c", &expected);
        world.no_problems();
        world.shelf_empty();
        world.end();
    }

    pub fn nullability(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.alter(&[
            "ALTER TABLE company ALTER COLUMN city SET NOT NULL",
            "ALTER TABLE company ALTER COLUMN name DROP NOT NULL",
        ]);
        world.counted("nullability_changed", 2);
        world.finding("warning", &["public.company", "columns.name", "null"]);
        world.change("INSERT INTO company VALUES (2, 'Brit', 'Köln', 8), (3, NULL, 'Ulm', 9)");
        let expected = json!([["1", "Acme", "Bonn"], ["2", "Brit", "Köln"]]);
        world.shows("Account", "Name,City__c", &expected);
        world.shelved("dead_letter", 1);
        world.end();
    }

    /// The key of the mapping is still covered by it: nothing else follows.
    pub fn a_primary_key_that_grows(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.change("INSERT INTO customer VALUES (1, 'Lee', 'x', 1), (2, 'Ng', 'y', 1)");
        world.alter(&[
            "ALTER TABLE customer DROP CONSTRAINT customer_pkey, ADD PRIMARY KEY (last_name, id)",
            "UPDATE customer SET last_name = 'Leigh' WHERE id = 1",
            "DELETE FROM customer WHERE id = 2",
            "INSERT INTO customer VALUES (3, 'Wu', 'z', 1)",
        ]);
        let expected = json!([["1", "Leigh", "x"], ["3", "Wu", "z"]]);
        world.shows("Contact", "LastName,Note__c", &expected);
        world.counted("key_changed", 1);
        world.end();
    }

    /// Rows can no longer be told apart: the table is halted, and whole again when the column is back.
    pub fn a_key_column_that_goes(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.change("INSERT INTO customer VALUES (1, 'Lee', 'x', 1)");
        world.alter(&[
            "ALTER TABLE customer DROP COLUMN id, ADD COLUMN number int DEFAULT 1 NOT NULL, REPLICA IDENTITY FULL",
            "UPDATE customer SET note = 'xx'",
        ]);
        world.counted("column_dropped", 1);
        world.finding("problem", &["public.customer", "id"]);
        world.change("INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)");
        let accounts = json!([["1", "Acme"], ["2", "Brit"]]);
        world.shows("Account", "Name", &accounts);
        world.shows("Contact", "LastName,Note__c", &json!([["1", "Lee", "x"]]));
        world.alter(&["ALTER TABLE customer RENAME COLUMN number TO id;
             ALTER TABLE customer ADD PRIMARY KEY (id);
             UPDATE customer SET note = 'xxx'"]);
        world.shows("Contact", "LastName,Note__c", &json!([["1", "Lee", "xxx"]]));
        world.no_problems();
        world.end();
    }

    pub fn the_replica_identity(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.change("INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)");
        world.alter(&[
            "ALTER TABLE company REPLICA IDENTITY FULL",
            "UPDATE company SET id = 3, city = 'Ulm' WHERE id = 1",
            "DELETE FROM company WHERE id = 2",
        ]);
        world.counted("identity_changed", 1);
        let expected = json!([["3", "Acme", "Ulm", 7.0]]);
        world.shows("Account", "Name,City__c,Size__c", &expected);
        world.alter(&[
            "ALTER TABLE company REPLICA IDENTITY DEFAULT",
            "UPDATE company SET size = 1 WHERE id = 3",
        ]);
        let expected = json!([["3", "Acme", "Ulm", 1.0]]);
        world.shows("Account", "Name,City__c,Size__c", &expected);
        world.shelf_empty();
        world.end();
    }

    pub fn a_renamed_table(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.alter(&[
            "INSERT INTO company VALUES (2, 'Brit', 'Köln', 8)",
            "ALTER TABLE company RENAME TO firm",
            "UPDATE firm SET city = 'Ulm' WHERE id = 1",
            "INSERT INTO firm VALUES (3, 'Cat', 'Hof', 9)",
            "INSERT INTO customer VALUES (1, 'Lee', 'x', 3)",
        ]);
        let expected = json!([
            ["1", "Acme", "Ulm"],
            ["2", "Brit", "Köln"],
            ["3", "Cat", "Hof"]
        ]);
        world.shows("Account", "Name,City__c", &expected);
        world.counted("table_renamed", 1);
        world.finding("warning", &["public.company", "firm"]);
        world.shows("Contact", "LastName", &json!([["1", "Lee"]]));
        world.shelf_empty();
        // It stays so after another start.
        world.sidecar.stop();
        world.sidecar.start();
        world.running();
        world.change("DELETE FROM firm WHERE id = 2");
        let expected = json!([["1", "Acme", "Ulm"], ["3", "Cat", "Hof"]]);
        world.shows("Account", "Name,City__c", &expected);
        world.end();
    }

    /// Its columns stand in another order, and one is new; their numbers mean nothing any more.
    pub fn a_table_made_anew(mode: Mode) {
        let mut world = World::start(mode, "");
        world.change(ACME);
        world.change("INSERT INTO customer VALUES (1, 'Lee', 'x', 1), (2, 'Ng', 'y', 1)");
        world.alter(&[
            "DELETE FROM customer WHERE id = 2",
            "DROP TABLE customer",
            "CREATE TABLE customer (note varchar(20), email text, last_name text NOT NULL,
               company_id int, id int PRIMARY KEY);
             ALTER PUBLICATION syncline ADD TABLE customer",
            "INSERT INTO customer VALUES ('xx', 'lee@example.test', 'Leigh', 1, 1), ('z', NULL, 'Wu', 1, 3)",
        ]);
        let expected = json!([
            ["1", "Leigh", "xx", "lee@example.test"],
            ["3", "Wu", "z", null]
        ]);
        world.shows("Contact", "LastName,Note__c,Email", &expected);
        world.counted("table_recreated", 1);
        world.shelf_empty();
        world.end();
    }
}
