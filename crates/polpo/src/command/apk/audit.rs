use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use apk::install::{Audit, AuditMode, Finding, InstallError, State};
use clap::Args;
use serde::Serialize;

use super::context::{Context, Needs};
use super::making::REFUSED;
use super::verify::system_words;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Look for what a backup must hold: protected files that were changed or added; the default
    #[arg(long, overrides_with_all = ["full", "system"])]
    backup: bool,
    /// Look at modes and owners too
    #[arg(long)]
    check_permissions: bool,
    /// Print what was expected and what is there
    #[arg(long)]
    details: bool,
    /// Look for files of packages that were changed or are missing, and for what no package has
    #[arg(long, overrides_with_all = ["backup", "system"])]
    full: bool,
    /// Pass over links to busybox that no package has
    #[arg(long)]
    ignore_busybox_symlinks: bool,
    /// Print the packages of which something was changed
    #[arg(long)]
    packages: bool,
    /// File of protected paths to read instead of the system's
    #[arg(long, value_name = "FILE")]
    protected_paths: Option<PathBuf>,
    /// Look into directories that no package has
    #[arg(long, short)]
    recursive: bool,
    /// Look for files of packages that were changed or are missing
    #[arg(long, overrides_with_all = ["backup", "full"])]
    system: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Directories to look at, as paths of the system; without one, all
    #[arg(value_name = "DIRECTORY")]
    directories: Vec<String>,
}

/// Something that is not as its package left it, as JSON has it.
#[derive(Serialize)]
struct Row<'f> {
    path: &'f str,
    /// apk's letter.
    deviation: char,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Shown<'f>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Shown<'f>>,
}

#[derive(Serialize)]
struct Shown<'f> {
    /// In octal digits.
    mode: String,
    uid: u64,
    gid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'f str>,
}

impl Arguments {
    fn mode(&self) -> AuditMode {
        if self.full {
            AuditMode::Full
        } else if self.system {
            AuditMode::System
        } else {
            AuditMode::Backup
        }
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let console = &context.console;
    let protected_paths = match &arguments.protected_paths {
        None => None,
        Some(file) => match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) => {
                console.error(&format!(
                    "unable to read protected path file: {}: {}",
                    file.display(),
                    system_words(&error)
                ));
                return Ok(ExitCode::from(REFUSED));
            }
        },
    };
    let mut paths = Vec::new();
    for directory in &arguments.directories {
        match directory.strip_prefix('/') {
            Some(path) => paths.push(path.to_owned()),
            None => console.warning(&format!("{directory}: relative path skipped.")),
        }
    }
    if paths.is_empty() && !arguments.directories.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let needs = Needs {
        system_repositories: false,
        other_repositories: false,
        ..Needs::default()
    };
    let system = context.open(&needs).await?;
    let Some(root) = &system.root else {
        return Ok(ExitCode::SUCCESS);
    };
    let audit = Audit {
        mode: arguments.mode(),
        check_permissions: arguments.check_permissions,
        recursive: arguments.recursive,
        ignore_busybox_symlinks: arguments.ignore_busybox_symlinks,
        details: arguments.details,
        protected_paths,
        paths,
    };
    let findings = match root.audit(&audit) {
        Ok(findings) => findings,
        Err(InstallError::UsermodeAudit { .. }) => {
            console.error("audit does not support usermode!");
            return Ok(ExitCode::from(REFUSED));
        }
        Err(error) => return Err(Failure::failed("the system can't be audited", error)),
    };
    let rows: Vec<Row<'_>> = findings.iter().map(Row::of).collect();
    let verbosity = console.verbosity();
    Printer::new(arguments.format).print(&rows, |_| match arguments.packages {
        true => packages(&findings, verbosity),
        false => lines(&findings, verbosity),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl<'f> Row<'f> {
    fn of(finding: &'f Finding) -> Row<'f> {
        let package = finding.package.as_ref();
        Row {
            path: &finding.path,
            deviation: finding.deviation.letter(),
            package: package.map(|(name, version)| format!("{name}-{version}")),
            expected: finding.expected.as_ref().map(Shown::of),
            found: finding.found.as_ref().map(Shown::of),
        }
    }
}

impl<'f> Shown<'f> {
    fn of(state: &'f State) -> Shown<'f> {
        Shown {
            mode: format!("{:o}", state.mode),
            uid: state.uid,
            gid: state.gid,
            hash: state.checksum.as_deref(),
        }
    }
}

/// Each package once, in the order in which it is come upon.
fn packages(findings: &[Finding], verbosity: u8) -> String {
    let mut seen = BTreeSet::new();
    let mut out = String::new();
    for (name, version) in findings.iter().filter_map(|it| it.package.as_ref()) {
        if seen.insert(name) {
            // Writing to a string can't fail.
            let _ = match verbosity {
                0 => writeln!(out, "{name}"),
                _ => writeln!(out, "{name}-{version}"),
            };
        }
    }
    out
}

fn lines(findings: &[Finding], verbosity: u8) -> String {
    let mut out = String::new();
    for finding in findings {
        if verbosity == 0 {
            out.push_str(&finding.path);
            out.push('\n');
            continue;
        }
        for (sign, state) in [('-', &finding.expected), ('+', &finding.found)] {
            let Some(state) = state else {
                continue;
            };
            let hash = state.checksum.as_deref();
            let hash = hash.map(|hash| format!(" hash={hash}"));
            // Writing to a string can't fail.
            let _ = writeln!(
                out,
                "{sign} mode={:o} uid={} gid={}{}",
                state.mode,
                state.uid,
                state.gid,
                hash.unwrap_or_default()
            );
        }
        let _ = writeln!(out, "{} {}", finding.deviation.letter(), finding.path);
    }
    out
}
