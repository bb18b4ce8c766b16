use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::remedy::{Cause, Search};
use crate::dependency::Dependency;

/// Why a world has no solution, and what would give it one. There is at least one conflict.
///
/// `Display` explains it in words; [`Unsolvable::to_apk_text`] says it in apk's own form. Packages
/// are written name-version, terms as in a world file.
///
/// # JSON
/// Serialised, it is one object of the fields below by their names. What is one of several kinds
/// (a [`Conflict`], an [`Adjustment`](super::Adjustment)) is an object that begins with `kind`, the
/// kind's name in snake case. Fields that do not apply are null, never left out. Fields and kinds
/// may be added; those that there are keep their meaning.
///
/// ```json
/// {
///   "conflicts": [{"kind": "package", "name": "d", "version": "2.0", "breaks": [
///       {"by": "b-1", "term": "d<2.0", "chain": ["a", "a-3", "b-1"], "unasked": false}], …}],
///   "causes": [{"terms": ["a"], "conflicts": […], "remedies": [
///       {"changes": [{"kind": "drop", "term": "a"}]}]}],
///   "search": "complete",
///   "repositories": ["./packages"],
///   "arches": ["x86_64"]
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsolvable {
    /// What stands in the way, in the order in which apk's search meets it.
    pub conflicts: Vec<Conflict>,
    /// The same, told apart: each cause with the smallest changes that remove it. One remedy of
    /// each cause makes the request solvable.
    pub causes: Vec<Cause>,
    /// How far the search for changes came.
    pub search: Search,
    /// The repositories that were searched.
    pub repositories: Vec<String>,
    /// The architectures that were accepted beside `noarch`.
    pub arches: Vec<String>,
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Conflict {
    /// A term of the world has a tag that no repository has.
    UnknownTag {
        /// The term.
        term: Dependency,
        /// The tags that there are.
        known: Vec<String>,
    },
    /// Nothing was chosen that has a name asked for.
    Missing(Missing),
    /// A package was chosen for want of a better one, but it cannot be installed.
    Package(Rejected),
    /// There are more repository tags than can be told apart. See [`Universe`](super::Universe).
    TooManyTags {
        /// How many tags the repositories and installed packages have.
        tags: usize,
        /// How many they may have.
        limit: usize,
    },
    /// A package was ruled out on the way and chosen in the end, although nothing stands against
    /// it any more. There may be a solution, but apk's search does not go back to find it.
    DeadEnd {
        /// The package.
        package: String,
        /// Who wants it.
        satisfies: Vec<Demand>,
    },
}

/// A name that nothing chosen has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The name.
    pub name: String,
    /// Who asks for it.
    pub required_by: Vec<Demand>,
    /// The packages that provide it without a version and without priority, so that none of them
    /// is chosen unasked. Empty: nothing provides it.
    pub providers: Vec<String>,
    /// A name much like it, which may have been meant.
    pub suggestion: Option<Suggestion>,
}

/// A name that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The name.
    pub name: String,
    /// A package that has or provides it.
    pub package: String,
}

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// The package, or none if the world asks.
    pub by: Option<String>,
    /// What it asks for.
    pub term: Dependency,
    /// How `by` came to be chosen: the term of the world, the package chosen for it, the one that
    /// that one needs, and so on; last, `by` itself. Empty if the world asks. Where there is very much
    /// to tell, `…` stands for the middle of long ones.
    pub chain: Vec<String>,
    /// No term of the world begins the chain, but a package that came by its `install_if`.
    pub unasked: bool,
}

/// A chosen package that cannot be installed. Where there is very much to tell of others, lists may
/// hold less than all, but nothing that there is becomes none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// It can never be installed, see `defects` and `arch`.
    pub uninstallable: bool,
    /// What is wrong with its index entry.
    pub defects: Vec<String>,
    /// Its architecture, if it is not one of those accepted.
    pub arch: Option<String>,
    /// Where it is out of reach: tags (`@edge`) that are not asked for, or `--no-network`.
    pub masked: Vec<String>,
    /// Other chosen packages of the same name, or that provide what only one may.
    pub rivals: Vec<Rival>,
    /// The terms that it does not meet.
    pub breaks: Vec<Demand>,
    /// The terms that it meets.
    pub satisfies: Vec<Demand>,
    /// All packages that have or provide the names in `breaks`. Conflicts over the same names share
    /// them.
    #[serde(serialize_with = "write_shared")]
    pub alternatives: Arc<[Alternative]>,
}

fn write_shared<S: Serializer>(of: &Arc<[Alternative]>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(of.iter())
}

/// A package that there is of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alternative {
    /// The package.
    pub package: String,
    /// The version it has the name in; none: provided without.
    pub version: Option<String>,
}

/// A package that stands beside another where only one may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rival {
    /// The package.
    pub package: String,
    /// What the other one provides that this one has or provides too; none: the other's own name.
    pub provides: Option<Dependency>,
}

impl std::error::Error for Unsolvable {}

impl Rejected {
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Whether anything stands against the package.
    pub(super) fn is_reason(&self) -> bool {
        self.uninstallable
            || !self.masked.is_empty()
            || !self.rivals.is_empty()
            || !self.breaks.is_empty()
    }
}

impl Unsolvable {
    pub(super) fn is_empty(&self) -> bool {
        self.conflicts.is_empty()
    }

    /// Whether packages would do, were it not for tags that no repository has.
    pub fn is_of_tags(&self) -> bool {
        let unknown = |conflict: &Conflict| matches!(conflict, Conflict::UnknownTag { .. });
        self.conflicts.iter().all(unknown)
    }

    /// The report that apk prints, without its first line, at most `width` columns wide where
    /// words allow.
    pub fn to_apk_text(&self, width: usize) -> String {
        let mut text = String::new();
        for conflict in &self.conflicts {
            match conflict {
                // apk speaks of tags only where packages would do.
                Conflict::UnknownTag { .. } => {}
                Conflict::Missing(missing) => missing.write_apk(&mut text, width),
                Conflict::Package(rejected) => rejected.write_apk(&mut text, width),
                Conflict::TooManyTags { tags, limit } => {
                    _ = writeln!(text, "  Too many repository tags: {tags}, at most {limit}")
                }
                Conflict::DeadEnd { .. } => {}
            }
        }
        if self.is_of_tags() {
            for conflict in &self.conflicts {
                if let Conflict::UnknownTag { term, .. } = conflict {
                    let what = "The repository tag for world dependency";
                    _ = writeln!(text, "  {what} '{term}' does not exist");
                }
            }
        }
        if text.is_empty() {
            text.push_str("Huh? Error reporter did not find the broken constraints.\n");
        }
        text
    }
}

impl Missing {
    fn write_apk(&self, text: &mut String, width: usize) {
        let required_by: Vec<String> = self.required_by.iter().map(Demand::to_apk).collect();
        if self.providers.is_empty() {
            _ = writeln!(text, "  {} (no such package):", self.name);
        } else {
            _ = writeln!(text, "  {} (virtual):", self.name);
            let note = "please select one of the 'provided by' packages explicitly";
            let note: Vec<String> = note.split(' ').map(str::to_owned).collect();
            write_words(text, width, "note:", &note);
            write_words(text, width, "provided by:", &self.providers);
        }
        write_words(text, width, "required by:", &required_by);
    }
}

impl Rejected {
    fn write_apk(&self, text: &mut String, width: usize) {
        _ = writeln!(text, "  {}:", self.label());
        if self.uninstallable {
            write_words(text, width, "error:", &["uninstallable".to_owned()]);
        }
        if let Some(arch) = &self.arch {
            write_words(text, width, "arch:", std::slice::from_ref(arch));
        }
        write_words(text, width, "masked in:", &self.masked);
        let rivals = self.rivals.iter().map(|rival| match &rival.provides {
            None => rival.package.clone(),
            Some(provides) => format!("{}[{provides}]", rival.package),
        });
        write_words(text, width, "conflicts:", &rivals.collect::<Vec<_>>());
        let demands = |demands: &[Demand]| demands.iter().map(Demand::to_apk).collect::<Vec<_>>();
        write_words(text, width, "breaks:", &demands(&self.breaks));
        write_words(text, width, "satisfies:", &demands(&self.satisfies));
    }
}

/// A heading and what follows it, broken between words and indented under the first.
fn write_words(text: &mut String, width: usize, heading: &str, words: &[String]) {
    if words.is_empty() {
        return;
    }
    let indent = heading.len() + 5;
    _ = write!(text, "    {heading}");
    let mut column = indent - 1;
    for word in words {
        if column + word.len() + 1 >= width && column > indent {
            _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}

impl Demand {
    /// A tag comes last here, unlike in a world file.
    fn to_apk(&self) -> String {
        let by = self.by.as_deref().unwrap_or("world");
        let untagged = Dependency {
            tag: None,
            ..self.term.clone()
        };
        let tag = self.term.tag.iter().map(|tag| format!("@{tag}"));
        format!("{by}[{untagged}{}]", tag.collect::<String>())
    }
}
