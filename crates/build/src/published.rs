//! Packages that were made before, read again to be checked and analysed anew.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use apk::dependency::{Dependency, InvalidDependency};
use apk::package::{EntryKind, Package, PackageError, PackageInfo};
use archive::Limits;
use archive::tar::UnsafePath;
use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};
use base::{Arch, SourceText};
use yaml::{Document, Value};

use crate::analyse::{AnalyseError, Dependencies, Options, PackageView, analyse};
use crate::emit::RECIPE_FILE;
use crate::lint::{Finding, Levels, LintError, LintView, lint};

/// Files up to this size are kept in memory, as long as all of them together are no more than
/// [`IN_MEMORY`]; others lie in the scratch folder.
const SMALL: u64 = 64 << 10;
const IN_MEMORY: u64 = 64 << 20;

/// A package and what its recipe said of it.
#[derive(Debug)]
pub struct Published {
    /// What the package says of itself.
    pub info: PackageInfo,
    /// The same as it stands in the package.
    pub pkginfo: String,
    /// Its files. The bytes of large ones lie in the scratch folder.
    pub tree: FileTree,
    /// What the recipe in it says, if one is in it that can be read.
    pub recorded: Option<Recorded>,
}

/// What the recipe in a package says of that package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The pipelines that its tests use.
    pub tests: Vec<String>,
    /// The linters that are disabled for it.
    pub disabled: Vec<String>,
    /// What is not to be generated for it.
    pub options: Options,
    /// What it says itself that the package needs.
    pub runtime: Vec<String>,
    /// What it says itself that the package provides.
    pub provides: Vec<String>,
}

/// A package can't be read.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// It is none, or damaged.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A path that no tree can hold.
    #[error("`{entry}` in {}: {reason}", package.display())]
    Path {
        /// The package.
        package: PathBuf,
        /// The path.
        entry: String,
        /// Why not.
        reason: UnsafePath,
    },
    /// A file can't be unpacked.
    #[error("can't unpack `{entry}` of {}: {source}", package.display())]
    Unpack {
        /// The package.
        package: PathBuf,
        /// The file.
        entry: String,
        /// Why not.
        source: io::Error,
    },
    /// An architecture that polpo doesn't know.
    #[error("{} is for `{arch}`, which is no architecture that polpo knows", package.display())]
    Arch {
        /// The package.
        package: PathBuf,
        /// What it says.
        arch: String,
    },
    /// It can't be checked.
    #[error(transparent)]
    Lint(#[from] LintError),
}

impl Published {
    /// Reads the package at `path`, every hash in it checked but for its signature's. `scratch` is
    /// an empty folder that must outlive the result.
    ///
    /// # Errors
    /// The package can't be read, is damaged, or holds more than `limits` allow.
    pub fn read(path: &Path, scratch: &Path, limits: &Limits) -> Result<Published, PublishedError> {
        let package = Package::open(path)?;
        let mut tree = FileTree::new();
        let (mut in_memory, mut on_disk) = (0u64, 0u64);
        package.visit(limits, |entry, content| {
            let refused = |reason| PublishedError::Path {
                package: path.to_owned(),
                entry: entry.path.clone(),
                reason,
            };
            let unpack = |source| PublishedError::Unpack {
                package: path.to_owned(),
                entry: entry.path.clone(),
                source,
            };
            let kind = match &entry.kind {
                EntryKind::Directory => NodeKind::Directory,
                EntryKind::File { size } if *size <= SMALL && in_memory + size <= IN_MEMORY => {
                    in_memory += size;
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes).map_err(unpack)?;
                    NodeKind::File {
                        content: Content::Bytes(bytes.into()),
                        size: *size,
                    }
                }
                EntryKind::File { size } => {
                    // Its own name is a stranger's.
                    on_disk += 1;
                    let place = scratch.join(on_disk.to_string());
                    let mut file = std::fs::File::create_new(&place).map_err(unpack)?;
                    io::copy(content, &mut file)
                        .and_then(|_| file.flush())
                        .map_err(unpack)?;
                    NodeKind::File {
                        content: Content::Disk(place),
                        size: *size,
                    }
                }
                EntryKind::Symlink { target } => NodeKind::Symlink {
                    target: target.clone(),
                },
                EntryKind::HardLink { target } => NodeKind::HardLink {
                    target: TreePath::new(target).map_err(refused)?,
                },
                EntryKind::CharDevice { major, minor } => NodeKind::CharDevice {
                    major: *major,
                    minor: *minor,
                },
                EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice {
                    major: *major,
                    minor: *minor,
                },
                EntryKind::Fifo => NodeKind::Fifo,
            };
            let node = Node {
                mode: entry.mode & 0o7777,
                xattrs: entry.xattrs.clone(),
                ..Node::new(kind)
            };
            tree.insert(TreePath::new(&entry.path).map_err(refused)?, node);
            Ok::<(), PublishedError>(())
        })?;
        let info = package.info().clone();
        let recorded = package
            .extras()
            .get(RECIPE_FILE)
            .and_then(|bytes| recorded(bytes, &info.name));
        Ok(Published {
            info,
            pkginfo: package.pkginfo().to_owned(),
            tree,
            recorded,
        })
    }

    /// Runs the linters over it, as the build that made it would have.
    ///
    /// # Errors
    /// It is of no known architecture, or a file can't be read.
    pub fn lint(&self, path: &Path, levels: &Levels) -> Result<Vec<Finding>, PublishedError> {
        let arch: Arch = self.info.arch.parse().map_err(|_| PublishedError::Arch {
            package: path.to_owned(),
            arch: self.info.arch.clone(),
        })?;
        let recorded = self.recorded.clone().unwrap_or_default();
        // What is disabled there may have gone since.
        let known = |name: &String| crate::lint::linter(name).is_ok();
        let disabled: Vec<String> = recorded.disabled.into_iter().filter(known).collect();
        let view = LintView {
            name: &self.info.name,
            arch,
            tree: &self.tree,
            tests: self.recorded.as_ref().map(|recorded| &recorded.tests[..]),
            no_provides: recorded.options.no_provides,
            disabled: &disabled,
        };
        Ok(lint(&view, levels)?)
    }
}

/// What packages say of themselves when their files are analysed again, in the same order: all but what
/// they need, provide and bring along stays as it is. `packages` are of one recipe, as far as they are
/// there: links of one may lead into another.
///
/// What a recipe says itself of needs and provisions is taken from the one in the package; without
/// one, what no analysis generates is taken over from the package.
///
/// # Errors
/// A file can't be read, or a term isn't in apk's grammar.
pub fn rescan(packages: &[Published]) -> Result<Vec<(PackageInfo, Dependencies)>, RescanError> {
    packages
        .iter()
        .enumerate()
        .map(|(position, package)| {
            let others = packages.iter().enumerate();
            let siblings: Vec<&FileTree> = others
                .filter(|(other, _)| *other != position)
                .map(|(_, other)| &other.tree)
                .collect();
            package.rescan(&siblings)
        })
        .collect()
}

/// A package can't be analysed again.
#[derive(Debug, thiserror::Error)]
pub enum RescanError {
    /// A file can't be read.
    #[error(transparent)]
    Analyse(#[from] AnalyseError),
    /// A term of the recipe that isn't in apk's grammar.
    #[error("`{term}` of package {package}: {source}")]
    Term {
        /// The package.
        package: String,
        /// The term.
        term: String,
        /// What is wrong.
        source: InvalidDependency,
    },
}

/// The kinds of terms that analysis generates.
const GENERATED: [&str; 5] = ["so:", "so-ver:", "cmd:", "pc:", "linux:"];

impl Published {
    fn rescan(&self, siblings: &[&FileTree]) -> Result<(PackageInfo, Dependencies), RescanError> {
        let written = |terms: &[Dependency]| -> Vec<String> {
            let texts = terms.iter().map(ToString::to_string);
            texts
                .filter(|text| !GENERATED.iter().any(|kind| text.starts_with(kind)))
                .collect()
        };
        let recorded = self.recorded.clone().unwrap_or_else(|| Recorded {
            runtime: written(&self.info.depends),
            provides: written(&self.info.provides),
            ..Recorded::default()
        });
        let view = PackageView {
            name: &self.info.name,
            version: &self.info.version,
            tree: &self.tree,
            runtime: &recorded.runtime,
            provides: &recorded.provides,
            options: recorded.options,
            library_versions: None,
        };
        let found = analyse(&view, siblings)?;
        let terms = |texts: &BTreeSet<String>| {
            let parse = |term: &String| {
                Dependency::parse_untagged(term).map_err(|source| RescanError::Term {
                    package: self.info.name.clone(),
                    term: term.clone(),
                    source,
                })
            };
            texts.iter().map(parse).collect::<Result<Vec<_>, _>>()
        };
        let info = PackageInfo {
            depends: terms(&found.runtime)?,
            provides: terms(&found.provides)?,
            vendored: found.vendored.iter().cloned().collect(),
            ..self.info.clone()
        };
        Ok((info, found))
    }
}

/// What the recipe in a control member says of the package `name`: melange's compiled recipe, or the
/// resolved one, which has its own names for lists of steps.
fn recorded(bytes: &[u8], name: &str) -> Option<Recorded> {
    let text = std::str::from_utf8(bytes).ok()?;
    let document = Document::parse(SourceText::new(RECIPE_FILE, text)).ok()?;
    let root = &document.root;
    let name_of = |node: &yaml::Node| {
        let of_package = node.get("package").and_then(|package| package.get("name"));
        of_package.or(node.get("name")).and_then(yaml::Node::text) == Some(name)
    };
    let owner = if name_of(root) {
        root
    } else {
        list(root.get("subpackages"))
            .iter()
            .find(|node| name_of(node))?
    };
    let package = owner.get("package").unwrap_or(owner);
    let mut recorded = Recorded::default();
    if let Some(test) = owner.get("test") {
        uses(test, &mut recorded.tests);
    }
    let checks = package
        .get("checks")
        .and_then(|checks| checks.get("disabled"));
    let texts = |node: Option<&yaml::Node>| -> Vec<String> {
        let texts = list(node).iter().filter_map(yaml::Node::text);
        texts.map(str::to_owned).collect()
    };
    let terms = package.get("dependencies").unwrap_or(package);
    recorded.runtime = texts(terms.get("runtime"));
    recorded.provides = texts(terms.get("provides"));
    recorded.disabled = texts(checks.or(package.get("disabled_checks")));
    let option = |name: &str| {
        let options = package.get("options");
        let value = options.and_then(|options| {
            let own = name.replace('-', "_");
            options.get(name).or(options.get(&own))
        });
        value.and_then(yaml::Node::text) == Some("true")
    };
    recorded.options = Options {
        no_provides: option("no-provides"),
        no_depends: option("no-depends"),
        no_commands: option("no-commands"),
        no_versioned_shlib_deps: option("no-versioned-shlib-deps"),
    };
    Some(recorded)
}

fn list(node: Option<&yaml::Node>) -> &[yaml::Node] {
    match node.map(|node| &node.value) {
        Some(Value::Sequence(items)) => items,
        _ => &[],
    }
}

/// Every pipeline that the steps of `node` use; the tree's depth is limited.
fn uses(node: &yaml::Node, found: &mut Vec<String>) {
    for step in list(node.get("pipeline").or(node.get("steps"))) {
        let name = step.get("uses").and_then(yaml::Node::text);
        found.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
        uses(step, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::LintResults;

    #[test]
    fn both_forms_of_recipes_tell_of_each_package() {
        let compiled = "\
package:
  name: x
  options: {no-provides: true}
  checks: {disabled: [dev]}
  dependencies: {runtime: [busybox], provides: [y=1]}
test:
  pipeline:
    - pipeline:
        - uses: test/pkgconf
subpackages:
  - name: x-dev
    test:
      pipeline: [{uses: test/ldd-check}]
";
        let resolved = r#"{"package": {"name": "x", "options": {"no_provides": true},
            "disabled_checks": ["dev"], "runtime": ["busybox"], "provides": ["y=1"]},
            "test": {"steps": [{"uses": null, "steps": [{"uses": "test/pkgconf"}]}]},
            "subpackages": [{"package": {"name": "x-dev"},
            "test": {"steps": [{"uses": "test/ldd-check"}]}}]}"#;
        for text in [compiled, resolved] {
            let main = recorded(text.as_bytes(), "x").unwrap();
            assert_eq!(main.tests, ["test/pkgconf"]);
            assert_eq!(main.disabled, ["dev"]);
            assert_eq!(
                (&main.runtime[..], &main.provides[..]),
                (&["busybox".to_owned()][..], &["y=1".to_owned()][..])
            );
            assert!(main.options.no_provides && !main.options.no_depends);
            let sub = recorded(text.as_bytes(), "x-dev").unwrap();
            assert_eq!(sub.tests, ["test/ldd-check"]);
            assert!(sub.disabled.is_empty() && !sub.options.no_provides);
            assert_eq!(recorded(text.as_bytes(), "y"), None);
        }
        assert_eq!(recorded(b"[", "x"), None);
        assert_eq!(recorded(&[0xff], "x"), None);
    }

    fn corpus(file: &str) -> PathBuf {
        let corpus = std::env::var_os("POLPO_CORPUS").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
            PathBuf::from,
        );
        corpus.join("apk/packages").join(file)
    }

    fn read(file: &str) -> (Published, tempfile::TempDir) {
        let scratch = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        let package = Published::read(&corpus(file), scratch.path(), &limits).unwrap();
        (package, scratch)
    }

    /// Packages of a distribution pass all that is required, as they pass melange's.
    #[test]
    fn real_packages_pass_what_is_required() {
        for (file, told) in [
            ("hello-wolfi-2.12.1-r1.apk", "maninfo"),
            ("kubeflow-pipelines-2.1.3-r7.apk", ""),
        ] {
            let (package, _scratch) = read(file);
            let findings = package.lint(&corpus(file), &Levels::default()).unwrap();
            assert!(
                findings
                    .iter()
                    .all(|finding| finding.severity == base::Severity::Warning),
                "{findings:?}"
            );
            let names: Vec<&str> = findings.iter().map(|finding| finding.linter.name).collect();
            assert!(told.is_empty() || names.contains(&told), "{names:?}");
        }
    }

    #[test]
    fn results_lie_in_a_file_called_like_the_package() {
        let file = "hello-wolfi-2.12.1-r1.apk";
        let (package, scratch) = read(file);
        let findings = package.lint(&corpus(file), &Levels::default()).unwrap();
        let (name, version) = (&package.info.name, &package.info.version);
        let results = LintResults::new(name, version, &findings).unwrap();
        let path = results.write(&scratch.path().join("out")).unwrap().unwrap();
        assert_eq!(path.file_name().unwrap(), "lint-hello-wolfi-2.12.1-r1.json");
        let read: LintResults = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, results);
        assert_eq!(read.package_name, "hello-wolfi-2.12.1-r1");
        let pages = &read.findings["maninfo"][0];
        assert!(!pages.message.is_empty() && !pages.explain.is_empty());
        assert!(
            pages.details["paths"]
                .as_array()
                .is_some_and(|paths| !paths.is_empty())
        );
        let none = LintResults::new("x", "1-r0", &[]).unwrap();
        assert_eq!(none.write(scratch.path()).unwrap(), None);
    }

    /// What a distribution's package says of itself is what analysis finds again.
    #[test]
    fn real_packages_are_analysed_alike() {
        let (package, _scratch) = read("hello-wolfi-2.12.1-r1.apk");
        let before = package.info.clone();
        let again = rescan(&[package]).unwrap();
        assert_eq!(again[0].0, before);
    }
}
