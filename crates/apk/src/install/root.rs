use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{Arch, Digest, Reporter};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::beneath::Beneath;
use super::commit::{POST_COMMIT, PRE_COMMIT, Session};
use super::journal::{self, Begin, Journal, Record};
use super::ledger::{Holder, Ledger};
use super::owners::Owners;
use super::place::split;
use super::protect::{self, Rule};
use super::recover::Story;
use super::scripts::Runner;
use super::transaction::{Arrival, Sync};
use super::voice::{LogFile, Voice};
use super::{Committed, InstallError, Transaction};
use crate::database::scripts::{FILES, to_archive};
use crate::database::{
    DatabaseError, InstalledPackage, MAXIMUM_FILE, lines_of, read_packages, sorted, text, to_text,
    triggers,
};
use crate::dependency::Dependency;

/// Where the database lies: apk's place, and that of a root whose `lib` is no link to `usr/lib`
/// though its database is there.
const FOLDERS: [&str; 2] = ["lib/apk/db", "usr/lib/apk/db"];

const WORLD: &str = "etc/apk/world";
const ARCH: &str = "etc/apk/arch";

/// How often a lock is tried.
const TRY: Duration = Duration::from_millis(50);

/// What the names of database files end with until they are whole.
const NEW: &str = ".new";

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

/// `var/log/apk.log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// What is written first: apk writes an empty line, the command and the time, and its version.
    pub heading: String,
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
    /// Where commits are logged; none with `--no-logfile`, and for reading.
    pub log: Option<Log>,
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
    path: PathBuf,
    beneath: Beneath,
    folder: &'static str,
    access: Access,
    usermode: bool,
    packages: Vec<InstalledPackage>,
    world: Vec<Dependency>,
    arches: Vec<String>,
    write_arches: bool,
    /// Whether scripts are kept compressed, as apk does where it began a database.
    compressed_scripts: bool,
    lock: Option<OwnedFd>,
    /// Whether the database's folder is there; packages of the first transaction may make it.
    has_folder: bool,
    log: Option<LogFile>,
    interrupted: Option<Interrupted>,
    /// Directories that an interrupted transaction changed, and no trigger was told.
    modified: Vec<String>,
    /// A commit failed halfway: what is known here is not what is on disk.
    failed: bool,
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
        let is_root = rustix::process::getuid().is_root();
        match options.create {
            Create::Usermode if is_root => return Err(InstallError::UsermodeAsRoot),
            Create::Database if !is_root => return Err(InstallError::NotRoot),
            _ => {}
        }
        let cannot_open = |source| InstallError::Root {
            path: path.to_owned(),
            source,
        };
        if creates && options.access == Access::Write && !path.exists() {
            std::fs::create_dir(path).map_err(cannot_open)?;
        }
        let beneath = Beneath::open(path).map_err(cannot_open)?;
        let found = FOLDERS
            .into_iter()
            .find(|folder| beneath.directory(folder).is_ok());
        // A transaction that was to make the database may have been interrupted.
        let creates = creates
            || options.access == Access::Write
                && beneath
                    .place(journal::FIRST)
                    .is_ok_and(|place| place.stat().is_ok());
        if found.is_none() && !creates {
            return Err(InstallError::NoDatabase {
                path: path.to_owned(),
                file: FOLDERS[0],
            });
        }
        let folder = found.unwrap_or(FOLDERS[0]);
        let mut root = Root {
            path: path.to_owned(),
            beneath,
            folder,
            access: options.access,
            usermode: options.create == Create::Usermode,
            packages: Vec::new(),
            world: Vec::new(),
            arches: Vec::new(),
            write_arches: false,
            compressed_scripts: false,
            lock: None,
            has_folder: found.is_some(),
            log: None,
            interrupted: None,
            modified: Vec::new(),
            failed: false,
        };
        if options.create == Create::Never {
            let folder = found.unwrap_or_default();
            root.usermode = root.belongs_to_a_user(folder)?;
        }
        if options.access == Access::Write {
            root.lock(options.wait, reporter)?;
            root.open_log(options)?;
        }
        root.read_arches(options)?;
        let text = root.read_text(WORLD)?;
        if text.is_none() && !creates {
            return Err(InstallError::NoDatabase {
                path: path.to_owned(),
                file: WORLD,
            });
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

    fn file_error(&self, action: &'static str, path: &str, source: io::Error) -> InstallError {
        InstallError::File {
            action,
            path: self.path.join(path),
            source,
        }
    }

    fn database_error(&self, source: DatabaseError) -> InstallError {
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
        let failed = |error: Errno| self.file_error("lock", &name, error.into());
        let file = if self.has_folder {
            let place = self.beneath.place(&name).map_err(failed)?;
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            openat(&*place.directory, place.name(), flags, mode).map_err(failed)?
        } else {
            // Where a database is to be made, the root itself.
            self.open_root()
                .map_err(|source| self.file_error("lock", "", source))?
        };
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    let Some(wait) = wait else {
                        return Err(self.locked(None));
                    };
                    if begun.elapsed() >= wait {
                        return Err(self.locked(Some(wait)));
                    }
                    if !std::mem::replace(&mut is_told, true) {
                        reporter.report(base::Event::Notice {
                            message: "Waiting for repository lock",
                        });
                    }
                    std::thread::sleep(TRY);
                }
                Err(error) => return Err(failed(error)),
            }
        }
        self.lock = Some(file);
        Ok(())
    }

    fn locked(&self, waited: Option<Duration>) -> InstallError {
        InstallError::Locked {
            path: self.path.join(self.folder).join("lock"),
            waited,
        }
    }

    /// Whether someone holds the lock now. Who may not look is told no.
    fn is_locked(&self) -> bool {
        let Ok(place) = self.beneath.within(self.folder, "lock") else {
            return false;
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&*place.directory, place.name(), flags, Mode::empty()).is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
        })
    }

    fn open_log(&mut self, options: &OpenOptions) -> Result<(), InstallError> {
        if let Some(log) = &options.log {
            let opened = LogFile::open(&self.beneath, &log.heading)
                .map_err(|source| self.file_error("open", "var/log/apk.log", source))?;
            self.log = Some(opened);
        }
        Ok(())
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

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        self.beneath
            .read(path, MAXIMUM_FILE)
            .map_err(|source| DatabaseError::Read {
                file: path.to_owned(),
                source,
            })
    }

    fn read_text(&self, path: &str) -> Result<Option<String>, InstallError> {
        let read = |path: &str| self.read_file(path);
        let failed = |error| self.database_error(error);
        match self.read_file(path).map_err(failed)? {
            None => Ok(None),
            Some(_) => text(&read, path).map(Some).map_err(failed),
        }
    }

    fn read_packages(&mut self) -> Result<(), InstallError> {
        let packages = read_packages(self.folder, &|path| self.read_file(path));
        self.packages = packages.map_err(|error| self.database_error(error))?;
        let has = |name: &str| {
            let place = self.beneath.within(self.folder, name);
            place.and_then(|place| place.stat()).is_ok()
        };
        self.compressed_scripts = !has(FILES[0]) && has(FILES[1]);
        Ok(())
    }

    /// SHA-256 of `installed` as it is now.
    fn installed_digest(&self) -> Result<Digest, InstallError> {
        let file = format!("{}/installed", self.folder);
        let bytes = self
            .read_file(&file)
            .map_err(|error| self.database_error(error))?;
        Ok(Digest::of(&bytes.unwrap_or_default()))
    }

    /// Reads the packages, and puts in order what an interrupted transaction left.
    fn look_back(&mut self, reporter: &dyn Reporter) -> Result<(), InstallError> {
        let own = journal::path(self.folder);
        let is_own = self
            .beneath
            .place(&own)
            .is_ok_and(|place| place.stat().is_ok());
        let journal = if is_own {
            own
        } else {
            journal::FIRST.to_owned()
        };
        let failed = |source: io::Error| InstallError::Journal {
            path: self.path.join(&journal),
            reason: source.to_string(),
        };
        let story = match journal::read(&self.beneath, &journal) {
            Ok(None) => return self.read_packages(),
            Ok(Some((records, length))) => Story::of(records).map(|story| (story, length)),
            // Reading goes on without it: the database is whole at any time.
            Err(_) if self.access == Access::Read => return self.read_packages(),
            Err(error) => return Err(failed(error)),
        };
        if self.access == Access::Read {
            if let Some((story, _)) = &story
                && !self.is_locked()
            {
                self.interrupted = story.summary();
            }
            return self.read_packages();
        }
        let Some((story, length)) = story else {
            self.remove_journal(&journal)?;
            return self.read_packages();
        };
        self.recover(story, &journal, length, reporter)
    }

    fn recover(
        &mut self,
        story: Story,
        path: &str,
        length: u64,
        reporter: &dyn Reporter,
    ) -> Result<(), InstallError> {
        let notice = |message: &str| reporter.report(base::Event::Notice { message });
        let installed = self.installed_digest()?;
        if let Some((files, new)) = &story.database
            && (installed == story.installed() || installed == *new)
        {
            // All but the names was done.
            self.rename(files)?;
            self.remove_journal(path)?;
            return self.read_packages();
        }
        if story.database.is_some() || installed != story.installed() {
            story.sweep(&self.beneath);
            notice(
                "WARNING: an interrupted transaction is forgotten: the database was changed since; `fix` and `audit` tell what is left of it",
            );
            self.remove_journal(path)?;
            return self.read_packages();
        }
        self.read_packages()?;
        let Some(summary) = story.summary() else {
            self.modified = story.modified();
            return Ok(());
        };
        let mut message = "WARNING: an interrupted transaction was put in order".to_owned();
        if let Some(package) = &summary.unfinished {
            message.push_str(&format!(" (it was at {package})"));
        }
        message.push_str("; what it did not come to is still to be done");
        let rules = self.rules()?;
        let packages = std::mem::take(&mut self.packages);
        let recovered = story
            .recover(&self.beneath, packages, &rules)
            .map_err(|source| InstallError::Journal {
                path: self.path.join(path),
                reason: source.to_string(),
            })?;
        let failed = |source| self.file_error("write", path, source);
        let mut journal = Journal::resume(&self.beneath, path, length).map_err(failed)?;
        self.write_database(&recovered.packages, &self.world, &mut journal, true)?;
        drop(journal);
        self.remove_journal(path)?;
        self.has_folder = true;
        self.modified = recovered.modified;
        if !self.modified.is_empty() {
            // Until a transaction tells the triggers.
            let begin = self.begin(&[])?;
            let path = self.journal();
            Journal::create(&self.beneath, &path, begin, true)
                .map_err(|source| self.file_error("write", &path, source))?;
        }
        notice(&message);
        self.interrupted = Some(summary);
        self.read_packages()
    }

    fn begin(&self, changing: &[String]) -> Result<Begin, InstallError> {
        Ok(Begin {
            installed: self.installed_digest()?,
            boot: journal::boot(),
            changing: changing.to_vec(),
            modified: self.modified.clone(),
        })
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

    /// `etc/apk/world`.
    pub fn world(&self) -> &[Dependency] {
        &self.world
    }

    /// The architectures that packages may have besides `noarch`, the system's own first.
    pub fn arches(&self) -> &[String] {
        &self.arches
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

    /// The files that name repositories, as apk reads them: `etc/apk/repositories`, then those of
    /// `etc/apk/repositories.d` and `lib/apk/repositories.d` by name; each with its text.
    ///
    /// # Errors
    /// One can't be read.
    pub fn repository_files(&self) -> Result<Vec<(String, String)>, InstallError> {
        let mut paths = vec!["etc/apk/repositories".to_owned()];
        let folders = ["etc/apk/repositories.d", "lib/apk/repositories.d"];
        let found = configuration(&self.beneath, &folders, is_list)
            .map_err(|source| self.file_error("read", folders[0], source))?;
        paths.extend(found);
        let mut files = Vec::new();
        for path in paths {
            if let Some(text) = self.read_text(&path)? {
                files.push((path, text));
            }
        }
        Ok(files)
    }

    /// The public keys of `etc/apk/keys` and `lib/apk/keys`, by file name, as they stand there.
    ///
    /// # Errors
    /// One can't be read.
    pub fn key_files(&self) -> Result<Vec<(String, Vec<u8>)>, InstallError> {
        let folders = ["etc/apk/keys", "lib/apk/keys"];
        let is_hidden = |name: &str| name.starts_with('.');
        let paths = configuration(&self.beneath, &folders, |name| !is_hidden(name))
            .map_err(|source| self.file_error("read", folders[0], source))?;
        let mut files = Vec::new();
        for path in paths {
            if let Some(bytes) = self
                .read_file(&path)
                .map_err(|error| self.database_error(error))?
            {
                files.push((split(&path).1.to_owned(), bytes));
            }
        }
        Ok(files)
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

    /// Carries out a transaction: each step in turn, then triggers, the database, commit hooks.
    ///
    /// What is reported, each a line as apk prints it: the steps (`(1/3) Installing …`), the
    /// scripts (`  Executing …`) and files that are put beside changed ones as
    /// [`base::Event::Step`], scripts' output (`  * …`) as [`base::Event::Output`], warnings and
    /// errors as [`base::Event::Notice`] that begin with `WARNING: ` or `ERROR: `.
    ///
    /// Scripts get the caller's umask; who runs them sets 022, as apk does.
    ///
    /// # Errors
    /// Nothing was begun, or the database can't be written; then opening the root again puts it in
    /// order. What goes wrong with single packages is told in [`Committed`].
    pub fn commit(
        &mut self,
        transaction: &Transaction,
        reporter: &dyn Reporter,
    ) -> Result<Committed, InstallError> {
        if self.access != Access::Write {
            return Err(InstallError::ReadOnly {
                path: self.path.clone(),
            });
        }
        if self.failed {
            return Err(InstallError::Failed {
                path: self.path.clone(),
            });
        }
        self.failed = true;
        let committed = self.carry_out(transaction, reporter)?;
        self.failed = false;
        Ok(committed)
    }

    /// Where the journal is kept.
    fn journal(&self) -> String {
        if self.has_folder {
            journal::path(self.folder)
        } else {
            journal::FIRST.to_owned()
        }
    }

    fn remove_journal(&self, path: &str) -> Result<(), InstallError> {
        Journal::remove(&self.beneath, path)
            .map_err(|source| self.file_error("remove", path, source))
    }

    fn is_own(&self) -> bool {
        self.path
            .canonicalize()
            .is_ok_and(|path| path == Path::new("/"))
    }

    fn carry_out(
        &mut self,
        transaction: &Transaction,
        reporter: &dyn Reporter,
    ) -> Result<Committed, InstallError> {
        let Transaction {
            steps,
            world,
            options,
        } = transaction;
        let durable = match options.sync {
            Sync::OwnRoot => self.is_own(),
            Sync::Always => true,
            Sync::Never => false,
        };
        let changing: Vec<String> = steps.iter().filter_map(changed).cloned().collect();
        let hooks = ["etc/apk/commit_hooks.d", "lib/apk/commit_hooks.d"];
        let runs_scripts = !options.no_scripts
            && (!changing.is_empty()
                || hooks
                    .iter()
                    .any(|folder| self.beneath.directory(folder).is_ok()));
        let runner = if runs_scripts {
            let environment = options.environment.as_deref();
            let confined = !options.unconfined;
            Some(Runner::new(
                &self.path,
                self.usermode,
                confined,
                environment,
            )?)
        } else {
            None
        };
        let rules = self.rules()?;
        let mut ledger = Ledger::new(self.packages.clone(), rules, &options.overlay);
        for path in &self.modified {
            ledger.directory_mut(path).modified = true;
        }
        let begin = self.begin(&changing)?;
        let journal_path = self.journal();
        let journal = Journal::create(&self.beneath, &journal_path, begin, durable)
            .map_err(|source| self.file_error("write", &journal_path, source))?;
        let subject = self.path.display().to_string();
        let mut session = Session {
            path: &self.path,
            beneath: &self.beneath,
            ledger,
            owners: Owners::default(),
            journal,
            journal_path: journal_path.clone(),
            options,
            usermode: self.usermode,
            runner,
            voice: Voice::start(reporter, self.log.as_ref(), &subject, changing.len() as u64),
            committed: Committed::default(),
        };
        if let Err(error) = session.hooks(PRE_COMMIT) {
            self.remove_journal(&journal_path)?;
            return Err(error);
        }
        session.steps(steps)?;
        let order: Vec<String> = steps.iter().filter_map(staying).cloned().collect();
        session.triggers(&order)?;
        session.committed.statistics = session.ledger.statistics();
        let packages = std::mem::take(&mut session.ledger).into_packages();
        let mut world = world.clone();
        world.sort_by_cached_key(|term| (term.name.to_ascii_lowercase(), term.name.clone()));
        self.write_database(&packages, &world, &mut session.journal, durable)?;
        self.remove_journal(&journal_path)?;
        session.hooks(POST_COMMIT)?;
        let Session {
            voice, committed, ..
        } = session;
        voice.done();
        self.packages = sorted(&packages).into_iter().cloned().collect();
        self.world = world;
        self.has_folder = true;
        self.modified.clear();
        self.write_arches = false;
        self.interrupted = None;
        Ok(committed)
    }

    /// Writes the database's files beside their places; then, once all are whole, gives them their
    /// names.
    fn write_database(
        &self,
        packages: &[InstalledPackage],
        world: &[Dependency],
        journal: &mut Journal,
        durable: bool,
    ) -> Result<(), InstallError> {
        let folder = self.folder;
        let installed = to_text(packages).into_bytes();
        let digest = Digest::of(&installed);
        let scripts = to_archive(packages);
        let (name, scripts) = if self.compressed_scripts {
            (FILES[1], archive::gzip::compress(&scripts))
        } else {
            (FILES[0], scripts)
        };
        let lines = |terms: &[String]| -> Vec<u8> {
            // apk ends even an empty world so.
            let mut text = terms.join("\n");
            text.push('\n');
            text.into_bytes()
        };
        let world: Vec<String> = world.iter().map(Dependency::to_string).collect();
        let mut files = vec![
            (format!("{folder}/installed"), installed),
            (
                format!("{folder}/triggers"),
                triggers(packages).into_bytes(),
            ),
            (format!("{folder}/{name}"), scripts),
            (WORLD.to_owned(), lines(&world)),
        ];
        if self.write_arches {
            files.push((ARCH.to_owned(), lines(&self.arches)));
        }
        for folder in [folder, "etc/apk"] {
            self.beneath
                .make_directories(folder)
                .map_err(|error| self.file_error("make", folder, error.into()))?;
        }
        for (path, bytes) in &files {
            self.write_beside(path, bytes)
                .map_err(|source| self.file_error("write", path, source))?;
        }
        if durable {
            // Packages' files and the database's, at once.
            let opened = self.open_root();
            opened
                .and_then(|root| Ok(rustix::fs::syncfs(&root)?))
                .map_err(|source| self.file_error("write", folder, source))?;
        }
        let paths: Vec<String> = files.into_iter().map(|(path, _)| path).collect();
        journal
            .append(&Record::Database {
                files: paths.clone(),
                installed: digest,
            })
            .and_then(|()| journal.sync())
            .map_err(|source| self.file_error("write", &self.journal(), source))?;
        self.rename(&paths)?;
        if durable {
            let opened = self.open_root();
            opened
                .and_then(|root| Ok(rustix::fs::syncfs(&root)?))
                .map_err(|source| self.file_error("write", folder, source))?;
        }
        Ok(())
    }

    fn open_root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(self.beneath.root(), ".", flags, Mode::empty())?)
    }

    fn write_beside(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.beneath.place(&format!("{path}{NEW}"))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(&*place.directory, place.name(), flags, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        File::from(file).write_all(bytes)
    }

    /// Gives whole files their names. Those that have them already are passed over.
    fn rename(&self, paths: &[String]) -> Result<(), InstallError> {
        for path in paths {
            let renamed = self.beneath.place(path).and_then(|place| {
                let beside = self.beneath.place(&format!("{path}{NEW}"))?;
                rustix::fs::renameat(
                    &*beside.directory,
                    beside.name(),
                    &*place.directory,
                    place.name(),
                )
            });
            match renamed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.file_error("write", path, error.into())),
            }
        }
        Ok(())
    }
}

/// The name of the package that a step changes; none if it changes none.
fn changed(step: &Step) -> Option<&String> {
    match &step.after {
        Arrival::Kept => None,
        Arrival::Nothing => step.before.as_ref(),
        Arrival::Package { entry, .. } | Arrival::Virtual(entry) => Some(&entry.info.name),
    }
}

/// The name of the package that a step leaves installed.
fn staying(step: &Step) -> Option<&String> {
    match &step.after {
        Arrival::Kept => step.before.as_ref(),
        Arrival::Nothing => None,
        Arrival::Package { entry, .. } | Arrival::Virtual(entry) => Some(&entry.info.name),
    }
}

use super::transaction::Step;

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
                    .or_insert_with(|| format!("{folder}/{name}"));
            }
        }
    }
    Ok(found.into_values().collect())
}
