//! What describe says of objects and fields (salesforce.md §10).
//!
//! A field that the viewer cannot see by field-level security is absent.

use serde_json::{Value, json};

use super::field::{Field, Kind, OnDelete, Source};
use super::{Object, Schema};
use crate::store::settings::ObjectRights;

/// The summary of an object, as in the global list.
pub(crate) fn summary(object: &Object, version: &str, rights: ObjectRights) -> Value {
    let base = format!("/services/data/{version}/sobjects/{}", object.name);
    let history = object.history_of.is_some();
    let work = object.is_work();
    let writable = !matches!(object.name.as_str(), "Organization" | "Profile") && !history;
    json!({
        "activateable": false, "associateEntityType": history.then_some("History"),
        "associateParentEntity": object.history_of,
        "createable": writable && rights.create, "custom": object.custom, "customSetting": false,
        "deepCloneable": false, "deletable": writable && object.name != "User" && rights.delete,
        "deprecatedAndHidden": false, "feedEnabled": work,
        "hasSubtypes": false, "isInterface": false, "isSubtype": false,
        "keyPrefix": object.prefix, "label": object.label, "labelPlural": object.plural,
        "layoutable": work, "mergeable": matches!(object.name.as_str(), "Account" | "Contact" | "Lead" | "Case"),
        "mruEnabled": work, "name": object.name, "queryable": true,
        "replicateable": true, "retrieveable": true, "searchable": work,
        "triggerable": work, "undeletable": work, "updateable": writable && rights.edit,
        "urls": {
            "rowTemplate": format!("{base}/{{ID}}"), "describe": format!("{base}/describe"), "sobject": base,
        },
    })
}

/// The whole description of an object. `access` gives `None` for a field that is not seen,
/// and otherwise whether it may be written as far as field-level security goes.
pub(crate) fn object(
    schema: &Schema,
    at: usize,
    version: &str,
    rights: ObjectRights,
    access: impl Fn(usize, &Field) -> Option<bool>,
) -> Value {
    let object = schema.object(at);
    let mut out = summary(object, version, rights);
    let fields: Vec<Value> = object
        .fields
        .iter()
        .enumerate()
        .filter_map(|(position, f)| Some(field(f, access(position, f)?)))
        .collect();
    let children: Vec<Value> = schema
        .children(at)
        .iter()
        .map(|link| {
            let child = schema.object(link.object);
            let f = &child.fields[link.field];
            json!({
                "cascadeDelete": f.on_delete == OnDelete::Cascade, "childSObject": child.name,
                "deprecatedAndHidden": false, "field": f.name, "junctionIdListNames": [],
                "junctionReferenceTo": [], "relationshipName": f.child_relationship,
                "restrictedDelete": f.on_delete == OnDelete::Restrict,
            })
        })
        .collect();
    if let Value::Object(map) = &mut out {
        let more = json!({
            "actionOverrides": [], "childRelationships": children, "compactLayoutable": !object.setup,
            "defaultImplementation": null, "extendedBy": null, "extendsInterfaces": null,
            "fields": fields, "implementedBy": null, "implementsInterfaces": null,
            "listviewable": null, "lookupLayoutable": null, "namedLayoutInfos": [],
            "networkScopeFieldName": null,
            "recordTypeInfos": [{
                "active": true, "available": true, "defaultRecordTypeMapping": true,
                "developerName": "Master", "master": true, "name": "Master",
                "recordTypeId": "012000000000000AAA",
                "urls": {"layout": format!("/services/data/{version}/sobjects/{}/describe/layouts/012000000000000AAA", object.name)},
            }],
            "searchLayoutable": !object.setup, "sobjectDescribeOption": "FULL",
            "supportedScopes": [{"label": format!("All {}", object.plural), "name": "everything"}],
        });
        if let Value::Object(more) = more {
            map.extend(more);
        }
    }
    out
}

/// One field, as a viewer who may or may not edit it sees it.
fn field(f: &Field, editable: bool) -> Value {
    let text = f.kind.is_text();
    let calculated = matches!(
        f.source,
        Source::FullName | Source::OneOf(..) | Source::Address(_)
    ) && f.custom;
    let long = f.is_long_text();
    let audit = matches!(f.source, Source::System(_));
    let values: Vec<Value> = f
        .picklist
        .iter()
        .map(|v| {
            let default = f.default.as_ref().and_then(Value::as_str) == Some(v);
            json!({"active": true, "defaultValue": default, "label": v, "validFor": null, "value": v})
        })
        .collect();
    let length = match f.kind {
        Kind::Id | Kind::Reference => 18,
        _ if text => f.length,
        _ => 0,
    };
    let default = match &f.default {
        Some(Value::String(s)) if s.starts_with('$') => Value::Null,
        Some(value) => value.clone(),
        None => Value::Null,
    };
    json!({
        "aggregatable": !long && !f.kind.is_compound(), "aiPredictionField": false,
        "autoNumber": f.auto_number.is_some(), "byteLength": if text { length * 3 } else { length },
        "calculated": calculated, "calculatedFormula": null,
        "cascadeDelete": f.on_delete == OnDelete::Cascade && f.kind == Kind::Reference,
        "caseSensitive": f.case_sensitive, "compoundFieldName": f.part_of, "controllerName": null,
        "createable": f.createable && editable, "custom": f.custom, "defaultValue": default,
        "defaultValueFormula": null, "defaultedOnCreate": f.default.is_some() || audit,
        "dependentPicklist": false, "deprecatedAndHidden": false,
        "digits": if f.kind == Kind::Int { f.precision } else { 0 },
        "displayLocationInDecimal": f.kind == Kind::Location, "encrypted": false, "externalId": f.external_id,
        "extraTypeInfo": if f.html { json!("richtextarea") } else if long { json!("plaintextarea") } else { Value::Null },
        "filterable": !long && !f.kind.is_compound(), "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "groupable": !long && !f.kind.is_decimal() && !f.kind.is_compound() && !matches!(f.kind, Kind::DateTime | Kind::MultiPicklist),
        "highScaleNumber": false, "htmlFormatted": f.html, "idLookup": f.id_lookup,
        "inlineHelpText": null, "label": f.label, "length": length, "mask": null, "maskType": null,
        "name": f.name, "nameField": f.name_field, "namePointing": f.polymorphic(),
        "nillable": f.nillable, "permissionable": f.permissionable(),
        "picklistValues": values, "polymorphicForeignKey": f.polymorphic(),
        "precision": if f.kind.is_decimal() { f.precision } else { 0 },
        "queryByDistance": false, "referenceTargetField": null, "referenceTo": f.reference_to,
        "relationshipName": f.relationship, "relationshipOrder": null,
        "restrictedDelete": f.on_delete == OnDelete::Restrict, "restrictedPicklist": f.restricted,
        "scale": if f.kind.is_decimal() { f.scale } else { 0 }, "searchPrefilterable": false,
        "soapType": f.kind.soap(), "sortable": !long && !f.kind.is_compound() && f.kind != Kind::MultiPicklist,
        "type": f.kind.name(), "unique": f.unique, "updateable": f.updateable && editable,
        "writeRequiresMasterRead": false,
    })
}
