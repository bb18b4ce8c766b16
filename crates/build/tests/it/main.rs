//! Builds in real sandboxes: bubblewrap and a static busybox must be installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod bills;
mod foreign;
mod git;
mod limits;
mod network;
mod network_clients;
mod ordinary_user;
mod owners;
mod parity;
mod rebuild;
mod recipe;
mod runners;
mod sandbox;
mod signing;
mod steps;
mod support;
