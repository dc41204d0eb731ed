//! The layers of a configuration, merged as plain values, with the origin of each beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Config;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// A configuration, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// By dotted key, as in `tables."public.company".columns.name`.
    pub origins: BTreeMap<String, Origin>,
}

/// A mistake in the configuration.
pub(super) struct Mistake {
    /// Where: the origin, and the key unless the text says it.
    pub(super) at: Origin,
    pub(super) text: String,
}

/// The merged layers.
pub(super) struct Layers {
    pub(super) path: PathBuf,
    pub(super) tree: toml::Table,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Layers {
    pub(super) fn mistake(&mut self, key: &str, text: impl Into<String>) {
        let at = self.origin(key);
        self.mistakes.push(Mistake {
            at,
            text: text.into(),
        });
    }

    /// Where a key, or the nearest thing around it, was said.
    fn origin(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin.clone();
            }
            match key.rfind('.') {
                Some(dot) => key = key.get(..dot).unwrap_or_default(),
                None => {
                    return Origin::File {
                        path: self.path.clone(),
                        line: 1,
                    };
                }
            }
        }
    }

    pub(super) fn set(&mut self, section: &str, name: &str, value: toml::Value, origin: Origin) {
        let entry = self
            .tree
            .entry(section)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let Some(table) = entry.as_table_mut() {
            table.insert(name.to_owned(), value);
            self.origins.insert(dotted(section, name), origin);
        }
    }
}

/// A key within another, quoted where TOML wants it.
pub(super) fn dotted(around: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if around.is_empty() {
        name
    } else {
        format!("{around}.{name}")
    }
}
