//! Registries and layouts, with real programs on the other side and with much that goes wrong.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps says where it failed"
)]

extern crate polpo_oci as oci;

mod bed;
mod credentials;
mod faults;
mod registries;
