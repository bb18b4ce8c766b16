use std::process::ExitCode;

use apk::query::Statistics;
use clap::Args;
use serde::Serialize;

use super::context::{Context, Needs};
use super::question::{Opened, unreadable};
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Serialize)]
struct Counts {
    installed: Installed,
    available: Available,
    atoms: usize,
}

#[derive(Serialize)]
struct Installed {
    packages: usize,
    directories: usize,
    files: usize,
    bytes: u64,
    triggers: usize,
}

#[derive(Serialize)]
struct Available {
    names: usize,
    packages: usize,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let opened = Opened::new(context, &Needs::default()).await?;
    opened.with_population(|population| {
        let counted = population
            .statistics(&opened.system.arches)
            .map_err(unreadable)?;
        Printer::new(arguments.format).print(&Counts::from(counted), Counts::text)
    })?;
    Ok(ExitCode::SUCCESS)
}

impl From<Statistics> for Counts {
    fn from(counted: Statistics) -> Counts {
        Counts {
            installed: Installed {
                packages: counted.packages,
                directories: counted.directories,
                files: counted.files,
                bytes: counted.bytes,
                triggers: counted.triggers,
            },
            available: Available {
                names: counted.names,
                packages: counted.available_packages,
            },
            atoms: counted.atoms,
        }
    }
}

impl Counts {
    /// With the empty line that apk ends it with.
    fn text(&self) -> String {
        let Counts {
            installed,
            available,
            atoms,
        } = self;
        format!(
            "installed:\n  packages: {}\n  dirs: {}\n  files: {}\n  bytes: {}\n  triggers: {}\n\
             available:\n  names: {}\n  packages: {}\n\
             atoms:\n  num: {atoms}\n\n",
            installed.packages,
            installed.directories,
            installed.files,
            installed.bytes,
            installed.triggers,
            available.names,
            available.packages,
        )
    }
}
