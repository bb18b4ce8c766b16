use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

/// Bytes before the signature itself: version, hash, key.
const HEADER: usize = 18;
/// apk's numbers of hashes.
const SHA256: u8 = 3;
const SHA512: u8 = 4;
const SHA256_160: u8 = 5;

/// A signature over a payload. It covers the schema number, its own first 18 bytes (its version, 0,
/// the number of the hash, and the key's name), and the hash of the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The number of the hash that the payload goes into: 4, SHA-512, wherever apk signs.
    pub hash: u8,
    /// The key's name: [`key::PublicKey::short_id`].
    pub key: [u8; 16],
    /// The signature itself, RSA PKCS#1 v1.5 or ECDSA in DER, either with SHA-512.
    pub bytes: Vec<u8>,
}

/// What is signed, hashed once for several signatures.
pub struct Signed {
    schema: u32,
    sha256: [u8; 32],
    sha512: [u8; 64],
}

impl Signed {
    /// A payload in a file of this schema.
    pub fn new(schema: u32, payload: &[u8]) -> Signed {
        Signed {
            schema,
            sha256: Sha256::digest(payload).into(),
            sha512: Sha512::digest(payload).into(),
        }
    }

    /// The bytes that a signature with this header covers; `None` if its hash is not known.
    pub(crate) fn message(&self, hash: u8, key: [u8; 16]) -> Option<Vec<u8>> {
        let digest: &[u8] = match hash {
            SHA256 => &self.sha256,
            SHA512 => &self.sha512,
            SHA256_160 => self.sha256.get(..20)?,
            _ => return None,
        };
        let mut message = self.schema.to_le_bytes().to_vec();
        message.extend([0, hash]);
        message.extend(key);
        message.extend(digest);
        Some(message)
    }
}

impl Signature {
    /// A signature with SHA-512, of bytes that were made over [`Signed`]'s message.
    pub(crate) fn new(key: [u8; 16], bytes: Vec<u8>) -> Signature {
        Signature {
            hash: SHA512,
            key,
            bytes,
        }
    }

    /// The hash that new signatures use.
    pub(crate) const HASH: u8 = SHA512;

    /// Reads the contents of a signature block. `None` if it is of another version or too short:
    /// apk passes those over.
    pub fn from_block(block: &[u8]) -> Option<Signature> {
        let (header, bytes) = block.split_at_checked(HEADER)?;
        match header {
            [0, hash, key @ ..] => Some(Signature {
                hash: *hash,
                key: *key.first_chunk()?,
                bytes: bytes.to_vec(),
            }),
            _ => None,
        }
    }

    /// The contents of a signature block.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = vec![0, self.hash];
        block.extend(self.key);
        block.extend_from_slice(&self.bytes);
        block
    }

    /// The key's name in hex.
    pub fn key_name(&self) -> String {
        hex::encode(self.key)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature by {}", self.key_name())
    }
}
