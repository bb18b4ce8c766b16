//! apk packages: versions, dependencies, indexes, installed databases and the solver.

pub mod dependency;
pub mod solver;
pub mod version;
