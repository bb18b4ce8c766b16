//! What signs packages is not what builds them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::Arch;
use key::{Algorithm, Password, PrivateKey};

use crate::network::Shop;
use crate::world::polpo;

const PASSWORD: &str = "correct horse battery staple";

/// A shop whose one step takes its time.
fn shop(step: &str) -> Shop {
    let shop = Shop::new();
    let text = format!(
        "package:\n  name: hello\n  version: \"1.0\"\n  description: Says hello\n  copyright:\n    \
         - license: MIT\nenvironment:\n  contents: {{packages: [busybox]}}\npipeline:\n  - runs: {step}\n"
    );
    fs::write(shop.path("hello.yaml"), text).unwrap();
    shop
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A process that was started by another one, with its command line.
fn started_by(process: u32) -> Vec<(u32, String)> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter_map(|number: u32| {
            // pid (name) state parent and more: the name may hold anything
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((number, parent.parse().ok()?))
        })
        .collect();
    let mut found = vec![process];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = all.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    let line = |number: &u32| {
        let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    found.iter().map(|number| (*number, line(number))).collect()
}

/// Whether the memory of a process holds these bytes.
fn holds(process: u32, needles: &[Vec<u8>]) -> bool {
    const STEP: u64 = 4096;
    const NOTHING: [u8; STEP as usize + 64] = [0; STEP as usize + 64];
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut buffer = vec![0; STEP as usize + 64];
    for line in maps.lines() {
        // address permissions offset device inode path
        let fields: Vec<&str> = line.split_whitespace().collect();
        let special = fields.get(5).is_some_and(|path| path.starts_with("[v"));
        if !fields[1].starts_with("rw") || fields[4] != "0" || special {
            continue;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (mut at, end) = (address(start), address(end));
        while at < end {
            // Over the edge, so that nothing is cut in two.
            let length = buffer.len().min((end - at) as usize);
            let Ok(count) = memory.read_at(&mut buffer[..length], at) else {
                break;
            };
            let bytes = &buffer[..count];
            let is_there = |needle: &Vec<u8>| {
                let mut windows = bytes.windows(needle.len());
                windows.any(|window| window[0] == needle[0] && window == needle)
            };
            if bytes != &NOTHING[..count] && needles.iter().any(is_there) {
                return true;
            }
            at += STEP;
        }
    }
    false
}

/// Bytes of a prime of an RSA key, in both orders.
fn secret(key: &PrivateKey) -> [Vec<u8>; 2] {
    use base64::Engine as _;
    let pem = key.to_pem(None).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    // An INTEGER of 257 bytes, the first of them 0.
    let header = [2, 0x82, 1, 1, 0];
    let at = der.windows(5).position(|window| window == header).unwrap() + 5;
    let prime = der[at + 64..at + 96].to_vec();
    let reversed = prime.iter().rev().copied().collect();
    [prime, reversed]
}

/// Builds the shop's package; by whose key is to follow.
const BUILD: [&str; 6] = [
    "build",
    "hello.yaml",
    "-r",
    "seed",
    "-k",
    "keys/test.rsa.pub",
];

#[test]
fn what_builds_has_neither_the_key_nor_its_password() {
    let shop = shop("sleep 300");
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    let password = Password::new(PASSWORD);
    key::save_pair(&key, &shop.path("sealed.rsa"), Some(&password)).unwrap();
    let said = File::create(shop.path("said")).unwrap();
    let mut build = polpo(&shop.path("store"))
        .folder(&shop.path(""))
        .env("POLPO_KEY_PASSWORD", PASSWORD)
        .args(BUILD)
        .args(["--signing-key", "sealed.rsa"]);
    let mut build = build
        .command()
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    let builder = build.id();
    let begin = Instant::now();
    let all = loop {
        let all = started_by(builder);
        if all.iter().any(|(_, line)| line.starts_with("sleep 300")) {
            break all;
        }
        let text = fs::read_to_string(shop.path("said")).unwrap();
        assert!(build.try_wait().unwrap().is_none(), "{text}");
        assert!(begin.elapsed() < Duration::from_secs(120), "{text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let signers: Vec<u32> = all
        .iter()
        .filter(|(_, line)| line.contains(" signer-process "))
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(signers.len(), 1, "{all:?}");
    assert!(all.len() > 3, "{all:?}");
    let environment = |process: u32| fs::read(format!("/proc/{process}/environ"));
    let has_password = |process: u32| {
        environment(process).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(PASSWORD))
    };
    for (process, line) in &all {
        assert!(!line.contains(PASSWORD), "{line}");
        if ![builder, signers[0]].contains(process) {
            assert!(!has_password(*process), "{line}");
        }
    }
    let secret = secret(&key);
    if is_root() {
        // Root is kept out of nothing, and so can see what is where.
        assert!(holds(signers[0], &secret));
        for (process, line) in &all {
            assert!(
                *process == signers[0] || !holds(*process, &secret),
                "{line}"
            );
        }
    } else {
        for process in [builder, signers[0]] {
            for name in ["mem", "environ"] {
                let error = File::open(format!("/proc/{process}/{name}")).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            }
        }
    }
    // If what builds is killed, the signer ends too.
    build.kill().unwrap();
    build.wait().unwrap();
    let begin = Instant::now();
    while PathBuf::from(format!("/proc/{}", signers[0])).exists() {
        // Nobody may be there to take its exit code.
        let stat = fs::read_to_string(format!("/proc/{}/stat", signers[0])).unwrap_or_default();
        if stat.contains(") Z ") {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stops the signer before its first instruction of its own: what a program does comes after its
/// libraries are there.
const STOP: &str = "
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
__attribute__((constructor)) static void stop(void) {
    char line[4096];
    int file = open(\"/proc/self/cmdline\", O_RDONLY);
    ssize_t length = file < 0 ? 0 : read(file, line, sizeof line);
    if (file >= 0) close(file);
    size_t first = length > 0 ? strnlen(line, length) + 1 : 0;
    if (first + 14 < (size_t)length && strcmp(line + first, \"signer-process\") == 0)
        kill(getpid(), SIGSTOP);
}
";

/// The process among those that `process` started that is the signer and stands still.
fn stopped_signer(process: u32) -> Option<u32> {
    let stands = |number: u32| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        stat.contains(") T ")
    };
    started_by(process)
        .into_iter()
        .find(|(number, line)| line.contains(" signer-process ") && stands(*number))
        .map(|(number, _)| number)
}

#[test]
fn nobody_gets_into_the_signer_before_it_shuts_itself() {
    let shop = shop("mkdir -p ${{targets.destdir}}/usr");
    fs::set_permissions(shop.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(shop.path("stop.c"), STOP).unwrap();
    fs::write(
        shop.path("attack.c"),
        include_str!("../../../build/tests/it/attack.c"),
    )
    .unwrap();
    let compile = |words: &[&str]| {
        let gcc = testkit::Program::new("gcc").folder(&shop.path(""));
        gcc.args(words).run().success();
    };
    compile(&["-shared", "-fPIC", "-o", "stop.so", "stop.c"]);
    compile(&["-static", "-o", "attack", "attack.c"]);
    let program = shop.path("polpo");
    testkit::copy_program(Path::new(env!("CARGO_BIN_EXE_polpo")), &program);
    for name in ["polpo", "stop.so", "attack"] {
        fs::set_permissions(shop.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Root is kept out of nothing: then the signer and its neighbour are another user's.
    const USER: u32 = 54321;
    let as_user = |command: &mut Command| {
        if is_root() {
            command.uid(USER).gid(USER);
        }
    };
    if is_root() {
        chown(shop.path("keys/test.rsa"), Some(USER), Some(USER)).unwrap();
    }
    let wait = |process: &mut Child| {
        let begin = Instant::now();
        loop {
            if let Some(signer) = stopped_signer(process.id()) {
                return signer;
            }
            assert!(process.try_wait().unwrap().is_none());
            assert!(begin.elapsed() < Duration::from_secs(120));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let tried = |process: u32| {
        let mut command = Command::new(shop.path("attack"));
        as_user(command.arg(process.to_string()).current_dir("/"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let go_on = |process: u32| {
        let kill = testkit::Program::new("kill").args(["-CONT", &process.to_string()]);
        kill.run().success();
    };

    // So that this could fail: a program that its user can read is open at first.
    let mut plain = Command::new(&program);
    plain.args(["signer-process", "packages"]);
    plain.arg(shop.path("keys/test.rsa"));
    plain.env("LD_PRELOAD", shop.path("stop.so"));
    plain.stdout(Stdio::null()).stderr(Stdio::null());
    as_user(&mut plain);
    let mut plain = plain.spawn().unwrap();
    let text = {
        let process = wait(&mut plain);
        tried(process)
    };
    assert!(text.contains("mem: GOT IN"), "{text}");
    plain.kill().unwrap();
    plain.wait().unwrap();

    let mut build = testkit::Program::new(&program)
        .env("POLPO_STORE", shop.path("store"))
        .env("LD_PRELOAD", shop.path("stop.so"))
        .folder(&shop.path(""))
        .args(BUILD)
        .args(["--signing-key", "keys/test.rsa"]);
    if is_root() {
        build = build.args(["--signing-user", &format!("{USER}:{USER}")]);
    }
    let said = File::create(shop.path("said")).unwrap();
    let mut build = build
        .command()
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    let signer = wait(&mut build);
    insta::assert_snapshot!(tried(signer), @r"
    mem: Permission denied
    environ: Permission denied
    maps: Permission denied
    fd: Permission denied
    process_vm_readv: Operation not permitted
    pidfd_getfd: Operation not permitted
    ptrace: Operation not permitted
    ");
    go_on(signer);
    let text = fs::read_to_string(shop.path("said")).unwrap();
    assert!(build.wait().unwrap().success(), "{text}");
}

#[test]
fn the_signer_may_be_another_user() {
    let shop = shop("mkdir -p ${{targets.destdir}}/usr");
    let named = |user: &str| {
        shop.program("store", "build")
            .args(["--signing-user", user])
            .run()
    };
    let unknown = named("nobody-of-that-name").code(2).stderr;
    assert!(
        unknown.contains("--signing-user: /etc/passwd has no user `nobody-of-that-name`"),
        "{unknown}"
    );
    if !is_root() {
        let refused = named("0").code(1).stderr;
        assert!(
            refused.contains("only root can choose another user"),
            "{refused}"
        );
        return;
    }
    // A copy, because another user may not be able to enter the folder that the program is in.
    let program = shop.path("polpo");
    testkit::copy_program(Path::new(env!("CARGO_BIN_EXE_polpo")), &program);
    for (path, mode) in [(program.clone(), 0o755), (shop.path(""), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let build = || {
        testkit::Program::new(&program)
            .env("POLPO_STORE", shop.path("store"))
            .env("POLPO_PROGRESS", "lines")
            .folder(&shop.path(""))
            .args(BUILD)
            .args([
                "--signing-key",
                "keys/test.rsa",
                "--signing-user",
                "54321:54321",
            ])
            .run()
    };
    // The key is root's, which another user can't read.
    let refused = build().code(1).stderr;
    assert!(
        refused.contains("nothing can be signed") && refused.contains("Permission denied"),
        "{refused}"
    );
    chown(shop.path("keys/test.rsa"), Some(54321), Some(54321)).unwrap();
    build().success();
    let package = format!("packages/{}/hello-1.0-r0.apk", Arch::host().apk());
    let package = apk::package::Package::open(&shop.path(&package)).unwrap();
    let keyring = apk::signature::Keyring::load(&[shop.path("keys/test.rsa.pub")]).unwrap();
    package.verify(&keyring).unwrap();
}
