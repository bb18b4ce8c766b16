use apk::repository::Repository;
use base::{Arch, Epoch, Outcome, Task, Unit, Verb};
use build::executor::Debug;
use build::test_run::{TestError, TestOptions, test_recipe};

use crate::arguments::Test;
use crate::command::build::{append, executor};
use crate::command::interruptible;
use crate::command::network::{Policy, recorder, write_recording};
use crate::command::recipes::{self, Loaded};
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &Test, session: &Session<'_>) -> Result<(), Failure> {
    let arch = arguments.target.arch.unwrap_or(Arch::host());
    let loaded = recipes::load(
        &arguments.recipes,
        arch,
        &arguments.pipeline_dirs,
        arguments.folders.source_dir.as_deref(),
        Some(&arguments.values),
        session,
    )?;
    let (others, keyring) = settings::repositories(&arguments.repositories, arch)?;
    let access = settings::access(&arguments.repositories, session)?;
    // What is tested is what was built, whatever else has that name.
    let mut repositories = vec![Repository::folder(&arguments.out_dir)];
    repositories.extend(others);
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut executor = executor(&store, &arguments.folders, &arguments.runner)?;
    executor.verb = Verb::Test;
    executor.recorder = recorder(&arguments.network);
    executor.debug = Debug {
        trace: arguments.debug,
        shell: arguments.debug,
    };
    let mut tested = 0;
    let mut failures: Vec<(String, TestError)> = Vec::new();
    for Loaded {
        path,
        mut recipe,
        source_folder,
        ..
    } in loaded
    {
        let more = &arguments.test_package_append;
        let others = recipe.subpackages.iter_mut().map(|sub| &mut sub.test);
        for test in std::iter::once(&mut recipe.test).chain(others).flatten() {
            append(&mut test.environment.packages, more);
        }
        let policy = Policy::of(&arguments.network, &path)?;
        let (network, lock) = policy.test(arch)?;
        let options = TestOptions {
            repositories: &repositories,
            keyring: &keyring,
            access: &access,
            origins: &origins,
            source_folder: (!arguments.folders.empty_workspace).then_some(&*source_folder),
            epoch: Epoch(arguments.target.source_date_epoch),
            limits: arguments.limits.limits(),
            network,
            lock: &lock,
            again: arguments.again,
        };
        let name = &recipe.package.name;
        let reports = interruptible(test_recipe(
            &store,
            &executor,
            &recipe,
            &options,
            session.reporter(),
        ))
        .await?
        .map_err(|error| Failure::failed(format!("{name} was not tested"), error))?;
        if reports.is_empty() {
            session.notice(&format!("{name} has no test"));
        }
        for report in reports {
            tested += 1;
            if report.outcome == Outcome::Unchanged {
                let subject = format!("{} (passed before)", report.package);
                Task::start(session.reporter(), Verb::Test, &subject, None, Unit::Items)
                    .unchanged();
            }
            if let Some(recording) = report.recording {
                let package = report.package.clone();
                write_recording(&policy, &recording, session, |lock| {
                    let tests = &mut lock.recorded.entry(arch).or_default().tests;
                    tests.insert(package, recording.clone());
                })?;
            }
            if let Some(failure) = report.failure {
                failures.push((report.package, failure));
            }
        }
    }
    let failed = failures.len();
    match failures.into_iter().next() {
        None => Ok(()),
        Some((package, first)) => Err(Failure::failed(
            format!("{failed} of {tested} packages failed their tests; the first is {package}"),
            first,
        )),
    }
}
