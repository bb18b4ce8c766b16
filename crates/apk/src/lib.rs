//! apk packages: versions, dependencies, indexes, installed databases and the solver.

pub mod adb;
pub mod catalogue;
pub mod database;
pub mod dependency;
mod identity;
pub mod index;
pub mod install;
mod member;
pub mod package;
pub mod pattern;
pub mod query;
pub mod repository;
pub mod serialize;
pub mod signature;
pub mod solver;
pub mod verify;
pub mod version;
