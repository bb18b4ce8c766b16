//! podman and docker: one container for a build, and in it the [agent](super::agent).
//!
//! The container has the guest's folder for its root, no capability but those that a user namespace
//! of one user needs, and that is what steps run in: so they get the same result whoever calls polpo,
//! and whoever the engine takes for root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use archive::tree::{FileTree, TarOptions};
use rustix::process::Resource;

use super::agent::AGENT;
use super::launch::{Bind, StartFiles, Watch};
use super::preflight::{SandboxError, in_path};
use super::program::{self, Program};
use super::session::{Agent, Ends, Surroundings};
use super::{Connection, HOST_NAME, INIT_ARGUMENT, Root, identity};
use crate::plan::WORKSPACE;
use crate::signing;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineKind {
    Podman,
    Docker,
}

impl EngineKind {
    fn name(self) -> &'static str {
        match self {
            EngineKind::Podman => "podman",
            EngineKind::Docker => "docker",
        }
    }
}

/// An engine that runs containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    kind: EngineKind,
    program: PathBuf,
}

/// Where the folder with the start's socket is seen inside.
const SOCKETS: &str = "/run/polpo/sockets";

/// The kernel counts all of this user's containers; the build's own are watched.
const MOST_PROCESSES: u64 = 20_000;

/// How many more than it may a build in docker can have until they are counted.
const SPARE_PROCESSES: u64 = 500;

/// Steps of more than this many open files are none.
const OPEN_FILES: u64 = 1 << 20;

impl Engine {
    /// Looks for it, and for what it needs where this user is not root.
    pub(super) fn find(kind: EngineKind) -> Result<Engine, SandboxError> {
        let name = kind.name();
        let program = in_path(name).ok_or(SandboxError::NoEngine { name })?;
        let root = rustix::process::geteuid().is_root();
        if kind == EngineKind::Podman
            && !root
            && identity::are_given()
            && in_path("newuidmap").is_none()
        {
            return Err(SandboxError::NoIdMaps);
        }
        Ok(Engine { kind, program })
    }

    /// Starts a container.
    pub(super) fn start(
        &self,
        surroundings: &Surroundings,
        watch: &Watch<'_>,
    ) -> Result<Agent, SandboxError> {
        let files = StartFiles::within(&surroundings.scratch)?;
        let parts = surroundings.scratch.join("agent");
        fs::create_dir_all(parts.join("sockets")).map_err(SandboxError::at("create", &parts))?;
        let again = Program::place(&surroundings.init, &parts)?;
        let name = container_name(files.folder());
        let mut binds = vec![Bind {
            source: parts,
            target: program::GUEST_FOLDER.to_owned(),
            writable: false,
        }];
        if watch.network.is_gateway() {
            binds.push(Bind {
                source: files.folder().to_owned(),
                target: SOCKETS.to_owned(),
                writable: true,
            });
        }
        binds.extend(surroundings.binds.iter().cloned());
        let mut command = signing::command(&self.program);
        let Root::Folder { path, read_only } = surroundings.root.root() else {
            return Err(SandboxError::NoSharedOverlay {
                name: self.kind.name(),
            });
        };
        let image = match self.kind {
            EngineKind::Podman => path.to_string_lossy().into_owned(),
            EngineKind::Docker => self.import(path, &files)?,
        };
        let read_only = *read_only || surroundings.user.uid != 0;
        command
            .args(self.arguments(&name, &binds, read_only, surroundings.user.uid == 0, watch))
            .arg(&image)
            .args(&again)
            .args([INIT_ARGUMENT, AGENT])
            .current_dir("/");
        let mut setup = surroundings.setup(again, watch, Some(SOCKETS.to_owned()));
        if !rustix::process::geteuid().is_root() {
            // Only there is it known who the others are.
            let theirs = binds.iter().filter(|bind| {
                bind.target == WORKSPACE
                    || bind.writable && bind.source.starts_with(&surroundings.scratch)
            });
            setup.give_back = theirs.map(|bind| PathBuf::from(&bind.target)).collect();
            setup.give_back.push(PathBuf::from("/"));
        }
        let quietly = |arguments: &[&str]| {
            let mut command = signing::command(&self.program);
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let ends = Ends {
            stop: Some(match self.kind {
                EngineKind::Podman => quietly(&["rm", "--force", "--time", "0", &name]),
                EngineKind::Docker => quietly(&["rm", "--force", &name]),
            }),
            after: (self.kind == EngineKind::Docker)
                .then(|| quietly(&["image", "rm", "--force", &image])),
            console: None,
        };
        Agent::start(command, files, setup, self.kind.name(), ends)
    }

    /// All between the engine's name and the root (podman-run(1), docker-run(1)).
    fn arguments(
        &self,
        name: &str,
        binds: &[Bind],
        read_only: bool,
        further_ids: bool,
        watch: &Watch<'_>,
    ) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut push = |words: &[&str]| {
            arguments.extend(words.iter().map(|word| (*word).to_owned()));
        };
        push(&["run", "--rm", "--interactive", "--name", name]);
        push(&["--log-driver", "none", "--hostname", HOST_NAME]);
        let (uid, gid) = self.user();
        push(&["--user", &format!("{uid}:{gid}"), "--workdir", "/"]);
        push(&["--entrypoint", ""]);
        push(&["--cap-drop", "ALL"]);
        // For the agent alone: steps' rights are those of a namespace of their own.
        push(&["--cap-add", "SETFCAP", "--cap-add", "SETGID"]);
        if further_ids {
            // It maps others into that, and takes over what they own.
            for capability in ["SETUID", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"] {
                push(&["--cap-add", capability]);
            }
        }
        push(&["--security-opt", "no-new-privileges"]);
        let network = match watch.network {
            Connection::Host => "host",
            // A loopback device of its own.
            Connection::None | Connection::Gateway(_) => "none",
        };
        push(&["--network", network]);
        match self.kind {
            EngineKind::Podman => push(&["--no-hosts", "--cgroupns", "private"]),
            // Its profile for system calls forbids user namespaces.
            EngineKind::Docker => {
                push(&["--security-opt", "seccomp=unconfined"]);
                // Its daemon has control groups: a bomb meets one before it is seen.
                let bounds = watch.bounds.map(|bounds| bounds.restrictions());
                if let Some(limit) = bounds.and_then(|restrictions| restrictions.processes) {
                    push(&["--pids-limit", &(limit + SPARE_PROCESSES).to_string()]);
                }
            }
        }
        // An engine's own may be more than its caller can give.
        for (resource, limit, ours) in [
            ("nofile", Resource::Nofile, Some(OPEN_FILES)),
            ("nproc", Resource::Nproc, Some(MOST_PROCESSES)),
        ] {
            let maximum = rustix::process::getrlimit(limit).maximum;
            if let Some(limit) = [maximum, ours].into_iter().flatten().min() {
                push(&["--ulimit", &format!("{resource}={limit}:{limit}")]);
            }
        }
        if let Some(bounds) = watch.bounds {
            push(&["--shm-size", &bounds.shared_memory().to_string()]);
        }
        if read_only {
            push(&["--read-only"]);
            if self.kind == EngineKind::Podman {
                push(&["--read-only-tmpfs=false"]);
            }
        }
        for Bind {
            source,
            target,
            writable,
        } in binds
        {
            let how = if *writable { "" } else { ",readonly" };
            let source = source.to_string_lossy();
            push(&[
                "--mount",
                &format!("type=bind,source={source},target={target}{how}"),
            ]);
        }
        if self.kind == EngineKind::Podman {
            push(&["--rootfs"]);
        }
        arguments
    }
}

impl Engine {
    /// Makes an image of the guest, for an engine that runs no folders: its name.
    fn import(&self, root: &Path, files: &StartFiles) -> Result<String, SandboxError> {
        let name = format!("{}:guest", container_name(files.folder()));
        let (uid, gid) = self.user();
        let failed = |message: String| SandboxError::Engine {
            name: self.kind.name(),
            message,
        };
        let mut tree = FileTree::scan(root).map_err(|error| failed(error.to_string()))?;
        for (_, node) in tree.iter_mut() {
            (node.uid, node.gid) = (uid.into(), gid.into());
        }
        let mut child = signing::command(&self.program)
            .args(["import", "-", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(SandboxError::at("start", &self.program))?;
        if let Some(input) = child.stdin.take() {
            let mut writer = archive::tar::Writer::new(std::io::BufWriter::new(input));
            // If it does not take it, it says why.
            let _ = tree
                .write_tar(&mut writer, TarOptions::default())
                .map(|()| writer.finish());
        }
        let output = child
            .wait_with_output()
            .map_err(SandboxError::at("wait for", &self.program))?;
        if output.status.success() {
            return Ok(name);
        }
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }

    /// Whom the agent runs as: whoever owns what this process's user owns.
    fn user(&self) -> (u32, u32) {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        match self.kind {
            EngineKind::Podman => (0, 0),
            EngineKind::Docker if self.is_rootless() => (0, 0),
            EngineKind::Docker => own,
        }
    }

    /// Whether the daemon itself is an ordinary user's, who is root inside.
    fn is_rootless(&self) -> bool {
        let asked = signing::command(&self.program)
            .args(["info", "--format", "{{.SecurityOptions}}"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        asked.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("name=rootless"))
    }
}

/// A name that no other container has: the folder of the start is this process's alone.
fn container_name(folder: &Path) -> String {
    let unique = folder.file_name().unwrap_or_default().to_string_lossy();
    let unique = unique.trim_start_matches("start-").to_ascii_lowercase();
    format!("polpo-{}-{unique}", std::process::id())
}
