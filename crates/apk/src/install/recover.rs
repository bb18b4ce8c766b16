//! Putting an interrupted transaction in order.
//!
//! A transaction works package by package, as scripts of one need the files of another. For each:
//!
//! 1. its files are unpacked under temporary names beside their places, and verified;
//! 2. what is going to be renamed, removed and recorded is written into the journal;
//! 3. it is done;
//! 4. its script runs.
//!
//! At the end the database's files are written beside their places, the journal says so, and they
//! get their names. World changes with them and not before: what was asked for is not forgotten,
//! nor taken for done.
//!
//! So when the process is killed, the package it was at is rolled back before 2 (its temporary
//! files go, and the directories made for it) and finished after it. Packages that were done stay,
//! and the database is brought up to them. One whose script may not have run to its end is marked
//! as broken, for `fix`; directories that triggers were not told of are remembered for the next
//! transaction.
//!
//! When the machine stops, the disk may have kept less than was done. Where it matters (see
//! [`super::Sync`]) the journal's beginning is on disk before anything changes and every file
//! before the database says so; then what the journal names is compared with its checksums, and
//! packages whose files suffered are marked as broken.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::fs::{AtFlags, unlinkat};

use super::beneath::Beneath;
use super::extract::remove_temporaries;
use super::files::{Algorithm, checksum};
use super::incoming::join;
use super::journal::{Begin, Record, boot};
use super::place::{Operation, Placing, set_permissions, split};
use super::protect::{Protected, Rule};
use super::root::Interrupted;
use crate::database::{InstalledPackage, parse, short};

/// A package that the transaction was at.
#[derive(Debug, Default)]
struct Unfinished {
    package: String,
    touched: Vec<String>,
    made: Vec<String>,
    changed: Vec<(String, u32, u32, u32)>,
    placing: Option<Placing>,
    placed: Option<bool>,
}

/// A package that was dealt with.
#[derive(Debug)]
struct Finished {
    placing: Placing,
    broken_files: bool,
    broken_script: bool,
}

/// What a journal tells.
#[derive(Debug)]
pub(super) struct Story {
    begin: Begin,
    finished: Vec<Finished>,
    unfinished: Option<Unfinished>,
    /// The database's files that are going to get their names, with the SHA-256 of each.
    pub(super) database: Option<Vec<(String, base::Digest)>>,
}

/// What was put in order.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) packages: Vec<InstalledPackage>,
    /// Directories that triggers were not told of.
    pub(super) modified: Vec<String>,
}

impl Story {
    /// None if the journal's beginning is missing: nothing was done then.
    pub(super) fn of(records: Vec<Record>) -> Option<Story> {
        let mut records = records.into_iter();
        let Some(Record::Begin(begin)) = records.next() else {
            return None;
        };
        let mut story = Story {
            begin,
            finished: Vec::new(),
            unfinished: None,
            database: None,
        };
        for record in records {
            story.add(record);
        }
        Some(story)
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Begin(_) => {}
            Record::Unpack { package, .. } => {
                self.unfinished = Some(Unfinished {
                    package,
                    ..Unfinished::default()
                });
            }
            Record::Touch { path } => self.at().touched.push(path),
            Record::Make { path } => self.at().made.push(path),
            Record::Change {
                path,
                mode,
                uid,
                gid,
            } => self.at().changed.push((path, mode, uid, gid)),
            Record::Undone => self.unfinished = None,
            Record::Place(placing) => {
                let at = self.at();
                at.package.clone_from(&placing.package);
                at.placing = Some(*placing);
            }
            Record::Placed { broken_files } => self.at().placed = Some(broken_files),
            Record::Done { broken_script } => {
                if let Some(Unfinished {
                    placing: Some(placing),
                    placed,
                    ..
                }) = self.unfinished.take()
                {
                    self.finished.push(Finished {
                        placing,
                        broken_files: placed.unwrap_or(true),
                        broken_script,
                    });
                }
            }
            Record::Database { files } => self.database = Some(files),
        }
    }

    fn at(&mut self) -> &mut Unfinished {
        self.unfinished.get_or_insert_default()
    }

    /// The `installed` that the transaction began with.
    pub(super) fn installed(&self) -> base::Digest {
        self.begin.installed
    }

    /// What it says to who reads only. None if all that is left to do is telling triggers.
    pub(super) fn summary(&self) -> Option<Interrupted> {
        if self.begin.changing.is_empty() && self.finished.is_empty() && self.unfinished.is_none() {
            return None;
        }
        Some(Interrupted {
            done: self
                .finished
                .iter()
                .map(|finished| finished.placing.package.clone())
                .collect(),
            unfinished: self
                .unfinished
                .as_ref()
                .map(|unfinished| unfinished.package.clone()),
        })
    }

    /// The directories that triggers were not told of.
    pub(super) fn modified(&self) -> Vec<String> {
        let mut modified: BTreeSet<String> = self.begin.modified.iter().cloned().collect();
        let placings = self.finished.iter().map(|finished| &finished.placing);
        let unfinished = self.unfinished.iter().filter_map(|at| at.placing.as_ref());
        for placing in placings.chain(unfinished) {
            modified.extend(placing.modified.iter().cloned());
        }
        modified.into_iter().collect()
    }

    /// Removes the temporary files of the package that the transaction was at, and no more: the
    /// database is another one by now.
    pub(super) fn sweep(&self, beneath: &Beneath) {
        if let Some(unfinished) = &self.unfinished {
            remove_temporaries(beneath, unfinished.touched.iter().map(String::as_str));
        }
    }

    /// Finishes or rolls back the package that the transaction was at, and brings `packages`, the
    /// database it began with, up to what is on disk. Doing it again does no harm.
    pub(super) fn recover(
        mut self,
        beneath: &Beneath,
        packages: Vec<InstalledPackage>,
        rules: &[Rule],
    ) -> io::Result<Recovered> {
        let modified = self.modified();
        if let Some(at) = self.unfinished.take() {
            match at.placing {
                None => roll_back(beneath, &at),
                Some(placing) => {
                    let broken_files = match at.placed {
                        Some(broken_files) => broken_files,
                        None => placing
                            .perform(beneath, true)
                            .iter()
                            .any(|(path, _)| !placing.is_directory(path)),
                    };
                    self.finished.push(Finished {
                        broken_script: placing.script_follows,
                        broken_files,
                        placing,
                    });
                }
            }
        }
        beneath.forget();
        let stopped = self.begin.boot != boot();
        let mut packages = packages;
        let mut dealt_with = BTreeSet::new();
        for finished in &self.finished {
            dealt_with.insert(finished.placing.name.clone());
            finished.apply(&mut packages)?;
        }
        if stopped {
            let committed: BTreeMap<&str, BTreeSet<&str>> = self
                .finished
                .iter()
                .map(|finished| (finished.placing.name.as_str(), finished.placing.committed()))
                .collect();
            for package in &mut packages {
                let name = package.entry.info.name.clone();
                let suffered = match committed.get(name.as_str()) {
                    Some(committed) => suffered(beneath, package, |path| committed.contains(path)),
                    // The journal's end may be lost.
                    None if self.begin.changing.contains(&name) => {
                        suffered(beneath, package, |path| !is_protected(rules, path))
                    }
                    None => false,
                };
                package.broken.files |= suffered;
            }
        }
        Ok(Recovered { packages, modified })
    }
}

impl Finished {
    /// Changes the database as the step would have.
    fn apply(&self, packages: &mut Vec<InstalledPackage>) -> io::Result<()> {
        let Placing {
            name,
            removed,
            record,
            scripts,
            triggers,
            ..
        } = &self.placing;
        packages.retain(|package| {
            let known = &package.entry.info.name;
            Some(known) != removed.as_ref() && (record.is_none() || known != name)
        });
        let Some(record) = record else { return Ok(()) };
        let mut parsed = parse(record).map_err(io::Error::other)?;
        let Some(mut package) = parsed.pop() else {
            return Ok(());
        };
        package.scripts.clone_from(scripts);
        package.entry.info.triggers.clone_from(triggers);
        package.broken.files |= self.broken_files;
        package.broken.script |= self.broken_script;
        let own: BTreeMap<&str, BTreeSet<&str>> = package
            .directories
            .iter()
            .map(|directory| {
                let names = directory.files.iter().map(|file| file.name.as_str());
                (directory.path.as_str(), names.collect())
            })
            .collect();
        for other in packages.iter_mut() {
            for directory in &mut other.directories {
                if let Some(own) = own.get(directory.path.as_str()) {
                    directory
                        .files
                        .retain(|file| !own.contains(file.name.as_str()));
                }
            }
        }
        packages.push(package);
        Ok(())
    }
}

impl Placing {
    /// The files that got their names.
    fn committed(&self) -> BTreeSet<&str> {
        self.operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Commit(path) => Some(path.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Whether what is done to the path is done to a directory.
    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.operations.iter().any(
            |operation| matches!(operation, Operation::Permissions { path: known, .. } if known == path),
        )
    }
}

fn roll_back(beneath: &Beneath, at: &Unfinished) {
    remove_temporaries(beneath, at.touched.iter().map(String::as_str));
    for (path, mode, uid, gid) in at.changed.iter().rev() {
        // What can't be set back could not have been changed.
        let _ = set_permissions(beneath, path, *mode, Some((*uid, *gid)));
    }
    for path in at.made.iter().rev() {
        beneath.forget();
        if let Ok(place) = beneath.place(path) {
            let _ = unlinkat(&*place.directory, place.name(), AtFlags::REMOVEDIR);
        }
    }
}

/// Whether a file of a package, among those asked for, is missing or is not what the package says.
fn suffered(
    beneath: &Beneath,
    package: &InstalledPackage,
    asked_for: impl Fn(&str) -> bool,
) -> bool {
    let algorithm = Algorithm::of(package);
    package.directories.iter().any(|directory| {
        directory.files.iter().any(|file| {
            let path = join(&directory.path, &file.name);
            let Some(known) = file.checksum else {
                return false;
            };
            asked_for(&path)
                && !beneath.place(&path).is_ok_and(|place| {
                    checksum(&place, algorithm).is_ok_and(|actual| actual == Some(short(known)))
                })
        })
    })
}

fn is_protected(rules: &[Rule], path: &str) -> bool {
    let root = Protected::root(rules.to_vec());
    let (directory, _) = split(path);
    directory
        .split('/')
        .fold(root, |here, name| here.child(name))
        .protection
        .protects()
}
