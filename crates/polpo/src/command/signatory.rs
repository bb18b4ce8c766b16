//! Who signs: a key, or an identity with the services that vouch for it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use attest::sigstore::{
    self, Authorities, IdentityToken, Matcher, RekorVersion, Services, Signers, TokenError,
    TokenSource,
};
use attest::trust::Trust;
use key::PrivateKey;
use store::Network;
use zeroize::Zeroizing;

use crate::arguments::trust::{Certificates, Identity, Signing};
use crate::output::failure::Failure;
use crate::settings::{self, Session};

/// Far more than a trusted root, a signing configuration or a token has.
const MAXIMUM_SIZE: u64 = 4 << 20;

pub(super) enum Signatory {
    /// A key that nobody is asked about.
    Key(PrivateKey),
    /// Who makes use of services.
    Served(Box<Served>),
}

pub(super) struct Served {
    services: Services,
    network: Network,
    who: Who,
    /// Whom the result has to be believed by.
    trust: Option<Trust>,
}

enum Who {
    Key(PrivateKey),
    Identity(IdentityToken),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("can't read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {MAXIMUM_SIZE} bytes", path = .path.display())]
    TooLarge { path: PathBuf },
    #[error("{path} is no text", path = .path.display())]
    NoText { path: PathBuf },
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = .path.display())]
struct InFile<E: std::error::Error> {
    path: PathBuf,
    source: E,
}

fn in_file<E: std::error::Error>(path: &Path) -> impl FnOnce(E) -> InFile<E> {
    move |source| InFile {
        path: path.to_owned(),
        source,
    }
}

/// Reads a file of a few pages at the most.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let unreadable = |source| ReadError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    // With room for all of it: growing would leave copies of a token behind.
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::with_capacity(size.min(MAXIMUM_SIZE) as usize + 1);
    file.take(MAXIMUM_SIZE + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    match bytes.len() as u64 > MAXIMUM_SIZE {
        true => Err(ReadError::TooLarge {
            path: path.to_owned(),
        }),
        false => Ok(bytes),
    }
}

impl Signatory {
    pub(super) async fn find(
        signing: &Signing,
        session: &Session<'_>,
    ) -> Result<Signatory, Failure> {
        let what = || format!("{} was not signed", signing.image);
        let identity = &signing.identity;
        let key = signing.key.as_deref().map(settings::private_key);
        let key = key.transpose()?;
        let services = services(identity, &what)?;
        let (key, services) = match (key, services) {
            (Some(key), None) => return Ok(Signatory::Key(key)),
            (None, None) => {
                return Err(Failure::Usage(
                    "signing by an identity takes services: name a signing configuration with \
                     --signing-config (`polpo trust fetch` brings one in), or --fulcio-url, \
                     --rekor-url and --timestamp-url"
                        .to_owned(),
                ));
            }
            (key, Some(services)) => (key, services),
        };
        let network = session.network_trusting(&signing.registries.ca_files);
        let trust = match &identity.trusted_root {
            None => None,
            // Every log has to have entered it, for one that has not is no good to anybody.
            Some(root) => Some(authorities(root, &what)?.demanding_logs(services.logs.len())),
        };
        let (who, trust) = match key {
            Some(key) => {
                let public = key
                    .public()
                    .map_err(|error| Failure::failed(what(), error))?;
                let keys = Trust::of_keys(vec![public]);
                let trust = trust.map(|authorities| keys.and(authorities, Vec::new()));
                (Who::Key(key), trust)
            }
            None => {
                services
                    .hold_to_certificates()
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                let token = token(identity, &network, session).await;
                let token = token.map_err(|error| Failure::failed(what(), error))?;
                let anybody = vec![Signers::anybody()];
                let trust = trust.map(|authorities| Trust::default().and(authorities, anybody));
                (Who::Identity(token), trust)
            }
        };
        Ok(Signatory::Served(Box::new(Served {
            services,
            network,
            who,
            trust,
        })))
    }

    /// Makes ready to sign: an identity is certified for some minutes.
    pub(super) async fn ready<'s>(
        &'s self,
        image: &str,
        session: &Session<'s>,
    ) -> Result<Ready<'s>, Failure> {
        let served = match self {
            Signatory::Key(key) => return Ok(Ready::Key(key)),
            Signatory::Served(served) => &**served,
        };
        let Served {
            services,
            network,
            who,
            trust,
        } = served;
        let reporter = session.reporter();
        let signer = match who {
            Who::Key(key) => sigstore::Signer::of_key(services, key, network, reporter),
            Who::Identity(token) => {
                sigstore::Signer::certified(services, token, network, reporter).await
            }
        };
        signer
            .map(|signer| Ready::Served(signer, trust.as_ref()))
            .map_err(|error| Failure::failed(format!("{image} was not signed"), error))
    }
}

/// Who signs, for as long as that takes.
pub(super) enum Ready<'s> {
    Key(&'s PrivateKey),
    Served(sigstore::Signer<'s>, Option<&'s Trust>),
}

impl Ready<'_> {
    pub(super) fn signer(&self) -> image::Signer<'_> {
        match self {
            Ready::Key(key) => image::Signer::Key(key),
            Ready::Served(signer, trust) => image::Signer::Sigstore(signer, *trust),
        }
    }
}

/// The token that is named, or the one that this job or machine has.
async fn token(
    identity: &Identity,
    network: &Network,
    session: &Session<'_>,
) -> Result<IdentityToken, TokenProblem> {
    let Some(path) = &identity.identity_token_file else {
        let variable = |name: &str| std::env::var(name).ok();
        let token = IdentityToken::ambient(variable, network, session.reporter());
        return Ok(token.await?);
    };
    let bytes = Zeroizing::new(read(path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| ReadError::NoText {
        path: path.to_owned(),
    })?;
    Ok(IdentityToken::new(text, TokenSource::Given)?)
}

#[derive(Debug, thiserror::Error)]
enum TokenProblem {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The services that are named, if any are.
fn services(identity: &Identity, what: &dyn Fn() -> String) -> Result<Option<Services>, Failure> {
    if let Some(path) = &identity.signing_config {
        let bytes = read(path).map_err(|error| Failure::failed(what(), error))?;
        return Services::from_signing_config(&bytes)
            .map(Some)
            .map_err(in_file(path))
            .map_err(|error| Failure::failed(what(), error));
    }
    let version = match identity.rekor_version {
        1 => RekorVersion::V1,
        _ => RekorVersion::V2,
    };
    let fulcio = identity.fulcio_url.as_deref();
    let rekor = identity.rekor_url.as_deref().map(|url| (url, version));
    let timestamp = identity.timestamp_url.as_deref();
    if fulcio.is_none() && rekor.is_none() && timestamp.is_none() {
        return Ok(None);
    }
    Services::new(fulcio, rekor, timestamp)
        .map(Some)
        .map_err(|error| Failure::Usage(error.to_string()))
}

fn authorities(path: &Path, what: &dyn Fn() -> String) -> Result<Authorities, Failure> {
    let bytes = read(path).map_err(|error| Failure::failed(what(), error))?;
    Authorities::from_json(&bytes)
        .map_err(in_file(path))
        .map_err(|error| Failure::failed(what(), error))
}

/// Whom to believe: keys, and identities where they are named.
pub(super) fn trust(
    keys: &[PathBuf],
    certificates: &Certificates,
    what: &dyn Fn() -> String,
) -> Result<Trust, Failure> {
    let keys = keys
        .iter()
        .map(|path| key::load_public(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::failed(what(), error))?;
    let matcher = |exact: &Option<String>, pattern: &Option<String>| match (exact, pattern) {
        (Some(exact), _) => Ok(Some(Matcher::Exact(exact.clone()))),
        (None, Some(pattern)) => Matcher::pattern(pattern)
            .map(Some)
            .map_err(|error| Failure::Usage(error.to_string())),
        (None, None) => Ok(None),
    };
    let subject = matcher(
        &certificates.certificate_identity,
        &certificates.certificate_identity_regexp,
    )?;
    let issuer = matcher(
        &certificates.certificate_oidc_issuer,
        &certificates.certificate_oidc_issuer_regexp,
    )?;
    let signers = match (subject, issuer) {
        (Some(subject), Some(issuer)) => vec![Signers { subject, issuer }],
        (None, None) if !keys.is_empty() => Vec::new(),
        _ => {
            return Err(Failure::Usage(
                "a certificate counts for who it was issued to and by whose word: name both, with \
                 --certificate-identity and --certificate-oidc-issuer (or their -regexp)"
                    .to_owned(),
            ));
        }
    };
    let trust = Trust::of_keys(keys);
    match &certificates.trusted_root {
        Some(root) => {
            let authorities = authorities(root, what)?.demanding_logs(certificates.logs);
            Ok(trust.and(authorities, signers))
        }
        None => Ok(trust),
    }
}
