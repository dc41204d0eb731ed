//! What the control interface sets beside the data: limits, lags and rights. Kept in
//! memory only, as the daily limit is.

use std::collections::HashMap;

use super::Store;
use super::grants::Viewer;
use crate::clock::Millis;
use crate::ids::Id;
use crate::write::rules::Rules;

/// How many custom fields an object may have unless told otherwise.
pub(crate) const CUSTOM_FIELDS: usize = 500;

/// How many fields of an object may be tracked unless told otherwise.
pub(crate) const HISTORY_FIELDS: usize = 20;

/// The settings of an org.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The most custom fields an object may have.
    pub(crate) custom_fields: usize,
    /// How long after its creation or grant a field appears, in milliseconds.
    pub(crate) describe_lag: Millis,
    /// The most fields of an object whose history may be tracked.
    pub(crate) history_fields: usize,
    /// What administrators ask of records.
    pub(crate) rules: Rules,
    rights: HashMap<Id, Rights>,
    objects: HashMap<(Id, usize), ObjectRights>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            custom_fields: CUSTOM_FIELDS,
            describe_lag: 0,
            history_fields: HISTORY_FIELDS,
            rules: Rules::default(),
            rights: HashMap::new(),
            objects: HashMap::new(),
        }
    }
}

/// The user permissions that some calls need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// "Customize Application": to make, change and delete custom fields.
    pub(crate) customize_application: bool,
    /// "Manage Profiles and Permission Sets" and "Assign Permission Sets".
    pub(crate) manage_permission_sets: bool,
    /// "Bulk API Hard Delete", which nobody has unless told so.
    pub(crate) bulk_hard_delete: bool,
}

/// What a user may do with the records of an object. Without the right to read, the object
/// does not exist for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectRights {
    pub(crate) read: bool,
    pub(crate) create: bool,
    pub(crate) edit: bool,
    pub(crate) delete: bool,
}

impl ObjectRights {
    const ALL: ObjectRights = ObjectRights {
        read: true,
        create: true,
        edit: true,
        delete: true,
    };
}

impl Rights {
    const ALL: Rights = Rights {
        customize_application: true,
        manage_permission_sets: true,
        bulk_hard_delete: false,
    };
    const NONE: Rights = Rights {
        customize_application: false,
        manage_permission_sets: false,
        bulk_hard_delete: false,
    };
}

impl Store {
    /// What a viewer may do. System administrators may do everything unless told
    /// otherwise, other users nothing.
    pub(crate) fn rights(&self, viewer: Viewer) -> Rights {
        let Viewer::User(user) = viewer else {
            return Rights::ALL;
        };
        if let Some(rights) = self.settings.rights.get(&user) {
            return *rights;
        }
        let field = |id: Id, name: &str| {
            let row = self.live(id)?;
            let object = self.schema.object(row.object);
            row.text(object.field(name)?).map(str::to_owned)
        };
        let profile = field(user, "ProfileId").and_then(|id| Id::parse(&id));
        match profile.and_then(|id| field(id, "Name")).as_deref() {
            Some("System Administrator") => Rights::ALL,
            _ => Rights::NONE,
        }
    }

    /// Gives a user these rights from now on.
    pub(crate) fn set_rights(&mut self, user: Id, rights: Rights) {
        self.settings.rights.insert(user, rights);
    }

    /// What a viewer may do with records of an object: everything, unless told otherwise.
    pub(crate) fn object_rights(&self, viewer: Viewer, object: usize) -> ObjectRights {
        let Viewer::User(user) = viewer else {
            return ObjectRights::ALL;
        };
        let told = self.settings.objects.get(&(user, object));
        told.copied().unwrap_or(ObjectRights::ALL)
    }

    /// Gives a user these rights on an object from now on.
    pub(crate) fn set_object_rights(&mut self, user: Id, object: usize, rights: ObjectRights) {
        self.settings.objects.insert((user, object), rights);
    }

    /// The object of this name, if it exists for the viewer.
    pub(crate) fn find_for(&self, viewer: Viewer, name: &str) -> Option<usize> {
        let found = self.schema.find(name)?;
        self.object_rights(viewer, found).read.then_some(found)
    }
}
