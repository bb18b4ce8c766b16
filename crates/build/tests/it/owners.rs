//! Files that steps give to others than root.

use std::os::unix::fs::MetadataExt;

use polpo_build::executor::ExecuteError;
use polpo_build::guest::GuestMode;
use polpo_build::sandbox::RunnerKind;

use crate::runners::runners;
use crate::support::{Bench, listing};

/// Whether this user may have further ids in a sandbox, as the caller of the tests says it.
fn has_ids() -> bool {
    rustix::process::geteuid().is_root() || std::env::var_os("POLPO_TEST_HAS_IDS").is_some()
}

#[test]
fn files_are_whose_steps_made_them() {
    if !has_ids() {
        return; // see below
    }
    every_way(&[(None, GuestMode::Overlay), (None, GuestMode::Copy)]);
}

#[test]
fn every_runner_keeps_owners() {
    if !has_ids() {
        return; // see below
    }
    let automatic = |runner| (Some(runner), GuestMode::Automatic);
    let ways: Vec<_> = runners().into_iter().map(automatic).collect();
    every_way(&ways);
}

fn every_way(ways: &[(Option<RunnerKind>, GuestMode)]) {
    for (runner, mode) in ways {
        let mut bench = Bench::with(&[&[
            (
                "etc/passwd",
                "root:x:0:0::/:/bin/sh\nexim:x:101:102::/:\nbuild:x:1000:1000::/:\n",
            ),
            ("etc/group", "root:x:0:\nmail:x:102:\nbuild:x:1000:\n"),
        ]]);
        if let Some(runner) = runner {
            bench.use_runner(*runner);
        }
        bench.executor.guest = *mode;
        let temporary = bench.store().root().join("tmp");
        let before = listing(&temporary).lines().count();
        bench.step(
            "cd melange-out/hello; mkdir -p etc var/spool; cp /bin/busybox etc/program
            chown exim:mail etc/program; chmod 4750 etc/program; setuid=$(stat -c %a etc/program)
            echo late:x:300:301::/: >> /etc/passwd; echo late:x:301: >> /etc/group
            echo mine > etc/late; chown late:late etc/late; ln -s late etc/link; chown -h 65535 etc/link
            echo built > etc/built; chown build:build etc/built
            mkdir /opt/; echo x > /opt/x; chown -R exim /opt; chmod 700 /opt; mkdir /home/build/private
            echo x > private; chown 7:8 private /home/build/private; chmod 700 /home/build/private
            chown exim:mail var/spool; chmod 2770 var/spool; echo secret > var/spool/x; chown exim:mail var/spool/x; chmod 600 var/spool/x
            (chown 65536 etc/built) 2>&1 || true; echo $setuid",
        );
        // The next step sees them so, too.
        bench.step(
            "stat -c '%U:%G %a' melange-out/hello/etc/program melange-out/hello/etc/late; stat -c %u /opt/x
            su -s /bin/sh exim -c 'id -u; cat /home/build/melange-out/hello/var/spool/x; touch /root/x' 2>&1 || true",
        );
        let output = bench.build().unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(bench.lines.text(), @r"
            chown: etc/built: Invalid argument
            4750
            exim:mail 4750
            late:late 644
            101
            101
            secret
            touch: /root/x: Permission denied
            ");
        }
        let tree = &output.trees["hello"];
        let owners: Vec<String> = [
            "etc",
            "etc/program",
            "etc/late",
            "etc/link",
            "etc/built",
            "private",
            "var/spool",
            "var/spool/x",
        ]
        .iter()
        .map(|path| {
            let metadata = tree.join(path).symlink_metadata().unwrap();
            let (uid, gid) = (metadata.uid().into(), metadata.gid().into());
            let owner = output.owners.of("hello", path, uid, gid);
            let (user, group) = (&owner.user, &owner.group);
            format!(
                "{path} {}:{} {user}:{group} {:o}",
                owner.uid,
                owner.gid,
                metadata.mode()
            )
        })
        .collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(owners.join("\n"), @r"
            etc 0:0 root:root 40755
            etc/program 101:102 exim:mail 104750
            etc/late 300:301 late:late 100644
            etc/link 65535:0 :root 120777
            etc/built 0:0 root:root 100644
            private 7:8 : 100644
            var/spool 101:102 exim:mail 42770
            var/spool/x 101:102 exim:mail 100600
            ");
        }
        // Everything is this user's to read and to remove.
        assert_eq!(
            std::fs::read(tree.join("var/spool/x")).unwrap(),
            b"secret\n"
        );
        drop(output);
        bench.step("mkdir private; chown 7 private; chmod 700 private; touch private/x; chown 9 private/x; false");
        bench.build().unwrap_err();
        assert_eq!(listing(&temporary).lines().count(), before);
    }
}

#[test]
fn who_has_no_further_ids_is_told_so() {
    if has_ids() {
        return;
    }
    let mut bench = Bench::new();
    bench.step("chown 0:0 /tmp; touch x; chown 101 x");
    let ExecuteError::Step(failure) = bench.build().unwrap_err() else {
        panic!("the step did not fail");
    };
    let text = failure.to_string();
    assert!(
        text.contains("could be given to others than root"),
        "{text}"
    );
    assert!(text.contains("usermod --add-subuids"), "{text}");
    // Other failures have other reasons.
    bench.step("echo chown; false");
    let error = bench.build().unwrap_err().to_string();
    assert!(!error.contains("given to others"), "{error}");
}
