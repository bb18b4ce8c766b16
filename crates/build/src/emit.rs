//! From the folders that a build filled to packages, which nobody has signed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use apk::dependency::{Dependency, InvalidDependency};
use apk::index::IndexEntry;
use apk::package::{PackageContents, PackageError, PackageInfo, Script, Written};
use archive::tar::UnsafePath;
use archive::tree::{FileTree, Node, ScanError, TreePath};
use attest::intoto::JsonError;
use base::{Epoch, Problem, Severity};
use rayon::prelude::*;

use crate::analyse::{self, AnalyseError, Dependencies, PackageView};
use crate::describe::{self, Origin, one_line};
use crate::executor::Owners;
use crate::lint::{self, Levels, LintError, LintResults, LintView, ResultsError};
use crate::recipe::{
    FileCapabilities, GuestRequest, ResolvedPackage, ResolvedRecipe, ResolvedTest, Scriptlets, Step,
};
use crate::survey::{Survey, SurveyError};

/// The control member's file that holds the resolved recipe.
pub const RECIPE_FILE: &str = ".melange.yaml";

/// How packages are made from what a build left.
#[derive(Clone, Copy)]
pub struct EmitOptions<'a> {
    /// The folder that gets the packages: `OUT/ARCH`.
    pub out: &'a Path,
    /// Whose the files in the folders are.
    pub owners: &'a Owners,
    /// The time that everything gets.
    pub epoch: Epoch,
    /// What is known of the build besides its recipe.
    pub origin: &'a Origin,
    /// Which linters run, and which fail the build.
    pub levels: &'a Levels,
    /// The version of each library (by soname) in the guest, where needs are to name them.
    pub library_versions: Option<&'a BTreeMap<String, String>>,
    /// Whether subpackages name themselves as their origin (`--strip-origin-name`).
    pub strip_origin_name: bool,
}

/// A package that was written.
#[derive(Debug, Clone)]
pub struct EmittedPackage {
    /// Its name.
    pub name: String,
    /// Its full version.
    pub version: String,
    /// The .apk.
    pub path: PathBuf,
    /// The digests and sizes of what was written, and its `.PKGINFO`.
    pub written: Written,
    /// Its entry for an index.
    pub entry: IndexEntry,
    /// What it needs and provides.
    pub dependencies: Dependencies,
    /// What linters and analysis have to say; nothing here fails a build.
    pub problems: Vec<Problem>,
    /// What linters have to say, as programs read it.
    pub lint: LintResults,
}

/// Why no packages were made.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The folder of a package can't be read.
    #[error("the files of package {package}: {source}")]
    Scan {
        /// The package.
        package: String,
        /// Why not.
        source: ScanError,
    },
    /// A file that nobody may read can't be made readable.
    #[error("the files of package {package} can't be made readable: {source}")]
    Readable {
        /// The package.
        package: String,
        /// Why not.
        source: io::Error,
    },
    /// A package holds files of the build's own.
    #[error(
        "package {package} holds what the build left behind: {}; install only what is meant to be \
         in the package into its folder",
        .paths.join(", ")
    )]
    Leftover {
        /// The package.
        package: String,
        /// The paths.
        paths: Vec<String>,
    },
    /// Capabilities for what is no file.
    #[error(
        "`setcap` of package {package} names `{path}`, which is no regular file in it; name a file \
         that the build installs"
    )]
    Capabilities {
        /// The package.
        package: String,
        /// The path.
        path: String,
    },
    /// A dependency of the recipe is not in apk's grammar.
    #[error("`{text}` among the {field} of package {package}: {source}")]
    Dependency {
        /// The package.
        package: String,
        /// `depend`, `provides` or `replaces`.
        field: &'static str,
        /// What is written.
        text: String,
        /// What is wrong.
        source: InvalidDependency,
    },
    /// A priority that apk can't hold.
    #[error("{field} of package {package} is {value}; it can't be below 0")]
    Priority {
        /// The package.
        package: String,
        /// `provider_priority` or `replaces_priority`.
        field: &'static str,
        /// The value.
        value: i64,
    },
    /// A name or version that can't be part of a path.
    #[error("package {package} can't be described: {source}")]
    Name {
        /// The package.
        package: String,
        /// What is wrong.
        source: UnsafePath,
    },
    /// A description can't be written.
    #[error("package {package} can't be described: {source}")]
    Describe {
        /// The package.
        package: String,
        /// Why not.
        source: JsonError,
    },
    /// A file can't be analysed.
    #[error(transparent)]
    Analyse(#[from] AnalyseError),
    /// A package can't be linted.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// What the linters found can't be kept.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// Required linters found something.
    #[error("{}", refusal(.problems))]
    Rejected {
        /// Everything the linters found in any of the packages, warnings too.
        problems: Vec<Problem>,
        /// The same as programs read it.
        results: Vec<LintResults>,
    },
    /// The folder for the packages can't be made.
    #[error("can't make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A package can't be written.
    #[error(transparent)]
    Write(#[from] Box<PackageError>),
}

fn refusal(problems: &[Problem]) -> String {
    let mut lines = vec!["required checks failed, so no package was made".to_owned()];
    for problem in problems {
        if problem.severity == Severity::Error {
            lines.push(format!("{}: {}", problem.rule, problem.message));
            lines.extend(problem.help.as_ref().map(|help| format!("  help: {help}")));
        }
    }
    lines.join("\n")
}

/// A package on its way.
struct Draft<'a> {
    package: &'a ResolvedPackage,
    steps: &'a [Step],
    test: Option<&'a ResolvedTest>,
    tree: FileTree,
    /// What its files tell; those that are added later are none that matter.
    survey: Survey,
    problems: Vec<Problem>,
    lint: LintResults,
}

/// Makes the packages of `recipe`: the main one and its subpackages, in the recipe's order.
/// `folders` holds the folder that each filled, by name; one without a folder has no files.
///
/// Files get their owners, the recipe's capabilities and `options.epoch` as their time. Each
/// package gets its SPDX document, and in its control member the resolved recipe. Nothing is
/// written unless every package passes the required linters.
pub fn emit(
    recipe: &ResolvedRecipe,
    folders: &BTreeMap<String, PathBuf>,
    options: &EmitOptions<'_>,
) -> Result<Vec<EmittedPackage>, EmitError> {
    let main = (&recipe.package, &recipe.steps[..], recipe.test.as_ref());
    let packages = std::iter::once(main).chain(
        recipe
            .subpackages
            .iter()
            .map(|sub| (&sub.package, &sub.steps[..], sub.test.as_ref())),
    );
    let mut drafts = packages
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(package, steps, test)| {
            let folder = folders.get(&package.name).map(PathBuf::as_path);
            let tree = tree(package, folder, options.owners)?;
            let survey = Survey::of(&tree).map_err(|SurveyError { path, source }| {
                let package = package.name.clone();
                EmitError::Analyse(AnalyseError {
                    package,
                    path,
                    source,
                })
            })?;
            let mut draft = Draft {
                package,
                steps,
                test,
                tree,
                survey,
                problems: describe::check_licences(package),
                lint: LintResults::new(&package.name, &package.full_version, &[])?,
            };
            draft.lint(recipe, options.levels)?;
            Ok(draft)
        })
        .collect::<Result<Vec<Draft<'_>>, EmitError>>()?;
    let failed = |problem: &Problem| problem.severity == Severity::Error;
    if drafts.iter().any(|draft| draft.problems.iter().any(failed)) {
        let (mut problems, mut results) = (Vec::new(), Vec::new());
        for draft in drafts {
            problems.extend(draft.problems);
            results.push(draft.lint);
        }
        return Err(EmitError::Rejected { problems, results });
    }
    for draft in &mut drafts {
        draft.describe(recipe, options)?;
    }
    std::fs::create_dir_all(options.out).map_err(|source| EmitError::Folder {
        path: options.out.to_owned(),
        source,
    })?;
    let record = recipe_record(recipe)?;
    let trees: Vec<&FileTree> = drafts.iter().map(|draft| &draft.tree).collect();
    drafts
        .par_iter()
        .map(|draft| draft.write(recipe, &trees, &record, options))
        .collect()
}

/// The files of one package as they will be installed.
fn tree(
    package: &ResolvedPackage,
    folder: Option<&Path>,
    owners: &Owners,
) -> Result<FileTree, EmitError> {
    let name = || package.name.clone();
    let mut tree = match folder {
        Some(folder) => FileTree::scan(folder).map_err(|source| EmitError::Scan {
            package: name(),
            source,
        })?,
        None => FileTree::new(),
    };
    let paths: Vec<String> = tree
        .iter()
        .filter(|(path, _)| is_leftover(path))
        .map(|(path, _)| format!("/{path}"))
        .take(10)
        .collect();
    if !paths.is_empty() {
        return Err(EmitError::Leftover {
            package: name(),
            paths,
        });
    }
    if let Some(folder) = folder {
        readable(&tree, folder).map_err(|source| EmitError::Readable {
            package: name(),
            source,
        })?;
    }
    for (path, node) in tree.iter_mut() {
        let owner = owners.of(&package.name, path.as_str(), node.uid, node.gid);
        (node.uid, node.gid) = (owner.uid, owner.gid);
        (node.user, node.group) = (owner.user, owner.group);
    }
    for granted in &package.setcap {
        let path = granted.path.trim_start_matches('/');
        let node = tree.get_mut(path).filter(|node| node.is_file());
        let node = node.ok_or_else(|| EmitError::Capabilities {
            package: name(),
            path: granted.path.clone(),
        })?;
        let attribute = capability_attribute(granted);
        node.xattrs
            .insert("security.capability".to_owned(), attribute.to_vec());
    }
    Ok(tree)
}

/// Lets this user read files that it made unreadable for itself; the package has the modes that the
/// tree knows.
fn readable(tree: &FileTree, folder: &Path) -> io::Result<()> {
    const OWNER_READS: u32 = 0o400;
    for (path, node) in tree.iter() {
        if node.is_file() && node.mode & OWNER_READS == 0 {
            let mode = std::fs::Permissions::from_mode(node.mode & 0o777 | OWNER_READS);
            std::fs::set_permissions(folder.join(path.as_str()), mode)?;
        }
    }
    Ok(())
}

/// What no package installs: names at the top that begin with a dot, which apk takes for its own
/// (`.PKGINFO`, `.SIGN.…`) or which the build puts beside its output, and the workspace itself.
fn is_leftover(path: &TreePath) -> bool {
    let path = path.as_str();
    path.starts_with('.')
        || path == "melange-out"
        || path.starts_with("melange-out/")
        || path.starts_with("home/build/")
}

/// `security.capability`, version 3 (Linux's `struct vfs_ns_cap_data`): 24 bytes, little-endian,
/// of the namespace whose root is 0.
fn capability_attribute(granted: &FileCapabilities) -> [u8; 24] {
    const REVISION_3: u32 = 0x0300_0000;
    let effective = u32::from(granted.effective != 0);
    let words = [
        REVISION_3 | effective,
        granted.permitted,
        granted.inheritable,
        0,
        0,
        0,
    ];
    let mut bytes = [0; 24];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Every pipeline that the steps use.
fn uses(steps: &[Step], found: &mut BTreeSet<String>) {
    for step in steps {
        found.extend(step.uses.clone());
        uses(&step.steps, found);
    }
}

impl Draft<'_> {
    fn lint(&mut self, recipe: &ResolvedRecipe, levels: &Levels) -> Result<(), EmitError> {
        let mut tests = BTreeSet::new();
        if let Some(test) = self.test {
            uses(&test.steps, &mut tests);
        }
        let tests: Vec<String> = tests.into_iter().collect();
        let view = LintView {
            name: &self.package.name,
            arch: recipe.arch,
            tree: &self.tree,
            tests: Some(&tests),
            no_provides: self.package.options.no_provides,
            disabled: &self.package.disabled_checks,
        };
        let findings = lint::lint_surveyed(&view, &self.survey, levels)?;
        let name = &self.package.name;
        self.problems
            .extend(findings.iter().map(|finding| finding.problem(name)));
        self.lint = LintResults::new(name, &self.package.full_version, &findings)?;
        Ok(())
    }

    fn describe(
        &mut self,
        recipe: &ResolvedRecipe,
        options: &EmitOptions<'_>,
    ) -> Result<(), EmitError> {
        let (package, steps) = (self.package, self.steps);
        let described = describe::document(recipe, package, steps, options.origin, options.epoch)
            .and_then(|document| document.to_json());
        let document = described.map_err(|source| EmitError::Describe {
            package: self.package.name.clone(),
            source,
        })?;
        let path = describe::document_path(self.package);
        let path = TreePath::new(&path).map_err(|source| EmitError::Name {
            package: self.package.name.clone(),
            source,
        })?;
        let owned = |node: Node| Node {
            user: "root".to_owned(),
            group: "root".to_owned(),
            ..node
        };
        self.tree.insert_parents(&path, &owned(Node::directory()));
        self.tree.insert(path, owned(Node::file(document)));
        Ok(())
    }

    fn write(
        &self,
        recipe: &ResolvedRecipe,
        trees: &[&FileTree],
        record: &[u8],
        options: &EmitOptions<'_>,
    ) -> Result<EmittedPackage, EmitError> {
        let package = self.package;
        let siblings: Vec<&FileTree> = trees
            .iter()
            .copied()
            .filter(|tree| !std::ptr::eq(*tree, &self.tree))
            .collect();
        let view = PackageView {
            name: &package.name,
            version: &package.full_version,
            tree: &self.tree,
            runtime: &package.runtime,
            provides: &package.provides,
            options: analyse::Options {
                no_provides: package.options.no_provides,
                no_depends: package.options.no_depends,
                no_commands: package.options.no_commands,
                no_versioned_shlib_deps: package.options.no_versioned_shlib_deps,
            },
            library_versions: options.library_versions,
        };
        let dependencies = analyse::analyse_surveyed(&view, &self.survey, &siblings)?;
        let mut problems = self.problems.clone();
        problems.extend(dependencies.problems.iter().cloned());
        let info = info(recipe, package, &self.tree, &dependencies, options)?;
        let path = options
            .out
            .join(format!("{}-{}.apk", package.name, package.full_version));
        let contents = PackageContents {
            info,
            scripts: scripts(&package.scriptlets),
            extras: BTreeMap::from([(RECIPE_FILE.to_owned(), record.to_vec())]),
            tree: &self.tree,
        };
        let written =
            apk::package::write(&path, &contents, None, options.epoch).map_err(Box::new)?;
        Ok(EmittedPackage {
            name: package.name.clone(),
            version: package.full_version.clone(),
            path,
            entry: IndexEntry::written(&written),
            written,
            dependencies,
            problems,
            lint: self.lint.clone(),
        })
    }
}

fn info(
    recipe: &ResolvedRecipe,
    package: &ResolvedPackage,
    tree: &FileTree,
    dependencies: &Dependencies,
    options: &EmitOptions<'_>,
) -> Result<PackageInfo, EmitError> {
    let terms = |field: &'static str, texts: &mut dyn Iterator<Item = &String>| {
        texts
            .map(|text| {
                Dependency::parse_untagged(text).map_err(|source| EmitError::Dependency {
                    package: package.name.clone(),
                    field,
                    text: text.clone(),
                    source,
                })
            })
            .collect::<Result<Vec<Dependency>, EmitError>>()
    };
    let priority = |field: &'static str, value: Option<i64>| {
        value
            .map(|value| {
                u64::try_from(value).map_err(|_| EmitError::Priority {
                    package: package.name.clone(),
                    field,
                    value,
                })
            })
            .transpose()
    };
    let origin = if options.strip_origin_name {
        &package.name
    } else {
        &recipe.package.name
    };
    let triggers = package.scriptlets.trigger.as_ref();
    Ok(PackageInfo {
        name: package.name.clone(),
        version: package.full_version.clone(),
        arch: recipe.arch.apk().to_owned(),
        installed_size: tree.size(),
        origin: origin.clone(),
        description: one_line(&package.description),
        url: package.url.trim().to_owned(),
        commit: package.commit.clone(),
        maintainer: options.origin.namespace.clone(),
        build_time: (options.epoch.0 != 0).then_some(options.epoch.0),
        licenses: package
            .licenses
            .iter()
            .map(|entry| one_line(&entry.license))
            .collect(),
        depends: terms("depend", &mut dependencies.runtime.iter())?,
        provides: terms("provides", &mut dependencies.provides.iter())?,
        replaces: terms("replaces", &mut package.replaces.iter())?,
        vendored: dependencies.vendored.iter().cloned().collect(),
        provider_priority: priority("provider_priority", package.provider_priority)?,
        replaces_priority: priority("replaces_priority", package.replaces_priority)?,
        triggers: triggers.map_or(Vec::new(), |trigger| trigger.paths.clone()),
        ..PackageInfo::default()
    })
}

fn scripts(given: &Scriptlets) -> BTreeMap<Script, Vec<u8>> {
    let trigger = given.trigger.as_ref().map(|trigger| &trigger.script);
    [
        (Script::PreInstall, given.pre_install.as_ref()),
        (Script::PostInstall, given.post_install.as_ref()),
        (Script::PreDeinstall, given.pre_deinstall.as_ref()),
        (Script::PostDeinstall, given.post_deinstall.as_ref()),
        (Script::PreUpgrade, given.pre_upgrade.as_ref()),
        (Script::PostUpgrade, given.post_upgrade.as_ref()),
        (Script::Trigger, trigger),
    ]
    .into_iter()
    .filter_map(|(script, text)| Some((script, text?)))
    .filter(|(_, text)| !text.is_empty())
    .map(|(script, text)| (script, text.as_bytes().to_vec()))
    .collect()
}

/// The resolved recipe as JSON, which is YAML too: what made the package, without anything of the
/// machine that made it.
pub(crate) fn recipe_record(recipe: &ResolvedRecipe) -> Result<Vec<u8>, EmitError> {
    let recipe = published(recipe);
    let mut bytes = serde_json::to_vec_pretty(&recipe).map_err(|error| EmitError::Describe {
        package: recipe.package.name.clone(),
        source: error.into(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The recipe without anything of the machine that reads it.
pub fn published(recipe: &ResolvedRecipe) -> ResolvedRecipe {
    let mut recipe = recipe.clone();
    forget_host(&mut recipe.environment);
    let tests = recipe
        .subpackages
        .iter_mut()
        .map(|sub| sub.test.as_mut())
        .chain([recipe.test.as_mut()]);
    for test in tests.flatten() {
        forget_host(&mut test.environment);
    }
    recipe
}

/// Drops repositories and keys that are folders and files of the machine, and passwords in URLs.
fn forget_host(guest: &mut GuestRequest) {
    for list in [&mut guest.repositories, &mut guest.keyring] {
        list.retain(|place| place.contains("://") && !place.contains("file://"));
        for place in list.iter_mut() {
            if let Some((scheme, rest)) = place.split_once("://") {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if let Some((_, host)) = host.rsplit_once('@') {
                    *place = format!("{scheme}://{host}{path}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
