use std::path::{Path, PathBuf};
use std::process::ExitCode;

use archive::Limits;
use base::{Problem, Severity};
use build::lint::{LINTERS, Level, Levels, LintResults};
use build::published::Published;
use serde::Serialize;
use serde_json::json;
use store::Wanted;
use url::Url;

use crate::arguments::lint::{Lint, LintFormat};
use crate::output::failure::Failure;
use crate::output::{Format, Printer};
use crate::settings::Session;

/// Bytes of a package that is fetched.
const MAXIMUM_PACKAGE: u64 = 16 << 30;

/// What was found in one package.
struct Checked {
    /// As it was named.
    name: String,
    arch: String,
    problems: Vec<Problem>,
    results: LintResults,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    level: Level,
    explanation: &'static str,
    remedy: &'static str,
}

pub(crate) async fn run(arguments: &Lint, session: &Session<'_>) -> Result<ExitCode, Failure> {
    if arguments.list {
        list(arguments.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let levels = arguments
        .linters
        .levels()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let mut checked = Vec::new();
    let mut unreadable: Option<Failure> = None;
    for name in &arguments.packages {
        let result = match place(name, session).await {
            Ok((path, _kept)) => check(name, &path, &levels, session),
            Err(failure) => Err(failure),
        };
        match (result, &mut unreadable) {
            (Ok(package), _) => checked.push(package),
            (Err(failure), None) => unreadable = Some(failure),
            // The first is the command's own failure; none is kept back.
            (Err(failure), Some(_)) => session.progress.fail(&failure),
        }
    }
    if arguments.linters.persist_lint_results {
        for package in &checked {
            let written = package
                .results
                .write(&arguments.out_dir.join(&package.arch));
            written.map_err(|error| Failure::failed("the findings can't be kept", error))?;
        }
    }
    show(arguments.format, &checked)?;
    if let Some(failure) = unreadable {
        return Err(failure);
    }
    let error = |problem: &Problem| problem.severity == Severity::Error;
    let failed = checked
        .iter()
        .any(|package| package.problems.iter().any(error));
    Ok(ExitCode::from(u8::from(failed)))
}

/// The file of a package, brought into a folder of the store's that goes with the second value if it
/// is a URL.
pub(crate) async fn place(
    name: &str,
    session: &Session<'_>,
) -> Result<(PathBuf, Option<store::Arrived>), Failure> {
    if !name.starts_with("http://") && !name.starts_with("https://") {
        return Ok((PathBuf::from(name), None));
    }
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("{name} can't be had"), error)
    };
    let url = Url::parse(name).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    let store = session.store()?;
    let wanted = Wanted {
        name,
        url: &url,
        limit: MAXIMUM_PACKAGE,
        size: None,
        expected: None,
        only_https: url.scheme() == "https",
    };
    let arrived = session
        .network()
        .fetch(&store, &wanted, session.reporter())
        .await
        .map_err(|refusal| failed(refusal.into()))?;
    Ok((arrived.path().to_owned(), Some(arrived)))
}

fn check(
    name: &str,
    path: &Path,
    levels: &Levels,
    session: &Session<'_>,
) -> Result<Checked, Failure> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("{name} can't be checked"), error)
    };
    // What is unpacked lies in the store's own folder, which is there as long as the store is open.
    let store = session.store()?;
    let scratch = store.temp_dir().map_err(|error| failed(error.into()))?;
    let package = Published::read(path, scratch.path(), &Limits::default())
        .map_err(|error| failed(error.into()))?;
    let findings = package
        .lint(path, levels)
        .map_err(|error| failed(error.into()))?;
    let info = &package.info;
    let results = LintResults::new(&info.name, &info.version, &findings)
        .map_err(|error| failed(error.into()))?;
    Ok(Checked {
        name: name.to_owned(),
        arch: info.arch.clone(),
        problems: findings
            .iter()
            .map(|finding| finding.problem(&info.name))
            .collect(),
        results,
    })
}

fn show(format: LintFormat, checked: &[Checked]) -> Result<(), Failure> {
    match format {
        LintFormat::Text => {
            let problems = || checked.iter().flat_map(|package| &package.problems);
            Printer::new(Format::Text).print(&(), |()| {
                let mut text = String::new();
                for problem in problems() {
                    let level = match problem.severity {
                        Severity::Error => "error",
                        _ => "warning",
                    };
                    text.push_str(&format!("{level}[{}]: {}\n", problem.rule, problem.message));
                    if let Some(help) = &problem.help {
                        text.push_str(&format!("  help: {help}\n"));
                    }
                }
                let errors = problems().filter(|problem| problem.severity == Severity::Error);
                let (all, errors) = (problems().count(), errors.count());
                let warnings = all - errors;
                let packages = checked.len();
                text.push_str(&format!(
                    "{packages} checked: {errors} to be mended, {warnings} worth a look\n"
                ));
                text
            })
        }
        LintFormat::Json => {
            let results: Vec<&LintResults> =
                checked.iter().map(|package| &package.results).collect();
            Printer::new(Format::Json).print(&results, |_| String::new())
        }
        LintFormat::Sarif => Printer::new(Format::Json).print(&sarif(checked), |_| String::new()),
    }
}

/// The findings as a SARIF log (OASIS, Static Analysis Results Interchange Format 2.1.0).
fn sarif(checked: &[Checked]) -> serde_json::Value {
    let rules: Vec<serde_json::Value> = LINTERS
        .iter()
        .map(|linter| {
            json!({
                "id": linter.name,
                "fullDescription": {"text": linter.explanation},
                "help": {"text": linter.remedy},
            })
        })
        .collect();
    let results: Vec<serde_json::Value> = checked
        .iter()
        .flat_map(|package| {
            package
                .problems
                .iter()
                .map(move |problem| (package, problem))
        })
        .map(|(package, problem)| {
            json!({
                "ruleId": problem.rule,
                "level": match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                    Severity::Info => "note",
                },
                "message": {"text": problem.message},
                "locations": [{
                    "physicalLocation": {"artifactLocation": {"uri": package.name}}
                }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "polpo",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn list(format: LintFormat) -> Result<(), Failure> {
    let rows: Vec<Row> = LINTERS
        .iter()
        .map(|linter| Row {
            name: linter.name,
            level: linter.level,
            explanation: linter.explanation,
            remedy: linter.remedy,
        })
        .collect();
    let format = match format {
        LintFormat::Text => Format::Text,
        LintFormat::Json => Format::Json,
        LintFormat::Sarif => {
            return Err(Failure::Usage(
                "--list prints text or JSON; SARIF is of findings".to_owned(),
            ));
        }
    };
    Printer::new(format).print(&rows, |rows| {
        let line = |row: &Row| {
            let level = level_word(row.level);
            format!("{:<17} {level:<8} {}\n", row.name, row.explanation)
        };
        rows.iter().map(line).collect()
    })
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Off => "off",
        Level::Warn => "warn",
        Level::Require => "require",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;

    use super::*;

    /// docs/src/reference/linters.md is the table of linters. `POLPO_UPDATE=1` writes it anew.
    #[test]
    fn the_reference_follows_the_table() {
        let mut text = String::from(
            "# Linters\n\nWhat `polpo build` and `polpo lint` check in finished packages; a test keeps \
             this page equal to the program.\n\nFindings of linters at the level *require* fail the build, \
             those at *warn* are told, those at *off* don't run. `--lint-require` and `--lint-warn` \
             replace the two lists. A package lists the linters that it disables under \
             `checks.disabled`: what is required is then only told, what is told is silent, and no \
             other package of the recipe is affected.\n\n\
             The names are melange's. Where an answer differs from melange's, it is said so.\n\n\
             | Linter | Level |\n|---|---|\n",
        );
        for linter in &LINTERS {
            let anchor = linter.name.replace('/', "");
            let level = level_word(linter.level);
            writeln!(text, "| [{}](#{anchor}) | {level} |", linter.name).unwrap();
        }
        for linter in &LINTERS {
            let (name, explanation) = (linter.name, linter.explanation);
            let remedy = linter.remedy;
            let (first, rest) = remedy.split_at(1);
            let remedy = format!("{}{rest}", first.to_uppercase());
            writeln!(
                text,
                "\n## {name}\n\n{explanation}\n\n*What to do:* {remedy}."
            )
            .unwrap();
            if !linter.difference.is_empty() {
                writeln!(text, "\n*Unlike melange:* {}.", linter.difference).unwrap();
            }
        }
        let page =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/linters.md");
        if std::env::var_os("POLPO_UPDATE").is_some() {
            fs::write(&page, &text).unwrap();
        }
        let found = fs::read_to_string(&page).unwrap_or_default();
        assert!(
            found == text,
            "{} is stale: run this test with POLPO_UPDATE=1",
            page.display()
        );
    }
}
