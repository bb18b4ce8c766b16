//! The logs of signatures: the one that promises (Rekor v1), and the one of tiles (Rekor v2).

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::log::Tree;
use super::signing::{Key, base64, from_base64, from_pem, hex, pem, sha256};

/// The names of the logs in their checkpoints.
pub(super) const FIRST: &str = "rekor.test";
const FIRST_ORIGIN: &str = "rekor.test - 7";
pub(super) const SECOND: &str = "log2025.rekor.test";

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

/// What the log keeps of an entry that is proposed.
fn canonical(proposed: &Value) -> Option<Value> {
    match proposed["kind"].as_str()? {
        "hashedrekord" => Some(proposed.clone()),
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

/// A log without times and promises.
pub(super) struct Second {
    key: Ed25519KeyPair,
    tree: Mutex<Tree>,
}

impl Second {
    pub(super) fn new() -> Second {
        Second {
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

    /// What notes call the key (C2SP signed-note).
    pub(super) fn id(&self) -> [u8; 32] {
        let public = self.key.public_key();
        sha256(&[SECOND.as_bytes(), b"\n\x01", public.as_ref()].concat())
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
        let body = json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": asked["digest"]},
                    "signature": asked["signature"],
                },
            },
        });
        let body = body.to_string().into_bytes();
        let place = lock(&self.tree).add(&body);
        let id = self.id();
        let checkpoint = place.checkpoint(SECOND, SECOND, &id, |note| {
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
