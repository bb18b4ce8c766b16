//! Trusted roots from a repository of The Update Framework (TUF), as Sigstore publishes its own: from
//! one root that is known, the newest is reached over signatures, none of it older than what was
//! there before.

use std::path::Path;

use base::{Epoch, Silent};
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{FileStore, Repository, Updater};
use store::{Exchange, Method, Network, Payload};
use url::Url;

/// A repository does not give what it has to.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The root that is known, or what the repository has, does not hold.
    #[error("{url} can't be believed: {source}")]
    Untrue {
        /// The repository.
        url: Url,
        /// What is wrong.
        source: Box<sigstore_tuf::Error>,
    },
    /// The time is none.
    #[error("{0} seconds after 1970 is no time")]
    Time(Epoch),
}

/// What a repository has for verifying and signing, each as its JSON.
#[derive(Clone, Debug)]
pub struct Published {
    /// `trusted_root.json`.
    pub trusted_root: Vec<u8>,
    /// `signing_config.v0.2.json`, if there is one.
    pub signing_config: Option<Vec<u8>>,
}

/// Asks a repository for what is valid at `now`. `root` is the first root that is believed; `kept` is a
/// folder for what was verified, so that next time nothing older is taken.
///
/// # Errors
/// The repository is not to be had; its metadata is not signed as the root wants it, is older than
/// before or expired; or a file is not what it names.
pub async fn fetch(
    url: &Url,
    root: &[u8],
    kept: &Path,
    now: Epoch,
    network: &Network,
) -> Result<Published, MirrorError> {
    let untrue = |source| MirrorError::Untrue {
        url: url.clone(),
        source: Box::new(source),
    };
    let seconds = i64::try_from(now.0).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.ok_or(MirrorError::Time(now))?;
    let remote = Remote {
        url: url.clone(),
        network: network.clone(),
    };
    let mut updater = Updater::new(remote, root)
        .map_err(untrue)?
        .with_store(FileStore::new(kept));
    updater.refresh(time).await.map_err(untrue)?;
    let trusted_root = updater.get_target("trusted_root.json", time).await;
    let trusted_root = trusted_root.map_err(untrue)?;
    let name = "signing_config.v0.2.json";
    let signing_config = match updater.get_target_info(name, time).await {
        Ok(_) => Some(updater.get_target(name, time).await.map_err(untrue)?),
        Err(sigstore_tuf::Error::TargetNotFound { .. }) => None,
        Err(error) => return Err(untrue(error)),
    };
    Ok(Published {
        trusted_root,
        signing_config,
    })
}

struct Remote {
    url: Url,
    network: Network,
}

impl Remote {
    async fn get(
        &self,
        folder: Option<&str>,
        path: &str,
        limit: u64,
    ) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let failed = |message: String| sigstore_tuf::Error::transport(message);
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| failed(format!("{} has no files", self.url)))?
            .pop_if_empty()
            .extend(folder)
            .extend(path.split('/'));
        let question = Exchange {
            name: "trusted root",
            method: Method::Get,
            url: &url,
            headers: &[],
            authorization: None,
            payload: Payload::Nothing,
            limit,
            again: true,
        };
        let answered = self.network.exchange(&question, &|_| (), &Silent).await;
        let answered = answered.map_err(|refusal| failed(format!("{url}: {refusal}")))?;
        match answered.status {
            200..=299 => Ok(Some(answered.body)),
            // Object stores say so of what is not there.
            403 | 404 => Ok(None),
            status => Err(failed(format!("{url}: the server answered with {status}"))),
        }
    }
}

impl Repository for Remote {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(None, name, max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(Some("targets"), path, max_length))
    }
}
