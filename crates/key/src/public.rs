use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};
use base::Digest;

use crate::{KeyError, der, pem};

/// How a signature is made: the padding or curve, and the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// RSA PKCS#1 v1.5 over SHA-256; apk's `RSA256`.
    RsaSha256,
    /// RSA PKCS#1 v1.5 over SHA-512; apk's `RSA512`.
    RsaSha512,
    /// RSA PKCS#1 v1.5 over SHA-1; apk's `RSA`. Verified for old repositories, never made.
    RsaSha1,
    /// ECDSA over P-256 and SHA-256, the signature in DER.
    EcdsaSha256,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rsa,
    EcdsaP256,
}

/// A public key, held as its SubjectPublicKeyInfo.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    kind: Kind,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads the first `PUBLIC KEY` (SubjectPublicKeyInfo) or `RSA PUBLIC KEY` (PKCS#1) of a PEM
    /// text.
    ///
    /// # Errors
    /// The text holds no such block, a private key, or a key of another kind.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        let block = pem::find(text, "PUBLIC KEY", pem::is_key)?;
        match block.label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki(block.der),
            "RSA PUBLIC KEY" => PublicKey::from_spki(der::subject_public_key_info(&block.der)),
            _ => Err(KeyError::WrongHalf {
                found: "private",
                wanted: "public",
            }),
        }
    }

    /// Takes a SubjectPublicKeyInfo in DER (RFC 5280).
    ///
    /// # Errors
    /// It is no RSA key of 1024 to 8192 bits nor one on P-256.
    pub fn from_spki(spki: Vec<u8>) -> Result<PublicKey, KeyError> {
        // A bare point or a PKCS#1 key would parse too; the id must be that of one form.
        if spki.first() != Some(&0x30) {
            return Err(KeyError::Rejected {
                reason: "it is no SubjectPublicKeyInfo".to_owned(),
            });
        }
        if ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki).is_ok() {
            return Ok(PublicKey {
                kind: Kind::EcdsaP256,
                spki,
            });
        }
        ParsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &spki).map_err(
            |error| KeyError::Rejected {
                reason: error.to_string(),
            },
        )?;
        Ok(PublicKey {
            kind: Kind::Rsa,
            spki,
        })
    }

    /// The key as a `PUBLIC KEY` PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.spki)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key's name by contents: SHA-256 of the SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The scheme that [`crate::PrivateKey::sign`] of this key's other half uses.
    pub fn scheme(&self) -> Scheme {
        match self.kind {
            Kind::Rsa => Scheme::RsaSha256,
            Kind::EcdsaP256 => Scheme::EcdsaSha256,
        }
    }

    /// Checks that `signature` was made over `message` by this key's other half.
    ///
    /// # Errors
    /// [`KeyError::WrongScheme`] when the scheme asks for another kind of key,
    /// [`KeyError::BadSignature`] when the signature isn't good.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let algorithm: &'static dyn VerificationAlgorithm = match (scheme, self.kind) {
            (Scheme::RsaSha256, Kind::Rsa) => &RSA_PKCS1_2048_8192_SHA256,
            (Scheme::RsaSha512, Kind::Rsa) => &RSA_PKCS1_2048_8192_SHA512,
            (Scheme::RsaSha1, Kind::Rsa) => &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (Scheme::EcdsaSha256, Kind::EcdsaP256) => &ECDSA_P256_SHA256_ASN1,
            _ => return Err(KeyError::WrongScheme { scheme }),
        };
        aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, &self.spki)
            .verify(message, signature)
            .map_err(|_| KeyError::BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.scheme(), self.id())
    }
}
