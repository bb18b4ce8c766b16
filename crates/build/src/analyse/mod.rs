//! What a package needs and provides, told from its files.
//!
//! The rules are melange's (`pkg/sca`): shared libraries, commands, pkg-config modules, the
//! interpreters and language runtimes that files ask for. No recipe is needed, so that packages
//! converted from elsewhere are analysed the same way.

mod elf;
mod go;
mod kernel;
mod language;
mod pkg_config;
mod shared_object;
mod shebang;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};
use base::Problem;

use crate::survey::{Survey, SurveyError};

pub use elf::Elf;

/// Where the loader looks for libraries, besides the folders that `ld.so.conf.d` names.
const LIBRARY_FOLDERS: [&str; 4] = ["lib", "usr/lib", "lib64", "usr/lib64"];

/// Where commands are.
const COMMAND_FOLDERS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

/// Where pkg-config looks for modules.
const PKG_CONFIG_FOLDERS: [&str; 5] = [
    "usr/local/lib/pkgconfig",
    "usr/local/share/pkgconfig",
    "usr/lib/pkgconfig",
    "usr/lib64/pkgconfig",
    "usr/share/pkgconfig",
];

/// Symbolic links followed before giving up, as in Linux.
const MAX_LINKS: usize = 40;

/// A pkg-config file longer than this is none.
const MAX_TEXT: u64 = 1 << 20;

/// What is to be analysed.
#[derive(Debug, Clone, Copy)]
pub struct PackageView<'a> {
    /// The package's name.
    pub name: &'a str,
    /// Its full version, such as `1.2-r0`.
    pub version: &'a str,
    /// Its files.
    pub tree: &'a FileTree,
    /// What its recipe says it needs.
    pub runtime: &'a [String],
    /// What its recipe says it provides.
    pub provides: &'a [String],
    /// What not to generate.
    pub options: Options,
    /// The version of the package that provides each library (by soname) where the package was
    /// built. Libraries named here are needed at that version or a later one
    /// (`so-ver:SONAME>=VERSION`). Usually empty.
    pub library_versions: Option<&'a BTreeMap<String, String>>,
}

/// What not to generate: a recipe's `options`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `no-provides`: nothing is provided.
    pub no_provides: bool,
    /// `no-depends`: nothing is needed.
    pub no_depends: bool,
    /// `no-commands`: no `cmd:` is needed or provided.
    pub no_commands: bool,
    /// `no-versioned-shlib-deps`: no `so-ver:` is needed.
    pub no_versioned_shlib_deps: bool,
}

/// What a package needs and provides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// What it needs when it runs, in apk's grammar.
    pub runtime: BTreeSet<String>,
    /// What it provides, in apk's grammar.
    pub provides: BTreeSet<String>,
    /// What lies in it where nothing else finds it: `so:` outside the loader's folders.
    pub vendored: BTreeSet<String>,
    /// Files that could not be told from, as warnings.
    pub problems: Vec<Problem>,
}

/// A file of the package can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read `{path}` of package {package} to analyse it: {source}")]
pub struct AnalyseError {
    /// The package.
    pub package: String,
    /// The file.
    pub path: TreePath,
    /// Why not.
    pub source: io::Error,
}

/// Everything that `package` needs and provides: what its recipe says, and what its files tell.
///
/// What it needs and provides itself is left out, as are needs of generated kinds that its vendored
/// files fill. `siblings` are the trees of the packages that the same recipe makes: links of a
/// `-dev` package lead into them, and their `ld.so.conf.d` counts.
pub fn analyse(
    package: &PackageView<'_>,
    siblings: &[&FileTree],
) -> Result<Dependencies, AnalyseError> {
    analyse_surveyed(package, &survey(package)?, siblings)
}

/// The same, given what the files tell.
pub(crate) fn analyse_surveyed(
    package: &PackageView<'_>,
    survey: &Survey,
    siblings: &[&FileTree],
) -> Result<Dependencies, AnalyseError> {
    let mut found = generate_surveyed(package, survey, siblings)?;
    found.runtime = without_provided(found.runtime, &found.vendored);
    found.runtime.extend(package.runtime.iter().cloned());
    found.provides.extend(package.provides.iter().cloned());
    found.runtime = without_provided(found.runtime, &found.provides);
    Ok(found)
}

/// What the files of `package` tell, and nothing else: not even what it provides itself is left out.
pub fn generate(
    package: &PackageView<'_>,
    siblings: &[&FileTree],
) -> Result<Dependencies, AnalyseError> {
    generate_surveyed(package, &survey(package)?, siblings)
}

fn survey(package: &PackageView<'_>) -> Result<Survey, AnalyseError> {
    Survey::of(package.tree).map_err(|SurveyError { path, source }| AnalyseError {
        package: package.name.to_owned(),
        path,
        source,
    })
}

fn generate_surveyed(
    package: &PackageView<'_>,
    survey: &Survey,
    siblings: &[&FileTree],
) -> Result<Dependencies, AnalyseError> {
    let mut analysis = Analysis {
        package,
        survey,
        siblings,
        extra_folders: Vec::new(),
        found: Dependencies::default(),
    };
    analysis.read_loader_configuration()?;
    for (path, node) in package.tree.iter() {
        analysis.shared_object(path, node)?;
        analysis.command(path, node);
        analysis.documentation(path);
        analysis.pkg_config(path, node)?;
        analysis.shebang(path, node);
        analysis.kernel(path, node)?;
    }
    analysis.perl();
    analysis.python();
    analysis.ruby();
    let mut found = analysis.found;
    if package.options.no_commands {
        found.runtime.retain(|need| !need.starts_with("cmd:"));
        found.provides.retain(|name| !name.starts_with("cmd:"));
    }
    if package.options.no_depends {
        found.runtime.clear();
    }
    if package.options.no_provides {
        found.provides.clear();
    }
    Ok(found)
}

/// The needs that no name in `provided` fills. Versions in `provided` don't matter; of the needs
/// only `so-ver:` may have one.
fn without_provided(runtime: BTreeSet<String>, provided: &BTreeSet<String>) -> BTreeSet<String> {
    let names: BTreeSet<&str> = provided
        .iter()
        .map(|name| name.split('=').next().unwrap_or(name))
        .collect();
    runtime
        .into_iter()
        .filter(|need| {
            let name = if need.starts_with("so-ver:") {
                need.split(">=").next().unwrap_or(need)
            } else {
                need
            };
            !names.contains(name)
        })
        .collect()
}

struct Analysis<'a> {
    package: &'a PackageView<'a>,
    survey: &'a Survey,
    siblings: &'a [&'a FileTree],
    /// Folders that the loader searches besides the usual ones.
    extra_folders: Vec<String>,
    found: Dependencies,
}

impl<'a> Analysis<'a> {
    fn error(&self, path: &TreePath, source: io::Error) -> AnalyseError {
        AnalyseError {
            package: self.package.name.to_owned(),
            path: path.clone(),
            source,
        }
    }

    fn warn(&mut self, path: &TreePath, message: &str) {
        let problem = Problem::warning("dependency-analysis", format!("/{path}: {message}"));
        self.found.problems.push(problem);
    }

    /// A name out of a file, if it can stand in a dependency. Anything else could say more than a name.
    fn checked(&mut self, path: &TreePath, name: &str) -> bool {
        let plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
        let fits = !name.is_empty()
            && name.len() <= 255
            && !name.starts_with('!')
            && name
                .chars()
                .all(|letter| plain(letter) && !"<>=~@".contains(letter));
        if !fits {
            let message = format!("`{}` can't be named in a dependency", name.escape_debug());
            self.warn(path, &message);
        }
        fits
    }

    fn need(&mut self, path: &TreePath, kind: &str, name: &str) {
        if self.checked(path, name) {
            self.found.runtime.insert(format!("{kind}{name}"));
        }
    }

    fn command(&mut self, path: &TreePath, node: &Node) {
        let regular = matches!(node.kind, NodeKind::File { .. } | NodeKind::HardLink { .. });
        if regular
            && node.mode & 0o555 == 0o555
            && COMMAND_FOLDERS.contains(&folder(path))
            && self.checked(path, path.file_name())
        {
            let provided = format!("cmd:{}={}", path.file_name(), self.package.version);
            self.found.provides.insert(provided);
        }
    }

    fn pkg_config(&mut self, path: &TreePath, node: &Node) -> Result<(), AnalyseError> {
        let Some(name) = path.file_name().strip_suffix(".pc") else {
            return Ok(());
        };
        // A link is another name for a module that is provided by its own.
        let Some((_, content)) = file(self.package.tree, path, node) else {
            return Ok(());
        };
        let version = self.package.version;
        if matches!(node.kind, NodeKind::Symlink { .. }) || !self.checked(path, name) {
            return Ok(());
        }
        if !PKG_CONFIG_FOLDERS.contains(&folder(path)) {
            self.found.vendored.insert(format!("pc:{name}={version}"));
            return Ok(());
        }
        self.found.provides.insert(format!("pc:{name}={version}"));
        let bytes = start_of(content, MAX_TEXT).map_err(|error| self.error(path, error))?;
        for module in pkg_config::requirements(&String::from_utf8_lossy(&bytes)) {
            self.need(path, "pc:", &module);
        }
        Ok(())
    }

    fn shebang(&mut self, path: &TreePath, node: &Node) {
        let text = path.as_str();
        let searched = ["usr/bin/", "usr/local/bin/", "usr/local/sbin/"];
        if matches!(node.kind, NodeKind::Symlink { .. })
            || !searched.iter().any(|folder| text.starts_with(folder))
        {
            return;
        }
        let facts =
            file(self.package.tree, path, node).and_then(|(real, _)| self.survey.get(&real));
        let Some(facts) = facts else {
            return;
        };
        match shebang::interpreter(&facts.start) {
            Ok(Some(program)) => self.need(path, "cmd:", &program),
            Ok(None) => {}
            Err(message) => self.warn(path, &message),
        }
    }

    fn kernel(&mut self, path: &TreePath, node: &Node) -> Result<(), AnalyseError> {
        let modules = ["lib/modules/", "usr/lib/modules/"]
            .iter()
            .any(|folder| path.as_str().starts_with(folder));
        let NodeKind::File { content, .. } = &node.kind else {
            return Ok(());
        };
        if !modules && !path.as_str().starts_with("boot/") {
            return Ok(());
        }
        // A damaged compressed file is no kernel, but a disk that can't be read is an error.
        match kernel::image_version(content) {
            Ok(Some(version)) => {
                self.found.provides.insert(format!("linux:{version}"));
            }
            Ok(None) => {}
            Err(error) => self.warn(path, &error.to_string()),
        }
        if modules {
            match kernel::module_version(content) {
                Ok(Some(version)) => {
                    self.found.runtime.insert(format!("linux:{version}"));
                }
                Ok(None) => {}
                Err(error) => self.warn(path, &error.to_string()),
            }
        }
        Ok(())
    }
}

/// The folder a path is in; empty at the top.
fn folder(path: &TreePath) -> &str {
    path.as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
}

fn start_of(content: &Content, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.open()?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The regular file that `node` at `path` is or leads to within `tree`, through symbolic and hard
/// links.
fn file<'t>(
    tree: &'t FileTree,
    path: &TreePath,
    node: &'t Node,
) -> Option<(TreePath, &'t Content)> {
    match &node.kind {
        NodeKind::File { content, .. } => Some((path.clone(), content)),
        NodeKind::HardLink { target } => match &tree.get(target.as_str())?.kind {
            NodeKind::File { content, .. } => Some((target.clone(), content)),
            _ => None,
        },
        NodeKind::Symlink { .. } => follow(tree, path.as_str()),
        _ => None,
    }
}

/// The regular file that `path` means within `tree`, links in its folders followed too. An absolute
/// target starts at the tree's root.
fn follow<'t>(tree: &'t FileTree, path: &str) -> Option<(TreePath, &'t Content)> {
    let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(part),
        }
        let here = TreePath::new(&at.join("/")).ok()?;
        if let Some(Node {
            kind: NodeKind::Symlink { target },
            ..
        }) = tree.get(here.as_str())
        {
            links += 1;
            if links > MAX_LINKS || target.len() > 4096 {
                return None;
            }
            at.pop();
            if target.starts_with('/') {
                at.clear();
            }
            pending.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    let path = TreePath::new(&at.join("/")).ok()?;
    match tree.get(path.as_str())? {
        Node {
            kind: NodeKind::Symlink { .. },
            ..
        } => None,
        node => file(tree, &path, node),
    }
}

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
pub(crate) mod tests;
