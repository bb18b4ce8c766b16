//! From a resolved recipe to a plan.

use base::{Arch, Epoch};

use crate::plan::{BuildPlan, FORMAT, GuestPackage, Limits, Network, PlannedStep, environment};
use crate::recipe::{Action, CapabilityChange, GuestRequest, ResolvedRecipe, ResolvedTest, Step};
use crate::recording::Recording;
use crate::source::{RecipeFiles, Sources};
use crate::workspace::{WorkspaceError, within_workspace};

/// A recipe can't become a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A source would go where it may not.
    #[error("step `{step}`: {source}")]
    Path {
        /// The step.
        step: String,
        /// What is wrong.
        source: Box<WorkspaceError>,
    },
    /// A source was not fetched.
    #[error("step `{step}` needs `{uri}`, which was not fetched")]
    Source {
        /// The step.
        step: String,
        /// The source.
        uri: String,
    },
}

/// What a plan has besides the recipe's own words.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The time of everything.
    pub epoch: Epoch,
    /// The solved guest, in install order.
    pub guest: Vec<GuestPackage>,
    /// The files beside the recipe.
    pub files: RecipeFiles,
    /// The fetched sources.
    pub sources: &'a Sources,
    /// Limits; where there is none, that of the recipe holds.
    pub limits: Limits,
    /// Whether steps reach the network.
    pub network: Network,
    /// What the network answers, where it is replayed.
    pub recording: Recording,
}

/// The plan that builds all packages of `recipe`.
///
/// # Errors
/// A source is missing or would go outside the workspace.
pub fn plan_build(recipe: &ResolvedRecipe, inputs: Inputs<'_>) -> Result<BuildPlan, PlanError> {
    let subpackages = recipe.subpackages.iter().flat_map(|sub| &sub.steps);
    let steps = recipe.steps.iter().chain(subpackages);
    let packages = recipe.packages().map(|package| package.name.clone());
    plan(
        recipe.arch,
        &recipe.environment,
        recipe.capabilities.clone(),
        Some(inputs.epoch),
        steps,
        packages.collect(),
        Inputs {
            limits: inputs.limits.or(&recipe.limits),
            ..inputs
        },
    )
}

/// The plan that runs `test` of `recipe`; it makes no packages.
///
/// # Errors
/// As [`plan_build`].
pub fn plan_test(
    recipe: &ResolvedRecipe,
    test: &ResolvedTest,
    inputs: Inputs<'_>,
) -> Result<BuildPlan, PlanError> {
    plan(
        recipe.arch,
        &test.environment,
        recipe.capabilities.clone(),
        None,
        test.steps.iter(),
        Vec::new(),
        Inputs {
            limits: inputs.limits.or(&recipe.test_limits),
            ..inputs
        },
    )
}

fn plan<'s>(
    arch: Arch,
    request: &GuestRequest,
    capabilities: CapabilityChange,
    epoch: Option<Epoch>,
    from: impl Iterator<Item = &'s Step>,
    packages: Vec<String>,
    inputs: Inputs<'_>,
) -> Result<BuildPlan, PlanError> {
    let mut steps = Vec::new();
    for step in from {
        flatten(step, inputs.sources, &mut steps)?;
    }
    Ok(BuildPlan {
        format: FORMAT,
        arch,
        epoch: inputs.epoch,
        guest: inputs.guest,
        accounts: request.accounts.clone(),
        capabilities,
        files: inputs.files.files,
        links: inputs.files.links,
        folders: inputs.files.folders,
        sources: inputs.sources.planned(),
        steps,
        environment: environment(&request.environment, epoch),
        limits: inputs.limits,
        network: inputs.network,
        recording: inputs.recording,
        packages,
    })
}

/// A step and those within it, in the order they run.
fn flatten(step: &Step, sources: &Sources, into: &mut Vec<PlannedStep>) -> Result<(), PlanError> {
    let name = step.name.clone();
    let path = |text: &str| {
        within_workspace(&step.working_directory, text)
            .map(|path| format!("{}/{path}", crate::plan::WORKSPACE))
            .map_err(|error| PlanError::Path {
                step: name.clone(),
                source: Box::new(error),
            })
    };
    match &step.action {
        Action::Nothing => {}
        Action::Run { script } => into.push(PlannedStep::Run {
            name: name.clone(),
            script: script.clone(),
            working_directory: step.working_directory.clone(),
            environment: step.environment.clone(),
        }),
        Action::Fetch(fetch) => {
            let source = sources.digest(fetch).ok_or_else(|| PlanError::Source {
                step: name.clone(),
                uri: fetch.uri.clone(),
            })?;
            if !fetch.delete {
                into.push(PlannedStep::Place {
                    name: name.clone(),
                    source,
                    path: path(&fetch.file_name)?,
                });
            }
            if fetch.extract {
                into.push(PlannedStep::Unpack {
                    name: name.clone(),
                    source,
                    directory: path(&fetch.directory)?,
                    strip_components: fetch.strip_components,
                });
            }
        }
        Action::GitCheckout(checkout) => {
            let checked_out = sources
                .checked_out(checkout)
                .ok_or_else(|| PlanError::Source {
                    step: name.clone(),
                    uri: store::without_credentials(&checkout.repository),
                })?;
            into.push(PlannedStep::Unpack {
                name: name.clone(),
                source: checked_out.tree,
                directory: path(&checkout.destination)?,
                strip_components: 0,
            });
        }
    }
    for step in &step.steps {
        flatten(step, sources, into)?;
    }
    Ok(())
}
