//! Packages and indexes of format 2 whose archives no writer of ours would write: each is refused,
//! and its refusal says why. Those of format 3 are in [`crate::v3`].

use std::fs;
use std::path::Path;

use archive::Limits;
use archive::gzip::{Members, compress};
use base::Digest;
use polpo_apk::index::Index;
use polpo_apk::package::{Package, PackageInfo, Written, write};
use polpo_apk::repository::Repository;
use polpo_apk::signature::Keyring;

use crate::sample::{EPOCH, contents, info, sample, signer, tree};

const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    entries: 10_000,
    metadata: 1 << 16,
    ratio: 500,
    memory: 64 << 20,
};

/// An entry of an archive, written by hand.
struct Entry<'e> {
    name: &'e [u8],
    kind: u8,
    link: &'e [u8],
    /// The header's field, should it lie.
    size: Option<[u8; 12]>,
    contents: &'e [u8],
}

impl<'e> Entry<'e> {
    fn new(name: &'e [u8], kind: u8, contents: &'e [u8]) -> Entry<'e> {
        Entry {
            name,
            kind,
            link: b"",
            size: None,
            contents,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut block = [0; 512];
        let mut put = |place: usize, bytes: &[u8]| {
            block[place..place + bytes.len()].copy_from_slice(bytes);
        };
        put(0, self.name);
        put(100, b"0000644\0");
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.contents.len()).as_bytes());
        if let Some(size) = &self.size {
            put(124, size);
        }
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = block.to_vec();
        bytes.extend(self.contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// A directory `usr`, then these entries, then the end.
fn data_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut data = Entry::new(b"usr", b'5', b"").bytes();
    for entry in entries {
        data.extend(entry.bytes());
    }
    data.extend([0; 1024]);
    compress(&data)
}

/// What PAX calls a record: its own length, a key and a value.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn control_of(pkginfo: &[u8], data: &[u8]) -> Vec<u8> {
    let datahash = format!("datahash = {}\n", Digest::of(data).hex());
    let pkginfo = [pkginfo, datahash.as_bytes()].concat();
    compress(&Entry::new(b".PKGINFO", b'0', &pkginfo).bytes())
}

const PKGINFO: &[u8] = b"pkgname = forged\npkgver = 1\n";

/// What is said of a package of these bytes.
fn verdict(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forged.apk");
    fs::write(&file, bytes).unwrap();
    let used = Package::open(&file).and_then(|package| {
        let into = folder.path().join("into");
        fs::create_dir(&into).unwrap();
        let manifest = package.manifest(&LIMITS);
        let unpacked = package.unpack(&into, &LIMITS);
        assert_eq!(manifest.is_ok(), unpacked.is_ok());
        if manifest.is_err() {
            assert_eq!(
                fs::read_dir(&into).unwrap().count(),
                0,
                "nothing is unpacked"
            );
        }
        manifest
    });
    match used {
        Ok(manifest) => format!("{} entries", manifest.entries.len()),
        Err(error) => error
            .to_string()
            .replace(folder.path().to_str().unwrap(), ""),
    }
}

fn with_data(data: &[u8]) -> String {
    verdict(&[control_of(PKGINFO, data), data.to_vec()].concat())
}

fn with_entries(entries: &[Entry<'_>]) -> String {
    with_data(&data_of(entries))
}

/// The entry `usr/x` behind these records.
fn with_records(records: &[Vec<u8>]) -> String {
    let records = records.concat();
    with_entries(&[
        Entry::new(b"pax", b'x', &records),
        Entry::new(b"usr/x", b'0', b"x"),
    ])
}

#[test]
fn what_is_forged_for_these_tests_is_fine() {
    assert_eq!(with_entries(&[]), "1 entries");
    assert_eq!(with_records(&[record("mtime", b"1.5")]), "2 entries");
    assert_eq!(with_records(&[record("path", b"usr/y")]), "2 entries");
}

#[test]
fn links_that_lead_out_of_a_package_are_refused() {
    let hard = |link: &[u8]| {
        with_entries(&[
            Entry::new(b"usr/x", b'0', b"x"),
            Entry {
                link,
                ..Entry::new(b"usr/y", b'1', b"")
            },
        ])
    };
    let through = |link: &[u8]| {
        with_entries(&[
            Entry {
                link,
                ..Entry::new(b"usr/x", b'2', b"")
            },
            Entry {
                link: b"usr/x/passwd",
                ..Entry::new(b"usr/y", b'1', b"")
            },
        ])
    };
    let errors = [
        hard(b"/etc/passwd"),
        hard(b"../etc/passwd"),
        hard(b"usr/../../etc/passwd"),
        hard(b"usr/y"),
        hard(b""),
        through(b"/etc"),
        through(b"../../etc"),
        with_records(&[record("linkpath", b"/etc"), record("path", b"/etc/x")]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    package /forged.apk can't be used: its data member: entry `usr/y` is refused: it links to `/etc/passwd`: the name is absolute
    package /forged.apk can't be used: its data member: entry `usr/y` is refused: it links to `../etc/passwd`: the name leads out of the archive by `..`
    package /forged.apk can't be used: its data member: entry `usr/y` is refused: it links to `usr/../../etc/passwd`: the name leads out of the archive by `..`
    package /forged.apk: `usr/y` is a hard link to `usr/y`, which is no earlier file
    package /forged.apk can't be used: its data member: entry `usr/y` is refused: it links to ``: the name is empty
    package /forged.apk: `usr/y` is a hard link to `usr/x/passwd`, which is no earlier file
    package /forged.apk: `usr/y` is a hard link to `usr/x/passwd`, which is no earlier file
    package /forged.apk can't be used: its data member: entry `/etc/x` is refused: the name is absolute
    ");
}

#[test]
fn controls_in_names_and_links_are_refused() {
    let link = |target: &[u8]| {
        with_entries(&[Entry {
            link: target,
            ..Entry::new(b"usr/x", b'2', b"")
        }])
    };
    let errors = [
        with_records(&[record("path", b"usr/a\0b")]),
        with_records(&[record("path", b"usr/a\nb")]),
        with_records(&[record("path", b"usr/\xff")]),
        with_records(&[record("uname", b"ro\0ot")]),
        with_records(&[record("SCHILY.xattr.user.a\0b", b"x")]),
        with_records(&[record("SCHILY.xattr.", b"x")]),
        link(b"a\nb"),
        link(b""),
        with_records(&[b"12 path=usr\0".to_vec()]),
        with_records(&[b"99 path=usr/y\n".to_vec()]),
        with_records(&[b"0 \n".to_vec()]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: the value of `path` is wrong
    package /forged.apk can't be used: its data member: entry `usr/a\nb` is refused: the name has a control character
    package /forged.apk can't be used: its data member: entry `usr/\xff` is refused: the name is not UTF-8
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: the value of `uname` is wrong
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: the value of `SCHILY.xattr` is wrong
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: the value of `SCHILY.xattr` is wrong
    package /forged.apk can't be used: its data member: entry `usr/x` is refused: it links to `a\nb`: the name has a control character
    package /forged.apk can't be used: its data member: entry `usr/x` is refused: it links to ``: the name is empty
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: a record is not `KEY=VALUE`
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: a record's length is wrong
    package /forged.apk can't be used: its data member: the extended header at byte 512 is damaged: a record's length is wrong
    ");
}

#[test]
fn huge_sizes_are_refused() {
    let sized = |size: &[u8; 12]| {
        with_entries(&[Entry {
            size: Some(*size),
            ..Entry::new(b"usr/x", b'0', b"x")
        }])
    };
    let base256 = |bytes: [u8; 8]| {
        let mut size = [0; 12];
        size[0] = 0x80;
        size[4..].copy_from_slice(&bytes);
        sized(&size)
    };
    let metadata = vec![b'n'; LIMITS.metadata as usize + 1];
    let many: Vec<Vec<u8>> = (0..LIMITS.entries)
        .map(|number| Entry::new(format!("usr/{number}").as_bytes(), b'0', b"").bytes())
        .collect();
    let many = [
        Entry::new(b"usr", b'5', b"").bytes(),
        many.concat(),
        vec![0; 1024],
    ]
    .concat();
    let errors = [
        sized(b"77777777777\0"),
        base256([0xff; 8]),
        base256([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        sized(&[0xff; 12]),
        sized(b"not a number"),
        with_records(&[record("size", b"18446744073709551615")]),
        with_records(&[record("size", b"18446744073709551616")]),
        with_records(&[record("size", b"-1")]),
        with_entries(&[Entry::new(b"long", b'L', &metadata)]),
        with_entries(&[Entry::new(b"pax", b'x', &metadata)]),
        with_entries(&[Entry {
            size: Some(*b"77777777777\0"),
            ..Entry::new(b"pax", b'x', b"")
        }]),
        with_data(&compress(&many)),
        // More than 64 MiB of zeros, in very few bytes.
        with_data(&compress(&vec![0; 80 << 20])),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    package /forged.apk can't be used: its data member: the archive is refused: it unpacks to more than 16777216 bytes; raise the limit if the archive is meant to be that large
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: the archive is refused: it unpacks to more than 16777216 bytes; raise the limit if the archive is meant to be that large
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: entry `usr/x`: its size is not a number from 0 to 2^63-1; the archive is damaged
    package /forged.apk can't be used: its data member: the archive is refused: the metadata before an entry is longer than 65536 bytes; the archive is damaged or hostile
    package /forged.apk can't be used: its data member: the archive is refused: the metadata before an entry is longer than 65536 bytes; the archive is damaged or hostile
    package /forged.apk can't be used: its data member: the archive is refused: the metadata before an entry is longer than 65536 bytes; the archive is damaged or hostile
    package /forged.apk can't be used: its data member: the archive is refused: it has more than 10000 entries; raise the limit if the archive is meant to have that many
    package /forged.apk can't be used: its data member: cannot read the archive: the gzip stream is refused: it unpacks to more than 16777216 bytes; raise the limit if the archive is meant to be that large
    ");
}

#[test]
fn deep_nesting_is_refused() {
    // Each directory in the one before; as text, longer than any path may be.
    let mut entries = Vec::new();
    let mut path = "usr".to_owned();
    while path.len() < 4096 {
        path.push_str("/d");
        entries.push(record("path", path.as_bytes()));
    }
    let nested = |entries: &[Vec<u8>]| {
        let mut data = Entry::new(b"usr", b'5', b"").bytes();
        for records in entries {
            data.extend(Entry::new(b"pax", b'x', records).bytes());
            data.extend(Entry::new(b"d", b'5', b"").bytes());
        }
        data.extend([0; 1024]);
        with_data(&compress(&data)).replace("/d", "")
    };
    let component = [&b"usr/"[..], &[b'x'; 256]].concat();
    let long = with_records(&[record("path", &component)]).replace(&"x".repeat(8), "");
    let errors = [nested(&entries), long];
    insta::assert_snapshot!(errors.join("\n"), @"
    package /forged.apk can't be used: its data member: entry `usr/…` is refused: the name is longer than Linux allows
    package /forged.apk can't be used: its data member: entry `usr/xxxx…` is refused: the name is longer than Linux allows
    ");
}

#[test]
fn duplicated_members_are_refused() {
    let (_folder, file, _) = sample();
    let bytes = fs::read(&file).unwrap();
    let mut members = Members::new(bytes.as_slice(), LIMITS);
    let mut next = || {
        let member = members.next().unwrap().unwrap();
        member.finish().unwrap().compressed as usize
    };
    let (signature, control) = (next(), next());
    let (signature, rest) = bytes.split_at(signature);
    let (control, data) = rest.split_at(control);
    let joined = |parts: &[&[u8]]| {
        let verdict = verdict(&parts.concat());
        // What the data hash is depends on the compressor.
        match (verdict.split_once(" sha256:"), verdict.rsplit_once(';')) {
            (Some((before, _)), Some((_, after))) => format!("{before} …;{after}"),
            _ => verdict,
        }
    };
    let pkginfo = |times: usize| {
        let data = data_of(&[]);
        let one = Entry::new(b".PKGINFO", b'0', PKGINFO).bytes();
        verdict(&[compress(&one.repeat(times)), data].concat())
    };
    let errors = [
        joined(&[signature, control, data]),
        // Several keys may sign.
        joined(&[signature, signature, control, data]),
        joined(&[signature, control, control, data]),
        joined(&[signature, control, signature, data]),
        joined(&[control, signature, data]),
        joined(&[signature, control, data, data]),
        joined(&[signature, control, data, control]),
        joined(&[signature, control, data, b"more"]),
        joined(&[signature, control]),
        joined(&[signature]),
        pkginfo(2),
        verdict(
            &[
                control_of(b"pkgname = a\npkgver = 1\npkgname = b\n", &data_of(&[])),
                data_of(&[]),
            ]
            .concat(),
        ),
        with_entries(&[Entry::new(b"usr", b'5', b"")]),
        with_records(&[record("path", b"usr/a"), record("path", b"usr/b")]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    21 entries
    21 entries
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    the data of package /forged.apk is not what its .PKGINFO says: datahash …; get it again from its source
    package /forged.apk is truncated: it ends within its data member; get it again from its source
    package /forged.apk is truncated: it ends within its control member; get it again from its source
    package /forged.apk: `.PKGINFO` stands twice in the control member
    1 entries
    package /forged.apk: `usr` stands twice in the data
    2 entries
    ");
}

#[test]
fn fields_of_a_package_are_lines() {
    let with = |lines: &[u8]| {
        let data = data_of(&[]);
        verdict(&[control_of(lines, &data), data].concat())
    };
    let errors = [
        with(b"pkgname = a\0b\npkgver = 1\n"),
        with(b"pkgname = a\rb\npkgver = 1\n"),
        with(b"pkgname = ../x\npkgver = 1\n"),
        with(b"pkgname = a\npkgver = 1\0\n"),
        with(b"pkgname = a\npkgver = 1/../../x\n"),
        with(b"pkgname = a\npkgver = 1\npkgdesc = \xff\n"),
        with(b"pkgname = a\npkgver = 1\nsize = 18446744073709551616\n"),
        with(b"pkgname = a\npkgver = 1\nsize = -1\n"),
        with(b"pkgname = a\npkgver = 1\nbuilddate = 0x10\n"),
        with(&[b"pkgname = ", &[b'a'; 300][..], b"\npkgver = 1\n"].concat())
            .replace(&"a".repeat(300), "aaa…"),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    package /forged.apk: `a\0b` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first
    package /forged.apk: `a\rb` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first
    package /forged.apk: `../x` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first
    package /forged.apk: one of its versions can't be written: `1\0` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    package /forged.apk: one of its versions can't be written: `1/../../x` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    package /forged.apk: its .PKGINFO is not UTF-8
    package /forged.apk: `size` in its .PKGINFO is `18446744073709551616`, not a number
    package /forged.apk: `size` in its .PKGINFO is `-1`, not a number
    package /forged.apk: `builddate` in its .PKGINFO is `0x10`, not a number
    package /forged.apk: `aaa…` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first
    ");
    // What reads does not become a line of its own when it is written.
    let read = PackageInfo::parse(b"pkgname = a\npkgver = 1\npkgdesc = x\0y\n").unwrap();
    insta::assert_snapshot!(read.to_pkginfo().unwrap_err(), @r"`pkgdesc` has a line end or control character in `x\0y`; write it in one line");
    let read = PackageInfo::parse(b"pkgname = a\npkgver = 1\ndepend = b\0 c\n").unwrap();
    let defects: Vec<_> = read.defects.iter().map(|defect| &defect.reason).collect();
    insta::assert_debug_snapshot!((read.depends, defects), @r#"
    (
        [
            Dependency {
                name: "c",
                tag: None,
                constraint: None,
                conflict: false,
            },
        ],
        [
            "`b\\0` holds '\\0', which no name has; expected name[@tag][<>=~version]",
        ],
    )
    "#);
}

#[test]
fn a_signature_over_another_package_or_index_is_none() {
    let (folder, file, _) = sample();
    let signed = fs::read(&file).unwrap();
    let length = |bytes: &[u8]| {
        let mut members = Members::new(bytes, LIMITS);
        let member = members.next().unwrap().unwrap();
        member.finish().unwrap().compressed as usize
    };
    let signature = &signed[..length(&signed)];
    let tree = tree();
    let mut other = contents(&tree);
    other.info = PackageInfo {
        name: "other".to_owned(),
        ..info()
    };
    let place = folder.path().join("other.apk");
    let _: Written = write(&place, &other, Some(signer()), EPOCH).unwrap();
    let other = fs::read(&place).unwrap();
    let rest = &other[length(&other)..];
    fs::write(&place, [signature, rest].concat()).unwrap();
    let keyring: Keyring = signer().keyring();
    let package = Package::open(&place).unwrap();
    let of_package = package.verify(&keyring).unwrap_err().to_string();
    let index = Index {
        entries: Vec::new(),
        ..Index::default()
    };
    let unsigned = index.to_bytes(None, EPOCH).unwrap();
    let borrowed = [signature, &unsigned].concat();
    let of_index = Index::from_bytes(Path::new("APKINDEX.tar.gz"), &borrowed, Some(&keyring));
    let of_index = of_index.unwrap_err().to_string();
    let errors = [
        of_package.replace(folder.path().to_str().unwrap(), ""),
        of_index,
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    package /other.apk: the signature by tester.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source
    index APKINDEX.tar.gz: the signature by tester.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source
    ");
}

/// What is said of an index of these entries.
fn index_of(entries: &[Entry<'_>]) -> String {
    let mut tar: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    tar.extend([0; 1024]);
    index_verdict(&compress(&tar))
}

fn index_verdict(bytes: &[u8]) -> String {
    match Index::from_bytes(Path::new("APKINDEX.tar.gz"), bytes, None) {
        Ok(index) => format!("{} packages", index.entries.len()),
        Err(error) => error.to_string(),
    }
}

const RECORD: &str = "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1\n";

#[test]
fn hostile_archives_are_no_index() {
    let apkindex = |contents| Entry::new(b"APKINDEX", b'0', contents);
    let record = RECORD.as_bytes();
    let long = Entry {
        size: Some(*b"77777777777\0"),
        ..apkindex(record)
    };
    let signature = Entry {
        size: Some(*b"77777777777\0"),
        ..Entry::new(b".SIGN.RSA.x.rsa.pub", b'0', b"")
    };
    // Larger than a package's control files may be.
    let large = format!("{RECORD}T:{}\n", "x".repeat(17 << 20));
    let whole = compress(&[apkindex(record).bytes(), vec![0; 1024]].concat());
    let errors = [
        index_of(&[apkindex(record)]),
        index_of(&[apkindex(record), apkindex(record)]),
        index_of(&[Entry::new(b"DESCRIPTION", b'0', b"x")]),
        index_of(&[Entry {
            link: b"/etc/passwd",
            ..Entry::new(b"APKINDEX", b'2', b"")
        }]),
        index_of(&[Entry::new(b"APKINDEX", b'5', b"")]),
        index_of(&[Entry::new(b"../APKINDEX", b'0', record)]),
        index_of(&[long]),
        index_of(&[signature]),
        index_of(&[Entry::new(b".SIGN.RSA.x.rsa.pub", b'0', large.as_bytes())]),
        index_of(&[apkindex(large.as_bytes())]),
        index_of(&[apkindex(b"P:\xff\n")]),
        index_verdict(&[&whole[..], &whole].concat()),
        index_verdict(&[&whole[..], b"more"].concat()).replace(&whole.len().to_string(), "END"),
        index_verdict(&compress(&vec![0; 80 << 20])),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    1 packages
    APKINDEX.tar.gz is not an apk index: it holds two APKINDEX
    APKINDEX.tar.gz is not an apk index: it holds no APKINDEX
    APKINDEX.tar.gz is not an apk index: its APKINDEX is no file
    APKINDEX.tar.gz is not an apk index: its APKINDEX is no file
    index APKINDEX.tar.gz is damaged: entry `../APKINDEX` is refused: the name leads out of the archive by `..`; get it again from its source
    index APKINDEX.tar.gz, or a file in it, is larger than 314572800 bytes
    index APKINDEX.tar.gz, or a file in it, is larger than 314572800 bytes
    index APKINDEX.tar.gz, or a file in it, is larger than 16777216 bytes
    1 packages
    APKINDEX.tar.gz is not an apk index: its APKINDEX is not UTF-8
    APKINDEX.tar.gz is not an apk index: another gzip member follows its contents
    index APKINDEX.tar.gz is damaged: byte END of the stream should start a gzip member but does not; something was appended to the file; get it again from its source
    index APKINDEX.tar.gz is damaged: cannot read the archive: the gzip stream is refused: more than 500 bytes come out of each compressed byte; it looks like a decompression bomb; get it again from its source
    ");
}

/// The text of an index takes names as they come; none of them leads out of its repository.
#[test]
fn names_of_an_index_lead_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let place = |fields: &str| {
        let text = format!("C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\n{fields}\n\n");
        let index = Index {
            entries: Index::parse(&text).unwrap(),
            ..Index::default()
        };
        let arch = folder.path().join("x86_64");
        fs::create_dir_all(&arch).unwrap();
        index
            .write(&arch.join("APKINDEX.tar.gz"), None, EPOCH)
            .unwrap();
        let repository = Repository::folder(folder.path());
        let repository = repository.open(base::Arch::X86_64, None, None).unwrap();
        match repository.package_path(&index.entries[0]) {
            Ok(path) => path.display().to_string(),
            Err(error) => error.to_string(),
        }
        .replace(folder.path().to_str().unwrap(), "ROOT")
    };
    let places = [
        place("P:a\nV:1\nA:x86_64"),
        place("P:../a\nV:1\nA:x86_64"),
        place("P:/etc/a\nV:1\nA:x86_64"),
        place("P:a\nV:1/../../x\nA:x86_64"),
        place("P:a\0b\nV:1\nA:x86_64"),
        place("P:a\rb\nV:1\nA:x86_64"),
        place("P:..\nV:1\nA:x86_64"),
        place("P:a\nV:1\nA:../x86_64"),
    ];
    insta::assert_snapshot!(places.join("\n"), @r"
    ROOT/x86_64/a-1.apk
    repository ROOT lists a package `x86_64/../a-1.apk`, which can't be a file's name
    repository ROOT lists a package `x86_64//etc/a-1.apk`, which can't be a file's name
    repository ROOT lists a package `x86_64/a-1/../../x.apk`, which can't be a file's name
    repository ROOT lists a package `x86_64/a\0b-1.apk`, which can't be a file's name
    repository ROOT lists a package `x86_64/a\rb-1.apk`, which can't be a file's name
    ROOT/x86_64/..-1.apk
    repository ROOT lists a package `../x86_64/a-1.apk`, which can't be a file's name
    ");
}

/// As deep as a path may be: nothing that walks it needs much of the stack.
#[test]
fn a_database_of_deep_paths_is_read() {
    let deep = vec!["d"; 2048].join("/");
    let text = format!("C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1\nF:{deep}\nR:x\n\n");
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("lib/apk/db/installed", text.as_str()),
        ("etc/apk/world", "a\n"),
        ("etc/apk/arch", "x86_64\n"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    use polpo_apk::install::{OpenOptions, Owner, Root};
    let opened = Root::open(root.path(), &OpenOptions::default(), &base::Silent).unwrap();
    assert!(matches!(opened.owner(&deep), Some(Owner::Directory(_))));
    let file = format!("{deep}/x");
    assert!(matches!(opened.owner(&file), Some(Owner::File(_))));
    let longer = text.replace(&deep, &vec!["d"; 2049].join("/"));
    let error = polpo_apk::database::parse(&longer).unwrap_err().to_string();
    let error = error.replace(&vec!["d"; 2049].join("/"), "d/…");
    insta::assert_snapshot!(error, @"line 4: `F:d/…` is no safe path");
}
