//! Field-level security: which custom fields a user sees and may write.
//!
//! A field made by API exists for nobody, not even its maker, until a permission set that
//! the user is assigned to grants it (salesforce.md §11.2). Required custom fields are
//! visible by nature and have no FieldPermissions row.

use std::collections::{HashMap, HashSet};

use super::Store;
use crate::ids::Id;
use crate::schema::field::Field;

/// Grants by user, worked out anew whenever one of the set-up objects changes.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    read: HashMap<Id, HashSet<(usize, usize)>>,
    edit: HashMap<Id, HashSet<(usize, usize)>>,
}

/// Who looks at a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// A user, limited by field-level security.
    User(Id),
    /// The sandbox itself: its page and its control interface see everything.
    Sandbox,
}

impl Grants {
    pub(super) fn gather(store: &Store) -> Grants {
        let mut by_set: HashMap<Id, Vec<(usize, usize, bool)>> = HashMap::new();
        for row in store.rows_of("FieldPermissions") {
            let object = store.schema.object(row.object);
            let text = |name| object.field(name).and_then(|f| row.text(f));
            let flag = |name| object.field(name).and_then(|f| row.stored(f)?.as_bool());
            let named = text("Field").and_then(|f| f.split_once('.'));
            let (Some(set), Some((target, field))) = (text("ParentId").and_then(Id::parse), named)
            else {
                continue;
            };
            let Some(target) = store.schema.find(target) else {
                continue;
            };
            let Some(field) = store.schema.object(target).field(field) else {
                continue;
            };
            if flag("PermissionsRead") == Some(true) {
                let edit = flag("PermissionsEdit") == Some(true);
                by_set.entry(set).or_default().push((target, field, edit));
            }
        }
        let mut grants = Grants::default();
        for row in store.rows_of("PermissionSetAssignment") {
            let object = store.schema.object(row.object);
            let id = |name| object.field(name).and_then(|f| row.reference(f));
            let (Some(set), Some(user)) = (id("PermissionSetId"), id("AssigneeId")) else {
                continue;
            };
            for (target, field, edit) in by_set.get(&set).into_iter().flatten() {
                grants
                    .read
                    .entry(user)
                    .or_default()
                    .insert((*target, *field));
                if *edit {
                    grants
                        .edit
                        .entry(user)
                        .or_default()
                        .insert((*target, *field));
                }
            }
        }
        grants
    }
}

fn open_to_all(field: &Field) -> bool {
    field.visible
        || !field.custom
        || (!field.nillable && field.kind != crate::schema::field::Kind::Boolean)
}

impl Store {
    /// Whether the viewer knows the field at all.
    pub(crate) fn sees(
        &self,
        viewer: Viewer,
        object: usize,
        position: usize,
        field: &Field,
    ) -> bool {
        match viewer {
            Viewer::Sandbox => true,
            Viewer::User(user) => {
                open_to_all(field)
                    || self
                        .grants
                        .read
                        .get(&user)
                        .is_some_and(|g| g.contains(&(object, position)))
            }
        }
    }

    /// Whether the viewer may write the field, as far as field-level security goes.
    pub(crate) fn may_edit(
        &self,
        viewer: Viewer,
        object: usize,
        position: usize,
        field: &Field,
    ) -> bool {
        match viewer {
            Viewer::Sandbox => true,
            Viewer::User(user) => {
                open_to_all(field)
                    || self
                        .grants
                        .edit
                        .get(&user)
                        .is_some_and(|g| g.contains(&(object, position)))
            }
        }
    }
}
