//! Which packages to install: apk's solver.
//!
//! A [`Universe`] holds every package that may be chosen, with the tables of names that solving
//! needs; [`Universe::solve`] finds what a world asks for. The algorithm is apk 3's (forward
//! checking over names, no backtracking), so that the choice and the order of installation are
//! apk's own.

mod bucket;
mod changes;
mod explain;
mod findings;
pub mod joint;
mod order;
mod prefer;
mod propagate;
mod remedy;
mod repair;
mod request;
mod state;
mod universe;
mod unsolvable;

pub(crate) use bucket::bucket;
pub use remedy::{Adjustment, Cause, Preference, Remedy, Search};
pub(crate) use request::shared;
pub use request::{
    Candidate, Change, ChangeKind, Goal, Installed, Preferences, Repository, Request, Selected,
    Solution, Sources, Unindexed, UnindexedKind,
};
pub use universe::Universe;
pub use unsolvable::{
    Alternative, Conflict, Demand, Missing, Rejected, Rival, Suggestion, Unsolvable,
};

/// Answers `request` from `universe`; the same as [`Universe::solve`].
pub fn solve<'a>(
    universe: &Universe<'a>,
    request: &Request<'_>,
) -> Result<Solution<'a>, Unsolvable> {
    universe.solve(request)
}

#[cfg(test)]
mod tests;
