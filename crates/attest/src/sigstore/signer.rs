use base::Reporter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use key::{Algorithm, KeyError, PrivateKey, PublicKey, Scheme};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_rekor::entry::LogEntry;
use sigstore_types::bundle::{
    CertificateContent, PublicKeyIdentifier, Rfc3161Timestamp, TimestampVerificationData,
    VerificationMaterial, VerificationMaterialContent,
};
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, KindVersion, MediaType, PayloadBytes,
    SignatureBytes, SignatureContent, TimestampToken, TransparencyLogEntry,
};
use store::{Exchange, Method, Network, Payload, Refusal};
use url::Url;
use zeroize::Zeroizing;

use super::hashed::{self, UnloggableError};
use super::{IdentityToken, Log, RekorVersion, Services, ServicesError};
use crate::bundle::{Bundle, BundleError, hint};
use crate::dsse::pae;
use crate::intoto::{JsonError, PAYLOAD_TYPE, Statement};
use crate::trust::Trust;

/// The most that a service may answer: an entry of a log has the statement in it twice at the most.
const ANSWER_LIMIT: u64 = 64 << 20;

/// A statement can't be signed by an identity.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The key of the moment can't be made or used.
    #[error("the signature can't be made: {0}")]
    Key(#[from] KeyError),
    /// The statement can't be written.
    #[error("the statement can't be written: {0}")]
    Json(#[from] JsonError),
    /// A service has no such place.
    #[error("{service} is at no URL that can be asked: {url}")]
    Place {
        /// Which one.
        service: &'static str,
        /// Its URL.
        url: Url,
    },
    /// A service did not answer.
    #[error("{service} at {url} was not to be had: {source}")]
    Asking {
        /// Which one.
        service: &'static str,
        /// Its URL.
        url: Url,
        /// Why not.
        source: Refusal,
    },
    /// A service refused.
    #[error("{service} at {url} refused with {status}: {said}{advice}")]
    Refused {
        /// Which one.
        service: &'static str,
        /// Its URL.
        url: Url,
        /// The status.
        status: u16,
        /// What it said, without control characters.
        said: String,
        /// What to do.
        advice: &'static str,
    },
    /// A log takes no such keys.
    #[error(transparent)]
    Unloggable(#[from] UnloggableError),
    /// The services can't be used.
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// A service answered something else than it has to.
    #[error("{service} at {url} answered what can't be used: {reason}")]
    Answer {
        /// Which one.
        service: &'static str,
        /// Its URL.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// What they answered can't be put together.
    #[error("the services' answers make no bundle: {0}")]
    Unwritten(#[source] Box<sigstore_types::Error>),
    /// What was signed does not verify.
    #[error("the services' answers do not hold against the trusted root: {0}")]
    False(#[source] Box<BundleError>),
}

impl SignerError {
    /// The same where a server repeats a secret.
    fn without(mut self, secret: &str) -> SignerError {
        if let SignerError::Refused { said, .. } = &mut self {
            // It may be cut short there.
            let repeats = secret
                .get(..40)
                .is_some_and(|beginning| said.contains(beginning));
            if repeats {
                *said = "(it repeats the token, which is not shown)".to_owned();
            }
        }
        self
    }
}

const FULCIO: &str = "the certificate authority (Fulcio)";
const REKOR: &str = "the log (Rekor)";
const CLOCK: &str = "the clock (RFC 3161)";

/// Who signs with the services of a deployment: an identity, or a key whose signatures a log and a
/// clock confirm.
pub struct Signer<'a> {
    services: &'a Services,
    network: &'a Network,
    reporter: &'a dyn Reporter,
    who: Who<'a>,
}

enum Who<'a> {
    /// A key of the moment and the certificate for it, which is good for some minutes.
    Identity {
        key: PrivateKey,
        certificate: DerCertificate,
        chain: Vec<DerCertificate>,
    },
    Key(&'a PrivateKey, PublicKey),
}

impl std::fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRequest<'a> {
    credentials: Credentials<'a>,
    public_key_request: PublicKeyRequest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials<'a> {
    oidc_identity_token: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyRequest {
    public_key: RequestedKey,
    proof_of_possession: String,
}

#[derive(Serialize)]
struct RequestedKey {
    algorithm: &'static str,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certified {
    signed_certificate_embedded_sct: Option<Chained>,
}

#[derive(Deserialize)]
struct Chained {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// A question to a service.
struct Question {
    service: &'static str,
    url: Url,
    kind: &'static str,
    body: Zeroizing<Vec<u8>>,
    advice: &'static str,
}

impl<'a> Signer<'a> {
    /// Makes a key and has it certified for who holds the token.
    ///
    /// # Errors
    /// The certificate authority is not to be had, or refuses.
    pub async fn certified(
        services: &'a Services,
        token: &IdentityToken,
        network: &'a Network,
        reporter: &'a dyn Reporter,
    ) -> Result<Signer<'a>, SignerError> {
        services.hold_to_certificates()?;
        let Some(fulcio) = &services.fulcio else {
            let kind = "certificate authority";
            return Err(ServicesError::Missing { kind }.into());
        };
        let key = PrivateKey::generate(Algorithm::EcdsaP256)?;
        let request = CertificateRequest {
            credentials: Credentials {
                oidc_identity_token: token.text(),
            },
            public_key_request: PublicKeyRequest {
                public_key: RequestedKey {
                    algorithm: "ECDSA",
                    content: key.public()?.to_pem(),
                },
                proof_of_possession: STANDARD.encode(key.sign(token.challenge().as_bytes())?),
            },
        };
        // With room for all of it: growing would leave copies of the token behind.
        let mut body = Zeroizing::new(Vec::with_capacity(token.text().len() + 2048));
        serde_json::to_writer(&mut *body, &request).map_err(JsonError::from)?;
        let url = below(FULCIO, fulcio, &["api", "v2", "signingCert"])?;
        let question = Question {
            service: FULCIO,
            url: url.clone(),
            kind: "application/json",
            body,
            advice: ". The token may be too old, or its issuer unknown there",
        };
        let answer = ask(network, reporter, question)
            .await
            .map_err(|error| error.without(token.text()))?;
        let wrong = |reason: String| SignerError::Answer {
            service: FULCIO,
            url: url.to_string(),
            reason,
        };
        let certified: Certified =
            serde_json::from_slice(&answer).map_err(|error| wrong(error.to_string()))?;
        let chain = certified.signed_certificate_embedded_sct.ok_or_else(|| {
            wrong("a certificate without the promise of a log in it (SCT)".to_owned())
        })?;
        let mut chain = chain
            .chain
            .certificates
            .iter()
            .map(|pem| DerCertificate::from_pem(pem).map_err(|error| wrong(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(wrong("no certificate".to_owned()));
        }
        let certificate = chain.remove(0);
        Ok(Signer {
            services,
            network,
            reporter,
            who: Who::Identity {
                key,
                certificate,
                chain,
            },
        })
    }

    /// Signs with a key; the logs and the clocks that there are confirm it.
    ///
    /// # Errors
    /// The key can't be used, or one of the logs takes no such keys.
    pub fn of_key(
        services: &'a Services,
        key: &'a PrivateKey,
        network: &'a Network,
        reporter: &'a dyn Reporter,
    ) -> Result<Signer<'a>, SignerError> {
        let public = key.public()?;
        if services.has_tiles() {
            hashed::key_details(&public)?;
        }
        Ok(Signer {
            services,
            network,
            reporter,
            who: Who::Key(key, public),
        })
    }

    /// Signs a statement, enters it in each log and has each clock sign it. `trust` is who will have to
    /// believe it, if that is known: what does not verify is not given out.
    ///
    /// # Errors
    /// A service is not to be had or refuses, or the result does not verify.
    pub async fn sign<P: Serialize>(
        &self,
        statement: &Statement<P>,
        trust: Option<&Trust>,
    ) -> Result<Bundle, SignerError> {
        let payload = statement.to_json()?;
        let message = pae(PAYLOAD_TYPE, &payload);
        let signature = self.sign_bytes(&message)?;
        let envelope = DsseEnvelope::new(
            PAYLOAD_TYPE.to_owned(),
            PayloadBytes::new(payload),
            DsseSignature::new(signature.clone(), Default::default()),
        );
        let mut entries = Vec::new();
        for log in &self.services.logs {
            entries.push(match log.version {
                RekorVersion::V1 => {
                    let entry = self.entered(log, &self.envelope_entry(&envelope)?).await?;
                    let entry = entry.to_bundle_entry(KindVersion::DsseV001);
                    entry.map_err(|error| odd(REKOR, &log.url, error.to_string()))?
                }
                RekorVersion::V2 => self.logged(log, &message, &signature).await?,
            });
        }
        let content = match &self.who {
            Who::Identity { certificate, .. } => VerificationMaterialContent::Certificate(
                CertificateContent::new(certificate.clone()),
            ),
            Who::Key(_, public) => {
                VerificationMaterialContent::PublicKey(PublicKeyIdentifier::new(hint(public)))
            }
        };
        let mut times = Vec::new();
        for clock in &self.services.clocks {
            let time = self.time(clock, signature.as_bytes()).await?;
            times.push(Rfc3161Timestamp::new(TimestampToken::new(time)));
        }
        let mut material = VerificationMaterial::new(content).with_tlog_entries(entries);
        if !times.is_empty() {
            let times = TimestampVerificationData::new(times);
            material = material.with_timestamp_verification_data(times);
        }
        let bundle = sigstore_types::Bundle::new(
            MediaType::Bundle0_3,
            material,
            SignatureContent::DsseEnvelope(envelope),
        );
        let json = bundle
            .to_json()
            .map_err(|error| SignerError::Unwritten(Box::new(error)))?;
        let wrong = |error| SignerError::False(Box::new(error));
        let bundle = Bundle::from_json(json.as_bytes()).map_err(wrong)?;
        if let Some(trust) = trust {
            bundle.verify(trust).map_err(wrong)?;
        }
        Ok(bundle)
    }

    pub(super) fn sign_bytes(&self, message: &[u8]) -> Result<SignatureBytes, SignerError> {
        let key = match &self.who {
            Who::Identity { key, .. } => key,
            Who::Key(key, _) => key,
        };
        Ok(SignatureBytes::new(key.sign(message)?))
    }

    /// What the log of version 1 is to enter of an envelope.
    pub(super) fn envelope_entry(&self, envelope: &DsseEnvelope) -> Result<Value, JsonError> {
        Ok(json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "proposedContent": {
                    "envelope": serde_json::to_string(envelope)?,
                    "verifiers": [STANDARD.encode(self.verifier())],
                },
            },
        }))
    }

    /// What the log of version 1 is to enter of a bare signature.
    pub(super) fn message_entry(&self, message: &[u8], signature: &SignatureBytes) -> Value {
        json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {
                    "hash": {"algorithm": "sha256", "value": base::Digest::of(message).hex()},
                },
                "signature": {
                    "content": STANDARD.encode(signature.as_bytes()),
                    "publicKey": {"content": STANDARD.encode(self.verifier())},
                },
            },
        })
    }

    /// The certificate or the public key, in PEM.
    fn verifier(&self) -> String {
        match &self.who {
            Who::Identity { certificate, .. } => pem(certificate),
            Who::Key(_, public) => public.to_pem(),
        }
    }

    /// The certificate and those that it was issued by, in PEM; none of a key.
    pub(super) fn certificates(&self) -> Option<(String, String)> {
        match &self.who {
            Who::Identity {
                certificate, chain, ..
            } => Some((pem(certificate), chain.iter().map(pem).collect())),
            Who::Key(..) => None,
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        match &self.who {
            // The key of the moment is one of ECDSA.
            Who::Identity { .. } => Scheme::EcdsaSha256,
            Who::Key(_, public) => public.scheme(),
        }
    }

    pub(super) fn services(&self) -> &Services {
        self.services
    }

    /// Enters something in a log of version 1.
    pub(super) async fn entered(
        &self,
        log: &Log,
        proposed: &Value,
    ) -> Result<LogEntry, SignerError> {
        let question = Question {
            service: REKOR,
            url: below(REKOR, &log.url, &["api", "v1", "log", "entries"])?,
            kind: "application/json",
            body: Zeroizing::new(proposed.to_string().into_bytes()),
            advice: "",
        };
        let answer = ask(self.network, self.reporter, question).await?;
        // An object of one key, the entry's name.
        let entries: std::collections::BTreeMap<String, LogEntry> = serde_json::from_slice(&answer)
            .map_err(|error| odd(REKOR, &log.url, error.to_string()))?;
        let entry = entries.into_values().next();
        entry.ok_or_else(|| odd_entry(log, "no entry".to_owned()))
    }

    /// Enters a signature over `message` in a log of version 2.
    async fn logged(
        &self,
        log: &Log,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<TransparencyLogEntry, SignerError> {
        let verifier = match &self.who {
            Who::Identity {
                key, certificate, ..
            } => hashed::certificate(certificate.as_bytes(), hashed::key_details(&key.public()?)?),
            Who::Key(_, public) => hashed::public_key(public)?,
        };
        let proposed = hashed::request(message, signature.as_bytes(), verifier);
        let question = Question {
            service: REKOR,
            url: below(REKOR, &log.url, &["api", "v2", "log", "entries"])?,
            kind: "application/json",
            body: Zeroizing::new(proposed.to_string().into_bytes()),
            advice: "",
        };
        let answer = ask(self.network, self.reporter, question).await?;
        serde_json::from_slice(&answer).map_err(|error| odd_entry(log, error.to_string()))
    }

    /// What a clock says of these bytes, mostly a signature: a `TimeStampResp` (RFC 3161, 2.4.2).
    pub(super) async fn time(&self, clock: &Url, signed: &[u8]) -> Result<Vec<u8>, SignerError> {
        let question = Question {
            service: CLOCK,
            url: clock.clone(),
            kind: "application/timestamp-query",
            body: Zeroizing::new(time_question(signed)),
            advice: "",
        };
        let answer = ask(self.network, self.reporter, question).await?;
        if !granted(&answer) {
            return Err(odd(
                CLOCK,
                clock,
                "it has not granted a timestamp".to_owned(),
            ));
        }
        Ok(answer)
    }
}

/// The log has answered something odd.
pub(super) fn odd_entry(log: &Log, reason: String) -> SignerError {
    odd(REKOR, &log.url, reason)
}

fn odd(service: &'static str, url: &Url, reason: String) -> SignerError {
    SignerError::Answer {
        service,
        url: url.to_string(),
        reason,
    }
}

/// A `TimeStampReq` (RFC 3161, 2.4.1) of version 1 for the SHA-256 of these bytes, which wants the
/// clock's certificate along.
fn time_question(signed: &[u8]) -> Vec<u8> {
    let mut question = vec![
        0x30, 0x39, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
        0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
    ];
    question.extend_from_slice(base::Digest::of(signed).as_bytes());
    question.extend([0x01, 0x01, 0xff]);
    question
}

/// Whether a `TimeStampResp` begins with a status of 0 or 1: granted, or with changes.
fn granted(answer: &[u8]) -> bool {
    let inside = match answer {
        [0x30, length @ ..=0x7f, rest @ ..] if usize::from(*length) == rest.len() => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => rest,
        _ => return false,
    };
    matches!(inside, [0x30, ..=0x7f, 0x02, 0x01, 0 | 1, ..])
}

/// With lines that end as other programs' do.
fn pem(certificate: &DerCertificate) -> String {
    certificate.to_pem().replace("\r\n", "\n")
}

fn below(service: &'static str, base: &Url, path: &[&str]) -> Result<Url, SignerError> {
    let mut url = base.clone();
    match url.path_segments_mut() {
        Ok(mut segments) => {
            segments.pop_if_empty().extend(path);
        }
        Err(()) => {
            return Err(SignerError::Place {
                service,
                url: base.clone(),
            });
        }
    }
    Ok(url)
}

async fn ask(
    network: &Network,
    reporter: &dyn Reporter,
    question: Question,
) -> Result<Vec<u8>, SignerError> {
    let Question {
        service,
        url,
        kind,
        body,
        advice,
    } = question;
    let headers = [
        ("content-type", kind.to_owned()),
        ("accept", "*/*".to_owned()),
    ];
    let exchange = Exchange {
        name: service,
        method: Method::Post,
        url: &url,
        headers: &headers,
        authorization: None,
        payload: Payload::Bytes(Bytes::from_owner(body)),
        limit: ANSWER_LIMIT,
        again: true,
    };
    let answered = match network.exchange(&exchange, &|_| (), reporter).await {
        Ok(answered) => answered,
        Err(source) => {
            return Err(SignerError::Asking {
                service,
                url,
                source,
            });
        }
    };
    if answered.is_success() {
        return Ok(answered.body);
    }
    let said = String::from_utf8_lossy(&answered.body);
    let said = said.trim().chars().take(300).flat_map(char::escape_debug);
    Err(SignerError::Refused {
        service,
        url,
        status: answered.status,
        said: said.collect(),
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_not_shown() {
        let token = "secret".repeat(20);
        let refused = |said: String| SignerError::Refused {
            service: FULCIO,
            url: Url::parse("https://fulcio.example/").unwrap(),
            status: 400,
            said,
            advice: "",
        };
        let told = refused("bad audience".to_owned())
            .without(&token)
            .to_string();
        assert!(told.contains("refused with 400: bad audience"), "{told}");
        for said in [
            format!("bad token {token}"),
            format!("bad {}", &token[..50]),
        ] {
            let told = refused(said).without(&token).to_string();
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn places() {
        let at = |text: &str| {
            below(REKOR, &Url::parse(text).unwrap(), &["api", "v1"]).map(|url| url.to_string())
        };
        assert_eq!(at("https://a.example").unwrap(), "https://a.example/api/v1");
        assert_eq!(
            at("https://a.example/b/").unwrap(),
            "https://a.example/b/api/v1"
        );
        assert!(at("mailto:a@example.com").is_err());
    }

    #[test]
    fn answers_of_clocks() {
        assert!(granted(&[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00]));
        assert!(granted(&[0x30, 0x82, 0, 5, 0x30, 0x03, 0x02, 0x01, 0x01]));
        for refused in [
            &[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02][..],
            &[0x30, 0x06, 0x30, 0x03, 0x02, 0x01, 0x00],
            b"<html>",
            b"",
        ] {
            assert!(!granted(refused), "{refused:?}");
        }
        assert_eq!(time_question(b"x").len(), 2 + 0x39);
    }
}
