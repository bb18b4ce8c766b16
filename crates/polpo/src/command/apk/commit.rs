//! Carrying out a plan, or saying what would be done, in apk's words.

use std::collections::VecDeque;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use apk::dependency::Dependency;
use apk::index::IndexEntry;
use apk::install::{Arrival, CommitOptions, Statistics, Step, Sync, Transaction};
use apk::query::compare_names;
use apk::solver::{ChangeKind, Unsolvable};
use base::{Event, Reporter, Unit};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use super::console::Console;
use super::context::Context;
use super::making::REFUSED;
use super::options::Decision;
use super::plan::{Plan, PlannedStep, Supply, Wish};
use super::question::count_code;
use super::system::System;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

/// How many packages are fetched at the same time.
const TOGETHER: usize = 8;

/// The JSON document of a command that changes a system.
#[derive(Debug, Default, Serialize)]
struct Document {
    /// Whether nothing was done because nothing was to be.
    simulated: bool,
    /// What changes, in order.
    changes: Vec<DocumentChange>,
    /// What the world is now.
    world: Vec<Dependency>,
    /// Terms of the world that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<Dependency>,
    /// Directories whose mode and owner are set anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    directories: Vec<String>,
    /// What is installed afterwards.
    installed: Installed,
    /// What went wrong with single packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    errors: usize,
}

#[derive(Debug, Default, Serialize)]
struct Installed {
    packages: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct DocumentChange {
    action: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// The repository that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    /// Bytes of the package file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Bytes on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    installed_size: Option<u64>,
}

/// The JSON document of a request that nothing satisfies.
#[derive(Debug, Serialize)]
struct Refusal<'u> {
    unsolvable: &'u Unsolvable,
    /// What apk would print.
    report: String,
}

/// What a plan comes to, in numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Steps that come to something.
    changes: usize,
    download: u64,
    bytes: i64,
    packages: i64,
}

impl Sums {
    fn of(plan: &Plan, system: &System) -> Sums {
        let mut sums = Sums::default();
        for step in &plan.steps {
            sums.changes += usize::from(step.is_change());
            if let Some(after) = &step.after {
                sums.bytes = sums.bytes.saturating_add_unsigned(after.installed_size);
                sums.packages += 1;
                if step.arrives() && !system.is_local(&after.supply) {
                    sums.download = sums.download.saturating_add(after.size);
                }
            }
            if let Some(before) = &step.before {
                sums.bytes = sums.bytes.saturating_sub_unsigned(before.installed_size);
                sums.packages -= 1;
            }
        }
        sums
    }
}

impl Context<'_> {
    /// Solves what is wished for and carries it out.
    pub(crate) async fn solve_and_commit(
        &self,
        system: &mut System,
        wish: &Wish,
    ) -> Result<ExitCode, Failure> {
        if !self.check_tags(system, &wish.world) {
            self.console
                .error("Not committing changes due to missing repository tags.");
            return Ok(ExitCode::from(REFUSED));
        }
        match self.plan(system, wish)? {
            Ok(plan) => self.commit(system, &plan).await,
            Err(unsolvable) => self.refuse(&unsolvable),
        }
    }

    /// Says why a request has no solution: as apk does, then as a person can follow it.
    pub(crate) fn refuse(&self, unsolvable: &Unsolvable) -> Result<ExitCode, Failure> {
        let report = unsolvable.to_apk_text(self.console.width());
        if self.console.is_document() {
            let refusal = Refusal { unsolvable, report };
            Printer::new(Format::Json).print(&refusal, |_| String::new())?;
        } else {
            self.console.error(&format!(
                "unable to select packages:\n{}",
                report.trim_end()
            ));
            self.console.explanation(&format!("\n{unsolvable}"));
        }
        Ok(ExitCode::FAILURE)
    }

    /// Carries out a plan.
    pub(crate) async fn commit(
        &self,
        system: &mut System,
        plan: &Plan,
    ) -> Result<ExitCode, Failure> {
        self.finish(system, plan, true).await
    }

    /// As [`Context::commit`]; the line that says what is installed at the end may be left out.
    pub(crate) async fn finish(
        &self,
        system: &mut System,
        plan: &Plan,
        closing: bool,
    ) -> Result<ExitCode, Failure> {
        let sums = Sums::of(plan, system);
        let interactive = self.is_interactive();
        if self.console.verbosity() > 1 || interactive {
            let changes = self.announce(plan, sums, interactive);
            let asks = interactive && changes > 0 && !self.is_simulated();
            if asks && !self.console.confirm("Do you want to continue [Y/n]? ")? {
                return Ok(ExitCode::from(REFUSED));
            }
        }
        let mut document = Document {
            simulated: self.is_simulated(),
            changes: plan
                .steps
                .iter()
                .filter(|step| step.is_change())
                .map(|step| document_change(step, system))
                .collect(),
            world: plan.world.clone(),
            left_out: plan.left_out.clone(),
            directories: plan.directories.clone(),
            ..Document::default()
        };
        let statistics = if self.is_simulated() {
            self.simulate(system, plan, sums)
        } else {
            let Some(steps) = self.steps(system, plan).await? else {
                return Ok(ExitCode::FAILURE);
            };
            let transaction = Transaction {
                steps,
                world: plan.world.clone(),
                options: CommitOptions {
                    directories: plan.directories.clone(),
                    ..self.commit_options()?
                },
            };
            let root = system.root.as_mut().ok_or_else(no_root)?;
            self.console.start_stage("install", || sizes(plan));
            let committed = root
                .commit(&transaction, &Steps::of(&self.console))
                .map_err(|error| Failure::failed("the system can't be changed", error))?;
            self.console.end_stage();
            self.keep_copies(system, plan);
            document.problems = committed.problems.iter().map(ToString::to_string).collect();
            document.errors = committed.errors + usize::from(!self.keep_list(system));
            committed.statistics
        };
        document.installed = Installed {
            packages: statistics.packages as u64,
            bytes: statistics.bytes,
        };
        if closing {
            self.console
                .message(&self.closing_line(statistics, document.errors));
        }
        if self.console.is_document() {
            Printer::new(Format::Json).print(&document, |_| String::new())?;
        }
        Ok(count_code(document.errors))
    }

    fn closing_line(&self, statistics: Statistics, errors: usize) -> String {
        let state = match errors {
            0 => "OK:".to_owned(),
            1 => "1 error;".to_owned(),
            errors => format!("{errors} errors;"),
        };
        let size = human_size(statistics.bytes);
        match self.console.verbosity() {
            0 | 1 => format!("{state} {size} in {} packages", statistics.packages),
            _ => format!(
                "{state} {} packages, {} dirs, {} files, {size}",
                statistics.packages, statistics.directories, statistics.files
            ),
        }
    }

    /// Prints the steps, and counts what would be installed.
    fn simulate(&self, system: &System, plan: &Plan, sums: Sums) -> Statistics {
        let width = sums.changes.to_string().len();
        self.console.start_stage("install", || sizes(plan));
        let steps = plan.steps.iter().filter(|step| step.is_change());
        for (index, step) in steps.enumerate() {
            self.console.message(&format!(
                "({:width$}/{}) {}",
                index + 1,
                sums.changes,
                step.text
            ));
            self.console.advance_stage();
        }
        self.console.end_stage();
        let mut statistics = system.statistics();
        statistics.bytes = statistics.bytes.saturating_add_signed(sums.bytes);
        let packages = isize::try_from(sums.packages).unwrap_or_default();
        statistics.packages = statistics.packages.saturating_add_signed(packages);
        statistics
    }

    /// Lists what is about to change. How many packages the lists name.
    fn announce(&self, plan: &Plan, sums: Sums, interactive: bool) -> usize {
        let console = &self.console;
        let verbose = console.verbosity() >= 2;
        let mut steps: Vec<&PlannedStep> = plan.steps.iter().collect();
        steps.sort_by(|left, right| compare_names(sort_name(left), sort_name(right)));
        let list = |details: bool, title: &str, accept: &dyn Fn(&PlannedStep) -> bool| {
            let chosen: Vec<&PlannedStep> =
                steps.iter().copied().filter(|step| accept(step)).collect();
            if chosen.is_empty() {
                return 0;
            }
            console.line(&format!("{title}:"));
            if details {
                for step in &chosen {
                    console.line(&details_of(step));
                }
            } else {
                let names = chosen
                    .iter()
                    .filter_map(|step| step.package())
                    .map(|package| package.name.as_str());
                console.line(&indented("", 2, names, console.width()));
            }
            chosen.len()
        };
        list(
            false,
            "NOTE: Consider running apk upgrade with --prune and/or --available.\n\
             The following packages are no longer available from a repository",
            &|step| {
                step.after.as_ref().is_some_and(|after| {
                    !after.in_repository && (verbose || !after.name.starts_with('.'))
                })
            },
        );
        let mut changes = list(verbose, "The following packages will be REMOVED", &|step| {
            step.kind == ChangeKind::Remove
        });
        changes += list(
            verbose,
            "The following packages will be DOWNGRADED",
            &|step| step.kind == ChangeKind::Downgrade,
        );
        if changes == 0 && !interactive && console.verbosity() <= 2 {
            return changes;
        }
        changes += list(
            verbose,
            "The following NEW packages will be installed",
            &|step| step.kind == ChangeKind::Install,
        );
        changes += list(
            verbose,
            "The following packages will be upgraded",
            &|step| matches!(step.kind, ChangeKind::Upgrade | ChangeKind::Replace),
        );
        changes += list(
            verbose,
            "The following packages will be reinstalled",
            &|step| step.kind == ChangeKind::Reinstall,
        );
        if sums.download > 0 {
            console.message(&format!(
                "Need to download {} of packages.",
                human_size(sums.download)
            ));
        }
        console.message(&format!(
            "After this operation, {} of {}.",
            human_size(sums.bytes.unsigned_abs()),
            match sums.bytes < 0 {
                true => "disk space will be freed",
                false => "additional disk space will be used",
            }
        ));
        changes
    }

    /// The steps, all package files at hand. If one can't be had, that is said, and nothing has
    /// been changed yet.
    async fn steps(&self, system: &System, plan: &Plan) -> Result<Option<Vec<Step>>, Failure> {
        let mut steps = Vec::new();
        let mut files = Vec::new();
        let mut distant = Vec::new();
        for step in &plan.steps {
            let arrival = arrival(system, step)?;
            if let Needed::Package {
                repository,
                ref entry,
            } = arrival
            {
                let entry = entry.clone();
                let is_distant = step
                    .after
                    .as_ref()
                    .is_some_and(|after| !system.is_local(&after.supply));
                if is_distant {
                    distant.push(entry.size);
                }
                files.push(async move {
                    let file = self.obtain(system, repository, &entry).await;
                    if is_distant {
                        self.console.advance_stage();
                    }
                    file
                });
            }
            steps.push((step, arrival));
        }
        let total = files.len();
        if self.predownloads(system) && total > 0 {
            self.console
                .message(&format!("Downloading {total} packages..."));
        }
        if !distant.is_empty() {
            self.console.start_stage("download", || distant);
        }
        let mut files: VecDeque<Result<PathBuf, String>> = stream::iter(files)
            .buffered(TOGETHER)
            .collect::<Vec<_>>()
            .await
            .into();
        self.console.end_stage();
        let mut whole = true;
        let mut done = Vec::new();
        for (step, arrival) in steps {
            let after = match arrival {
                Needed::Nothing(arrival) => arrival,
                Needed::Package { entry, .. } => match files.pop_front() {
                    Some(Ok(file)) => Arrival::Package { file, entry },
                    found => {
                        let reason = found.and_then(Result::err).unwrap_or_default();
                        let info = &entry.info;
                        self.console
                            .error(&format!("{}-{}: {reason}", info.name, info.version));
                        whole = false;
                        continue;
                    }
                },
            };
            done.push(Step {
                before: step.before.as_ref().map(|before| before.name.clone()),
                after,
                repository_tag: step.tag.clone(),
                message: step.is_change().then(|| step.text.clone()),
            });
        }
        if whole && self.predownloads(system) && total > 0 {
            self.console.message("Proceeding with upgrade...");
        }
        Ok(whole.then_some(done))
    }

    fn predownloads(&self, system: &System) -> bool {
        let caches = system.cache.as_ref().is_some_and(|cache| cache.packages);
        self.global.cache_predownload.on() && caches
    }

    /// Keeps copies of the package files that were installed, where the system has a cache for them.
    fn keep_copies(&self, system: &System, plan: &Plan) {
        let Some(cache) = system.cache.as_ref().filter(|cache| cache.packages) else {
            return;
        };
        for step in plan.steps.iter().filter(|step| step.arrives()) {
            if let Some(Supply::File(file, entry)) = step.after.as_ref().map(|after| &after.supply)
                && cache.find(entry).is_none()
                && let Err(error) = cache.keep(file, entry)
            {
                let label = format!("{}-{}", entry.info.name, entry.info.version);
                self.console
                    .warning(&format!("{label}: unable to cache package: {error}"));
            }
        }
    }

    /// Writes the list of installed packages that no repository has and the cache keeps, from which a
    /// system in memory is made anew at its next start. Whether that went well; if not, it is said.
    pub(crate) fn keep_list(&self, system: &System) -> bool {
        let Some(cache) = system.cache.as_ref().filter(|cache| cache.packages) else {
            return true;
        };
        if !self.is_in_memory() {
            return true;
        }
        let is_kept =
            |entry: &IndexEntry| entry.info.installed_size == 0 || cache.find(entry).is_some();
        let entries = system
            .installed()
            .iter()
            .map(|package| &package.entry)
            .filter(|entry| !system.has_entry(entry) && is_kept(entry))
            .cloned()
            .collect();
        let written = cache.keep_list(entries);
        if let Err(error) = &written {
            self.console.error(&format!(
                "System state may be inconsistent: failed to write database: {error}"
            ));
        }
        written.is_ok()
    }

    fn commit_options(&self) -> Result<CommitOptions, Failure> {
        let Some(options) = self.commit else {
            return Ok(CommitOptions::default());
        };
        let mut overlay = Vec::new();
        if options.overlay_from_stdin {
            let mut text = String::new();
            std::io::stdin()
                .lock()
                .read_to_string(&mut text)
                .map_err(|error| {
                    Failure::failed("the list of overlay files can't be read", error)
                })?;
            overlay.extend(text.lines().map(str::to_owned));
        }
        let environment = self.global.preserve_env.on().then(|| {
            std::env::vars()
                .filter(|(name, _)| !name.starts_with("APK_"))
                .collect()
        });
        Ok(CommitOptions {
            no_scripts: !options.scripts.on(),
            unconfined: self.global.force_no_chroot,
            no_commit_hooks: !options.commit_hooks.on() || options.initramfs_diskless_boot,
            purge: self.global.purge.on(),
            overwrite: self.forces().overwrite,
            clean_protected: options.clean_protected.on(),
            overlay,
            directories: Vec::new(),
            verbosity: self.console.verbosity(),
            environment,
            sync: match self.global.sync {
                Decision::Yes => Sync::Always,
                Decision::No => Sync::Never,
                Decision::Auto => Sync::OwnRoot,
            },
        })
    }

    /// Whether a person is asked before anything is changed.
    fn is_interactive(&self) -> bool {
        match self.global.interactive {
            Some(Decision::Yes) => true,
            Some(Decision::No) => false,
            Some(Decision::Auto) => std::io::stdout().is_terminal(),
            None => {
                PathBuf::from("/etc/apk/interactive").exists() && std::io::stdout().is_terminal()
            }
        }
    }
}

/// What a step needs before it can be made.
enum Needed {
    /// Nothing.
    Nothing(Arrival),
    /// A package of a repository.
    Package {
        repository: usize,
        entry: Box<IndexEntry>,
    },
}

fn arrival(system: &System, step: &PlannedStep) -> Result<Needed, Failure> {
    let Some(after) = &step.after else {
        return Ok(Needed::Nothing(Arrival::Nothing));
    };
    let unpacks = match step.kind {
        ChangeKind::Keep | ChangeKind::Retag => false,
        ChangeKind::Reinstall => after.available,
        _ => true,
    };
    if !unpacks {
        return Ok(Needed::Nothing(Arrival::Kept));
    }
    Ok(match &after.supply {
        Supply::Repository { repository, place } => Needed::Package {
            repository: *repository,
            entry: Box::new(system.entry(*repository, *place)?),
        },
        Supply::File(file, entry) => Needed::Nothing(Arrival::Package {
            file: file.clone(),
            entry: entry.clone(),
        }),
        Supply::Virtual(entry) => Needed::Nothing(Arrival::Virtual(entry.clone())),
        Supply::None => Needed::Nothing(Arrival::Kept),
    })
}

/// Tells a stage of what a transaction comes to.
struct Steps<'c, 'p> {
    console: &'c Console<'p>,
    /// The task that counts packages.
    task: AtomicU64,
}

impl<'c, 'p> Steps<'c, 'p> {
    fn of(console: &'c Console<'p>) -> Steps<'c, 'p> {
        Steps {
            console,
            task: AtomicU64::new(0),
        }
    }
}

impl Reporter for Steps<'_, '_> {
    fn report(&self, event: Event<'_>) {
        match event {
            Event::Started {
                task,
                unit: Unit::Items,
                ..
            } => self.task.store(task, Ordering::Relaxed),
            Event::Advanced { task, .. } if task == self.task.load(Ordering::Relaxed) => {
                self.console.advance_stage();
            }
            _ => {}
        }
        self.console.report(event);
    }
}

/// What steps count in apk's progress.
fn sizes(plan: &Plan) -> Vec<u64> {
    let steps = plan.steps.iter().filter(|step| step.is_change());
    let size = |step: &PlannedStep| match (&step.after, &step.before, step.kind) {
        (_, _, ChangeKind::Retag) => 0,
        (Some(after), ..) => after.size,
        (None, Some(before), _) => before.size / 16,
        (None, None, _) => 0,
    };
    steps.map(size).collect()
}

fn no_root() -> Failure {
    Failure::Usage("there is no system to change".to_owned())
}

fn sort_name(step: &PlannedStep) -> &str {
    let package = step.before.as_ref().or(step.after.as_ref());
    package.map_or("", |package| &package.name)
}

fn details_of(step: &PlannedStep) -> String {
    match (&step.before, &step.after) {
        (Some(before), Some(after)) if step.kind != ChangeKind::Reinstall => {
            format!(
                "  {} ({} -> {})",
                step.name(),
                before.version,
                after.version
            )
        }
        (Some(package), _) | (None, Some(package)) => {
            format!("  {} ({})", step.name(), package.version)
        }
        (None, None) => String::new(),
    }
}

fn document_change(step: &PlannedStep, system: &System) -> DocumentChange {
    let after = step.after.as_ref();
    DocumentChange {
        action: match step.kind {
            ChangeKind::Install => "install",
            ChangeKind::Remove => "remove",
            ChangeKind::Upgrade => "upgrade",
            ChangeKind::Downgrade => "downgrade",
            ChangeKind::Replace => "replace",
            ChangeKind::Reinstall => "reinstall",
            ChangeKind::Retag => "retag",
            ChangeKind::Keep => "keep",
        },
        name: step
            .package()
            .map(|package| package.name.clone())
            .unwrap_or_default(),
        before: step.before.as_ref().map(|before| before.version.clone()),
        after: after.map(|after| after.version.clone()),
        tag: step.tag.clone(),
        repository: after.and_then(|after| match &after.supply {
            Supply::Repository { repository, .. } => system
                .repositories
                .get(*repository)
                .map(|repository| repository.name.clone()),
            _ => None,
        }),
        size: after.map(|after| after.size),
        installed_size: after.map(|after| after.installed_size),
    }
}

/// Bytes as apk writes them: whole numbers up to KiB, one digit after the point above.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut whole = bytes;
    let mut fraction = bytes as f32;
    let mut unit = 0;
    while unit + 1 < UNITS.len() && fraction >= 10_000.0 {
        whole /= 1024;
        fraction /= 1024.0;
        unit += 1;
    }
    match unit {
        0 | 1 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{fraction:.1} {}", UNITS[unit]),
    }
}

/// A heading and what follows it, broken between words and indented.
pub(crate) fn indented<'w>(
    heading: &str,
    indent: usize,
    words: impl IntoIterator<Item = &'w str>,
    width: usize,
) -> String {
    let mut text = heading.to_owned();
    let mut column = heading.len();
    for word in words {
        if column <= indent {
            text.push_str(&" ".repeat(indent - column));
            column = indent + word.len();
        } else if column + word.len() + 1 >= width {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent + word.len();
        } else {
            text.push(' ');
            column += 1 + word.len();
        }
        text.push_str(word);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_apk_writes_them() {
        let sizes = [
            0,
            9_999,
            10_000,
            10_239_999,
            10_240_000,
            12_582_912,
            7 << 34,
        ];
        assert_eq!(
            sizes.map(human_size).join(", "),
            "0 B, 9999 B, 9 KiB, 9999 KiB, 9.8 MiB, 12.0 MiB, 112.0 GiB"
        );
    }

    #[test]
    fn words_are_broken_at_the_width() {
        let words = ["alpha", "beta", "gamma"];
        assert_eq!(
            indented("  x:", 5, words, 17),
            "  x: alpha beta\n     gamma"
        );
        assert_eq!(indented("", 2, words, 50), "  alpha beta gamma");
    }
}
