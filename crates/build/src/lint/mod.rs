//! Checks of finished packages: what doesn't belong in one, and what should have been tested.
//!
//! The linters' names and meanings are melange's (`pkg/linter`), so that the `checks.disabled` of
//! existing recipes keep working.

mod binary;
mod finding;
mod layout;
mod python;
mod results;
mod table;

use std::collections::BTreeMap;
use std::io;

use archive::tree::{FileTree, TreePath};
use base::{Arch, Severity, did_you_mean};
use rayon::prelude::*;
use serde::Serialize;

use crate::analyse::Elf;

use finding::Found;
pub use finding::{Copies, Details, Finding, Foreign, Permission, Platform};
pub(crate) use layout::is_licence;
pub use results::{LintResult, LintResults, ResultsError};
pub use table::LINTERS;

use crate::survey::{Survey, SurveyError};

/// How much a linter's findings matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It doesn't run.
    Off,
    /// Findings are reported.
    Warn,
    /// Findings fail the build.
    Require,
}

/// A check.
#[derive(Debug)]
pub struct Linter {
    /// Its name in `checks.disabled` and `--lint-require`.
    pub name: &'static str,
    /// Its level unless the command line says another.
    pub level: Level,
    /// What it finds and why that is bad: a sentence.
    pub explanation: &'static str,
    /// What to do about its findings, as the beginning of a sentence.
    pub remedy: &'static str,
    /// Where its answer differs from that of melange's linter of this name; empty: nowhere.
    pub difference: &'static str,
    check: fn(&Subject<'_>) -> Result<Vec<Found>, LintError>,
}

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct LintView<'a> {
    /// The package's name.
    pub name: &'a str,
    /// Its architecture.
    pub arch: Arch,
    /// Its files.
    pub tree: &'a FileTree,
    /// The pipelines that its tests use (`test/pkgconf` …); `None` where there is no recipe that
    /// could have tests.
    pub tests: Option<&'a [String]>,
    /// Whether it is meant to provide nothing (`options.no-provides`).
    pub no_provides: bool,
    /// The linters its recipe disables for this very package.
    pub disabled: &'a [String],
}

/// A package can't be checked.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// A file can't be read.
    #[error("can't read `{path}` of package {package} to check it: {source}")]
    Read {
        /// The package.
        package: String,
        /// The file.
        path: TreePath,
        /// Why not.
        source: io::Error,
    },
    /// No linter has this name.
    #[error("there is no linter `{name}`{}", suggestion(.name))]
    Unknown {
        /// The name given.
        name: String,
    },
}

fn suggestion(name: &str) -> String {
    match did_you_mean(name, LINTERS.iter().map(|linter| linter.name)) {
        Some(linter) => format!("; did you mean `{linter}`?"),
        None => "; `polpo lint --list` names them all".to_owned(),
    }
}

/// The linters and the levels they run at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Levels(BTreeMap<&'static str, Level>);

impl Default for Levels {
    /// Every linter at its own level.
    fn default() -> Levels {
        Levels(
            LINTERS
                .iter()
                .map(|linter| (linter.name, linter.level))
                .collect(),
        )
    }
}

impl Levels {
    /// As [`Levels::only`] has it; a list that is not given is the usual one.
    ///
    /// # Errors
    /// No linter has one of the names.
    pub fn chosen(
        require: Option<&[String]>,
        warn: Option<&[String]>,
    ) -> Result<Levels, LintError> {
        let usual = |level| {
            let linters = LINTERS.iter().filter(move |linter| linter.level == level);
            linters.map(|linter| linter.name.to_owned()).collect()
        };
        let names = |given: Option<&[String]>, level| -> Vec<String> {
            given.map_or_else(|| usual(level), <[String]>::to_vec)
        };
        Levels::only(&names(require, Level::Require), &names(warn, Level::Warn))
    }

    /// Only the linters named run: those of `require` fail builds, those of `warn` don't. One that
    /// both name is required.
    ///
    /// # Errors
    /// No linter has one of the names.
    pub fn only(require: &[String], warn: &[String]) -> Result<Levels, LintError> {
        let mut levels = BTreeMap::new();
        for (names, level) in [(warn, Level::Warn), (require, Level::Require)] {
            for name in names {
                levels.insert(linter(name)?.name, level);
            }
        }
        Ok(Levels(levels))
    }

    fn of(&self, linter: &Linter) -> Level {
        self.0.get(linter.name).copied().unwrap_or(Level::Off)
    }
}

/// The linter called `name`.
pub fn linter(name: &str) -> Result<&'static Linter, LintError> {
    LINTERS
        .iter()
        .find(|linter| linter.name == name)
        .ok_or_else(|| LintError::Unknown {
            name: name.to_owned(),
        })
}

/// Runs the linters over one package. A linter that the package disables counts one level less:
/// what is required is reported, what is reported is silent; other packages of the recipe are
/// checked as ever. Findings come in the order of [`LINTERS`]; those of required linters are errors.
///
/// # Errors
/// The package disables a linter that doesn't exist, or a file can't be read.
pub fn lint(package: &LintView<'_>, levels: &Levels) -> Result<Vec<Finding>, LintError> {
    let survey =
        Survey::of(package.tree).map_err(|SurveyError { path, source }| LintError::Read {
            package: package.name.to_owned(),
            path,
            source,
        })?;
    lint_surveyed(package, &survey, levels)
}

/// The same, given what the files tell.
pub(crate) fn lint_surveyed(
    package: &LintView<'_>,
    survey: &Survey,
    levels: &Levels,
) -> Result<Vec<Finding>, LintError> {
    for name in package.disabled {
        linter(name)?;
    }
    let subject = Subject { package, survey };
    let run = |linter: &'static Linter| {
        let disabled = package.disabled.iter().any(|name| name == linter.name);
        let level = match (levels.of(linter), disabled) {
            (Level::Require, true) => Level::Warn,
            (_, true) => Level::Off,
            (level, false) => level,
        };
        let severity = match level {
            Level::Off => return Ok(Vec::new()),
            Level::Warn => Severity::Warning,
            Level::Require => Severity::Error,
        };
        let found = (linter.check)(&subject)?.into_iter();
        let findings = found.map(|found| Finding {
            linter,
            severity,
            message: found.message,
            details: found.details,
        });
        Ok(findings.collect())
    };
    let findings = LINTERS.par_iter().map(run);
    let findings = findings.collect::<Result<Vec<Vec<Finding>>, LintError>>()?;
    Ok(findings.into_iter().flatten().collect())
}

/// A package and what its files tell.
struct Subject<'a> {
    package: &'a LintView<'a>,
    survey: &'a Survey,
}

impl<'a> Subject<'a> {
    /// The programs and libraries.
    fn elves(&self) -> impl Iterator<Item = (&'a TreePath, &'a Elf)> {
        let tree = self.package.tree;
        self.survey.iter().filter_map(move |(path, facts)| {
            let elf = facts.elf.as_ref()?;
            let name = path.file_name();
            let library = name.ends_with(".so") || name.contains(".so.");
            let loaded = library || tree.get(path.as_str())?.mode & 0o111 != 0;
            loaded.then_some((path, elf))
        })
    }

    fn is_called(&self, endings: &[&str]) -> bool {
        endings
            .iter()
            .any(|ending| self.package.name.ends_with(ending))
    }

    /// The paths of everything but directories that `wanted` wants.
    fn files(&self, wanted: impl Fn(&TreePath) -> bool) -> Vec<String> {
        self.package
            .tree
            .iter()
            .filter(|(path, node)| !node.is_directory() && wanted(path))
            .map(|(path, _)| path.to_string())
            .collect()
    }
}

/// The last extension of a file's name, with its dot.
fn extension(path: &TreePath) -> &str {
    let name = path.file_name();
    name.rfind('.')
        .and_then(|dot| name.get(dot..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
