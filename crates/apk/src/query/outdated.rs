use std::cmp::Ordering;

use super::population::{PackageId, Population, compare_names};
use crate::pattern::{Case, matches};
use crate::version;

/// An installed package beside the latest that repositories have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared<'a> {
    /// The installed package.
    pub installed: PackageId,
    /// The latest one: the installed one itself where no repository has a later one.
    pub latest: PackageId,
    /// How the installed version compares with it.
    pub comparison: Comparison,
    /// The tag of a repository that has the latest; none where one without a tag has it.
    pub tag: Option<&'a str>,
}

/// How the installed version compares with the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Older,
    /// `=`
    Same,
}

impl Comparison {
    /// apk's sign.
    pub fn sign(self) -> char {
        match self {
            Comparison::Older => '<',
            Comparison::Same => '=',
        }
    }
}

impl<'a> Population<'a> {
    /// Compares installed packages with what repositories have, sorted by name: those whose names
    /// match one of the patterns, or all without patterns. Repositories with other tags than the
    /// one a package was installed with count only with `all_tags`.
    pub fn outdated(&self, patterns: &[&str], all_tags: bool) -> Vec<Compared<'a>> {
        // One pattern makes patterns of all words.
        let exact = !patterns.iter().any(|pattern| pattern.contains('*'));
        let wanted = |name: &str| {
            let mut patterns = patterns.iter();
            patterns.len() == 0
                || match exact {
                    true => patterns.any(|word| *word == name),
                    false => patterns.any(|pattern| matches(pattern, name, Case::Fold)),
                }
        };
        let mut compared: Vec<Compared<'a>> = self
            .groups()
            .filter(|group| group.first().is_some_and(|id| wanted(self.name(*id))))
            .filter_map(|group| self.compare_group(group, all_tags))
            .collect();
        compared.sort_by(|left, right| {
            compare_names(self.name(left.installed), self.name(right.installed))
        });
        compared
    }

    fn compare_group(&self, group: &[PackageId], all_tags: bool) -> Option<Compared<'a>> {
        let installed = group.iter().copied().find(|id| self.is_installed(*id))?;
        let tag = self.installed(installed)?.repository_tag.as_deref();
        let mut latest = installed;
        let mut holders: Vec<PackageId> = Vec::new();
        for id in group
            .iter()
            .copied()
            .filter(|id| self.is_in_repository(*id))
        {
            if !all_tags && !self.may_come_with(id, tag) {
                continue;
            }
            match version::compare(self.version(id), self.version(latest)) {
                Ordering::Greater => {
                    latest = id;
                    holders = vec![id];
                }
                Ordering::Equal => holders.push(id),
                Ordering::Less => {}
            }
        }
        let older = version::compare(self.version(installed), self.version(latest)).is_lt();
        let tagged = self.tags().iter().copied().find(|tag| {
            let mut holders = holders.iter();
            holders.any(|id| self.may_come_with(*id, Some(tag)))
        });
        Some(Compared {
            installed,
            latest,
            comparison: match older {
                true => Comparison::Older,
                false => Comparison::Same,
            },
            tag: tagged,
        })
    }
}
