//! The payload that cosign's older signatures of images are made over: JSON in the form of Red Hat's
//! "simple signing". The signature itself lies beside it.

use base::Digest;
use serde_json::{Value, json};

use crate::json::{self, JsonError};

/// The media type of a payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Payloads longer than this are not read.
pub const MAX_LENGTH: u64 = 1 << 20;

/// `critical.type`.
const TYPE: &str = "cosign container image signature";

/// Why a payload is no signature of an image.
#[derive(Debug, thiserror::Error)]
pub enum SimpleSigningError {
    /// Not JSON, or not bounded.
    #[error("this is no payload of a signature: {0}")]
    Json(#[from] JsonError),
    /// It signs something else.
    #[error("it is no signature of an image: its `critical.{0}` is not as it has to be")]
    Other(&'static str),
}

/// The bytes to sign for the image with this manifest. `name` is what it is known by; nothing is
/// proven of it.
///
/// # Errors
/// None that can happen: it is text.
pub fn payload(name: &str, image: &Digest) -> Result<Vec<u8>, JsonError> {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": image.to_string()},
            "type": TYPE,
        },
        "optional": null,
    });
    Ok(serde_json::to_vec(&payload)?)
}

/// The image that a payload is about. It is to be believed only once the signature is.
///
/// # Errors
/// The bytes are no such payload.
pub fn subject(payload: &[u8]) -> Result<Digest, SimpleSigningError> {
    let payload = json::value(payload, MAX_LENGTH as usize)?;
    let at = |path: &'static str| {
        payload
            .pointer(path)
            .and_then(Value::as_str)
            .ok_or(SimpleSigningError::Other("image"))
    };
    if at("/critical/type").ok() != Some(TYPE) {
        return Err(SimpleSigningError::Other("type"));
    }
    let digest = at("/critical/image/docker-manifest-digest")?;
    // The prefix is part of the form.
    match digest.starts_with("sha256:") {
        true => digest
            .parse()
            .map_err(|_| SimpleSigningError::Other("image")),
        false => Err(SimpleSigningError::Other("image")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        let digest = Digest::of(b"");
        let bytes = payload("registry.example/a", &digest).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"critical":{"identity":{"docker-reference":"registry.example/a"},"image":{"docker-manifest-digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"type":"cosign container image signature"},"optional":null}"#
        );
        assert_eq!(subject(&bytes).unwrap(), digest);
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("cosign container", "atomic container"),
            ("sha256:e3", "e3"),
            ("docker-manifest-digest", "digest"),
            ("\"critical\"", "\"optional\""),
        ] {
            assert!(
                subject(text.replacen(from, to, 1).as_bytes()).is_err(),
                "{from}"
            );
        }
    }
}
