//! What commands need, made out of arguments and environment.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apk::repository::{
    Access, AccessSettings, DiscoveredKey, LoadedRepository, ProofRequirement, Repository,
    RepositoryList, Vouched,
};
use apk::signature::{Keyring, Signer};
use attest::rebuild::Rebuilds;
use attest::trust::Trust;
use base::{Arch, Digest, Epoch, Event, Problem, Reporter};
use build::signing::{PASSWORDS, Purpose, SignerProgram, SigningProcess};
use key::{FileError, KeyError, Password, PrivateKey, PublicKey, TokenError, TokenUri};
use oci::registry::{Keychain, Registry, RegistrySettings};
use store::{CredentialSource, Network, NetworkSettings, Store};

use crate::arguments::registry::Registries;
use crate::arguments::trust::PackageSigning;
use crate::arguments::{Freshness, Global, Rebuilders, Repositories};
use crate::output::Progress;
use crate::output::failure::Failure;

/// Lines of a file of statements that are told of as unreadable.
const MAXIMUM_NOTES: usize = 5;

/// One run of the program.
pub(crate) struct Session<'p> {
    pub(crate) progress: &'p Progress,
    pub(crate) offline: bool,
    store_root: PathBuf,
}

impl<'p> Session<'p> {
    pub(crate) fn new(global: Global, progress: &'p Progress) -> Result<Session<'p>, Failure> {
        Session::with(global.store, global.offline, progress)
    }

    /// A session on this store, or the usual one.
    pub(crate) fn with(
        store: Option<PathBuf>,
        offline: bool,
        progress: &'p Progress,
    ) -> Result<Session<'p>, Failure> {
        let store_root = match store {
            Some(root) => root,
            None => Store::default_root()
                .map_err(|error| Failure::Usage(format!("{error}; name a folder with --store")))?,
        };
        Ok(Session {
            progress,
            offline,
            store_root,
        })
    }

    pub(crate) fn reporter(&self) -> &'p dyn Reporter {
        self.progress
    }

    /// Tells something worth knowing.
    pub(crate) fn notice(&self, message: &str) {
        self.progress.report(Event::Notice { message });
    }

    /// Shows problems that stop nothing.
    pub(crate) fn show(&self, problems: &[Problem]) {
        for problem in problems {
            self.progress.show(problem);
        }
    }

    /// Opens the store; commands that need none don't make one.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Store::open(&self.store_root)
            .map_err(|error| Failure::failed("the store can't be opened", error))
    }

    /// The way to servers, with the credentials that the environment names.
    pub(crate) fn network(&self) -> Network {
        Network::new(self.network_settings())
    }

    /// The same way, which also trusts servers that have certificates of these authorities.
    pub(crate) fn network_trusting(&self, authorities: &[PathBuf]) -> Network {
        Network::new(NetworkSettings {
            authorities: authorities.to_vec(),
            ..self.network_settings()
        })
    }

    fn network_settings(&self) -> NetworkSettings {
        NetworkSettings {
            offline: self.offline,
            credentials: CredentialSource::Environment,
            ..NetworkSettings::default()
        }
    }

    /// The way to registries, with the credentials that docker and podman have.
    pub(crate) fn registry(&self, arguments: &Registries) -> Registry {
        let network = self.network_trusting(&arguments.ca_files);
        let settings = RegistrySettings {
            plain_http: arguments.plain_http,
            chunk: arguments.chunk_size,
            ..RegistrySettings::default()
        };
        Registry::new(network, Keychain::from_environment(), settings)
    }
}

/// Reads a private key, with its password where it has one, or finds the one in a token that a URI
/// names.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKey, Failure> {
    if let Some(uri) = token_uri(path)? {
        return in_token(&uri);
    }
    let what = || format!("the private key {} can't be used", path.display());
    let mut typed = Ok(None);
    let key = key::load_private(path, || {
        typed = password(&format!("Password of {}: ", path.display()));
        typed.as_mut().map_or(None, Option::take)
    });
    typed.map_err(|error| Failure::failed(what(), error))?;
    key.map_err(|error| match error {
        FileError::Key {
            source: KeyError::Encrypted,
            ..
        } => Failure::failed(what(), NoPassword),
        error => Failure::failed(what(), error),
    })
}

/// The URI of a key in a token, if it is one.
fn token_uri(path: &Path) -> Result<Option<TokenUri>, Failure> {
    let text = path.to_str().filter(|text| TokenUri::is_one(text));
    let uri = text.map(str::parse).transpose();
    uri.map_err(|error: TokenError| Failure::Usage(error.to_string()))
}

fn in_token(uri: &TokenUri) -> Result<PrivateKey, Failure> {
    let module = std::env::var_os("POLPO_PKCS11_MODULE").map(PathBuf::from);
    let mut typed = Ok(None);
    let key = key::open_token(uri, module.as_deref(), || {
        typed = password(&format!("PIN of the token of {uri}: "));
        typed.as_mut().map_or(None, Option::take)
    });
    let what = || format!("the private key {uri} can't be used");
    typed.map_err(|error| Failure::failed(what(), error))?;
    key.map_err(|error| Failure::failed(what(), error))
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it is encrypted: set POLPO_KEY_PASSWORD (or COSIGN_PASSWORD), or call polpo on a terminal"
)]
struct NoPassword;

/// A password out of the environment, or else typed on the terminal without being shown. It is never
/// taken from the command line, which every process of the machine can read.
pub(crate) fn password(prompt: &str) -> io::Result<Option<Password>> {
    let set = PASSWORDS.into_iter().find_map(std::env::var_os);
    if let Some(set) = set {
        return Ok(Some(Password::new(set.into_vec())));
    }
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    rpassword::prompt_password(prompt).map(|typed| Some(Password::new(typed)))
}

/// Reads a private key and knows the name that signatures carry: the file name of its public part, or
/// what it is called in its token.
pub(crate) fn signer(path: &Path) -> Result<Signer, Failure> {
    let key = private_key(path)?;
    let name = match token_uri(path)? {
        Some(uri) => Some(format!("{}.pub", uri.name())),
        None => key::public_path(path)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned()),
    };
    let name = name.ok_or_else(|| Failure::Usage(format!("{} is no key file", path.display())))?;
    Signer::new(name, key)
        .map_err(|error| Failure::failed(format!("{} can't sign packages", path.display()), error))
}

/// The signer of packages, if the command line names a key: a process of its own.
pub(crate) fn signing_process(
    arguments: &PackageSigning,
) -> Result<Option<SigningProcess>, Failure> {
    let user = arguments.signing_user.as_deref();
    let key = arguments.signing_key.as_deref();
    key.map(|key| start_signer(key, Purpose::Packages, user))
        .transpose()
}

/// Starts a signer, which opens the key itself and asks for its password where it has one. This
/// process does not: from now on no other one of this user can read its memory, where the
/// environment may hold the password, or send the signer orders out of it.
pub(crate) fn start_signer(
    key: &Path,
    purpose: Purpose,
    user: Option<&str>,
) -> Result<SigningProcess, Failure> {
    let what = "nothing can be signed";
    token_uri(key)?;
    let program = SignerProgram {
        user: user.map(user_by_name).transpose()?,
        ..SignerProgram::this().map_err(|error| Failure::failed(what, error))?
    };
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::failed(what, io::Error::from(error)))?;
    SigningProcess::start(&program, key, purpose).map_err(|error| Failure::failed(what, error))
}

/// In the signer: opens the key.
pub(crate) fn open_to_sign(path: &Path, purpose: Purpose) -> Result<Signer, String> {
    let opened = match purpose {
        Purpose::Packages => signer(path),
        Purpose::Rebuilds => private_key(path).and_then(|key| {
            Signer::of_any_kind("rebuilder.pub", key).map_err(|error| {
                Failure::failed(format!("{} can't sign statements", path.display()), error)
            })
        }),
    };
    opened.map_err(|failure| match failure {
        Failure::Failed { what, cause } => format!("{what}: {cause}"),
        other => other.text(false),
    })
}

/// A user and its group: `UID`, `UID:GID` or a name of `/etc/passwd`.
fn user_by_name(text: &str) -> Result<(u32, u32), Failure> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    if let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) {
        return Ok((uid, gid));
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = accounts.lines().find_map(|line| {
        // name, password, UID, GID and more (passwd(5))
        let mut fields = line.split(':');
        (fields.next() == Some(text)).then_some(())?;
        let mut numbers = fields.skip(1).map(|field| field.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    found.ok_or_else(|| {
        Failure::Usage(format!(
            "--signing-user: /etc/passwd has no user `{text}`; name one that it has, or give UID:GID"
        ))
    })
}

/// Repositories whose indexes were verified, and the keys that vouched for them.
pub(crate) struct Trusted {
    pub(crate) repositories: Vec<LoadedRepository>,
    pub(crate) keyring: Keyring,
    pub(crate) access: Access,
}

/// The repositories of the command line, not opened yet, and who may have signed them.
pub(crate) fn repositories(
    arguments: &Repositories,
    arch: Arch,
) -> Result<(Vec<Repository>, Keyring), Failure> {
    let keyring = Keyring::load(&arguments.keyring)
        .map_err(|error| Failure::failed("the keyring can't be read", error))?;
    let mut list = RepositoryList::new(arch);
    for text in &arguments.repositories {
        list.argument("-r", text);
    }
    let repositories = list.finish().map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })?;
    Ok((repositories, keyring))
}

/// How the repositories of the command line are come by.
pub(crate) fn access(arguments: &Repositories, session: &Session<'_>) -> Result<Access, Failure> {
    let settings = AccessSettings {
        mirrors: arguments.repository_mirrors.clone(),
        discover_keys: arguments.discover_keys,
        freshness: freshness(&arguments.freshness),
        proof: proof(&arguments.rebuilders)?,
        ..AccessSettings::default()
    };
    Ok(Access::new(session.store()?, session.network(), settings))
}

/// The time, for what people read, and for what ages; for nothing that is compared.
#[expect(
    clippy::disallowed_methods,
    reason = "a log tells when, a virtual package without a version has the time for one, and a policy \
        says how old a signature may be"
)]
pub(crate) fn now() -> Epoch {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Epoch(since.map_or(0, |since| since.as_secs()))
}

/// How recent indexes must be.
pub(crate) fn freshness(arguments: &Freshness) -> apk::index::Freshness {
    apk::index::Freshness {
        maximum_age: arguments.index_max_age,
        now: now(),
        accept_older: arguments.accept_older_index,
    }
}

/// Who must have built packages again, if anybody.
pub(crate) fn proof(arguments: &Rebuilders) -> Result<Option<ProofRequirement>, Failure> {
    let Some(builders) = arguments.rebuilt_by else {
        return Ok(None);
    };
    let keys = Keyring::load(&arguments.rebuilder)
        .map_err(|error| Failure::failed("the rebuilders' keys can't be read", error))?;
    let trusted: Vec<PublicKey> = keys.keys().map(|(_, key)| key.clone()).collect();
    let distinct: BTreeSet<Digest> = trusted.iter().map(PublicKey::id).collect();
    if distinct.len() < builders as usize {
        return Err(Failure::Usage(format!(
            "--rebuilt-by {builders} needs as many rebuilders, and --rebuilder names {}; no package \
             could ever be chosen",
            distinct.len()
        )));
    }
    let trusted = Trust::of_keys(trusted);
    let read = move |lines: &[u8]| {
        let rebuilds = Rebuilds::read(lines, &trusted);
        let builders = rebuilds.builders.iter().filter_map(|(identity, keys)| {
            Some((identity.parse().ok()?, u32::try_from(keys.len()).ok()?))
        });
        let notes = rebuilds.unreadable.iter();
        Vouched {
            builders: builders.collect(),
            notes: notes
                .map(|(line, reason)| format!("line {line} is left out: {reason}"))
                .take(MAXIMUM_NOTES)
                .collect(),
        }
    };
    Ok(Some(ProofRequirement {
        builders,
        file: attest::rebuild::FILE_NAME.to_owned(),
        read: Arc::new(read),
    }))
}

/// Opens the repositories of the command line for `arch`.
pub(crate) async fn trusted(
    arguments: &Repositories,
    arch: Arch,
    session: &Session<'_>,
) -> Result<Trusted, Failure> {
    let (repositories, mut keyring) = repositories(arguments, arch)?;
    let access = access(arguments, session)?;
    let opened = access
        .open_all(&repositories, arch, Some(&keyring), session.reporter())
        .await
        .map_err(|error| Failure::failed("the repositories can't be used", error))?;
    let mut loaded = Vec::new();
    for opened in opened {
        trust(&mut keyring, opened.keys)?;
        loaded.push(opened.repository);
    }
    Ok(Trusted {
        repositories: loaded,
        keyring,
        access,
    })
}

/// Adds keys that a repository's server names. Each is trusted for its own repository; whoever uses
/// them all must tell them apart.
pub(crate) fn trust(keyring: &mut Keyring, keys: Vec<DiscoveredKey>) -> Result<(), Failure> {
    for key in keys {
        if keyring
            .get(&key.name)
            .is_some_and(|known| *known != key.key)
        {
            return Err(Failure::Usage(format!(
                "two repositories name different keys {}; bring one of them by -k",
                key.name
            )));
        }
        keyring.add(key.name, key.key);
    }
    Ok(())
}
