use std::process::ExitCode;

use archive::Limits;
use build::published::{Published, rescan};
use serde::Serialize;

use crate::arguments::lint::Scan;
use crate::command::lint::place;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

/// A package, as it says itself and as analysis says.
#[derive(Serialize)]
struct Row {
    package: String,
    /// Its `.PKGINFO` with what analysis finds now.
    pkginfo: String,
    /// Lines that the package has and analysis does not find.
    missing: Vec<String>,
    /// Lines that analysis finds and the package does not have.
    new: Vec<String>,
}

pub(crate) async fn run(arguments: &Scan, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let store = session.store()?;
    let (mut packages, mut scratches) = (Vec::new(), Vec::new());
    for name in &arguments.packages {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::failed(format!("{name} can't be analysed"), error)
        };
        let (path, _kept) = place(name, session).await?;
        let scratch = store.temp_dir().map_err(|error| failed(error.into()))?;
        let package = Published::read(&path, scratch.path(), &Limits::default())
            .map_err(|error| failed(error.into()))?;
        packages.push(package);
        scratches.push(scratch);
    }
    let scanned = rescan(&packages)
        .map_err(|error| Failure::failed("the packages can't be analysed", error))?;
    let mut rows = Vec::new();
    for (package, (info, dependencies)) in packages.iter().zip(scanned) {
        session.show(&dependencies.problems);
        let what = || format!("what {} says can't be written", info.name);
        let pkginfo = info
            .to_pkginfo()
            .map_err(|error| Failure::failed(what(), error))?;
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| line.trim_end().to_owned()).collect()
        };
        let (before, after) = (lines(&package.pkginfo), lines(&pkginfo));
        let without = |one: &[String], other: &[String]| -> Vec<String> {
            let lines = one.iter().filter(|line| !other.contains(line));
            lines.cloned().collect()
        };
        rows.push(Row {
            package: format!("{}-{}", info.name, info.version),
            missing: without(&before, &after),
            new: without(&after, &before),
            pkginfo,
        });
    }
    if let Some(only) = &arguments.package {
        let mut position = 0;
        rows.retain(|_| {
            position += 1;
            packages
                .get(position - 1)
                .is_some_and(|package| package.info.name == *only)
        });
    }
    let differs = rows
        .iter()
        .any(|row| !row.missing.is_empty() || !row.new.is_empty());
    Printer::new(arguments.format).print(&rows, |rows| {
        let shown = |row: &Row| {
            if !arguments.diff {
                return row.pkginfo.clone();
            }
            let mut text = String::new();
            if !row.missing.is_empty() || !row.new.is_empty() {
                text = format!("--- {}.apk\n+++ analysed again\n", row.package);
            }
            for (sign, lines) in [('-', &row.missing), ('+', &row.new)] {
                for line in lines {
                    text.push_str(&format!("{sign}{line}\n"));
                }
            }
            text
        };
        rows.iter().map(shown).collect()
    })?;
    Ok(ExitCode::from(u8::from(arguments.diff && differs)))
}
