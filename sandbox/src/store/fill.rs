//! The people and set-up records every org starts with.

use serde_json::{Value, json};

use super::Store;
use super::row::Row;
use crate::Config;
use crate::ids::Id;

/// More people who work in the org, to be named in edits.
fn people(name: &str) -> String {
    format!("{name}@sandbox.test")
}

/// The users the sandbox itself needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct People {
    pub(crate) organization: Id,
    /// Whom client credentials run as.
    pub(crate) integration: Id,
    /// Who edits on the page and through `POST /sandbox/edit`.
    pub(crate) rep: Id,
}

impl Store {
    /// Finds the people of an earlier run or makes them.
    pub(crate) fn fill(&mut self, config: &Config, at: i64) -> People {
        let organization = Id::new("00D", 1);
        let admin = Id::new("005", 2);
        let integration = Id::new("005", 3);
        let rep = Id::new("005", 4);
        let admin_profile = Id::new("00e", 5);
        let standard_profile = Id::new("00e", 6);
        let person = |number| Id::new("005", number);
        self.next = self.next.max(100);
        if self.get(admin).is_none() {
            self.seed(
                organization,
                at,
                admin,
                json!({
                    "Name": "Syncline Sandbox", "InstanceName": "SBX1", "IsSandbox": false,
                    "OrganizationType": "Developer Edition", "Country": "US",
                    "LanguageLocaleKey": "en_US", "TimeZoneSidKey": "GMT",
                }),
            );
            for (id, name) in [
                (admin_profile, "System Administrator"),
                (standard_profile, "Standard User"),
            ] {
                self.seed(id, at, admin, json!({"Name": name, "UserType": "Standard"}));
                let set = self.next_id_of("0PS");
                self.seed(
                    set,
                    at,
                    admin,
                    json!({
                        "Name": format!("X{}", id.short()), "Label": id.short(),
                        "IsOwnedByProfile": true, "ProfileId": id.to_string(),
                    }),
                );
            }
        }
        let users = [
            (admin, &config.username, "Ada", "Admin", admin_profile),
            (
                integration,
                &config.integration_username,
                "Syncline",
                "Integration",
                admin_profile,
            ),
            (rep, &config.rep_username, "Robin", "Rep", standard_profile),
            (person(7), &people("ann"), "Ann", "Archer", standard_profile),
            (person(8), &people("ben"), "Ben", "Baker", standard_profile),
            (person(9), &people("cho"), "Cho", "Carter", standard_profile),
        ];
        for (id, username, first, last, profile) in users {
            self.seed(id, at, admin, json!({
                "Username": username, "Email": username, "FirstName": first, "LastName": last,
                "Alias": last.to_lowercase().chars().take(8).collect::<String>(), "IsActive": true,
                "TimeZoneSidKey": "GMT", "LocaleSidKey": "en_US", "EmailEncodingKey": "UTF-8",
                "LanguageLocaleKey": "en_US", "ProfileId": profile.to_string(), "UserType": "Standard",
            }));
        }
        People {
            organization,
            integration,
            rep,
        }
    }

    fn seed(&mut self, id: Id, at: i64, by: Id, values: Value) {
        let Some(object) = self.schema.by_prefix(id.prefix()) else {
            return;
        };
        let mut row = Row::new(id, object, at, by);
        for (name, value) in values.as_object().into_iter().flatten() {
            if let Some(field) = self.schema.object(object).field(name) {
                row.set(field, value.clone());
            }
        }
        self.put(row);
    }
}
