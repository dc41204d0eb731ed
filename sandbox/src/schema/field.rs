//! One field: its type, its limits and where its value comes from.

use serde::{Deserialize, Serialize};

/// The type of a field, as describe names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Id,
    Reference,
    String,
    TextArea,
    Email,
    Phone,
    Url,
    Picklist,
    MultiPicklist,
    Boolean,
    Int,
    Double,
    Currency,
    Percent,
    Date,
    DateTime,
    Time,
    Address,
    Location,
    /// A value of whatever type a history record tells of.
    AnyType,
}

impl Kind {
    /// The name in describe.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Id => "id",
            Kind::Reference => "reference",
            Kind::String => "string",
            Kind::TextArea => "textarea",
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Url => "url",
            Kind::Picklist => "picklist",
            Kind::MultiPicklist => "multipicklist",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Double => "double",
            Kind::Currency => "currency",
            Kind::Percent => "percent",
            Kind::Date => "date",
            Kind::DateTime => "datetime",
            Kind::Time => "time",
            Kind::Address => "address",
            Kind::Location => "location",
            Kind::AnyType => "anyType",
        }
    }

    /// The SOAP type in describe.
    pub(crate) fn soap(self) -> &'static str {
        match self {
            Kind::Id | Kind::Reference => "tns:ID",
            Kind::Boolean => "xsd:boolean",
            Kind::Int => "xsd:int",
            Kind::Double | Kind::Currency | Kind::Percent => "xsd:double",
            Kind::Date => "xsd:date",
            Kind::DateTime => "xsd:dateTime",
            Kind::Time => "xsd:time",
            Kind::Address => "urn:address",
            Kind::Location => "urn:location",
            Kind::AnyType => "xsd:anyType",
            _ => "xsd:string",
        }
    }

    /// Whether values are text with a length.
    pub(crate) fn is_text(self) -> bool {
        self.soap() == "xsd:string"
    }

    /// Whether values are made of the values of other fields, or of any type: they can be
    /// neither filtered nor sorted.
    pub(crate) fn is_compound(self) -> bool {
        matches!(self, Kind::Address | Kind::Location | Kind::AnyType)
    }

    /// Whether values are numbers with digits after the point.
    pub(crate) fn is_decimal(self) -> bool {
        self.soap() == "xsd:double"
    }
}

/// Where the value of a field comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// Written by users and kept in the row.
    Stored,
    /// Kept beside the row's values: id, deletion mark, audit fields.
    System(System),
    /// First and last name joined.
    FullName,
    /// The parts of an address whose field names start with this text.
    Address(String),
    /// Latitude and longitude, from the fields that are part of this one.
    Location,
    /// True while another field of the record holds one of these values.
    OneOf(String, Vec<String>),
}

/// The fields every record has.
#[allow(clippy::enum_variant_names)] // they are Salesforce's names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum System {
    Id,
    IsDeleted,
    CreatedDate,
    CreatedById,
    LastModifiedDate,
    LastModifiedById,
    SystemModstamp,
}

/// What happens to a child when the record it refers to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OnDelete {
    SetNull,
    Cascade,
    Restrict,
}

/// One field of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) length: usize,
    pub(crate) precision: usize,
    pub(crate) scale: usize,
    pub(crate) nillable: bool,
    pub(crate) createable: bool,
    pub(crate) updateable: bool,
    pub(crate) external_id: bool,
    pub(crate) unique: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) id_lookup: bool,
    pub(crate) name_field: bool,
    pub(crate) custom: bool,
    pub(crate) html: bool,
    /// `A-{0000}`: the server numbers the records.
    pub(crate) auto_number: Option<String>,
    pub(crate) restricted: bool,
    pub(crate) picklist: Vec<String>,
    /// What a new record gets when the field is left out.
    pub(crate) default: Option<serde_json::Value>,
    pub(crate) reference_to: Vec<String>,
    pub(crate) relationship: Option<String>,
    pub(crate) child_relationship: Option<String>,
    pub(crate) on_delete: OnDelete,
    /// Whether every profile sees the field. Without this it exists for nobody until a
    /// permission set grants it.
    pub(crate) visible: bool,
    /// Profiles may only read it; a permission set may still grant to edit it.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// An empty place: the field that was here is in the object's bin.
    #[serde(default)]
    pub(crate) gone: bool,
    /// Whether changes are kept in the object's history.
    #[serde(default)]
    pub(crate) track_history: bool,
    /// A duplicate rule compares records by it.
    #[serde(skip)]
    pub(crate) matched: bool,
    /// The compound field that this one belongs to, and whose security it has.
    #[serde(default)]
    pub(crate) part_of: Option<String>,
    /// The id of a custom field's definition.
    pub(crate) id: Option<String>,
    /// What a custom field was made from, for the Tooling API.
    pub(crate) metadata: Option<serde_json::Value>,
}

impl Field {
    /// A stored, nillable, writable field of this type.
    pub(crate) fn new(name: &str, label: &str, kind: Kind) -> Field {
        Field {
            name: name.to_owned(),
            label: label.to_owned(),
            kind,
            source: Source::Stored,
            length: 0,
            precision: 0,
            scale: 0,
            nillable: kind != Kind::Boolean,
            createable: true,
            updateable: true,
            external_id: false,
            unique: false,
            case_sensitive: false,
            id_lookup: false,
            name_field: false,
            custom: false,
            html: false,
            auto_number: None,
            restricted: false,
            picklist: Vec::new(),
            default: (kind == Kind::Boolean).then_some(serde_json::Value::Bool(false)),
            reference_to: Vec::new(),
            relationship: None,
            child_relationship: None,
            on_delete: OnDelete::SetNull,
            visible: true,
            read_only: false,
            gone: false,
            track_history: false,
            matched: false,
            part_of: None,
            id: None,
            metadata: None,
        }
    }

    /// What stands in the place of a deleted field: nobody sees, needs or finds it.
    pub(crate) fn empty_place() -> Field {
        let mut field = Field::new("", "", Kind::String).read_only();
        field.gone = true;
        field
    }

    pub(crate) fn len(mut self, length: usize) -> Field {
        self.length = length;
        self
    }

    pub(crate) fn digits(mut self, precision: usize, scale: usize) -> Field {
        self.precision = precision;
        self.scale = scale;
        self
    }

    pub(crate) fn required(mut self) -> Field {
        self.nillable = false;
        self
    }

    pub(crate) fn read_only(mut self) -> Field {
        self.createable = false;
        self.updateable = false;
        self
    }

    pub(crate) fn from(mut self, source: Source) -> Field {
        self.source = source;
        self.read_only()
    }

    pub(crate) fn default(mut self, value: impl Into<serde_json::Value>) -> Field {
        self.default = Some(value.into());
        self
    }

    pub(crate) fn name_field(mut self) -> Field {
        self.name_field = true;
        self
    }

    pub(crate) fn id_lookup(mut self) -> Field {
        self.id_lookup = true;
        self
    }

    pub(crate) fn restricted(mut self) -> Field {
        self.restricted = true;
        self
    }

    pub(crate) fn cascade(mut self) -> Field {
        self.on_delete = OnDelete::Cascade;
        self
    }

    pub(crate) fn create_only(mut self) -> Field {
        self.updateable = false;
        self
    }

    /// Whether a value must be given at creation: the rule describe states.
    pub(crate) fn required_on_create(&self) -> bool {
        self.createable && !self.nillable && self.default.is_none()
    }

    /// Whether a value is needed always. Such a field is visible and editable by nature.
    pub(crate) fn required_always(&self) -> bool {
        !self.nillable && self.kind != Kind::Boolean
    }

    /// Whether field-level security applies to the field.
    pub(crate) fn permissionable(&self) -> bool {
        matches!(self.source, Source::Stored | Source::Location)
            && self.part_of.is_none()
            && !self.gone
            && !self.name_field
            && !self.required_always()
    }

    /// Whether changes of the field may be kept in the object's history.
    pub(crate) fn trackable(&self) -> bool {
        self.source == Source::Stored && self.updateable && self.part_of.is_none() && !self.gone
    }

    /// Whether records are looked up by this field, so that an index is kept.
    pub(crate) fn indexed(&self) -> bool {
        self.source == Source::Stored
            && (self.external_id
                || self.unique
                || self.id_lookup
                || self.matched
                || self.refers_to_records())
    }

    /// Users own most records and are never deleted: an index of them would be all cost.
    fn refers_to_records(&self) -> bool {
        self.kind == Kind::Reference && self.reference_to.iter().any(|to| to != "User")
    }

    /// Whether an upsert may be keyed by this field.
    pub(crate) fn usable_as_key(&self) -> bool {
        self.external_id || self.id_lookup || self.kind == Kind::Id
    }

    /// Long text areas and rich text can be neither filtered nor sorted.
    pub(crate) fn is_long_text(&self) -> bool {
        self.kind == Kind::TextArea && self.length > 255
    }

    /// A polymorphic lookup takes records of several objects.
    pub(crate) fn polymorphic(&self) -> bool {
        self.reference_to.len() > 1
    }

    /// Whether equal-but-for-case values are different: text that is unique and
    /// case-sensitive, or an external id that is not unique.
    pub(crate) fn matches_case(&self) -> bool {
        if self.unique {
            self.case_sensitive
        } else {
            self.external_id
        }
    }
}

/// A text field.
pub(crate) fn string(name: &str, label: &str, length: usize) -> Field {
    Field::new(name, label, Kind::String).len(length)
}

/// A text area; longer than 255 characters makes it a long one.
pub(crate) fn textarea(name: &str, label: &str, length: usize) -> Field {
    Field::new(name, label, Kind::TextArea).len(length)
}

/// A phone number.
pub(crate) fn phone(name: &str, label: &str) -> Field {
    Field::new(name, label, Kind::Phone).len(40)
}

/// An e-mail address.
pub(crate) fn email(name: &str, label: &str) -> Field {
    Field::new(name, label, Kind::Email).len(80)
}

/// A picklist that takes unknown values, as the standard ones do.
pub(crate) fn picklist(name: &str, label: &str, values: &[&str]) -> Field {
    let mut field = Field::new(name, label, Kind::Picklist).len(255);
    field.picklist = values.iter().map(|v| (*v).to_owned()).collect();
    field
}

/// A checkbox.
pub(crate) fn checkbox(name: &str, label: &str) -> Field {
    Field::new(name, label, Kind::Boolean)
}

/// A lookup. `child` is the name of the list on the parent.
pub(crate) fn lookup(
    name: &str,
    label: &str,
    to: &[&str],
    relationship: &str,
    child: &str,
) -> Field {
    let mut field = Field::new(name, label, Kind::Reference).len(18);
    field.reference_to = to.iter().map(|v| (*v).to_owned()).collect();
    field.relationship = Some(relationship.to_owned());
    field.child_relationship = (!child.is_empty()).then(|| child.to_owned());
    field
}
