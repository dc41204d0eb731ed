use super::super::{OnRepeat, UnknownMembers};
use super::{EXAMPLE, SMALL, load};

const OUTBOX: &str = "[outbox.\"crm.task\"]\nobject = \"Task\"\nkey = { member = \"id\", field = \"X__c\" }\n\
    on_repeat = \"ignore\"\nunknown = \"reject\"\nmembers.\"/a/b\" = \"Subject\"\n\
    members.who = { field = \"Who\", references = \"public.a\" }\n";

#[test]
fn a_section_of_the_outbox_is_read_and_shown() {
    let loaded = load(&format!("{SMALL}{OUTBOX}")).unwrap();
    let section = &loaded.config.outbox["crm.task"];
    assert_eq!(section.key.member.as_deref(), Some("id"));
    assert_eq!(section.on_repeat, OnRepeat::Ignore);
    assert_eq!(section.unknown, UnknownMembers::Reject);
    assert_eq!(section.members.len(), 2);
    let shown = loaded.show();
    assert!(shown.contains("[outbox.\"crm.task\"]"), "{shown}");
    let again = load(&shown).unwrap().config.outbox;
    assert_eq!(format!("{again:?}"), format!("{:?}", loaded.config.outbox));
    let example = load(EXAMPLE).unwrap().config.outbox;
    assert_eq!(example["crm.task"].key.member, None);
}

#[test]
fn mistakes_in_the_outbox_are_told_with_their_place() {
    for (from, to, expected) in [
        (
            "\"Task\"",
            "5",
            "F:6: outbox.\"crm.task\".object takes a text",
        ),
        (
            "object = \"Task\"",
            "",
            "F:5: outbox.\"crm.task\".object is missing",
        ),
        (
            "object",
            "objekt",
            "unknown key outbox.\"crm.task\".objekt; did you mean \"object\"?",
        ),
        (
            "\"crm.task\"",
            "crm.task",
            "F:5: a prefix is quoted as a whole: [outbox.\"crm.task\"]",
        ),
        (
            "crm.task",
            "syncline_watermark",
            "does not begin with syncline_",
        ),
        ("\"crm.task\"", "\"\"", "a prefix is not empty"),
        (
            "{ member",
            "{ column",
            "unknown key outbox.\"crm.task\".key.column",
        ),
        (
            "field = \"X__c\"",
            "",
            "outbox.\"crm.task\".key.field is missing",
        ),
        (
            "key = {",
            "key = 5 #",
            "key is { field = \"External_Id__c\" }, or",
        ),
        (
            "\"ignore\"",
            "\"never\"",
            "on_repeat is one of \"update\", \"ignore\"",
        ),
        (
            "\"reject\"",
            "\"halt\"",
            "unknown is one of \"ignore\", \"reject\"",
        ),
        ("\"/a/b\"", "\"/a~b\"", "is a JSON Pointer"),
        (
            "\"Subject\"",
            "{ felid = \"Subject\" }",
            "unknown key outbox.\"crm.task\".members.\"/a/b\".felid",
        ),
        (
            "references = \"public.a\"",
            "null = \"drop\"",
            "says what a NULL does",
        ),
    ] {
        let text = format!("{SMALL}{}", OUTBOX.replacen(from, to, 1));
        let told = load(&text).unwrap_err().to_string();
        assert!(told.contains(expected), "{to}: {told}");
    }
}
