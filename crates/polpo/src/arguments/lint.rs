use std::path::PathBuf;

use build::lint::{Levels, LintError};
use clap::Args;

/// Which linters run over packages, and which of them fail the work.
#[derive(Debug, Default, Args)]
pub(crate) struct Linters {
    /// Linters that packages must pass, instead of the usual ones; separated by commas, none if empty
    #[arg(long, value_name = "LINTERS", value_delimiter = ',')]
    pub(crate) lint_require: Option<Vec<String>>,
    /// Linters whose findings are only told, instead of the usual ones
    #[arg(long, value_name = "LINTERS", value_delimiter = ',')]
    pub(crate) lint_warn: Option<Vec<String>>,
    /// Also write what linters find to lint-NAME-VERSION.json in the folder of packages
    #[arg(long)]
    pub(crate) persist_lint_results: bool,
}

impl Linters {
    /// The level of each linter.
    pub(crate) fn levels(&self) -> Result<Levels, LintError> {
        let named = |names: &Option<Vec<String>>| -> Option<Vec<String>> {
            let names = names.as_ref()?.iter();
            Some(names.filter(|name| !name.is_empty()).cloned().collect())
        };
        Levels::chosen(
            named(&self.lint_require).as_deref(),
            named(&self.lint_warn).as_deref(),
        )
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo lint packages/x86_64/*.apk
  polpo lint --lint-require setuidgid --lint-warn '' hello-1.0-r0.apk --format json
  polpo lint --list

The recipe in a package tells which tests it has and which linters are disabled for it.
Signatures are not checked; every other hash is.")]
pub(crate) struct Lint {
    /// Packages: files or URLs
    #[arg(value_name = "PACKAGE", required_unless_present = "list")]
    pub(crate) packages: Vec<String>,
    #[command(flatten)]
    pub(crate) linters: Linters,
    /// Folder that --persist-lint-results writes to, below ARCH/
    #[arg(long, value_name = "DIR", default_value = "packages")]
    pub(crate) out_dir: PathBuf,
    /// Print what linters there are
    #[arg(long, conflicts_with = "packages")]
    pub(crate) list: bool,
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: LintFormat,
}

/// Which texts of licences are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ScanType {
    /// Of sources those at the top and one level below, of packages those where licences are installed
    #[default]
    Shallow,
    /// All but those of what others wrote
    Deep,
}

/// What becomes of `copyright`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CopyrightEntries {
    /// An entry for each text that nothing is said of, in the place of one that no text bears out; what is
    /// right stays
    Flat,
    /// One entry that names all licences that were found
    Simple,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LintFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: what --persist-lint-results writes, of every package.
    Json,
    /// For programs that collect findings of many tools: SARIF 2.1.0.
    Sarif,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo scan packages/x86_64/hello-1.0-r0.apk
  polpo scan --diff packages/x86_64/zlib-*.apk        # exit code 1 if anything differs

Packages of one recipe are given together: links of one may lead into another.")]
pub(crate) struct Scan {
    /// Packages: files or URLs
    #[arg(value_name = "PACKAGE", required = true)]
    pub(crate) packages: Vec<String>,
    /// Print what differs from what the packages say
    #[arg(long)]
    pub(crate) diff: bool,
    /// Print this package alone
    #[arg(long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: crate::output::Format,
}
