//! Attacks on the sandbox.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use polpo_build::guest::GuestMode;
use polpo_build::recipe::CapabilityChange;
use polpo_build::sandbox::{
    Bind, Cancel, Connection, Ending, Held, Launch, Standard, User, find_bubblewrap,
};

use crate::support::{Bench, listing};

#[test]
fn there_is_no_network() {
    let mut bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("polpo-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let abstract_socket = UnixListener::bind_addr(&address).unwrap();
    abstract_socket.set_nonblocking(true).unwrap();
    let text = bench.run(&format!(
        "ls /sys/class/net 2>&1 || true
        ip -o link | cut -d: -f2
        ip route
        for target in '127.0.0.1 {port}' '192.0.2.1 80' '::1 {port}'; do
            if nc -w 2 $target </dev/null 2>/dev/null; then echo \"REACHED $target\"; fi
        done
        cat /proc/net/unix | grep {name} || echo 'no socket of the host'"
    ));
    insta::assert_snapshot!(text, @r"
    ls: /sys/class/net: No such file or directory
     lo
    no socket of the host
    ");
    assert!(listener.accept().is_err());
    assert!(abstract_socket.accept().is_err());
}

#[test]
fn what_is_written_elsewhere_is_lost() {
    for mode in [GuestMode::Overlay, GuestMode::Copy] {
        let mut bench = Bench::with(&[&[("etc/config", "theirs\n"), ("usr/lib/x", "x\n")]]);
        bench.executor.guest = mode;
        let before: Vec<String> = bench
            .layers
            .folders()
            .iter()
            .map(|tree| listing(tree))
            .collect();
        bench.step(
            "echo mine > /etc/config; rm /usr/lib/x /bin/vi; rm -r /usr
            mkdir /opt; echo new > /opt/new; chmod 700 /bin; (echo more >> /bin/busybox) 2>/dev/null || true
            mv /etc/passwd /etc/moved; echo data > /tmp/data",
        );
        // The guest is the same for all steps of a build.
        bench.step("cat /etc/config /opt/new /tmp/data; ls /usr 2>&1 || true; ls -d /etc/moved");
        bench.build().unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(bench.lines.text(), @r"
            mine
            new
            data
            ls: /usr: No such file or directory
            /etc/moved
            ");
        }
        let after: Vec<String> = bench
            .layers
            .folders()
            .iter()
            .map(|tree| listing(tree))
            .collect();
        assert_eq!(before, after);
        assert_eq!(
            bench.run("cat /etc/config; ls /opt 2>&1 || true; ls /tmp"),
            "theirs\nls: /opt: No such file or directory"
        );
    }
}

#[test]
fn hard_links_into_the_store_cannot_be_written_to() {
    let mut bench = Bench::with(&[&[("etc/config", "theirs\n")]]);
    bench.executor.guest = GuestMode::HardLinks;
    let before: Vec<String> = bench
        .layers
        .folders()
        .iter()
        .map(|tree| listing(tree))
        .collect();
    let text = bench.run(
        "echo mine > /etc/config || true; rm /bin/vi 2>&1 || true; mkdir /new 2>&1 || true
        mount -o remount,rw / 2>&1 || true
        echo ok > /tmp/x; echo ok > /var/tmp/x; echo ok > x; cat /tmp/x /var/tmp/x x /etc/config",
    );
    insta::assert_snapshot!(text, @r"
    /bin/sh: can't create /etc/config: Read-only file system
    rm: can't remove '/bin/vi': Read-only file system
    mkdir: can't create directory '/new': Read-only file system
    mount: permission denied (are you root?)
    ok
    ok
    ok
    theirs
    ");
    let after: Vec<String> = bench
        .layers
        .folders()
        .iter()
        .map(|tree| listing(tree))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn the_host_is_out_of_sight() {
    let mut bench = Bench::new();
    let secret = bench.folder.path().join("secret.rsa");
    fs::write(&secret, "PRIVATE KEY").unwrap();
    let text = bench.run(&format!(
        "cat {secret} 2>/dev/null && echo FOUND
        ls / /home /root
        env | sort
        hostname
        id
        ps -o comm | grep -c -v -x -e COMMAND -e bwrap -e sh -e ps -e exe -e grep || true
        tr '\\0' ' ' < /proc/1/cmdline | grep -c -e '[-]-bind' || true
        ls /proc/self/fd | wc -l
        ls /dev
        ls /dev/pts /dev/shm",
        secret = secret.display(),
    ));
    insta::assert_snapshot!(text, @r"
    /:
    bin
    dev
    etc
    home
    proc
    root
    run
    sys
    tmp
    var

    /home:
    build

    /root:
    COMPOSER_CACHE_DIR=/var/cache/melange/composer
    GOMODCACHE=/var/cache/melange/gomodcache
    GOPATH=/home/build/.cache/go
    HOME=/home/build
    OLDPWD=/
    PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin
    PIP_CACHE_DIR=/var/cache/melange/pip
    PWD=/home/build
    SHLVL=1
    SOURCE_DATE_EPOCH=1
    UV_CACHE_DIR=/var/cache/melange/uv
    npm_config_cache=/var/cache/melange/npm
    polpo
    uid=0(root) gid=0(root)
    0
    0
    4
    core
    fd
    full
    null
    ptmx
    pts
    random
    shm
    stderr
    stdin
    stdout
    tty
    urandom
    zero
    /dev/pts:
    ptmx

    /dev/shm:
    ");
}

#[test]
fn the_kernel_is_out_of_reach() {
    let mut bench = Bench::new();
    let text = bench.run(
        "grep -E 'Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status
        # Opened, but nothing is written: if the sandbox leaks, the host must not suffer.
        for file in /proc/sys/kernel/hostname /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/mtrr; do
            if (: >> $file) 2>/dev/null; then echo \"OPENED $file\"; fi
        done
        find /proc/sys /proc/irq /proc/fs /proc/bus -type f 2>/dev/null | while read file; do
            if (: >> $file) 2>/dev/null; then echo \"OPENED $file\"; fi
        done
        for file in /proc/kmsg /proc/kcore /proc/kpagecount /proc/slabinfo /proc/vmallocinfo /proc/timer_list; do
            if [ -n \"$(head -c1 $file 2>/dev/null | tr '\\0' x)\" ]; then echo \"READ $file\"; fi
        done
        set +eo pipefail
        # The mode they have: nothing changes if it can be set.
        for node in null zero full random urandom tty; do
            chmod 666 /dev/$node 2>/dev/null && echo \"CHANGED /dev/$node\"
        done
        echo x > /dev/null && head -c1 /dev/zero | wc -c && head -c1 /dev/urandom | wc -c
        mount -t tmpfs x /tmp 2>&1
        mount -o bind / /tmp 2>&1
        umount /proc 2>&1
        umount -l /home/build 2>&1
        unshare -U true 2>&1
        unshare -m true 2>&1
        chroot / true 2>&1
        mknod /tmp/disk b 8 0 2>&1
        hostname other 2>&1
        chown 65536 /tmp 2>&1
        chown 0:0 /tmp && echo 'root may own'
        true",
    );
    insta::assert_snapshot!(text, @r"
    CapPrm:	00000000800000db
    CapEff:	00000000800000db
    CapBnd:	00000000800000db
    NoNewPrivs:	1
    1
    1
    mount: permission denied (are you root?)
    mount: permission denied (are you root?)
    umount: can't unmount /proc: Operation not permitted
    umount: can't unmount /home/build: Operation not permitted
    unshare: unshare(0x10000000): No space left on device
    unshare: unshare(0x20000): Operation not permitted
    chroot: can't change root directory to '/': Operation not permitted
    mknod: /tmp/disk: Operation not permitted
    hostname: sethostname: Operation not permitted
    chown: /tmp: Invalid argument
    root may own
    ");
}

#[test]
fn other_processes_are_out_of_reach() {
    let mut bench = Bench::new();
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let text = bench.run(&format!(
        "kill -9 {pid} 2>&1 || true; kill -9 {own} 2>&1 || true; kill -9 -1 2>&1 || true
        ls -d /proc/{pid} 2>&1 || true
        echo still here",
        pid = child.id(),
        own = std::process::id(),
    ));
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        child.try_wait().unwrap().is_none(),
        "the host's process was killed"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.ends_with("still here"), "{text}");
    assert_eq!(text.matches("No such").count(), 4, "{text}");
}

#[test]
fn all_steps_have_one_sandbox_and_leave_nothing_in_it() {
    let mut bench = Bench::new();
    bench.step(
        "for kind in pid mnt net user; do readlink /proc/self/ns/$kind; done > namespaces
        echo x > /dev/shm/x; mkdir /dev/shm/folder; ln -s /home/build /dev/shm/link
        for i in $(seq 40); do (sleep 0 & sleep 0 &); done; sleep 0.1
        echo $(ps -o stat | grep -c Z || true) orphans are not buried
        (while true; do (sleep 59.5 &); sleep 0.01; done) >/dev/null 2>&1 &
        (setsid sleep 59.5 &); (trap '' TERM HUP; sleep 59.5) & sleep 0.1",
    );
    // Whatever a step ends, the next one does not miss it.
    bench.step("set +e; sleep 59.5 & kill -9 -1; kill -9 1; kill -STOP 1; echo still here");
    bench.step(
        "for kind in pid mnt net user; do readlink /proc/self/ns/$kind; done | cmp - namespaces
        ps -o comm | grep -v -x -e COMMAND -e bwrap -e sh -e ps -e exe -e grep || true
        ls -A /dev/shm; ls -d namespaces",
    );
    bench.build().unwrap();
    insta::assert_snapshot!(bench.lines.text(), @r"
    0 orphans are not buried
    still here
    namespaces
    ");
    assert_eq!(crate::steps::processes_with("59.5"), 0);
}

#[test]
fn the_first_process_gives_nothing_away() {
    let mut bench = Bench::new();
    for capabilities in [&[][..], &polpo_build::recipe::CAPABILITIES] {
        bench.plan.capabilities.add = capabilities.iter().map(|&name| name.to_owned()).collect();
        // It was made outside, and has things open from there.
        let text = bench.run(
            "set +eo pipefail
            for process in /proc/[0-9]*; do
                [ $process = /proc/$$ ] && continue
                [ $(cat $process/comm 2>/dev/null || echo sh) = bwrap ] || continue
                for number in 0 1 2 3 4 5 6 7 8 9; do
                    ls -d $process/fd/$number/. 2>/dev/null; readlink $process/fd/$number
                done
                ls -d $process/root/. $process/cwd/. 2>/dev/null
                readlink $process/exe; readlink $process/ns/user
                cat $process/environ $process/maps 2>/dev/null
                (echo x > $process/mem) 2>/dev/null && echo WRITTEN
                nsenter -t ${process#/proc/} -m -U true 2>/dev/null && echo ENTERED
                tr '\\0' ' ' < $process/cmdline | grep -e store -e session
            done
            echo nothing",
        );
        assert_eq!(text, "nothing");
    }
}

#[test]
fn only_a_shell_that_was_asked_for_has_the_terminal() {
    let bench = Bench::new();
    let (bubblewrap, init) = (find_bubblewrap().unwrap(), bench.init());
    for (number, (standard, own_session)) in [
        (Standard::Captured, true),
        (Standard::Inherited, true),
        (Standard::Terminal, false),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = |name: &str| {
            let path = bench.folder.path().join(format!("{name}-{number}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let root = bench
            .layers
            .prepare(GuestMode::Copy, &folder("guest"))
            .unwrap();
        let (scratch, out) = (folder("scratch"), folder("out"));
        let held = Held::new(&init, root, &scratch).unwrap();
        // Seen from inside, the session of a process outside is 0.
        let script = "cut -d' ' -f6 /proc/self/stat > /mnt/session";
        let launch = Launch {
            init: &init,
            bubblewrap: &bubblewrap,
            root: &held,
            binds: &[Bind {
                source: out.clone(),
                target: "/mnt".to_owned(),
                writable: true,
            }],
            environment: &BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            command: &["/bin/sh", "-c", script].map(str::to_owned),
            user: User::default(),
            capabilities: &CapabilityChange::default(),
            working_directory: None,
            network: Connection::None,
            bounds: None,
            scratch: &scratch,
            standard,
        };
        let (_writer, cancel) = Cancel::pair().unwrap();
        let ending = launch.run(None, &cancel, &mut |_| {}).unwrap();
        assert_eq!(ending, Ending::Exited(0));
        let session = fs::read_to_string(out.join("session")).unwrap();
        assert_eq!(session.trim() != "0", own_session, "{standard:?} {session}");
    }
}
