//! The changes that would make a request solvable, as data and in words.

use std::fmt;

use serde::Serialize;

use super::unsolvable::Conflict;
use crate::dependency::Dependency;

/// One thing that keeps a request from being solved, with the smallest changes that remove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The part of the world that has no solution by itself; without any one of these terms it
    /// has.
    pub terms: Vec<Dependency>,
    /// What stands in the way when no more than `terms` is asked for.
    pub conflicts: Vec<Conflict>,
    /// The ways to remove the cause, those that ask least of the user first. Each was tried: with
    /// it, and with the first remedy of every other cause, made in the order of the causes, the
    /// request has a solution. Those with
    /// the fewest changes come first; there are remedies of two changes only where a single one
    /// does not help, or is to do without what was asked for.
    pub remedies: Vec<Remedy>,
}

/// Changes that remove a cause if all are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// At least one.
    pub changes: Vec<Adjustment>,
}

/// A change to what is asked for, or to what there is to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Adjustment {
    /// Another tag, or none, at a term of the world.
    UseTag {
        /// The term as it is.
        term: Dependency,
        /// As it should be.
        with: Dependency,
    },
    /// A term of the world for a name that was probably meant.
    Rename {
        /// The term as it is.
        term: Dependency,
        /// As it should be.
        with: Dependency,
    },
    /// One more term in the world.
    Add {
        /// The term.
        term: Dependency,
    },
    /// A term of the world that accepts more versions.
    Relax {
        /// The term as it is.
        term: Dependency,
        /// As it should be.
        with: Dependency,
    },
    /// A term of the world that accepts fewer versions: the newest has a fault, the rest are fine.
    Narrow {
        /// The term as it is.
        term: Dependency,
        /// As it should be.
        with: Dependency,
    },
    /// The request without one of its preferences.
    WithoutPreference {
        /// The preference.
        preference: Preference,
    },
    /// Packages may be fetched from repositories that are out of reach now.
    AllowNetwork,
    /// The world without one of its terms.
    Drop {
        /// The term.
        term: Dependency,
    },
    /// The world of one architecture without one of its terms, see [`joint`](super::joint).
    NotFor {
        /// The term.
        term: Dependency,
        /// The architecture.
        arch: String,
    },
    /// Another repository, with a package that is not there, in some version that the terms accept.
    /// What that package needs in turn is not known, and taken to be there.
    AddRepository {
        /// What the package has to satisfy: terms of one name.
        terms: Vec<Dependency>,
        /// The architectures that accept it.
        arches: Vec<String>,
    },
    /// Another build of a package, that accepts more versions of what it needs or rules less out.
    RelaxPackage {
        /// The package.
        package: String,
        /// What it asks for.
        term: Dependency,
        /// What it should ask for instead; none: nothing.
        with: Option<Dependency>,
    },
}

/// A preference of a request that can be given up, see [`Preferences`](super::Preferences).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// `--latest`.
    Latest,
    /// `--available`.
    Available,
}

/// How far the search for changes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// To its end: no fewer changes of the kinds considered would do.
    Complete,
    /// To its limit of work. What was found holds, but there may be more causes, and fewer or other
    /// changes.
    Limited,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.changes.iter().enumerate() {
            if index > 0 {
                f.write_str(", and ")?;
            }
            change.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Adjustment::UseTag { term, with } => match &with.tag {
                Some(tag) => write!(f, "use tag @{tag}: ask for {with} instead of {term}"),
                None => write!(f, "ask for {with} without a tag"),
            },
            Adjustment::Rename { term, with } | Adjustment::Narrow { term, with } => {
                write!(f, "ask for {with} instead of {term}")
            }
            Adjustment::Add { term } => write!(f, "ask for {term} too"),
            Adjustment::Relax { term, with } => write!(f, "relax {term} to {with}"),
            Adjustment::WithoutPreference { preference } => {
                let option = match preference {
                    Preference::Latest => "--latest",
                    Preference::Available => "--available",
                };
                write!(f, "do without {option}")
            }
            Adjustment::AllowNetwork => f.write_str("allow the network"),
            Adjustment::Drop { term } if term.conflict => {
                write!(f, "drop `{term}` from the world")
            }
            Adjustment::Drop { term } => write!(f, "drop {term} from the world"),
            Adjustment::NotFor { term, arch } => write!(f, "leave {term} out for {arch}"),
            Adjustment::AddRepository { terms, arches } => {
                let terms: Vec<String> = terms.iter().map(Dependency::to_string).collect();
                write!(f, "add a repository that has {}", terms.join(" and "))?;
                match arches.as_slice() {
                    [] => Ok(()),
                    arches => write!(f, " for {}", arches.join(", ")),
                }
            }
            Adjustment::RelaxPackage {
                package,
                term,
                with: Some(with),
            } => write!(f, "build {package} anew with {with} instead of {term}"),
            Adjustment::RelaxPackage { package, term, .. } => {
                write!(f, "build {package} anew without `{term}`")
            }
        }
    }
}
