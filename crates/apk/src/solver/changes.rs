use super::request::Change;
use super::state::{REINSTALL, Solver};
use super::universe::{NameId, PackageId, Term, UNTAGGED};

/// One step, by identifiers.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) before: Option<PackageId>,
    pub(super) after: Option<PackageId>,
    /// Bits of tags.
    pub(super) tag_before: u64,
    pub(super) tag_after: u64,
    pub(super) reinstall: bool,
}

/// The same with the packages themselves.
pub(super) fn describe<'a>(solver: &Solver<'_, 'a, '_>, steps: &[Step]) -> Vec<Change<'a>> {
    let universe = solver.universe;
    steps
        .iter()
        .map(|step| Change {
            before: step.before.map(|id| universe.selected(id)),
            after: step.after.map(|id| universe.selected(id)),
            tag_before: universe.tag_of(step.tag_before),
            tag_after: universe.tag_of(step.tag_after),
            reinstall: step.reinstall,
        })
        .collect()
}

/// What is to be done, in reverse order of doing: a stack instead of recursion, since an index may
/// hold a chain of any length.
enum Task<'t> {
    Depend(Option<PackageId>, Term<'t>),
    /// After a dependency was dealt with: if it failed, so does who wants it.
    Inherit(PackageId, PackageId),
    Change(NameId),
    Choose(NameId),
    Clear(NameId),
    Remove(PackageId),
    Record(Option<PackageId>, Option<PackageId>),
    /// What is installed only because of the package's presence.
    Orphans(PackageId),
    CheckOrphan(NameId),
    /// What the package's presence makes installed.
    Followers(PackageId),
    CheckFollower(NameId),
    CountDepends(PackageId),
    ReleaseDepends(PackageId),
    Release(NameId),
}

/// The names while the steps are put in order.
#[derive(Clone, Default)]
struct NameChange {
    /// The installed package of that name.
    package: Option<PackageId>,
    /// The name of the installed package that owns it.
    owner: Option<NameId>,
    requirers: u32,
    processed: bool,
    removed: bool,
}

struct Ordering<'s, 'u, 'a, 'w> {
    solver: &'s mut Solver<'u, 'a, 'w>,
    names: Vec<NameChange>,
    tasks: Vec<Task<'s>>,
    steps: Vec<Step>,
}

impl<'a> Solver<'_, 'a, '_> {
    /// The steps from what is installed to what was chosen. Marks the packages whose dependencies
    /// are not met.
    pub(super) fn changes(&mut self) -> Vec<Step> {
        let universe = self.universe;
        let world = self.world.clone();
        let names = vec![NameChange::default(); self.names.len()];
        let mut ordering = Ordering {
            solver: self,
            names,
            tasks: Vec::new(),
            steps: Vec::new(),
        };
        for id in universe.installed() {
            let own = universe.package(*id).name;
            ordering.names[own as usize].package = Some(*id);
            ordering.names[own as usize].owner = Some(own);
            for provided in universe.provides(*id) {
                if provided.dependency.version().is_some() {
                    ordering.names[provided.name as usize].owner = Some(own);
                }
            }
        }
        for id in universe.installed() {
            ordering.count_depends(*id);
        }
        for id in universe.installed() {
            ordering.remove_if_unwanted(*id);
            ordering.run();
        }
        for term in &world {
            ordering.depend(None, term.term);
            ordering.run();
        }
        for id in universe.installed() {
            ordering
                .tasks
                .push(Task::Change(universe.package(*id).name));
            ordering.run();
        }
        ordering.steps
    }
}

impl<'s, 'u: 's, 'a: 's> Ordering<'s, 'u, 'a, '_> {
    fn run(&mut self) {
        self.tasks.reverse();
        while let Some(task) = self.tasks.pop() {
            let start = self.tasks.len();
            self.perform(task);
            // Each task lists what it leads to in order of doing.
            self.tasks[start..].reverse();
        }
    }

    fn perform(&mut self, task: Task<'s>) {
        match task {
            Task::Depend(by, term) => self.depend(by, term),
            Task::Inherit(by, from) => {
                if self.solver.package(from).failed {
                    self.solver.fail(Some(by));
                }
            }
            Task::Change(name) => {
                if !self.name(name).processed {
                    self.tasks.push(Task::Clear(name));
                    self.tasks.push(Task::Choose(name));
                }
            }
            Task::Choose(name) => self.choose(name),
            Task::Clear(name) => self.clear(name),
            Task::Remove(package) => self.remove(package),
            Task::Record(before, after) => self.record(before, after),
            Task::Orphans(package) => {
                let names = self.conditional(package);
                self.tasks.extend(names.map(Task::CheckOrphan));
            }
            Task::CheckOrphan(name) => self.check_orphan(name),
            Task::Followers(package) => {
                let names = self.conditional(package);
                self.tasks.extend(names.map(Task::CheckFollower));
            }
            Task::CheckFollower(name) => self.check_follower(name),
            Task::CountDepends(package) => self.count_depends(package),
            Task::ReleaseDepends(package) => {
                let terms = self.solver.universe.depends(package).iter();
                let terms = terms.filter(|term| !term.dependency.conflict);
                self.tasks
                    .extend(terms.map(|term| Task::Release(term.name)));
            }
            Task::Release(name) => self.release(name),
        }
    }

    fn name(&mut self, id: NameId) -> &mut NameChange {
        &mut self.names[id as usize]
    }

    fn chosen(&self, name: NameId) -> Option<PackageId> {
        self.solver.name(name).chosen.map(|chosen| chosen.package)
    }

    /// The names of packages whose `install_if` speaks of a name of this package.
    fn conditional(&self, package: PackageId) -> impl Iterator<Item = NameId> + use<'s, 'u, 'a> {
        let universe = self.solver.universe;
        let names = universe.names_of(package);
        names.flat_map(move |name| universe.conditional(name).iter().copied())
    }

    fn depend(&mut self, by: Option<PackageId>, term: Term<'_>) {
        if term.dependency.conflict && self.solver.ignore_conflicts {
            return;
        }
        let chosen = self.solver.name(term.name).chosen;
        if !self.solver.is_provided(by, &term, chosen) {
            self.solver.fail(by);
        }
        self.tasks.push(Task::Change(term.name));
        if let (Some(by), Some(chosen)) = (by, chosen) {
            self.tasks.push(Task::Inherit(by, chosen.package));
        }
    }

    fn choose(&mut self, name: NameId) {
        let universe = self.solver.universe;
        let Some(package) = self.chosen(name) else {
            return;
        };
        if std::mem::replace(&mut self.solver.package_mut(package).in_changes, true) {
            return;
        }
        self.tasks
            .extend(universe.names_of(package).map(Task::Clear));
        let before = self.name(universe.package(package).name).package;
        self.tasks.extend(before.map(Task::Orphans));
        let terms = universe.depends(package).iter();
        self.tasks
            .extend(terms.map(|term| Task::Depend(Some(package), *term)));
        self.tasks.push(Task::Record(before, Some(package)));
        self.tasks.push(Task::Followers(package));
        self.tasks.push(Task::CountDepends(package));
        self.tasks.extend(before.map(Task::ReleaseDepends));
    }

    /// Removes what had the name, or provided it, and goes.
    fn clear(&mut self, name: NameId) {
        if std::mem::replace(&mut self.name(name).processed, true) {
            return;
        }
        let universe = self.solver.universe;
        let chosen = self.chosen(name);
        let keeps_name = chosen.is_some_and(|chosen| universe.package(chosen).name == name);
        if let Some(installed) = self.name(name).package
            && !keeps_name
        {
            self.tasks.push(Task::Remove(installed));
        }
        for provider in universe.providers(name) {
            let own = universe.package(provider.package).name;
            if self.name(own).package == Some(provider.package) && self.chosen(own).is_none() {
                self.tasks.push(Task::Remove(provider.package));
            }
        }
    }

    fn remove(&mut self, package: PackageId) {
        let universe = self.solver.universe;
        let own = universe.package(package).name;
        let chosen = self.chosen(own);
        let replaced = chosen.is_some_and(|chosen| universe.package(chosen).name == own);
        if replaced || std::mem::replace(&mut self.solver.package_mut(package).in_changes, true) {
            return;
        }
        self.name(own).removed = true;
        for name in universe.names_of(package) {
            for dependent in universe.dependent_packages(name) {
                if universe.package(dependent).installed && self.needs(dependent, package) {
                    self.tasks.push(Task::Remove(dependent));
                }
            }
        }
        self.tasks.push(Task::Orphans(package));
        self.tasks.push(Task::Record(Some(package), None));
        self.tasks.push(Task::ReleaseDepends(package));
    }

    fn needs(&self, dependent: PackageId, package: PackageId) -> bool {
        let solver = &self.solver;
        let mut terms = solver.universe.depends(dependent).iter();
        terms.any(|term| solver.meets(Some(dependent), term, package) == Some(true))
    }

    fn record(&mut self, before: Option<PackageId>, after: Option<PackageId>) {
        let universe = self.solver.universe;
        let tag_before = before.map_or(UNTAGGED, |id| universe.package(id).installed_tag);
        let mut step = Step {
            before,
            after,
            tag_before,
            tag_after: UNTAGGED,
            reinstall: false,
        };
        if let Some(after) = after {
            let state = self.solver.package(after);
            let tags = state.pinning_allowed & universe.package(after).tags;
            // The lowest bit.
            step.tag_after = match tags & tags.wrapping_neg() {
                0 => UNTAGGED,
                tag => tag,
            };
            step.reinstall = state.flags & REINSTALL != 0;
        }
        self.steps.push(step);
    }

    fn check_orphan(&mut self, name: NameId) {
        let state = self.name(name);
        let (processed, removed) = (state.processed, state.removed);
        let Some(package) = state.package else { return };
        if processed || removed || self.chosen(name).is_some() {
            return;
        }
        let universe = self.solver.universe;
        let orphaned = universe.install_if(package).iter().any(|term| {
            let gone = self.names[term.name as usize].removed;
            gone && self.chosen(term.name).is_none()
        });
        if orphaned {
            self.remove_if_unwanted(package);
        }
    }

    fn remove_if_unwanted(&mut self, package: PackageId) {
        let own = self.solver.universe.package(package).name;
        if self.name(own).requirers == 0 && self.chosen(own).is_none() {
            self.tasks.push(Task::Remove(package));
        }
    }

    fn check_follower(&mut self, name: NameId) {
        let universe = self.solver.universe;
        let state = self.solver.name(name);
        let (Some(chosen), true) = (state.chosen, state.seen) else {
            return;
        };
        if self.name(name).processed {
            return;
        }
        let met = universe.install_if(chosen.package).iter().all(|term| {
            let placed = self.names[term.name as usize].processed || term.dependency.conflict;
            let by = Some(chosen.package);
            let provider = self.solver.name(term.name).chosen;
            placed && self.solver.is_provided(by, term, provider)
        });
        if met {
            self.tasks.push(Task::Change(name));
        }
    }

    fn count_depends(&mut self, package: PackageId) {
        for term in self.solver.universe.depends(package) {
            if let Some(owner) = self.name(term.name).owner
                && !term.dependency.conflict
            {
                let owner = self.name(owner);
                owner.requirers = owner.requirers.wrapping_add(1);
            }
        }
    }

    fn release(&mut self, name: NameId) {
        let Some(owner) = self.name(name).owner else {
            return;
        };
        let owner = self.name(owner);
        owner.requirers = owner.requirers.wrapping_sub(1);
        if owner.requirers == 0
            && let Some(package) = self.name(name).package
        {
            self.tasks.push(Task::Remove(package));
        }
    }
}

impl Solver<'_, '_, '_> {
    /// Whether `package` is what `term` of `by` asks for; none if the term speaks of none of its
    /// names.
    pub(super) fn meets(
        &self,
        by: Option<PackageId>,
        term: &Term<'_>,
        package: PackageId,
    ) -> Option<bool> {
        let universe = self.universe;
        let candidate = universe.package(package).candidate;
        let version = if universe.package(package).name == term.name {
            Some(candidate.version.as_str())
        } else {
            let mut provides = universe.provides(package).iter();
            let provided = provides.find(|provided| provided.name == term.name)?;
            provided
                .dependency
                .version()
                .map(|version| version.as_str())
        };
        let own_name = universe.package(package).name == term.name;
        if term.dependency.conflict && by == Some(package) && !own_name {
            return Some(true);
        }
        let matches = term
            .dependency
            .matches(version, candidate.identity.as_ref());
        // See `is_provided`.
        let unversioned = version.is_none() && term.dependency.constraint.is_some();
        let matches = matches && !(unversioned && self.any_unversioned_provider);
        Some(matches != term.dependency.conflict)
    }
}
