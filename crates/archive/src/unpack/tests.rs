use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::tar::{End, ReadError, Writer};
use crate::{Limits, gzip};

type Entries<'a> = &'a [(Header, &'a [u8])];

fn archive(entries: Entries<'_>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (header, content) in entries {
        writer.append(header, *content).unwrap();
    }
    writer.finish().unwrap()
}

fn hard_link(path: &str, target: &str) -> Header {
    Header::new(
        path,
        EntryKind::HardLink {
            target: target.to_owned(),
        },
    )
}

/// A folder to unpack into, and beside it one that nobody may touch.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("into")).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        std::fs::write(folder.path().join("outside/secret"), "secret").unwrap();
        Site { folder }
    }

    fn inside(&self) -> PathBuf {
        self.folder.path().join("into")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    fn unpack(&self, entries: Entries<'_>, options: &Options) -> Result<Unpacked, UnpackError> {
        let bytes = archive(entries);
        unpack(
            tar::Reader::new(&bytes[..], Limits::default()),
            &self.inside(),
            options,
        )
    }

    fn refused(&self, entries: Entries<'_>, options: &Options) -> String {
        let error = self.unpack(entries, options).unwrap_err().to_string();
        self.assert_outside_untouched();
        error
    }

    fn assert_outside_untouched(&self) {
        let inside: Vec<_> = std::fs::read_dir(self.outside())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(inside, ["secret"]);
        let secret = self.outside().join("secret");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(std::fs::metadata(&secret).unwrap().nlink(), 1);
        let beside: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert_eq!(beside.len(), 2);
    }

    fn mode(&self, path: &str) -> u32 {
        let metadata = std::fs::symlink_metadata(self.inside().join(path)).unwrap();
        metadata.mode() & 0o7777
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.inside().join(path)).unwrap()
    }
}

const ANY: Options = Options {
    strip_components: 0,
    ownership: Ownership::Ignore,
    times: Times::Keep,
    set_id: false,
    xattrs: Xattrs::Ignore,
    special: Special::Refuse,
    checksums: Checksums::Ignore,
    names: Names::Any,
    existing: Existing::Replace,
    imperfect: Imperfect::Refuse,
};

fn usual() -> Vec<(Header, &'static [u8])> {
    let with = |header: Header, mode, mtime| Header {
        mode,
        mtime,
        ..header
    };
    vec![
        (with(Header::directory("locked"), 0o555, 1_000), b""),
        (with(Header::directory("locked/in"), 0o500, 2_000), b""),
        (
            with(Header::file("locked/in/file", 4), 0o444, 3_000),
            b"file",
        ),
        (with(Header::file("locked/tool", 2), 0o6755, 4_000), b"#!"),
        (with(Header::directory("tmp"), 0o3777, 5_000), b""),
        (
            with(Header::symlink("locked/link", "/etc/passwd"), 0o777, 6_000),
            b"",
        ),
        (hard_link("locked/second", "locked/in/file"), b""),
        (with(Header::file("made/up/parents", 0), 0o600, 7_000), b""),
    ]
}

fn assert_usual(site: &Site, unpacked: Unpacked) {
    assert_eq!(
        unpacked,
        Unpacked {
            entries: 8,
            bytes: 6,
            imperfect: Vec::new(),
        }
    );
    for (path, mode) in [
        ("locked", 0o555),
        ("locked/in", 0o500),
        ("locked/in/file", 0o444),
        ("locked/tool", 0o755),
        ("tmp", 0o1777),
        ("made", 0o755),
        ("made/up", 0o755),
        ("made/up/parents", 0o600),
    ] {
        assert_eq!(site.mode(path), mode, "{path}");
    }
    let metadata = |path: &str| std::fs::symlink_metadata(site.inside().join(path)).unwrap();
    for (path, mtime) in [
        ("locked", 1_000),
        ("locked/in", 2_000),
        ("locked/in/file", 3_000),
        ("locked/link", 6_000),
    ] {
        assert_eq!(metadata(path).mtime(), mtime, "{path}");
    }
    assert_eq!(
        metadata("locked/second").ino(),
        metadata("locked/in/file").ino()
    );
    assert_eq!(
        std::fs::read_link(site.inside().join("locked/link")).unwrap(),
        Path::new("/etc/passwd")
    );
}

/// Says which umask a test is to set, where it has the process for itself.
const UMASK: &str = "POLPO_TEST_UMASK";

/// So that the temporary folder can be removed again by whoever runs this.
fn unlock(site: &Site) {
    for path in ["locked", "locked/in"] {
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(site.inside().join(path), permissions).unwrap();
    }
}

#[test]
fn trees_are_unpacked_with_modes_and_times() {
    let site = Site::new();
    if let Some(umask) = std::env::var_os(UMASK) {
        let umask = u32::from_str_radix(umask.to_str().unwrap(), 8).unwrap();
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    let unpacked = site.unpack(&usual(), &Options::default()).unwrap();
    assert_usual(&site, unpacked);
    unlock(&site);
}

/// Runs the test above again in another process: with an umask that takes everything away, and as an
/// ordinary user where this one is root.
#[test]
fn neither_the_umask_nor_the_user_changes_the_result() {
    let own = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(own, &program).unwrap();
    let test = "unpack::tests::trees_are_unpacked_with_modes_and_times";
    for umask in ["0777", "0077", "0000"] {
        let drop = if rustix::process::geteuid().is_root() {
            "setpriv --reuid=65534 --regid=65534 --clear-groups"
        } else {
            "env"
        };
        let script = format!(
            "export TMPDIR={0} {UMASK}={umask}; exec {drop} {0}/test --exact {test}",
            folder.path().display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "umask {umask}: {stdout}"
        );
    }
}

#[test]
fn options_choose_what_is_kept() {
    let site = Site::new();
    let options = Options {
        set_id: true,
        times: Times::Fixed(42),
        strip_components: 1,
        xattrs: Xattrs::All,
        ..Options::default()
    };
    let attributed = Header {
        xattrs: [("user.note".to_owned(), b"kept".to_vec())].into(),
        mode: 0o400,
        ..Header::file("locked/noted", 0)
    };
    let mut entries = usual();
    entries.push((attributed, b""));
    let unpacked = site.unpack(&entries, &options).unwrap();
    // `locked` and `tmp` are stripped away whole.
    assert_eq!(unpacked.entries, 7);
    assert_eq!(site.mode("tool"), 0o6755);
    assert_eq!(site.mode("up/parents"), 0o600);
    for path in ["in", "in/file", "link", "up"] {
        let metadata = std::fs::symlink_metadata(site.inside().join(path)).unwrap();
        assert_eq!(metadata.mtime(), 42, "{path}");
    }
    let mut value = [0; 16];
    let length = fs::getxattr(site.inside().join("noted"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    assert_eq!(site.read("second"), "file");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let site = Site::new();
    let entries: Entries<'_> = &[
        (Header::file("a", 5), b"first"),
        (hard_link("b", "a"), b""),
        (Header::symlink("c", "a"), b""),
        (Header::file("a", 6), b"second"),
        (Header::file("c", 5), b"plain"),
        (hard_link("c", "c"), b""),
        (hard_link("d", "a"), b""),
        (hard_link("d", "b"), b""),
        (Header::directory("e"), b""),
        (
            Header {
                mode: 0o700,
                ..Header::directory("e")
            },
            b"",
        ),
    ];
    site.unpack(entries, &Options::default()).unwrap();
    let read = ["a", "b", "c", "d"].map(|path| site.read(path));
    assert_eq!(read, ["second", "first", "plain", "first"]);
    assert!(!site.inside().join("c").is_symlink());
    assert_eq!(site.mode("e"), 0o700);
}

#[test]
fn checksums_are_checked() {
    let right = Header {
        checksum: Some(Sha1::of(b"abc")),
        ..Header::file("a", 3)
    };
    let linked = Header {
        checksum: Some(Sha1::of(b"a")),
        ..Header::symlink("l", "a")
    };
    let site = Site::new();
    let check = Options {
        checksums: Checksums::Check,
        ..Options::default()
    };
    let require = Options {
        checksums: Checksums::Require,
        ..Options::default()
    };
    let good: Entries<'_> = &[
        (Header::directory("d"), b""),
        (right.clone(), b"abc"),
        (linked.clone(), b""),
        (hard_link("h", "a"), b""),
    ];
    assert!(site.unpack(good, &require).is_ok());
    let wrong = &[(right, &b"abd"[..])];
    assert!(site.unpack(wrong, &Options::default()).is_ok());
    assert_eq!(
        site.refused(wrong, &check),
        "cannot unpack `a`: its SHA-1 is cb4cc28df0fdbe0ecf9d9662e294b118092a5735, but the archive says \
         a9993e364706816aba3e25717850c26c9cd0d89d; fetch or make the archive again"
    );
    let elsewhere = Header {
        kind: EntryKind::Symlink {
            target: "b".to_owned(),
        },
        ..linked
    };
    assert_eq!(
        site.refused(&[(elsewhere, b"")], &check),
        "cannot unpack `l`: its SHA-1 is e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98, but the archive says \
         86f7e437faa5a7fce15d1ddcb9eaeaea377667b8; fetch or make the archive again"
    );
    let without = &[(Header::file("a", 3), &b"abc"[..])];
    assert!(site.unpack(without, &check).is_ok());
    assert_eq!(
        site.refused(without, &require),
        "cannot unpack `a`: the archive has no checksum for it; make the package again"
    );
}

#[test]
fn names_cannot_lead_out() {
    let site = Site::new();
    for (name, why) in [
        (
            "../outside/new",
            "the name leads out of the archive by `..`",
        ),
        (
            "a/../../outside/new",
            "the name leads out of the archive by `..`",
        ),
        ("..", "the name leads out of the archive by `..`"),
    ] {
        for options in [Options::default(), ANY] {
            assert_eq!(
                site.refused(&[(Header::file(name, 1), b"x")], &options),
                format!("entry `{name}` is refused: {why}")
            );
        }
    }
    let absolute = site.outside().join("new");
    let absolute = absolute.to_str().unwrap();
    for options in [Options::default(), ANY] {
        assert_eq!(
            site.refused(&[(Header::file(absolute, 1), b"x")], &options),
            format!("entry `{absolute}` is refused: the name is absolute")
        );
        // Cutting components off does not make an absolute name harmless.
        let stripped = Options {
            strip_components: 1,
            ..options
        };
        assert_eq!(
            site.refused(&[(Header::file(absolute, 1), b"x")], &stripped),
            format!("entry `{absolute}` is refused: the name is absolute")
        );
    }
}

#[test]
fn symbolic_links_are_never_walked_through() {
    let outside = "../outside";
    for options in [Options::default(), ANY] {
        for (entry, content) in [
            (Header::file("link/new", 1), &b"x"[..]),
            (Header::directory("link/new"), b""),
            (Header::symlink("link/new", "x"), b""),
            (Header::file("link/secret", 1), b"x"),
        ] {
            let site = Site::new();
            let path = entry.path.clone();
            assert_eq!(
                site.refused(
                    &[(Header::symlink("link", outside), b""), (entry, content)],
                    &options
                ),
                format!(
                    "cannot unpack `{path}`: its parent `link` is a symbolic link or a file, and \
                     nothing is written through those; the archive is broken or hostile"
                )
            );
        }
        let site = Site::new();
        assert_eq!(
            site.refused(
                &[
                    (Header::symlink("link", outside), b""),
                    (hard_link("own", "link/secret"), b"")
                ],
                &options
            ),
            "cannot unpack `own`: its parent `link` is a symbolic link or a file, and nothing is \
             written through those; the archive is broken or hostile"
        );
    }
    // A link that was there before, and one to a file, which is replaced and not written through.
    let site = Site::new();
    std::os::unix::fs::symlink(outside, site.inside().join("there")).unwrap();
    assert!(
        site.refused(&[(Header::file("there/new", 1), b"x")], &ANY)
            .contains("its parent `there` is a symbolic link")
    );
    let through: Entries<'_> = &[
        (Header::symlink("file", "../outside/secret"), b""),
        (Header::file("file", 5), b"mine!"),
        (Header::symlink("again", "../outside/secret"), b""),
        (hard_link("second", "again"), b""),
        (Header::file("second", 5), b"mine!"),
    ];
    site.unpack(through, &ANY).unwrap();
    site.assert_outside_untouched();
    assert_eq!(site.read("file"), "mine!");
    // Modes of directories come last: not through a link that took a directory's place.
    let site = Site::new();
    let before = std::fs::metadata(site.outside()).unwrap().mode();
    let swapped: Entries<'_> = &[
        (
            Header {
                mode: 0o777,
                ..Header::directory("d")
            },
            b"",
        ),
        (Header::symlink("d", outside), b""),
    ];
    assert_eq!(
        site.refused(swapped, &ANY),
        "cannot unpack `d`: this symbolic link would replace a directory; unpack into an empty \
         folder, and if it was empty the archive is broken or hostile"
    );
    assert_eq!(std::fs::metadata(site.outside()).unwrap().mode(), before);
}

#[test]
fn directories_stay_directories() {
    let site = Site::new();
    let full = |last: Header| {
        vec![
            (Header::file("d/f", 1), &b"x"[..]),
            (last, b""),
            (Header::file("d/g", 1), b"x"),
        ]
    };
    for (last, kind) in [
        (Header::symlink("d", "../outside"), "symbolic link"),
        (Header::file("d", 0), "file"),
        (hard_link("d", "d/f"), "hard link"),
    ] {
        assert_eq!(
            site.refused(&full(last), &ANY),
            format!(
                "cannot unpack `d`: this {kind} would replace a directory; unpack into an empty \
                 folder, and if it was empty the archive is broken or hostile"
            )
        );
    }
    for first in [Header::symlink("e", "../outside"), Header::file("e", 0)] {
        assert_eq!(
            site.refused(&[(first, b""), (Header::directory("e"), b"")], &ANY),
            "cannot unpack `e`: this directory would replace what is no directory; unpack into an \
             empty folder, and if it was empty the archive is broken or hostile"
        );
    }
}

#[test]
fn hard_links_stay_inside() {
    let site = Site::new();
    for options in [Options::default(), ANY] {
        assert_eq!(
            site.refused(&[(hard_link("a", "../outside/secret"), b"")], &options),
            "entry `a` is refused: it links to `../outside/secret`: the name leads out of the archive \
             by `..`"
        );
        assert_eq!(
            site.refused(&[(hard_link("a", "/etc/passwd"), b"")], &options),
            "entry `a` is refused: it links to `/etc/passwd`: the name is absolute"
        );
        assert_eq!(
            site.refused(&[(hard_link("a", "later"), b"")], &options),
            "cannot unpack `a`: it is a hard link to `later`, which is no file that came before it"
        );
        let entries: Entries<'_> = &[(Header::directory("d"), b""), (hard_link("a", "d"), b"")];
        assert_eq!(
            site.refused(entries, &options),
            "cannot unpack `a`: it is a hard link to `d`, which is no file that came before it"
        );
    }
}

#[test]
fn devices_are_refused_skipped_or_made() {
    let device = Header::new("null", EntryKind::CharDevice { major: 1, minor: 3 });
    let pipe = Header {
        mode: 0o640,
        ..Header::new("pipe", EntryKind::Fifo)
    };
    let site = Site::new();
    assert_eq!(
        site.refused(&[(device.clone(), b"")], &Options::default()),
        "cannot unpack `null`: it is a character device, which is refused here"
    );
    assert_eq!(
        site.refused(&[(pipe.clone(), b"")], &Options::default()),
        "cannot unpack `pipe`: it is a named pipe, which is refused here"
    );
    let with = |special| Options {
        special,
        ..Options::default()
    };
    let both = &[(device.clone(), &b""[..]), (pipe.clone(), b"")];
    assert_eq!(site.unpack(both, &with(Special::Skip)).unwrap().entries, 0);
    assert_eq!(std::fs::read_dir(site.inside()).unwrap().count(), 0);
    site.unpack(&[(pipe, b"")], &with(Special::Create)).unwrap();
    let made = std::fs::symlink_metadata(site.inside().join("pipe")).unwrap();
    assert!(made.file_type().is_fifo());
    assert_eq!(made.mode() & 0o7777, 0o640);
}

#[test]
fn a_bomb_stops_before_the_disk_is_full() {
    let site = Site::new();
    let size = 100 << 20;
    let bomb = archive(&[(Header::file("zeros", size), &vec![0; size as usize])]);
    let compressed = gzip::compress(&bomb);
    let limits = Limits {
        bytes: 32 << 20,
        ..Limits::default()
    };
    let attempt = |tar_limits: Limits, gzip_limits| {
        let stream = crate::decompress::open(&compressed[..], gzip_limits).unwrap();
        unpack(
            tar::Reader::new(stream, tar_limits),
            &site.inside(),
            &Options::default(),
        )
        .unwrap_err()
        .to_string()
    };
    // Refused by what the header announces, by what comes out, and by the ratio.
    assert_eq!(
        attempt(limits, limits),
        "the archive is refused: it unpacks to more than 33554432 bytes; raise the limit if the \
         archive is meant to be that large"
    );
    assert_eq!(std::fs::read_dir(site.inside()).unwrap().count(), 0);
    assert_eq!(
        attempt(Limits::default(), limits),
        "cannot unpack `zeros`: the gzip stream is refused: it unpacks to more than 33554432 bytes; \
         raise the limit if the archive is meant to be that large"
    );
    let ratio = Limits {
        ratio: 200,
        ..Limits::default()
    };
    assert_eq!(
        attempt(Limits::default(), ratio),
        "cannot unpack `zeros`: the gzip stream is refused: more than 200 bytes come out of each \
         compressed byte; it looks like a decompression bomb"
    );
}

#[test]
fn truncated_and_damaged_streams_are_errors() {
    let site = Site::new();
    let bytes = archive(&[(Header::file("a", 2000), &[b'x'; 2000])]);
    let plain = |bytes: &[u8], end| {
        let reader = tar::Reader::new(bytes, Limits::default()).ending(end);
        unpack(reader, &site.inside(), &ANY)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        plain(&bytes[..1500], End::Blocks),
        "cannot unpack `a`: the archive is truncated: it ends inside `a`; fetch or make it again"
    );
    assert_eq!(
        plain(&bytes[..2560], End::Blocks),
        "the archive is truncated: it ends after an entry, without the two zero blocks that close an \
         archive; fetch or make it again"
    );
    // The compressed stream is checked to its end, also behind the archive's.
    let mut compressed = gzip::compress(&[&bytes[..], &[0; 200_000]].concat());
    let last = compressed.len() - 6;
    compressed[last] ^= 1;
    for end in [End::Blocks, End::Lenient] {
        let stream = crate::decompress::open(&compressed[..], Limits::default()).unwrap();
        let reader = tar::Reader::new(stream, Limits::default()).ending(end);
        assert_eq!(
            unpack(reader, &site.inside(), &ANY)
                .unwrap_err()
                .to_string(),
            "cannot read the archive: the gzip member at byte 0 is damaged: the CRC-32 of its content \
             is wrong; fetch or make the file again"
        );
    }
}

#[test]
fn odd_names_of_sources_are_accepted() {
    let site = Site::new();
    let entries: Entries<'_> = &[
        (Header::file("a//b/./c", 1), b"x"),
        (Header::file("new\nline", 1), b"y"),
        (Header::directory("./"), b""),
    ];
    site.unpack(entries, &ANY).unwrap();
    assert_eq!(
        (site.read("a/b/c"), site.read("new\nline")),
        ("x".into(), "y".into())
    );
    let mut bytes = archive(&[(Header::file("caf?", 1), b"z")]);
    // Latin-1, as archives of the last century have it; the checksum changes with it.
    bytes[3] = 0xe9;
    let sum: u64 = bytes[..512].iter().map(|byte| u64::from(*byte)).sum();
    let stored: u64 = bytes[148..156].iter().map(|byte| u64::from(*byte)).sum();
    let digits = format!("{:06o}\0 ", sum - stored + 8 * 32);
    bytes[148..156].copy_from_slice(digits.as_bytes());
    let reader = || tar::Reader::new(&bytes[..], Limits::default());
    unpack(reader(), &site.inside(), &ANY).unwrap();
    assert!(site.inside().join(OsStr::from_bytes(b"caf\xe9")).exists());
    let refused = unpack(reader(), &site.inside(), &Options::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "entry `caf\\xe9` is refused: the name is not UTF-8"
    );
}

#[test]
fn depth_is_bounded() {
    let site = Site::new();
    let deep = |depth: usize| format!("{}f", "d/".repeat(depth - 1));
    site.unpack(&[(Header::file(deep(256), 1), b"x")], &ANY)
        .unwrap();
    let error = site.refused(&[(Header::file(deep(257), 1), b"x")], &ANY);
    assert!(
        error.ends_with("it is more than 256 directories deep"),
        "{error}"
    );
}

#[test]
fn the_folder_and_the_system_are_named() {
    let site = Site::new();
    let missing = site.folder.path().join("missing");
    let bytes = archive(&[]);
    let reader = tar::Reader::new(&bytes[..], Limits::default());
    assert_eq!(
        unpack(reader, &missing, &ANY).unwrap_err().to_string(),
        format!(
            "cannot unpack into `{}`: No such file or directory (os error 2)",
            missing.display()
        )
    );
    let owned = Options {
        ownership: Ownership::Keep,
        ..ANY
    };
    let far = Header {
        uid: 1 << 40,
        ..Header::file("a", 0)
    };
    assert!(matches!(
        site.unpack(&[(far, b"")], &owned),
        Err(UnpackError::Read(ReadError::Number { .. }))
    ));
}

/// What is in the folder stays as it is, or gives way, as it is asked for.
#[test]
fn what_is_there_already() {
    let entries = || {
        vec![
            (
                Header {
                    mode: 0o700,
                    ..Header::directory("d")
                },
                &b""[..],
            ),
            (Header::file("d/f", 3), b"new"),
        ]
    };
    for (existing, content, mode) in [
        (Existing::Replace, Ok("new"), 0o700),
        (Existing::ReplaceFiles, Ok("new"), 0o755),
        (
            Existing::Refuse,
            Err("cannot unpack `d/f`: cannot make it: File exists"),
            0o755,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        let permissions = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("d"), permissions).unwrap();
        std::fs::write(folder.path().join("d/f"), "old").unwrap();
        let options = Options { existing, ..ANY };
        let mut unpacker = Unpacker::new(folder.path(), &options).unwrap();
        let result = entries()
            .into_iter()
            .try_for_each(|(header, mut content)| unpacker.add(&header, &mut content));
        let found = std::fs::read_to_string(folder.path().join("d/f")).unwrap();
        match (content, result) {
            (Ok(content), Ok(())) => {
                assert_eq!(found, content);
                unpacker.finish().unwrap();
            }
            (Err(message), Err(error)) => {
                assert!(error.to_string().starts_with(message), "{error}");
                assert_eq!(found, "old");
            }
            (expected, found) => panic!("{existing:?}: {expected:?}, {found:?}"),
        }
        let found = std::fs::metadata(folder.path().join("d")).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{existing:?}");
    }
}

/// An attribute that nobody may set is an error, or a note and nothing else.
#[test]
fn what_cannot_be_set_is_noted_if_it_may_be() {
    let mut header = Header::file("f", 2);
    header.xattrs = [
        ("nonsense".to_owned(), b"x".to_vec()),
        ("user.note".to_owned(), b"kept".to_vec()),
    ]
    .into();
    let unpack = |options: Options| {
        let folder = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker::new(folder.path(), &options).unwrap();
        unpacker.add(&header, &mut &b"hi"[..])?;
        let unpacked = unpacker.finish()?;
        assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"hi");
        Ok::<_, UnpackError>(unpacked.imperfect)
    };
    let all = Options {
        xattrs: Xattrs::All,
        ..ANY
    };
    let refused = unpack(all).unwrap_err().to_string();
    assert!(
        refused.contains("cannot set its extended attributes"),
        "{refused}"
    );
    let noted = unpack(Options {
        imperfect: Imperfect::Note,
        ..all
    });
    let flaw = Flaw {
        path: "f".to_owned(),
        what: FlawKind::Xattrs,
    };
    assert_eq!(noted.unwrap(), [flaw]);
    let user = Options {
        xattrs: Xattrs::User,
        ..ANY
    };
    assert_eq!(unpack(user).unwrap(), []);
}

/// The same header over and over.
struct Endless {
    header: Vec<u8>,
    at: usize,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for byte in &mut *buffer {
            *byte = self.header[self.at];
            self.at = (self.at + 1) % self.header.len();
        }
        Ok(buffer.len())
    }
}

#[test]
fn entries_without_end_come_to_one() {
    let site = Site::new();
    let mut header = archive(&[(Header::directory("again"), b"")]);
    header.truncate(512);
    let endless = std::io::BufReader::with_capacity(1 << 20, Endless { header, at: 0 });
    assert!(Limits::default().entries < 10_000_000);
    let limits = Limits {
        entries: 100_000,
        ..Limits::default()
    };
    let reader = tar::Reader::new(endless, limits);
    let error = unpack(reader, &site.inside(), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive is refused: it has more than 100000 entries; raise the limit if the archive is \
         meant to have that many"
    );
    site.assert_outside_untouched();
}
