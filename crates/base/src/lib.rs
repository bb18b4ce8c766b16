//! Words that every crate of polpo shares. No I/O happens here.

mod age;
mod arch;
mod digest;
mod epoch;
mod event;
mod hashing;
mod problem;
mod sha256;
mod suggest;

pub use age::{Age, InvalidAge};
pub use arch::{Arch, UnknownArch};
pub use digest::{Digest, DigestReader, DigestWriter, InvalidDigest, Sha1};
pub use epoch::Epoch;
pub use event::{Event, Outcome, Reporter, Silent, Task, Unit, Verb};
pub use hashing::HashingThread;
pub use problem::{Label, Location, Problem, Severity, SourceText};
pub use sha256::Sha256Hasher;
pub use suggest::did_you_mean;
