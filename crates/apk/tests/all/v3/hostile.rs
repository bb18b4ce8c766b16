//! Files of strangers: each is refused, and its refusal says why.

mod files;
mod indexes;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base::Digest;
use polpo_apk::adb::schema::{DEPENDENCIES, INDEX_ID, INFOS, PACKAGE_ID, TEXTS, XATTRS};
use polpo_apk::adb::{Adb, BlockKind, Builder, DataBlock, Signed, Tag, Target, Value, Writer};
use polpo_apk::index::Index;
use polpo_apk::package::Package;

use super::fixtures::{index, keyrings, meta, tool};
use super::{LIMITS, elliptic, file_of, head_of, opened, placed};

/// A file of a package that is made up.
#[derive(Clone)]
struct File {
    name: &'static [u8],
    size: u64,
    hash: Vec<u8>,
    target: Vec<u8>,
    mode: u64,
    user: &'static [u8],
    xattrs: Vec<&'static [u8]>,
}

impl File {
    fn new(name: &'static [u8], contents: &[u8]) -> File {
        File {
            name,
            size: contents.len() as u64,
            hash: Digest::of(contents).as_bytes().to_vec(),
            target: Vec::new(),
            mode: 0o644,
            user: b"root",
            xattrs: Vec::new(),
        }
    }

    fn link(name: &'static [u8], target: Target) -> File {
        File {
            target: target.to_bytes(),
            ..File::new(name, b"")
        }
    }
}

type Directories = Vec<(&'static [u8], Vec<File>)>;

/// A package that is made up.
#[derive(Clone)]
struct Made {
    name: &'static [u8],
    version: &'static [u8],
    description: &'static [u8],
    depends: Vec<(&'static [u8], &'static [u8], u64)>,
    directories: Directories,
    data: Vec<(u32, u32, &'static [u8])>,
}

impl Default for Made {
    fn default() -> Made {
        Made {
            name: b"made",
            version: b"1-r0",
            description: b"",
            depends: Vec::new(),
            directories: vec![
                (b"", vec![]),
                (
                    b"a",
                    vec![File::new(b"one", b"first"), File::new(b"two", b"second")],
                ),
            ],
            data: vec![(2, 1, b"first"), (2, 2, b"second")],
        }
    }
}

impl Made {
    fn info(&self, builder: &mut Builder) -> Value {
        let depends = self
            .depends
            .iter()
            .map(|(name, version, matched)| {
                let fields = [
                    builder.blob(name),
                    builder.blob(version),
                    builder.integer(*matched),
                ];
                builder.object(&fields)
            })
            .collect();
        let mut fields = vec![
            builder.blob(self.name),
            builder.blob(self.version),
            builder.blob(&[7; 20]),
            builder.blob(self.description),
        ];
        fields.resize(14, Value::NULL);
        fields.push(builder.array(&DEPENDENCIES, Tag::Object, depends));
        builder.object(&fields)
    }

    fn payload(&self) -> Vec<u8> {
        let mut builder = Builder::new();
        let info = self.info(&mut builder);
        let mut directories = Vec::new();
        for (name, files) in &self.directories {
            let mut listed = Vec::new();
            for file in files {
                let attributes = file
                    .xattrs
                    .iter()
                    .map(|xattr| builder.blob(xattr))
                    .collect();
                let acl = [
                    builder.integer(file.mode),
                    builder.blob(file.user),
                    builder.blob(b"root"),
                    builder.array(&XATTRS, Tag::Array, attributes),
                ];
                let fields = [
                    builder.blob(file.name),
                    builder.object(&acl),
                    builder.integer(file.size),
                    builder.integer(1),
                    builder.blob(&file.hash),
                    builder.blob(&file.target),
                ];
                listed.push(builder.object(&fields));
            }
            let acl = [
                builder.integer(0o755),
                builder.blob(b"root"),
                builder.blob(b"root"),
            ];
            let fields = [
                builder.blob(name),
                builder.object(&acl),
                // As they come: a hostile package isn't sorted.
                builder.array(&TEXTS, Tag::Object, listed),
            ];
            directories.push(builder.object(&fields));
        }
        let fields = [info, builder.array(&TEXTS, Tag::Object, directories)];
        let root = builder.object(&fields);
        builder.set_root(root);
        builder.finish().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        file_of(PACKAGE_ID, &self.payload(), &self.data)
    }
}

/// What is said of a package: that it is used, or why not.
fn verdict(bytes: &[u8]) -> String {
    let (folder, file) = placed(bytes);
    let result = Package::open(&file).and_then(|package| {
        let manifest = package.manifest(&LIMITS);
        let into = folder.path().join("into");
        fs::create_dir(&into).unwrap();
        let unpacked = package.unpack(&into, &LIMITS);
        // What is refused is refused by both, and before anything is written.
        assert_eq!(manifest.is_ok(), unpacked.is_ok());
        if manifest.is_err() {
            assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        }
        manifest
    });
    match result {
        Ok(manifest) => format!("{} entries", manifest.entries.len()),
        Err(error) => error
            .to_string()
            .replace(&format!("{} ", file.display()), "")
            .replace(&format!("{}: ", file.display()), ""),
    }
}

fn refused(bytes: &[u8], why: &str) {
    let verdict = verdict(bytes);
    assert!(verdict.contains(why), "wanted `{why}`, got `{verdict}`");
}

#[test]
fn what_is_made_up_for_these_tests_is_fine() {
    assert_eq!(verdict(&Made::default().bytes()), "3 entries");
    let links = Made {
        directories: vec![(
            b"a",
            vec![
                File::new(b"one", b"first"),
                File::link(b"same", Target::HardLink("a/one".to_owned())),
                File::link(b"out", Target::Symlink("../../etc/passwd".to_owned())),
                File::link(b"pipe", Target::Fifo),
            ]
            .into_iter()
            .map(|file| match file.name {
                b"same" => File {
                    hash: Digest::of(b"first").as_bytes().to_vec(),
                    size: 5,
                    ..file
                },
                _ => file,
            })
            .collect(),
        )],
        data: vec![(1, 1, b"first")],
        ..Made::default()
    };
    assert_eq!(verdict(&links.bytes()), "5 entries");
}

#[test]
fn blocks_of_the_wrong_kind_or_order_are_refused() {
    let payload = Made::default().payload();
    let blocks = |blocks: &[(BlockKind, &[u8])]| {
        let mut writer = Writer::new(Vec::new(), PACKAGE_ID).unwrap();
        for (kind, contents) in blocks {
            writer.block(*kind, contents).unwrap();
        }
        writer.into_inner()
    };
    use BlockKind::{Adb, Data, Signature};
    refused(&blocks(&[]), "it has no ADB block");
    refused(
        &blocks(&[(Signature, b"x")]),
        "a signature block stands where the ADB block should",
    );
    refused(
        &blocks(&[(Data, &[0; 8])]),
        "a data block stands where the ADB block should",
    );
    refused(
        &blocks(&[(Adb, &payload), (Adb, &payload)]),
        "a ADB block stands where another one stood already",
    );
    let data = [&[2, 0, 0, 0, 1, 0, 0, 0], &b"first"[..]].concat();
    refused(
        &blocks(&[(Adb, &payload), (Data, &data), (Signature, b"x")]),
        "a signature block stands where only data may follow",
    );
    refused(
        &blocks(&[(Adb, &payload), (Data, &data), (Adb, &payload)]),
        "another one stood already",
    );
    refused(
        &blocks(&[(Adb, &payload), (Data, b"1234567")]),
        "it ends within the numbers",
    );
    refused(
        &blocks(&[(Adb, b"1234567")]),
        "shorter than a header of 8 bytes",
    );
    refused(
        &blocks(&[(Adb, &[1, 0, 0, 0, 0, 0, 0, 0])]),
        "asks for readers of version 1",
    );
    let header = |schema: u32| [&b"ADB."[..], &schema.to_le_bytes()].concat();
    refused(
        &[header(PACKAGE_ID), vec![3, 0, 0, 0]].concat(),
        "a block claims 3 bytes, less than its own header has",
    );
    let extended = |kind: u32, size: u64| {
        let mut bytes = (0xc000_0000 | kind).to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(size.to_le_bytes());
        [header(PACKAGE_ID), bytes].concat()
    };
    refused(&extended(0, 15), "a block claims 15 bytes");
    refused(&extended(7, 32), "a block is of kind 7");
    refused(&extended(3, 32), "a block is of kind 3");
    refused(&extended(0, u64::MAX), "larger than the 268435456 bytes");
    refused(&extended(0, 1 << 27), "it ends within a block");
    // An extended header of a small block says the same as a short one.
    let long = [extended(0, 16 + payload.len() as u64), payload.clone()].concat();
    let padded = long.len().next_multiple_of(8);
    let long = [long, vec![0; padded]].concat();
    let long = &long[..padded];
    let rest = &file_of(PACKAGE_ID, &payload, &Made::default().data)
        [8 + (4 + payload.len()).next_multiple_of(8)..];
    assert_eq!(verdict(&[long, rest].concat()), "3 entries");

    refused(b"ADBx....", "does not begin with `ADB.`");
    refused(b"ADBc\x07\x00....", "compressed by algorithm 7");
    refused(b"ADBc\x00\x01nothing", "does not begin with `ADB.`");
    refused(
        &index(),
        "its schema is that of an index, not that of a package",
    );
    refused(
        &header(0x1234),
        "its schema is 0x00001234, which is not known",
    );
    let database = file_of(INDEX_ID, &payload, &[(1, 1, b"x")]);
    let error = Index::from_bytes(Path::new("x"), &database, None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("data block stands where an index has none"),
        "{error}"
    );
    let error = Index::from_bytes(Path::new("x"), &tool(), None).unwrap_err();
    assert!(
        error.to_string().contains("not that of an index"),
        "{error}"
    );
}

/// A package whose root is this word, over these bytes that follow the header.
fn raw(root: u32, rest: &[u8]) -> Vec<u8> {
    let payload = [&[0; 4], &root.to_le_bytes(), rest].concat();
    file_of(PACKAGE_ID, &payload, &[])
}

#[test]
fn values_that_point_anywhere_are_refused() {
    refused(
        &raw(0xe000_0000 | 1_000_000, &[]),
        "a value points outside its payload: 4 bytes at 1000000, of 8 bytes",
    );
    refused(
        &raw(0xe000_0008, &u32::MAX.to_le_bytes()),
        "a value points outside its payload",
    );
    refused(
        &raw(0xe000_0008, &1_000_000_u32.to_le_bytes()),
        "3999996 bytes at 8, of 12 bytes",
    );
    refused(&raw(0xe000_0008, &[0; 4]), "has a count of 0");
    refused(
        &raw(0x8000_0008, b"\x01x"),
        "stands where an object or array should",
    );
    refused(
        &raw(0x7000_0000, &[]),
        "stands where an object or array should",
    );
    refused(&raw(0, &[]), "a info has no `name`");

    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    // The root's info is the root itself, whose name is an object again.
    refused(
        &raw(0xe000_0008, &words(&[2, 0xe000_0008])),
        "stands where text or bytes should",
    );
    // A name that reaches one byte beyond the end.
    let info = [2, 0xe000_0010, 2, 0x8000_0018];
    refused(
        &raw(0xe000_0008, &[&words(&info)[..], b"\x02a"].concat()),
        "a value points outside its payload: 2 bytes at 24, of 26 bytes",
    );
    // Directories that are the array of directories themselves, again and again.
    let mut builder = Builder::new();
    let info = Made::default().info(&mut builder);
    let start = builder.payload().len().next_multiple_of(4) as u32;
    let itself = Value::from_word(0xd000_0000 | start);
    let array = builder.array(&TEXTS, Tag::Array, vec![itself; 5000]);
    assert_eq!(array, itself);
    let root = builder.object(&[info, array]);
    builder.set_root(root);
    let cyclic = builder.finish().unwrap();
    refused(
        &file_of(PACKAGE_ID, &cyclic, &[]),
        "stands where text or bytes should",
    );
    let error = Adb::new(&cyclic)
        .unwrap()
        .copy(itself, &mut Builder::new())
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("deep within each other") || error.contains("again and again"),
        "{error}"
    );
}

/// Few bytes can describe very much: arrays of arrays that are all the same.
#[test]
fn much_out_of_little_is_refused() {
    let mut builder = Builder::new();
    let text = builder.blob(&[b'x'; 60_000]);
    let mut fields = vec![Value::NULL; 21];
    fields[0] = builder.blob(b"bomb");
    fields[1] = builder.blob(b"1");
    fields[2] = builder.blob(&[1; 32]);
    fields[20] = builder.array(&TEXTS, Tag::Object, vec![text; 20_000]);
    let info = builder.object(&fields);
    let packages = builder.array(&TEXTS, Tag::Object, vec![info; 20_000]);
    let root = builder.object(&[Value::NULL, packages]);
    builder.set_root(root);
    let payload = builder.finish().unwrap();
    let bytes = file_of(INDEX_ID, &payload, &[]);
    assert!(bytes.len() < 300_000);
    let error = Index::from_bytes(Path::new("x"), &bytes, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("refer to the same data again and again"),
        "{error}"
    );

    let mut builder = Builder::new();
    let mut value = builder.blob(b"deep");
    for _ in 0..100 {
        value = builder.object(&[value, value]);
    }
    builder.set_root(value);
    let payload = builder.finish().unwrap();
    let adb = Adb::new(&payload).unwrap();
    let error = adb
        .copy(value, &mut Builder::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than 32 deep"), "{error}");
}

#[test]
fn data_that_is_not_the_files_is_refused() {
    let with = |data: Vec<(u32, u32, &'static [u8])>| {
        Made {
            data,
            ..Made::default()
        }
        .bytes()
    };
    refused(
        &with(vec![]),
        "`a/one` has contents, but the package ends without its data block",
    );
    refused(
        &with(vec![(2, 1, b"first")]),
        "`a/two` has contents, but the package ends",
    );
    refused(
        &with(vec![(2, 2, b"second"), (2, 1, b"first")]),
        "`a/one` is number 2/1, but the data block in its place is of 2/2",
    );
    refused(
        &with(vec![(9, 1, b"first"), (2, 2, b"second")]),
        "the data block in its place is of 9/1",
    );
    refused(
        &with(vec![(2, 1, b"first"), (2, 2, b"second"), (2, 3, b"third")]),
        "`data block 2/3` is of no file that has contents",
    );
    refused(
        &with(vec![(2, 1, b"first"), (2, 1, b"first"), (2, 2, b"second")]),
        "`a/two` is number 2/2, but the data block in its place is of 2/1",
    );
    refused(
        &with(vec![(2, 1, b"first!"), (2, 2, b"second")]),
        "`a/one` has 5 bytes by its entry, its data block has 6",
    );
    refused(
        &with(vec![(2, 1, b"First"), (2, 2, b"second")]),
        "its entry says a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
    );
    let file = |change: fn(&mut File)| {
        let mut made = Made::default();
        change(&mut made.directories[1].1[0]);
        made.bytes()
    };
    refused(&file(|file| file.hash.clear()), "`a/one` has no hash");
    refused(&file(|file| file.hash.truncate(31)), "`a/one` has no hash");
    refused(&file(|file| file.hash = vec![1; 20]), "has hash");
    refused(&file(|file| file.hash = vec![1; 64]), "has hash");
    refused(
        &file(|file| file.mode = 0o10_644),
        "`mode` is 10644, more than 7777",
    );
    refused(&file(|file| file.mode = u64::MAX), "more than 7777");
    refused(
        &file(|file| file.user = b"ro\not"),
        "`user` holds a NUL, line end",
    );
    refused(
        &file(|file| file.xattrs = vec![b"user.x"]),
        "without the NUL",
    );
    refused(
        &file(|file| file.xattrs = vec![b"\0x"]),
        "whose name is none",
    );
    refused(
        &file(|file| file.xattrs = vec![b"user.x\0a", b"user.x\0b"]),
        "has `user.x` twice",
    );
    refused(
        &file(|file| file.target = vec![0]),
        "`target` is shorter than the 2 bytes",
    );
    refused(
        &file(|file| file.target = vec![0, 0x40]),
        "`target` is of type 040000",
    );
    let huge = Made {
        directories: vec![(
            b"a",
            vec![File {
                size: u64::MAX,
                ..File::new(b"one", b"")
            }],
        )],
        data: vec![(1, 1, b"x")],
        ..Made::default()
    };
    refused(&huge.bytes(), "has 18446744073709551615 bytes by its entry");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let names = |directory: &'static [u8], file: &'static [u8]| {
        Made {
            directories: vec![(directory, vec![File::new(file, b"")])],
            data: vec![],
            ..Made::default()
        }
        .bytes()
    };
    assert_eq!(verdict(&names(b"a", b"b")), "2 entries");
    for (directory, file, why) in [
        (&b"/etc"[..], &b"x"[..], "`/etc` the name is absolute"),
        (b"..", b"x", "the name leads out of the archive"),
        (b"a/../b", b"x", "the name leads out of the archive"),
        (b"a//b", b"x", "an empty component"),
        (b"a/", b"x", "is no plain path, as `a` is"),
        (b"./a", b"x", "is no plain path, as `a` is"),
        (
            b"a\nb",
            b"x",
            "`name` holds a NUL, line end or control character: `a\\nb`",
        ),
        (b"a\0b", b"x", "`name` holds a NUL"),
        (b"\xff", b"x", "`name` is not UTF-8"),
        (b"a", b"", "is no name of a file"),
        (b"a", b"b/c", "is no name of a file"),
        (b"a", b"..", "the name leads out of the archive"),
        (b"", b"..", "the name leads out of the archive"),
        (b"", b".", "the name is empty"),
        (b"a", b"x\ny", "`name` holds a NUL, line end"),
        (b"a", b"x\0y", "`name` holds a NUL"),
    ] {
        refused(&names(directory, file), why);
    }
    let made = |directories: Directories| {
        Made {
            directories,
            data: vec![],
            ..Made::default()
        }
        .bytes()
    };
    let empty = |name| File::new(name, b"");
    refused(
        &made(vec![(b"a", vec![empty(b"x"), empty(b"x")])]),
        "`a/x` stands twice",
    );
    refused(
        &made(vec![(b"a", vec![]), (b"a", vec![])]),
        "`a` stands twice",
    );
    refused(
        &made(vec![(b"", vec![empty(b"a")]), (b"a", vec![])]),
        "`a` stands twice",
    );
    refused(
        &made(vec![(b"a", vec![empty(b"b")]), (b"a/b/c", vec![])]),
        "`a/b/c` lies in `a/b`, which is no directory",
    );
    refused(
        &made(vec![(b"a/b", vec![]), (b"", vec![empty(b"a")])]),
        "`a` is no directory, but `a/b` lies in it",
    );
    let through = File::link(b"link", Target::Symlink("/".to_owned()));
    refused(
        &made(vec![
            (b"", vec![through]),
            (b"link/etc", vec![empty(b"passwd")]),
        ]),
        "`link/etc` lies in `link`, which is no directory",
    );
    let hard = |target: &str| {
        made(vec![(
            b"a",
            vec![
                empty(b"one"),
                File::link(b"two", Target::HardLink(target.to_owned())),
            ],
        )])
    };
    assert_eq!(verdict(&hard("a/one")), "3 entries");
    for target in ["/etc/passwd", "../x", "a/two", "a", "a/none"] {
        let why = format!("`a/two` is a hard link to `{target}`, which is no earlier file");
        refused(&hard(target), &why);
    }
    let mut liar = Made {
        data: vec![(2, 1, b"first")],
        ..Made::default()
    };
    liar.directories[1].1[1].target = Target::HardLink("a/one".to_owned()).to_bytes();
    refused(
        &liar.bytes(),
        "`a/two` is a hard link to `a/one`, but says it has another hash",
    );
}

#[test]
fn what_a_package_says_of_itself_is_checked() {
    let with = |change: fn(&mut Made)| {
        let mut made = Made::default();
        change(&mut made);
        made.bytes()
    };
    refused(&with(|made| made.name = b""), "a info has no `name`");
    refused(&with(|made| made.version = b""), "a info has no `version`");
    refused(
        &with(|made| made.name = b"../x"),
        "`../x` can't name a package",
    );
    refused(
        &with(|made| made.name = b"a\nP:b"),
        "`name` holds a NUL, line end",
    );
    refused(
        &with(|made| made.version = b"one"),
        "`one` is not a version",
    );
    refused(
        &with(|made| made.description = b"a\nD:b"),
        "`description` holds a NUL, line end",
    );
    refused(
        &with(|made| made.description = b"\xff"),
        "`description` is not UTF-8",
    );
    refused(
        &with(|made| made.depends = vec![(b"a\nb", b"", 7)]),
        "`name` holds a NUL",
    );
    refused(
        &with(|made| made.depends = vec![(b"", b"1", 1)]),
        "a dependency has no `name`",
    );
    refused(
        &with(|made| made.depends = vec![(b"a", b"1", 32)]),
        "`match` is 32, which says nothing of versions",
    );
    let defects = |depends| {
        let made = Made {
            depends,
            ..Made::default()
        };
        let package = opened(&made.bytes());
        let defects = package.info().defects.clone();
        assert!(
            defects
                .iter()
                .all(|defect| defect.fatal && defect.field == "depend")
        );
        (package.info().depends.clone(), defects.len())
    };
    let none: &[u8] = b"";
    assert_eq!(defects(vec![(b"a b", none, 7)]), (vec![], 1));
    assert_eq!(defects(vec![(b"a>1", none, 7)]), (vec![], 1));
    assert_eq!(defects(vec![(b"a", b"one", 1)]), (vec![], 1));
    assert_eq!(defects(vec![(b"a@tag", none, 7)]), (vec![], 1));
    let (depends, count) = defects(vec![
        (b"a", none, 0),
        (b"b", b"1", 0),
        (b"c", b"1", 16 + 2),
        (b"d", b"1", 13),
        (b"e", b"1", 7),
        (b"f", none, 16 + 7),
        (b"g", b"Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=", 6),
    ]);
    let depends: Vec<String> = depends.iter().map(ToString::to_string).collect();
    assert_eq!(
        depends,
        [
            "a",
            "b=1",
            "!c<1",
            "d>~1",
            "e",
            "!f",
            "g><Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA="
        ]
    );
    assert_eq!(count, 0);
}

#[test]
fn targets_of_links_are_checked() {
    let link = |target: Vec<u8>| {
        let file = File {
            target,
            ..File::new(b"x", b"")
        };
        let made = Made {
            directories: vec![(b"a", vec![file])],
            data: vec![],
            ..Made::default()
        };
        verdict(&made.bytes()).replace(&"t".repeat(8), "")
    };
    let symlink = |target: &str| link(Target::Symlink(target.to_owned()).to_bytes());
    let device = |bytes: &[u8]| link([&[0x00, 0x20], bytes].concat());
    let deep = {
        let name = vec!["d"; 2049].join("/").leak();
        let made = Made {
            directories: vec![(name.as_bytes(), vec![])],
            data: vec![],
            ..Made::default()
        };
        verdict(&made.bytes()).replace("/d", "")
    };
    let verdicts = [
        symlink("../../etc/passwd"),
        symlink(""),
        symlink("a\0b"),
        symlink("a\nb"),
        link(vec![0x00, 0xa0, 0xff]),
        symlink(&"t".repeat(4096)),
        device(&[0; 7]),
        device(&[0; 8]),
        device(&[0; 9]),
        device(&[0xff; 8]),
        link(vec![0x00, 0x10, 0x00]),
        deep,
    ];
    insta::assert_snapshot!(verdicts.join("\n"), @"
    2 entries
    package can't be used: `target` is a link to nothing; get it again from its source
    package can't be used: `target` has a control character; get it again from its source
    package can't be used: `target` has a control character; get it again from its source
    package can't be used: `target` is not UTF-8; get it again from its source
    package can't be used: `target` is longer than any path; get it again from its source
    package can't be used: `target` is a device without a number of 8 bytes; get it again from its source
    2 entries
    package can't be used: `target` is a device without a number of 8 bytes; get it again from its source
    package can't be used: `target` is device 4294967295:4294967295, larger than the numbers 4095:1048575 that Linux has; get it again from its source
    package can't be used: `target` is a device without a number of 8 bytes; get it again from its source
    package `d` the name is longer than Linux allows
    ");
}
