use std::collections::BTreeSet;

use crate::dependency::Dependency;
use crate::solver::remedy::{Adjustment, Preference};
use crate::solver::request::{Goal, Preferences, Request};

/// A request with changes made to it.
#[derive(Clone)]
pub(super) struct Variant {
    pub(super) world: Vec<Dependency>,
    /// The preferences that the request has still.
    pub(super) preferences: Vec<Preference>,
    /// The changes to what there is to choose from.
    pub(super) of_sources: Vec<Adjustment>,
}

impl Variant {
    /// No changes yet. The world is in the order in which the solver takes it.
    pub(super) fn new(request: &Request<'_>) -> Variant {
        let mut world = request.world.to_vec();
        world.sort_by_cached_key(|term| (term.name.to_ascii_lowercase(), term.name.clone()));
        let goals = request.goals.iter();
        let goals = goals.flat_map(|goal| [goal.preferences, goal.inherited]);
        let all: Vec<Preferences> = goals.chain([request.preferences]).collect();
        let mut preferences = Vec::new();
        if all.iter().any(|of| of.latest) {
            preferences.push(Preference::Latest);
        }
        if all.iter().any(|of| of.available) {
            preferences.push(Preference::Available);
        }
        Variant {
            world,
            preferences,
            of_sources: Vec::new(),
        }
    }

    /// Whether it changes what there is to choose from.
    pub(super) fn is_of_sources(change: &Adjustment) -> bool {
        matches!(
            change,
            Adjustment::AllowNetwork
                | Adjustment::AddRepository { .. }
                | Adjustment::RelaxPackage { .. }
        )
    }

    /// Whether the term that is to be changed is there, and was not changed already.
    pub(super) fn has(&self, change: &Adjustment) -> bool {
        match change {
            Adjustment::RelaxPackage { package, term, .. } => {
                !self.of_sources.iter().any(|known| {
                    matches!(
                        known,
                        Adjustment::RelaxPackage { package: of, term: changed, .. }
                            if of == package && changed == term
                    )
                })
            }
            Adjustment::UseTag { term, .. }
            | Adjustment::Rename { term, .. }
            | Adjustment::Narrow { term, .. }
            | Adjustment::Relax { term, .. }
            | Adjustment::Drop { term }
            | Adjustment::NotFor { term, .. } => self.world.contains(term),
            _ => true,
        }
    }

    /// One change more. A term that is not there is not changed.
    pub(super) fn with(&self, change: &Adjustment) -> Variant {
        let mut variant = self.clone();
        match change {
            Adjustment::UseTag { term, with }
            | Adjustment::Rename { term, with }
            | Adjustment::Narrow { term, with }
            | Adjustment::Relax { term, with } => {
                for known in variant.world.iter_mut().filter(|known| *known == term) {
                    *known = with.clone();
                }
            }
            Adjustment::Add { term } => variant.world.push(term.clone()),
            Adjustment::Drop { term } | Adjustment::NotFor { term, .. } => {
                variant.world.retain(|known| known != term);
            }
            Adjustment::WithoutPreference { preference } => {
                variant.preferences.retain(|known| known != preference);
            }
            Adjustment::AllowNetwork
            | Adjustment::AddRepository { .. }
            | Adjustment::RelaxPackage { .. } => variant.of_sources.push(change.clone()),
        }
        variant
    }

    /// Names that the world speaks of.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.world.iter().map(|term| term.name.as_str()).collect()
    }

    /// The goals of the request as changed.
    pub(super) fn goals<'r>(&self, request: &Request<'r>) -> Vec<Goal<'r>> {
        let goals = request.goals.iter();
        let goals = goals.map(|goal| Goal {
            preferences: self.preferences(goal.preferences),
            inherited: self.preferences(goal.inherited),
            ..*goal
        });
        goals.collect()
    }

    /// The request as changed, but for its sources.
    pub(super) fn request<'v>(
        &'v self,
        request: &Request<'v>,
        goals: &'v [Goal<'v>],
    ) -> Request<'v> {
        Request {
            world: &self.world,
            preferences: self.preferences(request.preferences),
            goals,
            leave_out_broken: false,
            ..*request
        }
    }

    fn preferences(&self, preferences: Preferences) -> Preferences {
        Preferences {
            latest: preferences.latest && self.preferences.contains(&Preference::Latest),
            available: preferences.available && self.preferences.contains(&Preference::Available),
            ..preferences
        }
    }
}
