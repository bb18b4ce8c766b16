use std::collections::BTreeSet;

use attest::bundle::{self, Bundle};
use attest::dsse::Verified;
use attest::intoto::{SPDX_PREDICATE, Statement};
use attest::sigstore::{Annotations, Identity};
use attest::spdx::Document;
use attest::trust::Trust;
use attest::{simple_signing, slsa};
use base::{Digest, Epoch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Companion, Descriptor, Layout, LayoutError, Manifest, media_type};
use serde_json::Value;

use super::{Finding, VerifyRequest};
use crate::attach::{LEGACY_SIGNATURE, SIGNATURE};

/// The largest envelope that is read.
const ENVELOPE_LIMIT: u64 = 128 << 20;

/// Bytes of all that is attached to an image and read.
pub const ATTACHED_LIMIT: u64 = 512 << 20;

/// What somebody who is trusted says about an image.
#[derive(Debug)]
pub struct Stated {
    /// The type of the predicate; a signature of the older form counts as a statement with the type
    /// [`SIGNATURE`].
    pub kind: String,
    /// What is stated.
    pub predicate: Value,
    /// The ids of the keys that say so.
    pub keys: BTreeSet<Digest>,
    /// Who says so, where it is no key.
    pub identity: Option<Identity>,
    /// When it was said at the latest, by the word of a trusted log or clock.
    pub time: Option<Epoch>,
}

/// What those who are trusted say about an image, and what is there besides.
#[derive(Debug, Default)]
pub struct Statements {
    /// Their statements.
    pub trusted: Vec<Stated>,
    /// What was passed over, and why.
    pub passed_over: Vec<String>,
}

impl Statements {
    /// Reads all that `layout` has about `image`, in either form, and keeps what was signed
    /// by somebody whom `trust` believes about this very digest.
    ///
    /// # Errors
    /// The layout's list can't be read. Artefacts that can't be read or are not trusted are passed
    /// over: anyone may attach anything to an image.
    pub fn about(
        layout: &Layout,
        image: &Descriptor,
        trust: &Trust,
    ) -> Result<Statements, LayoutError> {
        let mut statements = Statements::default();
        let mut budget = Budget {
            seen: BTreeSet::new(),
            left: ATTACHED_LIMIT,
        };
        let mut take = |name: String, found: Result<Stated, String>| match found {
            Ok(statement) => statements.trusted.push(statement),
            Err(reason) => {
                let message = format!("{name} is passed over: {reason}");
                statements.passed_over.push(message);
            }
        };
        for (descriptor, artifact) in layout.possible_referrers(&image.digest)? {
            let found = artifact
                .map_err(|error| error.to_string())
                .and_then(|artifact| {
                    artifact
                        .layers
                        .iter()
                        .try_for_each(|layer| budget.once(layer))?;
                    bundled(layout, image, &artifact, trust)
                });
            take(format!("the artefact {}", descriptor.digest), found);
        }
        for kind in [Companion::Signatures, Companion::Attestations] {
            let tag = kind.tag(&image.digest);
            let manifest = match layout.resolve(Some(&tag)) {
                Ok(descriptor) => layout.manifest(&descriptor),
                Err(LayoutError::UnknownTag { .. }) => continue,
                Err(error) => Err(error),
            };
            match manifest {
                Ok(manifest) => {
                    for layer in &manifest.layers {
                        let found = budget
                            .spend(layer)
                            .and_then(|()| legacy(layout, image, layer, trust));
                        take(format!("the layer {} of {tag}", layer.digest), found);
                    }
                }
                Err(error) => take(tag, Err(error.to_string())),
            }
        }
        Ok(statements)
    }
}

/// Whether an index names the image.
fn lists(layout: &Layout, index: &Descriptor, image: &Descriptor) -> Result<bool, LayoutError> {
    let index = layout.read_index(index)?;
    Ok(index
        .manifests
        .iter()
        .any(|manifest| manifest.digest == image.digest))
}

/// What attachments may cost before anybody is known to have signed them.
struct Budget {
    seen: BTreeSet<Digest>,
    left: u64,
}

impl Budget {
    fn spend(&mut self, layer: &Descriptor) -> Result<(), String> {
        let left = self.left.checked_sub(layer.size);
        self.left = left
            .ok_or_else(|| format!("all that is attached is larger than {ATTACHED_LIMIT} bytes"))?;
        Ok(())
    }

    /// The same, of what is nothing new when it comes again.
    fn once(&mut self, layer: &Descriptor) -> Result<(), String> {
        match self.seen.insert(layer.digest) {
            true => self.spend(layer),
            false => Err("it says again what another says".to_owned()),
        }
    }
}

/// What came of the statements.
pub(super) struct Said {
    pub(super) findings: Vec<Finding>,
    /// SBOMs that those who are trusted signed.
    pub(super) sboms: Vec<Document>,
    pub(super) slsa_level: Option<u32>,
}

/// Checks what is said about the image, and gives the SBOMs that those who are trusted signed.
pub(super) fn check(request: &VerifyRequest<'_>, image: &Descriptor) -> Result<Said, LayoutError> {
    let mut statements = Statements::about(request.layout, image, request.grounds.trust)?;
    // Who signs the index of an image for several machines signs each of them: it names them by digest.
    let whole = match request.layout.resolve(request.tag) {
        Ok(whole) if media_type::is_index(&whole.media_type) => Some(whole),
        // An image of each machine, and no index above them.
        Ok(_) | Err(LayoutError::Ambiguous { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some(whole) = whole.filter(|whole| whole.digest != image.digest)
        && lists(request.layout, &whole, image)?
    {
        let of_all = Statements::about(request.layout, &whole, request.grounds.trust)?;
        let signatures = of_all.trusted.into_iter();
        statements
            .trusted
            .extend(signatures.filter(|stated| stated.kind == SIGNATURE));
        statements.passed_over.extend(of_all.passed_over);
    }
    let trusted = &statements.trusted;
    let passed_over = statements.passed_over.iter().cloned();
    let mut parts: Vec<Finding> = passed_over.map(Finding::unproven).collect();
    let mut sboms = Vec::new();
    let checked = [
        (SIGNATURE, "the image is signed", true),
        (SPDX_PREDICATE, "an SBOM (SPDX) is attached", true),
        (
            slsa::PREDICATE_TYPE,
            "its provenance (SLSA 1) is attached",
            false,
        ),
    ];
    for (predicate_type, what, required) in checked {
        let found: Vec<&Stated> = trusted
            .iter()
            .filter(|stated| stated.kind == predicate_type)
            .collect();
        if found.is_empty() {
            let message = format!("nobody who is trusted says: {what}");
            parts.push(if required {
                Finding::failed(message)
            } else {
                Finding::unproven(message)
            });
            continue;
        }
        parts.extend(by_whom(what, &found));
        if predicate_type == SPDX_PREDICATE {
            for stated in found {
                let document = serde_json::to_vec(&stated.predicate)
                    .ok()
                    .and_then(|bytes| Document::from_json(&bytes).ok());
                match document {
                    Some(document) => sboms.push(document),
                    None => parts.push(Finding::failed(
                        "the attached SBOM is no SPDX 2.3 document".to_owned(),
                    )),
                }
            }
        }
    }
    for stated in trusted {
        if checked.iter().all(|(known, _, _)| *known != stated.kind) {
            parts.push(Finding::unproven(format!(
                "{} also makes a statement that is not checked here: {}",
                signer(stated),
                stated.kind
            )));
        }
    }
    let mut findings = vec![Finding::group(
        "what is said about the image".to_owned(),
        parts,
    )];
    let mut slsa_level = None;
    if let Some((policy, now)) = request.policy {
        let (finding, level) = policy.check(trusted, now);
        findings.push(finding);
        slsa_level = level;
    }
    Ok(Said {
        findings,
        sboms,
        slsa_level,
    })
}

fn signer(stated: &Stated) -> String {
    match &stated.identity {
        None => "a trusted key".to_owned(),
        Some(identity) => identity.to_string(),
    }
}

/// That something is said, once for everyone who says so.
fn by_whom(what: &str, found: &[&Stated]) -> Vec<Finding> {
    let mut told: Vec<String> = Vec::new();
    for stated in found {
        let when = match stated.time {
            Some(time) => format!(", by {} at the latest", time.rfc3339()),
            None => String::new(),
        };
        let message = format!("{what}, by {} and about this digest{when}", signer(stated));
        if !told.contains(&message) {
            told.push(message);
        }
    }
    told.into_iter().map(Finding::proven).collect()
}

/// The statement of a bundle, signed by a trusted key and about the image; or why not.
fn bundled(
    layout: &Layout,
    image: &Descriptor,
    artifact: &Manifest,
    trust: &Trust,
) -> Result<Stated, String> {
    let [layer] = artifact.layers.as_slice() else {
        return Err(format!("it has {} layers, not one", artifact.layers.len()));
    };
    if layer.media_type != bundle::MEDIA_TYPE {
        return Err(format!("it is a `{}`", layer.media_type));
    }
    let read = || -> Result<_, Box<dyn std::error::Error>> {
        let bytes = layout.read(layer, ENVELOPE_LIMIT)?;
        let verified = Bundle::from_json(&bytes)?.verify(trust)?;
        stated(image, &verified)
    };
    read().map_err(|error| error.to_string())
}

/// What a layer of the older form says.
fn legacy(
    layout: &Layout,
    image: &Descriptor,
    layer: &Descriptor,
    trust: &Trust,
) -> Result<Stated, String> {
    let read = || -> Result<_, Box<dyn std::error::Error>> {
        match layer.media_type.as_str() {
            media_type::DSSE => {
                let bytes = layout.read(layer, ENVELOPE_LIMIT)?;
                let annotations = Annotations(&layer.annotations);
                stated(image, &annotations.verify_envelope(&bytes, trust)?)
            }
            simple_signing::MEDIA_TYPE => {
                let payload = layout.read(layer, simple_signing::MAX_LENGTH)?;
                let signature = layer.annotations.get(LEGACY_SIGNATURE);
                let signature = STANDARD.decode(signature.ok_or("it has no signature")?)?;
                let annotations = Annotations(&layer.annotations);
                let signed = annotations.verify_payload(&payload, &signature, trust)?;
                let subject = simple_signing::subject(&payload)?;
                if subject != image.digest {
                    return Err(format!("it signs {subject}").into());
                }
                Ok(Stated {
                    kind: SIGNATURE.to_owned(),
                    predicate: Value::Object(serde_json::Map::new()),
                    keys: signed.keys,
                    identity: signed.identity,
                    time: signed.time,
                })
            }
            other => Err(format!("it is a `{other}`").into()),
        }
    };
    read().map_err(|error| error.to_string())
}

fn stated(image: &Descriptor, verified: &Verified) -> Result<Stated, Box<dyn std::error::Error>> {
    let statement: Statement<Value> = Statement::from_verified(verified)?;
    statement.expect(&statement.predicate_type, &image.digest)?;
    Ok(Stated {
        kind: statement.predicate_type,
        predicate: statement.predicate,
        keys: verified.keys().clone(),
        identity: verified.identity().cloned(),
        time: verified.time(),
    })
}
