//! SLSA provenance v1 (`https://slsa.dev/provenance/v1`): what went into a build.
//!
//! No field holds a wall clock: the same build states the same provenance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::intoto::{Statement, Subject};

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// What the file of statements about a package, which lies beside it, has after its name.
pub const FILE_SUFFIX: &str = ".intoto.jsonl";

/// The predicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for and what was used.
    pub build_definition: BuildDefinition,
    /// Who ran it.
    pub run_details: RunDetails,
}

/// What was asked for and what was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// A URI that says how to read the parameters.
    pub build_type: String,
    /// Everything the requester chose: recipe, architecture, options.
    pub external_parameters: Map<String, Value>,
    /// What the builder chose by itself.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub internal_parameters: Map<String, Value>,
    /// Sources and packages by digest. [`Provenance::statement`] sorts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// Who ran the build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// The builder.
    pub builder: Builder,
    /// The run, where one can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Other things that the build made: logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<ResourceDescriptor>,
}

/// The predicate type of a [`VerificationSummary`].
pub const SUMMARY_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// That somebody has verified an artefact, and how far it held (SLSA 1.1, Verification Summary
/// Attestation): for those who trust the verifier and need not do it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSummary {
    /// Who verified it.
    pub verifier: Builder,
    /// When, in the form of RFC 3339.
    pub time_verified: String,
    /// Where the artefact was found.
    pub resource_uri: String,
    /// What it was held to, by digest.
    pub policy: ResourceDescriptor,
    /// `PASSED` or `FAILED`.
    pub verification_result: String,
    /// `SLSA_BUILD_LEVEL_N`, or `SLSA_BUILD_LEVEL_UNEVALUATED`; `FAILED` of what did not pass.
    pub verified_levels: Vec<String>,
    /// Of which version of SLSA.
    pub slsa_version: String,
}

/// The builder, known by a URI that stands for everything that must be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// The URI.
    pub id: String,
    /// Versions of the builder's parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Names the run; for polpo the digest of the build plan.
    pub invocation_id: String,
}

/// A file, package or repository that took part (in-toto ResourceDescriptor v1).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescriptor {
    /// Where it comes from: a URL or a package URL.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// A name within the build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Hex digests by algorithm: `sha256`, `gitCommit`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// Anything else worth knowing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl ResourceDescriptor {
    /// A resource known by its SHA-256.
    pub fn new(uri: impl Into<String>, digest: base::Digest) -> ResourceDescriptor {
        ResourceDescriptor {
            uri: uri.into(),
            digest: BTreeMap::from([("sha256".to_owned(), digest.hex())]),
            ..ResourceDescriptor::default()
        }
    }

    /// Gives it a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> ResourceDescriptor {
        self.name = name.into();
        self
    }
}

impl Provenance {
    /// The statement that `subject` came out of this build. Subjects and dependencies are sorted
    /// and stand once.
    pub fn statement(mut self, mut subject: Vec<Subject>) -> Statement<Provenance> {
        subject.sort();
        subject.dedup();
        self.build_definition.resolved_dependencies.sort();
        self.build_definition.resolved_dependencies.dedup();
        self.run_details.byproducts.sort();
        Statement::new(subject, PREDICATE_TYPE, self)
    }
}

#[cfg(test)]
mod tests {
    use base::Digest;

    use super::*;

    #[test]
    fn the_shape_is_the_specifications() {
        let source = ResourceDescriptor::new("https://example.org/a.tar.gz", Digest::of(b"a"));
        let guest = ResourceDescriptor::new("pkg:apk/os/make@4-r0", Digest::of(b"m")).named("make");
        let provenance = Provenance {
            build_definition: BuildDefinition {
                build_type: "https://example.org/build/v1".to_owned(),
                external_parameters: Map::from_iter([("recipe".to_owned(), Value::from("a.yaml"))]),
                internal_parameters: Map::new(),
                resolved_dependencies: vec![guest.clone(), source.clone(), guest],
            },
            run_details: RunDetails {
                builder: Builder {
                    id: "https://example.org/builder".to_owned(),
                    version: BTreeMap::new(),
                },
                metadata: None,
                byproducts: Vec::new(),
            },
        };
        let statement = provenance.statement(vec![Subject::new("a-1-r0.apk", Digest::of(b"apk"))]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&statement).unwrap(), @r#"
{
  "_type": "https://in-toto.io/Statement/v1",
  "subject": [
    {
      "name": "a-1-r0.apk",
      "digest": {
        "sha256": "dd37c2d7274f7ea982cb83390c36918fee9ce8889073c44b68cdc00bdb8c3e04"
      }
    }
  ],
  "predicateType": "https://slsa.dev/provenance/v1",
  "predicate": {
    "buildDefinition": {
      "buildType": "https://example.org/build/v1",
      "externalParameters": {
        "recipe": "a.yaml"
      },
      "resolvedDependencies": [
        {
          "uri": "https://example.org/a.tar.gz",
          "digest": {
            "sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
          }
        },
        {
          "uri": "pkg:apk/os/make@4-r0",
          "name": "make",
          "digest": {
            "sha256": "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a"
          }
        }
      ]
    },
    "runDetails": {
      "builder": {
        "id": "https://example.org/builder"
      }
    }
  }
}
"#);
        let bytes = statement.to_json().unwrap();
        assert_eq!(
            Statement::<Provenance>::from_json(&bytes).unwrap(),
            statement
        );
        assert!(
            statement
                .expect(PREDICATE_TYPE, &Digest::of(b"apk"))
                .is_ok()
        );
        let error = statement
            .expect(PREDICATE_TYPE, &Digest::of(b"other"))
            .unwrap_err();
        assert!(
            error.to_string().contains("it speaks of sha256:"),
            "{error}"
        );
        assert!(statement.expect("x", &Digest::of(b"apk")).is_err());
        assert!(Statement::<Provenance>::from_json(b"{}").is_err());
    }
}
