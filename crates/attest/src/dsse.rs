//! DSSE, the Dead Simple Signing Envelope (protocol v1.0.2): a payload, its type, and signatures
//! over both.

use std::collections::BTreeSet;

use base::{Digest, Epoch};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use key::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};
use crate::sigstore::Identity;

/// Envelopes longer than this are not read: 96 MiB.
const MAX_LENGTH: usize = 96 << 20;

/// More signatures than this are not checked.
const MAX_SIGNATURES: usize = 64;

/// A signed payload. The payload is bytes that nobody may trust before [`Envelope::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

/// One signature over [`pae`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A hint which key made it; nothing is decided by it. polpo writes the SHA-256 of the public
    /// key's SPKI in hex.
    pub key_id: String,
    /// RSA PKCS#1 v1.5 with SHA-256, or ECDSA with SHA-256 in DER.
    pub bytes: Vec<u8>,
}

/// Why an envelope can't be made, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum DsseError {
    /// The bytes are no envelope's JSON.
    #[error("this is no DSSE envelope: {0}")]
    Json(#[from] JsonError),
    /// A field is not base64.
    #[error("the envelope's `{field}` is not base64")]
    Base64 {
        /// `payload` or `sig`.
        field: &'static str,
    },
    /// No signature at all.
    #[error("the envelope bears no signature")]
    Unsigned,
    /// An unreasonable number of signatures.
    #[error("the envelope bears {found} signatures; at most {MAX_SIGNATURES} are checked")]
    TooManySignatures {
        /// How many there are.
        found: usize,
    },
    /// Fewer of the trusted keys have signed than are needed.
    #[error(
        "the envelope is not signed as trusted: {valid} of the {trusted} trusted keys signed it, \
         {needed} must; the keys that its signatures name: {named}"
    )]
    Untrusted {
        /// How many trusted keys have a valid signature.
        valid: usize,
        /// How many distinct keys are trusted.
        trusted: usize,
        /// How many are needed.
        needed: usize,
        /// The key ids in the envelope.
        named: String,
    },
    /// Signing failed.
    #[error("the payload can't be signed: {0}")]
    Sign(#[from] key::KeyError),
}

/// The bytes that are signed: the pre-authentication encoding of a payload and its type.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A payload whose signatures were checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    payload_type: String,
    payload: Vec<u8>,
    keys: BTreeSet<Digest>,
    identity: Option<Identity>,
    pub(crate) time: Option<Epoch>,
}

impl Verified {
    /// What the payload is.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The ids of the trusted keys that signed it.
    pub fn keys(&self) -> &BTreeSet<Digest> {
        &self.keys
    }

    /// The trusted identity that signed it, where it was no key.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// When it was signed at the latest, by the word of a log or a clock that is trusted.
    pub fn time(&self) -> Option<Epoch> {
        self.time
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Signs `payload` with each of `keys`.
    pub fn sign(
        payload_type: &str,
        payload: Vec<u8>,
        keys: &[&PrivateKey],
    ) -> Result<Envelope, DsseError> {
        let message = pae(payload_type, &payload);
        let mut signatures = Vec::new();
        for key in keys {
            signatures.push(Signature {
                key_id: key.public()?.id().hex(),
                bytes: key.sign(&message)?,
            });
        }
        if signatures.is_empty() {
            return Err(DsseError::Unsigned);
        }
        Ok(Envelope {
            payload_type: payload_type.to_owned(),
            payload,
            signatures,
        })
    }

    /// The same without key ids: Sigstore's programs pass over a signature whose id is none of theirs.
    #[must_use]
    pub(crate) fn without_key_ids(mut self) -> Envelope {
        for signature in &mut self.signatures {
            signature.key_id.clear();
        }
        self
    }

    /// Reads an envelope's JSON. Base64 may be of the standard or the URL alphabet; an object may
    /// not name a key twice.
    pub fn from_json(bytes: &[u8]) -> Result<Envelope, DsseError> {
        let wire: Wire = json::decode(bytes, MAX_LENGTH)?;
        if wire.signatures.len() > MAX_SIGNATURES {
            return Err(DsseError::TooManySignatures {
                found: wire.signatures.len(),
            });
        }
        let mut signatures = Vec::new();
        for signature in wire.signatures {
            signatures.push(Signature {
                key_id: signature.keyid,
                bytes: decode("sig", &signature.sig)?,
            });
        }
        Ok(Envelope {
            payload_type: wire.payload_type,
            payload: decode("payload", &wire.payload)?,
            signatures,
        })
    }

    /// Compact JSON: `payload`, `payloadType`, `signatures`.
    pub fn to_json(&self) -> Result<Vec<u8>, DsseError> {
        let wire = Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key_id.clone(),
                    sig: STANDARD.encode(&signature.bytes),
                })
                .collect(),
        };
        Ok(serde_json::to_vec(&wire).map_err(JsonError::from)?)
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The payload's type and the payload, unchecked: for whoever finds out otherwise whether it is
    /// true.
    pub fn unverified(&self) -> (&str, &[u8]) {
        (&self.payload_type, &self.payload)
    }

    /// The payload when at least one of `trusted` has signed it.
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<Verified, DsseError> {
        self.verify_threshold(trusted, 1)
    }

    /// The payload when at least `needed` different keys of `trusted` have signed it; several
    /// signatures by one key count once, and `needed` counts as one at least.
    pub fn verify_threshold(
        &self,
        trusted: &[PublicKey],
        needed: usize,
    ) -> Result<Verified, DsseError> {
        if self.signatures.is_empty() {
            return Err(DsseError::Unsigned);
        }
        let needed = needed.max(1);
        let message = pae(&self.payload_type, &self.payload);
        let mut keys = BTreeSet::new();
        for key in trusted {
            let signed = self
                .signatures
                .iter()
                .any(|signature| key.verify(key.scheme(), &message, &signature.bytes).is_ok());
            if signed {
                keys.insert(key.id());
            }
        }
        if keys.len() < needed {
            let distinct: BTreeSet<Digest> = trusted.iter().map(PublicKey::id).collect();
            let named: Vec<String> = self
                .signatures
                .iter()
                .map(|signature| signature.key_id.escape_debug().to_string())
                .collect();
            return Err(DsseError::Untrusted {
                valid: keys.len(),
                trusted: distinct.len(),
                needed,
                named: match named.is_empty() {
                    true => "none".to_owned(),
                    false => named.join(", "),
                },
            });
        }
        Ok(Verified {
            payload_type: self.payload_type.clone(),
            payload: self.payload.clone(),
            keys,
            identity: None,
            time: None,
        })
    }

    /// The payload, for an identity that was found to have signed it.
    pub(crate) fn believed(&self, identity: Identity, time: Option<Epoch>) -> Verified {
        Verified {
            payload_type: self.payload_type.clone(),
            payload: self.payload.clone(),
            keys: BTreeSet::new(),
            identity: Some(identity),
            time,
        }
    }
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, DsseError> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .map_err(|_| DsseError::Base64 { field })
}

#[cfg(test)]
mod tests {
    use key::Algorithm;

    use super::*;

    const TYPE: &str = "http://example.com/HelloWorld";

    #[test]
    fn the_encoding_is_the_specifications() {
        assert_eq!(
            pae(TYPE, b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    fn change(envelope: &Envelope, change: impl FnOnce(&mut serde_json::Value)) -> Envelope {
        let mut json = serde_json::from_slice(&envelope.to_json().unwrap()).unwrap();
        change(&mut json);
        Envelope::from_json(&serde_json::to_vec(&json).unwrap()).unwrap()
    }

    #[test]
    fn only_what_a_trusted_key_signed_verifies() {
        let elliptic = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let other = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let (first, second) = (elliptic.public().unwrap(), other.public().unwrap());
        let envelope = Envelope::sign(TYPE, b"payload".to_vec(), &[&elliptic]).unwrap();
        let envelope = Envelope::from_json(&envelope.to_json().unwrap()).unwrap();

        let verified = envelope.verify(&[second.clone(), first.clone()]).unwrap();
        assert_eq!(verified.payload(), b"payload");
        assert_eq!(verified.payload_type(), TYPE);
        assert_eq!(verified.keys(), &BTreeSet::from([first.id()]));

        let error = envelope
            .verify(std::slice::from_ref(&second))
            .err()
            .unwrap();
        assert!(error.to_string().contains(&first.id().hex()), "{error}");
        assert!(envelope.verify(&[]).is_err());
        // Two signatures or two mentions of one key are one signer.
        let twice = Envelope::sign(TYPE, b"payload".to_vec(), &[&elliptic, &elliptic]).unwrap();
        let error = twice
            .verify_threshold(&[first.clone(), first.clone(), second.clone()], 2)
            .err()
            .unwrap();
        assert!(matches!(
            error,
            DsseError::Untrusted {
                valid: 1,
                trusted: 2,
                needed: 2,
                ..
            }
        ));
        let both = Envelope::sign(TYPE, b"payload".to_vec(), &[&elliptic, &other]).unwrap();
        assert!(both.verify_threshold(&[first.clone(), second], 2).is_ok());

        let trusted = [first];
        let tampered = [
            change(&envelope, |json| {
                json["payload"] = STANDARD.encode("Payload").into()
            }),
            change(&envelope, |json| json["payloadType"] = "other".into()),
            change(&envelope, |json| {
                json["signatures"][0]["sig"] = "AAAA".into()
            }),
            change(&envelope, |json| json["signatures"][0]["sig"] = "".into()),
            change(&envelope, |json| json["signatures"] = serde_json::json!([])),
        ];
        for envelope in tampered {
            assert!(envelope.verify(&trusted).is_err());
        }
        // The key id is a hint only.
        let renamed = change(&envelope, |json| {
            json["signatures"][0]["keyid"] = "x".into()
        });
        assert!(renamed.verify(&trusted).is_ok());
    }

    #[test]
    fn envelopes_from_strangers() {
        let doubled = br#"{"payload":"","payload":"AA==","payloadType":"t","signatures":[]}"#;
        let error = Envelope::from_json(doubled).err().unwrap();
        assert!(error.to_string().contains("stands twice"), "{error}");
        let odd = br#"{"payload":"?","payloadType":"t","signatures":[]}"#;
        assert!(matches!(
            Envelope::from_json(odd).err(),
            Some(DsseError::Base64 { field: "payload" })
        ));
        let many = serde_json::json!({
            "payload": "", "payloadType": "t",
            "signatures": vec![serde_json::json!({"sig": "AA=="}); MAX_SIGNATURES + 1],
        });
        assert!(matches!(
            Envelope::from_json(&serde_json::to_vec(&many).unwrap()).err(),
            Some(DsseError::TooManySignatures { .. })
        ));
        assert!(Envelope::sign(TYPE, Vec::new(), &[]).is_err());
    }
}
