//! Fields of an operation that are not written, and why.

use super::conflict::Answer;
use super::record::CrmId;
use crate::change::Timestamp;
use crate::mapping::{Assigned, Assignment};

/// A field that the CRM keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Kept {
    /// What the database has.
    pub field: Assigned,
    /// Since when the CRM has something else, at the latest. None: the field belongs to the CRM.
    pub edited: Option<Timestamp>,
}

/// A field on which a person has to decide.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// What the database has.
    pub field: Assigned,
    /// What the CRM has.
    pub theirs: Assignment,
    /// Since when, at the latest.
    pub edited: Timestamp,
}

/// Fields of an operation that are not written, and why.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// The CRM keeps what it has.
    pub kept: Vec<Kept>,
    /// The CRM has them already, though we did not know.
    pub already: Vec<Assigned>,
    /// A person has to decide.
    pub asked: Vec<Asked>,
    /// The record's id, as it was found.
    pub crm_id: Option<CrmId>,
    /// It had no external id: it gets ours.
    pub adopted: bool,
    /// So many fields that people had changed went with the record: it is made anew.
    pub forgotten: i64,
    /// What people have a say in is written all the same: only if nobody has changed the record after
    /// this second.
    pub guard: Option<Timestamp>,
}

/// What was found of a field.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// It belongs to the CRM.
    Crm,
    /// It was judged; what the CRM holds.
    Judged(Answer, Assignment),
}
