use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair, RsaSignatureEncoding,
};

use zeroize::Zeroizing;

use crate::{Curve, KeyError, Password, PublicKey, Scheme, TokenKey, pem, sealed};

/// A kind of key that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA with 4096 bits: what apk verifies.
    Rsa4096,
    /// ECDSA over P-256: small, for attestations.
    EcdsaP256,
    /// Ed25519: small too, and the same signature every time.
    Ed25519,
}

/// A private key. Its secret never shows in `Debug`.
pub enum PrivateKey {
    /// An RSA key of 2048 to 8192 bits.
    Rsa(RsaKeyPair),
    /// A key on an elliptic curve.
    Ecdsa(Curve, EcdsaKeyPair),
    /// An Ed25519 key.
    Ed25519(Ed25519KeyPair),
    /// A key that stays in its token.
    Token(Box<TokenKey>),
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
            Algorithm::Ed25519 => Ed25519KeyPair::generate()
                .map(PrivateKey::Ed25519)
                .map_err(failed),
        }
    }

    /// Reads the first private key of a PEM text: `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY`
    /// (PKCS#1), `EC PRIVATE KEY` (SEC 1), or one of these under a password: `ENCRYPTED PRIVATE KEY`
    /// (PKCS#8 with PBES2, as openssl makes it) and `ENCRYPTED SIGSTORE PRIVATE KEY` or `ENCRYPTED
    /// COSIGN PRIVATE KEY` (cosign's form). `password` is asked for those alone.
    ///
    /// # Errors
    /// The text holds no such block, a public key or a key of another kind; there is no password, or
    /// it is not the one.
    pub fn from_pem(
        text: &str,
        password: impl FnOnce() -> Option<Password>,
    ) -> Result<PrivateKey, KeyError> {
        let block = pem::find(text, "PRIVATE KEY", pem::is_key)?;
        let rejected = |error: aws_lc_rs::error::KeyRejected| KeyError::Rejected {
            reason: error.to_string(),
        };
        match block.label.as_str() {
            "PRIVATE KEY" => PrivateKey::from_pkcs8(&block.der),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.der)
                .map(PrivateKey::Rsa)
                .map_err(rejected),
            "EC PRIVATE KEY" => {
                on_a_curve(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, &block.der))
                    .ok_or_else(|| KeyError::Rejected {
                        reason: "it is on none of these curves".to_owned(),
                    })
            }
            label if label.starts_with("ENCRYPTED ") => {
                let password = password().ok_or(KeyError::Encrypted)?;
                PrivateKey::from_pkcs8(&sealed::open(label, &block.der, &password)?)
            }
            _ => Err(KeyError::WrongHalf {
                found: "public",
                wanted: "private",
            }),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
        if let Some(key) = on_a_curve(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der)) {
            return Ok(key);
        }
        // openssl writes no public half into it.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey::Ed25519(pair));
        }
        RsaKeyPair::from_pkcs8(der)
            .map(PrivateKey::Rsa)
            .map_err(|error| KeyError::Rejected {
                reason: error.to_string(),
            })
    }

    /// The key in PEM: as `PRIVATE KEY` (PKCS#8), or under a password in cosign's form.
    ///
    /// # Errors
    /// [`KeyError::InToken`], or [`KeyError::Failed`] when the library can't.
    pub fn to_pem(&self, password: Option<&Password>) -> Result<Zeroizing<String>, KeyError> {
        let der = self.to_pkcs8()?;
        Ok(match password {
            None => pem::encode("PRIVATE KEY", &der),
            Some(password) => pem::encode(sealed::LABEL, &sealed::seal(&der, password)?),
        })
    }

    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let failed = |_| KeyError::Failed {
            what: "encode a private key",
        };
        Ok(Zeroizing::new(match self {
            PrivateKey::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            PrivateKey::Ecdsa(_, pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            PrivateKey::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            PrivateKey::Token(_) => return Err(KeyError::InToken),
        }))
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
            PrivateKey::Ed25519(pair) => pair.public_key().as_der().map_err(failed)?,
            PrivateKey::Token(key) => return Ok(key.public().clone()),
        };
        PublicKey::from_spki(der.as_ref().to_vec())
    }

    /// Signs `message` as [`PublicKey::scheme`] says. RSA and Ed25519 make the same bytes every
    /// time, ECDSA others.
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
            PrivateKey::Ed25519(_) => Scheme::Ed25519,
            PrivateKey::Token(key) => key.public().scheme(),
        }
    }

    /// Signs `message`: RSA PKCS#1 v1.5, ECDSA in DER, or Ed25519.
    ///
    /// # Errors
    /// [`KeyError::WrongScheme`] when the scheme asks for another kind of key or for SHA-1,
    /// [`KeyError::Failed`] when the library can't, [`KeyError::Token`] when the token doesn't.
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
            (PrivateKey::Ed25519(pair), Scheme::Ed25519) => {
                Ok(pair.sign(message).as_ref().to_vec())
            }
            (PrivateKey::Token(key), scheme) => key.sign(scheme, message),
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
            PrivateKey::Ed25519(_) => f.write_str("PrivateKey::Ed25519(..)"),
            PrivateKey::Token(key) => write!(f, "PrivateKey::Token({:?}, ..)", key.public()),
        }
    }
}
