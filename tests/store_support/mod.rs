//! Things to store, for the tests of the store.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod process;

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use syncline::capture::{CatalogColumn, CatalogTable};
use syncline::change::{Identity, Lsn, Position, ReplicaIdentity, Timestamp, Verdict};
use syncline::fault::{Class, Fault, Result};
use syncline::mapping::{Action, Assignment, FieldId, FieldValue, Fingerprint, ObjectId, RecordId};
use syncline::store::{
    Existence, Intent, LedgerEntry, Pending, PendingOperation, Progress, Reason, SchemaVersion,
    Settlement, ShelfCounts, ShelfQuery, Store, Verdicts,
};

pub const ACCOUNT: ObjectId = ObjectId(0x0A0B_0C0D);
pub const CONTACT: ObjectId = ObjectId(0x0A0B_0C0E);

pub fn identity() -> Identity {
    Identity {
        system: "7300000000000000001".into(),
        timeline: 1,
        database: "app".into(),
        slot: "syncline".into(),
        publication: "syncline".into(),
        consistent_point: Lsn(0x100),
    }
}

pub fn at(commit: u64, ordinal: u64) -> Position {
    Position {
        commit: Lsn(commit),
        ordinal,
    }
}

pub fn progress(number: u64) -> Progress {
    Progress {
        checkpoint: Lsn(0x1000 + number),
        settled: at(0x1000 + number, 0),
    }
}

/// An otherwise empty settlement.
pub fn settlement(number: u64) -> Settlement {
    Settlement {
        progress: progress(number),
        ..Settlement::default()
    }
}

pub fn record(object: ObjectId, key: &str) -> RecordId {
    RecordId {
        object,
        key: key.into(),
    }
}

/// An entry that tells which settlement wrote it.
pub fn entry(number: u64, fields: u32) -> LedgerEntry {
    LedgerEntry {
        position: at(0x1000 + number, 3),
        existence: match number % 5 {
            0 => Existence::Deleted,
            1 => Existence::Archived,
            _ => Existence::Live,
        },
        crm_id: (!number.is_multiple_of(3)).then(|| format!("003{number:012}AAA").into()),
        fingerprints: (0..fields)
            .map(|f| {
                let value = u64::from(f).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number;
                (FieldId(f * 7), Fingerprint(value))
            })
            .collect(),
        parents: match number % 7 {
            0 => vec![(FieldId(7), format!("parent-{number}").into())],
            _ => Vec::new(),
        },
        kept_fields: match number % 11 {
            0 => vec![(FieldId(7), Timestamp(number as i64))],
            _ => Vec::new(),
        },
    }
}

/// An entry of the shelf whose operation has so many bytes.
pub fn pending(record: RecordId, reason: Reason, number: u64, bytes: usize) -> Pending {
    let text = format!("{number}-").repeat(bytes / 8 + 1);
    Pending {
        record,
        table: "public.customer".into(),
        object: "Contact".into(),
        key_field: "Customer_Id__c".into(),
        reason,
        operation: Some(PendingOperation {
            action: Action::Upsert,
            fields: vec![
                (
                    "LastName".into(),
                    Assignment::Set(FieldValue::Text(text[..bytes.min(text.len())].into())),
                ),
                ("Phone".into(), Assignment::Clear),
                ("Active__c".into(), Assignment::Set(FieldValue::Bool(true))),
            ],
            position: at(0x1000 + number, 1),
            commit_time: Timestamp(1_700_000_000_000_000 + number as i64),
            xid: 4711,
            changed: Vec::new(),
        }),
        waits_for: None,
        fault: Some(Fault::new(
            Class::Record,
            "STRING_TOO_LONG",
            "data value too large",
        )),
        attempts: number as u32,
        since: Timestamp(1_700_000_000_000_000),
        tried: Some(Timestamp(-5)),
        counted: true,
        conflicts: Vec::new(),
    }
}

pub fn waiting(record: RecordId, parent: RecordId, number: u64) -> Pending {
    Pending {
        waits_for: Some(parent),
        ..pending(record, Reason::Waiting, number, 20)
    }
}

pub fn schema(oid: u32, from: u64, columns: usize) -> SchemaVersion {
    let columns: Vec<_> = (1_i16..)
        .take(columns)
        .map(|attnum| CatalogColumn {
            attnum,
            name: format!("a_column_with_quite_a_long_name_{attnum}").into(),
            type_oid: 25,
            type_name: "text".into(),
            typmod: -1,
            not_null: attnum == 1,
        })
        .collect();
    SchemaVersion {
        from: at(from, 0),
        at: Timestamp(1_700_000_000_000_000 + from as i64),
        table: CatalogTable {
            oid,
            schema: "public".into(),
            name: format!("table_{oid}").into(),
            identity: ReplicaIdentity::Full,
            identity_columns: columns.iter().map(|column| column.name.clone()).collect(),
            primary_key: vec!["a_column_with_quite_a_long_name_1".into()],
            published: true,
            columns,
            dropped: vec![-1, i16::MAX],
        },
    }
}

/// External ids as they come: numbers, uuids, long ones with a common beginning.
pub fn some_key(random: &mut impl Rng, of: u64) -> String {
    let number = random.random_range(0..of);
    match number % 10 {
        0 => format!(
            "{:032x}",
            u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ),
        1 => format!("{}{number}", "long/".repeat(30)),
        2 => format!("{}{number}", "longer than any key of a row/".repeat(10)),
        3 => format!("ключ-{number}"),
        _ => format!("{number}"),
    }
}

pub type Model = BTreeMap<RecordId, LedgerEntry>;

pub fn verdict(table: &str, verdict: Verdict, by: i64) -> ((String, Verdict), i64) {
    ((table.to_owned(), verdict), by)
}

/// All that a store holds. What [`step`] makes of it can be worked out without a store.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct World {
    pub progress: Progress,
    pub intent: Option<Intent>,
    pub ledger: Model,
    pub shelf: BTreeMap<RecordId, Pending>,
    pub verdicts: Verdicts,
    pub schemas: BTreeMap<(Position, u32), SchemaVersion>,
}

impl World {
    /// A store that was bound and nothing more.
    pub fn bound() -> Self {
        World {
            progress: progress(0),
            ..World::default()
        }
    }

    /// The number of the last step.
    pub fn number(&self) -> u64 {
        self.progress.checkpoint.0 - 0x1000
    }

    pub fn settle(&mut self, settlement: Settlement) {
        self.progress = settlement.progress;
        self.intent = settlement.intent;
        for record in &settlement.ledger_removed {
            self.ledger.remove(record);
        }
        self.ledger.extend(settlement.ledger);
        for record in &settlement.unshelved {
            self.shelf.remove(record);
        }
        for pending in settlement.shelved {
            self.shelf.insert(pending.record.clone(), pending);
        }
        for (key, by) in settlement.verdicts {
            *self.verdicts.entry(key).or_default() += by;
        }
        self.verdicts.retain(|_, total| *total != 0);
        for version in settlement.schemas {
            let key = (version.from, version.table.oid);
            self.schemas.insert(key, version);
        }
    }

    /// Reads a store through and through: the indexes and counts have to agree with the rest.
    pub async fn read(store: &dyn Store) -> Result<World> {
        let recovered = store.recover().await?;
        let mut world = World {
            progress: recovered.progress,
            intent: recovered.intent,
            verdicts: store.verdicts().await?,
            ..World::default()
        };
        for object in [ACCOUNT, CONTACT] {
            world
                .ledger
                .extend(store.ledger_page(object, None, usize::MAX).await?);
        }
        let all = |reason| ShelfQuery {
            reason,
            after: None,
            limit: usize::MAX,
        };
        let mut counts = ShelfCounts::new();
        for pending in store.shelf(all(None)).await? {
            *counts.entry(pending.reason).or_default() += 1;
            if let Some(parent) = &pending.waits_for {
                let children = store.waiting_for(parent, usize::MAX).await?;
                assert!(children.contains(&pending.record));
            }
            world.shelf.insert(pending.record.clone(), pending);
        }
        assert_eq!(store.shelf_counts().await?, counts);
        for (reason, count) in counts {
            assert_eq!(store.shelf(all(Some(reason))).await?.len() as u64, count);
        }
        for version in store.schema_history().await? {
            let key = (version.from, version.table.oid);
            world.schemas.insert(key, version);
        }
        let mut latest = BTreeMap::new();
        for version in world.schemas.values() {
            latest.insert(version.table.oid, version.clone());
        }
        let latest: Vec<_> = latest.into_values().collect();
        assert_eq!(store.schemas().await?, latest);
        let records: Vec<RecordId> = world.ledger.keys().cloned().collect();
        for (record, state) in records.iter().zip(store.records(&records).await?) {
            assert_eq!(state.ledger.as_ref(), world.ledger.get(record));
        }
        Ok(world)
    }
}

/// Settlement `number`, always the same: neighbours and scattered records, shelf, chunks, schemas.
pub fn step(number: u64) -> Settlement {
    let mut random = SmallRng::seed_from_u64(number);
    let mut step = settlement(number);
    for n in 0..random.random_range(1..40) {
        let key = match number % 2 {
            0 => some_key(&mut random, 2000),
            _ => format!("{:06}", number % 50 * 40 + n),
        };
        step.ledger.push((record(CONTACT, &key), entry(number, 12)));
    }
    for _ in 0..random.random_range(0..4) {
        let key = some_key(&mut random, 2000);
        step.ledger_removed.push(record(CONTACT, &key));
    }
    for _ in 0..random.random_range(0..3) {
        let child = record(CONTACT, &some_key(&mut random, 60));
        let size = [10, 100, 3_000, 20_000][random.random_range(0..4)];
        step.shelved.push(match random.random_bool(0.5) {
            true => pending(child, Reason::DeadLetter, number, size),
            false => waiting(child, record(ACCOUNT, "parent"), number),
        });
        let key = some_key(&mut random, 60);
        step.unshelved.push(record(CONTACT, &key));
    }
    step.verdicts = [
        verdict(
            "public.customer",
            Verdict::Applied,
            step.ledger.len() as i64,
        ),
        verdict(
            "public.customer",
            Verdict::Pending,
            random.random_range(-2..3),
        ),
    ]
    .into();
    if number.is_multiple_of(20) {
        step.schemas.push(schema(
            16_384 + number as u32 % 3,
            number,
            number as usize % 200,
        ));
    }
    if !number.is_multiple_of(3) {
        step.intent = Some(Intent {
            until: at(0x1000 + number, 99),
            shelf: (0..number % 400)
                .map(|n| record(CONTACT, &format!("intent {n}")))
                .collect(),
        });
    }
    step
}
