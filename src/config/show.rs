//! The configuration as it holds, with the origin of every value. Secrets are masked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::Config;
use super::layers::{Loaded, Origin, dotted};
use super::schema::{self, SECTIONS, Shape};

/// Every value by its dotted key.
pub(super) fn leaves(config: &Config) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    // A configuration that was read can be written; were it not so, the list would be empty and the
    // test of the schema would fail.
    if let Ok(Value::Table(tree)) = Value::try_from(config) {
        collect(&tree, "", &mut leaves);
    }
    leaves
}

fn collect(table: &toml::Table, around: &str, leaves: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = dotted(around, name);
        match value {
            Value::Table(inner) => collect(inner, &key, leaves),
            other => {
                leaves.insert(key.clone(), shown(&key, other));
            }
        }
    }
}

/// A value as it may be shown. (Secrets mask themselves; a connection string may hold one.)
fn shown(key: &str, value: &Value) -> Value {
    let info = key.split_once('.').and_then(|(s, n)| schema::find(s, n));
    match (info.map(|i| i.shape), value) {
        (Some(Shape::Connection), Value::String(s)) => Value::String(mask(s)),
        (Some(Shape::Secret), _) => Value::String("***".into()),
        _ => value.clone(),
    }
}

/// A connection string without its password.
fn mask(url: &str) -> String {
    if let Some((scheme, rest)) = url.split_once("://") {
        // The last @ ends the user part. A password with an unescaped / or ? may stand before it, so
        // it is looked for in the whole text: rather too much is masked than too little.
        let (user, path) = match rest.rsplit_once('@') {
            Some((user, rest)) => match user.split_once(':') {
                Some((name, _)) => (format!("{name}:***@"), rest),
                None => (format!("{user}@"), rest),
            },
            None => (String::new(), rest),
        };
        let path = match path.split_once('?') {
            Some((path, query)) => {
                let parameters: Vec<String> = query.split('&').map(mask_pair).collect();
                format!("{path}?{}", parameters.join("&"))
            }
            None => path.to_owned(),
        };
        return format!("{scheme}://{user}{path}");
    }
    // `key=value` pairs: values may be quoted and hold blanks, so all from the password on goes.
    match url.find("password") {
        Some(at) => format!("{}password=***", url.get(..at).unwrap_or_default()),
        None => url.to_owned(),
    }
}

fn mask_pair(pair: &str) -> String {
    match pair.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    }
}

impl Loaded {
    /// The configuration in the form of its file, and beside each value where it came from.
    pub fn show(&self) -> String {
        let leaves = leaves(&self.config);
        let mut out = String::new();
        let named = ["tables", "outbox"];
        for section in SECTIONS.iter().filter(|s| !named.contains(*s)) {
            self.print(&mut out, section, &leaves);
        }
        for table in self.config.tables.keys() {
            self.print(&mut out, &dotted("tables", table), &leaves);
        }
        for prefix in self.config.outbox.keys() {
            self.print(&mut out, &dotted("outbox", prefix), &leaves);
        }
        out
    }

    fn print(&self, out: &mut String, section: &str, leaves: &BTreeMap<String, Value>) {
        let prefix = format!("{section}.");
        let lines: Vec<(String, String)> = leaves
            .iter()
            .filter_map(|(key, value)| {
                let name = key.strip_prefix(&prefix)?;
                Some((format!("{name} = {value}"), self.origin(key).to_string()))
            })
            .collect();
        if lines.is_empty() {
            return;
        }
        let widths = lines.iter().map(|(line, _)| line.chars().count());
        let width = widths.max().unwrap_or(0).min(60);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}[{section}]", if out.is_empty() { "" } else { "\n" });
        for (line, origin) in lines {
            let _ = writeln!(out, "{line:width$}  # {origin}");
        }
    }

    /// The same for machines: `{ "<dotted key>": { "value": …, "from": … } }`.
    pub fn show_json(&self) -> serde_json::Value {
        let entries = leaves(&self.config).into_iter().map(|(key, value)| {
            let from = self.origin(&key).to_string();
            let value = serde_json::to_value(value).unwrap_or_default();
            (key, serde_json::json!({ "value": value, "from": from }))
        });
        serde_json::Value::Object(entries.collect())
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_connection_string_is_shown() {
        for (url, masked) in [
            ("postgres://u:pw@h:5432/app", "postgres://u:***@h:5432/app"),
            ("postgres://u:p@w@h/app", "postgres://u:***@h/app"),
            ("postgres://u:p/w?@h/app", "postgres://u:***@h/app"),
            ("postgres://u@h/app", "postgres://u@h/app"),
            (
                "postgres://h/app?password=pw&x=1",
                "postgres://h/app?password=***&x=1",
            ),
            ("host=h password=pw user=u", "host=h password=***"),
            ("host=h password = 'p w'", "host=h password=***"),
            ("host=h user=u", "host=h user=u"),
        ] {
            assert_eq!(mask(url), masked);
        }
    }
}
