//! Sigstore bundles (`dev.sigstore.bundle.v1`, version 0.3 in JSON): an envelope with what it takes
//! to verify it.
//!
//! Bundles of a key name it by a hint; who verifies has the key. Older versions are read.

use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::{PrivateKey, PublicKey, Scheme};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse::{DsseError, Envelope, Verified};
use crate::intoto::Statement;
use crate::json::{self, JsonError};

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

/// A signed statement, and which key is said to have signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    envelope: Envelope,
    hint: String,
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
    /// The bundle was made for a certificate.
    #[error("the bundle is signed with a certificate, not with a key; a key can't verify it")]
    Certificate,
    /// The bundle says nothing about who signed it, or holds a bare signature.
    #[error("the bundle has no {0}")]
    Missing(&'static str),
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
}

#[derive(Serialize, Deserialize)]
struct Hint {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hint: String,
}

/// What cosign calls a key by: its SHA-256 in base64.
fn hint(key: &PublicKey) -> String {
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
            hint: hint(&public),
        })
    }

    /// Reads a bundle's JSON; nothing in it is trusted before [`Bundle::verify`].
    ///
    /// # Errors
    /// It is too long, names a key twice in an object, has another media type, was made with a
    /// certificate, or holds no envelope with one signature.
    pub fn from_json(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let wire: Wire = json::decode(bytes, MAX_LENGTH)?;
        if wire.media_type != MEDIA_TYPE && !OLDER.contains(&wire.media_type.as_str()) {
            return Err(BundleError::MediaType {
                found: wire.media_type,
            });
        }
        let material = wire.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(BundleError::Certificate);
        }
        let hint = material
            .public_key
            .ok_or(BundleError::Missing("public key"))?;
        let envelope = wire
            .dsse_envelope
            .ok_or(BundleError::Missing("DSSE envelope"))?;
        let envelope = serde_json::to_vec(&envelope).map_err(JsonError::from)?;
        let envelope = Envelope::from_json(&envelope)?;
        match envelope.signatures().len() {
            1 => Ok(Bundle {
                envelope,
                hint: hint.hint,
            }),
            found => Err(BundleError::Signatures { found }),
        }
    }

    /// Compact JSON, fields in the order of Sigstore's own programs.
    ///
    /// # Errors
    /// None that can happen: the bundle is text.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        let envelope =
            serde_json::from_slice(&self.envelope.to_json()?).map_err(JsonError::from)?;
        let wire = Wire {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: Some(Hint {
                    hint: self.hint.clone(),
                }),
                ..Material::default()
            },
            dsse_envelope: Some(envelope),
        };
        Ok(serde_json::to_vec(&wire).map_err(JsonError::from)?)
    }

    /// The envelope, unchecked.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The payload when one of `trusted` has signed it. The hint decides nothing.
    ///
    /// # Errors
    /// [`DsseError::Untrusted`].
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<Verified, BundleError> {
        Ok(self.envelope.verify(trusted)?)
    }
}

#[cfg(test)]
mod tests;
