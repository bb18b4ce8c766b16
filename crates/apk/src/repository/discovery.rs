//! The keys that a repository's server names: `<repository>/apk-configuration` leads to a set of
//! JSON web keys (RFC 7517). Whoever asks for this trusts the server, so only over HTTPS.

use base::Reporter;
use base64::Engine as _;
use key::{KeyError, PublicKey};
use serde::{Deserialize, Serialize};
use store::{Network, Refusal, Store, StoreError, Wanted};
use url::{Host, Url};

/// Bytes of an answer.
const MAXIMUM_ANSWER: u64 = 1 << 20;

/// Keys of a repository.
const MAXIMUM_KEYS: usize = 64;

const RECORD: &str = "discovered-keys";

/// A key that a repository's server names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredKey {
    /// Its file name: the key's id with `.rsa.pub`.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Where the set of keys was found, without credentials.
    pub url: String,
}

/// Keys can't be discovered.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The server would name keys to anybody in between.
    #[error(
        "{url} is not encrypted, so the keys it names prove nothing; use https, or bring the keys by other means"
    )]
    NotEncrypted {
        /// The URL.
        url: String,
    },
    /// A file can't be fetched.
    #[error("can't fetch {url}: {source}")]
    Fetch {
        /// Its URL.
        url: String,
        /// Why not.
        source: Refusal,
    },
    /// An answer is not what it should be.
    #[error("{url}: {reason}")]
    Answer {
        /// Its URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is no good.
    #[error("{url}: key {name}: {source}")]
    Key {
        /// The URL of the set.
        url: String,
        /// The key's id, escaped.
        name: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The network is not to be used, and the keys were not discovered before.
    #[error(
        "the keys that {url} names were never fetched and the network is not to be used (offline)"
    )]
    Offline {
        /// The repository's URL.
        url: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
struct Configuration {
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<JsonKey>,
}

#[derive(Deserialize)]
struct JsonKey {
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

/// What is remembered of a repository: who named which keys.
#[derive(Serialize, Deserialize)]
struct Recorded {
    repository: String,
    url: String,
    keys: Vec<RecordedKey>,
}

#[derive(Serialize, Deserialize)]
struct RecordedKey {
    name: String,
    pem: String,
}

/// Asks a repository's server for its keys; none where it names none. What was found is recorded
/// in the store, and is what counts while the network may not be used.
pub(super) async fn discover(
    network: &Network,
    store: &Store,
    repository: &Url,
    reporter: &dyn Reporter,
) -> Result<Vec<DiscoveredKey>, DiscoveryError> {
    let shown = store::without_credentials(repository.as_str());
    let record_key = base::Digest::of(shown.as_bytes());
    if network.is_offline() {
        let recorded: Option<Recorded> = store.record_get(RECORD, &record_key)?;
        let recorded = recorded.ok_or(DiscoveryError::Offline { url: shown })?;
        return recorded
            .keys
            .iter()
            .map(|key| from_record(&recorded, key))
            .collect();
    }
    let mut place = repository.clone();
    if let Ok(mut segments) = place.path_segments_mut() {
        segments.pop_if_empty().push("apk-configuration");
    }
    let mut found = Vec::new();
    let mut url = shown.clone();
    if let Some(bytes) = fetch(network, store, &place, reporter).await? {
        let configuration: Configuration = parse(&place, &bytes)?;
        // The set may lie on another server; credentials are not taken along.
        let set = Url::parse(&configuration.jwks_uri)
            .map_err(|error| answer(&place, format!("its jwks_uri is no URL: {error}")))?;
        let bytes = fetch(network, store, &set, reporter)
            .await?
            .ok_or_else(|| answer(&set, "it is not there".to_owned()))?;
        url = store::without_credentials(set.as_str());
        found = keys(&set, &bytes)?;
    }
    let recorded = Recorded {
        repository: shown,
        url,
        keys: found
            .iter()
            .map(|key| RecordedKey {
                name: key.name.clone(),
                pem: key.key.to_pem(),
            })
            .collect(),
    };
    store.record_put(RECORD, &record_key, &recorded)?;
    Ok(found)
}

fn from_record(recorded: &Recorded, key: &RecordedKey) -> Result<DiscoveredKey, DiscoveryError> {
    let url = recorded.url.clone();
    match PublicKey::from_pem(&key.pem) {
        Ok(public) => Ok(DiscoveredKey {
            name: key.name.clone(),
            key: public,
            url,
        }),
        Err(source) => Err(DiscoveryError::Key {
            url,
            name: key.name.escape_debug().to_string(),
            source,
        }),
    }
}

async fn fetch(
    network: &Network,
    store: &Store,
    url: &Url,
    reporter: &dyn Reporter,
) -> Result<Option<Vec<u8>>, DiscoveryError> {
    let shown = store::without_credentials(url.as_str());
    if !is_private(url) {
        return Err(DiscoveryError::NotEncrypted { url: shown });
    }
    let wanted = Wanted {
        name: "keys",
        url,
        limit: MAXIMUM_ANSWER,
        size: None,
        expected: None,
        only_https: true,
    };
    let arrived = match network.fetch(store, &wanted, reporter).await {
        Ok(arrived) => arrived,
        Err(Refusal::NotThere) => return Ok(None),
        Err(source) => return Err(DiscoveryError::Fetch { url: shown, source }),
    };
    let read = std::fs::read(arrived.path())
        .map_err(store::WriteError::at("read", arrived.path()))
        .map_err(StoreError::from)?;
    Ok(Some(read))
}

/// Nobody in between can change what this server says: it is encrypted, or this very machine.
fn is_private(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && here)
}

fn answer(url: &Url, reason: String) -> DiscoveryError {
    DiscoveryError::Answer {
        url: store::without_credentials(url.as_str()),
        reason,
    }
}

fn parse<'b, T: Deserialize<'b>>(url: &Url, bytes: &'b [u8]) -> Result<T, DiscoveryError> {
    serde_json::from_slice(bytes).map_err(|error| answer(url, error.to_string()))
}

fn keys(url: &Url, bytes: &[u8]) -> Result<Vec<DiscoveredKey>, DiscoveryError> {
    let set: KeySet = parse(url, bytes)?;
    if set.keys.len() > MAXIMUM_KEYS {
        return Err(answer(url, format!("it has more than {MAXIMUM_KEYS} keys")));
    }
    let mut found: Vec<DiscoveredKey> = Vec::new();
    for json in &set.keys {
        let name = json.kid.escape_debug().to_string();
        let plain = |character: char| character.is_ascii_graphic() && character != '/';
        if json.kid.is_empty() || json.kid.len() > 80 || !json.kid.chars().all(plain) {
            return Err(answer(url, format!("`{name}` can't be the id of a key")));
        }
        if json.kty != "RSA" {
            let kind = json.kty.escape_debug();
            return Err(answer(
                url,
                format!("key {name} is of type {kind}, and apk verifies indexes by RSA alone"),
            ));
        }
        let number = |text: &str| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(text.trim_end_matches('='))
                .map_err(|_| answer(url, format!("key {name} is not in base64")))
        };
        let (modulus, exponent) = (number(&json.n)?, number(&json.e)?);
        let key =
            PublicKey::from_rsa(&modulus, &exponent).map_err(|source| DiscoveryError::Key {
                url: store::without_credentials(url.as_str()),
                name: name.clone(),
                source,
            })?;
        let key = DiscoveredKey {
            name: format!("{}.rsa.pub", json.kid),
            key,
            url: store::without_credentials(url.as_str()),
        };
        if found
            .iter()
            .any(|other| other.name == key.name && other.key != key.key)
        {
            return Err(answer(url, format!("it has two keys {name}")));
        }
        found.push(key);
    }
    Ok(found)
}
