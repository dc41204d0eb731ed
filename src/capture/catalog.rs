//! What the source's catalog says of types and tables.

use crate::change::ReplicaIdentity;

/// A table as the catalog has it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogTable {
    /// Table oid.
    pub oid: u32,
    /// Schema.
    pub schema: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// What old rows carry.
    pub identity: ReplicaIdentity,
    /// Columns that make up that identity (the primary key's, for the default one).
    pub identity_columns: Vec<Box<str>>,
    /// Columns of the primary key; empty when there is none.
    pub primary_key: Vec<Box<str>>,
    /// In our publication.
    pub published: bool,
    /// Columns that the publication sends, in order.
    pub columns: Vec<CatalogColumn>,
    /// Attribute numbers of columns that were dropped.
    pub dropped: Vec<i16>,
}

/// A column as the catalog has it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogColumn {
    /// Attribute number: stays through renames, never used again.
    pub attnum: i16,
    /// Name.
    pub name: Box<str>,
    /// Type oid.
    pub type_oid: u32,
    /// Type as SQL prints it (`character varying(80)`).
    pub type_name: Box<str>,
    /// Type modifier, -1 for none.
    pub typmod: i32,
    /// NOT NULL.
    pub not_null: bool,
}
