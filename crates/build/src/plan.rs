//! A build as a plain value. What is not in the plan can't reach the build, so the plan's digest is
//! the key under which its result is kept.

use std::collections::BTreeMap;
use std::fmt;

use base::{Arch, Digest, Epoch};
use serde::{Deserialize, Serialize};

use crate::recipe::{Accounts, CapabilityChange};
use crate::recording::Recording;

/// The folder that a build sees its sources in and works in; nothing outside it is kept.
pub const WORKSPACE: &str = "/home/build";

/// The folder within the workspace whose subfolders become packages.
pub const OUTPUT: &str = "melange-out";

/// The search path of every step that does not set its own.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin";

/// The present [`BuildPlan::format`]. It rises when the same plan would be carried out otherwise.
pub const FORMAT: u32 = 2;

/// Everything that a build depends on: packages and sources by hash, steps, environment, limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// How the rest is meant: [`FORMAT`].
    pub format: u32,
    /// The architecture built for, which the guest's programs run on.
    pub arch: Arch,
    /// `SOURCE_DATE_EPOCH` of the steps.
    pub epoch: Epoch,
    /// What is installed in the guest, in install order: of two packages with the same file, the
    /// later one's is seen.
    pub guest: Vec<GuestPackage>,
    /// Users and groups that the guest has beyond those of its packages, and whom steps run as. That
    /// is the only id there is in the sandbox; the others are names to look up, not owners of files.
    pub accounts: Accounts,
    /// Linux capabilities that steps get beyond the usual, or lose.
    #[serde(default, skip_serializing_if = "CapabilityChange::is_empty")]
    pub capabilities: CapabilityChange,
    /// Files put into the workspace before the first step: those beside the recipe.
    pub files: Vec<PlacedFile>,
    /// Links put into the workspace with them, and where they lead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Empty folders made in the workspace with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// What the steps unpack and place, each once.
    pub sources: Vec<PlannedSource>,
    /// What is done, in order.
    pub steps: Vec<PlannedStep>,
    /// The environment of every step; a step's own comes over it.
    pub environment: BTreeMap<String, String>,
    /// When a build is stopped.
    pub limits: Limits,
    /// Whether steps reach the network.
    pub network: Network,
    /// What the network answers, where it is [`Network::Replayed`]. The bodies are blobs of the store.
    #[serde(default, skip_serializing_if = "Recording::is_empty")]
    pub recording: Recording,
    /// The packages whose folders the build fills, beneath [`OUTPUT`].
    pub packages: Vec<String>,
}

/// A package of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPackage {
    /// Its name.
    pub name: String,
    /// Its full version, `1.2.3-r0`.
    pub version: String,
    /// SHA-1 of its control segment, 40 hex digits: what a signed index vouches for.
    pub identity: String,
    /// SHA-256 of the .apk file, a blob of the store.
    pub digest: Digest,
}

/// A file of the recipe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Where, relative to the workspace.
    pub path: String,
    /// Its bytes, a blob of the store.
    pub digest: Digest,
    /// Its permission bits.
    pub mode: u32,
}

/// A fetched source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedSource {
    /// Where the recipe says it comes from.
    pub uri: String,
    /// Its bytes, a blob of the store; a git repository's are a tar archive.
    pub digest: Digest,
    /// The commit that is checked out, if it is a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One thing that a build does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedStep {
    /// Runs a shell script in the sandbox.
    Run {
        /// What people know the step by.
        name: String,
        /// Text for `/bin/sh`.
        script: String,
        /// Absolute in the guest; made when it is missing.
        working_directory: String,
        /// What comes over [`BuildPlan::environment`].
        environment: BTreeMap<String, String>,
    },
    /// Unpacks a source, outside the sandbox.
    Unpack {
        /// What people know the step by.
        name: String,
        /// One of [`BuildPlan::sources`]: a tar archive, compressed or not.
        source: Digest,
        /// Where to, absolute in the guest, beneath [`WORKSPACE`]; made when it is missing.
        directory: String,
        /// How many leading folders of each name are dropped.
        strip_components: u32,
    },
    /// Puts a source's bytes into a file, outside the sandbox.
    Place {
        /// What people know the step by.
        name: String,
        /// One of [`BuildPlan::sources`].
        source: Digest,
        /// The file, absolute in the guest, beneath [`WORKSPACE`].
        path: String,
    },
}

impl PlannedStep {
    /// What people know the step by.
    pub fn name(&self) -> &str {
        match self {
            PlannedStep::Run { name, .. }
            | PlannedStep::Unpack { name, .. }
            | PlannedStep::Place { name, .. } => name,
        }
    }
}

/// What a build may take. Without a value there is no limit, but for processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of wall time for all steps together.
    pub timeout: Option<u64>,
    /// Bytes of memory for all processes together.
    pub memory: Option<u64>,
    /// Thousandths of processors.
    pub processors: Option<u64>,
    /// Bytes on the disk: the workspace and whatever else is written.
    pub disk: Option<u64>,
    /// Processes and threads at once; without a value, [`PROCESSES`](crate::sandbox::PROCESSES).
    pub processes: Option<u64>,
}

impl Limits {
    /// These, and those of `other` where these have none.
    #[must_use]
    pub fn or(self, other: &Limits) -> Limits {
        Limits {
            timeout: self.timeout.or(other.timeout),
            memory: self.memory.or(other.memory),
            processors: self.processors.or(other.processors),
            disk: self.disk.or(other.disk),
            processes: self.processes.or(other.processes),
        }
    }
}

/// Whether steps reach the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// They have a loopback device of their own and nothing else.
    #[default]
    Denied,
    /// They share the host's network: whatever they fetch is outside the plan.
    Allowed,
    /// They reach web servers through a proxy that keeps what it gets.
    Recorded,
    /// They reach a proxy that answers as [`BuildPlan::recording`] says, and nothing else.
    Replayed,
}

impl BuildPlan {
    /// The plan as JSON that is the same for the same plan: fields in order, maps sorted, no
    /// spaces.
    pub fn canonical_json(&self) -> Vec<u8> {
        key_bytes(self)
    }

    /// The plan of the same build, once what it gets from the network is known.
    #[must_use]
    pub fn replaying(self, recording: Recording) -> BuildPlan {
        BuildPlan {
            network: Network::Replayed,
            recording,
            ..self
        }
    }

    /// SHA-256 of [`BuildPlan::canonical_json`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_json())
    }
}

/// `value` as bytes that are another value's only if that is equal: JSON. Keys hold strings, numbers,
/// lists and maps with string keys, nothing that JSON can't hold; should one ever, its form for
/// debugging stands in, which can't fail, so that no two values share the key of a failure.
pub(crate) fn key_bytes<T: Serialize + fmt::Debug>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| format!("{value:?}").into_bytes())
}

/// What a build finds in its environment when the recipe says nothing else
/// (melange sets the same, `pkg/config/config.go` and `pkg/build/build.go`).
pub fn default_environment() -> BTreeMap<String, String> {
    [
        ("HOME", WORKSPACE),
        ("GOPATH", "/home/build/.cache/go"),
        ("GOMODCACHE", "/var/cache/melange/gomodcache"),
        ("UV_CACHE_DIR", "/var/cache/melange/uv"),
        ("PIP_CACHE_DIR", "/var/cache/melange/pip"),
        ("COMPOSER_CACHE_DIR", "/var/cache/melange/composer"),
        ("npm_config_cache", "/var/cache/melange/npm"),
        ("PATH", PATH),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The environment of all steps: the defaults, what the recipe sets over them, `PATH` as it always
/// is, and the epoch where it is a build and not a test.
pub fn environment(
    recipe: &BTreeMap<String, String>,
    epoch: Option<Epoch>,
) -> BTreeMap<String, String> {
    let mut environment = default_environment();
    if let Some(epoch) = epoch {
        environment.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string());
    }
    environment.extend(recipe.clone());
    environment.insert("PATH".to_owned(), PATH.to_owned());
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> BuildPlan {
        BuildPlan {
            format: FORMAT,
            arch: Arch::X86_64,
            epoch: Epoch(7),
            guest: vec![GuestPackage {
                name: "busybox".into(),
                version: "1.37.0-r1".into(),
                identity: "00".repeat(20),
                digest: Digest::of(b"busybox"),
            }],
            accounts: Accounts::default(),
            capabilities: CapabilityChange::default(),
            files: Vec::new(),
            links: BTreeMap::new(),
            folders: Vec::new(),
            sources: vec![PlannedSource {
                uri: "https://example.org/hello-1.tar.gz".into(),
                digest: Digest::of(b"hello"),
                commit: None,
            }],
            steps: vec![
                PlannedStep::Unpack {
                    name: "fetch".into(),
                    source: Digest::of(b"hello"),
                    directory: WORKSPACE.into(),
                    strip_components: 1,
                },
                PlannedStep::Run {
                    name: "make".into(),
                    script: "make".into(),
                    working_directory: WORKSPACE.into(),
                    environment: BTreeMap::new(),
                },
            ],
            environment: environment(&BTreeMap::new(), Some(Epoch(7))),
            limits: Limits::default(),
            network: Network::Denied,
            recording: Recording::default(),
            packages: vec!["hello".into()],
        }
    }

    #[test]
    fn the_digest_covers_everything_and_nothing_else() {
        let first = plan();
        assert_eq!(first.digest(), plan().digest());
        let read: BuildPlan = serde_json::from_slice(&first.canonical_json()).unwrap();
        assert_eq!(read, first);
        let changes: [fn(&mut BuildPlan); 8] = [
            |plan| plan.format += 1,
            |plan| plan.arch = Arch::Aarch64,
            |plan| plan.epoch = Epoch(8),
            |plan| plan.guest[0].digest = Digest::of(b"other"),
            |plan| plan.steps.reverse(),
            |plan| plan.limits.timeout = Some(1),
            |plan| plan.network = Network::Allowed,
            |plan| plan.packages.clear(),
        ];
        for change in changes {
            let mut other = plan();
            change(&mut other);
            assert_ne!(other.digest(), first.digest());
        }
    }

    #[test]
    fn what_json_can_not_hold_has_a_key_of_its_own() {
        let value = |number: u8| BTreeMap::from([(vec![number], number)]);
        assert!(serde_json::to_vec(&value(1)).is_err());
        assert_eq!(key_bytes(&value(1)), key_bytes(&value(1)));
        assert_ne!(key_bytes(&value(1)), key_bytes(&value(2)));
        assert_eq!(key_bytes(&[1]), b"[1]");
    }

    #[test]
    fn the_form_of_a_plan_is_pinned() {
        let json = String::from_utf8(plan().canonical_json()).unwrap();
        insta::assert_snapshot!(&json[..json.find(",\"guest\"").unwrap()], @r#"{"format":2,"arch":"x86_64","epoch":7"#);
        insta::assert_snapshot!(&json[json.find("\"steps\"").unwrap()..json.find(",\"environment\":{\"COMP").unwrap()], @r#""steps":[{"unpack":{"name":"fetch","source":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","directory":"/home/build","strip_components":1}},{"run":{"name":"make","script":"make","working_directory":"/home/build","environment":{}}}]"#);
    }

    #[test]
    fn a_recipe_overrides_the_environment_but_not_the_search_path() {
        let recipe = BTreeMap::from([
            ("PATH".to_owned(), "/evil".to_owned()),
            ("GOPATH".to_owned(), "/go".to_owned()),
        ]);
        let build = environment(&recipe, Some(Epoch(3)));
        assert_eq!(build["PATH"], PATH);
        assert_eq!(build["GOPATH"], "/go");
        assert_eq!(build["SOURCE_DATE_EPOCH"], "3");
        assert!(!environment(&recipe, None).contains_key("SOURCE_DATE_EPOCH"));
    }
}
