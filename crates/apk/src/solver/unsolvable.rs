use std::fmt;

/// Why a world has no solution: the conflicts as data. `Display` explains them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsolvable {}

impl fmt::Display for Unsolvable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl std::error::Error for Unsolvable {}
