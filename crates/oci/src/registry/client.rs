use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{Reporter, Silent};
use serde::Deserialize;
use store::{Answered, Authorization, Exchange, Method, Network, Payload};
use url::Url;

use super::error::{RegistryError, words};
use super::header::{Challenge, challenges};
use super::keychain::{Keychain, Login, Secret};
use super::reference::RepositoryName;

/// The largest answer of a place that gives out tokens.
const TOKEN_LIMIT: u64 = 1 << 20;
/// What registries grant where they don't say for how long (docker's token specification).
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// A token is not used so shortly before its end.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Speak plain HTTP with every registry. With one on this machine it is done without being asked.
    pub plain_http: bool,
    /// Blobs up to this size are sent in one request that also ends the upload.
    pub at_once: u64,
    /// Larger ones are sent in pieces of this size; without one, in one piece that can be gone on with.
    pub chunk: Option<u64>,
    /// How often an upload is begun anew before it is given up.
    pub attempts: u32,
    /// The pause before that; the next is twice as long.
    pub pause: Duration,
}

impl Default for RegistrySettings {
    fn default() -> RegistrySettings {
        RegistrySettings {
            plain_http: false,
            at_once: 8 << 20,
            chunk: None,
            attempts: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// The way to registries that speak the OCI distribution specification 1.1. Clones share connections
/// and tokens.
#[derive(Clone)]
pub struct Registry {
    pub(super) network: Network,
    pub(super) settings: Arc<RegistrySettings>,
    keychain: Arc<Keychain>,
    hosts: Arc<tokio::sync::Mutex<BTreeMap<String, Arc<Host>>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What is known of one registry.
struct Host {
    name: String,
    base: Url,
    challenge: Mutex<Option<Challenge>>,
    login: tokio::sync::Mutex<BTreeMap<String, Option<Login>>>,
    /// Locked while one is got: whoever else needs it waits for it.
    tokens: tokio::sync::Mutex<BTreeMap<String, Token>>,
}

struct Token {
    value: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
    Delete,
}

impl Access {
    fn actions(self) -> &'static str {
        match self {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "delete,pull",
        }
    }
}

/// A question to a registry.
pub(super) struct Ask<'a> {
    /// For messages: what is tried, with the place.
    pub(super) what: &'a str,
    pub(super) repository: &'a RepositoryName,
    pub(super) access: Access,
    /// Another repository, whose blobs are to be mounted.
    pub(super) from: Option<&'a RepositoryName>,
    pub(super) method: Method,
    /// Below the repository, or a whole URL that the registry gave.
    pub(super) place: Place<'a>,
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) payload: Payload,
    pub(super) limit: u64,
    pub(super) again: bool,
}

pub(super) enum Place<'a> {
    /// `/v2/<repository>/` and this.
    Below(&'a str),
    At(&'a Url),
}

impl Host {
    fn challenge(&self) -> Option<Challenge> {
        lock(&self.challenge).clone()
    }

    fn url(&self, repository: &RepositoryName, below: &str) -> Result<Url, RegistryError> {
        let path = format!("v2/{}/{below}", repository.path());
        self.base
            .join(&path)
            .map_err(|_| RegistryError::lie(repository.to_string(), "it can't be written as a URL"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Makes no connection yet.
    pub fn new(network: Network, keychain: Keychain, settings: RegistrySettings) -> Registry {
        Registry {
            network,
            settings: Arc::new(settings),
            keychain: Arc::new(keychain),
            hosts: Arc::default(),
        }
    }

    /// Checks that a registry takes this user and password.
    ///
    /// # Errors
    /// It can't be asked, or refuses them.
    pub async fn check_login(
        &self,
        registry: &str,
        user: &str,
        password: &Secret,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryError> {
        let host = self.host(registry, reporter).await?;
        // What another user was given proves nothing.
        host.tokens.lock().await.clear();
        let what = format!("logging in to {registry}");
        let login = Login::Password {
            user: user.to_owned(),
            password: password.clone(),
        };
        let authorization = match host.challenge() {
            // It lets everybody in, or does not say how it wants to be told.
            None | Some(Challenge::Other(_)) => return Ok(()),
            Some(challenge) => {
                self.authorize(&host, &challenge, Some(login), "", &what, reporter)
                    .await?
            }
        };
        let answered = self
            .ping(&host.base, &what, authorization.as_ref(), reporter)
            .await?;
        match answered.status {
            // A token without a scope may open nothing, yet it was given to this user.
            200 => Ok(()),
            401 if matches!(host.challenge(), Some(Challenge::Bearer { .. })) => Ok(()),
            401 | 403 => Err(denied(
                &what,
                registry,
                format!("the user `{user}`"),
                &answered,
            )),
            _ => Err(RegistryError::of(what, &answered)),
        }
    }

    /// Asks, and says who asks if the registry wants to know.
    pub(super) async fn ask(
        &self,
        ask: Ask<'_>,
        sent: &(dyn Fn(u64) + Sync),
        reporter: &dyn Reporter,
    ) -> Result<Answered, RegistryError> {
        let registry = ask.repository.registry();
        let host = self.host(registry, reporter).await?;
        let url = match ask.place {
            Place::Below(below) => host.url(ask.repository, below)?,
            Place::At(url) => url.clone(),
        };
        // Only the registry itself is told; uploads may lead elsewhere.
        let is_told = url.origin() == host.base.origin();
        let scope = scope(&ask);
        let mut refused = false;
        loop {
            let login = match host.challenge() {
                Some(_) => self.login(&host, ask.repository).await?,
                None => None,
            };
            let user = user(login.as_ref());
            let is_known = login.is_some();
            let authorization = match host.challenge().filter(|_| is_told) {
                Some(challenge) => {
                    self.authorize(&host, &challenge, login, &scope, ask.what, reporter)
                        .await?
                }
                None => None,
            };
            let exchange = Exchange {
                name: ask.what,
                method: ask.method,
                url: &url,
                headers: ask.headers,
                authorization: authorization.as_ref(),
                payload: ask.payload.clone(),
                limit: ask.limit,
                again: ask.again,
            };
            let answered = self
                .network
                .exchange(&exchange, sent, reporter)
                .await
                .map_err(|source| RegistryError::NoAnswer {
                    what: ask.what.to_owned(),
                    source,
                })?;
            match answered.status {
                401 if is_told && !refused => {
                    // A token may have ended, or only this question needs one.
                    refused = true;
                    host.tokens.lock().await.remove(&scope);
                    if let Some(challenge) = choose(&answered) {
                        *lock(&host.challenge) = Some(challenge);
                    }
                }
                401 if !is_known => {
                    return Err(RegistryError::NotLoggedIn {
                        what: ask.what.to_owned(),
                        registry: registry.to_owned(),
                    });
                }
                401 | 403 => return Err(denied(ask.what, registry, user, &answered)),
                _ => return Ok(answered),
            }
        }
    }

    /// What the registry is told for something that is fetched by its URL.
    pub(super) async fn authorization(
        &self,
        repository: &RepositoryName,
        anew: bool,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Option<Authorization>, RegistryError> {
        let host = self.host(repository.registry(), reporter).await?;
        let scope = format!(
            "repository:{}:{}",
            repository.path(),
            Access::Pull.actions()
        );
        if anew {
            host.tokens.lock().await.clear();
        }
        match host.challenge() {
            Some(challenge) => {
                let login = self.login(&host, repository).await?;
                self.authorize(&host, &challenge, login, &scope, what, reporter)
                    .await
            }
            None => Ok(None),
        }
    }

    /// The URL of something in a repository.
    pub(super) async fn url(
        &self,
        repository: &RepositoryName,
        below: &str,
        reporter: &dyn Reporter,
    ) -> Result<Url, RegistryError> {
        let host = self.host(repository.registry(), reporter).await?;
        host.url(repository, below)
    }

    /// A place that the registry sends to, checked.
    pub(super) async fn location(
        &self,
        repository: &RepositoryName,
        what: &str,
        answered: &Answered,
    ) -> Result<Url, RegistryError> {
        let lie = |reason| RegistryError::lie(what, reason);
        let location = answered
            .header("location")
            .ok_or_else(|| lie("it does not say where to go on (no Location)"))?;
        let next = answered
            .url
            .join(location)
            .map_err(|_| lie("where it says to go on is no URL"))?;
        let host = self.host(repository.registry(), &Silent).await?;
        match next.scheme() {
            "https" => Ok(next),
            "http" if host.base.scheme() == "http" => Ok(next),
            "http" => Err(lie("it sends from an encrypted place to one that is not")),
            _ => Err(lie("it sends to something that is no web server")),
        }
    }

    /// What is known of a registry; it is asked once how it is spoken to and whom it serves.
    async fn host(
        &self,
        registry: &str,
        reporter: &dyn Reporter,
    ) -> Result<Arc<Host>, RegistryError> {
        let mut hosts = self.hosts.lock().await;
        if let Some(host) = hosts.get(registry) {
            return Ok(Arc::clone(host));
        }
        let server = match registry {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let what = format!("asking {registry}");
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{server}/"))
                .map_err(|_| RegistryError::lie(registry, "it is no host name"))
        };
        let secure = base("https")?;
        // A registry of this machine mostly has no certificate. Nothing secret is said yet.
        let plain = match self.settings.plain_http || is_loopback(&secure) {
            true => Some(base("http")?),
            false => None,
        };
        let mut answer = None;
        if let Some(plain) = plain {
            match self.ping(&plain, &what, None, reporter).await {
                Ok(answered) if matches!(answered.status, 200 | 401) => {
                    answer = Some((plain, answered));
                }
                result if self.settings.plain_http => {
                    let answered = result?;
                    return Err(RegistryError::of(what, &answered));
                }
                // Perhaps it speaks TLS.
                _ => {}
            }
        }
        let (base, answered) = match answer {
            Some(answer) => answer,
            None => {
                let answered = self.ping(&secure, &what, None, reporter).await?;
                (secure, answered)
            }
        };
        let challenge = match answered.status {
            200 => None,
            401 => Some(choose(&answered).ok_or_else(|| {
                RegistryError::lie(&*what, "it wants to know who asks, and does not say how")
            })?),
            404 => {
                return Err(RegistryError::lie(
                    what,
                    "it does not speak the registry protocol (404 at /v2/)",
                ));
            }
            _ => return Err(RegistryError::of(what, &answered)),
        };
        let host = Arc::new(Host {
            name: registry.to_owned(),
            base,
            challenge: Mutex::new(challenge),
            login: tokio::sync::Mutex::default(),
            tokens: tokio::sync::Mutex::default(),
        });
        hosts.insert(registry.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    async fn ping(
        &self,
        base: &Url,
        what: &str,
        authorization: Option<&Authorization>,
        reporter: &dyn Reporter,
    ) -> Result<Answered, RegistryError> {
        let url = base
            .join("v2/")
            .map_err(|_| RegistryError::lie(what, "it is no host name"))?;
        let exchange = Exchange {
            name: what,
            method: Method::Get,
            url: &url,
            headers: &[],
            authorization,
            payload: Payload::Nothing,
            limit: TOKEN_LIMIT,
            again: true,
        };
        self.network
            .exchange(&exchange, &|_| {}, reporter)
            .await
            .map_err(|source| RegistryError::NoAnswer {
                what: what.to_owned(),
                source,
            })
    }

    /// The credentials for a repository, looked for once.
    async fn login(
        &self,
        host: &Host,
        repository: &RepositoryName,
    ) -> Result<Option<Login>, RegistryError> {
        let mut logins = host.login.lock().await;
        if let Some(login) = logins.get(repository.path()) {
            return Ok(login.clone());
        }
        let login = self.keychain.find(repository).await?;
        logins.insert(repository.path().to_owned(), login.clone());
        Ok(login)
    }

    /// What answers a challenge.
    async fn authorize(
        &self,
        host: &Host,
        challenge: &Challenge,
        login: Option<Login>,
        scope: &str,
        what: &str,
        reporter: &dyn Reporter,
    ) -> Result<Option<Authorization>, RegistryError> {
        let unsendable = || RegistryError::lie(what, "the credentials can't stand in a header");
        match (challenge, &login) {
            (_, Some(Login::RegistryToken(token))) => Authorization::bearer(token.reveal())
                .map(Some)
                .ok_or_else(unsendable),
            (Challenge::Basic, Some(Login::Password { user, password })) => {
                Authorization::basic(user, password.reveal())
                    .map(Some)
                    .ok_or_else(unsendable)
            }
            (Challenge::Bearer { realm, service, .. }, _) => {
                let wanted = Wanted {
                    host,
                    realm,
                    service: service.as_deref(),
                    scope,
                    what,
                };
                let token = self.token(&wanted, login.as_ref(), reporter).await?;
                Authorization::bearer(token.reveal())
                    .map(Some)
                    .ok_or_else(unsendable)
            }
            (Challenge::Other(scheme), _) => Err(RegistryError::lie(
                what,
                format!("it wants to know who asks by `{scheme}`; only Basic and Bearer are known"),
            )),
            (Challenge::Basic, _) => Ok(None),
        }
    }

    async fn token(
        &self,
        wanted: &Wanted<'_>,
        login: Option<&Login>,
        reporter: &dyn Reporter,
    ) -> Result<Secret, RegistryError> {
        let mut tokens = wanted.host.tokens.lock().await;
        if let Some(token) = tokens.get(wanted.scope)
            && token.until > Instant::now()
        {
            return Ok(token.value.clone());
        }
        let lie = |reason: &str| RegistryError::lie(wanted.what, reason);
        let mut url = Url::parse(wanted.realm)
            .map_err(|_| lie("the place that is to give out tokens is no URL"))?;
        let is_safe = match url.scheme() {
            "https" => true,
            // Where all is plain, it may be too, but not on yet another machine.
            "http" => {
                wanted.host.base.scheme() == "http"
                    && (url.host_str() == wanted.host.base.host_str() || is_loopback(&url))
            }
            _ => false,
        };
        if !is_safe {
            return Err(lie("the place that is to give out tokens is not encrypted"));
        }
        let mut authorization = None;
        let mut form = None;
        let scopes = wanted.scope.split(' ').filter(|scope| !scope.is_empty());
        match login {
            Some(Login::IdentityToken(token)) => {
                let mut fields = url::form_urlencoded::Serializer::new(String::new());
                fields
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "polpo")
                    .append_pair("refresh_token", token.reveal());
                if let Some(service) = wanted.service {
                    fields.append_pair("service", service);
                }
                if !wanted.scope.is_empty() {
                    fields.append_pair("scope", wanted.scope);
                }
                form = Some(fields.finish());
            }
            other => {
                let mut query = url.query_pairs_mut();
                if let Some(service) = wanted.service {
                    query.append_pair("service", service);
                }
                for scope in scopes {
                    query.append_pair("scope", scope);
                }
                if let Some(Login::Password { user, password }) = other {
                    query.append_pair("account", user);
                    authorization = Authorization::basic(user, password.reveal());
                }
            }
        }
        let what = format!("{}: getting a token", wanted.what);
        let headers = [(
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        )];
        let exchange = Exchange {
            name: &what,
            method: match form {
                Some(_) => Method::Post,
                None => Method::Get,
            },
            url: &url,
            headers: match form {
                Some(_) => &headers,
                None => &[],
            },
            authorization: authorization.as_ref(),
            payload: form.map_or(Payload::Nothing, |form| Payload::Bytes(form.into())),
            limit: TOKEN_LIMIT,
            again: true,
        };
        let answered = self
            .network
            .exchange(&exchange, &|_| {}, reporter)
            .await
            .map_err(|source| RegistryError::NoAnswer {
                what: what.clone(),
                source,
            })?;
        match (answered.status, login) {
            (200, _) => {}
            (401 | 403, None) => {
                return Err(RegistryError::NotLoggedIn {
                    what: wanted.what.to_owned(),
                    registry: wanted.host.name.clone(),
                });
            }
            (400 | 401 | 403, Some(_)) => {
                return Err(denied(&what, &wanted.host.name, user(login), &answered));
            }
            _ => return Err(RegistryError::of(what, &answered)),
        }
        // Its words may be the token's.
        let given: TokenAnswer =
            serde_json::from_slice(&answered.body).map_err(|_| lie("what it gave is no token"))?;
        let value = given
            .token
            .filter(|token| !token.is_empty())
            .or(given.access_token)
            .ok_or_else(|| lie("what it gave is no token"))?;
        let life = given.expires_in.map_or(TOKEN_LIFE, Duration::from_secs);
        let life = life.min(Duration::from_secs(24 * 60 * 60));
        let token = Token {
            value: Secret::new(value),
            until: Instant::now() + life.saturating_sub(TOKEN_MARGIN),
        };
        let value = token.value.clone();
        tokens.insert(wanted.scope.to_owned(), token);
        Ok(value)
    }
}

/// A token to be got.
struct Wanted<'a> {
    host: &'a Host,
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
    what: &'a str,
}

fn scope(ask: &Ask<'_>) -> String {
    let mut scope = format!(
        "repository:{}:{}",
        ask.repository.path(),
        ask.access.actions()
    );
    if let Some(from) = ask.from {
        scope.push_str(&format!(" repository:{}:pull", from.path()));
    }
    scope
}

fn user(login: Option<&Login>) -> String {
    match login {
        Some(Login::Password { user, .. }) => format!("the user `{user}`"),
        Some(_) => "the owner of the token".to_owned(),
        None => "nobody in particular".to_owned(),
    }
}

fn denied(what: &str, registry: &str, user: String, answered: &Answered) -> RegistryError {
    RegistryError::Denied {
        what: what.to_owned(),
        registry: registry.to_owned(),
        user,
        status: answered.status,
        words: words(&answered.body),
    }
}

/// A way to be told that is known, tokens first: they are worth less to a thief than passwords.
fn choose(answered: &Answered) -> Option<Challenge> {
    let mut all: Vec<Challenge> = answered
        .headers("www-authenticate")
        .flat_map(challenges)
        .collect();
    let place = all
        .iter()
        .position(|one| matches!(one, Challenge::Bearer { .. }))
        .or_else(|| all.iter().position(|one| *one == Challenge::Basic))
        .or_else(|| (!all.is_empty()).then_some(0))?;
    Some(all.swap_remove(place))
}

/// Whether a URL's host is this machine by its name or address alone.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(url::Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}
