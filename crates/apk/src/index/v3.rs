use std::io::Write as _;
use std::path::Path;

use archive::Limits;
use base::{Digest, Sha1};

use super::archive_file::{IndexFile, bytes_of};
use super::{Index, IndexEntry, IndexError, MAXIMUM_INDEX};
use crate::adb::compose::{entry_fields, package_fields, put};
use crate::adb::decompose::package_info;
use crate::adb::schema::{INDEX, INDEX_FILE, INFO, INFOS, PACKAGE_FILE, index, info, package};
use crate::adb::{
    Adb, AdbError, Builder, Compression, Compressor, Head, Reader, Signed, Tag, Value, Writer,
};
use crate::dependency::Identity;
use crate::package::Package;
use crate::repository::NamePattern;
use crate::signature::{Keyring, Signer};

/// The payload, and the name of the key of `keyring` that signed it. Nothing of it is looked at
/// before its signature was found good.
pub(super) fn check<'k>(
    path: &Path,
    bytes: &[u8],
    keyring: Option<&'k Keyring>,
) -> Result<(Head, Option<&'k str>), IndexError> {
    let head = whole(bytes).map_err(|source| IndexError::Adb {
        path: path.to_owned(),
        source,
    })?;
    let signer = keyring.map(|keyring| keyring.verify_adb(&head, INDEX_FILE.id));
    let signer = signer.transpose().map_err(|source| IndexError::Signature {
        path: path.to_owned(),
        source,
    })?;
    Ok((head, signer))
}

/// What the payload says.
pub(super) fn index(path: &Path, head: &Head) -> Result<Index, IndexError> {
    let damaged = |source| IndexError::Adb {
        path: path.to_owned(),
        source,
    };
    let adb = Adb::new(&head.payload).map_err(damaged)?;
    let root = adb.root_object(&INDEX_FILE).map_err(damaged)?;
    let names = root.text(index::PKGNAME_SPEC).map_err(damaged)?;
    let names = (!names.is_empty())
        .then(|| NamePattern::of_index(names))
        .transpose()
        .map_err(|source| IndexError::Names {
            path: path.to_owned(),
            source,
        })?;
    let description = root.text(index::DESCRIPTION).map_err(damaged)?.to_owned();
    let entries = root
        .objects(index::PACKAGES, &INFO)
        .map_err(damaged)?
        .map(|object| entry(package_info(object?)?))
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    Ok(Index {
        description,
        names,
        entries,
    })
}

impl Index {
    /// The index as a file of format 3, signed by all signers. What an entry's text can't say is
    /// left out: packagers, triggers, checksums of data. The bytes depend on the arguments alone
    /// (with ECDSA keys, on chance too).
    ///
    /// # Errors
    /// A signer failed, or the index is larger than the format can hold.
    pub fn to_adb(
        &self,
        signers: &[&Signer],
        compression: Compression,
    ) -> Result<Vec<u8>, IndexError> {
        let mut payload = AdbIndex::new();
        for entry in &self.entries {
            payload.add(entry);
        }
        payload.finish(&self.description, self.names.as_ref(), signers, compression)
    }
}

/// All of an index's file in memory.
fn whole(bytes: &[u8]) -> Result<Head, AdbError> {
    let limits = Limits {
        bytes: MAXIMUM_INDEX,
        ..Limits::default()
    };
    let mut reader = Reader::new(bytes, limits)?;
    reader.expect(&INDEX_FILE)?;
    let head = reader.head()?;
    match reader.next_block()? {
        None => Ok(head),
        Some((kind, _)) => Err(AdbError::BlockOrder {
            found: kind.name(),
            allowed: "an index has none",
        }),
    }
}

fn entry(info: crate::adb::decompose::Info) -> Result<IndexEntry, AdbError> {
    let identity = match info.hashes.len() {
        20 => info
            .hashes
            .first_chunk()
            .map(|hash| Identity::Sha1(Sha1::from_bytes(*hash))),
        32 => info
            .hashes
            .first_chunk()
            .map(|hash| Identity::Sha256(Digest::from_bytes(*hash))),
        _ => None,
    };
    let identity = identity.ok_or_else(|| AdbError::Field {
        field: "hashes",
        reason: format!(
            "of {}-{} has {} bytes; it should be SHA-256, or its first 20",
            info.info.name,
            info.info.version,
            info.hashes.len()
        ),
    })?;
    Ok(IndexEntry {
        identity,
        size: info.file_size,
        info: info.info,
    })
}

/// An index whose entries are taken over into a new one as they are.
#[derive(Debug)]
pub struct StoredIndex {
    index: Index,
    /// Of format 3, the payload and where its packages are in it.
    stored: Option<(Head, Vec<Value>)>,
}

impl StoredIndex {
    /// Reads an index that a trusted key signed; without a keyring, whoever made it.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn read(path: &Path, keyring: Option<&Keyring>) -> Result<StoredIndex, IndexError> {
        let bytes = bytes_of(path)?;
        let file = IndexFile::check(path, &bytes, keyring)?;
        let index = file.index()?;
        let stored = file
            .into_head()
            .map(|head| {
                let packages = packages(&head).map_err(|source| IndexError::Adb {
                    path: path.to_owned(),
                    source,
                })?;
                Ok::<_, IndexError>((head, packages))
            })
            .transpose()?;
        Ok(StoredIndex { index, stored })
    }

    /// What it says of its packages, in its order.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.index.entries
    }
}

/// The packages of an index, in its order.
fn packages(head: &Head) -> Result<Vec<Value>, AdbError> {
    let adb = Adb::new(&head.payload)?;
    let packages = adb.root_object(&INDEX_FILE)?.value(index::PACKAGES);
    Ok(adb.slots(packages)?.iter().collect())
}

/// An index of format 3 that is put together package by package.
#[derive(Debug, Default)]
pub struct AdbIndex {
    builder: Builder,
    packages: Vec<Value>,
}

impl AdbIndex {
    /// An index without packages.
    pub fn new() -> AdbIndex {
        AdbIndex::default()
    }

    /// How many packages it has.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Adds a package by what is known of it. Values are written in the order in which an index of
    /// format 2 has their lines, so that what is converted from one has the bytes that apk gives it.
    pub fn add(&mut self, entry: &IndexEntry) {
        let fields = entry_fields(&mut self.builder, entry);
        let package = self.builder.object(&fields);
        self.packages.push(package);
    }

    /// Adds the package at a place of another index as it stands there: of one of format 3 fields too
    /// that are not known here.
    ///
    /// # Errors
    /// Its payload is damaged, or has no such package.
    pub fn add_stored(&mut self, from: &StoredIndex, place: usize) -> Result<(), AdbError> {
        let missing = || AdbError::Field {
            field: "packages",
            reason: format!("has nothing at place {place}"),
        };
        match &from.stored {
            None => self.add(from.entries().get(place).ok_or_else(missing)?),
            Some((head, packages)) => {
                let package = *packages.get(place).ok_or_else(missing)?;
                let package = Adb::new(&head.payload)?.copy(package, &mut self.builder)?;
                self.packages.push(package);
            }
        }
        Ok(())
    }

    /// Adds a package by its file, with the bytes that apk gives it. Of one of format 3 everything is
    /// taken over as it is, fields too that are not known here.
    ///
    /// # Errors
    /// Its payload is damaged.
    pub fn add_package(&mut self, package: &Package) -> Result<(), AdbError> {
        let Some(head) = package.adb() else {
            let entry = IndexEntry::of(package);
            let fields = package_fields(&mut self.builder, package.pkginfo(), &entry);
            let package = self.builder.object(&fields);
            self.packages.push(package);
            return Ok(());
        };
        let adb = Adb::new(&head.payload)?;
        let stored = adb
            .root_object(&PACKAGE_FILE)?
            .object(package::INFO, &INFO)?;
        let count = INFO.fields.len().max(stored.slots().len());
        let mut fields = Vec::new();
        for field in 1..=count {
            fields.push(adb.copy(stored.value(field), &mut self.builder)?);
        }
        let size = self.builder.integer(package.size());
        put(&mut fields, info::FILE_SIZE, size);
        let identity = self.builder.blob(Digest::of(&head.payload).as_bytes());
        put(&mut fields, info::HASHES, identity);
        let package = self.builder.object(&fields);
        self.packages.push(package);
        Ok(())
    }

    /// The payload, its packages sorted.
    ///
    /// # Errors
    /// It is larger than the format can hold.
    pub fn payload(
        mut self,
        description: &str,
        names: Option<&NamePattern>,
    ) -> Result<Vec<u8>, AdbError> {
        let mut fields = [Value::NULL; INDEX.fields.len()];
        let description = self.builder.blob(description.as_bytes());
        put(&mut fields, index::DESCRIPTION, description);
        if let Some(names) = names {
            let names = self.builder.blob(names.as_str().as_bytes());
            put(&mut fields, index::PKGNAME_SPEC, names);
        }
        let packages = self.builder.array(&INFOS, Tag::Object, self.packages);
        put(&mut fields, index::PACKAGES, packages);
        let root = self.builder.object(&fields);
        self.builder.set_root(root);
        self.builder.finish()
    }

    /// The file, signed by all signers.
    ///
    /// # Errors
    /// A signer failed, or it is larger than the format can hold.
    pub fn finish(
        self,
        description: &str,
        names: Option<&NamePattern>,
        signers: &[&Signer],
        compression: Compression,
    ) -> Result<Vec<u8>, IndexError> {
        let payload = self.payload(description, names)?;
        let signed = Signed::new(INDEX_FILE.id, &payload);
        let signatures = signers
            .iter()
            .map(|signer| signer.sign_adb(&signed))
            .collect::<Result<Vec<_>, _>>()?;
        let write = || {
            let mut writer = Writer::new(Compressor::new(Vec::new(), compression)?, INDEX_FILE.id)?;
            writer.head(&payload, &signatures)?;
            let mut out = writer.into_inner();
            out.flush()?;
            out.finish()
        };
        Ok(write().map_err(AdbError::Io)?)
    }
}
