//! File trees and the byte-exact archives they become.
//!
//! Everything read here may come from strangers: memory is bounded by [`Limits`], names are checked
//! before they touch a disk, and a truncated or contradictory archive is an error. Everything written
//! here is a function of its arguments alone: the same tree gives the same bytes on any machine.

pub mod ar;
pub mod cpio;
pub mod decompress;
mod deflate;
pub mod erofs;
pub mod frames;
pub mod gzip;
mod limits;
pub mod ordered;
pub mod recode;
pub mod segment;
pub mod tar;
pub mod tree;
pub mod unpack;

pub use limits::{LimitExceeded, Limits};
