//! Packages that were made before, read again to be checked and analysed anew.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use apk::package::{EntryKind, Package, PackageError, PackageInfo};
use archive::Limits;
use archive::tar::UnsafePath;
use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};
use base::{Arch, SourceText};
use yaml::{Document, Value};

use crate::analyse::Options;
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
    recorded.disabled = list(checks.or(package.get("disabled_checks")))
        .iter()
        .filter_map(|node| Some(node.text()?.to_owned()))
        .collect();
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

    #[test]
    fn both_forms_of_recipes_tell_of_each_package() {
        let compiled = "\
package:
  name: x
  options: {no-provides: true}
  checks: {disabled: [dev]}
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
            "disabled_checks": ["dev"]},
            "test": {"steps": [{"uses": null, "steps": [{"uses": "test/pkgconf"}]}]},
            "subpackages": [{"package": {"name": "x-dev"},
            "test": {"steps": [{"uses": "test/ldd-check"}]}}]}"#;
        for text in [compiled, resolved] {
            let main = recorded(text.as_bytes(), "x").unwrap();
            assert_eq!(main.tests, ["test/pkgconf"]);
            assert_eq!(main.disabled, ["dev"]);
            assert!(main.options.no_provides && !main.options.no_depends);
            let sub = recorded(text.as_bytes(), "x-dev").unwrap();
            assert_eq!(sub.tests, ["test/ldd-check"]);
            assert!(sub.disabled.is_empty() && !sub.options.no_provides);
            assert_eq!(recorded(text.as_bytes(), "y"), None);
        }
        assert_eq!(recorded(b"[", "x"), None);
        assert_eq!(recorded(&[0xff], "x"), None);
    }
}
