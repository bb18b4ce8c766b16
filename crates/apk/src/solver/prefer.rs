use std::cmp::Ordering;

use super::state::{AVAILABLE, INSTALLED, LATEST, REINSTALL, REMOVE, Solver, UPGRADE};
use super::universe::{Provider, UNTAGGED};
use crate::version::compare;

impl Solver<'_, '_, '_> {
    /// Which of two providers of one name apk would rather have: the greater. The first criterion
    /// in which they differ decides.
    pub(super) fn prefer(&self, left: &Provider<'_>, right: &Provider<'_>) -> Ordering {
        let (a, b) = (self.package(left.package), self.package(right.package));
        let package_a = self.universe.package(left.package);
        let package_b = self.universe.package(right.package);
        let flags = a.flags | b.flags;
        let set = |flag| flags & flag != 0;
        let same_name = package_a.name == package_b.name;
        let available = a.available.cmp(&b.available);
        let installed = package_a.installed.cmp(&package_b.installed);

        let untagged = a.pinning_allowed == UNTAGGED && b.pinning_allowed == UNTAGGED;
        let by_state = if set(LATEST) && untagged {
            a.tag_allowed.cmp(&b.tag_allowed).then_with(|| {
                if set(AVAILABLE) {
                    available
                } else if set(REINSTALL) {
                    a.selectable.cmp(&b.selectable)
                } else {
                    Ordering::Equal
                }
            })
        } else {
            let keep_now = (self.preupgrade && !set(UPGRADE)) || set(INSTALLED);
            let keep = !set(REMOVE)
                && !set(UPGRADE)
                && (same_name || left.version.is_some() || right.version.is_some());
            a.selectable
                .cmp(&b.selectable)
                .then_with(|| a.depends_used.cmp(&b.depends_used))
                .then_with(|| b.conflicts.cmp(&a.conflicts))
                .then_with(|| only_if(keep_now, installed))
                .then_with(|| a.tag_allowed.cmp(&b.tag_allowed))
                .then_with(|| only_if(set(AVAILABLE), available))
                .then_with(|| a.tag_preferred.cmp(&b.tag_preferred))
                .then_with(|| only_if(keep, installed))
        };

        // To be without version is to be earlier than all versions.
        let versions = || match (left.version, right.version) {
            (Some(a), Some(b)) => compare(a, b),
            _ if self.any_unversioned_provider => Ordering::Equal,
            (a, b) => compare(a.unwrap_or(""), b.unwrap_or("")),
        };
        let candidate_a = package_a.candidate;
        let candidate_b = package_b.candidate;
        let newest = || {
            compare(&candidate_a.version, &candidate_b.version)
                .then_with(|| candidate_b.name.cmp(&candidate_a.name))
        };
        by_state
            .then_with(versions)
            .then_with(|| {
                let own = compare(&candidate_a.version, &candidate_b.version);
                only_if(same_name, own)
            })
            .then_with(|| {
                let priority = candidate_a.provider_priority;
                priority.cmp(&candidate_b.provider_priority)
            })
            .then_with(|| only_if(!set(REMOVE), installed))
            .then_with(|| a.selectable.cmp(&b.selectable))
            .then_with(|| match self.newest_across_repositories {
                true => newest(),
                false => Ordering::Equal,
            })
            .then_with(|| package_b.rank.cmp(&package_a.rank))
    }
}

fn only_if(counts: bool, order: Ordering) -> Ordering {
    if counts { order } else { Ordering::Equal }
}
