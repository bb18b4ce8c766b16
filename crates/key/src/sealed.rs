//! Private keys under a password: cosign's form, read and written, and PKCS#8's, read.
//!
//! cosign's is a PEM block of JSON: scrypt makes a key of the password, and NaCl's secretbox
//! (XSalsa20 and Poly1305, the tag first) holds the PKCS#8 bytes.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::KeyError;

/// The label that cosign writes now.
pub(crate) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
const OLDER_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// 64 MiB and a third of a second; what cosign takes too.
const LOG_N: u8 = 16;
const R: u32 = 8;
const P: u32 = 1;
/// A file may ask for no more memory than this, in bytes; cosign asks for a quarter.
const MOST_MEMORY: u64 = 256 << 20;
const MOST_PASSES: u32 = 16;

/// What a private key is protected with. It is wiped from memory, and never shown; comparing takes as
/// long whatever is in it.
pub struct Password(Zeroizing<Vec<u8>>);

impl PartialEq for Password {
    fn eq(&self, other: &Password) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Password {}

impl Password {
    /// Takes the bytes as they are; none at all is a password too, as cosign has it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Password {
        Password(Zeroizing::new(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: KdfParameters,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct KdfParameters {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";

/// The PKCS#8 bytes of an encrypted block.
pub(crate) fn open(
    label: &str,
    block: &[u8],
    password: &Password,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match label {
        LABEL | OLDER_LABEL => open_box(label, block, password),
        "ENCRYPTED PRIVATE KEY" => {
            let rejected = |error: pkcs8::Error| KeyError::Rejected {
                reason: error.to_string(),
            };
            let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(block).map_err(rejected)?;
            affordable(&info.encryption_algorithm)?;
            let opened = info.decrypt(&password.0).map_err(|error| match error {
                pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed)
                | pkcs8::Error::Asn1(_)
                | pkcs8::Error::KeyMalformed(_) => KeyError::WrongPassword,
                other => rejected(other),
            })?;
            Ok(Zeroizing::new(opened.as_bytes().to_vec()))
        }
        other => Err(KeyError::Rejected {
            reason: format!("`{other}` is no way of encrypting keys that is known"),
        }),
    }
}

/// Refuses what would take minutes or all memory to try.
fn affordable(scheme: &pkcs8::pkcs5::EncryptionScheme) -> Result<(), KeyError> {
    use pkcs8::pkcs5::pbes2::Kdf;
    const MOST_ROUNDS: u32 = 10_000_000;
    let dear = match scheme.pbes2().map(|parameters| &parameters.kdf) {
        Some(Kdf::Pbkdf2(parameters)) => parameters.iteration_count > MOST_ROUNDS,
        Some(Kdf::Scrypt(parameters)) => too_dear(
            parameters.cost_parameter,
            parameters.block_size.into(),
            parameters.parallelization.into(),
        ),
        _ => false,
    };
    match dear {
        true => Err(TOO_DEAR()),
        false => Ok(()),
    }
}

fn too_dear(n: u64, r: u32, p: u32) -> bool {
    let memory = n
        .checked_mul(128)
        .and_then(|block| block.checked_mul(r.into()));
    memory.is_none_or(|memory| memory > MOST_MEMORY) || p > MOST_PASSES
}

const TOO_DEAR: fn() -> KeyError = || KeyError::Rejected {
    reason: "opening it asks for more work than any program makes it".to_owned(),
};

fn open_box(
    label: &str,
    block: &[u8],
    password: &Password,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let damaged = |reason| KeyError::BadPem {
        label: label.to_owned(),
        reason,
    };
    let sealed: Sealed =
        serde_json::from_slice(block).map_err(|_| damaged("its body is not the JSON of a key"))?;
    if sealed.kdf.name != KDF || sealed.cipher.name != CIPHER {
        return Err(damaged(
            "it is not encrypted with scrypt and nacl/secretbox",
        ));
    }
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| damaged("a field is not base64"))
    };
    let (salt, nonce) = (decode(&sealed.kdf.salt)?, decode(&sealed.cipher.nonce)?);
    let nonce: [u8; 24] = nonce
        .try_into()
        .map_err(|_| damaged("its nonce has not 24 bytes"))?;
    let KdfParameters { n, r, p } = sealed.kdf.params;
    if !n.is_power_of_two() || n < 2 || r == 0 || p == 0 {
        return Err(damaged("its parameters of scrypt are none"));
    }
    if too_dear(n, r, p) {
        return Err(TOO_DEAR());
    }
    let cipher = cipher(password, &salt, (n.trailing_zeros() as u8, r, p))?;
    let ciphertext = decode(&sealed.ciphertext)?;
    cipher
        .decrypt(Nonce::from_slice(&nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassword)
}

/// The body of a block with [`LABEL`].
pub(crate) fn seal(pkcs8: &[u8], password: &Password) -> Result<Vec<u8>, KeyError> {
    let failed = KeyError::Failed {
        what: "encrypt a private key",
    };
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    for bytes in [&mut salt[..], &mut nonce[..]] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| failed.clone())?;
    }
    let ciphertext = cipher(password, &salt, (LOG_N, R, P))?
        .encrypt(Nonce::from_slice(&nonce), pkcs8)
        .map_err(|_| failed.clone())?;
    let sealed = Sealed {
        kdf: Kdf {
            name: KDF.to_owned(),
            params: KdfParameters {
                n: 1 << LOG_N,
                r: R,
                p: P,
            },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher {
            name: CIPHER.to_owned(),
            nonce: STANDARD.encode(nonce),
        },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&sealed).map_err(|_| failed)
}

fn cipher(
    password: &Password,
    salt: &[u8],
    (log_n, r, p): (u8, u32, u32),
) -> Result<XSalsa20Poly1305, KeyError> {
    let failed = KeyError::Failed {
        what: "derive a key from the password",
    };
    let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| failed.clone())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(&password.0, salt, &parameters, &mut *key).map_err(|_| failed)?;
    Ok(XSalsa20Poly1305::new((&*key).into()))
}
