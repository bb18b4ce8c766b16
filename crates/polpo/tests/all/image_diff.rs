//! Images compared by the command line: polpo's own, of packages with real libraries in them, and
//! those of other programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use apk::index::{Index, IndexEntry};
use apk::package::{PackageContents, PackageInfo, write};
use apk::signature::Signer;
use archive::tree::{FileTree, Node, TreePath};
use base::Epoch;
use key::{Algorithm, PrivateKey};
use tempfile::TempDir;
use testkit::{Finished, Program, Registry};

use crate::world::{checkout, polpo_in, world};
use crate::yard::json;

mod others;

const EPOCH: Epoch = Epoch(1_700_000_000);

/// One key for all tests: making one takes a second.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    Signer::new("test.rsa.pub", key).unwrap()
});

/// A folder with repositories, image files and layouts.
pub(crate) struct Shelf {
    folder: TempDir,
}

pub(crate) fn info(name: &str, version: &str, licence: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x86_64".to_owned(),
        origin: name.to_owned(),
        description: format!("{name} for tests"),
        licenses: vec![licence.to_owned()],
        build_time: Some(EPOCH.0),
        ..PackageInfo::default()
    }
}

pub(crate) fn tree(entries: Vec<(&str, Node)>) -> FileTree {
    let mut tree = FileTree::new();
    for (path, node) in entries {
        let path = TreePath::new(path).unwrap();
        tree.insert_parents(&path, &Node::directory());
        tree.insert(path, node);
    }
    tree
}

pub(crate) fn text(text: &str) -> Node {
    Node::file(text.as_bytes().to_vec())
}

/// 120,000 bytes that compress to some tens of thousands.
fn digits() -> String {
    let numbers = (0..20_000u64).map(|number| number * number * 7919 % 999_983);
    numbers.map(|number| format!("{number:06}")).collect()
}

/// What a package brings along of itself.
fn bill(name: &str, version: &str) -> Node {
    let record = attest::spdx::PackageRecord {
        namespace: "test".to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        arch: Some(base::Arch::X86_64),
        origin: None,
        description: String::new(),
        url: String::new(),
        licence: attest::licence::Licence::of("MIT"),
        copyright: Vec::new(),
        cpe: None,
        sources: Vec::new(),
        recipe: None,
    };
    Node::file(record.document(EPOCH).unwrap().to_json().unwrap())
}

/// `security.capability` of version 2 with these permitted, in effect.
pub(crate) fn capable(node: Node, permitted: u32) -> Node {
    let mut value = 0x0200_0001_u32.to_le_bytes().to_vec();
    value.extend(permitted.to_le_bytes());
    value.extend([0; 12]);
    Node {
        xattrs: BTreeMap::from([("security.capability".to_owned(), value)]),
        ..node
    }
}

impl Shelf {
    pub(crate) fn new() -> Shelf {
        let shelf = Shelf {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(shelf.path("keys")).unwrap();
        let pem = SIGNER.keyring().keys().next().unwrap().1.to_pem();
        fs::write(shelf.path("keys/test.rsa.pub"), pem).unwrap();
        shelf
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn repository(&self, name: &str, packages: Vec<(PackageInfo, FileTree)>) {
        let mut indexes = BTreeMap::<PathBuf, Index>::new();
        for (info, tree) in packages {
            let folder = self.path(name).join(&info.arch);
            fs::create_dir_all(&folder).unwrap();
            let contents = PackageContents {
                info,
                scripts: BTreeMap::new(),
                extras: BTreeMap::new(),
                tree: &tree,
            };
            let file = folder.join(contents.info.file_name());
            let written = write(&file, &contents, Some(&SIGNER), EPOCH).unwrap();
            let index = indexes.entry(folder.join("APKINDEX.tar.gz")).or_default();
            index.merge([IndexEntry::written(&written)]);
        }
        for (file, index) in indexes {
            index.write(&file, [&*SIGNER], EPOCH).unwrap();
        }
    }

    pub(crate) fn polpo(&self, words: &[&str]) -> Program {
        polpo_in(self.folder.path(), words)
    }

    /// Builds an image of a repository into the layout `name`.
    pub(crate) fn image(&self, name: &str, repository: &str, yaml: &str) {
        fs::write(self.path("image.yaml"), yaml).unwrap();
        let tag = format!("{name}:latest");
        self.polpo(&["image", "build", "image.yaml", &tag, name])
            .args(["-r", repository, "-k", "keys", "--arch", "x86_64"])
            .run()
            .success();
    }

    pub(crate) fn diff(&self, words: &[&str]) -> Finished {
        self.polpo(&["image", "diff"]).args(words).run()
    }

    /// A shared library of these functions, each with the version behind its colon.
    fn library(&self, soname: &str, functions: &[&str]) -> Node {
        let (mut source, mut script) = (String::new(), String::new());
        let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for function in functions {
            let (name, version) = function.split_once(':').unwrap();
            source.push_str(&format!("int {name}(void) {{ return {}; }}\n", name.len()));
            versions.entry(version).or_default().push(name);
        }
        source.push_str("int hidden(void) { return 0; }\n");
        for (version, names) in versions {
            script.push_str(&format!("{version} {{ global: {}; }};\n", names.join("; ")));
        }
        script.push_str("HIDDEN { local: *; };\n");
        let path = |name: &str| self.path(name);
        fs::write(path("library.c"), source).unwrap();
        fs::write(path("library.map"), script).unwrap();
        Program::new("cc")
            .args(["-shared", "-fPIC", "-nostdlib", "-o"])
            .arg(path("library.so"))
            .arg(path("library.c"))
            .arg(format!("-Wl,-soname,{soname}"))
            .arg(format!(
                "-Wl,--version-script={}",
                path("library.map").display()
            ))
            .run()
            .success();
        Node::file(fs::read(path("library.so")).unwrap()).with_mode(0o755)
    }

    /// Two releases of an image that differ in everything.
    pub(crate) fn releases(&self) {
        let base = |shadow: Node| {
            tree(vec![
                ("etc/passwd", text("root:x:0:0:root:/root:/bin/sh\n")),
                ("etc/group", text("root:x:0:\n")),
                ("etc/os-release", text("ID=test\nVERSION_ID=1\n")),
                ("etc/secret", shadow),
            ])
        };
        let same = || tree(vec![("usr/share/same", text("same"))]);
        self.repository(
            "old",
            vec![
                (
                    info("base", "1-r0", "MIT"),
                    base(text("s").with_mode(0o640)),
                ),
                (info("same", "1-r0", "MIT"), same()),
                (
                    info("greet", "1.9-r0", "MIT"),
                    tree(vec![
                        (
                            "usr/lib/libgreet.so.1.9",
                            self.library(
                                "libgreet.so.1",
                                &["greet:GREET_1", "wave:GREET_1", "nod:GREET_1"],
                            ),
                        ),
                        ("usr/lib/libgreet.so.1", Node::symlink("libgreet.so.1.9")),
                        (
                            "var/lib/db/sbom/greet-1.9-r0.spdx.json",
                            bill("greet", "1.9-r0"),
                        ),
                        (
                            "usr/lib/libold.so.3",
                            self.library("libold.so.3", &["old:OLD_3"]),
                        ),
                    ]),
                ),
                (
                    info("tool", "2.0-r0", "BSD-3-Clause"),
                    tree(vec![
                        ("usr/bin/tool", text("#!tool 2.0").with_mode(0o755)),
                        (
                            "usr/bin/ping",
                            capable(text("#!ping").with_mode(0o755), 1 << 13),
                        ),
                        ("usr/bin/su", text("#!su").with_mode(0o4755)),
                    ]),
                ),
                (
                    info("gone", "1-r0", "ISC"),
                    tree(vec![("usr/share/gone", text("gone"))]),
                ),
            ],
        );
        self.repository(
            "new",
            vec![
                (
                    info("base", "1-r1", "MIT"),
                    base(text("s").with_mode(0o644).with_owner(5, 6)),
                ),
                (info("same", "1-r0", "MIT"), same()),
                (
                    info("greet", "1.10-r0", "MIT AND GPL-3.0-only"),
                    tree(vec![
                        (
                            "usr/lib/libgreet.so.1.10",
                            self.library(
                                "libgreet.so.1",
                                &["greet:GREET_1", "nod:GREET_2", "bow:GREET_2"],
                            ),
                        ),
                        ("usr/lib/libgreet.so.1", Node::symlink("libgreet.so.1.10")),
                        (
                            "var/lib/db/sbom/greet-1.10-r0.spdx.json",
                            bill("greet", "1.10-r0"),
                        ),
                    ]),
                ),
                (
                    info("tool", "1.9-r3", "BSD-3-Clause"),
                    tree(vec![
                        (
                            "usr/bin/tool",
                            capable(text("#!tool 1.9").with_mode(0o755), 1 << 21),
                        ),
                        ("usr/bin/ping", text("#!ping").with_mode(0o4755)),
                        (
                            "usr/bin/su",
                            text("#!su").with_mode(0o4755).with_owner(7, 0),
                        ),
                    ]),
                ),
                (
                    info("extra", "3-r0", "Apache-2.0"),
                    tree(vec![
                        ("usr/share/extra/open", text("x").with_mode(0o666)),
                        ("usr/share/extra/big", text(&digits())),
                        ("usr/share/extra/drop", Node::directory().with_mode(0o777)),
                        ("usr/share/extra/tmp", Node::directory().with_mode(0o1777)),
                    ]),
                ),
            ],
        );
        self.image(
            "before",
            "old",
            "contents: {packages: [base, same, greet, tool, gone]}\n\
             entrypoint: {command: /usr/bin/tool run}\n\
             accounts: {users: [{username: web, uid: 1000}], run-as: web}\n\
             environment: {KEPT: same, LEVEL: '1', OLD: x}\n\
             volumes: [/data]\n\
             annotations: {org.opencontainers.image.version: '1'}\n",
        );
        self.image(
            "after",
            "new",
            "contents: {packages: [base, same, greet, tool, extra]}\n\
             entrypoint: {command: /usr/bin/tool serve}\n\
             accounts: {users: [{username: web, uid: 1000}]}\n\
             environment: {KEPT: same, LEVEL: '2'}\n\
             work-dir: /srv\n\
             annotations: {org.opencontainers.image.version: '2'}\n",
        );
    }
}

/// Without digests, and without the sizes of what compilers made.
fn steady(text: &str) -> String {
    let mut out = String::new();
    let mut in_size = false;
    for line in text.lines() {
        if in_size && line.starts_with("    ") {
            continue;
        }
        in_size = line == "  size";
        let mut rest = line;
        while let Some((start, end)) = rest.split_once("sha256:") {
            out.push_str(start);
            out.push_str("DIGEST");
            rest = &end[64..];
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

#[test]
fn two_releases_are_told_apart_and_held_to_rules() {
    let shelf = Shelf::new();
    shelf.releases();

    // Nothing to say, and nothing said.
    let same = shelf
        .diff(&["before", "./before", "--fail-on", "any,size:+0%"])
        .success();
    assert_eq!((same.stdout.as_str(), same.stderr.as_str()), ("", ""));

    let plain = shelf.diff(&["before", "after"]).success();
    insta::assert_snapshot!(steady(&plain.stdout), @r#"
    before → after
    linux/amd64 DIGEST → DIGEST
      packages (5 → 5): 1 added, 1 removed, 2 upgraded, 1 downgraded
        ↑ base 1-r0 → 1-r1
        + extra 3-r0 (Apache-2.0)
        - gone 1-r0
        ↑ greet 1.9-r0 → 1.10-r0
        ↓ tool 2.0-r0 → 1.9-r3
      licences
        greet: MIT → MIT AND GPL-3.0-only
        + Apache-2.0 (extra)
        + GPL-3.0-only (greet)
        - ISC
      rights
        + /usr/bin/ping (tool): setuid: 4755 0:0
        - /usr/bin/ping (tool): capabilities: cap_net_raw=ep
        ! /usr/bin/su (tool): setuid: 4755 0:0 → 4755 7:0
        + /usr/bin/tool (tool): capabilities: cap_sys_admin=ep
        + /usr/share/extra/drop: writable by everybody: 0777 0:0
        + /usr/share/extra/open (extra): writable by everybody: 0666 0:0
      libraries
        ! libgreet.so.1 (greet): 2 symbols gone, 2 symbols new (nod@GREET_1, wave@GREET_1)
        - libold.so.3 (greet): gone, with 1 symbol
      modes and owners
        /etc/secret: mode 0640 → 0644
        /etc/secret: owner 0:0 → 5:6
        /usr/bin/ping: mode 0755 → 4755
        /usr/bin/su: owner 0:0 → 7:0
      files: 7 added, 4 removed, 8 changed
        base: 1 changed
        extra: 2 added
        gone: 1 removed
        greet: 2 added, 3 removed, 1 changed
        tool: 3 changed
        M /etc/apk/world (content 26 B → 27 B)
        M /etc/apko.json (content 326 B → 302 B)
        M /usr/lib/apk/db/installed (content 1.4 KiB → 1.5 KiB)
      size
      configuration
        annotation org.opencontainers.image.version: 1 → 2
        entrypoint: ["/usr/bin/tool","run"] → ["/usr/bin/tool","serve"]
        env LEVEL: 1 → 2
        env OLD: x → none
        label org.opencontainers.image.version: 1 → 2
        user: 1000 → none
        volume /data: yes → none
        working-dir: none → /srv
      SBOM
        - pkg:apk/test/greet@1.9-r0
        + pkg:apk/test/greet@1.10-r0
    "#);
    assert_eq!(plain.stderr, "");
    assert!(plain.stdout.contains("who has the first fetches"));

    let whole = shelf.diff(&["before", "after", "--files"]).success();
    let files = steady(&whole.stdout);
    let files = files.split_once("  libraries\n").unwrap().1;
    insta::assert_snapshot!(files, @r#"
      ! libgreet.so.1 (greet): 2 symbols gone, 2 symbols new (nod@GREET_1, wave@GREET_1)
        - nod@GREET_1
        - wave@GREET_1
        + bow@GREET_2
        + nod@GREET_2
      - libold.so.3 (greet): gone, with 1 symbol
    modes and owners
      /etc/secret: mode 0640 → 0644
      /etc/secret: owner 0:0 → 5:6
      /usr/bin/ping: mode 0755 → 4755
      /usr/bin/su: owner 0:0 → 7:0
    files: 7 added, 4 removed, 8 changed
      M /etc/apk/world (content 26 B → 27 B)
      M /etc/apko.json (content 326 B → 302 B)
      M /etc/secret (mode 0640 → 0644; owner 0:0 → 5:6)
      M /usr/bin/ping (mode 0755 → 4755; capability cap_net_raw=ep → none)
      M /usr/bin/su (owner 0:0 → 7:0)
      M /usr/bin/tool (content, 10 B; capability none → cap_sys_admin=ep)
      M /usr/lib/apk/db/installed (content 1.4 KiB → 1.5 KiB)
      M /usr/lib/libgreet.so.1 (target libgreet.so.1.9 → libgreet.so.1.10)
      A /usr/lib/libgreet.so.1.10 (file, 13.5 KiB, 0755 0:0)
      D /usr/lib/libgreet.so.1.9 (file, 13.5 KiB, 0755 0:0)
      D /usr/lib/libold.so.3 (file, 13.4 KiB, 0755 0:0)
      A /usr/share/extra (directory, 0755 0:0)
      A /usr/share/extra/big (file, 117.2 KiB, 0644 0:0)
      A /usr/share/extra/drop (directory, 0777 0:0)
      A /usr/share/extra/open (file, 1 B, 0666 0:0)
      A /usr/share/extra/tmp (directory, 1777 0:0)
      D /usr/share/gone (file, 4 B, 0644 0:0)
      A /var/lib/db/sbom/greet-1.10-r0.spdx.json (file, 1.3 KiB, 0644 0:0)
      D /var/lib/db/sbom/greet-1.9-r0.spdx.json (file, 1.3 KiB, 0644 0:0)
    size
    configuration
      annotation org.opencontainers.image.version: 1 → 2
      entrypoint: ["/usr/bin/tool","run"] → ["/usr/bin/tool","serve"]
      env LEVEL: 1 → 2
      env OLD: x → none
      label org.opencontainers.image.version: 1 → 2
      user: 1000 → none
      volume /data: yes → none
      working-dir: none → /srv
    SBOM
      - pkg:apk/test/greet@1.9-r0
      + pkg:apk/test/greet@1.10-r0
    "#);

    let rules = "setuid,capability,world-writable,mode,owner,licence,removed-symbol,new-package,\
                 removed-package,downgrade,size:+1%,unpacked-size:+10,config,root,unsigned";
    let failed = shelf
        .diff(&["before", "after", "--fail-on", rules, "--fail-on", "label"])
        .code(1);
    let (_, broken) = failed.stdout.split_once("broken rules\n").unwrap();
    let broken: Vec<&str> = broken
        .lines()
        .filter(|line| !line.contains(" bytes ("))
        .collect();
    insta::assert_snapshot!(steady(&broken.join("\n")), @r#"
    ✗ setuid
        + /usr/bin/ping (tool): setuid: 4755 0:0
        ! /usr/bin/su (tool): setuid: 4755 0:0 → 4755 7:0
    ✗ capability
        + /usr/bin/tool (tool): capabilities: cap_sys_admin=ep
    ✗ world-writable
        + /usr/share/extra/drop: writable by everybody: 0777 0:0
        + /usr/share/extra/open (extra): writable by everybody: 0666 0:0
    ✗ mode
        /etc/secret: mode 0640 → 0644
        /usr/bin/ping: mode 0755 → 4755
    ✗ owner
        /etc/secret: owner 0:0 → 5:6
        /usr/bin/su: owner 0:0 → 7:0
    ✗ licence
        greet: MIT AND GPL-3.0-only, before MIT
        Apache-2.0 is new, of extra
        GPL-3.0-only is new, of greet
    ✗ removed-symbol
        ! libgreet.so.1 (greet): 2 symbols gone, 2 symbols new (nod@GREET_1, wave@GREET_1)
        - libold.so.3 (greet): gone, with 1 symbol
    ✗ new-package
        + extra 3-r0 (Apache-2.0)
    ✗ removed-package
        - gone 1-r0
    ✗ downgrade
        ↓ tool 2.0-r0 → 1.9-r3
    ✗ size:+1%
    ✗ unpacked-size:+10
    ✗ config
        entrypoint: ["/usr/bin/tool","run"] → ["/usr/bin/tool","serve"]
        env LEVEL: 1 → 2
        env OLD: x → none
        user: 1000 → none
        volume /data: yes → none
        working-dir: none → /srv
    ✗ root
        user: 1000 → none
    ✗ unsigned
        DIGEST is not signed
    ✗ label
        label org.opencontainers.image.version: 1 → 2
    "#);
    // The way back is no upgrade of rights.
    let back = shelf
        .diff(&[
            "after",
            "before",
            "--fail-on",
            "world-writable,root,size:+0%",
        ])
        .success();
    assert!(!back.stdout.contains("broken rules"));

    let unknown = shelf
        .diff(&["before", "after", "--fail-on", "setuid,licens"])
        .code(2);
    assert!(
        unknown.stderr.contains("is `licence` meant?") && unknown.stderr.contains("removed-symbol"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn programs_are_told_as_json_and_people_as_markdown() {
    let shelf = Shelf::new();
    shelf.releases();
    let told = shelf
        .diff(&[
            "before",
            "after",
            "--format",
            "json",
            "--fail-on",
            "downgrade",
        ])
        .code(1);
    assert!(
        told.stderr
            .contains("--fail-on downgrade: ↓ tool 2.0-r0 → 1.9-r3")
    );
    let value = json(&told.stdout);
    assert_eq!(value["format"], "polpo-image-diff/1");
    assert_eq!(value["identical"], false);
    assert_eq!(value["equal"], false);
    let image = &value["images"][0];
    assert_eq!(image["platform"], "linux/amd64");
    assert_eq!(image["package_count"]["before"], 5);
    let named = |list: &str, name: &str| {
        let items = image[list].as_array().unwrap();
        let found = items
            .iter()
            .find(|item| item["name"] == name || item["path"] == name || item["key"] == name);
        found.unwrap_or_else(|| panic!("{name} of {list}")).clone()
    };
    assert_eq!(named("packages", "greet")["change"], "upgraded");
    assert_eq!(named("packages", "tool")["change"], "downgraded");
    assert_eq!(
        image["licences"]["new"]["GPL-3.0-only"],
        serde_json::json!(["greet"])
    );
    let library = named("libraries", "libgreet.so.1");
    assert_eq!(
        library["removed"],
        serde_json::json!(["nod@GREET_1", "wave@GREET_1"])
    );
    assert_eq!(
        library["added"],
        serde_json::json!(["bow@GREET_2", "nod@GREET_2"])
    );
    assert_eq!(library["before"]["path"], "usr/lib/libgreet.so.1.9");
    assert_eq!(named("libraries", "libold.so.3")["change"], "removed");
    assert_eq!(named("settings", "env LEVEL")["after"], "2");
    let changes = image["files"]["changes"].as_array().unwrap();
    let file = |path: &str| {
        changes
            .iter()
            .find(|change| change["path"] == path)
            .unwrap()
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(file("etc/secret")).unwrap(), @r#"
    {
      "after": {
        "digest": "sha256:043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89",
        "gid": 6,
        "mode": "0644",
        "package": "base",
        "size": 1,
        "type": "file",
        "uid": 5
      },
      "aspects": [
        "mode",
        "owner"
      ],
      "before": {
        "digest": "sha256:043a718774c572bd8a25adbeb1bfcd5c0256ae11cecf9f9c3f925d0e52beaf89",
        "gid": 0,
        "mode": "0640",
        "package": "base",
        "size": 1,
        "type": "file",
        "uid": 0
      },
      "change": "changed",
      "path": "etc/secret"
    }
    "#);
    assert_eq!(
        file("usr/bin/tool")["aspects"],
        serde_json::json!(["content", "capability"])
    );
    assert_eq!(
        file("usr/bin/tool")["after"]["capabilities"],
        "cap_sys_admin=ep"
    );
    // A symbolic link leads elsewhere.
    assert_eq!(file("usr/lib/libgreet.so.1")["aspects"][0], "target");
    let components = &image["sbom"]["components"];
    assert_eq!(
        components["removed"],
        serde_json::json!(["pkg:apk/test/greet@1.9-r0"])
    );
    assert_eq!(
        components["added"],
        serde_json::json!(["pkg:apk/test/greet@1.10-r0"])
    );

    // Every key is in the reference.
    let page = fs::read_to_string(checkout().join("docs/src/reference/image-diff.md")).unwrap();
    let mut left = vec![("".to_owned(), &value)];
    while let Some((name, value)) = left.pop() {
        assert!(
            name.is_empty() || page.contains(&format!("`{name}`")),
            "`{name}` is not in the reference"
        );
        match value {
            serde_json::Value::Array(items) => {
                left.extend(items.iter().map(|item| (String::new(), item)));
            }
            // These have names of packages, licences and kinds as keys.
            serde_json::Value::Object(_) if ["new", "attributes"].contains(&name.as_str()) => {}
            serde_json::Value::Object(fields) => {
                let is_statements = fields.contains_key("signed");
                for (key, value) in fields {
                    let value = match is_statements && key != "signed" {
                        true => &serde_json::Value::Null,
                        false => value,
                    };
                    left.push((key.clone(), value));
                }
            }
            _ => {}
        }
    }

    let comment = shelf
        .diff(&[
            "before",
            "after",
            "--format",
            "markdown",
            "--fail-on",
            "root,setuid",
        ])
        .code(1);
    let lines: Vec<&str> = comment.stdout.lines().take(12).collect();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| match line.starts_with("| `linux/amd64`") {
            true => line.split('|').take(4).collect::<Vec<_>>().join("|"),
            false => (*line).to_owned(),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    ### `before` → `after`

    > [!CAUTION]
    > **2 rules are broken**
    >
    > - **root**
    >   - `user: 1000 → none`
    > - **setuid**
    >   - `+ /usr/bin/ping (tool): setuid: 4755 0:0`
    >   - `! /usr/bin/su (tool): setuid: 4755 0:0 → 4755 7:0`

    | | packages | files | as sent | unpacked | rights | libraries |
    ");
    let folds = comment.stdout.matches("<details><summary>").count();
    assert_eq!(folds, comment.stdout.matches("</details>").count());
    assert!(folds >= 8, "{}", comment.stdout);
}

/// Packages that polpo built from source, and a real libc.
#[test]
fn real_packages_are_compared() {
    let world = world();
    let shelf = Shelf::new();
    let build = |name: &str, packages: &str| {
        let yaml = format!("contents: {{packages: [{packages}]}}\n");
        fs::write(shelf.path("image.yaml"), yaml).unwrap();
        shelf
            .polpo(&["image", "build", "image.yaml", "x:latest", name])
            .arg("-r")
            .arg(world.packages())
            .arg("-r")
            .arg(world.seed())
            .arg("-k")
            .arg(world.keys())
            .run()
            .success();
    };
    build("small", "baselayout, busybox");
    build("large", "baselayout, busybox, zlib, hello");
    let told = shelf
        .diff(&[
            "small",
            "large",
            "--format",
            "json",
            "--fail-on",
            "removed-package,downgrade,removed-symbol",
        ])
        .success();
    let value = json(&told.stdout);
    let image = &value["images"][0];
    let added: Vec<&str> = image["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert!(
        added.contains(&"zlib") && added.contains(&"hello"),
        "{added:?}"
    );
    let libraries = image["libraries"].as_array().unwrap();
    let zlib = libraries
        .iter()
        .find(|library| library["name"] == "libz.so.1")
        .unwrap();
    assert_eq!(zlib["change"], "added");
    assert!(zlib["after"]["symbols"].as_u64().unwrap() > 80, "{zlib}");
    let gone = shelf
        .diff(&["large", "small", "--fail-on", "removed-symbol"])
        .code(1);
    assert!(
        gone.stdout.contains("libz.so.1 (zlib): gone"),
        "{}",
        gone.stdout
    );
    let _: &Path = &world.layout();
}
