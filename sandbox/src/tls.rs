//! The authority that a sandbox makes for itself, and the server certificate it signs.
//!
//! Both are made at every start. With a data folder the authority's key is kept there: an
//! authority with the same name and key verifies what the other one signed, so a client
//! need not be told of a restart.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use crate::{Config, Error, clock};

const NAME: &str = "Syncline Sandbox Authority";

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Tls(error.to_string())
}

/// What takes TLS connections, and the authority's certificate; `None` without TLS.
pub(crate) fn acceptor(
    config: &Config,
    address: SocketAddr,
) -> Result<Option<(TlsAcceptor, String)>, Error> {
    let Some(tls) = &config.tls else {
        return Ok(None);
    };
    let kept = config.data.as_deref().map(|dir| dir.join("authority.key"));
    let authority = authority(kept.as_deref())?;
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        address.ip().to_string(),
    ];
    names.extend(tls.names.iter().cloned());
    names.sort();
    names.dedup();
    let key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(names).map_err(failed)?;
    server
        .distinguished_name
        .push(DnType::CommonName, "Syncline Sandbox");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.use_authority_key_identifier_extension = true;
    // Clients refuse certificates that are good for more than 825 days.
    let day = |days| {
        let date = clock::day(jiff::Timestamp::now().as_millisecond(), days);
        let of = |part: i8| u8::try_from(part).unwrap_or(1);
        date_time_ymd(date.year().into(), of(date.month()), of(date.day()))
    };
    server.not_before = day(-1);
    server.not_after = day(800);
    let certificate = server.signed_by(&key, &authority).map_err(failed)?;
    let pem = authority.pem();
    let default = config.data.as_deref().map(|dir| dir.join("authority.pem"));
    if let Some(path) = tls.authority.as_ref().or(default.as_ref()) {
        fs::write(path, &pem).map_err(|e| Error::data(path, e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut rustls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .map_err(failed)?;
    rustls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some((TlsAcceptor::from(Arc::new(rustls)), pem)))
}

fn authority(kept: Option<&Path>) -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let key = match kept {
        Some(path) if path.exists() => {
            let pem = fs::read_to_string(path).map_err(|e| Error::data(path, e))?;
            KeyPair::from_pem(&pem).map_err(failed)?
        }
        _ => KeyPair::generate().map_err(failed)?,
    };
    if let Some(path) = kept.filter(|path| !path.exists()) {
        keep(path, &key.serialize_pem()).map_err(|e| Error::data(path, e))?;
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The same at every start, as the name and the key are.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params.serial_number = Some(1u64.into());
    CertifiedIssuer::self_signed(params, key).map_err(failed)
}

/// Writes a key that only its owner may read.
fn keep(path: &Path, pem: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(pem.as_bytes())
}
