use sigstore_trust_root::{ServiceConfiguration, ServiceSelector, SigningConfig};
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

/// Where a signer turns to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Who issues certificates (Fulcio). Keys do without.
    pub fulcio: Option<Url>,
    /// The log (Rekor) and what it speaks. Keys may do without.
    pub rekor: Option<(Url, RekorVersion)>,
    /// Who tells the time (RFC 3161), at the very place where it is asked.
    pub timestamp: Option<Url>,
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
    /// It wants more signatures than are made.
    #[error(
        "the signing configuration wants more than one {kind}; bundles are made with one of each"
    )]
    Several {
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
    /// Reads a signing configuration (version 0.2) and takes what is in use now: the newest log.
    ///
    /// # Errors
    /// It is no such configuration, or names services that can't be used.
    pub fn from_signing_config(bytes: &[u8]) -> Result<Services, ServicesError> {
        json::value(bytes, MAX_LENGTH)?;
        let text = String::from_utf8_lossy(bytes);
        let config = SigningConfig::from_json(&text)
            .map_err(|error| ServicesError::Shape(Box::new(error)))?;
        let logs = config.eligible_rekor_urls(None);
        single("log", &config.rekor_tlog_config, logs.len())?;
        let clocks = config.eligible_tsa_urls();
        single("clock", &config.tsa_config, clocks.len())?;
        let rekor = logs.first().map(|log| {
            let version = match log.major_api_version {
                1 => RekorVersion::V1,
                _ => RekorVersion::V2,
            };
            (log.url.as_str(), version)
        });
        let fulcio = config.fulcio_url().map(|service| service.url.as_str());
        let clock = clocks.first().map(|clock| clock.url.as_str());
        Services::new(fulcio, rekor, clock)
    }

    /// Services at these URLs.
    ///
    /// # Errors
    /// They are no URLs, or can't be used.
    pub fn new(
        fulcio: Option<&str>,
        rekor: Option<(&str, RekorVersion)>,
        timestamp: Option<&str>,
    ) -> Result<Services, ServicesError> {
        let url = |kind, text: &str| {
            Url::parse(text).map_err(|source| ServicesError::Url {
                kind,
                text: text.to_owned(),
                source,
            })
        };
        let fulcio = fulcio.map(|text| url("certificate authority", text));
        let rekor = rekor.map(|(text, version)| url("log", text).map(|url| (url, version)));
        let services = Services {
            fulcio: fulcio.transpose()?,
            rekor: rekor.transpose()?,
            timestamp: timestamp.map(|text| url("clock", text)).transpose()?,
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
        let (_, version) = self.rekor.as_ref().ok_or(missing("log"))?;
        match (version, &self.timestamp) {
            (RekorVersion::V2, None) => Err(ServicesError::Timeless),
            _ => Ok(()),
        }
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

/// Holds what a configuration asks for to one service of a kind, of `count` that could serve.
fn single(
    kind: &'static str,
    wanted: &ServiceConfiguration,
    count: usize,
) -> Result<(), ServicesError> {
    match wanted.selector {
        ServiceSelector::Any => Ok(()),
        ServiceSelector::Exact if wanted.count == Some(1) => Ok(()),
        ServiceSelector::All if count < 2 => Ok(()),
        _ => Err(ServicesError::Several { kind }),
    }
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
        assert_eq!(services.rekor.unwrap().1, RekorVersion::V2);
        let expired = json!({"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"});
        type Change<'a> = &'a dyn Fn(&mut Value);
        let refused: [(Change<'_>, &str); 6] = [
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
            (&|config| config["tsaUrls"] = json!([]), "tells no time"),
            (
                &|config| config["tsaConfig"]["count"] = 2.into(),
                "more than one clock",
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
