//! What a command asks of the solver, and the answer freed from what it was found in.

use std::path::PathBuf;

use apk::dependency::{Dependency, Identity};
use apk::index::IndexEntry;
use apk::solver::{
    Candidate, Change, ChangeKind, Goal, Preferences, Request, Selected, Universe, Unsolvable,
};
use apk::version::compare;

use super::context::Context;
use super::system::{Extra, System};
use crate::output::failure::Failure;

/// What a command asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// What the world is to be.
    pub(crate) world: Vec<Dependency>,
    /// For all of the world.
    pub(crate) preferences: Preferences,
    /// For single names.
    pub(crate) goals: Vec<NameGoal>,
    /// Packages in no index.
    pub(crate) extras: Vec<Extra>,
    /// The package manager renews itself first.
    pub(crate) preupgrade: bool,
    /// Conflicts between packages count for nothing.
    pub(crate) ignore_conflicts: bool,
    /// Directories that are to get the mode and owner that their packages say.
    pub(crate) directories: Vec<String>,
}

/// Preferences for the providers of a name, and for what they depend on.
#[derive(Clone, Debug)]
pub(crate) struct NameGoal {
    pub(crate) name: String,
    pub(crate) preferences: Preferences,
    pub(crate) inherited: Preferences,
}

/// Where the bytes of a package come from.
#[derive(Clone, Debug)]
pub(crate) enum Supply {
    /// A repository (its place in [`System::repositories`]) and the place in its index.
    Repository { repository: usize, place: usize },
    /// A file.
    File(PathBuf, Box<IndexEntry>),
    /// It has no files.
    Virtual(Box<IndexEntry>),
    /// What is installed already, or nothing.
    None,
}

/// A package of a step.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) identity: Option<Identity>,
    pub(crate) size: u64,
    pub(crate) installed_size: u64,
    /// It can be had now.
    pub(crate) available: bool,
    pub(crate) supply: Supply,
    /// Whether some repository has a package of its name.
    pub(crate) in_repository: bool,
}

/// A step of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PlannedStep {
    pub(crate) kind: ChangeKind,
    pub(crate) before: Option<Planned>,
    pub(crate) after: Option<Planned>,
    /// The repository tag from now on.
    pub(crate) tag: Option<String>,
    /// In apk's words.
    pub(crate) text: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) world: Vec<Dependency>,
    /// With `--force-broken-world`: what was left out.
    pub(crate) left_out: Vec<Dependency>,
    /// Directories that are to get the mode and owner that their packages say.
    pub(crate) directories: Vec<String>,
}

impl PlannedStep {
    /// The package that it is about.
    pub(crate) fn package(&self) -> Option<&Planned> {
        self.after.as_ref().or(self.before.as_ref())
    }

    /// The name, with its repository tag.
    pub(crate) fn name(&self) -> String {
        let name = self.package().map_or("", |package| &package.name);
        match &self.tag {
            Some(tag) => format!("{name}@{tag}"),
            None => name.to_owned(),
        }
    }

    /// Whether it comes to anything.
    pub(crate) fn is_change(&self) -> bool {
        self.kind != ChangeKind::Keep
    }

    /// Whether a package arrives that was not there before.
    pub(crate) fn arrives(&self) -> bool {
        !matches!(
            self.kind,
            ChangeKind::Remove | ChangeKind::Keep | ChangeKind::Retag | ChangeKind::Reinstall
        )
    }
}

impl Context<'_> {
    /// Whether the tags of a world are known; those that aren't are told of.
    pub(crate) fn check_tags(&self, system: &System, world: &[Dependency]) -> bool {
        if self.forces().broken_world {
            return true;
        }
        let mut known = true;
        for term in world {
            let Some(tag) = &term.tag else { continue };
            let mut tags = system.repositories.iter();
            if !tags.any(|repository| repository.repository.tag.as_ref() == Some(tag)) {
                self.console.warning(&format!(
                    "The repository tag for world dependency '{}@{tag}' does not exist",
                    term.name
                ));
                known = false;
            }
        }
        known
    }

    /// Asks the solver. The outer failure is the program's, the inner one the request's.
    pub(crate) fn plan(
        &self,
        system: &System,
        wish: &Wish,
    ) -> Result<Result<Plan, Box<Unsolvable>>, Failure> {
        let goals: Vec<Goal<'_>> = wish
            .goals
            .iter()
            .map(|goal| Goal {
                name: &goal.name,
                preferences: goal.preferences,
                inherited: goal.inherited,
            })
            .collect();
        let request = Request {
            world: &wish.world,
            preferences: wish.preferences,
            goals: &goals,
            preupgrade: wish.preupgrade,
            leave_out_broken: self.forces().broken_world,
            ignore_conflicts: wish.ignore_conflicts,
            ..Request::default()
        };
        Ok(system.solve(&wish.extras, &request, |universe, solution| {
            let solution = solution.map_err(Box::new)?;
            let freed = Freed {
                universe,
                extras: system.kept.iter().chain(&wish.extras).collect(),
            };
            Ok(Plan {
                steps: solution
                    .changes
                    .iter()
                    .map(|change| freed.step(change))
                    .collect(),
                world: wish.world.clone(),
                left_out: solution.left_out,
                directories: wish.directories.clone(),
            })
        }))
    }
}

/// Copies out of a universe what is needed after it.
struct Freed<'u, 'a> {
    universe: &'u Universe<'a>,
    extras: Vec<&'u Extra>,
}

impl Freed<'_, '_> {
    fn step(&self, change: &Change<'_>) -> PlannedStep {
        PlannedStep {
            kind: change.kind(),
            before: change.before.map(|selected| self.package(&selected)),
            after: change.after.map(|selected| self.package(&selected)),
            tag: change.tag_after.map(str::to_owned),
            text: change.to_string(),
        }
    }

    fn package(&self, selected: &Selected<'_>) -> Planned {
        let candidate: &Candidate = selected.package;
        let mut extras = self.extras.iter();
        let extra = extras.find(|extra| {
            extra.entry.info.name == candidate.name
                && candidate.identity.is_some_and(|identity| {
                    identity.shortened() == extra.entry.identity.shortened()
                })
        });
        let supply = match (extra, selected.place) {
            (Some(extra), _) => {
                let entry = Box::new(extra.entry.clone());
                match &extra.file {
                    Some(file) => Supply::File(file.clone(), entry),
                    None => Supply::Virtual(entry),
                }
            }
            (None, Some((repository, place))) => Supply::Repository { repository, place },
            (None, None) => Supply::None,
        };
        let in_repository = selected.place.is_some()
            || self
                .universe
                .providers_of(&candidate.name)
                .any(|provider| provider.place.is_some());
        Planned {
            name: candidate.name.clone(),
            version: candidate.version.clone(),
            identity: candidate.identity,
            size: candidate.size,
            installed_size: candidate.installed_size,
            available: selected.available,
            supply,
            in_repository,
        }
    }
}

/// Whether a version is later than another.
pub(crate) fn is_later(version: &str, than: &str) -> bool {
    compare(version, than).is_gt()
}
