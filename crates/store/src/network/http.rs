//! One question to a web server, redirects and credentials included.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use reqwest::{Certificate, Client, NoProxy, Proxy, RequestBuilder, Response, StatusCode};
use url::Url;

use super::credentials::{Standing, without_credentials};
use super::{
    Answer, Asker, Authorization, Body, Credentials, MAXIMUM_REDIRECTS, NetworkSettings, Question,
    Validators,
};
use crate::refusal::Refusal;

/// Connections to web servers, made when the first is needed.
#[derive(Clone)]
pub(super) struct Http {
    settings: Arc<NetworkSettings>,
    client: Arc<OnceLock<Client>>,
    sender: Arc<OnceLock<Client>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    pub(super) fn new(settings: Arc<NetworkSettings>) -> Http {
        Http {
            settings,
            client: Arc::default(),
            sender: Arc::default(),
        }
    }

    fn client(&self, credentials: &Credentials) -> Result<&Client, Refusal> {
        let patience = Some(self.settings.read_timeout);
        self.connect(&self.client, credentials, patience)
    }

    /// A client for questions with a body: the library's patience would count the time in which the
    /// body is sent, so the caller has to watch it.
    pub(super) fn sender(&self, credentials: &Credentials) -> Result<&Client, Refusal> {
        self.connect(&self.sender, credentials, None)
    }

    fn connect<'c>(
        &self,
        cell: &'c OnceLock<Client>,
        credentials: &Credentials,
        patience: Option<Duration>,
    ) -> Result<&'c Client, Refusal> {
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let authorities = authorities(&self.settings.authorities)?;
        let proxies = match credentials.proxy() {
            Some(told) => proxies(&told, |name| std::env::var(name).ok())?,
            // The environment's, with what their URLs say.
            None => Vec::new(),
        };
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("polpo/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(self.settings.connect_timeout);
            let builder = match patience {
                Some(patience) => builder.read_timeout(patience),
                None => builder,
            };
            let proxies = proxies.iter().cloned();
            proxies.fold(builder, reqwest::ClientBuilder::proxy)
        };
        let with_authorities = || match authorities.is_empty() {
            true => builder(),
            false => builder().tls_certs_merge(authorities.iter().cloned()),
        };
        // A machine without any certificates can still be brought some, by a plain connection.
        let client = with_authorities()
            .build()
            .or_else(|_| {
                builder()
                    .tls_certs_only(authorities.iter().cloned())
                    .build()
            })
            .map_err(Refusal::Transport)?;
        Ok(cell.get_or_init(|| client))
    }

    /// Puts a question, and follows where the server sends.
    pub(super) async fn put(
        &self,
        question: &Question<'_>,
        credentials: &Credentials,
    ) -> Result<Answer, Refusal> {
        let mut url = question.url.clone();
        for _ in 0..=MAXIMUM_REDIRECTS {
            let standing = if same_server(&url, question.url) {
                Standing::Named
            } else {
                Standing::Redirected
            };
            let response = self.send(&url, standing, question, credentials).await?;
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    let only_https = question.only_https && question.url.scheme() == "https";
                    url = next_place(&url, response.headers(), only_https)?;
                }
                _ => return answer(response, question),
            }
        }
        Err(Refusal::Redirect {
            place: place(&url),
            reason: "it has sent us on too often",
        })
    }

    async fn send(
        &self,
        url: &Url,
        standing: Standing,
        question: &Question<'_>,
        credentials: &Credentials,
    ) -> Result<Response, Refusal> {
        // What the user wrote into the URL is asked for by its own means, and stays in no URL.
        let known = Url::clone(if standing == Standing::Named {
            question.url
        } else {
            url
        });
        let bare = bare(url);
        let client = self.client(credentials)?;
        let request = |authorization| {
            let mut request = client.get(bare.clone());
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            conditions(request, question)
        };
        let sent = |error: reqwest::Error| Refusal::Transport(error.without_url());
        let unasked = match &question.asker {
            Asker::Environment => credentials.unasked(&known, standing),
            Asker::Named(authorization) => authorization
                .filter(|_| standing == Standing::Named)
                .map(Authorization::header),
        };
        let told = unasked.is_some() || matches!(question.asker, Asker::Named(_));
        let response = request(unasked).send().await.map_err(sent)?;
        if response.status() != StatusCode::UNAUTHORIZED || told {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        match credentials.asked(standing, challenges) {
            Some(value) => request(Some(value)).send().await.map_err(sent),
            None => Ok(response),
        }
    }
}

/// Where an answer sends us. With `only_https`, not from an encrypted place to one that is not.
pub(super) fn next_place(url: &Url, headers: &HeaderMap, only_https: bool) -> Result<Url, Refusal> {
    let location = text(headers, LOCATION)
        .ok_or(Refusal::Nonsense("a redirect that does not say where to"))?;
    let refused = |place, reason| Refusal::Redirect { place, reason };
    let next = url.join(&location).map_err(|_| {
        let shown = location.split(['?', '#']).next().unwrap_or_default();
        refused(without_credentials(shown), "that is no URL")
    })?;
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(refused(place(&next), "only web servers are asked"));
    }
    if only_https && url.scheme() == "https" && next.scheme() != "https" {
        return Err(refused(place(&next), "that is not encrypted"));
    }
    // What a server writes before the `@` is not ours to use.
    Ok(bare(&next))
}

/// The certificates of authorities besides the system's.
fn authorities(files: &[PathBuf]) -> Result<Vec<Certificate>, Refusal> {
    let mut found = Vec::new();
    for path in files {
        let refused = |reason: String| Refusal::Authority {
            path: path.clone(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&bytes)
            .map_err(|error| refused(crate::refusal::chain(&error)))?;
        if certificates.is_empty() {
            return Err(refused("it holds no certificate in PEM".to_owned()));
        }
        found.extend(certificates);
    }
    Ok(found)
}

/// The proxies that the environment names, for those that are told who asks.
fn proxies(
    told: &HeaderValue,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Proxy>, Refusal> {
    let named = |names: [&str; 2]| {
        let found = names.into_iter().find_map(&variable);
        found.filter(|url| !url.is_empty())
    };
    let all = named(["ALL_PROXY", "all_proxy"]);
    let mut proxies = Vec::new();
    for (https, url) in [
        (false, named(["HTTP_PROXY", "http_proxy"])),
        (true, named(["HTTPS_PROXY", "https_proxy"])),
    ] {
        let Some(url) = url.or_else(|| all.clone()) else {
            continue;
        };
        let names_user = url.split_once("://").map_or(&*url, |(_, rest)| rest);
        let names_user = names_user.contains('@');
        let proxy = match https {
            true => Proxy::https(url),
            false => Proxy::http(url),
        }
        .map_err(Refusal::Transport)?;
        let proxy = match names_user {
            true => proxy,
            false => proxy.custom_http_auth(told.clone()),
        };
        proxies.push(proxy.no_proxy(NoProxy::from_env()));
    }
    Ok(proxies)
}

/// Scheme, host and port: credentials that are for one are for no other.
pub(super) fn same_server(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

pub(super) fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    // Both only fail for URLs that can't have credentials.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

/// A place that a server has sent us to, for messages: its query may be a secret.
pub(super) fn place(url: &Url) -> String {
    let mut bare = bare(url);
    bare.set_query(None);
    bare.set_fragment(None);
    bare.to_string()
}

fn conditions(mut request: RequestBuilder, question: &Question<'_>) -> RequestBuilder {
    // Bytes are hashed as the server keeps them; nothing may be packed on the way.
    request = request.header(ACCEPT_ENCODING, "identity");
    if let Some((from, validators)) = question.rest {
        request = request.header(RANGE, format!("bytes={from}-"));
        if let Some(value) = validators.strong() {
            request = request.header(IF_RANGE, value);
        }
        return request;
    }
    let Some(validators) = question.unless else {
        return request;
    };
    if let Some(etag) = &validators.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    if let Some(date) = &validators.last_modified {
        request = request.header(IF_MODIFIED_SINCE, date);
    }
    request
}

fn answer(response: Response, question: &Question<'_>) -> Result<Answer, Refusal> {
    let status = response.status().as_u16();
    let headers = response.headers();
    let validators = Validators {
        etag: text(headers, ETAG),
        last_modified: text(headers, LAST_MODIFIED),
    };
    match status {
        200 => Ok(Answer::Body {
            start: 0,
            total: response.content_length(),
            validators,
            body: Body::Http(Box::new(response)),
        }),
        206 => {
            let (_, former) = question
                .rest
                .ok_or(Refusal::Nonsense("a part where the whole was asked for"))?;
            let changed = |new: &Option<String>, old: &Option<String>| {
                new.is_some() && old.is_some() && new != old
            };
            if changed(&validators.etag, &former.etag)
                || changed(&validators.last_modified, &former.last_modified)
            {
                return Ok(Answer::Changed);
            }
            let range = text(headers, CONTENT_RANGE);
            let (start, total) = range
                .as_deref()
                .and_then(content_range)
                .ok_or(Refusal::Nonsense("a part that does not say which"))?;
            Ok(Answer::Body {
                start,
                total,
                validators,
                body: Body::Http(Box::new(response)),
            })
        }
        304 if question.unless.is_some() => Ok(Answer::Unchanged),
        412 | 416 if question.rest.is_some() => Ok(Answer::Changed),
        404 | 410 => Err(Refusal::NotThere),
        401 | 407 => Err(Refusal::Unauthorised { status }),
        429 | 503 => Err(match retry_after(headers) {
            Some(seconds) => Refusal::Busy { status, seconds },
            None => Refusal::Status(status),
        }),
        _ => Err(Refusal::Status(status)),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Start and total of `bytes 5-9/10`; the total may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?);
    let total = match total {
        "*" => None,
        total => Some(total.parse::<u64>().ok()?),
    };
    // A part in the middle would leave a hole at the end.
    let fits = start <= end && total.is_none_or(|total| end.checked_add(1) == Some(total));
    fits.then_some((start, total))
}

/// The seconds of `Retry-After`. A date is told from the date of the answer: no clock is asked.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let value = text(headers, RETRY_AFTER)?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(seconds);
    }
    let then = httpdate::parse_http_date(&value).ok()?;
    let now = httpdate::parse_http_date(&text(headers, DATE)?).ok()?;
    Some(then.duration_since(now).unwrap_or(Duration::ZERO).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in [
            "bytes 5-8/10",
            "bytes 9-5/10",
            "bytes */10",
            "5-9/10",
            "bytes 0-18446744073709551615/5",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_to_come_back_at_counts_from_the_answer() {
        let seconds = |after: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn servers_are_told_apart() {
        let same =
            |one: &str, other: &str| same_server(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(same("https://x.example/a", "https://u:p@X.example:443/b"));
        for other in [
            "http://x.example/a",
            "https://x.example:444/a",
            "https://y.x.example/a",
            "https://x.example./a",
        ] {
            assert!(!same("https://x.example/a", other), "{other}");
        }
    }
}
