//! User and the set-up objects that field-level security needs.

use super::address;
use crate::schema::Object;
use crate::schema::field::{Field, Kind, Source, checkbox, email, lookup, phone, picklist, string};

pub(super) fn user() -> Object {
    let mut fields = vec![
        string("Username", "Username", 80).required().id_lookup(),
        string("LastName", "Last Name", 80).required(),
        string("FirstName", "First Name", 40),
        string("Name", "Full Name", 121)
            .from(Source::FullName)
            .required()
            .name_field(),
        string("CompanyName", "Company Name", 80),
        string("Department", "Department", 80),
        string("Title", "Title", 80),
    ];
    fields.extend(address("", ""));
    fields.extend([
        email("Email", "Email").required().len(128),
        phone("Phone", "Phone"),
        string("Alias", "Alias", 8).required(),
        checkbox("IsActive", "Active"),
        picklist(
            "TimeZoneSidKey",
            "Time Zone",
            &["America/Los_Angeles", "Europe/Berlin", "GMT"],
        )
        .restricted()
        .required()
        .default("GMT"),
        picklist("LocaleSidKey", "Locale", &["en_US", "de_DE"])
            .restricted()
            .required()
            .default("en_US"),
        picklist(
            "EmailEncodingKey",
            "Email Encoding",
            &["UTF-8", "ISO-8859-1"],
        )
        .restricted()
        .required()
        .default("UTF-8"),
        picklist("LanguageLocaleKey", "Language", &["en_US", "de"])
            .restricted()
            .required()
            .default("en_US"),
        lookup("ProfileId", "Profile ID", &["Profile"], "Profile", "Users").required(),
        picklist("UserType", "User Type", &["Standard"])
            .restricted()
            .read_only(),
        string("FederationIdentifier", "SAML Federation ID", 512),
    ]);
    setup(Object::new("User", "Users", "005", fields))
}

pub(super) fn others() -> Vec<Object> {
    vec![
        organization(),
        profile(),
        permission_set(),
        field_permissions(),
        assignment(),
        object_permissions(),
    ]
}

fn setup(mut object: Object) -> Object {
    object.setup = true;
    object
}

fn organization() -> Object {
    let mut fields = vec![string("Name", "Name", 80).required().name_field()];
    fields.extend(address("", ""));
    fields.extend([
        string("InstanceName", "Instance Name", 5).read_only(),
        checkbox("IsSandbox", "Is Sandbox").read_only(),
        string("OrganizationType", "Edition", 40).read_only(),
        Field::new(
            "TrialExpirationDate",
            "Trial Expiration Date",
            Kind::DateTime,
        )
        .read_only(),
        string("NamespacePrefix", "Namespace Prefix", 15).read_only(),
        string("LanguageLocaleKey", "Language", 40),
        string("TimeZoneSidKey", "Time Zone", 40),
    ]);
    setup(Object::new("Organization", "Organizations", "00D", fields))
}

fn profile() -> Object {
    setup(Object::new(
        "Profile",
        "Profiles",
        "00e",
        vec![
            string("Name", "Name", 255).required().name_field(),
            string("Description", "Description", 255),
            string("UserType", "User Type", 40).read_only(),
        ],
    ))
}

fn permission_set() -> Object {
    let mut object = Object::new(
        "PermissionSet",
        "Permission Sets",
        "0PS",
        vec![
            string("Name", "Permission Set Name", 80)
                .required()
                .name_field(),
            string("Label", "Permission Set Label", 80).required(),
            string("Description", "Description", 255),
            checkbox("IsOwnedByProfile", "Is Owned By Profile").read_only(),
            lookup("ProfileId", "Profile ID", &["Profile"], "Profile", "").read_only(),
            checkbox("PermissionsViewSetup", "View Setup and Configuration"),
            checkbox("PermissionsApiEnabled", "API Enabled"),
        ],
    );
    if let Some(at) = object.field("Name") {
        object.fields[at].unique = true;
    }
    setup(object)
}

fn field_permissions() -> Object {
    setup(Object::new(
        "FieldPermissions",
        "Field Permissions",
        "01k",
        vec![
            lookup(
                "ParentId",
                "Permission Set ID",
                &["PermissionSet"],
                "Parent",
                "FieldPerms",
            )
            .required()
            .cascade()
            .create_only(),
            string("SobjectType", "Sobject Type Name", 40)
                .required()
                .create_only(),
            string("Field", "Field Name", 255).required().create_only(),
            checkbox("PermissionsEdit", "Edit Field"),
            checkbox("PermissionsRead", "Read Field"),
        ],
    ))
}

fn object_permissions() -> Object {
    setup(Object::new(
        "ObjectPermissions",
        "Object Permissions",
        "110",
        vec![
            lookup(
                "ParentId",
                "Permission Set ID",
                &["PermissionSet"],
                "Parent",
                "ObjectPerms",
            )
            .required()
            .cascade()
            .create_only(),
            string("SobjectType", "Sobject Type Name", 40)
                .required()
                .create_only(),
            checkbox("PermissionsCreate", "Create Records"),
            checkbox("PermissionsRead", "Read Records"),
            checkbox("PermissionsEdit", "Edit Records"),
            checkbox("PermissionsDelete", "Delete Records"),
            checkbox("PermissionsViewAllRecords", "Read All Records"),
            checkbox("PermissionsModifyAllRecords", "Edit All Records"),
        ],
    ))
}

fn assignment() -> Object {
    setup(Object::new(
        "PermissionSetAssignment",
        "Permission Set Assignments",
        "0Pa",
        vec![
            lookup(
                "PermissionSetId",
                "PermissionSet ID",
                &["PermissionSet"],
                "PermissionSet",
                "Assignments",
            )
            .required()
            .cascade()
            .create_only(),
            lookup(
                "AssigneeId",
                "Assignee ID",
                &["User"],
                "Assignee",
                "PermissionSetAssignments",
            )
            .required()
            .create_only(),
        ],
    ))
}
