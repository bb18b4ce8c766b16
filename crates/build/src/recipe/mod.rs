//! Recipes: what is written, and what it means for one architecture.
//!
//! [`Recipe::parse`] reads melange's format (`pkg/config/config.go` of melange is its definition)
//! and reports every problem of the file at once. [`Recipe::resolve`] replaces variables, expands
//! ranges and pipelines, drops what conditions exclude, and gives a [`ResolvedRecipe`]: plain data.

mod built_in;
mod condition;
mod environment;
mod expand;
mod library;
mod record;
mod resolve;
mod resolved;
mod substitute;
mod text;
mod update;
mod validate;
mod variables;
/// Recipes as written.
pub mod written;

pub use library::PipelineLibrary;
pub use resolve::{Libc, ResolveOptions};
pub use resolved::*;
pub use text::{Duration, Text, TextMap};
pub use written::Recipe;

#[cfg(test)]
mod pipeline_tests;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod tests;
