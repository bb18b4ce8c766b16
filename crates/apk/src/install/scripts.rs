//! Running scripts of packages and commit hooks.
//!
//! In a root that is not the machine's own, bubblewrap confines them: the root is `/`, `/dev` and
//! `/proc` are their own, as are processes, IPC, host name and network. In the machine's own root
//! they run as apk runs them, with all that the caller may do.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::{FileType, MemfdFlags, memfd_create};

use super::beneath::{Beneath, is};
use super::error::InstallError;
use super::voice::Voice;

/// What scripts may do as uid 0: install files, change their owner, mode and capabilities, make
/// device nodes, become another user.
const CAPABILITIES: [&str; 9] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// apk's.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a script lies inside: a place that is no part of the root.
const INSIDE: &str = "/dev/apk-script";

/// Bytes of a line of output; longer ones are cut in pieces.
const LINE: u64 = 8 << 10;

/// How scripts are run in a root.
#[derive(Debug)]
pub(super) struct Runner {
    root: PathBuf,
    /// None in the machine's own root, and where scripts are not to be confined.
    bubblewrap: Option<PathBuf>,
    usermode: bool,
    environment: Vec<(String, String)>,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Program<'p> {
    /// A script that the database keeps.
    Script(&'p [u8]),
    /// A file of the root, by its path.
    File(&'p str),
}

/// A script and what it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'p> {
    pub(super) program: Program<'p>,
    /// `APK_SCRIPT`.
    pub(super) kind: &'p str,
    /// `APK_PACKAGE`.
    pub(super) package: Option<&'p str>,
    pub(super) arguments: &'p [&'p str],
    /// What stands before each line of its output.
    pub(super) prefix: &'p str,
}

impl Runner {
    /// # Errors
    /// The root is not the machine's own, and bubblewrap is not there.
    pub(super) fn new(
        root: &Path,
        usermode: bool,
        confined: bool,
        environment: Option<&[(String, String)]>,
    ) -> Result<Runner, InstallError> {
        let usual = || vec![("PATH".to_owned(), PATH.to_owned())];
        let root = std::path::absolute(root).map_err(|source| InstallError::Root {
            path: root.to_owned(),
            source,
        })?;
        let is_own = root.canonicalize().is_ok_and(|root| root == Path::new("/"));
        Ok(Runner {
            bubblewrap: if is_own || !confined {
                None
            } else {
                Some(find()?)
            },
            root,
            usermode,
            environment: environment.map_or_else(usual, <[_]>::to_vec),
        })
    }

    /// Runs a script; says how it ended if not well.
    pub(super) fn run(
        &self,
        beneath: &Beneath,
        call: Call<'_>,
        voice: &Voice<'_>,
    ) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let (mut command, script) = match &self.bubblewrap {
            Some(bubblewrap) => self.sandboxed(beneath, bubblewrap, call)?,
            None => self.direct(call).map_err(failed)?,
        };
        let (reader, writer) = io::pipe().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        let mut child = command
            .spawn()
            .map_err(|error| format!("execve: {error}"))?;
        // This process's own copies, or the pipe would never end.
        drop(command);
        drop(script);
        let last = relay(reader, call.prefix, voice);
        let status = child.wait().map_err(failed)?;
        let last = last.map_err(failed)?;
        match ending(status, self.bubblewrap.is_some(), &last) {
            None => Ok(()),
            Some(reason) => Err(reason),
        }
    }

    fn variables(&self, call: Call<'_>) -> Vec<(String, String)> {
        let mut variables = self.environment.clone();
        variables.push(("APK_SCRIPT".to_owned(), call.kind.to_owned()));
        if let Some(package) = call.package {
            variables.push(("APK_PACKAGE".to_owned(), package.to_owned()));
        }
        variables
    }

    fn direct(&self, call: Call<'_>) -> io::Result<(Command, Option<OwnedFd>)> {
        let (program, script) = match call.program {
            Program::File(path) => (self.root.join(path), None),
            Program::Script(bytes) => {
                let file = in_memory(bytes)?;
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                (path.into(), Some(file))
            }
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.variables(call))
            .args(call.arguments)
            .current_dir(&self.root);
        Ok((command, script))
    }

    fn sandboxed(
        &self,
        beneath: &Beneath,
        bubblewrap: &Path,
        call: Call<'_>,
    ) -> Result<(Command, Option<OwnedFd>), String> {
        for name in ["dev", "proc"] {
            let found = beneath.place(name).and_then(|place| place.stat());
            if found.is_ok_and(|found| !is(&found, FileType::Directory)) {
                return Err(format!(
                    "`/{name}` of the root is no directory, so no script can run in it"
                ));
            }
        }
        let mut command = Command::new(bubblewrap);
        command.env_clear().arg("--bind").arg(&self.root).arg("/");
        command.args(["--dev", "/dev", "--proc", "/proc"]);
        command.args([
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-net",
        ]);
        command.args(["--die-with-parent", "--new-session", "--chdir", "/"]);
        if self.usermode {
            command.args(["--unshare-user", "--uid", "0", "--gid", "0"]);
        }
        command.args(["--cap-drop", "ALL"]);
        for capability in CAPABILITIES {
            command.args(["--cap-add", capability]);
        }
        // bubblewrap adds `PWD`, as every shell would.
        for (name, value) in self.variables(call) {
            command.args(["--setenv", &name, &value]);
        }
        let (program, script) = match call.program {
            Program::File(path) => (format!("/{path}"), None),
            Program::Script(bytes) => {
                let file = in_memory(bytes).map_err(|error| error.to_string())?;
                let number = file.as_raw_fd().to_string();
                command.args(["--perms", "0755", "--ro-bind-data", &number, INSIDE]);
                (INSIDE.to_owned(), Some(file))
            }
        };
        command.arg("--").arg(program).args(call.arguments);
        Ok((command, script))
    }
}

/// A file that only exists in memory, and that a child has too.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("apk-script", MemfdFlags::empty())?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// Passes output on, line by line, without what a terminal would take as a command. Gives the last
/// line.
fn relay(reader: impl io::Read, prefix: &str, voice: &Voice<'_>) -> io::Result<String> {
    let mut reader = BufReader::new(reader);
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        let count = reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(last);
        }
        let text: String = String::from_utf8_lossy(&line)
            .trim_end_matches(['\n', '\r'])
            .chars()
            .map(|character| match character {
                '\t' => '\t',
                character if character.is_control() => '?',
                character => character,
            })
            .collect();
        voice.output(&format!("{prefix}{text}"));
        last = text;
    }
}

/// How a process ended, in apk's words; none if well. bubblewrap tells in its own way that a signal
/// ended what it ran, or that it could not run it.
fn ending(status: ExitStatus, sandboxed: bool, last: &str) -> Option<String> {
    if status.success() {
        return None;
    }
    Some(match (status.code(), status.signal()) {
        (Some(1), _) if sandboxed && last.starts_with("bwrap: ") => {
            format!("it could not be run: {}", &last["bwrap: ".len()..])
        }
        (Some(code @ 129..=192), _) if sandboxed => format!("killed by signal {}", code - 128),
        (Some(code), _) => format!("exited with error {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => format!("ended by {status}"),
    })
}

/// bubblewrap, by `PATH`.
fn find() -> Result<PathBuf, InstallError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("bwrap"))
        .find(|candidate| candidate.is_file())
        .ok_or(InstallError::NoBubblewrap)
}
