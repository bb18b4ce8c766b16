//! Recipes: what is written, and what it means for one architecture.
//!
//! [`Recipe::parse`] reads melange's format (`pkg/config/config.go` of melange is its definition)
//! and reports every problem of the file at once. [`Recipe::resolve`] replaces variables, expands
//! ranges and pipelines, drops what conditions exclude, and gives a [`ResolvedRecipe`]: plain data.

mod built_in;
mod compiled;
mod condition;
mod environment;
mod expand;
mod form;
/// Values from outside.
pub mod inputs;
mod library;
mod machine;
mod native;
mod query;
mod record;
mod resolve;
mod resolved;
mod shape;
mod substitute;
mod syntax;
mod text;
mod update;
mod validate;
mod variables;
/// Recipes as written.
pub mod written;

pub use compiled::Serialized;
pub(crate) use shape::Shape;
pub(crate) use substitute::{Piece, Scope, pieces};
pub(crate) use variables::global_scope;

pub use condition::{InvalidCondition, holds};
pub use expand::absolute;
pub use form::{FieldForm, Form, form};
pub use library::PipelineLibrary;
pub use machine::{bytes, processors};
pub use query::query;
pub use resolve::{Libc, ResolveOptions, usual_variable};
pub use resolved::*;
pub use syntax::Bash;
pub use text::{Duration, Text, TextMap};
pub use written::Recipe;

#[cfg(test)]
mod pipeline_tests;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod tests;
