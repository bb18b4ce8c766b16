//! Docker archives of several architectures, as apko writes them (`pkg/build/oci/index.go`).

use std::collections::BTreeSet;
use std::path::Path;

use super::{Entry, Pack, PackError, layer_name};
use crate::layout::REF_NAME;
use crate::registry::Reference;
use crate::{Descriptor, Index, Layout, Platform, ResolvedImage};

/// Docker's registry, as the library has it that apko writes names with.
const DOCKER: &str = "index.docker.io";

/// Writes the image of the layout with that tag as one archive that `docker load` and `podman load`
/// read: of each architecture an image that is named `reference` and `-ARCH` behind its tag. The
/// manifests (`sha256:HEX`) and the index of them (`index.json`) are in it too. Gives the names.
///
/// Where two would have one name (`arm/v6` and `arm/v7`), the last has it, as with apko; apko loses the
/// other, which has its variant in its name here.
///
/// # Errors
/// See [`PackError`].
pub fn pack_apko(
    layout: &Layout,
    tag: Option<&str>,
    reference: &Reference,
    to: &Path,
) -> Result<Vec<String>, PackError> {
    let named = layout.images_named(tag)?;
    let names = names(&named.images, reference)?;
    let mut entries = Vec::new();
    for (image, name) in named.images.iter().zip(&names) {
        let layers = image.manifest.layers.iter().map(layer_name);
        entries.push(Entry {
            config: image.manifest.config.digest.to_string(),
            repo_tags: vec![name.clone()],
            layers: layers.collect::<Result<_, _>>()?,
        });
    }
    entries.sort_by(|one, other| one.repo_tags.cmp(&other.repo_tags));
    let mut pack = Pack::create(to)?;
    let mut written = BTreeSet::new();
    for image in &named.images {
        let config = &image.manifest.config;
        if written.insert(config.digest) {
            pack.blob(&config.digest.to_string(), layout, config)?;
        }
        for layer in &image.manifest.layers {
            if written.insert(layer.digest) {
                pack.blob(&layer_name(layer)?, layout, layer)?;
            }
        }
    }
    pack.bytes("manifest.json", &crate::json::to_vec(&entries)?)?;
    for image in &named.images {
        if written.insert(image.descriptor.digest) {
            let name = image.descriptor.digest.to_string();
            pack.blob(&name, layout, &image.descriptor)?;
        }
    }
    let listed = layout.index()?;
    let has_tags = listed
        .manifests
        .iter()
        .any(|entry| entry.annotations.contains_key(REF_NAME));
    let index = match named.index {
        // apko's layouts have no tags: their `index.json` is the image's own index.
        _ if !has_tags => listed,
        Some(index) => index,
        None => Index::new(named.images.iter().map(listing).collect()),
    };
    pack.bytes("index.json", &index.to_bytes()?)?;
    pack.finish()?;
    Ok(names)
}

/// An image as an index of it alone lists it.
fn listing(image: &ResolvedImage) -> Descriptor {
    let mut descriptor = image.descriptor.clone();
    descriptor.annotations.clear();
    descriptor
}

fn names(images: &[ResolvedImage], reference: &Reference) -> Result<Vec<String>, PackError> {
    let repository = reference.repository();
    let registry = match repository.registry() {
        "docker.io" => DOCKER,
        other => other,
    };
    let tag = reference.tag().unwrap_or("latest");
    let machine = |image: &ResolvedImage, with_variant: bool| {
        let platform = image.descriptor.platform.as_ref();
        let Some(Platform {
            architecture,
            variant,
            ..
        }) = platform
        else {
            return image.config.architecture.clone();
        };
        match variant {
            Some(variant) if with_variant => format!("{architecture}_{variant}"),
            _ => architecture.clone(),
        }
    };
    let mut names: Vec<String> = Vec::new();
    // The last one of a name has it.
    for image in images.iter().rev() {
        let name = |with_variant| {
            let machine = machine(image, with_variant);
            format!("{registry}/{}:{tag}-{machine}", repository.path())
        };
        let name = match name(false) {
            short if names.contains(&short) => name(true),
            short => short,
        };
        let (_, tag) = name.rsplit_once(':').unwrap_or_default();
        if names.contains(&name) || !crate::is_tag(tag) {
            return Err(PackError::Name(name));
        }
        names.push(name);
    }
    names.reverse();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageConfig, Manifest, media_type};

    #[test]
    fn no_image_takes_the_name_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path().join("layout")).unwrap();
        let machines = [
            ("amd64", None),
            ("arm", Some("v6")),
            ("arm", Some("v7")),
            ("arm64", Some("v8")),
        ];
        let images = machines.map(|(architecture, variant)| {
            let platform = Platform {
                architecture: architecture.to_owned(),
                os: "linux".to_owned(),
                os_version: None,
                os_features: Vec::new(),
                variant: variant.map(str::to_owned),
            };
            let config = ImageConfig {
                architecture: architecture.to_owned(),
                os: "linux".to_owned(),
                variant: platform.variant.clone(),
                ..ImageConfig::default()
            };
            let config = config.to_bytes().unwrap();
            let config = layout.put_blob(media_type::CONFIG, &config).unwrap();
            // The same layer for all is in the archive once.
            let layer = layout.put_blob(media_type::LAYER_TAR_GZIP, b"layer");
            let manifest = Manifest::image(config, vec![layer.unwrap()]);
            let mut image = layout.put_manifest(&manifest).unwrap();
            image.platform = Some(platform);
            image
        });
        let index = layout.put_index(&Index::new(images.to_vec())).unwrap();
        layout.tag("v1", &index).unwrap();
        let to = folder.path().join("archive.tar");
        let pack = |tag: Option<&str>, name: &str| {
            pack_apko(&layout, tag, &name.parse().unwrap(), &to).map_err(|error| error.to_string())
        };
        let names = [
            "index.docker.io/library/a:v1-amd64",
            "index.docker.io/library/a:v1-arm_v6",
            "index.docker.io/library/a:v1-arm",
            "index.docker.io/library/a:v1-arm64",
        ];
        assert_eq!(pack(Some("v1"), "docker.io/a:v1").unwrap(), names);
        let back = super::super::unpack_docker(&to, None, &folder.path().join("back")).unwrap();
        let found = back.images_named(None).unwrap().images;
        assert_eq!(found.len(), 4);
        // A tag that is as long as tags may be has no room for the architecture.
        let long = format!("localhost/a:{}", "t".repeat(128));
        assert_eq!(
            pack(None, &long).unwrap_err(),
            format!("`{long}-arm64` is no name for an image: NAME:TAG, the name in lower case")
        );
    }
}
