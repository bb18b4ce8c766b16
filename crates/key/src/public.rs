use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA512_ASN1,
    ED25519, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
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
    /// ECDSA over any curve and SHA-512, the signature in DER; of files of apk's format 3.
    EcdsaSha512,
    /// Ed25519 over the message itself (RFC 8032); statements have it, apk does not.
    Ed25519,
}

/// An elliptic curve of NIST's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// Every curve.
    pub const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Curve::P256 => Scheme::EcdsaSha256,
            Curve::P384 | Curve::P521 => Scheme::EcdsaSha512,
        }
    }

    fn with_sha512(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA512_ASN1,
            Curve::P384 => &ECDSA_P384_SHA512_ASN1,
            Curve::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Rsa,
    Ecdsa(Curve),
    Ed25519,
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
            "PUBLIC KEY" => PublicKey::from_spki(block.der.to_vec()),
            "RSA PUBLIC KEY" => PublicKey::from_spki(der::subject_public_key_info(&block.der)),
            _ => Err(KeyError::WrongHalf {
                found: "private",
                wanted: "public",
            }),
        }
    }

    /// Takes an RSA key's modulus and exponent in big-endian bytes, as JSON web keys have them
    /// (RFC 7518, 6.3.1).
    ///
    /// # Errors
    /// They are no RSA key of 2048 to 8192 bits.
    pub fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, KeyError> {
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let bytes = modulus.len() - zeros;
        if !(256..=1024).contains(&bytes) {
            return Err(KeyError::Rejected {
                reason: format!("its modulus has {bytes} bytes"),
            });
        }
        let key = der::rsa_public_key(modulus, exponent);
        PublicKey::from_spki(der::subject_public_key_info(&key))
    }

    /// Takes a SubjectPublicKeyInfo in DER (RFC 5280).
    ///
    /// # Errors
    /// It is no RSA key of 1024 to 8192 bits, no Ed25519 key, nor one on a curve that is known.
    pub fn from_spki(spki: Vec<u8>) -> Result<PublicKey, KeyError> {
        // A bare point or a PKCS#1 key would parse too; the id must be that of one form.
        if spki.first() != Some(&0x30) {
            return Err(KeyError::Rejected {
                reason: "it is no SubjectPublicKeyInfo".to_owned(),
            });
        }
        let curve = Curve::ALL
            .into_iter()
            .find(|curve| ParsedPublicKey::new(curve.with_sha512(), &spki).is_ok());
        if let Some(curve) = curve {
            return Ok(PublicKey {
                kind: Kind::Ecdsa(curve),
                spki,
            });
        }
        if ParsedPublicKey::new(&ED25519, &spki).is_ok() {
            return Ok(PublicKey {
                kind: Kind::Ed25519,
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
        pem::encode("PUBLIC KEY", &self.spki).to_string()
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key's name by contents: SHA-256 of the SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// The key's name in signatures of apk's format 3: the first 16 bytes of SHA-512 of what the
    /// SubjectPublicKeyInfo wraps (an RSAPublicKey, or a point of the curve).
    pub fn short_id(&self) -> [u8; 16] {
        let key = der::subject_public_key(&self.spki).unwrap_or_default();
        let digest = digest::digest(&digest::SHA512, key);
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Whether it is an RSA key.
    pub fn is_rsa(&self) -> bool {
        self.kind == Kind::Rsa
    }

    /// How many bits the modulus of an RSA key has.
    pub fn rsa_bits(&self) -> Option<usize> {
        if !self.is_rsa() {
            return None;
        }
        let modulus = der::rsa_modulus(der::subject_public_key(&self.spki)?)?;
        let first = modulus.first()?;
        Some(modulus.len() * 8 - first.leading_zeros() as usize)
    }

    pub(crate) fn curve(&self) -> Option<Curve> {
        match self.kind {
            Kind::Ecdsa(curve) => Some(curve),
            Kind::Rsa | Kind::Ed25519 => None,
        }
    }

    /// The scheme with SHA-512 that suits this key: what files of apk's format 3 are signed with. An
    /// Ed25519 key has none of apk's; signing with it fails.
    pub fn sha512_scheme(&self) -> Scheme {
        match self.kind {
            Kind::Rsa => Scheme::RsaSha512,
            Kind::Ecdsa(_) | Kind::Ed25519 => Scheme::EcdsaSha512,
        }
    }

    /// The scheme that [`crate::PrivateKey::sign`] of this key's other half uses.
    pub fn scheme(&self) -> Scheme {
        match self.kind {
            Kind::Rsa => Scheme::RsaSha256,
            Kind::Ecdsa(curve) => curve.scheme(),
            Kind::Ed25519 => Scheme::Ed25519,
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
            (Scheme::EcdsaSha256, Kind::Ecdsa(Curve::P256)) => &ECDSA_P256_SHA256_ASN1,
            (Scheme::EcdsaSha512, Kind::Ecdsa(curve)) => curve.with_sha512(),
            (Scheme::Ed25519, Kind::Ed25519) => &ED25519,
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
