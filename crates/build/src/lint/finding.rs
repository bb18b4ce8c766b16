use base::{Problem, Severity};
use serde::Serialize;

use super::Linter;

/// What a linter found in one package.
#[derive(Debug)]
pub struct Finding {
    /// The linter.
    pub linter: &'static Linter,
    /// How much it matters: an error where the linter is required, else a warning.
    pub severity: Severity,
    /// What is wrong, as a sentence's end; the package's name is its beginning.
    pub message: String,
    /// Where, and what is to be known of each place.
    pub details: Details,
}

/// Where something was found. As JSON it has the fields of melange's `details`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Details {
    /// Nowhere in particular.
    None,
    /// At these paths.
    Paths {
        /// The paths, without a leading `/`.
        paths: Vec<String>,
    },
    /// Files with modes that they shouldn't have.
    Permissions {
        /// The files.
        files: Vec<Permission>,
    },
    /// Programs and libraries.
    Binaries {
        /// Their paths.
        binaries: Vec<String>,
    },
    /// Programs and libraries of other machines.
    Machines {
        /// The files.
        binaries: Vec<Foreign>,
    },
    /// Files whose paths name other machines.
    Architectures {
        /// The files.
        files: Vec<Foreign>,
    },
    /// Files whose paths name other operating systems.
    Platforms {
        /// The files.
        references: Vec<Platform>,
    },
    /// Python modules.
    Modules {
        /// How many.
        count: usize,
        /// Their names.
        packages: Vec<String>,
    },
    /// Equal files.
    Duplicates {
        /// Each set of them.
        duplicates: Vec<Copies>,
    },
}

/// A file and its mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// The path.
    pub path: String,
    /// The mode, octal.
    pub mode: String,
    /// What is set of what matters.
    pub permissions: Vec<&'static str>,
}

/// A file of another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// The path.
    pub path: String,
    /// The machine.
    pub arch: String,
}

/// A file of another operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The path.
    pub path: String,
    /// The system.
    pub platform: &'static str,
}

/// Files of equal names and bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// The name they share.
    pub basename: String,
    /// How many they are.
    pub count: usize,
    /// Bytes of each.
    pub size_bytes: u64,
    /// Bytes of all but one.
    pub wasted_bytes: u64,
    /// Where they are.
    pub paths: Vec<String>,
}

impl Details {
    /// Each place as people read it.
    pub fn places(&self) -> Vec<String> {
        let foreign = |files: &[Foreign]| -> Vec<String> {
            let shown = files
                .iter()
                .map(|file| format!("/{} ({})", file.path, file.arch));
            shown.collect()
        };
        let absolute = |paths: &[String]| paths.iter().map(|path| format!("/{path}")).collect();
        match self {
            Details::None | Details::Modules { .. } => Vec::new(),
            Details::Paths { paths } | Details::Binaries { binaries: paths } => absolute(paths),
            Details::Permissions { files } => files
                .iter()
                .map(|file| format!("/{} ({:0>4})", file.path, file.mode))
                .collect(),
            Details::Machines { binaries } => foreign(binaries),
            Details::Architectures { files } => foreign(files),
            Details::Platforms { references } => references
                .iter()
                .map(|file| format!("/{}", file.path))
                .collect(),
            Details::Duplicates { duplicates } => duplicates
                .iter()
                .flat_map(|set| absolute(&set.paths))
                .collect(),
        }
    }
}

impl Finding {
    /// What is wrong with `package`, where (up to ten places) and what to do.
    pub fn problem(&self, package: &str) -> Problem {
        const SHOWN: usize = 10;
        let mut message = format!("{package} {}", self.message);
        let places = self.details.places();
        if !places.is_empty() {
            let shown: Vec<&str> = places.iter().take(SHOWN).map(String::as_str).collect();
            message.push_str(": ");
            message.push_str(&shown.join(", "));
        }
        if places.len() > SHOWN {
            message.push_str(&format!(" and {} more", places.len() - SHOWN));
        }
        let mut problem = Problem::error(self.linter.name, message);
        problem.severity = self.severity;
        // What only warns is listed there already, or fails no build.
        problem.help(match self.severity {
            Severity::Error => format!(
                "{}; or list `{}` under `checks.disabled` of this package",
                self.linter.remedy, self.linter.name
            ),
            _ => self.linter.remedy.to_owned(),
        })
    }
}

/// What a check found, before it is known how much that matters.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) message: String,
    pub(super) details: Details,
}

impl Found {
    /// Nothing, where there are no paths.
    pub(super) fn at(message: &str, paths: Vec<String>) -> Vec<Found> {
        Found::some(message, Details::Paths { paths })
    }

    /// Nothing, where there are no places.
    pub(super) fn some(message: &str, details: Details) -> Vec<Found> {
        if details.places().is_empty() {
            return Vec::new();
        }
        let message = message.to_owned();
        vec![Found { message, details }]
    }
}
