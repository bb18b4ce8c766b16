//! A Sigstore deployment inside the tests: who vouches for identities (OpenID Connect), who issues
//! certificates (Fulcio) and the log of those, both kinds of logs of signatures (Rekor), and who
//! tells the time.
//!
//! Everything that is signed is signed for real, so that other programs verify against it.

mod authority;
mod http;
mod log;
mod rekor;
mod signing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use authority::{Clock, Fulcio};
use http::{Request, Response, serve};
use rekor::{First, Second};
use signing::{Key, base64, from_base64, from_pem, from_url_safe, sha256, url_safe, verifies};

/// The deployment. Its servers live as long as the process.
pub struct Sigstore {
    shared: Arc<Shared>,
    urls: Urls,
}

struct Shared {
    folder: TempDir,
    vouching: Key,
    fulcio: Fulcio,
    first: First,
    second: Second,
    third: Second,
    clock: Clock,
    /// How long before now certificates begin, in seconds.
    age: Mutex<u64>,
}

struct Urls {
    issuer: String,
    fulcio: String,
    first: String,
    second: String,
    third: String,
    clock: String,
}

fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are good for minutes, and other programs look at their clock"
    )]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs())
}

impl Sigstore {
    /// Starts one, with keys of its own.
    ///
    /// # Panics
    /// When no ports can be had.
    pub fn start() -> Sigstore {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::new(folder.path());
        let shared = Arc::new(Shared {
            folder,
            vouching: Key::new(),
            fulcio: Fulcio::new(),
            first: First::new(),
            second: Second::new(rekor::SECOND),
            third: Second::new(rekor::THIRD),
            clock,
            age: Mutex::new(0),
        });
        let with = |answer: fn(&Shared, &Request) -> Response| {
            let shared = Arc::clone(&shared);
            serve(move |request| answer(&shared, request))
        };
        let urls = Urls {
            issuer: with(|_, _| Response::refused(404, "tokens are made at home")),
            fulcio: with(Shared::certify),
            first: with(|shared, request| shared.first.answer(request, now())),
            second: with(|shared, request| shared.second.answer(request)),
            third: with(|shared, request| shared.third.answer(request)),
            clock: with(Shared::tell_time),
        };
        Sigstore { shared, urls }
    }

    /// Who vouches for identities: what certificates name as issuer.
    pub fn issuer(&self) -> &str {
        &self.urls.issuer
    }

    /// Where certificates are issued.
    pub fn fulcio(&self) -> &str {
        &self.urls.fulcio
    }

    /// Where the log of version 1 or 2 is.
    ///
    /// # Panics
    /// For other versions.
    pub fn rekor(&self, version: u32) -> &str {
        match version {
            1 => &self.urls.first,
            2 => &self.urls.second,
            _ => panic!("there is no Rekor v{version}"),
        }
    }

    /// Where the time is told.
    pub fn clock(&self) -> String {
        format!("{}/api/v1/timestamp", self.urls.clock)
    }

    /// A token that vouches for `subject`: an address of e-mail, or a URI.
    pub fn token(&self, subject: &str) -> String {
        let now = now();
        let mut claims = json!({
            "iss": self.urls.issuer, "sub": subject, "aud": "sigstore",
            "iat": now, "nbf": now - 60, "exp": now + 600,
        });
        if !subject.contains("://") {
            claims["email"] = subject.into();
            claims["email_verified"] = true.into();
        }
        let head = json!({"alg": "ES256", "typ": "JWT"}).to_string();
        let signed = format!("{}.{}", url_safe(head), url_safe(claims.to_string()));
        let signature = self.shared.vouching.sign(signed.as_bytes());
        format!("{signed}.{}", url_safe(signature))
    }

    /// Lets certificates begin that many seconds ago; they are good for ten minutes.
    pub fn backdate_certificates(&self, seconds: u64) {
        *self
            .shared
            .age
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = seconds;
    }

    /// What verifies signatures of this deployment.
    pub fn trusted_root(&self) -> Value {
        let shared = &self.shared;
        let since = json!({"start": "2020-01-01T00:00:00Z"});
        let p256 = |key: &Key| {
            json!({
                "rawBytes": base64(key.spki()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": since,
            })
        };
        let log = |url: &str, key: Value, id: [u8; 32]| {
            json!({
                "baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": key,
                "logId": {"keyId": base64(id)},
            })
        };
        let authority = |name: &str, url: &str, chain: &[&[u8]]| {
            let chain = chain
                .iter()
                .map(|certificate| json!({"rawBytes": base64(certificate)}));
            json!({
                "subject": {"organization": "tests", "commonName": name}, "uri": url,
                "certChain": {"certificates": chain.collect::<Vec<_>>()}, "validFor": since,
            })
        };
        let tiles = |log_of: &Second| {
            let key = json!({
                "rawBytes": base64(log_of.spki()), "keyDetails": "PKIX_ED25519", "validFor": since,
            });
            log(&format!("https://{}", log_of.name), key, log_of.id())
        };
        let first = &shared.first.key;
        let certificates = &shared.fulcio.log;
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [
                log(&format!("https://{}", rekor::FIRST), p256(first), sha256(&first.spki())),
                tiles(&shared.second),
                tiles(&shared.third),
            ],
            "certificateAuthorities": [
                authority("fulcio", &self.urls.fulcio, &[&shared.fulcio.root()]),
            ],
            "ctlogs": [log(&self.urls.fulcio, p256(certificates), sha256(&certificates.spki()))],
            "timestampAuthorities": [
                authority("clock", &self.urls.clock, &shared.clock.chain()),
            ],
        })
    }

    /// Where signers of this deployment turn to, with the log of version 1 or 2.
    pub fn signing_config(&self, rekor: u32) -> Value {
        let service = |url: &str, version: u32| {
            json!([{
                "url": url, "majorApiVersion": version, "operator": "tests",
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            }])
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(&self.urls.fulcio, 1),
            "oidcUrls": service(&self.urls.issuer, 1),
            "rekorTlogUrls": service(self.rekor(rekor), rekor),
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": service(&self.clock(), 1),
            "tsaConfig": {"selector": "ANY"},
        })
    }

    /// The same with the two logs of version 2, which are different operators', and both are wanted.
    pub fn signing_config_of_two_logs(&self) -> Value {
        let mut config = self.signing_config(2);
        let mut other = config["rekorTlogUrls"][0].clone();
        other["url"] = self.urls.third.as_str().into();
        other["operator"] = "others".into();
        config["rekorTlogUrls"]
            .as_array_mut()
            .expect("a list")
            .push(other);
        config["rekorTlogConfig"] = json!({"selector": "EXACT", "count": 2});
        config
    }

    /// How many entries a log has got, of version 1 or 2.
    ///
    /// # Panics
    /// For other versions.
    pub fn entries(&self, version: u32) -> usize {
        match version {
            1 => self.shared.first.entries(),
            2 => self.shared.second.entries(),
            _ => panic!("there is no Rekor v{version}"),
        }
    }

    /// Writes `trusted_root.json` and `signing_config.json` into a folder, and gives their paths.
    ///
    /// # Panics
    /// When they can't be written.
    pub fn write(&self, folder: &Path, rekor: u32) -> (PathBuf, PathBuf) {
        let root = folder.join("trusted_root.json");
        let config = folder.join(format!("signing_config_{rekor}.json"));
        std::fs::write(&root, self.trusted_root().to_string()).expect("the trusted root");
        std::fs::write(&config, self.signing_config(rekor).to_string()).expect("the configuration");
        (root, config)
    }

    /// Writes the same as keys and certificates of their own, for programs that know no trusted roots:
    /// the variables that cosign 2 finds them by.
    ///
    /// # Panics
    /// When they can't be written.
    pub fn variables(&self, folder: &Path) -> Vec<(&'static str, PathBuf)> {
        let shared = &self.shared;
        let key = |key: &Key| signing::pem("PUBLIC KEY", &key.spki());
        let certificate = |der: &[u8]| signing::pem("CERTIFICATE", der);
        let files = [
            ("SIGSTORE_ROOT_FILE", certificate(&shared.fulcio.root())),
            ("SIGSTORE_REKOR_PUBLIC_KEY", key(&shared.first.key)),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", key(&shared.fulcio.log)),
            (
                "SIGSTORE_TSA_CERTIFICATE_FILE",
                shared.clock.chain().map(certificate).concat(),
            ),
        ];
        let write = |(name, text): (&'static str, String)| {
            let path = folder.join(format!("{name}.pem"));
            std::fs::write(&path, text).expect("a file");
            (name, path)
        };
        files.into_iter().map(write).collect()
    }
}

impl Shared {
    fn certify(&self, request: &Request) -> Response {
        if request.path != "/api/v2/signingCert" || request.method != "POST" {
            return Response::refused(404, "no such place");
        }
        match self.certificate(request) {
            Ok(certificate) => {
                let certificates =
                    [certificate, self.fulcio.root()].map(|der| signing::pem("CERTIFICATE", &der));
                Response::json(
                    200,
                    &json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": certificates}}}),
                )
            }
            Err(message) => Response::refused(400, message),
        }
    }

    /// The certificate for a question, where token and proof are good.
    fn certificate(&self, request: &Request) -> Result<Vec<u8>, &'static str> {
        let question: Value = serde_json::from_slice(&request.body).map_err(|_| "no JSON")?;
        let token = question["credentials"]["oidcIdentityToken"].as_str();
        let token = token.or(request.bearer.as_deref());
        let claims = token.and_then(|token| self.claims(token));
        let claims = claims.ok_or("there was an error processing the identity token")?;
        let subject = claims["email"].as_str().or(claims["sub"].as_str());
        let subject = subject.ok_or("the token names nobody")?;
        let asked = &question["publicKeyRequest"];
        let spki = asked["publicKey"]["content"].as_str().and_then(from_pem);
        let spki = spki.ok_or("there is no public key")?;
        let proof = asked["proofOfPossession"].as_str().and_then(from_base64);
        if !verifies(&spki, subject.as_bytes(), &proof.unwrap_or_default()) {
            return Err("the signature supplied in the request could not be verified");
        }
        let age = *self.age.lock().unwrap_or_else(PoisonError::into_inner);
        let issuer = claims["iss"].as_str().unwrap_or_default();
        // A little before now: other programs' clocks have no fractions.
        Ok(self.fulcio.issue(&spki, subject, issuer, now() - 1 - age))
    }

    /// What a token says that is genuine, fresh and for Sigstore.
    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = from_url_safe(signature)?;
        let genuine = verifies(&self.vouching.spki(), signed.as_bytes(), &signature);
        let claims = from_url_safe(signed.split_once('.')?.1)?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let good = genuine && claims["aud"] == "sigstore" && claims["exp"].as_u64()? >= now();
        good.then_some(claims)
    }

    fn tell_time(&self, request: &Request) -> Response {
        match self.clock.answer(self.folder.path(), &request.body) {
            Some(body) => Response {
                status: 201,
                kind: "application/timestamp-reply",
                body,
                tag: None,
            },
            None => Response::refused(400, "no question"),
        }
    }
}
