use std::cmp::Reverse;
use std::collections::BTreeSet;

use sigstore_trust_root::{ServiceConfiguration, ServiceEndpoint, ServiceSelector, SigningConfig};
use url::{Host, Url};

use crate::json::{self, JsonError};

/// Signing configurations longer than this are not read: the public one has 1 KiB.
const MAX_LENGTH: usize = 1 << 20;

/// Which protocol a log speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekorVersion {
    /// It promises inclusion and tells the time.
    V1,
    /// It is made of tiles and tells no time: a clock is needed besides.
    V2,
}

/// A log of signatures (Rekor).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where it is.
    pub url: Url,
    /// What it speaks.
    pub version: RekorVersion,
}

/// Where a signer turns to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Who issues certificates (Fulcio). Keys do without.
    pub fulcio: Option<Url>,
    /// The logs (Rekor), each of which enters what is signed. Keys may do without.
    pub logs: Vec<Log>,
    /// Who tells the time (RFC 3161), each at the very place where it is asked.
    pub clocks: Vec<Url>,
}

/// Services can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The bytes are no signing configuration's JSON.
    #[error("this is no signing configuration of Sigstore: {0}")]
    Json(#[from] JsonError),
    /// Another version, or not its shape.
    #[error("this is no signing configuration of Sigstore: {0}")]
    Shape(#[source] Box<sigstore_trust_root::Error>),
    /// There is none of a kind, now and of a version that is known.
    #[error(
        "signing by an identity takes a {kind}, and none is named that is in use now and of a known \
         version"
    )]
    Missing {
        /// `certificate authority` or `log`.
        kind: &'static str,
    },
    /// It wants more of them than there are.
    #[error(
        "the signing configuration wants {wanted} {kind}s, and {found} of different operators are \
         in use now and of the newest version that is known"
    )]
    Few {
        /// `log` or `clock`.
        kind: &'static str,
        /// How many it wants.
        wanted: u32,
        /// How many there are.
        found: usize,
    },
    /// It doesn't say how many of them are wanted.
    #[error("the signing configuration does not say how many of its {kind}s to use")]
    Uncounted {
        /// `log` or `clock`.
        kind: &'static str,
    },
    /// No URL.
    #[error("the {kind} is at no URL: `{text}`: {source}")]
    Url {
        /// What it is.
        kind: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
    /// The token would be read by others.
    #[error(
        "`{0}` would be sent the identity token unencrypted; name it by an https URL (only a server \
         on this machine is spoken to over http)"
    )]
    Plain(Url),
    /// Nothing would tell when the signature was made.
    #[error(
        "a log of version 2 tells no time: name who does, with `--timestamp-url` or in the signing \
         configuration"
    )]
    Timeless,
}

impl Services {
    /// Reads a signing configuration (version 0.2) and takes as many services as it wants: those in
    /// use now of the newest version, the newest one of each operator.
    ///
    /// # Errors
    /// It is no such configuration, or names services that can't be used.
    pub fn from_signing_config(bytes: &[u8]) -> Result<Services, ServicesError> {
        json::value(bytes, MAX_LENGTH)?;
        let text = String::from_utf8_lossy(bytes);
        let config = SigningConfig::from_json(&text)
            .map_err(|error| ServicesError::Shape(Box::new(error)))?;
        let logs = config.eligible_rekor_urls(None);
        let logs = wanted("log", &config.rekor_tlog_config, logs)?;
        let clocks = config.eligible_tsa_urls();
        let clocks = wanted("clock", &config.tsa_config, clocks)?;
        let logs = logs.into_iter().map(|log| {
            let version = match log.major_api_version {
                1 => RekorVersion::V1,
                _ => RekorVersion::V2,
            };
            (log.url.as_str(), version)
        });
        let fulcio = config.fulcio_url().map(|service| service.url.as_str());
        let clocks = clocks.into_iter().map(|clock| clock.url.as_str());
        Services::new(fulcio, logs, clocks)
    }

    /// Services at these URLs.
    ///
    /// # Errors
    /// They are no URLs, or can't be used.
    pub fn new<'a>(
        fulcio: Option<&str>,
        logs: impl IntoIterator<Item = (&'a str, RekorVersion)>,
        clocks: impl IntoIterator<Item = &'a str>,
    ) -> Result<Services, ServicesError> {
        let url = |kind, text: &str| {
            Url::parse(text).map_err(|source| ServicesError::Url {
                kind,
                text: text.to_owned(),
                source,
            })
        };
        let fulcio = fulcio.map(|text| url("certificate authority", text));
        let logs = logs
            .into_iter()
            .map(|(text, version)| url("log", text).map(|url| Log { url, version }));
        let clocks = clocks.into_iter().map(|text| url("clock", text));
        let services = Services {
            fulcio: fulcio.transpose()?,
            logs: logs.collect::<Result<_, _>>()?,
            clocks: clocks.collect::<Result<_, _>>()?,
        };
        match services.fulcio {
            Some(fulcio) if !keeps_secrets(&fulcio) => Err(ServicesError::Plain(fulcio)),
            _ => Ok(services),
        }
    }

    /// Holds them to what a certificate takes: who issues it, and what proves when it was used.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn hold_to_certificates(&self) -> Result<(), ServicesError> {
        let missing = |kind| ServicesError::Missing { kind };
        self.fulcio
            .as_ref()
            .ok_or(missing("certificate authority"))?;
        if self.logs.is_empty() {
            return Err(missing("log"));
        }
        let tells = |log: &Log| log.version == RekorVersion::V1;
        match self.clocks.is_empty() && !self.logs.iter().any(tells) {
            true => Err(ServicesError::Timeless),
            false => Ok(()),
        }
    }

    /// Whether one of the logs is of version 2.
    pub(super) fn has_tiles(&self) -> bool {
        self.logs.iter().any(|log| log.version == RekorVersion::V2)
    }
}

/// Whether nobody between here and there can read along.
pub(super) fn keeps_secrets(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// As many of the services of a kind as a configuration asks for. They come with the newest version
/// first; of that one each operator's newest service counts, as for Sigstore's own programs.
fn wanted<'a>(
    kind: &'static str,
    config: &ServiceConfiguration,
    mut services: Vec<&'a ServiceEndpoint>,
) -> Result<Vec<&'a ServiceEndpoint>, ServicesError> {
    let newest = services.first().map(|service| service.major_api_version);
    services.retain(|service| Some(service.major_api_version) == newest);
    services.sort_by_key(|service| Reverse(service.valid_for.start));
    let mut operators = BTreeSet::new();
    // Services of nobody's are somebody's each: their URL tells them apart.
    services.retain(|service| {
        operators.insert(service.operator.as_deref().unwrap_or(service.url.as_str()))
    });
    let found = services.len();
    let count = match config.selector {
        ServiceSelector::Any => 1,
        ServiceSelector::All => found,
        _ => {
            let wanted = config.count.unwrap_or(0);
            match usize::try_from(wanted) {
                Ok(0) => return Err(ServicesError::Uncounted { kind }),
                Ok(count) if count <= found => count,
                _ => {
                    return Err(ServicesError::Few {
                        kind,
                        wanted,
                        found,
                    });
                }
            }
        }
    };
    services.truncate(count);
    Ok(services)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(change: impl Fn(&mut Value)) -> Result<Services, String> {
        let service = |url: &str, version: u32| {
            json!([{"url": url, "majorApiVersion": version,
                "validFor": {"start": "2020-01-01T00:00:00Z"}}])
        };
        let mut config = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service("https://fulcio.example", 1),
            "rekorTlogUrls": service("https://rekor.example", 2),
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": service("https://clock.example/api/v1/timestamp", 1),
            "tsaConfig": {"selector": "EXACT", "count": 1},
        });
        change(&mut config);
        Services::from_signing_config(config.to_string().as_bytes())
            .and_then(|services| services.hold_to_certificates().map(|()| services))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn configurations() {
        let services = config(|_| ()).unwrap();
        assert_eq!(services.fulcio.unwrap().as_str(), "https://fulcio.example/");
        assert_eq!(services.logs[0].version, RekorVersion::V2);
        let expired = json!({"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"});
        type Change<'a> = &'a dyn Fn(&mut Value);
        let refused: [(Change<'_>, &str); 7] = [
            (
                &|config| config["mediaType"] = "x".into(),
                "no signing configuration",
            ),
            (
                &|config| config["caUrls"][0]["validFor"] = expired.clone(),
                "takes a certificate authority",
            ),
            (
                &|config| config["rekorTlogUrls"][0]["majorApiVersion"] = 3.into(),
                "takes a log",
            ),
            (
                &|config| config["tsaUrls"] = json!([]),
                "wants 1 clocks, and 0 of different operators",
            ),
            (
                &|config| {
                    config["tsaUrls"] = json!([]);
                    config["tsaConfig"] = json!({});
                },
                "tells no time",
            ),
            (
                &|config| config["tsaConfig"]["count"] = 2.into(),
                "wants 2 clocks, and 1 of different operators",
            ),
            (
                &|config| config["caUrls"][0]["url"] = "http://fulcio.example".into(),
                "would be sent the identity token unencrypted",
            ),
        ];
        for (change, reason) in refused {
            let error = config(change).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn as_many_as_are_wanted() {
        let log = |host: &str, version: u32, operator: &str, year: u32| {
            json!({"url": format!("https://{host}.example"), "majorApiVersion": version,
                "operator": operator, "validFor": {"start": format!("{year}-01-01T00:00:00Z")}})
        };
        let logs = json!([
            log("first", 1, "a", 2021),
            log("old", 2, "a", 2023),
            log("new", 2, "a", 2024),
            log("other", 2, "b", 2022),
        ]);
        let taken = |selection: Value| {
            let services = config(|config| {
                config["rekorTlogUrls"] = logs.clone();
                config["rekorTlogConfig"] = selection.clone();
            });
            services.map(|services| {
                let logs = services.logs.iter().map(|log| log.url.to_string());
                logs.collect::<Vec<_>>().join(" ")
            })
        };
        let (new, other) = ("https://new.example/", "https://other.example/");
        let both = format!("{new} {other}");
        for (selection, expected) in [
            (json!({"selector": "ANY"}), Ok(new)),
            (json!({"selector": "ALL"}), Ok(both.as_str())),
            (json!({"selector": "EXACT", "count": 1}), Ok(new)),
            (json!({"selector": "EXACT", "count": 2}), Ok(both.as_str())),
            (
                json!({"selector": "EXACT", "count": 3}),
                Err("wants 3 logs, and 2 of different operators"),
            ),
            (
                json!({"selector": "EXACT"}),
                Err("does not say how many of its logs to use"),
            ),
        ] {
            let found = taken(selection.clone());
            match expected {
                Ok(urls) => assert_eq!(found.as_deref(), Ok(urls), "{selection}"),
                Err(reason) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(reason), "{selection}: {error}");
                }
            }
        }
    }

    #[test]
    fn tokens_go_nowhere_in_plain_text() {
        let kept = |url: &str| keeps_secrets(&Url::parse(url).unwrap());
        for url in [
            "https://x.example",
            "http://127.0.0.1:80",
            "http://[::1]/",
            "http://localhost",
        ] {
            assert!(kept(url), "{url}");
        }
        for url in [
            "http://x.example",
            "http://127.0.0.1.example",
            "http://10.0.0.1",
        ] {
            assert!(!kept(url), "{url}");
        }
    }
}
