use std::collections::{BTreeMap, BTreeSet};

use apk::package::PackageInfo;

/// Packages in the order in which apko installs them: each after what it depends on, depth first,
/// names and then dependencies in the order of their text (`pkg/apk/apk/repo.go`).
pub(crate) fn in_order<T>(packages: Vec<T>, info: impl Fn(&T) -> &PackageInfo) -> Vec<T> {
    let infos: Vec<&PackageInfo> = packages.iter().map(info).collect();
    let order = places(&infos);
    let mut packages: Vec<Option<T>> = packages.into_iter().map(Some).collect();
    let ordered = order.into_iter();
    ordered
        .filter_map(|place| packages.get_mut(place)?.take())
        .collect()
}

fn places(packages: &[&PackageInfo]) -> Vec<usize> {
    let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, package) in packages.iter().enumerate() {
        providers.entry(&package.name).or_default().insert(0, place);
        for provided in &package.provides {
            let list = providers.entry(&provided.name).or_default();
            if !list.contains(&place) {
                list.push(place);
            }
        }
    }
    let mut world: Vec<(String, usize)> = packages
        .iter()
        .enumerate()
        .map(|(place, package)| (format!("{}={}", package.name, package.version), place))
        .collect();
    world.sort();
    let mut walk = Walk {
        packages,
        providers,
        order: Vec::new(),
        done: BTreeSet::new(),
        above: BTreeSet::new(),
    };
    for (_, place) in world {
        walk.visit(place);
    }
    walk.order
}

struct Walk<'p> {
    packages: &'p [&'p PackageInfo],
    providers: BTreeMap<&'p str, Vec<usize>>,
    order: Vec<usize>,
    done: BTreeSet<usize>,
    above: BTreeSet<usize>,
}

impl Walk<'_> {
    /// Visits a package and all that it needs. What is under way is kept in a list: a long chain of
    /// dependencies must not use up the stack.
    fn visit(&mut self, place: usize) {
        let mut under_way = Vec::new();
        under_way.extend(self.begin(place));
        while let Some((place, needed)) = under_way.last_mut() {
            match needed.next() {
                Some(found) => under_way.extend(self.begin(found)),
                None => {
                    let place = *place;
                    under_way.pop();
                    self.above.remove(&place);
                    if self.done.insert(place) {
                        self.order.push(place);
                    }
                }
            }
        }
    }

    /// What a package needs; none if it is done or under way.
    fn begin(&mut self, place: usize) -> Option<(usize, std::vec::IntoIter<usize>)> {
        let package = self.packages.get(place).copied()?;
        if self.done.contains(&place) || !self.above.insert(place) {
            return None;
        }
        let mut depends: Vec<String> = package.depends.iter().map(ToString::to_string).collect();
        depends.sort();
        depends.dedup();
        let mut needed = Vec::new();
        for depend in depends {
            let name: &str = depend
                .split(['=', '<', '>', '~', '@'])
                .next()
                .unwrap_or_default();
            let own = package.name == name
                || package
                    .provides
                    .iter()
                    .any(|provided| provided.name == name);
            let found = self
                .providers
                .get(name)
                .and_then(|list| list.first().copied());
            if let (Some(found), false, false) = (found, own, depend.starts_with('!')) {
                needed.push(found);
            }
        }
        Some((place, needed.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first() {
        let package = |name: &str, depends: &str, provides: &str| PackageInfo {
            name: name.to_owned(),
            version: "1-r0".to_owned(),
            depends: apk::dependency::Dependency::parse_list(depends).unwrap(),
            provides: apk::dependency::Dependency::parse_list(provides).unwrap(),
            ..PackageInfo::default()
        };
        let packages = [
            package("a", "so:z zlib", ""),
            package("b", "c", ""),
            package("c", "b", ""),
            package("libz", "", "so:z=1"),
            package("zlib", "!x", ""),
        ];
        let packages: Vec<&PackageInfo> = packages.iter().collect();
        let names: Vec<&str> = places(&packages)
            .into_iter()
            .map(|place| packages[place].name.as_str())
            .collect();
        assert_eq!(names, ["libz", "zlib", "a", "c", "b"]);
    }

    #[test]
    fn a_long_chain_of_dependencies_fits_any_stack() {
        let packages: Vec<PackageInfo> = (0..200_000)
            .map(|number| PackageInfo {
                name: format!("p{number:06}"),
                version: "1-r0".to_owned(),
                depends: vec![apk::dependency::Dependency::any(format!(
                    "p{:06}",
                    number + 1
                ))],
                ..PackageInfo::default()
            })
            .collect();
        let packages: Vec<&PackageInfo> = packages.iter().collect();
        let order = places(&packages);
        assert_eq!(order, (0..200_000).rev().collect::<Vec<usize>>());
    }
}
