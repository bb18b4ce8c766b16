use std::fmt;
use std::path::PathBuf;

use crate::dependency::Dependency;
use crate::index::IndexEntry;
use crate::solver::{Change, ChangeKind};

/// Where apk says that scripts are while they run.
pub(super) const SCRIPTS: &str = "lib/apk/exec";

/// What is to be done to a root, in order.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The steps, in the order of the solver's [`crate::solver::Solution::changes`].
    pub steps: Vec<Step>,
    /// What `etc/apk/world` is to say afterwards.
    pub world: Vec<Dependency>,
    /// How it is done.
    pub options: CommitOptions,
}

/// One step: a package comes, goes, gives way to another of its name, or stays.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name of the installed package that goes or stays; none where a package is new.
    pub before: Option<String>,
    /// What is installed afterwards.
    pub after: Arrival,
    /// The tag, without `@`, of the repository it is pinned to from now on.
    pub repository_tag: Option<String>,
    /// What the step says of itself, without its number: `Installing libfoo (1.0-r0)`. A step that
    /// changes nothing says nothing and isn't counted.
    pub message: Option<String>,
}

/// What a step leaves installed.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A package file, which is to be the package that `entry` speaks of.
    Package {
        /// The file, of format 2 or 3.
        file: PathBuf,
        /// What the installed database will say of it: the entry of the index it was chosen from,
        /// or [`IndexEntry::of`] the file itself.
        entry: Box<IndexEntry>,
    },
    /// A package without a file: `add --virtual`.
    Virtual(Box<IndexEntry>),
    /// What was there before, untouched.
    Kept,
    /// Nothing: it is removed.
    Nothing,
}

/// How a transaction is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOptions {
    /// `--no-scripts`: no script, trigger or commit hook runs.
    pub no_scripts: bool,
    /// `--force-no-chroot`: scripts run outside the root with all that the caller may do.
    pub unconfined: bool,
    /// `--no-commit-hooks`.
    pub no_commit_hooks: bool,
    /// `--purge`: protected files that were changed go with their package.
    pub purge: bool,
    /// `--force-overwrite`: files of other packages are overwritten.
    pub overwrite: bool,
    /// `--clean-protected`: protected files that were changed stay, and no `.apk-new` is made.
    pub clean_protected: bool,
    /// `--overlay-from-stdin`: paths that are never overwritten; a directory ends with `/`.
    pub overlay: Vec<String>,
    /// Directories that get the mode and owner that their packages say, and are made where they are
    /// missing, before anything else is done: those of [`crate::install::Root::unsettled`].
    pub directories: Vec<String>,
    /// `--preserve-env`: the environment of scripts besides `APK_PACKAGE` and `APK_SCRIPT`, instead
    /// of apk's `PATH` alone.
    pub environment: Option<Vec<(String, String)>>,
    /// How much is reported: from 2 (`-v`) on, each hook that runs; from 3 (`-vv`) on, each file
    /// that comes or goes.
    pub verbosity: u8,
    /// Whether the result must survive that the machine stops the moment after.
    pub sync: Sync,
}

/// Whether a transaction waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// In the machine's own root, as with apk.
    #[default]
    OwnRoot,
    /// `--sync`.
    Always,
    /// `--sync=no`.
    Never,
}

/// What became of a transaction.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// What went wrong with single packages. The transaction went on, and the database says which
    /// packages are broken. apk's exit code is 1 where there is any.
    pub problems: Vec<PackageProblem>,
    /// apk's count of errors, which its closing line names: one for each package that failed.
    pub errors: usize,
    /// Protected files that were changed: the package's version lies beside them, as `.apk-new`.
    pub new_files: Vec<String>,
    /// What is installed now.
    pub statistics: Statistics,
}

/// What is installed, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packages.
    pub packages: usize,
    /// Directories, parents included.
    pub directories: usize,
    /// Files and links.
    pub files: usize,
    /// Bytes, by what the packages say of themselves.
    pub bytes: u64,
}

/// Something that went wrong with one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageProblem {
    /// `name-version`.
    pub package: String,
    /// What.
    pub kind: ProblemKind,
}

/// What went wrong with a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Another package owns the file and nothing says which of them has precedence.
    Overwrite {
        /// The file.
        path: String,
        /// `name-version` of the owner.
        owner: String,
        /// Whether it was overwritten all the same.
        forced: bool,
    },
    /// The package can't be read or isn't what it should be; nothing of it was installed.
    Package {
        /// Why.
        reason: String,
    },
    /// A file can't be made or put in its place.
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A hard link names a file that the package doesn't have, or that was not unpacked.
    Dangling {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// A file can't get its name.
    Commit {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Mode or owner of a directory could not be set.
    Directory {
        /// The directory.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Owner, mode, time or attributes could not be set.
    Attributes {
        /// The file.
        path: String,
        /// Which.
        what: String,
    },
    /// A script failed.
    Script {
        /// apk's name of the script.
        script: String,
        /// How it ended.
        reason: String,
    },
}

impl PackageProblem {
    /// Whether apk counts it as an error rather than a warning.
    pub fn is_error(&self) -> bool {
        !matches!(
            self.kind,
            ProblemKind::Attributes { .. }
                | ProblemKind::Directory { .. }
                | ProblemKind::Overwrite { forced: true, .. }
        )
    }
}

/// In apk's words, without `ERROR: ` or `WARNING: `.
impl fmt::Display for PackageProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = &self.package;
        match &self.kind {
            ProblemKind::Overwrite {
                path,
                owner,
                forced: false,
            } => write!(f, "{package}: trying to overwrite {path} owned by {owner}."),
            ProblemKind::Overwrite { path, owner, .. } => {
                write!(f, "{package}: overwriting {path} owned by {owner}.")
            }
            ProblemKind::Package { reason } => write!(f, "{package}: {reason}"),
            ProblemKind::File { path, reason } => {
                write!(f, "{package}: failed to extract {path}: {reason}")
            }
            ProblemKind::Dangling { path, target } => {
                write!(
                    f,
                    "{package}: {path}: no hard link target ({target}) in archive"
                )
            }
            ProblemKind::Commit { path, reason } => {
                write!(f, "{package}: failed to commit {path}: {reason}")
            }
            ProblemKind::Directory { path, reason } => {
                write!(f, "failed to update directory {path}: {reason}")
            }
            ProblemKind::Attributes { path, what } => {
                write!(f, "{package}: failed to preserve {path}: {what}")
            }
            ProblemKind::Script { script, reason } => {
                write!(f, "{SCRIPTS}/{package}.{script}: {reason}")
            }
        }
    }
}

impl Step {
    /// The step of a solver's change. `file` is where the package file lies and what the database
    /// is to say of it; it is not asked for a package that goes or stays as it is. A package to be
    /// installed again that can't be had stays.
    ///
    /// # Errors
    /// Those of `file`.
    pub fn of<E>(
        change: &Change<'_>,
        file: impl FnOnce(&Change<'_>) -> Result<Arrival, E>,
    ) -> Result<Step, E> {
        let kind = change.kind();
        let after = match kind {
            ChangeKind::Remove => Arrival::Nothing,
            ChangeKind::Keep | ChangeKind::Retag => Arrival::Kept,
            ChangeKind::Reinstall if !change.after.is_some_and(|after| after.available) => {
                Arrival::Kept
            }
            _ => file(change)?,
        };
        Ok(Step {
            before: change.before.map(|before| before.package.name.clone()),
            after,
            repository_tag: change.tag_after.map(str::to_owned),
            message: (kind != ChangeKind::Keep).then(|| change.to_string()),
        })
    }
}
