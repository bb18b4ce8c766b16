//! Builds in real sandboxes: bubblewrap and a static busybox must be installed.

mod ordinary_user;
mod sandbox;
mod steps;
mod support;
