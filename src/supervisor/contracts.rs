//! Contract files: where they are, and what is in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::fault::{Error, ErrorKind, Result};
use crate::mapping::contract::{Contract, Contracts};

/// The directory where nothing else is said.
pub const DIRECTORY: &str = "contracts";

/// The directory of the contract files.
pub fn directory(config: &Config) -> PathBuf {
    let path = config.contract.path.clone();
    path.unwrap_or_else(|| DIRECTORY.into())
}

/// The contracts that rows are checked against; none where none are configured.
///
/// # Errors
/// [`ErrorKind::Usage`] when they are configured and cannot be read, or a table has none: a row that
/// nobody checks must not pass for a row that was checked.
pub fn configured(config: &Config) -> Result<Arc<Contracts>> {
    let Some(path) = &config.contract.path else {
        return Ok(Arc::default());
    };
    let contracts = read(path)?;
    if let Some(table) = config
        .tables
        .keys()
        .find(|t| !contracts.contains_key(t.as_str()))
    {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{} has no contract for {table}", path.display()),
        )
        .remedy("syncline contract export"));
    }
    Ok(Arc::new(contracts))
}

/// The contracts of a directory: all of its `.json` files.
///
/// # Errors
/// [`ErrorKind::Usage`] when it cannot be read, or one of the files is no contract.
pub fn read(directory: &Path) -> Result<Contracts> {
    let unreadable = |path: &Path, e: std::io::Error| {
        Error::new(ErrorKind::Usage, format!("cannot read {}", path.display()))
            .source(e)
            .remedy("`syncline contract export` writes the contracts; contract.path says where they are")
    };
    let mut contracts = Contracts::new();
    for entry in fs::read_dir(directory).map_err(|e| unreadable(directory, e))? {
        let path = entry.map_err(|e| unreadable(directory, e))?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
        let contract = Contract::read(&text).map_err(|mut e| {
            e.what = format!("{}: {}", path.display(), e.what).into();
            e
        })?;
        let table: Box<str> = contract.title.as_str().into();
        if contracts.insert(table, contract).is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{}: a second contract of the same table", path.display()),
            )
            .remedy("delete one of the two files"));
        }
    }
    Ok(contracts)
}
