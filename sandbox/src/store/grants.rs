//! Field-level security: which fields a user sees and may write.
//!
//! A field made by API exists for nobody, not even its maker, until a permission set that
//! the user is assigned to grants it (salesforce.md §11.2). Required fields are visible by
//! nature and have no FieldPermissions row. What every profile may do stands in the field
//! itself (`visible`, `read_only`).
//!
//! Describe may lag behind a grant. Until a granted field appears it does not exist for
//! the user: writes to it are refused as well.

use std::collections::{HashMap, HashSet};

use super::Store;
use crate::clock::Millis;
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

/// From when on a field is seen that describe does not show yet: by one user, or by all.
pub(crate) type Appears = HashMap<(Option<Id>, usize, usize), Millis>;

impl Store {
    /// Works out the grants anew. With a lag, what is new appears later.
    pub(super) fn regrant(&mut self) {
        let fresh = Grants::gather(self);
        if self.settings.describe_lag > 0 {
            let now = self.clock.now();
            self.appears.retain(|_, at| *at > now);
            for (user, fields) in &fresh.read {
                let before = self.grants.read.get(user);
                let new = fields
                    .iter()
                    .filter(|key| before.is_none_or(|b| !b.contains(*key)));
                for (object, field) in new {
                    let key = (Some(*user), *object, *field);
                    self.appears.insert(key, now + self.settings.describe_lag);
                }
            }
        }
        self.grants = fresh;
    }

    /// Lets a field that all will see appear after the lag.
    pub(crate) fn appear_later(&mut self, object: usize, position: usize) {
        if self.settings.describe_lag > 0 {
            let at = self.clock.now() + self.settings.describe_lag;
            self.appears.insert((None, object, position), at);
        }
    }

    /// Lets a field appear at once, whatever the lag.
    pub(crate) fn appear_now(&mut self, object: usize, position: usize) {
        self.appears
            .retain(|(_, o, f), _| (*o, *f) != (object, position));
    }

    /// How long it takes until the user sees the field, in milliseconds, if it is late.
    pub(crate) fn lag_left(&self, user: Id, object: usize, position: usize) -> Option<Millis> {
        if self.appears.is_empty() {
            return None;
        }
        let at = [Some(user), None]
            .into_iter()
            .filter_map(|who| self.appears.get(&(who, object, position)))
            .max()?;
        let left = at - self.clock.now();
        (left > 0).then_some(left)
    }

    /// What the permission sets of each user grant on a field: to read it, to edit it.
    pub(crate) fn granted(&self, object: usize, position: usize) -> Vec<(Id, bool)> {
        let key = (object, position);
        let edits = |user: &Id| self.grants.edit.get(user).is_some_and(|g| g.contains(&key));
        let mut list: Vec<(Id, bool)> = self
            .grants
            .read
            .iter()
            .filter(|(_, fields)| fields.contains(&key))
            .map(|(user, _)| (*user, edits(user)))
            .collect();
        list.sort_unstable();
        list
    }

    /// The field whose security holds: the compound one, for its parts.
    fn governing<'a>(
        &'a self,
        object: usize,
        position: usize,
        field: &'a Field,
    ) -> (usize, &'a Field) {
        let definition = self.schema.object(object);
        let whole = field.part_of.as_deref().and_then(|name| {
            let at = definition.field(name)?;
            Some((at, definition.fields.get(at)?))
        });
        whole.unwrap_or((position, field))
    }

    /// Whether the viewer knows the field at all.
    pub(crate) fn sees(
        &self,
        viewer: Viewer,
        object: usize,
        position: usize,
        field: &Field,
    ) -> bool {
        let (position, field) = self.governing(object, position, field);
        match viewer {
            _ if field.gone => false,
            Viewer::Sandbox => true,
            Viewer::User(user) => {
                let open = field.visible || field.required_always();
                let granted = || self.grants.read.get(&user);
                (open || granted().is_some_and(|g| g.contains(&(object, position))))
                    && self.lag_left(user, object, position).is_none()
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
        let (position, field) = self.governing(object, position, field);
        match viewer {
            Viewer::Sandbox => true,
            Viewer::User(user) => {
                (field.visible && !field.read_only)
                    || field.required_always()
                    || self
                        .grants
                        .edit
                        .get(&user)
                        .is_some_and(|g| g.contains(&(object, position)))
            }
        }
    }
}
