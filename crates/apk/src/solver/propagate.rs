use std::collections::BTreeSet;

use super::changes::Step;
use super::request::{Request, Solution};
use super::state::{Banned, Solver, Waiting};
use super::universe::{NameId, PackageId, Provider, Term, Universe};
use super::unsolvable::Unsolvable;

/// Tags are the bits of a word, of which one is for repositories that have none.
pub(super) const MOST_TAGS: usize = 63;

/// Solves; if that fails, finds out what would help.
pub(super) fn solve<'a>(
    universe: &Universe<'a>,
    request: &Request<'_>,
) -> Result<Solution<'a>, Unsolvable> {
    attempt(universe, request, &Banned::new(), &mut 0).map_err(|mut unsolvable| {
        super::repair::find_causes(universe, request, &mut unsolvable);
        unsolvable
    })
}

/// About how many looks at a single provider or term cost what one at a package or a name does.
const LOOKS: u64 = 64;

/// Solves, several times over if terms are to be left out. Adds to `work` what it cost: how many
/// packages and names were looked at.
pub(super) fn attempt<'a>(
    universe: &Universe<'a>,
    request: &Request<'_>,
    banned: &Banned<'_>,
    work: &mut u64,
) -> Result<Solution<'a>, Unsolvable> {
    attempt_or(universe, request, banned, work, |end, work| match end {
        End::Unexplained(unsolvable) => unsolvable,
        End::Of(solver, steps) => {
            let (unsolvable, looked) = super::findings::explain(solver, steps);
            *work += looked / LOOKS;
            unsolvable
        }
    })
}

/// As [`attempt`], without finding out what stood in the way.
pub(super) fn attempt_silently<'a>(
    universe: &Universe<'a>,
    request: &Request<'_>,
    banned: &Banned<'_>,
    work: &mut u64,
) -> Option<Solution<'a>> {
    attempt_or(universe, request, banned, work, |_, _| ()).ok()
}

/// How an unsuccessful search ended.
enum End<'e, 'u, 'a, 'w> {
    /// For a reason that is no package's.
    Unexplained(Unsolvable),
    /// With this, and the steps to an incomplete solution.
    Of(&'e Solver<'u, 'a, 'w>, &'e [Step]),
}

fn attempt_or<'a, E>(
    universe: &Universe<'a>,
    request: &Request<'_>,
    banned: &Banned<'_>,
    work: &mut u64,
    failed: impl FnOnce(End<'_, '_, 'a, '_>, &mut u64) -> E,
) -> Result<Solution<'a>, E> {
    let mut left_out = BTreeSet::new();
    loop {
        let mut solver = Solver::new(universe, request, &left_out, banned);
        if universe.tags().len() > MOST_TAGS {
            let unsolvable = super::findings::too_many_tags(&solver);
            return Err(failed(End::Unexplained(unsolvable), work));
        }
        solver.search();
        *work += solver.discovered + solver.reconsidered + solver.looked / LOOKS;
        let changes = solver.changes();
        if solver.failures == 0 {
            // apk looks for these last, when all else is decided.
            if !request.leave_out_broken {
                let unknown_tags = super::findings::unknown_tags(&solver);
                if !unknown_tags.is_empty() {
                    return Err(failed(End::Unexplained(unknown_tags), work));
                }
            }
            return Ok(Solution {
                changes: super::changes::describe(&solver, &changes),
                left_out: solver
                    .world
                    .iter()
                    .filter(|term| term.left_out)
                    .map(|term| term.term.dependency.clone())
                    .collect(),
            });
        }
        let before = left_out.len();
        if request.leave_out_broken {
            for (index, term) in solver.world.iter().enumerate() {
                let chosen = solver.name(term.term.name).chosen;
                if chosen.is_none_or(|chosen| solver.package(chosen.package).failed) {
                    left_out.insert(index);
                }
            }
        }
        if left_out.len() == before {
            return Err(failed(End::Of(&solver, &changes), work));
        }
    }
}

impl<'a> Solver<'_, 'a, '_> {
    /// Decides all names.
    fn search(&mut self) {
        let world = self.world.clone();
        for term in world.iter().filter(|term| !term.left_out) {
            self.discover(term.term.name);
        }
        for package in self.banned() {
            self.disqualify(package);
        }
        for term in world.iter().filter(|term| !term.left_out) {
            self.apply(None, term.tag, &term.term);
        }
        // What follows is not asked for by the world itself.
        self.world_flags = 0;
        loop {
            while let Some(name) = self.dirty.pop_front() {
                if std::mem::take(&mut self.name_mut(name).dirty) {
                    self.reconsider(name);
                }
            }
            match self.next_waiting() {
                Some(name) => self.decide(name),
                None => return,
            }
        }
    }

    fn next_waiting(&mut self) -> Option<NameId> {
        let name = loop {
            match self.decided.pop_front() {
                Some(name) if self.name(name).waiting == Waiting::Decided => break name,
                Some(_) => {}
                None => {
                    let next = self.selectable.pop_last().or_else(|| self.open.pop_last());
                    break next?.1;
                }
            }
        };
        self.name_mut(name).waiting = Waiting::Nowhere;
        Some(name)
    }

    fn queue_dirty(&mut self, id: NameId) {
        let name = self.name_mut(id);
        if name.dirty || name.locked || (name.requirers == 0 && !name.check_install_if) {
            return;
        }
        name.dirty = true;
        self.dirty.push_back(id);
    }

    fn queue_waiting(&mut self, id: NameId, moved: bool) {
        let name = self.name(id);
        if name.locked {
            return;
        }
        let decided = name.dependents_decided
            && name.requirers > 0
            && name.has_selectable
            && !name.has_options;
        match name.waiting {
            Waiting::Decided => return,
            Waiting::Nowhere => {
                if name.requirers == 0 && !name.has_install_if && !name.install_if_needed {
                    return;
                }
            }
            Waiting::Selectable | Waiting::Open if !decided && !moved => return,
            Waiting::Selectable | Waiting::Open => self.stop_waiting(id),
        }
        let name = self.name_mut(id);
        let place = (name.order, id);
        name.waiting = match (decided, name.has_selectable) {
            (true, _) => Waiting::Decided,
            (false, true) => Waiting::Selectable,
            (false, false) => Waiting::Open,
        };
        match name.waiting {
            Waiting::Decided => self.decided.push_back(id),
            Waiting::Selectable => _ = self.selectable.insert(place),
            _ => _ = self.open.insert(place),
        }
    }

    fn stop_waiting(&mut self, id: NameId) {
        let name = self.name_mut(id);
        let place = (name.order, id);
        match std::mem::take(&mut name.waiting) {
            Waiting::Selectable => _ = self.selectable.remove(&place),
            Waiting::Open => _ = self.open.remove(&place),
            // Whoever takes it out of the queue sees that it no longer waits.
            Waiting::Decided | Waiting::Nowhere => {}
        }
    }

    /// Has all that depends on `name` checked again.
    fn tell_dependents(&mut self, name: NameId) {
        // Telling them twice before one of them was looked at changes nothing.
        let now = self.reconsidered + 1;
        if std::mem::replace(&mut self.name_mut(name).told_at, now) == now {
            return;
        }
        let universe = self.universe;
        for dependent in universe.dependents(name) {
            let state = self.name_mut(*dependent);
            if state.seen {
                state.check_depends = true;
                self.queue_dirty(*dependent);
            }
        }
    }

    /// Has all that may be installed because of `name` checked again.
    fn tell_conditional(&mut self, name: NameId) {
        let universe = self.universe;
        for dependent in universe.conditional(name) {
            let state = self.name_mut(*dependent);
            if state.seen && !state.no_install_if {
                state.check_install_if = true;
                self.queue_dirty(*dependent);
            }
        }
    }

    /// The same for all names of a package, which may be very many.
    fn tell_conditional_on(&mut self, package: PackageId) {
        let now = self.reconsidered + 1;
        if std::mem::replace(&mut self.package_mut(package).told_at, now) == now {
            return;
        }
        let universe = self.universe;
        for name in universe.names_of(package) {
            self.tell_conditional(name);
        }
    }

    fn disqualify(&mut self, package: PackageId) {
        let now = self.reconsidered + 1;
        let state = self.package_mut(package);
        state.selectable = false;
        // It may lose very many names at once: the first has told all that there is to tell.
        if std::mem::replace(&mut state.disqualified_at, now) == now {
            return;
        }
        let universe = self.universe;
        for name in universe.names_of(package) {
            self.tell_dependents(name);
        }
        self.tell_conditional_on(package);
    }

    pub(super) fn is_satisfiable(&mut self, by: PackageId, term: &Term<'_>) -> bool {
        let conflict = term.dependency.conflict;
        if conflict && self.ignore_conflicts {
            return true;
        }
        let name = self.name(term.name);
        if name.locked {
            return self.is_provided(Some(by), term, name.chosen);
        }
        if name.requirers == 0 && self.is_provided(Some(by), term, None) {
            return true;
        }
        if let Some(spoken) = self.spoken_of(term) {
            let order = (spoken.key, spoken.order);
            let mut ranks = spoken.ranks(conflict).into_iter();
            return ranks.any(|ranks| self.any_selectable(term.name, order, ranks))
                || (conflict
                    && self.package(by).selectable
                    && self.universe.has_name(by, term.name));
        }
        self.universe.providers(term.name).iter().any(|provider| {
            self.package(provider.package).selectable
                && self.is_provided(Some(by), term, Some(*provider))
        })
    }

    fn requirers_changed(&mut self, name: NameId) {
        self.queue_waiting(name, false);
        self.tell_conditional(name);
        self.queue_dirty(name);
    }

    /// What `by` wants of its dependencies holds for `package` too. Without `by`, the world wants
    /// it, with the tag `tag`.
    fn inherit(&mut self, package: PackageId, by: Option<PackageId>, tag: u64) {
        let tags = self.universe.package(package).tags;
        match by {
            Some(by) => {
                let by = self.package(by);
                let (flags, allowed) = (by.flags_inherited, by.pinning_allowed);
                let state = self.package_mut(package);
                state.flags |= flags;
                state.flags_inherited |= flags;
                state.pinning_allowed |= allowed;
            }
            None => {
                let flags = self.world_flags;
                let state = self.package_mut(package);
                state.flags |= flags;
                state.flags_inherited |= flags;
                state.pinning_allowed |= tag;
                state.tag_preferred = tags & tag != 0;
            }
        }
        let state = self.package_mut(package);
        state.tag_allowed |= tags & state.pinning_allowed != 0;
    }

    fn apply(&mut self, by: Option<PackageId>, tag: u64, term: &Term<'_>) {
        let conflict = term.dependency.conflict;
        if conflict && self.ignore_conflicts {
            return;
        }
        if !conflict {
            self.name_mut(term.name).requirers += 1;
            if self.name(term.name).requirers == 1 {
                self.requirers_changed(term.name);
            }
        }
        let universe = self.universe;
        let spoken = self.spoken_of(term);
        let providers = universe.providers(term.name);
        self.looked += providers.len() as u64;
        for (place, provider) in providers.iter().enumerate() {
            let provided = self.is_provided_by(by, term, (place, provider), spoken.as_ref());
            let state = self.package_mut(provider.package);
            state.conflicts += u32::from(!provided);
            if state.selectable && state.conflicts > 0 {
                self.disqualify(provider.package);
            }
            if provided {
                self.inherit(provider.package, by, tag);
            }
        }
    }

    /// Every candidate of `must_provide`, which is reconsidered, provides `name` too: who provides
    /// `name`, but not `must_provide`, is out.
    fn exclude_others(&mut self, name: NameId, must_provide: NameId, spare_virtual: bool) {
        if name == must_provide || self.ignore_conflicts {
            return;
        }
        let universe = self.universe;
        for provider in universe.providers(name) {
            let id = provider.package;
            let state = self.package(id);
            if state.provides_at == self.reconsidered || !state.selectable {
                continue;
            }
            if spare_virtual
                && (provider.version.is_none() || universe.package(id).provides_unversioned)
            {
                continue;
            }
            self.disqualify(id);
        }
    }

    /// A name provided without version is chosen only by priority, or if its provider is wanted
    /// anyway.
    pub(super) fn is_selectable_by_name(&self, provider: &Provider<'_>) -> bool {
        let package = self.universe.package(provider.package);
        provider.version.is_some()
            || self.any_unversioned_provider
            || package.candidate.provider_priority != 0
            || self.name(package.name).requirers > 0
    }

    /// Looks at the candidates of a name again: drops those that have become impossible, and
    /// passes on what all that are left agree in.
    fn reconsider(&mut self, id: NameId) {
        let universe = self.universe;
        self.reconsidered += 1;
        self.looked += universe.providers(id).len() as u64;
        let check_depends = std::mem::take(&mut self.name_mut(id).check_depends);
        let check_install_if = std::mem::take(&mut self.name_mut(id).check_install_if);
        let mut first = None;
        let mut options = 0;
        let mut outside_tags = 0;
        let mut has_install_if = false;
        let mut no_install_if = true;
        let mut has_selectable = false;

        for provider in universe.providers(id) {
            let package = provider.package;
            self.package_mut(package).depends_merged = false;
            if !self.package(package).selectable {
                continue;
            }
            if check_depends {
                let mut terms = universe.depends(package).iter();
                if !terms.all(|term| self.is_satisfiable(package, term)) {
                    self.disqualify(package);
                    continue;
                }
            }
            if check_install_if {
                self.check_install_if(package);
            }
            let state = self.package(package);
            has_install_if |= state.install_if_met;
            no_install_if &= state.install_if_failed;
            has_selectable |= state.install_if_met;
            if self.name(id).requirers == 0 {
                continue;
            }

            self.package_mut(package).depends_merged = true;
            first.get_or_insert(package);
            for term in universe.depends(package) {
                if !term.dependency.conflict {
                    merge(&mut self.name_mut(term.name).merge_depends, options);
                }
            }
            let own = universe.package(package).name;
            if merge(&mut self.name_mut(own).merge_provides, options) {
                self.name_mut(own).has_virtual_provides |= provider.version.is_none();
            }
            for provided in universe.provides(package) {
                let state = self.name_mut(provided.name);
                if merge(&mut state.merge_provides, options) {
                    state.has_virtual_provides |= provided.dependency.version().is_none();
                }
            }
            outside_tags += u32::from(!self.package(package).tag_allowed);
            options += 1;
            has_selectable = has_selectable || self.is_selectable_by_name(provider);
        }

        let name = self.name_mut(id);
        name.has_options = options > 1 || outside_tags > 0;
        name.has_install_if = has_install_if;
        name.no_install_if = no_install_if;
        let moved = has_selectable != name.has_selectable;
        name.has_selectable = has_selectable;

        if let Some(first) = first {
            self.pass_on(id, first, options);
        }

        let mut dependents = universe.dependents(id).iter().map(|name| self.name(*name));
        let decided = dependents.all(|name| !name.seen || name.locked);
        self.name_mut(id).dependents_decided = decided;
        self.queue_waiting(id, moved);
    }

    fn check_install_if(&mut self, package: PackageId) {
        let universe = self.universe;
        let terms = universe.install_if(package);
        let state = self.package_mut(package);
        if !state.install_if_met && !state.install_if_failed {
            state.install_if_met = true;
            for term in terms {
                let name = self.name_mut(term.name);
                if !name.locked {
                    if term.dependency.conflict {
                        name.install_if_needed = true;
                        self.queue_waiting(term.name, false);
                    }
                    self.package_mut(package).install_if_met = false;
                    break;
                }
                let chosen = name.chosen;
                if !self.is_provided(Some(package), term, chosen) {
                    let state = self.package_mut(package);
                    state.install_if_met = false;
                    state.install_if_failed = true;
                    break;
                }
            }
        }
        if self.package(package).install_if_met {
            for term in terms {
                let chosen = self.name(term.name).chosen;
                self.inherit(package, chosen.map(|chosen| chosen.package), 0);
            }
        }
    }

    /// Passes on what all candidates of a name (`options` of them, one being `first`) agree in.
    fn pass_on(&mut self, id: NameId, first: PackageId, options: u32) {
        let universe = self.universe;
        let now = self.reconsidered;
        for provider in universe.providers(id) {
            let state = self.package_mut(provider.package);
            state.depends_used = state.depends_merged;
            state.provides_at = now;
        }
        for term in universe.depends(first) {
            if std::mem::take(&mut self.name_mut(term.name).merge_depends) != options {
                continue;
            }
            if options == 1 {
                self.apply(Some(first), 0, term);
            } else if self.name(term.name).requirers == 0 {
                self.name_mut(term.name).requirers += 1;
                self.requirers_changed(term.name);
                for provider in universe.providers(term.name) {
                    self.inherit(provider.package, Some(first), 0);
                }
            }
        }
        for name in universe.names_of(first) {
            let state = self.name_mut(name);
            let spare_virtual = state.has_virtual_provides;
            if std::mem::take(&mut state.merge_provides) == options {
                self.exclude_others(name, id, spare_virtual);
            }
        }
        for name in universe.names_of(first) {
            self.name_mut(name).has_virtual_provides = false;
        }
    }

    /// Chooses who provides a name, if anyone.
    fn decide(&mut self, id: NameId) {
        let universe = self.universe;
        let mut chosen: Option<Provider<'a>> = None;
        let wanted = self.name(id).requirers > 0;
        if wanted || self.name(id).has_install_if {
            for provider in universe.providers(id) {
                let state = self.package(provider.package);
                let met = state.install_if_met && state.tag_allowed && state.selectable;
                if (wanted || met)
                    && self.is_selectable_by_name(provider)
                    && chosen.is_none_or(|best| self.prefer(provider, &best).is_gt())
                {
                    chosen = Some(*provider);
                }
            }
        }
        let Some(Provider { package, .. }) = chosen else {
            self.lock(id, None);
            if wanted {
                self.failures += 1;
            }
            return;
        };
        let state = self.package(package);
        if !state.selectable || !state.tag_allowed {
            self.fail(Some(package));
        }
        let own = Provider {
            package,
            version: Some(universe.package(package).candidate.version.as_str()),
        };
        self.lock(universe.package(package).name, Some(own));
        for provided in universe.provides(package) {
            let version = provided
                .dependency
                .version()
                .map(|version| version.as_str());
            self.lock(provided.name, Some(Provider { package, version }));
        }
        for term in universe.depends(package) {
            self.apply(Some(package), 0, term);
        }
    }

    /// Settles who provides a name; no other may, unless both provide it without version.
    fn lock(&mut self, id: NameId, chosen: Option<Provider<'a>>) {
        let universe = self.universe;
        let is_virtual = |provider: &Provider<'_>| provider.version.is_none();
        if self.name(id).locked {
            let before = self.name(id).chosen;
            let both_virtual =
                chosen.as_ref().is_none_or(is_virtual) && before.as_ref().is_none_or(is_virtual);
            if !both_virtual && !self.ignore_conflicts {
                self.fail(chosen.map(|chosen| chosen.package));
                self.fail(before.map(|before| before.package));
            }
            return;
        }
        self.stop_waiting(id);
        let name = self.name_mut(id);
        name.locked = true;
        name.chosen = chosen;
        name.dirty = false;
        let wanted = name.requirers > 0;

        if let Some(Provider { package, .. }) = chosen
            && !wanted
            && self.package(package).install_if_met
        {
            for term in universe.install_if(package) {
                if !self.name(term.name).locked {
                    self.apply(Some(package), 0, term);
                }
            }
        }
        if !self.ignore_conflicts {
            let chosen_virtual = chosen.as_ref().is_none_or(is_virtual);
            for other in universe.providers(id) {
                if chosen.is_some_and(|chosen| chosen.package == other.package)
                    || (chosen_virtual && is_virtual(other))
                {
                    continue;
                }
                self.disqualify(other.package);
            }
        }
        self.tell_dependents(id);
        match chosen {
            Some(chosen) => self.tell_conditional_on(chosen.package),
            None => self.tell_conditional(id),
        }
    }
}

/// Counts that the option numbered `option`, and all before it, have the name.
fn merge(index: &mut u32, option: u32) -> bool {
    let next = *index == option;
    if next {
        *index = option + 1;
    }
    next
}
