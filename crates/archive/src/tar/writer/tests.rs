use base::{Digest, Sha1};

use super::*;

fn written(header: &Header) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let content = vec![b'x'; header.kind.size() as usize];
    writer.append(header, &content[..]).unwrap();
    writer.into_inner()
}

const BYTES_OF_GO: &str = "\
60d5cbca8fe33612 file
d6d405eb1453f27b empty file
299fd701363d585d directory
c2bc45a232753b18 symlink
20bf4e1ff5b4a537 hard link
2d976928eb0f4c74 device
762379a27bc71b70 block device
04366e0439a73eca pipe
914c4794321604e0 name of 100
2e435284f0e502bd name of 101
7d32c7ea5238997f name cut in two
30cd3baeed8d477e prefix too long
da6d84018b616a31 suffix too long
d5f1e002568f96e0 cut after a slash
c33626a8ae2c7e74 name not ASCII
e02ba5e8aa000b9f target of 100
389e4c85227d7a1f target of 101
4cacdb287bd466ff checksum
c544c282feb3fdab checksum and a name cut in two
32c801377ae4ed7d attributes
0e3d30dd602b2873 record of 99, 100 bytes
decb6c9a85c51cce large numbers
4bc2fbf6293759c4 largest numbers that fit
641e6bc8c8170827 long and foreign owners
";

/// The digests are those of what Go 1.26's archive/tar writes for the same headers.
#[test]
fn the_bytes_are_those_of_go() {
    let long = |length: usize| "n".repeat(length);
    let owned = |header: Header| Header {
        user: "root".to_owned(),
        group: "root".to_owned(),
        mtime: 1_700_000_000,
        ..header
    };
    let linked = |path: &str, target: String| Header::symlink(path, target);
    let cases: Vec<(&str, Header)> = vec![
        ("file", owned(Header::file("usr/bin/hello", 513))),
        ("empty file", Header::file("empty", 0)),
        ("directory", owned(Header::directory("usr/bin"))),
        ("symlink", linked("lib", "usr/lib".to_owned())),
        (
            "hard link",
            Header::new(
                "usr/bin/[",
                EntryKind::HardLink {
                    target: "usr/bin/test".to_owned(),
                },
            ),
        ),
        (
            "device",
            Header::new("dev/null", EntryKind::CharDevice { major: 1, minor: 3 }),
        ),
        (
            "block device",
            Header::new(
                "dev/vda1",
                EntryKind::BlockDevice {
                    major: 254,
                    minor: 1_048_575,
                },
            ),
        ),
        ("pipe", Header::new("run/pipe", EntryKind::Fifo)),
        ("name of 100", Header::file(long(100), 1)),
        ("name of 101", Header::file(long(101), 1)),
        (
            "name cut in two",
            Header::file(format!("{}/{}", long(155), long(100)), 1),
        ),
        (
            "prefix too long",
            Header::file(format!("{}/{}", long(156), long(100)), 1),
        ),
        (
            "suffix too long",
            Header::file(format!("{}/{}", long(20), long(101)), 1),
        ),
        (
            "cut after a slash",
            Header::file(format!("{}/{}", long(99), long(200)), 1),
        ),
        ("name not ASCII", Header::file("usr/share/grün/ß", 1)),
        ("target of 100", linked("a", long(100))),
        ("target of 101", linked("a", long(101))),
        (
            "checksum",
            Header {
                checksum: Some(Sha1::of(b"xxxxx")),
                ..owned(Header::file("etc/os-release", 5))
            },
        ),
        (
            "checksum and a name cut in two",
            Header {
                checksum: Some(Sha1::of(b"x")),
                ..Header::file(format!("{}/{}", long(60), long(60)), 1)
            },
        ),
        (
            "attributes",
            Header {
                xattrs: [
                    ("user.b", &b"1"[..]),
                    ("security.capability", b"\x01\0\0\x02\0\n="),
                    ("user.a", b""),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .into(),
                ..Header::file("usr/bin/ping", 1)
            },
        ),
        (
            "record of 99, 100 bytes",
            Header {
                xattrs: [("u.a", 79), ("u.b", 80), ("u.c", 81)]
                    .map(|(name, length)| (name.to_owned(), vec![b'v'; length]))
                    .into(),
                ..Header::directory("a/b")
            },
        ),
        (
            "large numbers",
            Header {
                uid: 2_097_152,
                gid: 1 << 40,
                mtime: 1 << 33,
                mode: 0o7777,
                ..Header::directory("srv")
            },
        ),
        (
            "largest numbers that fit",
            Header {
                uid: 2_097_151,
                gid: 2_097_151,
                mtime: (1 << 33) - 1,
                ..Header::directory("srv")
            },
        ),
        (
            "long and foreign owners",
            Header {
                user: long(33),
                group: "größe".to_owned(),
                ..Header::directory("srv")
            },
        ),
    ];
    let mut lines = String::new();
    for (name, header) in &cases {
        let digest = Digest::of(&written(header)).hex();
        lines.push_str(&format!("{} {name}\n", &digest[..16]));
    }
    assert_eq!(lines, BYTES_OF_GO);
}

#[test]
fn an_archive_ends_with_two_blocks_or_without() {
    let mut writer = Writer::new(Vec::new());
    writer.append(&Header::file("a", 3), &b"abc"[..]).unwrap();
    assert_eq!(writer.written(), 1024);
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes.len(), 2048);
    assert_eq!(bytes[512..], [b"abc".to_vec(), vec![0; 1533]].concat());
    assert!(Writer::new(Vec::new()).into_inner().is_empty());
}

#[test]
fn what_cannot_be_written_is_named() {
    let refused = |header: Header, content: &[u8]| {
        let mut writer = Writer::new(Vec::new());
        writer.append(&header, content).unwrap_err().to_string()
    };
    assert_eq!(
        refused(Header::file("a", 3), b"ab"),
        "the content of `a` is shorter than the 3 bytes it was announced with; nothing may change \
         files while they are archived"
    );
    assert_eq!(
        refused(Header::file("a", 3), b"abcd"),
        "the content of `a` is longer than the 3 bytes it was announced with; nothing may change \
         files while they are archived"
    );
    let attribute = |name: &str, length| Header {
        xattrs: [(name.to_owned(), vec![0; length])].into(),
        ..Header::file("a", 0)
    };
    let device = EntryKind::CharDevice {
        major: 1 << 21,
        minor: 0,
    };
    for (header, what) in [
        (Header::file("", 0), "name"),
        (Header::file("a\0b", 0), "name"),
        (Header::file("a/", 0), "name (it ends with a slash)"),
        (Header::symlink("a", "b\0"), "link target"),
        (Header::new("a", device), "device number"),
        (attribute("user.a=b", 1), "extended attribute's name"),
        (attribute("user.a", 1 << 20), "metadata (longer than 1 MiB)"),
        (
            Header {
                mtime: u64::MAX,
                ..Header::directory("a")
            },
            "time",
        ),
    ] {
        let path = header.path.clone();
        assert_eq!(
            refused(header, b""),
            format!("`{path}` cannot be archived: its {what} has no form in tar")
        );
    }
}
