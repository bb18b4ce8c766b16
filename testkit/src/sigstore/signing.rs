//! The keys of the authorities, and the encodings they share.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// base64url without padding (RFC 4648, 5).
pub(super) fn url_safe(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn from_url_safe(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A P-256 key.
pub(super) struct Key(EcdsaKeyPair);

impl Key {
    pub(super) fn new() -> Key {
        Key(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key"))
    }

    /// The SubjectPublicKeyInfo in DER.
    pub(super) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().expect("its public half");
        der.as_ref().to_vec()
    }

    /// ECDSA with SHA-256, in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.expect("a signature").as_ref().to_vec()
    }
}

pub(super) fn verifies(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki)
        .verify(message, signature)
        .is_ok()
}

/// The same where only the SHA-256 of the message is known.
pub(super) fn verifies_digest(spki: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    digest_verifies(&ECDSA_P256_SHA256_ASN1, spki, hash, signature)
}

/// The same of RSA (PKCS #1 v1.5).
pub(super) fn verifies_digest_by_rsa(spki: &[u8], hash: &[u8], signature: &[u8]) -> bool {
    digest_verifies(&RSA_PKCS1_2048_8192_SHA256, spki, hash, signature)
}

fn digest_verifies(
    algorithm: &'static dyn VerificationAlgorithm,
    spki: &[u8],
    hash: &[u8],
    signature: &[u8],
) -> bool {
    let Ok(hash) = Digest::import_less_safe(hash, &SHA256) else {
        return false;
    };
    UnparsedPublicKey::new(algorithm, spki)
        .verify_digest(&hash, signature)
        .is_ok()
}

/// The SubjectPublicKeyInfo of the P-256 key in a certificate; nothing if there is none.
pub(super) fn spki_of(certificate: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let mut parts = certificate.windows(HEAD.len() + 65);
    let found = parts.find(|part| part.starts_with(&HEAD));
    found.unwrap_or_default().to_vec()
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let body = base64(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The bytes of the first PEM block.
pub(super) fn from_pem(text: &str) -> Option<Vec<u8>> {
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .map(str::trim)
        .collect();
    from_base64(&body)
}

/// A DER element.
pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match contents.len() {
        length @ ..=0x7f => out.push(length as u8),
        length @ ..=0xff => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(contents);
    out
}

/// The first element inside a DER element, whole.
pub(super) fn first_inside(der: &[u8]) -> &[u8] {
    let header = |der: &[u8]| match der[1] {
        short @ ..=0x7f => (2, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let length = der[2..2 + count]
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (2 + count, length)
        }
    };
    let inside = &der[header(der).0..];
    let (start, length) = header(inside);
    &inside[..start + length]
}
