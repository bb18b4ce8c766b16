//! What the tests of several crates share: the corpus, real programs that judge the results, and a
//! web server that fails as it is told.

mod corpus;
#[cfg(feature = "object-store")]
mod object_store;
mod program;
mod server;

pub use corpus::corpus;
#[cfg(feature = "object-store")]
pub use object_store::ObjectStore;
pub use program::{Finished, Program};
pub use server::{Asked, Reply, Server};
