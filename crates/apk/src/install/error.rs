use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::database::DatabaseError;

/// A root can't be opened, or a transaction can't be begun or ended.
///
/// What goes wrong with single packages is no error: see
/// [`Committed::problems`](super::Committed::problems).
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The folder can't be opened.
    #[error("can't open the root {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no database in it.
    #[error(
        "{} holds no installed database: `{file}` is missing; `--initdb` makes one",
        path.display()
    )]
    NoDatabase {
        /// The root.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// There is none, since a link on the way to it leads nowhere.
    #[error(
        "{} holds no installed database: `{link}` is a link to `{target}`, which is not there inside the root; links of a root are followed inside it alone: correct the link",
        path.display()
    )]
    BrokenLink {
        /// The root.
        path: PathBuf,
        /// The link, below the root.
        link: String,
        /// What it says.
        target: String,
    },
    /// A file that apk's programs make themselves is a link.
    #[error("{} is a symbolic link, and might lead anywhere; remove it and run this again", path.display())]
    Linked {
        /// Which.
        path: PathBuf,
    },
    /// Another process changes the system.
    #[error(
        "{} is locked: another process is changing it{}; wait for it, or let `--wait` do so",
        path.display(),
        waited.map_or_else(String::new, |waited| format!(" (waited {} s)", waited.as_secs()))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Option<Duration>,
    },
    /// `--usermode` as root.
    #[error("--usermode not allowed as root")]
    UsermodeAsRoot,
    /// A database is to be made by an ordinary user, without `--usermode`.
    #[error("Use --usermode to allow creating database as non-root")]
    NotRoot,
    /// The root was opened for reading only.
    #[error("{} was opened for reading only", path.display())]
    ReadOnly {
        /// The root.
        path: PathBuf,
    },
    /// An audit in usermode.
    #[error("{} belongs to an ordinary user: audit does not support usermode!", path.display())]
    UsermodeAudit {
        /// The root.
        path: PathBuf,
    },
    /// An earlier commit failed halfway.
    #[error("an earlier change of {} failed halfway; open it again, which puts it in order", path.display())]
    Failed {
        /// The root.
        path: PathBuf,
    },
    /// The database or a setting can't be read.
    #[error("{}: {source}", path.display())]
    Database {
        /// The root.
        path: PathBuf,
        /// What is wrong.
        source: DatabaseError,
    },
    /// A file of the system's can't be read or written.
    #[error("can't {action} {}: {source}{}", path.display(), hint(source))]
    File {
        /// What was tried.
        action: &'static str,
        /// Which, below the root.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A step speaks of a package that isn't installed.
    #[error("the transaction changes `{package}`, which is not installed; solve again")]
    NotInstalled {
        /// The package's name.
        package: String,
    },
    /// A hook before the commit failed, and so nothing was done.
    #[error("the commit hook {hook} failed: {reason}; nothing was changed")]
    Hook {
        /// The hook's path below the root.
        hook: String,
        /// How it ended.
        reason: String,
    },
    /// A directory can't be made as its package has it, and so nothing else was done.
    #[error("failed to fix directory permissions: {path}: {reason}")]
    Directory {
        /// The directory below the root.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Scripts can't be run in a sandbox.
    #[error(
        "scripts of packages run inside bubblewrap, and `bwrap` is not in PATH; install the package `bubblewrap` (version 0.8 or later), or leave the scripts out with `--no-scripts`"
    )]
    NoBubblewrap,
    /// The journal of an interrupted transaction was written by another version of this program.
    #[error(
        "{} was written by another version of this program ({reason}); let that version put the interrupted transaction in order, or remove the journal and run `fix` to check every package",
        path.display()
    )]
    JournalVersion {
        /// The journal.
        path: PathBuf,
        /// What is not known of.
        reason: String,
    },
    /// The journal of an interrupted transaction is damaged.
    #[error("{} is damaged: {reason}; remove it and run `fix` to check every package", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What to do about it, where that is clear.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "; the disk is full: free some space on it, then run this again"
        }
        io::ErrorKind::QuotaExceeded => {
            "; the quota is used up: free some space, then run this again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing, then run this again",
        _ => "",
    }
}

impl InstallError {
    /// Something can't be done to what is at `path` beneath a root.
    pub(super) fn file(
        root: &Path,
        action: &'static str,
        path: &str,
        source: io::Error,
    ) -> InstallError {
        InstallError::File {
            action,
            path: root.join(path),
            source,
        }
    }
}
