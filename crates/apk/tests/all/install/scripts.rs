//! Scripts, triggers and hooks, in the sandbox. The transcripts are apk's.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use base::{Event, Reporter};
use polpo_apk::install::{CommitOptions, InstallError, Transaction};
use polpo_apk::package::Script;

use super::{Do, Lines, System, recipe, steps};

/// A root with a shell.
fn system() -> System {
    let system = System::new();
    let bin = system.root().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| std::fs::metadata(path).is_ok())
        .expect("a static busybox: scripts/install test");
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    for name in [
        "sh", "echo", "env", "cat", "sort", "id", "touch", "ls", "grep", "kill",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    system
}

fn loud() -> CommitOptions {
    CommitOptions::default()
}

const SAY: &str = r#"echo "$APK_SCRIPT $APK_PACKAGE: $*""#;

fn talkative(version: &str) -> super::Recipe {
    let kinds = Script::ALL
        .into_iter()
        .filter(|kind| *kind != Script::Trigger);
    kinds.fold(
        recipe("s", version, &[("opt/s", version)]),
        |recipe, kind| recipe.script(kind, SAY),
    )
}

#[test]
fn scripts_run_in_their_turn() {
    let mut system = system();
    let mut said = system.install_with(talkative("1"), loud()).1;
    said += &system.install_with(talkative("2"), loud()).1;
    said += &system.commit(&[Do::Remove("s")], loud()).1;
    insta::assert_snapshot!(said, @r"
    (1/1) Installing s (1)
      Executing s-1.pre-install
      * pre-install s: 1
      Executing s-1.post-install
      * post-install s: 1
    (1/1) Installing s (2)
      Executing s-2.pre-upgrade
      * pre-upgrade s: 2 1
      Executing s-2.post-upgrade
      * post-upgrade s: 2 1
    (1/1) Purging s
      Executing s-2.pre-deinstall
      * pre-deinstall s: 2
      Executing s-2.post-deinstall
      * post-deinstall s: 2
    ");
    // And not at all where they are left out.
    assert_eq!(system.install(talkative("3")).1, "(1/1) Installing s (3)\n");
}

#[test]
fn a_script_sees_the_root_and_little_else() {
    let mut system = system();
    let script = r#"env | sort | grep -v "^PWD=\|^_=\|^SHLVL="
id -u
ls /
touch /opt/made
ls /dev/apk-script
echo -e 'colour \033[31m'
cat"#;
    let (committed, said) = system.install_with(
        recipe("e", "1", &[("opt/e", "")]).script(Script::PostInstall, script),
        loud(),
    );
    assert_eq!(committed.errors, 0, "{said}");
    assert!(system.has("opt/made"));
    insta::assert_snapshot!(said, @r"
    (1/1) Installing e (1)
      Executing e-1.post-install
      * APK_PACKAGE=e
      * APK_SCRIPT=post-install
      * PATH=/usr/sbin:/usr/bin:/sbin:/bin
      * 0
      * bin
      * dev
      * opt
      * proc
      * /dev/apk-script
      * colour ?[31m
    ");
}

/// What is printed, and what is told beside it.
#[derive(Default)]
struct Streams(Mutex<(String, String)>);

impl Reporter for Streams {
    fn report(&self, event: Event<'_>) {
        let mut streams = self.0.lock().unwrap();
        let (stream, line) = match event {
            Event::Output { line, .. } => (&mut streams.0, line),
            Event::Notice { message } => (&mut streams.1, message),
            _ => return,
        };
        stream.push_str(line);
        stream.push('\n');
    }
}

#[test]
fn what_a_script_complains_of_is_told_apart() {
    let mut system = system();
    let script = "echo one; echo '* two'; echo '*'; echo '**'; printf three\n\
         echo 'no one' >&2; echo '* no two' >&2; printf 'no three' >&2\n";
    let package = recipe("c", "1", &[("opt/c", "")]).script(Script::PostInstall, script);
    let mut foreign = recipe("x", "1", &[("opt/x", "")]);
    let script = b"#!/opt/none\n".to_vec();
    foreign.scripts.insert(Script::PostInstall, script);
    let files = [
        package.write(system.folder.path()),
        foreign.write(system.folder.path()),
    ];
    let streams = Streams::default();
    let mut root = system.open(&Lines::default());
    system.created = true;
    let transaction = Transaction {
        steps: steps(&root, &[Do::Install(&files[0]), Do::Install(&files[1])]),
        ..Transaction::default()
    };
    let committed = root.commit(&transaction, &streams).unwrap();
    assert_eq!(committed.errors, 1);
    let (output, notices) = streams.0.into_inner().unwrap();
    insta::assert_snapshot!(output, @r"
      * one
      * two
      * 
      * **
      * three
    ");
    insta::assert_snapshot!(notices, @r"
      * no one
      * no two
      * no three
      * execve: No such file or directory
    ERROR: lib/apk/exec/x-1.post-install: exited with error 127
    ");
}

#[test]
fn a_script_that_fails_breaks_its_package() {
    for (kind, lines, reason) in [
        (Script::PostInstall, "exit 3", "exited with error 3"),
        (Script::PreInstall, "exit 1", "exited with error 1"),
        (Script::PostInstall, "kill -9 $$", "killed by signal 9"),
    ] {
        let mut system = system();
        let package = recipe("f", "1", &[("opt/f", "f")]).script(kind, lines);
        let (committed, said) = system.install_with(package, loud());
        assert_eq!(committed.errors, 1);
        let last = said.lines().last().unwrap();
        assert_eq!(last, format!("ERROR: lib/apk/exec/f-1.{kind}: {reason}"));
        assert!(system.installed().contains("\nf:s\n"));
        // It is installed all the same.
        assert_eq!(system.read("opt/f"), "f");
        // And whole once the script is.
        let package = recipe("f", "2", &[("opt/f", "f")]).script(kind, "exit 0");
        assert_eq!(system.install_with(package, loud()).0.errors, 0);
        assert!(!system.installed().contains("\nf:s\n"));
    }
    let mut system = system();
    let package = recipe("f", "1", &[("opt/f", "f")]).script(Script::PreDeinstall, "exit 1");
    system.install_with(package, loud());
    let (committed, _) = system.commit(&[Do::Remove("f")], loud());
    // apk tells, and counts it for nothing.
    assert_eq!((committed.errors, committed.problems.len()), (0, 1));
    assert!(!system.has("opt"));
}

#[test]
fn triggers_are_told_of_directories_once() {
    let mut system = system();
    let listener = recipe("t", "1", &[("opt/t", "t")])
        .triggers(&["/usr/share/*", "/opt", "+/etc"])
        .script(Script::Trigger, "echo $*");
    let files = recipe(
        "m",
        "1",
        &[
            ("usr/share/one/x", ""),
            ("usr/share/two/", ""),
            ("etc/m", ""),
        ],
    );
    let mut said = system.install_with(files, loud()).1;
    // One that comes is told of all that is there.
    said += &system.install_with(listener, loud()).1;
    let changed = recipe("m", "2", &[("usr/share/three/x", "")]);
    said += &system.install_with(changed, loud()).1;
    said += &system.commit(&[Do::Remove("m")], loud()).1;
    insta::assert_snapshot!(said, @r"
    (1/1) Installing m (1)
    (1/1) Installing t (1)
    Executing t-1.trigger
    * /opt /usr/share/one /usr/share/two
    (1/1) Installing m (2)
    Executing t-1.trigger
    * /etc /usr/share/one /usr/share/three /usr/share/two
    (1/1) Purging m
    Executing t-1.trigger
    * /usr/share/three
    ");
    assert_eq!(system.read("lib/apk/db/triggers").lines().count(), 1);
    assert!(
        system
            .read("lib/apk/db/triggers")
            .ends_with(" /usr/share/* /opt +/etc\n")
    );
}

#[test]
fn hooks_stand_around_a_commit() {
    let mut system = system();
    let hook = |path: &str, lines: &str, system: &System| {
        system.write(path, &format!("#!/bin/sh\n{lines}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(system.root().join(path), mode).unwrap();
    };
    hook(
        "etc/apk/commit_hooks.d/b",
        r#"echo "b $1 $APK_SCRIPT [$APK_PACKAGE]""#,
        &system,
    );
    hook("etc/apk/commit_hooks.d/.hidden", "echo no", &system);
    hook("lib/apk/commit_hooks.d/a", "echo a", &system);
    hook("lib/apk/commit_hooks.d/b", "echo shadowed", &system);
    let package = |version| recipe("p", version, &[("opt/p", version)]);
    let said = system.install_with(package("1"), loud()).1;
    insta::assert_snapshot!(said, @r"
    Executing pre-commit a
    * a
    Executing pre-commit b
    * b pre-commit pre-commit []
    (1/1) Installing p (1)
    Executing post-commit a
    * a
    Executing post-commit b
    * b post-commit post-commit []
    ");
    let options = CommitOptions {
        no_commit_hooks: true,
        ..loud()
    };
    let said = system.install_with(package("2"), options).1;
    assert!(
        said.contains("Skipping: etc/apk/commit_hooks.d/b post-commit\n"),
        "{said}"
    );
    assert!(!system.install(package("3")).1.contains("commit"));
    let options = CommitOptions {
        verbosity: 3,
        ..loud()
    };
    let silent = "lib/apk/commit_hooks.d/a";
    hook(silent, "exit 0", &system);
    let mut said = system.install_with(package("4"), options.clone()).1;
    said += &system.commit(&[Do::Remove("p")], options).1;
    insta::assert_snapshot!(said, @"
    Executing /lib/apk/commit_hooks.d/a pre-commit
    Executing /etc/apk/commit_hooks.d/b pre-commit
    * b pre-commit pre-commit []
    (1/1) Installing p (4)
    opt (dir)
    opt/p
    Executing /lib/apk/commit_hooks.d/a post-commit
    Executing /etc/apk/commit_hooks.d/b post-commit
    * b post-commit post-commit []
    Executing /lib/apk/commit_hooks.d/a pre-commit
    Executing /etc/apk/commit_hooks.d/b pre-commit
    * b pre-commit pre-commit []
    (1/1) Purging p
    opt/p
    Executing /lib/apk/commit_hooks.d/a post-commit
    Executing /etc/apk/commit_hooks.d/b post-commit
    * b post-commit post-commit []
    ");
    let said = system.install_with(package("3"), loud()).1;
    assert!(!said.contains("commit a"), "{said}");
    // One that fails before the commit stops it.
    hook(
        "etc/apk/commit_hooks.d/b",
        r#"[ "$1" = post-commit ]"#,
        &system,
    );
    let file = package("4").write(system.folder.path());
    let mut root = system.open(&Lines::default());
    let transaction = Transaction {
        steps: steps(&root, &[Do::Install(&file)]),
        ..Transaction::default()
    };
    let error = root.commit(&transaction, &Lines::default()).unwrap_err();
    assert!(matches!(error, InstallError::Hook { .. }));
    insta::assert_snapshot!(error, @"the commit hook etc/apk/commit_hooks.d/b failed: exited with error 1; nothing was changed");
    drop(root);
    assert_eq!(system.read("opt/p"), "3");
    assert!(!system.has("lib/apk/db/journal"));
}

#[test]
fn scripts_of_a_package_may_need_files_of_the_one_before() {
    let mut system = system();
    let folder = system.folder.path().to_owned();
    let first = recipe("first", "1", &[("opt/tool", "from first")])
        .script(
            Script::PostInstall,
            "echo bob:x:1077:1078::/: >> /etc/passwd",
        )
        .node("etc", archive::tree::Node::directory())
        .write(&folder);
    let mut owned = archive::tree::Node::file(*b"x");
    owned.user = "bob".to_owned();
    let second = recipe("second", "1", &[])
        .node("srv/f", owned)
        .script(Script::PreInstall, "cat /opt/tool")
        .write(&folder);
    let (_, said) = system.commit(&[Do::Install(&first), Do::Install(&second)], loud());
    assert!(said.contains("  * from first\n"), "{said}");
    assert!(system.installed().contains("R:f\na:1077:0:644\n"));
}
