//! Statements about an image, signed and kept beside it, in the two ways that cosign knows.
//!
//! In a Sigstore bundle each is an in-toto statement, the one layer of an artefact whose subject is
//! the image's manifest; an image's signature is a statement too, with the predicate type
//! [`SIGNATURE`] and nothing stated but the digest. In the older way a manifest without a subject is
//! tagged with the image's digest: `sha256-HEX.sig` has signatures of their own form as its layers,
//! `sha256-HEX.att` envelopes.

use std::collections::BTreeMap;

use attest::bundle::{Bundle, BundleError};
use attest::dsse::DsseError;
use attest::intoto::{JsonError, SPDX_PREDICATE, Statement, Subject};
use attest::sigstore::{LegacyError, SignerError};
use attest::slsa::Provenance;
use attest::spdx::Document;
use attest::trust::Trust;
use attest::{sigstore, simple_signing};
use base::Epoch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key::{KeyError, PrivateKey};
use oci::{
    Companion, Descriptor, History, ImageConfig, Layout, LayoutError, Manifest, RootFs, media_type,
};
use serde::Serialize;
use serde_json::json;

/// The predicate type of an image's signature.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The annotation of an artefact that says what its statement is about.
pub const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";
/// The annotation of a layer of the older way that has the signature in base64.
pub(crate) const LEGACY_SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// How statements lie beside an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Sigstore bundles that refer to the image: cosign 3 and newer, and polpo.
    #[default]
    Bundle,
    /// Tags made of the image's digest: every cosign.
    Legacy,
}

/// A statement can't be signed or attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It can't be signed.
    #[error("the statement can't be signed: {0}")]
    Sign(#[from] BundleError),
    /// It can't be written as JSON.
    #[error("the statement can't be written: {0}")]
    Json(#[from] JsonError),
    /// An identity can't sign it.
    #[error("the statement can't be signed: {0}")]
    Identity(#[from] SignerError),
    /// An identity can't sign it in the older form.
    #[error("the statement can't be signed: {0}")]
    Legacy(#[from] LegacyError),
    /// The layout can't be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Who signs.
#[derive(Clone, Copy)]
pub enum Signer<'a> {
    /// A key.
    Key(&'a PrivateKey),
    /// An identity or a key, with the services of a Sigstore deployment. What they sign has to verify
    /// where whom to trust is known.
    Sigstore(&'a sigstore::Signer<'a>, Option<&'a Trust>),
}

impl From<KeyError> for AttachError {
    fn from(error: KeyError) -> AttachError {
        AttachError::Sign(DsseError::from(error).into())
    }
}

/// Who says something, how, and when.
#[derive(Clone, Copy)]
pub struct Attaching<'a> {
    /// The layout that the image is in.
    pub layout: &'a Layout,
    /// The image's manifest or index.
    pub image: &'a Descriptor,
    /// Who signs.
    pub signer: Signer<'a>,
    /// Where statements lie.
    pub form: Form,
    /// The time that artefacts carry.
    pub epoch: Epoch,
}

impl Attaching<'_> {
    fn subject(&self) -> Vec<Subject> {
        vec![Subject::new("", self.image.digest)]
    }

    /// Signs the image. `name` is what it is known by, for whoever reads the signature in the older
    /// way; nothing is proven of it.
    ///
    /// # Errors
    /// The key can't sign, the services of an identity are not to be had, or the layout can't be
    /// written.
    pub async fn sign(&self, name: &str) -> Result<Descriptor, AttachError> {
        match self.form {
            Form::Bundle => {
                let statement = Statement::new(self.subject(), SIGNATURE, json!({}));
                self.bundle(&statement).await
            }
            Form::Legacy => {
                let payload = simple_signing::payload(name, &self.image.digest)?;
                let (signature, mut annotations) = match self.signer {
                    Signer::Key(key) => (key.sign(&payload)?, BTreeMap::new()),
                    Signer::Sigstore(signer, trust) => signer.sign_payload(&payload, trust).await?,
                };
                annotations.insert(LEGACY_SIGNATURE.to_owned(), STANDARD.encode(signature));
                self.companion(
                    Companion::Signatures,
                    simple_signing::MEDIA_TYPE,
                    &payload,
                    annotations,
                )
            }
        }
    }

    /// States `predicate` of the image.
    ///
    /// # Errors
    /// As of [`Attaching::sign`].
    pub async fn attest<P: Serialize>(
        &self,
        predicate_type: &str,
        predicate: P,
    ) -> Result<Descriptor, AttachError> {
        let statement = Statement::new(self.subject(), predicate_type, predicate);
        match self.form {
            Form::Bundle => self.bundle(&statement).await,
            Form::Legacy => {
                let (envelope, mut annotations) = match self.signer {
                    Signer::Key(key) => {
                        let envelope = statement.sign(&[key]).map_err(BundleError::from)?;
                        let envelope = envelope.to_json().map_err(BundleError::from)?;
                        (envelope, BTreeMap::new())
                    }
                    Signer::Sigstore(signer, trust) => {
                        signer.sign_envelope(&statement, trust).await?
                    }
                };
                annotations.insert(LEGACY_SIGNATURE.to_owned(), String::new());
                annotations.insert("predicateType".to_owned(), predicate_type.to_owned());
                self.companion(
                    Companion::Attestations,
                    media_type::DSSE,
                    &envelope,
                    annotations,
                )
            }
        }
    }

    /// Signs the image and states what is in it and how it was made. Gives the artefacts.
    ///
    /// # Errors
    /// As of [`Attaching::sign`].
    pub async fn all(
        &self,
        name: &str,
        sbom: &Document,
        provenance: Option<Provenance>,
    ) -> Result<Vec<Descriptor>, AttachError> {
        let mut attached = vec![
            self.sign(name).await?,
            self.attest(SPDX_PREDICATE, sbom).await?,
        ];
        if let Some(provenance) = provenance {
            let statement = provenance.statement(self.subject());
            let provenance = self.attest(&statement.predicate_type, &statement.predicate);
            attached.push(provenance.await?);
        }
        Ok(attached)
    }

    async fn bundle<P: Serialize>(
        &self,
        statement: &Statement<P>,
    ) -> Result<Descriptor, AttachError> {
        let bundle = match self.signer {
            Signer::Key(key) => Bundle::sign(statement, key)?,
            Signer::Sigstore(signer, trust) => signer.sign(statement, trust).await?,
        };
        let bundle = bundle.to_json()?;
        let blob = self.layout.put_blob(attest::bundle::MEDIA_TYPE, &bundle)?;
        let mut artifact = Manifest::artifact(attest::bundle::MEDIA_TYPE, vec![blob], self.image);
        artifact.annotations = BTreeMap::from([
            (
                "dev.sigstore.bundle.content".to_owned(),
                "dsse-envelope".to_owned(),
            ),
            (
                PREDICATE_ANNOTATION.to_owned(),
                statement.predicate_type.clone(),
            ),
            (
                "org.opencontainers.image.created".to_owned(),
                self.epoch.rfc3339(),
            ),
        ]);
        Ok(self.layout.attach(&artifact)?)
    }

    /// Adds a layer to the manifest of that tag, which is made where there is none.
    fn companion(
        &self,
        companion: Companion,
        media_type: &str,
        content: &[u8],
        annotations: BTreeMap<String, String>,
    ) -> Result<Descriptor, AttachError> {
        let mut layer = self.layout.put_blob(media_type, content)?;
        layer.annotations = annotations;
        let tag = companion.tag(&self.image.digest);
        let mut layers = match self.layout.resolve(Some(&tag)) {
            Ok(descriptor) => self.layout.manifest(&descriptor)?.layers,
            Err(LayoutError::UnknownTag { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        layers.push(layer);
        // cosign has it that way: an image without a platform, made at no time.
        let nowhen = Some("0001-01-01T00:00:00Z".to_owned());
        let config = ImageConfig {
            created: nowhen.clone(),
            history: layers
                .iter()
                .map(|_| History {
                    created: nowhen.clone(),
                    ..History::default()
                })
                .collect(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: layers.iter().map(|layer| layer.digest).collect(),
            },
            ..ImageConfig::default()
        };
        let config = config.to_bytes().map_err(LayoutError::from)?;
        let config = self.layout.put_blob(media_type::CONFIG, &config)?;
        let descriptor = self.layout.put_manifest(&Manifest::image(config, layers))?;
        self.layout.tag(&tag, &descriptor)?;
        Ok(descriptor)
    }
}
