use base::Digest;
use serde::Deserialize;
use store::{Answered, Refusal, StoreError};

use super::keychain::KeychainError;
use super::reference::InvalidReference;
use crate::InvalidManifest;

/// The longest that is passed on of what a registry says of a failure.
const WORDS_LIMIT: usize = 300;

/// A registry did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer could be had.
    #[error("{what}: {source}")]
    NoAnswer {
        /// What was tried, with the place.
        what: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// It answered with a failure.
    #[error("{what}: the registry answered {status}{words}")]
    Failed {
        /// What was tried, with the place.
        what: String,
        /// The status.
        status: u16,
        /// What the registry says of it, after a colon; or nothing.
        words: String,
    },
    /// It does not have that.
    #[error("{0} is not there")]
    NotFound(String),
    /// It wants to know who asks, and nothing is known.
    #[error(
        "{what}: {registry} wants to know who asks, and no credentials are known for it; give some with `polpo login {registry}`"
    )]
    NotLoggedIn {
        /// What was tried, with the place.
        what: String,
        /// The registry.
        registry: String,
    },
    /// It knows who asks, and refuses.
    #[error(
        "{what}: {registry} refuses this to {user} ({status}){words}; ask for the right to do it, or `polpo login {registry}` as somebody else"
    )]
    Denied {
        /// What was tried, with the place.
        what: String,
        /// The registry.
        registry: String,
        /// As whom polpo came.
        user: String,
        /// 401 or 403.
        status: u16,
        /// What the registry says of it, after a colon; or nothing.
        words: String,
    },
    /// It contradicts itself, or what was asked.
    #[error("{what}: the registry is not to be trusted here: {reason}")]
    Lie {
        /// What was tried, with the place.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// A manifest is malformed.
    #[error("{what} is no usable manifest: {source}")]
    Manifest {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: InvalidManifest,
    },
    /// Credentials can't be had.
    #[error(transparent)]
    Keychain(#[from] KeychainError),
    /// Not a name.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// A blob that is to be sent can't be read.
    #[error("{digest} can't be sent: {source}")]
    Blob {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What came can't be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest can't be written as JSON.
    #[error("can't write a manifest as JSON")]
    Json(#[from] serde_json::Error),
}

impl RegistryError {
    pub(super) fn lie(what: impl Into<String>, reason: impl Into<String>) -> RegistryError {
        RegistryError::Lie {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// An answer that is a failure.
    pub(super) fn of(what: impl Into<String>, answered: &Answered) -> RegistryError {
        let mut words = words(&answered.body);
        if let Some(seconds) = answered.retry_after() {
            words.push_str(&format!(
                ", and asks to be left alone for {seconds} seconds; try again then"
            ));
        }
        RegistryError::Failed {
            what: what.into(),
            status: answered.status,
            words,
        }
    }
}

/// What a registry says of a failure (OCI distribution, "Error Codes"), after a colon.
pub(super) fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(said) = serde_json::from_slice::<Errors>(body) else {
        return String::new();
    };
    let mut text = String::new();
    for one in said.errors.iter().take(4) {
        let parts = [one.code.as_str(), one.message.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if !parts.is_empty() {
            text.push_str(": ");
            text.push_str(&parts.join(" "));
        }
    }
    let shown = text.chars().filter(|character| !character.is_control());
    shown.take(WORDS_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn what_registries_say_of_failures() {
        let body = br#"{"errors":[{"code":"DENIED","message":"not \u001b[31mfor you","detail":[1]},{"code":"X"}]}"#;
        assert_eq!(words(body), ": DENIED not [31mfor you: X");
        assert_eq!(words(b"<html>no</html>"), "");
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(1000));
        assert_eq!(words(long.as_bytes()).len(), 300);
    }
}
