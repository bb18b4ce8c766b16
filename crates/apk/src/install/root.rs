use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{Arch, Reporter};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat, readlinkat};
use rustix::io::Errno;

use super::InstallError;
use super::beneath::Beneath;
use super::incoming::join;
use super::journal;
use super::ledger::Ledger;
use super::place::split;
use super::protect::{self, Rule};
use crate::database::scripts::FILES;
use crate::database::{
    DatabaseError, InstalledPackage, MAXIMUM_FILE, Unknown, read_packages, text,
};
use crate::dependency::Dependency;

/// Where the database lies: apk's place, and that of a root whose `lib` is no link to `usr/lib`
/// though its database is there.
const FOLDERS: [&str; 2] = ["lib/apk/db", "usr/lib/apk/db"];

pub(super) const WORLD: &str = "etc/apk/world";
pub(super) const ARCH: &str = "etc/apk/arch";

/// How often a lock is tried.
const TRY: Duration = Duration::from_millis(50);

/// What a root is opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// For reading: no lock is taken.
    #[default]
    Read,
    /// For changing it: the lock is held until the root is dropped, and what an interrupted
    /// transaction left behind is put in order.
    Write,
}

/// Whether a database is made where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Create {
    /// No: its absence is an error.
    #[default]
    Never,
    /// `--initdb`: yes, as root.
    Database,
    /// `--initdb --usermode`: yes, as an ordinary user, whose all files are to be.
    Usermode,
}

/// How a root is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// For what.
    pub access: Access,
    /// Whether a database is made.
    pub create: Create,
    /// `--arch`: the architectures instead of those of `etc/apk/arch`, which is written anew.
    pub arches: Vec<String>,
    /// `--wait`: how long a lock is waited for; none means not at all.
    pub wait: Option<Duration>,
    /// What is done about what a later apk wrote into the database.
    pub unknown: Unknown,
}

/// A transaction that was interrupted: the process was killed or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The packages that it had dealt with, as `name-version`.
    pub done: Vec<String>,
    /// The one that it was dealing with.
    pub unfinished: Option<String>,
}

/// Who owns a path.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'r> {
    /// It is a file or link of this package.
    File(&'r InstalledPackage),
    /// It is a directory; this package decides on its mode and owner.
    Directory(&'r InstalledPackage),
}

/// A system that apk manages.
#[derive(Debug)]
pub struct Root {
    pub(super) path: PathBuf,
    pub(super) beneath: Beneath,
    pub(super) folder: &'static str,
    pub(super) access: Access,
    pub(super) usermode: bool,
    unknown: Unknown,
    passed_over: bool,
    pub(super) packages: Vec<InstalledPackage>,
    pub(super) world: Vec<Dependency>,
    pub(super) arches: Vec<String>,
    pub(super) write_arches: bool,
    /// Whether scripts are kept compressed, as apk does where it began a database.
    pub(super) compressed_scripts: bool,
    /// Held if it is to be changed.
    locks: Vec<Lock>,
    /// Whether the database's folder is there; packages of the first transaction may make it.
    pub(super) has_folder: bool,
    pub(super) interrupted: Option<Interrupted>,
    /// Directories that an interrupted transaction changed, and no trigger was told.
    pub(super) modified: Vec<String>,
    /// A commit failed halfway: what is known here is not what is on disk.
    pub(super) failed: Cell<bool>,
}

impl Root {
    /// Opens a root. For reading, that reads the database's own files and nothing else.
    ///
    /// # Errors
    /// There is no database (and none is to be made), it can't be read, or it is locked.
    pub fn open(
        path: &Path,
        options: &OpenOptions,
        reporter: &dyn Reporter,
    ) -> Result<Root, InstallError> {
        let creates = options.create != Create::Never;
        options.create.check()?;
        let beneath = match options.access {
            Access::Write => options.create.root(path)?,
            Access::Read => Beneath::open(path).map_err(|source| InstallError::Root {
                path: path.to_owned(),
                source,
            })?,
        };
        let find = || {
            FOLDERS
                .into_iter()
                .find(|folder| beneath.directory(folder).is_ok())
        };
        // Where a database is only being made, it has no lock yet: the root itself has one. What
        // is there is looked at behind it.
        let mut locks = Vec::new();
        if options.access == Access::Write {
            let name = path.join(find().unwrap_or(FOLDERS[0])).join("lock");
            let directory = open_directory(&beneath).map_err(|source| InstallError::Root {
                path: path.to_owned(),
                source,
            })?;
            locks.push(hold(directory, &name, options.wait, reporter)?);
        }
        let found = find();
        // A transaction that was to make the database may have been interrupted.
        let creates = creates
            || options.access == Access::Write
                && beneath
                    .place(journal::FIRST)
                    .is_ok_and(|place| place.stat().is_ok());
        if found.is_none() && !creates {
            return Err(missing(path, &beneath, FOLDERS[0]));
        }
        let folder = found.unwrap_or(FOLDERS[0]);
        let mut root = Root {
            path: path.to_owned(),
            beneath,
            folder,
            access: options.access,
            usermode: options.create == Create::Usermode,
            unknown: options.unknown,
            passed_over: false,
            packages: Vec::new(),
            world: Vec::new(),
            arches: Vec::new(),
            write_arches: false,
            compressed_scripts: false,
            locks,
            has_folder: found.is_some(),
            interrupted: None,
            modified: Vec::new(),
            failed: Cell::new(false),
        };
        if options.create == Create::Never {
            let folder = found.unwrap_or_default();
            root.usermode = root.belongs_to_a_user(folder)?;
        }
        if options.access == Access::Write && root.has_folder {
            root.lock(options.wait, reporter)?;
        }
        root.read_arches(options)?;
        let text = root.read_text(WORLD)?;
        if text.is_none() && !creates {
            return Err(missing(path, &root.beneath, WORLD));
        }
        root.world = Dependency::parse_list(&text.unwrap_or_default())
            .map_err(|error| root.database_error(error.into()))?;
        root.look_back(reporter)?;
        Ok(root)
    }

    fn belongs_to_a_user(&self, folder: &str) -> Result<bool, InstallError> {
        let directory = self.beneath.directory(folder);
        let found = directory.and_then(rustix::fs::fstat);
        match found {
            Ok(found) => Ok(found.st_uid != 0),
            Err(error) => Err(self.file_error("read", folder, error.into())),
        }
    }

    pub(super) fn file_error(
        &self,
        action: &'static str,
        path: &str,
        source: io::Error,
    ) -> InstallError {
        InstallError::file(&self.path, action, path, source)
    }

    pub(super) fn database_error(&self, source: DatabaseError) -> InstallError {
        InstallError::Database {
            path: self.path.clone(),
            source,
        }
    }

    /// Takes the lock that apk takes too.
    fn lock(
        &mut self,
        wait: Option<Duration>,
        reporter: &dyn Reporter,
    ) -> Result<(), InstallError> {
        let name = format!("{}/lock", self.folder);
        let failed = |error: Errno| match error {
            Errno::LOOP => InstallError::Linked {
                path: self.path.join(&name),
            },
            error => self.file_error("lock", &name, error.into()),
        };
        let place = self.beneath.place(&name).map_err(failed)?;
        let flags =
            OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&*place.directory, place.name(), flags, mode).map_err(failed)?;
        let lock = hold(file, &self.path.join(&name), wait, reporter)?;
        self.locks.push(lock);
        Ok(())
    }

    /// Whether someone holds the lock now. Who may not look is told no.
    pub(super) fn is_locked(&self) -> bool {
        let is_held = |file: &OwnedFd| {
            flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = self
            .beneath
            .within(self.folder, "lock")
            .and_then(|place| openat(&*place.directory, place.name(), flags, Mode::empty()));
        file.is_ok_and(|file| is_held(&file)) || self.open_root().is_ok_and(|root| is_held(&root))
    }

    fn read_arches(&mut self, options: &OpenOptions) -> Result<(), InstallError> {
        let known = self.read_text(ARCH)?.unwrap_or_default();
        self.write_arches = !options.arches.is_empty();
        let arches = if self.write_arches {
            options.arches.clone()
        } else {
            known.lines().map(|line| line.trim().to_owned()).collect()
        };
        for arch in arches {
            if !arch.is_empty() && !self.arches.contains(&arch) {
                self.arches.push(arch);
            }
        }
        if self.arches.is_empty() {
            self.arches.push(Arch::host().apk().to_owned());
            self.write_arches = true;
        }
        Ok(())
    }

    pub(super) fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.beneath
            .read(path, MAXIMUM_FILE)
            .map_err(|source| DatabaseError::Read {
                file: path.to_owned(),
                source,
            })
    }

    pub(super) fn read_text(&self, path: &str) -> Result<Option<String>, InstallError> {
        let read = |path: &str| self.read_file(path);
        let failed = |error| self.database_error(error);
        match self.read_file(path).map_err(failed)? {
            None => Ok(None),
            Some(_) => text(&read, path).map(Some).map_err(failed),
        }
    }

    pub(super) fn read_packages(&mut self) -> Result<(), InstallError> {
        let packages = read_packages(self.folder, &|path| self.read_file(path), self.unknown);
        (self.packages, self.passed_over) = packages.map_err(|error| self.database_error(error))?;
        let has = |name: &str| {
            let place = self.beneath.within(self.folder, name);
            place.and_then(|place| place.stat()).is_ok()
        };
        self.compressed_scripts = !has(FILES[0]) && has(FILES[1]);
        Ok(())
    }

    /// The folder, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The installed packages, in the order of the database, with scripts and triggers.
    pub fn installed(&self) -> &[InstalledPackage] {
        &self.packages
    }

    /// The installed package of that name.
    pub fn package(&self, name: &str) -> Option<&InstalledPackage> {
        self.packages
            .iter()
            .find(|package| package.entry.info.name == name)
    }

    /// Who owns a path below the root.
    pub fn owner(&self, path: &str) -> Option<Owner<'_>> {
        let path = path.trim_matches('/');
        let (directory, name) = split(path);
        for package in &self.packages {
            for known in &package.directories {
                if known.path == directory && known.files.iter().any(|file| file.name == name) {
                    return Some(Owner::File(package));
                }
            }
        }
        let claims = |package: &&InstalledPackage| {
            package
                .directories
                .iter()
                .any(|directory| directory.path == path)
        };
        let claiming: Vec<InstalledPackage> =
            self.packages.iter().filter(claims).cloned().collect();
        let ledger = Ledger::new(claiming, Vec::new(), &[]);
        let owner = ledger.directory(path)?.owner()?.holder;
        let name = ledger.holder(owner)?.name().to_owned();
        self.package(&name).map(Owner::Directory)
    }

    /// What the symbolic link at a path below the root says, if there is one.
    pub fn link(&self, path: &str) -> Option<String> {
        let place = self.beneath.place(path.trim_matches('/')).ok()?;
        let target = readlinkat(&*place.directory, place.name(), Vec::new()).ok()?;
        target.into_string().ok()
    }

    /// `etc/apk/world`.
    pub fn world(&self) -> &[Dependency] {
        &self.world
    }

    /// The architectures that packages may have besides `noarch`, the system's own first.
    pub fn arches(&self) -> &[String] {
        &self.arches
    }

    /// Whether the database says what this program does not know, and will lose when it is written.
    pub fn has_passed_over(&self) -> bool {
        self.passed_over
    }

    /// The transaction that was interrupted, if one was. Opening for writing puts it in order.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        self.interrupted.as_ref()
    }

    /// Whether files are the caller's instead of root's: the database's folder is an ordinary
    /// user's.
    pub fn is_usermode(&self) -> bool {
        self.usermode
    }

    pub(super) fn beneath(&self) -> &Beneath {
        &self.beneath
    }

    /// The rules that protect paths: apk's own, and those of `etc/apk/protected_paths.d/*.list`.
    pub(super) fn rules(&self) -> Result<Vec<Rule>, InstallError> {
        let folder = "etc/apk/protected_paths.d";
        let mut rules: Vec<Rule> = protect::parse(protect::USUAL).collect();
        let paths = configuration(&self.beneath, &[folder], is_list)
            .map_err(|source| self.file_error("read", folder, source))?;
        for path in paths {
            rules.extend(protect::parse(&self.read_text(&path)?.unwrap_or_default()));
        }
        Ok(rules)
    }
}

/// Why a file without which there is no database is not there.
fn missing(root: &Path, beneath: &Beneath, file: &'static str) -> InstallError {
    let path = root.to_owned();
    match beneath.broken_link(file) {
        Some((link, target)) => InstallError::BrokenLink { path, link, target },
        None => InstallError::NoDatabase { path, file },
    }
}

fn is_list(name: &str) -> bool {
    !name.starts_with('.') && name.ends_with(".list")
}

/// The files of several folders, by name; of equal names the first folder's counts (apk's
/// `apk_dir_foreach_config_file`).
pub(super) fn configuration(
    beneath: &Beneath,
    folders: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<String>> {
    let mut found = std::collections::BTreeMap::new();
    for folder in folders {
        for name in beneath.list(folder)? {
            if let Some(name) = name.to_str()
                && wanted(name)
            {
                found
                    .entry(name.to_owned())
                    .or_insert_with(|| join(folder, name));
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The root, opened for more than finding what is beneath it.
pub(super) fn open_directory(beneath: &Beneath) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(beneath.root(), ".", flags, Mode::empty())?)
}

/// A lock on an open file.
#[derive(Debug)]
struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that was just forked may have the file open still. If it can't be unlocked, it
        // is when that one starts its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Locks an open file, which messages call `path`, until the lock is dropped.
fn hold(
    file: OwnedFd,
    path: &Path,
    wait: Option<Duration>,
    reporter: &dyn Reporter,
) -> Result<Lock, InstallError> {
    let locked = |waited| InstallError::Locked {
        path: path.to_owned(),
        waited,
    };
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let Some(wait) = wait else {
                    return Err(locked(None));
                };
                if begun.elapsed() >= wait {
                    return Err(locked(Some(wait)));
                }
                if !std::mem::replace(&mut is_told, true) {
                    reporter.report(base::Event::Notice {
                        message: "Waiting for repository lock",
                    });
                }
                std::thread::sleep(TRY);
            }
            Err(error) => {
                return Err(InstallError::File {
                    action: "lock",
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
        }
    }
}
