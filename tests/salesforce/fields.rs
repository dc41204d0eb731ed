//! Making fields: what is asked, in which order, and what each refusal leads to.

use std::time::Duration;

use serde_json::{Value, json};
use syncline::backoff::Backoff;
use syncline::fault::Class;
use syncline::mapping::{FieldSpec, NewField};
use syncline::sinks::{Delivery, Discard, Settings, Sink};

use super::server::{Reply, Request, Server};
use super::*;

pub const SET: &str = "0PSWs000000PsA1OAK";
pub const USER: &str = "005Ws000001XyZ1IAK";

pub fn spec(name: &str, kind: NewField) -> FieldSpec {
    FieldSpec {
        name: name.into(),
        label: name.trim_end_matches("__c").replace('_', " ").into(),
        kind,
        help: format!("From {name}").into(),
    }
}

pub fn text(name: &str) -> FieldSpec {
    spec(name, NewField::Text { length: 80 })
}

pub fn rows(rows: Value) -> Reply {
    let size = rows.as_array().unwrap().len();
    let body = json!({"totalSize": size, "done": true, "records": rows});
    Reply::json(200, &body.to_string())
}

pub fn none() -> Reply {
    rows(json!([]))
}

/// The custom fields that are there: id and developer name.
pub fn there(fields: &[(&str, &str)]) -> Reply {
    let row = |(id, name): &(&str, &str)| json!({"Id": id, "DeveloperName": name, "NamespacePrefix": null});
    rows(fields.iter().map(row).collect())
}

pub fn room(max: u32, remaining: u32) -> Reply {
    rows(json!([{"Max": max, "Remaining": remaining}]))
}

pub fn made(id: &str) -> Reply {
    let body = json!({"id": id, "success": true, "errors": [], "warnings": [], "infos": []});
    Reply::json(201, &body.to_string())
}

pub fn field(metadata: Value) -> Reply {
    let body = json!({"Id": "00N1", "FullName": "Contact.A__c", "Metadata": metadata});
    Reply::json(200, &body.to_string())
}

pub fn gone() -> Reply {
    Reply::Full(204, Vec::new(), Vec::new())
}

pub fn root() -> Reply {
    let identity = format!("https://login.salesforce.com/id/00DWs0000004AbCMAU/{USER}");
    Reply::json(200, &json!({"identity": identity}).to_string())
}

/// Permission set and assignment are there.
pub fn allowed() -> Vec<Reply> {
    allowed_with(json!([]))
}

/// With these rights to fields.
pub fn allowed_with(given: Value) -> Vec<Reply> {
    vec![
        rows(json!([{"Id": SET}])),
        root(),
        rows(json!([{"Id": "0Pa1"}])),
        rows(given),
    ]
}

pub fn script(parts: Vec<Vec<Reply>>) -> Vec<Reply> {
    parts.into_iter().flatten().collect()
}

pub fn delivery(server: &Server) -> Delivery {
    let settings = Settings {
        requests_per_second: 0,
        record_tries: 3,
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
        },
        ..Settings::default()
    };
    Delivery::new(Arc::new(connect(server)), settings, 1)
}

pub type Answers = Vec<Result<(), Fault>>;

pub async fn create(server: &Server, specs: &[FieldSpec]) -> Answers {
    let delivery = delivery(server);
    let answers = delivery.create_fields("Contact", specs).await.unwrap();
    assert_eq!(answers.len(), specs.len());
    for fault in answers.iter().filter_map(|a| a.as_ref().err()) {
        // Stops nothing, names its field, and speaks.
        assert_eq!(fault.class, Class::Configuration);
        assert_eq!(fault.fields.len(), 1, "{fault:?}");
        assert!(!fault.message.is_empty());
    }
    answers
}

pub fn refused(answer: &Result<(), Fault>) -> (&str, &str) {
    let fault = answer.as_ref().unwrap_err();
    (fault.code.as_ref(), fault.message.as_str())
}

/// `METHOD object`, or what a query asks of.
pub fn step(request: &Request) -> String {
    let path = request.target.trim_start_matches("/services/data/v66.0");
    if path.contains("query?q=") {
        let query = request.soql();
        let (_, from) = query.split_once(" FROM ").unwrap();
        return format!("? {}", from.split_whitespace().next().unwrap());
    }
    let path = path.replace("/tooling", "").replace("/sobjects/", "");
    format!("{} {path}", request.method)
}

pub fn steps(server: &Server) -> Vec<String> {
    server.api().iter().map(step).collect()
}

#[tokio::test]
async fn a_field_is_made_and_granted_to_our_user() {
    let server = Server::start(vec![
        there(&[("00N0", "Other")]),
        room(500, 499),
        none(),
        made(SET),
        root(),
        none(),
        made("0Pa1"),
        none(),
        made("00N1"),
        made("01k1"),
        made("00N2"),
        made("01k2"),
    ])
    .await;
    let number = NewField::Number {
        precision: 18,
        scale: 2,
    };
    let specs = [text("Vat_Number__c"), spec("Amount__c", number)];
    assert_eq!(create(&server, &specs).await, [Ok(()), Ok(())]);
    assert_eq!(
        steps(&server),
        [
            "? CustomField",
            "? EntityLimit",
            "? PermissionSet",
            "POST PermissionSet",
            "GET /",
            "? PermissionSetAssignment",
            "POST PermissionSetAssignment",
            "? FieldPermissions",
            "POST CustomField",
            "POST FieldPermissions",
            "POST CustomField",
            "POST FieldPermissions",
        ]
    );
    let api = server.api();
    assert_eq!(
        api[0].soql(),
        "SELECT Id,DeveloperName,NamespacePrefix FROM CustomField WHERE TableEnumOrId IN ('Contact')"
    );
    assert_eq!(
        api[1].soql(),
        "SELECT Max,Remaining FROM EntityLimit WHERE EntityDefinition.QualifiedApiName = 'Contact' AND Type = 'CustomFields'"
    );
    assert!(api[1].target.contains("/tooling/query?"));
    assert_eq!(api[3].json()["Name"], "Syncline");
    assert_eq!(
        api[6].json(),
        json!({"AssigneeId": USER, "PermissionSetId": SET})
    );
    assert_eq!(
        api[8].json(),
        json!({"FullName": "Contact.Vat_Number__c", "Metadata": {
            "type": "Text", "label": "Vat Number", "length": 80, "inlineHelpText": "From Vat_Number__c"}})
    );
    assert_eq!(
        api[9].json(),
        json!({"ParentId": SET, "SobjectType": "Contact", "Field": "Contact.Vat_Number__c",
            "PermissionsRead": true, "PermissionsEdit": true})
    );
}

#[tokio::test]
async fn ended_anywhere_and_called_again_it_completes() {
    // What Salesforce would hold; a request beyond the limit finds the process dead.
    #[derive(Default)]
    struct Org {
        set: bool,
        assigned: bool,
        fields: Vec<String>,
        granted: Vec<String>,
        made: usize,
    }
    impl Org {
        fn answer(&mut self, request: &Request) -> Reply {
            let known = |list: &[String]| {
                let row = |(i, name): (usize, &String)| {
                    json!({"Id": format!("00N{i}"), "DeveloperName": name.trim_end_matches("__c"),
                        "Field": format!("Contact.{name}"), "PermissionsRead": true, "PermissionsEdit": true})
                };
                rows(list.iter().enumerate().map(row).collect())
            };
            let some = |is: bool, id: &str| {
                if is {
                    rows(json!([{"Id": id}]))
                } else {
                    none()
                }
            };
            let step = step(request);
            if request.method == "POST" {
                self.made += 1;
            }
            match step.as_str() {
                "? CustomField" => known(&self.fields),
                "? EntityLimit" => room(500, 2 - self.fields.len() as u32),
                "? PermissionSet" => some(self.set, SET),
                "? PermissionSetAssignment" => some(self.assigned, "0Pa1"),
                "? FieldPermissions" => known(&self.granted),
                "GET /" => root(),
                "POST PermissionSet" => {
                    assert!(!std::mem::replace(&mut self.set, true));
                    made(SET)
                }
                "POST PermissionSetAssignment" => {
                    assert!(!std::mem::replace(&mut self.assigned, true));
                    made("0Pa1")
                }
                "POST CustomField" => {
                    let full = request.json()["FullName"].as_str().unwrap().to_owned();
                    let name = full.trim_start_matches("Contact.").to_owned();
                    assert!(!self.fields.contains(&name));
                    self.fields.push(name);
                    made("00N1")
                }
                "POST FieldPermissions" => {
                    let full = request.json()["Field"].as_str().unwrap().to_owned();
                    let name = full.trim_start_matches("Contact.").to_owned();
                    assert!(self.fields.contains(&name) && !self.granted.contains(&name));
                    self.granted.push(name);
                    made("01k1")
                }
                _ if step.starts_with("GET CustomField/") => {
                    field(json!({"type": "Text", "length": 80}))
                }
                other => panic!("{other}"),
            }
        }
    }
    let specs = [text("A__c"), text("B__c")];
    for dies_after in 0..12 {
        let mut org = Org::default();
        // Answer by answer, so that the process can be ended between any two of them: also when the
        // last request was carried out and its answer never came.
        let mut first = true;
        loop {
            let server = Server::start(Vec::new()).await;
            let delivery = delivery(&server);
            let mut work = Box::pin(delivery.create_fields("Contact", &specs));
            let mut answered = 0;
            let answers = loop {
                let waiting = async {
                    while server.api().len() == answered {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                server.hold();
                let answers = tokio::select! {
                    answers = &mut work => Some(answers),
                    () = waiting => None,
                };
                if answers.is_some() {
                    break answers;
                }
                let reply = org.answer(&server.api()[answered]);
                answered += 1;
                if first && answered > dies_after {
                    break None;
                }
                server.then(reply);
            };
            if let Some(answers) = answers {
                assert_eq!(answers.unwrap(), [Ok(()), Ok(())]);
                break;
            }
            first = false;
        }
        assert!(org.set && org.assigned);
        assert_eq!(org.fields, ["A__c", "B__c"]);
        assert_eq!(org.granted, ["A__c", "B__c"]);
        assert_eq!(org.made, 6, "nothing is made twice");
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let server = Server::start(script(vec![
        vec![there(&[]), room(500, 500)],
        allowed(),
        vec![Reply::HangUp],
        // It was made.
        vec![
            there(&[("00N1", "a")]),
            field(json!({"type": "Text", "length": 80})),
        ],
        allowed(),
        vec![Reply::error(503, "SERVER_UNAVAILABLE", "x")],
        vec![
            there(&[("00N1", "A")]),
            field(json!({"type": "Text", "length": 80})),
        ],
        allowed(),
        vec![made("01k1")],
    ]))
    .await;
    assert_eq!(create(&server, &[text("A__c")]).await, [Ok(())]);
}

#[tokio::test]
async fn without_room_nothing_is_made() {
    let server = Server::start(vec![there(&[]), room(500, 1)]).await;
    let specs = [text("A__c"), text("B__c"), text("C__c")];
    for answer in create(&server, &specs).await {
        let (code, message) = refused(&answer);
        assert_eq!(code, "CUSTOM_ENTITY_OR_FIELD_LIMIT");
        assert_eq!(
            message,
            "3 new fields are wanted on Contact, 1 of its 500 custom fields fits: none was made"
        );
    }
    assert_eq!(steps(&server), ["? CustomField", "? EntityLimit"]);

    // Those that are there need no room.
    let server = Server::start(script(vec![
        vec![
            there(&[("00N1", "A")]),
            field(json!({"type": "Text", "length": 80})),
            room(500, 0),
        ],
        allowed(),
        vec![made("01k1")],
    ]))
    .await;
    let answers = create(&server, &specs[..2]).await;
    assert_eq!(answers[0], Ok(()));
    assert_eq!(refused(&answers[1]).0, "CUSTOM_ENTITY_OR_FIELD_LIMIT");
}

#[tokio::test]
async fn where_the_room_is_not_told_a_field_too_many_takes_the_others_with_it() {
    let limit = || Reply::error(400, "CUSTOM_ENTITY_OR_FIELD_LIMIT", "reached maximum");
    for (untold, deleted) in [
        (
            Reply::error(
                400,
                "INVALID_TYPE",
                "sObject type 'EntityLimit' is not supported.",
            ),
            true,
        ),
        (none(), true),
        // The guide lists no DELETE.
        (room(500, 500), false),
    ] {
        let server = Server::start(script(vec![
            vec![there(&[]), untold],
            allowed(),
            vec![
                made("00N1"),
                made("01k1"),
                made("00N2"),
                made("01k2"),
                limit(),
            ],
            vec![
                if deleted {
                    gone()
                } else {
                    Reply::error(405, "METHOD_NOT_ALLOWED", "x")
                },
                gone(),
            ],
        ]))
        .await;
        let specs = [text("A__c"), text("B__c"), text("C__c"), text("D__c")];
        let answers = create(&server, &specs).await;
        for (place, answer) in answers.iter().enumerate() {
            let (code, message) = refused(answer);
            assert_eq!(code, "CUSTOM_ENTITY_OR_FIELD_LIMIT");
            assert!(
                message.starts_with("4 new fields are wanted on Contact, 2 fit"),
                "{message}"
            );
            let stays = message.contains("could not be deleted again");
            assert_eq!(stays, place == 0 && !deleted);
        }
        let steps = steps(&server);
        assert_eq!(
            steps[steps.len() - 3..],
            [
                "POST CustomField",
                "DELETE CustomField/00N1",
                "DELETE CustomField/00N2"
            ]
        );
    }
}

#[tokio::test]
async fn a_field_of_that_name_is_taken_if_it_can_hold_the_column() {
    for (metadata, difference) in [
        (json!({"type": "Text", "length": 255}), None),
        (
            json!({"type": "Text", "length": 40}),
            Some("holds 40 characters only"),
        ),
        (json!({"type": "Picklist"}), Some("is of type Picklist")),
    ] {
        // Found at once, or only when the name turns out to be taken.
        for late in [false, true] {
            let found = vec![there(&[("00N1", "A")]), field(metadata.clone())];
            let refused_name = Reply::error(
                400,
                "DUPLICATE_DEVELOPER_NAME",
                "There is already a field named A",
            );
            let mut parts = if late {
                vec![
                    vec![there(&[]), room(500, 9)],
                    allowed(),
                    vec![refused_name],
                    found,
                ]
            } else {
                vec![found, allowed()]
            };
            parts.push(vec![made("01k1")]);
            let server = Server::start(script(parts)).await;
            let answers = create(&server, &[text("A__c")]).await;
            match difference {
                None => assert_eq!(answers, [Ok(())]),
                Some(difference) => {
                    let (code, message) = refused(&answers[0]);
                    assert_eq!(code, "field_is_another");
                    assert_eq!(
                        message,
                        format!(
                            "Contact.A__c exists already, and {difference}: a field of type Text, 80 characters is wanted"
                        )
                    );
                    assert!(!steps(&server).contains(&"POST FieldPermissions".into()));
                }
            }
        }
    }
}

#[tokio::test]
async fn another_refusal_concerns_its_field_alone() {
    let server = Server::start(script(vec![
        vec![there(&[]), room(500, 9)],
        allowed(),
        vec![
            Reply::error(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                "The Name field can contain only",
            ),
            made("00N2"),
            made("01k2"),
        ],
    ]))
    .await;
    let answers = create(&server, &[text("A___c"), text("B__c")]).await;
    assert_eq!(answers[1], Ok(()));
    assert_eq!(
        refused(&answers[0]),
        (
            "FIELD_INTEGRITY_EXCEPTION",
            "Contact.A___c could not be made: The Name field can contain only"
        )
    );
}

#[tokio::test]
async fn a_custom_object_is_looked_up_by_its_id() {
    let server = Server::start(script(vec![
        vec![
            rows(json!([{"Id": "01IWs0000001AbCMAU"}])),
            there(&[]),
            room(500, 9),
        ],
        allowed(),
        vec![made("00N1"), made("01k1")],
    ]))
    .await;
    let delivery = delivery(&server);
    let answers = delivery
        .create_fields("Invoice__c", &[text("A__c")])
        .await
        .unwrap();
    assert_eq!(answers, [Ok(())]);
    let api = server.api();
    assert!(
        api[0]
            .soql()
            .ends_with("FROM CustomObject WHERE DeveloperName = 'Invoice'")
    );
    assert!(
        api[1]
            .soql()
            .ends_with("TableEnumOrId IN ('01IWs0000001AbCMAU')")
    );
    let usage = delivery.health().usage;
    let count = |word: &str| usage.calls.iter().find(|(w, _)| *w == word).unwrap().1;
    assert_eq!((count("field"), count("grant")), (1, 1));
}

#[tokio::test]
async fn a_session_that_is_not_accepted_is_no_fields_fault() {
    let server = Server::start((0..9).map(|_| Reply::expired()).collect()).await;
    let refused = delivery(&server)
        .create_fields("Contact", &[text("A__c")])
        .await
        .unwrap_err();
    assert_eq!(refused.class, Class::Authentication);
}

#[tokio::test]
async fn a_lock_that_stays_is_told_of_the_fields() {
    let locked = || {
        Reply::error(
            400,
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access",
        )
    };
    let once = || {
        script(vec![
            vec![there(&[]), room(500, 9)],
            allowed(),
            vec![locked()],
        ])
    };
    let server = Server::start(script(vec![once(), once(), once()])).await;
    let answers = delivery(&server)
        .create_fields("Contact", &[text("A__c")])
        .await
        .unwrap();
    assert_eq!(refused(&answers[0]).0, "UNABLE_TO_LOCK_ROW");
    assert_eq!(answers[0].as_ref().unwrap_err().class, Class::Configuration);
}

#[tokio::test]
async fn there_is_nothing_to_make_where_there_are_no_fields() {
    let specs = [text("A__c"), text("B__c")];
    assert_eq!(
        Discard.create_fields("Contact", &specs).await,
        Ok(vec![Ok(()), Ok(())])
    );
    let server = Server::start(Vec::new()).await;
    assert_eq!(
        delivery(&server).create_fields("Contact", &[]).await,
        Ok(vec![])
    );
    assert!(server.requests().is_empty());
}
