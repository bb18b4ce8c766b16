//! Packages of format 3. The payload has everything but the contents of files: what the package
//! says of itself, directories with their files, scripts and hashes. The contents follow in data
//! blocks, one for each file that has any, in the payload's order.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write as _};
use std::path::Path;

use archive::tar::{self, WriteError};
use archive::tree::TreeError;
use archive::{LimitExceeded, Limits, unpack};
use base::Digest;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use super::pieces::Pieces;
use super::{Entry, EntryKind, MAXIMUM_SCRIPT, Manifest, Package, PackageError, Script};
use crate::adb::decompose::package_info;
use crate::adb::schema::{
    ACL, DIRECTORY, FILE, INFO, PACKAGE_FILE, SCRIPTS, acl, directory, file, package, scripts,
};
use crate::adb::{Adb, AdbError, Compression, Head, MAXIMUM_PAYLOAD, Object, Reader, Target};
use crate::dependency::Identity;

/// Bytes of a file's contents that are read at a time.
const PIECE: u64 = 128 << 10;

/// Whose a file is if the system has no user or group of that name, and apk's for it.
const NOBODY: u64 = 65534;

/// The scripts' fields.
const FIELDS: [(usize, Script); 7] = [
    (scripts::TRIGGER, Script::Trigger),
    (scripts::PRE_INSTALL, Script::PreInstall),
    (scripts::POST_INSTALL, Script::PostInstall),
    (scripts::PRE_DEINSTALL, Script::PreDeinstall),
    (scripts::POST_DEINSTALL, Script::PostDeinstall),
    (scripts::PRE_UPGRADE, Script::PreUpgrade),
    (scripts::POST_UPGRADE, Script::PostUpgrade),
];

impl Package {
    /// Reads the payload and its signatures.
    pub(super) fn read_adb(&mut self) -> Result<(), PackageError> {
        let limits = Limits {
            // Two such blocks would be refused for another reason.
            bytes: MAXIMUM_PAYLOAD * 2,
            ..Limits::default()
        };
        let head = (|| {
            let mut reader = Reader::new(self.range(0, self.size()), limits)?;
            reader.expect(&PACKAGE_FILE)?;
            reader.head()
        })()
        .map_err(|error| self.damaged(error))?;
        self.read_payload(&head)?;
        self.adb = Some(head);
        Ok(())
    }

    fn read_payload(&mut self, head: &Head) -> Result<(), PackageError> {
        let damaged = |error| PackageError::Adb {
            path: self.path().to_owned(),
            source: error,
        };
        let adb = Adb::new(&head.payload).map_err(damaged)?;
        let root = adb.root_object(&PACKAGE_FILE).map_err(damaged)?;
        let mut info = root
            .object(package::INFO, &INFO)
            .and_then(package_info)
            .map_err(damaged)?
            .info;
        info.check_names().map_err(|source| PackageError::Info {
            path: self.path().to_owned(),
            source,
        })?;
        let priority = root.integer(package::REPLACES_PRIORITY).map_err(damaged)?;
        info.replaces_priority = (priority > 0).then_some(priority);
        let triggers = root.texts(package::TRIGGERS).map_err(damaged)?;
        info.triggers = triggers.into_iter().map(str::to_owned).collect();
        let stored = root.object(package::SCRIPTS, &SCRIPTS).map_err(damaged)?;
        let mut found = BTreeMap::new();
        for (field, script) in FIELDS {
            let bytes = stored.blob(field).map_err(damaged)?;
            if bytes.len() as u64 > MAXIMUM_SCRIPT {
                let reason = "is longer than the 262144 bytes that apk takes";
                return Err(self.entry(script.as_str(), reason));
            }
            if !bytes.is_empty() {
                found.insert(script, bytes.to_vec());
            }
        }
        self.info = info;
        self.scripts = found;
        Ok(())
    }

    pub(super) fn damaged(&self, source: AdbError) -> PackageError {
        match source {
            AdbError::Io(error) if !crate::member::is_excess(&error) => self.unreadable(error),
            source => PackageError::Adb {
                path: self.path().to_owned(),
                source,
            },
        }
    }

    /// The id that a package of format 3 gives itself, 20 bytes where apk made it: what an
    /// installed database calls it by if it was installed from a file and not through an index.
    /// `None` in format 2.
    ///
    /// # Errors
    /// The payload is damaged.
    pub fn unique_id(&self) -> Result<Option<Vec<u8>>, PackageError> {
        let Some(head) = self.adb() else {
            return Ok(None);
        };
        Adb::new(&head.payload)
            .and_then(|adb| {
                let root = adb.root_object(&PACKAGE_FILE)?;
                Ok(Some(
                    package_info(root.object(package::INFO, &INFO)?)?.hashes,
                ))
            })
            .map_err(|error| self.damaged(error))
    }

    /// [`Package::visit`] in format 3.
    pub(super) fn visit_adb<E: From<PackageError>>(
        &self,
        compression: Compression,
        pieces: Pieces,
        limits: &Limits,
        each: impl FnMut(&Entry, &mut dyn BufRead) -> Result<(), E>,
    ) -> Result<Manifest, E> {
        let Some(head) = self.adb() else {
            return Err(self.damaged(AdbError::NotAdb).into());
        };
        let reader = Reader::within(compression, pieces);
        let reader = reader.map_err(|error| self.damaged(error))?;
        self.visit_blocks(head, reader, limits, each)
    }

    fn visit_blocks<E: From<PackageError>>(
        &self,
        head: &Head,
        mut reader: Reader<'_>,
        limits: &Limits,
        mut each: impl FnMut(&Entry, &mut dyn BufRead) -> Result<(), E>,
    ) -> Result<Manifest, E> {
        let damaged = |error| self.damaged(error);
        let adb = Adb::new(&head.payload).map_err(damaged)?;
        let root = adb.root_object(&PACKAGE_FILE).map_err(damaged)?;
        reader.pass_head(&head.payload).map_err(damaged)?;
        let mut known = Known::default();
        let mut entries = Vec::new();
        let directories = root.objects(package::PATHS, &DIRECTORY).map_err(damaged)?;
        for (path, folder) in (1..).zip(directories) {
            let folder = folder.map_err(damaged)?;
            let name = folder.text(directory::NAME).map_err(damaged)?;
            // The root: its mode is not the package's to say.
            if !name.is_empty() {
                let entry = self.directory(name, folder)?;
                self.enter(&mut known, &entry, entries.len(), limits)?;
                each(&entry, &mut io::empty())?;
                entries.push(entry);
            }
            let files = folder.objects(directory::FILES, &FILE).map_err(damaged)?;
            for (number, object) in (1..).zip(files) {
                let object = object.map_err(damaged)?;
                let (mut entry, recorded) = self.file(name, object)?;
                self.enter(&mut known, &entry, entries.len(), limits)?;
                match &entry.kind {
                    EntryKind::File { size } => {
                        let size = *size;
                        if size > 0 {
                            self.find_data(&mut reader, &entry.path, (path, number), size)?;
                        }
                        let contents = Contents::new(reader.by_ref().take(size), &recorded);
                        let mut contents =
                            BufReader::with_capacity(size.min(PIECE) as usize, contents);
                        each(&entry, &mut contents)?;
                        self.finish(&mut entry, contents.into_inner(), &recorded)?;
                    }
                    EntryKind::HardLink { target } => {
                        entry.checksum = self.link(&known, &entries, &entry, target, &recorded)?;
                        each(&entry, &mut io::empty())?;
                    }
                    _ => each(&entry, &mut io::empty())?,
                }
                entries.push(entry);
            }
        }
        if let Some(block) = reader.next_data().map_err(damaged)? {
            let entry = format!("data block {}/{}", block.path, block.file);
            let reason = "is of no file that has contents, or comes out of order";
            return Err(self.entry(&entry, reason).into());
        }
        Ok(Manifest {
            identity: self.identity(),
            datahash: None,
            length: 0,
            entries,
        })
    }

    /// Brings the reader to the contents of a file.
    fn find_data(
        &self,
        reader: &mut Reader<'_>,
        path: &str,
        (directory, file): (u32, u32),
        size: u64,
    ) -> Result<(), PackageError> {
        let Some(block) = reader.next_data().map_err(|error| self.damaged(error))? else {
            let reason = "has contents, but the package ends without its data block";
            return Err(self.entry(path, reason));
        };
        if (block.path, block.file) != (directory, file) {
            let reason = format!(
                "is number {directory}/{file}, but the data block in its place is of {}/{}",
                block.path, block.file
            );
            return Err(self.entry(path, &reason));
        }
        if block.length != size {
            let reason = format!(
                "has {size} bytes by its entry, its data block has {}",
                block.length
            );
            return Err(self.entry(path, &reason));
        }
        Ok(())
    }

    /// Reads what was left unread of a file, and compares its hash.
    fn finish(
        &self,
        entry: &mut Entry,
        mut contents: Contents<impl Read>,
        recorded: &[u8],
    ) -> Result<(), PackageError> {
        io::copy(&mut contents, &mut io::sink()).map_err(|error| {
            if crate::member::is_truncation(&error) {
                self.damaged(AdbError::Truncated { within: "a block" })
            } else {
                self.damaged(AdbError::Io(error))
            }
        })?;
        let (sha256, other) = contents.hashes();
        let actual = other.as_deref().unwrap_or(sha256.as_bytes());
        if actual != recorded {
            return Err(PackageError::WrongFileHash {
                path: self.path().to_owned(),
                entry: entry.path.clone(),
                recorded: hex::encode(recorded),
                actual: hex::encode(actual),
            });
        }
        entry.checksum = Some(Identity::Sha256(sha256));
        Ok(())
    }

    /// The checksums of the file that a hard link is another name of.
    fn link(
        &self,
        known: &Known,
        entries: &[Entry],
        entry: &Entry,
        target: &str,
        recorded: &[u8],
    ) -> Result<Option<Identity>, PackageError> {
        let file = known
            .places
            .get(target)
            .and_then(|place| entries.get(*place))
            .filter(|file| matches!(file.kind, EntryKind::File { .. }));
        let Some(file) = file else {
            let reason = format!("is a hard link to `{target}`, which is no earlier file");
            return Err(self.entry(&entry.path, &reason));
        };
        let differs = match &file.checksum {
            Some(Identity::Sha256(actual)) => recorded.len() == 32 && actual.as_bytes() != recorded,
            _ => false,
        };
        if differs {
            let reason = format!("is a hard link to `{target}`, but says it has another hash");
            return Err(self.entry(&entry.path, &reason));
        }
        Ok(file.checksum)
    }

    fn directory(&self, name: &str, folder: Object<'_, '_>) -> Result<Entry, PackageError> {
        let damaged = |error| self.damaged(error);
        self.check_path(name)?;
        let mut entry = self.owned(name, folder, directory::ACL).map_err(damaged)?;
        entry.kind = EntryKind::Directory;
        Ok(entry)
    }

    /// A file's entry and the hash that it should have.
    fn file(&self, folder: &str, object: Object<'_, '_>) -> Result<(Entry, Vec<u8>), PackageError> {
        let damaged = |error| self.damaged(error);
        let name = object.text(file::NAME).map_err(damaged)?;
        if name.is_empty() || name.contains('/') {
            let reason = format!("lies in `{folder}` and is no name of a file");
            return Err(self.entry(name, &reason));
        }
        let path = match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        self.check_path(&path)?;
        let mut entry = self.owned(&path, object, file::ACL).map_err(damaged)?;
        entry.mtime = object.integer(file::MTIME).map_err(damaged)?;
        let recorded = object.blob(file::HASH).map_err(damaged)?.to_vec();
        let target = object.blob(file::TARGET).map_err(damaged)?;
        entry.kind = if target.is_empty() {
            if !matches!(recorded.len(), 20 | 32 | 64) {
                return Err(self.entry(&path, "has no hash of a length that is known"));
            }
            EntryKind::File {
                size: object.integer(file::SIZE).map_err(damaged)?,
            }
        } else {
            match Target::from_bytes(target).map_err(damaged)? {
                Target::Symlink(target) => {
                    let checksum = Digest::of(target.as_bytes());
                    entry.checksum = Some(Identity::Sha256(checksum));
                    EntryKind::Symlink { target }
                }
                // apk's path of a file in the root is `./NAME`.
                Target::HardLink(target) => EntryKind::HardLink {
                    target: target.strip_prefix("./").unwrap_or(&target).to_owned(),
                },
                Target::CharDevice { major, minor } => EntryKind::CharDevice { major, minor },
                Target::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
                Target::Fifo => EntryKind::Fifo,
            }
        };
        Ok((entry, recorded))
    }

    fn check_path(&self, path: &str) -> Result<(), PackageError> {
        match tar::safe_path(path) {
            Ok(plain) if plain == path => Ok(()),
            Ok(plain) => Err(self.entry(path, &format!("is no plain path, as `{plain}` is"))),
            Err(reason) => Err(self.entry(&path.escape_debug().to_string(), &reason.to_string())),
        }
    }

    /// An entry with the owners, rights and attributes that an object has.
    fn owned(&self, path: &str, object: Object<'_, '_>, field: usize) -> Result<Entry, AdbError> {
        let acl = object.object(field, &ACL)?;
        let mode = acl.integer(acl::MODE)?;
        let mode = u32::try_from(mode)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| acl.wrong(acl::MODE, format!("is {mode:o}, more than 7777")))?;
        let (user, group) = (acl.text(acl::USER)?, acl.text(acl::GROUP)?);
        let number = |name: &str| if name == "root" { 0 } else { NOBODY };
        Ok(Entry {
            path: path.to_owned(),
            kind: EntryKind::Fifo,
            mode,
            uid: number(user),
            gid: number(group),
            user: user.to_owned(),
            group: group.to_owned(),
            mtime: 0,
            xattrs: attributes(acl)?,
            checksum: None,
        })
    }

    /// Whether an entry may stand where it stands.
    fn enter(
        &self,
        known: &mut Known,
        entry: &Entry,
        number: usize,
        limits: &Limits,
    ) -> Result<(), PackageError> {
        if number as u64 >= limits.entries {
            let source = io::Error::from(LimitExceeded::Entries(limits.entries));
            return Err(self.damaged(AdbError::Io(source)));
        }
        let path = &entry.path;
        let mut parents = path.match_indices('/');
        if let Some(parent) = parents.find_map(|(end, _)| {
            path.get(..end)
                .filter(|parent| known.others.contains_key(*parent))
        }) {
            let reason = format!("lies in `{parent}`, which is no directory");
            return Err(self.entry(path, &reason));
        }
        if !entry.is_directory() {
            let beneath = format!("{path}/");
            if let Some((file, _)) = known.places.range(beneath.clone()..).next()
                && file.starts_with(&beneath)
            {
                let reason = format!("is no directory, but `{file}` lies in it");
                return Err(self.entry(path, &reason));
            }
            known.others.insert(path.clone(), ());
        }
        if known.places.insert(path.clone(), number).is_some() {
            return Err(self.entry(path, "stands twice in the package"));
        }
        Ok(())
    }

    /// Unpacks through a tar stream: what writes files of strangers to a disk is one program.
    pub(super) fn unpack_adb(
        &self,
        into: &Path,
        limits: &Limits,
        options: &unpack::Options,
    ) -> Result<(), PackageError> {
        let (reader, writer) = io::pipe().map_err(|error| self.unreadable(error))?;
        std::thread::scope(|scope| {
            let archived = scope.spawn(|| {
                let mut tar = tar::Writer::new(BufWriter::with_capacity(64 << 10, writer));
                self.visit(limits, |entry, contents| {
                    tar.append(&entry.header(), contents)
                        .map_err(Archiving::from)
                })?;
                let mut out = tar.finish()?;
                out.flush().map_err(WriteError::Io)?;
                Ok::<(), Archiving>(())
            });
            let unpacked = unpack::unpack(tar::Reader::new(reader, *limits), into, options);
            match (archived.join(), unpacked) {
                (Ok(Err(Archiving::Package(error))), _) => Err(error),
                (Ok(_), Err(source)) => Err(PackageError::Unpack {
                    path: self.path().to_owned(),
                    source,
                }),
                (Ok(Err(Archiving::Write(source))), Ok(_)) => Err(PackageError::Tree {
                    path: self.path().to_owned(),
                    source: TreeError::Write(source),
                }),
                (Ok(Ok(())), Ok(_)) => Ok(()),
                (Err(panic), _) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Why the tar stream broke off.
enum Archiving {
    Package(PackageError),
    Write(WriteError),
}

impl From<PackageError> for Archiving {
    fn from(error: PackageError) -> Archiving {
        Archiving::Package(error)
    }
}

impl From<WriteError> for Archiving {
    fn from(error: WriteError) -> Archiving {
        Archiving::Write(error)
    }
}

/// What stands at which path: its number among the entries, and whether it is no directory.
#[derive(Default)]
struct Known {
    places: BTreeMap<String, usize>,
    others: BTreeMap<String, ()>,
}

fn attributes(acl: Object<'_, '_>) -> Result<BTreeMap<String, Vec<u8>>, AdbError> {
    let mut attributes = BTreeMap::new();
    for attribute in acl.blobs(acl::XATTRS)? {
        let wrong = |reason: &str| acl.wrong(acl::XATTRS, reason);
        let end = attribute.iter().position(|byte| *byte == 0);
        let (name, value) = end
            .and_then(|end| Some((attribute.get(..end)?, attribute.get(end + 1..)?)))
            .ok_or_else(|| wrong("has an attribute without the NUL that ends its name"))?;
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && !name.contains(char::is_control))
            .ok_or_else(|| wrong("has an attribute whose name is none"))?;
        if attributes.insert(name.to_owned(), value.to_vec()).is_some() {
            return Err(acl.wrong(acl::XATTRS, format!("has `{name}` twice")));
        }
    }
    Ok(attributes)
}

/// A file's contents, hashed while they are read: as the manifest has it, and as is recorded.
struct Contents<R> {
    inner: R,
    sha256: Sha256,
    other: Option<Other>,
}

/// What else a file's hash may be recorded as.
enum Other {
    Sha1(Sha1),
    Sha512(Sha512),
}

impl<R: Read> Contents<R> {
    /// `recorded` tells by its length which hash it is.
    fn new(inner: R, recorded: &[u8]) -> Contents<R> {
        Contents {
            inner,
            sha256: Sha256::new(),
            other: match recorded.len() {
                20 => Some(Other::Sha1(Sha1::new())),
                64 => Some(Other::Sha512(Sha512::new())),
                _ => None,
            },
        }
    }

    fn hashes(self) -> (Digest, Option<Vec<u8>>) {
        (
            Digest::from_bytes(self.sha256.finalize().into()),
            self.other.map(|other| match other {
                Other::Sha1(hasher) => hasher.finalize().to_vec(),
                Other::Sha512(hasher) => hasher.finalize().to_vec(),
            }),
        )
    }
}

impl<R: Read> Read for Contents<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        self.sha256.update(read);
        match &mut self.other {
            Some(Other::Sha1(hasher)) => hasher.update(read),
            Some(Other::Sha512(hasher)) => hasher.update(read),
            None => {}
        }
        Ok(count)
    }
}
