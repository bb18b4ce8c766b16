use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Limits;
use archive::gzip::{GzipError, Member, Members};
use archive::tar::{self, End};
use archive::unpack;
use base::{Digest, Sha1, Sha256Hasher};

use super::{
    InfoError, MAXIMUM_CONTROL, MAXIMUM_SCRIPT, Manifest, PackageError, PackageInfo, Part, Script,
};
use crate::adb;
use crate::adb::schema::PACKAGE_ID;
use crate::dependency::Identity;
use crate::index::IndexEntry;
use crate::member::{exceeded_bytes, is_truncation};
use crate::signature::{Keyring, Signatures, StoredSignature};

/// Bytes that are read at a time where a whole file is hashed.
const READ_SIZE: usize = 256 << 10;

/// A package file whose control member was read. The file stays open, so that what is checked is
/// what is read later.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    pub(super) info: PackageInfo,
    /// Of format 2: the `.PKGINFO` as it stands.
    pkginfo: String,
    pub(super) scripts: BTreeMap<Script, Vec<u8>>,
    signatures: Signatures,
    control: Vec<u8>,
    extras: BTreeMap<String, Vec<u8>>,
    data_offset: u64,
    /// Of format 3: payload and signatures. What stands above of format 2 is empty then.
    pub(super) adb: Option<adb::Head>,
}

/// The two formats of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Format 2: gzip members.
    V2,
    /// Format 3: an ADB.
    V3,
}

/// A part of a file, read without moving the file's own position.
pub(super) struct Range {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Seek for Range {
    /// From the start of the file, whatever part of it this is.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}

/// Keeps what is read, which is the members in front of the data.
struct Keeping<'k, R> {
    range: R,
    bytes: &'k mut Vec<u8>,
}

impl<R: Read> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const LIMIT: usize = 3 * MAXIMUM_CONTROL as usize;
        let count = self.range.read(buffer)?;
        if self.bytes.len() + count > LIMIT {
            return Err(io::Error::other(format!(
                "the members in front of its data are longer than {LIMIT} bytes"
            )));
        }
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl Package {
    /// Opens a package and reads its control member. Nothing is verified yet.
    ///
    /// # Errors
    /// The file can't be read, is truncated, or is no package.
    pub fn open(path: &Path) -> Result<Package, PackageError> {
        let unreadable = |source| PackageError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        Package::from_file(path, file)
    }

    /// The same of a file that is open already; `path` names it in errors.
    ///
    /// # Errors
    /// As of [`Package::open`].
    pub fn from_file(path: &Path, file: File) -> Result<Package, PackageError> {
        let unreadable = |source| PackageError::Read {
            path: path.to_owned(),
            source,
        };
        let size = file.metadata().map_err(unreadable)?.len();
        let mut package = Package {
            path: path.to_owned(),
            file: Arc::new(file),
            size,
            signatures: Signatures::default(),
            control: Vec::new(),
            info: PackageInfo::default(),
            pkginfo: String::new(),
            scripts: BTreeMap::new(),
            extras: BTreeMap::new(),
            data_offset: 0,
            adb: None,
        };
        match package.sniff()? {
            Format::V2 => package.read_control()?,
            Format::V3 => package.read_adb()?,
        }
        Ok(package)
    }

    fn sniff(&self) -> Result<Format, PackageError> {
        let mut magic = Vec::new();
        self.range(0, 4)
            .read_to_end(&mut magic)
            .map_err(|source| self.unreadable(source))?;
        match magic.as_slice() {
            [0x1f, 0x8b, ..] => Ok(Format::V2),
            [b'A', b'D', b'B', ..] => Ok(Format::V3),
            _ => Err(self.not_a_package("it begins neither as gzip does nor with ADB")),
        }
    }

    fn read_control(&mut self) -> Result<(), PackageError> {
        let limits = Limits {
            bytes: MAXIMUM_CONTROL,
            ..Limits::control()
        };
        // What is signed is what was read: the bytes are kept, not read again.
        let mut kept = Vec::new();
        let range = Keeping {
            range: self.range(0, self.size),
            bytes: &mut kept,
        };
        let mut members = Members::new(range, limits);
        let mut signatures = Signatures::default();
        let mut entries = BTreeMap::new();
        let summary = loop {
            let Some(member) = members
                .next()
                .map_err(|error| self.gzip(Part::Control, error))?
            else {
                return Err(self.truncated(Part::Control));
            };
            let mut tar = tar::Reader::new(member, limits).ending(End::Segment);
            let mut signed_here = false;
            while let Some(mut entry) =
                tar.next().map_err(|error| self.tar(Part::Control, error))?
            {
                let header = entry.header().clone();
                let mut bytes = Vec::new();
                entry
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.tar(Part::Control, tar::ReadError::Io(error)))?;
                if header.path.starts_with(".SIGN.") && entries.is_empty() {
                    signed_here = true;
                    match StoredSignature::from_entry(&header.path, bytes) {
                        Some(signature) => signatures.known.push(signature),
                        None => signatures.skipped.push(header.path),
                    }
                    continue;
                }
                if signed_here {
                    return Err(self.entry(&header.path, "stands in the signature member"));
                }
                self.check_control_entry(&header)?;
                if entries.insert(header.path.clone(), bytes).is_some() {
                    return Err(self.entry(&header.path, "stands twice in the control member"));
                }
            }
            let summary = tar
                .into_inner()
                .finish()
                .map_err(|error| self.gzip(Part::Control, error))?;
            if !signed_here {
                break summary;
            }
        };
        (self.info, self.pkginfo) = match entries.remove(".PKGINFO") {
            Some(bytes) => PackageInfo::parse(&bytes)
                .and_then(|info| {
                    let text = String::from_utf8(bytes).map_err(|_| InfoError::NotUtf8)?;
                    Ok((info, text))
                })
                .map_err(|source| PackageError::Info {
                    path: self.path.clone(),
                    source,
                })?,
            None => return Err(self.not_a_package("its control member has no .PKGINFO")),
        };
        for (name, bytes) in entries {
            match Script::from_name(name.trim_start_matches('.')) {
                Some(script) => self.scripts.insert(script, bytes),
                None => self.extras.insert(name, bytes),
            };
        }
        if summary.compressed > MAXIMUM_CONTROL {
            return Err(self.control_too_large());
        }
        let end = summary.offset + summary.compressed;
        // Both are below the bound of what is kept.
        let (start, length) = (summary.offset as usize, summary.compressed as usize);
        kept.truncate(start + length);
        self.control = kept.split_off(start);
        self.signatures = signatures;
        self.data_offset = end;
        Ok(())
    }

    fn check_control_entry(&self, header: &tar::Header) -> Result<(), PackageError> {
        let name = &header.path;
        let reason = if !name.starts_with('.') || name.contains('/') {
            "is a file of the package, in the control member"
        } else if name == ".INSTALL" {
            "belongs to format 1, which apk no longer takes"
        } else if !matches!(header.kind, tar::EntryKind::File { .. }) {
            "is no file; the control member holds files only"
        } else if Script::from_name(name.trim_start_matches('.')).is_some()
            && header.kind.size() > MAXIMUM_SCRIPT
        {
            "is longer than the 262144 bytes that apk takes"
        } else {
            return Ok(());
        };
        Err(self.entry(name, reason))
    }

    /// The file, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the package says of itself.
    pub fn info(&self) -> &PackageInfo {
        &self.info
    }

    /// The text of its `.PKGINFO`; empty in format 3.
    pub fn pkginfo(&self) -> &str {
        &self.pkginfo
    }

    /// Its scripts.
    pub fn scripts(&self) -> &BTreeMap<Script, Vec<u8>> {
        &self.scripts
    }

    /// The other files of its control member, such as `.melange.yaml`.
    pub fn extras(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.extras
    }

    /// The compressed control member, which signatures cover; empty in format 3.
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// Its format.
    pub fn format(&self) -> Format {
        match self.adb {
            Some(_) => Format::V3,
            None => Format::V2,
        }
    }

    /// Payload and signatures of a package of format 3, the latter not verified.
    pub fn adb(&self) -> Option<&adb::Head> {
        self.adb.as_ref()
    }

    /// Its signatures in format 2, none of them verified.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// What an index calls it by: SHA-1 of its compressed control member, or in format 3 SHA-256 of
    /// its payload.
    pub fn identity(&self) -> Identity {
        match &self.adb {
            None => Identity::Sha1(Sha1::of(&self.control)),
            Some(head) => Identity::Sha256(Digest::of(&head.payload)),
        }
    }

    /// All that an index may know it by: of format 2 the SHA-1 of the control member, or its SHA-256.
    pub fn identities(&self) -> Vec<Identity> {
        match &self.adb {
            None => vec![self.identity(), Identity::Sha256(Digest::of(&self.control))],
            Some(_) => vec![self.identity()],
        }
    }

    /// Where the data member begins in the file, in bytes; 0 in format 3.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// SHA-256 of the whole file, which names it in a store. What it says of its control member is
    /// of the bytes that were read when it was opened.
    ///
    /// # Errors
    /// The file can't be read, or was changed since.
    pub fn digest(&self) -> Result<Digest, PackageError> {
        let mut hasher = Sha256Hasher::default();
        hasher.update(&self.front()?);
        self.take(self.data_offset, |bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    }

    /// SHA-256 of all before the data, and of the size. All that bears the same, and holds the data whose
    /// hash is written in it, is one file. None if no hash is, and in format 3.
    ///
    /// # Errors
    /// The file can't be read, or was changed since.
    pub fn head(&self) -> Result<Option<Digest>, PackageError> {
        if self.adb.is_some() || self.info.datahash.is_none() {
            return Ok(None);
        }
        let mut hasher = Sha256Hasher::default();
        hasher.update(&self.front()?);
        hasher.update(&self.size.to_le_bytes());
        Ok(Some(hasher.finish()))
    }

    /// All before the data, with the control member that was read when this was opened.
    fn front(&self) -> Result<Vec<u8>, PackageError> {
        let mut front = Vec::new();
        self.range(0, self.data_offset)
            .read_to_end(&mut front)
            .map_err(|source| self.unreadable(source))?;
        match front.ends_with(&self.control) {
            true => Ok(front),
            false => Err(PackageError::Changed {
                path: self.path.clone(),
            }),
        }
    }

    /// Checks that a trusted key signed the control member or payload; gives the key's name.
    ///
    /// # Errors
    /// [`PackageError::Signature`].
    pub fn verify<'k>(&self, keyring: &'k Keyring) -> Result<&'k str, PackageError> {
        let verified = match &self.adb {
            None => keyring.verify(&self.signatures, &self.control),
            Some(head) => keyring.verify_adb(head, PACKAGE_ID),
        };
        verified.map_err(|source| PackageError::Signature {
            path: self.path.clone(),
            source,
        })
    }

    /// Checks that this is the package that an index speaks of: identity, then size.
    ///
    /// # Errors
    /// [`PackageError::WrongIdentity`] or [`PackageError::WrongSize`].
    pub fn check_entry(&self, entry: &IndexEntry) -> Result<(), PackageError> {
        let same_name =
            entry.info.name == self.info.name && entry.info.version == self.info.version;
        let actual = match (entry.identity, &self.adb) {
            (Identity::Sha1(_), None) => self.identity(),
            (Identity::Sha256(_), None) => Identity::Sha256(Digest::of(&self.control)),
            // An index may have the first 20 bytes of SHA-256 (`mkndx --hash sha256-160`).
            (Identity::Sha1(_), Some(_)) => self.identity().shortened(),
            (Identity::Sha256(_), Some(_)) => self.identity(),
        };
        if entry.identity != actual || !same_name {
            return Err(PackageError::WrongIdentity {
                path: self.path.clone(),
                indexed_name: format!("{}-{}", entry.info.name, entry.info.version),
                indexed: entry.identity,
                actual_name: format!("{}-{}", self.info.name, self.info.version),
                actual,
            });
        }
        if entry.size != self.size {
            return Err(PackageError::WrongSize {
                path: self.path.clone(),
                indexed: entry.size,
                actual: self.size,
            });
        }
        Ok(())
    }

    /// Reads all of the data and checks it: the datahash (of format 2), every name, every file's
    /// checksum, that every file's directory comes before it, and the targets of hard links.
    ///
    /// # Errors
    /// See [`PackageError`]; `limits` bound what the data may inflate to. Of data with another
    /// datahash, that is said, whatever else is wrong.
    pub fn manifest(&self, limits: &Limits) -> Result<Manifest, PackageError> {
        self.visit(limits, |_, _| Ok(()))
    }

    /// Whether an entry may stand where it stands; gives the checksum it is installed with.
    pub(super) fn place(
        &self,
        header: &tar::Header,
        computed: Option<Sha1>,
        known: &mut BTreeMap<String, Known>,
    ) -> Result<Option<Sha1>, PackageError> {
        let directory = header.kind == tar::EntryKind::Directory;
        if let Some((parent, _)) = header.path.rsplit_once('/') {
            match known.get(parent) {
                Some(Known::Directory) => {}
                Some(_) => {
                    let reason = format!("lies in `{parent}`, which is no directory");
                    return Err(self.entry(&header.path, &reason));
                }
                None if directory => {}
                None => {
                    return Err(PackageError::Orphan {
                        path: self.path.clone(),
                        entry: header.path.clone(),
                        directory: parent.to_owned(),
                    });
                }
            }
        }
        let checksum = match &header.kind {
            tar::EntryKind::HardLink { target } => match known.get(target) {
                Some(Known::File(checksum)) => Some(*checksum),
                _ => {
                    return Err(self.entry(
                        &header.path,
                        &format!("is a hard link to `{target}`, which is no earlier file"),
                    ));
                }
            },
            _ => computed,
        };
        let fact = match (&header.kind, checksum) {
            (tar::EntryKind::Directory, _) => Known::Directory,
            (tar::EntryKind::File { .. } | tar::EntryKind::HardLink { .. }, Some(checksum)) => {
                Known::File(checksum)
            }
            _ => Known::Other,
        };
        if known.insert(header.path.clone(), fact).is_some() {
            return Err(self.entry(&header.path, "stands twice in the data"));
        }
        Ok(checksum)
    }

    /// Checks everything as [`Package::manifest`] does, then unpacks the files into a folder that
    /// exists: the caller's own files, with modes and times, without owners, attributes and
    /// devices, all of which are in the manifest.
    ///
    /// # Errors
    /// See [`PackageError`]; the folder is to be thrown away then.
    pub fn unpack(&self, into: &Path, limits: &Limits) -> Result<Manifest, PackageError> {
        let manifest = self.manifest(limits)?;
        let options = unpack::Options {
            special: unpack::Special::Skip,
            checksums: unpack::Checksums::Check,
            ..unpack::Options::default()
        };
        if self.adb.is_some() {
            self.unpack_adb(into, limits, &options)?;
            return Ok(manifest);
        }
        self.with_data(limits, |member| {
            unpack::unpack(tar::Reader::new(member, *limits), into, &options).map_err(|source| {
                PackageError::Unpack {
                    path: self.path.clone(),
                    source,
                }
            })
        })?;
        Ok(manifest)
    }

    /// Hands the data member to `read`, decompressed. There is exactly one, as apk demands.
    fn with_data<T>(
        &self,
        limits: &Limits,
        read: impl FnOnce(Member<'_, Range>) -> Result<T, PackageError>,
    ) -> Result<T, PackageError> {
        let failed = |error| self.gzip(Part::Data, error);
        let mut members = Members::new(self.range(self.data_offset, self.size), *limits);
        let member = members
            .next()
            .map_err(failed)?
            .ok_or_else(|| self.truncated(Part::Data))?;
        let result = read(member)?;
        if members.next().map_err(failed)?.is_some() {
            return Err(self.not_a_package("another gzip member follows its data"));
        }
        Ok(result)
    }

    pub(super) fn recorded_datahash(&self) -> Result<Digest, PackageError> {
        self.info.datahash.ok_or_else(|| PackageError::NoDatahash {
            path: self.path.clone(),
        })
    }

    pub(super) fn check_datahash(&self, limits: &Limits) -> Result<Digest, PackageError> {
        let recorded = self.recorded_datahash()?;
        let actual = self.hash(self.data_offset)?;
        if actual == recorded {
            return Ok(actual);
        }
        // A file that was cut off says more than two hashes do.
        if let Err(error @ PackageError::Truncated { .. }) =
            self.with_data(limits, |member| match member.finish() {
                Ok(_) => Ok(()),
                Err(error) => Err(self.gzip(Part::Data, error)),
            })
        {
            return Err(error);
        }
        Err(PackageError::WrongDatahash {
            path: self.path.clone(),
            recorded,
            actual,
        })
    }

    fn hash(&self, offset: u64) -> Result<Digest, PackageError> {
        let mut hasher = Sha256Hasher::default();
        self.take(offset, |bytes| hasher.update(bytes))?;
        Ok(hasher.finish())
    }

    /// Reads from `offset` to the end, each byte once.
    pub(super) fn take(
        &self,
        offset: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), PackageError> {
        let mut reader = self.range(offset, self.size);
        let mut buffer = vec![0; READ_SIZE];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => take(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }

    pub(super) fn range(&self, offset: u64, end: u64) -> Range {
        Range {
            file: self.file.clone(),
            offset,
            end,
        }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> PackageError {
        PackageError::Read {
            path: self.path.clone(),
            source,
        }
    }

    fn not_a_package(&self, reason: &'static str) -> PackageError {
        PackageError::NotAPackage {
            path: self.path.clone(),
            reason,
        }
    }

    fn control_too_large(&self) -> PackageError {
        PackageError::ControlTooLarge {
            path: self.path.clone(),
            limit: MAXIMUM_CONTROL,
        }
    }

    pub(super) fn truncated(&self, part: Part) -> PackageError {
        PackageError::Truncated {
            path: self.path.clone(),
            part,
        }
    }

    pub(super) fn entry(&self, entry: &str, reason: &str) -> PackageError {
        PackageError::Entry {
            path: self.path.clone(),
            entry: entry.to_owned(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn gzip(&self, part: Part, source: GzipError) -> PackageError {
        // Of the next member's two bytes that would say what it is, one is there.
        let start = match part {
            Part::Control => 0,
            Part::Data => self.data_offset,
        };
        let stub = matches!(
            source,
            GzipError::NotGzip { offset } if start + offset + 1 == self.size
        );
        if stub || is_truncation(&source) {
            self.truncated(part)
        } else if exceeded_bytes(&source).is_some() {
            self.tar(part, tar::ReadError::Io(io::Error::other(source)))
        } else {
            PackageError::Gzip {
                path: self.path.clone(),
                part,
                source,
            }
        }
    }

    pub(super) fn tar(&self, part: Part, source: tar::ReadError) -> PackageError {
        if is_truncation(&source) {
            self.truncated(part)
        } else if part == Part::Control && exceeded_bytes(&source).is_some() {
            self.control_too_large()
        } else {
            PackageError::Tar {
                path: self.path.clone(),
                part,
                source,
            }
        }
    }
}

/// What stands at a path, for those that refer to it.
pub(super) enum Known {
    Directory,
    File(Sha1),
    Other,
}
