//! Key pairs and signatures: RSA with PKCS#1 v1.5 padding, ECDSA and Ed25519, in PEM files, under a
//! password or not, or in tokens that are spoken to by PKCS#11.
//!
//! The arithmetic is aws-lc's. SHA-1 signatures are verified, because old apk packages and
//! indexes carry nothing else, and never made.

mod der;
mod files;
mod pem;
mod private;
mod public;
mod sealed;
mod token;

pub use files::{FileError, load_private, load_public, public_path, save_pair};
pub use private::{Algorithm, PrivateKey};
pub use public::{Curve, PublicKey, Scheme};
pub use sealed::Password;
pub use token::{TokenError, TokenKey, TokenUri, open_token};

/// Why a key can't be used or a signature isn't good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no PEM block of a kind that keys come in.
    #[error("no key is in it: expected a PEM block `-----BEGIN {expected}-----`")]
    NoPem {
        /// The labels that would have been taken.
        expected: &'static str,
    },
    /// A PEM block isn't closed or holds no base64.
    #[error("the PEM block `{label}` is damaged: {reason}")]
    BadPem {
        /// The block's label.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A private key protected by a passphrase.
    #[error("the private key is encrypted, and no password was given")]
    Encrypted,
    /// The password does not open the key.
    #[error("the password is not that of the private key, or the key was changed")]
    WrongPassword,
    /// A private key where a public one belongs, or the other way round.
    #[error("this is a {found} key, a {wanted} key belongs here")]
    WrongHalf {
        /// What the PEM label says.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The bytes are no key of a kind that is supported.
    #[error(
        "not a usable RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519 key: {reason}"
    )]
    Rejected {
        /// What the parser said.
        reason: String,
    },
    /// The scheme asks for the other kind of key.
    #[error("a {scheme:?} signature can't be made or checked with this kind of key")]
    WrongScheme {
        /// The scheme.
        scheme: Scheme,
    },
    /// The signature was not made by this key over these bytes.
    #[error("the signature does not match")]
    BadSignature,
    /// The token that the key is in failed.
    #[error("the token did not sign: {reason}")]
    Token {
        /// What it said.
        reason: String,
    },
    /// The key never leaves its token.
    #[error("a key in a token can't be written to a file")]
    InToken,
    /// The cryptographic library failed, for want of memory or entropy.
    #[error("the cryptographic library failed to {what}")]
    Failed {
        /// What it was to do.
        what: &'static str,
    },
}
