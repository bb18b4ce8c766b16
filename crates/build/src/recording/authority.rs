//! Certificates for the servers that steps think they talk to.
//!
//! Each run has an authority of its own, which only its sandbox trusts. Its key never leaves this
//! process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use sha1::{Digest as _, Sha1};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A step that names more servers than this is after something else than sources.
const MOST_SERVERS: usize = 4096;

/// The name of the authority.
const NAME: &str = "polpo's recording of the network";

/// A certificate can't be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate's own library refuses.
    #[error("can't make a certificate for `{name}`: {source}")]
    Certificate {
        /// The authority, or the server.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// TLS refuses what was made.
    #[error("can't use the certificate of `{name}`: {source}")]
    Tls {
        /// The server.
        name: String,
        /// Why not.
        source: rustls::Error,
    },
    /// Too many of them.
    #[error("steps talked to {MOST_SERVERS} servers; no more are answered")]
    TooMany,
}

/// The authority of one run.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// Of all servers: nobody gains by their having different ones.
    key: KeyPair,
    servers: Mutex<BTreeMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    pub(super) fn new() -> Result<Authority, AuthorityError> {
        let failed = |source| AuthorityError::Certificate {
            name: NAME.to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = parameters(NAME, Vec::new()).map_err(failed)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        Ok(Authority {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(parameters, key),
            key: KeyPair::generate().map_err(failed)?,
            servers: Mutex::default(),
        })
    }

    /// The certificate, for those who read PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate in a trust store of Java's own kind, JKS, with [`STORE_PASSWORD`]
    /// (`sun.security.provider.JavaKeyStore`).
    pub(super) fn java_trust_store(&self) -> Vec<u8> {
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend(u16::try_from(text.len()).unwrap_or_default().to_be_bytes());
            bytes.extend(text.as_bytes());
        };
        let mut store = Vec::new();
        store.extend(0xfeed_feed_u32.to_be_bytes());
        store.extend(2_u32.to_be_bytes()); // version
        store.extend(1_u32.to_be_bytes()); // entries
        store.extend(2_u32.to_be_bytes()); // a certificate that is trusted
        text(&mut store, "polpo");
        store.extend(0_u64.to_be_bytes()); // made at
        text(&mut store, "X.509");
        let length = u32::try_from(self.certificate.len()).unwrap_or_default();
        store.extend(length.to_be_bytes());
        store.extend(self.certificate.as_ref());
        let mut hash = Sha1::new();
        for unit in STORE_PASSWORD.encode_utf16() {
            hash.update(unit.to_be_bytes());
        }
        hash.update("Mighty Aphrodite");
        hash.update(&store);
        store.extend(hash.finalize());
        store
    }

    /// What is said to be `server`, a host name or an address.
    pub(super) fn server(&self, server: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get(server) {
            return Ok(Arc::clone(known));
        }
        if servers.len() >= MOST_SERVERS {
            return Err(AuthorityError::TooMany);
        }
        let failed = |source| AuthorityError::Certificate {
            name: server.to_owned(),
            source,
        };
        let mut parameters = parameters(server, vec![server.to_owned()]).map_err(failed)?;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters
            .signed_by(&self.key, &self.issuer)
            .map_err(failed)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| AuthorityError::Tls {
                name: server.to_owned(),
                source,
            })?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Arc::new(tls);
        servers.insert(server.to_owned(), Arc::clone(&tls));
        Ok(tls)
    }
}

/// The password of [`Authority::java_trust_store`]: what Java's own trust store has.
pub(super) const STORE_PASSWORD: &str = "changeit";

fn parameters(name: &str, alternatives: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    // Valid from 1975 to 4096: no clock is asked, and a step may have any.
    let mut parameters = CertificateParams::new(alternatives)?;
    let mut subject = DistinguishedName::new();
    // RFC 5280, A.1: ub-common-name.
    let short: String = name.chars().take(64).collect();
    subject.push(DnType::CommonName, short);
    parameters.distinguished_name = subject;
    Ok(parameters)
}
