//! Comparing images that nobody vouches for: what layers say of each other, and what is refused.

use std::path::Path;

use archive::tar::{EntryKind, Header, Writer};
use base::Digest;
use image::diff::{DiffRequest, DiffSide, Differences, FileFate, Right, Rule, diff};
use oci::{ImageConfig, Layout, Manifest, Platform, media_type};

use crate::bed::ARCH;

/// A layer of entries: a path, what it is, and its bytes.
fn layer(entries: &[(&str, EntryKind, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, kind, text) in entries {
        let kind = match kind {
            EntryKind::File { .. } => EntryKind::File {
                size: text.len() as u64,
            },
            other => other.clone(),
        };
        let header = Header::new(*path, kind);
        writer.append(&header, text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

const FILE: EntryKind = EntryKind::File { size: 0 };

fn symlink(target: &str) -> EntryKind {
    EntryKind::Symlink {
        target: target.to_owned(),
    }
}

fn hard_link(target: &str) -> EntryKind {
    EntryKind::HardLink {
        target: target.to_owned(),
    }
}

struct Pair(tempfile::TempDir);

impl Pair {
    fn new() -> Pair {
        Pair(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn layout(&self, name: &str, layers: &[Vec<u8>]) -> Layout {
        let diff_ids = layers.iter().map(|bytes| Digest::of(bytes)).collect();
        self.layout_with(name, layers, diff_ids)
    }

    fn layout_with(&self, name: &str, layers: &[Vec<u8>], diff_ids: Vec<Digest>) -> Layout {
        let root = self.path(name);
        if root.exists() {
            std::fs::remove_dir_all(&root).unwrap();
        }
        let layout = Layout::create(root).unwrap();
        let platform = Platform::linux(ARCH);
        let mut config = ImageConfig {
            architecture: platform.architecture,
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        config.rootfs.diff_ids = diff_ids;
        let config = layout
            .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
            .unwrap();
        let layers = layers
            .iter()
            .map(|bytes| layout.put_blob(media_type::LAYER_TAR, bytes).unwrap())
            .collect();
        let image = layout
            .put_manifest(&Manifest::image(config, layers))
            .unwrap();
        layout.tag("v1", &image).unwrap();
        layout
    }

    fn compare(&self, before: &Layout, after: &Layout) -> Result<Differences, String> {
        let side = |name, layout| DiffSide {
            name,
            layout,
            tag: None,
        };
        let scratch = self.path("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let rules: [Rule; 2] = ["setuid", "any"].map(|rule| rule.parse().unwrap());
        let found = diff(&DiffRequest {
            before: side("before", before),
            after: side("after", after),
            arch: None,
            trust: None,
            rules: &rules,
            scratch: &scratch,
        });
        std::fs::remove_dir_all(&scratch).unwrap();
        found.map_err(|error| {
            let digest = Digest::of(b"").hex().len();
            let mut text = error.to_string();
            while let Some(at) = text.find("sha256:") {
                text.replace_range(at..at + 7 + digest, "DIGEST");
            }
            text
        })
    }

    /// The files by which two images of such layers differ.
    fn files(&self, before: &[Vec<u8>], after: &[Vec<u8>]) -> Result<Vec<String>, String> {
        let (before, after) = (self.layout("before", before), self.layout("after", after));
        let found = self.compare(&before, &after)?;
        let changes = &found.images[0].files.changes;
        Ok(changes
            .iter()
            .map(|change| {
                let mark = match change.change {
                    FileFate::Added => '+',
                    FileFate::Removed => '-',
                    FileFate::Changed => '~',
                };
                let aspects: Vec<&str> = change.aspects.iter().map(|one| one.words()).collect();
                format!("{mark} {} {}", change.path, aspects.join(","))
                    .trim_end()
                    .to_owned()
            })
            .collect())
    }
}

#[test]
fn layers_are_seen_as_engines_unpack_them() {
    let pair = Pair::new();
    let lower = layer(&[
        ("usr/lib", EntryKind::Directory, ""),
        ("usr/lib/a", FILE, "a"),
        ("usr/lib/b", FILE, "b"),
        ("lib", symlink("usr/lib"), ""),
        ("etc/x", FILE, "x"),
        ("etc/y", FILE, "y"),
        ("opt/deep/z", FILE, "z"),
    ]);
    let flat = layer(&[
        ("usr/lib/a", FILE, "new a"),
        ("usr/lib/c", FILE, "c"),
        ("lib", symlink("usr/lib"), ""),
        ("etc/x", FILE, "x"),
        ("etc/link", hard_link("etc/x"), ""),
        ("opt/own", FILE, "own"),
        ("usr", EntryKind::Directory, ""),
    ]);
    // Through the link, out of the way of whiteouts wherever they stand, over what was a folder.
    let upper = layer(&[
        ("lib/a", FILE, "new a"),
        ("lib/.wh.b", FILE, ""),
        ("usr/lib/c", FILE, "c"),
        ("etc/.wh.y", FILE, ""),
        ("etc/link", hard_link("etc/x"), ""),
        ("opt/own", FILE, "own"),
        ("opt/.wh..wh..opq", FILE, ""),
        ("opt/.wh.never-there", FILE, ""),
    ]);
    let same = pair.files(&[lower.clone(), upper.clone()], std::slice::from_ref(&flat));
    assert_eq!(same.unwrap(), [""; 0]);
    let all = layer(&[(".wh..wh..opq", FILE, ""), ("etc/x", FILE, "x")]);
    let gone = pair
        .files(std::slice::from_ref(&lower), &[lower.clone(), all])
        .unwrap();
    insta::assert_snapshot!(gone.join("\n"), @"
    - etc/y
    - lib
    - opt
    - opt/deep
    - opt/deep/z
    - usr
    - usr/lib
    - usr/lib/a
    - usr/lib/b
    ");
    let changed = layer(&[
        ("usr/lib/a", symlink("b"), ""),
        ("usr/lib/b", hard_link("etc/x"), ""),
        ("lib", symlink("elsewhere"), ""),
        ("opt/deep", FILE, "a file now"),
        (".", EntryKind::Directory, ""),
    ]);
    let changed = pair
        .files(std::slice::from_ref(&lower), &[lower.clone(), changed])
        .unwrap();
    insta::assert_snapshot!(changed.join("\n"), @"
    ~ lib target
    ~ opt/deep type,mode
    - opt/deep/z
    ~ usr/lib/a type
    ~ usr/lib/b content,hard link
    ");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let pair = Pair::new();
    let good = layer(&[("a", FILE, "a")]);
    let refused = |layers: &[Vec<u8>]| pair.files(std::slice::from_ref(&good), layers).unwrap_err();
    let mut errors = vec![
        refused(&[layer(&[
            ("x", symlink("y"), ""),
            ("y", symlink("x"), ""),
            ("x/z", FILE, ""),
        ])]),
        refused(&[layer(&[("x", FILE, ""), ("x/z", FILE, "")])]),
        refused(&[layer(&[("x", hard_link("none"), "")])]),
        refused(&[b"no tar".to_vec()]),
    ];
    let after = pair.layout_with("after", std::slice::from_ref(&good), vec![Digest::of(b"x")]);
    let before = pair.layout("before", std::slice::from_ref(&good));
    errors.push(pair.compare(&before, &after).unwrap_err());
    let after = pair.layout_with("after", std::slice::from_ref(&good), Vec::new());
    errors.push(pair.compare(&before, &after).unwrap_err());
    // A database that can't be read is no database without packages.
    let broken = layer(&[("lib/apk/db/installed", FILE, "P:x\nnonsense\n")]);
    let after = pair.layout("after", &[broken]);
    errors.push(pair.compare(&before, &after).unwrap_err());
    // A link that leads out of the image stays inside.
    let out = layer(&[("x", symlink("../../../etc"), ""), ("x/passwd", FILE, "p")]);
    assert_eq!(
        pair.files(std::slice::from_ref(&good), &[out]).unwrap(),
        ["- a", "+ etc", "+ etc/passwd", "+ x"]
    );
    insta::assert_snapshot!(errors.join("\n"), @"
    layer DIGEST: /x/z leads through too many symbolic links
    layer DIGEST has /x/z, but /x is a file; make the image again
    layer DIGEST: /x is a hard link to /none, and there is no such file in the layers up to it
    layer DIGEST: the archive is truncated: it ends inside a header; fetch or make it again
    layer DIGEST unpacks to DIGEST, but the image's configuration says DIGEST
    the image's manifest has 1 layers, its configuration 0
    the package database of the second image can't be read: line 2: it is no field: expected a letter, a colon and a value
    ");
}

#[test]
fn names_of_strangers_are_shown_and_not_obeyed() {
    let pair = Pair::new();
    let before = pair.layout("before", &[layer(&[("a", FILE, "a")])]);
    let mut writer = Writer::new(Vec::new());
    let name = "b\u{1b}[2J`\n</details><script>\u{202e}|@all";
    let mut header = Header::file(name, 0);
    header.mode = 0o6755;
    let appended = writer.append(&header, std::io::empty());
    // Control characters are no names that polpo reads at all.
    if appended.is_ok() {
        let after = pair.layout("after", &[writer.finish().unwrap()]);
        if let Ok(found) = pair.compare(&before, &after) {
            assert!(!found.to_text(true).contains('\u{1b}'));
        }
    }
    let name = "b`</details><script>\u{202e}|@all";
    header.path = name.to_owned();
    let mut writer = Writer::new(Vec::new());
    writer.append(&header, std::io::empty()).unwrap();
    let after = pair.layout("after", &[writer.finish().unwrap()]);
    let found = pair.compare(&before, &after).unwrap();
    assert_eq!(found.images[0].privileges[0].right, Right::Setuid);
    let text = found.to_text(false);
    assert!(
        text.contains("\\u{202e}") && !text.contains('\u{202e}'),
        "{text}"
    );
    let markdown = found.to_markdown();
    let line = markdown
        .lines()
        .find(|line| line.contains("script"))
        .unwrap();
    insta::assert_snapshot!(line, @r">   - ``+ /b`</details><script>\u{202e}¦@all: setuid: 6755 0:0``");
}

/// Libraries that are none, or only in part.
#[test]
fn broken_libraries_are_survived() {
    let pair = Pair::new();
    let source = pair.path("library.c");
    std::fs::write(
        &source,
        "int one(void) { return 1; }\nint two(void) { return 2; }\n",
    )
    .unwrap();
    testkit::Program::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-Wl,-soname,libx.so.1",
            "-o",
        ])
        .arg(pair.path("libx.so.1"))
        .arg(&source)
        .run()
        .success();
    let whole = std::fs::read(pair.path("libx.so.1")).unwrap();
    let before = pair.layout("before", &[with_library(&whole)]);
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..200 {
        let mut bytes = whole.clone();
        if round % 4 == 0 {
            bytes.truncate(random() as usize % whole.len());
        }
        for _ in 0..=random() % 8 {
            let at = random() as usize % bytes.len().max(1);
            // What decides is at the start and the end: headers and sections.
            let at = if random() % 2 == 0 { at % 512 } else { at };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random() as u8;
            }
        }
        let after = pair.layout("after", &[with_library(&bytes)]);
        pair.compare(&before, &after).unwrap();
    }
    let without = layer(&[("a", FILE, "a")]);
    let after = pair.layout("after", &[without]);
    let found = pair.compare(&before, &after).unwrap();
    let library = &found.images[0].libraries[0];
    assert_eq!(
        (library.name.as_str(), library.change),
        ("libx.so.1", FileFate::Removed)
    );
    assert_eq!(library.before.as_ref().unwrap().symbols, 2);
}

fn with_library(bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let header = Header::file("usr/lib/libx.so.1", bytes.len() as u64);
    writer.append(&header, bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_layout_of_the_folder_alone_is_enough() {
    let pair = Pair::new();
    let layout = pair.layout("one", &[layer(&[("a", FILE, "a")])]);
    let found = pair.compare(&layout, &layout).unwrap();
    assert!(found.identical && found.equal);
    // `any` asks for equality, which there is.
    assert!(found.broken.is_empty());
    assert_eq!(found.to_text(true), "");
    assert_eq!(found.to_markdown(), "");
    let _: &Path = layout.root();
}
