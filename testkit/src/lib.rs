//! What the tests of several crates share: the corpus, real programs that judge the results, and a
//! web server that fails as it is told.

mod corpus;
mod program;
mod server;

pub use corpus::corpus;
pub use program::{Finished, Program};
pub use server::{Asked, Reply, Server};
