//! What logs of version 2 enter: signatures over a digest (`hashedrekord` 0.0.2), whatever it is that
//! was signed. The form is that of `rekor/v2/hashedrekord.proto`.

use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::{PublicKey, Scheme};
use serde_json::{Value, json};

/// A log of version 2 takes no signatures of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnloggableError {
    /// It enters digests, which Ed25519 proper does not sign.
    #[error(
        "a log of version 2 takes no Ed25519 signature of a statement: it enters digests, which are \
         signed in another way (Ed25519ph) that statements are not verified by; make a key with \
         `polpo key generate --type ecdsa-p256`, or name a log of version 1"
    )]
    Ed25519,
    /// None of the sizes that logs know.
    #[error(
        "a log of version 2 takes RSA keys of 2048, 3072 and 4096 bits, and this one has {bits}; \
         name another key, or a log of version 1"
    )]
    RsaSize {
        /// How many it has.
        bits: usize,
    },
    /// A curve whose signatures are not over SHA-256.
    #[error(
        "a log of version 2 takes statements signed with RSA or with ECDSA on P-256; make such a key \
         with `polpo key generate --type ecdsa-p256`"
    )]
    Curve,
}

/// How logs call a kind of key and its signatures over SHA-256 (`PublicKeyDetails` of Sigstore's
/// `common.proto`).
///
/// # Errors
/// Logs enter no such signatures.
pub(super) fn key_details(key: &PublicKey) -> Result<&'static str, UnloggableError> {
    match (key.scheme(), key.rsa_bits()) {
        (Scheme::EcdsaSha256, _) => Ok("PKIX_ECDSA_P256_SHA_256"),
        (Scheme::Ed25519, _) => Err(UnloggableError::Ed25519),
        (_, Some(2048)) => Ok("PKIX_RSA_PKCS1V15_2048_SHA256"),
        (_, Some(3072)) => Ok("PKIX_RSA_PKCS1V15_3072_SHA256"),
        (_, Some(4096)) => Ok("PKIX_RSA_PKCS1V15_4096_SHA256"),
        (_, Some(bits)) => Err(UnloggableError::RsaSize { bits }),
        (_, None) => Err(UnloggableError::Curve),
    }
}

/// Who signed, as entries name them: a key.
///
/// # Errors
/// Logs enter no signatures of such keys.
pub(super) fn public_key(key: &PublicKey) -> Result<Value, UnloggableError> {
    Ok(json!({
        "publicKey": {"rawBytes": STANDARD.encode(key.spki())},
        "keyDetails": key_details(key)?,
    }))
}

/// Who signed, as entries name them: a certificate, for a key of that kind.
pub(super) fn certificate(certificate: &[u8], key_details: &str) -> Value {
    json!({
        "x509Certificate": {"rawBytes": STANDARD.encode(certificate)},
        "keyDetails": key_details,
    })
}

/// What a log is asked to enter.
pub(super) fn request(message: &[u8], signature: &[u8], verifier: Value) -> Value {
    json!({
        "hashedRekordRequestV002": {
            "digest": STANDARD.encode(Digest::of(message).as_bytes()),
            "signature": {"content": STANDARD.encode(signature), "verifier": verifier},
        },
    })
}

/// What the log then has of it.
pub(super) fn body(message: &[u8], signature: &[u8], verifier: Value) -> Value {
    json!({
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {
            "hashedRekordV002": {
                "data": {
                    "algorithm": "SHA2_256",
                    "digest": STANDARD.encode(Digest::of(message).as_bytes()),
                },
                "signature": {"content": STANDARD.encode(signature), "verifier": verifier},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use key::{Algorithm, PrivateKey};

    use super::*;

    #[test]
    fn kinds_of_keys() {
        let details = |algorithm| {
            let key = PrivateKey::generate(algorithm).unwrap();
            key_details(&key.public().unwrap())
        };
        assert_eq!(details(Algorithm::EcdsaP256), Ok("PKIX_ECDSA_P256_SHA_256"));
        assert_eq!(
            details(Algorithm::Rsa4096),
            Ok("PKIX_RSA_PKCS1V15_4096_SHA256")
        );
        assert_eq!(details(Algorithm::Ed25519), Err(UnloggableError::Ed25519));
    }
}
