//! Checks of finished packages: what doesn't belong in one, and what should have been tested.
//!
//! The linters' names and meanings are melange's (`pkg/linter`), so that the `checks.disabled` of
//! existing recipes keep working.

mod binary;
mod layout;
mod python;

use std::collections::BTreeMap;
use std::io;

use archive::tree::{FileTree, TreePath};
use base::{Arch, Digest, DigestReader, Problem, Severity, did_you_mean};
use serde::Serialize;

use crate::analyse::Elf;

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
pub struct Linter {
    /// Its name in `checks.disabled` and `--lint-require`.
    pub name: &'static str,
    /// What to do about its findings.
    pub explanation: &'static str,
    /// Its level unless the command line says another.
    pub level: Level,
    check: fn(&Subject<'_>) -> Result<Vec<Finding>, LintError>,
}

/// Something a linter found: what it is, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Finding {
    message: String,
    paths: Vec<String>,
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
        None => "; `polpo recipe lint --list` names them all".to_owned(),
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
    /// Only the linters named run: those of `require` fail builds, those of `warn` don't. One that
    /// both name is required.
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
/// checked as ever. Problems come in the order of [`LINTERS`]; those of required linters are errors.
pub fn lint(package: &LintView<'_>, levels: &Levels) -> Result<Vec<Problem>, LintError> {
    for name in package.disabled {
        linter(name)?;
    }
    let subject = Subject::read(package)?;
    let mut problems = Vec::new();
    for linter in &LINTERS {
        let disabled = package.disabled.iter().any(|name| name == linter.name);
        let level = match (levels.of(linter), disabled) {
            (Level::Require, true) => Level::Warn,
            (_, true) => Level::Off,
            (level, false) => level,
        };
        let severity = match level {
            Level::Off => continue,
            Level::Warn => Severity::Warning,
            Level::Require => Severity::Error,
        };
        for finding in (linter.check)(&subject)? {
            let mut problem = Problem::error(linter.name, finding.sentence(package.name));
            problem.severity = severity;
            problems.push(problem.help(format!(
                "{}; or list `{}` under `checks.disabled` of this package",
                linter.explanation, linter.name
            )));
        }
    }
    Ok(problems)
}

impl Finding {
    fn new(message: impl Into<String>, paths: Vec<String>) -> Finding {
        Finding {
            message: message.into(),
            paths,
        }
    }

    /// Nothing, where there are no paths.
    fn at(message: impl Into<String>, paths: Vec<String>) -> Vec<Finding> {
        if paths.is_empty() {
            return Vec::new();
        }
        vec![Finding::new(message, paths)]
    }

    fn sentence(&self, package: &str) -> String {
        const SHOWN: usize = 10;
        let mut sentence = format!("{package} {}", self.message);
        let shown: Vec<String> = self
            .paths
            .iter()
            .take(SHOWN)
            .map(|path| format!("/{path}"))
            .collect();
        if !shown.is_empty() {
            sentence.push_str(": ");
            sentence.push_str(&shown.join(", "));
        }
        if self.paths.len() > SHOWN {
            sentence.push_str(&format!(" and {} more", self.paths.len() - SHOWN));
        }
        sentence
    }
}

/// A package with what several linters want to know of it, read once.
struct Subject<'a> {
    package: &'a LintView<'a>,
    elves: BTreeMap<&'a TreePath, Elf>,
}

impl<'a> Subject<'a> {
    fn read(package: &'a LintView<'a>) -> Result<Subject<'a>, LintError> {
        let mut elves = BTreeMap::new();
        for (path, node) in package.tree.iter() {
            let archive::tree::NodeKind::File { content, size } = &node.kind else {
                continue;
            };
            let name = path.file_name();
            let loaded = node.mode & 0o111 != 0 || name.ends_with(".so") || name.contains(".so.");
            if !loaded || *size < 4 {
                continue;
            }
            let elf = Elf::read(content).map_err(|source| LintError::Read {
                package: package.name.to_owned(),
                path: path.clone(),
                source,
            })?;
            if let Some(elf) = elf {
                elves.insert(path, elf);
            }
        }
        Ok(Subject { package, elves })
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

    fn digest(
        &self,
        path: &TreePath,
        content: &archive::tree::Content,
    ) -> Result<Digest, LintError> {
        let read = || {
            let mut reader = DigestReader::new(content.open()?);
            io::copy(&mut reader, &mut io::sink())?;
            Ok(reader.finish().1)
        };
        read().map_err(|source| LintError::Read {
            package: self.package.name.to_owned(),
            path: path.clone(),
            source,
        })
    }
}

/// The last extension of a file's name, with its dot.
fn extension(path: &TreePath) -> &str {
    let name = path.file_name();
    name.rfind('.')
        .and_then(|dot| name.get(dot..))
        .unwrap_or_default()
}

const COMPATIBILITY: &str = "install below /usr instead, or end the package's name in `-compat` if it exists for such paths";

const DOCUMENTATION: &str =
    "move documentation into a `-doc` package (`split/manpages`, `split/infodir`) or remove it";

/// Every linter, by name.
pub static LINTERS: [Linter; 30] = [
    Linter {
        name: "binaryarch",
        explanation: "remove binaries of machines that the package isn't built for",
        level: Level::Warn,
        check: binary::machine,
    },
    Linter {
        name: "cudaruntimelib",
        explanation: "leave the driver's libraries to the host, which passes them into containers: \
                      a package's own would hide them; link against a stub instead",
        level: Level::Warn,
        check: layout::cuda,
    },
    Linter {
        name: "dev",
        explanation: "remove the files: /dev is made when a system starts",
        level: Level::Require,
        check: layout::dev,
    },
    Linter {
        name: "dll",
        explanation: "remove libraries for Windows, or move them into the `-dev` package",
        level: Level::Warn,
        check: layout::dll,
    },
    Linter {
        name: "documentation",
        explanation: DOCUMENTATION,
        level: Level::Off,
        check: layout::documentation,
    },
    Linter {
        name: "duplicate",
        explanation: "make all but one of the files links",
        level: Level::Warn,
        check: layout::duplicate,
    },
    Linter {
        name: "dylib",
        explanation: "remove libraries for macOS, or move them into the `-dev` package",
        level: Level::Warn,
        check: layout::dylib,
    },
    Linter {
        name: "empty",
        explanation: "check that the build installs what it should; a package that is meant to be \
                      empty says so by `options.no-provides`",
        level: Level::Off,
        check: layout::empty,
    },
    Linter {
        name: "infodir",
        explanation: "remove the index of info pages (`split/infodir` does): each package would \
                      overwrite the others'",
        level: Level::Require,
        check: layout::info_index,
    },
    Linter {
        name: "lddcheck",
        explanation: "add the pipeline `test/ldd-check` to the package's tests",
        level: Level::Warn,
        check: layout::untested_libraries,
    },
    Linter {
        name: "libtool/la-files",
        explanation: "remove libtool's .la files",
        level: Level::Require,
        check: layout::libtool,
    },
    Linter {
        name: "maninfo",
        explanation: DOCUMENTATION,
        level: Level::Warn,
        check: layout::manual,
    },
    Linter {
        name: "nonlinux",
        explanation: "remove files for other operating systems",
        level: Level::Warn,
        check: layout::other_systems,
    },
    Linter {
        name: "object",
        explanation: "remove object files: they are left over from linking",
        level: Level::Warn,
        check: layout::object,
    },
    Linter {
        name: "opt",
        explanation: COMPATIBILITY,
        level: Level::Warn,
        check: layout::opt,
    },
    Linter {
        name: "pkgconf",
        explanation: "add the pipeline `test/pkgconf` to the package's tests",
        level: Level::Warn,
        check: layout::untested_modules,
    },
    Linter {
        name: "python/docs",
        explanation: "remove documentation from site-packages",
        level: Level::Warn,
        check: python::documentation,
    },
    Linter {
        name: "python/multiple",
        explanation: "split the package, and check that pip doesn't install its dependencies too",
        level: Level::Warn,
        check: python::multiple,
    },
    Linter {
        name: "python/test",
        explanation: "remove tests from the top of site-packages: several packages would install \
                      them there",
        level: Level::Warn,
        check: python::test,
    },
    Linter {
        name: "sbom",
        explanation: "write nothing but SPDX documents (`.spdx.json`) to /var/lib/db/sbom",
        level: Level::Warn,
        check: layout::sbom,
    },
    Linter {
        name: "setuidgid",
        explanation: "unset the setuid, setgid and sticky bits, or grant capabilities by `setcap`",
        level: Level::Require,
        check: binary::special_bits,
    },
    Linter {
        name: "srv",
        explanation: COMPATIBILITY,
        level: Level::Warn,
        check: layout::srv,
    },
    Linter {
        name: "staticarchive",
        explanation: "remove static libraries, or move them into a `-dev` or `-static` package",
        level: Level::Warn,
        check: layout::static_library,
    },
    Linter {
        name: "strip",
        explanation: "strip the binaries (the pipeline `strip` does)",
        level: Level::Warn,
        check: binary::stripped,
    },
    Linter {
        name: "tempdir",
        explanation: "remove files from temporary folders; folders in /run are made by a snippet \
                      in /usr/lib/tmpfiles.d",
        level: Level::Require,
        check: layout::temporary,
    },
    Linter {
        name: "unsupportedarch",
        explanation: "remove files for machines that the package isn't built for",
        level: Level::Warn,
        check: layout::other_machines,
    },
    Linter {
        name: "usrlocal",
        explanation: COMPATIBILITY,
        level: Level::Warn,
        check: layout::usr_local,
    },
    Linter {
        name: "usrmerge",
        explanation: "install commands to /usr/bin and libraries to /usr/lib: /bin, /sbin, /lib, \
                      /lib64 and /usr/sbin are links to them",
        level: Level::Require,
        check: layout::merged_usr,
    },
    Linter {
        name: "varempty",
        explanation: "remove the files: /var/empty is empty by definition",
        level: Level::Require,
        check: layout::var_empty,
    },
    Linter {
        name: "worldwrite",
        explanation: "take away others' permission to write",
        level: Level::Require,
        check: binary::world_writable,
    },
];

#[cfg(test)]
mod tests;
