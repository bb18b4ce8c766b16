//! Splitting packages into layers: by the recipe they were built by, or each on its own.

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

/// The most layers that podman and docker run an image with is 127; a base image's and the last, which
/// has what no package brings, are among them.
pub(crate) const MOST_LAYERS: usize = 127;

/// Each package on its own, the largest first, so that at most `budget` groups come out: the smallest
/// share the last. Without a budget there are as many as `most`.
///
/// Packages of which one replaces files of another stay apart: no file is in two layers.
pub(crate) fn by_package(
    packages: &[&PackageInfo],
    budget: Option<usize>,
    most: usize,
) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..packages.len()).collect();
    let name = |place: &usize| packages.get(*place).map(|package| package.name.as_str());
    order.sort_by_key(|place| {
        let size = packages.get(*place).map(|package| package.installed_size);
        (Reverse(size), name(place))
    });
    let count = budget.unwrap_or(most).min(most).max(1);
    let mut groups: Vec<Vec<usize>> = order.into_iter().map(|place| vec![place]).collect();
    if groups.len() > count {
        let mut rest: Vec<usize> = groups.split_off(count - 1).into_iter().flatten().collect();
        rest.sort_by_key(name);
        groups.push(rest);
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

    #[test]
    fn each_package_within_the_budget() {
        let package = |name: &str, size: u64| PackageInfo {
            name: name.to_owned(),
            installed_size: size,
            ..PackageInfo::default()
        };
        let packages = [
            package("c", 1),
            package("big", 9),
            package("b", 1),
            package("a", 1),
        ];
        let packages: Vec<&PackageInfo> = packages.iter().collect();
        let all = [vec![1], vec![3], vec![2], vec![0]];
        assert_eq!(by_package(&packages, None, 10), all);
        assert_eq!(by_package(&packages, Some(4), 10), all);
        assert_eq!(by_package(&packages, Some(2), 10), [vec![1], vec![3, 2, 0]]);
        assert_eq!(by_package(&packages, Some(0), 10).len(), 1);
        // However many are asked for, engines must be able to run the image.
        assert_eq!(by_package(&packages, Some(99), 3).len(), 3);
        assert!(by_package(&[], None, 10).is_empty());
    }
}
