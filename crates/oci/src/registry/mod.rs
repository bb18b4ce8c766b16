//! Registries: image references, and a client of the OCI distribution specification 1.1.
//!
//! Nothing that a registry says is believed: digests, lengths and media types are checked, every
//! answer has its largest size, and what is secret goes to the registry that it is for, to the
//! place that gives out its tokens, and nowhere else.

mod client;
mod error;
pub mod header;
mod keychain;
mod reference;
mod repository;
mod upload;

pub use client::{Registry, RegistrySettings};
pub use error::RegistryError;
pub use keychain::{Keychain, KeychainError, Login, Secret};
pub use reference::{InvalidReference, Reference, RepositoryName};
pub use repository::{Repository, fallback_tag};
pub use upload::Pushed;
