//! From a resolved recipe to packages in a repository, each stage once and only if it must be.

mod publish;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apk::index::{IndexError, Stamping};
use apk::package::PackageError;
use apk::repository::{Access, LoadedRepository, Location, Repository, RepositoryError};
use apk::signature::Keyring;
use attest::intoto::JsonError;
use attest::spdx::RecipeRecord;
use base::{Digest, Epoch, Outcome, Problem, Reporter};
use serde::{Deserialize, Serialize};
use store::{Origins, Store, StoreError, WriteError};

use crate::describe::Origin;
use crate::emit::{EmitError, EmitOptions, emit};
use crate::executor::{ExecuteError, Executor};
use crate::guest::{ChooseError, choose};
use crate::licences;
use crate::lint::{Levels, LintResults};
use crate::plan::{BuildPlan, Limits, Network, key_bytes};
use crate::planning::{Inputs, PlanError, plan_build};
use crate::provenance::ProvenanceError;
use crate::recipe::ResolvedRecipe;
use crate::recording::{Recording, RestoreError, restore};
use crate::signing::{SigningError, SigningProcess};
use crate::source::{RecipeFiles, SourceError, SourceOrigin, Sources, recipe_files};

pub(crate) use publish::{copy_out, joined};

/// Rises when the same recipe and output would become other packages.
const FORMAT: u32 = 4;

/// What a build is told besides the recipe.
#[derive(Clone, Debug)]
pub struct BuildOptions<'a> {
    /// Where the guest's packages come from; earlier ones win ties.
    pub repositories: &'a [Repository],
    /// Who may have signed their indexes.
    pub keyring: &'a Keyring,
    /// How they are come by.
    pub access: &'a Access,
    /// Where sources may come from.
    pub origins: &'a Origins,
    /// The folder whose files are put into the workspace; it may be missing.
    pub source_folder: Option<&'a Path>,
    /// The time of everything.
    pub epoch: Epoch,
    /// Limits of the build; where there is none, that of the recipe holds.
    pub limits: Limits,
    /// Whether steps reach the network.
    pub network: Network,
    /// What the network answers, where it is [`Network::Replayed`].
    pub recording: Recording,
    /// The repository that gets the packages, in `OUT/ARCH`.
    pub out: &'a Path,
    /// How the index is stamped.
    pub stamping: Stamping,
    /// Who signs the packages, the index and the statements.
    pub signer: Option<&'a SigningProcess>,
    /// The distribution's name in package URLs.
    pub namespace: &'a str,
    /// Where the recipe lies, for its packages' documents.
    pub recipe: Option<RecipeRecord>,
    /// Which linters run, and which fail the build.
    pub levels: &'a Levels,
    /// Whether what linters find is also written beside the packages, to `lint-NAME-VERSION.json`.
    pub persist_lint_results: bool,
    /// Whether packages say that they come from themselves, not from the main package.
    pub strip_origin_name: bool,
    /// Build also what is unchanged, and fail if other packages come out.
    pub rebuild: bool,
    /// Put a statement of how it was made beside each package, signed with the signer's key.
    pub provenance: bool,
    /// Put a CycloneDX bill of materials beside each package.
    pub cyclonedx: bool,
}

/// A package that is in the repository now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltPackage {
    /// Its name.
    pub name: String,
    /// Its full version.
    pub version: String,
    /// The name of its file.
    pub file_name: String,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuiltRecipe {
    /// [`Outcome::Done`], or [`Outcome::Unchanged`] when nothing had to be built.
    pub outcome: Outcome,
    /// The main package, then the subpackages.
    pub packages: Vec<BuiltPackage>,
    /// What was carried out; if the network was recorded, the plan by which it is replayed.
    pub plan: BuildPlan,
    /// Where the sources were found this time.
    pub sources: Vec<SourceOrigin>,
    /// What the steps printed, a blob of the store.
    pub log: Digest,
    /// What linters have to say; nothing here fails a build. Empty when nothing was built.
    pub problems: Vec<Problem>,
}

/// What is kept of a build, under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildRecord {
    pub(crate) packages: Vec<BuiltPackage>,
    pub(crate) log: Digest,
    /// What linters found.
    #[serde(default)]
    pub(crate) lint: Vec<LintResults>,
    /// The statement of how each package was made, a blob of the store: signed if the packages are.
    pub(crate) statements: Vec<Digest>,
}

/// A recipe was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A repository can't be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The guest can't be had.
    #[error("{package}: {source}")]
    Guest {
        /// The recipe's package.
        package: String,
        /// Why not.
        source: ChooseError,
    },
    /// A source can't be had.
    #[error("{package}: {source}")]
    Source {
        /// The recipe's package.
        package: String,
        /// Why not.
        source: SourceError,
    },
    /// What was recorded is gone.
    #[error("{package}: {source}")]
    Recording {
        /// The recipe's package.
        package: String,
        /// Why it can't be had.
        source: RestoreError,
    },
    /// The recipe can't become a plan.
    #[error("{package}: {source}")]
    Plan {
        /// The recipe's package.
        package: String,
        /// Why not.
        source: PlanError,
    },
    /// The build failed.
    #[error("{package}: {source}")]
    Execute {
        /// The recipe's package.
        package: String,
        /// How.
        source: ExecuteError,
    },
    /// The packages can't be made.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// Building again gave other packages.
    #[error(
        "{package} is not reproducible: built again from the same plan, {} differ from before; the new ones are kept in `{}`, compare them with those in the repository",
        files.join(", "), kept.display()
    )]
    NotReproducible {
        /// The recipe's package.
        package: String,
        /// The files that differ.
        files: Vec<String>,
        /// Where the new ones are.
        kept: PathBuf,
    },
    /// The repository is signed, the packages would not be.
    #[error(
        "the repository `{}` is signed, and no key was given to sign these packages and its index with; give the key with `--signing-key`, or build into another folder with `--out-dir`",
        repository.display()
    )]
    SignedRepository {
        /// The repository.
        repository: PathBuf,
    },
    /// The index can't be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The packages are not signed.
    #[error("{package}: {source}")]
    Sign {
        /// The package.
        package: String,
        /// Why not.
        source: SigningError,
    },
    /// It can't be stated how the packages were made.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// A package can't be described.
    #[error("{package} can't be described: {source}")]
    Describe {
        /// The package.
        package: String,
        /// Why not.
        source: JsonError,
    },
    /// A package of the repository is no good.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file of the repository can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everything that decides what packages come out.
#[derive(Debug, Serialize)]
struct Key<'a> {
    format: u32,
    plan: Digest,
    recipe: &'a ResolvedRecipe,
    signer: Option<(String, Digest)>,
    namespace: &'a str,
    record: Option<(&'a str, Digest, &'a Option<String>, &'a Option<String>)>,
    levels: &'a Levels,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strip_origin_name: bool,
}

/// Builds `recipe` and puts its packages and an index of them into `options.out`, unless the same
/// plan was carried out before, without the network: then what is kept of that is put there.
///
/// # Errors
/// See [`BuildError`]. The repository is only touched once all packages are made.
pub async fn build_recipe<E: Executor>(
    store: &Store,
    executor: &E,
    recipe: &ResolvedRecipe,
    options: &BuildOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<BuiltRecipe, BuildError> {
    let package = || recipe.package.name.clone();
    // Not only when all is built.
    publish::present_index(recipe.arch, options)?;
    let (plan, sources) = prepare(store, recipe, options, reporter).await?;

    // What comes over the network now is not in the plan: it may give something else today.
    let pinned = matches!(plan.network, Network::Denied | Network::Replayed);
    if pinned
        && !options.rebuild
        && let Some(record) = built_before(store, &key(recipe, options, &plan))?
        && publish::is_stated(
            store,
            &record,
            &publish::facts(recipe, &plan, options),
            options,
        )?
    {
        let subject = format!("{}-{}", recipe.package.name, recipe.package.full_version);
        let task = base::Task::start(
            reporter,
            base::Verb::Build,
            &subject,
            None,
            base::Unit::Items,
        );
        publish::publish(store, recipe, &plan, &record, options)?;
        persist_lint_results(recipe, options, &record.lint)?;
        publish::state(store, recipe.arch, &record, options)?;
        task.unchanged();
        return Ok(BuiltRecipe {
            outcome: Outcome::Unchanged,
            packages: record.packages.clone(),
            plan,
            sources: sources.origins,
            log: record.log,
            problems: Vec::new(),
        });
    }

    let (plan, record, problems) =
        execute(store, executor, recipe, options, plan, &sources, reporter).await?;
    let key = key(recipe, options, &plan);
    if options.rebuild
        && let Some(before) = built_before(store, &key)?
    {
        let differ: Vec<String> = record
            .packages
            .iter()
            .filter(|package| !before.packages.contains(package))
            .map(|package| package.file_name.clone())
            .collect();
        if !differ.is_empty() {
            let kept = options.out.join(recipe.arch.apk()).join("not-reproducible");
            for package in &record.packages {
                if differ.contains(&package.file_name) {
                    publish::copy_out(store, package, &kept)?;
                }
            }
            return Err(BuildError::NotReproducible {
                package: package(),
                files: differ,
                kept,
            });
        }
    }
    publish::publish(store, recipe, &plan, &record, options)?;
    persist_lint_results(recipe, options, &record.lint)?;
    publish::state(store, recipe.arch, &record, options)?;
    store.record_put("build", &key, &record)?;
    Ok(BuiltRecipe {
        outcome: Outcome::Done,
        packages: record.packages,
        plan,
        sources: sources.origins,
        log: record.log,
        problems,
    })
}

/// Chooses the guest, fetches the sources and makes the plan.
pub(crate) async fn prepare(
    store: &Store,
    recipe: &ResolvedRecipe,
    options: &BuildOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<(BuildPlan, Sources), BuildError> {
    let package = || recipe.package.name.clone();
    let repositories = open_repositories(options, recipe.arch, reporter).await?;
    let wanted = &recipe.environment.packages;
    let guest = choose(options.access, recipe.arch, &repositories, wanted, reporter)
        .await
        .map_err(|source| BuildError::Guest {
            package: package(),
            source,
        })?;
    let source_failed = |source| BuildError::Source {
        package: package(),
        source,
    };
    let sources = Sources::fetch(
        store,
        &recipe.sources(),
        options.origins,
        options.epoch,
        reporter,
    )
    .await
    .map_err(source_failed)?;
    let files = match options.source_folder {
        Some(folder) => recipe_files(store, folder).map_err(source_failed)?,
        None => RecipeFiles::default(),
    };
    let recording = match options.network {
        Network::Replayed => options.recording.clone(),
        _ => Recording::default(),
    };
    restore(store, &recording, options.origins, reporter)
        .await
        .map_err(|source| BuildError::Recording {
            package: package(),
            source,
        })?;
    let inputs = Inputs {
        epoch: options.epoch,
        guest,
        files,
        sources: &sources,
        limits: options.limits.clone(),
        network: options.network,
        recording,
    };
    let plan = plan_build(recipe, inputs).map_err(|source| BuildError::Plan {
        package: package(),
        source,
    })?;
    Ok((plan, sources))
}

/// What is kept under `key`, if all of it is still there.
fn built_before(store: &Store, key: &Digest) -> Result<Option<BuildRecord>, StoreError> {
    let record: Option<BuildRecord> = store.record_get("build", key)?;
    Ok(record.filter(|record| {
        let packages = record.packages.iter().map(|package| &package.digest);
        let mut blobs = packages.chain(&record.statements).chain([&record.log]);
        record.packages.len() == record.statements.len()
            && blobs.all(|digest| store.contains(digest))
    }))
}

/// Reads the indexes. The output repository may be among them before it has one.
pub(crate) async fn open_repositories(
    options: &BuildOptions<'_>,
    arch: base::Arch,
    reporter: &dyn Reporter,
) -> Result<Vec<LoadedRepository>, RepositoryError> {
    let present: Vec<Repository> = options
        .repositories
        .iter()
        .filter(|repository| {
            let out = matches!(&repository.location, Location::Folder(path) if path == options.out);
            let index = repository
                .arch_folder(arch)
                .map(|folder| folder.join(apk::index::FILE_NAME));
            !out || index.is_some_and(|index| index.exists())
        })
        .cloned()
        .collect();
    let opened = options
        .access
        .open_all(&present, arch, Some(options.keyring), reporter)
        .await?;
    Ok(opened.into_iter().map(|opened| opened.repository).collect())
}

/// The key under which a build's result is kept: the plan, what is said of the packages, who signs,
/// and which checks they passed.
fn key(recipe: &ResolvedRecipe, options: &BuildOptions<'_>, plan: &BuildPlan) -> Digest {
    let signer = options
        .signer
        .map(|signer| (signer.key_name().to_owned(), signer.public().id()));
    let key = Key {
        format: FORMAT,
        plan: plan.digest(),
        recipe,
        signer,
        namespace: options.namespace,
        record: options.recipe.as_ref().map(|record| {
            let RecipeRecord {
                path,
                digest,
                repository,
                commit,
            } = record;
            (path.as_str(), *digest, repository, commit)
        }),
        levels: options.levels,
        strip_origin_name: options.strip_origin_name,
    };
    Digest::of(&key_bytes(&key))
}

/// Carries the plan out and makes the packages, blobs of the store.
pub(crate) async fn execute<E: Executor>(
    store: &Store,
    executor: &E,
    recipe: &ResolvedRecipe,
    options: &BuildOptions<'_>,
    plan: BuildPlan,
    sources: &Sources,
    reporter: &dyn Reporter,
) -> Result<(BuildPlan, BuildRecord, Vec<Problem>), BuildError> {
    let subject = format!("{}-{}", recipe.package.name, recipe.package.full_version);
    let sign_failed = |source| BuildError::Sign {
        package: recipe.package.name.clone(),
        source,
    };
    // Before a step runs: what they do changes nothing of what is stated.
    if let Some(signer) = options.signer {
        let facts = publish::facts(recipe, &plan, options);
        signer
            .begin(&facts, options.keyring, options.stamping)
            .map_err(sign_failed)?;
    }
    let output = executor
        .execute(&plan, &subject, reporter)
        .await
        .map_err(|source| BuildError::Execute {
            package: recipe.package.name.clone(),
            source,
        })?;
    // From here on, a recorded build is the replayed one: the same packages, under the same key.
    let plan = match &output.recording {
        Some(recording) => {
            if let Some(signer) = options.signer {
                signer.recorded(recording).map_err(sign_failed)?;
            }
            plan.replaying(recording.clone())
        }
        None => plan,
    };
    let licence_paths = recipe
        .packages()
        .flat_map(|package| &package.licenses)
        .map(|licence| licence.license_path.as_str());
    let origin = Origin {
        namespace: options.namespace.to_owned(),
        sources: sources.digests().clone(),
        unpinned: sources.unpinned().clone(),
        commits: sources.commits(),
        files: plan
            .files
            .iter()
            .map(|file| (file.path.clone(), file.digest))
            .collect(),
        recipe: options.recipe.clone(),
        network: plan.network,
        recording: plan.recording.clone(),
        licence_texts: licence_paths
            .filter(|path| !path.is_empty())
            .filter_map(|path| Some((path.to_owned(), output.text(path)?)))
            .collect::<BTreeMap<_, _>>(),
    };
    let beside = store.temp_dir()?;
    let emitted = match emit(
        recipe,
        &output.trees,
        &EmitOptions {
            out: beside.path(),
            owners: &output.owners,
            epoch: options.epoch,
            origin: &origin,
            levels: options.levels,
            library_versions: None,
            strip_origin_name: options.strip_origin_name,
        },
    ) {
        Err(EmitError::Rejected { problems, results }) => {
            persist_lint_results(recipe, options, &results)?;
            return Err(EmitError::Rejected { problems, results }.into());
        }
        emitted => emitted?,
    };
    let mut lint = Vec::new();
    let mut packages = Vec::new();
    let mut problems = licences::check(store, recipe, &output.workspace)?;
    let mut statements = Vec::new();
    let facts = publish::facts(recipe, &plan, options);
    for package in emitted {
        let file_name = package.entry.file_name();
        let (digest, statement) = publish::keep(store, &package.path, &file_name, &facts, options)?;
        statements.push(store.put(&*statement)?.digest);
        packages.push(BuiltPackage {
            file_name,
            name: package.name,
            version: package.version,
            digest,
        });
        problems.extend(package.problems);
        lint.push(package.lint);
    }
    let record = BuildRecord {
        packages,
        log: output.log,
        lint,
        statements,
    };
    Ok((plan, record, problems))
}

/// Writes what linters found beside the packages, if that is wanted.
fn persist_lint_results(
    recipe: &ResolvedRecipe,
    options: &BuildOptions<'_>,
    results: &[LintResults],
) -> Result<(), EmitError> {
    if options.persist_lint_results {
        let folder = options.out.join(recipe.arch.apk());
        for results in results {
            results.write(&folder)?;
        }
    }
    Ok(())
}
