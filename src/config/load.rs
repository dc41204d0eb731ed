//! From the layers to one configuration: defaults, file, variables, flags.
//!
//! The layers are merged as plain values, with the origin of each beside it, and then checked as a
//! whole, so that every mistake is told at once and with its place. Only what has passed the checks
//! becomes a [`Config`].

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::check::check;
use super::layers::{Layers, Loaded, Mistake, Origin, dotted};
use super::nearest::nearest;
use super::schema::{self, KEYS, Shape};
use crate::fault::{Error, ErrorKind, Result};

impl Config {
    /// The configuration from the file at `path`, the variables of `env` that begin with
    /// `SYNCLINE_`, and `overrides` (dotted key, value) from the command line.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`], with everything that is wrong, each with file and line.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Loaded> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::new(
                ErrorKind::Usage,
                format!("cannot read the configuration {}", path.display()),
            )
            .source(e)
            .remedy("write one with `syncline init <postgres-url>`, or name another with --config")
        })?;
        let mut layers = Layers {
            path: path.to_owned(),
            tree: toml::Table::new(),
            origins: BTreeMap::new(),
            mistakes: Vec::new(),
        };
        file(&mut layers, &text)?;
        variables(&mut layers, env);
        flags(&mut layers, overrides);
        check(&mut layers);
        refuse(&layers)?;
        let config = Config::deserialize(toml::Value::Table(layers.tree.clone())).map_err(|e| {
            Error::new(
                ErrorKind::Usage,
                format!("{}: {}", path.display(), e.message()),
            )
        })?;
        let mut origins = layers.origins;
        for key in super::show::leaves(&config).into_keys() {
            origins.entry(key).or_insert(Origin::Default);
        }
        Ok(Loaded { config, origins })
    }
}

fn refuse(layers: &Layers) -> Result<()> {
    let lines: Vec<String> = layers
        .mistakes
        .iter()
        .map(|m| format!("{}: {}", m.at, m.text))
        .collect();
    match lines.as_slice() {
        [] => Ok(()),
        [line] => Err(Error::new(ErrorKind::Usage, line.clone())),
        lines => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} mistakes in the configuration:\n  {}",
                lines.len(),
                lines.join("\n  ")
            ),
        )),
    }
}

fn file(layers: &mut Layers, text: &str) -> Result<()> {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let line = |offset: usize| starts.partition_point(|start| *start <= offset);
    let syntax = |e: toml::de::Error| {
        let at = line(e.span().map_or(0, |s| s.start));
        Error::new(
            ErrorKind::Usage,
            format!("{}:{at}: {}", layers.path.display(), e.message()),
        )
        .remedy("the file is TOML: https://toml.io")
    };
    let spanned = DeTable::parse(text).map_err(syntax)?;
    let tree: toml::Table = toml::from_str(text).map_err(syntax)?;
    let mut lines = BTreeMap::new();
    note(spanned.get_ref(), "", &mut |key, offset| {
        lines.insert(key, line(offset));
    });
    for (key, line) in lines {
        let path = layers.path.clone();
        layers.origins.insert(key, Origin::File { path, line });
    }
    layers.tree = tree;
    Ok(())
}

/// Tells the place of every key, of tables and of what is in them.
fn note(table: &DeTable<'_>, around: &str, tell: &mut impl FnMut(String, usize)) {
    for (name, value) in table {
        let key = dotted(around, name.get_ref());
        tell(key.clone(), name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => note(inner, &key, tell),
            // Sections such as [[routing.rules]], counted as people count.
            DeValue::Array(list) => {
                for (number, item) in (1..).zip(list) {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let key = format!("{key}[{number}]");
                        tell(key.clone(), item.span().start);
                        note(inner, &key, tell);
                    }
                }
            }
            _ => {}
        }
    }
}

const PREFIX: &str = "SYNCLINE_";

fn variable(section: &str, name: &str) -> String {
    format!(
        "{PREFIX}{}__{}",
        section.to_uppercase(),
        name.to_uppercase()
    )
}

fn variables(layers: &mut Layers, env: impl Iterator<Item = (String, String)>) {
    let mut ours: Vec<(String, String)> = env.filter(|(n, _)| n.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        let rest = name.get(PREFIX.len()..).unwrap_or_default().to_lowercase();
        let origin = Origin::Variable(name.clone());
        let Some((section, key)) = rest.split_once("__") else {
            // Other variables begin like ours (SYNCLINE_PORT, which Kubernetes makes for a service
            // of that name), so only one that is a key but for the second underscore is a mistake.
            let meant = KEYS
                .iter()
                .find(|k| rest == format!("{}_{}", k.section, k.name));
            if let Some(meant) = meant {
                let right = variable(meant.section, meant.name);
                layers.mistakes.push(Mistake {
                    at: origin,
                    text: format!("two underscores stand between levels: {right}"),
                });
            }
            continue;
        };
        match schema::find(section, key) {
            Some(info) => {
                let value = read(info.shape, value);
                layers.set(section, key, value, origin);
            }
            None => {
                let text = if section == "tables" {
                    "tables are not set by variables, only in the file".to_owned()
                } else if section == "outbox" {
                    "the outbox is not set by variables, only in the file".to_owned()
                } else {
                    let known: Vec<String> =
                        KEYS.iter().map(|k| variable(k.section, k.name)).collect();
                    let near = nearest(&name, known.iter().map(String::as_str));
                    let near = near.map(|n| format!("; did you mean {n}?"));
                    format!("no key has this name{}", near.unwrap_or_default())
                };
                layers.mistakes.push(Mistake { at: origin, text });
            }
        }
    }
}

fn flags(layers: &mut Layers, overrides: &[(String, String)]) {
    for (key, value) in overrides {
        let info = key.split_once('.').and_then(|(s, n)| schema::find(s, n));
        match info {
            Some(info) => {
                let value = read(info.shape, value.clone());
                layers.set(info.section, info.name, value, Origin::Flag);
            }
            None => {
                let known: Vec<String> = KEYS.iter().map(|k| dotted(k.section, k.name)).collect();
                let near = nearest(key, known.iter().map(String::as_str));
                let near = near
                    .map(|n| format!("; did you mean {n}?"))
                    .unwrap_or_default();
                layers.mistakes.push(Mistake {
                    at: Origin::Flag,
                    text: format!("no key is named {key}{near} (tables are set in the file only)"),
                });
            }
        }
    }
}

/// A text from outside as the key wants it; what it cannot be is left for the checks to refuse.
fn read(shape: Shape, text: String) -> toml::Value {
    let number = matches!(shape, Shape::Count(..) | Shape::Size);
    match (text.trim().parse::<i64>(), text.trim()) {
        (Ok(n), _) if number => toml::Value::Integer(n),
        (_, "true") if shape == Shape::Switch => toml::Value::Boolean(true),
        (_, "false") if shape == Shape::Switch => toml::Value::Boolean(false),
        _ => toml::Value::String(text),
    }
}
