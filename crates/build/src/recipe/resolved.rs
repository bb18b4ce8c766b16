use std::collections::BTreeMap;

use base::{Arch, Digest};
use serde::{Deserialize, Serialize};
use store::Expected;

use crate::plan::Limits;

/// The build user's home in the guest, where every step starts.
pub const HOME: &str = "/home/build";

/// Where packages are laid out in the guest: one folder per package, by name.
pub const OUTPUT_FOLDER: &str = "/home/build/melange-out";

/// A recipe for one architecture, without a variable, a range or a condition left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedRecipe {
    /// What it was resolved for.
    pub arch: Arch,
    /// The main package.
    pub package: ResolvedPackage,
    /// The guest that builds it.
    pub environment: GuestRequest,
    /// The steps that make the main package.
    pub steps: Vec<Step>,
    /// The packages split from it, in the order their steps run.
    pub subpackages: Vec<ResolvedSubpackage>,
    /// The test of the main package.
    pub test: Option<ResolvedTest>,
    /// Linux capabilities that build and test steps get or lose.
    pub capabilities: CapabilityChange,
    /// What the build may take of the machine.
    pub limits: Limits,
    /// What each test may take of the machine.
    pub test_limits: Limits,
    /// The digest of the recipe's text.
    pub recipe_digest: Digest,
}

/// A package made out of the main package's build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedSubpackage {
    /// What the package says of itself.
    pub package: ResolvedPackage,
    /// The steps that make it, run after the main package's in the same guest.
    pub steps: Vec<Step>,
    /// Its test.
    pub test: Option<ResolvedTest>,
}

/// What a package says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedPackage {
    /// The name.
    pub name: String,
    /// Upstream's version, in apk's grammar.
    pub version: String,
    /// How often the same version was packaged anew.
    pub epoch: u64,
    /// `VERSION-rEPOCH`.
    pub full_version: String,
    /// What it is, in words.
    pub description: String,
    /// The homepage; empty when not given.
    pub url: String,
    /// The commit of the repository that holds the recipe; empty when unknown.
    pub commit: String,
    /// Licences; a subpackage has its main package's.
    pub licenses: Vec<Copyright>,
    /// What it needs when installed, in apk's grammar.
    pub runtime: Vec<String>,
    /// What it provides, in apk's grammar.
    pub provides: Vec<String>,
    /// Whose files it may overwrite.
    pub replaces: Vec<String>,
    /// Which provider wins; higher first.
    pub provider_priority: Option<i64>,
    /// Which of two packages that replace each other keeps its files; higher first.
    pub replaces_priority: Option<i64>,
    /// What dependency analysis leaves out.
    pub options: PackageOptions,
    /// Scripts that apk runs.
    pub scriptlets: Scriptlets,
    /// Linters that only warn.
    pub disabled_checks: Vec<String>,
    /// File capabilities, one entry per path, sorted.
    pub setcap: Vec<FileCapabilities>,
    /// Its name in the NVD, without a version.
    pub cpe: Option<Cpe>,
    /// Free notes.
    pub annotations: BTreeMap<String, String>,
}

/// One `copyright` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copyright {
    /// An SPDX expression, or a name that becomes a `LicenseRef-`.
    pub license: String,
    /// The copyright notice; empty when not given.
    pub attestation: String,
    /// A file in the workspace holding the licence's text; empty when not given.
    pub license_path: String,
    /// What licence detection is to find instead; empty when not given.
    pub detection_override: String,
    /// The files it covers.
    pub paths: Vec<String>,
}

/// What dependency analysis leaves out; says nothing of dependencies written in the recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageOptions {
    /// Generates no `provides`.
    pub no_provides: bool,
    /// Generates no dependencies.
    pub no_depends: bool,
    /// Generates no `cmd:` provides.
    pub no_commands: bool,
    /// Generates no versioned dependencies on shared libraries.
    pub no_versioned_shlib_deps: bool,
}

/// Scripts that apk runs; each names its interpreter in its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scriptlets {
    /// Before the files are there.
    pub pre_install: Option<String>,
    /// After the files are there.
    pub post_install: Option<String>,
    /// Before the package goes.
    pub pre_deinstall: Option<String>,
    /// After the package is gone.
    pub post_deinstall: Option<String>,
    /// Before another version takes over.
    pub pre_upgrade: Option<String>,
    /// After another version took over.
    pub post_upgrade: Option<String>,
    /// When something under certain paths changed.
    pub trigger: Option<Trigger>,
}

/// A script for changes under certain paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The script.
    pub script: String,
    /// Absolute paths, `*` allowed.
    pub paths: Vec<String>,
}

/// Linux capabilities of one file: bit masks as `security.capability` version 3 has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCapabilities {
    /// The file, from the root of the package, without a leading slash.
    pub path: String,
    /// In force when the file is executed.
    pub effective: u32,
    /// What the process may put in force.
    pub permitted: u32,
    /// Kept across execve when the process has them inheritable.
    pub inheritable: u32,
    /// Why the file needs them.
    pub reason: String,
}

/// The fields of a CPE 2.3 name but version and update; `None` is any value (`*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpe {
    /// `a` (application, the default) or `o` (operating system).
    pub part: Option<String>,
    /// Who makes it.
    pub vendor: String,
    /// What it is called.
    pub product: String,
    /// The edition.
    pub edition: Option<String>,
    /// The language.
    pub language: Option<String>,
    /// The software edition.
    pub sw_edition: Option<String>,
    /// The software it runs in.
    pub target_sw: Option<String>,
    /// The hardware it runs on.
    pub target_hw: Option<String>,
    /// Anything else.
    pub other: Option<String>,
}

impl Cpe {
    /// The formatted string of NISTIR 7695 for `version`.
    pub fn formatted(&self, version: &str) -> String {
        let or_any = |field: &Option<String>| field.clone().unwrap_or_else(|| "*".to_owned());
        [
            "cpe:2.3".to_owned(),
            self.part.clone().unwrap_or_else(|| "a".to_owned()),
            self.vendor.clone(),
            self.product.clone(),
            version.to_owned(),
            "*".to_owned(),
            or_any(&self.edition),
            or_any(&self.language),
            or_any(&self.sw_edition),
            or_any(&self.target_sw),
            or_any(&self.target_hw),
            or_any(&self.other),
        ]
        .join(":")
    }
}

/// The guest that steps run in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestRequest {
    /// What must be installed, in apk's grammar; what pipelines need included, each once.
    pub packages: Vec<String>,
    /// Repositories, as apk's `repositories` file writes them.
    pub repositories: Vec<String>,
    /// Public keys that sign them: paths or URLs.
    pub keyring: Vec<String>,
    /// Environment variables of every step, the usual ones included (but SOURCE_DATE_EPOCH, which
    /// the plan adds).
    pub environment: BTreeMap<String, String>,
    /// Users and groups beyond those the packages bring.
    pub accounts: Accounts,
}

/// Users and groups of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Whom the steps run as: a name or a number; `None` is root.
    pub run_as: Option<String>,
    /// Users; `build` (1000) is always among them.
    pub users: Vec<User>,
    /// Groups; `build` (1000) is always among them.
    pub groups: Vec<Group>,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
    /// The login shell; empty for the default.
    pub shell: String,
    /// The home; empty for the default.
    pub home: String,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The number.
    pub gid: u32,
    /// Users that belong to it.
    pub members: Vec<String>,
}

/// Linux capabilities (`CAP_…`) of the steps' processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityChange {
    /// Given beyond the usual.
    pub add: Vec<String>,
    /// Taken away; `ALL` are all of the usual.
    pub drop: Vec<String>,
}

impl CapabilityChange {
    /// `usual`, changed.
    pub fn applied(&self, usual: &[&str]) -> Vec<String> {
        let all = self.drop.iter().any(|name| name == "ALL");
        let usual = usual.iter().filter(|_| !all).map(|name| (*name).to_owned());
        let mut capabilities: Vec<String> = usual.chain(self.add.iter().cloned()).collect();
        capabilities.retain(|name| !self.drop.contains(name));
        capabilities.sort();
        capabilities.dedup();
        capabilities
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.drop.is_empty()
    }
}

/// All capabilities there are (`linux/capability.h`).
pub const CAPABILITIES: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// A test: its own guest, into which the tested package is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedTest {
    /// The guest; the tested package is among its packages, by name.
    pub environment: GuestRequest,
    /// The steps; all must end well.
    pub steps: Vec<Step>,
}

/// One step of a pipeline that will run: conditions that don't hold are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What people call it: its name, the pipeline it uses, or its number.
    pub name: String,
    /// The pipeline it uses.
    pub uses: Option<String>,
    /// The inputs of that pipeline whose values differ from their defaults as written.
    pub with: BTreeMap<String, String>,
    /// What it does itself.
    pub action: Action,
    /// Where it runs: absolute in the guest, made when it's missing.
    pub working_directory: String,
    /// Environment variables beyond the guest's, those of the steps around it included.
    pub environment: BTreeMap<String, String>,
    /// Steps that run after its own action.
    pub steps: Vec<Step>,
    /// How many of `steps` must be left; checked when the recipe is resolved.
    pub required_steps: Option<usize>,
}

/// What a step does itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: it only holds other steps.
    Nothing,
    /// Runs a script with `/bin/sh -c`, under `set -eo pipefail`.
    Run {
        /// The script as written, variables replaced.
        script: String,
    },
    /// Puts a source into the working directory, and unpacks it.
    Fetch(Fetch),
    /// Checks a git repository out.
    GitCheckout(Box<GitCheckout>),
}

/// A source that is fetched by its hash, outside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Where upstream keeps it.
    pub uri: String,
    /// The name it gets in the working directory: what follows the URI's last slash.
    pub file_name: String,
    /// What it must hash to; `None` when the recipe says that nothing is known of it.
    pub expected: Option<Expected>,
    /// Leading path components that unpacking drops.
    pub strip_components: u32,
    /// Whether it is unpacked.
    pub extract: bool,
    /// Whether it is removed from the working directory afterwards.
    pub delete: bool,
    /// Where it is unpacked: absolute, or relative to the working directory.
    pub directory: String,
    /// The name in the package URL that describes it.
    pub purl_name: String,
    /// The version in the package URL that describes it.
    pub purl_version: String,
}

/// A git repository that is checked out by its commit, outside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitCheckout {
    /// Where it is: a URL, `HOST:PATH` of ssh, or a path.
    pub repository: String,
    /// Where the files go: absolute, or relative to the working directory.
    pub destination: String,
    /// How many commits of the history come along; `None` is all of them.
    pub depth: Option<u32>,
    /// The branch; without it and a tag, the one that the repository itself shows.
    pub branch: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// The commit, 40 lower-case hexadecimal digits, or that of the tag's own object.
    pub expected_commit: Option<String>,
    /// Whether the branch must end in that commit.
    pub must_be_tip: bool,
    /// Whether and how submodules are checked out.
    pub submodules: Option<Submodules>,
    /// Commits to be put upon the one checked out, in this order.
    pub cherry_picks: Vec<CherryPick>,
    /// The only folders to check out, besides the files at the top; all when empty.
    pub sparse_paths: Vec<String>,
    /// What serves the repository: `gitlab`, or empty.
    pub type_hint: String,
    /// How patient to be.
    pub retries: Retries,
}

/// How submodules are checked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Submodules {
    /// Without their histories.
    pub shallow: bool,
    /// How many at once.
    pub jobs: u32,
}

/// A commit that is put upon another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CherryPick {
    /// The branch it is on; `None` when it comes with the checkout.
    pub branch: Option<String>,
    /// Its hash, or the beginning of it: lower-case hexadecimal digits.
    pub commit: String,
    /// Why.
    pub comment: String,
}

/// How often something is tried again, after pauses that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retries {
    /// After so many it is given up.
    pub limit: u32,
    /// The first pause, in seconds.
    pub first_pause: u32,
    /// No pause is longer, in seconds.
    pub longest_pause: u32,
}

/// Something that a step needs from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRequest<'r> {
    /// A file by its hash.
    Fetch(&'r Fetch),
    /// A git repository by its commit.
    GitCheckout(&'r GitCheckout),
}

impl ResolvedRecipe {
    /// Every source of the build, in the order of the steps.
    pub fn sources(&self) -> Vec<SourceRequest<'_>> {
        let mut found = Vec::new();
        let subpackages = self.subpackages.iter().flat_map(|sub| &sub.steps);
        for step in self.steps.iter().chain(subpackages) {
            step.collect_sources(&mut found);
        }
        found
    }

    /// Every test, the main package's first.
    pub fn tests(&self) -> impl Iterator<Item = &ResolvedTest> {
        let others = self.subpackages.iter().map(|sub| &sub.test);
        std::iter::once(&self.test).chain(others).flatten()
    }

    /// The main package, then the subpackages.
    pub fn packages(&self) -> impl Iterator<Item = &ResolvedPackage> {
        std::iter::once(&self.package).chain(self.subpackages.iter().map(|sub| &sub.package))
    }
}

impl ResolvedTest {
    /// Every source of the test, in the order of the steps.
    pub fn sources(&self) -> Vec<SourceRequest<'_>> {
        let mut found = Vec::new();
        for step in &self.steps {
            step.collect_sources(&mut found);
        }
        found
    }
}

impl Step {
    fn collect_sources<'s>(&'s self, found: &mut Vec<SourceRequest<'s>>) {
        match &self.action {
            Action::Fetch(fetch) => found.push(SourceRequest::Fetch(fetch)),
            Action::GitCheckout(checkout) => found.push(SourceRequest::GitCheckout(checkout)),
            Action::Nothing | Action::Run { .. } => {}
        }
        for step in &self.steps {
            step.collect_sources(found);
        }
    }
}
