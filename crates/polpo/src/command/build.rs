use std::fs;

use apk::index::Stamping;
use base::{Arch, Epoch};
use build::build_recipe::{BuildOptions, build_recipe};
use build::executor::{Debug, LocalExecutor};
use build::sandbox::{Bind, InitProgram, Runner};

use crate::arguments::machine::{Folders, StepRunner};
use crate::arguments::{Build, SbomFormat};
use crate::command::build_log;
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
        arguments.folders.source_dir.as_deref(),
        Some(&arguments.values),
        session,
    )?;
    let signer = settings::signing_process(&arguments.signing)?;
    let (repositories, keyring) = settings::repositories(&arguments.repositories, arch)?;
    let access = settings::access(&arguments.repositories, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut executor = executor(&store, &arguments.folders, &arguments.runner)?;
    executor.recorder = recorder(&arguments.network);
    executor.debug = Debug {
        trace: arguments.debug,
        shell: arguments.debug,
    };
    let levels = arguments
        .linters
        .levels()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let stamping = Stamping {
        begin: arguments.stamp_index,
        now: match arguments.target.source_date_epoch {
            0 => settings::now(),
            given => Epoch(given),
        },
    };
    let mut dependencies = Vec::new();
    for Loaded {
        path,
        mut recipe,
        record,
        source_folder,
    } in loaded
    {
        append(&mut recipe.environment.packages, &arguments.package_append);
        let name = format!("{} {}", recipe.package.name, recipe.package.full_version);
        let policy = Policy::of(&arguments.network, &path)?;
        let (network, recording) = policy.build(arch, session)?;
        let options = BuildOptions {
            repositories: &repositories,
            keyring: &keyring,
            access: &access,
            origins: &origins,
            source_folder: (!arguments.folders.empty_workspace).then_some(&*source_folder),
            epoch: Epoch(arguments.target.source_date_epoch),
            limits: arguments.limits.limits(),
            network,
            recording,
            out: &arguments.out_dir,
            stamping,
            signer: signer.as_ref(),
            namespace: &arguments.namespace,
            recipe: Some(record),
            levels: &levels,
            persist_lint_results: arguments.linters.persist_lint_results,
            strip_origin_name: arguments.strip_origin_name,
            rebuild: arguments.rebuild,
            provenance: arguments.generate_provenance,
            cyclonedx: arguments.sbom_format.contains(&SbomFormat::Cyclonedx),
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
        let folder = arguments.out_dir.join(arch.apk());
        dependencies.extend(
            built
                .packages
                .iter()
                .map(|package| folder.join(&package.file_name)),
        );
        if arguments.create_build_log {
            build_log::append(
                arch,
                &recipe.package.name,
                &built.packages,
                arguments.strip_origin_name,
            )?;
        }
        if policy.records() {
            let recording = built.plan.recording;
            write_recording(&policy, &recording, session, |lock| {
                lock.recorded.entry(arch).or_default().build = Some(recording.clone());
            })?;
        }
    }
    if signer.is_none() {
        session.notice(
            "what was built is not signed, and is refused wherever signatures are asked for: name a key by --signing-key",
        );
    }
    match &arguments.dependency_log {
        Some(path) => build_log::write_dependencies(path, arch, &dependencies),
        None => Ok(()),
    }
}

/// Adds packages to those that a guest has anyway.
pub(crate) fn append(packages: &mut Vec<String>, more: &[String]) {
    for package in more {
        if !packages.contains(package) {
            packages.push(package.clone());
        }
    }
}

/// Runs sandboxes through this very program.
pub(crate) fn executor(
    store: &store::Store,
    folders: &Folders,
    runner: &StepRunner,
) -> Result<LocalExecutor, Failure> {
    let failed = |error| Failure::failed("no step can be run", error);
    let init = InitProgram::this().map_err(failed)?;
    let runner = Runner::find(runner.runner, &runner.machine()).map_err(failed)?;
    let mut executor = LocalExecutor::with_runner(store.clone(), init, runner);
    executor.workspace.clone_from(&folders.workspace_dir);
    if let Some(cache) = &folders.cache_dir {
        let source = fs::create_dir_all(cache)
            .and_then(|()| cache.canonicalize())
            .map_err(|error| {
                let what = format!("the folder {} can't be a cache", cache.display());
                Failure::failed(what, error)
            })?;
        executor.binds.push(Bind {
            source,
            target: "/var/cache/melange".to_owned(),
            writable: true,
        });
    }
    Ok(executor)
}
