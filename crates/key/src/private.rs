use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaKeyPair, RsaSignatureEncoding,
};

use crate::{Curve, KeyError, PublicKey, Scheme, pem};

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
    /// A key on an elliptic curve.
    Ecdsa(Curve, EcdsaKeyPair),
}

fn signing(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
    }
}

/// The key on whichever curve it is on.
fn on_a_curve<E>(
    read: impl Fn(&'static EcdsaSigningAlgorithm) -> Result<EcdsaKeyPair, E>,
) -> Option<PrivateKey> {
    Curve::ALL
        .into_iter()
        .find_map(|curve| Some(PrivateKey::Ecdsa(curve, read(signing(curve)).ok()?)))
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
                .map(|pair| PrivateKey::Ecdsa(Curve::P256, pair))
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
            "PRIVATE KEY" => {
                match on_a_curve(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &block.der)) {
                    Some(key) => Ok(key),
                    None => RsaKeyPair::from_pkcs8(&block.der)
                        .map(PrivateKey::Rsa)
                        .map_err(rejected),
                }
            }
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der)
                .map(PrivateKey::Rsa)
                .map_err(rejected),
            "EC PRIVATE KEY" => {
                on_a_curve(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, &block.der))
                    .ok_or_else(|| KeyError::Rejected {
                        reason: "it is on none of these curves".to_owned(),
                    })
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
            PrivateKey::Ecdsa(_, pair) => {
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
            PrivateKey::Ecdsa(_, pair) => pair.public_key().as_der().map_err(failed)?,
        };
        PublicKey::from_spki(der.as_ref().to_vec())
    }

    /// Signs `message` as [`PublicKey::scheme`] says. RSA makes the same bytes every time, ECDSA
    /// others.
    ///
    /// # Errors
    /// [`KeyError::Failed`] when the library can't.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign_with(self.scheme(), message)
    }

    fn scheme(&self) -> Scheme {
        match self {
            PrivateKey::Rsa(_) => Scheme::RsaSha256,
            PrivateKey::Ecdsa(curve, _) => curve.scheme(),
        }
    }

    /// Signs `message`: RSA PKCS#1 v1.5, or ECDSA in DER.
    ///
    /// # Errors
    /// [`KeyError::WrongScheme`] when the scheme asks for another kind of key or for SHA-1,
    /// [`KeyError::Failed`] when the library can't.
    pub fn sign_with(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let wrong = KeyError::WrongScheme { scheme };
        match (self, scheme) {
            (PrivateKey::Rsa(pair), Scheme::RsaSha256) => rsa(pair, &RSA_PKCS1_SHA256, message),
            (PrivateKey::Rsa(pair), Scheme::RsaSha512) => rsa(pair, &RSA_PKCS1_SHA512, message),
            (PrivateKey::Ecdsa(Curve::P256, pair), Scheme::EcdsaSha256) => {
                ecdsa(pair, digest::digest(&digest::SHA256, message))
            }
            (PrivateKey::Ecdsa(curve, pair), Scheme::EcdsaSha512) => {
                let digest = digest::digest(&digest::SHA512, message);
                // ECDSA takes the leftmost bits of a hash that is longer than the curve's order
                // (FIPS 186-5, 6.4.1); the library knows a curve with a hash of its length alone.
                let native = match curve {
                    Curve::P256 => &digest::SHA256,
                    Curve::P384 => &digest::SHA384,
                    Curve::P521 => return ecdsa(pair, digest),
                };
                let leftmost = digest.as_ref().get(..native.output_len());
                let digest = Digest::import_less_safe(leftmost.unwrap_or_default(), native);
                ecdsa(pair, digest.map_err(|_| wrong)?)
            }
            _ => Err(wrong),
        }
    }
}

const UNSIGNED: KeyError = KeyError::Failed { what: "sign" };

fn rsa(
    pair: &RsaKeyPair,
    encoding: &'static RsaSignatureEncoding,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| UNSIGNED)?;
    Ok(signature)
}

fn ecdsa(pair: &EcdsaKeyPair, digest: Digest) -> Result<Vec<u8>, KeyError> {
    let signature = pair.sign_digest(&digest).map_err(|_| UNSIGNED)?;
    Ok(signature.as_ref().to_vec())
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivateKey::Rsa(_) => f.write_str("PrivateKey::Rsa(..)"),
            PrivateKey::Ecdsa(curve, _) => write!(f, "PrivateKey::Ecdsa({curve:?}, ..)"),
        }
    }
}
