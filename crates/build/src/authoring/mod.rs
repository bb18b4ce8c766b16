//! What people who write recipes need: one form for the files, rules that find what is wrong with
//! them, new versions, new recipes, and a schema for editors.

/// New versions of recipes.
pub mod bump;
/// What recipes say of licences, corrected.
pub mod copyright;
/// Recipes to start from.
pub mod create;
mod edits;
/// Rules for recipe files.
pub mod lint;
/// The JSON Schema of recipes.
pub mod schema;
/// The form of recipe files.
pub mod style;
