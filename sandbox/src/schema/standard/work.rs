//! Case, Task, Product2.

use super::owner;
use crate::schema::Object;
use crate::schema::field::{
    Field, Kind, Source, checkbox, email, lookup, phone, picklist, string, textarea,
};

pub(super) fn case() -> Object {
    let mut number = string("CaseNumber", "Case Number", 30)
        .read_only()
        .required()
        .name_field();
    number.auto_number = Some("{00000000}".to_owned());
    let fields = vec![
        number,
        lookup("ContactId", "Contact ID", &["Contact"], "Contact", "Cases"),
        lookup("AccountId", "Account ID", &["Account"], "Account", "Cases").cascade(),
        lookup("ParentId", "Parent Case ID", &["Case"], "Parent", "Cases"),
        string("SuppliedName", "Name", 80),
        email("SuppliedEmail", "Email Address"),
        phone("SuppliedPhone", "Phone"),
        string("SuppliedCompany", "Company", 80),
        picklist(
            "Type",
            "Case Type",
            &[
                "Mechanical",
                "Electrical",
                "Electronic",
                "Structural",
                "Other",
            ],
        ),
        picklist(
            "Status",
            "Status",
            &["New", "Working", "Escalated", "Closed"],
        )
        .default("New"),
        picklist(
            "Reason",
            "Case Reason",
            &[
                "Installation",
                "Equipment Complexity",
                "Performance",
                "Breakdown",
                "Equipment Design",
                "Feedback",
                "Other",
            ],
        ),
        picklist("Origin", "Case Origin", &["Phone", "Email", "Web"]),
        string("Subject", "Subject", 255),
        picklist("Priority", "Priority", &["High", "Medium", "Low"]).default("Medium"),
        textarea("Description", "Description", 32_000),
        checkbox("IsClosed", "Closed").from(Source::OneOf(
            "Status".to_owned(),
            vec!["Closed".to_owned()],
        )),
        checkbox("IsEscalated", "Escalated"),
        owner(),
    ];
    Object::new("Case", "Cases", "500", fields)
}

pub(super) fn task() -> Object {
    let related = &["Account", "Opportunity", "Case", "Product2"];
    let fields = vec![
        lookup("WhoId", "Name ID", &["Contact", "Lead"], "Who", "Tasks"),
        lookup("WhatId", "Related To ID", related, "What", "Tasks"),
        Field::new("Subject", "Subject", Kind::Picklist)
            .len(255)
            .name_field(),
        Field::new("ActivityDate", "Due Date Only", Kind::Date),
        picklist(
            "Status",
            "Status",
            &[
                "Not Started",
                "In Progress",
                "Completed",
                "Waiting on someone else",
                "Deferred",
            ],
        )
        .required()
        .default("Not Started"),
        picklist("Priority", "Priority", &["High", "Normal", "Low"])
            .required()
            .default("Normal"),
        checkbox("IsHighPriority", "High Priority").from(Source::OneOf(
            "Priority".to_owned(),
            vec!["High".to_owned()],
        )),
        owner(),
        textarea("Description", "Description", 32_000),
        checkbox("IsClosed", "Closed").from(Source::OneOf(
            "Status".to_owned(),
            vec!["Completed".to_owned()],
        )),
        picklist(
            "TaskSubtype",
            "Task Subtype",
            &["Task", "Email", "ListEmail", "Cadence", "Call"],
        )
        .restricted()
        .create_only()
        .default("Task"),
        Field::new("ReminderDateTime", "Reminder Date/Time", Kind::DateTime),
        checkbox("IsReminderSet", "Reminder Set"),
    ];
    Object::new("Task", "Tasks", "00T", fields)
}

pub(super) fn product() -> Object {
    let fields = vec![
        string("Name", "Product Name", 255).required().name_field(),
        string("ProductCode", "Product Code", 255),
        textarea("Description", "Product Description", 4_000),
        checkbox("IsActive", "Active"),
        picklist("Family", "Product Family", &["None"]),
        string("ExternalId", "External ID", 255),
        Field::new("DisplayUrl", "Display URL", Kind::Url).len(1_000),
        picklist(
            "QuantityUnitOfMeasure",
            "Quantity Unit Of Measure",
            &["Each"],
        ),
        string("StockKeepingUnit", "Product SKU", 180),
        checkbox("IsArchived", "Archived").read_only(),
    ];
    let mut object = Object::new("Product2", "Products", "01t", fields);
    object.label = "Product".to_owned();
    object
}
