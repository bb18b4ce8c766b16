//! The seed: a compiler and the tools of a first build, taken from Debian as binaries.
//!
//! `seed.yaml` ([`Seed`]) says which packages are wanted and how they are converted; [`resolve`]
//! turns it into `seed.lock.yaml` ([`Lock`]), which names every .deb by its hash; [`import`]
//! fetches those and makes a signed apk repository of them. Each step depends on its input alone.
//! A seed may stand upon another ([`Ground`]), whose packages it does not take again.

mod control;
mod convert;
mod debian_version;
mod dependencies;
mod error;
mod generate;
mod import;
mod licence;
mod lock;
mod policy;
mod relation;
mod resolve;
mod tree;
mod usrmerge;
mod version;

pub use error::SeedError;
pub use import::{Import, Imported, import};
pub use lock::{Lock, LockedPackage};
pub use policy::{Ground, MetaPackage, Seed};
pub use relation::{Operator, Relation};
pub use resolve::resolve;
pub use version::{agrees, map_version};
