use base::{Arch, Epoch};
use build::build_recipe::{BuildOptions, build_recipe};
use build::executor::{Debug, LocalExecutor};
use build::plan::Limits;
use build::sandbox::InitProgram;

use crate::arguments::Build;
use crate::command::interruptible;
use crate::command::network::{Policy, recorder, write_recording};
use crate::command::recipes::{self, Loaded};
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &Build, session: &Session<'_>) -> Result<(), Failure> {
    let arch = arguments.target.arch.unwrap_or(Arch::host());
    let loaded = recipes::load(
        &arguments.recipes,
        arch,
        &arguments.pipeline_dirs,
        arguments.source_dir.as_deref(),
        session,
    )?;
    let signer = arguments
        .signing_key
        .as_deref()
        .map(settings::signer)
        .transpose()?;
    let (repositories, keyring) = settings::repositories(&arguments.repositories, arch)?;
    let access = settings::access(&arguments.repositories, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut executor = executor(&store)?;
    executor.recorder = recorder(&arguments.network);
    executor.debug = Debug {
        trace: arguments.debug,
        shell: arguments.debug,
    };
    let levels = arguments
        .linters
        .levels()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    for Loaded {
        path,
        recipe,
        record,
        source_folder,
    } in loaded
    {
        let name = format!("{} {}", recipe.package.name, recipe.package.full_version);
        let policy = Policy::of(&arguments.network, &path)?;
        let (network, recording) = policy.build(arch, session)?;
        let options = BuildOptions {
            repositories: &repositories,
            keyring: &keyring,
            access: &access,
            origins: &origins,
            source_folder: Some(&source_folder),
            epoch: Epoch(arguments.target.source_date_epoch),
            limits: Limits::default(),
            network,
            recording,
            out: &arguments.out_dir,
            signer: signer.as_ref(),
            namespace: &arguments.namespace,
            recipe: Some(record),
            levels: &levels,
            persist_lint_results: arguments.linters.persist_lint_results,
            rebuild: arguments.rebuild,
        };
        let built = interruptible(build_recipe(
            &store,
            &executor,
            &recipe,
            &options,
            session.reporter(),
        ))
        .await?
        .map_err(|error| Failure::failed(format!("{name} was not built"), error))?;
        session.show(&built.problems);
        if policy.records() {
            let recording = built.plan.recording;
            write_recording(&policy, &recording, session, |lock| {
                lock.recorded.entry(arch).or_default().build = Some(recording.clone());
            })?;
        }
    }
    Ok(())
}

/// Runs sandboxes through this very program.
pub(crate) fn executor(store: &store::Store) -> Result<LocalExecutor, Failure> {
    let what = "no sandbox can be made";
    let init = InitProgram::this().map_err(|error| Failure::failed(what, error))?;
    LocalExecutor::new(store.clone(), init).map_err(|error| Failure::failed(what, error))
}
