use std::collections::BTreeMap;

use base::Epoch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_rekor::entry::LogEntry;
use sigstore_types::{DerCertificate, DsseEnvelope, DsseSignature, PayloadBytes, SignatureBytes};

use super::{EvidenceError, Identity, RekorVersion, Signer, SignerError};
use crate::bundle::BundleError;
use crate::dsse::{DsseError, Envelope, Verified, pae};
use crate::intoto::{PAYLOAD_TYPE, Statement};
use crate::json::{self, JsonError};
use crate::trust::Trust;

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// Annotations longer than this are not read.
const MAX_LENGTH: usize = 4 << 20;

/// Payloads longer than this are not read out of envelopes with a certificate: 24 MiB, as long as one
/// in a bundle can be.
const MAX_LENGTH_OF_PAYLOAD: usize = 24 << 20;

/// Why what annotations say of a signature can't be made or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// No trusted key signed it, and there is no certificate.
    #[error("no trusted key signed it")]
    Unsigned,
    /// An annotation is not of its form.
    #[error("its annotation `{name}` is not as it has to be: {reason}")]
    Annotation {
        /// The annotation.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An annotation is missing.
    #[error("it has no annotation `{0}`")]
    Missing(&'static str),
    /// What the annotations say is not proven, or by a stranger.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The envelope can't be read, or no trusted key signed it.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// It can't be signed.
    #[error(transparent)]
    Sign(#[from] SignerError),
    /// The log makes no promises, which are all that the older form has room for.
    #[error(
        "signatures of the older form take a log of version 1, and none is named; name one, or sign \
         without --legacy"
    )]
    Promiseless,
}

impl From<EvidenceError> for LegacyError {
    fn from(error: EvidenceError) -> LegacyError {
        LegacyError::Bundle(error.into())
    }
}

impl From<JsonError> for LegacyError {
    fn from(error: JsonError) -> LegacyError {
        LegacyError::Sign(error.into())
    }
}

/// What lies beside a signature of cosign's older form: the certificate of who made it, and what
/// proves when.
#[derive(Clone, Copy, Debug)]
pub struct Annotations<'a>(pub &'a BTreeMap<String, String>);

/// A promise of a log (`dev.sigstore.cosign/bundle`).
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Promise {
    signed_entry_timestamp: String,
    payload: Promised,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promised {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Serialize, Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: String,
}

impl Annotations<'_> {
    /// Whether an identity is said to have signed.
    pub fn have_certificate(self) -> bool {
        self.0.contains_key(CERTIFICATE)
    }

    /// Who signed `payload`, where `trust` believes them.
    ///
    /// # Errors
    /// Nobody who is trusted did, or the evidence does not hold.
    pub fn verify_payload(
        self,
        payload: &[u8],
        signature: &[u8],
        trust: &Trust,
    ) -> Result<(Identity, Option<Epoch>), LegacyError> {
        let digest = base::Digest::of(payload);
        let content = json!({
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest.as_bytes())},
            "signature": STANDARD.encode(signature),
        });
        let bundle = self.bundle("messageSignature", content)?;
        let authorities = trust.authorities().ok_or(BundleError::Certificate)?;
        believed(authorities.prove_message(&bundle, payload)?, trust)
    }

    /// What an envelope says, where `trust` believes who signed it.
    ///
    /// # Errors
    /// Nobody who is trusted did, or the evidence does not hold.
    pub fn verify_envelope(
        self,
        envelope: &Envelope,
        trust: &Trust,
    ) -> Result<Verified, LegacyError> {
        let found = envelope.unverified().1.len();
        if found > MAX_LENGTH_OF_PAYLOAD {
            return Err(BundleError::Json(JsonError::TooLong {
                found,
                limit: MAX_LENGTH_OF_PAYLOAD,
            })
            .into());
        }
        let content: Value =
            serde_json::from_slice(&envelope.to_json()?).map_err(JsonError::from)?;
        let bundle = self.bundle("dsseEnvelope", content)?;
        let authorities = trust.authorities().ok_or(BundleError::Certificate)?;
        let (_, payload) = envelope.unverified();
        let proven = authorities.prove_read(&bundle, payload, None)?;
        let (identity, time) = believed(proven, trust)?;
        Ok(envelope.believed(identity, time))
    }

    /// The annotations as a bundle of the first version, which a promise is enough for.
    fn bundle(self, kind: &str, content: Value) -> Result<sigstore_types::Bundle, LegacyError> {
        let wrong = |name, reason: String| LegacyError::Annotation { name, reason };
        let certificates = |name| -> Result<Vec<Value>, LegacyError> {
            let text = self.0.get(name).map_or("", String::as_str);
            blocks(text)
                .map(|block| {
                    let der = DerCertificate::from_pem(block)
                        .map_err(|error| wrong(name, error.to_string()))?;
                    Ok(json!({"rawBytes": STANDARD.encode(der.as_bytes())}))
                })
                .collect()
        };
        let mut chain = certificates(CERTIFICATE)?;
        if chain.len() != 1 {
            return Err(LegacyError::Missing(CERTIFICATE));
        }
        chain.extend(certificates(CHAIN)?);
        let promise = self.0.get(BUNDLE).ok_or(LegacyError::Missing(BUNDLE))?;
        let promise: Promise = json::decode(promise.as_bytes(), MAX_LENGTH)
            .map_err(|error| wrong(BUNDLE, error.to_string()))?;
        let promised = promise.payload;
        let id = hex(&promised.log_id)
            .ok_or_else(|| wrong(BUNDLE, "its logID is not hexadecimal".to_owned()))?;
        let body = STANDARD
            .decode(&promised.body)
            .map_err(|_| wrong(BUNDLE, "its body is not base64".to_owned()))?;
        let body =
            json::value(&body, MAX_LENGTH).map_err(|error| wrong(BUNDLE, error.to_string()))?;
        let times = match self.0.get(TIMESTAMP) {
            None => Vec::new(),
            Some(text) => {
                let time: Timestamp = json::decode(text.as_bytes(), MAX_LENGTH)
                    .map_err(|error| wrong(TIMESTAMP, error.to_string()))?;
                vec![json!({"signedTimestamp": time.token})]
            }
        };
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": {"certificates": chain},
                "tlogEntries": [{
                    "logIndex": promised.log_index.to_string(),
                    "logId": {"keyId": STANDARD.encode(id)},
                    "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
                    "integratedTime": promised.integrated_time.to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": promise.signed_entry_timestamp},
                    "canonicalizedBody": promised.body,
                }],
                "timestampVerificationData": {"rfc3161Timestamps": times},
            },
        });
        bundle[kind] = content;
        let bundle = sigstore_types::Bundle::from_json(&bundle.to_string());
        Ok(bundle.map_err(|error| EvidenceError::Shape(Box::new(error)))?)
    }
}

fn believed(
    proven: super::authorities::Proven,
    trust: &Trust,
) -> Result<(Identity, Option<Epoch>), LegacyError> {
    let identity = proven.identity.ok_or(EvidenceError::Nameless("subject"))?;
    if !trust.believes_identities() {
        return Err(BundleError::Certificate.into());
    }
    match trust.believes(&identity) {
        true => Ok((identity, proven.time)),
        false => Err(BundleError::Stranger(identity).into()),
    }
}

/// The certificates of a PEM text, block by block.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = starts.clone().into_iter().skip(1).chain([text.len()]);
    starts
        .into_iter()
        .zip(ends)
        .filter_map(move |(start, end)| text.get(start..end))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |character: u8| char::from(character).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

impl Signer<'_> {
    /// Signs a payload of the older form; gives the signature and what lies beside it.
    ///
    /// # Errors
    /// The log makes no promises, or a service is not to be had or refuses.
    pub async fn sign_payload(
        &self,
        payload: &[u8],
    ) -> Result<(Vec<u8>, BTreeMap<String, String>), LegacyError> {
        self.hold_to_promises()?;
        let signature = self.sign_bytes(payload)?;
        let entry = self
            .entered(&self.message_entry(payload, &signature))
            .await?;
        let annotations = self.annotations(&signature, &entry).await?;
        Ok((signature.as_bytes().to_vec(), annotations))
    }

    /// Signs a statement as an envelope of the older form; gives it and what lies beside it.
    ///
    /// # Errors
    /// As of [`Signer::sign_payload`].
    pub async fn sign_envelope<P: Serialize>(
        &self,
        statement: &Statement<P>,
    ) -> Result<(Vec<u8>, BTreeMap<String, String>), LegacyError> {
        self.hold_to_promises()?;
        let payload = statement.to_json()?;
        let signature = self.sign_bytes(&pae(PAYLOAD_TYPE, &payload))?;
        let envelope = DsseEnvelope::new(
            PAYLOAD_TYPE.to_owned(),
            PayloadBytes::new(payload),
            DsseSignature::new(signature.clone(), Default::default()),
        );
        let entry = self.entered(&self.envelope_entry(&envelope)?).await?;
        let annotations = self.annotations(&signature, &entry).await?;
        let envelope = serde_json::to_vec(&envelope).map_err(JsonError::from)?;
        Ok((envelope, annotations))
    }

    fn hold_to_promises(&self) -> Result<(), LegacyError> {
        match self.services().rekor {
            Some((_, RekorVersion::V1)) => Ok(()),
            _ => Err(LegacyError::Promiseless),
        }
    }

    async fn annotations(
        &self,
        signature: &SignatureBytes,
        entry: &LogEntry,
    ) -> Result<BTreeMap<String, String>, LegacyError> {
        let promise = entry
            .verification
            .as_ref()
            .and_then(|verification| verification.signed_entry_timestamp.as_ref());
        let promise = promise.ok_or_else(|| self.odd_entry("no promise".to_owned()))?;
        let id = serde_json::to_value(&entry.log_id).map_err(JsonError::from)?;
        let promise = Promise {
            signed_entry_timestamp: STANDARD.encode(promise.as_bytes()),
            payload: Promised {
                body: entry.body.to_base64(),
                integrated_time: entry.integrated_time.map_or(0, |time| time.as_second()),
                log_index: entry.log_index.get(),
                log_id: id.as_str().unwrap_or_default().to_owned(),
            },
        };
        let text = |value: Result<String, serde_json::Error>| value.map_err(JsonError::from);
        let promise = text(serde_json::to_string(&promise))?;
        let mut annotations = BTreeMap::from([(BUNDLE.to_owned(), promise)]);
        if let Some((certificate, chain)) = self.certificates() {
            annotations.insert(CERTIFICATE.to_owned(), certificate);
            annotations.insert(CHAIN.to_owned(), chain);
        }
        if let Some(time) = self.time(signature).await? {
            let time = Timestamp {
                token: STANDARD.encode(time),
            };
            annotations.insert(TIMESTAMP.to_owned(), text(serde_json::to_string(&time))?);
        }
        Ok(annotations)
    }
}
