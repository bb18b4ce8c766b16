//! A folder with repositories and a root, on which apk's commands are run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use apk::dependency::Dependency;
use apk::index::{Index, IndexEntry};
use apk::package::{PackageContents, PackageInfo, Script, write};
use archive::tree::{FileTree, Node, TreePath};
use base::Epoch;
use tempfile::TempDir;
use testkit::{Finished, Program};

pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000);

/// A folder with repositories, a root, and a store that nothing else reaches.
pub(crate) struct Yard {
    folder: TempDir,
}

/// A package to be made.
#[derive(Clone, Default)]
pub(crate) struct Recipe {
    pub(crate) info: PackageInfo,
    files: Vec<(&'static str, &'static str)>,
    scripts: BTreeMap<Script, Vec<u8>>,
    nodes: Vec<(&'static str, Node)>,
}

pub(crate) fn package(name: &str, version: &str) -> Recipe {
    Recipe {
        info: PackageInfo {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "x86_64".to_owned(),
            description: format!("{name} for tests"),
            installed_size: 1000,
            build_time: Some(EPOCH.0),
            ..PackageInfo::default()
        },
        ..Recipe::default()
    }
}

pub(crate) fn terms(text: &str) -> Vec<Dependency> {
    Dependency::parse_list(text).unwrap()
}

impl Recipe {
    pub(crate) fn depends(mut self, text: &str) -> Recipe {
        self.info.depends = terms(text);
        self
    }

    pub(crate) fn provides(mut self, text: &str) -> Recipe {
        self.info.provides = terms(text);
        self
    }

    pub(crate) fn file(mut self, path: &'static str, text: &'static str) -> Recipe {
        self.files.push((path, text));
        self
    }

    /// A directory with a mode of its own.
    pub(crate) fn directory(self, path: &'static str, mode: u32) -> Recipe {
        self.node(path, Node::directory().with_mode(mode))
    }

    /// Whatever may lie in a tree.
    pub(crate) fn node(mut self, path: &'static str, node: Node) -> Recipe {
        self.nodes.push((path, node));
        self
    }

    pub(crate) fn script(mut self, script: Script, lines: &str) -> Recipe {
        let text = format!("#!/bin/sh\n{lines}\n");
        self.scripts.insert(script, text.into_bytes());
        self
    }

    pub(crate) fn size(mut self, bytes: u64) -> Recipe {
        self.info.installed_size = bytes;
        self
    }

    pub(crate) fn built(mut self, time: u64) -> Recipe {
        self.info.build_time = Some(time);
        self
    }

    /// Writes the package into a folder.
    pub(crate) fn write(&self, folder: &Path) -> IndexEntry {
        let mut tree = FileTree::new();
        for (path, text) in &self.files {
            let path = TreePath::new(path).unwrap();
            tree.insert_parents(&path, &Node::directory());
            tree.insert(path, Node::file(text.as_bytes()));
        }
        for (path, node) in &self.nodes {
            let path = TreePath::new(path).unwrap();
            tree.insert_parents(&path, &Node::directory());
            tree.insert(path, node.clone());
        }
        let contents = PackageContents {
            info: self.info.clone(),
            scripts: self.scripts.clone(),
            extras: BTreeMap::new(),
            tree: &tree,
        };
        let file = folder.join(self.info.file_name());
        IndexEntry::written(&write(&file, &contents, None, EPOCH).unwrap())
    }
}

impl Yard {
    /// With a repository `main` of these packages, which `etc/apk/repositories` names, and an empty
    /// root.
    pub(crate) fn new(recipes: &[Recipe]) -> Yard {
        let yard = Yard {
            folder: tempfile::tempdir().unwrap(),
        };
        let repository = yard.repository("main", recipes);
        yard.write(
            "root/etc/apk/repositories",
            &format!("{}\n", repository.display()),
        );
        yard.write("root/etc/apk/arch", "x86_64\n");
        yard.write("root/etc/apk/world", "");
        yard.write("root/lib/apk/db/installed", "");
        yard
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Makes a repository of these packages, or makes it anew.
    pub(crate) fn repository(&self, name: &str, recipes: &[Recipe]) -> PathBuf {
        let repository = self.path(name);
        let folder = repository.join("x86_64");
        fs::create_dir_all(&folder).unwrap();
        let index = Index {
            description: format!("{name} of tests"),
            entries: recipes.iter().map(|recipe| recipe.write(&folder)).collect(),
            ..Index::default()
        };
        index
            .write(&folder.join("APKINDEX.tar.gz"), None, EPOCH)
            .unwrap();
        repository
    }

    /// polpo's apk on the root.
    pub(crate) fn apk(&self, words: &[&str]) -> Program {
        let mut program = Program::new(env!("CARGO_BIN_EXE_polpo"))
            .arg("apk")
            .arg("--root")
            .arg(self.root())
            .args(["--allow-untrusted", "--no-network"])
            .args(words)
            .env("APK_CONFIG", "/dev/null")
            .env("NO_COLOR", "1")
            .env("POLPO_STORE", self.path("store"))
            .folder(self.folder.path());
        program.command().env_remove("SOURCE_DATE_EPOCH");
        program
    }

    pub(crate) fn run(&self, words: &[&str]) -> Finished {
        self.apk(words).run()
    }

    /// What a run that succeeds prints.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let finished = self.run(words).success();
        assert_eq!(finished.stderr, "", "{}", finished.shown);
        finished.stdout
    }

    pub(crate) fn world(&self) -> String {
        self.read("root/etc/apk/world")
    }

    /// Replaces what differs from run to run.
    pub(crate) fn steady(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "YARD")
    }
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub(crate) fn usual() -> Vec<Recipe> {
    vec![
        package("app", "1.0-r0")
            .depends("so:libfoo.so.1 base>1")
            .file("usr/bin/app", "app 1.0")
            .size(1 << 24),
        package("libfoo", "1.0-r0")
            .provides("so:libfoo.so.1=1.0")
            .file("usr/lib/libfoo.so.1", "foo 1.0"),
        package("base", "1.1-r0").file("etc/base.conf", "base 1.1\n"),
        package("base", "1.2-r0").file("etc/base.conf", "base 1.2\n"),
        package("other", "2.0-r0").depends("!app"),
        package("broken", "1-r0").depends("nonexistent"),
    ]
}
