//! Packages, indexes and installed databases, real and made here.

mod corpus;
mod database;
mod index;
mod mutation;
mod package;
mod sample;
