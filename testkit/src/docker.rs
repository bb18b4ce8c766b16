use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Program;

/// A daemon of docker for one test alone, with the programs that `scripts/install test` unpacks. It
/// wants root.
#[derive(Debug)]
pub struct Docker {
    child: Child,
    folder: TempDir,
    path: OsString,
}

impl Docker {
    /// Starts one, without a network for its containers.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Docker {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/docker");
        let programs = programs
            .canonicalize()
            .expect("dockerd; scripts/install test brings it");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
        let path = path.expect("a search path");
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        // It ends, and what it has started, with the thread that started it; what it mounts is seen
        // by no other test.
        let child = Command::new("unshare")
            .args(["--mount", "--", "setpriv", "--pdeathsig", "TERM"])
            .args(["dockerd", "--iptables=false"])
            .args(["--ip6tables=false", "--bridge=none", "--storage-driver=vfs"])
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("run"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--host")
            .arg(format!("unix://{}", at("socket").display()))
            .env("PATH", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).expect("a file"))
            .spawn()
            .expect("unshare and setpriv; scripts/install test brings them");
        let daemon = Docker {
            child,
            folder,
            path,
        };
        let start = Instant::now();
        while !daemon.docker(&["version"]).run().status.success() {
            let log = || fs::read_to_string(daemon.folder.path().join("log")).expect("its log");
            assert!(start.elapsed() < Duration::from_secs(60), "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    /// docker's own client.
    pub fn docker(&self, words: &[&str]) -> Program {
        self.program("docker").args(words)
    }

    /// The client of the containerd that the daemon has started, in a namespace of its own.
    pub fn containerd(&self, words: &[&str]) -> Program {
        let socket = self.folder.path().join("run/containerd/containerd.sock");
        let program = self.program("ctr").arg("--address").arg(socket);
        program.args(["--namespace", "tests"]).args(words)
    }

    /// A program that speaks to this daemon.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Program {
        let socket = self.folder.path().join("socket");
        Program::new(program)
            .env("PATH", &self.path)
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Killed outright, it would leave what it has started and mounted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
