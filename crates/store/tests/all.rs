//! The store as several users see it: threads, dead processes, mirrors, servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

extern crate polpo_store as store;

mod disk;
mod fetch;
mod network;
