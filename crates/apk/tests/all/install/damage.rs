//! Hostile and damaged packages, roots and journals, and disks that are full.

use std::fs;
use std::os::unix::fs::symlink;

use archive::tree::Node;
use polpo_apk::index::IndexEntry;
use polpo_apk::install::{Arrival, Audit, OpenOptions, ProblemKind, Root, Step, Transaction};
use polpo_apk::package::Package;

use super::{Do, Lines, System, is_root, quiet, recipe, steps};

#[test]
fn links_of_a_package_lead_nowhere_but_into_the_root() {
    let mut system = System::new();
    let outside = system.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "outside").unwrap();
    let climb = format!("../../../../../../../../..{}", outside.display());
    system.install(
        recipe("trap", "1", &[("usr/share/", "")])
            .node("absolute", Node::symlink(outside.to_str().unwrap()))
            .node("usr/share/climb", Node::symlink(climb))
            .node("etc", Node::symlink("/usr")),
    );
    let (committed, lines) = system.install(recipe(
        "prey",
        "1",
        &[
            ("absolute/f", "1"),
            ("usr/share/climb/f", "2"),
            ("etc/passwd", "3"),
        ],
    ));
    // Where the links lead to beneath the root, nothing is.
    assert_eq!(committed.errors, 1, "{lines}");
    assert_eq!(system.read("usr/passwd"), "3");
    system.remove("prey");
    assert!(!system.has("usr/passwd"));
    let (again, _) = system.install(recipe("prey", "2", &[("absolute/f", "1")]));
    assert_eq!(again.errors, 1);
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "outside");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_damaged_package_leaves_nothing() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one"), ("opt/g", "one")]));
    let before = system.files("");
    let noise: String = (0..40_000u32)
        .map(|place| char::from(b'a' + (place.wrapping_mul(2_654_435_761) >> 28) as u8))
        .collect();
    let files = [
        ("opt/f", "two"),
        ("opt/new/big", noise.as_str()),
        ("opt/zzz", "last"),
    ];
    let file = recipe("a", "2", &files).write(system.folder.path());
    let whole = fs::read(&file).unwrap();
    let data = Package::open(&file).unwrap().data_offset() as usize;
    for damaged in [data + 40, (data + whole.len()) / 2, whole.len() - 4] {
        let mut bytes = whole.clone();
        bytes[damaged] ^= 0x55;
        fs::write(&file, bytes).unwrap();
        let (committed, _) = system.commit(&[Do::Install(&file)], quiet());
        assert_eq!(committed.errors, 1);
        let kinds: Vec<_> = committed
            .problems
            .iter()
            .map(|problem| &problem.kind)
            .collect();
        assert!(
            matches!(kinds[..], [ProblemKind::Package { .. }]),
            "{kinds:?}"
        );
        assert_eq!(system.files(""), before);
    }
    fs::write(&file, &whole[..whole.len() - 300]).unwrap();
    let (committed, lines) = system.commit(&[Do::Install(&file)], quiet());
    assert_eq!(committed.errors, 1);
    assert!(lines.contains("truncated"), "{lines}");
    assert_eq!(system.files(""), before);
    fs::write(&file, &whole).unwrap();
    assert_eq!(system.commit(&[Do::Install(&file)], quiet()).0.errors, 0);
    // Installed again and damaged: what is there stays, where apk would forget the package.
    let before = system.files("");
    let mut bytes = whole.clone();
    bytes[(data + whole.len()) / 2] ^= 0x55;
    fs::write(&file, bytes).unwrap();
    assert_eq!(system.commit(&[Do::Install(&file)], quiet()).0.errors, 1);
    assert_eq!(system.files(""), before);
}

#[test]
fn only_the_package_that_was_chosen_is_installed() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let folder = system.folder.path();
    let chosen = recipe("b", "1", &[("opt/b", "good")]).write(folder);
    let entry = IndexEntry::of(&Package::open(&chosen).unwrap());
    let other = recipe("b", "1", &[("opt/b", "evil")]).write(folder);
    let mut root = system.open(&Lines::default());
    let transaction = Transaction {
        steps: vec![Step {
            before: None,
            after: Arrival::Package {
                file: other,
                entry: Box::new(entry),
            },
            repository_tag: None,
            message: Some("Installing b (1)".to_owned()),
        }],
        world: Vec::new(),
        options: quiet(),
    };
    let committed = root.commit(&transaction, &base::Silent).unwrap();
    assert_eq!(committed.errors, 1);
    assert!(!system.has("opt/b"));
    assert_eq!(committed.statistics.packages, 1);
}

#[test]
fn names_that_apk_keeps_for_itself_are_left_out() {
    let mut system = System::new();
    let (committed, _) = system.install(recipe(
        "h",
        "1",
        &[(".hidden", "x"), (".apk.x/y", "x"), ("opt/.dot", "x")],
    ));
    assert_eq!(committed.errors, 0);
    assert!(!system.has(".hidden") && !system.has(".apk.x"));
    assert!(system.has("opt/.dot"));
    assert!(!system.installed().contains("hidden"));
}

#[test]
fn a_database_that_cannot_be_written_is_put_in_order_later() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let file = recipe("a", "2", &[("opt/f", "two"), ("opt/g", "two")]).write(system.folder.path());
    // A folder is in the way of the last file.
    let obstacle = system.root().join("etc/apk/world.new/x");
    fs::create_dir_all(&obstacle).unwrap();
    let lines = Lines::default();
    let mut root = system.open(&lines);
    let transaction = Transaction {
        steps: steps(&root, &[Do::Install(&file)]),
        world: Vec::new(),
        options: quiet(),
    };
    let error = root.commit(&transaction, &lines).unwrap_err().to_string();
    assert!(error.contains("etc/apk/world: Is a directory"), "{error}");
    // Until it is opened again, nothing more may be done.
    let error = root.commit(&transaction, &lines).unwrap_err().to_string();
    assert!(error.contains("failed halfway"), "{error}");
    drop(root);
    assert!(system.installed().contains("V:1\n"));
    let reading = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
    let interrupted = reading.interrupted().unwrap();
    assert_eq!(interrupted.done, ["a-2"]);
    assert_eq!(interrupted.unfinished, None);
    fs::remove_dir_all(obstacle.parent().unwrap()).unwrap();
    let lines = Lines::default();
    let root = system.open(&lines);
    assert!(
        lines
            .take()
            .starts_with("WARNING: an interrupted transaction was put in order")
    );
    assert_eq!(root.package("a").unwrap().entry.info.version, "2");
    drop(root);
    assert!(system.installed().contains("V:2\n"));
    assert_eq!(system.read("opt/g"), "two");
}

/// Leaves a journal behind, as a process that was killed would.
fn leave_a_journal(system: &mut System) -> Vec<u8> {
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let file = recipe("a", "2", &[("opt/f", "two")]).write(system.folder.path());
    let obstacle = system.root().join("etc/apk/world.new/x");
    fs::create_dir_all(&obstacle).unwrap();
    let mut root = system.open(&Lines::default());
    let transaction = Transaction {
        steps: steps(&root, &[Do::Install(&file)]),
        world: Vec::new(),
        options: quiet(),
    };
    root.commit(&transaction, &base::Silent).unwrap_err();
    drop(root);
    fs::remove_dir_all(obstacle.parent().unwrap()).unwrap();
    fs::read(system.root().join("lib/apk/db/journal")).unwrap()
}

#[test]
fn a_torn_journal_tells_what_it_can() {
    let mut system = System::new();
    let journal = leave_a_journal(&mut system);
    let path = system.root().join("lib/apk/db/journal");
    let text = String::from_utf8(journal.clone()).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    let installed = fs::read(system.root().join("lib/apk/db/installed")).unwrap();
    let mut versions = Vec::new();
    for length in (0..journal.len()).step_by(29) {
        fs::write(&path, &journal[..length]).unwrap();
        fs::write(system.root().join("lib/apk/db/installed"), &installed).unwrap();
        let lines = Lines::default();
        let root = system.open(&lines);
        versions.push(root.package("a").unwrap().entry.info.version.clone());
        drop(root);
    }
    versions.dedup();
    assert_eq!(versions, ["1", "2"]);
}

#[test]
fn a_journal_of_another_database_is_forgotten() {
    let mut system = System::new();
    leave_a_journal(&mut system);
    // apk itself was here.
    let path = "lib/apk/db/installed";
    let text = system.read(path).replace("T:\n", "T:changed\n");
    system.write(path, &text);
    let lines = Lines::default();
    let root = system.open(&lines);
    assert!(
        lines
            .take()
            .contains("is forgotten: the database was changed since")
    );
    assert_eq!(root.package("a").unwrap().entry.info.version, "1");
    drop(root);
    assert!(!system.has("lib/apk/db/journal"));
}

#[test]
fn a_journal_of_another_version_stops_changes() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let json = r#"{"something":"new"}"#;
    let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    system.write("lib/apk/db/journal", &line);
    let error = Root::open(&system.root(), &System::options(false), &base::Silent).unwrap_err();
    let error = error.to_string();
    insta::assert_snapshot!(
        error.replace(&system.root().display().to_string(), "ROOT"),
        @"ROOT/lib/apk/db/journal was written by another version of this program (unknown variant `something`, expected one of `begin`, `unpack`, `touch`, `make`, `change`, `undone`, `place`, `placed`, `done`, `database` at line 1 column 12); let that version put the interrupted transaction in order, or remove the journal and run `fix` to check every package"
    );
    assert!(Root::open(&system.root(), &OpenOptions::default(), &base::Silent).is_ok());
}

#[test]
fn links_in_place_of_the_databases_own_files_are_named() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let outside = system.folder.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    for name in ["lock", "journal"] {
        let link = system.root().join("lib/apk/db").join(name);
        let _ = fs::remove_file(&link);
        symlink(&outside, &link).unwrap();
        let error = Root::open(&system.root(), &System::options(false), &base::Silent).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} is a symbolic link, and might lead anywhere; remove it and run this again",
                link.display()
            )
        );
        // Reading needs neither.
        assert!(Root::open(&system.root(), &OpenOptions::default(), &base::Silent).is_ok());
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
}

#[test]
fn directories_may_lie_as_deep_as_a_path_is_long() {
    let mut system = System::new();
    let deep = "d/".repeat(1200);
    let (file, empty) = (format!("{deep}file"), format!("{deep}empty/"));
    let (committed, lines) = system.install(recipe("deep", "1", &[(&file, "text"), (&empty, "")]));
    assert_eq!(
        (committed.errors, committed.problems.len()),
        (0, 0),
        "{lines}"
    );
    assert_eq!(system.read(&file), "text");
    assert!(system.has(&empty));
    if is_root() {
        let root = Root::open(&system.root(), &OpenOptions::default(), &base::Silent).unwrap();
        let found = root.audit(&Audit::default()).unwrap();
        let mut found = found.iter().map(|finding| finding.path.as_str());
        assert!(!found.any(|path| path.starts_with("d")));
    }
    system.remove("deep");
    assert!(!system.has("d"));
}

/// Whoever may write a journal may change the root, and nothing else.
#[test]
fn a_journal_leads_nowhere_but_into_the_root() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let outside = system.folder.path().join("outside");
    fs::create_dir_all(outside.join("empty")).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    symlink("/../outside", system.root().join("climbs")).unwrap();
    symlink(&outside, system.root().join("absolute")).unwrap();
    let installed = fs::read(system.root().join("lib/apk/db/installed")).unwrap();
    let operations: Vec<String> = [
        "climbs",
        "absolute",
        "../outside",
        "/../outside",
        "opt/../../outside",
    ]
    .iter()
    .flat_map(|way| {
        [
            format!(r#"{{"delete":"{way}/file"}}"#),
            format!(r#"{{"commit":"{way}/file"}}"#),
            format!(r#"{{"remove-directory":"{way}/empty"}}"#),
            format!(r#"{{"permissions":{{"path":"{way}","mode":0,"uid":1,"gid":1}}}}"#),
        ]
    })
    .collect();
    let records = [
        format!(
            r#"{{"begin":{{"installed":"{}","boot":"","changing":["a"],"modified":[]}}}}"#,
            base::Digest::of(&installed)
        ),
        r#"{"unpack":{"package":"a-2","name":"a"}}"#.to_owned(),
        format!(
            r#"{{"place":{{"package":"a-2","name":"a","removed":"a","record":null,"scripts":{{}},"triggers":[],"script_follows":false,"new_paths":[],"operations":[{}],"modified":[],"usermode":false,"has_hard_links":false}}}}"#,
            operations.join(",")
        ),
    ];
    let lines = records.map(|json| format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())));
    fs::write(system.root().join("lib/apk/db/journal"), lines.concat()).unwrap();
    let root = system.open(&Lines::default());
    assert_eq!(
        root.interrupted().unwrap().unfinished.as_deref(),
        Some("a-2")
    );
    assert!(root.package("a").is_none());
    drop(root);
    assert!(!system.has("lib/apk/db/journal"));
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "mine");
    assert!(outside.join("empty").is_dir());
    let mode = fs::metadata(&outside).unwrap().permissions();
    assert_ne!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0);
}

#[test]
fn files_that_suffered_when_the_machine_stopped_are_known() {
    let mut system = System::new();
    let journal = String::from_utf8(leave_a_journal(&mut system)).unwrap();
    // As if of another run of the kernel, in which the disk lost the new file's bytes.
    let lines: Vec<String> = journal
        .lines()
        .map(|line| {
            let (_, json) = line.split_once(' ').unwrap();
            let json = match json.split_once(r#""boot":""#) {
                Some((start, rest)) => {
                    let (_, end) = rest.split_once('"').unwrap();
                    format!(r#"{start}"boot":"another"{end}"#)
                }
                None => json.to_owned(),
            };
            format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
        })
        .collect();
    let file = system.root().join("lib/apk/db/journal");
    fs::write(&file, lines.concat()).unwrap();
    fs::write(system.root().join("opt/f"), "").unwrap();
    let root = system.open(&Lines::default());
    let package = root.package("a").unwrap();
    assert_eq!(package.entry.info.version, "2");
    assert!(package.broken.files);
    drop(root);
    // Where the journal's end is lost too, what was to change is looked at.
    let mut system = System::new();
    leave_a_journal(&mut system);
    let file = system.root().join("lib/apk/db/journal");
    fs::write(&file, &lines[0]).unwrap();
    let begin = fs::read_to_string(&file).unwrap();
    assert!(begin.contains(r#""changing":["a"]"#), "{begin}");
    let root = system.open(&Lines::default());
    let package = root.package("a").unwrap();
    assert_eq!(package.entry.info.version, "1");
    assert!(package.broken.files);
}

#[test]
fn no_script_runs_in_a_root_whose_dev_is_a_link() {
    let mut system = System::new();
    let outside = system.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(system.root()).unwrap();
    symlink(&outside, system.root().join("dev")).unwrap();
    let package = recipe("s", "1", &[("opt/s", "s")])
        .script(polpo_apk::package::Script::PostInstall, "echo no");
    let (committed, lines) = system.install_with(package, Default::default());
    assert_eq!(committed.errors, 1);
    assert!(
        lines.contains("`/dev` of the root is no directory"),
        "{lines}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_lies_where_the_database_is_written_first_is_not_written_to() {
    let mut system = System::new();
    system.install(recipe("a", "1", &[("opt/f", "one")]));
    let outside = system.folder.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    let database = system.root().join("lib/apk/db");
    fs::hard_link(&outside, database.join("installed.new")).unwrap();
    fs::hard_link(&outside, system.root().join("etc/apk/world.new")).unwrap();
    symlink(&outside, database.join("triggers.new")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let fifo = database.join("scripts.tar.new");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (committed, lines) = system.install(recipe("b", "1", &[("opt/g", "two")]));
    assert_eq!(committed.errors, 0, "{lines}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
    assert!(system.installed().contains("P:b"));
    assert!(
        fs::symlink_metadata(database.join("installed"))
            .unwrap()
            .is_file()
    );
}
