//! How an image was made: its image file and the packages that the solver chose, each by hash.

use std::collections::BTreeMap;

use attest::slsa::{BuildDefinition, Builder, Provenance, ResourceDescriptor, RunDetails};
use attest::spdx::Document;
use base::{Digest, Epoch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Store, StoreError};

use crate::{BuiltImage, ImagePlan};

/// The SLSA build type of images: an image file, an architecture and a time in; packages by hash.
pub const BUILD_TYPE: &str = "urn:polpo:build-type:image:v1";

/// The builder that runs on whatever machine polpo was called on.
pub const LOCAL_BUILDER: &str = "urn:polpo:builder:local";

/// The kind of the store's records of images.
const RECORD: &str = "image";

/// What there is to say about an image, kept under its manifest's digest until somebody signs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// What is in it.
    pub sbom: Document,
    /// How it was made.
    pub provenance: Provenance,
    /// The time it carries.
    pub epoch: Epoch,
}

impl ImageRecord {
    /// What the plan and its image tell. `version` is that of the program.
    ///
    /// # Errors
    /// None in practice: the image file is plain data.
    pub fn of(
        plan: &ImagePlan,
        image: &BuiltImage,
        epoch: Epoch,
        version: &str,
    ) -> Result<ImageRecord, serde_json::Error> {
        let mut external = Map::new();
        external.insert(
            "configuration".to_owned(),
            serde_json::to_value(&plan.configuration)?,
        );
        external.insert("architecture".to_owned(), Value::from(plan.arch.apk()));
        external.insert("sourceDateEpoch".to_owned(), Value::from(epoch.0));
        let resolved_dependencies = plan
            .packages
            .iter()
            .map(|package| {
                let info = &package.entry.info;
                let uri = format!("pkg:apk/{}@{}?arch={}", info.name, info.version, plan.arch);
                ResourceDescriptor::new(uri, package.digest).named(&info.name)
            })
            .collect();
        let provenance = Provenance {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: external,
                internal_parameters: Map::new(),
                resolved_dependencies,
            },
            run_details: RunDetails {
                builder: Builder {
                    id: LOCAL_BUILDER.to_owned(),
                    version: BTreeMap::from([("polpo".to_owned(), version.to_owned())]),
                },
                metadata: None,
                byproducts: Vec::new(),
            },
        };
        Ok(ImageRecord {
            sbom: image.sbom.clone(),
            provenance,
            epoch,
        })
    }

    /// Keeps the record for whoever signs the image.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn keep(&self, store: &Store, manifest: &Digest) -> Result<(), StoreError> {
        if ImageRecord::find(store, manifest)?.as_ref() == Some(self) {
            return Ok(());
        }
        store.record_put(RECORD, manifest, self)
    }

    /// The record of the image with this manifest, if it was built with this store.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn find(store: &Store, manifest: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        store.record_get(RECORD, manifest)
    }
}
