//! Splitting packages into layers by the recipe they were built by.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use apk::package::PackageInfo;

/// Groups packages, by their places in `packages`, so that at most `budget` groups come out.
///
/// Packages of one origin belong together, and so do groups of which one replaces files of
/// another. The largest groups stay alone; the rest share one. Order: by size, then by the last
/// name in the group, so that it is the same for the same packages.
pub(crate) fn by_origin(packages: &[&PackageInfo], budget: usize) -> Vec<Vec<usize>> {
    let mut leader: Vec<usize> = (0..packages.len()).collect();
    let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, package) in packages.iter().enumerate() {
        let first = *first_of.entry(package.origin.as_str()).or_insert(place);
        join(&mut leader, first, place);
    }
    for (place, package) in packages.iter().enumerate() {
        for (other, replaced) in packages.iter().enumerate() {
            let replaces = package.replaces.iter().any(|term| {
                term.name == replaced.name && term.matches(Some(&replaced.version), None)
            });
            if replaces {
                join(&mut leader, place, other);
            }
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..packages.len() {
        members.entry(find(&leader, place)).or_default().push(place);
    }
    let mut groups: Vec<Vec<usize>> = members.into_values().collect();
    let name = |place: &usize| packages.get(*place).map(|package| package.name.as_str());
    let size = |group: &Vec<usize>| {
        group
            .iter()
            .filter_map(|place| packages.get(*place))
            .map(|package| package.installed_size)
            .fold(0, u64::saturating_add)
    };
    groups.sort_by_key(|group| (Reverse(size(group)), group.iter().map(name).max()));
    if groups.len() > budget {
        let rest: Vec<usize> = groups
            .split_off(budget.saturating_sub(1))
            .into_iter()
            .flatten()
            .collect();
        groups.push(rest);
    }
    for group in &mut groups {
        group.sort_by_key(name);
    }
    groups
}

fn find(leader: &[usize], mut place: usize) -> usize {
    while let Some(next) = leader.get(place).copied().filter(|next| *next != place) {
        place = next;
    }
    place
}

fn join(leader: &mut [usize], one: usize, other: usize) {
    let (one, other) = (find(leader, one), find(leader, other));
    if let Some(slot) = leader.get_mut(one.max(other)) {
        *slot = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_replaces_and_budget() {
        let package = |name: &str, origin: &str, size: u64, replaces: &str| PackageInfo {
            name: name.to_owned(),
            version: "1-r0".to_owned(),
            origin: origin.to_owned(),
            installed_size: size,
            replaces: apk::dependency::Dependency::parse_list(replaces).unwrap(),
            ..PackageInfo::default()
        };
        let packages = [
            package("glibc", "glibc", 50, ""),
            package("glibc-dev", "glibc", 1, ""),
            package("big", "big", 100, ""),
            package("new", "new", 5, "old<2"),
            package("old", "old", 5, ""),
            package("other", "other", 5, "old>2"),
        ];
        let packages: Vec<&PackageInfo> = packages.iter().collect();
        assert_eq!(
            by_origin(&packages, 10),
            [vec![2], vec![0, 1], vec![3, 4], vec![5]]
        );
        assert_eq!(
            by_origin(&packages, 3),
            [vec![2], vec![0, 1], vec![3, 4, 5]]
        );
        assert_eq!(by_origin(&packages, 0).len(), 1);
        assert!(by_origin(&[], 10).is_empty());
    }
}
