//! Images as one file: a layout in a tar (`oci-archive`), and what `docker load` reads
//! (`docker-archive`). The bytes depend on the image alone.

mod apko;
mod docker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use archive::tar::{EntryKind, Header, ReadError, Reader, Writer};
use archive::{Limits, decompress, tar};
use base::Digest;
use serde::Serialize;
use store::{AtomicFile, WriteError};

use crate::{Descriptor, Document, Layout, LayoutError, ResolvedImage, is_tag};

pub use apko::pack_apko;
pub use docker::unpack_docker;

/// The files of a layout besides its blobs are no larger.
const FILE_LIMIT: u64 = 4 << 20;

/// An image can't be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A layout can't be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The tar can't be written.
    #[error("can't write {}: {source}", path.display())]
    Tar {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tar::WriteError,
    },
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It isn't a tar of a layout.
    #[error("{} is no layout as a tar file: {reason}", path.display())]
    NotALayout {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It isn't what `docker save` writes.
    #[error("{} is no docker archive: {reason}", path.display())]
    NotDocker {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A docker archive has no image of that name, or several and none is named.
    #[error("{} has {}; name one of them behind a colon", path.display(), if names.is_empty() { "images without names".to_owned() } else { names.join(", ") })]
    WhichImage {
        /// The file.
        path: PathBuf,
        /// The names of its images.
        names: Vec<String>,
    },
    /// Engines know images by a name and a tag.
    #[error("`{0}` is no name for an image: NAME:TAG, the name in lower case")]
    Name(String),
    /// What `docker load` reads has layers as tar files only.
    #[error("the image has a layer of the type {0}, which docker archives can't hold")]
    Layer(String),
    /// JSON can't be written.
    #[error("can't write JSON")]
    Json(#[from] serde_json::Error),
}

/// Writes the whole layout as a tar: `oci-layout`, `index.json`, then what they lead to, in the
/// order of the digests. Every blob is checked on the way.
///
/// # Errors
/// See [`PackError`].
pub fn pack_layout(layout: &Layout, to: &Path) -> Result<(), PackError> {
    let mut pack = Pack::create(to)?;
    pack.folder("blobs")?;
    pack.folder("blobs/sha256")?;
    let index = layout.index()?;
    pack.bytes("index.json", &index.to_bytes()?)?;
    pack.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut blobs: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    let mut documents: Vec<Descriptor> = index.manifests;
    while let Some(descriptor) = documents.pop() {
        if blobs.contains_key(&descriptor.digest) {
            continue;
        }
        let document: Document = layout.document(&descriptor)?;
        documents.extend(document.manifests().iter().cloned());
        for blob in document.blobs() {
            // A blob that is to be had elsewhere need not be here.
            if blob.urls.is_empty() || layout.blob_path(&blob.digest).exists() {
                blobs.insert(blob.digest, blob.clone());
            }
        }
        blobs.insert(descriptor.digest, descriptor);
    }
    for (digest, blob) in &blobs {
        pack.blob(&format!("blobs/sha256/{}", digest.hex()), layout, blob)?;
    }
    pack.finish()
}

/// An entry of `manifest.json`: an image of an archive that `docker load` reads.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes images as `docker load` and `podman load` read them, each with its names.
///
/// # Errors
/// See [`PackError`].
pub fn pack_docker(
    layout: &Layout,
    images: &[(ResolvedImage, Vec<String>)],
    to: &Path,
) -> Result<(), PackError> {
    let mut entries = Vec::new();
    for (image, names) in images {
        let names = names.iter().map(|name| full_name(name));
        let layers = image.manifest.layers.iter().map(layer_name);
        entries.push(Entry {
            config: config_name(&image.manifest.config),
            repo_tags: names.collect::<Result<_, _>>()?,
            layers: layers.collect::<Result<_, _>>()?,
        });
    }
    let mut pack = Pack::create(to)?;
    let mut written = BTreeSet::new();
    for (image, _) in images {
        let config = &image.manifest.config;
        if written.insert(config_name(config)) {
            pack.blob(&config_name(config), layout, config)?;
        }
        for layer in &image.manifest.layers {
            let name = layer_name(layer)?;
            if written.insert(name.clone()) {
                pack.blob(&name, layout, layer)?;
            }
        }
    }
    pack.bytes("manifest.json", &crate::json::to_vec(&entries)?)?;
    pack.finish()
}

fn config_name(config: &Descriptor) -> String {
    format!("{}.json", config.digest.hex())
}

fn layer_name(layer: &Descriptor) -> Result<String, PackError> {
    let suffix = match layer.media_type.rsplit(['+', '.']).next() {
        Some("tar") => "tar",
        Some("gzip") => "tar.gz",
        Some("zstd") => "tar.zst",
        _ => return Err(PackError::Layer(layer.media_type.clone())),
    };
    Ok(format!("{}.{suffix}", layer.digest.hex()))
}

/// A name as engines keep it, with its tag.
fn full_name(name: &str) -> Result<String, PackError> {
    let (bare, tag) = match name.rsplit_once(':') {
        Some((bare, tag)) if !tag.contains('/') => (bare, tag),
        _ => (name, "latest"),
    };
    let starts = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'[';
    let is_name = bare.as_bytes().first().is_some_and(starts)
        && bare.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/:[]".contains(&byte)
        });
    match is_name && is_tag(tag) {
        true => Ok(format!("{bare}:{tag}")),
        false => Err(PackError::Name(name.to_owned())),
    }
}

/// A tar under way, beside its name.
struct Pack<'p> {
    path: &'p Path,
    tar: Writer<BufWriter<AtomicFile>>,
}

impl<'p> Pack<'p> {
    fn create(path: &'p Path) -> Result<Pack<'p>, PackError> {
        let file = BufWriter::with_capacity(1 << 18, AtomicFile::create(path)?);
        Ok(Pack {
            path,
            tar: Writer::new(file),
        })
    }

    fn append(&mut self, header: &Header, content: impl Read) -> Result<(), PackError> {
        self.tar
            .append(header, content)
            .map_err(|source| PackError::Tar {
                path: self.path.to_owned(),
                source,
            })
    }

    fn folder(&mut self, name: &str) -> Result<(), PackError> {
        self.append(&Header::directory(name), io::empty())
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        self.append(&Header::file(name, bytes.len() as u64), bytes)
    }

    fn blob(&mut self, name: &str, layout: &Layout, blob: &Descriptor) -> Result<(), PackError> {
        let reader = layout.open_blob(blob)?;
        self.append(&Header::file(name, blob.size), reader)
    }

    fn finish(self) -> Result<(), PackError> {
        let path = self.path;
        let file = self.tar.finish().map_err(|source| PackError::Tar {
            path: path.to_owned(),
            source,
        })?;
        let file = file
            .into_inner()
            .map_err(|error| WriteError::at("write", path)(error.into_error()))?;
        Ok(file.commit()?)
    }
}

/// Unpacks the tar of a layout, compressed or not, into the folder `into`, which is empty. What is
/// no part of a layout is left out; that blobs are what they are named shows when they are read.
///
/// # Errors
/// See [`PackError`].
pub fn unpack_layout(from: &Path, into: &Path) -> Result<Layout, PackError> {
    let read_error = |source| PackError::Read {
        path: from.to_owned(),
        source,
    };
    let invalid = |reason: String| PackError::NotALayout {
        path: from.to_owned(),
        reason,
    };
    let tar_error = |error: ReadError| match error {
        ReadError::Io(source) => read_error(source),
        other => invalid(other.to_string()),
    };
    let file = File::open(from).map_err(read_error)?;
    let file = BufReader::with_capacity(1 << 18, file);
    let content = decompress::open(file, Limits::default()).map_err(read_error)?;
    let mut reader = Reader::new(content, Limits::default());
    let blobs = into.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(WriteError::at("create the folder", &blobs))?;
    while let Some(mut entry) = reader.next().map_err(tar_error)? {
        let EntryKind::File { size } = entry.header().kind else {
            continue;
        };
        let name = entry.header().path.clone();
        let digest = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let path = match (name.as_str(), digest) {
            ("index.json" | "oci-layout", _) if size <= FILE_LIMIT => into.join(&name),
            (_, Some(digest)) => blobs.join(digest.hex()),
            _ => continue,
        };
        let mut file = File::create(&path).map_err(WriteError::at("create", &path))?;
        io::copy(&mut entry, &mut file).map_err(read_error)?;
    }
    Layout::open(into).map_err(|error| match error {
        LayoutError::NotALayout { reason, .. } => invalid(reason),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageConfig, Manifest, media_type};

    fn layout(folder: &Path) -> (Layout, Descriptor) {
        let layout = Layout::create(folder).unwrap();
        let config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        let config = layout
            .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
            .unwrap();
        let layer = layout
            .put_blob(media_type::LAYER_TAR_GZIP, b"layer")
            .unwrap();
        let image = layout
            .put_manifest(&Manifest::image(config, vec![layer]))
            .unwrap();
        layout.tag("v1", &image).unwrap();
        (layout, image)
    }

    #[test]
    fn a_layout_goes_through_a_tar() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (made, image) = layout(&path("layout"));
        // What nothing leads to stays out.
        made.put_blob("application/x", b"stray").unwrap();
        pack_layout(&made, &path("one.tar")).unwrap();
        pack_layout(&made, &path("two.tar")).unwrap();
        let bytes = std::fs::read(path("one.tar")).unwrap();
        assert_eq!(bytes, std::fs::read(path("two.tar")).unwrap());
        let back = unpack_layout(&path("one.tar"), &path("back")).unwrap();
        assert_eq!(back.resolve(Some("v1")).unwrap().digest, image.digest);
        let blobs = std::fs::read_dir(path("back/blobs/sha256")).unwrap();
        assert_eq!(blobs.count(), 3);

        std::fs::write(path("text.tar"), "no tar").unwrap();
        let error = unpack_layout(&path("text.tar"), &path("none")).unwrap_err();
        let text = error
            .to_string()
            .replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @"DIR/text.tar is no layout as a tar file: the archive is truncated: it ends inside a header; fetch or make it again");
        let blob = made.blob_path(&image.digest);
        std::fs::write(blob, "changed").unwrap();
        assert!(pack_layout(&made, &path("three.tar")).is_err());
        assert!(!path("three.tar").exists());
    }

    #[test]
    fn names_of_engines() {
        assert_eq!(full_name("a").unwrap(), "a:latest");
        assert_eq!(
            full_name("localhost:5000/a").unwrap(),
            "localhost:5000/a:latest"
        );
        assert_eq!(full_name("localhost/a:v1").unwrap(), "localhost/a:v1");
        for name in ["", ":v1", "A", "a b", "a:v 1", "-a"] {
            assert!(full_name(name).is_err(), "{name}");
        }
    }
}
