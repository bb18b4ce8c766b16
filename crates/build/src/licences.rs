//! Licences' texts among sources, beside what the recipe says of them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use archive::tree::{NodeKind, TreePath};
use attest::licence::detect::{self, identifiers, same_text};
use base::{Digest, Problem};
use serde::Serialize;
use store::{Store, StoreError};

use crate::plan::{PlannedStep, WORKSPACE};
use crate::planning::{self, PlanError};
use crate::published::Published;
use crate::recipe::{Copyright, ResolvedRecipe};
use crate::source::Sources;
use crate::workspace::{self, Workspace, WorkspaceError, within_workspace};

/// How deep below the top a text is that is about the whole: those further down are of what comes
/// along.
const DEPTH: usize = 2;
/// More texts than that say nothing about the whole.
const MOST_TEXTS: usize = 64;
/// More entries of folders are not looked at.
const MOST_ENTRIES: usize = 20_000;

/// The same for whoever wants all of them.
const MOST_TEXTS_OF_ALL: usize = 10_000;
const MOST_ENTRIES_OF_ALL: usize = 10_000_000;

/// Where packages keep the texts of their own licences.
const INSTALLED: [&str; 2] = ["usr/share/licenses/", "usr/share/doc/"];

/// Folders of what others wrote, or the build.
const FOREIGN: [&str; 7] = [
    ".virtualenv",
    "env",
    "melange-out",
    "node_modules",
    "third_party",
    "vendor",
    "venv",
];

/// Ends of names of files that are about licences, but no texts of them.
const NO_TEXTS: [&str; 5] = [".gemspec", ".go", ".header", ".spdx", ".xml"];

/// A file that holds licences' texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenceFile {
    /// Its path below the folder that was looked through.
    pub path: String,
    /// The SPDX identifiers of the licences in it, the likeliest first; none where the text is none
    /// that is known.
    pub licences: Vec<String>,
}

/// Which files are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scan {
    /// Of sources those at the top and one level below, of a package those where licences' texts are
    /// installed.
    #[default]
    Shallow,
    /// All but those of what others wrote.
    Deep,
}

/// Texts of licences, and where they are others than is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The texts.
    pub files: Vec<LicenceFile>,
    /// A warning for each licence that nothing is said of.
    pub problems: Vec<Problem>,
}

/// Sources can't be looked through.
#[derive(Debug, thiserror::Error)]
pub enum LicencesError {
    /// They don't get where they belong.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// They can't be unpacked.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of a package can't be read.
    #[error("can't read `{path}` of package {package}: {source}")]
    Read {
        /// The package.
        package: String,
        /// The file.
        path: TreePath,
        /// Why not.
        source: io::Error,
    },
}

/// Compares a recipe with the texts among its sources, which are unpacked as its steps would have them;
/// no step runs.
///
/// # Errors
/// They can't be unpacked, or the store failed.
pub fn of_recipe(
    store: &Store,
    recipe: &ResolvedRecipe,
    sources: &Sources,
    scan: Scan,
) -> Result<Compared, LicencesError> {
    let folder = store.temp_dir()?;
    let workspace = Workspace::create(&folder.path().join("sources"), &[])?;
    for step in planning::steps_of(recipe, sources)? {
        let PlannedStep::Unpack {
            source,
            directory,
            strip_components,
            name,
        } = step
        else {
            continue;
        };
        // What would lie elsewhere in the guest has no texts that are looked for.
        if let Ok(directory) = within_workspace(WORKSPACE, &directory) {
            workspace.unpack(store, &source, &name, &directory, strip_components)?;
        }
    }
    let entries = entries_of(recipe);
    let files = scanned(store, workspace.path(), scan, &named_by(&entries))?;
    let problems = compare(&recipe.package.name, &entries, &files);
    Ok(Compared { files, problems })
}

/// The texts in a folder of sources.
///
/// # Errors
/// The store failed.
pub fn of_folder(store: &Store, folder: &Path, scan: Scan) -> Result<Vec<LicenceFile>, StoreError> {
    scanned(store, folder, scan, &BTreeSet::new())
}

/// Compares what a finished package says of itself with the texts in it.
///
/// # Errors
/// A file can't be read, or the store failed.
pub fn of_package(
    store: &Store,
    package: &Published,
    scan: Scan,
) -> Result<Compared, LicencesError> {
    let name = &package.info.name;
    let entries: Vec<Copyright> = package
        .info
        .licenses
        .iter()
        .map(|license| Copyright {
            license: license.clone(),
            ..Copyright::default()
        })
        .collect();
    let mut files = Vec::new();
    for (path, node) in package.tree.iter() {
        let wanted = match scan {
            Scan::Deep => true,
            Scan::Shallow => INSTALLED.iter().any(|top| path.as_str().starts_with(top)),
        };
        let NodeKind::File { content, size } = &node.kind else {
            continue;
        };
        if !wanted || !is_text(path.file_name()) || *size > workspace::LONGEST_TEXT {
            continue;
        }
        let read = || {
            let mut bytes = Vec::new();
            content.open()?.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| LicencesError::Read {
            package: name.clone(),
            path: path.clone(),
            source,
        })?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(LicenceFile {
                path: path.to_string(),
                licences: licences_of(store, &text)?,
            });
        }
        if files.len() == MOST_TEXTS_OF_ALL {
            break;
        }
    }
    let entries: Vec<&Copyright> = entries.iter().collect();
    let problems = compare(name, &entries, &files);
    Ok(Compared { files, problems })
}

fn scanned(
    store: &Store,
    top: &Path,
    scan: Scan,
    named: &BTreeSet<String>,
) -> Result<Vec<LicenceFile>, StoreError> {
    let reach = match scan {
        Scan::Shallow => Reach {
            depth: DEPTH,
            ..Reach::default()
        },
        Scan::Deep => Reach {
            depth: usize::MAX,
            texts: MOST_TEXTS_OF_ALL,
            entries: MOST_ENTRIES_OF_ALL,
        },
    };
    found_in(store, top, reach, named)
}

/// How far is looked.
#[derive(Clone, Copy)]
struct Reach {
    depth: usize,
    texts: usize,
    entries: usize,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach {
            depth: DEPTH,
            texts: MOST_TEXTS,
            entries: MOST_ENTRIES,
        }
    }
}

/// The files of licences near the top of a source archive.
///
/// # Errors
/// It can't be unpacked, or the store failed.
pub fn of_archive(store: &Store, archive: &Digest) -> Result<Vec<LicenceFile>, WorkspaceError> {
    let folder = store.temp_dir()?;
    let sources = Workspace::create(&folder.path().join("sources"), &[])?;
    sources.unpack(store, archive, "the source", "", 0)?;
    // One more for the folder that has it all.
    Ok(found_in(
        store,
        sources.path(),
        Reach {
            depth: DEPTH + 1,
            ..Reach::default()
        },
        &BTreeSet::new(),
    )?)
}

/// The licences' files in the folder `top`, and what is at `named`.
fn found_in(
    store: &Store,
    top: &Path,
    reach: Reach,
    named: &BTreeSet<String>,
) -> Result<Vec<LicenceFile>, StoreError> {
    let mut paths = named.clone();
    paths.extend(names_in(top, reach));
    let mut found = Vec::new();
    for path in paths.into_iter().take(reach.texts) {
        if let Some(text) = workspace::text(top, &path) {
            let licences = licences_of(store, &text)?;
            found.push(LicenceFile { path, licences });
        }
    }
    Ok(found)
}

/// The licences in a text; what was found once is kept.
fn licences_of(store: &Store, text: &str) -> Result<Vec<String>, StoreError> {
    let key = Digest::of(format!("{}\n{text}", detect::VERSION).as_bytes());
    if let Some(found) = store.record_get("licence", &key)? {
        return Ok(found);
    }
    let found = detect::detect(text);
    let found: Vec<String> = found.iter().map(|it| it.identifier.to_owned()).collect();
    store.record_put("licence", &key, &found)?;
    Ok(found)
}

/// The paths of files whose names say that they hold a licence's text.
fn names_in(top: &Path, reach: Reach) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![(PathBuf::new(), 1)];
    let mut seen = 0;
    while let Some((folder, level)) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(top.join(&folder)) else {
            continue; // a step made it unreadable
        };
        let mut entries: Vec<_> = entries.flatten().take(reach.entries - seen).collect();
        seen += entries.len();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            // Links are not followed.
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else {
                continue;
            };
            let path = folder.join(&name);
            if kind.is_dir() && level < reach.depth && !FOREIGN.contains(&name.as_str()) {
                pending.push((path, level + 1));
            } else if kind.is_file()
                && is_text(&name)
                && let Some(path) = path.to_str()
            {
                found.insert(path.to_owned());
            }
        }
    }
    found
}

/// Whether a file's name says that it holds a licence's text.
fn is_text(name: &str) -> bool {
    crate::lint::is_licence(name) && !NO_TEXTS.iter().any(|end| name.ends_with(end))
}

/// What a recipe says of licences.
fn entries_of(recipe: &ResolvedRecipe) -> Vec<&Copyright> {
    let packages = recipe.packages();
    packages.flat_map(|package| &package.licenses).collect()
}

/// The files that it names.
fn named_by(entries: &[&Copyright]) -> BTreeSet<String> {
    let paths = entries.iter().map(|entry| plain(&entry.license_path));
    let paths = paths.filter(|path| !path.is_empty());
    paths.map(str::to_owned).collect()
}

/// A warning for each licence whose text is among the sources while the recipe says another, or nothing
/// of it.
///
/// # Errors
/// The store failed.
pub(crate) fn check(
    store: &Store,
    recipe: &ResolvedRecipe,
    workspace: &Path,
) -> Result<Vec<Problem>, StoreError> {
    let entries = entries_of(recipe);
    let files = scanned(store, workspace, Scan::Shallow, &named_by(&entries))?;
    Ok(compare(&recipe.package.name, &entries, &files))
}

/// A path as walking finds it.
pub(crate) fn plain(path: &str) -> &str {
    path.trim_start_matches("./")
}

/// What is said of a file: the entries that name it, or else all.
pub(crate) fn about<'e>(entries: &[&'e Copyright], file: &LicenceFile) -> Vec<&'e Copyright> {
    let of_file = entries
        .iter()
        .filter(|entry| plain(&entry.license_path) == file.path);
    match of_file.clone().next() {
        Some(_) => of_file.copied().collect(),
        None => entries.to_vec(),
    }
}

/// The licences in a file that nothing said `about` it names.
pub(crate) fn unsaid<'f>(about: &[&Copyright], file: &'f LicenceFile) -> Vec<&'f str> {
    let said: BTreeSet<String> = about
        .iter()
        .flat_map(|entry| identifiers(&entry.license))
        .collect();
    let overridden = about.iter().map(|entry| entry.detection_override.as_str());
    let named: Vec<&str> = said.iter().map(String::as_str).chain(overridden).collect();
    let is_named = |licence: &&str| {
        named
            .iter()
            .any(|name| same_text(name) == same_text(licence))
    };
    let licences = file.licences.iter().map(String::as_str);
    licences.filter(|licence| !is_named(licence)).collect()
}

fn compare(package: &str, entries: &[&Copyright], files: &[LicenceFile]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        let about = about(entries, file);
        for licence in unsaid(&about, file) {
            let texts: BTreeSet<&str> = about.iter().map(|entry| entry.license.as_str()).collect();
            let texts: Vec<&str> = texts.into_iter().collect();
            let said = match texts.as_slice() {
                [] => "names no licence".to_owned(),
                texts => format!("says {}", texts.join(", ")),
            };
            let message = format!(
                "{package}: `{}` holds the text of {licence}, and the recipe {said}",
                file.path
            );
            problems.push(Problem::warning("licence-text", message).help(
                "correct `copyright`; where the text is found to be another than it is, name that as \
                 `detection-override` of an entry with the file as its `license-path`",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn entry(license: &str, path: &str, detection_override: &str) -> Copyright {
        Copyright {
            license: license.to_owned(),
            license_path: path.to_owned(),
            detection_override: detection_override.to_owned(),
            ..Copyright::default()
        }
    }

    #[test]
    fn what_sources_and_recipe_say_is_compared() {
        let files = |path: &str, licences: &[&str]| LicenceFile {
            path: path.to_owned(),
            licences: licences.iter().map(|name| (*name).to_owned()).collect(),
        };
        let found = [
            files("COPYING", &["GPL-2.0-only"]),
            files("lib/LICENSE", &["MIT", "Zlib"]),
            files("NOTES", &[]),
        ];
        let said = |entries: &[Copyright]| {
            let entries: Vec<&Copyright> = entries.iter().collect();
            let problems = compare("x", &entries, &found);
            let messages = problems.iter().map(|problem| problem.message.as_str());
            messages.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            said(&[entry("GPL-2.0-or-later AND (MIT OR Zlib)", "", "")]),
            ""
        );
        assert_eq!(
            said(&[
                entry("GPL-2.0-or-later", "./COPYING", ""),
                entry("ISC AND Zlib", "lib/LICENSE", "MIT"),
            ]),
            ""
        );
        insta::assert_snapshot!(said(&[entry("MIT", "", "")]), @"
        x: `COPYING` holds the text of GPL-2.0-only, and the recipe says MIT
        x: `lib/LICENSE` holds the text of Zlib, and the recipe says MIT
        ");
        // An entry about a file is the only one about it.
        insta::assert_snapshot!(said(&[entry("GPL-2.0", "", ""), entry("MIT", "COPYING", ""), entry("Zlib AND MIT", "lib/LICENSE", "")]), @"x: `COPYING` holds the text of GPL-2.0-only, and the recipe says MIT");
        insta::assert_snapshot!(said(&[]), @"
        x: `COPYING` holds the text of GPL-2.0-only, and the recipe names no licence
        x: `lib/LICENSE` holds the text of MIT, and the recipe names no licence
        x: `lib/LICENSE` holds the text of Zlib, and the recipe names no licence
        ");
    }

    #[test]
    fn only_the_projects_own_texts_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "COPYING",
            "LICENSE-MIT.txt",
            "sub/licence.md",
            "sub/deep/LICENSE",
            "vendor/x/LICENSE",
            "vendor/LICENSE",
            "melange-out/x/LICENSE",
            "license.go",
            "README",
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        symlink("/etc", folder.path().join("linked")).unwrap();
        symlink("/etc/passwd", folder.path().join("LICENSE")).unwrap();
        let names: Vec<String> = names_in(folder.path(), Reach::default())
            .into_iter()
            .collect();
        assert_eq!(names, ["COPYING", "LICENSE-MIT.txt", "sub/licence.md"]);
        // What a recipe names is read below the folder alone.
        let store = Store::open(folder.path().join("store")).unwrap();
        let named = ["LICENSE", "../passwd", "README"].map(str::to_owned);
        let reach = Reach {
            depth: 1,
            ..Reach::default()
        };
        let found = found_in(&store, folder.path(), reach, &BTreeSet::from(named)).unwrap();
        let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["COPYING", "LICENSE-MIT.txt", "README"]);
    }
}
