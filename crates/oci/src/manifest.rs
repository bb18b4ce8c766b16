use std::collections::BTreeMap;

use base::{Arch, Digest};
use serde::{Deserialize, Deserializer, Serialize};

use crate::media_type;

/// The largest manifest or index that is read: what registries take (OCI distribution 1.1).
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;
/// The most layers or manifests that one document may list.
const LIST_LIMIT: usize = 4096;

/// What a manifest says of a blob: its kind, size and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The blob's kind; see [`media_type`].
    pub media_type: String,
    /// The blob's length in bytes.
    pub size: u64,
    /// The blob's digest.
    #[serde(deserialize_with = "strict_digest")]
    pub digest: Digest,
    /// Where else the blob may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Anything else that is to be known.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The machine it is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of artefact behind a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// The machine that an image is made for, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH, such as `amd64`.
    pub architecture: String,
    /// GOOS: `linux`.
    pub os: String,
    /// The operating system's version.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// What the operating system must know.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The architecture's variant, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What holds an image, or an artefact such as a signature, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artefact, where it isn't an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this artefact is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Anything else that is to be known.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests: the images of several architectures, or all that a layout holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::INDEX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The kind of artefact, where they aren't images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this list is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Anything else that is to be known.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// The bytes are no manifest or index that can be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Larger than registries take.
    #[error("it has {0} bytes, and no registry takes more than {MANIFEST_LIMIT}")]
    TooLarge(u64),
    /// Not JSON, or not of this shape.
    #[error("it is not of the OCI image format")]
    Json(#[from] serde_json::Error),
    /// Another schema than 2.
    #[error("its schemaVersion is {0}; only version 2 is known")]
    Schema(u32),
    /// It names itself something else.
    #[error("it calls itself `{found}`, but `{expected}` was to be read")]
    MediaType {
        /// What it says.
        found: String,
        /// What was wanted.
        expected: &'static str,
    },
    /// It is said to be something else.
    #[error("it is said to be a `{said}`, but calls itself `{found}`")]
    Contradiction {
        /// What it says.
        found: String,
        /// What whoever gave it says.
        said: String,
    },
    /// An image and a list of images in one: different programs would take it for different things.
    #[error("it is an image and a list of images at once")]
    TwoThings,
    /// No manifest or index that is known.
    #[error("`{0}` is no kind of manifest or index that is known")]
    Unknown(String),
    /// Too many layers or manifests.
    #[error("it lists {0} blobs; at most {LIST_LIMIT} are read")]
    TooMany(usize),
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes a blob whose digest and size are known.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            size,
            digest,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

impl Platform {
    /// Linux on `arch`.
    pub fn linux(arch: Arch) -> Platform {
        let (architecture, variant) = arch.oci();
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: None,
            os_features: Vec::new(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Whether an image for this platform is meant for Linux on `arch`.
    pub fn is(&self, arch: Arch) -> bool {
        let (architecture, variant) = arch.oci();
        self.os == "linux"
            && self.architecture == architecture
            && (variant.is_none() || self.variant.as_deref() == variant)
    }
}

impl Manifest {
    /// An image: a configuration and its layers.
    pub fn image(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// An artefact about `subject`: blobs without a configuration.
    pub fn artifact(
        artifact_type: &str,
        layers: Vec<Descriptor>,
        subject: &Descriptor,
    ) -> Manifest {
        Manifest {
            artifact_type: Some(artifact_type.to_owned()),
            subject: Some(Descriptor::new(
                &subject.media_type,
                subject.digest,
                subject.size,
            )),
            ..Manifest::image(Descriptor::of(media_type::EMPTY, b"{}"), layers)
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`InvalidManifest`]: too large, not JSON of this shape, or something else by its own word.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, InvalidManifest> {
        check_size(bytes)?;
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        check_head(
            manifest.schema_version,
            manifest.media_type.as_deref(),
            media_type::is_manifest,
            media_type::MANIFEST,
        )?;
        if manifest.layers.len() > LIST_LIMIT {
            return Err(InvalidManifest::TooMany(manifest.layers.len()));
        }
        Ok(manifest)
    }

    /// The bytes whose digest is the manifest's.
    ///
    /// # Errors
    /// None in practice; see [`crate::json::to_vec`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        crate::json::to_vec(self)
    }
}

impl Index {
    /// A list of `manifests`.
    pub fn new(manifests: Vec<Descriptor>) -> Index {
        Index {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// [`InvalidManifest`]: too large, not JSON of this shape, or something else by its own word.
    pub fn parse(bytes: &[u8]) -> Result<Index, InvalidManifest> {
        check_size(bytes)?;
        let index: Index = serde_json::from_slice(bytes)?;
        check_head(
            index.schema_version,
            index.media_type.as_deref(),
            media_type::is_index,
            media_type::INDEX,
        )?;
        if index.manifests.len() > LIST_LIMIT {
            return Err(InvalidManifest::TooMany(index.manifests.len()));
        }
        Ok(index)
    }

    /// The bytes whose digest is the index's.
    ///
    /// # Errors
    /// None in practice; see [`crate::json::to_vec`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        crate::json::to_vec(self)
    }
}

pub(crate) fn check_size(bytes: &[u8]) -> Result<(), InvalidManifest> {
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(InvalidManifest::TooLarge(bytes.len() as u64));
    }
    Ok(())
}

fn check_head(
    schema: u32,
    media_type: Option<&str>,
    known: fn(&str) -> bool,
    expected: &'static str,
) -> Result<(), InvalidManifest> {
    if schema != 2 {
        return Err(InvalidManifest::Schema(schema));
    }
    match media_type {
        Some(found) if !known(found) => Err(InvalidManifest::MediaType {
            found: found.to_owned(),
            expected,
        }),
        _ => Ok(()),
    }
}

/// A digest as OCI writes it: with its algorithm, in lower case. (`Digest` reads more.)
pub(crate) fn strict_digest<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_digest(&text).map_err(serde::de::Error::custom)
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    let digest: Digest = text
        .parse()
        .map_err(|invalid: base::InvalidDigest| invalid.to_string())?;
    if digest.to_string() == text {
        Ok(digest)
    } else {
        Err(format!("`{text}` is not written as `{digest}`"))
    }
}

/// `null` for a list or a map, as Go writes empty ones.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_go() {
        let mut config = Descriptor::of(media_type::CONFIG, b"{}");
        config
            .annotations
            .insert("b".to_owned(), "R&D <x>".to_owned());
        config.annotations.insert("a".to_owned(), "1".to_owned());
        let layer = Descriptor {
            platform: Some(Platform::linux(Arch::Armv7)),
            ..Descriptor::of(media_type::LAYER_TAR_GZIP, b"layer")
        };
        let manifest = Manifest::artifact("application/x", vec![layer], &config);
        let bytes = manifest.to_bytes().unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&bytes), @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x","config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":5,"digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","platform":{"architecture":"arm","os":"linux","variant":"v7"}}],"subject":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}"#);
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
    }

    #[test]
    fn strangers_are_refused() {
        let hex = "a".repeat(64);
        let upper = "A".repeat(64);
        let config = |digest: &str| format!(r#"{{"mediaType":"x","size":1,"digest":"{digest}"}}"#);
        let manifest = |head: &str, digest: &str| {
            format!(r#"{{{head},"config":{},"layers":[]}}"#, config(digest))
        };
        let parse = |text: String| match Manifest::parse(text.as_bytes()) {
            Ok(_) => "ok".to_owned(),
            Err(InvalidManifest::Json(error)) => format!("json: {error}"),
            Err(error) => error.to_string(),
        };
        let good = format!("sha256:{hex}");
        assert_eq!(parse(manifest(r#""schemaVersion":2"#, &good)), "ok");
        let results = [
            parse(manifest(r#""schemaVersion":1"#, &good)),
            parse(manifest(
                &format!(r#""schemaVersion":2,"mediaType":"{}""#, media_type::INDEX),
                &good,
            )),
            parse(manifest(r#""schemaVersion":2"#, &hex)),
            parse(manifest(r#""schemaVersion":2"#, &format!("sha256:{upper}"))),
            parse(manifest(r#""schemaVersion":2"#, "sha512:00")),
            parse("[".repeat(100_000)),
            parse(" ".repeat(5 << 20)),
        ];
        insta::assert_snapshot!(results.join("\n"), @r"
        its schemaVersion is 1; only version 2 is known
        it calls itself `application/vnd.oci.image.index.v1+json`, but `application/vnd.oci.image.manifest.v1+json` was to be read
        json: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is not written as `sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` at line 1 column 130
        json: `sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA` is not written as `sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` at line 1 column 137
        json: `sha512:00` is not a SHA-256 digest: 64 hexadecimal digits, optionally after `sha256:` at line 1 column 75
        json: invalid type: sequence, expected u32 at line 1 column 1
        it has 5242880 bytes, and no registry takes more than 4194304
        ");
    }
}
