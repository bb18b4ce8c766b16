//! Who signed what: keys by file name, and the signature entries of packages and indexes.
//!
//! A signature is a gzip member before what it covers, with one tar entry
//! `.SIGN.<algorithm>.<key file name>` (apk-package(5), v2). It covers the compressed bytes of the
//! control member of a package, and everything that follows of an index. In format 3 it is a block
//! ([`crate::adb::Signature`]) that names its key by a hash.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use archive::tar::WriteError;
use base::Epoch;
use key::{FileError, KeyError, PrivateKey, PublicKey, Scheme};

use crate::adb;
use crate::member::{End, Owner, small_member};

/// Larger signature entries are passed over, as apk does.
pub const MAXIMUM_SIGNATURE_SIZE: u64 = 64 * 1024;

/// A signature as it stands in a package or an index.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSignature {
    /// How it was made.
    pub scheme: Scheme,
    /// The file name of the public key, such as `builder.rsa.pub`.
    pub key_name: String,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

impl StoredSignature {
    /// The signature that the tar entry `name` holds. `None` for other entries, algorithms that
    /// are not known, and blobs too large: apk passes those over, and one good signature suffices.
    pub fn from_entry(name: &str, bytes: Vec<u8>) -> Option<StoredSignature> {
        let rest = name.strip_prefix(".SIGN.")?;
        let (algorithm, key_name) = rest.split_once('.')?;
        let scheme = match algorithm {
            "RSA" => Scheme::RsaSha1,
            "RSA256" => Scheme::RsaSha256,
            "RSA512" => Scheme::RsaSha512,
            _ => return None,
        };
        if key_name.is_empty() || bytes.len() as u64 > MAXIMUM_SIGNATURE_SIZE {
            return None;
        }
        Some(StoredSignature {
            scheme,
            key_name: key_name.to_owned(),
            bytes,
        })
    }
}

impl fmt::Debug for StoredSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {}", self.scheme, self.key_name)
    }
}

/// Why a file isn't trusted. Says nothing of the file: the errors that carry this do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature of a known kind.
    #[error(
        "it is not signed{}; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)",
        described(.skipped)
    )]
    Unsigned {
        /// The names of signature entries that were passed over.
        skipped: Vec<String>,
    },
    /// No key that signed it is in the keyring.
    #[error(
        "it is signed by {signed_by}, which is not among the trusted keys ({trusted}); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)",
        signed_by = list(.signed_by),
        trusted = list(.trusted)
    )]
    UnknownKey {
        /// The key names of its signatures.
        signed_by: Vec<String>,
        /// The keyring's key names.
        trusted: Vec<String>,
    },
    /// A trusted key's name is on it, the signature is not that key's over these bytes.
    #[error(
        "the signature by {key_name} is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source"
    )]
    Wrong {
        /// The key's name.
        key_name: String,
    },
}

fn described(skipped: &[String]) -> String {
    if skipped.is_empty() {
        String::new()
    } else {
        format!(" in a way that is known (it has {})", list(skipped))
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The signature entries found in front of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Those of known algorithms, in their order.
    pub known: Vec<StoredSignature>,
    /// The entry names of those passed over.
    pub skipped: Vec<String>,
}

/// A key or a keyring can't be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A key file is no good.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder can't be read.
    #[error("can't read the keys in {path}: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two files of one name hold different keys; a signature names its key by file name alone.
    #[error(
        "two different keys are called {name}; rename or remove one, {path} came second",
        path = path.display()
    )]
    Ambiguous {
        /// The file name.
        name: String,
        /// The second file.
        path: PathBuf,
    },
    /// The path has no file name that can name a key.
    #[error("{path} can't name a key: the file name must be plain text", path = path.display())]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// The key is no RSA key: in format 2, apk verifies no other signatures.
    #[error(
        "key {name} is no RSA key; apk verifies RSA signatures only, except in files of format 3"
    )]
    NotRsa {
        /// The key's name.
        name: String,
    },
    /// The name can't stand in a signature entry.
    #[error(
        "`{name}` can't name a key: no slashes, spaces or control characters, at most 87 bytes"
    )]
    BadKeyName {
        /// The name.
        name: String,
    },
    /// The signature's entry can't be written.
    #[error("key {name}: {source}")]
    Entry {
        /// The key's name.
        name: String,
        /// Why.
        source: WriteError,
    },
    /// The cryptographic library failed.
    #[error("key {name}: {source}")]
    Failed {
        /// The key's name.
        name: String,
        /// What failed.
        source: KeyError,
    },
}

/// The public keys that are trusted, by file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: BTreeMap<String, PublicKey>,
}

impl Keyring {
    /// Loads key files, and every `*.pub` file of folders (not of folders within).
    ///
    /// # Errors
    /// A path can't be read, a file holds no public key, or two keys share a name.
    pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Keyring, KeyringError> {
        let mut keyring = Keyring::default();
        for path in paths {
            let path = path.as_ref();
            if path.is_dir() {
                for file in key_files(path)? {
                    keyring.add_file(&file)?;
                }
            } else {
                keyring.add_file(path)?;
            }
        }
        Ok(keyring)
    }

    /// Adds the key in a file, by its file name.
    ///
    /// # Errors
    /// As [`Keyring::load`].
    pub fn add_file(&mut self, path: &Path) -> Result<(), KeyringError> {
        let key = key::load_public(path)?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| KeyringError::Name {
                path: path.to_owned(),
            })?;
        match self.keys.get(name) {
            Some(known) if *known != key => Err(KeyringError::Ambiguous {
                name: name.to_owned(),
                path: path.to_owned(),
            }),
            _ => {
                self.keys.insert(name.to_owned(), key);
                Ok(())
            }
        }
    }

    /// Adds a key, in place of any of the same name.
    pub fn add(&mut self, name: impl Into<String>, key: PublicKey) {
        self.keys.insert(name.into(), key);
    }

    /// The keys and their names, sorted by name.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// The key of this file name.
    pub fn get(&self, name: &str) -> Option<&PublicKey> {
        self.keys.get(name)
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The name of a trusted key that signed `message`: any one good signature suffices.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(&self, signatures: &Signatures, message: &[u8]) -> Result<&str, SignatureError> {
        let mut wrong = None;
        for signature in &signatures.known {
            let Some((name, key)) = self.keys.get_key_value(&signature.key_name) else {
                continue;
            };
            if key
                .verify(signature.scheme, message, &signature.bytes)
                .is_ok()
            {
                return Ok(name);
            }
            wrong.get_or_insert(name);
        }
        Err(match wrong {
            Some(key_name) => SignatureError::Wrong {
                key_name: key_name.clone(),
            },
            None if signatures.known.is_empty() => SignatureError::Unsigned {
                skipped: signatures.skipped.clone(),
            },
            None => SignatureError::UnknownKey {
                signed_by: signatures
                    .known
                    .iter()
                    .map(|signature| signature.key_name.clone())
                    .collect(),
                trusted: self.keys.keys().cloned().collect(),
            },
        })
    }
}

impl Keyring {
    /// As [`Keyring::verify`], for the signatures of a file of format 3, which name their keys by
    /// a hash.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify_adb(&self, head: &adb::Head, schema: u32) -> Result<&str, SignatureError> {
        let signed = adb::Signed::new(schema, &head.payload);
        let mut wrong = None;
        for signature in &head.signatures {
            let Some(message) = signed.message(signature.hash, signature.key) else {
                continue;
            };
            let mut trusted = self.keys.iter();
            let Some((name, key)) = trusted.find(|(_, key)| key.short_id() == signature.key) else {
                continue;
            };
            if key
                .verify(key.sha512_scheme(), &message, &signature.bytes)
                .is_ok()
            {
                return Ok(name);
            }
            wrong.get_or_insert(name);
        }
        Err(match wrong {
            Some(key_name) => SignatureError::Wrong {
                key_name: key_name.clone(),
            },
            None if head.signatures.is_empty() => SignatureError::Unsigned {
                skipped: match head.skipped {
                    0 => Vec::new(),
                    count => vec![format!("{count} signature blocks of another version")],
                },
            },
            None => SignatureError::UnknownKey {
                signed_by: head
                    .signatures
                    .iter()
                    .map(adb::Signature::key_name)
                    .collect(),
                trusted: self
                    .keys
                    .iter()
                    .map(|(name, key)| format!("{name} ({})", hex::encode(key.short_id())))
                    .collect(),
            },
        })
    }
}

fn key_files(folder: &Path) -> Result<Vec<PathBuf>, KeyringError> {
    let failed = |source| KeyringError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "pub") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A private key and the file name that its public half goes by.
#[derive(Debug)]
pub struct Signer {
    key_name: String,
    key: PrivateKey,
    public: PublicKey,
    /// Of entries in format 2; that of blocks in format 3 is always with SHA-512.
    scheme: Scheme,
}

impl Signer {
    /// Names the public half `key_name`, such as `builder.rsa.pub`: the name that the file in
    /// `/etc/apk/keys` must have.
    ///
    /// # Errors
    /// The key is no RSA key, or the name can't stand in a signature entry.
    pub fn new(key_name: impl Into<String>, key: PrivateKey) -> Result<Signer, KeyringError> {
        let signer = Signer::of_any_kind(key_name, key)?;
        if signer.public.is_rsa() {
            Ok(signer)
        } else {
            Err(signer.not_rsa())
        }
    }

    fn not_rsa(&self) -> KeyringError {
        KeyringError::NotRsa {
            name: self.key_name.clone(),
        }
    }

    /// As [`Signer::new`], of a key that may be ECDSA: it signs files of format 3 alone.
    ///
    /// # Errors
    /// The name can't stand in a signature entry.
    pub fn of_any_kind(
        key_name: impl Into<String>,
        key: PrivateKey,
    ) -> Result<Signer, KeyringError> {
        let name = key_name.into();
        // `.SIGN.RSA256.` and the name share the 100 bytes of a ustar name.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if name.is_empty() || name.len() > 87 || !name.bytes().all(plain) {
            return Err(KeyringError::BadKeyName { name });
        }
        match key.public() {
            Ok(public) => Ok(Signer {
                key_name: name,
                key,
                public,
                scheme: Scheme::RsaSha256,
            }),
            Err(source) => Err(KeyringError::Failed { name, source }),
        }
    }

    /// Takes the private key of the file `path`: its public half is named as the file with `.pub`
    /// appended. It may be ECDSA: then it signs files of format 3 alone.
    ///
    /// # Errors
    /// The name can't stand in a signature entry.
    pub fn of_file(path: &Path, key: PrivateKey) -> Result<Signer, KeyringError> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| KeyringError::Name {
                path: path.to_owned(),
            })?;
        Signer::of_any_kind(format!("{name}.pub"), key)
    }

    /// The same, with SHA-512 in place of SHA-256 in the entries that it makes: `RSA512`, which
    /// apk 2 does not know.
    #[must_use]
    pub fn with_sha512(self) -> Signer {
        Signer {
            scheme: Scheme::RsaSha512,
            ..self
        }
    }

    /// A signature of format 3.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn sign_adb(&self, signed: &adb::Signed) -> Result<adb::Signature, KeyringError> {
        let key = self.public.short_id();
        let message = signed
            .message(adb::Signature::HASH, key)
            .unwrap_or_default();
        let bytes = self
            .key
            .sign_with(self.public.sha512_scheme(), &message)
            .map_err(|source| self.failed(source))?;
        Ok(adb::Signature::new(key, bytes))
    }

    fn failed(&self, source: KeyError) -> KeyringError {
        KeyringError::Failed {
            name: self.key_name.clone(),
            source,
        }
    }

    /// The file name of the public half.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// The private half, for statements about packages.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A keyring of this key alone.
    pub fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add(self.key_name.clone(), self.public.clone());
        keyring
    }

    /// The gzip member that goes in front of `message`: one tar entry
    /// `.SIGN.RSA256.<key file name>` (or `RSA512`), its mtime `epoch`, without end-of-archive
    /// blocks.
    ///
    /// # Errors
    /// The key is no RSA key, or the cryptographic library failed.
    pub fn sign(&self, message: &[u8], epoch: Epoch) -> Result<Vec<u8>, KeyringError> {
        if !self.public.is_rsa() {
            return Err(self.not_rsa());
        }
        let signature = self
            .key
            .sign_with(self.scheme, message)
            .map_err(|source| self.failed(source))?;
        let algorithm = match self.scheme {
            Scheme::RsaSha512 => "RSA512",
            _ => "RSA256",
        };
        let entry = format!(".SIGN.{algorithm}.{}", self.key_name);
        small_member(
            &[(entry.as_str(), 0o644, signature.as_slice())],
            Owner::Root,
            epoch,
            End::Open,
        )
        .map_err(|source| KeyringError::Entry {
            name: self.key_name.clone(),
            source,
        })
    }
}
