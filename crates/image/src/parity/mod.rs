//! Images with apko's bytes: its layout, its defects included, for moving over and for comparing.
//!
//! Equal are every tar header and content, so the layers' diffIDs, the configuration and what the
//! SBOMs say. Compressed layers differ, and with them digests: gzip's bytes are those of whoever
//! compresses. What `docs/src/reference/parity.md` lists differs too.

mod describe;
mod install;
mod layers;
mod order;
mod pkginfo;
mod sbom;
mod system;
mod tree;

use std::io;

use archive::tar;
use base::{Digest, Epoch};
use oci::{Descriptor, Manifest, Platform, media_type};
use store::Store;

pub(crate) use describe::index_annotations;
pub(crate) use order::in_order;
pub use sbom::{GoDocument, index as index_sbom};

use crate::build::{BuildError, BuiltImage, Unpacked, os_features};
use crate::configuration::{LayerFormat, LayeringStrategy};
use crate::erofs_layer;
use crate::layer::{self, Layer};
use crate::layering;
use crate::plan::ImagePlan;
use crate::truststore::TrustStoreError;

/// apko would not make this image either, or not so that it could be told.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// Something isn't there.
    #[error("/{} isn't in the image; apko fails here too", .0.trim_start_matches('/'))]
    Missing(String),
    /// Something is there already.
    #[error("/{} is in the image already; apko fails here too", .0.trim_start_matches('/'))]
    Exists(String),
    /// A parent is no directory.
    #[error("/{} lies in what is no directory", .0.trim_start_matches('/'))]
    NotADirectory(String),
    /// A file is a directory.
    #[error("/{} is a directory, not a file", .0.trim_start_matches('/'))]
    IsADirectory(String),
    /// Links lead round in a circle.
    #[error("/{} leads through more than 40 symbolic links", .0.trim_start_matches('/'))]
    Loop(String),
    /// Two packages bring different files.
    #[error(
        "{second} and {first} both have /{path}, with different contents, and apko lets neither replace the other's"
    )]
    Conflict {
        /// The file.
        path: String,
        /// Who has it.
        first: String,
        /// Who brings it too.
        second: String,
    },
    /// A device in a package.
    #[error("/{0} is of a kind that apko takes from no package")]
    Kind(String),
    /// A file can't be read.
    #[error("can't read /{path} of the image: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A package's control member can't be read.
    #[error("the scripts of {package} can't be read: {source}")]
    Control {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: tar::ReadError,
    },
    /// The scripts can't be written.
    #[error("the packages' scripts can't be written: {0}")]
    Scripts(tar::WriteError),
    /// An old folder of apk's has something in it.
    #[error("/{0} is in the way of the link /lib/apk; apko fails here too")]
    Database(String),
    /// A line of accounts is malformed.
    #[error("/{path} has the line `{line}`, which has not {count} fields; apko fails here too")]
    Line {
        /// The file.
        path: String,
        /// The line.
        line: String,
        /// How many fields there should be.
        count: usize,
    },
    /// A certificate is none.
    #[error("`{0}` of `certificates.additional` isn't one certificate in PEM")]
    Certificate(String),
    /// Java's trust store can't be changed.
    #[error("certificates can't be added to Java's trust store: {0}")]
    TrustStore(TrustStoreError),
    /// A key is there already, or none.
    #[error("the key `{0}` of `runtime_keyring` is none, or there already")]
    Key(String),
    /// busybox without its package.
    #[error("/bin/busybox is there, but no package that brings it; apko fails here too")]
    Busybox,
    /// A library is of an architecture that apko has no cache for.
    #[error(
        "{0} is of an architecture for which apko makes no ld.so.cache and fails; build without --parity"
    )]
    Library(String),
    /// apko needs a repository in the image.
    #[error(
        "neither `repositories` nor `runtime_repositories` are there, and apko fails without; build without --parity"
    )]
    NoRepository,
    /// apko doesn't split layers so.
    #[error("apko knows no `strategy: {0}` of `layering`; build without --parity")]
    Layering(&'static str),
    /// JSON can't be written.
    #[error("can't write JSON")]
    Json(#[from] serde_json::Error),
}

/// Builds the image as apko does. `epoch` is the image's time, `scripts_time` that of the entries of
/// `scripts.tar`.
pub(crate) fn build(
    plan: &ImagePlan,
    packages: &[Unpacked],
    name: &str,
    (epoch, scripts_time): (Epoch, Epoch),
    store: &Store,
) -> Result<BuiltImage, BuildError> {
    let mut plan = plan.clone();
    describe::pin(&mut plan);
    let mut tree = tree::Tree::new();
    system::prepare(&mut tree, &plan)?;
    tree.write("etc/apk/world", describe::world(&plan), 0o644)
        .map_err(BuildError::Parity)?;
    tree.write("etc/apk/repositories", b"\n".to_vec(), 0o644)
        .map_err(BuildError::Parity)?;
    let mut records = install::install(&mut tree, packages, scripts_time)?;
    let below: Vec<String> = plan
        .base
        .iter()
        .flat_map(|base| base.records.iter().cloned())
        .collect();
    let all: Vec<String> = below.iter().chain(&records).cloned().collect();
    tree.write(install::INSTALLED, all.concat().into_bytes(), 0o644)?;
    system::link_database(&mut tree, &below)?;
    let accounts = plan.configuration.accounts.clone();
    if plan.base.is_none() {
        plan.configuration.accounts.run_as = system::add_accounts(&mut tree, &accounts)?;
    }
    tree.write("etc/apko.json", describe::apko_json(&plan)?, 0o444)?;
    let configuration = &plan.configuration;
    system::change_paths(&mut tree, &configuration.paths)?;
    system::add_certificates(
        &mut tree,
        configuration.certificates.as_ref(),
        packages,
        epoch,
    )?;
    system::add_keys(&mut tree, configuration, epoch)?;
    system::add_services(&mut tree, &configuration.entrypoint.services)?;
    system::link_busybox(&mut tree, packages)?;
    system::cache_libraries(&mut tree)?;
    tree.write(
        "etc/apk/repositories",
        describe::repositories(configuration)?,
        0o644,
    )?;
    let (users, groups) = system::names(&tree)?;
    let walked = tree.walk(&users, &groups);
    let infos: Vec<&apk::package::PackageInfo> =
        packages.iter().map(|package| &package.info).collect();
    let layering = configuration.layering.clone().unwrap_or_default();
    let budget = match layering.strategy {
        None => None,
        Some(LayeringStrategy::Origin) => Some(layering.budget.unwrap_or(0) as usize),
        Some(other) => return Err(ParityError::Layering(other.as_str()).into()),
    };
    let groups = match budget {
        Some(budget) => layering::by_origin(&infos, budget),
        None => Vec::new(),
    };
    let entries = match budget {
        Some(_) => layers::split(walked, &groups, &records),
        None => vec![
            walked
                .into_iter()
                .map(|walked| layers::Entry {
                    header: walked.header,
                    content: walked.content,
                })
                .collect(),
        ],
    };
    let is_erofs = configuration.format == Some(LayerFormat::Erofs);
    let mut layers = Vec::new();
    for entries in &entries {
        let entries = entries
            .iter()
            .map(|entry| (&entry.header, entry.content.as_ref()));
        layers.push(match is_erofs {
            true => erofs_layer::of_entries(store, entries, epoch)?,
            false => layer::write(store, entries)?,
        });
    }
    let mut config = describe::config(&plan, epoch, &layers)?;
    config.os_features = os_features(&plan.configuration);
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config.to_bytes()?);
    let mut described: Vec<Descriptor> = plan
        .base
        .iter()
        .flat_map(|base| base.manifest.layers.iter().cloned())
        .collect();
    described.extend(layers.iter().map(Layer::descriptor));
    let mut manifest = Manifest::image(config_descriptor, described);
    manifest.annotations = describe::annotations(&plan.configuration, epoch);
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest.to_bytes()?);
    descriptor.platform = Some(Platform {
        os_features: config.os_features.clone(),
        ..Platform::linux(plan.arch)
    });
    descriptor.artifact_type = Some(media_type::CONFIG.to_owned());
    records.splice(0..0, below);
    let document = sbom::image(&sbom::Described {
        name,
        digest: descriptor.digest,
        arch: plan.arch,
        epoch,
        layers: &manifest.layers,
        records: &records,
        tree: &tree,
    })?;
    let sbom = attest::spdx::Document::from_json(&document.to_bytes()?)
        .map_err(crate::sbom::SbomError::Json)?;
    let below = plan.base.iter().map(|base| base.layout.clone()).next();
    Ok(BuiltImage {
        arch: plan.arch,
        layers,
        config,
        manifest,
        descriptor,
        sbom,
        parity_sbom: Some(document),
        below,
        notes: Vec::new(),
    })
}

/// What stands for a digest in names of SPDX elements.
fn element(digest: &Digest) -> String {
    digest.to_string().replace(':', "-")
}
