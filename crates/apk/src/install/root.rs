use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Reporter;

use super::{Committed, InstallError, Transaction};
use crate::database::InstalledPackage;
use crate::dependency::Dependency;

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
    packages: Vec<InstalledPackage>,
    world: Vec<Dependency>,
    arches: Vec<String>,
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
        let _ = (options, reporter);
        Err(InstallError::ReadOnly {
            path: path.to_owned(),
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
        let _ = path;
        None
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
        None
    }

    /// Whether files are the caller's instead of root's: the database's folder is an ordinary
    /// user's.
    pub fn is_usermode(&self) -> bool {
        false
    }

    /// The files that name repositories, as apk reads them: `etc/apk/repositories`, then those of
    /// `etc/apk/repositories.d` and `lib/apk/repositories.d` by name; each with its text.
    ///
    /// # Errors
    /// One can't be read.
    pub fn repository_files(&self) -> Result<Vec<(String, String)>, InstallError> {
        Ok(Vec::new())
    }

    /// The public keys of `etc/apk/keys` and `lib/apk/keys`, by file name, as they stand there.
    ///
    /// # Errors
    /// One can't be read.
    pub fn key_files(&self) -> Result<Vec<(String, Vec<u8>)>, InstallError> {
        Ok(Vec::new())
    }

    /// Carries out a transaction: each step in turn, then triggers, the database, commit hooks.
    ///
    /// What is reported, each a line as apk prints it: the steps (`(1/3) Installing …`) and the
    /// scripts (`  Executing …`) as [`base::Event::Step`], scripts' output (`  * …`) as
    /// [`base::Event::Output`], warnings and errors as [`base::Event::Notice`] that begin with
    /// `WARNING: ` or `ERROR: `.
    ///
    /// # Errors
    /// Nothing was begun, or the database can't be written. What goes wrong with single packages
    /// is told in [`Committed`].
    pub fn commit(
        &mut self,
        transaction: &Transaction,
        reporter: &dyn Reporter,
    ) -> Result<Committed, InstallError> {
        let _ = (transaction, reporter);
        Err(InstallError::ReadOnly {
            path: self.path.clone(),
        })
    }
}
