//! How a package was made: a SLSA statement that lies beside it as `NAME-VERSION.apk.intoto.jsonl`.
//!
//! Its subject is the package's own SHA-256. It names the recipe, the guest's packages, the sources
//! and what was recorded of the network by hash, and holds the plan, so that the build can be done
//! again. No clock, host or folder is in it: whoever carries the same plan out states the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use attest::dsse::{DsseError, Envelope};
use attest::intoto::{JsonError, PAYLOAD_TYPE, Statement, StatementError, Subject};
use attest::slsa::{
    BuildDefinition, Builder, FILE_SUFFIX, Metadata, PREDICATE_TYPE, Provenance,
    ResourceDescriptor, RunDetails,
};
use attest::spdx::{RecipeRecord, package_url};
use base::{Digest, Epoch};
use key::{PrivateKey, PublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::{BuildPlan, Network};
use crate::recipe::ResolvedRecipe;
use crate::recording::package_of;

/// The SLSA build type of packages: a recipe, an architecture and a time in; the plan is how.
pub const BUILD_TYPE: &str = "urn:polpo:build-type:package:v1";

/// The builder that runs on whatever machine polpo was called on.
pub const LOCAL_BUILDER: &str = "urn:polpo:builder:local";

/// Longer files hold no statement: 128 MiB.
const MAX_LENGTH: u64 = 128 << 20;

/// What the requester chose besides the recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// The architecture, in apk's name.
    pub architecture: String,
    /// The time that the package carries.
    pub source_date_epoch: u64,
    /// The distribution.
    pub namespace: String,
    /// What steps had of the network.
    pub network: Network,
    /// Whether subpackages name themselves as their origin.
    #[serde(default)]
    pub strip_origin_name: bool,
    /// The recipe's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe_file: Option<RecipeFile>,
}

/// Where a recipe lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeFile {
    /// Its path in its repository, or its name.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its repository's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl From<&RecipeRecord> for RecipeFile {
    fn from(record: &RecipeRecord) -> RecipeFile {
        RecipeFile {
            path: record.path.clone(),
            digest: record.digest,
            repository: record.repository.clone(),
            commit: record.commit.clone(),
        }
    }
}

impl From<RecipeFile> for RecipeRecord {
    fn from(file: RecipeFile) -> RecipeRecord {
        RecipeRecord {
            path: file.path,
            digest: file.digest,
            repository: file.repository,
            commit: file.commit,
        }
    }
}

/// What a statement says of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFacts {
    /// The recipe, as the package has it.
    pub recipe: ResolvedRecipe,
    /// What was carried out.
    pub plan: BuildPlan,
    /// What else was chosen.
    pub parameters: Parameters,
}

/// Who vouches for a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "keys")]
pub enum Voucher {
    /// Nobody has signed it.
    Nobody,
    /// It is signed, but by no key that is trusted.
    Strangers,
    /// It is signed by these trusted keys, by the SHA-256 of their public halves.
    Keys(Vec<Digest>),
}

/// A statement can't be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// A value can't be written as JSON.
    #[error("the provenance of {package} can't be written: {source}")]
    Write {
        /// The package.
        package: String,
        /// Why not.
        source: JsonError,
    },
    /// It can't be signed.
    #[error("the provenance of {package} can't be signed: {source}")]
    Sign {
        /// The package.
        package: String,
        /// Why not.
        source: DsseError,
    },
    /// The file can't be read.
    #[error("the provenance `{path}` can't be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is longer than a statement is.
    #[error("the provenance `{path}` has {length} bytes; at most {MAX_LENGTH} are read", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// It is an envelope that makes no sense.
    #[error("the provenance `{path}`: {source}", path = path.display())]
    Envelope {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DsseError,
    },
    /// It is no statement about the package.
    #[error("the provenance `{path}`: {source}; it belongs to another package or build of it", path = path.display())]
    Statement {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: StatementError,
    },
    /// No line of it is a statement of provenance.
    #[error("the provenance `{path}` holds no statement with the predicate {PREDICATE_TYPE}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another builder's.
    #[error("the provenance `{path}` is of the build type `{found}`; only `{BUILD_TYPE}` says how to build again", path = path.display())]
    BuildType {
        /// The file.
        path: PathBuf,
        /// The type found.
        found: String,
    },
    /// What is needed to build again is missing or makes no sense.
    #[error("the provenance `{path}` has no usable `{field}`: {source}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The plan in it is not the one it names.
    #[error("the provenance `{path}` names the plan {named}, but holds {held}", path = path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// The digest named.
        named: String,
        /// The digest of the plan in it.
        held: Digest,
    },
}

/// Where the statement about the package at `path` lies.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(FILE_SUFFIX);
    PathBuf::from(name)
}

impl BuildFacts {
    /// The predicate. `version` is that of the program.
    ///
    /// # Errors
    /// None in practice: the facts are plain data.
    pub fn provenance(&self, version: &str) -> Result<Provenance, serde_json::Error> {
        let mut external = object(&self.parameters)?;
        external.insert("recipe".to_owned(), serde_json::to_value(&self.recipe)?);
        let internal = Map::from_iter([("plan".to_owned(), serde_json::to_value(&self.plan)?)]);
        Ok(Provenance {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: external,
                internal_parameters: internal,
                resolved_dependencies: self.dependencies(),
            },
            run_details: RunDetails {
                builder: Builder {
                    id: LOCAL_BUILDER.to_owned(),
                    version: BTreeMap::from([("polpo".to_owned(), version.to_owned())]),
                },
                metadata: Some(Metadata {
                    invocation_id: self.plan.digest().to_string(),
                }),
                byproducts: Vec::new(),
            },
        })
    }

    /// Everything that took part, by hash.
    fn dependencies(&self) -> Vec<ResourceDescriptor> {
        let plan = &self.plan;
        let guest = plan.guest.iter().map(|package| {
            let purl = package_url("apk", &[&package.name], &package.version);
            let mut found =
                ResourceDescriptor::new(format!("{purl}?arch={}", plan.arch), package.digest)
                    .named(&package.name);
            found
                .annotations
                .insert("apkIdentity".to_owned(), package.identity.clone());
            found
        });
        let sources = plan.sources.iter().map(|source| {
            let uri = store::without_credentials(&source.uri);
            let Some(commit) = &source.commit else {
                return ResourceDescriptor::new(uri, source.digest);
            };
            let uri = match uri.strip_prefix("git+") {
                Some(_) => uri,
                None => format!("git+{uri}"),
            };
            ResourceDescriptor {
                uri: format!("{uri}@{commit}"),
                digest: BTreeMap::from([("gitCommit".to_owned(), commit.clone())]),
                annotations: BTreeMap::from([("tree".to_owned(), source.digest.to_string())]),
                ..ResourceDescriptor::default()
            }
        });
        let files = plan
            .files
            .iter()
            .map(|file| ResourceDescriptor::new("", file.digest).named(&file.path));
        let recorded = plan.recording.exchanges().iter().map(|exchange| {
            let mut found = ResourceDescriptor::new(&exchange.url, exchange.digest);
            if exchange.status != 200 {
                let status = exchange.status.to_string();
                found.annotations.insert("status".to_owned(), status);
            }
            if exchange.method != "GET" {
                let method = exchange.method.clone();
                found.annotations.insert("method".to_owned(), method);
            }
            if let Some(package) = package_of(&exchange.url) {
                let path: Vec<&str> = package.path.iter().map(String::as_str).collect();
                let purl = package_url(package.kind, &path, &package.version);
                found.annotations.insert("purl".to_owned(), purl);
            }
            found
        });
        guest
            .chain(sources)
            .chain(files)
            .chain(recorded)
            .chain(self.recipe_file())
            .collect()
    }

    fn recipe_file(&self) -> Option<ResourceDescriptor> {
        let file = self.parameters.recipe_file.as_ref()?;
        let uri = match (&file.repository, &file.commit) {
            (Some(repository), Some(commit)) => {
                let repository = store::without_credentials(repository);
                format!("git+{repository}@{commit}#{}", file.path)
            }
            _ => String::new(),
        };
        Some(ResourceDescriptor::new(uri, file.digest).named(&file.path))
    }

    /// The line that states how the package with this file name and digest was made: a DSSE envelope
    /// if there is a key, else the bare statement.
    ///
    /// # Errors
    /// The key can't sign.
    pub fn line(
        &self,
        file_name: &str,
        digest: Digest,
        version: &str,
        signing_key: Option<&PrivateKey>,
    ) -> Result<Vec<u8>, ProvenanceError> {
        let failed = |source| ProvenanceError::Write {
            package: file_name.to_owned(),
            source,
        };
        let provenance = self
            .provenance(version)
            .map_err(|error| failed(error.into()))?;
        let statement = provenance.statement(vec![Subject::new(file_name, digest)]);
        let mut line = match signing_key {
            None => statement.to_json().map_err(failed)?,
            Some(key) => statement
                .sign(&[key])
                .and_then(|envelope| envelope.to_json())
                .map_err(|source| ProvenanceError::Sign {
                    package: file_name.to_owned(),
                    source,
                })?,
        };
        line.push(b'\n');
        Ok(line)
    }

    /// Whether `line` states just this of the package with `digest`, signed by this key, or by nobody
    /// where there is none. Whichever version of the program stated it.
    pub fn are_stated(&self, line: &[u8], digest: &Digest, key: Option<&PublicKey>) -> bool {
        let trusted: Vec<PublicKey> = key.cloned().into_iter().collect();
        let found = BuildFacts::find(line, Path::new(FILE_SUFFIX), digest, &trusted);
        found.is_ok_and(|(facts, voucher)| {
            let is_signed_so = match key {
                Some(key) => voucher == Voucher::Keys(vec![key.id()]),
                None => voucher == Voucher::Nobody,
            };
            is_signed_so && facts == *self
        })
    }

    /// Reads the statement in the file at `path` about the package with `digest`, and who vouches for
    /// it. What nobody trusted has signed is read too: building again shows whether it is true.
    ///
    /// # Errors
    /// The file holds no such statement, or it does not say how to build again.
    pub fn read(
        path: &Path,
        digest: &Digest,
        trusted: &[PublicKey],
    ) -> Result<(BuildFacts, Voucher), ProvenanceError> {
        let at = || path.to_owned();
        let failed = |source| ProvenanceError::Read { path: at(), source };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > MAX_LENGTH {
            return Err(ProvenanceError::TooLong { path: at(), length });
        }
        let bytes = fs::read(path).map_err(failed)?;
        BuildFacts::find(&bytes, path, digest, trusted)
    }

    /// As [`BuildFacts::read`], of bytes that were read from `path`.
    ///
    /// # Errors
    /// The same.
    pub fn find(
        bytes: &[u8],
        path: &Path,
        digest: &Digest,
        trusted: &[PublicKey],
    ) -> Result<(BuildFacts, Voucher), ProvenanceError> {
        let at = || path.to_owned();
        let mut other = None;
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let (statement, voucher) = statement(line, path, trusted)?;
            if statement.predicate_type != PREDICATE_TYPE {
                continue;
            }
            match statement.expect(PREDICATE_TYPE, digest) {
                Ok(()) => return Ok((facts(statement, path)?, voucher)),
                Err(error) => other = Some(error),
            }
        }
        Err(match other {
            Some(source) => ProvenanceError::Statement { path: at(), source },
            None => ProvenanceError::Missing { path: at() },
        })
    }
}

/// What an envelope has and a statement has not.
#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "payloadType")]
    payload_type: Option<serde::de::IgnoredAny>,
}

fn statement(
    line: &[u8],
    path: &Path,
    trusted: &[PublicKey],
) -> Result<(Statement<Value>, Voucher), ProvenanceError> {
    let wrong = |source| ProvenanceError::Statement {
        path: path.to_owned(),
        source,
    };
    let broken = |source| ProvenanceError::Envelope {
        path: path.to_owned(),
        source,
    };
    let enveloped =
        serde_json::from_slice::<Probe>(line).is_ok_and(|probe| probe.payload_type.is_some());
    if !enveloped {
        let statement = Statement::from_json(line).map_err(wrong)?;
        return Ok((statement, Voucher::Nobody));
    }
    let envelope = Envelope::from_json(line).map_err(broken)?;
    match envelope.verify(trusted) {
        Ok(verified) => {
            let keys = verified.keys().iter().copied().collect();
            let statement = Statement::from_verified(&verified).map_err(wrong)?;
            Ok((statement, Voucher::Keys(keys)))
        }
        Err(DsseError::Untrusted { .. }) => {
            let (kind, payload) = envelope.unverified();
            if kind != PAYLOAD_TYPE {
                let found = kind.to_owned();
                return Err(wrong(StatementError::Payload { found }));
            }
            Ok((
                Statement::from_json(payload).map_err(wrong)?,
                Voucher::Strangers,
            ))
        }
        Err(error) => Err(broken(error)),
    }
}

fn facts(statement: Statement<Value>, path: &Path) -> Result<BuildFacts, ProvenanceError> {
    let field = |field| {
        move |source| ProvenanceError::Field {
            path: path.to_owned(),
            field,
            source,
        }
    };
    let provenance: Provenance =
        serde_json::from_value(statement.predicate).map_err(field("predicate"))?;
    let definition = provenance.build_definition;
    if definition.build_type != BUILD_TYPE {
        return Err(ProvenanceError::BuildType {
            path: path.to_owned(),
            found: definition.build_type,
        });
    }
    let plan: BuildPlan =
        take(&definition.internal_parameters, "plan").map_err(field("internalParameters.plan"))?;
    let recipe = take(&definition.external_parameters, "recipe")
        .map_err(field("externalParameters.recipe"))?;
    let parameters = serde_json::from_value(Value::Object(definition.external_parameters))
        .map_err(field("externalParameters"))?;
    let named = provenance
        .run_details
        .metadata
        .map(|metadata| metadata.invocation_id)
        .unwrap_or_default();
    let held = plan.digest();
    if named != held.to_string() {
        return Err(ProvenanceError::Plan {
            path: path.to_owned(),
            named,
            held,
        });
    }
    Ok(BuildFacts {
        recipe,
        plan,
        parameters,
    })
}

fn take<T: DeserializeOwned>(
    from: &Map<String, Value>,
    name: &str,
) -> Result<T, serde_json::Error> {
    T::deserialize(from.get(name).unwrap_or(&Value::Null))
}

fn object<T: Serialize>(value: &T) -> Result<Map<String, Value>, serde_json::Error> {
    Ok(match serde_json::to_value(value)? {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    })
}

impl Parameters {
    /// The time that the package carries.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.source_date_epoch)
    }
}
