//! What a process leaves in its state directory for those who ask it: the token of the admin
//! interface and the address where it listens. Both for the owner's eyes only (0600).

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::RngExt as _;

use crate::config::{Config, Secret};
use crate::fault::{Error, ErrorKind, Result};

const TOKEN: &str = "admin.token";
const ADDRESS: &str = "admin.address";

/// What a caller has to show.
#[derive(Clone, Debug)]
pub struct Token(blake3::Hash);

impl Token {
    fn new(secret: &str) -> Self {
        Token(blake3::hash(secret.as_bytes()))
    }

    /// Whether this is it. Hashes are compared in constant time, so nothing is learnt from how long
    /// it takes.
    pub fn is(&self, shown: &str) -> bool {
        blake3::hash(shown.as_bytes()) == self.0
    }
}

/// The token of a process about to serve; made, where the configuration has none and the state
/// directory neither.
///
/// # Errors
/// When the configured token is empty, or the file can be neither read nor written.
pub fn own(config: &Config) -> Result<Token> {
    if let Some(Secret(token)) = &config.admin.token {
        if token.trim().is_empty() {
            return Err(Error::new(ErrorKind::Usage, "admin.token is empty")
                .remedy("remove the key: a token is then made in the state directory"));
        }
        return Ok(Token::new(token));
    }
    let path = config.state.path.join(TOKEN);
    if let Some(token) = read(&path)? {
        return Ok(Token::new(&token));
    }
    let random: [u8; 32] = rand::rng().random();
    let token = blake3::Hash::from_bytes(random).to_hex().to_string();
    write(&path, &token)?;
    Ok(Token::new(&token))
}

/// The token to show to a running process; `None` when there is none to be found.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn shown(config: &Config) -> Result<Option<Secret>> {
    match &config.admin.token {
        Some(token) => Ok(Some(token.clone())),
        None => Ok(read(&config.state.path.join(TOKEN))?.map(Secret)),
    }
}

/// Says where we listen: the configuration may name port 0, or differ from that of whoever asks.
///
/// # Errors
/// When the file cannot be written.
pub fn publish_address(state: &Path, address: Option<std::net::SocketAddr>) -> Result<()> {
    let path = state.join(ADDRESS);
    match address {
        Some(address) => write(&path, &address.to_string()),
        None => match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(cannot("remove", &path, e)),
            _ => Ok(()),
        },
    }
}

/// Where the process that has this state directory said that it listens.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn published_address(state: &Path) -> Result<Option<String>> {
    read(&state.join(ADDRESS))
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot("read", path, e)
            .remedy("run this as the user that syncline runs as, or set admin.token")),
    }
}

/// Through a second name, so that nobody reads half of it.
fn write(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&fresh)
        .and_then(|mut file| writeln!(file, "{text}"))
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|e| cannot("write", path, e))
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("cannot {verb} {}", path.display()),
    )
    .source(error)
    .remedy("look at the disk and the owner of the state directory")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN);
        assert_eq!(read(&path).unwrap(), None);
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::new("abc");
        assert!(token.is("abc"));
        for other in ["", "ab", "abcd", "ABC", "abc "] {
            assert!(!token.is(other), "{other:?}");
        }
        assert!(!format!("{token:?}").contains("abc"));
    }
}
