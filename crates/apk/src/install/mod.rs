//! Systems that apk manages: a root with an installed database, and transactions upon it.
//!
//! [`Root`] reads what apk keeps of a system: the installed database, the world, the architectures,
//! the places where repositories and keys are named. [`Root::commit`] carries out the steps that a
//! solver found: apk's own rules (apk-tools' `database.c`, `commit.c`, `fs_fsys.c`) decide who owns
//! a file, what is protected, which script runs when, and what is written into the database.

#![allow(dead_code, unused_imports)]

mod beneath;
mod error;
mod ledger;
mod owners;
mod precedence;
mod protect;
mod root;
mod settings;
mod transaction;

pub use error::InstallError;
pub use root::{Access, Create, Interrupted, Log, OpenOptions, Owner, Root};
pub use transaction::{
    Arrival, CommitOptions, Committed, PackageProblem, ProblemKind, Statistics, Step, Transaction,
};
