//! The tests of recipes: each package in a guest of its own, installed as its users install it.

use std::path::Path;

use apk::repository::{Access, Repository, RepositoryError};
use apk::signature::Keyring;
use base::{Digest, Epoch, Outcome, Reporter, Task, Unit, Verb};
use serde::{Deserialize, Serialize};
use store::{Origins, Store, StoreError};

use crate::executor::{ExecuteError, Executor};
use crate::guest::{ChooseError, choose};
use crate::plan::{Limits, Network};
use crate::planning::{Inputs, PlanError, plan_test};
use crate::recipe::{ResolvedPackage, ResolvedRecipe, ResolvedTest};
use crate::recording::{Recording, RestoreError, SourceLock, restore};
use crate::source::{RecipeFiles, SourceError, Sources, recipe_files};

/// What a test run is told besides the recipe.
#[derive(Clone, Debug)]
pub struct TestOptions<'a> {
    /// Where packages come from, the one with the tested packages among them; earlier ones win
    /// ties.
    pub repositories: &'a [Repository],
    /// Who may have signed their indexes.
    pub keyring: &'a Keyring,
    /// How they are come by.
    pub access: &'a Access,
    /// Where sources may come from.
    pub origins: &'a Origins,
    /// The folder whose files are put into the workspace; it may be missing.
    pub source_folder: Option<&'a Path>,
    /// The time of the plan.
    pub epoch: Epoch,
    /// Limits of each test; where there is none, that of the recipe holds.
    pub limits: Limits,
    /// Whether steps reach the network.
    pub network: Network,
    /// Has what the network answers to each test, where it is [`Network::Replayed`]; a test that is
    /// not in it has no network.
    pub lock: &'a SourceLock,
    /// Test also what passed before, unchanged.
    pub again: bool,
}

/// How the test of one package ended.
#[derive(Debug)]
pub struct TestReport {
    /// The package.
    pub package: String,
    /// Its full version.
    pub version: String,
    /// [`Outcome::Unchanged`] when the same test of the same packages passed before.
    pub outcome: Outcome,
    /// Why it failed.
    pub failure: Option<TestError>,
    /// What the steps printed, a blob of the store; in a failure, the error names it.
    pub log: Option<Digest>,
    /// What the test got from the network, where it was recorded and the test passed.
    pub recording: Option<Recording>,
}

/// A test did not pass, or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The guest can't be had.
    #[error(transparent)]
    Guest(#[from] ChooseError),
    /// A source can't be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What was recorded is gone.
    #[error(transparent)]
    Recording(#[from] RestoreError),
    /// The test can't become a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct TestRecord {
    log: Digest,
}

/// Runs the tests of `recipe`: of the main package and of each subpackage that has one. A test that
/// fails does not keep the others from being run.
///
/// # Errors
/// A repository can't be used.
pub async fn test_recipe<E: Executor>(
    store: &Store,
    executor: &E,
    recipe: &ResolvedRecipe,
    options: &TestOptions<'_>,
    reporter: &dyn Reporter,
) -> Result<Vec<TestReport>, RepositoryError> {
    let (access, keyring) = (options.access, Some(options.keyring));
    let repositories: Vec<_> = access
        .open_all(options.repositories, recipe.arch, keyring, reporter)
        .await?
        .into_iter()
        .map(|opened| opened.repository)
        .collect();
    let main = std::iter::once((&recipe.package, recipe.test.as_ref()));
    let others = recipe
        .subpackages
        .iter()
        .map(|sub| (&sub.package, sub.test.as_ref()));
    let mut reports = Vec::new();
    for (package, test) in main.chain(others) {
        let Some(test) = test.filter(|test| !test.steps.is_empty()) else {
            continue;
        };
        let run = Run {
            store,
            executor,
            recipe,
            options,
            reporter,
        };
        let result = run.test(&repositories, package, test).await;
        let (outcome, failure, log, recording) = match result {
            Ok((outcome, log, recording)) => (outcome, None, Some(log), recording),
            Err(error) => (Outcome::Failed, Some(error), None, None),
        };
        reports.push(TestReport {
            package: package.name.clone(),
            version: package.full_version.clone(),
            outcome,
            failure,
            log,
            recording,
        });
    }
    Ok(reports)
}

struct Run<'a, E> {
    store: &'a Store,
    executor: &'a E,
    recipe: &'a ResolvedRecipe,
    options: &'a TestOptions<'a>,
    reporter: &'a dyn Reporter,
}

impl<E: Executor> Run<'_, E> {
    async fn test(
        &self,
        repositories: &[apk::repository::LoadedRepository],
        package: &ResolvedPackage,
        test: &ResolvedTest,
    ) -> Result<(Outcome, Digest, Option<Recording>), TestError> {
        let (store, options) = (self.store, self.options);
        // The very version that the recipe builds, not whatever else goes by the name.
        let mut wanted: Vec<String> = test.environment.packages.clone();
        wanted.retain(|term| *term != package.name);
        wanted.push(format!("{}={}", package.name, package.full_version));
        let arch = self.recipe.arch;
        let guest = choose(options.access, arch, repositories, &wanted, self.reporter).await?;
        let sources = Sources::fetch(
            store,
            &test.sources(),
            options.origins,
            Epoch(0),
            self.reporter,
        )
        .await?;
        let files = match options.source_folder {
            Some(folder) => recipe_files(store, folder)?,
            None => RecipeFiles::default(),
        };
        let (network, recording) = match options.network {
            Network::Replayed => match options.lock.test(arch, &package.name) {
                Some(recording) => (Network::Replayed, recording.clone()),
                None => (Network::Denied, Recording::default()),
            },
            other => (other, Recording::default()),
        };
        restore(store, &recording, options.origins, self.reporter).await?;
        let inputs = Inputs {
            epoch: options.epoch,
            guest,
            files,
            sources: &sources,
            limits: options.limits.clone(),
            network,
            recording,
        };
        let plan = plan_test(self.recipe, test, inputs)?;
        let subject = format!("{}-{}", package.name, package.full_version);
        let pinned = matches!(plan.network, Network::Denied | Network::Replayed);
        if pinned
            && !options.again
            && let Some(TestRecord { log }) = store.record_get("test", &plan.digest())?
        {
            Task::start(self.reporter, Verb::Test, &subject, None, Unit::Items).unchanged();
            return Ok((Outcome::Unchanged, log, None));
        }
        let output = self
            .executor
            .execute(&plan, &subject, self.reporter)
            .await?;
        let recording = output.recording.clone();
        let plan = match &recording {
            Some(recording) => plan.replaying(recording.clone()),
            None => plan,
        };
        store.record_put("test", &plan.digest(), &TestRecord { log: output.log })?;
        Ok((Outcome::Done, output.log, recording))
    }
}
