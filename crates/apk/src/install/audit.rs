//! What of a system is not as its packages left it (apk's `app_audit.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::fs::{FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, openat, readlinkat};
use rustix::io::Errno;

use super::beneath::{Beneath, Place, is};
use super::error::InstallError;
use super::files::{Algorithm, checksum};
use super::incoming::join;
use super::ledger::{Holder, Ledger, PackageId};
use super::place::{BESIDE, split};
use super::protect::{self, Protected, Protection};
use super::root::Root;
use crate::database::{InstalledFile, Permissions, attributes_hash, short};
use crate::dependency::Identity;

/// What an audit looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditMode {
    /// `--backup`: what a backup must hold: protected files that were changed or added.
    #[default]
    Backup,
    /// `--system`: packages' files that were changed or are missing, but for protected ones.
    System,
    /// `--full`: that, and whatever no package has.
    Full,
}

/// An audit.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// What is looked for.
    pub mode: AuditMode,
    /// `--check-permissions`: modes and owners too.
    pub check_permissions: bool,
    /// `--recursive`: what is in directories that no package has.
    pub recursive: bool,
    /// `--ignore-busybox-symlinks`: links to busybox that no package has are passed over.
    pub ignore_busybox_symlinks: bool,
    /// `--details`: findings say what was expected and what is there. Costs reading every file.
    pub details: bool,
    /// `--protected-paths`: rules instead of those of the system.
    pub protected_paths: Option<String>,
    /// The directories that are looked at, without leading `/`; all if there are none.
    pub paths: Vec<String>,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deviation {
    /// `A`: a file that no package has.
    Added,
    /// `d`: a directory that no package has; what is in it follows.
    DirectoryAdded,
    /// `D`: a directory that no package has, with all that is in it.
    TreeAdded,
    /// `e`: it can't be read.
    Unreadable,
    /// `M`: a file's mode or owner.
    Mode,
    /// `m`: a directory's mode or owner.
    DirectoryMode,
    /// `U`: a file's contents.
    Modified,
    /// `X`: a file is missing.
    Missing,
    /// `x`: a file's extended attributes.
    Attributes,
}

impl Deviation {
    /// apk's letter.
    pub fn letter(self) -> char {
        match self {
            Deviation::Added => 'A',
            Deviation::DirectoryAdded => 'd',
            Deviation::TreeAdded => 'D',
            Deviation::Unreadable => 'e',
            Deviation::Mode => 'M',
            Deviation::DirectoryMode => 'm',
            Deviation::Modified => 'U',
            Deviation::Missing => 'X',
            Deviation::Attributes => 'x',
        }
    }
}

/// Mode, owner and checksum of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Of a file's contents or a link's target, in hex: as long as the database has it.
    pub checksum: Option<String>,
}

/// Something that is not as a package left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub deviation: Deviation,
    /// The path below the root; a directory's ends with `/`.
    pub path: String,
    /// Name and version of the file's package, if it has one.
    pub package: Option<(String, String)>,
    /// What the database says, with [`Audit::details`].
    pub expected: Option<State>,
    /// What is there, with [`Audit::details`].
    pub found: Option<State>,
}

impl Root {
    /// Compares the system with the database. Findings come in the order of paths, directories
    /// before what is in them; missing files come last.
    ///
    /// # Errors
    /// A folder can't be listed, a rule not read. In usermode there is no audit, as owners are not
    /// what packages say.
    pub fn audit(&self, audit: &Audit) -> Result<Vec<Finding>, InstallError> {
        if self.is_usermode() {
            return Err(InstallError::UsermodeAudit {
                path: self.path().to_owned(),
            });
        }
        let rules = match (&audit.protected_paths, audit.mode) {
            (Some(text), _) => protect::parse(text).collect(),
            (None, AuditMode::Full) => protect::parse(protect::FULL).collect(),
            (None, _) => self.rules()?,
        };
        let ledger = Ledger::new(self.installed().to_vec(), rules, &[]);
        let mut walk = Walk {
            audit,
            beneath: self.beneath(),
            files: files(&ledger),
            ledger: &ledger,
            seen: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            findings: Vec::new(),
        };
        let all = [String::new()];
        let paths = if audit.paths.is_empty() {
            &all[..]
        } else {
            &audit.paths
        };
        for path in paths {
            let path = path.trim_matches('/');
            walk.looked_at.insert(path.to_owned());
            walk.directory(path, &ledger.protected(path), 0)
                .map_err(|(path, source)| self.file_error("list", &path, source))?;
        }
        if audit.mode != AuditMode::Backup {
            walk.missing();
        }
        Ok(walk.findings)
    }
}

/// A file of a package.
type Known<'l> = (PackageId, &'l InstalledFile);

/// Every file of the packages that it is of, by its path.
fn files(ledger: &Ledger) -> BTreeMap<String, Known<'_>> {
    let mut files = BTreeMap::new();
    for (id, slot) in ledger.slots() {
        for directory in &slot.package.directories {
            for file in &directory.files {
                if ledger.file(&directory.path, &file.name) == Some(Holder::Package(id)) {
                    files.insert(join(&directory.path, &file.name), (id, file));
                }
            }
        }
    }
    files
}

/// Directories inside each other that are looked at.
const DEPTH: usize = 256;

struct Walk<'a> {
    audit: &'a Audit,
    beneath: &'a Beneath,
    ledger: &'a Ledger,
    files: BTreeMap<String, Known<'a>>,
    /// Files that are there.
    seen: BTreeSet<String>,
    /// Directories whose files are missed if they aren't there.
    looked_at: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        path: &str,
        protected: &Protected,
        depth: usize,
    ) -> Result<(), (String, io::Error)> {
        if depth > DEPTH {
            return Err((path.to_owned(), Errno::NAMETOOLONG.into()));
        }
        let names = self
            .beneath
            .list(path)
            .map_err(|error| (path.to_owned(), error))?;
        for name in names {
            // A name that is not UTF-8 is no package's.
            let name = name.to_string_lossy();
            self.item(path, &name, protected, depth)?;
        }
        Ok(())
    }

    fn item(
        &mut self,
        parent: &str,
        name: &str,
        protected: &Protected,
        depth: usize,
    ) -> Result<(), (String, io::Error)> {
        let path = join(parent, name);
        let found = self
            .beneath
            .within(parent, name)
            .and_then(|place| Ok((place.stat()?, place)));
        let (found, place) = match found {
            Ok(found) => found,
            Err(_) => {
                self.seen.insert(path.clone());
                self.report(Deviation::Unreadable, &path, None);
                return Ok(());
            }
        };
        if is(&found, FileType::Directory) {
            return self.subdirectory(&path, &protected.child(name), &found, depth);
        }
        self.seen.insert(path.clone());
        // Rules that name single files hold below the root only.
        let protection = if parent.is_empty() {
            Protection::None
        } else {
            protected.file(name)
        };
        if let Some(deviation) = self.file(&path, protection, &found, &place) {
            // What is always reported, apk doesn't read.
            let is_read = self.audit.mode != AuditMode::Backup || protection != Protection::All;
            self.report(deviation, &path, Some((&found, is_read.then_some(&place))));
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        path: &str,
        protected: &Protected,
        found: &Stat,
        depth: usize,
    ) -> Result<(), (String, io::Error)> {
        let known = self.ledger.directory(path).filter(|known| known.exists());
        let (is_audited, goes_on) = match self.audit.mode {
            AuditMode::Backup => (
                protected.protection.protects(),
                protected.has_protected_children,
            ),
            AuditMode::System if known.is_none() => return Ok(()),
            AuditMode::System => (true, true),
            AuditMode::Full => (
                protected.protection == Protection::None,
                // Nothing there can be of interest.
                protected.protection != Protection::Ignore || protected.has_protected_children,
            ),
        };
        let mut deviation = None;
        if is_audited {
            self.looked_at.insert(path.to_owned());
            deviation = match known {
                None if self.audit.recursive => Some(Deviation::DirectoryAdded),
                None => Some(Deviation::TreeAdded),
                Some(known) => known.owner().and_then(|owner| {
                    let differs =
                        self.audit.check_permissions && differs(found, &owner.permissions);
                    differs.then_some(Deviation::DirectoryMode)
                }),
            };
        }
        if let Some(deviation) = deviation {
            let owner = known.and_then(|known| known.owner());
            let details = self.audit.details;
            self.findings.push(Finding {
                deviation,
                path: format!("{path}/"),
                package: None,
                expected: owner
                    .filter(|_| details && deviation == Deviation::DirectoryMode)
                    .map(|owner| state(&owner.permissions, None)),
                found: details.then(|| actual(found, None)),
            });
        }
        if goes_on && deviation != Some(Deviation::TreeAdded) {
            return self.directory(path, protected, depth + 1);
        }
        Ok(())
    }

    fn file(
        &self,
        path: &str,
        protection: Protection,
        found: &Stat,
        place: &Place,
    ) -> Option<Deviation> {
        let known = self.files.get(path);
        let is_link = is(found, FileType::Symlink);
        let mut always = false;
        match self.audit.mode {
            AuditMode::Full => match protection {
                Protection::None => {}
                Protection::Links if !is_link => {}
                _ => return None,
            },
            AuditMode::Backup => {
                match protection {
                    Protection::None | Protection::Ignore => return None,
                    Protection::Changed => {}
                    Protection::Links if is_link => {}
                    Protection::Links => return None,
                    Protection::All => always = true,
                }
                if (known.is_none() || always) && path.ends_with(BESIDE) {
                    return None;
                }
            }
            AuditMode::System => {
                if known.is_none() || protection.protects() {
                    return None;
                }
            }
        }
        if known.is_none()
            && self.audit.ignore_busybox_symlinks
            && is_link
            && let Ok(target) = readlinkat(&*place.directory, place.name(), Vec::new())
            && ["/bin/busybox", "/bin/bbsuid", "/bin/busybox-extras"]
                .iter()
                .any(|busybox| target.as_bytes() == busybox.as_bytes())
        {
            return None;
        }
        match known {
            _ if always => Some(Deviation::Added),
            None => Some(Deviation::Added),
            Some((id, file)) => self.compare(*id, file, found, place),
        }
    }

    fn compare(
        &self,
        id: PackageId,
        file: &InstalledFile,
        found: &Stat,
        place: &Place,
    ) -> Option<Deviation> {
        let package = &self.ledger.slot(id)?.package;
        let is_link = is(found, FileType::Symlink);
        let actual = match checksum(place, Algorithm::of(package)) {
            Ok(actual) => actual,
            Err(_) => return Some(Deviation::Unreadable),
        };
        if actual != file.checksum.map(short) {
            return Some(Deviation::Modified);
        }
        if !is_link && !package.broken.attributes {
            let expected = file.permissions.attributes.map(short);
            match attributes(place, found) {
                Ok(actual) if actual == expected => {}
                Ok(_) => return Some(Deviation::Attributes),
                Err(_) => return Some(Deviation::Unreadable),
            }
        }
        if self.audit.check_permissions && differs(found, &file.permissions) {
            return Some(Deviation::Mode);
        }
        None
    }

    fn missing(&mut self) {
        let missing: Vec<String> = self
            .files
            .keys()
            .filter(|path| !self.seen.contains(*path))
            .filter(|path| {
                let (directory, name) = split(path);
                let protected = self.ledger.protected(directory);
                self.looked_at.contains(directory)
                    && (directory.is_empty() || protected.file(name) != Protection::Ignore)
            })
            .cloned()
            .collect();
        for path in missing {
            self.report(Deviation::Missing, &path, None);
        }
    }

    fn report(&mut self, deviation: Deviation, path: &str, found: Option<(&Stat, Option<&Place>)>) {
        let known = self.files.get(path);
        let slot = known.and_then(|(id, _)| self.ledger.slot(*id));
        let details = self.audit.details;
        let algorithm = slot.map_or(Algorithm::Sha256, |slot| Algorithm::of(&slot.package));
        self.findings.push(Finding {
            deviation,
            path: path.to_owned(),
            package: slot.map(|slot| {
                let info = &slot.package.entry.info;
                (info.name.clone(), info.version.clone())
            }),
            expected: known
                .filter(|_| details)
                .map(|(_, file)| state(&file.permissions, file.checksum)),
            found: found.filter(|_| details).map(|(found, place)| {
                let checksum = place.and_then(|place| checksum(place, algorithm).ok().flatten());
                actual(found, checksum)
            }),
        });
    }
}

fn differs(found: &Stat, expected: &Permissions) -> bool {
    found.st_mode & 0o7777 != expected.mode & 0o7777
        || u64::from(found.st_uid) != expected.uid
        || u64::from(found.st_gid) != expected.gid
}

fn state(permissions: &Permissions, checksum: Option<Identity>) -> State {
    State {
        mode: permissions.mode,
        uid: permissions.uid,
        gid: permissions.gid,
        checksum: checksum.map(hex),
    }
}

fn actual(found: &Stat, checksum: Option<Identity>) -> State {
    State {
        mode: found.st_mode & 0o7777,
        uid: found.st_uid.into(),
        gid: found.st_gid.into(),
        checksum: checksum.map(hex),
    }
}

fn hex(identity: Identity) -> String {
    match identity {
        Identity::Sha1(hash) => hash.hex(),
        Identity::Sha256(hash) => hash.hex(),
    }
}

/// The hash of a file's extended attributes; none if it has none, or can have none.
fn attributes(place: &Place, found: &Stat) -> io::Result<Option<Identity>> {
    if is(found, FileType::Fifo) || is(found, FileType::Socket) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(&*place.directory, place.name(), flags, Mode::empty()) {
        Ok(file) => file,
        // A device without a driver.
        Err(Errno::NXIO | Errno::NODEV) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The kernel's limits.
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(&file, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut attributes = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        match fgetxattr(&file, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                attributes.insert(String::from_utf8_lossy(name).into_owned(), value);
            }
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(attributes_hash(&attributes))
}
