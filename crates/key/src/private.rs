use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};

use crate::{KeyError, PublicKey, pem};

/// A kind of key that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA with 4096 bits: what apk verifies.
    Rsa4096,
    /// ECDSA over P-256: small, for attestations.
    EcdsaP256,
}

/// A private key. Its secret never shows in `Debug`.
pub enum PrivateKey {
    /// An RSA key of 2048 to 8192 bits.
    Rsa(RsaKeyPair),
    /// A key on P-256.
    EcdsaP256(EcdsaKeyPair),
}

impl PrivateKey {
    /// Makes a new key out of the system's entropy.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the library can't.
    pub fn generate(algorithm: Algorithm) -> Result<PrivateKey, KeyError> {
        let failed = |_| KeyError::Failed {
            what: "generate a key",
        };
        match algorithm {
            Algorithm::Rsa4096 => RsaKeyPair::generate(KeySize::Rsa4096)
                .map(PrivateKey::Rsa)
                .map_err(failed),
            Algorithm::EcdsaP256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .map(PrivateKey::EcdsaP256)
                .map_err(failed),
        }
    }

    /// Reads the first private key of a PEM text: `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY`
    /// (PKCS#1) or `EC PRIVATE KEY` (SEC 1).
    ///
    /// # Errors
    /// The text holds no such block, a public key, an encrypted key, or a key of another kind.
    pub fn from_pem(text: &str) -> Result<PrivateKey, KeyError> {
        let block = pem::find(text, "PRIVATE KEY", pem::is_key)?;
        let rejected = |error: aws_lc_rs::error::KeyRejected| KeyError::Rejected {
            reason: error.to_string(),
        };
        match block.label.as_str() {
            "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &block.der)
                .map(PrivateKey::EcdsaP256)
                .or_else(|_| {
                    RsaKeyPair::from_pkcs8(&block.der)
                        .map(PrivateKey::Rsa)
                        .map_err(rejected)
                }),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der)
                .map(PrivateKey::Rsa)
                .map_err(rejected),
            "EC PRIVATE KEY" => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, &block.der)
                    .map(PrivateKey::EcdsaP256)
                    .map_err(rejected)
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Err(KeyError::WrongHalf {
                found: "public",
                wanted: "private",
            }),
        }
    }

    /// The key as a `PRIVATE KEY` PEM block (PKCS#8, not encrypted).
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the library can't.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let failed = |_| KeyError::Failed {
            what: "encode a private key",
        };
        Ok(match self {
            PrivateKey::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                pem::encode("PRIVATE KEY", der.as_ref())
            }
            PrivateKey::EcdsaP256(pair) => {
                pem::encode("PRIVATE KEY", pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
        })
    }

    /// The other half.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the library can't encode it.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let failed = |_| KeyError::Failed {
            what: "encode a public key",
        };
        let der: PublicKeyX509Der<'_> = match self {
            PrivateKey::Rsa(pair) => pair.public_key().as_der().map_err(failed)?,
            PrivateKey::EcdsaP256(pair) => pair.public_key().as_der().map_err(failed)?,
        };
        PublicKey::from_spki(der.as_ref().to_vec())
    }

    /// Signs `message`: RSA PKCS#1 v1.5 over SHA-256 (the same bytes every time), or ECDSA over
    /// SHA-256 in DER (other bytes every time).
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the library can't.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Failed { what: "sign" };
        let random = SystemRandom::new();
        match self {
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            PrivateKey::EcdsaP256(pair) => Ok(pair
                .sign(&random, message)
                .map_err(failed)?
                .as_ref()
                .to_vec()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivateKey::Rsa(_) => f.write_str("PrivateKey::Rsa(..)"),
            PrivateKey::EcdsaP256(_) => f.write_str("PrivateKey::EcdsaP256(..)"),
        }
    }
}
