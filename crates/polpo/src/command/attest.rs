use attest::intoto::predicate_type;
use base::Epoch;
use serde_json::Value;

use super::signatory::Signatory;
use super::subject::Subject;
use crate::arguments::trust::Attest;
use crate::output::failure::Failure;
use crate::settings::Session;

/// Far more than any statement has.
const MAXIMUM_SIZE: u64 = 64 << 20;

pub(crate) async fn run(arguments: &Attest, session: &Session<'_>) -> Result<(), Failure> {
    let signing = &arguments.signing;
    let what = || format!("{} was not attested", signing.image);
    let predicate_type = predicate_type(&arguments.predicate_type)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let predicate = predicate(arguments).map_err(|error| Failure::failed(what(), error))?;
    let signatory = Signatory::find(signing, session).await?;
    let subject = Subject::find(signing, session).await?;
    let ready = signatory.ready(&signing.image, session).await?;
    let epoch = Epoch(signing.source_date_epoch.unwrap_or(0));
    let attached = subject
        .attaching(epoch, ready.signer())
        .attest(predicate_type, predicate)
        .await
        .map_err(|error| Failure::failed(what(), error))?;
    subject.send(&[attached]).await?;
    session.notice(&format!(
        "{}: a statement of the type {predicate_type} is attached to {}",
        subject.digest(),
        signing.image
    ));
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum PredicateError {
    #[error("can't read {path}: {source}", path = .path.display())]
    Read {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is larger than {MAXIMUM_SIZE} bytes", path = .path.display())]
    TooLarge { path: std::path::PathBuf },
    #[error("{path} is no JSON: {source}", path = .path.display())]
    Json {
        path: std::path::PathBuf,
        source: serde_json::Error,
    },
}

fn predicate(arguments: &Attest) -> Result<Value, PredicateError> {
    use std::io::Read as _;
    let path = || arguments.predicate.clone();
    let unreadable = |source| PredicateError::Read {
        path: path(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&arguments.predicate).map_err(unreadable)?;
    file.take(MAXIMUM_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAXIMUM_SIZE {
        return Err(PredicateError::TooLarge { path: path() });
    }
    serde_json::from_slice(&bytes).map_err(|source| PredicateError::Json {
        path: path(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        assert_eq!(
            predicate_type("openvex").ok(),
            Some("https://openvex.dev/ns")
        );
        assert_eq!(predicate_type("urn://x").ok(), Some("urn://x"));
        assert!(predicate_type("openwex").is_err());
    }
}
