//! Sigstore bundles (`dev.sigstore.bundle.v1`, version 0.3 in JSON): an envelope with what it takes
//! to verify it.
//!
//! Bundles of a key name it by a hint; who verifies has the key. Those of an identity carry its
//! certificate, and what proves when it signed. Older versions are read.

use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::{PrivateKey, PublicKey, Scheme};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse::{DsseError, Envelope, Verified};
use crate::intoto::Statement;
use crate::json::{self, JsonError};
use crate::sigstore::{EvidenceError, Identity};
use crate::trust::Trust;

/// The media type of bundles that are written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Versions that are read besides.
const OLDER: [&str; 3] = [
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
];

/// Bundles longer than this are not read: 128 MiB, as large as an envelope's base64 becomes.
const MAX_LENGTH: usize = 128 << 20;

/// Bundles of a certificate longer than this are not read: 32 MiB, for three copies of them are made.
const MAX_PROVEN_LENGTH: usize = 32 << 20;

/// A signed statement, and by whom it is said to be signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    envelope: Envelope,
    signer: Signer,
    /// The whole bundle's JSON where logs, clocks or a certificate are to prove something.
    evidence: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Signer {
    /// A key that is called that.
    Key(String),
    /// A certificate in the evidence.
    Certificate,
}

/// Why a bundle can't be made, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The bytes are no bundle's JSON.
    #[error("this is no Sigstore bundle: {0}")]
    Json(#[from] JsonError),
    /// Another version, or another thing.
    #[error("the bundle's media type is `{found}`, not `{MEDIA_TYPE}`")]
    MediaType {
        /// The type found.
        found: String,
    },
    /// The bundle is signed by an identity, and none is believed.
    #[error(
        "the bundle is signed with a certificate, not with a key: it takes a trusted root, and \
         whose certificates count, to verify it"
    )]
    Certificate,
    /// The bundle is signed by somebody else.
    #[error("the bundle is signed by {0}, which is not among the identities that are trusted")]
    Stranger(Identity),
    /// What is to prove it does not.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The bundle says nothing about who signed it, or holds a bare signature.
    #[error("the bundle has no {0}")]
    Missing(&'static str),
    /// More than one.
    #[error("the bundle names more than one signer")]
    Signers,
    /// More or fewer signatures than one.
    #[error("the bundle's envelope bears {found} signatures, not one")]
    Signatures {
        /// How many there are.
        found: usize,
    },
    /// Sigstore knows no such signatures.
    #[error(
        "bundles are signed with ECDSA on P-256, Ed25519 or RSA; make such a key with `polpo key \
         generate --type ecdsa-p256`"
    )]
    Scheme,
    /// The envelope can't be made, read or trusted.
    #[error(transparent)]
    Envelope(#[from] DsseError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: String,
    verification_material: Material,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Value>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(default, skip_serializing)]
    certificate: Option<Value>,
    #[serde(default, skip_serializing)]
    x509_certificate_chain: Option<Value>,
    #[serde(default, skip_serializing)]
    tlog_entries: Option<Vec<Value>>,
    #[serde(default, skip_serializing)]
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<Value>,
}

impl Material {
    /// Whether a log or a clock is to prove something.
    fn proves(&self) -> bool {
        let logged = self.tlog_entries.as_ref();
        let timed = self.timestamp_verification_data.as_ref();
        logged.is_some_and(|entries| !entries.is_empty())
            || timed.is_some_and(|times| !times.rfc3161_timestamps.is_empty())
    }
}

#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hint: String,
}

/// What cosign calls a key by: its SHA-256 in base64.
pub(crate) fn hint(key: &PublicKey) -> String {
    let id: Digest = key.id();
    STANDARD.encode(id.as_bytes())
}

impl Bundle {
    /// Signs a statement.
    ///
    /// # Errors
    /// [`BundleError::Scheme`] for keys whose signatures Sigstore does not know; the key can't sign.
    pub fn sign<P: Serialize>(
        statement: &Statement<P>,
        key: &PrivateKey,
    ) -> Result<Bundle, BundleError> {
        let public = key.public().map_err(DsseError::from)?;
        match public.scheme() {
            Scheme::RsaSha256 | Scheme::EcdsaSha256 | Scheme::Ed25519 => {}
            _ => return Err(BundleError::Scheme),
        }
        Ok(Bundle {
            envelope: statement.sign(&[key])?.without_key_ids(),
            signer: Signer::Key(hint(&public)),
            evidence: None,
        })
    }

    /// Reads a bundle's JSON; nothing in it is trusted before [`Bundle::verify`].
    ///
    /// # Errors
    /// It is too long, names a key twice in an object, has another media type, names no signer or
    /// two, or holds no envelope with one signature.
    pub fn from_json(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let wire: Wire = json::decode(bytes, MAX_LENGTH)?;
        if wire.media_type != MEDIA_TYPE && !OLDER.contains(&wire.media_type.as_str()) {
            return Err(BundleError::MediaType {
                found: wire.media_type,
            });
        }
        let material = wire.verification_material;
        let certified = usize::from(material.certificate.is_some())
            + usize::from(material.x509_certificate_chain.is_some());
        let proves = material.proves() || certified > 0;
        if proves && bytes.len() > MAX_PROVEN_LENGTH {
            return Err(BundleError::Json(JsonError::TooLong {
                found: bytes.len(),
                limit: MAX_PROVEN_LENGTH,
            }));
        }
        let signer = match (material.public_key, certified) {
            (Some(hint), 0) => Signer::Key(hint.hint),
            (None, 1) => Signer::Certificate,
            (None, 0) => return Err(BundleError::Missing("public key and no certificate")),
            _ => return Err(BundleError::Signers),
        };
        let envelope = wire
            .dsse_envelope
            .ok_or(BundleError::Missing("DSSE envelope"))?;
        let envelope = serde_json::to_vec(&envelope).map_err(JsonError::from)?;
        let envelope = Envelope::from_json(&envelope)?;
        match envelope.signatures().len() {
            1 => Ok(Bundle {
                envelope,
                signer,
                evidence: proves.then(|| bytes.to_vec()),
            }),
            found => Err(BundleError::Signatures { found }),
        }
    }

    /// Compact JSON, fields in the order of Sigstore's own programs.
    ///
    /// # Errors
    /// None that can happen: the bundle is text.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let hint = match (&self.evidence, &self.signer) {
            (Some(json), _) => return Ok(json.clone()),
            (None, Signer::Key(hint)) => hint.clone(),
            (None, Signer::Certificate) => return Err(BundleError::Missing("certificate")),
        };
        let envelope =
            serde_json::from_slice(&self.envelope.to_json()?).map_err(JsonError::from)?;
        let wire = Wire {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: Some(Hint { hint }),
                ..Material::default()
            },
            dsse_envelope: Some(envelope),
        };
        Ok(serde_json::to_vec(&wire).map_err(JsonError::from)?)
    }

    /// Which key is said to have signed it, where it was one.
    pub(crate) fn hint(&self) -> Option<&str> {
        match &self.signer {
            Signer::Key(hint) => Some(hint),
            Signer::Certificate => None,
        }
    }

    /// The envelope, unchecked.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The payload when somebody whom `trust` believes has signed it. A hint decides nothing. Where
    /// there are authorities, whatever logs and clocks there are in the bundle have to be theirs; the
    /// signature of a key does without either.
    ///
    /// # Errors
    /// Nobody who is trusted signed it, or something in it does not hold.
    pub fn verify(&self, trust: &Trust) -> Result<Verified, BundleError> {
        let payload = self.envelope.unverified().1;
        match (&self.signer, &self.evidence, trust.authorities()) {
            (Signer::Key(_), Some(evidence), Some(authorities)) => {
                let mut verified = self.envelope.verify(trust.keys())?;
                let signed = |key: &&PublicKey| verified.keys().contains(&key.id());
                if let Some(key) = trust.keys().iter().find(signed) {
                    verified.time = authorities.prove(evidence, payload, Some(key))?.time;
                }
                Ok(verified)
            }
            (Signer::Key(_), ..) => {
                if let Some(authorities) = trust.authorities() {
                    authorities.hold_unlogged()?;
                }
                Ok(self.envelope.verify(trust.keys())?)
            }
            (Signer::Certificate, Some(evidence), Some(authorities))
                if trust.believes_identities() =>
            {
                let proven = authorities.prove(evidence, payload, None)?;
                let identity = proven.identity.ok_or(EvidenceError::Nameless("subject"))?;
                if !trust.believes(&identity) {
                    return Err(BundleError::Stranger(identity));
                }
                Ok(self.envelope.believed(identity, proven.time))
            }
            (Signer::Certificate, ..) => Err(BundleError::Certificate),
        }
    }
}

#[cfg(test)]
mod tests;
