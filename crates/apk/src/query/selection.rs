use super::description::Value;
use super::field::{Field, Fields};
use super::population::{PackageId, Population};
use super::relations::version_text;
use crate::catalogue::CatalogueError;
use crate::dependency::{Constraint, Dependency, Refused};
use crate::index::IndexEntry;
use crate::pattern::{Case, matches};

/// Which packages a query selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The fields that words are compared with; none means the name.
    pub fields: Fields,
    /// Every match, not the best of each name alone: the latest version, be it installed or not.
    pub all_matches: bool,
    /// Packages that a repository within reach has.
    pub available: bool,
    /// Installed packages.
    pub installed: bool,
    /// Packages whose name no repository has or provides.
    pub orphaned: bool,
    /// Packages that an installed one can be upgraded to.
    pub upgradable: bool,
    /// Words are parts of what they are compared with.
    pub search: bool,
    /// Without words, everything is selected.
    pub everything: bool,
}

/// A package that was selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The package.
    pub package: PackageId,
    /// The name that it provides or depends on by which it was found; none if it was another field.
    pub name: Option<String>,
}

/// What was selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// The matches, word by word; a package may come often.
    pub matches: Vec<Match>,
    /// Where among them those of each word end.
    pub(super) ends: Vec<usize>,
    /// How many words that are no patterns matched nothing.
    pub missing: usize,
}

impl Selected {
    /// The packages, each once, in the order in which they are printed.
    pub fn sorted(&self, population: &Population<'_>) -> Vec<PackageId> {
        let mut packages: Vec<PackageId> = Vec::with_capacity(self.matches.len());
        let mut seen = vec![false; population.len()];
        for found in &self.matches {
            if let Some(seen) = seen.get_mut(found.package.0 as usize)
                && !std::mem::replace(seen, true)
            {
                packages.push(found.package);
            }
        }
        packages.sort_by(|left, right| population.display_order(*left, *right));
        packages
    }
}

/// A word of a query: a text, a pattern, or a name with an operator and a version.
struct Word {
    /// The whole word, for texts.
    text: String,
    /// What it says of names and versions.
    term: Dependency,
    is_pattern: bool,
}

impl Word {
    fn new(word: &str, search: bool) -> Word {
        if search {
            let pattern = format!("*{word}*");
            return Word {
                term: Dependency::any(pattern.as_str()),
                text: pattern,
                is_pattern: true,
            };
        }
        // What follows no grammar may be a text, or a term that follows none either.
        let term = Dependency::parse_untagged(word);
        let term = term.unwrap_or_else(|_| match Dependency::refused(word) {
            Refused::Kept(term) => term,
            _ => Dependency::any(word),
        });
        Word {
            text: word.to_owned(),
            is_pattern: term.name.contains(['*', '?']),
            term,
        }
    }

    fn names(&self, name: &str) -> bool {
        self.compare(&self.term.name, name)
    }

    fn is(&self, text: &str) -> bool {
        self.compare(&self.text, text)
    }

    fn compare(&self, wanted: &str, text: &str) -> bool {
        if self.is_pattern {
            matches(wanted, text, Case::Fold)
        } else {
            wanted == text
        }
    }

    /// Whether a name of this version will do.
    fn accepts(&self, version: Option<&str>, entry: &IndexEntry) -> bool {
        self.term.matches(version, Some(&entry.identity)) != self.term.conflict
    }

    /// Whether a term of a package is the one that is asked for.
    fn describes(&self, term: &Dependency, provided: bool, entry: &IndexEntry) -> bool {
        if !self.names(&term.name) {
            return false;
        }
        match &self.term.constraint {
            None if !self.term.conflict => true,
            _ if provided => self.accepts(version_text(term), entry),
            asked => self.term.conflict == term.conflict && same(asked.as_ref(), term),
        }
    }
}

/// Whether a term has this constraint, to the letter.
fn same(asked: Option<&Constraint>, term: &Dependency) -> bool {
    match (asked, &term.constraint) {
        (Some(Constraint::Version(operator, version)), Some(Constraint::Version(other, its))) => {
            operator == other && version.as_str() == its.as_str()
        }
        (asked, other) => asked == other.as_ref(),
    }
}

/// The fields whose values are compared as texts, in apk's order, with the terms between them.
const COMPARED: [Field; 16] = [
    Field::Package,
    Field::Version,
    Field::Description,
    Field::Arch,
    Field::License,
    Field::Origin,
    Field::Maintainer,
    Field::Url,
    Field::Depends,
    Field::Provides,
    Field::InstallIf,
    Field::Recommends,
    Field::Tags,
    Field::Contents,
    Field::Triggers,
    Field::Replaces,
];

impl<'a> Population<'a> {
    /// Selects packages by words: each is a name with or without a version, a text of one of the
    /// fields, or a pattern. `owner` finds the package that owns a path; it is asked where
    /// [`Field::Owner`] is among the fields.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn select(
        &self,
        selection: &Selection,
        words: &[&str],
        owner: &dyn Fn(&str) -> Option<PackageId>,
    ) -> Result<Selected, CatalogueError> {
        let mut selected = Selected::default();
        if words.is_empty() && selection.everything {
            for group in self.groups() {
                self.select_all(selection, group, &mut selected.matches)?;
            }
            return Ok(selected);
        }
        let fields = if selection.fields.is_empty() {
            Fields::of(&[Field::Name])
        } else {
            selection.fields
        };
        for text in words {
            let before = selected.matches.len();
            if fields.has(Field::Owner)
                && text.starts_with('/')
                && let Some(package) = owner(text)
            {
                selected.matches.push(Match {
                    package,
                    name: None,
                });
            }
            let word = Word::new(text, selection.search);
            let names_only = fields == Fields::of(&[Field::Name]);
            if names_only && !word.is_pattern {
                let group = self.named(&word.term.name);
                self.select_from(selection, fields, &word, group, &mut selected.matches)?;
            } else {
                for group in self.groups() {
                    self.select_from(selection, fields, &word, group, &mut selected.matches)?;
                }
            }
            if selected.matches.len() == before && !word.is_pattern {
                selected.missing += 1;
            }
            selected.ends.push(selected.matches.len());
        }
        Ok(selected)
    }

    fn select_all(
        &self,
        selection: &Selection,
        group: &[PackageId],
        matches: &mut Vec<Match>,
    ) -> Result<(), CatalogueError> {
        if self.is_left_out(selection, group)? {
            return Ok(());
        }
        for package in group.iter().copied() {
            if self.passes(selection, package) {
                matches.push(Match {
                    package,
                    name: Some(self.name(package).to_owned()),
                });
            }
        }
        Ok(())
    }

    /// Packages of one name.
    fn select_from(
        &self,
        selection: &Selection,
        fields: Fields,
        word: &Word,
        group: &[PackageId],
        matches: &mut Vec<Match>,
    ) -> Result<(), CatalogueError> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let name = self.name(*first);
        let named = fields.has(Field::Name) && word.names(name);
        let others = fields.without(Fields::of(&[Field::Name, Field::Owner]));
        if (!named && others.is_empty()) || self.is_left_out(selection, group)? {
            return Ok(());
        }
        let mut found = Vec::new();
        for package in group.iter().copied() {
            if !self.passes(selection, package) {
                continue;
            }
            let unconstrained = word.term.constraint.is_none() && !word.term.conflict;
            let entry = match named && unconstrained && others.is_empty() {
                true => None,
                false => Some(self.entry(package)?),
            };
            let by_name = named
                && match &entry {
                    None => true,
                    Some(entry) => word.accepts(Some(self.version(package)), entry),
                };
            if by_name {
                found.push(Match {
                    package,
                    name: Some(name.to_owned()),
                });
                if !selection.all_matches {
                    continue;
                }
            }
            if let Some(entry) = &entry
                && !others.is_empty()
            {
                self.compare_fields(selection, others, word, package, entry, &mut found);
            }
        }
        if selection.all_matches {
            matches.extend(found);
        } else {
            matches.extend(self.best(&found).map(|package| Match {
                package,
                name: None,
            }));
        }
        Ok(())
    }

    fn compare_fields(
        &self,
        selection: &Selection,
        fields: Fields,
        word: &Word,
        package: PackageId,
        entry: &IndexEntry,
        found: &mut Vec<Match>,
    ) {
        for field in COMPARED.into_iter().filter(|field| fields.has(*field)) {
            let before = found.len();
            if is_terms(field) {
                for term in self.terms(package, entry, field) {
                    if word.describes(term, field == Field::Provides, entry) {
                        found.push(Match {
                            package,
                            name: Some(term.name.clone()),
                        });
                    }
                }
            } else {
                let texts = match self.value(package, entry, field) {
                    Some(Value::Text(text)) => vec![text],
                    Some(Value::List(texts)) => texts,
                    Some(Value::Number(_)) | None => Vec::new(),
                };
                let matching = texts.iter().filter(|text| word.is(text));
                found.extend(matching.map(|_| Match {
                    package,
                    name: None,
                }));
            }
            if found.len() > before && !selection.all_matches {
                return;
            }
        }
    }

    /// The best of the matches of one name: the latest version, as apk comes upon it.
    fn best(&self, found: &[Match]) -> Option<PackageId> {
        let mut best: Option<PackageId> = None;
        for candidate in found {
            let candidate = candidate.package;
            let better = best.is_none_or(|best| {
                best != candidate
                    && (self.is_installed(candidate)
                        || crate::version::compare(self.version(candidate), self.version(best))
                            .is_gt())
            });
            if better {
                best = Some(candidate);
            }
        }
        best
    }

    /// Whether all packages of a name are left out.
    fn is_left_out(
        &self,
        selection: &Selection,
        group: &[PackageId],
    ) -> Result<bool, CatalogueError> {
        match group.first() {
            Some(first) if selection.orphaned => self.is_provided_by_repository(self.name(*first)),
            _ => Ok(false),
        }
    }

    /// Whether a package of a repository has or provides a name.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn is_provided_by_repository(&self, name: &str) -> Result<bool, CatalogueError> {
        if self.named(name).iter().any(|id| self.is_in_repository(*id)) {
            return Ok(true);
        }
        let mut providers = self.relations()?.providers(name).iter();
        Ok(providers.any(|provider| self.is_in_repository(provider.package)))
    }

    /// The installed package that apk asks whether it satisfies a term (of several that provide its
    /// name the first), and whether the term holds. Of a conflict, the opposite of what it forbids.
    ///
    /// # Errors
    /// An index can't be read.
    pub fn installed_provider(
        &self,
        term: &Dependency,
    ) -> Result<(Option<PackageId>, bool), CatalogueError> {
        let mut providers = self.relations()?.providers(&term.name).iter();
        let Some(provider) = providers.find(|provider| self.is_installed(provider.package)) else {
            return Ok((None, term.conflict));
        };
        let version = match provider.own {
            true => Some(self.version(provider.package)),
            false => provider.version.as_deref(),
        };
        let identity = self.identity(provider.package);
        let holds = term.matches(version, Some(&identity)) != term.conflict;
        Ok((Some(provider.package), holds))
    }

    fn passes(&self, selection: &Selection, package: PackageId) -> bool {
        (!selection.installed || self.is_installed(package))
            && (!selection.available || self.is_available(package))
            && (!selection.upgradable || self.upgrades(package).is_some())
    }
}

/// Whether a field holds dependencies.
fn is_terms(field: Field) -> bool {
    matches!(
        field,
        Field::Depends | Field::Provides | Field::InstallIf | Field::Recommends | Field::Replaces
    )
}
