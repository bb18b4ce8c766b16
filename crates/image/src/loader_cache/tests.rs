use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A folder of the host as an image's root.
struct Root(PathBuf);

impl Root {
    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }
}

impl Files for Root {
    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn real(&self, folder: &str) -> Option<String> {
        let path = fs::canonicalize(self.path(folder)).ok()?;
        path.is_dir().then(|| path.display().to_string())
    }

    fn candidate(&self, folder: &str, name: &str) -> Option<Candidate> {
        let path = self.path(folder).join(name);
        let real = fs::canonicalize(&path).ok()?;
        let is_link = path.symlink_metadata().ok()?.is_symlink();
        real.is_file().then(|| Candidate {
            name: name.to_owned(),
            link: is_link.then(|| real.file_name().unwrap().to_str().unwrap().to_owned()),
            content: Content::Disk(real),
        })
    }
}

/// A library with this soname, of this machine.
fn library(
    soname: Option<&str>,
    machine: u16,
    e_flags: u32,
    is_64_bit: bool,
    is_big_endian: bool,
) -> Vec<u8> {
    let half = |value: u16| {
        if is_big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let word = |value: u32| {
        if is_big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let long = |value: u64| -> Vec<u8> {
        match (is_64_bit, is_big_endian) {
            (true, true) => value.to_be_bytes().to_vec(),
            (true, false) => value.to_le_bytes().to_vec(),
            (false, _) => word(value as u32).to_vec(),
        }
    };
    let (header, segment, pair) = if is_64_bit { (64, 56, 16) } else { (52, 32, 8) };
    let dynamic_at = header + 2 * segment;
    let strings_at = dynamic_at + 4 * pair;
    let strings = format!("\0{}\0", soname.unwrap_or_default());
    let end = strings_at + strings.len() as u64;
    let mut out = vec![0x7f, b'E', b'L', b'F'];
    out.push(if is_64_bit { 2 } else { 1 });
    out.push(if is_big_endian { 2 } else { 1 });
    out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(half(3));
    out.extend(half(machine));
    out.extend(word(1));
    out.extend(long(0));
    out.extend(long(header));
    out.extend(long(0));
    out.extend(word(e_flags));
    for value in [header as u16, segment as u16, 2, 0, 0, 0] {
        out.extend(half(value));
    }
    for (kind, at, size) in [(1_u32, 0, end), (2, dynamic_at, 4 * pair)] {
        out.extend(word(kind));
        if is_64_bit {
            out.extend(word(5));
        }
        for value in [at, at, at, size, size] {
            out.extend(long(value));
        }
        if !is_64_bit {
            out.extend(word(5));
        }
        out.extend(long(8));
    }
    let mut tags = vec![(5, strings_at), (10, strings.len() as u64)];
    if soname.is_some() {
        tags.push((14, 1));
    }
    tags.resize(4, (0, 0));
    for (tag, value) in tags {
        out.extend(long(tag));
        out.extend(long(value));
    }
    out.extend(strings.as_bytes());
    out
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What the real ldconfig says is in a cache.
fn listed(root: &Path, cache: &Path) -> Vec<String> {
    let output = Command::new("/usr/sbin/ldconfig")
        .arg("-r")
        .arg(root)
        .arg("-C")
        .arg(cache)
        .arg("-p")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| line.starts_with('\t'))
        .map(str::to_owned)
        .collect()
}

/// The real ldconfig lists the same of our cache as of its own.
#[test]
fn ldconfig_reads_it_as_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let of = |soname: Option<&str>| library(soname, 62, 0, true, false);
    put(
        &root,
        "etc/ld.so.conf",
        b"# ours\ninclude /etc/ld.so.conf.d/*.conf\n/opt/x/ \n/opt/missing\n",
    );
    put(&root, "etc/ld.so.conf.d/a.conf", b"/opt/deep/lib\n");
    put(&root, "etc/ld.so.conf.d/b.txt", b"/opt/never\n");
    for (path, soname) in [
        ("usr/lib/libz.so.1.3", Some("libz.so.1")),
        ("usr/lib/libabc.so.10", Some("libabc.so.10")),
        ("usr/lib/libabc.so.9", Some("libabc.so.9")),
        ("usr/lib/libplain.so", None),
        ("usr/lib/ld-test.so.2", Some("ld-test.so.2")),
        ("usr/lib/notlib.so.1", Some("notlib.so.1")),
        ("opt/deep/lib/libz.so.1", Some("libz.so.1")),
        ("opt/x/libx.so.1.2.3", Some("libx.so.1")),
        ("opt/x/libx.so.1.2.10", Some("libx.so.1")),
        ("opt/never/libnever.so.1", Some("libnever.so.1")),
    ] {
        put(&root, path, &of(soname));
    }
    put(&root, "usr/lib/libtext.so", b"GROUP ( libz.so.1 )");
    put(
        &root,
        "usr/lib/libcut.so.1",
        &of(Some("libcut.so.1"))[..100],
    );
    put(
        &root,
        "usr/lib/libold.so.1",
        &library(Some("libold.so.1"), 3, 0, false, false),
    );
    let link =
        |target: &str, path: &str| std::os::unix::fs::symlink(target, root.join(path)).unwrap();
    link("usr/lib", "lib");
    link("libz.so.1.3", "usr/lib/libz.so.1");
    link("libz.so.1", "usr/lib/libz.so");
    link("nowhere", "usr/lib/libdangling.so.1");
    link("libx.so.1.2.10", "opt/x/libx.so.1");
    let theirs = folder.path().join("root/theirs");
    let made = Command::new("/usr/sbin/ldconfig")
        .arg("-X")
        .arg("-r")
        .arg(&root)
        .args(["-C", "/theirs"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let ours = build(&Root(root.clone()));
    fs::write(root.join("ours"), &ours).unwrap();
    let lines = listed(&root, Path::new("/ours"));
    assert_eq!(lines, listed(&root, Path::new("/theirs")));
    assert!(theirs.is_file());
    assert_eq!(lines.len(), 9, "{lines:#?}");
}

/// The marks are those of glibc's `ldconfig.h`, whatever machine this is.
#[test]
fn every_architecture_has_its_mark() {
    let of = |machine, e_flags, is_64_bit, is_big_endian| {
        parse(&library(
            Some("libx.so.1"),
            machine,
            e_flags,
            is_64_bit,
            is_big_endian,
        ))
        .map(|library| {
            (
                library.flags,
                library.soname.unwrap(),
                library.is_big_endian,
            )
        })
    };
    let soname = "libx.so.1".to_owned();
    for (machine, e_flags, is_64_bit, is_big_endian, mark) in [
        (3, 0, false, false, 0x0001),
        (62, 0, true, false, 0x0303),
        (62, 0, false, false, 0x0803),
        (183, 0, true, false, 0x0a03),
        (40, 0x0500_0400, false, false, 0x0903),
        (40, 0x0500_0200, false, false, 0x0b03),
        (21, 2, true, false, 0x0503),
        (22, 0, true, true, 0x0403),
        (243, 5, true, false, 0x1003),
        (243, 1, true, false, 0x0f03),
        (258, 0x43, true, false, 0x1203),
        (258, 0x41, true, false, 0x1103),
    ] {
        assert_eq!(
            of(machine, e_flags, is_64_bit, is_big_endian),
            Some((mark, soname.clone(), is_big_endian)),
            "{machine}"
        );
    }
    assert_eq!(of(8, 0, false, true), None);
    let libc = library(Some("libc.so.6"), 3, 0, false, false);
    assert_eq!(parse(&libc).unwrap().flags, 3);
    let whole = library(Some("libx.so.1"), 62, 0, true, false);
    for length in 0..whole.len() {
        // Cut anywhere it is no library, or one whose name can't be read; never a panic.
        parse(&whole[..length]);
    }
}

#[test]
fn a_cache_of_a_big_endian_machine_is_big_endian() {
    let lines = [Line {
        flags: 0x0403,
        key: "liba.so.1".to_owned(),
        value: "/lib/liba.so.1".to_owned(),
    }];
    let bytes = write(&lines, true);
    assert_eq!(&bytes[20..32], [0, 0, 0, 1, 0, 0, 0, 15, 3, 0, 0, 0]);
    assert_eq!(&bytes[48..60], [0, 0, 4, 3, 0, 0, 0, 77, 0, 0, 0, 72]);
}

#[test]
fn names_are_compared_as_the_loader_does() {
    let mut names = [
        "libb.so",
        "liba.so.9",
        "liba.so.10",
        "liba.so",
        "liba-2.so",
        "liba.so.1a",
    ];
    names.sort_by(|one, other| compare(one, other));
    assert_eq!(
        names,
        [
            "liba-2.so",
            "liba.so",
            "liba.so.1a",
            "liba.so.9",
            "liba.so.10",
            "libb.so"
        ]
    );
}
