//! A package is built again from what is recorded of it, and compared with what comes out.
//!
//! The recipe lies in the package. How it was carried out says the statement beside it: then the same
//! guest packages, sources and recorded answers are used, by hash. Without one, the guest is chosen
//! anew, and the package's SPDX document says of which recipe it was made.

use std::fmt;
use std::path::{Path, PathBuf};

use apk::index::Stamping;
use apk::package::{Format, Package, PackageError};
use apk::repository::{Access, Repository};
use apk::signature::Keyring;
use archive::Limits as ArchiveLimits;
use attest::spdx::RecipeRecord;
use base::{Digest, Problem, Reporter, SourceText};
use key::PublicKey;
use serde::Serialize;
use store::{Origins, Store, StoreError};

use crate::build_recipe::{
    BuildError, BuildOptions, BuiltPackage, copy_out, execute, open_repositories, prepare,
};
use crate::compare::{CompareError, Comparison, compare};
use crate::describe::packaged_document;
use crate::emit::{EmitError, RECIPE_FILE, published};
use crate::executor::Executor;
use crate::guest::bring_recorded;
use crate::lint::Levels;
use crate::plan::{BuildPlan, Limits, Network, PlannedSource};
use crate::planning::{Inputs, plan_build};
use crate::provenance::{self, BuildFacts, Parameters, ProvenanceError, Voucher};
use crate::recipe::{PipelineLibrary, Recipe, ResolveOptions, ResolvedRecipe};
use crate::recording::{Recording, restore};
use crate::signing::SigningProcess;
use crate::source::{RecipeFiles, Sources, recipe_files};

/// What a rebuild is told besides the package.
#[derive(Clone, Debug)]
pub struct RebuildOptions<'a> {
    /// Where guest packages may come from that the store lacks.
    pub repositories: &'a [Repository],
    /// Who may have signed their indexes.
    pub keyring: &'a Keyring,
    /// How they are come by.
    pub access: &'a Access,
    /// Where sources may come from.
    pub origins: &'a Origins,
    /// The folder with the files beside the recipe, where the store lacks them.
    pub source_folder: Option<&'a Path>,
    /// The statement of how the package was made; else the one beside it, if there is one.
    pub provenance: Option<&'a Path>,
    /// Who may have signed the statement.
    pub trusted: &'a [PublicKey],
    /// Who signs what is built again. Without one, signatures are not compared.
    pub signer: Option<&'a SigningProcess>,
    /// The folder that gets what was built again.
    pub out: Option<&'a Path>,
}

/// How much is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every byte.
    Identical,
    /// Everything but who signed it.
    IdenticalButSignature,
    /// Less.
    Different,
}

/// What came of building a package again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RebuildReport {
    /// The package.
    pub package: String,
    /// Its full version.
    pub version: String,
    /// Its architecture, in apk's name.
    pub arch: String,
    /// What indexes may know it by: those of the bytes that were compared.
    pub identities: Vec<String>,
    /// SHA-256 of the package given.
    pub original: Digest,
    /// SHA-256 of what was built again.
    pub rebuilt: Digest,
    /// How much is the same.
    pub verdict: Verdict,
    /// Who vouches for the statement that said how; none if there was no statement.
    pub provenance: Option<Voucher>,
    /// What should be known when differences are read.
    pub notes: Vec<String>,
    /// Where they differ.
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl RebuildReport {
    /// Whether it is the same package, whoever signed it.
    pub fn is_equal(&self) -> bool {
        self.verdict != Verdict::Different
    }
}

impl fmt::Display for RebuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.comparison.differences.len() + self.comparison.omitted;
        let verdict = match self.verdict {
            Verdict::Identical => "the same, byte by byte".to_owned(),
            Verdict::IdenticalButSignature => "the same but for its signature".to_owned(),
            Verdict::Different if count == 1 => "1 difference".to_owned(),
            Verdict::Different => format!("{count} differences"),
        };
        write!(f, "{}-{}: {verdict}", self.package, self.version)?;
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        for difference in &self.comparison.differences {
            write!(f, "\n  {difference}")?;
        }
        if self.comparison.omitted > 0 {
            write!(f, "\n  and {} more", self.comparison.omitted)?;
        }
        Ok(())
    }
}

/// A package can't be built again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The package is no good.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// It holds no recipe.
    #[error(
        "`{path}` holds no {RECIPE_FILE}, so nothing says how it was built: only packages of recipes can be built again",
        path = path.display()
    )]
    NoRecipe {
        /// The package.
        path: PathBuf,
    },
    /// The recipe in it makes no sense.
    #[error("the recipe in `{path}` can't be used", path = path.display())]
    Recipe {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// The recipe does not make this package.
    #[error("the recipe in `{path}` makes no package {package}", path = path.display())]
    OtherPackage {
        /// The file.
        path: PathBuf,
        /// The package's name.
        package: String,
    },
    /// The statement can't be used.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// The statement speaks of another recipe.
    #[error("the recipe in the provenance of `{path}` is not the one in the package: one of them was changed", path = path.display())]
    OtherRecipe {
        /// The package.
        path: PathBuf,
    },
    /// The statement's plan is not what the recipe comes to.
    #[error(
        "the plan in the provenance of {package} is not what its recipe comes to: it was changed, or made by another version of polpo; build without it by moving it away"
    )]
    OtherPlan {
        /// The recipe's package.
        package: String,
    },
    /// Files beside the recipe are missing.
    #[error(
        "files that lay beside the recipe are not in the store any more: {}; name their folder with `--source-dir`",
        files.join(", ")
    )]
    Files {
        /// The files that are missing or other ones.
        files: Vec<String>,
    },
    /// A source is another one now.
    #[error("the source {uri} was {recorded}, and is {found} now")]
    Source {
        /// Where it comes from.
        uri: String,
        /// What it was.
        recorded: String,
        /// What it is.
        found: String,
    },
    /// The build failed.
    #[error(transparent)]
    Build(#[from] Box<BuildError>),
    /// The two can't be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BuildError> for RebuildError {
    fn from(error: BuildError) -> RebuildError {
        RebuildError::Build(Box::new(error))
    }
}

/// Builds the package at `path` again and compares. Nothing is published, and no earlier result is
/// used.
///
/// # Errors
/// See [`RebuildError`]. A difference is none.
pub async fn rebuild<E: Executor>(
    store: &Store,
    executor: &E,
    path: &Path,
    options: &RebuildOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<RebuildReport, RebuildError> {
    // All that is said of the package is said of these bytes, whatever becomes of the file.
    Package::open(path)?;
    let digest = store.put_file(path)?.digest;
    let kept = store.path(&digest).ok_or(StoreError::Missing(digest))?;
    let original = Package::open(&kept)?;
    let recipe = recipe(&original, path)?;
    let name = original.info().name.clone();
    if !recipe.packages().any(|package| package.name == name) {
        return Err(RebuildError::OtherPackage {
            path: path.to_owned(),
            package: name,
        });
    }
    let mut notes = Vec::new();
    let statement = statement(path, &digest, options)?;
    let (facts, voucher) = match statement {
        Some((facts, voucher)) => (Some(facts), Some(voucher)),
        None => (None, None),
    };
    if let Some(facts) = &facts
        && facts.recipe != published(&recipe)
    {
        return Err(RebuildError::OtherRecipe {
            path: path.to_owned(),
        });
    }
    let parameters = match &facts {
        Some(facts) => facts.parameters.clone(),
        None => {
            notes.push(
                "no provenance says what the guest had: its packages are chosen anew".to_owned(),
            );
            recorded_parameters(&original)?
        }
    };
    if parameters.network == Network::Allowed {
        notes.push(
            "it was built with the network within reach; it is built again without".to_owned(),
        );
    }
    if voucher == Some(Voucher::Strangers) {
        notes.push("no trusted key has signed the provenance".to_owned());
    }
    let levels = Levels::only(&[], &[])
        .map_err(EmitError::from)
        .map_err(BuildError::from)?;
    let build = BuildOptions {
        repositories: options.repositories,
        keyring: options.keyring,
        access: options.access,
        origins: options.origins,
        source_folder: options.source_folder,
        epoch: parameters.epoch(),
        limits: Limits::default(),
        network: Network::Denied,
        recording: Recording::default(),
        out: options.out.unwrap_or(Path::new(".")),
        stamping: Stamping::default(),
        signer: options.signer,
        namespace: &parameters.namespace,
        recipe: parameters.recipe_file.clone().map(RecipeRecord::from),
        levels: &levels,
        rebuild: true,
        provenance: false,
        persist_lint_results: false,
        strip_origin_name: parameters.strip_origin_name,
        cyclonedx: false,
    };
    let (plan, sources) = match facts {
        Some(facts) => gather(store, &recipe, facts.plan, &build, reporter).await?,
        None => prepare(store, &recipe, &build, reporter).await?,
    };
    let (_, record, _) =
        execute(store, executor, &recipe, &build, plan, &sources, reporter).await?;
    let made = record.packages.iter().find(|made| made.name == name);
    let made = made.ok_or_else(|| RebuildError::OtherPackage {
        path: path.to_owned(),
        package: name.clone(),
    })?;
    if let Some(out) = options.out {
        for package in &record.packages {
            copy_out(store, package, &out.join(recipe.arch.apk()))?;
        }
    }
    report(store, &original, digest, made, voucher, notes)
}

fn report(
    store: &Store,
    original: &Package,
    digest: Digest,
    made: &BuiltPackage,
    provenance: Option<Voucher>,
    notes: Vec<String>,
) -> Result<RebuildReport, RebuildError> {
    let path = store
        .path(&made.digest)
        .ok_or(StoreError::Missing(made.digest))?;
    let mut comparison = Comparison::default();
    let mut verdict = Verdict::Identical;
    if made.digest != digest {
        let rebuilt = Package::open(&path)?;
        let scratch = store.temp_dir()?;
        let limits = ArchiveLimits::default();
        comparison = compare(original, &rebuilt, scratch.path(), &limits)?;
        verdict = if comparison.is_equal() {
            Verdict::IdenticalButSignature
        } else {
            Verdict::Different
        };
    }
    Ok(RebuildReport {
        package: original.info().name.clone(),
        version: original.info().version.clone(),
        arch: original.info().arch.clone(),
        identities: original
            .identities()
            .iter()
            .map(ToString::to_string)
            .collect(),
        original: digest,
        rebuilt: made.digest,
        verdict,
        provenance,
        notes,
        comparison,
    })
}

/// The recipe in the package: as polpo writes it, resolved, or as other programs do, compiled.
fn recipe(package: &Package, path: &Path) -> Result<ResolvedRecipe, RebuildError> {
    let absent = || RebuildError::NoRecipe {
        path: path.to_owned(),
    };
    if package.format() != Format::V2 {
        return Err(absent());
    }
    let bytes = package.extras().get(RECIPE_FILE).ok_or_else(absent)?;
    if let Ok(recipe) = serde_json::from_slice(bytes) {
        return Ok(recipe);
    }
    let failed = |problems| RebuildError::Recipe {
        path: path.to_owned(),
        problems,
    };
    let text = String::from_utf8_lossy(bytes).into_owned();
    let arch = package.info().arch.parse().map_err(|error| {
        let message = format!("the package's architecture is of no use: {error}");
        failed(vec![Problem::error("architecture", message)])
    })?;
    let library = PipelineLibrary::new(Vec::new());
    let options = ResolveOptions::new(arch, &library);
    Recipe::parse(SourceText::new(RECIPE_FILE, text))
        .and_then(|recipe| recipe.resolve(&options))
        .map_err(failed)
}

fn statement(
    path: &Path,
    digest: &Digest,
    options: &RebuildOptions<'_>,
) -> Result<Option<(BuildFacts, Voucher)>, ProvenanceError> {
    let beside = provenance::beside(path);
    let place = match options.provenance {
        Some(place) => place,
        None if beside.is_file() => &beside,
        None => return Ok(None),
    };
    BuildFacts::read(place, digest, options.trusted).map(Some)
}

/// What the package itself says of its making.
fn recorded_parameters(package: &Package) -> Result<Parameters, RebuildError> {
    let info = package.info();
    let document = packaged_document(package)?;
    let record = document.and_then(|document| RecipeRecord::from_document(&document));
    Ok(Parameters {
        architecture: info.arch.clone(),
        source_date_epoch: info.build_time.unwrap_or_default(),
        namespace: info.maintainer.clone(),
        network: Network::Denied,
        strip_origin_name: false,
        recipe_file: record.as_ref().map(Into::into),
    })
}

/// Brings what the plan names into the store, by hash.
async fn gather(
    store: &Store,
    recipe: &ResolvedRecipe,
    plan: BuildPlan,
    options: &BuildOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<(BuildPlan, Sources), RebuildError> {
    let package = || recipe.package.name.clone();
    let repositories = open_repositories(options, recipe.arch, reporter)
        .await
        .map_err(BuildError::from)?;
    let guest = bring_recorded(options.access, &repositories, &plan.guest, reporter)
        .await
        .map_err(|source| BuildError::Guest {
            package: package(),
            source,
        })?;
    let recorded = plan.sources.iter();
    let recorded = recorded.map(|source| (source.uri.clone(), source.digest));
    let source_failed = |source| BuildError::Source {
        package: package(),
        source,
    };
    let sources = Sources::fetch_recorded(
        store,
        &recipe.sources(),
        options.origins,
        options.epoch,
        recorded.collect(),
        reporter,
    )
    .await
    .map_err(source_failed)?;
    same_sources(&plan.sources, &sources.planned())?;
    if let Some(folder) = options.source_folder {
        recipe_files(store, folder).map_err(source_failed)?;
    }
    let missing = plan
        .files
        .iter()
        .filter(|file| !store.contains(&file.digest));
    let missing: Vec<String> = missing.map(|file| file.path.clone()).collect();
    if !missing.is_empty() {
        return Err(RebuildError::Files { files: missing });
    }
    restore(store, &plan.recording, options.origins, reporter)
        .await
        .map_err(|source| BuildError::Recording {
            package: package(),
            source,
        })?;
    let network = match plan.network {
        Network::Replayed => Network::Replayed,
        _ => Network::Denied,
    };
    let plan = BuildPlan {
        guest,
        network,
        ..plan
    };
    // The recipe is what the package is judged by: a statement can't slip other steps in.
    let inputs = Inputs {
        epoch: options.epoch,
        guest: plan.guest.clone(),
        files: RecipeFiles {
            files: plan.files.clone(),
            links: plan.links.clone(),
            folders: plan.folders.clone(),
        },
        sources: &sources,
        limits: plan.limits.clone(),
        network,
        recording: plan.recording.clone(),
    };
    let derived = plan_build(recipe, inputs).map_err(|source| BuildError::Plan {
        package: package(),
        source,
    })?;
    if derived != plan {
        return Err(RebuildError::OtherPlan { package: package() });
    }
    Ok((plan, sources))
}

fn same_sources(recorded: &[PlannedSource], found: &[PlannedSource]) -> Result<(), RebuildError> {
    let words = |source: Option<&PlannedSource>| match source {
        Some(source) => match &source.commit {
            Some(commit) => format!("commit {commit} ({})", source.digest),
            None => source.digest.to_string(),
        },
        None => "unknown".to_owned(),
    };
    let longest = recorded.len().max(found.len());
    for number in 0..longest {
        let (one, other) = (recorded.get(number), found.get(number));
        if one != other {
            let uri = one.or(other).map(|source| source.uri.clone());
            return Err(RebuildError::Source {
                uri: uri.unwrap_or_default(),
                recorded: words(one),
                found: words(other),
            });
        }
    }
    Ok(())
}
