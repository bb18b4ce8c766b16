//! Questions and answers, as they are kept.

use std::collections::BTreeMap;

use base::Digest;
use serde::{Deserialize, Serialize};
use url::Url;

/// A question that a build put to the network, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The URL, as the public knows it; without credentials.
    pub url: String,
    /// `GET`, `HEAD` or `POST`.
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    /// The headers of the question that the answer depends on, their names in lower case: `accept`
    /// where the answer says that it varies by it, and `git-protocol`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request: BTreeMap<String, String>,
    /// The body of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Digest>,
    /// The status of the answer.
    #[serde(default = "ok", skip_serializing_if = "is_ok")]
    pub status: u16,
    /// The headers of the answer that clients go by, their names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body of the answer, a blob of the store.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

fn get() -> String {
    "GET".to_owned()
}

fn is_get(method: &str) -> bool {
    method == "GET"
}

fn ok() -> u16 {
    200
}

fn is_ok(status: &u16) -> bool {
    *status == 200
}

/// All that a build, or a test, asked of the network: sorted, each question once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recording {
    exchanges: Vec<Exchange>,
}

impl Recording {
    /// A recording of these.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Recording {
        let mut exchanges: Vec<Exchange> = exchanges.into_iter().collect();
        exchanges.sort();
        exchanges.dedup();
        Recording { exchanges }
    }

    /// Whether nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Everything, sorted.
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }
}

/// The headers of answers that are kept: what clients go by, and nothing that is about a server, a
/// moment or a person.
pub(super) const KEPT_HEADERS: [&str; 15] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-type",
    "docker-content-digest",
    "etag",
    "last-modified",
    "link",
    "location",
    "x-checksum-md5",
    "x-checksum-sha1",
    "x-checksum-sha256",
    "x-checksum-sha512",
    "x-linked-etag",
    "x-repo-commit",
];

/// Of a question that is put to a server, these headers come from the step; of them, only `accept`
/// and `git-protocol` may be kept.
pub(super) const FORWARDED_HEADERS: [&str; 8] = [
    "accept",
    "authorization",
    "content-encoding",
    "content-type",
    "git-protocol",
    "job-token",
    "private-token",
    "user-agent",
];

/// Query parameters whose value lets its owner in somewhere (AWS, Google Cloud, Azure and CloudFront
/// signed URLs, and what people call tokens).
const SECRET_PARAMETERS: [&str; 22] = [
    "access_token",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "awsaccesskeyid",
    "job_token",
    "jwt",
    "key-pair-id",
    "oauth_token",
    "passwd",
    "password",
    "policy",
    "private_token",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// What stands for the value of a parameter that is a secret.
pub(super) const REDACTED: &str = "REDACTED";

/// `url` without a user, password and fragment, and with [`REDACTED`] for secrets in its query.
pub(super) fn redacted(url: &Url) -> Url {
    let mut url = url.clone();
    // Both only fail for URLs that can't have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    let is_secret = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        parameter.contains('=') && SECRET_PARAMETERS.contains(&name.as_str())
    };
    if let Some(query) = url.query()
        && query.split('&').any(is_secret)
    {
        let parameters = query.split('&').map(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            if is_secret(parameter) {
                format!("{name}={REDACTED}")
            } else {
                parameter.to_owned()
            }
        });
        let query = parameters.collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_in_no_url() {
        let shown = |text: &str| redacted(&text.parse().unwrap()).to_string();
        for (url, expected) in [
            ("https://u:p@x.example/a?b=c#d", "https://x.example/a?b=c"),
            (
                "https://x.example/a?X-Amz-Date=1&X-Amz-Signature=abc&x=%20",
                "https://x.example/a?X-Amz-Date=1&X-Amz-Signature=REDACTED&x=%20",
            ),
            ("https://x.example/a?token", "https://x.example/a?token"),
            (
                "https://x.example/a?TOKEN=1&token=2",
                "https://x.example/a?TOKEN=REDACTED&token=REDACTED",
            ),
            ("https://x.example:443/?a=1", "https://x.example/?a=1"),
        ] {
            assert_eq!(shown(url), expected);
            assert_eq!(shown(expected), expected);
        }
    }
}
