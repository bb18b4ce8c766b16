//! The Debian archive through the host's own apt, with a private state.
//!
//! The host says where the archive is and which keys sign it; the suite is the caller's. Lists
//! and caches live beneath the store, so nothing of the host changes and no rights are needed.

mod client;
mod config;
pub mod paragraph;

pub use client::{Apt, AptError, File, Lists, Package};
pub use config::{Archive, is_suite};
