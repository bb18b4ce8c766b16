//! What the tests of several crates share: the corpus, real programs that judge the results, real
//! registries, and servers that fail as they are told.

mod corpus;
mod docker;
mod licence;
#[cfg(feature = "object-store")]
mod object_store;
mod program;
mod proxy;
mod registry;
mod server;
#[cfg(feature = "sigstore")]
mod sigstore;
mod token;

pub use corpus::corpus;
pub use docker::Docker;
pub use licence::ISC;
#[cfg(feature = "object-store")]
pub use object_store::ObjectStore;
pub use program::{Finished, Program, copy_program};
pub use proxy::{Fault, FaultProxy, Seen};
pub use registry::{Registry, RegistryOptions};
pub use server::{Asked, Reply, Server};
#[cfg(feature = "sigstore")]
pub use sigstore::Sigstore;
pub use token::TokenServer;
