//! What the tests of several crates share: the corpus, and real programs that judge the results.

mod corpus;
mod program;

pub use corpus::corpus;
pub use program::{Finished, Program};
