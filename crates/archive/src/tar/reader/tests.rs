use std::collections::BTreeMap;
use std::process::Command;

use base::Sha1;
use proptest::prelude::*;

use super::*;
use crate::tar::Writer;

/// A header block with a right checksum.
fn block(name: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    Field::NAME.put_text(&mut block, name);
    Field::MODE.put_octal(&mut block, 0o644);
    Field::SIZE.put_octal(&mut block, size);
    block[Field::FLAG.start] = flag;
    Field::MAGIC.put_text(&mut block, b"ustar\x0000");
    sealed(block)
}

fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    Field::CHECKSUM.put_text(&mut block, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    Field::CHECKSUM.put_text(&mut block, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn with_data(name: &[u8], flag: u8, data: &[u8]) -> Vec<u8> {
    [&block(name, flag, data.len() as u64)[..], &padded(data)].concat()
}

fn ended(parts: &[&[u8]]) -> Vec<u8> {
    [parts.concat(), vec![0; 2 * BLOCK]].concat()
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = rest + (rest + 2).to_string().len();
    format!("{length} {key}={value}\n").into_bytes()
}

fn read_with(bytes: &[u8], limits: Limits, end: End) -> Result<Vec<(Header, Vec<u8>)>, ReadError> {
    let mut reader = Reader::new(bytes, limits).ending(end);
    let mut entries = Vec::new();
    while let Some(mut entry) = reader.next()? {
        let header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(ReadError::Io)?;
        entries.push((header, content));
    }
    assert!(reader.next()?.is_none(), "the end stays the end");
    Ok(entries)
}

fn read(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, ReadError> {
    read_with(bytes, Limits::default(), End::Blocks)
}

fn error(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

fn header() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let component =
        "[ -.0-~äß]{1,40}".prop_filter("`.` and `..`", |name| !matches!(&**name, "." | ".."));
    let path = proptest::collection::vec(component, 1..6).prop_map(|parts| parts.join("/"));
    let number = || prop_oneof![0..5000u64, 0..1u64 << 63];
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    let xattrs = proptest::collection::btree_map(
        "user\\.[a-z]{1,9}",
        proptest::collection::vec(any::<u8>(), 0..150),
        0..3,
    );
    (
        (path.clone(), path),
        0..7,
        (0..0o10000u32, number(), number(), number()),
        ("[a-zö]{0,40}", "[a-z]{0,40}"),
        xattrs,
        proptest::option::of(any::<[u8; 20]>()),
        content,
        (0..2_097_152u32, 0..256u32),
    )
        .prop_map(
            |((path, target), kind, numbers, names, xattrs, checksum, content, device)| {
                let (major, minor) = device;
                let kind = match kind {
                    0 => EntryKind::Directory,
                    1 => EntryKind::Symlink { target },
                    2 => EntryKind::HardLink { target },
                    3 => EntryKind::CharDevice { major, minor },
                    4 => EntryKind::Fifo,
                    _ => EntryKind::File {
                        size: content.len() as u64,
                    },
                };
                let content = if kind.size() > 0 { content } else { Vec::new() };
                let (mode, uid, gid, mtime) = numbers;
                let header = Header {
                    path,
                    kind,
                    mode,
                    uid,
                    gid,
                    user: names.0,
                    group: names.1,
                    mtime,
                    xattrs,
                    checksum: checksum.map(Sha1::from_bytes),
                };
                (header, content)
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(header(), 0..5)) {
        let mut writer = Writer::new(Vec::new());
        for (header, content) in &entries {
            writer.append(header, &content[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(read(&bytes).unwrap(), entries);
    }

    #[test]
    fn every_truncation_is_an_error(
        entries in proptest::collection::vec(header(), 1..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut writer = Writer::new(Vec::new());
        for (header, content) in &entries {
            writer.append(header, &content[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn damage_never_panics(
        entries in proptest::collection::vec(header(), 1..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        reseal in any::<bool>(),
        end in prop_oneof![Just(End::Blocks), Just(End::Segment), Just(End::Lenient)],
    ) {
        let mut writer = Writer::new(Vec::new());
        for (header, content) in &entries {
            writer.append(header, &content[..]).unwrap();
        }
        let mut bytes = writer.finish().unwrap();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
            if reseal {
                let start = place / BLOCK * BLOCK;
                let mut changed = [0; BLOCK];
                changed.copy_from_slice(&bytes[start..start + BLOCK]);
                bytes[start..start + BLOCK].copy_from_slice(&sealed(changed));
            }
        }
        let limits = Limits { bytes: 1 << 20, metadata: 4096, ..Limits::default() };
        let _ = read_with(&bytes, limits, end);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&noise);
        let mut start = [0; BLOCK];
        let count = noise.len().min(BLOCK);
        start[..count].copy_from_slice(&noise[..count]);
        let _ = read(&ended(&[&sealed(start), &padded(&noise)]));
        let _ = record::parse(&noise);
    }

    #[test]
    fn numbers_of_both_forms_are_read(value in 0..1u64 << 63, length in 9..12usize) {
        let mut field = vec![0; length];
        let bytes = value.to_be_bytes();
        field[length - 8..].copy_from_slice(&bytes);
        field[0] |= 0x80;
        prop_assert_eq!(number(&field), Some(value));
        let octal = format!(" {value:o} ");
        prop_assert_eq!(number(octal.as_bytes()), (value >> 63 == 0).then_some(value));
    }
}

#[test]
fn numbers_that_are_none() {
    for field in [
        &b"8"[..],
        b"12x4",
        b"-1",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xc0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
        b"7777777777777777777777",
        b"1777777777777777777777",
        b"",
    ] {
        assert_eq!(number(field), None, "{field:?}");
    }
    assert_eq!(number(b"        "), Some(0));
    assert_eq!(number(b"\0\0"), Some(0));
    assert_eq!(number(b"777777777777777777777"), Some((1 << 63) - 1));
    assert_eq!(
        time(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
        Some(0)
    );
}

#[test]
fn hostile_sizes_are_refused() {
    let sized = |size: &[u8]| {
        let mut header = block(b"big", b'0', 0);
        header[Field::SIZE.start..Field::SIZE.start + 12].copy_from_slice(size);
        ended(&[&sealed(header)])
    };
    let number = "entry `big`: its size is not a number from 0 to 2^63-1; the archive is damaged";
    assert_eq!(
        error(&sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        number
    );
    assert_eq!(
        error(&sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")),
        number
    );
    assert_eq!(error(&sized(b"-00000000001")), number);
    assert_eq!(
        error(&sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")),
        "the archive is refused: it unpacks to more than 17179869184 bytes; raise the limit if the \
         archive is meant to be that large"
    );
    let sized = |value: &str| {
        let data = record("size", value);
        ended(&[&with_data(b"x", b'x', &data), &block(b"big", b'0', 0)])
    };
    for value in [
        "-1",
        "9223372036854775808",
        "99999999999999999999",
        "1e3",
        " 1",
    ] {
        assert_eq!(error(&sized(value)), number, "{value}");
    }
    assert!(read(&sized("0")).is_ok());
}

#[test]
fn hostile_records_are_refused() {
    let damaged = "the extended header at byte 0 is damaged:";
    for (data, reason) in [
        (&b"5"[..], "a record's length is wrong"),
        (b"0 a=b\n", "a record's length is wrong"),
        (b"2 \n", "a record's length is wrong"),
        (b"-6 a=b\n", "a record's length is wrong"),
        (b"7 a=b\n", "a record's length is wrong"),
        (b"99999999999999999999 a=b\n", "a record's length is wrong"),
        (b"18446744073709551615 a=b\n", "a record's length is wrong"),
        (b"5 a=b\n", "a record is not `KEY=VALUE`"),
        (b"6 abc\n", "a record is not `KEY=VALUE`"),
        (b"6 =bc\n", "a record is not `KEY=VALUE`"),
        (b"11 path=a\0\n", "the value of `path` is wrong"),
        (b"11 mtime=x\n", "the value of `mtime` is wrong"),
        (
            b"19 SCHILY.xattr.=a\n",
            "the value of `SCHILY.xattr` is wrong",
        ),
        (
            b"30 APK-TOOLS.checksum.SHA1=00\n",
            "the value of `APK-TOOLS.checksum.SHA1` is wrong",
        ),
    ] {
        let bytes = ended(&[&with_data(b"x", b'x', data), &block(b"a", b'0', 0)]);
        assert_eq!(error(&bytes), format!("{damaged} {reason}"));
    }
    let global = record("path", "same");
    assert_eq!(
        error(&ended(&[
            &with_data(b"g", b'g', &global),
            &block(b"a", b'0', 0)
        ])),
        "the extended header at byte 0 is damaged: `path` stands in a global header, where it would \
         give every entry the same"
    );
    let huge = "the archive is refused: the metadata before an entry is longer than 1048576 bytes; the \
                archive is damaged or hostile";
    for flag in *b"xgLKV" {
        // Nothing of the size it claims is there, and nothing is reserved for it.
        assert_eq!(error(&block(b"x", flag, 1 << 32)), huge);
        // Many small ones do not get past it either.
        let many = with_data(b"x", flag, &record("comment", "c")).repeat(2100);
        assert_eq!(error(&many), huge);
    }
    let sparse = record("GNU.sparse.major", "1");
    assert_eq!(
        error(&ended(&[
            &with_data(b"x", b'x', &sparse),
            &block(b"a", b'0', 0)
        ])),
        "entry `a` is a sparse file, which is not supported; make the archive without it"
    );
    assert_eq!(
        error(&ended(&[&block(b"a", b'S', 0)])),
        "entry `a` is a sparse file, which is not supported; make the archive without it"
    );
    assert_eq!(
        error(&ended(&[&block(b"a", b'Z', 0)])),
        "entry `a` is of the kind `Z`, which is not supported; make the archive without it"
    );
}

#[test]
fn global_records_give_what_entries_lack() {
    let global = [
        record("uname", "builder"),
        record("mtime", "77.9"),
        record("comment", "c"),
    ];
    let own = record("uname", "");
    let bytes = ended(&[
        &with_data(b"g", b'g', &global.concat()),
        &block(b"a", b'0', 0),
        &with_data(b"x", b'x', &own),
        &block(b"b", b'0', 0),
    ]);
    let entries = read(&bytes).unwrap();
    let read: Vec<_> = entries
        .iter()
        .map(|(header, _)| (&*header.path, &*header.user, header.mtime))
        .collect();
    assert_eq!(read, [("a", "builder", 77), ("b", "", 77)]);
}

#[test]
fn old_checksums_of_apk_are_read() {
    let value = "Q1Kq5sNclPz7QV2+lfQIuc6R7oRu0=";
    let bytes = ended(&[
        &with_data(b"x", b'x', &record("APK-TOOLS.checksum.SHA1", value)),
        &block(b"a", b'0', 0),
    ]);
    let checksum = read(&bytes).unwrap()[0].0.checksum.unwrap();
    assert_eq!(checksum, Sha1::of(b"hello world"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let entry = |name: &[u8]| ended(&[&block(name, b'0', 0)]);
    for (name, message) in [
        (
            &b"../a"[..],
            "entry `../a` is refused: the name leads out of the archive by `..`",
        ),
        (
            b"a/../../b",
            "entry `a/../../b` is refused: the name leads out of the archive by `..`",
        ),
        (
            b"/etc/passwd",
            "entry `/etc/passwd` is refused: the name is absolute",
        ),
        (b"./", "entry `./` is refused: the name is empty"),
        (b"", "entry `` is refused: the name is empty"),
        (
            b"a//b",
            "entry `a//b` is refused: the name has an empty component or `.` inside",
        ),
        (
            b"a\nb",
            "entry `a\\nb` is refused: the name has a control character",
        ),
        (
            b"a\xffb",
            "entry `a\\xffb` is refused: the name is not UTF-8",
        ),
    ] {
        assert_eq!(error(&entry(name)), message);
    }
    // As a directory it is the root, which may be there.
    assert!(read(&ended(&[&block(b"./", b'5', 0)])).unwrap()[0].0.path == ".");
    let link = |flag, target: &[u8]| {
        let mut header = block(b"a", flag, 0);
        Field::TARGET.put_text(&mut header, target);
        ended(&[&sealed(header)])
    };
    assert_eq!(
        error(&link(b'1', b"../../etc/shadow")),
        "entry `a` is refused: it links to `../../etc/shadow`: the name leads out of the archive by \
         `..`"
    );
    assert_eq!(
        error(&link(b'1', b"/etc/shadow")),
        "entry `a` is refused: it links to `/etc/shadow`: the name is absolute"
    );
    assert_eq!(
        error(&link(b'2', b"")),
        "entry `a` is refused: it links to ``: the name is empty"
    );
    assert_eq!(
        error(&link(b'2', b"x\ny")),
        "entry `a` is refused: it links to `x\\ny`: the name has a control character"
    );
    assert!(read(&link(b'2', b"/etc/shadow")).is_ok());
    assert!(read(&link(b'2', b"../../x")).is_ok());
}

#[test]
fn the_end_is_checked() {
    let one = with_data(b"a", b'0', b"abc");
    let zeros = [0; BLOCK];
    let count = |bytes: &[u8], end| {
        read_with(bytes, Limits::default(), end)
            .map(|entries| entries.len())
            .map_err(|error| error.to_string())
    };
    let no_end = "the archive is truncated: it ends after an entry, without the two zero blocks that \
                  close an archive; fetch or make it again";
    let after = "the archive has data after its end, which readers would not see; make it again";
    let not_tar = "byte 1024 of the archive should start a header, but its checksum is wrong; the \
                   archive is damaged";
    let two = [&one[..], &zeros, &zeros, &one].concat();
    let cases: [(Vec<u8>, &str, &str, bool); 6] = [
        (one.clone(), no_end, "", true),
        ([&one[..], &zeros].concat(), no_end, no_end, true),
        ([&one[..], &zeros, &one].concat(), after, after, true),
        (
            [&one[..], &zeros, &[1; BLOCK]].concat(),
            not_tar,
            not_tar,
            true,
        ),
        (two, after, after, true),
        (
            [&one[..], &zeros, &zeros, &[0; 9000]].concat(),
            "",
            "",
            true,
        ),
    ];
    for (bytes, blocks, segment, lenient) in cases {
        let expected = |message: &str| match message {
            "" => Ok(1),
            message => Err(message.to_owned()),
        };
        assert_eq!(count(&bytes, End::Blocks), expected(blocks));
        assert_eq!(count(&bytes, End::Segment), expected(segment));
        assert_eq!(count(&bytes, End::Lenient).is_ok(), lenient);
    }
    assert_eq!(count(&[], End::Segment), Ok(0));
    assert_eq!(count(&[], End::Blocks), Err(no_end.to_owned()));
    assert_eq!(count(&one[..1000], End::Lenient), Ok(1));
    assert_eq!(
        count(&one[..514], End::Lenient),
        Err(
            "cannot read the archive: the archive is truncated: it ends inside `a`; fetch or make \
             it again"
                .to_owned()
        )
    );
    assert_eq!(
        count(&with_data(b"x", b'x', &record("path", "p")), End::Lenient),
        Err(
            "the archive is truncated: it ends inside an entry's metadata; fetch or make it again"
                .to_owned()
        )
    );
    assert_eq!(
        count(b"PK\x03\x04 this is a zip file", End::Lenient),
        Err("the archive is truncated: it ends inside a header; fetch or make it again".to_owned())
    );
    assert_eq!(
        count(&[b'P'; 2048], End::Lenient),
        Err("byte 0 of the archive should start a header, but its checksum is wrong; this is not a \
             tar archive"
            .to_owned())
    );
}

#[test]
fn limits_hold() {
    let one = with_data(b"a", b'0', b"abc");
    let limits = Limits {
        entries: 2,
        bytes: 8,
        ..Limits::default()
    };
    let refused = |bytes: &[u8]| {
        read_with(bytes, limits, End::Blocks)
            .unwrap_err()
            .to_string()
    };
    assert!(read_with(&ended(&[&one, &one]), limits, End::Blocks).is_ok());
    assert_eq!(
        refused(&ended(&[&one, &one, &one])),
        "the archive is refused: it has more than 2 entries; raise the limit if the archive is meant \
         to have that many"
    );
    assert_eq!(
        refused(&ended(&[&one, &with_data(b"b", b'0', b"123456")])),
        "the archive is refused: it unpacks to more than 8 bytes; raise the limit if the archive is \
         meant to be that large"
    );
}

/// What GNU tar writes in each of its formats, long names and all.
#[test]
fn archives_of_gnu_tar_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(130));
    std::fs::create_dir_all(root.join("d".repeat(120))).unwrap();
    std::fs::write(root.join(&long), "long").unwrap();
    std::fs::write(root.join("plain"), "plain").unwrap();
    std::os::unix::fs::symlink("t".repeat(150), root.join("symlink")).unwrap();
    std::fs::hard_link(root.join("plain"), root.join("second")).unwrap();
    for format in ["gnu", "oldgnu", "pax", "ustar", "v7"] {
        let archive = folder.path().join("archive.tar");
        let mut command = Command::new("tar");
        command.args(["--sort=name", "--mtime=@1700000000.5", "-cf"]);
        command.arg(&archive).arg(format!("--format={format}"));
        command.arg("-C").arg(&root);
        if matches!(format, "ustar" | "v7") {
            // They cannot hold the long ones.
            command.args(["plain", "second"]);
        } else {
            command.arg(".");
        }
        assert!(command.status().unwrap().success());
        let entries = read(&std::fs::read(&archive).unwrap()).unwrap();
        let found: BTreeMap<&str, (&EntryKind, &[u8])> = entries
            .iter()
            .map(|(header, content)| (&*header.path, (&header.kind, &content[..])))
            .collect();
        let target = EntryKind::HardLink {
            target: "plain".to_owned(),
        };
        assert_eq!(found["second"].0, &target, "{format}");
        assert_eq!(found["plain"].1, b"plain", "{format}");
        assert!(
            entries
                .iter()
                .all(|(header, _)| header.mtime == 1_700_000_000)
        );
        if matches!(format, "ustar" | "v7") {
            continue;
        }
        let target = EntryKind::Symlink {
            target: "t".repeat(150),
        };
        assert_eq!(found["symlink"].0, &target, "{format}");
        assert_eq!(found[&*long].1, b"long", "{format}");
        assert_eq!(found["."].0, &EntryKind::Directory, "{format}");
    }
}

/// A file that one program reads as a directory hides what follows from it, or shows it.
#[test]
fn only_v7_directories_are_named_by_a_slash() {
    let kind = |flag, size, strict: bool| {
        let mut bytes = block(b"opt/x/", flag, size).to_vec();
        bytes.resize(bytes.len() + size.next_multiple_of(512) as usize + 1024, 0);
        let mut reader = Reader::new(bytes.as_slice(), Limits::default());
        if strict {
            reader = reader.strict();
        }
        reader
            .next()
            .map(|entry| entry.unwrap().header().kind.clone())
            .map_err(|error| error.to_string())
    };
    let message = "entry `opt/x/` is a file whose name ends in `/`, which is not supported; make the archive without it";
    for flag in [Flag::FILE, Flag::OLD_FILE, Flag::CONTIGUOUS] {
        assert_eq!(kind(flag, 512, false), Err(message.to_owned()));
        // These are ustar headers.
        assert_eq!(kind(flag, 0, true), Err(message.to_owned()));
    }
    assert_eq!(kind(Flag::FILE, 0, false), Ok(EntryKind::File { size: 0 }));
    assert_eq!(kind(Flag::OLD_FILE, 0, false), Ok(EntryKind::Directory));
    assert!(kind(Flag::DIRECTORY, 0, true).is_ok());
    assert!(kind(Flag::DIRECTORY, 512, true).is_err());
    assert!(kind(Flag::GLOBAL, 0, true).unwrap_err().contains("global"));
}

#[test]
fn only_the_lenient_take_a_last_file_that_is_not_filled_up() {
    let mut writer = crate::tar::Writer::new(Vec::new());
    writer.append(&Header::file("a", 3), &b"abc"[..]).unwrap();
    let mut bytes = writer.into_inner();
    let read = |bytes: &[u8], end| {
        let mut reader = Reader::new(bytes, Limits::default()).ending(end);
        let mut seen = 0;
        while reader.next()?.is_some() {
            seen += 1;
        }
        Ok::<_, ReadError>(seen)
    };
    bytes.truncate(BLOCK + 3);
    assert_eq!(read(&bytes, End::Lenient).unwrap(), 1);
    assert!(matches!(
        read(&bytes, End::Segment),
        Err(ReadError::Truncated(_))
    ));
    bytes.truncate(BLOCK + 2);
    assert!(matches!(
        read(&bytes, End::Lenient),
        Err(ReadError::Truncated(_))
    ));
}
