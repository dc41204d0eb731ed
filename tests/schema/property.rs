//! Random changes of schemas and of data, backfills and kills: at the end the CRM is as the database.
//!
//! A column may come, change several times and go between two moments at which the connector is up to
//! date. What the stream and a catalog that is far ahead tell of that can be read in several ways (see
//! `decode::resolve`); the columns that are there in the end have to be whole whichever is taken.
//!
//! `SYNCLINE_CASES` says how many cases; `SYNCLINE_SEED` runs one again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driver::{Mode, PATIENCE, World};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const TYPES: [&str; 4] = ["text", "varchar(12)", "varchar(20)", "int"];

/// A column of now.
#[derive(Clone, Debug)]
struct Column {
    /// All names that it has had, the present one last: its field bears one of them.
    names: Vec<String>,
    type_name: &'static str,
}

impl Column {
    fn name(&self) -> &str {
        self.names.last().unwrap()
    }

    fn is_number(&self) -> bool {
        matches!(self.type_name, "int" | "bigint")
    }
}

/// What a table should hold: by key its values, in the order of its columns.
#[derive(Clone, Debug, Default)]
struct Table {
    columns: Vec<Column>,
    rows: BTreeMap<u64, Row>,
}

#[derive(Clone, Debug)]
struct Row {
    title: String,
    parent: Option<u64>,
    values: Vec<Value>,
}

/// Both tables: companies, and their customers.
#[derive(Clone, Debug, Default)]
struct Model {
    tables: [Table; 2],
    /// No name is used twice, and no value.
    counter: u64,
}

const NAMES: [&str; 2] = ["company", "customer"];
const TITLES: [&str; 2] = ["name", "last_name"];
const KEYS: u64 = 12;

impl Model {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn value(&mut self, number: bool, random: &mut Random) -> Value {
        let n = self.next();
        match (random.chance(15), number) {
            (true, _) => Value::Null,
            (false, true) => json!(n as f64),
            (false, false) => json!(format!("v{n}")),
        }
    }

    /// One statement, and what follows from it.
    fn statement(&mut self, random: &mut Random) -> String {
        let t = random.below(2) as usize;
        match random.below(100) {
            0..30 => self.add_row(t, random),
            30..55 => self.update(t, random),
            55..65 => self.delete(t, random),
            65..80 => self.add_column(t, random),
            80..87 => self.drop_column(t, random),
            87..94 => self.rename_column(t, random),
            _ => self.retype(t, random),
        }
    }

    fn add_row(&mut self, t: usize, random: &mut Random) -> String {
        let id = 1 + random.below(KEYS);
        if self.tables[t].rows.contains_key(&id) {
            return self.update(t, random);
        }
        let title = format!("t{}", self.next());
        let parent = (t == 1).then(|| self.parent(random)).flatten();
        let numbers: Vec<bool> = self.tables[t]
            .columns
            .iter()
            .map(Column::is_number)
            .collect();
        let values: Vec<Value> = numbers
            .into_iter()
            .map(|number| self.value(number, random))
            .collect();
        let columns = self.tables[t]
            .columns
            .iter()
            .map(|c| format!(", {}", c.name()));
        let mut sql = format!("INSERT INTO {} (id, {}", NAMES[t], TITLES[t]);
        sql += if t == 1 { ", company_id" } else { "" };
        sql.extend(columns);
        sql += &format!(") VALUES ({id}, '{title}'");
        if t == 1 {
            sql += &format!(", {}", or_null(parent));
        }
        sql.extend(values.iter().map(|v| format!(", {}", literal(v))));
        sql += ")";
        let row = Row {
            title,
            parent,
            values,
        };
        self.tables[t].rows.insert(id, row);
        sql
    }

    fn parent(&self, random: &mut Random) -> Option<u64> {
        let companies: Vec<u64> = self.tables[0].rows.keys().copied().collect();
        companies
            .get(random.below(companies.len() as u64 + 1) as usize)
            .copied()
    }

    fn one(&self, t: usize, random: &mut Random) -> Option<u64> {
        let ids: Vec<u64> = self.tables[t].rows.keys().copied().collect();
        ids.get(random.below(ids.len() as u64) as usize).copied()
    }

    fn update(&mut self, t: usize, random: &mut Random) -> String {
        let Some(id) = self.one(t, random) else {
            return self.add_row(t, random);
        };
        let width = self.tables[t].columns.len() as u64;
        let place = random.below(width + 2) as usize;
        let set = if place < width as usize {
            let number = self.tables[t].columns[place].is_number();
            let value = self.value(number, random);
            let name = self.tables[t].columns[place].name().to_owned();
            let set = format!("{name} = {}", literal(&value));
            self.tables[t].rows.get_mut(&id).unwrap().values[place] = value;
            set
        } else if t == 1 && place == width as usize {
            let parent = self.parent(random);
            self.tables[t].rows.get_mut(&id).unwrap().parent = parent;
            format!("company_id = {}", or_null(parent))
        } else {
            let title = format!("t{}", self.next());
            self.tables[t].rows.get_mut(&id).unwrap().title = title.clone();
            format!("{} = '{title}'", TITLES[t])
        };
        format!("UPDATE {} SET {set} WHERE id = {id}", NAMES[t])
    }

    fn delete(&mut self, t: usize, random: &mut Random) -> String {
        let Some(id) = self.one(t, random) else {
            return self.add_row(t, random);
        };
        self.tables[t].rows.remove(&id);
        if t == 0 {
            for row in self.tables[1].rows.values_mut() {
                row.parent = row.parent.filter(|p| *p != id);
            }
        }
        format!("DELETE FROM {} WHERE id = {id}", NAMES[t])
    }

    fn add_column(&mut self, t: usize, random: &mut Random) -> String {
        let type_name = TYPES[random.below(TYPES.len() as u64) as usize];
        let name = format!("c_{}", self.next());
        let column = Column {
            names: vec![name.clone()],
            type_name,
        };
        // Existing rows get the default, and the stream tells nothing of it.
        let value = match random.chance(60) {
            true => self.value(column.is_number(), random),
            false => Value::Null,
        };
        let table = &mut self.tables[t];
        table.columns.push(column);
        for row in table.rows.values_mut() {
            row.values.push(value.clone());
        }
        let default = literal(&value);
        format!(
            "ALTER TABLE {} ADD COLUMN {name} {type_name} DEFAULT {default}",
            NAMES[t]
        )
    }

    fn column(&self, t: usize, random: &mut Random) -> Option<usize> {
        let count = self.tables[t].columns.len() as u64;
        (count > 0).then(|| random.below(count) as usize)
    }

    /// A change of each table, so that the stream describes it as it is.
    fn touch(&mut self, random: &mut Random) -> String {
        let touches = [0, 1].map(|t| {
            let Some(id) = self.one(t, random) else {
                return self.add_row(t, random);
            };
            let title = format!("t{}", self.next());
            self.tables[t].rows.get_mut(&id).unwrap().title = title.clone();
            format!(
                "UPDATE {} SET {} = '{title}' WHERE id = {id}",
                NAMES[t], TITLES[t]
            )
        });
        touches.join("; ")
    }

    fn drop_column(&mut self, t: usize, random: &mut Random) -> String {
        let Some(place) = self.column(t, random) else {
            return self.add_column(t, random);
        };
        let gone = self.tables[t].columns.remove(place);
        for row in self.tables[t].rows.values_mut() {
            row.values.remove(place);
        }
        format!("ALTER TABLE {} DROP COLUMN {}", NAMES[t], gone.name())
    }

    fn rename_column(&mut self, t: usize, random: &mut Random) -> String {
        let Some(place) = self.column(t, random) else {
            return self.add_column(t, random);
        };
        let to = format!("c_{}", self.next());
        let column = &mut self.tables[t].columns[place];
        let from = column.name().to_owned();
        column.names.push(to.clone());
        format!("ALTER TABLE {} RENAME COLUMN {from} TO {to}", NAMES[t])
    }

    fn retype(&mut self, t: usize, random: &mut Random) -> String {
        let Some(place) = self.column(t, random) else {
            return self.add_column(t, random);
        };
        let column = &mut self.tables[t].columns[place];
        column.type_name = match column.type_name {
            "int" | "bigint" => "bigint",
            "text" => "varchar(20)",
            _ => "text",
        };
        format!(
            "ALTER TABLE {} ALTER COLUMN {} TYPE {}",
            NAMES[t],
            column.name(),
            column.type_name
        )
    }

    /// A transaction of one to five statements; some are rolled back.
    fn transaction(&mut self, random: &mut Random) -> String {
        let before = self.clone();
        let statements: Vec<String> = (0..1 + random.below(5))
            .map(|_| self.statement(random))
            .collect();
        let end = if random.chance(8) {
            let counter = self.counter;
            *self = before;
            self.counter = counter;
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        format!("BEGIN; {}; {end}", statements.join("; "))
    }
}

fn or_null(id: Option<u64>) -> String {
    id.map_or_else(|| "NULL".to_owned(), |id| id.to_string())
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        Value::Number(n) => (n.as_f64().unwrap() as u64).to_string(),
        _ => "NULL".to_owned(),
    }
}

const TABLES: &str = "
CREATE TABLE company (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE customer (id int PRIMARY KEY, last_name text NOT NULL,
  company_id int REFERENCES company ON DELETE SET NULL);
";

const CONFIG: &str = r#"
[delivery]
max_rows = 7
[backfill]
page_rows = 3
[[routing.rules]]
column = "c_*"
missing_field = "create"
backfill = true
"#;

struct Case {
    world: World,
    model: Model,
    random: Random,
    runs: bool,
    script: Vec<String>,
}

impl Case {
    fn new(seed: u64) -> Case {
        Case {
            world: World::with(Mode::Live, TABLES, CONFIG),
            model: Model::default(),
            random: Random(seed),
            runs: false,
            script: Vec::new(),
        }
    }

    fn transactions(&mut self, most: u64) {
        for _ in 0..=self.random.below(most) {
            let sql = self.model.transaction(&mut self.random);
            self.world.postgres.psql(&sql);
            self.script.push(sql);
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => self.transactions(3),
            60..75 if self.runs => {
                let table = NAMES[self.random.below(2) as usize];
                let wish = json!({"table": format!("public.{table}")}).to_string();
                let answer = self.world.sidecar.post("/backfill", &wish);
                self.script
                    .push(format!("-- backfill {table}: {}", answer.is_some()));
            }
            75..90 if self.runs => {
                self.script.push("-- kill".into());
                self.world.sidecar.kill();
                self.runs = false;
            }
            90..98 if self.runs => {
                let sql = self.model.touch(&mut self.random);
                self.world.postgres.psql(&sql);
                self.script.push(sql);
                self.script.push("-- it is through".into());
                self.world.through();
            }
            _ if self.runs => {
                std::thread::sleep(Duration::from_millis(self.random.below(120)));
            }
            _ => self.run(),
        }
    }

    fn run(&mut self) {
        self.script.push("-- start".into());
        self.world.sidecar.start();
        self.runs = true;
        if self.random.chance(70) {
            self.world.running();
        }
    }

    fn play(&mut self, steps: u64) {
        // The first load.
        for _ in 0..6 {
            self.transactions(3);
        }
        self.run();
        for _ in 0..steps {
            self.step();
        }
        if !self.runs {
            self.run();
        }
        self.world.running();
        self.world.through();
        self.world.shelf_empty();
        // A column of a quiet table is seen by the next look at the catalog.
        let deadline = Instant::now() + PATIENCE;
        while let Err(why) = self.compare() {
            self.world.sidecar.assert_alive();
            assert!(
                Instant::now() < deadline,
                "{why}\n{}",
                self.world.sidecar.tail()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        self.world.sidecar.stop();
    }

    fn compare(&self) -> Result<(), String> {
        let ids: BTreeMap<String, Value> = self
            .world
            .crm
            .records("Account", "Id,Ext_Id__c")
            .iter()
            .map(|r| (r["Id"].to_string(), r["Ext_Id__c"].clone()))
            .collect();
        for (t, object) in ["Account", "Contact"].into_iter().enumerate() {
            let table = &self.model.tables[t];
            let title = ["Name", "LastName,AccountId"][t];
            let mut shown = self.world.records(object, title);
            if t == 1 {
                for row in shown.as_array_mut().unwrap() {
                    row[2] = ids.get(&row[2].to_string()).cloned().unwrap_or_default();
                }
            }
            let expected = table.rows.iter().map(|(id, row)| {
                let mut all = vec![json!(id.to_string()), json!(row.title)];
                if t == 1 {
                    all.push(row.parent.map_or(Value::Null, |p| json!(p.to_string())));
                }
                json!(all)
            });
            let expected = Value::Array(expected.collect());
            if shown != expected {
                return Err(format!("{object}: shown {shown}\n expected {expected}"));
            }
            for (place, column) in table.columns.iter().enumerate() {
                self.compare_column(t, object, place, column)?;
            }
        }
        Ok(())
    }

    /// It is whole in one of the fields that bear a name it has had.
    fn compare_column(
        &self,
        t: usize,
        object: &str,
        place: usize,
        column: &Column,
    ) -> Result<(), String> {
        let rows = self.model.tables[t].rows.iter();
        let expected: Vec<Value> = rows
            .map(|(id, row)| json!([id.to_string(), row.values[place]]))
            .collect();
        let expected = Value::Array(expected);
        let mut seen = Vec::new();
        for name in &column.names {
            let field = format!("C_{}__c", name.trim_start_matches("c_"));
            if self.world.field(object, &field).is_null() {
                continue;
            }
            let shown = self.world.records(object, &field);
            if shown == expected {
                return Ok(());
            }
            seen.push((field, shown));
        }
        Err(format!(
            "{object}, {column:?}: expected {expected}\n seen: {seen:#?}"
        ))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_the_crm_is_as_the_database() {
    let seeds: Vec<u64> = match number("SYNCLINE_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first: u64 = rand::random();
            let cases = number("SYNCLINE_CASES").unwrap_or(3);
            (0..cases).map(|n| first.wrapping_add(n)).collect()
        }
    };
    let (mut kills, mut backfills) = (0, 0);
    for seed in &seeds {
        eprintln!("SYNCLINE_SEED={seed}");
        let mut case = Case::new(*seed);
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.play(40)));
        let count = |word: &str| case.script.iter().filter(|s| s.starts_with(word)).count();
        kills += count("-- kill");
        backfills += count("-- backfill");
        if let Err(panic) = ended {
            eprintln!(
                "{}\nSYNCLINE_SEED={seed} runs it again",
                case.script.join(";\n")
            );
            std::panic::resume_unwind(panic);
        }
    }
    eprintln!(
        "{} cases, {kills} kills, {backfills} backfills asked for",
        seeds.len()
    );
}
