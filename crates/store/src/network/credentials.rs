//! Who a server is told that polpo is: `.netrc`, `HTTP_AUTH`, and what stands in a URL.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderValue;
use url::Url;

/// Bytes of a `.netrc`.
const MAXIMUM_NETRC: u64 = 1 << 20;

/// What is known of users and passwords. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    machines: Vec<Machine>,
    http_auth: Option<HttpAuth>,
    proxy_auth: Option<HttpAuth>,
    objects: BTreeMap<String, String>,
}

/// Credentials can't be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file of `$NETRC`, or `~/.netrc`, can't be read.
    #[error("can't read the credentials in {}: {source}; correct or unset NETRC", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something in it is no entry.
    #[error("{}: {reason}", path.display())]
    Netrc {
        /// The file.
        path: PathBuf,
        /// What is wrong; says nothing of passwords.
        reason: &'static str,
    },
    /// `$HTTP_AUTH` is not as it should be.
    #[error("HTTP_AUTH must be `basic:HOST:USER:PASSWORD`; HOST may be `*` or a server's realm")]
    HttpAuth,
    /// `$HTTP_PROXY_AUTH` is not as it should be.
    #[error("HTTP_PROXY_AUTH must be `basic:REALM:USER:PASSWORD`; REALM may be `*`")]
    ProxyAuth,
}

/// An entry of `.netrc`; `default` has no host.
#[derive(Clone, PartialEq, Eq)]
struct Machine {
    host: Option<String>,
    login: Login,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// `HTTP_AUTH=basic:realm:user:password`. apko takes the realm for a host; libfetch, and so apk,
/// takes no notice of it.
#[derive(Clone, PartialEq, Eq)]
struct HttpAuth {
    realm: String,
    login: Login,
}

impl HttpAuth {
    fn parse(text: &str) -> Option<HttpAuth> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next();
        let (scheme, realm, user, password) = (next()?, next()?, next()?, next()?);
        scheme.eq_ignore_ascii_case("basic").then(|| HttpAuth {
            realm: realm.to_owned(),
            login: Login {
                user: user.to_owned(),
                password: password.to_owned(),
            },
        })
    }
}

/// How a request came to its server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The user named this server.
    Named,
    /// A server that the user named sent us here.
    Redirected,
}

impl Credentials {
    /// Reads `$NETRC`, else `~/.netrc` if it is there, `$HTTP_AUTH`, `$HTTP_PROXY_AUTH`, and the
    /// variables that begin with `AWS_`, `GOOGLE_` or `AZURE_`.
    ///
    /// # Errors
    /// See [`CredentialError`].
    pub fn from_environment() -> Result<Credentials, CredentialError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut credentials = Credentials::default();
        if let Some(path) = variable("NETRC") {
            credentials.add_netrc(Path::new(&path))?;
        } else if let Some(home) = variable("HOME") {
            let path = Path::new(&home).join(".netrc");
            if path.is_file() {
                credentials.add_netrc(&path)?;
            }
        }
        if let Some(text) = variable("HTTP_AUTH") {
            let text = text.to_str().ok_or(CredentialError::HttpAuth)?;
            credentials.set_http_auth(text)?;
        }
        if let Some(text) = variable("HTTP_PROXY_AUTH") {
            let text = text.to_str().ok_or(CredentialError::ProxyAuth)?;
            credentials.set_proxy_auth(text)?;
        }
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
                && ["AWS_", "GOOGLE_", "AZURE_"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            {
                credentials.set_object_option(name, value);
            }
        }
        Ok(credentials)
    }

    /// Sets what object stores are told, by the name that their own programs have for it in the
    /// environment, such as `AWS_ACCESS_KEY_ID` or `AWS_ENDPOINT_URL`.
    pub fn set_object_option(&mut self, name: &str, value: impl Into<String>) {
        self.objects.insert(name.to_ascii_lowercase(), value.into());
    }

    pub(super) fn object_options(&self) -> impl Iterator<Item = (&str, &str)> {
        let options = self.objects.iter();
        options.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds the entries of a `.netrc`.
    ///
    /// # Errors
    /// It can't be read, or follows another grammar.
    pub fn add_netrc(&mut self, path: &Path) -> Result<(), CredentialError> {
        let failed = |source| CredentialError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAXIMUM_NETRC).read_to_string(&mut text))
            .map_err(failed)?;
        let machines = machines(&text).map_err(|reason| CredentialError::Netrc {
            path: path.to_owned(),
            reason,
        })?;
        self.machines.extend(machines);
        Ok(())
    }

    /// Takes the value of `HTTP_AUTH`: `basic:realm:user:password`. The password may hold colons.
    ///
    /// # Errors
    /// It is another scheme, or a part is missing.
    pub fn set_http_auth(&mut self, text: &str) -> Result<(), CredentialError> {
        self.http_auth = Some(HttpAuth::parse(text).ok_or(CredentialError::HttpAuth)?);
        Ok(())
    }

    /// Takes the value of `HTTP_PROXY_AUTH`, which is written as that of `HTTP_AUTH`. The proxies of
    /// the environment are told it, whatever their realm, unless their URL names a user.
    ///
    /// # Errors
    /// It is another scheme, or a part is missing.
    pub fn set_proxy_auth(&mut self, text: &str) -> Result<(), CredentialError> {
        self.proxy_auth = Some(HttpAuth::parse(text).ok_or(CredentialError::ProxyAuth)?);
        Ok(())
    }

    /// What proxies are told.
    pub(super) fn proxy(&self) -> Option<HeaderValue> {
        header(&self.proxy_auth.as_ref()?.login)
    }

    /// What a server is told before it asks: what stands in the URL, then what `.netrc` has for
    /// the host, then `HTTP_AUTH` where it names the host. A server that another sent us to is told
    /// only what names it, and only where nobody else can listen or answer: by https at its own
    /// port.
    pub(super) fn unasked(&self, url: &Url, standing: Standing) -> Option<HeaderValue> {
        if standing == Standing::Named && (!url.username().is_empty() || url.password().is_some()) {
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            return header(&Login {
                user: decoded(url.username()),
                password: decoded(url.password().unwrap_or_default()),
            });
        }
        let is_safe = url.scheme() == "https" && url.port().is_none();
        if standing == Standing::Redirected && !is_safe {
            return None;
        }
        let host = url.host_str()?;
        let named = |machine: &&Machine| {
            let name = machine.host.as_deref();
            name.is_some_and(|name| name.eq_ignore_ascii_case(host))
        };
        let default = |machine: &&Machine| machine.host.is_none() && standing == Standing::Named;
        let machine = self.machines.iter().find(named);
        if let Some(machine) = machine.or_else(|| self.machines.iter().find(default)) {
            return header(&machine.login);
        }
        let auth = self.http_auth.as_ref()?;
        auth.realm
            .eq_ignore_ascii_case(host)
            .then(|| header(&auth.login))?
    }

    /// What a server is told that asks for credentials: `HTTP_AUTH` where it is for every host, or
    /// names the realm that the server has. Only servers that the user named are told.
    pub(super) fn asked(
        &self,
        standing: Standing,
        challenges: impl Iterator<Item = impl AsRef<str>>,
    ) -> Option<HeaderValue> {
        let auth = self.http_auth.as_ref()?;
        let mut basic = challenges.filter(|challenge| {
            let scheme = challenge.as_ref().get(..5).unwrap_or_default();
            scheme.eq_ignore_ascii_case("basic")
        });
        let realm = format!("realm=\"{}\"", auth.realm);
        let meant = match auth.realm.as_str() {
            "" | "*" => basic.next().is_some(),
            _ => basic.any(|challenge| challenge.as_ref().contains(&realm)),
        };
        (meant && standing == Standing::Named).then(|| header(&auth.login))?
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.machines.iter().map(|machine| machine.host.as_deref());
        f.debug_struct("Credentials")
            .field("hosts", &hosts.collect::<Vec<_>>())
            .field("http_auth", &self.http_auth.is_some())
            .field("proxy_auth", &self.proxy_auth.is_some())
            .field("objects", &self.objects.keys())
            .finish()
    }
}

fn header(login: &Login) -> Option<HeaderValue> {
    let pair = format!("{}:{}", login.user, login.password);
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The entries of a `.netrc` (ftp(1)): `machine`, `default`, `login`, `password`, `account`, and
/// `macdef`, which goes on to an empty line.
fn machines(text: &str) -> Result<Vec<Machine>, &'static str> {
    let mut machines: Vec<Machine> = Vec::new();
    let mut rest = text;
    while let Some(word) = next_word(&mut rest)? {
        match word.as_str() {
            "machine" => {
                let host = next_word(&mut rest)?.ok_or("`machine` is followed by no host")?;
                machines.push(Machine {
                    host: Some(host),
                    login: Login::default(),
                });
            }
            "default" => machines.push(Machine {
                host: None,
                login: Login::default(),
            }),
            "login" | "password" | "account" => {
                let value = next_word(&mut rest)?.ok_or("an entry ends in the middle")?;
                let login = &mut machines
                    .last_mut()
                    .ok_or("an entry begins with neither `machine` nor `default`")?
                    .login;
                match word.as_str() {
                    "login" => login.user = value,
                    "password" => login.password = value,
                    _ => {}
                }
            }
            "macdef" => {
                rest = rest.split_once("\n\n").map_or("", |(_, after)| after);
            }
            comment if comment.starts_with('#') => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
            }
            // Other programs have words of their own.
            _ => {}
        }
    }
    Ok(machines)
}

/// The next word, which may stand in quotes.
fn next_word(rest: &mut &str) -> Result<Option<String>, &'static str> {
    let text = rest.trim_start_matches(|character: char| character.is_ascii_whitespace());
    if let Some(quoted) = text.strip_prefix('"') {
        let mut word = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    *rest = quoted.get(at + 1..).unwrap_or_default();
                    return Ok(Some(word));
                }
                '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
                other => word.push(other),
            }
        }
        return Err("a quote is not closed");
    }
    let end = text
        .find(|character: char| character.is_ascii_whitespace())
        .unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    Ok((!word.is_empty()).then(|| word.to_owned()))
}

/// `text` with what stands before `@` in the authority of its URLs left out.
pub fn without_credentials(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends = |character: char| {
            matches!(character, '/' | '\\' | '?' | '#') || character.is_whitespace()
        };
        let (authority, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        out.push_str(
            authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host),
        );
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: Option<HeaderValue>) -> String {
        let Some(value) = value else {
            return "-".to_owned();
        };
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    fn known(netrc: &str, http_auth: &str) -> Credentials {
        let mut credentials = Credentials {
            machines: machines(netrc).unwrap(),
            ..Credentials::default()
        };
        if !http_auth.is_empty() {
            credentials.set_http_auth(http_auth).unwrap();
        }
        credentials
    }

    #[test]
    fn a_url_goes_before_netrc_and_netrc_before_http_auth() {
        let credentials = known(
            "machine a.example login ann password pa\n\
             # machine x login y password z\n\
             macdef init\nput machine\n\n\
             machine b.example\n\tlogin ben account x password \"p \\\"b\"",
            "basic:c.example:cy:p:c",
        );
        let told = |url: &str, standing| told(credentials.unasked(&url.parse().unwrap(), standing));
        let (named, sent) = (Standing::Named, Standing::Redirected);
        assert_eq!(told("https://eve:p%40e@a.example/x", named), "eve:p@e");
        assert_eq!(told("https://token@a.example/x", named), "token:");
        assert_eq!(told("https://A.example:444/x", named), "ann:pa");
        assert_eq!(told("http://b.example/x", named), "ben:p \"b");
        assert_eq!(told("http://other.example/x", named), "-");
        // What a server writes into a redirect is its own affair.
        assert_eq!(told("https://eve:pe@d.example/x", sent), "-");
        assert_eq!(told("https://a.example/x", sent), "ann:pa");
        assert_eq!(told("https://a.example:443/x", sent), "ann:pa");
        assert_eq!(told("https://a.example:444/x", sent), "-");
        assert_eq!(told("http://a.example/x", sent), "-");
    }

    #[test]
    fn http_auth_goes_to_its_host_or_its_realm() {
        let url: Url = "https://a.example/x".parse().unwrap();
        let other: Url = "https://b.example/x".parse().unwrap();
        let challenge = ["Bearer x", "Basic realm=\"Our place\", charset=\"UTF-8\""];
        let named = Standing::Named;
        let host = known("", "Basic:a.example:u:p:q");
        assert_eq!(told(host.unasked(&url, named)), "u:p:q");
        assert_eq!(told(host.unasked(&other, named)), "-");
        assert_eq!(told(host.asked(named, challenge.iter())), "-");
    }

    #[test]
    fn http_auth_for_all() {
        let challenge = ["Basic realm=\"Our place\""];
        let url: Url = "https://a.example/x".parse().unwrap();
        for (auth, answer) in [
            ("basic:*:u:p", "u:p"),
            ("basic::u:p", "u:p"),
            ("basic:Our place:u:p", "u:p"),
            ("basic:Ours:u:p", "-"),
        ] {
            let all = known("", auth);
            assert_eq!(told(all.unasked(&url, Standing::Named)), "-", "{auth}");
            assert_eq!(
                told(all.asked(Standing::Named, challenge.iter())),
                answer,
                "{auth}"
            );
            assert_eq!(
                told(all.asked(Standing::Redirected, challenge.iter())),
                "-",
                "{auth}"
            );
            assert_eq!(
                told(all.asked(Standing::Named, ["Bearer"].iter())),
                "-",
                "{auth}"
            );
        }
    }

    #[test]
    fn proxies_are_told_what_is_theirs() {
        let mut credentials = known("", "basic:*:u:p");
        assert_eq!(told(credentials.proxy()), "-");
        credentials.set_proxy_auth("basic:*:me:p:q").unwrap();
        assert_eq!(told(credentials.proxy()), "me:p:q");
        let error = credentials.set_proxy_auth("digest:*:me:p").unwrap_err();
        assert!(matches!(error, CredentialError::ProxyAuth), "{error}");
    }

    #[test]
    fn a_default_is_not_for_servers_that_nobody_named() {
        let credentials = known("default login any password one", "");
        let url: Url = "https://a.example/x".parse().unwrap();
        assert_eq!(told(credentials.unasked(&url, Standing::Named)), "any:one");
        assert_eq!(told(credentials.unasked(&url, Standing::Redirected)), "-");
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { hosts: [None], http_auth: false, proxy_auth: false, objects: [] }"
        );
    }

    #[test]
    fn what_is_no_netrc() {
        for text in [
            "machine",
            "login x",
            "machine a login",
            "machine a login \"x",
        ] {
            assert!(machines(text).is_err(), "{text}");
        }
        for text in ["digest:a:b:c", "basic:a:b", "basic"] {
            assert!(
                Credentials::default().set_http_auth(text).is_err(),
                "{text}"
            );
        }
        assert_eq!(machines("").unwrap().len(), 0);
    }

    #[test]
    fn credentials_are_cut_out() {
        for (text, shown) in [
            ("https://u:p@x.example/a@b", "https://x.example/a@b"),
            ("@t https://tok@x.example y", "@t https://x.example y"),
            ("https://u:p@q@x.example", "https://x.example"),
            ("https://x.example?mail=a@b", "https://x.example?mail=a@b"),
            ("/a/b@c", "/a/b@c"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
