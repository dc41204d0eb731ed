use super::super::Duplicates;
use super::{SMALL, TABLE, load};

#[test]
fn what_is_said_of_doubles_is_read_shown_and_checked() {
    let table = |rest: &str| load(&format!("{SMALL}{TABLE}{rest}"));
    let loaded = table("duplicates = \"allow\"\nadopt = { match = \"Email\" }\n").unwrap();
    let again = load(&loaded.show()).unwrap().config;
    for config in [loaded.config, again] {
        let table = config.tables.values().next().unwrap();
        assert_eq!(table.duplicates, Duplicates::Allow);
        assert_eq!(table.adopt.as_ref().unwrap().field, "Email");
    }
    for (rest, expected) in [
        (
            "duplicates = \"merge\"\n",
            "duplicates is one of \"reject\", \"allow\"",
        ),
        ("adopt = \"Email\"\n", "adopt is { match = \"Email\" }"),
        (
            "adopt = { macth = \"Email\" }\n",
            "adopt is { match = \"Email\" }",
        ),
        ("adopt = { match = \"\" }\n", "adopt.match takes a text"),
    ] {
        let told = table(rest).unwrap_err();
        assert!(told.contains(expected), "{rest}: {told}");
    }
}
