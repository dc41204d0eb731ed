//! Messages as tables: every section of the outbox becomes a table with a column a member, all of
//! them text, so that whatever is said of columns holds for members, too.

use super::history::{History, qualified};
use super::{Compiler, Prepared, fields};
use crate::capture::{CatalogColumn, CatalogTable};
use crate::change::{Column, Relation, ReplicaIdentity};
use crate::config::{self, Config, Deletion, OnDelete, OnRepeat, OnTruncate, OneOrMany, Routing};
use crate::mapping::outbox::{Member, Outbox};
use crate::mapping::{FieldKind, Removal};

/// Name and type of the column that stands for a message's place in the stream.
pub(super) const POSITION: &str = "(position)";
/// `text` and `text[]`, which are built in.
const TEXT: u32 = 25;
const TEXTS: u32 = 1009;
/// The longest place in the stream as text: two numbers of 20 digits, one of 16, two hyphens.
const LONGEST_POSITION: i32 = 58;

/// A section of the outbox as a table.
pub(super) struct Section {
    pub(super) prefix: String,
    /// `outbox."prefix"`, as the configuration names it.
    name: String,
    rules: config::Outbox,
    table: config::Table,
    source: CatalogTable,
}

impl<'a> Compiler<'a> {
    pub(super) fn sections(&self, config: &Config, tables: &[Prepared<'a>]) -> Vec<Section> {
        let sections = config.outbox.iter();
        let sections = sections.map(|(prefix, rules)| self.section(prefix, rules, tables));
        sections.collect()
    }

    fn section(&self, prefix: &str, rules: &config::Outbox, tables: &[Prepared<'a>]) -> Section {
        let key = rules.key.member.as_deref().unwrap_or(POSITION);
        let mut columns = vec![CatalogColumn {
            attnum: 1,
            name: key.into(),
            type_oid: TEXT,
            type_name: match rules.key.member {
                Some(_) => "JSON".into(),
                None => POSITION.into(),
            },
            typmod: match rules.key.member {
                Some(_) => -1,
                None => LONGEST_POSITION + 4,
            },
            not_null: true,
        }];
        let members = rules.members.iter().filter(|(name, _)| *name != key);
        columns.extend((2..).zip(members).map(|(attnum, (name, column))| {
            let (type_oid, typmod) = self.member_type(&rules.object, column, tables);
            CatalogColumn {
                attnum,
                name: name.as_str().into(),
                type_oid,
                type_name: "JSON".into(),
                typmod,
                // What a null does to a field that takes none is told message by message.
                not_null: true,
            }
        }));
        Section {
            name: format!("outbox.{prefix:?}"),
            prefix: prefix.to_owned(),
            table: config::Table {
                object: rules.object.clone(),
                key: config::Key {
                    column: OneOrMany::One(key.to_owned()),
                    field: rules.key.field.clone(),
                    separator: ":".into(),
                },
                on_delete: OnDelete::Plain(Deletion::Ignore),
                on_truncate: OnTruncate::Ignore,
                on_crm_delete: rules.on_crm_delete,
                priority: rules.priority,
                version_field: None,
                duplicates: config::Duplicates::default(),
                adopt: None,
                columns: rules.members.clone(),
                constants: rules.constants.clone(),
            },
            source: CatalogTable {
                oid: 0,
                schema: "outbox".into(),
                name: prefix.into(),
                identity: ReplicaIdentity::Full,
                identity_columns: vec![key.into()],
                primary_key: vec![key.into()],
                published: true,
                columns,
                dropped: Vec::new(),
            },
            rules: rules.clone(),
        }
    }

    /// Text, but for what a text cannot tell: lists of values, and keys of rows, which have to be
    /// written as the row's own key is.
    fn member_type(
        &self,
        object: &str,
        column: &config::Column,
        tables: &[Prepared<'a>],
    ) -> (u32, i32) {
        let (field, references) = match column {
            config::Column::Field(field) => (Some(field), None),
            config::Column::Rule(rule) => (rule.field.as_ref(), rule.references.as_ref()),
        };
        let parent = references.and_then(|name| tables.iter().find(|t| t.name == name));
        if let Some([number]) = parent.map(|p| p.key_numbers.as_slice()) {
            let columns = parent.into_iter().flat_map(|p| &p.source.columns);
            let found = columns.into_iter().find(|c| c.attnum == *number);
            return found.map_or((TEXT, -1), |c| (c.type_oid, c.typmod));
        }
        let described = self.crm.and_then(|crm| {
            let mut objects = crm.values();
            objects.find(|o| o.name.eq_ignore_ascii_case(object))
        });
        let field = field.and_then(|field| described?.field(field));
        match field.map(|f| &f.kind) {
            Some(FieldKind::MultiPicklist) => (TEXTS, -1),
            _ => (TEXT, -1),
        }
    }

    pub(super) fn prepare_section(&mut self, section: &'a Section) -> Option<Prepared<'a>> {
        let table = &section.table;
        let ran = self.used(&table.object, &table.key.field);
        let history = match ran {
            true => History::of_messages(&section.source),
            false => History::default(),
        };
        let object = self.object(&section.name, table, &history)?;
        let source = &section.source;
        self.prepared(&section.name, table, source, history, object, true)
    }

    /// The rules of one section.
    pub(super) fn outbox(
        &mut self,
        table: &Prepared<'a>,
        section: &Section,
        tables: &[Prepared<'a>],
    ) -> Outbox {
        let mut draft = fields::Draft::new(table);
        self.constants(table, &mut draft);
        self.columns(table, tables, &mut draft);
        draft.removal = Removal::Ignore;
        draft.creation.once = section.rules.on_repeat == OnRepeat::Ignore;
        self.required(table, &draft);
        self.numbers(table, &draft);
        if let Some(member) = &section.rules.key.member
            && section.rules.on_repeat == OnRepeat::Update
        {
            self.note(
                table.place("key.member"),
                format!("a message with the same {member} as one before changes its record"),
            );
        }
        let halted = self.halts.remove(table.name);
        let routing = config::Routing {
            unmapped: config::Unmapped::Ignore,
            ..Routing::default()
        };
        let mapping = draft.finish(table, halted, routing.into());
        let columns = table.source.columns.iter().map(|column| Column {
            attnum: column.attnum,
            name: column.name.clone(),
            type_oid: column.type_oid,
            typmod: column.typmod,
            key: column.attnum == 1,
            value_type: (self.types)(column.type_oid, column.typmod),
        });
        let relation = Relation {
            oid: 0,
            schema: table.source.schema.clone(),
            name: table.source.name.clone(),
            identity: table.source.identity,
            columns: columns.collect(),
        };
        debug_assert_eq!(relation.qualified(), qualified(table.source));
        let members = relation.columns.iter().map(|column| match &*column.name {
            POSITION => Member::Position,
            name => Member::at(name, column.key || is_reference(&mapping, name)),
        });
        let members = members.collect();
        Outbox::new(mapping.into(), relation, members, section.rules.unknown)
    }
}

fn is_reference(mapping: &crate::mapping::TableMapping, column: &str) -> bool {
    match mapping.columns.get(column) {
        Some(crate::mapping::ColumnMapping::Field(rule)) => rule.parent.is_some(),
        _ => false,
    }
}
