//! The same builds in other runners than bubblewrap: with the same result, and nothing left of them.

use std::fs;
use std::time::{Duration, Instant};

use polpo_build::executor::ExecuteError;
use polpo_build::guest::GuestMode;
use polpo_build::plan::Network;
use polpo_build::recipe::{Accounts, User};
use polpo_build::sandbox::{Excess, RunnerKind, SandboxError};
use testkit::Docker;

use crate::steps::processes_with;
use crate::support::{Bench, listing};

/// Those that the tests install and need nothing else to run, or those that the caller names.
pub(crate) fn runners() -> Vec<RunnerKind> {
    let named = std::env::var(NAMED).unwrap_or("podman qemu".to_owned());
    let names = named.split_whitespace();
    names.map(|name| name.parse().unwrap()).collect()
}

/// A time to sleep that is told apart from those of the same tests in another process.
fn unique(seconds: &str) -> String {
    format!("{seconds}{}", std::process::id())
}

const NAMED: &str = "POLPO_TEST_RUNNERS";

/// What steps ask of where they are, and what they make there.
const SCRIPTS: [&str; 5] = [
    "id; hostname; pwd; umask; env | sort; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status
     head -1 /proc/self/uid_map; ip -o link | cut -d: -f2; (exec 3>&1; echo out; echo err >&2; echo out) ; ls -d /dev/shm /tmp; stat -c %a /dev/shm /tmp",
    "echo data > melange-out/hello/file; chmod 640 melange-out/hello/file; ln melange-out/hello/file melange-out/hello/hard
     ln -s ../else melange-out/hello/soft; mkdir -p -m 1777 melange-out/hello/folder; cp /bin/busybox melange-out/hello/su; chmod 6755 melange-out/hello/su
     touch -d '2001-02-03 04:05:06' melange-out/hello/old; chown 0:0 melange-out/hello/file
     chown 65536 melange-out/hello/file 2>&1 || true; mknod melange-out/hello/disk b 8 0 2>&1 || true
     (trap '' TERM HUP; sleep 66.5) >/dev/null 2>&1 & setsid nohup sleep 66.5 >/dev/null 2>&1 & echo shared > /dev/shm/kept; echo mine > /etc/kept; echo mine > /tmp/kept; exit 0",
    "ls /dev/shm; cat /etc/kept /tmp/kept; ps -o args | grep -c '[s]leep' || true; read line || echo 'nothing to read'",
    "mount -t tmpfs none /tmp 2>/dev/null || echo 'no mounts'; (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo 'no settings'
     kill -9 1 2>/dev/null || true; echo 'still there'",
    "printf 'no newline'; printf '\\377\\n' >&2; stat -c '%a %s %h' melange-out/hello/hard; stat -c %Y melange-out/hello/old",
];

#[test]
fn every_runner_gives_the_same_bytes() {
    let build = |runner: Option<RunnerKind>| {
        let mut bench = Bench::with(&[&[("etc/config", "theirs\n"), ("usr/lib/x", "x\n")]]);
        if let Some(runner) = runner {
            bench.use_runner(runner);
        }
        for script in SCRIPTS {
            bench.step(&script.replace("66.5", &unique("66.5")));
        }
        let long = format!(
            "echo {} | wc -c; echo {} | wc -c",
            "x".repeat(60_000),
            "y".repeat(90_000)
        );
        bench.step(&long);
        let output = match bench.build() {
            Ok(output) => output,
            Err(error) => panic!("{runner:?}: {error}\n{}", bench.lines.text()),
        };
        assert_eq!(processes_with(&unique("66.5")), 0);
        let log = fs::read(bench.store().path(&output.log).unwrap()).unwrap();
        (
            String::from_utf8_lossy(&log).into_owned(),
            listing(&output.trees["hello"]),
        )
    };
    let (log, tree) = build(None);
    assert!(log.contains("still there"), "{log}");
    for runner in runners() {
        let (other_log, other_tree) = build(Some(runner));
        let lines = |log: &str| log.lines().map(str::to_owned).collect::<Vec<_>>();
        for (ours, theirs) in lines(&log).iter().zip(lines(&other_log)) {
            assert_eq!(theirs, *ours, "{runner}");
        }
        assert_eq!(other_log.len(), log.len(), "{runner}");
        assert_eq!(other_tree, tree, "{runner}");
    }
}

#[test]
fn every_runner_ends_what_goes_wrong() {
    for runner in runners() {
        let mut bench = Bench::new();
        bench.use_runner(runner);
        let temporary = bench.store().root().join("tmp");
        let before = listing(&temporary).lines().count();

        bench.step("echo first");
        bench.step("echo about to; cat /missing; echo never");
        let error = bench.build().unwrap_err();
        let ExecuteError::Step(failure) = &error else {
            panic!("{error}")
        };
        assert_eq!((failure.step.as_str(), failure.code), ("step 2", 1));
        assert_eq!(failure.last_lines[0], "about to");
        bench.step("kill -SEGV $$");
        let error = bench.build().unwrap_err();
        assert!(error.to_string().contains("exit code 139"), "{error}");

        bench.plan.limits.timeout = Some(15);
        let seconds = unique("67.5");
        bench.step(&format!(
            "(trap '' TERM; setsid sleep {seconds}) & sleep {seconds}"
        ));
        let start = Instant::now();
        let error = bench.build().unwrap_err();
        assert!(matches!(error, ExecuteError::TimedOut { .. }), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(40),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(processes_with(&unique("67.5")), 0);
        bench.plan.limits.timeout = None;

        assert_eq!(listing(&temporary).lines().count(), before);
    }
}

/// A fork bomb takes minutes of a machine whose processor is emulated.
fn holds_memory_and_processes(bench: &mut Bench) {
    bench.plan.limits.memory = Some(100 << 20);
    bench.step("for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=60M & done; wait; false");
    let error = bench.build().unwrap_err();
    let excess = Excess::Memory(100 << 20);
    assert!(
        matches!(&error, ExecuteError::Exceeded { excess: e, .. } if *e == excess),
        "{error}"
    );
    bench.plan.limits.memory = None;

    bench.plan.limits.processes = Some(150);
    let bomb = "set +e; bomb() { bomb | bomb & sleep 69.5; }; bomb; wait; sleep 69.5";
    bench.step(&bomb.replace("69.5", &unique("69.5")));
    let error = bench.build().unwrap_err();
    let excess = Excess::Processes(bench.plan.limits.processes.unwrap());
    assert!(
        matches!(&error, ExecuteError::Exceeded { excess: e, .. } if *e == excess),
        "{error}"
    );
    assert_eq!(processes_with(&unique("69.5")), 0);
    bench.plan.limits.processes = None;
}

#[test]
fn every_runner_holds_limits() {
    for runner in runners() {
        let mut bench = Bench::new();
        bench.use_runner(runner);
        if runner != RunnerKind::Qemu {
            holds_memory_and_processes(&mut bench);
        }
        bench.plan.limits.processors = Some(500);
        bench.plan.limits.disk = Some(30 << 20);
        assert_eq!(bench.run("nproc"), "1");
        bench.step("dd if=/dev/zero of=x bs=1M 2>/dev/null");
        let error = bench.build().unwrap_err();
        let excess = Excess::Disk(30 << 20);
        assert!(
            matches!(&error, ExecuteError::Exceeded { excess: e, .. } if *e == excess),
            "{error}"
        );
    }
}

#[test]
fn every_runner_lets_others_than_root_run_steps() {
    for runner in runners() {
        let mut texts = Vec::new();
        for runner in [None, Some(runner)] {
            let mut bench = Bench::new();
            if let Some(runner) = runner {
                bench.use_runner(runner);
            }
            bench.plan.accounts = Accounts {
                run_as: Some("maker".to_owned()),
                users: vec![User {
                    name: "maker".to_owned(),
                    uid: 1234,
                    gid: 2345,
                    ..User::default()
                }],
                groups: Vec::new(),
            };
            bench.plan.capabilities.add = vec!["CAP_SYS_CHROOT".to_owned()];
            texts.push(bench.run(
                "id -u; id -g; grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status
                (echo x > /etc/x) 2>/dev/null || echo kept; rm /bin/vi 2>/dev/null || echo kept
                echo x > /tmp/x; echo x > /var/tmp/x; echo x > /dev/shm/x; echo x > melange-out/hello/x
                stat -c '%u:%g %a' . melange-out/hello /tmp /tmp/x",
            ));
        }
        assert_eq!(texts[0], texts[1], "{runner}");
        assert!(texts[0].starts_with("1234\n2345\n"), "{}", texts[0]);
    }
}

#[test]
fn every_runner_has_the_recorded_network() {
    let server = testkit::Server::start();
    server.on("/a", testkit::Reply::ok("first"));
    for runner in runners() {
        if runner == RunnerKind::Qemu {
            continue; // copying the programs of this machine takes too long: see below
        }
        let mut bench = crate::network::bench(&server);
        bench.use_runner(runner);
        let script = "curl -sS https://registry.example/a; echo; curl -sS -m 5 --noproxy '*' http://192.0.2.1/ 2>&1 || echo unreachable; ip -o link | cut -d: -f2";
        let (_, recording) = match crate::network::record(&mut bench, script) {
            Ok(recorded) => recorded,
            Err(error) => panic!("{runner}: {error}"),
        };
        let recorded = bench.lines.text();
        assert!(recorded.starts_with("first\n"), "{recorded}");
        assert!(recorded.ends_with(" lo"), "{recorded}");
        let second = format!("{script}; curl -sS https://registry.example/a > /dev/null");
        bench.step("true"); // the socket is the same for all steps
        if let Err(error) = crate::network::replay(&mut bench, &recording, &second) {
            panic!("{runner}: {error}");
        }
        assert!(bench.lines.text().starts_with("first\n"));
    }
}

#[test]
fn a_virtual_machine_has_the_recorded_network_and_sees_no_other() {
    let server = testkit::Server::start();
    let data: String = (0..200_000).map(|number| number.to_string()).collect();
    server.on("/a", testkit::Reply::ok("first"));
    server.on("/data", testkit::Reply::ok(data));
    let mut bench = Bench::new();
    bench.use_runner(RunnerKind::Qemu);
    bench.executor.recorder.rewrites = vec![
        format!("http://registry.example={}", server.url(""))
            .parse()
            .unwrap(),
    ];
    // Many at once; and what is reached by no proxy.
    let script = format!(
        "export http_proxy=$(echo $http_proxy | tr A-Z a-z); cd /tmp
         wget -q -O - http://registry.example/a; echo
         for i in $(seq 30); do wget -q -O $i http://registry.example/a & done
         for i in 31 32 33 34; do wget -q -O $i http://registry.example/data & done; wait
         sha256sum [0-9]* | cut -c1-64 | sort | uniq -c
         ip -o link | cut -d: -f2; ip route; unset http_proxy
         for to in 10.0.2.2:{port} 10.0.2.2:61080 127.0.0.1:{port}; do timeout 20 wget -q -O - http://$to/a 2>/dev/null || echo unreachable; done",
        port = server.url("").rsplit(':').next().unwrap()
    );
    let (_, recording) = match crate::network::record(&mut bench, &script) {
        Ok(recorded) => recorded,
        Err(error) => panic!("{error}"),
    };
    let recorded = bench.lines.text();
    insta::assert_snapshot!(recorded, @r"
    first
          4 2f3bf7d3e4a76a85dfbc4aa65b67b8f74c165c7974671744dd9fba6bb79ddb41
         30 a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e
     lo
    unreachable
    unreachable
    unreachable
    ");
    let asked = server.paths().len();
    bench.step("true");
    let second = format!("{script}; ls /proc/sys/net/ipv4/conf");
    if let Err(error) = crate::network::replay(&mut bench, &recording, &second) {
        panic!("{error}");
    }
    assert_eq!(bench.lines.text(), format!("{recorded}\nall\ndefault\nlo"));
    assert_eq!(server.paths().len(), asked, "nobody is asked");
    bench.step("wget -q -O - http://registry.example/other");
    let error = match crate::network::replay(&mut bench, &recording, "true") {
        Ok(_) => panic!("what was not recorded was answered"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("registry.example/other"), "{error}");
}

#[test]
fn a_virtual_machine_has_the_network_of_its_host_where_that_is_allowed() {
    let server = testkit::Server::start();
    server.on("/a", testkit::Reply::ok("first"));
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    let script = format!(
        "ip -o link | cut -d: -f2; wget -q -O - http://10.0.2.2:{port}/a 2>/dev/null || echo unreachable"
    );
    let mut bench = Bench::new();
    bench.use_runner(RunnerKind::Qemu);
    insta::assert_snapshot!(bench.run(&script), @r"
     lo
    unreachable
    ");
    bench.plan.network = Network::Allowed;
    let script = format!("{script}; echo; ip route; cat /etc/resolv.conf");
    insta::assert_snapshot!(bench.run(&script), @r"
     lo
     eth0
    first
    default via 10.0.2.2 dev eth0 
    10.0.2.0/24 dev eth0 scope link  src 10.0.2.15 
    nameserver 10.0.2.3
    ");
}

#[test]
fn an_engine_sees_no_overlay_and_says_so() {
    let mut bench = Bench::new();
    bench.use_runner(RunnerKind::Podman);
    bench.executor.guest = GuestMode::Overlay;
    bench.step("true");
    let error = bench.build().unwrap_err();
    assert!(
        matches!(
            error,
            ExecuteError::Sandbox(SandboxError::NoSharedOverlay { .. })
        ),
        "{error}"
    );
    // Links into the store can't be written to.
    bench.executor.guest = GuestMode::HardLinks;
    let text = bench.run("(echo x > /etc/passwd) 2>&1 || true; echo x > /tmp/x; cat /tmp/x");
    insta::assert_snapshot!(text, @r"
    /bin/sh: can't create /etc/passwd: Read-only file system
    x
    ");
}

/// Builds that do not end, each for [`every_runner_dies_with_polpo`] in a process of its own.
#[test]
#[ignore = "never ends by itself"]
fn endless_build() {
    let mut bench = Bench::new();
    let folder = std::env::var_os("POLPO_TEST_STORE").unwrap();
    bench.use_store(std::path::Path::new(&folder));
    let runner = std::env::var("POLPO_TEST_RUNNER").unwrap();
    bench.use_runner(runner.parse().unwrap());
    let script = "(setsid sleep 68.5 &); (trap '' TERM HUP INT; sleep 68.5) & sleep 68.5";
    bench.step(&script.replace("68.5", &std::env::var("POLPO_TEST_SECONDS").unwrap()));
    bench.build().unwrap_err();
}

/// The processes that `process` has started, and those that they have.
fn descendants(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut pending = vec![process];
    while let Some(process) = pending.pop() {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                found.push(child.parse().unwrap());
                pending.push(child.parse().unwrap());
            }
        }
    }
    found
}

#[test]
fn every_runner_dies_with_polpo() {
    for runner in runners() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "runners::endless_build"])
            .env("POLPO_TEST_STORE", folder.path())
            .env("POLPO_TEST_RUNNER", runner.name())
            .env("POLPO_TEST_SECONDS", unique("68.5"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let wait = |until: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !until() {
                assert!(start.elapsed() < Duration::from_secs(30), "waited in vain");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        // What runs in a virtual machine is not seen from outside, but the machine is.
        let machine = || {
            descendants(child.id()).into_iter().find(|process| {
                let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
                line.starts_with(b"/usr/bin/qemu-system")
            })
        };
        let machine = match runner {
            RunnerKind::Qemu => {
                wait(&|| machine().is_some());
                std::thread::sleep(Duration::from_secs(1));
                machine()
            }
            _ => {
                wait(&|| processes_with(&unique("68.5")) == 3);
                None
            }
        };
        child.kill().unwrap(); // SIGKILL: nothing can be tidied up
        child.wait().unwrap();
        wait(&|| processes_with(&unique("68.5")) == 0);
        if let Some(machine) = machine {
            wait(&|| !std::path::Path::new(&format!("/proc/{machine}/root/machine")).exists());
        }
    }
}

#[test]
fn docker_does_what_the_others_do() {
    if !rustix::process::geteuid().is_root() {
        return; // its daemon wants root
    }
    let docker = Docker::start();
    let finished = docker
        .program(std::env::current_exe().unwrap())
        .args(["every_runner", "--test-threads", "2"])
        .env(NAMED, "docker")
        .run()
        .success();
    assert!(
        finished
            .stdout
            .contains("test runners::every_runner_gives_the_same_bytes ... ok"),
        "{}",
        finished.stdout
    );
    let left = docker.docker(&["ps", "--all", "--quiet"]).run().success();
    assert_eq!(left.stdout, "");
}
