//! What apk's commands work on: a root, its repositories and its keys, as the options name them.
#![expect(dead_code, reason = "commands are being moved in")]

use std::cell::OnceCell;
use std::path::Path;
use std::time::Duration;

use apk::index::IndexError;
use apk::install::{self, Access, Create, Log, OpenOptions, Root};
use apk::repository::{LoadedRepository, Location, Repository, RepositoryError};
use apk::signature::{Keyring, SignatureError};
use base::Arch;

use super::console::Console;
use super::options::Global;
use super::system::System;
use crate::output::Progress;
use crate::output::failure::Failure;
use crate::settings::Session;

/// One run of an apk command.
pub(crate) struct Context<'p> {
    pub(crate) global: &'p Global,
    pub(crate) console: Console<'p>,
    progress: &'p Progress,
    keyring: OnceCell<Keyring>,
}

/// What a command wants opened. The default is what a command that looks at the system wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// For reading or for changing it.
    pub(crate) access: Access,
    /// Whether a database is made where there is none.
    pub(crate) create: Create,
    /// The installed packages and the world.
    pub(crate) state: bool,
    /// The repositories that the system's files name.
    pub(crate) system_repositories: bool,
    /// The repositories that the command line names.
    pub(crate) other_repositories: bool,
    /// Indexes that are older than `--cache-max-age` are asked for again.
    pub(crate) refresh: bool,
    /// `--arch` counts for the system at `/` too.
    pub(crate) any_arch: bool,
}

impl Default for Needs {
    fn default() -> Needs {
        Needs {
            access: Access::Read,
            create: Create::Never,
            state: true,
            system_repositories: true,
            other_repositories: true,
            refresh: false,
            any_arch: false,
        }
    }
}

impl<'p> Context<'p> {
    pub(crate) fn new(global: &'p Global, progress: &'p Progress) -> Context<'p> {
        Context {
            global,
            console: Console::new(global, progress),
            progress,
            keyring: OnceCell::new(),
        }
    }

    /// The store and what else polpo's own commands share. It needs a home or `--store`.
    pub(crate) fn session(&self) -> Result<Session<'p>, Failure> {
        Session::with(
            self.global.store.clone(),
            !self.global.network.on(),
            self.progress,
        )
    }

    /// The folder of the system.
    pub(crate) fn root(&self) -> &'p Path {
        &self.global.root
    }

    /// Whether another system than this machine's own is meant.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.root() != Path::new("/")
    }

    /// The keys that are trusted: the system's, or those of `--keys-dir`. Read when first asked for.
    pub(crate) fn keyring(&self) -> Result<&Keyring, Failure> {
        if let Some(keyring) = self.keyring.get() {
            return Ok(keyring);
        }
        let keyring = Root::keyring_of(self.root(), self.global.keys_dir.as_deref())
            .map_err(|error| Failure::failed("the trusted keys can't be read", error))?;
        Ok(self.keyring.get_or_init(|| keyring))
    }

    /// The architectures, the system's own first.
    pub(crate) fn arches(&self, needs: &Needs) -> Result<Vec<String>, Failure> {
        let given = &self.global.arch;
        if !given.is_empty() && (self.is_elsewhere() || needs.any_arch) {
            return Ok(given.clone());
        }
        let mut arches = Root::arches_of(self.root())
            .map_err(|error| Failure::failed("the system's architecture can't be read", error))?;
        if arches.is_empty() {
            arches.push(Arch::host().apk().to_owned());
        }
        Ok(arches)
    }

    /// Opens the system: what is installed, and the indexes of its repositories. One that can't
    /// be had is told of and counted.
    pub(crate) async fn open(&self, needs: &Needs) -> Result<System, Failure> {
        let arches = self.arches(needs)?;
        let root = match needs.state {
            true => Some(self.open_root(needs)?),
            false => None,
        };
        let mut system = System {
            arches,
            root,
            ..System::default()
        };
        for repository in self.repositories(needs)? {
            self.load(&repository, &mut system)?;
        }
        Ok(system)
    }

    fn open_root(&self, needs: &Needs) -> Result<Root, Failure> {
        let options = OpenOptions {
            access: needs.access,
            create: needs.create,
            arches: match self.is_elsewhere() {
                true => self.global.arch.clone(),
                false => Vec::new(),
            },
            wait: self.global.wait.map(Duration::from_secs),
            log: (needs.access == Access::Write && self.global.logfile.on()).then(|| Log {
                heading: log_heading(),
            }),
        };
        Root::open(self.root(), &options, &self.console).map_err(root_failure)
    }

    /// The repositories in apk's order: those of the command line, then those of the system.
    fn repositories(&self, needs: &Needs) -> Result<Vec<Repository>, Failure> {
        let mut lines: Vec<(String, String)> = Vec::new();
        if needs.other_repositories {
            let place = || "<command line>".to_owned();
            for line in &self.global.repository {
                lines.push((place(), line.clone()));
            }
            for text in &self.global.repository_config {
                lines.extend(text.lines().map(|line| (place(), line.to_owned())));
            }
        }
        if needs.system_repositories {
            for (file, text) in self.repository_files()? {
                lines.extend(text.lines().map(|line| (file.clone(), line.to_owned())));
            }
        }
        let mut repositories: Vec<Repository> = Vec::new();
        for (place, line) in lines {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Repository::parse(line) {
                Ok(repository) if repositories.contains(&repository) => {}
                Ok(repository) => repositories.push(repository),
                Err(error) => self.console.warning(&format!("{place}: {error}")),
            }
        }
        Ok(repositories)
    }

    fn repository_files(&self) -> Result<Vec<(String, String)>, Failure> {
        let failed = |error| Failure::failed("the list of repositories can't be read", error);
        match &self.global.repositories_file {
            None => Root::repository_files_of(self.root()).map_err(failed),
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Failure::failed(
                        format!("failed to read repositories: {}", file.display()),
                        error,
                    )
                })?;
                Ok(vec![(file.display().to_string(), text)])
            }
        }
    }

    fn load(&self, repository: &Repository, system: &mut System) -> Result<(), Failure> {
        let arch: Arch = system
            .arches
            .first()
            .map(String::as_str)
            .unwrap_or_default()
            .parse()
            .map_err(|error: base::UnknownArch| Failure::Usage(error.to_string()))?;
        let loaded: Result<LoadedRepository, RepositoryError> = match self.global.allow_untrusted {
            true => repository.open_unverified(arch),
            false => repository.open(arch, self.keyring()?),
        };
        match loaded {
            Ok(loaded) => system.repositories.push(loaded),
            Err(error) => {
                let place = match repository.arch_folder(arch) {
                    Some(folder) => folder.join(apk::index::FILE_NAME).display().to_string(),
                    None => repository.to_string(),
                };
                let action = match repository.location {
                    Location::Folder(_) => "opening",
                    Location::Url(_) => {
                        system.unavailable += 1;
                        "updating and opening"
                    }
                };
                self.console
                    .warning(&format!("{action} {place}: {}", reason(&error)));
            }
        }
        Ok(())
    }
}

/// Why an index can't be had, as apk says it where it has words for it.
fn reason(error: &RepositoryError) -> String {
    match error {
        RepositoryError::NoIndex { .. } => "No such file or directory".to_owned(),
        RepositoryError::Index {
            source: IndexError::Signature { source, .. },
            ..
        } => match source {
            SignatureError::Wrong { .. } => format!("BAD signature: {source}"),
            source => format!("UNTRUSTED signature: {source}"),
        },
        error => error.to_string(),
    }
}

/// The first lines of a run in `var/log/apk.log`.
fn log_heading() -> String {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    format!("Running `{}`", words.join(" "))
}

fn root_failure(error: install::InstallError) -> Failure {
    use install::InstallError::{NotRoot, UsermodeAsRoot};
    match error {
        error @ (UsermodeAsRoot | NotRoot) => Failure::Usage(error.to_string()),
        error => Failure::failed("Failed to open apk database", error),
    }
}
