//! The logs of signatures: the one that promises (Rekor v1), and the one of tiles (Rekor v2).

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::log::Tree;
use super::signing::{
    Key, base64, from_base64, from_hex, from_pem, hex, pem, sha256, spki_of, verifies_digest,
    verifies_digest_by_rsa,
};

/// The names of the logs in their checkpoints.
pub(super) const FIRST: &str = "rekor.test";
const FIRST_ORIGIN: &str = "rekor.test - 7";
pub(super) const SECOND: &str = "log2025.rekor.test";
pub(super) const THIRD: &str = "log2025.others.test";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log with promises: signed entry timestamps.
pub(super) struct First {
    pub(super) key: Key,
    tree: Mutex<Tree>,
}

impl First {
    pub(super) fn new() -> First {
        First {
            key: Key::new(),
            tree: Mutex::new(Tree::new()),
        }
    }

    pub(super) fn entries(&self) -> usize {
        lock(&self.tree).entries()
    }

    pub(super) fn answer(&self, request: &Request, now: u64) -> Response {
        let entries = request.path.starts_with("/api/v1/log/entries");
        if !entries || request.method != "POST" {
            return Response::refused(404, "no such place");
        }
        let proposed: Value = match serde_json::from_slice(&request.body) {
            Ok(proposed) => proposed,
            Err(error) => return Response::refused(400, &error.to_string()),
        };
        let Some(body) = canonical(&proposed) else {
            return Response::refused(400, "no entry of a kind that is known");
        };
        let body = body.to_string().into_bytes();
        let place = lock(&self.tree).add(&body);
        let id = sha256(&self.key.spki());
        let checkpoint = place.checkpoint(FIRST_ORIGIN, FIRST, &id, |note| self.key.sign(note));
        // Keys come sorted, as canonical JSON has them.
        let promised = json!({
            "body": base64(&body),
            "integratedTime": now,
            "logID": hex(&id),
            "logIndex": place.index,
        });
        let promise = self.key.sign(promised.to_string().as_bytes());
        let mut entry = promised;
        entry["verification"] = json!({
            "inclusionProof": {
                "checkpoint": checkpoint,
                "hashes": place.hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
                "logIndex": place.index,
                "rootHash": hex(&place.root),
                "treeSize": place.size,
            },
            "signedEntryTimestamp": base64(promise),
        });
        let mut leaf = vec![0];
        leaf.extend(&body);
        let name = format!("0000000000000007{}", hex(&sha256(&leaf)));
        let mut response = Response::json(201, &json!({ name.as_str(): entry }));
        response.tag = Some(name);
        response
    }
}

/// The public key in a PEM text of a key or a certificate.
fn spki_in(text: &str) -> Option<Vec<u8>> {
    let der = from_pem(text)?;
    Some(match text.contains("BEGIN CERTIFICATE") {
        true => spki_of(&der),
        false => der,
    })
}

/// What the log keeps of an entry that is proposed.
fn canonical(proposed: &Value) -> Option<Value> {
    match proposed["kind"].as_str()? {
        "hashedrekord" => {
            let spec = &proposed["spec"];
            let digest = from_hex(spec["data"]["hash"]["value"].as_str()?)?;
            let signature = &spec["signature"];
            let content = from_base64(signature["content"].as_str()?)?;
            let verifier = from_base64(signature["publicKey"]["content"].as_str()?)?;
            let spki = spki_in(std::str::from_utf8(&verifier).ok()?)?;
            // Sigstore's own verifies it, over the digest: there is no Ed25519 proper.
            let good = verifies_digest(&spki, &digest, &content)
                || verifies_digest_by_rsa(&spki, &digest, &content);
            good.then(|| proposed.clone())
        }
        "dsse" => {
            let content = &proposed["spec"]["proposedContent"];
            let envelope = content["envelope"].as_str()?;
            // Written anew, as the log does: whoever wrote the PEM has ways of their own.
            let verifier = from_base64(content["verifiers"][0].as_str()?)?;
            let verifier = std::str::from_utf8(&verifier).ok()?;
            let label = match verifier.contains("BEGIN CERTIFICATE") {
                true => "CERTIFICATE",
                false => "PUBLIC KEY",
            };
            let verifier = base64(pem(label, &from_pem(verifier)?));
            let read: Value = serde_json::from_str(envelope).ok()?;
            let payload = from_base64(read["payload"].as_str()?)?;
            let hash = |bytes: &[u8]| json!({"algorithm": "sha256", "value": hex(&sha256(bytes))});
            Some(json!({
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": hash(envelope.as_bytes()),
                    "payloadHash": hash(&payload),
                    "signatures": [{
                        "signature": read["signatures"][0]["sig"],
                        "verifier": verifier,
                    }],
                },
            }))
        }
        _ => None,
    }
}

/// Whether a log of version 2 takes a signature: what Sigstore's own takes, verified as it does. It knows
/// digests alone, and with Ed25519 only the variant that signs digests, which is not verified here.
fn acceptable(asked: &Value) -> Result<(), String> {
    let bytes = |value: &Value| value.as_str().and_then(from_base64);
    let digest = bytes(&asked["digest"]).ok_or("missing digest")?;
    let signature = &asked["signature"];
    let content = bytes(&signature["content"]).ok_or("missing signature")?;
    let verifier = &signature["verifier"];
    let spki = match bytes(&verifier["publicKey"]["rawBytes"]) {
        Some(spki) => spki,
        None => {
            let certificate = bytes(&verifier["x509Certificate"]["rawBytes"]);
            spki_of(&certificate.ok_or("missing verifier")?)
        }
    };
    let details = verifier["keyDetails"].as_str().unwrap_or_default();
    let rsa = format!("PKIX_RSA_PKCS1V15_{}_SHA256", content.len() * 8);
    let good = match details {
        "PKIX_ECDSA_P256_SHA_256" => verifies_digest(&spki, &digest, &content),
        "PKIX_RSA_PKCS1V15_2048_SHA256"
        | "PKIX_RSA_PKCS1V15_3072_SHA256"
        | "PKIX_RSA_PKCS1V15_4096_SHA256"
            if details == rsa =>
        {
            verifies_digest_by_rsa(&spki, &digest, &content)
        }
        "PKIX_ED25519_PH" => digest.len() == 64,
        _ => return Err(format!("unsupported entry algorithm {details}")),
    };
    match good {
        true => Ok(()),
        false => Err("verifying signature".to_owned()),
    }
}

/// A log without times and promises.
pub(super) struct Second {
    /// Its name in checkpoints.
    pub(super) name: &'static str,
    key: Ed25519KeyPair,
    tree: Mutex<Tree>,
}

impl Second {
    pub(super) fn new(name: &'static str) -> Second {
        Second {
            name,
            key: Ed25519KeyPair::generate().expect("a key"),
            tree: Mutex::new(Tree::new()),
        }
    }

    /// The SubjectPublicKeyInfo of the key (RFC 8410).
    pub(super) fn spki(&self) -> Vec<u8> {
        const HEAD: [u8; 12] = [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        [&HEAD[..], self.key.public_key().as_ref()].concat()
    }

    pub(super) fn entries(&self) -> usize {
        lock(&self.tree).entries()
    }

    /// What notes call the key (C2SP signed-note).
    pub(super) fn id(&self) -> [u8; 32] {
        let public = self.key.public_key();
        sha256(&[self.name.as_bytes(), b"\n\x01", public.as_ref()].concat())
    }

    pub(super) fn answer(&self, request: &Request) -> Response {
        if request.path != "/api/v2/log/entries" || request.method != "POST" {
            return Response::refused(404, "no such place");
        }
        let proposed: Value = match serde_json::from_slice(&request.body) {
            Ok(proposed) => proposed,
            Err(error) => return Response::refused(400, &error.to_string()),
        };
        let asked = &proposed["hashedRekordRequestV002"];
        if asked.is_null() {
            return Response::refused(400, "no entry of a kind that is known");
        }
        if let Err(reason) = acceptable(asked) {
            return Response::refused(400, &reason);
        }
        let verifier = &asked["signature"]["verifier"];
        let algorithm = match verifier["keyDetails"].as_str() {
            Some("PKIX_ED25519_PH") => "SHA2_512",
            _ => "SHA2_256",
        };
        let body = json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": algorithm, "digest": asked["digest"]},
                    "signature": asked["signature"],
                },
            },
        });
        let body = body.to_string().into_bytes();
        let place = lock(&self.tree).add(&body);
        let id = self.id();
        let checkpoint = place.checkpoint(self.name, self.name, &id, |note| {
            self.key.sign(note).as_ref().to_vec()
        });
        let index = place.index.to_string();
        Response::json(
            201,
            &json!({
                "logIndex": index,
                "logId": {"keyId": base64(id)},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "inclusionProof": {
                    "logIndex": index,
                    "rootHash": base64(place.root),
                    "treeSize": place.size.to_string(),
                    "hashes": place.hashes(),
                    "checkpoint": {"envelope": checkpoint},
                },
                "canonicalizedBody": base64(&body),
            }),
        )
    }
}
