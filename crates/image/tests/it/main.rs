//! Whole images: built out of small packages, read back by other programs, changed and caught.

extern crate polpo_image as image;

mod bed;
mod build;
mod engines;
mod verify;
