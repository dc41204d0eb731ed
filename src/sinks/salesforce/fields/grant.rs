//! The rights to fields: one permission set of ours, assigned to our user.
//!
//! Rights cannot be given by profile through the API, and a set of our own disturbs nobody else's: an
//! administrator sees in one place what Syncline has been given.

use std::collections::HashMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::fault::{Class, Fault};
use crate::mapping::FieldSpec;
use crate::sinks::salesforce::auth::user_of;
use crate::sinks::salesforce::http::{Call, unreadable};
use crate::sinks::salesforce::keys::quoted;
use crate::sinks::salesforce::soql::{Row, encode};
use crate::sinks::salesforce::{Place, Salesforce};

/// API name and label of the permission set.
const PERMISSION_SET: &str = "Syncline";

/// Our permission set, and what it gives on an object by `Object.Field` in lower case.
pub(super) struct OwnSet {
    id: String,
    given: HashMap<String, Given>,
}

/// A right to a field that our set gives already.
struct Given {
    id: String,
    whole: bool,
}

impl Salesforce {
    /// Our permission set, found or made, and assigned to our user.
    pub(super) async fn own_permission_set(&self, object: &str) -> Result<OwnSet, Fault> {
        let find = format!(
            "SELECT Id FROM PermissionSet WHERE Name = {} AND IsOwnedByProfile = false",
            quoted(PERMISSION_SET)
        );
        let set = match self.first_id(&find).await? {
            Some(set) => set,
            None => {
                let body = json!({
                    "Name": PERMISSION_SET,
                    "Label": PERMISSION_SET,
                    "Description": "The fields that Syncline has made, for the user it writes as",
                });
                match self
                    .create(Call::Grant, "/sobjects/PermissionSet", &body)
                    .await
                {
                    Ok(set) => {
                        tracing::info!(name = PERMISSION_SET, "made a permission set");
                        set
                    }
                    Err(fault) if is_there(&fault) => self.first_id(&find).await?.ok_or(fault)?,
                    Err(fault) => return Err(fault),
                }
            }
        };
        let user = self.own_user().await?;
        let assigned = format!(
            "SELECT Id FROM PermissionSetAssignment WHERE PermissionSetId = {} AND AssigneeId = {}",
            quoted(&set),
            quoted(&user)
        );
        if self.first_id(&assigned).await?.is_none() {
            let body = json!({"AssigneeId": user, "PermissionSetId": set});
            let path = "/sobjects/PermissionSetAssignment";
            match self.create(Call::Grant, path, &body).await {
                Ok(_) => tracing::info!("assigned the permission set to our user"),
                Err(fault) if is_there(&fault) => {}
                Err(fault) => return Err(fault),
            }
        }
        let given = self.given(&set, object).await?;
        Ok(OwnSet { id: set, given })
    }

    /// Gives the rights to read and edit the field, as far as the set does not give them yet.
    pub(super) async fn grant(
        &self,
        set: &OwnSet,
        object: &str,
        spec: &FieldSpec,
    ) -> Result<(), Fault> {
        let field = format!("{object}.{}", spec.name);
        match set.given.get(&field.to_ascii_lowercase()) {
            Some(given) if given.whole => Ok(()),
            Some(given) => self.widen(&given.id).await,
            None => self.give(&set.id, object, &field).await,
        }
    }

    async fn give(&self, set: &str, object: &str, field: &str) -> Result<(), Fault> {
        let body = json!({
            "ParentId": set,
            "SobjectType": object,
            "Field": field,
            "PermissionsRead": true,
            "PermissionsEdit": true,
        });
        let path = "/sobjects/FieldPermissions";
        let fault = match self.create(Call::Grant, path, &body).await {
            Ok(_) => return Ok(()),
            Err(fault) if is_there(&fault) => fault,
            Err(fault) => return Err(fault),
        };
        // Given by somebody between our look and this, perhaps to read only.
        match self
            .given(set, object)
            .await?
            .remove(&field.to_ascii_lowercase())
        {
            Some(given) if given.whole => Ok(()),
            Some(given) => self.widen(&given.id).await,
            None => Err(fault),
        }
    }

    /// Makes a right to read one to read and edit.
    async fn widen(&self, id: &str) -> Result<(), Fault> {
        let body = json!({"PermissionsRead": true, "PermissionsEdit": true});
        let path = format!("/sobjects/FieldPermissions/{}", encode(id));
        let body = Some(body.to_string().into());
        let answer = self.call(Call::Grant, Method::PATCH, &path, body).await?;
        answer.accepted().map(drop)
    }

    /// What the set gives on the object.
    async fn given(&self, set: &str, object: &str) -> Result<HashMap<String, Given>, Fault> {
        let query = format!(
            "SELECT Id,Field,PermissionsRead,PermissionsEdit FROM FieldPermissions \
             WHERE ParentId = {} AND SobjectType = {}",
            quoted(set),
            quoted(object)
        );
        let rows = self.rows(&format!("/query?q={}", encode(&query))).await?;
        let given = |row: Row| {
            let yes = |name: &str| row.text(name).as_deref() == Some("true");
            let given = Given {
                id: row.text("Id")?,
                whole: yes("PermissionsRead") && yes("PermissionsEdit"),
            };
            Some((row.text("Field")?.to_ascii_lowercase(), given))
        };
        Ok(rows.into_iter().filter_map(given).collect())
    }

    /// The id of the user that we write as: from the login, else from the version's root.
    pub(in crate::sinks::salesforce) async fn own_user(&self) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Root {
            identity: String,
        }
        if let Some(user) = &self.auth.session(&self.http).await?.user {
            return Ok(user.clone());
        }
        let answer = self
            .with_session(Call::Check, Method::GET, Place::Api("/"), None, None)
            .await?;
        let root: Root = serde_json::from_slice(&answer.accepted()?)
            .map_err(|_| unreadable(Call::Check, "the root of the API cannot be read"))?;
        user_of(&root.identity).ok_or_else(|| {
            Fault::new(
                Class::Configuration,
                "unknown_user",
                "Salesforce does not say as which user we are logged in",
            )
        })
    }

    async fn first_id(&self, query: &str) -> Result<Option<String>, Fault> {
        let rows = self.rows(&format!("/query?q={}", encode(query))).await?;
        Ok(rows.first().and_then(|row| row.text("Id")))
    }
}

/// What was to be made is there already.
fn is_there(fault: &Fault) -> bool {
    matches!(
        fault.code.as_ref(),
        "DUPLICATE_VALUE" | "DUPLICATE_DEVELOPER_NAME"
    )
}
