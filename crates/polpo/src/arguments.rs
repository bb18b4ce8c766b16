//! The command line, as written. `settings` turns it into what commands need.

pub(crate) mod diff;
pub(crate) mod image;
pub(crate) mod lint;
pub(crate) mod machine;
pub(crate) mod recipe;
pub(crate) mod registry;
pub(crate) mod trust;

use std::ffi::OsString;
use std::path::PathBuf;

use apk::repository::RepositoryMirror;
use base::{Age, Arch};
use build::recording::Rewrite;
use clap::{Args, Parser, Subcommand};
use store::Mirror;

use crate::output::ProgressKind;

/// Build apk packages from source, assemble them into minimal images, and prove where every byte came from.
#[derive(Debug, Parser)]
#[command(
    name = "polpo",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "stdout carries results only; progress and problems go to stderr.\n\
        Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Folder of the content-addressed store [default: $XDG_CACHE_HOME/polpo, else ~/.cache/polpo]
    #[arg(long, global = true, value_name = "DIR", env = "POLPO_STORE")]
    pub(crate) store: Option<PathBuf>,
    /// How progress is shown on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "POLPO_PROGRESS"
    )]
    pub(crate) progress: ProgressKind,
    /// Also show what builds and tests print
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Never touch the network: what the store lacks is named and the command fails
    #[arg(long, global = true)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build packages from recipes, in a sandbox without network
    Build(Build),
    /// Build a package again from what is recorded of it, and say where it differs
    Rebuild(Rebuild),
    /// Test built packages as their recipes say, each in a fresh guest
    Test(Test),
    /// Check finished packages
    Lint(lint::Lint),
    /// Compare what recipes and packages say of licences with the texts in sources and packages
    #[command(after_help = "\
Examples:
  polpo license-check os/packages/zlib.yaml            # its sources are fetched; no step runs
  polpo license-check packages/x86_64/zlib-*.apk
  polpo license-check --scan-type deep ./sources --format json")]
    LicenseCheck(LicenseCheck),
    /// Analyse finished packages again: what they need and provide
    Scan(lint::Scan),
    /// Read, compile and ask recipes
    #[command(subcommand)]
    Recipe(recipe::Recipe),
    /// Assemble, publish, copy and run images
    #[command(subcommand)]
    Image(Image),
    /// Bring sources and seeds in
    #[command(subcommand)]
    Source(Source),
    /// Install, query, make and verify apk packages, with apk's own command line: see `polpo apk --help`
    #[command(disable_help_flag = true)]
    Apk {
        /// A command of apk and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Remove everything from the store
    Clean(image::Clean),
    /// Do what apko's command line asks for: see `polpo apko --help`
    #[command(disable_help_flag = true)]
    Apko {
        /// A command of apko and its options
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENTS"
        )]
        words: Vec<OsString>,
    },
    /// Do what melange's command line asks for: see `polpo melange --help`
    #[command(disable_help_flag = true)]
    Melange {
        /// A command of melange and its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Make keys
    #[command(subcommand)]
    Key(Key),
    /// Keep a user and password for a registry
    Login(registry::Login),
    /// Forget what is kept for a registry
    Logout(registry::Logout),
    /// Sign an image and attach its SBOM and provenance as statements
    Sign(trust::Sign),
    /// Sign a statement about an image: what a file says of it
    Attest(trust::Attest),
    /// Walk back from an image to its sources and check every step
    Verify(trust::Verify),
    /// Keep what it takes to sign and verify by identities
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  polpo completions bash > ~/.local/share/bash-completion/completions/polpo
  polpo completions zsh apk > ~/.zfunc/_apk          # where polpo goes by the name apk")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// The name that polpo is called by
        #[arg(value_enum, default_value_t)]
        name: CalledBy,
    },
}

/// The names that polpo goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CalledBy {
    /// Its own.
    #[default]
    Polpo,
    /// That of apk, whose command line it takes.
    Apk,
    /// That of apko, whose command line it takes.
    Apko,
    /// That of melange, whose command line it takes.
    Melange,
}

impl Command {
    /// Whether a person may be given a shell at the terminal.
    pub(crate) fn may_open_shell(&self) -> bool {
        matches!(
            self,
            Command::Build(Build { debug: true, .. }) | Command::Test(Test { debug: true, .. })
        )
    }
}

/// Where packages come from and who is trusted to have signed them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Repositories {
    /// apk repository: a folder or URL that holds ARCH/APKINDEX.tar.gz (`v3 PLACE`:
    /// ARCH/Packages.adb), or an index file, after an optional `@tag`; earlier ones win ties
    #[arg(
        long = "repository-append",
        short = 'r',
        visible_alias = "repository",
        value_name = "REPOSITORY"
    )]
    pub(crate) repositories: Vec<String>,
    /// Public key, or folder of public keys, that indexes may be signed by
    #[arg(
        long = "keyring-append",
        short = 'k',
        visible_alias = "keyring",
        value_name = "PATH"
    )]
    pub(crate) keyring: Vec<PathBuf>,
    /// Another place for what lies below a URL, asked first; may be repeated, asked in this order
    #[arg(
        long = "repository-mirror",
        value_name = "URL=PLACE",
        env = "POLPO_REPOSITORY_MIRRORS",
        value_delimiter = ' '
    )]
    pub(crate) repository_mirrors: Vec<RepositoryMirror>,
    /// Also trust, for each repository alone, the keys that its server names (apk-configuration)
    #[arg(long)]
    pub(crate) discover_keys: bool,
    #[command(flatten)]
    pub(crate) freshness: Freshness,
    #[command(flatten)]
    pub(crate) rebuilders: Rebuilders,
}

/// How recent indexes must be.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Freshness {
    /// Take no index that is older than this, such as 7d or 12h, or that doesn't say how old it is
    #[arg(long, global = true, value_name = "AGE", env = "POLPO_INDEX_MAX_AGE")]
    pub(crate) index_max_age: Option<Age>,
    /// Take indexes though newer ones, by their serials, were seen of their repositories before
    #[arg(long, global = true)]
    pub(crate) accept_older_index: bool,
}

/// Who must have built packages again before they are chosen.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rebuilders {
    /// Choose only packages of which so many rebuilders state, in rebuilds.jsonl beside the index,
    /// that they built them again and got the same bytes (`polpo rebuild --attest`)
    #[arg(
        long,
        global = true,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "rebuilder"
    )]
    pub(crate) rebuilt_by: Option<u32>,
    /// Public key, or folder of public keys, of those that count; each key is one rebuilder
    #[arg(long, global = true, value_name = "PATH", requires = "rebuilt_by")]
    pub(crate) rebuilder: Vec<PathBuf>,
}

/// What outputs are made for.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Architecture, in apk's or OCI's name [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// The time that outputs carry, in seconds since 1970
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        value_parser = seconds,
        default_value = "0"
    )]
    pub(crate) source_date_epoch: u64,
}

/// Seconds since 1970. A variable that is set to nothing is as good as none.
fn seconds(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.trim() {
        "" => Ok(0),
        number => number.parse(),
    }
}

/// Where the bytes of a source may be, besides its URL. Only the hash decides.
#[derive(Debug, Args)]
pub(crate) struct Mirrors {
    /// Mirror of sources by hash: `apt` or `apt:SUITE,…` (the system's own source packages), a
    /// folder, or the URL of an HTTP mirror; asked in this order before the recipe's URL
    #[arg(
        long = "source-mirror",
        value_name = "MIRROR",
        env = "POLPO_SOURCE_MIRRORS",
        value_delimiter = ' '
    )]
    pub(crate) mirrors: Vec<Mirror>,
    /// Let recipes check git repositories out that are folders of this machine
    #[arg(long)]
    pub(crate) local_repositories: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo build os/packages/hello.yaml -r build/seed -k ~/.config/polpo/keys --signing-key ~/.config/polpo/keys/polpo.rsa
  polpo build hello.yaml -r build/seed --debug        # a shell in the sandbox if a step fails
  polpo build hello.yaml -r build/seed --network record   # hello.lock.json says what it got

An unchanged recipe is not built again: the plan (guest packages, sources and steps, all by hash)
is its own cache key.")]
pub(crate) struct Build {
    /// Recipe files, in the order to build them
    #[arg(required = true, value_name = "RECIPE")]
    pub(crate) recipes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) repositories: Repositories,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    /// Folder that packages and their index are written to, below ARCH/
    #[arg(long, value_name = "DIR", default_value = "packages")]
    pub(crate) out_dir: PathBuf,
    #[command(flatten)]
    pub(crate) signing: trust::PackageSigning,
    /// Begin to number and date the index, so that nobody can pass an older one off as new. Where
    /// it is numbered already, this goes on in any case
    #[arg(long)]
    pub(crate) stamp_index: bool,
    /// Folder of pipeline definitions that go before the built-in ones; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) values: recipe::GivenValues,
    /// Package that the guest has besides those of the recipe; may be repeated
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    pub(crate) package_append: Vec<String>,
    #[command(flatten)]
    pub(crate) folders: machine::Folders,
    #[command(flatten)]
    pub(crate) runner: machine::StepRunner,
    #[command(flatten)]
    pub(crate) limits: machine::MachineLimits,
    /// Distribution name used in package URLs of SBOMs
    #[arg(long, default_value = "polpo")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) network: StepNetwork,
    /// Trace each command, and open a shell in the sandbox when a step fails
    #[arg(long)]
    pub(crate) debug: bool,
    #[command(flatten)]
    pub(crate) linters: lint::Linters,
    /// Say in the packages that they come from themselves, not from the recipe's main package
    #[arg(long)]
    pub(crate) strip_origin_name: bool,
    /// Write what the packages need and provide, as JSON, to FILE.ARCH
    #[arg(long, value_name = "FILE")]
    pub(crate) dependency_log: Option<PathBuf>,
    /// Append a line `ARCH|ORIGIN|NAME|VERSION` for each package to packages.log, in this folder
    #[arg(long)]
    pub(crate) create_build_log: bool,
    /// Build even what is unchanged, and fail if the result differs from the earlier one
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// Put a statement of how it was made (in-toto, SLSA v1) beside each package:
    /// PACKAGE.apk.intoto.jsonl, a DSSE envelope signed with the signing key
    #[arg(long)]
    pub(crate) generate_provenance: bool,
    /// Forms of the packages' bills of materials: `spdx` (2.3) lies in each package in any case,
    /// `cyclonedx` (1.6) beside it as PACKAGE.apk.cdx.json
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        value_delimiter = ',',
        default_value = "spdx"
    )]
    pub(crate) sbom_format: Vec<SbomFormat>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polpo rebuild packages/x86_64/hello-2.10-r0.apk -r build/seed -k ~/.config/polpo/keys
  polpo rebuild hello-2.10-r0.apk --format json --out-dir /tmp/again
  polpo rebuild packages/x86_64/hello-2.10-r0.apk -r build/seed -k keys \
    --attest packages/x86_64/rebuilds.jsonl --attest-key me.pem

The recipe is the one in the package. PACKAGE.apk.intoto.jsonl beside it (`polpo build
--generate-provenance`) says which guest packages, sources and recorded downloads to use, by hash;
without it the guest is chosen anew. The exit code is 1 when the packages differ.")]
pub(crate) struct Rebuild {
    /// The package
    #[arg(value_name = "PACKAGE.apk")]
    pub(crate) package: PathBuf,
    #[command(flatten)]
    pub(crate) repositories: Repositories,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    /// Folder of the files that lay beside the recipe, where the store has them no more
    #[arg(long, value_name = "DIR")]
    pub(crate) source_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) runner: machine::StepRunner,
    /// Statement of how the package was made [default: PACKAGE.apk.intoto.jsonl, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance: Option<PathBuf>,
    /// Public key that the statement may be signed by, besides those of the keyring; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) signing: trust::PackageSigning,
    /// Folder that what was built again is kept in, below ARCH/
    #[arg(long, value_name = "DIR")]
    pub(crate) out_dir: Option<PathBuf>,
    /// File of statements that gets one more if the packages are the same: rebuilds.jsonl beside the
    /// index of a repository
    #[arg(long, value_name = "FILE", requires = "attest_key")]
    pub(crate) attest: Option<PathBuf>,
    /// Private key of whoever builds again, that the statement is signed with
    #[arg(long, value_name = "KEY", requires = "attest")]
    pub(crate) attest_key: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: crate::output::Format,
}

/// The forms of bills of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SbomFormat {
    /// SPDX 2.3, in the package.
    Spdx,
    /// CycloneDX 1.6, beside the package.
    Cyclonedx,
}

/// What steps have of the network.
#[derive(Debug, Args)]
pub(crate) struct StepNetwork {
    /// What steps have of the network [default: replay what is recorded beside the recipe, else deny]
    #[arg(long, value_enum)]
    pub(crate) network: Option<NetworkPolicy>,
    /// Host that may be asked while recording, such as `example.org` or `*.example.org`; with none,
    /// every public host may; one named in full may also be on this machine or its own network
    #[arg(long = "network-host", value_name = "HOST")]
    pub(crate) network_hosts: Vec<String>,
    /// Where a recording gets what lies below a URL, such as a registry's; may be repeated
    #[arg(
        long = "network-mirror",
        value_name = "URL=MIRROR",
        env = "POLPO_NETWORK_MIRRORS",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    pub(crate) network_mirrors: Vec<Rewrite>,
    /// The most that a recording may hold, in bytes [default: 32 GiB]
    #[arg(long = "network-limit", value_name = "BYTES")]
    pub(crate) network_limit: Option<u64>,
}

/// What steps have of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkPolicy {
    /// None, whatever is recorded.
    Deny,
    /// All that the host has: nothing comes from the cache, and the package's SBOM says so.
    Allow,
    /// Web servers, through a proxy: what they answer is kept, and listed in RECIPE.lock.json.
    Record,
    /// What is listed in RECIPE.lock.json.
    Replay,
}

/// Whether a program may use the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Network {
    /// The sandbox has no network.
    #[default]
    Deny,
    /// The sandbox shares the host's network.
    Allow,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Recipe files
    #[arg(required = true, value_name = "RECIPE")]
    pub(crate) recipes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) repositories: Repositories,
    /// Folder that `polpo build` wrote the packages to
    #[arg(long, value_name = "DIR", default_value = "packages")]
    pub(crate) out_dir: PathBuf,
    /// Folder of pipeline definitions that go before the built-in ones; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) values: recipe::GivenValues,
    /// Package that guests have besides those of the tests; may be repeated
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    pub(crate) test_package_append: Vec<String>,
    #[command(flatten)]
    pub(crate) folders: machine::Folders,
    #[command(flatten)]
    pub(crate) runner: machine::StepRunner,
    #[command(flatten)]
    pub(crate) limits: machine::MachineLimits,
    #[command(flatten)]
    pub(crate) network: StepNetwork,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    /// Trace each command, and open a shell in the sandbox when a step fails
    #[arg(long)]
    pub(crate) debug: bool,
    /// Test also what passed before, unchanged
    #[arg(long)]
    pub(crate) again: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Send an image to registries, with its signatures, SBOMs and provenance
    Publish(registry::Publish),
    /// Copy an image between registries, layouts and engines, with all that refers to it
    Copy(registry::Copy),
    /// Say where two images differ, and hold the second to rules
    Diff(diff::ImageDiff),
    /// List the files of an image
    Files(diff::ImageFiles),
    /// List the tags of a repository
    Tags(registry::Tags),
    /// Solve, lay out and write an OCI image layout
    Build(image::ImageBuild),
    /// Choose the packages for all architectures together, and write them down by every byte
    Lock(image::ImageLock),
    /// Print the packages that an image would have
    #[command(visible_alias = "show-packages")]
    Packages(image::ImagePackages),
    /// Print what an image's packages need, as a graph for Graphviz
    Dot(image::ImageGraph),
    /// Write the files of an image as one tar
    Minirootfs(image::ImageRootfs),
    /// Run an image of a layout in the sandbox
    Run(ImageRun),
    /// Print an image file with everything it includes, as YAML
    #[command(visible_alias = "show-config")]
    Show(ImageShow),
    /// Print the JSON Schema of image files, for editors
    #[command(after_help = "\
Example:
  polpo image schema > image.schema.json")]
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct ImageShow {
    /// Image file
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Another folder for included files; may be repeated
    #[arg(long = "include-paths", value_name = "DIR", value_delimiter = ',')]
    pub(crate) include_paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The image's files are unpacked into the store for this run and can't be changed by it; /tmp is empty
and can be written to. The command's exit code becomes polpo's. No container engine is needed.")]
pub(crate) struct ImageRun {
    /// Folder of an OCI layout
    pub(crate) layout: PathBuf,
    /// Command that takes the place of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// Let the program use the network
    #[arg(long, value_enum, default_value_t)]
    pub(crate) network: Network,
    /// Tag of the image, in a layout of several
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Architecture of the image in a layout of several [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Source {
    /// Resolve a seed list to a closure of the host distribution's packages, each with its hash
    Lock(SourceLock),
    /// Turn the packages of a seed lock into a signed apk repository
    Import(SourceImport),
    /// Bring the sources of recipes into the store
    Fetch(SourceFetch),
}

#[derive(Debug, Args)]
pub(crate) struct SourceLock {
    /// Seed list
    #[arg(value_name = "SEED")]
    pub(crate) seed: PathBuf,
    /// Lock file to write [default: SEED with .lock.yaml]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Architectures, in apk's or OCI's names [default: this machine's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub(crate) arch: Vec<Arch>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  polpo source import os/bootstrap/seed.lock.yaml --out-dir build/seed --signing-key ~/.config/polpo/keys/polpo.rsa")]
pub(crate) struct SourceImport {
    /// Seed lock: every package by name, version, architecture and SHA-256
    #[arg(value_name = "LOCK")]
    pub(crate) lock: PathBuf,
    /// Seed list the lock was made of: how packages are converted [default: LOCK without .lock]
    #[arg(long, value_name = "SEED")]
    pub(crate) seed: Option<PathBuf>,
    /// Architecture, in apk's or OCI's name [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Folder that the repository is written to
    #[arg(long, value_name = "DIR", default_value = "seed")]
    pub(crate) out_dir: PathBuf,
    /// Private RSA key that signs packages and index
    #[arg(long, value_name = "KEY", env = "POLPO_SIGNING_KEY")]
    pub(crate) signing_key: PathBuf,
    /// The time that outputs carry, in seconds since 1970
    #[arg(
        long,
        value_name = "SECONDS",
        env = "SOURCE_DATE_EPOCH",
        value_parser = seconds,
        default_value = "0"
    )]
    pub(crate) source_date_epoch: u64,
}

#[derive(Debug, Args)]
pub(crate) struct LicenseCheck {
    /// Recipes, packages (files or URLs) or folders of sources
    #[arg(required = true, value_name = "PLACE")]
    pub(crate) places: Vec<String>,
    /// How far is looked
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scan_type: lint::ScanType,
    /// End with exit code 1 if a text is of a licence that is named nowhere
    #[arg(long)]
    pub(crate) fail: bool,
    /// Correct `copyright` of recipes by the texts; everything else in the file stays as it is
    #[arg(
        long,
        value_enum,
        value_name = "ENTRIES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "flat"
    )]
    pub(crate) fix: Option<lint::CopyrightEntries>,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    /// Folder of pipeline definitions that go before the built-in ones; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
    /// Architecture that recipes are read for [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: crate::output::Format,
}

#[derive(Debug, Args)]
pub(crate) struct SourceFetch {
    /// Recipe files
    #[arg(required = true, value_name = "RECIPE")]
    pub(crate) recipes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) mirrors: Mirrors,
    /// Folder of pipeline definitions that go before the built-in ones; may be repeated
    #[arg(long = "pipeline-dir", value_name = "DIR")]
    pub(crate) pipeline_dirs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Folder that gets a copy of each source, called `sha256:HEX`
    #[arg(long, value_name = "DIR")]
    pub(crate) copy_to: Option<PathBuf>,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: crate::output::Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key pair: FILE (mode 0600) and FILE.pub
    #[command(after_help = "\
Examples:
  polpo key generate ~/.config/polpo/keys/polpo.rsa                      # signs packages and indexes
  polpo key generate --type ecdsa-p256 ~/.config/polpo/image/polpo.pem   # signs images")]
    Generate(KeyGenerate),
}

#[derive(Debug, Args)]
pub(crate) struct KeyGenerate {
    /// File of the private key; never overwritten
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Kind of key: apk packages and indexes need RSA
    #[arg(long = "type", value_enum, default_value_t)]
    pub(crate) kind: KeyKind,
    /// Encrypt the private key as cosign does, with POLPO_KEY_PASSWORD or a password that is typed
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Keep the pair that is there already instead of failing
    #[arg(long)]
    pub(crate) keep: bool,
}

/// The kinds of key that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeyKind {
    /// RSA of 4096 bits.
    #[default]
    Rsa,
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// Ed25519; apk and older verifiers know none.
    Ed25519,
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    /// docs/reference/command-line.md is what `--help` says. `POLPO_UPDATE=1` writes it anew.
    #[test]
    fn the_reference_follows_the_help() {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut text = String::from(
            "# Command line\n\nWhat `--help` of each command says; a test keeps this page equal to it.\n",
        );
        write_command(&mut command, &mut text);
        let page =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/command-line.md");
        if std::env::var_os("POLPO_UPDATE").is_some() {
            fs::create_dir_all(page.parent().unwrap()).unwrap();
            fs::write(&page, &text).unwrap();
        }
        let found = fs::read_to_string(&page).unwrap_or_default();
        assert!(
            found == text,
            "{} is stale: run this test with POLPO_UPDATE=1",
            page.display()
        );
    }

    fn write_command(command: &mut clap::Command, text: &mut String) {
        let help = command.render_long_help().to_string();
        let name = command
            .get_bin_name()
            .unwrap_or(command.get_name())
            .to_owned();
        writeln!(text, "\n## {name}\n\n```text\n{}\n```", help.trim_end()).unwrap();
        for subcommand in command.get_subcommands_mut() {
            if subcommand.get_name() != "help" {
                write_command(subcommand, text);
            }
        }
    }
}
