//! From a resolved recipe to a plan.

use base::{Arch, Epoch};

use crate::plan::{
    BuildPlan, FORMAT, GuestPackage, Limits, Network, PlannedStep, WORKSPACE, environment,
};
use crate::recipe::{Action, CapabilityChange, GuestRequest, ResolvedRecipe, ResolvedTest, Step};
use crate::recording::Recording;
use crate::source::{RecipeFiles, Sources};
use crate::workspace::{WorkspaceError, guest_path, within_workspace};

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

/// What places the sources of a build, and its other steps among them.
pub(crate) fn steps_of(
    recipe: &ResolvedRecipe,
    sources: &Sources,
) -> Result<Vec<PlannedStep>, PlanError> {
    let subpackages = recipe.subpackages.iter().flat_map(|sub| &sub.steps);
    let mut steps = Vec::new();
    for step in recipe.steps.iter().chain(subpackages) {
        flatten(step, sources, &mut steps)?;
    }
    Ok(steps)
}

/// A step and those within it, in the order they run.
fn flatten(step: &Step, sources: &Sources, into: &mut Vec<PlannedStep>) -> Result<(), PlanError> {
    let name = step.name.clone();
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
                let folder = Destination::of(step, "", into)?;
                into.push(PlannedStep::Place {
                    name: name.clone(),
                    source,
                    path: format!("{}/{}", folder.writable(), fetch.file_name),
                });
                into.extend(folder.moved(step));
            }
            if fetch.extract {
                let folder = Destination::of(step, &fetch.directory, into)?;
                into.push(PlannedStep::Unpack {
                    name: name.clone(),
                    source,
                    directory: folder.writable().to_owned(),
                    strip_components: fetch.strip_components,
                });
                into.extend(folder.moved(step));
            }
        }
        Action::GitCheckout(checkout) => {
            let checked_out = sources
                .checked_out(checkout)
                .ok_or_else(|| PlanError::Source {
                    step: name.clone(),
                    uri: store::without_credentials(&checkout.repository),
                })?;
            let folder = Destination::of(step, &checkout.destination, into)?;
            into.push(PlannedStep::Unpack {
                name: name.clone(),
                source: checked_out.tree,
                directory: folder.writable().to_owned(),
                strip_components: 0,
            });
            into.extend(folder.moved(step));
        }
    }
    for step in &step.steps {
        flatten(step, sources, into)?;
    }
    Ok(())
}

/// Where a source goes.
enum Destination {
    /// A folder of the workspace, which is what can be written to from outside the sandbox.
    Workspace(String),
    /// Another folder of the guest. A step moves there, inside the sandbox, what is put into a folder
    /// of the workspace for it.
    Elsewhere { folder: String, through: String },
}

impl Destination {
    /// `path` as `step` means it. `before` are the steps up to there.
    fn of(step: &Step, path: &str, before: &[PlannedStep]) -> Result<Destination, PlanError> {
        let folder =
            guest_path(&step.working_directory, path).map_err(|error| PlanError::Path {
                step: step.name.clone(),
                source: Box::new(error),
            })?;
        Ok(if within_workspace(WORKSPACE, &folder).is_ok() {
            Destination::Workspace(folder)
        } else {
            let through = format!("{WORKSPACE}/.source-{}", before.len());
            Destination::Elsewhere { folder, through }
        })
    }

    fn writable(&self) -> &str {
        match self {
            Destination::Workspace(folder) => folder,
            Destination::Elsewhere { through, .. } => through,
        }
    }

    /// The step that moves what was put there, if it is not where it belongs.
    fn moved(self, step: &Step) -> Option<PlannedStep> {
        let Destination::Elsewhere { folder, through } = self else {
            return None;
        };
        Some(PlannedStep::Run {
            name: step.name.clone(),
            script: format!("cp -a {through}/. .\nrm -r {through}\n"),
            working_directory: folder,
            environment: step.environment.clone(),
        })
    }
}
