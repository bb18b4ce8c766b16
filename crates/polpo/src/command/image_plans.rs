//! From an image file and the command line to plans, one for each architecture.

use std::path::{Path, PathBuf};

use apk::dependency::Dependency;
use apk::package::PackageInfo;
use apk::repository::{Access, LoadedRepository, Repository, RepositoryList};
use apk::signature::Keyring;
use base::{Arch, Epoch, Problem};
use image::configuration::{self, Loaded, PackageTerm};
use image::lock::{Lock, LockError, Locked, follow};
use image::{ImagePlan, PlanError, Target};
use store::{Store, Wanted};
use url::Url;

use crate::arguments::image::ImageFile;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

/// The largest key that is read.
const KEY_LIMIT: u64 = 64 << 10;

/// An image, planned for each of its architectures.
pub(crate) struct Planned {
    pub(crate) loaded: Loaded,
    pub(crate) plans: Vec<ImagePlan>,
    /// The keys of the image file and the command line: path or URL, and PEM.
    pub(crate) keys: Vec<(String, String)>,
    pub(crate) store: Store,
}

/// A package that is chosen and not fetched.
pub(crate) struct Listed {
    pub(crate) arch: Arch,
    pub(crate) info: PackageInfo,
    /// A path or URL, without credentials.
    pub(crate) place: String,
}

/// An image file, and what the command line adds to it.
struct Asked {
    loaded: Loaded,
    archs: Vec<Arch>,
    access: Access,
    /// Where a base image is looked for.
    folder: PathBuf,
}

/// Plans the image, by `lockfile` if there is one. `what` is what fails if it can't be.
pub(crate) async fn plan(
    file: &ImageFile,
    lockfile: Option<&Path>,
    scripts_time: Option<u64>,
    what: &str,
    session: &Session<'_>,
) -> Result<Planned, Failure> {
    let asked = ask(file, session)?;
    let failed = |error: PlanError| Failure::failed(what, error);
    let (plans, keys) = match lockfile {
        Some(path) => {
            let plans = locked(file, &asked, path, session);
            (
                plans.await.map_err(|error| lock_failure(what, error))?,
                Vec::new(),
            )
        }
        None => {
            let (mut keyring, keys) = keyring(file, &asked.loaded, session).await?;
            let opened = open(file, &asked, &mut keyring, session).await?;
            let targets = targets(&asked.archs, &opened);
            let plans = image::plan_all(
                &asked.loaded.configuration,
                &asked.folder,
                &targets,
                &keyring,
                &asked.access,
                session.reporter(),
            );
            (plans.await.map_err(failed)?, keys)
        }
    };
    let plans = match file.parity {
        true => plans
            .into_iter()
            .map(|plan| plan.with_parity(Epoch(scripts_time.unwrap_or(0))))
            .collect(),
        false => plans,
    };
    Ok(Planned {
        store: asked.access.store().clone(),
        loaded: asked.loaded,
        plans,
        keys,
    })
}

/// Chooses the image's packages, one architecture after the other, and fetches none of them. `what`
/// is what fails if they can't be chosen.
pub(crate) async fn list(
    file: &ImageFile,
    what: &str,
    session: &Session<'_>,
) -> Result<(Loaded, Vec<Listed>), Failure> {
    let asked = ask(file, session)?;
    let (mut keyring, _) = keyring(file, &asked.loaded, session).await?;
    let opened = open(file, &asked, &mut keyring, session).await?;
    let selections = image::select(
        &asked.loaded.configuration,
        &asked.folder,
        &targets(&asked.archs, &opened),
        &asked.access,
    )
    .map_err(|error| Failure::failed(what, error))?;
    let mut listed = Vec::new();
    for selection in selections {
        let selection = match file.parity {
            true => selection.with_parity(),
            false => selection,
        };
        for (repository, entry) in selection.chosen {
            listed.push(Listed {
                arch: selection.arch,
                place: image::place(repository, &entry)
                    .map_err(|error| Failure::failed(what, error))?,
                info: entry.info,
            });
        }
    }
    Ok((asked.loaded, listed))
}

fn ask(file: &ImageFile, session: &Session<'_>) -> Result<Asked, Failure> {
    let mut loaded = configuration::load(&file.config, &file.include_paths)?;
    // They tell where polpo's image is another than apko's.
    if !file.parity {
        session.show(&loaded.warnings);
    }
    let archs = archs(file, &loaded)?;
    add(file, &mut loaded)?;
    Ok(Asked {
        access: settings::access(&file.repositories, session)?,
        folder: base_folder(file, &loaded),
        loaded,
        archs,
    })
}

fn targets<'r>(archs: &[Arch], opened: &'r [Vec<LoadedRepository>]) -> Vec<Target<'r>> {
    let each = archs.iter().zip(opened);
    each.map(|(arch, repositories)| Target {
        arch: *arch,
        repositories,
    })
    .collect()
}

/// A lock that can't be followed is a wrong file, unless a package is what went wrong.
pub(crate) fn lock_failure(what: &str, error: LockError) -> Failure {
    match error {
        LockError::Problems(problems) => Failure::Problems(problems),
        other => Failure::failed(what, other),
    }
}

fn archs(file: &ImageFile, loaded: &Loaded) -> Result<Vec<Arch>, Failure> {
    let mut archs: Vec<Arch> = Vec::new();
    for word in &file.arch {
        let found = match word.as_str() {
            "host" => vec![Arch::host()],
            "all" => Arch::ALL.to_vec(),
            name => vec![
                name.parse()
                    .map_err(|error| Failure::Usage(format!("--arch: {error}")))?,
            ],
        };
        for arch in found {
            if !archs.contains(&arch) {
                archs.push(arch);
            }
        }
    }
    if archs.is_empty() {
        archs.clone_from(&loaded.configuration.archs);
    }
    if archs.is_empty() {
        archs = if file.parity {
            Arch::ALL.to_vec()
        } else {
            vec![Arch::host()]
        };
    }
    Ok(archs)
}

/// Adds what the command line wants too. apko's images name the repositories and keys of the
/// command line as if they stood in the file.
fn add(file: &ImageFile, loaded: &mut Loaded) -> Result<(), Failure> {
    let contents = &mut loaded.configuration.contents;
    for text in &file.packages {
        let term = Dependency::parse_apko(text)
            .map_err(|error| Failure::Usage(format!("--package-append: {error}")))?;
        contents.packages.push(PackageTerm {
            written: text.clone(),
            ..PackageTerm::of(term)
        });
    }
    if !file.arch.is_empty() {
        // The command line decides.
        loaded.configuration.archs.clear();
    }
    let contents = &mut loaded.configuration.contents;
    if file.parity {
        for (texts, list) in [
            (&file.repositories.repositories, &mut contents.repositories),
            (&file.build_repositories, &mut contents.build_repositories),
        ] {
            for text in texts {
                let repository = Repository::parse(text.trim_end_matches('/'))
                    .map_err(|error| Failure::Usage(error.to_string()))?;
                list.push(repository);
            }
        }
        let keys = file.repositories.keyring.iter();
        contents
            .keyring
            .extend(keys.map(|path| path.display().to_string()));
    }
    Ok(())
}

/// Where the paths of a base image are looked for: the working directory, then the include paths,
/// then the image file's own folder.
fn base_folder(file: &ImageFile, loaded: &Loaded) -> PathBuf {
    let Some(base) = &loaded.configuration.contents.baseimage else {
        return PathBuf::new();
    };
    let own = file.config.parent().unwrap_or(Path::new("")).to_owned();
    std::iter::once(PathBuf::new())
        .chain(file.include_paths.iter().cloned())
        .find(|folder| folder.join(&base.image).exists())
        .unwrap_or(own)
}

/// Opens all repositories for each architecture; keys that servers name are trusted too if the
/// command line says so.
async fn open(
    file: &ImageFile,
    asked: &Asked,
    keyring: &mut Keyring,
    session: &Session<'_>,
) -> Result<Vec<Vec<LoadedRepository>>, Failure> {
    let contents = &asked.loaded.configuration.contents;
    let mut opened = Vec::new();
    for arch in &asked.archs {
        let mut list = RepositoryList::new(*arch);
        for (option, texts) in [
            ("-b", &file.build_repositories),
            ("-r", &file.repositories.repositories),
        ] {
            for text in texts {
                list.argument(option, text);
            }
        }
        let mut repositories: Vec<Repository> = contents
            .build_repositories
            .iter()
            .chain(&contents.repositories)
            .cloned()
            .collect();
        let given = list.finish().map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::Usage(lines.join("\n"))
        })?;
        for repository in given {
            if repositories
                .iter()
                .all(|other| other.to_string() != repository.to_string())
            {
                repositories.push(repository);
            }
        }
        let loaded = asked
            .access
            .open_all(&repositories, *arch, Some(keyring), session.reporter())
            .await
            .map_err(|error| Failure::failed("the repositories can't be used", error))?;
        let mut indexes = Vec::new();
        for repository in loaded {
            settings::trust(keyring, repository.keys)?;
            indexes.push(repository.repository);
        }
        opened.push(indexes);
    }
    Ok(opened)
}

/// The keys of the command line and of the image file.
async fn keyring(
    file: &ImageFile,
    loaded: &Loaded,
    session: &Session<'_>,
) -> Result<(Keyring, Vec<(String, String)>), Failure> {
    let unreadable = |error| Failure::failed("the keyring can't be read", error);
    let mut keyring = Keyring::load(&file.repositories.keyring).map_err(unreadable)?;
    let mut keys = Vec::new();
    for place in &loaded.configuration.contents.keyring {
        let path = if place.contains("://") {
            fetch(place, session).await?
        } else {
            PathBuf::from(place)
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::Problems(vec![
                Problem::error(
                    "unreadable-key",
                    format!("can't read the key {place} of `contents.keyring`: {error}"),
                )
                .help("paths are relative to the working directory"),
            ])
        })?;
        let name = place.rsplit('/').next().unwrap_or(place);
        let name = name.split(['?', '#']).next().unwrap_or(name);
        let key = key::PublicKey::from_pem(&text).map_err(|error| {
            Failure::failed(
                format!("the key {place} of `contents.keyring` can't be used"),
                error,
            )
        })?;
        keyring.add(name, key);
        keys.push((place.clone(), text));
    }
    Ok((keyring, keys))
}

/// A key of a server, as a file of the store.
async fn fetch(place: &str, session: &Session<'_>) -> Result<PathBuf, Failure> {
    let what = || {
        format!(
            "the key {} of `contents.keyring` can't be had",
            store::without_credentials(place)
        )
    };
    let url = Url::parse(place).map_err(|error| Failure::failed(what(), error))?;
    let (store, network) = (session.store()?, session.network());
    if network.is_offline()
        && let Some(known) = network
            .known(&store, &url)
            .map_err(|error| Failure::failed(what(), error))?
    {
        return Ok(known.path);
    }
    let wanted = Wanted {
        name: place.rsplit('/').next().unwrap_or(place),
        url: &url,
        limit: KEY_LIMIT,
        size: None,
        expected: None,
        only_https: true,
    };
    let arrived = network
        .fetch(&store, &wanted, session.reporter())
        .await
        .map_err(|error| Failure::failed(what(), error))?;
    let (digest, validators) = (arrived.digest(), arrived.validators().clone());
    let path = arrived
        .keep(&store)
        .map_err(|error| Failure::failed(what(), error))?;
    network
        .remember(&store, &url, digest, &validators)
        .map_err(|error| Failure::failed(what(), error))?;
    Ok(path)
}

/// Follows a lock: no index is read, and the keys are those that it has.
async fn locked(
    file: &ImageFile,
    asked: &Asked,
    path: &Path,
    session: &Session<'_>,
) -> Result<Vec<ImagePlan>, LockError> {
    let lock = Lock::read(path)?;
    if lock.config.is_none() {
        session.notice(&format!(
            "{} doesn't say which image file it is of, so nothing holds the file to it",
            path.display()
        ));
    }
    let mut keyring = Keyring::load(&file.repositories.keyring).unwrap_or_default();
    for key in &lock.contents.keyring {
        let content = if key.content.is_empty() {
            std::fs::read_to_string(&key.url).unwrap_or_default()
        } else {
            key.content.clone()
        };
        let name = key.name.rsplit('/').next().unwrap_or(&key.name);
        match key::PublicKey::from_pem(&content) {
            Ok(key) => keyring.add(name, key),
            Err(error) => session.notice(&format!(
                "the key {} of the lock is left out: {error}",
                key.name
            )),
        }
    }
    let locked = Locked {
        loaded: &asked.loaded,
        lock: &lock,
        path,
        folder: &asked.folder,
        keyring: &keyring,
    };
    follow(&locked, &asked.archs, &asked.access, session.reporter()).await
}
