use attest::dsse::Envelope;
use attest::intoto::{SPDX_PREDICATE, Statement};
use attest::slsa;
use attest::spdx::Document;
use oci::{Descriptor, LayoutError, Manifest, media_type};
use serde_json::Value;

use super::{Finding, VerifyRequest};
use crate::attach::SIGNATURE;

/// The largest envelope that is read.
const ENVELOPE_LIMIT: u64 = 128 << 20;

/// Checks what is said about the image, and gives the SBOMs that trusted keys signed.
pub(super) fn check(
    request: &VerifyRequest<'_>,
    image: &Descriptor,
) -> Result<(Finding, Vec<Document>), LayoutError> {
    let mut parts = Vec::new();
    let mut trusted: Vec<Statement<Value>> = Vec::new();
    for (descriptor, artifact) in request.layout.possible_referrers(&image.digest)? {
        let found = artifact
            .map_err(|error| error.to_string())
            .and_then(|artifact| statement(request, image, &artifact));
        match found {
            Ok(statement) => trusted.push(statement),
            // Anyone may attach anything to an image: it is passed over, not believed.
            Err(reason) => parts.push(Finding::unproven(format!(
                "the artefact {} is passed over: {reason}",
                descriptor.digest
            ))),
        }
    }
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
    for (predicate, what, required) in checked {
        let found: Vec<&Statement<Value>> = trusted
            .iter()
            .filter(|statement| statement.predicate_type == predicate)
            .collect();
        if found.is_empty() {
            let message = format!("no trusted key says: {what}");
            parts.push(if required {
                Finding::failed(message)
            } else {
                Finding::unproven(message)
            });
            continue;
        }
        parts.push(Finding::proven(format!(
            "{what}, by a trusted key and about this digest"
        )));
        if predicate == SPDX_PREDICATE {
            for statement in found {
                let document = serde_json::to_vec(&statement.predicate)
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
    for statement in &trusted {
        let predicate = &statement.predicate_type;
        if checked.iter().all(|(known, _, _)| known != predicate) {
            parts.push(Finding::unproven(format!(
                "a trusted key also makes a statement that is not checked here: {predicate}"
            )));
        }
    }
    Ok((
        Finding::group("what is said about the image".to_owned(), parts),
        sboms,
    ))
}

/// The statement of an artefact, signed by a trusted key and about the image; or why not.
fn statement(
    request: &VerifyRequest<'_>,
    image: &Descriptor,
    artifact: &Manifest,
) -> Result<Statement<Value>, String> {
    let [layer] = artifact.layers.as_slice() else {
        return Err(format!("it has {} layers, not one", artifact.layers.len()));
    };
    if layer.media_type != media_type::DSSE {
        return Err(format!("it is a `{}`", layer.media_type));
    }
    let read = || -> Result<Statement<Value>, Box<dyn std::error::Error>> {
        let bytes = request.layout.read(layer, ENVELOPE_LIMIT)?;
        let verified = Envelope::from_json(&bytes)?.verify(request.keys)?;
        let statement: Statement<Value> = Statement::from_verified(&verified)?;
        statement.expect(&statement.predicate_type, &image.digest)?;
        Ok(statement)
    };
    read().map_err(|error| error.to_string())
}
