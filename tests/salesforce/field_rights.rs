//! Rights that are missing on the way to a new field.

use super::fields::{
    SET, allowed, allowed_with, create, gone, made, none, refused, room, root, rows, script, steps,
    text, there,
};
use super::server::{Reply, Server};
use serde_json::json;

#[tokio::test]
async fn a_missing_right_to_make_fields_is_told_with_its_remedy() {
    let production = "Save or update not supported in active organizations";
    for (status, code, message, words) in [
        (
            400,
            "INSUFFICIENT_ACCESS_OR_READONLY",
            "insufficient access rights on entity",
            "\"Customize Application\"",
        ),
        (
            400,
            "INSUFFICIENT_ACCESS",
            "x",
            "\"View Setup and Configuration\"",
        ),
        (403, "FORBIDDEN", "x", "\"Customize Application\""),
        (
            404,
            "NOT_FOUND",
            "The requested resource does not exist",
            "\"Customize Application\"",
        ),
        (
            400,
            "INVALID_TYPE",
            production,
            "does not let the API make fields",
        ),
    ] {
        // To look, or to make.
        for looks in [true, false] {
            let refusal = Reply::error(status, code, message);
            let parts = if looks {
                vec![vec![there(&[]), room(500, 9)], allowed(), vec![refusal]]
            } else {
                vec![vec![refusal]]
            };
            let server = Server::start(script(parts)).await;
            let answers = create(&server, &[text("A__c"), text("B__c")]).await;
            let asked = steps(&server).len();
            assert_eq!(asked, if looks { 7 } else { 1 }, "one refusal is enough");
            for (answer, name) in answers.iter().zip(["A__c", "B__c"]) {
                let (told, text) = refused(answer);
                assert_eq!(told, "cannot_make_fields");
                assert!(text.contains(words), "{text}");
                assert!(text.contains(code), "{text}");
                assert!(
                    text.contains(&format!(
                        "make Contact.{name} (Text, 80 characters) in Setup by hand"
                    )),
                    "{text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn who_may_not_grant_fields_makes_none() {
    let denied = || Reply::error(403, "INSUFFICIENT_ACCESS_OR_READONLY", "x");
    for parts in [
        vec![denied()],
        vec![none(), denied()],
        vec![rows(json!([{"Id": SET}])), root(), none(), denied()],
    ] {
        let server = Server::start(script(vec![vec![there(&[]), room(500, 9)], parts])).await;
        let answers = create(&server, &[text("A__c")]).await;
        let (code, message) = refused(&answers[0]);
        assert_eq!(code, "cannot_make_fields");
        assert!(message.contains("\"Manage Permission Sets\""), "{message}");
        assert!(!steps(&server).contains(&"POST CustomField".into()));
    }
}

#[tokio::test]
async fn rights_are_widened_and_their_refusal_is_told() {
    let server = Server::start(script(vec![
        vec![there(&[]), room(500, 9)],
        allowed_with(json!([
            {"Id": "01k1", "Field": "Contact.A__c", "PermissionsRead": true, "PermissionsEdit": false}])),
        vec![made("00N1"), gone()],
        vec![
            made("00N2"),
            Reply::error(400, "FIELD_INTEGRITY_EXCEPTION", "no"),
        ],
        // Somebody gave it meanwhile, to read.
        vec![
            made("00N3"),
            Reply::error(400, "DUPLICATE_VALUE", "duplicate value found"),
            rows(json!([
                {"Id": "01k3", "Field": "Contact.C__c", "PermissionsRead": true, "PermissionsEdit": false}])),
            gone(),
        ],
    ]))
    .await;
    let answers = create(&server, &[text("A__c"), text("B__c"), text("C__c")]).await;
    assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())));
    let (code, message) = refused(&answers[1]);
    assert_eq!(code, "field_not_granted");
    assert!(message.starts_with("Contact.B__c exists, but"), "{message}");
    assert_eq!(
        steps(&server)[6..],
        [
            "POST CustomField",
            "PATCH FieldPermissions/01k1",
            "POST CustomField",
            "POST FieldPermissions",
            "POST CustomField",
            "POST FieldPermissions",
            "? FieldPermissions",
            "PATCH FieldPermissions/01k3",
        ]
    );
}

#[tokio::test]
async fn making_does_not_go_on_before_what_is_made_is_granted() {
    let denied = || Reply::error(403, "INSUFFICIENT_ACCESS", "no");
    let specs = [text("A__c"), text("B__c"), text("C__c")];
    let first = vec![
        vec![there(&[]), room(500, 9)],
        allowed(),
        vec![made("00N1"), denied()],
    ];
    let again = vec![
        vec![
            there(&[("00N1", "A")]),
            super::fields::field(json!({"type": "Text", "length": 80})),
            room(500, 8),
        ],
        allowed(),
        vec![denied()],
    ];
    for (parts, fields) in [(first, 1), (again, 0)] {
        let server = Server::start(script(parts)).await;
        let answers = create(&server, &specs).await;
        let made = steps(&server);
        let made = made.iter().filter(|s| *s == "POST CustomField").count();
        assert_eq!(made, fields);
        for (place, answer) in answers.iter().enumerate() {
            let (code, message) = refused(answer);
            assert!(message.contains("\"Manage Permission Sets\""), "{message}");
            assert_eq!(
                code,
                if place == 0 {
                    "field_not_granted"
                } else {
                    "cannot_make_fields"
                }
            );
        }
    }
}
