//! Checks on the files of real distributions.

mod compare;
pub(crate) mod images;
pub(crate) mod recipes;
mod script;
