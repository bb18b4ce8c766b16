//! Carrying out a transaction: apk's `apk_solver_commit_changeset` and `apk_db_install_pkg`.

use std::io;
use std::path::Path;

use archive::Limits;

use super::beneath::Beneath;
use super::error::InstallError;
use super::extract::{Stop, numbers, remove_temporaries};
use super::files::{Algorithm, Checksum, differs, reason};
use super::incoming::{Finished, Incoming, join};
use super::journal::{Journal, Record};
use super::ledger::{Consequence, Holder, Ledger, PackageId, Slot};
use super::owners::Owners;
use super::place::{Operation, Placing, directory_mode, set_permissions};
use super::scripts::{Call, Program, Runner};
use super::transaction::{Arrival, CommitOptions, Committed, PackageProblem, ProblemKind, Step};
use super::voice::Voice;
use crate::database::{Broken, InstalledFile, InstalledPackage, short, to_text};
use crate::index::IndexEntry;
use crate::package::{Data, Format, Package, PackageError, Script};

/// A transaction under way.
pub(super) struct Session<'r> {
    /// The root, for messages.
    pub(super) path: &'r Path,
    pub(super) beneath: &'r Beneath,
    pub(super) ledger: Ledger,
    pub(super) owners: Owners,
    pub(super) journal: Journal,
    pub(super) journal_path: String,
    pub(super) options: &'r CommitOptions,
    pub(super) usermode: bool,
    /// None with `--no-scripts`.
    pub(super) runner: Option<Runner>,
    pub(super) voice: Voice<'r>,
    pub(super) committed: Committed,
}

/// A package whose data is inflated while the one before it is still written.
pub(super) struct Begun {
    pub(super) package: Package,
    pub(super) data: Result<Data, PackageError>,
}

/// `name-version`.
pub(super) fn label(slot: &Slot) -> String {
    package_label(&slot.package)
}

fn package_label(package: &InstalledPackage) -> String {
    let info = &package.entry.info;
    format!("{}-{}", info.name, info.version)
}

/// Opens the package that a step installs, if it is the one that is meant, and begins to inflate it.
fn begin(step: &Step) -> Option<Result<Begun, String>> {
    let Arrival::Package { file, entry } = &step.after else {
        return None;
    };
    // A package without anything is not even fetched.
    if entry.info.installed_size == 0 {
        return None;
    }
    let opened = Package::open(file).and_then(|package| {
        package.check_entry(entry)?;
        Ok(Begun {
            data: package.begin(&Limits::default()),
            package,
        })
    });
    Some(opened.map_err(|error| error.to_string()))
}

impl Session<'_> {
    pub(super) fn journal_record(&mut self, record: &Record) -> Result<(), InstallError> {
        self.journal
            .append(record)
            .map_err(|source| self.file_error("write", &self.journal_path, source))
    }

    pub(super) fn file_error(
        &self,
        action: &'static str,
        path: &str,
        source: io::Error,
    ) -> InstallError {
        InstallError::file(self.path, action, path, source)
    }

    pub(super) fn problem(&mut self, package: &str, kind: ProblemKind) {
        let problem = PackageProblem {
            package: package.to_owned(),
            kind,
        };
        self.voice.problem(&problem);
        self.committed.problems.push(problem);
    }

    /// Reports a file, if that is asked for.
    pub(super) fn detail(&self, line: &str) {
        if self.options.verbosity >= 3 {
            self.voice.step(line);
        }
    }

    pub(super) fn directory_problem(&mut self, path: &str, error: &io::Error) {
        self.committed.errors += 1;
        let kind = ProblemKind::Directory {
            path: path.to_owned(),
            reason: reason(error),
        };
        self.problem("", kind);
    }

    /// Carries out the steps in turn.
    pub(super) fn steps(&mut self, steps: &[Step]) -> Result<(), InstallError> {
        for step in steps {
            let Some(name) = &step.before else { continue };
            let id = self.installed(name)?;
            let leaves = match &step.after {
                Arrival::Kept => false,
                Arrival::Nothing => true,
                Arrival::Package { entry, .. } | Arrival::Virtual(entry) => {
                    !self.is_same(id, entry)
                }
            };
            if let Some(slot) = self.ledger.slot_mut(id) {
                slot.leaving |= leaves;
            }
        }
        let total = steps.iter().filter(|step| step.message.is_some()).count();
        let digits = total.to_string().len();
        let mut number = 0;
        let mut next = steps.first().and_then(begin);
        for (position, step) in (1..).zip(steps) {
            let begun = std::mem::replace(&mut next, steps.get(position).and_then(begin));
            if let Some(message) = &step.message {
                number += 1;
                self.voice
                    .step(&format!("({number:digits$}/{total}) {message}"));
            }
            let failed = self.step(step, begun)?;
            self.committed.errors += usize::from(failed);
            if step.message.is_some() {
                self.voice.advance();
            }
        }
        Ok(())
    }

    fn installed(&self, name: &str) -> Result<PackageId, InstallError> {
        self.ledger
            .find(name)
            .ok_or_else(|| InstallError::NotInstalled {
                package: name.to_owned(),
            })
    }

    fn is_same(&self, id: PackageId, entry: &IndexEntry) -> bool {
        self.ledger.slot(id).is_some_and(|slot| {
            short(slot.package.entry.identity) == short(entry.identity)
                && slot.name() == entry.info.name
        })
    }

    /// Whether it failed.
    fn step(
        &mut self,
        step: &Step,
        begun: Option<Result<Begun, String>>,
    ) -> Result<bool, InstallError> {
        let before = step
            .before
            .as_ref()
            .map(|name| self.installed(name))
            .transpose()?;
        let failed = match (&step.after, before) {
            (Arrival::Nothing, Some(id)) => return self.remove(id).map(|()| false),
            (Arrival::Nothing, None) => return Ok(false),
            (Arrival::Kept, _) => before
                .and_then(|id| self.ledger.slot(id))
                .is_some_and(|slot| slot.package.broken.files || slot.package.broken.script),
            (Arrival::Virtual(entry) | Arrival::Package { entry, .. }, _) => {
                self.install(before, entry, begun)?
            }
        };
        let name = match &step.after {
            Arrival::Package { entry, .. } | Arrival::Virtual(entry) => Some(&entry.info.name),
            _ => step.before.as_ref(),
        };
        if step.message.is_some()
            && let Some(id) = name.and_then(|name| self.ledger.find(name))
            && let Some(slot) = self.ledger.slot_mut(id)
        {
            slot.package.repository_tag.clone_from(&step.repository_tag);
        }
        Ok(failed)
    }

    /// Removes a package.
    fn remove(&mut self, id: PackageId) -> Result<(), InstallError> {
        let Some(slot) = self.ledger.slot(id) else {
            return Ok(());
        };
        let version = slot.package.entry.info.version.clone();
        let mut placing = Placing {
            package: label(slot),
            name: slot.name().to_owned(),
            removed: Some(slot.name().to_owned()),
            usermode: self.usermode,
            ..Placing::default()
        };
        self.script(id, Script::PreDeinstall, &[&version])?;
        self.purge(id, &mut placing);
        self.place(&placing)?;
        let broken_script = !self.script(id, Script::PostDeinstall, &[&version])?;
        self.ledger.remove(id);
        self.journal_record(&Record::Done { broken_script })
    }

    /// Installs a package, in place of another or not; says whether it failed.
    fn install(
        &mut self,
        before: Option<PackageId>,
        entry: &IndexEntry,
        begun: Option<Result<Begun, String>>,
    ) -> Result<bool, InstallError> {
        let again = before.filter(|id| self.is_same(*id, entry));
        let info = &entry.info;
        let begun = match begun.transpose() {
            Ok(begun) => begun,
            Err(reason) => {
                let label = format!("{}-{}", info.name, info.version);
                self.problem(&label, ProblemKind::Package { reason });
                return Ok(true);
            }
        };
        let mut package = record(entry, begun.as_ref().map(|begun| &begun.package));
        let mut known = Vec::new();
        let id = match again {
            Some(id) => {
                if let Some(slot) = self.ledger.slot_mut(id) {
                    known.clone_from(&slot.package.directories);
                    package.directories.clone_from(&slot.package.directories);
                    package
                        .repository_tag
                        .clone_from(&slot.package.repository_tag);
                }
                id
            }
            None => self.ledger.add(Slot::new(package.clone())),
        };
        let versions = self.versions(before, &info.version);
        let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
        let (pre, post) = match before {
            Some(_) => (Script::PreUpgrade, Script::PostUpgrade),
            None => (Script::PreInstall, Script::PostInstall),
        };
        let mut incoming = Incoming::new(id, &info.name, &info.version, known);
        let label = incoming.label.clone();
        let mut placing = Placing {
            package: label.clone(),
            name: info.name.clone(),
            usermode: self.usermode,
            ..Placing::default()
        };
        let mut broken = Broken {
            sha256_160: package.broken.sha256_160,
            ..Broken::default()
        };
        if let Some(begun) = begun {
            self.journal_record(&Record::Unpack {
                package: label.clone(),
                name: info.name.clone(),
            })?;
            if let Some(slot) = self.ledger.slot_mut(id) {
                slot.package.scripts.clone_from(&package.scripts);
            }
            broken.script |= !self.script(id, pre, &versions)?;
            incoming.broken_files = false;
            match self.extract(begun, incoming) {
                Ok(finished) => {
                    broken.files |= finished.broken_files;
                    broken.attributes |= finished.broken_attributes;
                    package.directories.clone_from(&finished.directories);
                    if let Some(slot) = self.ledger.slot_mut(id) {
                        let fresh = slot.fresh;
                        *slot = Slot::new(package.clone());
                        slot.fresh = fresh;
                    }
                    placing.has_hard_links = finished.has_hard_links;
                    self.migrate(id, &finished, before.is_some(), &mut placing);
                }
                Err(stopped) => {
                    let (mut incoming, stop) = *stopped;
                    return self.give_up(&mut incoming, again.is_some(), stop);
                }
            }
        }
        if let Some(old) = before.filter(|_| again.is_none()) {
            placing.removed = self.ledger.slot(old).map(|slot| slot.name().to_owned());
            self.purge(old, &mut placing);
        }
        package.broken = broken;
        placing.scripts.clone_from(&package.scripts);
        placing.triggers.clone_from(&package.entry.info.triggers);
        placing.script_follows = self.runner.is_some() && package.scripts.contains_key(&post);
        placing.record = Some(to_text(std::slice::from_ref(&package)));
        if let Some(slot) = self.ledger.slot_mut(id) {
            slot.package = package;
            slot.fresh = true;
        }
        let broken_files = self.place(&placing)?;
        if let Some(old) = before.filter(|_| again.is_none()) {
            self.ledger.remove(old);
        }
        let post_failed = !self.script(id, post, &versions)?;
        let Some(slot) = self.ledger.slot_mut(id) else {
            return Ok(true);
        };
        slot.package.broken.files |= broken_files;
        slot.package.broken.script |= post_failed;
        let broken = slot.package.broken;
        self.journal_record(&Record::Done {
            broken_script: broken.script,
        })?;
        Ok(broken.files || broken.script)
    }

    /// What scripts are told: the new version, then the old one.
    fn versions(&self, before: Option<PackageId>, version: &str) -> Vec<String> {
        let mut versions = vec![version.to_owned()];
        versions.extend(
            before
                .and_then(|id| self.ledger.slot(id))
                .map(|slot| slot.package.entry.info.version.clone()),
        );
        versions
    }

    /// Nothing of the package stays, and what was there before does.
    fn give_up(
        &mut self,
        incoming: &mut Incoming,
        again: bool,
        stop: Stop,
    ) -> Result<bool, InstallError> {
        let label = incoming.label.clone();
        match stop {
            Stop::Fatal(error) => return Err(error),
            Stop::Package(error) => {
                let reason = error.to_string();
                self.problem(&label, ProblemKind::Package { reason });
            }
            Stop::Full { path, source } => {
                let reason = reason(&source);
                self.problem(&label, ProblemKind::File { path, reason });
            }
        }
        if again {
            // Its directories are its own still.
            remove_temporaries(self.beneath, incoming.touched());
            self.beneath.forget();
            self.journal_record(&Record::Undone)?;
        } else {
            self.undo(incoming)?;
            self.ledger.remove(incoming.id);
        }
        Ok(true)
    }

    /// Decides what becomes of each unpacked file, and gives the files to their package.
    fn migrate(
        &mut self,
        id: PackageId,
        finished: &Finished,
        upgrade: bool,
        placing: &mut Placing,
    ) {
        let own = Holder::Package(id);
        for directory in &finished.directories {
            let path = &directory.path;
            let known = self.ledger.directory_mut(path);
            known.modified = true;
            let protects = known.protected.protection.protects();
            placing.modified.push(path.clone());
            for file in &directory.files {
                let file_path = join(path, &file.name);
                let before = self.ledger.file(path, &file.name);
                if finished.extracted.contains(&file_path) {
                    let operation = self.decide(&file_path, file, before, protects, id);
                    if matches!(operation, Operation::Beside(_)) {
                        self.voice.step(&format!(
                            "  Installing file to {file_path}{}",
                            super::place::BESIDE
                        ));
                        self.committed.new_files.push(file_path.clone());
                    }
                    placing.operations.push(operation);
                }
                if before == Some(own) {
                    continue;
                }
                if before.is_none() && upgrade {
                    placing.new_paths.push(file_path);
                }
                self.ledger.set_holder(path, &file.name, own);
            }
        }
    }

    fn decide(
        &self,
        path: &str,
        file: &InstalledFile,
        before: Option<Holder>,
        protects: bool,
        id: PackageId,
    ) -> Operation {
        let path = path.to_owned();
        if before == Some(Holder::Overlay) {
            return Operation::Discard(path);
        }
        if !protects {
            return Operation::Commit(path);
        }
        let known = before.and_then(|holder| self.checksum_of(holder, &path));
        if !differs(self.beneath, &path, known) {
            return Operation::Commit(path);
        }
        let new = file.checksum.zip(self.algorithm(id));
        if self.options.clean_protected || !differs(self.beneath, &path, new) {
            return Operation::Discard(path);
        }
        Operation::Beside(path)
    }

    /// How a package's files are hashed.
    fn algorithm(&self, id: PackageId) -> Option<Algorithm> {
        self.ledger
            .slot(id)
            .map(|slot| Algorithm::of(&slot.package))
    }

    /// A file's checksum, as its package says.
    fn checksum_of(&self, holder: Holder, path: &str) -> Option<Checksum> {
        let package = &self.ledger.holder(holder)?.package;
        let (directory, name) = super::place::split(path);
        let checksum = package
            .directories
            .iter()
            .filter(|known| known.path == directory)
            .flat_map(|known| &known.files)
            .find(|file| file.name == name)?
            .checksum?;
        Some((checksum, Algorithm::of(package)))
    }

    /// Decides what becomes of the files that only this package has, and takes its claims back.
    fn purge(&mut self, id: PackageId, placing: &mut Placing) {
        let holder = Holder::Package(id);
        let Some(slot) = self.ledger.slot(id) else {
            return;
        };
        let algorithm = Algorithm::of(&slot.package);
        let directories = slot.package.directories.clone();
        for directory in &directories {
            let path = &directory.path;
            let known = self.ledger.directory_mut(path);
            known.modified = true;
            let protects = known.protected.protection.protects();
            placing.modified.push(path.clone());
            for file in &directory.files {
                if self.ledger.file(path, &file.name) != Some(holder) {
                    continue;
                }
                let file_path = join(path, &file.name);
                self.detail(&file_path);
                let checksum = file.checksum.map(|checksum| (checksum, algorithm));
                if !protects || self.options.purge || !differs(self.beneath, &file_path, checksum) {
                    placing
                        .operations
                        .push(Operation::Delete(file_path.clone()));
                }
                if protects {
                    placing.operations.push(Operation::DeleteBeside(file_path));
                }
                self.ledger.remove_file(path, &file.name);
            }
            // apk lets the next owner's mode be only where it looked at the directory before.
            let known = self.ledger.directory_mut(path);
            if let Some(owner) = known.owner()
                && owner.holder == holder
                && !known.looked_at
            {
                self.examine(path, Some(owner.permissions));
            }
            let consequences = self.ledger.remove_claim(path, holder);
            let operations = consequences
                .into_iter()
                .map(|consequence| self.operation(consequence));
            placing.operations.extend(operations.collect::<Vec<_>>());
        }
    }

    fn operation(&self, consequence: Consequence) -> Operation {
        match consequence {
            Consequence::Remove(path) => Operation::RemoveDirectory(path),
            Consequence::Permissions(path, permissions) => {
                let (uid, gid) = numbers(permissions);
                Operation::Permissions {
                    path,
                    mode: directory_mode(permissions.mode, self.usermode),
                    uid,
                    gid,
                }
            }
        }
    }

    /// Does at once what a change of claims leads to: for what needs no journal, since it undoes
    /// what the journal knows of.
    pub(super) fn follow(&mut self, consequence: Consequence) {
        match self.operation(consequence) {
            Operation::RemoveDirectory(path) => {
                self.beneath.forget();
                if let Ok(place) = self.beneath.place(&path) {
                    let flags = rustix::fs::AtFlags::REMOVEDIR;
                    let _ = rustix::fs::unlinkat(&*place.directory, place.name(), flags);
                }
            }
            Operation::Permissions {
                path,
                mode,
                uid,
                gid,
            } => {
                let owner = (!self.usermode).then_some((uid, gid));
                if let Err(error) = set_permissions(self.beneath, &path, mode, owner) {
                    self.directory_problem(&path, &error.into());
                }
            }
            _ => {}
        }
    }

    /// Puts files in place and removes others; says whether some could not be.
    fn place(&mut self, placing: &Placing) -> Result<bool, InstallError> {
        self.journal_record(&Record::Place(Box::new(placing.clone())))?;
        let mut broken_files = false;
        for (path, error) in placing.perform(self.beneath, false) {
            let operation = placing.operations.iter().find(|operation| {
                matches!(operation, Operation::Permissions { path: known, .. } if *known == path)
            });
            if operation.is_some() {
                self.directory_problem(&path, &error);
                continue;
            }
            broken_files = true;
            let reason = reason(&error);
            self.problem(&placing.package, ProblemKind::Commit { path, reason });
        }
        self.owners.forget();
        self.journal_record(&Record::Placed { broken_files })?;
        Ok(broken_files)
    }

    /// Runs a script of a package, if it has it; says whether all is well.
    fn script(
        &mut self,
        id: PackageId,
        script: Script,
        arguments: &[&str],
    ) -> Result<bool, InstallError> {
        self.run_script(id, script, arguments, "  ", "  * ")
    }

    /// The same, with what stands before its lines.
    pub(super) fn run_script(
        &mut self,
        id: PackageId,
        script: Script,
        arguments: &[&str],
        indent: &str,
        prefix: &str,
    ) -> Result<bool, InstallError> {
        let Some(runner) = &self.runner else {
            return Ok(true);
        };
        let Some(slot) = self.ledger.slot(id) else {
            return Ok(true);
        };
        let Some(bytes) = slot.package.scripts.get(&script) else {
            return Ok(true);
        };
        let label = label(slot);
        self.voice
            .step(&format!("{indent}Executing {label}.{script}"));
        let call = Call {
            program: Program::Script(bytes),
            kind: script.as_str(),
            package: Some(slot.name()),
            arguments,
            prefix,
            heading: None,
        };
        let result = runner.run(self.beneath, call, &self.voice);
        self.beneath.forget();
        self.owners.forget();
        let Err(reason) = result else {
            return Ok(true);
        };
        let kind = ProblemKind::Script {
            script: script.to_string(),
            reason,
        };
        self.problem(&label, kind);
        if let Some(slot) = self.ledger.slot_mut(id) {
            slot.package.broken.script = true;
        }
        Ok(false)
    }

    /// Tells triggers which directories changed; counts those that fail.
    pub(super) fn triggers(&mut self, order: &[String]) -> Result<(), InstallError> {
        if self.runner.is_none() {
            return Ok(());
        }
        let mut ids: Vec<PackageId> = order
            .iter()
            .filter_map(|name| self.ledger.find(name))
            .collect();
        for (id, _) in self.ledger.slots() {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        for id in ids {
            let Some(directories) = self.pending(id) else {
                continue;
            };
            let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
            if !self.run_script(id, Script::Trigger, &directories, "", "* ")? {
                self.committed.errors += 1;
            }
        }
        Ok(())
    }

    /// The directories that a package's trigger is told; none if it isn't to run.
    fn pending(&self, id: PackageId) -> Option<Vec<String>> {
        let slot = self.ledger.slot(id)?;
        let patterns = &slot.package.entry.info.triggers;
        if patterns.is_empty() {
            return None;
        }
        let mut pending = None;
        for (path, directory) in self.ledger.directories() {
            if !slot.fresh && !directory.modified {
                continue;
            }
            let path = format!("/{path}");
            for pattern in patterns {
                let (only_changed, pattern) = match pattern.strip_prefix('+') {
                    Some(pattern) => (true, pattern),
                    None => (false, pattern.as_str()),
                };
                if !pattern.starts_with('/') || !crate::pattern::matches_path(pattern, &path) {
                    continue;
                }
                let pending: &mut Vec<String> = pending.get_or_insert_default();
                if !only_changed || directory.modified {
                    pending.push(path.clone());
                }
                break;
            }
        }
        pending
    }

    /// Runs the commit hooks of the root. Before the commit, one that fails stops it.
    pub(super) fn hooks(&mut self, kind: &'static str) -> Result<(), InstallError> {
        let Some(runner) = &self.runner else {
            return Ok(());
        };
        let hooks = super::root::configuration(
            self.beneath,
            &["etc/apk/commit_hooks.d", "lib/apk/commit_hooks.d"],
            |name| !name.starts_with('.'),
        )
        .map_err(|source| self.file_error("read", "etc/apk/commit_hooks.d", source))?;
        for hook in hooks {
            if self.options.no_commit_hooks {
                self.voice.step(&format!("Skipping: {hook} {kind}"));
                continue;
            }
            let name = super::place::split(&hook).1;
            let heading = format!("Executing {kind} {name}");
            let heading = if self.options.verbosity >= 2 {
                self.voice.step(&format!("Executing /{hook} {kind}"));
                None
            } else {
                Some(heading.as_str())
            };
            let call = Call {
                program: Program::File(&hook),
                kind,
                package: None,
                arguments: &[kind],
                prefix: "* ",
                heading,
            };
            let result = runner.run(self.beneath, call, &self.voice);
            self.beneath.forget();
            if let Err(reason) = result {
                self.voice.notice(&format!("ERROR: {hook}: {reason}"));
                if kind == PRE_COMMIT {
                    return Err(InstallError::Hook { hook, reason });
                }
            }
        }
        Ok(())
    }
}

pub(super) const PRE_COMMIT: &str = "pre-commit";
pub(super) const POST_COMMIT: &str = "post-commit";

/// What the database will say of a package, but for its files: the index's entry, with what only
/// the package itself says.
fn record(entry: &IndexEntry, package: Option<&Package>) -> InstalledPackage {
    let mut entry = entry.clone();
    let info = &mut entry.info;
    match package.map(Package::info) {
        Some(own) => {
            info.replaces.clone_from(&own.replaces);
            info.replaces_priority = own.replaces_priority;
            info.triggers.clone_from(&own.triggers);
        }
        None => {
            info.replaces.clear();
            info.replaces_priority = None;
            info.triggers.clear();
        }
    }
    InstalledPackage {
        tags: entry.info.tags.clone(),
        repository_tag: None,
        broken: Broken {
            sha256_160: package.is_some_and(|package| package.format() == Format::V3),
            ..Broken::default()
        },
        directories: Vec::new(),
        scripts: package.map_or_else(Default::default, |package| package.scripts().clone()),
        entry,
    }
}
