//! What is known of packages, installed or in repositories: which of them a query means, and what
//! their fields say (apk-query(8)).
//!
//! A [`Population`] holds the packages; [`Population::select`] finds those that words mean,
//! [`Population::describe`] tells of one. Orders are apk's own, also where apk has them from its
//! tables of hashes.

mod description;
mod field;
mod graph;
mod outdated;
mod population;
mod relations;
mod selection;
mod statistics;
mod summary;
#[cfg(test)]
mod tests;

pub use description::{Description, INSTALLED, Telling, Value};
pub use field::{Field, Fields, InvalidFields, ReverseField, parse_fields};
pub use graph::{Graph, GraphItem};
pub use outdated::{Compared, Comparison};
pub use population::{PackageId, Population, Repository, Sources, compare_names};
pub use selection::{Match, Selected, Selection};
pub use statistics::Statistics;
