//! Whom steps run as, and what they may do.

use polpo_build::executor::ExecuteError;
use polpo_build::guest::GuestMode;
use polpo_build::recipe::{Accounts, Group, User};

use crate::support::{Bench, listing};

fn accounts(run_as: &str) -> Accounts {
    Accounts {
        run_as: Some(run_as.to_owned()),
        users: vec![User {
            name: "maker".to_owned(),
            uid: 1234,
            gid: 2345,
            ..User::default()
        }],
        groups: vec![Group {
            name: "makers".to_owned(),
            gid: 2345,
            members: Vec::new(),
        }],
    }
}

#[test]
fn steps_run_as_whom_the_recipe_names() {
    let mut trees = Vec::new();
    for mode in [GuestMode::Overlay, GuestMode::Copy, GuestMode::HardLinks] {
        let mut bench = Bench::with(&[&[(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:7:8:d:/:/bin/sh\n",
        )]]);
        bench.executor.guest = mode;
        let id = |bench: &mut Bench, run_as: &str| {
            bench.plan.accounts = accounts(run_as);
            bench.run("echo $(id -u) $(id -g)")
        };
        assert_eq!(id(&mut bench, "maker"), "1234 2345");
        assert_eq!(id(&mut bench, "1234"), "1234 2345");
        assert_eq!(id(&mut bench, "daemon"), "7 8");
        assert_eq!(id(&mut bench, "65532"), "65532 65532");
        assert_eq!(id(&mut bench, "root"), "0 0");
        assert_eq!(id(&mut bench, "0"), "0 0");
        bench.plan.accounts = accounts("nobody-there");
        bench.step("true");
        let error = bench.build().unwrap_err();
        assert!(
            matches!(&error, ExecuteError::NoUser(name) if name == "nobody-there"),
            "{error}"
        );

        // The guest is not the user's to change; the workspace and /tmp are.
        bench.plan.accounts = accounts("maker");
        bench.step(
            "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | head -1
            (echo x > /etc/x) 2>/dev/null || echo kept; rm /bin/vi 2>/dev/null || echo kept
            echo x > /tmp/x; echo x > /var/tmp/x; echo x > /dev/shm/x
            chown 0 /tmp/x 2>/dev/null || echo mine
            stat -c '%u:%g %a' . melange-out/hello /tmp
            mkdir -p melange-out/hello/usr; cp /bin/busybox melange-out/hello/usr/x; chmod 4755 melange-out/hello/usr/x",
        );
        bench.step("cat /tmp/x; echo y >> melange-out/hello/usr/y");
        let output = bench.build().unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(bench.lines.text(), @r"
            CapPrm:	0000000000000000
            kept
            kept
            mine
            1234:2345 755
            1234:2345 755
            1234:2345 1777
            x
            ");
        }
        trees.push(listing(&output.trees["hello"]));
    }
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[0], trees[2]);
}

#[test]
fn steps_have_the_capabilities_that_the_recipe_leaves_them() {
    let mut bench = Bench::new();
    let mut capabilities = |run_as: &str, add: &[&str], drop: &[&str]| {
        bench.plan.accounts = accounts(run_as);
        bench.plan.capabilities.add = add.iter().map(|&name| name.to_owned()).collect();
        bench.plan.capabilities.drop = drop.iter().map(|&name| name.to_owned()).collect();
        let text = bench.run("grep -E 'Cap(Eff|Bnd)' /proc/self/status | cut -f2 | sort -u");
        u64::from_str_radix(&text, 16).unwrap()
    };
    let (chown, net_admin, net_raw) = (1 << 0, 1 << 12, 1 << 13);
    let usual = 0x8000_00db;
    assert_eq!(capabilities("root", &[], &[]), usual);
    assert_eq!(
        capabilities("root", &["CAP_NET_ADMIN"], &["CAP_CHOWN"]),
        (usual | net_admin) & !chown
    );
    assert_eq!(capabilities("root", &[], &["ALL"]), 0);
    assert_eq!(capabilities("root", &["CAP_NET_RAW"], &["ALL"]), net_raw);
    assert_eq!(capabilities("maker", &["CAP_NET_RAW"], &[]), net_raw);
}

#[test]
fn no_capability_undoes_the_sandbox() {
    let mut bench = Bench::new();
    bench.plan.capabilities.add = polpo_build::recipe::CAPABILITIES
        .map(str::to_owned)
        .to_vec();
    // Opened, but nothing is written: if the sandbox leaks, the host must not suffer.
    let text = bench.run(
        "set +eo pipefail
        grep CapEff /proc/self/status
        cat > /tmp/attack <<'E'
        echo began
        umount /proc/sys && echo 'UNCOVERED'
        umount -l /proc && echo 'UNCOVERED'
        umount -l /dev/null && echo 'UNCOVERED'
        mount -o remount,rw,bind /proc/sys && echo 'WRITABLE'
        mount -t proc none /mnt && echo 'NEW PROC'
        mount -t sysfs none /mnt && echo 'NEW SYSFS'
        for name in cgroup cgroup2 debugfs securityfs devtmpfs bpf configfs; do
            mount -t $name none /mnt && echo \"NEW $name\"
        done
        mkdir -p /tmp/old; mount -o bind / /tmp/old && ls /tmp/old/proc/sys && echo 'SEEN BENEATH'
        for file in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger; do
            (: >> $file) && echo \"OPENED $file\"
        done
        mknod /tmp/disk b 8 0 && (: < /tmp/disk) && echo 'DISK'
        mknod /tmp/mem c 1 1 && (: < /tmp/mem) && echo 'MEMORY'
        chmod 666 /dev/null && echo 'CHANGED'
        hostname other && echo 'RENAMED'
        ip link set lo down && echo 'DOWN'
E
        mkdir -p /mnt
        exec 2>&1; echo outside; sh /tmp/attack 2>/dev/null
        echo inside; unshare -m -p -f sh /tmp/attack 2>/dev/null
        unshare -m sh -c 'mount -t tmpfs none /mnt && echo mounted'
        true",
    );
    insta::assert_snapshot!(text, @r"
    CapEff:	000001ffffffffff
    outside
    began
    inside
    began
    mounted
    ");
}
