//! Packages, indexes and installed databases, real and made here.
#![allow(
    clippy::unwrap_used,
    reason = "what a test needs and can't get fails it"
)]

mod corpus;
mod database;
mod freshness;
mod hostile;
mod index;
mod install;
mod mutation;
mod package;
mod remote;
mod round_trip;
mod runs;
mod sample;
mod v3;
mod write_v3;
