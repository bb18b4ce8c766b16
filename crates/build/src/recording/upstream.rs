//! The servers that a recording gets its answers from, and which of them may be asked.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response};
use url::{Host, Url};

use super::exchange::{REDACTED, redacted};

/// What a recording may ask for, and where it gets it.
#[derive(Clone, Debug)]
pub struct RecorderSettings {
    /// If there are any, only these are asked: `example.org`, or `*.example.org` for all below it.
    /// One that is named as it is may have an address of this machine or of its own network, which
    /// no other host may.
    pub hosts: Vec<String>,
    /// Where the bytes of some URLs come from instead. The longest that fits is taken.
    pub rewrites: Vec<Rewrite>,
    /// The most bytes of one answer.
    pub largest_answer: u64,
    /// The most bytes of all answers.
    pub largest_recording: u64,
}

impl Default for RecorderSettings {
    fn default() -> RecorderSettings {
        RecorderSettings {
            hosts: Vec::new(),
            rewrites: Vec::new(),
            largest_answer: 8 << 30,
            largest_recording: 32 << 30,
        }
    }
}

/// A mirror of a registry: what is asked for below one URL is fetched below another. The recording
/// names the first alone, also where an answer of the mirror's names the second.
#[derive(Clone, PartialEq, Eq)]
pub struct Rewrite {
    public: Url,
    actual: Url,
    /// The mirror's URL as it may stand in its answers, without a slash at the end.
    spellings: Vec<String>,
}

/// The text is no [`Rewrite`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no mirror of a registry; write `PUBLIC=MIRROR`, both http:// or https:// URLs without a query, such as `https://npm.example.net=https://npm.example.org/mirror`"
)]
pub struct InvalidRewrite(pub String);

impl FromStr for Rewrite {
    type Err = InvalidRewrite;

    fn from_str(text: &str) -> Result<Rewrite, InvalidRewrite> {
        let invalid = || InvalidRewrite(store::without_credentials(text));
        let (public, actual) = text.split_once('=').ok_or_else(invalid)?;
        let folder = |text: &str| {
            let url = Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok()?;
            let web = matches!(url.scheme(), "http" | "https") && url.has_host();
            (web && url.query().is_none() && url.fragment().is_none()).then_some(url)
        };
        let rewrite = (folder(public), folder(actual));
        let (Some(public), Some(written)) = rewrite else {
            return Err(invalid());
        };
        let mut spellings = vec![
            redacted(&written).as_str().trim_end_matches('/').to_owned(),
            actual.trim_end_matches('/').to_owned(),
        ];
        spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        spellings.dedup();
        Ok(Rewrite {
            public: redacted(&public),
            actual: written,
            spellings,
        })
    }
}

impl fmt::Debug for Rewrite {
    /// Without the mirror's credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.public, redacted(&self.actual))
    }
}

impl Rewrite {
    /// The mirror's URL for one that the public knows.
    fn apply(&self, url: &Url) -> Option<Url> {
        let rest = url.as_str().strip_prefix(self.public.as_str())?;
        Url::parse(&format!("{}{rest}", self.actual)).ok()
    }

    /// What the public knows one of the mirror's URLs by.
    fn revert(&self, url: &Url) -> Option<Url> {
        let rest = url.as_str().strip_prefix(redacted(&self.actual).as_str())?;
        Url::parse(&format!("{}{rest}", self.public)).ok()
    }

    /// `text` with the public's URLs for the mirror's.
    fn revert_text(&self, text: &str) -> String {
        let public = self.public.as_str().trim_end_matches('/');
        let mut reverted = String::with_capacity(text.len());
        let mut rest = text;
        'text: while !rest.is_empty() {
            for spelling in &self.spellings {
                if let Some(after) = rest.strip_prefix(spelling.as_str())
                    && after
                        .chars()
                        .next()
                        .is_none_or(|next| !next.is_alphanumeric() && !"-_.~:%@".contains(next))
                {
                    reverted.push_str(public);
                    rest = after;
                    continue 'text;
                }
            }
            let next = rest
                .char_indices()
                .skip(1)
                .find(|(_, letter)| *letter == 'h')
                .map_or(rest.len(), |(at, _)| at);
            reverted.push_str(&rest[..next]);
            rest = &rest[next..];
        }
        reverted
    }
}

/// A server was not asked, or gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("the host is not among those that may be asked; add it with `--network-host {0}`")]
    Host(String),
    #[error(
        "its address {address} is of this machine or of its own network, which steps have no business with; if the host may be asked all the same, say so with `--network-host {host}`"
    )]
    Address { host: String, address: IpAddr },
    #[error("{0}")]
    Transport(#[source] reqwest::Error),
    #[error("no connection can be made: {0}")]
    Client(#[source] reqwest::Error),
}

/// The way to servers.
pub(super) struct Upstream {
    settings: RecorderSettings,
    /// For hosts that anyone may name.
    guarded: Client,
    /// For hosts that the user named.
    open: Client,
}

/// How often a server is asked that has no time.
const ATTEMPTS: u32 = 4;

impl Upstream {
    pub(super) fn new(settings: RecorderSettings) -> Result<Upstream, UpstreamError> {
        let builder = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(Duration::from_secs(20))
                .read_timeout(Duration::from_secs(60))
        };
        let built = |builder: &dyn Fn() -> reqwest::ClientBuilder| {
            // A machine without any certificates can still ask by plain connections.
            builder()
                .build()
                .or_else(|_| builder().tls_certs_only([]).build())
                .map_err(UpstreamError::Client)
        };
        let proxies = proxy_hosts();
        Ok(Upstream {
            settings,
            open: built(&builder)?,
            guarded: built(&|| {
                builder().dns_resolver(Arc::new(Guarded {
                    exempt: proxies.clone(),
                }))
            })?,
        })
    }

    pub(super) fn settings(&self) -> &RecorderSettings {
        &self.settings
    }

    /// What the public knows `url` by, which may be a mirror's.
    pub(super) fn public(&self, url: &Url) -> Url {
        let mut rewrites = self.settings.rewrites.iter();
        rewrites
            .find_map(|rewrite| rewrite.revert(url))
            .unwrap_or_else(|| url.clone())
    }

    fn rewrite(&self, url: &Url) -> Option<(&Rewrite, Url)> {
        let rewrites = self.settings.rewrites.iter();
        rewrites
            .filter_map(|rewrite| Some((rewrite, rewrite.apply(url)?)))
            .max_by_key(|(rewrite, _)| rewrite.public.as_str().len())
    }

    /// Whether answers to `url` are a mirror's, whose URLs may have to be changed.
    pub(super) fn is_rewritten(&self, url: &Url) -> bool {
        self.rewrite(url).is_some()
    }

    /// A mirror's text with the public's URLs.
    pub(super) fn public_text(&self, text: &str) -> String {
        let mut rewrites: Vec<&Rewrite> = self.settings.rewrites.iter().collect();
        rewrites.sort_by_key(|rewrite| std::cmp::Reverse(rewrite.actual.as_str().len()));
        rewrites
            .into_iter()
            .fold(text.to_owned(), |text, rewrite| rewrite.revert_text(&text))
    }

    /// Asks the server that `url`, a public one, is to be had from. Redirects are not followed; a
    /// server that has no time is asked again.
    pub(super) async fn ask(
        &self,
        method: &hyper::Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, UpstreamError> {
        let host = url.host_str().unwrap_or_default();
        let named = self.settings.hosts.iter().any(|name| name == host);
        if !self.settings.hosts.is_empty() && !named && !self.below_named(host) {
            return Err(UpstreamError::Host(host.to_owned()));
        }
        let (client, actual) = match self.rewrite(url) {
            Some((_, actual)) => (&self.open, actual),
            None if named => (&self.open, url.clone()),
            None => {
                check_literal(url)?;
                (&self.guarded, url.clone())
            }
        };
        let mut pause = Duration::from_millis(500);
        let mut attempt = 1;
        loop {
            let request = client
                .request(method.clone(), actual.clone())
                .headers(headers.clone())
                // Bytes are kept as the server keeps them; nothing may be packed on the way.
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .body(body.clone());
            let result = request.send().await;
            let again = match &result {
                Ok(response) => is_transient(response.status().as_u16()),
                Err(error) => !is_refusal(error),
            };
            if !again || attempt == ATTEMPTS {
                return result.map_err(|error| match refused_address(&error) {
                    Some(address) => UpstreamError::Address {
                        host: host.to_owned(),
                        address,
                    },
                    None => UpstreamError::Transport(error.without_url()),
                });
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    fn below_named(&self, host: &str) -> bool {
        self.settings.hosts.iter().any(|name| {
            name.strip_prefix('*')
                .is_some_and(|suffix| suffix.starts_with('.') && host.ends_with(suffix))
        })
    }
}

/// Whether a status says that the same question may soon be answered otherwise.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

/// The hosts of the proxies that this process's environment names: they are the user's choice.
fn proxy_hosts() -> Vec<String> {
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()])
        .filter_map(|name| std::env::var(name).ok())
        .filter_map(|text| {
            let url = Url::parse(&text)
                .ok()
                .filter(Url::has_host)
                .or_else(|| Url::parse(&format!("http://{text}")).ok())?;
            Some(url.host_str()?.to_owned())
        })
        .collect()
}

/// An address in a URL is not looked up, so no [`Guarded`] sees it.
fn check_literal(url: &Url) -> Result<(), UpstreamError> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        _ => return Ok(()),
    };
    if is_internal(address) {
        return Err(UpstreamError::Address {
            host: url.host_str().unwrap_or_default().to_owned(),
            address,
        });
    }
    Ok(())
}

/// Addresses of this machine, of its own network, of the provider's metadata, and of no one machine.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || first == 0
                || first >= 240
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || within(address).is_some_and(|inner| is_internal(IpAddr::V4(inner)))
        }
    }
}

/// The version 4 address that is meant by one of version 6: `::ffff:a.b.c.d`, `::a.b.c.d`, NAT64
/// (RFC 6052) and 6to4 (RFC 3056).
fn within(address: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let octets = address.octets();
    let at = |start: usize| -> Option<std::net::Ipv4Addr> {
        let four: [u8; 4] = octets.get(start..start + 4)?.try_into().ok()?;
        Some(four.into())
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => at(12),
        [0x2002, ..] => at(2),
        _ => None,
    }
}

/// Looks names up, and withholds internal addresses.
struct Guarded {
    exempt: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0} is an internal address")]
struct InternalAddress(IpAddr);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let exempt = self.exempt.contains(&host);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if !exempt && let Some(internal) = found.iter().find(|found| is_internal(found.ip())) {
                // One of several is as bad: it would be tried when the others don't answer.
                return Err(InternalAddress(internal.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn refused_address(error: &reqwest::Error) -> Option<IpAddr> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(InternalAddress(address)) = error.downcast_ref() {
            return Some(*address);
        }
        cause = error.source();
    }
    None
}

/// Whether asking again would be of no use.
fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<InternalAddress>()
            || error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    error.is_builder()
}

/// Whether a URL has lost a secret, so that its server can't be asked again.
pub(super) fn is_redacted(url: &str) -> bool {
    url.contains(&format!("={REDACTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_are_known_in_every_form() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(is_internal(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(!is_internal(address.parse().unwrap()), "{address}");
        }
        // The URL parser knows the other spellings of addresses.
        for url in [
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::ffff:7f00:1]/",
            "http://127.1/",
        ] {
            assert!(check_literal(&url.parse().unwrap()).is_err(), "{url}");
        }
    }

    #[test]
    fn mirrors_stand_in_for_registries_and_back() {
        let rewrite: Rewrite = "https://npm.example.net=https://me:secret@m.example:443/npm/"
            .parse()
            .unwrap();
        assert_eq!(
            format!("{rewrite:?}"),
            "https://npm.example.net/=https://m.example/npm/"
        );
        let url = |text: &str| Url::parse(text).unwrap();
        let there = rewrite.apply(&url("https://npm.example.net/a/-/a-1.tgz?x=y"));
        assert_eq!(
            there,
            Some(url("https://me:secret@m.example/npm/a/-/a-1.tgz?x=y"))
        );
        let back = rewrite.revert(&url("https://m.example/npm/a"));
        assert_eq!(back, Some(url("https://npm.example.net/a")));
        assert_eq!(
            rewrite.apply(&url("https://npm.example.net.evil.example/a")),
            None
        );
        assert_eq!(rewrite.revert(&url("https://m.example/npmx/a")), None);
        assert_eq!(
            rewrite.revert_text(
                r#"{"a":"https://m.example/npm/a","dl":"https://m.example/npm","x":"https://m.example/npmx"}"#
            ),
            r#"{"a":"https://npm.example.net/a","dl":"https://npm.example.net","x":"https://m.example/npmx"}"#
        );
        for wrong in [
            "",
            "a=b",
            "https://x.example",
            "https://x.example=ftp://y",
            "https://x.example=https://y?z",
        ] {
            assert!(wrong.parse::<Rewrite>().is_err(), "{wrong}");
        }
    }
}
