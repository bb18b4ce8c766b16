use base::Epoch;
use key::PublicKey;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{
    Artifact, Bundle, DerCertificate, DerPublicKey, Sha256Hash, SignatureBytes, SignatureContent,
    TimestampToken,
};
use sigstore_verify::crypto::parse_certificate_info;
use sigstore_verify::tsa::{TsaAuthority, verify_timestamp_for_authority};
use sigstore_verify::{
    CertificateError, PublicKeyVerificationPolicy, TimestampError, VerificationPolicy, Verifier,
};

use super::Identity;
use super::logs::{EntryError, Logs, settle_hashed};
use crate::dsse::pae;
use crate::json::{self, JsonError};

/// Trusted roots longer than this are not read: the public one has 7 KiB.
const MAX_LENGTH: usize = 4 << 20;

/// The media types of trusted roots.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// A trusted root can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The bytes are no trusted root's JSON.
    #[error("this is no trusted root of Sigstore: {0}")]
    Json(#[from] JsonError),
    /// Another version, or another thing.
    #[error(
        "this is no trusted root of Sigstore that is known: its media type is `{found}`, not `{}`",
        MEDIA_TYPES[0]
    )]
    MediaType {
        /// The type found.
        found: String,
    },
    /// One of its keys or certificates is of no use.
    #[error("the trusted root can't be used: {0}")]
    Unusable(#[source] Box<sigstore_verify::Error>),
}

/// Why the evidence in a bundle does not hold.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// It is not of a form that is known.
    #[error("the bundle can't be read: {0}")]
    Shape(#[source] Box<sigstore_types::Error>),
    /// Certificate, log, clock or signature don't fit together, or are not the trusted ones'.
    #[error("the bundle does not hold against the trusted root: {0}")]
    False(#[source] Box<sigstore_verify::Error>),
    /// What logs are said to have entered does not count.
    #[error("the bundle does not hold against the trusted root: {0}")]
    Entry(#[from] EntryError),
    /// The certificate names nobody, or nobody who vouches.
    #[error("the certificate names no {0}")]
    Nameless(&'static str),
    /// The payload that was verified is not the one that would be used.
    #[error("the bundle reads in two ways")]
    Ambiguous,
}

/// What a bundle's evidence proves.
pub(crate) struct Proven {
    /// Who signed; nobody in particular where it was a key.
    pub(crate) identity: Option<Identity>,
    /// The earliest of the times that a log or a clock has signed.
    pub(crate) time: Option<Epoch>,
}

/// Who issues certificates, keeps logs and tells the time: a trusted root, ready to verify.
pub struct Authorities {
    verifier: Verifier,
    logs: Logs,
    clocks: Vec<TsaAuthority>,
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorities")
    }
}

impl Authorities {
    /// Reads a trusted root's JSON.
    ///
    /// # Errors
    /// It is too long, names a key twice in an object, has another media type, or has keys or
    /// certificates in it that are of no use.
    pub fn from_json(bytes: &[u8]) -> Result<Authorities, AuthoritiesError> {
        let value = json::value(bytes, MAX_LENGTH)?;
        let found = value["mediaType"].as_str().unwrap_or_default();
        if !MEDIA_TYPES.contains(&found) {
            return Err(AuthoritiesError::MediaType {
                found: found.to_owned(),
            });
        }
        let root: TrustedRoot =
            serde_json::from_value(value).map_err(|error| AuthoritiesError::Json(error.into()))?;
        let unusable = |error| AuthoritiesError::Unusable(Box::new(error));
        Ok(Authorities {
            verifier: Verifier::new(&root).map_err(unusable)?,
            logs: Logs::new(&root).map_err(|error| unusable(error.into()))?,
            clocks: root.tsa_authorities(),
        })
    }

    /// Believes only what that many different logs have entered, of keys' signatures too.
    #[must_use]
    pub fn demanding_logs(mut self, count: usize) -> Authorities {
        self.logs.needed = count;
        self
    }

    /// Holds a key's signature that no log entered to how many logs have to have.
    pub(crate) fn hold_unlogged(&self) -> Result<(), EvidenceError> {
        Ok(self.logs.hold_count(0)?)
    }

    /// Checks a bundle whose JSON names no key twice, and that its payload is `payload`: the
    /// certificate's chain, its log, its time; the entries of logs, the signatures of clocks, and the
    /// signature itself. `key` is who signed where that is no certificate.
    pub(crate) fn prove(
        &self,
        bundle: &[u8],
        payload: &[u8],
        key: Option<&PublicKey>,
    ) -> Result<Proven, EvidenceError> {
        self.prove_read(read(bundle)?, payload, key)
    }

    /// The same for a bundle that was read.
    pub(super) fn prove_read(
        &self,
        mut bundle: Bundle,
        payload: &[u8],
        key: Option<&PublicKey>,
    ) -> Result<Proven, EvidenceError> {
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err(EvidenceError::Ambiguous);
        };
        if envelope.payload.as_bytes() != payload {
            return Err(EvidenceError::Ambiguous);
        }
        self.logs.hold(&mut bundle)?;
        if let Some(key) = key
            && let SignatureContent::DsseEnvelope(envelope) = &bundle.content
        {
            let message = pae(&envelope.payload_type, payload);
            let signature = envelope.signature.sig.as_bytes().to_vec();
            settle_hashed(&mut bundle, &message, &signature, key)?;
        }
        self.check(&bundle, Artifact::from(subject_of(payload)), key)
    }

    /// Checks a bundle of a bare signature over `message`, of a certificate or a key.
    pub(super) fn prove_message(
        &self,
        mut bundle: Bundle,
        message: &[u8],
        key: Option<&PublicKey>,
    ) -> Result<Proven, EvidenceError> {
        self.logs.hold(&mut bundle)?;
        if let Some(key) = key
            && let SignatureContent::MessageSignature(content) = &bundle.content
        {
            let signature = content.signature.as_bytes().to_vec();
            settle_hashed(&mut bundle, message, &signature, key)?;
        }
        self.check(&bundle, Artifact::from(message), key)
    }

    /// When a clock has signed these bytes, in a time that the certificate of who signed is good for.
    pub(super) fn prove_time(
        &self,
        token: Vec<u8>,
        signed: &[u8],
        certificate: Option<&DerCertificate>,
    ) -> Result<Epoch, EvidenceError> {
        let wrong = |error| EvidenceError::False(Box::new(error));
        let (token, signed) = (
            TimestampToken::new(token),
            SignatureBytes::new(signed.to_vec()),
        );
        let mut reason = "the trusted root names no clock".to_owned();
        for clock in &self.clocks {
            let time = match verify_timestamp_for_authority(&token, &signed, clock) {
                Ok(time) => time,
                Err(error) => {
                    reason = error.to_string();
                    continue;
                }
            };
            if let Some(certificate) = certificate {
                let certificate =
                    parse_certificate_info(certificate).map_err(|error| wrong(error.into()))?;
                let (not_before, not_after) = (certificate.not_before, certificate.not_after);
                if time < not_before {
                    return Err(wrong(
                        CertificateError::NotYetValid { time, not_before }.into(),
                    ));
                }
                if time > not_after {
                    return Err(wrong(CertificateError::Expired { time, not_after }.into()));
                }
            }
            let seconds = u64::try_from(time.as_second()).ok();
            return seconds.map(Epoch).ok_or(EvidenceError::Ambiguous);
        }
        Err(wrong(TimestampError::Invalid(reason).into()))
    }

    /// The rest. The signature itself was verified where `key` made it.
    fn check(
        &self,
        bundle: &Bundle,
        artifact: Artifact<'_>,
        key: Option<&PublicKey>,
    ) -> Result<Proven, EvidenceError> {
        let wrong = |error| EvidenceError::False(Box::new(error));
        let material = &bundle.verification_material;
        let times = &material.timestamp_verification_data.rfc3161_timestamps;
        let is_logged = !material.tlog_entries.is_empty();
        let result = match key {
            None => {
                let policy = VerificationPolicy::any_identity();
                self.verifier.verify(artifact, bundle, &policy)
            }
            // Nothing is left to prove.
            Some(_) if !is_logged && times.is_empty() => {
                return Ok(Proven {
                    identity: None,
                    time: None,
                });
            }
            Some(key) => {
                let spki = DerPublicKey::new(key.spki().to_vec());
                let policy = PublicKeyVerificationPolicy::new(spki);
                let policy = match is_logged {
                    true => policy,
                    false => policy.skip_tlog_unsafe(),
                };
                self.verifier.verify(artifact, bundle, &policy)
            }
        };
        let result = result.map_err(wrong)?;
        let identity = match key {
            Some(_) => None,
            None => Some(Identity {
                subject: result
                    .identity()
                    .ok_or(EvidenceError::Nameless("subject"))?
                    .as_str()
                    .to_owned(),
                issuer: result
                    .issuer()
                    .ok_or(EvidenceError::Nameless("issuer"))?
                    .to_owned(),
            }),
        };
        let earliest = result.verified_timestamps().iter().min();
        let time = earliest.and_then(|time| u64::try_from(time.as_second()).ok());
        Ok(Proven {
            identity,
            time: time.map(Epoch),
        })
    }
}

fn read(bundle: &[u8]) -> Result<Bundle, EvidenceError> {
    let text = std::str::from_utf8(bundle).map_err(|_| EvidenceError::Ambiguous)?;
    Bundle::from_json(text).map_err(|error| EvidenceError::Shape(Box::new(error)))
}

/// The first SHA-256 among the subjects of a statement. Whether it is the one that is asked for is
/// decided where the statement is read; here it only has to be one.
fn subject_of(payload: &[u8]) -> Sha256Hash {
    let statement = serde_json::from_slice::<sigstore_types::Statement>(payload);
    let subjects = statement.map(|statement| statement.subject);
    subjects
        .unwrap_or_default()
        .iter()
        .find_map(|subject| subject.digest.sha256)
        .unwrap_or(Sha256Hash::new([0; 32]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::Bundle as Signed;
    use crate::sigstore::Signers;
    use crate::trust::Trust;

    const ROOT: &[u8] = include_bytes!("../../testdata/sigstore/trusted_root.json");
    const BUNDLES: [&[u8]; 2] = [
        include_bytes!("../../testdata/sigstore/bundle_1.json"),
        include_bytes!("../../testdata/sigstore/bundle_2.json"),
    ];

    /// Made by a deployment of the tests' own, with a log of version 1 and one of version 2.
    #[test]
    fn bundles_verify_long_after_their_certificates() {
        let trust = Trust::default().and(
            Authorities::from_json(ROOT).unwrap(),
            vec![Signers::anybody()],
        );
        let subjects = BUNDLES.map(|bundle| {
            let bundle = Signed::from_json(bundle).unwrap();
            let verified = bundle.verify(&trust).unwrap();
            assert!(verified.keys().is_empty());
            assert!(verified.time() > Some(Epoch(1_700_000_000)));
            verified.identity().unwrap().subject.clone()
        });
        insta::assert_debug_snapshot!(subjects, @r#"
        [
            "https://example.com/team/hello/.github/workflows/release.yaml@refs/heads/main",
            "signer@example.com",
        ]
        "#);
        // What was read comes out again, byte for byte.
        let bundle = Signed::from_json(BUNDLES[0]).unwrap();
        assert_eq!(bundle.to_json().unwrap(), BUNDLES[0]);
        let nobody = Trust::default().and(Authorities::from_json(ROOT).unwrap(), Vec::new());
        let error = bundle.verify(&nobody).err().unwrap();
        assert!(
            error.to_string().contains("whose certificates count"),
            "{error}"
        );
    }

    #[test]
    fn trusted_roots() {
        for public in [
            sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT,
            sigstore_trust_root::SIGSTORE_STAGING_TRUSTED_ROOT,
            sigstore_trust_root::SIGSTORE_GITHUB_TRUSTED_ROOT,
        ] {
            Authorities::from_json(public.as_bytes()).unwrap();
        }
        let good: Value = serde_json::from_slice(ROOT).unwrap();
        type Change<'a> = &'a dyn Fn(&mut Value);
        let refused: [(Change<'_>, &str); 5] = [
            (
                &|root| root["mediaType"] = "x".into(),
                "its media type is `x`",
            ),
            (
                &|root| root["tlogs"] = json!({}),
                "no trusted root of Sigstore",
            ),
            (
                &|root| root["tlogs"][1] = root["tlogs"][0].clone(),
                "duplicate trusted log ID",
            ),
            (
                &|root| root["certificateAuthorities"][0]["certChain"]["certificates"] = json!([]),
                "empty certificate chain",
            ),
            (
                &|root| {
                    let chain = &mut root["certificateAuthorities"][0]["certChain"];
                    chain["certificates"][0]["rawBytes"] = "AAAA".into();
                },
                "invalid trusted certificate",
            ),
        ];
        for (change, reason) in refused {
            let mut root = good.clone();
            change(&mut root);
            let error = Authorities::from_json(root.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains(reason), "{reason}: {error}");
        }
        let doubled =
            String::from_utf8_lossy(ROOT).replacen("\"tlogs\"", "\"tlogs\":[],\"tlogs\"", 1);
        let error = Authorities::from_json(doubled.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("`tlogs` stands twice"),
            "{error}"
        );
    }
}
