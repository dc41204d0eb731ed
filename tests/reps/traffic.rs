//! Random changes of rows, and random edits of their records.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::support::crm::Crm;
use crate::support::postgres::Postgres;

/// The columns that change, and their fields.
pub const FIELDS: [(&str, &str); 4] = [
    ("phone", "Phone"),
    ("city", "City__c"),
    ("title", "Title"),
    ("note", "Note__c"),
];

/// How much happens, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Edits; and as many changes.
    pub edits: u64,
    /// Records that they are spread over.
    pub records: u64,
    /// What happens at once, a quarter of a second: about so much.
    pub batch: u64,
}

const BEAT: Duration = Duration::from_millis(250);

impl Plan {
    /// For so many edits: 20 a record.
    pub fn new(edits: u64) -> Plan {
        let seconds = 20 + edits / 400;
        Plan {
            edits,
            records: (edits / 20).max(50),
            batch: (edits / (seconds * 4)).max(1),
        }
    }

    /// Those of one phase.
    pub fn per_phase(&self, phases: u64) -> u64 {
        self.edits.div_ceil(phases)
    }

    fn rest(&self, random: &mut SmallRng, since: Instant) {
        let pause = BEAT.mul_f64(random.random_range(0.2..1.8));
        sleep(pause.saturating_sub(since.elapsed()));
    }

    fn size(&self, random: &mut SmallRng, left: u64) -> u64 {
        random.random_range(1..=self.batch * 2).min(left)
    }
}

/// Now, in microseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_micros()).unwrap()
}

/// A value that the database got.
pub struct Made {
    pub xid: u64,
    pub record: u64,
    pub field: usize,
    pub value: String,
}

/// Makes so many changes, in transactions.
pub fn changes(postgres: &Postgres, plan: &Plan, seed: u64, count: u64) -> Vec<Made> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut made = Vec::new();
    let mut left = count;
    while left > 0 {
        let begun = Instant::now();
        let size = plan.size(&mut random, left);
        let mut rows: BTreeMap<u64, [Option<String>; 4]> = BTreeMap::new();
        for number in 0..size {
            let record = random.random_range(1..=plan.records);
            let field = match random.random_range(0..20) {
                0..8 => 0,
                8..16 => 1,
                16..18 => 2,
                _ => 3,
            };
            let value = format!("s{seed:x}.{left}.{number}");
            rows.entry(record).or_default()[field] = Some(value);
        }
        let values: Vec<String> = rows
            .iter()
            .map(|(record, fields)| {
                let fields = fields.iter();
                let fields = fields.map(|f| match f {
                    Some(value) => format!("'{value}'"),
                    None => "NULL::text".to_owned(),
                });
                format!("({record}, {})", fields.collect::<Vec<_>>().join(", "))
            })
            .collect();
        let sets = FIELDS.map(|(c, _)| format!("{c} = COALESCE(v.{c}, customer.{c})"));
        let xid = postgres.psql(&format!(
            "UPDATE customer SET {} FROM (VALUES {}) v (id, phone, city, title, note) \
             WHERE customer.id = v.id; SELECT txid_current()",
            sets.join(", "),
            values.join(", ")
        ));
        let xid = xid.lines().last().unwrap().trim().parse().unwrap();
        for (record, fields) in rows {
            for (field, value) in fields.into_iter().enumerate() {
                made.extend(value.map(|value| Made {
                    xid,
                    record,
                    field,
                    value,
                }));
            }
        }
        left -= size;
        plan.rest(&mut random, begun);
    }
    made
}

/// Makes so many edits, in batches. An edit that meets a lock is made again, later.
pub fn edits(crm: &Crm, plan: &Plan, seed: u64, count: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut left = count;
    let mut number = 0_u64;
    while left > 0 {
        let begun = Instant::now();
        let size = plan.size(&mut random, left);
        let batch: Vec<_> = (0..size)
            .map(|_| {
                number += 1;
                let record = random.random_range(1..=plan.records);
                // One in ten edits nothing of ours.
                let field = match random.random_range(0..10) {
                    0 => "Department",
                    1..6 => "Phone",
                    _ => "City__c",
                };
                let user = ["rep", "ann", "ben", "cho"][random.random_range(0..4)];
                json!({"object": "Contact", "external_id_field": "Ext_Id__c",
                    "external_id": record.to_string(), "user": format!("{user}@sandbox.test"),
                    "fields": {field: format!("e{seed:x}.{number}")}})
            })
            .collect();
        let answer = crm.post("edits", &json!(batch).to_string());
        left -= answer["accepted"].as_u64().unwrap().min(left);
        plan.rest(&mut random, begun);
    }
}
