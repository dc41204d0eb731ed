//! What the CRM says of its objects and fields, in words that fit every CRM.

/// The kinds of field that rules are written for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FieldKind {
    /// The CRM's own id.
    Id,
    /// A lookup.
    Reference,
    /// One line of text.
    #[default]
    Text,
    /// Several lines of text.
    LongText,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A web address.
    Url,
    /// One of a list of values.
    Picklist,
    /// Several of a list of values.
    MultiPicklist,
    /// Yes or no; never null.
    Boolean,
    /// A whole number.
    Int,
    /// A number with a fixed number of decimals (number, currency, percent).
    Decimal,
    /// A calendar date.
    Date,
    /// An instant.
    DateTime,
    /// A time of day.
    Time,
    /// A kind that a row sync cannot write (compound, binary, …), by the CRM's name for it.
    Other(Box<str>),
}

/// One field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldDescription {
    /// API name.
    pub name: Box<str>,
    /// Name for people.
    pub label: Box<str>,
    /// What it holds.
    pub kind: FieldKind,
    /// Longest text, in characters; 0 where it does not apply.
    pub length: u32,
    /// All digits of a decimal; for an int, its digits.
    pub precision: u32,
    /// Digits right of the point.
    pub scale: u32,
    /// Takes null.
    pub nillable: bool,
    /// The CRM fills it in when a new record leaves it out.
    pub defaulted_on_create: bool,
    /// Can be written at creation.
    pub createable: bool,
    /// Can be written later.
    pub updateable: bool,
    /// Marked as an external id.
    pub external_id: bool,
    /// No two records may share a value.
    pub unique: bool,
    /// `ABC` and `abc` are two values.
    pub case_sensitive: bool,
    /// Takes only the values of its list.
    pub restricted: bool,
    /// Its list of active values.
    pub picklist: Vec<Box<str>>,
    /// Objects it may refer to.
    pub reference_to: Vec<Box<str>>,
    /// Name under which the parent is written (`Account` for `AccountId`).
    pub relationship: Option<Box<str>>,
}

/// A field to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldSpec {
    /// API name (`Some_Name__c`).
    pub name: Box<str>,
    /// Name for people: at most 40 characters.
    pub label: Box<str>,
    /// What it holds.
    pub kind: NewField,
    /// Help for people: where its values come from.
    pub help: Box<str>,
}

/// What a new field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewField {
    /// One line of text.
    Text {
        /// Characters, 1 to 255.
        length: u32,
    },
    /// Several lines of text.
    LongText {
        /// Characters, 256 to 131,072.
        length: u32,
    },
    /// A number.
    Number {
        /// All digits, at most 18.
        precision: u32,
        /// Digits right of the point.
        scale: u32,
    },
    /// Yes or no; no by default.
    Checkbox,
    /// A calendar date.
    Date,
    /// An instant.
    DateTime,
    /// A time of day.
    Time,
}

/// One object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectDescription {
    /// API name.
    pub name: Box<str>,
    /// We may create records.
    pub createable: bool,
    /// We may change records.
    pub updateable: bool,
    /// We may delete records.
    pub deletable: bool,
    /// Every field that our user can see.
    pub fields: Vec<FieldDescription>,
}

impl ObjectDescription {
    /// The field of that name; names do not differ by case alone.
    pub fn field(&self, name: &str) -> Option<&FieldDescription> {
        self.fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
    }
}
