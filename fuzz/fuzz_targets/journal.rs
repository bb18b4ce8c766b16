//! Whatever a journal says, putting a root in order ends, stays within the root, and leaves one that
//! is in order.
#![no_main]

use std::fs;
use std::os::unix::fs::symlink;

use apk::install::{Access, OpenOptions, Root};
use base::{Digest, Silent};
use libfuzzer_sys::fuzz_target;

const INSTALLED: &str = "C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:a\nV:1\nA:x86_64\nS:1\nI:1\nT:a\n\
                         F:etc\nR:file\nZ:Q1qvTGHdzF6KLavt4PO0gs2a6pQ00=\nF:usr\n\n";

fuzz_target!(|text: &str| {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = folder.path().join("outside");
    let root = folder.path().join("root");
    for directory in ["lib/apk/db", "etc/apk", "usr/empty"] {
        fs::create_dir_all(root.join(directory)).expect("a folder");
    }
    fs::create_dir(&outside).expect("a folder");
    for (path, text) in [
        ("../outside/file", "kept"),
        ("etc/apk/world", "a\n"),
        ("etc/apk/arch", "x86_64\n"),
        ("etc/file", "hello"),
        ("usr/.apk.temporary", "b"),
        ("lib/apk/db/installed", INSTALLED),
        (
            "lib/apk/db/installed.new",
            "C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:b\nV:1\n\n",
        ),
    ] {
        fs::write(root.join(path), text).expect("a file");
    }
    symlink("/../outside", root.join("climbs")).expect("a link");
    symlink(&outside, root.join("absolute")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    // What would have to be guessed: digests, and the kernel's run.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut journal = String::new();
    for line in text.lines() {
        let line = line
            .replace("%installed", &Digest::of(INSTALLED.as_bytes()).to_string())
            .replace("%boot", boot.trim());
        let crc = crc32fast::hash(line.as_bytes());
        journal.push_str(&format!("{crc:08x} {line}\n"));
    }
    fs::write(root.join("lib/apk/db/journal"), journal).expect("a file");
    let open = |access| {
        let options = OpenOptions {
            access,
            ..OpenOptions::default()
        };
        Root::open(&root, &options, &Silent)
    };
    // Reading changes nothing and does without the journal.
    let before = open(Access::Read).map(|root| root.installed().len());
    assert_eq!(before.ok(), Some(1));
    if open(Access::Write).is_ok() {
        let again = open(Access::Write).expect("it was put in order");
        assert!(again.interrupted().is_none());
    }
    let kept = fs::read(outside.join("file")).expect("it is outside");
    assert_eq!(kept, b"kept");
    assert_eq!(fs::read_dir(&outside).expect("it is outside").count(), 1);
});
