//! Systems that apk manages: a root with an installed database, and transactions upon it.
//!
//! [`Root`] reads what apk keeps of a system: the installed database, the world, the architectures,
//! the places where repositories and keys are named. [`Root::commit`] carries out the steps that a
//! solver found: apk's own rules (apk-tools' `database.c`, `commit.c`, `fs_fsys.c`) decide who owns
//! a file, what is protected, which script runs when, and what is written into the database.

mod audit;
mod bare;
mod beneath;
mod cache;
mod commit;
mod error;
mod extract;
mod files;
mod incoming;
mod journal;
mod ledger;
mod log;
mod owners;
mod place;
mod precedence;
mod protect;
mod recover;
mod reopen;
mod root;
mod scripts;
pub(crate) mod settings;
mod settle;
mod transaction;
mod voice;
mod write;

pub use audit::{Audit, AuditMode, Deviation, Finding, State};
pub use bare::{Bare, BareError, Unpacked, unpack_bare};
pub use cache::{CacheFolder, CachedFile};
pub use error::InstallError;
pub use log::Log;
pub use root::{Access, Create, Interrupted, OpenOptions, Owner, Root};
pub use transaction::{
    Arrival, CommitOptions, Committed, PackageProblem, ProblemKind, Statistics, Step, Sync,
    Transaction,
};
