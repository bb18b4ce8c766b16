//! What apk's commands work on: a root, its repositories and its keys, as the options name them.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use apk::catalogue::Catalogue;
use apk::database::Unknown;
use apk::index::{IndexEntry, IndexError};
use apk::install::{self, Access, Create, Log, OpenOptions, Root};
use apk::repository::{
    self, AccessSettings, ArchName, IndexState, LoadedRepository, Location, Refresh, Repository,
    RepositoryError, RepositoryList,
};
use apk::signature::{Keyring, SignatureError};
use apk::solver::UnindexedKind;
use base::Arch;
use store::{CredentialSource, Network, NetworkSettings, Store};

use super::console::Console;
use super::options::{Commit, Decision, Global};
use super::package_cache::PackageCache;
use super::program_version;
use super::system::{Extra, System};
use crate::output::Progress;
use crate::output::failure::Failure;
use crate::settings::{self, Session, now};

/// Minutes after which an index is asked for again: apk's four hours.
const USUAL_AGE: u64 = 4 * 60;

/// What statfs(2) calls a file system in memory.
const TMPFS: u64 = 0x0102_1994;

/// Bytes of an index that is read as quickly as a store is opened.
const SMALL_INDEX: u64 = 256 << 10;

/// One run of an apk command.
pub(crate) struct Context<'p> {
    pub(crate) global: &'p Global,
    /// The options of commands that change a system, if the command is one.
    pub(crate) commit: Option<&'p Commit>,
    pub(crate) console: Console<'p>,
    progress: &'p Progress,
    keyring: OnceCell<Keyring>,
    access: OnceCell<Rc<repository::Access>>,
    store: OnceCell<Store>,
}

/// What `--force-…` lets pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forces {
    pub(crate) overwrite: bool,
    pub(crate) broken_world: bool,
    pub(crate) non_repository: bool,
    pub(crate) old_apk: bool,
    pub(crate) missing_repositories: bool,
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
    /// Minutes after which an index counts as old, where another age than usual counts.
    pub(crate) max_age: Option<u64>,
    /// What comes from elsewhere is put into the cache, though nothing else is changed.
    pub(crate) fills_cache: bool,
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
            max_age: None,
            fills_cache: false,
            any_arch: false,
        }
    }
}

impl<'p> Context<'p> {
    pub(crate) fn new(
        global: &'p Global,
        commit: Option<&'p Commit>,
        progress: &'p Progress,
    ) -> Context<'p> {
        let console = Console::new(global, progress);
        if let Some(commit) = commit {
            console.document(commit.format);
        }
        Context {
            global,
            commit,
            console,
            progress,
            keyring: OnceCell::new(),
            access: OnceCell::new(),
            store: OnceCell::new(),
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

    /// What the options let pass.
    pub(crate) fn forces(&self) -> Forces {
        let global = self.global;
        let boot = self
            .commit
            .is_some_and(|commit| commit.initramfs_diskless_boot);
        Forces {
            overwrite: global.force || global.force_overwrite || boot,
            broken_world: global.force_broken_world || boot,
            old_apk: global.force || global.force_old_apk || boot,
            non_repository: global.force || global.force_non_repository || boot,
            missing_repositories: global.force_missing_repositories,
        }
    }

    /// Whether nothing is to be changed.
    pub(crate) fn is_simulated(&self) -> bool {
        self.commit.is_some_and(|commit| commit.simulate.on())
    }

    /// What a command needs that changes the system, unless it only says what it would do.
    pub(crate) fn needs_change(&self, create: Create) -> Needs {
        let boot = self
            .commit
            .is_some_and(|commit| commit.initramfs_diskless_boot);
        let simulated = self.is_simulated();
        Needs {
            access: match simulated {
                true => Access::Read,
                false => Access::Write,
            },
            create: match create {
                _ if simulated => Create::Never,
                Create::Never if boot => Create::Database,
                create => create,
            },
            refresh: self.global.network.on(),
            ..Needs::default()
        }
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

    /// The file of a package: out of a folder, the cache, or from elsewhere. Why it can't be had,
    /// in words.
    pub(crate) async fn obtain(
        &self,
        system: &System,
        repository: usize,
        entry: &IndexEntry,
    ) -> Result<PathBuf, String> {
        let loaded = system
            .repositories
            .get(repository)
            .ok_or_else(|| "its repository is gone".to_owned())?;
        if let Some(found) = system.cache.as_ref().and_then(|cache| cache.find(entry)) {
            return Ok(found);
        }
        let places = loaded.package_places(entry).map_err(words)?;
        if !places.iter().any(|place| matches!(place, Location::Url(_))) {
            return loaded.package_path(entry).map_err(words);
        }
        // An index beside a folder may name packages that lie elsewhere.
        let access = self
            .access(system.cache.as_ref(), &Needs::default())
            .map_err(|failure| failure.text(false))?;
        access
            .package(loaded, entry, &self.console)
            .await
            .map_err(words)
    }

    /// The way to servers; made when it is first needed, for that takes a store.
    fn access(
        &self,
        cache: Option<&PackageCache>,
        needs: &Needs,
    ) -> Result<&Rc<repository::Access>, Failure> {
        if let Some(access) = self.access.get() {
            return Ok(access);
        }
        let global = self.global;
        if !global.check_certificate.on() {
            self.console.warning(
                "certificates are checked all the same: --no-check-certificate is passed over",
            );
        }
        let session = self.session()?;
        let mut network = NetworkSettings {
            offline: session.offline,
            credentials: CredentialSource::Environment,
            ..NetworkSettings::default()
        };
        if let Some(seconds) = global.timeout {
            network.connect_timeout = Duration::from_secs(seconds);
            network.read_timeout = Duration::from_secs(seconds);
        }
        let age = match global.update_cache {
            true => 0,
            false => global.cache_max_age.or(needs.max_age).unwrap_or(USUAL_AGE),
        };
        let settings = AccessSettings {
            cache_folder: cache.map(|cache| cache.folder().clone()),
            cache_packages: cache.is_some_and(|cache| cache.packages),
            // A look at a system, or a simulation, leaves it as it is.
            cache_writable: (needs.access == Access::Write || needs.fills_cache)
                && cache.is_some_and(|cache| cache.folder().prepare()),
            refresh: match needs.refresh {
                _ if global.force_refresh || cache.is_none() => Refresh::Always,
                true if age == 0 => Refresh::Always,
                true => Refresh::OlderThan {
                    age: Duration::from_secs(age.saturating_mul(60)),
                    now: UNIX_EPOCH + Duration::from_secs(now().0),
                },
                false => Refresh::WhenMissing,
            },
            accept_stale: true,
            freshness: settings::freshness(&global.freshness),
            proof: settings::proof(&global.rebuilders)?,
            ..AccessSettings::default()
        };
        let store = self.store()?.clone();
        let access = repository::Access::new(store, Network::new(network), settings);
        Ok(self.access.get_or_init(|| Rc::new(access)))
    }

    /// Whether all repositories are as they should be; if not, that is said.
    pub(crate) fn check_repositories(&self, system: &System) -> bool {
        let whole = system.unavailable + system.stale == 0;
        if whole || self.forces().missing_repositories {
            return true;
        }
        self.console.error(
            "Not continuing due to stale/unavailable repositories. \
             Use --force-missing-repositories to continue.",
        );
        false
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
            rebuilt_by: self.global.rebuilders.rebuilt_by,
            arches,
            root,
            cache: PackageCache::of(self.root(), self.global)?,
            network: self.global.network.on(),
            ..System::default()
        };
        if needs.state {
            system.kept = self.kept(&system)?;
        }
        let arch = &system.arch()?;
        for repository in self.repositories(needs, arch)? {
            system.index_places.push(repository.index(arch).to_string());
            self.load(&repository, arch, needs, &mut system).await?;
        }
        // Only where a repository is remote there is one.
        system.access = self.access.get().cloned();
        self.warn_of_defects(&system);
        Ok(system)
    }

    /// Says, as apk does, that indexes or installed packages hold what can't be understood: fields of
    /// a later apk, or terms that follow no grammar.
    fn warn_of_defects(&self, system: &System) {
        let (mut later, mut broken, mut fatal) = (false, false, false);
        let catalogues = system.repositories.iter().map(|loaded| &loaded.catalogue);
        let installed = system.installed().iter();
        let installed = installed.flat_map(|package| package.entry.info.defects.iter().cloned());
        for defect in installed.chain(catalogues.flat_map(Catalogue::defects)) {
            match defect.field.as_str() {
                "D" | "depend" | "p" | "provides" | "i" | "install_if" => broken = true,
                // To apk, an index says nothing of these.
                "r" | "replaces" | "recommends" => continue,
                _ => later = true,
            }
            fatal |= defect.fatal;
        }
        let consequence = match fatal {
            true => "are not installable",
            false => "might not function properly",
        };
        if later {
            self.console.warning(&format!(
                "This apk-tools is OLD! Some packages {consequence}."
            ));
        }
        if broken {
            self.console.warning(&format!(
                "The indexes contain broken packages which {consequence}."
            ));
        }
    }

    /// Opens the log of what changes the system. A link is not followed out of the system, and where
    /// there is one, to `/dev/null` say, nobody wants a log.
    fn open_log(&self, needs: &Needs) -> Result<(), Failure> {
        let wanted = needs.access == Access::Write && self.global.logfile.on();
        if wanted && !self.root().join("var/log/apk.log").is_symlink() {
            let log = Log::open(self.root(), needs.create, &log_heading());
            self.console.log_to(log.map_err(|error| match error {
                error @ install::InstallError::File { .. } => {
                    Failure::failed("Unable to open log", error)
                }
                error => root_failure(error),
            })?);
        }
        Ok(())
    }

    /// Whether the system is held in memory, and so forgets at its next start what isn't kept.
    pub(crate) fn is_in_memory(&self) -> bool {
        match self.global.root_tmpfs {
            Decision::Yes => true,
            Decision::No => false,
            Decision::Auto => rustix::fs::statfs(self.root())
                .is_ok_and(|statistics| statistics.f_type as u64 == TMPFS),
        }
    }

    /// The packages that the cache has a list of.
    fn kept(&self, system: &System) -> Result<Vec<Extra>, Failure> {
        let Some(cache) = system.cache.as_ref().filter(|cache| cache.packages) else {
            return Ok(Vec::new());
        };
        if !self.is_in_memory() {
            return Ok(Vec::new());
        }
        Ok(cache
            .kept()?
            .into_iter()
            .map(|entry| Extra {
                file: cache.find(&entry),
                entry,
                kind: UnindexedKind::Cache,
            })
            .collect())
    }

    fn open_root(&self, needs: &Needs) -> Result<Root, Failure> {
        self.open_log(needs)?;
        let options = OpenOptions {
            access: needs.access,
            create: needs.create,
            arches: match self.is_elsewhere() {
                true => self.global.arch.clone(),
                false => Vec::new(),
            },
            wait: self.global.wait.map(Duration::from_secs),
            unknown: match self.forces().old_apk {
                true => Unknown::PassOver,
                false => Unknown::Refuse,
            },
        };
        let root = Root::open(self.root(), &options, &self.console).map_err(root_failure)?;
        if root.has_passed_over() {
            self.console
                .warning("This apk-tools is OLD! Some packages might not function properly.");
        }
        Ok(root)
    }

    /// The repositories in apk's order: those of the command line, then those of the system.
    fn repositories(&self, needs: &Needs, arch: &ArchName) -> Result<Vec<Repository>, Failure> {
        let mut list = RepositoryList::new(arch);
        if needs.other_repositories {
            for line in &self.global.repository {
                list.argument("--repository", line);
            }
            for text in &self.global.repository_config {
                list.file("--repository-config", text);
            }
        }
        if needs.system_repositories {
            match &self.global.repositories_file {
                Some(file) => list.open(file),
                None => list.open_root(self.root()),
            }
            .map_err(|error| Failure::failed("failed to read repositories", error))?;
        }
        for problem in list.problems() {
            self.console.warning(&problem.to_string());
        }
        Ok(list.repositories().to_vec())
    }

    /// The store; opened when it is first needed.
    fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = self.session()?.store()?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Whether indexes are held to more than their signatures.
    fn asks_more_than_signatures(&self) -> bool {
        let global = self.global;
        global.rebuilders.rebuilt_by.is_some() || global.freshness.index_max_age.is_some()
    }

    async fn load(
        &self,
        repository: &Repository,
        arch: &ArchName,
        needs: &Needs,
        system: &mut System,
    ) -> Result<(), Failure> {
        let place = repository.index(arch);
        let keyring = match self.global.allow_untrusted {
            true => None,
            false => Some(self.keyring()?),
        };
        let loaded: Result<LoadedRepository, RepositoryError> = match &place {
            Location::Folder(path) if !self.asks_more_than_signatures() => {
                let is_large = path.metadata().is_ok_and(|found| found.len() > SMALL_INDEX);
                // Who has no place for a store reads the index anew.
                let store = is_large.then(|| self.store().ok()).flatten();
                repository.open(arch, keyring, store)
            }
            _ => {
                let access = self.access(system.cache.as_ref(), needs)?;
                let opened = access.open(repository, arch, keyring, &self.console).await;
                opened.map(|opened| {
                    if let IndexState::Stale(error) = &opened.state {
                        system.stale += 1;
                        self.console
                            .warning(&format!("updating {place}: {}", reason(error)));
                    }
                    opened.repository
                })
            }
        };
        match loaded {
            Ok(loaded) => system.repositories.push(loaded),
            Err(error) => {
                let action = match place {
                    Location::Folder(_) => "opening",
                    Location::Url(_) => {
                        system.unavailable += 1;
                        match needs.refresh {
                            true => "updating and opening",
                            false => "opening from cache",
                        }
                    }
                };
                self.console
                    .warning(&format!("{action} {place}: {}", reason(&error)));
            }
        }
        Ok(())
    }
}

fn words(error: RepositoryError) -> String {
    error.to_string()
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
        RepositoryError::Unreachable { reasons, .. } => match reasons.last() {
            Some((_, reason)) => reason.to_string(),
            None => error.to_string(),
        },
        error => error.to_string(),
    }
}

/// The first lines of a run in `var/log/apk.log`.
fn log_heading() -> String {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let now = now().rfc3339().replace('T', " ");
    let now = now.trim_end_matches('Z');
    format!(
        "\nRunning `{}` at {now}\n{}",
        words.join(" "),
        program_version()
    )
}

fn root_failure(error: install::InstallError) -> Failure {
    use install::InstallError::{NotRoot, UsermodeAsRoot};
    match error {
        error @ (UsermodeAsRoot | NotRoot) => Failure::Usage(error.to_string()),
        error => Failure::failed("Failed to open apk database", error),
    }
}
