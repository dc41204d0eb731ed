//! Rules that follow both sides: a column is added on a Friday evening, a field is taken away.
//!
//! The mapping is a function of what is known: the configuration, the tables as they are *at this
//! place of the stream*, and the CRM's descriptions. When one of them changes, it is compiled anew:
//!
//! ```text
//!  the stream describes a table anew ─┐
//!  the catalog differs, and the       ├─► resolve, compare ─► compile ─► make missing fields ─► compile
//!  stream has passed it               │        │
//!  the CRM describes an object anew ──┘        └─► versions, counted, stored at their position
//! ```
//!
//! It happens between windows, with nothing under way, so that no window mixes two sets of rules. No
//! row behind the change is taken before it is done: a value of a new column waits until its field is
//! there. The same way is gone for changes made while we were not running: the stored versions are
//! where the stream stands, and the stream brings what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::backfill::job;
use super::intake::News;
use crate::capture::{Catalog, CatalogColumn, CatalogTable, Reader};
use crate::change::{Position, Timestamp};
use crate::config::Config;
use crate::decode::{SchemaChange, Types, compare, is_stand_in, resolve};
use crate::fault::{Class, ErrorKind, Fault, Finding, Result, Severity};
use crate::mapping::contract::Contracts;
use crate::mapping::{
    Compiled, Mapping, MissingField, ObjectDescription, Owner, Remembered, TableMapping, compile,
    crm_changes,
};
use crate::planning::Objects;
use crate::sinks::Delivery;
use crate::store::{Job, JobKind, SchemaVersion};
use crate::value::TypeRow;

/// How long a new field may take to show in the CRM's description.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the rules are compiled from.
#[derive(Clone)]
pub struct World {
    /// The configured tables, as they are where the stream stands.
    pub tables: Vec<CatalogTable>,
    /// The source's types.
    pub types: Types,
    /// The CRM's objects; none for a destination without a schema.
    pub crm: Option<BTreeMap<String, ObjectDescription>>,
    /// Earlier versions, and fields used before.
    pub remembered: Remembered,
    /// What each table's rows are promised to be.
    pub contracts: Arc<Contracts>,
    /// The transactions that brought the newest versions of tables, by oid: a catalog read before one
    /// of them could be seen says nothing of its table.
    pub brought: BTreeMap<u32, u32>,
    /// Fields that could not be made, and why: object and field in lower case.
    pub unmade: BTreeMap<(Box<str>, Box<str>), Fault>,
}

/// The rules in force, and what they were compiled from.
pub struct Adapter {
    config: Arc<Config>,
    reader: Arc<dyn Reader>,
    delivery: Arc<Delivery>,
    world: World,
    mapping: Arc<Mapping>,
    objects: Arc<Objects>,
    findings: Vec<Finding>,
}

/// Why the rules are made anew.
#[derive(Debug)]
pub enum Trigger {
    /// The stream says something new of a table.
    News(News),
    /// The catalog, as it was at an LSN that the stream has passed.
    Catalog(Catalog),
    /// A person has decided who has the last word on these fields: object and field.
    Owners(Vec<(String, String)>, Owner),
    /// The CRM's descriptions are looked at again. Fields that could not be made are tried again.
    Crm,
}

/// New rules.
pub struct Adapted {
    /// They.
    pub adapter: Arc<Adapter>,
    /// New versions of tables.
    pub versions: Vec<SchemaVersion>,
    /// What changed: table, change.
    pub changes: Vec<(String, SchemaChange)>,
    /// Types made since.
    pub types: Vec<TypeRow>,
    /// Backfills that follow.
    pub jobs: Vec<(Box<str>, Job)>,
    /// Fields used for the first time are among these; none: nothing new.
    pub fields: Option<Vec<(String, String)>>,
    /// Something that was held may go.
    pub mended: bool,
}

impl Adapter {
    /// Compiles the first rules, making the fields that are to be made. `Err(findings)`: the
    /// configuration does not fit, and nothing was made.
    pub async fn new(
        config: Arc<Config>,
        reader: Arc<dyn Reader>,
        delivery: Arc<Delivery>,
        world: World,
    ) -> Result<Result<Adapter, Vec<Finding>>> {
        let (world, compiled) = settle_fields(&config, &delivery, world).await?;
        let Some(mapping) = compiled.mapping else {
            return Ok(Err(compiled.findings));
        };
        Ok(Ok(Adapter {
            objects: Arc::new(Objects::new(&mapping)),
            mapping: Arc::new(mapping.under(Arc::clone(&world.contracts))),
            findings: compiled.findings,
            config,
            reader,
            delivery,
            world,
        }))
    }

    /// The rules.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Their objects.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// What is to be said of them.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The configured tables, as they are where the stream stands.
    pub fn tables(&self) -> &[CatalogTable] {
        &self.world.tables
    }

    /// The fields that mappings have used, if there are new ones.
    pub fn new_fields(&self) -> Option<Vec<(String, String)>> {
        let mut remembered = self.world.remembered.clone();
        let learned = remembered.learn(&self.mapping);
        learned.then(|| remembered.to_pairs())
    }

    /// Makes new rules. `None`: nothing differs.
    pub async fn adapt(&self, trigger: Trigger, now: Timestamp) -> Result<Option<Adapted>> {
        let mut world = self.world.clone();
        // What the rules in force were made from, and write, is what the new ones are measured by.
        world.remembered.learn(&self.mapping);
        for table in &self.world.tables {
            if !world.remembered.versions.contains(table) {
                world.remembered.versions.push(table.clone());
            }
        }
        let mut versions = Vec::new();
        let mut changes = Vec::new();
        let mut types = Vec::new();
        let merely = matches!(trigger, Trigger::Crm);
        let (mut looked, mut decided) = (false, false);
        match trigger {
            Trigger::News(news) => {
                let catalog = self.catalog(&[news.relation.oid]).await?;
                let here = catalog.tables.iter().find(|t| t.oid == news.relation.oid);
                let before = self.known(news.relation.oid, &news.relation.qualified());
                let table = resolve(&news.relation, before, here);
                world.types = Types::new(catalog.types.clone());
                types = catalog.types;
                world.brought.insert(table.oid, news.xid);
                note(
                    &mut world,
                    &mut versions,
                    &mut changes,
                    before,
                    news.position,
                    now,
                    table,
                );
            }
            Trigger::Catalog(catalog) => {
                let from = Position {
                    commit: catalog.lsn,
                    ordinal: 0,
                };
                world.types = Types::new(catalog.types.clone());
                for table in catalog.tables {
                    let before = self.known(table.oid, &qualified(&table));
                    let brought = world.brought.get(&table.oid);
                    if brought.is_some_and(|xid| !catalog.snapshot.sees(*xid)) {
                        continue;
                    }
                    if before.is_none_or(|before| !compare(before, &table).is_empty()) {
                        note(
                            &mut world,
                            &mut versions,
                            &mut changes,
                            before,
                            from,
                            now,
                            table,
                        );
                    }
                }
                if versions.is_empty() {
                    return Ok(None);
                }
                types = catalog.types;
            }
            Trigger::Owners(fields, owner) => {
                looked = true;
                decided = true;
                for (object, field) in fields {
                    let name = (object.to_ascii_lowercase(), field.to_ascii_lowercase());
                    let name = (name.0.into_boxed_str(), name.1.into_boxed_str());
                    world.remembered.owners.insert(name, owner);
                }
            }
            Trigger::Crm => {
                looked = !world.unmade.is_empty();
                world.unmade.clear();
            }
        }
        for (table, change) in &changes {
            tracing::info!(table, "{change}");
        }
        // Its fields may have changed together with the columns.
        let look = self.look_at_crm(&mut world);
        let drifted = match merely {
            false => look.await?,
            // A look that can wait holds nothing up when nothing may be sent any more: a CRM that is
            // down must not keep the slot.
            true => match self.delivery.gate().unless_closed(look).await {
                Some(drifted) => drifted?,
                None => return Ok(None),
            },
        };
        if versions.is_empty() && !drifted && !looked {
            return Ok(None);
        }
        let (world, compiled) = settle_fields(&self.config, &self.delivery, world).await?;
        let mapping = match compiled.mapping {
            Some(mapping) => Arc::new(mapping.under(Arc::clone(&world.contracts))),
            None => {
                let what = "the configuration no longer fits";
                return Err(super::terms::unfit(
                    ErrorKind::SourceRefused,
                    what,
                    &compiled.findings,
                ));
            }
        };
        for finding in &compiled.findings {
            if !self.findings.contains(finding) {
                super::terms::tell_all(finding);
            }
        }
        let (jobs, mended) = self.consequences(&mapping, &changes, &world, now);
        let mut world = world;
        let learned = world.remembered.learn(&mapping);
        let fields = (learned || decided).then(|| world.remembered.to_pairs());
        Ok(Some(Adapted {
            adapter: Arc::new(Adapter {
                config: Arc::clone(&self.config),
                reader: Arc::clone(&self.reader),
                delivery: Arc::clone(&self.delivery),
                objects: Arc::new(Objects::new(&mapping)),
                mapping,
                findings: compiled.findings,
                world,
            }),
            versions,
            changes,
            types,
            jobs,
            fields,
            mended,
        }))
    }

    /// Reads the catalog for the configured tables, whatever they are called now.
    pub async fn catalog(&self, more: &[u32]) -> Result<Catalog> {
        let names: Vec<String> = self.config.tables.keys().cloned().collect();
        let mut oids: Vec<u32> = self.world.tables.iter().map(|t| t.oid).collect();
        oids.extend(more);
        oids.sort_unstable();
        oids.dedup();
        super::backfill::patiently("reading the catalog", || self.reader.catalog(&names, &oids))
            .await
    }

    fn known(&self, oid: u32, name: &str) -> Option<&CatalogTable> {
        let tables = &self.world.tables;
        let by_oid = tables.iter().find(|t| t.oid == oid);
        by_oid.or_else(|| tables.iter().find(|t| qualified(t) == name))
    }

    /// Describes the objects again; says what differs, and whether anything does.
    async fn look_at_crm(&self, world: &mut World) -> Result<bool> {
        let Some(before) = &self.world.crm else {
            return Ok(false);
        };
        let after = super::terms::describe(&self.config, &self.delivery).await?;
        if after == *before {
            return Ok(false);
        }
        for (name, object) in before {
            let used = |field: &str| {
                let tables = self.mapping.all();
                let mut ours = tables.filter(|t| *t.target.object == **name);
                ours.any(|t| t.target.fields.iter().any(|f| *f.name == *field))
            };
            let Some(now) = after.get(name) else { continue };
            for finding in crm_changes(object, now, &used) {
                super::terms::tell_all(&finding);
            }
        }
        world.crm = Some(after);
        Ok(true)
    }

    /// Backfills that follow from new rules, and whether something that was held may go.
    fn consequences(
        &self,
        mapping: &Mapping,
        changes: &[(String, SchemaChange)],
        world: &World,
        now: Timestamp,
    ) -> (Vec<(Box<str>, Job)>, bool) {
        let broken = |t: &TableMapping| {
            let fields = t.target.fields.iter();
            fields.filter(|f| f.broken.is_some()).count()
        };
        let mut jobs = Vec::new();
        let mut mended = false;
        // Messages are in no table that could be read again: what is held of them is whole, or stays.
        for outbox in mapping.outbox() {
            let (now, before) = (outbox.table(), self.mapping.of_prefix(outbox.prefix()));
            let Some(before) = before.map(|o| o.table()) else {
                continue;
            };
            mended |= before.halted.is_some() && now.halted.is_none();
            mended |= broken(before) > broken(now);
        }
        for table in mapping.tables() {
            let name = &table.target.table;
            let Some(before) = self.mapping.by_name(name) else {
                continue;
            };
            if before.halted.is_some() && table.halted.is_none() {
                mended = true;
                jobs.push((name.clone(), job(JobKind::Mend, now)));
                continue;
            }
            if stood_in(&self.world, before.oid) && !stood_in(world, table.oid) {
                jobs.push((name.clone(), job(JobKind::Mend, now)));
                continue;
            }
            mended |= broken(before) > broken(table);
            let mut late = Vec::new();
            let was_mapped: BTreeSet<i16> = before.mapped().map(|(attnum, _)| attnum).collect();
            for (attnum, rule) in table.mapped() {
                if was_mapped.contains(&attnum) {
                    continue;
                }
                let Some(column) = column_name(world, table.oid, attnum) else {
                    continue;
                };
                let new = changes.iter().any(|(t, change)| {
                    matches!(change, SchemaChange::ColumnAdded { column: c, .. } if **c == *column)
                        && **t == **name
                });
                // Rows that changed while the field could not be made yet are made good.
                let key = field_key(&table.target.object, &rule.field.name);
                if rule.backfill || (!new && self.world.unmade.contains_key(&key)) {
                    late.push(column.to_string());
                }
            }
            // Several columns are one read of the table: only fields that differ are written.
            if !late.is_empty() {
                let column = late.pop().filter(|_| late.is_empty());
                let job = Job {
                    column,
                    ..job(JobKind::Column, now)
                };
                jobs.push((name.clone(), job));
            }
        }
        (jobs, mended)
    }
}

/// Some of the table's columns could not be told from others.
fn stood_in(world: &World, oid: u32) -> bool {
    let tables = world.tables.iter().filter(|t| t.oid == oid);
    let mut columns = tables.flat_map(|t| &t.columns);
    columns.any(|column| is_stand_in(column.attnum))
}

fn field_key(object: &str, field: &str) -> (Box<str>, Box<str>) {
    (
        object.to_ascii_lowercase().into(),
        field.to_ascii_lowercase().into(),
    )
}

fn column_name(world: &World, oid: u32, attnum: i16) -> Option<Box<str>> {
    let table = world.tables.iter().find(|t| t.oid == oid)?;
    let column = table.columns.iter().find(|c| c.attnum == attnum)?;
    Some(column.name.clone())
}

fn qualified(table: &CatalogTable) -> String {
    format!("{}.{}", table.schema, table.name)
}

/// A table is as `table` says from `from` on.
fn note(
    world: &mut World,
    versions: &mut Vec<SchemaVersion>,
    changes: &mut Vec<(String, SchemaChange)>,
    before: Option<&CatalogTable>,
    from: Position,
    now: Timestamp,
    mut table: CatalogTable,
) {
    let name = qualified(&table);
    if let Some(before) = before.filter(|before| before.oid == table.oid) {
        // A stand-in is never another column's.
        let numbers = before.columns.iter().map(|column| column.attnum);
        let mut stand_ins: Vec<i16> = (numbers.chain(before.dropped.iter().copied()))
            .filter(|attnum| is_stand_in(*attnum) && !table.dropped.contains(attnum))
            .filter(|attnum| table.columns.iter().all(|column| column.attnum != *attnum))
            .collect();
        stand_ins.sort_unstable();
        table.dropped.extend(stand_ins);
    }
    let known = |column: &CatalogColumn| {
        let names = before.into_iter().flat_map(|before| &before.columns);
        names.into_iter().any(|known| known.attnum == column.attnum)
    };
    for column in &table.columns {
        if is_stand_in(column.attnum) && !known(column) {
            tracing::warn!(
                table = %name,
                column = %column.name,
                "the table has changed several times since this row, and which column this became \
                 cannot be told: it is one of its own until the stream has caught up, and then the \
                 table is read anew"
            );
        }
    }
    match before {
        Some(before) => {
            changes.extend(
                compare(before, &table)
                    .into_iter()
                    .map(|c| (name.clone(), c)),
            );
        }
        None => changes.push((name, SchemaChange::TableAdded)),
    }
    let place = before.and_then(|b| world.tables.iter().position(|t| t == b));
    match place.and_then(|place| world.tables.get_mut(place)) {
        Some(place) => *place = table.clone(),
        None => world.tables.push(table.clone()),
    }
    world.remembered.versions.push(table.clone());
    versions.push(SchemaVersion {
        from,
        at: now,
        table,
    });
}

/// Compiles, makes what is missing, and compiles again.
async fn settle_fields(
    config: &Config,
    delivery: &Delivery,
    mut world: World,
) -> Result<(World, Compiled)> {
    let mut tried = BTreeSet::new();
    loop {
        let types = |oid, _| world.types.value_type(oid);
        let mut compiled = compile(
            config,
            &world.tables,
            &world.remembered,
            &types,
            world.crm.as_ref(),
        );
        let key = |m: &MissingField| field_key(&m.object, &m.spec.name);
        compiled
            .missing
            .retain(|m| !world.unmade.contains_key(&key(m)));
        if compiled.mapping.is_none() || compiled.missing.is_empty() {
            compiled.findings.extend(world.unmade.iter().map(|((object, field), fault)| Finding {
                severity: Severity::Warning,
                place: format!("{object}.{field}"),
                what: format!("the field cannot be made: {}", fault.message),
                remedy: "make it by hand, or mend that; it is tried again with the next look at the CRM".into(),
            }));
            return Ok((world, compiled));
        }
        let mut objects: BTreeMap<Box<str>, Vec<MissingField>> = BTreeMap::new();
        for missing in compiled.missing {
            objects
                .entry(missing.object.clone())
                .or_default()
                .push(missing);
        }
        for (object, missing) in objects {
            let (again, missing): (Vec<_>, Vec<_>) = missing
                .into_iter()
                .partition(|m| !tried.insert(field_key(&object, &m.spec.name)));
            for missing in again {
                let what = "it was made, but does not take the column";
                let fault = Fault::new(Class::Configuration, "field_not_fit", what);
                world
                    .unmade
                    .insert(field_key(&object, &missing.spec.name), fault);
            }
            make(delivery, &mut world, &object, &missing).await?;
        }
    }
}

/// Makes the fields of one object. Afterwards each is either described or known as not made.
async fn make(
    delivery: &Delivery,
    world: &mut World,
    object: &str,
    missing: &[MissingField],
) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let specs: Vec<_> = missing.iter().map(|m| m.spec.clone()).collect();
    let answers = delivery
        .create_fields(object, &specs)
        .await
        .map_err(super::terms::refused)?;
    let mut made = Vec::new();
    for (missing, answer) in missing.iter().zip(answers) {
        match answer {
            Ok(()) => made.push(missing.spec.name.to_string()),
            Err(fault) => {
                world
                    .unmade
                    .insert(field_key(object, &missing.spec.name), fault);
            }
        }
    }
    if made.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = made.iter().map(String::as_str).collect();
    let described = delivery
        .wait_for_fields(object, &names, PATIENCE)
        .await
        .map_err(super::terms::refused)?;
    for name in &made {
        let visible = described.as_ref().is_some_and(|d| d.field(name).is_some());
        if visible {
            tracing::info!(object, field = name, "made a field in the CRM");
            continue;
        }
        let fault = Fault::new(
            Class::Configuration,
            "field_not_visible",
            "it was made, but our user does not see it yet",
        );
        world.unmade.insert(field_key(object, name), fault);
    }
    if let (Some(described), Some(crm)) = (described, &mut world.crm) {
        crm.insert(object.to_owned(), described);
    }
    Ok(())
}
