//! YAML with byte spans: parsed into a tree of our own, decoded with every problem at once, and a
//! small deterministic writer.
//!
//! The scalar rules are those of go-yaml v3, which reads the recipes and image files polpo shares
//! with other programs: a field decides the type, so `version: 6.10` is the text `6.10`.
//!
//! granit-parser does the scanning. Nothing of it shows outside this crate.

mod decode;
mod fields;
mod form;
mod format;
mod scalar;
mod schema;
mod tree;
mod write;

pub use decode::{Decode, Decoder, Spanned, decode, decode_node, decode_with_warnings};
pub use fields::Fields;
pub use form::{FieldForm, Form};
pub use format::{InvalidPath, PathPattern, Style, format};
pub use schema::json_schema;
pub use tree::{DEPTH_LIMIT, Document, Entry, Node, SIZE_LIMIT, Scalar, Value};
pub use write::{Item, to_string};

#[cfg(test)]
mod tests;
