use std::collections::BTreeMap;

use base::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::manifest::null_as_default;

/// An image's configuration: how to run it and what its layers hold
/// (OCI image specification, `config.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// GOARCH, such as `amd64`.
    pub architecture: String,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How each layer came to be.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub history: Vec<History>,
    /// GOOS: `linux`.
    pub os: String,
    /// The layers' digests when not compressed.
    pub rootfs: RootFs,
    /// How to run it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: Execution,
    /// The architecture's variant, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What the operating system must know.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

/// How one layer came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether no layer belongs to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers' digests when not compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The SHA-256 of each layer's tar, the lowest first.
    #[serde(serialize_with = "write_digests", deserialize_with = "read_digests")]
    pub diff_ids: Vec<Digest>,
}

/// How an image is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Execution {
    /// The arguments, or the command if there is no entrypoint.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub cmd: Vec<String>,
    /// The command.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub entrypoint: Vec<String>,
    /// `NAME=value` lines.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub env: Vec<String>,
    /// Anything else that is to be known.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// The user: a name or a number, and a group after a colon.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Folders that the runtime keeps apart.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Ports that it listens on, such as `80/tcp`.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    /// The signal that asks it to end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// The bytes are no image configuration that can be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not JSON, or not of this shape.
    #[error("it is not an OCI image configuration")]
    Json(#[from] serde_json::Error),
    /// The root filesystem isn't made of layers.
    #[error("its rootfs is of type `{0}`; only `layers` is known")]
    RootFs(String),
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

impl ImageConfig {
    /// Reads a configuration. Fields that polpo doesn't use, such as a health check, are dropped.
    ///
    /// # Errors
    /// [`InvalidConfig`]: not JSON of this shape, or a root filesystem that isn't layers.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig, InvalidConfig> {
        let config: ImageConfig = serde_json::from_slice(bytes)?;
        if config.rootfs.kind != "layers" {
            return Err(InvalidConfig::RootFs(config.rootfs.kind));
        }
        Ok(config)
    }

    /// The bytes whose digest is the configuration's, and the image's identifier in engines.
    ///
    /// # Errors
    /// None in practice; see [`crate::json::to_vec`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        crate::json::to_vec(self)
    }
}

fn write_digests<S: Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(digests)
}

fn read_digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    #[derive(Deserialize)]
    struct Strict(#[serde(deserialize_with = "crate::manifest::strict_digest")] Digest);
    let digests: Option<Vec<Strict>> = Option::deserialize(deserializer)?;
    Ok(digests
        .unwrap_or_default()
        .into_iter()
        .map(|strict| strict.0)
        .collect())
}
