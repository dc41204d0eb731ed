//! Turning a JSON value into what a field stores, or refusing it.
//!
//! - The wrong JSON type or bad date text is a `JSON_PARSER_ERROR`; `""` is null for text
//!   and an error for everything else.
//! - Text is trimmed, counted in characters, and too long is `STRING_TOO_LONG`.
//! - Digits right of the point are cut to the field's scale (rounding half away from
//!   zero); too many left of it are refused.
//! - A restricted picklist takes only its values, an unrestricted one takes any.

use serde_json::{Number, Value};

use super::error::RecordError;
use crate::clock;
use crate::schema::field::{Field, Kind};

/// What stands in a parser error for the place of the offending value. Collections report
/// no place.
pub(crate) const NO_PLACE: &str = "[Source: N/A; line: -1, column: -1][line:-1, column:-1]";

fn parser_error(field: &Field, value: &Value) -> RecordError {
    let (token, shown) = match value {
        Value::Null => ("VALUE_NULL", "null".to_owned()),
        Value::Bool(true) => ("VALUE_TRUE", "true".to_owned()),
        Value::Bool(false) => ("VALUE_FALSE", "false".to_owned()),
        Value::Number(n) if n.is_f64() => ("VALUE_NUMBER_FLOAT", n.to_string()),
        Value::Number(n) => ("VALUE_NUMBER_INT", n.to_string()),
        Value::String(s) => ("VALUE_STRING", s.clone()),
        Value::Array(_) => ("START_ARRAY", "[".to_owned()),
        Value::Object(_) => ("START_OBJECT", "{".to_owned()),
    };
    let wanted = match field.kind.soap() {
        "xsd:boolean" => "boolean",
        "xsd:int" => "int",
        "xsd:double" => "double",
        "xsd:date" => "date",
        "xsd:dateTime" => "datetime",
        "xsd:time" => "time",
        _ => "string",
    };
    let message = format!(
        "Cannot deserialize instance of {wanted} from {token} value {shown} or request may be \
         missing a required field at {NO_PLACE}"
    );
    RecordError::new("JSON_PARSER_ERROR", message)
}

#[cfg(test)]
fn coerce(field: &Field, value: &Value) -> Result<Value, RecordError> {
    coerce_as(field, value, true)
}

/// Checks a value for a field and gives it in the stored form. References are only checked
/// for their shape here. Bulk jobs take text as it is, all others trim it.
pub(crate) fn coerce_as(field: &Field, value: &Value, trims: bool) -> Result<Value, RecordError> {
    if value.is_null() {
        return match field.kind {
            Kind::Boolean => Err(RecordError::new(
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                format!("{}: value not of required type: null", field.label),
            )
            .on(&field.name)),
            _ => Ok(Value::Null),
        };
    }
    match field.kind {
        Kind::Boolean => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(s) if s == "true" || s == "false" => Ok(Value::Bool(s == "true")),
            _ => Err(parser_error(field, value)),
        },
        Kind::Int => int(field, value),
        Kind::Double | Kind::Currency | Kind::Percent => decimal(field, value),
        Kind::Date => match value.as_str().and_then(clock::parse_date) {
            Some(date) => Ok(date.to_string().into()),
            None => Err(parser_error(field, value)),
        },
        Kind::DateTime => {
            // A plain date is midnight, as the API takes it.
            let text = value.as_str().ok_or_else(|| parser_error(field, value))?;
            let at = clock::parse_datetime(text)
                .or_else(|| clock::parse_date(text).map(clock::midnight));
            at.map(|at| clock::datetime(at).into())
                .ok_or_else(|| parser_error(field, value))
        }
        Kind::Time => match value.as_str().and_then(clock::parse_time) {
            Some(time) => Ok(time.into()),
            None => Err(parser_error(field, value)),
        },
        _ => text(field, value, trims),
    }
}

fn int(field: &Field, value: &Value) -> Result<Value, RecordError> {
    let number = match value {
        Value::Number(n) => n.as_i64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    let Some(number) = number else {
        return Err(parser_error(field, value));
    };
    if i32::try_from(number).is_err()
        || number.unsigned_abs() >= 10u64.pow(field.precision.min(18) as u32)
    {
        return Err(out_of_range(field, &number.to_string()));
    }
    Ok(number.into())
}

fn out_of_range(field: &Field, shown: &str) -> RecordError {
    let message = format!(
        "{}: value outside of valid range on numeric field: {shown}",
        field.label
    );
    RecordError::new("NUMBER_OUTSIDE_VALID_RANGE", message).on(&field.name)
}

fn decimal(field: &Field, value: &Value) -> Result<Value, RecordError> {
    let number = match value {
        Value::Number(n) => n.as_f64(),
        // Numbers in quotes are taken, as long as nothing else stands there.
        Value::String(s)
            if s.bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) =>
        {
            s.parse().ok()
        }
        _ => None,
    };
    let Some(number) = number.filter(|n: &f64| n.is_finite()) else {
        return Err(parser_error(field, value));
    };
    let rounded = round(number, field.scale);
    let whole_digits = field.precision.saturating_sub(field.scale) as i32;
    let most = match field.part_of.is_some() {
        true if field.name.contains("__Latitude__") => 90.0,
        true => 180.0,
        false => f64::MAX,
    };
    if rounded.abs() >= 10f64.powi(whole_digits) || rounded.abs() > most {
        return Err(out_of_range(field, &format!("{number:?}")));
    }
    Number::from_f64(rounded)
        .map(Value::Number)
        .ok_or_else(|| parser_error(field, value))
}

/// Rounds half away from zero, on the decimal text so that 1.005 becomes 1.01.
fn round(number: f64, scale: usize) -> f64 {
    let shown = format!("{number}");
    match shown.split_once('.') {
        Some((_, fraction)) if fraction.len() > scale => {
            let up = fraction.as_bytes()[scale] >= b'5';
            let cut: f64 = shown[..shown.len() - (fraction.len() - scale)]
                .parse()
                .unwrap_or(number);
            let step = 10f64.powi(-(scale as i32)).copysign(number);
            let raised = if up { cut + step } else { cut };
            format!("{raised:.scale$}").parse().unwrap_or(raised)
        }
        _ => number,
    }
}

fn text(field: &Field, value: &Value, trims: bool) -> Result<Value, RecordError> {
    let Value::String(raw) = value else {
        return Err(parser_error(field, value));
    };
    let trimmed = if trims { raw.trim() } else { raw };
    if trimmed.is_empty() {
        return Ok(Value::Null);
    }
    if trimmed
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        let message = format!(
            "{}: text contains characters outside the supported set",
            field.label
        );
        return Err(
            RecordError::new("TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET", message).on(&field.name),
        );
    }
    if field.kind == Kind::Reference {
        return match crate::ids::Id::parse(trimmed) {
            Some(id) => Ok(id.to_string().into()),
            None => Err(RecordError::new(
                "MALFORMED_ID",
                format!("{}: id value of incorrect type: {trimmed}", field.label),
            )
            .on(&field.name)),
        };
    }
    if field.kind == Kind::MultiPicklist {
        return options(field, trimmed);
    }
    if field.length > 0 && trimmed.chars().count() > field.length {
        let message = format!(
            "{}: data value too large: {trimmed} (max length={})",
            field.label, field.length
        );
        return Err(RecordError::new("STRING_TOO_LONG", message).on(&field.name));
    }
    match field.kind {
        Kind::Email if !is_email(trimmed) => {
            let message = format!("{}: invalid email address: {trimmed}", field.label);
            Err(RecordError::new("INVALID_EMAIL_ADDRESS", message).on(&field.name))
        }
        Kind::Picklist => option(field, trimmed),
        _ => Ok(trimmed.into()),
    }
}

fn bad_option(field: &Field, value: &str) -> RecordError {
    let message = format!(
        "{}: bad value for restricted picklist field: {value}",
        field.label
    );
    RecordError::new("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message).on(&field.name)
}

/// A known value in another case is stored as the picklist spells it.
fn option(field: &Field, value: &str) -> Result<Value, RecordError> {
    match field
        .picklist
        .iter()
        .find(|v| v.eq_ignore_ascii_case(value))
    {
        Some(known) => Ok(known.as_str().into()),
        None if field.restricted => Err(bad_option(field, value)),
        None => Ok(value.into()),
    }
}

fn options(field: &Field, value: &str) -> Result<Value, RecordError> {
    let mut chosen: Vec<String> = Vec::new();
    for part in value.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        if let Value::String(part) = option(field, part)?
            && !chosen.contains(&part)
        {
            chosen.push(part);
        }
    }
    if chosen.len() > 100 {
        let message = format!("{}: too many values in multi-select picklist", field.label);
        return Err(RecordError::new("TOO_MANY_ENUM_VALUE", message).on(&field.name));
    }
    Ok(chosen.join(";").into())
}

/// The syntax Salesforce asks of an e-mail address: one `@`, a local part without spaces
/// or stray dots, and a domain with a dot and a top level of letters.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && local
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*/=?^_+-`{|}~.".contains(&b));
    let labels: Vec<&str> = domain.split('.').collect();
    let label_ok = |label: &&str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let top_ok = labels.last().is_some_and(|top| top.len() >= 2);
    local_ok && labels.len() >= 2 && labels.iter().all(label_ok) && top_ok
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::schema::field::{email, picklist, string};
    use serde_json::json;

    fn code(field: &Field, value: Value) -> String {
        coerce(field, &value).unwrap_err().code.into_owned()
    }

    #[test]
    fn text_is_trimmed_and_counted_in_characters() {
        let name = string("LastName", "Last Name", 3);
        assert_eq!(coerce(&name, &json!("  äöü ")).unwrap(), json!("äöü"));
        assert_eq!(coerce(&name, &json!("   ")).unwrap(), Value::Null);
        let refused = coerce(&name, &json!("abcd")).unwrap_err();
        assert_eq!(
            refused.message,
            "Last Name: data value too large: abcd (max length=3)"
        );
        assert_eq!(refused.fields, ["LastName"]);
        assert_eq!(code(&name, json!(12)), "JSON_PARSER_ERROR");
    }

    #[test]
    fn numbers_are_cut_to_scale_on_the_right_and_refused_on_the_left() {
        let amount = Field::new("Amount", "Amount", Kind::Currency).digits(5, 2);
        for (given, kept) in [
            (1.005, 1.01),
            (-1.005, -1.01),
            (999.994, 999.99),
            (7.0, 7.0),
            (0.1, 0.1),
        ] {
            assert_eq!(coerce(&amount, &json!(given)).unwrap(), json!(kept));
        }
        assert_eq!(coerce(&amount, &json!("12.5")).unwrap(), json!(12.5));
        assert_eq!(code(&amount, json!(1000)), "NUMBER_OUTSIDE_VALID_RANGE");
        assert_eq!(code(&amount, json!(999.999)), "NUMBER_OUTSIDE_VALID_RANGE");
        assert_eq!(code(&amount, json!("")), "JSON_PARSER_ERROR");
        let whole = Field::new("NumberOfEmployees", "Employees", Kind::Int).digits(8, 0);
        assert_eq!(code(&whole, json!(1.5)), "JSON_PARSER_ERROR");
        assert_eq!(
            code(&whole, json!(100_000_000)),
            "NUMBER_OUTSIDE_VALID_RANGE"
        );
    }

    #[test]
    fn a_datetime_is_no_date_but_a_date_is_a_datetime() {
        let date = Field::new("Birthdate", "Birthdate", Kind::Date);
        assert_eq!(
            code(&date, json!("2026-11-04T00:00:00Z")),
            "JSON_PARSER_ERROR"
        );
        assert_eq!(code(&date, json!("")), "JSON_PARSER_ERROR");
        let at = Field::new("At__c", "At", Kind::DateTime);
        assert_eq!(
            coerce(&at, &json!("2026-11-04T13:00:00.9+0100")).unwrap(),
            json!("2026-11-04T12:00:00.000+0000")
        );
        assert_eq!(
            coerce(&at, &json!("2026-11-04")).unwrap(),
            json!("2026-11-04T00:00:00.000+0000")
        );
    }

    #[test]
    fn emails_and_restricted_picklists_are_checked() {
        let mail = email("Email", "Email");
        for good in ["a@b.co", "o'hara+x@mail.example.com"] {
            assert_eq!(coerce(&mail, &json!(good)).unwrap(), json!(good));
        }
        for bad in ["123", "a@b", "a b@c.de", "a@@b.co", "a@-b.co", "a@b..co"] {
            assert_eq!(code(&mail, json!(bad)), "INVALID_EMAIL_ADDRESS", "{bad}");
        }
        let open = picklist("Rating", "Rating", &["Hot"]);
        assert_eq!(coerce(&open, &json!("hot")).unwrap(), json!("Hot"));
        assert_eq!(coerce(&open, &json!("Tepid")).unwrap(), json!("Tepid"));
        assert_eq!(
            code(&open.restricted(), json!("Tepid")),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
        );
    }

    #[test]
    fn a_checkbox_is_never_null() {
        let flag = crate::schema::field::checkbox("DoNotCall", "Do Not Call");
        assert_eq!(code(&flag, Value::Null), "INVALID_TYPE_ON_FIELD_IN_RECORD");
        assert_eq!(code(&flag, json!("yes")), "JSON_PARSER_ERROR");
    }
}
