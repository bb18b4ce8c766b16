//! Recipes: what is written, and what it means for one architecture.
//!
//! [`Recipe::parse`] reads melange's format (`pkg/config/config.go` of melange is its definition)
//! and reports every problem of the file at once. [`Recipe::resolve`] replaces variables, expands
//! ranges and pipelines, drops what conditions exclude, and gives a [`ResolvedRecipe`]: plain data.

mod resolved;

pub use resolved::*;
