//! Statements about an image, signed and kept beside it.
//!
//! Each is an in-toto statement in a DSSE envelope, the one layer of an artefact whose subject is
//! the image's manifest. An image's signature is a statement too, as cosign 3 has it: predicate
//! type [`SIGNATURE`], nothing stated but the digest.

use std::collections::BTreeMap;

use attest::dsse::DsseError;
use attest::intoto::{SPDX_PREDICATE, Statement, Subject};
use attest::slsa::Provenance;
use attest::spdx::Document;
use base::Epoch;
use key::PrivateKey;
use oci::{Descriptor, Layout, LayoutError, Manifest, media_type};
use serde::Serialize;

/// The predicate type of an image's signature.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The annotation of an artefact that says what its statement is about.
pub const PREDICATE_ANNOTATION: &str = "in-toto.io/predicate-type";

/// A statement can't be signed or attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It can't be signed.
    #[error("the statement can't be signed: {0}")]
    Sign(#[from] DsseError),
    /// The layout can't be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Signs the image and states what is in it and how it was made. Gives the artefacts' descriptors.
///
/// # Errors
/// A key can't sign, or the layout can't be written.
pub fn attach_all(
    layout: &Layout,
    image: &Descriptor,
    sbom: &Document,
    provenance: Option<Provenance>,
    keys: &[&PrivateKey],
    epoch: Epoch,
) -> Result<Vec<Descriptor>, AttachError> {
    let subject = || vec![Subject::new("", image.digest)];
    let nothing: BTreeMap<String, String> = BTreeMap::new();
    let mut attached = vec![
        attach(
            layout,
            image,
            &Statement::new(subject(), SIGNATURE, nothing),
            keys,
            epoch,
        )?,
        attach(
            layout,
            image,
            &Statement::new(subject(), SPDX_PREDICATE, sbom),
            keys,
            epoch,
        )?,
    ];
    if let Some(provenance) = provenance {
        let statement = provenance.statement(subject());
        attached.push(attach(layout, image, &statement, keys, epoch)?);
    }
    Ok(attached)
}

/// Signs a statement with every key and attaches it to the image.
///
/// # Errors
/// A key can't sign, or the layout can't be written.
pub fn attach<P: Serialize>(
    layout: &Layout,
    image: &Descriptor,
    statement: &Statement<P>,
    keys: &[&PrivateKey],
    epoch: Epoch,
) -> Result<Descriptor, AttachError> {
    let envelope = statement.sign(keys)?.to_json()?;
    let blob = layout.put_blob(media_type::DSSE, &envelope)?;
    let mut artifact = Manifest::artifact(media_type::DSSE, vec![blob], image);
    artifact.annotations = BTreeMap::from([
        (
            PREDICATE_ANNOTATION.to_owned(),
            statement.predicate_type.clone(),
        ),
        (
            "org.opencontainers.image.created".to_owned(),
            epoch.rfc3339(),
        ),
    ]);
    Ok(layout.attach(&artifact)?)
}
