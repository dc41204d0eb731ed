//! TLS as libpq means it: how far the server's certificate is checked depends on `sslmode`, and
//! SCRAM can be bound to the certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_cert::der::Decode;

use super::conninfo::{RootCert, SslMode, Tls};
use crate::fault::{Error, ErrorKind, Result};

/// The client's side of TLS for these settings.
///
/// # Errors
/// [`ErrorKind::Usage`] when a certificate file cannot be read.
pub(super) fn client(tls: &Tls) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = roots(tls)?;
    let check = match tls.mode {
        SslMode::VerifyFull => Check::Name,
        SslMode::VerifyCa => Check::Chain,
        // libpq: a root certificate that is there is used, even if only `require` was asked for.
        SslMode::Require if !roots.is_empty() => Check::Chain,
        _ => Check::Nothing,
    };
    let mut store = RootCertStore::empty();
    let (_, unusable) = store.add_parsable_certificates(roots.iter().cloned());
    if check != Check::Nothing && store.is_empty() {
        return Err(usage(format!(
            "no usable root certificate was found ({unusable} could not be read)"
        ))
        .remedy("set sslrootcert to a PEM file with the certificate authority"));
    }
    let verifier = Verifier {
        check,
        store,
        roots,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| usage("TLS cannot be set up").source(e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert, "sslcert")?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| {
                usage(format!("sslkey {} cannot be read", key.display()))
                    .remedy("it must be a PEM file with a private key without passphrase")
                    .source(e)
            })?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| usage("sslcert and sslkey do not go together").source(e))?
        }
    };
    // Required for direct TLS, harmless otherwise.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Arc::new(config))
}

fn usage(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |e: Option<rustls::pki_types::pem::Error>| {
        let error = usage(format!("{key} {} holds no certificate", path.display()))
            .remedy("it must be a PEM file that this user can read");
        match e {
            Some(e) => error.source(e),
            None => error,
        }
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| bad(Some(e)))?
        .collect::<Result<_, _>>()
        .map_err(|e| bad(Some(e)))?;
    if certificates.is_empty() {
        return Err(bad(None));
    }
    Ok(certificates)
}

fn roots(tls: &Tls) -> Result<Vec<CertificateDer<'static>>> {
    match &tls.root {
        RootCert::File(path) | RootCert::Default(Some(path)) => certificates(path, "sslrootcert"),
        RootCert::Default(None) if tls.mode < SslMode::VerifyFull => Ok(Vec::new()),
        RootCert::System | RootCert::Default(None) => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!("a system certificate was skipped: {error}");
            }
            Ok(found.certs)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    Nothing,
    Chain,
    Name,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    store: RootCertStore,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // A self-signed server certificate that is itself the root, as many servers have: webpki
        // refuses it for being an authority, although nothing could be trusted more directly.
        if self
            .roots
            .iter()
            .any(|root| root.as_ref() == end_entity.as_ref())
        {
            within_validity(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.store,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if self.check == Check::Name {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn within_validity(certificate: &[u8], now: UnixTime) -> Result<(), rustls::Error> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet,
        ));
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(rustls::Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// The `tls-server-end-point` binding: a hash of the server's certificate, by the hash of its own
/// signature, where that is MD5 or SHA-1 by SHA-256. `None` for signatures without an agreed hash
/// (Ed25519, RSA-PSS).
///
/// <https://www.rfc-editor.org/rfc/rfc5929#section-4.1>
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(match parsed.signature_algorithm.oid.to_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Sha224::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

/// What a failed handshake means, and what to do.
pub(super) fn refusal(error: std::io::Error, place: &str) -> Error {
    let beneath = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    let (what, remedy) = match beneath {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    "was issued for another host",
                    "connect by a name that the certificate lists as subject alternative name, or use sslmode=verify-ca",
                )
            }
            CertificateError::UnknownIssuer => (
                "is not signed by a trusted authority",
                "set sslrootcert to the PEM file of the authority that signed it",
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "has expired",
                "renew the server's certificate and reload the server",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("is not valid yet", "check the clocks of both machines")
            }
            _ => (
                "is not acceptable",
                "it must be an X.509 version 3 certificate with a subject alternative name, issued by the authority in sslrootcert",
            ),
        },
        Some(rustls::Error::AlertReceived(alert)) => {
            return Error::new(
                ErrorKind::SourceRefused,
                format!("the server {place} broke off the TLS handshake ({alert:?})"),
            )
            .remedy("if it asks for a client certificate, set sslcert and sslkey")
            .source(error);
        }
        // Not TLS's fault: the connection broke.
        None => {
            return Error::new(
                ErrorKind::SourceUnreachable,
                format!("the connection to {place} broke in the TLS handshake"),
            )
            .source(error);
        }
        Some(_) => {
            return Error::new(
                ErrorKind::SourceRefused,
                format!("no TLS session could be agreed on with {place}"),
            )
            .remedy(
                "the server must offer TLS 1.2 or newer (ssl_min_protocol_version, ssl_ciphers)",
            )
            .source(error);
        }
    };
    Error::new(
        ErrorKind::SourceRefused,
        format!("the TLS certificate of {place} {what}"),
    )
    .remedy(remedy)
    .source(error)
}
