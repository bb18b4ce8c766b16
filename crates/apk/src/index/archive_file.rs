use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use archive::Limits;
use archive::gzip::{GzipError, Members};
use archive::tar::{self, End, EntryKind};
use base::{Digest, Epoch};

use super::stamp::shortened;
use super::{Index, TextError, v3};
use crate::adb::{AdbError, Head};
use crate::catalogue::CatalogueError;
use crate::member::{self, Owner, exceeded_bytes, is_truncation, small_member};
use crate::repository::InvalidNamePattern;
use crate::signature::{
    Keyring, KeyringError, SignatureError, Signatures, Signer, StoredSignature,
};

/// An index's file name in a repository's folder of an architecture.
pub const FILE_NAME: &str = "APKINDEX.tar.gz";

/// Bytes of an index, compressed or not.
pub const MAXIMUM_INDEX: u64 = 300 << 20;

/// Bytes of a description; apk passes over longer ones.
pub const DESCRIPTION_LIMIT: usize = 160;

/// An index can't be read, isn't trusted, or can't be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The system refused.
    #[error("can't read index {}: {source}", path.display())]
    Read {
        /// The index.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not an apk index: {reason}", path.display())]
    NotAnIndex {
        /// The file.
        path: PathBuf,
        /// What it is or lacks.
        reason: &'static str,
    },
    /// An index of format 3 is damaged or hostile.
    #[error("index {} can't be used: {source}; get it again from its source", path.display())]
    Adb {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: AdbError,
    },
    /// An index of format 3 calls the files of packages by a pattern that is none.
    #[error("index {}: {source}", path.display())]
    Names {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: InvalidNamePattern,
    },
    /// An index of format 3 can't be written.
    #[error("the index can't be written: {0}")]
    Payload(#[from] AdbError),
    /// The file ends too early.
    #[error("index {} is truncated; get it again from its source", path.display())]
    Truncated {
        /// The index.
        path: PathBuf,
    },
    /// It is larger than any index may be.
    #[error("index {}, or a file in it, is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The index.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// It is no gzip.
    #[error("index {} is damaged: {source}; get it again from its source", path.display())]
    Gzip {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: GzipError,
    },
    /// It holds no tar archive.
    #[error("index {} is damaged: {source}; get it again from its source", path.display())]
    Tar {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: tar::ReadError,
    },
    /// Its text can't be understood.
    #[error("the APKINDEX in {}: {source}", path.display())]
    Text {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// Its compact form can't be made.
    #[error("index {}: {source}", path.display())]
    Catalogue {
        /// The index.
        path: PathBuf,
        /// Why.
        source: CatalogueError,
    },
    /// It isn't signed by a trusted key.
    #[error("index {}: {source}", path.display())]
    Signature {
        /// The index.
        path: PathBuf,
        /// Why.
        source: SignatureError,
    },
    /// It can't be signed.
    #[error("the index can't be signed: {0}")]
    Sign(#[from] KeyringError),
    /// Its tar archive can't be written.
    #[error("the index can't be written: {0}")]
    Archive(#[from] tar::WriteError),
    /// Its compact form can't be kept, or what was kept can't be read.
    #[error("the compact form of the index: {0}")]
    Kept(#[from] store::StoreError),
    /// It can't be written.
    #[error("the index can't be written: {0}")]
    Write(#[from] store::WriteError),
}

impl Index {
    /// Reads an index that a trusted key signed.
    ///
    /// # Errors
    /// See [`IndexError`]. Nothing behind the signature is looked at before it was found good.
    pub fn read(path: &Path, keyring: &Keyring) -> Result<Index, IndexError> {
        Index::from_bytes(path, &bytes_of(path)?, Some(keyring))
    }

    /// Reads an index whoever made it, signed or not.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn read_unverified(path: &Path) -> Result<Index, IndexError> {
        Index::from_bytes(path, &bytes_of(path)?, None)
    }

    /// SHA-256 of the index at `path`, and the name of the key of the keyring that signed it, or why it
    /// counts as signed by none.
    ///
    /// # Errors
    /// It can't be read.
    pub fn signer(
        path: &Path,
        keyring: &Keyring,
    ) -> Result<(Digest, Result<String, IndexError>), IndexError> {
        let bytes = bytes_of(path)?;
        let file = IndexFile::check(path, &bytes, Some(keyring));
        let signer = file.map(|file| file.signer.unwrap_or_default().to_owned());
        Ok((Digest::of(&bytes), signer))
    }

    /// Reads an index out of memory; `path` names it in errors. Without a keyring, signatures are
    /// not looked at.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn from_bytes(
        path: &Path,
        bytes: &[u8],
        keyring: Option<&Keyring>,
    ) -> Result<Index, IndexError> {
        IndexFile::check(path, bytes, keyring)?.index()
    }

    /// The index as a file: a gzip member of `DESCRIPTION` and `APKINDEX`, behind a signature of each
    /// signer. The bytes depend on the arguments alone.
    ///
    /// # Errors
    /// The signer failed.
    pub fn to_bytes<'s>(
        &self,
        signers: impl IntoIterator<Item = &'s Signer>,
        epoch: Epoch,
    ) -> Result<Vec<u8>, IndexError> {
        let description = shortened(&self.description, DESCRIPTION_LIMIT);
        let text = self.to_text();
        let contents = small_member(
            &[
                ("DESCRIPTION", 0o644, description.as_bytes()),
                ("APKINDEX", 0o644, text.as_bytes()),
            ],
            Owner::Nameless,
            epoch,
            member::End::Blocks,
        )?;
        let mut bytes = Vec::new();
        for signer in signers {
            bytes.extend(signer.sign(&contents, epoch)?);
        }
        bytes.extend(contents);
        Ok(bytes)
    }

    /// Writes the index to `path`, beside it and then renamed.
    ///
    /// # Errors
    /// The signer failed or the file can't be written.
    pub fn write<'s>(
        &self,
        path: &Path,
        signers: impl IntoIterator<Item = &'s Signer>,
        epoch: Epoch,
    ) -> Result<(), IndexError> {
        let bytes = self.to_bytes(signers, epoch)?;
        Ok(store::write_atomically(path, &bytes)?)
    }
}

pub(crate) fn bytes_of(path: &Path) -> Result<Vec<u8>, IndexError> {
    let mut bytes = Vec::new();
    read(path, |file| {
        let length = file.get_ref().metadata()?.len().min(MAXIMUM_INDEX);
        bytes.reserve_exact(usize::try_from(length).unwrap_or_default() + 1);
        file.read_to_end(&mut bytes)
    })?;
    Ok(bytes)
}

/// What the bytes of an index come to, without keeping them.
pub(crate) fn blake3_of(path: &Path) -> Result<blake3::Hash, IndexError> {
    let mut hasher = blake3::Hasher::new();
    read(path, |file| {
        let mut buffer = vec![0; 256 << 10];
        let mut length = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(length);
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            length += count;
        }
    })?;
    Ok(hasher.finalize())
}

/// Lets `take` have the bytes of an index, to their end, and tell how many they were.
fn read(
    path: &Path,
    take: impl FnOnce(&mut io::Take<File>) -> io::Result<usize>,
) -> Result<(), IndexError> {
    let failed = |source| IndexError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let length = take(&mut file.take(MAXIMUM_INDEX + 1)).map_err(failed)?;
    if length as u64 > MAXIMUM_INDEX {
        return Err(IndexError::TooLarge {
            path: path.to_owned(),
            limit: MAXIMUM_INDEX,
        });
    }
    Ok(())
}

/// An index whose signatures were checked, if they were to be.
pub(crate) struct IndexFile<'b> {
    reader: Reader<'b>,
    signed: SignedPart<'b>,
    /// The name of the key that signed it, if that was looked at.
    pub(crate) signer: Option<&'b str>,
}

/// What the signatures of an index cover.
enum SignedPart<'b> {
    /// Format 2: all members behind them.
    Members(&'b [u8]),
    /// Format 3.
    Adb(Head),
}

/// What an index holds beside the text of `APKINDEX`.
pub(crate) enum IndexContents {
    /// Format 2.
    Text {
        /// The text of `DESCRIPTION`.
        description: String,
    },
    /// Format 3.
    Index(Index),
}

impl<'b> IndexFile<'b> {
    /// Nothing behind the signatures is looked at. Without a keyring, they are not either.
    pub(crate) fn check(
        path: &'b Path,
        bytes: &'b [u8],
        keyring: Option<&'b Keyring>,
    ) -> Result<IndexFile<'b>, IndexError> {
        let reader = Reader { path };
        if bytes.starts_with(b"ADB") {
            let (head, signer) = v3::check(path, bytes, keyring)?;
            return Ok(IndexFile {
                reader,
                signed: SignedPart::Adb(head),
                signer,
            });
        }
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return Err(reader.not_an_index("it begins neither as gzip does nor with ADB"));
        }
        let (signatures, signed) = reader.signatures(bytes)?;
        let signer = keyring.map(|keyring| keyring.verify(&signatures, signed));
        let signer = signer.transpose().map_err(|source| IndexError::Signature {
            path: path.to_owned(),
            source,
        })?;
        Ok(IndexFile {
            reader,
            signed: SignedPart::Members(signed),
            signer,
        })
    }

    /// The index.
    pub(super) fn index(&self) -> Result<Index, IndexError> {
        let mut text = Vec::new();
        let description = match self.contents(|piece| {
            text.extend_from_slice(&piece);
            piece
        })? {
            IndexContents::Text { description } => description,
            IndexContents::Index(index) => return Ok(index),
        };
        let text = String::from_utf8(text).map_err(|_| self.not_utf8())?;
        let entries = Index::parse(&text).map_err(|source| IndexError::Text {
            path: self.reader.path.to_owned(),
            source,
        })?;
        Ok(Index {
            description,
            names: None,
            entries,
        })
    }

    /// The payload, if it is of format 3.
    pub(super) fn into_head(self) -> Option<Head> {
        match self.signed {
            SignedPart::Members(_) => None,
            SignedPart::Adb(head) => Some(head),
        }
    }

    /// What the signatures cover. The text of `APKINDEX` goes to `take` while it is inflated, in pieces
    /// that end with a record wherever that is possible; unless this succeeds, it counts for nothing.
    pub(crate) fn contents(
        &self,
        take: impl FnMut(Vec<u8>) -> Vec<u8>,
    ) -> Result<IndexContents, IndexError> {
        match &self.signed {
            SignedPart::Members(members) => self.reader.contents(members, take),
            SignedPart::Adb(head) => v3::index(self.reader.path, head).map(IndexContents::Index),
        }
    }

    /// What is wrong with an `APKINDEX` that is no text.
    pub(crate) fn not_utf8(&self) -> IndexError {
        self.reader.not_an_index("its APKINDEX is not UTF-8")
    }
}

/// Bytes of a text that are read at a time, where records end so often.
const PIECE: usize = 256 << 10;

/// Reads a text to its end, in pieces that end with a blank line wherever there is one.
fn by_records(mut text: impl Read, take: &mut impl FnMut(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    let (mut piece, mut rest) = (Vec::new(), Vec::new());
    loop {
        // A blank line may lie across what is there and what comes.
        let searched = piece.len().saturating_sub(1);
        let mut filled = piece.len();
        let full = filled + PIECE;
        piece.resize(full, 0);
        let mut is_end = false;
        while filled < full && !is_end {
            match text.read(&mut piece[filled..]) {
                Ok(count) => {
                    filled += count;
                    is_end = count == 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(filled);
        if is_end {
            take(piece);
            return Ok(());
        }
        if let Some(gap) = memchr::memmem::rfind(&piece[searched..], b"\n\n") {
            let end = searched + gap + 2;
            rest.clear();
            rest.extend_from_slice(&piece[end..]);
            piece.truncate(end);
            let mut next = take(piece);
            next.clear();
            next.extend_from_slice(&rest);
            piece = next;
        }
    }
}

/// Knows the path for errors.
struct Reader<'p> {
    path: &'p Path,
}

impl Reader<'_> {
    /// The signatures of the members in front, and what they cover: all bytes that follow.
    fn signatures<'b>(&self, bytes: &'b [u8]) -> Result<(Signatures, &'b [u8]), IndexError> {
        // What the signatures cover may stand in the first member that is looked into.
        let limits = Limits {
            bytes: MAXIMUM_INDEX,
            ..Limits::control()
        };
        let mut signatures = Signatures::default();
        let mut rest = bytes;
        loop {
            if rest == [0x1f] {
                // Of the two bytes that would say what follows, one is there.
                return Err(self.truncated());
            }
            let mut members = Members::new(rest, limits);
            let Some(member) = members.next().map_err(|error| self.gzip(error))? else {
                return Err(self.not_an_index("nothing follows its signature"));
            };
            let mut tar = tar::Reader::new(member, limits).ending(End::Segment);
            let mut signed_here = false;
            while let Some(mut entry) = tar.next().map_err(|error| self.tar(error))? {
                let name = entry.header().path.clone();
                if !name.starts_with(".SIGN.") {
                    if signed_here {
                        return Err(self.not_an_index("its signature member holds other files"));
                    }
                    return Ok((signatures, rest));
                }
                signed_here = true;
                let limit = Limits::control().bytes;
                if entry.header().kind.size() > limit {
                    return Err(self.too_large(limit));
                }
                let mut bytes = Vec::new();
                entry
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.tar(tar::ReadError::Io(error)))?;
                match StoredSignature::from_entry(&name, bytes) {
                    Some(signature) => signatures.known.push(signature),
                    None => signatures.skipped.push(name),
                }
            }
            let summary = tar
                .into_inner()
                .finish()
                .map_err(|error| self.gzip(error))?;
            if !signed_here {
                return Err(self.not_an_index("its archive is empty"));
            }
            rest = usize::try_from(summary.compressed)
                .ok()
                .and_then(|length| rest.get(length..))
                .unwrap_or_default();
        }
    }

    fn contents(
        &self,
        bytes: &[u8],
        mut take: impl FnMut(Vec<u8>) -> Vec<u8>,
    ) -> Result<IndexContents, IndexError> {
        let limits = Limits {
            bytes: MAXIMUM_INDEX,
            ..Limits::control()
        };
        let mut members = Members::new(bytes, limits);
        let Some(member) = members.next().map_err(|error| self.gzip(error))? else {
            return Err(self.not_an_index("nothing follows its signature"));
        };
        let mut tar = tar::Reader::new(member, limits).ending(End::Segment);
        let mut description = String::new();
        let mut has_text = false;
        while let Some(mut entry) = tar.next().map_err(|error| self.tar(error))? {
            let header = entry.header().clone();
            match header.path.as_str() {
                "DESCRIPTION" if header.kind.size() <= DESCRIPTION_LIMIT as u64 => {
                    let mut bytes = Vec::new();
                    entry
                        .read_to_end(&mut bytes)
                        .map_err(|error| self.tar(tar::ReadError::Io(error)))?;
                    description = String::from_utf8_lossy(&bytes)
                        .trim_end_matches('\n')
                        .to_owned();
                }
                "APKINDEX" if has_text => {
                    return Err(self.not_an_index("it holds two APKINDEX"));
                }
                "APKINDEX" if !matches!(header.kind, EntryKind::File { .. }) => {
                    return Err(self.not_an_index("its APKINDEX is no file"));
                }
                "APKINDEX" => {
                    has_text = true;
                    by_records(entry, &mut take)
                        .map_err(|error| self.tar(tar::ReadError::Io(error)))?;
                }
                // apk tells packages from indexes by this.
                name if name.starts_with('.') => {
                    return Err(self.not_an_index("it holds the control files of a package"));
                }
                _ => {}
            }
        }
        drop(tar);
        if members.next().map_err(|error| self.gzip(error))?.is_some() {
            return Err(self.not_an_index("another gzip member follows its contents"));
        }
        match has_text {
            true => Ok(IndexContents::Text { description }),
            false => Err(self.not_an_index("it holds no APKINDEX")),
        }
    }

    fn not_an_index(&self, reason: &'static str) -> IndexError {
        IndexError::NotAnIndex {
            path: self.path.to_owned(),
            reason,
        }
    }

    fn truncated(&self) -> IndexError {
        IndexError::Truncated {
            path: self.path.to_owned(),
        }
    }

    fn too_large(&self, limit: u64) -> IndexError {
        IndexError::TooLarge {
            path: self.path.to_owned(),
            limit,
        }
    }

    fn gzip(&self, source: GzipError) -> IndexError {
        self.common(&source).unwrap_or_else(|| IndexError::Gzip {
            path: self.path.to_owned(),
            source,
        })
    }

    fn tar(&self, source: tar::ReadError) -> IndexError {
        self.common(&source).unwrap_or_else(|| IndexError::Tar {
            path: self.path.to_owned(),
            source,
        })
    }

    fn common(&self, error: &(dyn std::error::Error + 'static)) -> Option<IndexError> {
        if is_truncation(error) {
            Some(self.truncated())
        } else {
            let limit = exceeded_bytes(error)?;
            Some(self.too_large(limit))
        }
    }
}
