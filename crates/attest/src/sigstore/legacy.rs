use std::collections::{BTreeMap, BTreeSet};

use base::Epoch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_rekor::entry::LogEntry;
use sigstore_types::{DerCertificate, DsseEnvelope, DsseSignature, PayloadBytes};

use key::{PublicKey, Scheme};

use super::signer::odd_entry;
use super::{Authorities, EvidenceError, Identity, Log, RekorVersion, Signer, SignerError};
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
    /// There are more services than the older form has room for.
    #[error(
        "signatures of the older form have room for one {kind}, and {found} are wanted; name one, or \
         sign without --legacy"
    )]
    Crowded {
        /// `log` or `clock`.
        kind: &'static str,
        /// How many there are.
        found: usize,
    },
    /// What the older form enters in the log is a digest, which Ed25519 proper does not sign.
    #[error(
        "a log takes no Ed25519 signature of the older form, which enters a digest; make a key with \
         `polpo key generate --type ecdsa-p256`, or sign without --legacy or without a log"
    )]
    Ed25519,
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

/// Who signed a payload, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// The ids of the trusted keys that did.
    pub keys: BTreeSet<base::Digest>,
    /// The trusted identity that did, where it was no key.
    pub identity: Option<Identity>,
    /// When at the latest, by the word of a trusted log or clock.
    pub time: Option<Epoch>,
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
    fn have_certificate(self) -> bool {
        self.0.contains_key(CERTIFICATE)
    }

    /// Whether a log or a clock is said to confirm it.
    fn have_evidence(self) -> bool {
        self.0.contains_key(BUNDLE) || self.0.contains_key(TIMESTAMP)
    }

    /// Who signed `payload`, where `trust` believes them: the keys, or the identity, and when.
    ///
    /// # Errors
    /// Nobody who is trusted did, or the evidence does not hold.
    pub fn verify_payload(
        self,
        payload: &[u8],
        signature: &[u8],
        trust: &Trust,
    ) -> Result<SignedBy, LegacyError> {
        let digest = base::Digest::of(payload);
        let content = json!({
            "messageDigest": {"algorithm": "SHA2_256", "digest": STANDARD.encode(digest.as_bytes())},
            "signature": STANDARD.encode(signature),
        });
        if self.have_certificate() {
            let bundle = self.bundle("messageSignature", content)?;
            let authorities = trust.authorities().ok_or(BundleError::Certificate)?;
            let proven = authorities.prove_message(bundle, payload, None)?;
            let (identity, time) = believed(proven, trust)?;
            return Ok(SignedBy {
                keys: BTreeSet::new(),
                identity: Some(identity),
                time,
            });
        }
        let keys = trust.keys().iter();
        let signed = |key: &&PublicKey| key.verify(key.scheme(), payload, signature).is_ok();
        let keys: Vec<&PublicKey> = keys.filter(signed).collect();
        let Some(key) = keys.first() else {
            return Err(LegacyError::Unsigned);
        };
        let time = match trust.authorities() {
            None => None,
            Some(authorities) if !self.have_evidence() => {
                authorities.hold_unlogged()?;
                None
            }
            Some(authorities) => {
                let bundle = self.bundle("messageSignature", content)?;
                authorities.prove_message(bundle, payload, Some(key))?.time
            }
        };
        Ok(SignedBy {
            keys: keys.into_iter().map(PublicKey::id).collect(),
            identity: None,
            time,
        })
    }

    /// What an envelope says, which `json` is, where `trust` believes who signed it.
    ///
    /// # Errors
    /// It is no envelope, nobody who is trusted signed it, or the evidence does not hold.
    pub fn verify_envelope(self, json: &[u8], trust: &Trust) -> Result<Verified, LegacyError> {
        let envelope = Envelope::from_json(json)?;
        let (_, payload) = envelope.unverified();
        let is_evident = self.have_certificate() || self.have_evidence();
        if is_evident && payload.len() > MAX_LENGTH_OF_PAYLOAD {
            return Err(BundleError::Json(JsonError::TooLong {
                found: payload.len(),
                limit: MAX_LENGTH_OF_PAYLOAD,
            })
            .into());
        }
        // Clocks sign the envelope as it lies there, which is what cosign verifies and no bundle has, or, as
        // cosign 3 has it made, the signature in it.
        let promised: BTreeMap<String, String> = self
            .0
            .iter()
            .filter(|(name, _)| *name != TIMESTAMP)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let promised = Annotations(&promised);
        let bundle = || -> Result<_, LegacyError> {
            let content = serde_json::from_slice(&envelope.to_json()?).map_err(JsonError::from)?;
            promised.bundle("dsseEnvelope", content)
        };
        let timed = |authorities: &Authorities, before: Option<Epoch>| -> Result<_, LegacyError> {
            let Some(token) = self.token()? else {
                return Ok(before);
            };
            let certificate = self.certificates(CERTIFICATE)?;
            let signed =
                |bytes: &[u8]| authorities.prove_time(token.clone(), bytes, certificate.first());
            let time = match (signed(json), envelope.signatures()) {
                (Err(error), [signature]) => signed(&signature.bytes).map_err(|_| error),
                (time, _) => time,
            }?;
            Ok(Some(before.map_or(time, |before| before.min(time))))
        };
        if self.have_certificate() {
            let authorities = trust.authorities().ok_or(BundleError::Certificate)?;
            let proven = authorities.prove_read(bundle()?, payload, None)?;
            let (identity, time) = believed(proven, trust)?;
            return Ok(envelope.believed(identity, timed(authorities, time)?));
        }
        let mut verified = envelope.verify(trust.keys())?;
        let signed = |key: &&PublicKey| verified.keys().contains(&key.id());
        match (trust.authorities(), trust.keys().iter().find(signed)) {
            (Some(authorities), Some(key)) if promised.have_evidence() => {
                let proven = authorities.prove_read(bundle()?, payload, Some(key))?;
                verified.time = timed(authorities, proven.time)?;
            }
            (Some(authorities), _) => {
                authorities.hold_unlogged()?;
                verified.time = timed(authorities, None)?;
            }
            (None, _) => {}
        }
        Ok(verified)
    }

    /// The certificates in an annotation.
    fn certificates(self, name: &'static str) -> Result<Vec<DerCertificate>, LegacyError> {
        let text = self.0.get(name).map_or("", String::as_str);
        blocks(text)
            .map(|block| {
                DerCertificate::from_pem(block).map_err(|error| wrong(name, error.to_string()))
            })
            .collect()
    }

    /// What a clock says.
    fn token(self) -> Result<Option<Vec<u8>>, LegacyError> {
        let Some(text) = self.0.get(TIMESTAMP) else {
            return Ok(None);
        };
        let time: Timestamp = json::decode(text.as_bytes(), MAX_LENGTH)
            .map_err(|error| wrong(TIMESTAMP, error.to_string()))?;
        let token = STANDARD.decode(time.token);
        let token = token.map_err(|_| wrong(TIMESTAMP, "it is not base64".to_owned()))?;
        Ok(Some(token))
    }

    /// The annotations as a bundle of the first version, which a promise is enough for.
    fn bundle(self, kind: &str, content: Value) -> Result<sigstore_types::Bundle, LegacyError> {
        let certificates = |name| -> Result<Vec<Value>, LegacyError> {
            let certificates = self.certificates(name)?;
            let value = |certificate: &DerCertificate| json!({"rawBytes": STANDARD.encode(certificate.as_bytes())});
            Ok(certificates.iter().map(value).collect())
        };
        let mut material = if self.have_certificate() {
            let mut chain = certificates(CERTIFICATE)?;
            if chain.len() != 1 {
                return Err(LegacyError::Missing(CERTIFICATE));
            }
            chain.extend(certificates(CHAIN)?);
            json!({"x509CertificateChain": {"certificates": chain}})
        } else {
            json!({"publicKey": {"hint": ""}})
        };
        let entries = match self.0.get(BUNDLE) {
            None if self.have_certificate() => return Err(LegacyError::Missing(BUNDLE)),
            None => Vec::new(),
            Some(promise) => vec![entry(promise)?],
        };
        let times: Vec<Value> = self
            .token()?
            .iter()
            .map(|token| json!({"signedTimestamp": STANDARD.encode(token)}))
            .collect();
        material["tlogEntries"] = entries.into();
        material["timestampVerificationData"] = json!({"rfc3161Timestamps": times});
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": material,
        });
        bundle[kind] = content;
        let bundle = sigstore_types::Bundle::from_json(&bundle.to_string());
        Ok(bundle.map_err(|error| EvidenceError::Shape(Box::new(error)))?)
    }
}

fn wrong(name: &'static str, reason: String) -> LegacyError {
    LegacyError::Annotation { name, reason }
}

/// A promise as an entry of a bundle.
fn entry(promise: &str) -> Result<Value, LegacyError> {
    let promise: Promise = json::decode(promise.as_bytes(), MAX_LENGTH)
        .map_err(|error| wrong(BUNDLE, error.to_string()))?;
    let promised = promise.payload;
    let id = hex(&promised.log_id)
        .ok_or_else(|| wrong(BUNDLE, "its logID is not hexadecimal".to_owned()))?;
    let body = STANDARD
        .decode(&promised.body)
        .map_err(|_| wrong(BUNDLE, "its body is not base64".to_owned()))?;
    let body = json::value(&body, MAX_LENGTH).map_err(|error| wrong(BUNDLE, error.to_string()))?;
    Ok(json!({
        "logIndex": promised.log_index.to_string(),
        "logId": {"keyId": STANDARD.encode(id)},
        "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
        "integratedTime": promised.integrated_time.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": promise.signed_entry_timestamp},
        "canonicalizedBody": promised.body,
    }))
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
    /// Signs a payload of the older form; gives the signature and what lies beside it. `trust` is who
    /// will have to believe it, if that is known: what does not verify is not given out.
    ///
    /// # Errors
    /// The log makes no promises, or a service is not to be had or refuses, or the result does not
    /// verify.
    pub async fn sign_payload(
        &self,
        payload: &[u8],
        trust: Option<&Trust>,
    ) -> Result<(Vec<u8>, BTreeMap<String, String>), LegacyError> {
        let log = self.promising_log()?;
        if self.scheme() == Scheme::Ed25519 {
            return Err(LegacyError::Ed25519);
        }
        let signature = self.sign_bytes(payload)?;
        let entry = self
            .entered(log, &self.message_entry(payload, &signature))
            .await?;
        let annotations = self.annotations(signature.as_bytes(), log, &entry).await?;
        if let Some(trust) = trust {
            Annotations(&annotations).verify_payload(payload, signature.as_bytes(), trust)?;
        }
        Ok((signature.as_bytes().to_vec(), annotations))
    }

    /// Signs a statement as an envelope of the older form; gives it and what lies beside it.
    ///
    /// # Errors
    /// As of [`Signer::sign_payload`].
    pub async fn sign_envelope<P: Serialize>(
        &self,
        statement: &Statement<P>,
        trust: Option<&Trust>,
    ) -> Result<(Vec<u8>, BTreeMap<String, String>), LegacyError> {
        let log = self.promising_log()?;
        let payload = statement.to_json()?;
        let signature = self.sign_bytes(&pae(PAYLOAD_TYPE, &payload))?;
        let envelope = DsseEnvelope::new(
            PAYLOAD_TYPE.to_owned(),
            PayloadBytes::new(payload),
            DsseSignature::new(signature.clone(), Default::default()),
        );
        let entry = self.entered(log, &self.envelope_entry(&envelope)?).await?;
        let envelope = serde_json::to_vec(&envelope).map_err(JsonError::from)?;
        let annotations = self.annotations(&envelope, log, &entry).await?;
        if let Some(trust) = trust {
            Annotations(&annotations).verify_envelope(&envelope, trust)?;
        }
        Ok((envelope, annotations))
    }

    /// The one log there is, if it makes promises, and if there are no more clocks than have room.
    fn promising_log(&self) -> Result<&Log, LegacyError> {
        let clocks = self.services().clocks.len();
        if clocks > 1 {
            return Err(LegacyError::Crowded {
                kind: "clock",
                found: clocks,
            });
        }
        match self.services().logs.as_slice() {
            [log] if log.version == RekorVersion::V1 => Ok(log),
            [] | [_] => Err(LegacyError::Promiseless),
            logs => Err(LegacyError::Crowded {
                kind: "log",
                found: logs.len(),
            }),
        }
    }

    /// What lies beside a signature; clocks sign the bytes `timed`.
    async fn annotations(
        &self,
        timed: &[u8],
        log: &Log,
        entry: &LogEntry,
    ) -> Result<BTreeMap<String, String>, LegacyError> {
        let promise = entry
            .verification
            .as_ref()
            .and_then(|verification| verification.signed_entry_timestamp.as_ref());
        let promise = promise.ok_or_else(|| odd_entry(log, "no promise".to_owned()))?;
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
        if let Some(clock) = self.services().clocks.first() {
            let time = Timestamp {
                token: STANDARD.encode(self.time(clock, timed).await?),
            };
            annotations.insert(TIMESTAMP.to_owned(), text(serde_json::to_string(&time))?);
        }
        Ok(annotations)
    }
}
