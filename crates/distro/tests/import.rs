use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use apk::index::Index;
use apk::package::Package;
use apk::signature::Signer;
use archive::Limits;
use archive::tar::{EntryKind, Header, Writer};
use base::{Arch, Epoch, Silent, SourceText};
use distro::seed::{Ground, Import, Imported, Lock, LockedPackage, Seed, SeedError, import};
use store::Store;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = key::PrivateKey::generate(key::Algorithm::Rsa4096).unwrap();
    Signer::new("seed.rsa.pub", key).unwrap()
});

enum Kind {
    Folder,
    File(&'static str),
    Link(&'static str),
    HardLink(&'static str),
}
use Kind::{File, Folder, HardLink, Link};

/// A .deb: an ar archive of two tar archives (deb(5)), not compressed.
fn deb(control: &str, files: &[(&str, u32, Kind)]) -> Vec<u8> {
    let mut data = Writer::new(Vec::new());
    for (path, mode, kind) in files {
        let (kind, bytes) = match kind {
            Folder => (EntryKind::Directory, ""),
            File(text) => {
                let size = text.len() as u64;
                (EntryKind::File { size }, *text)
            }
            Link(target) => {
                let target = (*target).to_owned();
                (EntryKind::Symlink { target }, "")
            }
            HardLink(target) => {
                let target = (*target).to_owned();
                (EntryKind::HardLink { target }, "")
            }
        };
        let mut header = Header::new(*path, kind);
        header.mode = *mode;
        header.user = "root".to_owned();
        header.group = "root".to_owned();
        data.append(&header, bytes.as_bytes()).unwrap();
    }
    let data = data.finish().unwrap();
    let mut inner = Writer::new(Vec::new());
    let header = Header::file("control", control.len() as u64);
    inner.append(&header, control.as_bytes()).unwrap();
    let inner = inner.finish().unwrap();
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar", &inner),
        ("data.tar", &data),
    ] {
        let size = bytes.len();
        out.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                0, 0, 0, 100_644
            )
            .bytes(),
        );
        out.extend_from_slice(bytes);
        if size % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

struct Case {
    folder: tempfile::TempDir,
    store: Store,
    seed: Seed,
    locked: Vec<LockedPackage>,
    ground: Option<Ground>,
}

impl Case {
    fn new(seed: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let text = format!("suite: bookworm\n{seed}");
        let seed = Seed::parse(SourceText::new("seed.yaml", text)).unwrap();
        Case {
            folder,
            store,
            seed,
            locked: Vec::new(),
            ground: None,
        }
    }

    fn with(mut self, name: &str, more: &str, files: &[(&str, u32, Kind)]) -> Case {
        let version = "2:1.0-3+deb12u1";
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\n{more}Description: the {name}\n More of it.\n"
        );
        let blob = self.store.put(&deb(&control, files)[..]).unwrap();
        self.locked.push(LockedPackage {
            package: name.to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: blob.digest,
            size: blob.size,
            path: format!("pool/{name}.deb"),
        });
        self
    }

    /// Another seed, which stands upon this one.
    fn beneath(self, seed: &str) -> Case {
        let lock = self.lock();
        let Case { seed: own, .. } = self;
        let text = format!("suite: bookworm\nupon: seed.lock.yaml\n{seed}");
        Case {
            seed: Seed::parse(SourceText::new("more.yaml", text)).unwrap(),
            locked: Vec::new(),
            ground: Some(Ground { seed: own, lock }),
            ..self
        }
    }

    fn lock(&self) -> Lock {
        Lock {
            suite: "bookworm".to_owned(),
            packages: BTreeMap::from([(Arch::X86_64, self.locked.clone())]),
        }
    }

    fn import(&self, into: &Path, epoch: Epoch) -> Result<Imported, SeedError> {
        let lock = self.lock();
        let request = Import {
            seed: &self.seed,
            lock: &lock,
            ground: self.ground.as_ref(),
            arch: Arch::X86_64,
            folder: into,
            signer: &SIGNER,
            epoch,
            offline: true,
        };
        import(&request, &self.store, &Silent)
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder.join("x86_64"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

const POLICY: &str = "packages: [tool]
links: {tool: {usr/bin/alias: tool}}
bundles: {tool: {etc/all.crt: usr/share/certs}}
omit: [usr/share/doc]
keep: [copyright]
meta-packages:
  build-base: {description: all of it, depends: [baselayout, 'cmd:tool']}
";

fn tool() -> Case {
    Case::new(POLICY).with(
        "tool",
        "Depends: tool-data (>= 1:0.5)\nHomepage: https://example.org\n",
        &[
            ("bin", 0o755, Folder),
            ("bin/tool", 0o4755, File("#!/bin/sh\n")),
            ("bin/second", 0o4755, HardLink("bin/tool")),
            ("lib", 0o755, Folder),
            ("lib/near", 0o777, Link("../usr/share/certs")),
            ("usr", 0o755, Folder),
            ("usr/share", 0o755, Folder),
            ("usr/share/certs", 0o755, Folder),
            ("usr/share/certs/a.crt", 0o644, File("A")),
            ("usr/share/certs/b.crt", 0o644, File("B\n")),
            ("usr/share/doc", 0o755, Folder),
            ("usr/share/doc/tool", 0o755, Folder),
            (
                "usr/share/doc/tool/copyright",
                0o644,
                File("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n"),
            ),
            ("usr/share/doc/tool/README", 0o644, File("read me")),
            ("usr/share/doc/gone", 0o755, Folder),
        ],
    )
    .with("tool-data", "", &[("etc", 0o755, Folder), ("etc/data", 0o600, File("x"))])
}

#[test]
fn packages_index_and_description() {
    let case = tool();
    let out = case.folder.path().join("out");
    let imported = case.import(&out, Epoch(1_700_000_000)).unwrap();
    assert_eq!((imported.packages, imported.converted), (4, 2));

    let index = Index::read(&out.join("x86_64/APKINDEX.tar.gz"), &SIGNER.keyring()).unwrap();
    let shown: Vec<String> = index
        .entries
        .iter()
        .map(|entry| {
            let texts = |list: &[apk::dependency::Dependency]| {
                let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
                texts.join(" ")
            };
            format!(
                "{} | {} | {} | {}",
                entry.file_name(),
                entry.info.license(),
                texts(&entry.info.depends),
                texts(&entry.info.provides)
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n").replace("| \n", "|\n"), @r"
    build-base-0-r0.apk | Apache-2.0 | baselayout cmd:tool |
    seed-baselayout-0-r0.apk | Apache-2.0 |  | baselayout=0
    tool-1.0_rc-r300120100.apk | GPL-2.0-or-later | tool-data | cmd:alias=0 cmd:second=0 cmd:tool=0
    tool-data-1.0_rc-r300120100.apk | NOASSERTION |  |
    ");

    let package = Package::open(&out.join("x86_64/tool-1.0_rc-r300120100.apk")).unwrap();
    let root = case.folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let manifest = package.unpack(&root, &Limits::default()).unwrap();
    let listing: Vec<String> = manifest
        .entries
        .iter()
        .map(|entry| format!("{:04o} {}", entry.mode, entry.path))
        .collect();
    insta::assert_snapshot!(listing.join("\n"), @r"
    0755 etc
    0755 usr
    0755 usr/bin
    0755 usr/lib
    0755 usr/share
    0755 usr/share/certs
    0755 usr/share/doc
    0755 usr/share/doc/tool
    0755 var
    0755 var/lib
    0755 var/lib/db
    0755 var/lib/db/sbom
    0644 etc/all.crt
    0777 usr/bin/alias
    4755 usr/bin/second
    4755 usr/bin/tool
    0777 usr/lib/near
    0644 usr/share/certs/a.crt
    0644 usr/share/certs/b.crt
    0644 usr/share/doc/tool/copyright
    0644 var/lib/db/sbom/tool-1.0_rc-r300120100.spdx.json
    ");
    assert_eq!(std::fs::read(root.join("etc/all.crt")).unwrap(), b"A\nB\n");
    assert_eq!(
        std::fs::read_link(root.join("usr/lib/near")).unwrap(),
        Path::new("../share/certs")
    );
    assert!(root.join("usr/share/doc/tool/copyright").exists());
    assert!(!root.join("usr/share/doc/tool/README").exists());
    assert!(!root.join("usr/share/doc/gone").exists());
    use std::os::unix::fs::MetadataExt;
    let tool = std::fs::metadata(root.join("usr/bin/tool")).unwrap();
    let second = std::fs::metadata(root.join("usr/bin/second")).unwrap();
    assert_eq!(tool.ino(), second.ino());

    let document = root.join("var/lib/db/sbom/tool-1.0_rc-r300120100.spdx.json");
    let document = attest::spdx::Document::from_json(&std::fs::read(document).unwrap()).unwrap();
    let digest = case.locked[0].sha256.hex();
    let source = document
        .packages
        .iter()
        .find(|package| {
            package
                .checksums
                .iter()
                .any(|sum| sum.checksum_value == digest)
        })
        .unwrap();
    assert_eq!(
        source.external_refs[0].reference_locator,
        "pkg:deb/debian/tool@2%3A1.0-3%2Bdeb12u1?arch=amd64"
    );
}

#[test]
fn the_same_bytes_everywhere_and_nothing_twice() {
    let case = tool();
    let (first, second) = (case.folder.path().join("a"), case.folder.path().join("b/c"));
    case.import(&first, Epoch(5)).unwrap();
    let again = case.import(&second, Epoch(5)).unwrap();
    assert_eq!(again.converted, 0);
    assert_eq!(files(&first), files(&second));
    // From another store, where nothing is cached.
    let fresh = tool();
    let third = fresh.folder.path().join("d");
    assert_eq!(fresh.import(&third, Epoch(5)).unwrap().converted, 2);
    assert_eq!(files(&first), files(&third));
    // A spoilt package is put right; another epoch makes other packages.
    let spoilt = first.join("x86_64/tool-1.0_rc-r300120100.apk");
    std::fs::write(&spoilt, b"spoilt").unwrap();
    case.import(&first, Epoch(5)).unwrap();
    assert_eq!(files(&first), files(&second));
    assert_eq!(case.import(&first, Epoch(6)).unwrap().converted, 2);
}

#[test]
fn a_path_has_one_owner() {
    let out = tempfile::tempdir().unwrap();
    let case = Case::new("packages: [a]")
        .with(
            "a",
            "",
            &[("lib", 0o755, Folder), ("lib/x", 0o644, File("1"))],
        )
        .with(
            "b",
            "",
            &[
                ("usr", 0o755, Folder),
                ("usr/lib", 0o755, Folder),
                ("usr/lib/x", 0o644, File("2")),
            ],
        );
    let error = case.import(out.path(), Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"`usr/lib/x` is in both a and b; leave it out of one of them with `omit`, or `ignore` one");
    let case = Case::new("packages: [a]")
        .with("a", "", &[("x", 0o777, Link("y"))])
        .with("b", "", &[("x", 0o755, Folder), ("x/f", 0o644, File("2"))]);
    let error = case.import(out.path(), Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"`x` is in both a and b; leave it out of one of them with `omit`, or `ignore` one");
}

#[test]
fn what_is_missing_is_told() {
    let out = tempfile::tempdir().unwrap();
    let case = Case::new("packages: [a, b]").with("a", "", &[]);
    let error = case.import(out.path(), Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"the seed's lock does not hold b, which the seed's list asks for; resolve the seed again");
    let mut case = Case::new("packages: [a]").with("a", "", &[]);
    case.locked[0].version = "1:9-9".to_owned();
    let error = case.import(out.path(), Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"a (sha256:e631e7ee3bc5ac1258f6978c2834064e254e415f3ced4098b989f3bb666844e3) can't be converted: it is a 2:1.0-3+deb12u1, not what the lock says");
    // A hard link to nothing.
    let case = Case::new("packages: [a]").with("a", "", &[("x", 0o644, HardLink("y"))]);
    let error = case.import(out.path(), Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"a (sha256:1a5357480e9860e38fb17873468dabbfeb59357d03417d96726d87aefb442567) can't be converted: `x` is a hard link to `y`, which is not in the package");
}

#[test]
fn a_seed_stands_upon_another() {
    let above = |files: &[(&str, u32, Kind)]| {
        tool()
            .beneath("packages: [language]\nmeta-packages: {all: {description: all, depends: [language]}}")
            .with("language", "Depends: tool (>= 2:1.0), tool-data\n", files)
    };
    let case = above(&[
        ("usr/bin", 0o755, Folder),
        ("usr/bin/language", 0o755, File("#!/bin/sh\n")),
    ]);
    let out = case.folder.path().join("out");
    assert_eq!(case.import(&out, Epoch(0)).unwrap().packages, 2);
    let index = Index::read(&out.join("x86_64/APKINDEX.tar.gz"), &SIGNER.keyring()).unwrap();
    let shown: Vec<String> = index
        .entries
        .iter()
        .map(|entry| {
            let depends: Vec<String> = entry.info.depends.iter().map(ToString::to_string).collect();
            format!("{}: {}", entry.info.name, depends.join(" "))
        })
        .collect();
    // The base layout and the ground's own packages are not made again.
    insta::assert_snapshot!(shown.join("\n"), @r"
    all: language
    language: cmd:tool tool-data
    ");
    // What is there already belongs to its package.
    let twice = above(&[
        ("usr/bin", 0o755, Folder),
        ("usr/bin/tool", 0o755, File("another")),
    ]);
    let error = twice.import(&out, Epoch(0)).unwrap_err();
    insta::assert_snapshot!(error, @"`usr/bin/tool` is in both language and tool; leave it out of one of them with `omit`, or `ignore` one");
}

#[test]
fn what_a_seed_stands_upon_lies_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let shown = |path: &Path| {
        let ground = Seed::load(path).and_then(|seed| seed.ground(path));
        let shown = ground.map(|ground| ground.map(|ground| ground.lock.packages.len()));
        let shown = shown.map_or_else(|error| error.to_string(), |found| format!("{found:?}"));
        shown.replace(&folder.path().display().to_string(), "")
    };
    write("seed.yaml", "suite: bookworm\npackages: [a]\n");
    write(
        "seed.lock.yaml",
        "suite: bookworm\npackages: {x86_64: []}\n",
    );
    write(
        "more.yaml",
        "suite: bookworm\nupon: seed.lock.yaml\npackages: [b]\n",
    );
    write(
        "most.yaml",
        "suite: bookworm\nupon: more.lock.yaml\npackages: [c]\n",
    );
    write(
        "other.yaml",
        "suite: trixie\nupon: seed.lock.yaml\npackages: [c]\n",
    );
    write(
        "odd.yaml",
        "suite: bookworm\nupon: ../seed.lock.yaml\npackages: [c]\n",
    );
    let all = ["seed", "more", "most", "other", "odd"];
    let all = all.map(|name| shown(&at(&format!("{name}.yaml"))));
    insta::assert_snapshot!(all.join("\n"), @"
    None
    Some(1)
    /most.yaml stands upon more.lock.yaml, which stands upon another seed itself
    /other.yaml stands upon seed.lock.yaml, which is of another suite
    /odd.yaml stands upon ../seed.lock.yaml, which is not called NAME.lock.yaml, as the lock beside NAME.yaml is
    ");
}
