//! Who polpo is to registries: what `docker login`, `podman login` and `polpo login` have kept, in
//! files and in the programs that files name (docker's credential helpers).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{AtomicFile, WriteError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::reference::RepositoryName;

/// The largest file of credentials, and the largest answer of a helper, that is read.
const FILE_LIMIT: u64 = 4 << 20;
/// How long a helper may take: it may have to ask a person.
const HELPER_PATIENCE: Duration = Duration::from_secs(120);
/// What docker calls its registry in its files.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// A word that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a word.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The word, for those who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a registry is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that other tokens are got with.
    IdentityToken(Secret),
    /// A token that the registry itself takes.
    RegistryToken(Secret),
}

/// The files in which credentials are looked for, the first first.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    files: Vec<PathBuf>,
}

/// Credentials can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    /// A file can't be read.
    #[error("can't read the credentials in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It isn't of docker's format.
    #[error("{}: {reason}; correct it or name another file with REGISTRY_AUTH_FILE", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; nothing of its contents.
        reason: String,
    },
    /// A helper can't be used.
    #[error("docker-credential-{helper}, which {} names for {registry}, {reason}", path.display())]
    Helper {
        /// What follows `docker-credential-` in its name.
        helper: String,
        /// The file that names it.
        path: PathBuf,
        /// Whose credentials were asked for.
        registry: String,
        /// What went wrong.
        reason: String,
    },
    /// There is no place to keep anything in.
    #[error(
        "there is no file to keep credentials in: set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE"
    )]
    NoPlace,
}

/// docker's `config.json`, as far as it is about credentials; podman's `auth.json` is the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthFile {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

/// What helpers read and write (docker/docker-credential-helpers).
#[derive(Serialize, Deserialize)]
struct HelperEntry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Keychain {
    /// No credentials at all.
    pub fn empty() -> Keychain {
        Keychain::default()
    }

    /// Of these files alone.
    pub fn of(files: Vec<PathBuf>) -> Keychain {
        Keychain { files }
    }

    /// `$REGISTRY_AUTH_FILE` alone if it is set; else docker's `config.json` in `$DOCKER_CONFIG` or
    /// `~/.docker`, then podman's `auth.json` in `$XDG_RUNTIME_DIR/containers` and
    /// `$XDG_CONFIG_HOME/containers` or `~/.config/containers`.
    pub fn from_environment() -> Keychain {
        Keychain::with(|name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        })
    }

    fn with(variable: impl Fn(&str) -> Option<PathBuf>) -> Keychain {
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Keychain { files: vec![file] };
        }
        let home = variable("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let podman = "containers/auth.json";
        let files = [
            variable("DOCKER_CONFIG")
                .or_else(|| below_home(".docker"))
                .map(|folder| folder.join("config.json")),
            variable("XDG_RUNTIME_DIR").map(|folder| folder.join(podman)),
            variable("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|folder| folder.join(podman)),
        ];
        Keychain {
            files: files.into_iter().flatten().collect(),
        }
    }

    /// What the registry of `repository` is told, if anything is known.
    ///
    /// # Errors
    /// A file or a helper can't be used. Files after the one that knows it aren't read.
    pub async fn find(&self, repository: &RepositoryName) -> Result<Option<Login>, KeychainError> {
        let registry = repository.registry();
        for path in &self.files {
            let Some(file) = read(path)? else {
                continue;
            };
            if let Some(helper) = file.helper(registry) {
                let asked = Helper {
                    name: helper,
                    path,
                    registry,
                };
                if let Some(login) = asked.get().await? {
                    return Ok(Some(login));
                }
            }
            if let Some(login) = file.entry(path, repository)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// Keeps what a registry is told: with the helper that the first file names for it, else in that
    /// file, mode 0600. Says where.
    ///
    /// # Errors
    /// See [`KeychainError`].
    pub async fn store(
        &self,
        registry: &str,
        user: &str,
        password: &Secret,
    ) -> Result<String, KeychainError> {
        let path = self.files.first().ok_or(KeychainError::NoPlace)?;
        let file = read(path)?.unwrap_or_default();
        if let Some(helper) = file.helper(registry) {
            let asked = Helper {
                name: helper,
                path,
                registry,
            };
            asked.store(user, password).await?;
            return Ok(format!("docker-credential-{helper}"));
        }
        let encoded = STANDARD.encode(format!("{user}:{}", password.reveal()));
        change(path, |auths| {
            auths.retain(|key, _| !is_key_of(key, registry));
            let entry = serde_json::json!({ "auth": encoded });
            auths.insert(key_of(registry).to_owned(), entry);
            true
        })?;
        Ok(path.display().to_string())
    }

    /// Forgets what a registry is told, wherever it is kept. Says where it was.
    ///
    /// # Errors
    /// See [`KeychainError`].
    pub async fn forget(&self, registry: &str) -> Result<Vec<String>, KeychainError> {
        let mut places = Vec::new();
        for path in &self.files {
            let Some(file) = read(path)? else {
                continue;
            };
            if let Some(helper) = file.helper(registry) {
                let asked = Helper {
                    name: helper,
                    path,
                    registry,
                };
                if asked.get().await?.is_some() {
                    asked.erase().await?;
                    places.push(format!("docker-credential-{helper}"));
                }
            }
            let mut had = false;
            change(path, |auths| {
                let before = auths.len();
                auths.retain(|key, _| !is_key_of(key, registry));
                had = auths.len() < before;
                had
            })?;
            if had {
                places.push(path.display().to_string());
            }
        }
        Ok(places)
    }
}

impl AuthFile {
    fn helper(&self, registry: &str) -> Option<&str> {
        let named = self.helpers.iter().flatten();
        let helper = named
            .filter(|(key, _)| is_key_of(key, registry))
            .map(|(_, helper)| helper.as_str())
            .next();
        helper
            .or(self.store.as_deref())
            .filter(|helper| !helper.is_empty())
    }

    /// The entry for a repository: podman has some for paths below a registry, the longest counts.
    fn entry(
        &self,
        path: &Path,
        repository: &RepositoryName,
    ) -> Result<Option<Login>, KeychainError> {
        let Some(auths) = &self.auths else {
            return Ok(None);
        };
        let name = repository.to_string();
        let mut key = name.as_str();
        let mut found = None;
        while let Some((shorter, _)) = key.rsplit_once('/') {
            if let Some(Some(entry)) = auths.get(key) {
                found = Some(entry);
                break;
            }
            key = shorter;
        }
        let found = found.or_else(|| {
            let mut entries = auths.iter();
            entries.find_map(|(key, entry)| {
                let entry = entry.as_ref()?;
                is_key_of(key, repository.registry()).then_some(entry)
            })
        });
        let Some(entry) = found else {
            return Ok(None);
        };
        entry.login().ok_or_else(|| KeychainError::Malformed {
            path: path.to_owned(),
            reason: format!(
                "its `auth` for {} is not `user:password` in base64",
                repository.registry()
            ),
        })
    }
}

impl Entry {
    /// `Some(None)`: nothing is kept here, as docker has it beside a helper.
    #[expect(clippy::option_option, reason = "an entry may be malformed, or empty")]
    fn login(&self) -> Option<Option<Login>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Some(Some(Login::RegistryToken(Secret(token))));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Some(Some(Login::IdentityToken(Secret(token))));
        }
        if let (Some(user), Some(password)) = (given(&self.username), given(&self.password)) {
            return Some(Some(login(user, password)));
        }
        let Some(auth) = given(&self.auth) else {
            return Some(None);
        };
        let decoded = STANDARD.decode(auth.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        // docker pads it with zeros at times.
        let (user, password) = text.trim_end_matches('\0').split_once(':')?;
        Some(Some(login(user.to_owned(), password.to_owned())))
    }
}

/// By docker's convention, the user `<token>` has an identity token for a password.
fn login(user: String, password: String) -> Login {
    let password = Secret(password);
    match user.as_str() {
        "<token>" => Login::IdentityToken(password),
        _ => Login::Password { user, password },
    }
}

/// What a registry is called in docker's files.
fn key_of(registry: &str) -> &str {
    match registry {
        "docker.io" => DOCKER_KEY,
        other => other,
    }
}

/// Whether a key of docker's files means this registry: with or without a scheme and a version.
fn is_key_of(key: &str, registry: &str) -> bool {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let host = bare
        .strip_suffix("/v1/")
        .or_else(|| bare.strip_suffix("/v2/"))
        .or_else(|| bare.strip_suffix("/v1"))
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare)
        .trim_end_matches('/');
    match registry {
        "docker.io" => matches!(host, "docker.io" | "index.docker.io"),
        other => host == other,
    }
}

fn read(path: &Path) -> Result<Option<AuthFile>, KeychainError> {
    match read_bytes(path)? {
        Some(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| malformed(path, &error)),
        None => Ok(None),
    }
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, KeychainError> {
    let failed = |source| KeychainError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = store::find_bounded(path, FILE_LIMIT).map_err(failed)?;
    // `touch` and `podman logout` leave files without a word.
    Ok(bytes.filter(|bytes| !bytes.iter().all(u8::is_ascii_whitespace)))
}

/// The library's own words may quote a password.
fn malformed(path: &Path, error: &serde_json::Error) -> KeychainError {
    let reason = format!(
        "line {}, column {}: it is not the JSON that docker writes",
        error.line(),
        error.column()
    );
    KeychainError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

/// Changes the `auths` of a file, and leaves the rest of it as it is.
fn change(
    path: &Path,
    work: impl FnOnce(&mut Map<String, Value>) -> bool,
) -> Result<(), KeychainError> {
    let mut document: Map<String, Value> = match read_bytes(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| malformed(path, &error))?,
        None => Map::new(),
    };
    let auths = document
        .entry("auths")
        .or_insert_with(|| Value::Object(Map::new()));
    if auths.is_null() {
        *auths = Value::Object(Map::new());
    }
    let Value::Object(auths) = auths else {
        return Err(KeychainError::Malformed {
            path: path.to_owned(),
            reason: "its `auths` is no object".to_owned(),
        });
    };
    if !work(auths) {
        return Ok(());
    }
    // Some keep the file elsewhere and link to it.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut text = serde_json::to_vec_pretty(&document).map_err(|error| malformed(path, &error))?;
    text.push(b'\n');
    let mut file = AtomicFile::with_mode(&target, 0o600)?;
    file.write_all(&text)
        .map_err(WriteError::at("write", &target))?;
    Ok(file.commit()?)
}

/// A program that keeps credentials.
struct Helper<'a> {
    name: &'a str,
    path: &'a Path,
    registry: &'a str,
}

impl Helper<'_> {
    fn failed(&self, reason: impl Into<String>) -> KeychainError {
        KeychainError::Helper {
            helper: self.name.to_owned(),
            path: self.path.to_owned(),
            registry: self.registry.to_owned(),
            reason: reason.into(),
        }
    }

    async fn get(&self) -> Result<Option<Login>, KeychainError> {
        let (fine, out) = self.run("get", key_of(self.registry).as_bytes()).await?;
        if !fine {
            let said = String::from_utf8_lossy(&out);
            return match said.contains("credentials not found") {
                true => Ok(None),
                // What it prints may be anything, so it is not passed on.
                false => Err(self.failed("could not give them")),
            };
        }
        let entry: HelperEntry = serde_json::from_slice(&out)
            .map_err(|_| self.failed("answered something else than credentials"))?;
        Ok(Some(login(entry.user, entry.secret)))
    }

    async fn store(&self, user: &str, password: &Secret) -> Result<(), KeychainError> {
        let entry = HelperEntry {
            server: key_of(self.registry).to_owned(),
            user: user.to_owned(),
            secret: password.reveal().to_owned(),
        };
        let bytes = serde_json::to_vec(&entry).map_err(|_| self.failed("can't be told them"))?;
        match self.run("store", &bytes).await? {
            (true, _) => Ok(()),
            (false, _) => Err(self.failed("could not keep them")),
        }
    }

    async fn erase(&self) -> Result<(), KeychainError> {
        match self.run("erase", key_of(self.registry).as_bytes()).await? {
            (true, _) => Ok(()),
            (false, _) => Err(self.failed("could not forget them")),
        }
    }

    /// Whether it went well, and what it printed.
    async fn run(&self, action: &str, input: &[u8]) -> Result<(bool, Vec<u8>), KeychainError> {
        let is_name = self
            .name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_name {
            return Err(self.failed("is not asked: its name has other characters than letters, digits, `.`, `_` and `-`"));
        }
        let spawned = tokio::process::Command::new(format!("docker-credential-{}", self.name))
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| {
            self.failed(format!(
                "can't be run: {error}; install it, or take it out of that file"
            ))
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let work = async {
            if let Some(mut stdin) = stdin {
                // One that does not read is asked for its result all the same.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
            let mut out = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(FILE_LIMIT).read_to_end(&mut out).await?;
            }
            let status = child.wait().await?;
            Ok::<_, io::Error>((status.success(), out))
        };
        match tokio::time::timeout(HELPER_PATIENCE, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.failed(format!("failed: {error}"))),
            Err(_) => Err(self.failed("has not answered for two minutes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work)
    }

    fn found(keychain: &Keychain, repository: &str) -> String {
        match wait(keychain.find(&name(repository))) {
            Ok(Some(Login::Password { user, password })) => format!("{user}:{}", password.reveal()),
            Ok(Some(Login::IdentityToken(token))) => format!("identity {}", token.reveal()),
            Ok(Some(Login::RegistryToken(token))) => format!("registry {}", token.reveal()),
            Ok(None) => "-".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn file(folder: &Path, text: &str) -> Keychain {
        let path = folder.join("config.json");
        std::fs::write(&path, text).unwrap();
        Keychain::of(vec![path])
    }

    #[test]
    fn files_are_found_where_docker_and_podman_have_them() {
        let files = |pairs: &[(&str, &str)]| {
            let keychain = Keychain::with(|name| {
                let pair = pairs.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| PathBuf::from(value))
            });
            let files = keychain.files.iter().map(|path| path.display().to_string());
            files.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            files(&[("HOME", "/h")]),
            "/h/.docker/config.json /h/.config/containers/auth.json"
        );
        assert_eq!(
            files(&[
                ("HOME", "/h"),
                ("DOCKER_CONFIG", "/d"),
                ("XDG_RUNTIME_DIR", "/r")
            ]),
            "/d/config.json /r/containers/auth.json /h/.config/containers/auth.json"
        );
        assert_eq!(files(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/f")]), "/f");
        assert_eq!(files(&[]), "");
    }

    #[test]
    fn entries_of_every_kind() {
        let folder = tempfile::tempdir().unwrap();
        let encoded = STANDARD.encode("ann:pass:word");
        let keychain = file(
            folder.path(),
            &format!(
                r#"{{"auths": {{
                    "r.example": {{"auth": "{encoded}"}},
                    "r.example/team": {{"username": "team", "password": "t"}},
                    "https://s.example/v2/": {{"identitytoken": "i"}},
                    "t.example:5000": {{"registrytoken": "t"}},
                    "https://index.docker.io/v1/": {{"username": "<token>", "password": "d"}},
                    "u.example": {{}},
                    "v.example": {{"auth": "%%%"}},
                    "w.example": null
                }}, "credHelpers": null, "HttpHeaders": {{"a": "b"}}}}"#
            ),
        );
        for (repository, login) in [
            ("r.example/a", "ann:pass:word"),
            ("r.example/team/a", "team:t"),
            ("r.example/teams/a", "ann:pass:word"),
            ("s.example/a", "identity i"),
            ("t.example:5000/a", "registry t"),
            ("t.example/a", "-"),
            ("docker.io/a", "identity d"),
            ("u.example/a", "-"),
            ("w.example/a", "-"),
        ] {
            assert_eq!(found(&keychain, repository), login, "{repository}");
        }
        let refused =
            found(&keychain, "v.example/a").replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(refused, @"DIR/config.json: its `auth` for v.example is not `user:password` in base64; correct it or name another file with REGISTRY_AUTH_FILE");
        // What is wrong with a file is said without quoting it.
        let keychain = file(folder.path(), r#"{"auths": {"r.example": "secret"}}"#);
        let refused =
            found(&keychain, "r.example/a").replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(refused, @"DIR/config.json: line 1, column 32: it is not the JSON that docker writes; correct it or name another file with REGISTRY_AUTH_FILE");
        assert_eq!(found(&file(folder.path(), "\n"), "r.example/a"), "-");
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let keychain = file(
            folder.path(),
            r#"{"psFormat": "x", "auths": {"https://r.example": {"auth": "old"}, "s.example": {"auth": "cw=="}}}"#,
        );
        let place = wait(keychain.store("r.example", "ann", &Secret::new("p:q"))).unwrap();
        assert!(place.ends_with("config.json"));
        assert_eq!(found(&keychain, "r.example/a"), "ann:p:q");
        let mode = std::fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            wait(keychain.forget("r.example")).unwrap(),
            std::slice::from_ref(&place)
        );
        assert_eq!(wait(keychain.forget("r.example")).unwrap(), [""; 0]);
        let left: Value = serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap();
        assert_eq!(
            left,
            serde_json::json!({"psFormat": "x", "auths": {"s.example": {"auth": "cw=="}}})
        );
    }

    #[test]
    fn helpers_with_names_that_lead_elsewhere_are_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let keychain = file(folder.path(), r#"{"credsStore": "../../bin/sh"}"#);
        let refused = found(&keychain, "r.example/a");
        assert!(refused.contains("is not asked"), "{refused}");
    }
}
