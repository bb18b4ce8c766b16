//! Opening roots, and what is kept of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use polpo_apk::dependency::Dependency;
use polpo_apk::install::{Create, InstallError, Log, OpenOptions, Owner, Root, Transaction};
use polpo_apk::package::Script;

use super::{Lines, System, is_root, quiet, recipe};

fn error(system: &System, options: &OpenOptions) -> String {
    let error = Root::open(&system.root(), options, &base::Silent).unwrap_err();
    let root = system.root().display().to_string();
    error.to_string().replace(&root, "ROOT")
}

#[test]
fn a_root_without_a_database_is_none() {
    let system = System::new();
    let read = OpenOptions::default();
    insta::assert_snapshot!(error(&system, &read), @"can't open the root ROOT: No such file or directory (os error 2)");
    std::fs::create_dir(system.root()).unwrap();
    insta::assert_snapshot!(error(&system, &read), @"ROOT holds no installed database: `lib/apk/db` is missing; `--initdb` makes one");
    std::fs::create_dir_all(system.root().join("lib/apk/db")).unwrap();
    insta::assert_snapshot!(error(&system, &read), @"ROOT holds no installed database: `etc/apk/world` is missing; `--initdb` makes one");
    system.write("etc/apk/world", "a>1 b\n\n");
    let root = Root::open(&system.root(), &read, &base::Silent).unwrap();
    assert_eq!(root.world(), Dependency::parse_list("a>1 b").unwrap());
    assert_eq!(root.installed(), []);
    system.write("lib/apk/db/installed", "C:Q1x\n");
    insta::assert_snapshot!(error(&system, &read), @"ROOT: `lib/apk/db/installed` of the installed database: line 1: `Q1x` is no identity of a package: Q1 and base64 of a SHA-1, or Q2 and base64 of a SHA-256");
    let wrong = OpenOptions {
        create: if is_root() {
            Create::Usermode
        } else {
            Create::Database
        },
        ..OpenOptions::default()
    };
    let message = error(&system, &wrong);
    assert!(message.to_lowercase().contains("usermode"), "{message}");
}

#[test]
fn what_is_written_is_what_apk_writes() {
    let mut system = System::new();
    let lines = Lines::default();
    let file = recipe("a", "1.0-r0", &[("opt/f", "f")])
        .triggers(&["/opt"])
        .script(Script::Trigger, ":")
        .script(Script::PreInstall, ":")
        .write(system.folder.path());
    let mut root = system.open(&lines);
    let transaction = Transaction {
        steps: super::steps(&root, &[super::Do::Install(&file)]),
        world: Dependency::parse_list("zlib Busybox a>=1 abuild").unwrap(),
        options: quiet(),
    };
    root.commit(&transaction, &lines).unwrap();
    assert_eq!(root.installed().len(), 1);
    assert_eq!(root.installed()[0].scripts.len(), 2);
    drop(root);
    system.created = true;
    assert_eq!(
        system.read("etc/apk/world"),
        "a>=1\nabuild\nBusybox\nzlib\n"
    );
    assert_eq!(system.read("etc/apk/arch"), "x86_64\n");
    for file in ["installed", "triggers", "scripts.tar"] {
        assert_eq!(system.mode(&format!("lib/apk/db/{file}")), 0o644);
    }
    for folder in ["lib/apk/db", "lib/apk", "etc/apk"] {
        assert_eq!(system.mode(folder), 0o755);
    }
    let identity = system.read("lib/apk/db/installed");
    let identity = identity.lines().next().unwrap().strip_prefix("C:").unwrap();
    assert_eq!(
        system.read("lib/apk/db/triggers"),
        format!("{identity} /opt\n")
    );
    // GNU tar's headers of old, in apk's order of scripts.
    let archive = std::fs::read(system.root().join("lib/apk/db/scripts.tar")).unwrap();
    assert_eq!(archive.len(), 6 * 512);
    assert!(archive.starts_with(b"a-1.0-r0.X1"));
    let name = |block: usize| {
        let name = &archive[block * 512..block * 512 + 100];
        String::from_utf8_lossy(name)
            .trim_end_matches('\0')
            .to_owned()
    };
    assert!(name(0).ends_with(".pre-install") && name(2).ends_with(".trigger"));
    assert_eq!(&archive[100..108], b"0000755\0");
    // The script's 12 bytes, and no time.
    assert_eq!(&archive[124..148], b"000000000014000000000000");
    assert_eq!(&archive[257..265], b"ustar  \0");
    assert_eq!(&archive[265..270], b"root\0");
    // Nothing else is left.
    assert!(
        system
            .files("lib/apk")
            .lines()
            .all(|line| !line.contains("journal") && !line.contains(".new"))
    );
}

#[test]
fn compressed_scripts_stay_compressed() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "f")]).script(Script::PreInstall, ":"));
    let folder = system.root().join("lib/apk/db");
    let archive = std::fs::read(folder.join("scripts.tar")).unwrap();
    // As apk 3 keeps them where it made the database.
    std::fs::write(
        folder.join("scripts.tar.gz"),
        archive::gzip::compress(&archive),
    )
    .unwrap();
    std::fs::remove_file(folder.join("scripts.tar")).unwrap();
    system.install(recipe("b", "1", &[("opt/g", "g")]).script(Script::PreInstall, ":"));
    assert!(!system.has("lib/apk/db/scripts.tar"));
    let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    assert!(
        root.installed()
            .iter()
            .all(|package| package.scripts.len() == 1)
    );
}

#[test]
fn one_process_changes_a_root_at_a_time() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "f")]));
    assert_eq!(system.read("etc/apk/arch"), "x86_64\n");
    let held = system.open(&Lines::default());
    let write = System::options(false);
    insta::assert_snapshot!(error(&system, &write), @"ROOT/lib/apk/db/lock is locked: another process is changing it; wait for it, or let `--wait` do so");
    let briefly = OpenOptions {
        wait: Some(Duration::from_millis(60)),
        ..write.clone()
    };
    let lines = Lines::default();
    let refused = Root::open(&system.root(), &briefly, &lines).unwrap_err();
    assert!(matches!(
        refused,
        InstallError::Locked {
            waited: Some(_),
            ..
        }
    ));
    assert_eq!(lines.take(), "Waiting for repository lock\n");
    // Reading needs no lock, and takes no running transaction for an interrupted one.
    let reading = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    assert_eq!(reading.interrupted(), None);
    let folder = system.root();
    std::thread::scope(|scope| {
        let patient = OpenOptions {
            wait: Some(Duration::from_secs(60)),
            ..write
        };
        let waiting = scope.spawn(move || Root::open(&folder, &patient, &base::Silent).is_ok());
        std::thread::sleep(Duration::from_millis(120));
        drop(held);
        assert!(waiting.join().unwrap());
    });
    assert_eq!(system.mode("lib/apk/db/lock"), 0o600);
}

#[test]
fn reading_changes_nothing() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "f")]));
    let before = system.files("");
    let mut root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    let error = root
        .commit(&Transaction::default(), &base::Silent)
        .unwrap_err();
    assert!(matches!(error, InstallError::ReadOnly { .. }));
    assert_eq!(system.files(""), before);
}

#[test]
fn a_root_says_what_it_is_set_up_with() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/sub/f", "f")]));
    system.install(recipe("b", "1", &[("opt/sub/g", "g")]));
    for (path, text) in [
        ("etc/apk/repositories", "one\n"),
        ("etc/apk/repositories.d/z.list", "z\n"),
        ("etc/apk/repositories.d/.hidden.list", "no\n"),
        ("etc/apk/repositories.d/no.conf", "no\n"),
        ("lib/apk/repositories.d/a.list", "a\n"),
        ("lib/apk/repositories.d/z.list", "shadowed\n"),
        ("etc/apk/arch", "aarch64\n\n x86_64 \naarch64\n"),
    ] {
        system.write(path, text);
    }
    let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    assert_eq!(root.arches(), ["aarch64", "x86_64"]);
    assert_eq!(root.is_usermode(), !is_root());
    let owner = |path| match root.owner(path) {
        Some(Owner::File(package)) => format!("file of {}", package.entry.info.name),
        Some(Owner::Directory(package)) => format!("directory of {}", package.entry.info.name),
        None => "nobody's".to_owned(),
    };
    assert_eq!(owner("/opt/sub/g"), "file of b");
    assert_eq!(owner("opt/sub/"), "directory of a");
    assert_eq!(owner("opt/nothing"), "nobody's");
    assert_eq!(owner("etc"), "nobody's");
}

#[test]
fn links_that_hide_a_database_are_named() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(outside.path().join("apk/db")).unwrap();
    for link in ["lib", "lib/apk", "etc/apk/world"] {
        let mut system = System::new();
        system.install(recipe("a", "1", &[("opt/f", "f")]));
        let path = system.root().join(link);
        match path.is_dir() {
            true => fs::remove_dir_all(&path).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        symlink(outside.path(), &path).unwrap();
        for options in [OpenOptions::default(), System::options(false)] {
            let said = error(&system, &options);
            let said = said.replace(&outside.path().display().to_string(), "OUTSIDE");
            assert_eq!(
                said,
                format!(
                    "ROOT holds no installed database: `{link}` is a link to `OUTSIDE`, which is not there inside the root; links of a root are followed inside it alone: correct the link"
                )
            );
        }
    }
}

#[test]
fn keys_are_read_inside_the_root() {
    let system = System::new();
    let pem = || {
        let key = key::PrivateKey::generate(key::Algorithm::EcdsaP256).unwrap();
        key.public().unwrap().to_pem()
    };
    let outside = system.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("host.pub"), pem()).unwrap();
    for (path, text) in [
        ("etc/apk/keys/a.pub", pem()),
        ("etc/apk/keys/b.pub", "no key".to_owned()),
        ("etc/apk/keys/.hidden.pub", pem()),
        ("etc/apk/keys/folder.pub/x", pem()),
        ("lib/apk/keys/a.pub", pem()),
        ("usr/share/keys/d.pub", pem()),
        ("other/e.pub", pem()),
    ] {
        system.write(path, &text);
    }
    let keys = system.root().join("etc/apk/keys");
    let fifo = keys.join("pipe.pub");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for (link, target) in [
        ("c.pub", "/usr/share/keys/d.pub"),
        ("climbs.pub", "../../../../../outside/host.pub"),
        ("dangling.pub", "/nothing"),
        ("host.pub", outside.join("host.pub").to_str().unwrap()),
        ("linked-pipe.pub", "pipe.pub"),
        ("round.pub", "round.pub"),
        ("up.pub", ".."),
    ] {
        symlink(target, keys.join(link)).unwrap();
    }
    let names = |folder: Option<&str>| {
        let keyring = Root::keyring_of(&system.root(), folder.map(Path::new)).unwrap();
        let names: Vec<String> = keyring.keys().map(|(name, _)| name.to_owned()).collect();
        names.join(" ")
    };
    assert_eq!(names(None), "a.pub c.pub");
    let keyring = Root::keyring_of(&system.root(), None).unwrap();
    assert_eq!(
        keyring.get("a.pub").unwrap().to_pem(),
        system.read("etc/apk/keys/a.pub")
    );
    assert_eq!(names(Some("other")), "e.pub");
    assert_eq!(names(Some("nothing")), "");
    assert_eq!(names(outside.to_str()), "host.pub");
    fs::remove_dir_all(&keys).unwrap();
    symlink(&outside, &keys).unwrap();
    assert_eq!(names(None), "a.pub");
}

#[test]
fn a_log_is_kept_inside_the_root() {
    let system = System::new();
    let create = System::options(true).create;
    for line in ["one", "two"] {
        let heading = format!("\nRunning `{line}` at noon\n");
        let log = Log::open(&system.root(), create, &heading).unwrap();
        log.line(line);
    }
    insta::assert_snapshot!(system.read("var/log/apk.log"), @r"

    Running `one` at noon
    one

    Running `two` at noon
    two
    ");
    assert_eq!(system.mode("var/log/apk.log") & 0o444, 0o444);
    // A log that leads out of the root is not followed.
    let outside = system.folder.path().join("outside");
    std::fs::write(&outside, "").unwrap();
    let log = system.root().join("var/log/apk.log");
    std::fs::remove_file(&log).unwrap();
    std::os::unix::fs::symlink(&outside, &log).unwrap();
    let refused = Log::open(&system.root(), Create::Never, "x").unwrap_err();
    assert!(matches!(refused, InstallError::File { action: "open", .. }));
    let mode = std::fs::metadata(&outside).unwrap().permissions().mode();
    assert_eq!(
        (std::fs::read(&outside).unwrap().len(), mode & 0o600),
        (0, 0o600)
    );
}

#[test]
fn a_root_whose_lib_is_a_link_keeps_its_database_behind_it() {
    let mut system = System::new();
    // The package that makes the link comes with the database's first transaction.
    let (committed, _) = system.install(
        recipe("base", "1", &[("usr/lib/x", "x")])
            .node("lib", archive::tree::Node::symlink("usr/lib")),
    );
    assert_eq!(committed.errors, 0);
    assert!(system.root().join("lib").is_symlink());
    assert!(system.has("usr/lib/apk/db/installed"));
    system.install(recipe("b", "1", &[("opt/b", "b")]));
    let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    assert_eq!(root.installed().len(), 2);
}

/// Whoever makes a database holds it from before there is a place for its lock.
#[test]
fn a_root_that_becomes_a_system_has_one_writer() {
    let mut system = System::new();
    let first = system.open(&Lines::default());
    std::fs::create_dir_all(system.root().join("lib/apk/db")).unwrap();
    system.write("etc/apk/world", "");
    for create in [true, false] {
        let second = error(&system, &System::options(create));
        assert!(
            second.starts_with("ROOT/lib/apk/db/lock is locked"),
            "{second}"
        );
    }
    drop(first);
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    assert!(system.has("opt/f"));
}
