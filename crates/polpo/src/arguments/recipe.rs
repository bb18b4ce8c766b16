use std::path::PathBuf;

use base::Arch;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Recipe {
    /// Show what a recipe means: its packages, guest, steps and tests, nothing left to look up
    #[command(after_help = "\
Examples:
  polpo recipe show os/packages/hello.yaml
  polpo recipe show os/packages/hello.yaml --arch aarch64 --format yaml")]
    Show(RecipeShow),
    /// Compile a recipe: melange's format again, pipelines and variables replaced, as JSON
    #[command(after_help = "\
Example:
  polpo recipe compile os/packages/hello.yaml | jq -r '.environment.contents.packages[]'")]
    Compile(RecipeInput),
    /// Ask a recipe by a template in Go's language; pipelines are not looked up
    #[command(after_help = "\
Examples:
  polpo recipe query hello.yaml '{{ .Package.Name }}-{{ .Package.FullVersion }}.apk'
  polpo recipe query hello.yaml '{{ range .Subpackages }}{{ println .Name }}{{ end }}'")]
    Query(RecipeQuery),
    /// Lay recipes out in one form: comments, the order of keys and what they say stay
    #[command(after_help = "\
The form is that of the nearest .yam.yaml at or above a recipe, else Wolfi's. What was changed, or
with --check would be, is printed.

Examples:
  polpo recipe fmt os/packages
  polpo recipe fmt --check hello.yaml || echo run polpo recipe fmt")]
    Fmt(RecipeFmt),
    /// Check recipes by rules: exit code 1 when one breaks a rule that is an error
    #[command(after_help = "\
The rules are in the reference; a line `#nolint:RULE,RULE` in a recipe excuses it.

Examples:
  polpo recipe lint os/packages --severity warning
  polpo recipe lint hello.yaml --format sarif > hello.sarif")]
    Lint(RecipeLint),
    /// Print the JSON Schema of recipes, by which editors complete and check them
    #[command(after_help = "\
Example:
  polpo recipe schema > recipe.schema.json")]
    Schema,
    /// Give a recipe another version: also its epoch, digests and commits
    #[command(after_help = "\
What is fetched by a URI with the version in it is fetched, to be hashed; tags are asked for their
commits. Everything else in the file, comments included, stays as it is. The version it has already
counts the epoch up.

Examples:
  polpo recipe bump os/packages/hello.yaml 2.12.2
  polpo recipe bump hello.yaml 2.13 --expected-commit 75529e55371f26025040f907cc11852a98d5daba")]
    Bump(RecipeBump),
    /// Print a recipe to start from, for the source archive at a URL
    #[command(after_help = "\
The archive is fetched, to be hashed and looked through for licences; its name tells the package's and
the version.

Example:
  polpo recipe new --kind autotools --license Zlib https://zlib.net/fossils/zlib-1.3.1.tar.gz > zlib.yaml")]
    New(RecipeNew),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeNew {
    /// Where the source archive is
    #[arg(value_name = "URL")]
    pub(crate) uri: String,
    /// How upstream builds
    #[arg(long, value_enum)]
    pub(crate) kind: RecipeKind,
    /// The package's name [default: what the URL tells]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The version [default: what the URL tells]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// The licence, an SPDX expression [default: what the texts in the archive are]
    #[arg(long, value_name = "LICENCE")]
    pub(crate) license: Option<String>,
    #[command(flatten)]
    pub(crate) mirrors: crate::arguments::Mirrors,
}

/// How upstream builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RecipeKind {
    /// `./configure` and `make`.
    Autotools,
    /// CMake.
    Cmake,
    /// Meson.
    Meson,
    /// A Python package.
    Python,
    /// A Go program.
    Go,
    /// A Rust program.
    Rust,
    /// A Perl module.
    Perl,
    /// Something else.
    Other,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeBump {
    /// Recipe file, which is changed
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// Version, without epoch
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,
    /// Commit of the checkouts whose tag has the version in it [default: what the tag is]
    #[arg(long, value_name = "COMMIT")]
    pub(crate) expected_commit: Option<String>,
    #[command(flatten)]
    pub(crate) mirrors: crate::arguments::Mirrors,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeLint {
    /// Recipe files, or folders of them
    #[arg(value_name = "RECIPE|DIR", required = true)]
    pub(crate) recipes: Vec<PathBuf>,
    /// Rule to leave out, or `all`: what makes a recipe invalid is told all the same; may be repeated
    #[arg(long = "skip-rule", value_name = "RULE", value_delimiter = ',')]
    pub(crate) skip_rules: Vec<String>,
    /// Also expand what steps use: the pipelines of this folder, then those built in; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
    /// Architecture to expand recipes for, where they are meant for it; may be repeated [default: this
    /// machine's]
    #[arg(
        long = "arch",
        value_name = "ARCH",
        value_delimiter = ',',
        requires = "pipeline_dirs"
    )]
    pub(crate) archs: Vec<Arch>,
    /// Least severity of what is shown
    #[arg(long, value_enum, default_value_t)]
    pub(crate) severity: LeastSeverity,
    /// How problems are printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: crate::output::ReportFormat,
}

/// How bad a problem must be to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LeastSeverity {
    /// Everything.
    #[default]
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors alone.
    Error,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeFmt {
    /// Recipe files, or folders of them
    #[arg(value_name = "RECIPE|DIR", required = true)]
    pub(crate) recipes: Vec<PathBuf>,
    /// Change nothing: exit code 1 when there is something to change
    #[arg(long)]
    pub(crate) check: bool,
}

/// A recipe, and what it is resolved with.
#[derive(Debug, Args)]
pub(crate) struct RecipeInput {
    /// Recipe file
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    #[command(flatten)]
    pub(crate) values: RecipeValues,
    /// Folder of pipeline definitions that go before the built-in ones; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
}

/// What changes the meaning of a recipe from outside.
#[derive(Debug, Args)]
pub(crate) struct RecipeValues {
    /// Architecture, in apk's or OCI's name [default: this machine's, else the first that the recipe is
    /// for]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    #[command(flatten)]
    pub(crate) given: GivenValues,
}

/// Values from outside.
#[derive(Debug, Args)]
pub(crate) struct GivenValues {
    /// YAML file of variables (`NAME: VALUE`) that replace those of the recipe
    #[arg(long, value_name = "FILE")]
    pub(crate) vars_file: Option<PathBuf>,
    /// File of environment variables (`NAME=VALUE`) for the guest, below the recipe's own; may be
    /// repeated, earlier ones win
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Build option of the recipe to enable; may be repeated
    #[arg(long = "build-option", value_name = "NAME", value_delimiter = ',')]
    pub(crate) build_options: Vec<String>,
    /// Commit of the repository that holds the recipe
    #[arg(long, value_name = "COMMIT")]
    pub(crate) git_commit: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeShow {
    #[command(flatten)]
    pub(crate) input: RecipeInput,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: RecipeFormat,
}

#[derive(Debug, Parser)]
pub(crate) struct RecipeQuery {
    /// Recipe file
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// The question, which is printed with values in the place of `{{ … }}`, and nothing behind
    #[arg(value_name = "TEMPLATE")]
    pub(crate) template: String,
    #[command(flatten)]
    pub(crate) values: RecipeValues,
}

/// How a recipe is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RecipeFormat {
    /// For people.
    #[default]
    Text,
    /// As a recipe again.
    Yaml,
    /// For programs.
    Json,
}
