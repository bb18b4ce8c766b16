//! The content-addressed store: blobs by SHA-256, trees and records by the digest of what made
//! them, and the fetching that fills it: by URL, from mirrors by hash, from apt.
//!
//! Layout beneath the root:
//!
//! ```text
//! blobs/sha256/ab/<hex>      files by the SHA-256 of their bytes, mode 0444
//! trees/<hex>/               folders, by the digest of what they were made out of
//! records/<kind>/<hex>.json  small facts, by the digest of what they are about
//! locks/                     one file per tree under way
//! partial/                   what has come so far of files that are being fetched
//! tmp/                       half-made things; what dead processes leave is removed at open
//! unsynced/<boot>/<hex>      trees that a crash of the machine (not of the program) could spoil
//! apt/<suites>-<arch>/       apt's private state
//! ```
//!
//! Everything appears by one `rename`: a process may be killed at any moment.

pub mod apt;
mod atomic;
mod bounded;
mod disk;
mod fetch;
mod mapped;
mod mirror;
mod network;
mod refusal;

pub use atomic::{AtomicFile, WriteError, write_atomically};
pub use bounded::{find_bounded, read_bounded};
pub use disk::{Blob, Store, StoreError, TreeError};
pub use fetch::{Expected, FetchError, Fetched, InvalidExpected, Origin, Origins, Source, fetch};
pub use mapped::MappedFile;
pub use mirror::{InvalidMirror, Mirror};
pub use network::{
    Answered, Arrived, Asker, Authorization, CredentialError, CredentialSource, Credentials,
    Exchange, Known, Method, Network, NetworkSettings, Payload, Validators, Wanted, can_fetch,
    without_credentials,
};
pub use refusal::Refusal;
