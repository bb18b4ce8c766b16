//! OCI images: descriptors, manifests, indexes and configurations; on disk as image layouts, and in
//! registries.
//!
//! The types are those of the OCI image specification 1.1. They keep annotations and labels in
//! ordered maps and write their fields in the order in which Go's reference types do, so that the
//! same image always has the same digest.

mod companion;
mod config;
pub mod copy;
mod document;
mod fill;
pub mod json;
mod layout;
mod manifest;
pub mod media_type;
pub mod packed;
pub mod registry;

pub use companion::Companion;
pub use config::{Execution, History, ImageConfig, InvalidConfig, RootFs};
pub use document::{Document, DocumentContents};
pub(crate) use layout::is_tag;
pub use layout::{BlobReader, Layout, LayoutError, NamedImages, REF_NAME, ResolvedImage};
pub use manifest::{Descriptor, Index, InvalidManifest, Manifest, Platform};
