//! in-toto statements (in-toto attestation framework, Statement v1).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dsse::{self, Envelope};
use crate::json;
pub use crate::json::JsonError;
use crate::slsa::SUMMARY_TYPE;

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The version before, of the same fields: cosign's `attest` still writes it.
const OLDER_TYPE: &str = "https://in-toto.io/Statement/v0.1";

/// The payload type of a DSSE envelope that holds a statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The predicate type of an SPDX document.
pub const SPDX_PREDICATE: &str = "https://spdx.dev/Document";

/// The short names that cosign has for types of predicates.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("spdxjson", SPDX_PREDICATE),
    ("spdx", SPDX_PREDICATE),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("vsa", SUMMARY_TYPE),
    ("openvex", "https://openvex.dev/ns"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("apko", "https://apko.dev/image-configuration"),
];

/// A text names no type of predicates.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no type of statements that is known ({}); any other is written as a URI", SHORT_NAMES.map(|(name, _)| name).join(", "))]
pub struct UnknownType {
    /// The text.
    pub text: String,
}

/// The type that a short name of cosign's or a URI names.
///
/// # Errors
/// It is neither.
pub fn predicate_type(text: &str) -> Result<&str, UnknownType> {
    let mut known = SHORT_NAMES.iter();
    match known.find(|(name, _)| *name == text) {
        Some((_, uri)) => Ok(uri),
        None if text.contains(':') => Ok(text),
        None => Err(UnknownType {
            text: text.to_owned(),
        }),
    }
}

/// Statements longer than this are not read: 64 MiB, ten times a large image's SPDX document.
const MAX_LENGTH: usize = 64 << 20;

/// What a statement speaks of: a name and its digests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// A file's name, an image's reference, or nothing. It is written in any case: sigstore-python
    /// takes no statement without.
    #[serde(default)]
    pub name: String,
    /// Hex digests by algorithm, such as `sha256`.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject known by its SHA-256.
    pub fn new(name: impl Into<String>, digest: base::Digest) -> Subject {
        Subject {
            name: name.into(),
            digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]),
        }
    }
}

/// A statement: `predicate` holds of every `subject`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement<P> {
    /// [`STATEMENT_TYPE`], or that of version 0.1.
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it speaks of.
    pub subject: Vec<Subject>,
    /// What kind of predicate follows: a URI.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is stated.
    pub predicate: P,
}

/// Why a statement is not to be had from bytes or an envelope.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The bytes are not a statement's JSON.
    #[error("this is no in-toto statement: {0}")]
    Json(#[from] JsonError),
    /// Another version or another thing.
    #[error("the statement's _type is `{found}`, not `{STATEMENT_TYPE}`")]
    Kind {
        /// The type found.
        found: String,
    },
    /// The envelope holds something else.
    #[error("the envelope holds `{found}`, not `{PAYLOAD_TYPE}`")]
    Payload {
        /// The payload type found.
        found: String,
    },
    /// The statement is about something else than was asked for.
    #[error("the statement's predicateType is `{found}`, not `{wanted}`")]
    Predicate {
        /// The predicate type found.
        found: String,
        /// The predicate type wanted.
        wanted: String,
    },
    /// The subject asked for is not among the statement's.
    #[error("the statement does not speak of {wanted}; it speaks of {found}")]
    Subject {
        /// The digest wanted.
        wanted: base::Digest,
        /// The digests it speaks of, or `nothing`.
        found: String,
    },
}

impl<P> Statement<P> {
    /// States `predicate` of `subject`.
    pub fn new(subject: Vec<Subject>, predicate_type: impl Into<String>, predicate: P) -> Self {
        Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: predicate_type.into(),
            predicate,
        }
    }

    /// Whether it is of `predicate_type` and speaks of `digest`, or why not.
    pub fn expect(
        &self,
        predicate_type: &str,
        digest: &base::Digest,
    ) -> Result<(), StatementError> {
        if self.predicate_type != predicate_type {
            return Err(StatementError::Predicate {
                found: self.predicate_type.clone(),
                wanted: predicate_type.to_owned(),
            });
        }
        let digests: Vec<&String> = self
            .subject
            .iter()
            .filter_map(|subject| subject.digest.get("sha256"))
            .collect();
        if digests.iter().any(|hex| **hex == digest.hex()) {
            return Ok(());
        }
        let found: Vec<String> = digests.iter().map(|hex| format!("sha256:{hex}")).collect();
        Err(StatementError::Subject {
            wanted: *digest,
            found: if found.is_empty() {
                "nothing".to_owned()
            } else {
                found.join(", ")
            },
        })
    }
}

impl<P: Serialize> Statement<P> {
    /// Compact JSON: fields in the order of the specification.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Signs it with each of `keys` in a DSSE envelope.
    pub fn sign(&self, keys: &[&key::PrivateKey]) -> Result<Envelope, dsse::DsseError> {
        let payload = serde_json::to_vec(self).map_err(JsonError::from)?;
        Envelope::sign(PAYLOAD_TYPE, payload, keys)
    }
}

impl<P: DeserializeOwned> Statement<P> {
    /// Reads a statement, of version 1 or 0.1. It may not name a key twice.
    pub fn from_json(bytes: &[u8]) -> Result<Statement<P>, StatementError> {
        let statement: Statement<P> = json::decode(bytes, MAX_LENGTH)?;
        if statement.kind != STATEMENT_TYPE && statement.kind != OLDER_TYPE {
            return Err(StatementError::Kind {
                found: statement.kind,
            });
        }
        Ok(statement)
    }

    /// Reads the statement out of a verified envelope.
    pub fn from_verified(verified: &dsse::Verified) -> Result<Statement<P>, StatementError> {
        if verified.payload_type() != PAYLOAD_TYPE {
            return Err(StatementError::Payload {
                found: verified.payload_type().to_owned(),
            });
        }
        Statement::from_json(verified.payload())
    }
}

#[cfg(test)]
mod tests {
    use base::Digest;
    use key::{Algorithm, PrivateKey};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn statements_travel_in_envelopes() {
        let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
        let subject = vec![Subject::new("image", Digest::of(b"manifest"))];
        let statement = Statement::new(subject, SPDX_PREDICATE, json!({"spdxVersion": "SPDX-2.3"}));
        let envelope = statement.sign(&[&key]).unwrap();
        let envelope = Envelope::from_json(&envelope.to_json().unwrap()).unwrap();
        let verified = envelope.verify(&[key.public().unwrap()]).unwrap();
        let read = Statement::<Value>::from_verified(&verified).unwrap();
        assert_eq!(read, statement);
        read.expect(SPDX_PREDICATE, &Digest::of(b"manifest"))
            .unwrap();

        // What is signed as something else is no statement, however it reads.
        let other = Envelope::sign("text/plain", statement.to_json().unwrap(), &[&key]).unwrap();
        let verified = other.verify(&[key.public().unwrap()]).unwrap();
        let error = Statement::<Value>::from_verified(&verified).unwrap_err();
        assert!(matches!(error, StatementError::Payload { .. }));
    }

    #[test]
    fn other_versions_and_doubled_keys_are_refused() {
        let of_type = |kind: &str| {
            let statement = json!({
                "_type": kind, "subject": [], "predicateType": "x", "predicate": {},
            });
            Statement::<Value>::from_json(statement.to_string().as_bytes())
        };
        of_type(OLDER_TYPE).unwrap();
        let error = of_type("https://in-toto.io/Statement/v0.2").unwrap_err();
        assert!(error.to_string().contains("Statement/v0.2"), "{error}");
        let doubled = format!(
            r#"{{"_type":"{STATEMENT_TYPE}","subject":[],"subject":[],"predicateType":"x","predicate":1}}"#
        );
        assert!(matches!(
            Statement::<Value>::from_json(doubled.as_bytes()),
            Err(StatementError::Json(_))
        ));
        let unsubjected = Statement::new(Vec::new(), "x", 1);
        let error = unsubjected.expect("x", &Digest::of(b"")).unwrap_err();
        assert!(
            error.to_string().ends_with("it speaks of nothing"),
            "{error}"
        );
    }
}
