//! One file per command.

pub(crate) mod apk;
pub(crate) mod apko;
mod attest;
mod build;
mod build_log;
mod clean;
mod completions;
mod image_build;
mod image_copy;
mod image_diff;
mod image_files;
mod image_graph;
mod image_lock;
mod image_packages;
mod image_plans;
mod image_publish;
mod image_rootfs;
mod image_run;
mod image_schema;
mod image_show;
mod image_source;
mod image_tags;
mod key_generate;
mod license_check;
mod lint;
mod login;
mod logout;
pub(crate) mod melange;
mod network;
pub(crate) mod other_program;
mod place;
mod rebuild;
mod recipe_bump;
mod recipe_compile;
mod recipe_fmt;
mod recipe_lint;
mod recipe_new;
mod recipe_query;
mod recipe_schema;
mod recipe_show;
mod recipes;
mod scan;
mod sign;
mod signatory;
mod source_fetch;
mod source_import;
mod source_lock;
mod subject;
mod test;
mod trust_fetch;
mod verify;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::recipe::Recipe;
use crate::arguments::trust::Trust;
use crate::arguments::{Command, Image, Key, Source};
use crate::output::failure::Failure;
use crate::settings::Session;

/// Runs a command.
pub(crate) async fn run(command: Command, session: &Session<'_>) -> Result<ExitCode, Failure> {
    match command {
        Command::Apk { .. } => {
            return Err(Failure::Usage(
                "`apk` takes options of its own and comes first: polpo apk …".to_owned(),
            ));
        }
        Command::Key(Key::Generate(arguments)) => key_generate::run(&arguments, session)?,
        Command::Completions { shell, name } => completions::run(shell, name)?,
        Command::Source(Source::Lock(arguments)) => source_lock::run(&arguments, session)?,
        Command::Source(Source::Import(arguments)) => source_import::run(&arguments, session)?,
        Command::Image(Image::Build(arguments)) => image_build::run(&arguments, session).await?,
        Command::Image(Image::Lock(arguments)) => image_lock::run(&arguments, session).await?,
        Command::Image(Image::Packages(arguments)) => {
            image_packages::run(&arguments, session).await?;
        }
        Command::Image(Image::Dot(arguments)) => image_graph::run(&arguments, session).await?,
        Command::Image(Image::Minirootfs(arguments)) => {
            image_rootfs::run(&arguments, session).await?;
        }
        Command::Clean(arguments) => clean::run(&arguments, session)?,
        Command::Apko { .. } => {
            return Err(Failure::Usage(
                "`apko` takes options of its own and comes first: polpo apko …".to_owned(),
            ));
        }
        Command::Image(Image::Show(arguments)) => image_show::run(&arguments, session)?,
        Command::Image(Image::Schema) => image_schema::run()?,
        Command::Image(Image::Publish(arguments)) => {
            interruptible(image_publish::run(&arguments, session)).await??;
        }
        Command::Image(Image::Copy(arguments)) => {
            interruptible(image_copy::run(&arguments, session)).await??;
        }
        Command::Image(Image::Diff(arguments)) => {
            return interruptible(image_diff::run(&arguments, session)).await?;
        }
        Command::Image(Image::Files(arguments)) => {
            interruptible(image_files::run(&arguments, session)).await??;
        }
        Command::Image(Image::Tags(arguments)) => image_tags::run(&arguments, session).await?,
        Command::Login(arguments) => login::run(&arguments, session).await?,
        Command::Logout(arguments) => logout::run(&arguments, session).await?,
        Command::Sign(arguments) => sign::run(&arguments, session).await?,
        Command::Attest(arguments) => attest::run(&arguments, session).await?,
        Command::Verify(arguments) => return verify::run(&arguments, session).await,
        Command::Trust(Trust::Fetch(arguments)) => trust_fetch::run(&arguments, session).await?,
        Command::Melange { .. } => {
            return Err(Failure::Usage(
                "`melange` takes options of its own and comes first: polpo melange …".to_owned(),
            ));
        }
        Command::Scan(arguments) => return scan::run(&arguments, session).await,
        Command::Lint(arguments) => return lint::run(&arguments, session).await,
        Command::LicenseCheck(arguments) => {
            return license_check::run(&arguments, session).await;
        }
        Command::Recipe(Recipe::Show(arguments)) => recipe_show::run(&arguments, session)?,
        Command::Recipe(Recipe::Compile(arguments)) => recipe_compile::run(&arguments, session)?,
        Command::Recipe(Recipe::Query(arguments)) => recipe_query::run(&arguments)?,
        Command::Recipe(Recipe::Lint(arguments)) => return recipe_lint::run(&arguments, session),
        Command::Recipe(Recipe::Bump(arguments)) => recipe_bump::run(&arguments, session).await?,
        Command::Recipe(Recipe::New(arguments)) => recipe_new::run(&arguments, session).await?,
        Command::Recipe(Recipe::Schema) => recipe_schema::run()?,
        Command::Recipe(Recipe::Fmt(arguments)) => return recipe_fmt::run(&arguments),
        Command::Build(arguments) => build::run(&arguments, session).await?,
        Command::Rebuild(arguments) => return rebuild::run(&arguments, session).await,
        Command::Test(arguments) => test::run(&arguments, session).await?,
        Command::Source(Source::Fetch(arguments)) => source_fetch::run(&arguments, session).await?,
        Command::Image(Image::Run(arguments)) => return image_run::run(&arguments, session),
    }
    Ok(ExitCode::SUCCESS)
}

/// Does `work` until it is done, or until somebody asks to stop: by Ctrl-C or SIGTERM. Then `work` is
/// dropped, which ends its sandboxes and removes what they left.
async fn interruptible<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::failed("signals can't be listened to", error));
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::select! {
        result = work => Ok(result),
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    }
}
