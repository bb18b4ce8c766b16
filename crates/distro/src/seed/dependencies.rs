//! The dependencies of converted packages: on what files need, and on names where no library
//! stands for a package.

use std::collections::{BTreeMap, BTreeSet};

use apk::dependency::Dependency;

use super::convert::{Facts, Terms};
use super::relation::{Operator, Relation};
use super::resolve::is_ignored;
use super::version::{agrees, map_version};
use super::{LockedPackage, Seed, SeedError};

/// A package of the lock and what is known of it.
pub(super) type Known<'k> = BTreeMap<&'k str, (&'k LockedPackage, &'k Facts)>;

/// What each package depends on and provides, by its name.
///
/// A dependency on a library's package becomes one on the library, so that a package built here
/// can take its place. Everything is provided as version 0, which any package built here exceeds.
pub(super) fn terms(seed: &Seed, known: &Known<'_>) -> Result<BTreeMap<String, Terms>, SeedError> {
    let owners = owners(seed, known)?;
    let mut virtuals: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (name, (_, facts)) in known {
        for provided in Relation::parse(&facts.virtuals).into_iter().flatten() {
            virtuals.entry(provided.name).or_default().insert(name);
        }
    }
    let mut all = BTreeMap::new();
    for (name, (_, facts)) in known {
        let more = seed.depends.get(*name).into_iter().flatten();
        let mut depends: BTreeSet<String> = more.cloned().collect();
        for need in &facts.needs {
            if owners.get(need.as_str()).is_some_and(|owner| owner != name) {
                depends.insert(need.clone());
            }
        }
        for group in Relation::parse(&facts.relations) {
            if is_ignored(seed, name, &group) {
                continue;
            }
            let found = group
                .iter()
                .find_map(|relation| provider(relation, known, &virtuals).map(|p| (relation, p)));
            let Some((relation, provider)) = found else {
                let names: Vec<&str> = group.iter().map(|one| one.name.as_str()).collect();
                return Err(SeedError::Stale {
                    package: names.join(" | "),
                    by: (*name).to_owned(),
                });
            };
            if provider != *name {
                let lookup = Lookup {
                    seed,
                    known,
                    owners: &owners,
                };
                depends.extend(lookup.dependency(relation, provider, &facts.needs));
            }
        }
        let provides = owners
            .iter()
            .filter(|(term, owner)| *owner == name && *term != name)
            .map(|(term, _)| format!("{term}=0"));
        all.insert(
            (*name).to_owned(),
            Terms {
                depends: parsed(depends)?,
                provides: parsed(provides)?,
            },
        );
    }
    Ok(all)
}

pub(super) fn parsed(
    terms: impl IntoIterator<Item = String>,
) -> Result<Vec<Dependency>, SeedError> {
    terms
        .into_iter()
        .map(|term| {
            Dependency::parse_untagged(&term).map_err(|source| SeedError::Term { term, source })
        })
        .collect()
}

/// Every name and the one package that provides it.
fn owners<'k>(seed: &'k Seed, known: &Known<'k>) -> Result<BTreeMap<&'k str, &'k str>, SeedError> {
    let mut owners: BTreeMap<&str, &str> = known.keys().map(|name| (*name, *name)).collect();
    for (name, (_, facts)) in known {
        let withheld = seed.withhold.get(*name);
        let aliases = seed.provides.get(*name).into_iter().flatten();
        for term in facts.provides.iter().chain(aliases) {
            if withheld.is_some_and(|names| names.contains(term)) {
                continue;
            }
            if let Some(first) = owners.insert(term, name)
                && first != *name
            {
                return Err(SeedError::Provided {
                    name: term.clone(),
                    first: first.to_owned(),
                    second: (*name).to_owned(),
                });
            }
        }
    }
    Ok(owners)
}

/// The package of the seed that satisfies an alternative.
fn provider<'k>(
    relation: &Relation,
    known: &Known<'k>,
    virtuals: &BTreeMap<String, BTreeSet<&'k str>>,
) -> Option<&'k str> {
    if let Some((name, (locked, _))) = known.get_key_value(relation.name.as_str()) {
        return relation.accepts(&locked.version).then_some(*name);
    }
    virtuals
        .get(&relation.name)
        .and_then(|providers| providers.first().copied())
}

struct Lookup<'l, 'k> {
    seed: &'l Seed,
    known: &'l Known<'k>,
    owners: &'l BTreeMap<&'k str, &'k str>,
}

impl Lookup<'_, '_> {
    fn provides(&self, provider: &str, term: &str) -> bool {
        self.owners.get(term) == Some(&provider)
    }

    /// The apk dependency on `provider`, if what the files need does not say it already.
    fn dependency(
        &self,
        relation: &Relation,
        provider: &str,
        needs: &BTreeSet<String>,
    ) -> Option<String> {
        let (locked, facts) = self.known.get(provider)?;
        if let Some(stand_in) = self.seed.stand_ins.get(provider) {
            return Some(stand_in.clone());
        }
        let mut libraries = facts
            .provides
            .iter()
            .filter(|term| term.starts_with("so:") && self.provides(provider, term))
            .peekable();
        if libraries.peek().is_some() {
            if facts.provides.iter().any(|term| needs.contains(term)) {
                return None;
            }
            return libraries.next().cloned();
        }
        let command = format!("cmd:{provider}");
        if self.provides(provider, &command) {
            return Some(command);
        }
        // An exact version would hold fast the packages of one source when one is replaced.
        let operator = match relation.constraint.as_ref().map(|(operator, _)| *operator) {
            Some(Operator::Less) => "<",
            Some(Operator::AtMost) => "<=",
            Some(Operator::AtLeast) => ">=",
            Some(Operator::Greater) => ">",
            Some(Operator::Equal) | None => "",
        };
        match &relation.constraint {
            Some((_, version))
                if !operator.is_empty()
                    && relation.name == provider
                    && agrees(&locked.version, version) =>
            {
                Some(format!("{provider}{operator}{}", map_version(version).0))
            }
            _ => Some(provider.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{Digest, SourceText};

    use super::*;

    fn locked(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            package: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: Digest::of(name.as_bytes()),
            size: 1,
            path: String::new(),
        }
    }

    fn facts(relations: &str, provides: &[&str], needs: &[&str]) -> Facts {
        Facts {
            relations: relations.to_owned(),
            provides: provides.iter().map(|name| (*name).to_owned()).collect(),
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
            ..Facts::default()
        }
    }

    fn seed(more: &str) -> Seed {
        let text = format!("suite: bookworm\npackages: [perl]\nignore: [debconf]\n{more}");
        Seed::parse(SourceText::new("seed.yaml", text)).unwrap()
    }

    fn shown(seed: &Seed, packages: &[(LockedPackage, Facts)]) -> String {
        let known: Known<'_> = packages
            .iter()
            .map(|(locked, facts)| (locked.package.as_str(), (locked, facts)))
            .collect();
        match terms(seed, &known) {
            Err(error) => error.to_string(),
            Ok(all) => all
                .iter()
                .map(|(name, terms)| {
                    let texts = |list: &[Dependency]| {
                        let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
                        texts.join(" ")
                    };
                    format!(
                        "{name} needs [{}] provides [{}]\n",
                        texts(&terms.depends),
                        texts(&terms.provides)
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn libraries_stand_for_their_packages() {
        let packages = [
            (
                locked("perl", "5.36.0-7"),
                facts(
                    "perl-base (= 5.36.0-7), libdb5.3, zlib1g (>= 1:1.2), debconf (>= 0.5) | debconf-2.0, awk, m4 (>= 1.4.18~)",
                    &["cmd:perl"],
                    &["so:libz.so.1", "so:libodd.so.3", "cmd:perl"],
                ),
            ),
            (locked("perl-base", "5.36.0-7"), facts("", &[], &[])),
            (
                locked("libdb5.3", "5.3.28-3"),
                facts("", &["so:libdb-5.3.so"], &[]),
            ),
            (
                locked("zlib1g", "1:1.2.13-1"),
                facts("", &["so:libz.so.1"], &[]),
            ),
            (
                locked("gawk", "1:5.2.1-2"),
                Facts {
                    virtuals: "awk".to_owned(),
                    ..facts("", &["cmd:awk"], &[])
                },
            ),
            (locked("m4", "1.4.19-3"), facts("", &[], &[])),
        ];
        let seed = seed("provides: {perl: [perl5]}");
        insta::assert_snapshot!(shown(&seed, &packages), @r"
        gawk needs [] provides [cmd:awk=0]
        libdb5.3 needs [] provides [so:libdb-5.3.so=0]
        m4 needs [] provides []
        perl needs [gawk m4>=1.4.18_rc-r0 perl-base so:libdb-5.3.so so:libz.so.1] provides [cmd:perl=0 perl5=0]
        perl-base needs [] provides []
        zlib1g needs [] provides [so:libz.so.1=0]
        ");
    }

    #[test]
    fn a_name_has_one_provider() {
        let packages = [
            (locked("gawk", "1"), facts("", &["cmd:awk"], &[])),
            (locked("mawk", "1"), facts("", &["cmd:awk"], &[])),
        ];
        insta::assert_snapshot!(shown(&seed(""), &packages), @"`cmd:awk` is provided by both gawk and mawk; `withhold` it from one of them in the seed's list");
        insta::assert_snapshot!(shown(&seed("withhold: {mawk: ['cmd:awk']}"), &packages), @r"
        gawk needs [] provides [cmd:awk=0]
        mawk needs [] provides []
        ");
        let stale = [(locked("perl", "1"), facts("perl-base | other", &[], &[]))];
        insta::assert_snapshot!(shown(&seed(""), &stale), @"the seed's lock does not hold perl-base | other, which perl asks for; resolve the seed again");
    }
}
