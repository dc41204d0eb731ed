//! Account, Contact, Lead, Opportunity.

use super::{INDUSTRIES, LEAD_SOURCES, RATINGS, SALUTATIONS, address, owner};
use crate::schema::Object;
use crate::schema::field::{
    Field, Kind, Source, checkbox, email, lookup, phone, picklist, string, textarea,
};

pub(super) fn account() -> Object {
    let mut fields = vec![
        string("Name", "Account Name", 255).required().name_field(),
        picklist(
            "Type",
            "Account Type",
            &[
                "Prospect",
                "Customer - Direct",
                "Customer - Channel",
                "Channel Partner / Reseller",
                "Installation Partner",
                "Technology Partner",
                "Other",
            ],
        ),
        lookup(
            "ParentId",
            "Parent Account ID",
            &["Account"],
            "Parent",
            "ChildAccounts",
        ),
    ];
    fields.extend(address("Billing", "Billing "));
    fields.extend(address("Shipping", "Shipping "));
    fields.extend([
        phone("Phone", "Account Phone"),
        phone("Fax", "Account Fax"),
        string("AccountNumber", "Account Number", 40),
        Field::new("Website", "Website", Kind::Url).len(255),
        string("Sic", "SIC Code", 20),
        string("SicDesc", "SIC Description", 80),
        picklist("Industry", "Industry", INDUSTRIES),
        Field::new("AnnualRevenue", "Annual Revenue", Kind::Currency).digits(18, 0),
        Field::new("NumberOfEmployees", "Employees", Kind::Int).digits(8, 0),
        picklist(
            "Ownership",
            "Ownership",
            &["Public", "Private", "Subsidiary", "Other"],
        ),
        string("TickerSymbol", "Ticker Symbol", 20),
        textarea("Description", "Account Description", 32_000),
        picklist("Rating", "Account Rating", RATINGS),
        string("Site", "Account Site", 80),
        owner(),
        picklist("AccountSource", "Account Source", LEAD_SOURCES),
        Field::new("LastActivityDate", "Last Activity", Kind::Date).read_only(),
    ]);
    Object::new("Account", "Accounts", "001", fields)
}

pub(super) fn contact() -> Object {
    let mut fields = vec![
        lookup(
            "AccountId",
            "Account ID",
            &["Account"],
            "Account",
            "Contacts",
        )
        .cascade(),
        string("LastName", "Last Name", 80).required(),
        string("FirstName", "First Name", 40),
        picklist("Salutation", "Salutation", SALUTATIONS),
        string("Name", "Full Name", 121)
            .from(Source::FullName)
            .required()
            .name_field(),
    ];
    fields.extend(address("Other", "Other "));
    fields.extend(address("Mailing", "Mailing "));
    fields.extend([
        phone("Phone", "Business Phone"),
        phone("Fax", "Business Fax"),
        phone("MobilePhone", "Mobile Phone"),
        phone("HomePhone", "Home Phone"),
        phone("OtherPhone", "Other Phone"),
        phone("AssistantPhone", "Asst. Phone"),
        lookup(
            "ReportsToId",
            "Reports To ID",
            &["Contact"],
            "ReportsTo",
            "ReportsToContacts",
        ),
        email("Email", "Email").id_lookup(),
        string("Title", "Title", 128),
        string("Department", "Department", 80),
        string("AssistantName", "Assistant's Name", 40),
        picklist("LeadSource", "Lead Source", LEAD_SOURCES),
        Field::new("Birthdate", "Birthdate", Kind::Date),
        textarea("Description", "Contact Description", 32_000),
        owner(),
        checkbox("HasOptedOutOfEmail", "Email Opt Out"),
        checkbox("HasOptedOutOfFax", "Fax Opt Out"),
        checkbox("DoNotCall", "Do Not Call"),
        Field::new("LastActivityDate", "Last Activity", Kind::Date).read_only(),
        string("EmailBouncedReason", "Email Bounced Reason", 255),
        Field::new("EmailBouncedDate", "Email Bounced Date", Kind::DateTime),
    ]);
    Object::new("Contact", "Contacts", "003", fields)
}

pub(super) fn lead() -> Object {
    let mut fields = vec![
        string("LastName", "Last Name", 80).required(),
        string("FirstName", "First Name", 40),
        picklist("Salutation", "Salutation", SALUTATIONS),
        string("Name", "Full Name", 121)
            .from(Source::FullName)
            .required()
            .name_field(),
        string("Title", "Title", 128),
        string("Company", "Company", 255).required(),
    ];
    fields.extend(address("", ""));
    fields.extend([
        phone("Phone", "Phone"),
        phone("MobilePhone", "Mobile Phone"),
        phone("Fax", "Fax"),
        email("Email", "Email").id_lookup(),
        Field::new("Website", "Website", Kind::Url).len(255),
        textarea("Description", "Description", 32_000),
        picklist("LeadSource", "Lead Source", LEAD_SOURCES),
        picklist(
            "Status",
            "Status",
            &[
                "Open - Not Contacted",
                "Working - Contacted",
                "Closed - Converted",
                "Closed - Not Converted",
            ],
        )
        .required()
        .default("Open - Not Contacted"),
        picklist("Industry", "Industry", INDUSTRIES),
        picklist("Rating", "Rating", RATINGS),
        Field::new("AnnualRevenue", "Annual Revenue", Kind::Currency).digits(18, 0),
        Field::new("NumberOfEmployees", "Employees", Kind::Int).digits(8, 0),
        owner(),
        checkbox("HasOptedOutOfEmail", "Email Opt Out"),
        checkbox("DoNotCall", "Do Not Call"),
        checkbox("IsConverted", "Converted").read_only(),
        checkbox("IsUnreadByOwner", "Unread By Owner").default(true),
    ]);
    Object::new("Lead", "Leads", "00Q", fields)
}

pub(super) fn opportunity() -> Object {
    let won = vec!["Closed Won".to_owned()];
    let closed = vec!["Closed Won".to_owned(), "Closed Lost".to_owned()];
    let fields = vec![
        lookup(
            "AccountId",
            "Account ID",
            &["Account"],
            "Account",
            "Opportunities",
        )
        .cascade(),
        checkbox("IsPrivate", "Private"),
        string("Name", "Name", 120).required().name_field(),
        textarea("Description", "Description", 32_000),
        picklist(
            "StageName",
            "Stage",
            &[
                "Prospecting",
                "Qualification",
                "Needs Analysis",
                "Value Proposition",
                "Id. Decision Makers",
                "Perception Analysis",
                "Proposal/Price Quote",
                "Negotiation/Review",
                "Closed Won",
                "Closed Lost",
            ],
        )
        .required(),
        Field::new("Amount", "Amount", Kind::Currency).digits(18, 2),
        Field::new("Probability", "Probability (%)", Kind::Percent).digits(3, 0),
        Field::new("TotalOpportunityQuantity", "Quantity", Kind::Double).digits(18, 2),
        Field::new("CloseDate", "Close Date", Kind::Date).required(),
        picklist(
            "Type",
            "Opportunity Type",
            &[
                "Existing Customer - Upgrade",
                "Existing Customer - Replacement",
                "Existing Customer - Downgrade",
                "New Customer",
            ],
        ),
        string("NextStep", "Next Step", 255),
        picklist("LeadSource", "Lead Source", LEAD_SOURCES),
        checkbox("IsClosed", "Closed").from(Source::OneOf("StageName".to_owned(), closed)),
        checkbox("IsWon", "Won").from(Source::OneOf("StageName".to_owned(), won)),
        owner(),
        lookup("ContactId", "Contact ID", &["Contact"], "Contact", "").create_only(),
    ];
    Object::new("Opportunity", "Opportunities", "006", fields)
}
