//! Builds in real sandboxes: bubblewrap and a static busybox must be installed.

mod ordinary_user;
mod recipe;
mod sandbox;
mod steps;
mod support;
