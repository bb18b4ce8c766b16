//! Unpacking archives of strangers into a folder, and nowhere else.

mod folder;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base::Sha1;
use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use sha1::Digest as _;

use crate::tar::{self, EntryKind, Header, UnsafePath};
use folder::Folder;

/// Whose the unpacked files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The caller's.
    #[default]
    Ignore,
    /// As the archive says, by number; needs root.
    Keep,
}

/// The times of unpacked files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// As the archive says.
    #[default]
    Keep,
    /// The same for all.
    Fixed(u64),
    /// The time of unpacking.
    Now,
}

/// What becomes of devices and named pipes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Special {
    /// They are an error.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They are made; devices need root.
    Create,
}

/// What becomes of apk's checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// They are not looked at.
    #[default]
    Ignore,
    /// Where there is one, it must be right.
    Check,
    /// Every file and symbolic link must have one, and it must be right.
    Require,
}

/// Which names are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// Those that [`tar::safe_path`] accepts: packages.
    #[default]
    Safe,
    /// All that stay beneath the folder, also with control characters, empty or `.` components, or
    /// not UTF-8: archives of upstream sources.
    Any,
}

/// What becomes of what is in the folder already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Files are replaced; directories get the archive's modes, owners and times.
    #[default]
    Replace,
    /// Files are replaced; directories stay as they are.
    ReplaceFiles,
    /// Files and links are an error; directories stay as they are.
    Refuse,
}

/// Which extended attributes are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Xattrs {
    /// None.
    #[default]
    Ignore,
    /// Those that an ordinary user may set: `user.*`.
    User,
    /// All of them. Some need root.
    All,
}

/// What becomes of owners, modes, times and attributes that can't be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Imperfect {
    /// They are an error.
    #[default]
    Refuse,
    /// They are noted: [`Unpacked::imperfect`].
    Note,
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Leading components cut from every name and hard-link target; what has no more is left out.
    pub strip_components: u32,
    /// Whose the files are.
    pub ownership: Ownership,
    /// Their times.
    pub times: Times,
    /// Whether files keep their set-user-id and set-group-id bits. Without, a folder that others may
    /// read holds no program that lends them the caller's rights.
    pub set_id: bool,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// Devices and named pipes.
    pub special: Special,
    /// apk's checksums.
    pub checksums: Checksums,
    /// Which names are accepted.
    pub names: Names,
    /// What is there already.
    pub existing: Existing,
    /// What can't be set.
    pub imperfect: Imperfect,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries made.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// With [`Imperfect::Note`]: the entries that are not quite what they should be.
    pub imperfect: Vec<Flaw>,
}

/// Something of an entry that could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The entry.
    pub path: String,
    /// What it is about.
    pub what: FlawKind,
}

/// What could not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlawKind {
    /// The owner or group.
    Owner,
    /// The mode.
    Mode,
    /// The time.
    Time,
    /// An extended attribute.
    Xattrs,
}

/// An archive cannot be unpacked. What was unpacked before stays: unpack into a folder that is thrown
/// away on failure.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read, or has something that is refused.
    #[error(transparent)]
    Read(#[from] tar::ReadError),
    /// The folder cannot be opened.
    #[error("cannot unpack into `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An entry's bytes cannot be read.
    #[error("cannot unpack `{path}`: {source}")]
    Content {
        /// The entry.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot unpack `{path}`: cannot {action}: {source}")]
    System {
        /// The entry.
        path: String,
        /// What was to be done.
        action: &'static str,
        /// Why it could not.
        source: io::Error,
    },
    /// A parent of the entry is a symbolic link or something else than a directory.
    #[error(
        "cannot unpack `{path}`: its parent `{parent}` is a symbolic link or a file, and nothing is \
         written through those; the archive is broken or hostile"
    )]
    Through {
        /// The entry.
        path: String,
        /// The parent.
        parent: String,
    },
    /// A directory would become something else, or something else a directory.
    #[error(
        "cannot unpack `{path}`: this {kind} would replace {existing}; unpack into an empty folder, \
         and if it was empty the archive is broken or hostile"
    )]
    Replaces {
        /// The entry.
        path: String,
        /// What the entry is.
        kind: &'static str,
        /// What is there: `a directory` or `what is no directory`.
        existing: &'static str,
    },
    /// A hard link names a file that is not there.
    #[error(
        "cannot unpack `{path}`: it is a hard link to `{target}`, which is no file that came before it"
    )]
    Dangling {
        /// The entry.
        path: String,
        /// What it names.
        target: String,
    },
    /// A device or named pipe.
    #[error("cannot unpack `{path}`: it is a {kind}, which is refused here")]
    Special {
        /// The entry.
        path: String,
        /// What the entry is.
        kind: &'static str,
    },
    /// A file's bytes are not those of its checksum.
    #[error(
        "cannot unpack `{path}`: its SHA-1 is {actual}, but the archive says {expected}; \
         fetch or make the archive again"
    )]
    Checksum {
        /// The entry.
        path: String,
        /// The archive's.
        expected: Sha1,
        /// The content's.
        actual: Sha1,
    },
    /// A file without a checksum where each must have one.
    #[error("cannot unpack `{path}`: the archive has no checksum for it; make the package again")]
    NoChecksum {
        /// The entry.
        path: String,
    },
    /// The entry is more directories deep than anything sensible.
    #[error("cannot unpack `{path}`: it is more than {limit} directories deep")]
    Deep {
        /// The entry.
        path: String,
        /// How many are accepted.
        limit: usize,
    },
}

/// Unpacks an archive into the folder `into`, which exists.
///
/// No name is followed out of the folder: symbolic links are made but never walked through, neither
/// those of the archive nor those that were there. The process's umask has no influence. Directories
/// get their modes at the end, so one that is not writable is filled too. Later entries replace earlier
/// ones, but a directory is only ever a directory. The archive's root entry is left out.
///
/// The stream beneath the reader is read to its end, so that what compressed it is checked as well.
pub fn unpack<R: Read>(
    reader: tar::Reader<R>,
    into: &Path,
    options: &Options,
) -> Result<Unpacked, UnpackError> {
    let mut reader = match options.names {
        Names::Safe => reader,
        Names::Any => reader.any_names(),
    };
    let mut unpacker = Unpacker::new(into, options)?;
    while let Some(mut entry) = reader.next()? {
        let header = entry.header().clone();
        let path = entry.path_bytes().to_vec();
        let target = entry.target_bytes().to_vec();
        unpacker.entry(&path, &header, &target, &mut entry)?;
    }
    let rest = io::copy(&mut reader.into_inner(), &mut io::sink());
    rest.map_err(tar::ReadError::Io)?;
    unpacker.finish()
}

/// Unpacks entry by entry, wherever they come from; [`unpack`] says how.
#[derive(Debug)]
pub struct Unpacker<'a> {
    folder: Folder,
    options: &'a Options,
    /// What directories are to become once everything is in them, by path.
    directories: BTreeMap<Vec<u8>, Attributes>,
    done: Unpacked,
    buffer: Vec<u8>,
}

/// What an inode gets besides its content.
#[derive(Debug)]
struct Attributes {
    mode: u32,
    owner: Option<(u32, u32)>,
    mtime: Option<u64>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl<'a> Unpacker<'a> {
    /// Unpacks into the folder `into`, which exists.
    ///
    /// # Errors
    /// [`UnpackError::Folder`].
    pub fn new(into: &Path, options: &'a Options) -> Result<Unpacker<'a>, UnpackError> {
        Ok(Unpacker {
            folder: Folder::open(into)?,
            options,
            directories: BTreeMap::new(),
            done: Unpacked::default(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Makes an entry; `content` is a file's.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn add(&mut self, header: &Header, content: &mut dyn Read) -> Result<(), UnpackError> {
        let target = match &header.kind {
            EntryKind::Symlink { target } | EntryKind::HardLink { target } => target.as_str(),
            _ => "",
        };
        self.entry(header.path.as_bytes(), header, target.as_bytes(), content)
    }

    /// Gives directories their modes, owners and times.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn finish(mut self) -> Result<Unpacked, UnpackError> {
        self.finish_directories()?;
        Ok(self.done)
    }

    fn entry(
        &mut self,
        raw: &[u8],
        header: &Header,
        target_bytes: &[u8],
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let path = display(raw);
        let refused = |reason| tar::ReadError::Path {
            path: path.clone(),
            reason,
        };
        let components = self.components(raw).map_err(refused)?;
        let Some((name, parents)) = components.split_last() else {
            return Ok(());
        };
        if components.len() > Folder::DEPTH {
            return Err(UnpackError::Deep {
                path,
                limit: Folder::DEPTH,
            });
        }
        let attributes = self.attributes(header, &path)?;
        if header.kind == EntryKind::Directory {
            self.enter(&components, &path, header.kind.words())?;
            let directory = components.join(&b'/');
            // One that was not made here was there before.
            if self.options.existing == Existing::Replace
                || self.directories.contains_key(&directory)
            {
                self.directories.insert(directory, attributes);
            }
            self.done.entries += 1;
            return Ok(());
        }
        let parent = self.enter(parents, &path, header.kind.words())?;
        let place = Place {
            parent: parent.as_fd(),
            name,
            path: &path,
            kind: header.kind.words(),
            replaces: self.options.existing != Existing::Refuse,
        };
        match &header.kind {
            EntryKind::Directory => {}
            EntryKind::File { .. } => {
                let file = place.create()?;
                let checksum = self.fill(content, &file, &path)?;
                self.check(header, checksum, &path)?;
                attributes.apply(&file, &mut self.flaws(&path))?;
            }
            EntryKind::Symlink { .. } => {
                let target = target_bytes;
                if target.is_empty() || target.contains(&0) {
                    return Err(tar::ReadError::Target {
                        path,
                        target: display(target),
                        reason: if target.is_empty() {
                            UnsafePath::Empty
                        } else {
                            UnsafePath::Control
                        },
                    }
                    .into());
                }
                if self.options.checksums != Checksums::Ignore {
                    self.check(header, Some(Sha1::of(target)), &path)?;
                }
                place.symlink(target)?;
                attributes.apply_to_link(&place, &mut self.flaws(&path))?;
            }
            EntryKind::HardLink { target } => {
                let refused = |reason| tar::ReadError::Target {
                    path: path.clone(),
                    target: target.clone(),
                    reason,
                };
                let target_components = self.components(target_bytes).map_err(refused)?;
                self.hard_link(&place, &components, &target_components, target)?;
            }
            kind @ (EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo) => match self.options.special {
                Special::Refuse => {
                    return Err(UnpackError::Special {
                        path,
                        kind: header.kind.words(),
                    });
                }
                Special::Skip => return Ok(()),
                Special::Create => place.special(kind, &attributes, &mut self.flaws(&path))?,
            },
        }
        self.done.entries += 1;
        Ok(())
    }

    fn flaws<'f>(&'f mut self, path: &'f str) -> Flaws<'f> {
        Flaws {
            path,
            noted: match self.options.imperfect {
                Imperfect::Refuse => None,
                Imperfect::Note => Some(&mut self.done.imperfect),
            },
        }
    }

    /// The components that are left of a name; none for the root and for what is stripped away.
    fn components<'n>(&self, name: &'n [u8]) -> Result<Vec<&'n [u8]>, UnsafePath> {
        // The reader has refused the rest where names have to be safe.
        if name.first() == Some(&b'/') {
            return Err(UnsafePath::Absolute);
        }
        if name.contains(&0) {
            return Err(UnsafePath::Control);
        }
        let mut components = Vec::new();
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(UnsafePath::Parent),
                _ if component.len() > 255 => return Err(UnsafePath::TooLong),
                _ => components.push(component),
            }
        }
        let stripped = components.len().min(self.options.strip_components as usize);
        Ok(components.split_off(stripped))
    }

    /// The directory that `components` name, made where it is missing.
    fn enter(
        &mut self,
        components: &[&[u8]],
        path: &str,
        kind: &'static str,
    ) -> Result<Rc<OwnedFd>, UnpackError> {
        let mut made = Vec::new();
        let result = self.folder.enter(components, &mut made);
        for depth in made {
            let attributes = Attributes {
                mode: 0o755,
                owner: None,
                mtime: match self.options.times {
                    Times::Fixed(mtime) => Some(mtime),
                    Times::Keep | Times::Now => None,
                },
                xattrs: BTreeMap::new(),
            };
            self.directories
                .insert(components[..depth].join(&b'/'), attributes);
        }
        result.map_err(|(depth, error)| match error {
            Errno::NOTDIR | Errno::LOOP
                if kind == EntryKind::Directory.words() && depth == components.len() =>
            {
                UnpackError::Replaces {
                    path: path.to_owned(),
                    kind,
                    existing: "what is no directory",
                }
            }
            Errno::NOTDIR | Errno::LOOP => UnpackError::Through {
                path: path.to_owned(),
                parent: display(&components[..depth].join(&b'/')),
            },
            error => system(path, "make or open its directory")(error),
        })
    }

    fn attributes(&self, header: &Header, path: &str) -> Result<Attributes, UnpackError> {
        let owner = match self.options.ownership {
            Ownership::Ignore => None,
            Ownership::Keep => {
                let number = |number: u64, field| {
                    // The largest number means "leave as it is" to the system.
                    u32::try_from(number)
                        .ok()
                        .filter(|number| *number != u32::MAX)
                        .ok_or_else(|| tar::ReadError::Number {
                            path: path.to_owned(),
                            field,
                        })
                };
                Some((
                    number(header.uid, "owner's number")?,
                    number(header.gid, "group's number")?,
                ))
            }
        };
        let kept = match header.kind {
            _ if self.options.set_id => 0o7777,
            EntryKind::Directory => 0o1777,
            _ => 0o777,
        };
        Ok(Attributes {
            mode: header.mode & kept,
            owner,
            mtime: match self.options.times {
                Times::Keep => Some(header.mtime),
                Times::Fixed(mtime) => Some(mtime),
                Times::Now => None,
            },
            xattrs: match self.options.xattrs {
                Xattrs::Ignore => BTreeMap::new(),
                Xattrs::User => {
                    let xattrs = header.xattrs.iter();
                    xattrs
                        .filter(|(name, _)| name.starts_with("user."))
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect()
                }
                Xattrs::All => header.xattrs.clone(),
            },
        })
    }

    /// Writes an entry's content and, where checksums count, hashes it.
    fn fill(
        &mut self,
        entry: &mut dyn Read,
        file: &OwnedFd,
        path: &str,
    ) -> Result<Option<Sha1>, UnpackError> {
        let mut hasher = (self.options.checksums != Checksums::Ignore).then(sha1::Sha1::new);
        loop {
            let count = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(UnpackError::Content {
                        path: path.to_owned(),
                        source,
                    });
                }
            };
            let mut rest = &self.buffer[..count];
            if let Some(hasher) = &mut hasher {
                hasher.update(rest);
            }
            while !rest.is_empty() {
                match rustix::io::write(file, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(system(path, "write it")(error)),
                }
            }
            self.done.bytes += count as u64;
        }
        Ok(hasher.map(|hasher| Sha1::from_bytes(hasher.finalize().into())))
    }

    fn check(&self, header: &Header, actual: Option<Sha1>, path: &str) -> Result<(), UnpackError> {
        let path = || path.to_owned();
        match (header.checksum, actual) {
            (Some(expected), Some(actual)) if expected != actual => Err(UnpackError::Checksum {
                path: path(),
                expected,
                actual,
            }),
            (None, _) if self.options.checksums == Checksums::Require => {
                Err(UnpackError::NoChecksum { path: path() })
            }
            _ => Ok(()),
        }
    }

    fn hard_link(
        &mut self,
        place: &Place<'_>,
        components: &[&[u8]],
        target: &[&[u8]],
        shown: &str,
    ) -> Result<(), UnpackError> {
        let dangling = || UnpackError::Dangling {
            path: place.path.to_owned(),
            target: shown.to_owned(),
        };
        let (name, parents) = target.split_last().ok_or_else(dangling)?;
        let parent = match self.folder.lookup(parents) {
            Err((_, Errno::NOENT)) => return Err(dangling()),
            Err((depth, Errno::NOTDIR | Errno::LOOP)) => {
                return Err(UnpackError::Through {
                    path: place.path.to_owned(),
                    parent: display(&parents[..depth].join(&b'/')),
                });
            }
            Err((_, error)) => return Err(system(place.path, "open its target")(error)),
            Ok(parent) => parent,
        };
        let name = OsStr::from_bytes(name);
        let found = fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW);
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Err(Errno::NOENT) | Ok(FileType::Directory) => return Err(dangling()),
            Err(error) => return Err(system(place.path, "read its target")(error)),
            // Its own name: there is nothing to do, and removing it first would lose the file.
            Ok(_) if components == target => return Ok(()),
            Ok(_) => {}
        }
        place.replacing("link it", |place| {
            fs::linkat(&*parent, name, place.parent, place.name(), AtFlags::empty())
        })
    }

    /// Gives directories what they are to have, the deepest first: one that may not be entered must
    /// come after all that is in it.
    fn finish_directories(&mut self) -> Result<(), UnpackError> {
        for (path, attributes) in std::mem::take(&mut self.directories).iter().rev() {
            let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let path = display(path);
            let Some((name, parents)) = components.split_last() else {
                continue;
            };
            let opened = self.folder.lookup(parents).map_err(|(_, error)| error);
            let directory = opened
                .and_then(|parent| {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    fs::openat(&*parent, OsStr::from_bytes(name), flags, Mode::empty())
                })
                .map_err(system(&path, "open it to set its mode"))?;
            attributes.apply(&directory, &mut self.flaws(&path))?;
        }
        Ok(())
    }
}

impl Attributes {
    fn apply(&self, file: &OwnedFd, flaws: &mut Flaws<'_>) -> Result<(), UnpackError> {
        // Owner first: changing it takes set-user-id bits and capabilities away.
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            flaws.see(fs::fchown(file, Some(uid), Some(gid)), FlawKind::Owner)?;
        }
        if !self.xattrs.is_empty() {
            // Only who may write the file may set them, whatever the umask and the mode to come.
            flaws.see(fs::fchmod(file, Mode::RWXU), FlawKind::Mode)?;
        }
        for (name, value) in &self.xattrs {
            let set = fs::fsetxattr(file, name, value, XattrFlags::empty());
            flaws.see(set, FlawKind::Xattrs)?;
        }
        let mode = Mode::from_raw_mode(self.mode);
        flaws.see(fs::fchmod(file, mode), FlawKind::Mode)?;
        if let Some(times) = self.timestamps() {
            flaws.see(fs::futimens(file, &times), FlawKind::Time)?;
        }
        Ok(())
    }

    fn apply_to_link(&self, place: &Place<'_>, flaws: &mut Flaws<'_>) -> Result<(), UnpackError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let set = fs::chownat(place.parent, place.name(), Some(uid), Some(gid), flags);
            flaws.see(set, FlawKind::Owner)?;
        }
        if let Some(times) = self.timestamps() {
            let set = fs::utimensat(place.parent, place.name(), &times, flags);
            flaws.see(set, FlawKind::Time)?;
        }
        Ok(())
    }

    fn timestamps(&self) -> Option<Timestamps> {
        let time = Timespec {
            tv_sec: i64::try_from(self.mtime?).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        Some(Timestamps {
            last_access: time,
            last_modification: time,
        })
    }
}

/// Where it goes that something of an entry could not be set.
struct Flaws<'f> {
    path: &'f str,
    noted: Option<&'f mut Vec<Flaw>>,
}

impl Flaws<'_> {
    fn see(&mut self, result: rustix::io::Result<()>, what: FlawKind) -> Result<(), UnpackError> {
        let Err(error) = result else {
            return Ok(());
        };
        let Some(noted) = &mut self.noted else {
            return Err(system(self.path, what.action())(error));
        };
        let flaw = Flaw {
            path: self.path.to_owned(),
            what,
        };
        if noted.last() != Some(&flaw) {
            noted.push(flaw);
        }
        Ok(())
    }
}

impl FlawKind {
    fn action(self) -> &'static str {
        match self {
            FlawKind::Owner => "set its owner",
            FlawKind::Mode => "set its mode",
            FlawKind::Time => "set its time",
            FlawKind::Xattrs => "set its extended attributes",
        }
    }
}

/// Where an entry is made.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
    path: &'a str,
    kind: &'static str,
    /// Whether what is there gives way.
    replaces: bool,
}

impl Place<'_> {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name)
    }

    /// Makes something; what is there already is removed first, unless it is a directory.
    fn replacing<T>(
        &self,
        action: &'static str,
        make: impl Fn(&Self) -> rustix::io::Result<T>,
    ) -> Result<T, UnpackError> {
        match make(self) {
            Err(Errno::EXIST) if self.replaces => {}
            result => return result.map_err(system(self.path, action)),
        }
        match fs::unlinkat(self.parent, self.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                return Err(UnpackError::Replaces {
                    path: self.path.to_owned(),
                    kind: self.kind,
                    existing: "a directory",
                });
            }
            Err(error) => return Err(system(self.path, "replace what is there")(error)),
        }
        make(self).map_err(system(self.path, action))
    }

    fn create(&self) -> Result<OwnedFd, UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.replacing("make it", |place| {
            let mode = Mode::RUSR | Mode::WUSR;
            fs::openat(place.parent, place.name(), flags, mode)
        })
    }

    fn symlink(&self, target: &[u8]) -> Result<(), UnpackError> {
        let target = OsStr::from_bytes(target);
        self.replacing("make it", |place| {
            fs::symlinkat(target, place.parent, place.name())
        })
    }

    fn special(
        &self,
        kind: &EntryKind,
        attributes: &Attributes,
        flaws: &mut Flaws<'_>,
    ) -> Result<(), UnpackError> {
        let (file_type, device) = match *kind {
            EntryKind::CharDevice { major, minor } => {
                (FileType::CharacterDevice, fs::makedev(major, minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                (FileType::BlockDevice, fs::makedev(major, minor))
            }
            _ => (FileType::Fifo, 0),
        };
        self.replacing("make it", |place| {
            let mode = Mode::RUSR | Mode::WUSR;
            fs::mknodat(place.parent, place.name(), file_type, mode, device)
        })?;
        attributes.apply_to_link(self, flaws)?;
        let mode = Mode::from_raw_mode(attributes.mode);
        let set = fs::chmodat(self.parent, self.name(), mode, AtFlags::empty());
        flaws.see(set, FlawKind::Mode)
    }
}

fn system<'a>(path: &'a str, action: &'static str) -> impl Fn(Errno) -> UnpackError + 'a {
    move |error| UnpackError::System {
        path: path.to_owned(),
        action,
        source: error.into(),
    }
}

fn display(name: &[u8]) -> String {
    tar::printable(name)
}

#[cfg(test)]
mod tests;
