//! Secrets, and where they come from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Destination, Source};
use crate::fault::{Error, ErrorKind, Result};

/// A text that is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Secret {
    /// The first line of a file.
    ///
    /// # Errors
    /// When it cannot be read, or its first line is empty.
    pub fn from_file(path: &Path) -> Result<Secret> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::new(
                ErrorKind::Usage,
                format!("cannot read the secret file {}", path.display()),
            )
            .source(e)
            .remedy("the file has to exist, be readable by our user, and hold the secret in its first line")
        })?;
        match text.lines().next() {
            Some(line) if !line.trim().is_empty() => Ok(Secret(line.to_owned())),
            _ => Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "the first line of the secret file {} is empty",
                    path.display()
                ),
            )
            .remedy("write the secret into its first line")),
        }
    }
}

fn either(secret: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>> {
    match (secret, file) {
        (Some(secret), _) => Ok(Some(secret.clone())),
        (None, Some(path)) => Secret::from_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

impl Source {
    /// The password given in the configuration or in `password_file`, if any.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn secret(&self) -> Result<Option<Secret>> {
        either(self.password.as_ref(), self.password_file.as_deref())
    }
}

impl Destination {
    /// The consumer secret given in the configuration or in `client_secret_file`, if any.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn secret(&self) -> Result<Option<Secret>> {
        either(
            self.client_secret.as_ref(),
            self.client_secret_file.as_deref(),
        )
    }
}
