//! Imports of small seeds made here, without a network: the .debs are in the store already.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

extern crate polpo_distro as distro;

mod import;
