//! Whole images: built out of small packages, read back by other programs, changed and caught.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps says where it failed"
)]

extern crate polpo_image as image;

mod bed;
mod build;
mod diff;
mod engines;
mod layers;
mod lock;
mod outputs;
mod parity;
mod resolved;
mod verify;
