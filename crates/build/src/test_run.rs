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
use crate::source::{SourceError, Sources, recipe_files};

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
    /// Limits of each test.
    pub limits: Limits,
    /// Whether steps reach the network.
    pub network: Network,
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
        let (outcome, failure, log) = match result {
            Ok((outcome, log)) => (outcome, None, Some(log)),
            Err(error) => (Outcome::Failed, Some(error), None),
        };
        reports.push(TestReport {
            package: package.name.clone(),
            version: package.full_version.clone(),
            outcome,
            failure,
            log,
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
    ) -> Result<(Outcome, Digest), TestError> {
        let (store, options) = (self.store, self.options);
        // The very version that the recipe builds, not whatever else goes by the name.
        let mut wanted: Vec<String> = test.environment.packages.clone();
        wanted.retain(|term| *term != package.name);
        wanted.push(format!("{}={}", package.name, package.full_version));
        let arch = self.recipe.arch;
        let guest = choose(options.access, arch, repositories, &wanted, self.reporter).await?;
        let sources =
            Sources::fetch(store, &test.sources(), options.origins, self.reporter).await?;
        let files = match options.source_folder {
            Some(folder) => recipe_files(store, folder)?,
            None => Vec::new(),
        };
        let inputs = Inputs {
            epoch: options.epoch,
            guest,
            files,
            sources: &sources,
            limits: options.limits.clone(),
            network: options.network,
        };
        let plan = plan_test(self.recipe.arch, test, inputs)?;
        let key = plan.digest();
        let subject = format!("{}-{}", package.name, package.full_version);
        let before: Option<TestRecord> = store.record_get("test", &key)?;
        if let Some(TestRecord { log }) = before
            && !options.again
        {
            Task::start(self.reporter, Verb::Test, &subject, None, Unit::Items).unchanged();
            return Ok((Outcome::Unchanged, log));
        }
        let output = self
            .executor
            .execute(&plan, &subject, self.reporter)
            .await?;
        store.record_put("test", &key, &TestRecord { log: output.log })?;
        Ok((Outcome::Done, output.log))
    }
}
