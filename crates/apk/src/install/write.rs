//! Committing a transaction, and writing the database.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use base::{Digest, Reporter};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::commit::{POST_COMMIT, PRE_COMMIT, Session};
use super::journal::{Journal, Record};
use super::ledger::Ledger;
use super::owners::Owners;
use super::root::{ARCH, Access, Root, WORLD, open_directory};
use super::scripts::Runner;
use super::transaction::{Arrival, Step, Sync};
use super::voice::Voice;
use super::{Committed, InstallError, Transaction};
use crate::database::scripts::{FILES, to_archive};
use crate::database::{InstalledPackage, sorted, to_text, triggers};
use crate::dependency::Dependency;

/// What the names of database files end with until they are whole.
pub(super) const NEW: &str = ".new";

impl Root {
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
        if self.failed.get() {
            return Err(InstallError::Failed {
                path: self.path.clone(),
            });
        }
        let committed = self.carry_out(transaction, reporter)?;
        self.failed.set(false);
        Ok(committed)
    }

    pub(super) fn is_own(&self) -> bool {
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
                || !self.modified.is_empty()
                || !options.directories.is_empty()
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
            voice: Voice::start(reporter, &subject, changing.len() as u64),
            committed: Committed::default(),
        };
        let begun = session.settle();
        if let Err(error) = begun.and_then(|()| session.hooks(PRE_COMMIT)) {
            self.remove_journal(&journal_path)?;
            return Err(error);
        }
        // From here on, what goes wrong is put in order when the root is opened again.
        self.failed.set(true);
        session.steps(steps)?;
        let order: Vec<String> = steps.iter().filter_map(staying).cloned().collect();
        session.triggers(&order)?;
        session.committed.statistics = session.ledger.statistics();
        let packages = std::mem::take(&mut session.ledger).into_packages();
        let mut world = world.clone();
        world.sort_by_cached_key(|term| (term.name.to_ascii_lowercase(), term.name.clone()));
        self.write_database(&packages, &world, &mut session.journal, durable)?;
        self.remove_journal(&journal_path)?;
        if let Err(error) = session.hooks(POST_COMMIT) {
            session.voice.notice(&format!("WARNING: {error}"));
        }
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
    pub(super) fn write_database(
        &self,
        packages: &[InstalledPackage],
        world: &[Dependency],
        journal: &mut Journal,
        durable: bool,
    ) -> Result<(), InstallError> {
        let folder = self.folder;
        let installed = to_text(packages).into_bytes();
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
        let files: Vec<(String, Digest)> = files
            .into_iter()
            .map(|(path, bytes)| (path, Digest::of(&bytes)))
            .collect();
        journal
            .append(&Record::Database {
                files: files.clone(),
            })
            .and_then(|()| journal.sync())
            .map_err(|source| self.file_error("write", &self.journal(), source))?;
        self.rename(files.iter().map(|(file, _)| file.as_str()))?;
        if durable {
            let opened = self.open_root();
            opened
                .and_then(|root| Ok(rustix::fs::syncfs(&root)?))
                .map_err(|source| self.file_error("write", folder, source))?;
        }
        Ok(())
    }

    pub(super) fn open_root(&self) -> io::Result<OwnedFd> {
        open_directory(&self.beneath)
    }

    fn write_beside(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.beneath.place(&format!("{path}{NEW}"))?;
        let mode = Mode::from_raw_mode(0o644);
        let file = place.create_anew(OFlags::WRONLY, mode)?;
        rustix::fs::fchmod(&file, mode)?;
        File::from(file).write_all(bytes)
    }

    /// Gives whole files their names. Those that have them already are passed over.
    pub(super) fn rename<'p>(
        &self,
        paths: impl Iterator<Item = &'p str>,
    ) -> Result<(), InstallError> {
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
