//! What `docker save` and `podman save` write, read into a layout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use archive::decompress::{self, Format};
use archive::tar::{End, EntryKind, ReadError, Reader};
use archive::{Limits, tar};
use base::Digest;
use serde::Deserialize;
use store::WriteError;

use super::{FILE_LIMIT, PackError};
use crate::layout::CONFIG_LIMIT;
use crate::{Descriptor, ImageConfig, Index, Layout, Manifest, Platform, media_type};

/// How many links lead from a name to a file.
const LINKS: usize = 8;
/// The most files that an archive has.
const FILES: usize = 100_000;

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The archive's files, taken out, by the names they have in it.
struct Files<'p> {
    path: &'p Path,
    /// A file of the folder with its size, or the name that a link leads to.
    names: BTreeMap<String, Result<(PathBuf, u64), String>>,
}

/// Unpacks a docker archive, compressed or not, into the folder `into`, which is empty, and makes a
/// layout of the image `name` there; without a name, of the only one, or of all as one index if each
/// is for another machine. Manifests are made for it: docker archives have none.
///
/// # Errors
/// See [`PackError`].
pub fn unpack_docker(from: &Path, name: Option<&str>, into: &Path) -> Result<Layout, PackError> {
    let invalid = |reason: String| PackError::NotDocker {
        path: from.to_owned(),
        reason,
    };
    let scratch = into.join("files");
    std::fs::create_dir_all(&scratch).map_err(WriteError::at("create the folder", &scratch))?;
    let files = Files::take_out(from, &scratch)?;
    let bytes = files.read("manifest.json", FILE_LIMIT)?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(format!("its manifest.json can't be used: {error}")))?;
    let chosen = choose(&saved, name).ok_or_else(|| PackError::WhichImage {
        path: from.to_owned(),
        names: saved
            .iter()
            .flat_map(|one| one.repo_tags.clone().unwrap_or_default())
            .collect(),
    })?;
    let layout = Layout::create(into.join("layout"))?;
    let mut images: Vec<Descriptor> = Vec::new();
    for image in chosen {
        images.push(put(&files, image, &layout)?);
    }
    let root = match <[Descriptor; 1]>::try_from(images) {
        Ok([image]) => image,
        Err(images) => {
            let mut platforms: Vec<&Platform> = Vec::new();
            for platform in images.iter().filter_map(|image| image.platform.as_ref()) {
                if platforms.contains(&platform) {
                    return Err(PackError::WhichImage {
                        path: from.to_owned(),
                        names: saved
                            .iter()
                            .flat_map(|one| one.repo_tags.clone().unwrap_or_default())
                            .collect(),
                    });
                }
                platforms.push(platform);
            }
            layout.put_index(&Index::new(images))?
        }
    };
    layout.list(&root)?;
    std::fs::remove_dir_all(&scratch).map_err(WriteError::at("remove", &scratch))?;
    Ok(layout)
}

/// The images of that name, or all.
fn choose<'s>(saved: &'s [Saved], name: Option<&str>) -> Option<Vec<&'s Saved>> {
    let Some(name) = name else {
        return (!saved.is_empty()).then(|| saved.iter().collect());
    };
    let fits = |tag: &String| {
        let bare = tag.strip_suffix(":latest").unwrap_or(tag);
        [tag, bare].into_iter().any(|known| {
            known == name
                || known
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.ends_with('/'))
        })
    };
    let found: Vec<&Saved> = saved
        .iter()
        .filter(|one| one.repo_tags.iter().flatten().any(fits))
        .collect();
    (found.len() == 1).then_some(found)
}

/// Writes an image into the layout, without listing it.
fn put(files: &Files<'_>, saved: &Saved, layout: &Layout) -> Result<Descriptor, PackError> {
    let bytes = files.read(&saved.config, CONFIG_LIMIT)?;
    let config = ImageConfig::parse(&bytes).map_err(|error| PackError::NotDocker {
        path: files.path.to_owned(),
        reason: format!("its configuration {} can't be used: {error}", saved.config),
    })?;
    let described = layout.put_blob(media_type::CONFIG, &bytes)?;
    let mut layers = Vec::new();
    for name in &saved.layers {
        layers.push(files.layer(name, layout)?);
    }
    let mut descriptor = layout.put_manifest(&Manifest::image(described, layers))?;
    descriptor.platform = Some(Platform {
        architecture: config.architecture,
        os: config.os,
        os_version: None,
        os_features: config.os_features,
        variant: config.variant,
    });
    Ok(descriptor)
}

impl<'p> Files<'p> {
    fn take_out(from: &'p Path, into: &Path) -> Result<Files<'p>, PackError> {
        let read_error = |source| PackError::Read {
            path: from.to_owned(),
            source,
        };
        let invalid = |reason: String| PackError::NotDocker {
            path: from.to_owned(),
            reason,
        };
        let file = File::open(from).map_err(read_error)?;
        let file = BufReader::with_capacity(1 << 18, file);
        let content = decompress::open(file, Limits::default()).map_err(read_error)?;
        // docker's own archives end without the second block of zeros now and then.
        let mut reader = Reader::new(content, Limits::default()).ending(End::Lenient);
        let mut files = Files {
            path: from,
            names: BTreeMap::new(),
        };
        while let Some(mut entry) = reader.next().map_err(|error| match error {
            ReadError::Io(source) => read_error(source),
            other => invalid(other.to_string()),
        })? {
            let header = entry.header().clone();
            let found = match header.kind {
                EntryKind::File { size } => {
                    let place = into.join(files.names.len().to_string());
                    let mut file =
                        File::create(&place).map_err(WriteError::at("create", &place))?;
                    io::copy(&mut entry, &mut file).map_err(read_error)?;
                    Ok((place, size))
                }
                EntryKind::HardLink { target } => Err(target),
                EntryKind::Symlink { target } => Err(beside(&header.path, &target)),
                _ => continue,
            };
            if files.names.len() >= FILES {
                return Err(invalid(format!("it has more than {FILES} files")));
            }
            files.names.insert(header.path, found);
        }
        Ok(files)
    }

    /// The file behind a name, through links.
    fn find(&self, name: &str) -> Result<(&Path, u64), PackError> {
        let mut next = tar::safe_path(name).unwrap_or_default();
        for _ in 0..LINKS {
            match self.names.get(next) {
                Some(Ok((place, size))) => return Ok((place, *size)),
                Some(Err(target)) => next = target,
                None => break,
            }
        }
        Err(PackError::NotDocker {
            path: self.path.to_owned(),
            reason: format!("it has no file {}", name.escape_debug()),
        })
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, PackError> {
        let (place, size) = self.find(name)?;
        if size > limit {
            return Err(PackError::NotDocker {
                path: self.path.to_owned(),
                reason: format!("{} has more than {limit} bytes", name.escape_debug()),
            });
        }
        std::fs::read(place).map_err(|source| PackError::Read {
            path: place.to_owned(),
            source,
        })
    }

    /// Puts a layer into the layout.
    fn layer(&self, name: &str, layout: &Layout) -> Result<Descriptor, PackError> {
        let (place, size) = self.find(name)?;
        let read_error = |source| PackError::Read {
            path: place.to_owned(),
            source,
        };
        let mut start = Vec::new();
        File::open(place)
            .and_then(|file| file.take(64).read_to_end(&mut start))
            .map_err(read_error)?;
        let media_type = match decompress::sniff(&start) {
            Format::Gzip => media_type::LAYER_TAR_GZIP,
            Format::Zstd => media_type::LAYER_TAR_ZSTD,
            _ => media_type::LAYER_TAR,
        };
        let file = File::open(place).map_err(read_error)?;
        let (digest, _) = Digest::of_all(file).map_err(read_error)?;
        let descriptor = Descriptor::new(media_type, digest, size);
        layout.put_blob_file(&descriptor, place)?;
        Ok(descriptor)
    }
}

/// What a symbolic link in `path` leads to, if that stays inside.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(to: &Path, entries: &[(&str, EntryKind, &[u8])]) {
        let mut writer = tar::Writer::new(File::create(to).unwrap());
        for (name, kind, bytes) in entries {
            let header = tar::Header::new(*name, kind.clone());
            writer.append(&header, *bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn links_between_layers_are_followed_and_strangers_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut writer = tar::Writer::new(Vec::new());
        writer
            .append(&tar::Header::directory("a"), io::empty())
            .unwrap();
        let layer = writer.finish().unwrap();
        let file = |bytes: &[u8]| EntryKind::File {
            size: bytes.len() as u64,
        };
        let diff_id = base::Digest::of(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}","{diff_id}"]}}}}"#
        );
        let manifest = br#"[{"Config":"c.json","RepoTags":["docker.io/library/hello:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
        let link = EntryKind::Symlink {
            target: "../one/layer.tar".to_owned(),
        };
        let entries = [
            ("one/layer.tar", file(&layer), layer.as_slice()),
            ("two/layer.tar", link, &[][..]),
            ("c.json", file(config.as_bytes()), config.as_bytes()),
            ("manifest.json", file(manifest), manifest.as_slice()),
        ];
        pack(&path("saved.tar"), &entries);
        let layout = unpack_docker(&path("saved.tar"), None, &path("one")).unwrap();
        let named = layout.images_named(None).unwrap();
        let [image] = named.images.as_slice() else {
            panic!("{named:?}");
        };
        assert_eq!(image.manifest.layers.len(), 2);
        assert_eq!(image.manifest.layers[1].digest, diff_id);
        assert!(unpack_docker(&path("saved.tar"), Some("hello:1"), &path("two")).is_ok());

        let refused = |name: Option<&str>, entries: &[(&str, EntryKind, &[u8])]| {
            pack(&path("bad.tar"), entries);
            let into = tempfile::tempdir().unwrap();
            unpack_docker(&path("bad.tar"), name, into.path())
                .unwrap_err()
                .to_string()
                .replace(&folder.path().display().to_string(), "DIR")
        };
        let around = EntryKind::Symlink {
            target: "../two/layer.tar".to_owned(),
        };
        let mut circle = entries.clone();
        circle[1].1 = around;
        let out = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
        let errors = [
            refused(Some("other"), &entries),
            refused(None, &entries[..3]),
            refused(None, &circle),
            refused(None, &[("manifest.json", file(out), out.as_slice())]),
            refused(None, &[("manifest.json", file(b"{"), b"{".as_slice())]),
        ];
        insta::assert_snapshot!(errors.join("\n"), @"
        DIR/bad.tar has docker.io/library/hello:1; name one of them behind a colon
        DIR/bad.tar is no docker archive: it has no file manifest.json
        DIR/bad.tar is no docker archive: it has no file two/layer.tar
        DIR/bad.tar is no docker archive: it has no file ../../etc/passwd
        DIR/bad.tar is no docker archive: its manifest.json can't be used: invalid type: map, expected a sequence at line 1 column 0
        ");
    }
}
