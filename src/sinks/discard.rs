//! Nowhere, for measuring the way up to the CRM.

use super::{BoxFuture, CrmRecord, Limits, Named, Outcome, Sink};
use crate::fault::Fault;
use crate::mapping::{FieldSpec, ObjectDescription, Target};
use crate::planning::Batch;

/// Accepts everything and keeps nothing. It has no objects of its own: `describe` finds none, and
/// mappings are compiled for it without a description; `read` finds no record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Sink for Discard {
    fn limits(&self) -> Limits {
        // As Salesforce's, so that what is measured is cut as it would be.
        Limits {
            records: 200,
            guarded: 200,
            bytes: 4 << 20,
        }
    }

    fn describe<'a>(
        &'a self,
        objects: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Option<ObjectDescription>>, Fault>> {
        Box::pin(async move { Ok(vec![None; objects.len()]) })
    }

    fn read<'a>(
        &'a self,
        _target: &'a Target,
        records: Named<'a>,
        _fields: &'a [u16],
    ) -> BoxFuture<'a, Result<Vec<Option<CrmRecord>>, Fault>> {
        Box::pin(async move { Ok(vec![None; records.len()]) })
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Vec<Outcome>, Fault>> {
        let written = Outcome::Written {
            crm_id: None,
            created: false,
        };
        Box::pin(async move { Ok(vec![written; batch.writes.len()]) })
    }

    /// Whatever is written has its field: there is nothing to make.
    fn create_fields<'a>(
        &'a self,
        _object: &'a str,
        specs: &'a [FieldSpec],
    ) -> BoxFuture<'a, Result<Vec<Result<(), Fault>>, Fault>> {
        Box::pin(async move { Ok(vec![Ok(()); specs.len()]) })
    }
}
