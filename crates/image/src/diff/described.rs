//! What is said about images: their SBOMs, and what refers to them.
//!
//! None of it is taken to be true. It is compared as it is written; whether a signature is good is
//! looked at where it is said who is trusted.

use std::collections::{BTreeMap, BTreeSet};

use attest::bundle::{self, Bundle};
use attest::dsse::Envelope;
use attest::intoto::SPDX_PREDICATE;
use attest::trust::Trust;
use base::Digest;
use oci::{Companion, Descriptor, Layout, LayoutError, Manifest, media_type};
use serde::Deserialize;

use super::layers::Tree;
use super::model::OneSided;
use crate::attach::{PREDICATE_ANNOTATION, SIGNATURE};
use crate::verify::Statements;

/// The largest document that is read.
const DOCUMENT: u64 = 128 << 20;
/// The most components that documents list together.
const COMPONENTS: usize = 1_000_000;
/// How builders say in an index which image a manifest of attestations is about.
const ABOUT: &str = "vnd.docker.reference.digest";
/// How they say what a layer of it states.
const STATED: &str = "in-toto.io/predicate-type";
const CYCLONEDX_PREDICATE: &str = "https://cyclonedx.org/bom";

/// What is said about an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    /// How many statements of each kind there are.
    pub(super) kinds: BTreeMap<String, usize>,
    pub(super) signed: bool,
    /// SBOMs beside the image.
    pub(super) bills: usize,
    pub(super) components: Components,
}

/// What SBOMs list.
#[derive(Clone, Debug, Default)]
pub(super) struct Components {
    /// Package URLs without qualifiers, or name and version.
    pub(super) names: BTreeSet<String>,
    /// Name and version.
    versions: BTreeSet<(String, String)>,
    /// How many documents were read.
    pub(super) documents: usize,
}

/// What is needed of a statement: no more is kept of what strangers say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    predicate_type: String,
}

#[derive(Deserialize)]
struct Predicate<P> {
    predicate: P,
}

/// What is needed of an SBOM, SPDX 2 or CycloneDX.
#[derive(Deserialize)]
struct Bill {
    #[serde(default)]
    packages: Vec<SpdxPackage>,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    name: String,
    #[serde(default)]
    version_info: Option<String>,
    #[serde(default)]
    primary_package_purpose: Option<String>,
    #[serde(default)]
    external_refs: Vec<SpdxReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpdxReference {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    purl: Option<String>,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    components: Vec<Component>,
}

impl Components {
    /// Takes an SBOM; what is none is left alone.
    fn take(&mut self, bill: Bill) -> bool {
        if bill.packages.is_empty() && bill.components.is_empty() {
            return false;
        }
        self.documents += 1;
        for package in bill.packages {
            // The image and its layers are what is compared.
            if package.primary_package_purpose.as_deref() == Some("CONTAINER") {
                continue;
            }
            let purl = package
                .external_refs
                .into_iter()
                .find(|reference| reference.reference_type == "purl")
                .map(|reference| reference.reference_locator);
            self.add(package.name, package.version_info, purl);
        }
        let mut left = bill.components;
        while let Some(component) = left.pop() {
            left.extend(component.components);
            if component.kind != "container" {
                self.add(component.name, component.version, component.purl);
            }
        }
        true
    }

    fn add(&mut self, name: String, version: Option<String>, purl: Option<String>) {
        if self.names.len() >= COMPONENTS || name.starts_with("sha256:") {
            return;
        }
        let version = version.unwrap_or_default();
        let bare = purl.map(|purl| {
            let end = purl.find(['?', '#']).unwrap_or(purl.len());
            purl.get(..end).unwrap_or_default().to_owned()
        });
        let shown = match bare {
            Some(purl) if purl.starts_with("pkg:oci/") => return,
            Some(purl) if !purl.is_empty() => purl,
            _ if version.is_empty() => name.clone(),
            _ => format!("{name} {version}"),
        };
        self.names.insert(shown);
        self.versions.insert((name, version));
    }

    fn read(&mut self, bytes: &[u8]) -> bool {
        serde_json::from_slice(bytes).is_ok_and(|bill| self.take(bill))
    }

    pub(super) fn has(&self, name: &str, version: &str) -> bool {
        self.versions
            .contains(&(name.to_owned(), version.to_owned()))
    }

    /// The SBOMs that packages brought along.
    pub(super) fn of_packages(&mut self, tree: &Tree) {
        for (_, placed) in tree.beneath("var/lib/db/sbom") {
            if let Some(bytes) = &placed.facts.kept {
                self.read(bytes);
            }
        }
    }

    pub(super) fn compare(before: &Components, after: &Components) -> OneSided<String> {
        OneSided {
            added: after.names.difference(&before.names).cloned().collect(),
            removed: before.names.difference(&after.names).cloned().collect(),
        }
    }
}

impl Described {
    /// Reads all that `layout` has about the manifest or index `subject`. `others` are entries of
    /// the index that are no images.
    pub(super) fn read(
        layout: &Layout,
        subject: &Descriptor,
        others: &[Descriptor],
        trust: Option<&Trust>,
    ) -> Result<Described, LayoutError> {
        let mut described = Described::default();
        for (_, manifest) in layout.possible_referrers(&subject.digest)? {
            // Anyone may attach anything: what can't be read says nothing.
            if let Ok(manifest) = manifest {
                described.referrer(layout, &manifest);
            }
        }
        for companion in Companion::ALL {
            let tag = companion.tag(&subject.digest);
            let Ok(manifest) = layout
                .resolve(Some(&tag))
                .and_then(|descriptor| layout.manifest(&descriptor))
            else {
                continue;
            };
            for layer in &manifest.layers {
                match companion {
                    Companion::Signatures => described.count("signature".to_owned()),
                    Companion::Attestations => described.statement(layout, layer),
                    Companion::Sbom => described.bill(layout, layer),
                }
            }
        }
        for other in others {
            let about = other.annotations.get(ABOUT);
            if about.and_then(|text| text.parse::<Digest>().ok()) != Some(subject.digest) {
                continue;
            }
            let Ok(manifest) = layout.manifest(other) else {
                continue;
            };
            for layer in &manifest.layers {
                let stated = layer.annotations.get(STATED).cloned().unwrap_or_default();
                described.count(format!("attestation {stated}"));
                if let Ok(bytes) = layout.read(layer, DOCUMENT) {
                    described.stated(&bytes);
                }
            }
        }
        described.signed = match trust {
            None => described
                .kinds
                .keys()
                .any(|kind| kind == "signature" || kind.starts_with("signature ")),
            Some(trust) => {
                let statements = Statements::about(layout, subject, trust)?;
                let mut stated = statements.trusted.iter();
                stated.any(|stated| stated.kind == SIGNATURE)
            }
        };
        Ok(described)
    }

    fn count(&mut self, kind: String) {
        *self.kinds.entry(kind.trim_end().to_owned()).or_default() += 1;
    }

    fn referrer(&mut self, layout: &Layout, manifest: &Manifest) {
        let kind = match &manifest.artifact_type {
            Some(kind) => kind.clone(),
            None => manifest.config.media_type.clone(),
        };
        for layer in &manifest.layers {
            let media_type = &layer.media_type;
            if media_type == bundle::MEDIA_TYPE {
                let bundle = layout.read(layer, DOCUMENT).ok();
                let bundle = bundle.and_then(|bytes| Bundle::from_json(&bytes).ok());
                let stated = bundle.as_ref().and_then(|bundle| {
                    let (_, payload) = bundle.envelope().unverified();
                    self.stated(payload)
                });
                let stated = stated
                    .or_else(|| manifest.annotations.get(PREDICATE_ANNOTATION).cloned())
                    .unwrap_or_default();
                match stated == SIGNATURE {
                    true => self.count("signature".to_owned()),
                    false => self.count(format!("attestation {stated}")),
                }
            } else if media_type == media_type::DSSE {
                self.statement(layout, layer);
            } else if is_bill(media_type) || is_bill(&kind) {
                self.bill(layout, layer);
            } else if media_type == attest::simple_signing::MEDIA_TYPE {
                self.count("signature".to_owned());
            } else if kind.contains("signature") {
                self.count(format!("signature {kind}"));
            } else {
                self.count(format!("artefact {kind}"));
            }
        }
    }

    /// A layer that is a signed statement.
    fn statement(&mut self, layout: &Layout, layer: &Descriptor) {
        let envelope = layout.read(layer, DOCUMENT).ok();
        let envelope = envelope.and_then(|bytes| Envelope::from_json(&bytes).ok());
        let stated = envelope.and_then(|envelope| {
            let (_, payload) = envelope.unverified();
            self.stated(payload)
        });
        let stated = stated.or_else(|| layer.annotations.get("predicateType").cloned());
        self.count(format!("attestation {}", stated.unwrap_or_default()));
    }

    /// What kind of statement this is; an SBOM in it is taken.
    fn stated(&mut self, payload: &[u8]) -> Option<String> {
        let kind = serde_json::from_slice::<Kind>(payload).ok()?.predicate_type;
        if kind == SPDX_PREDICATE || kind.starts_with(CYCLONEDX_PREDICATE) {
            let bill = serde_json::from_slice::<Predicate<Bill>>(payload);
            let taken = match bill {
                Ok(stated) => self.components.take(stated.predicate),
                // Some put the document into the predicate as text.
                Err(_) => serde_json::from_slice::<Predicate<String>>(payload)
                    .is_ok_and(|stated| self.components.read(stated.predicate.as_bytes())),
            };
            self.bills += usize::from(taken);
        }
        Some(kind)
    }

    /// A layer that is an SBOM itself.
    fn bill(&mut self, layout: &Layout, layer: &Descriptor) {
        self.count(format!("sbom {}", layer.media_type));
        if let Ok(bytes) = layout.read(layer, DOCUMENT) {
            self.bills += usize::from(self.components.read(&bytes));
        }
    }
}

fn is_bill(media_type: &str) -> bool {
    media_type.contains("spdx") || media_type.contains("cyclonedx")
}
