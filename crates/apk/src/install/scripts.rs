//! Running scripts of packages and commit hooks.
//!
//! In a root that is not the machine's own, bubblewrap confines them: the root is `/`, `/dev` and
//! `/proc` are their own, as are processes, IPC, host name and network. In the machine's own root
//! they run as apk runs them, with all that the caller may do.

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, MemfdFlags, memfd_create};
use rustix::io::Errno;

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
const LINE: usize = 8 << 10;

/// What bubblewrap says, on stderr, when it can't start the program.
const NOT_STARTED: &str = "bwrap: execvp ";

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
    /// A line that stands before the first line of its output, if there is any.
    pub(super) heading: Option<&'p str>,
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
        let (stdout, stdout_end) = io::pipe().map_err(failed)?;
        let (stderr, stderr_end) = io::pipe().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(stdout_end)
            .stderr(stderr_end);
        let mut child = command
            .spawn()
            .map_err(|error| format!("execve: {error}"))?;
        // This process's own copies, or the pipes would never end.
        drop(command);
        drop(script);
        let mut relay = Relay {
            prefix: call.prefix,
            heading: call.heading,
            sandboxed: self.bubblewrap.is_some(),
            not_started: false,
            last: String::new(),
            voice,
        };
        let relayed = relay.all(stdout, stderr);
        let status = child.wait().map_err(failed)?;
        relayed.map_err(failed)?;
        match relay.ending(status) {
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

/// Which of a script's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// Passes on what a script prints, line by line: each stream to its own, as apk does.
struct Relay<'r> {
    prefix: &'r str,
    heading: Option<&'r str>,
    sandboxed: bool,
    /// bubblewrap could not start the program.
    not_started: bool,
    /// The last line of stderr.
    last: String,
    voice: &'r Voice<'r>,
}

impl Relay<'_> {
    /// Reads both streams to their ends.
    fn all(&mut self, stdout: PipeReader, stderr: PipeReader) -> io::Result<()> {
        let mut streams = [
            (Stream::Stdout, Some(stdout), Vec::new()),
            (Stream::Stderr, Some(stderr), Vec::new()),
        ];
        loop {
            let mut polled: Vec<PollFd<'_>> = streams
                .iter()
                .filter_map(|(_, reader, _)| reader.as_ref())
                .map(|reader| PollFd::new(reader, PollFlags::IN))
                .collect();
            if polled.is_empty() {
                return Ok(());
            }
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let mut ready = polled
                .iter()
                .map(|polled| !polled.revents().is_empty())
                .collect::<Vec<_>>()
                .into_iter();
            for (stream, reader, pending) in &mut streams {
                let Some(open) = reader.as_mut() else {
                    continue;
                };
                if ready.next() != Some(true) {
                    continue;
                }
                let mut buffer = [0; LINE];
                let count = match open.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    result => result?,
                };
                pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.lines(*stream, pending, count == 0);
                if count == 0 {
                    *reader = None;
                }
            }
        }
    }

    /// Passes on the lines that are whole, and those that became too long; at the end, all.
    fn lines(&mut self, stream: Stream, pending: &mut Vec<u8>, at_end: bool) {
        let mut rest = pending.as_slice();
        loop {
            let (line, after) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(end) => (rest.get(..end), rest.get(end + 1..)),
                None if rest.len() >= LINE => (rest.get(..LINE), rest.get(LINE..)),
                None if at_end && !rest.is_empty() => (Some(rest), None),
                None => break,
            };
            self.line(stream, line.unwrap_or_default());
            rest = after.unwrap_or_default();
        }
        *pending = rest.to_vec();
    }

    /// Passes a line on, without what a terminal would take as a command.
    fn line(&mut self, stream: Stream, line: &[u8]) {
        let text: String = String::from_utf8_lossy(line)
            .trim_end_matches('\r')
            .chars()
            .map(|character| match character {
                '\t' => '\t',
                character if character.is_control() => '?',
                character => character,
            })
            .collect();
        let mut shown = text.as_str();
        let reason;
        if stream == Stream::Stderr {
            if self.sandboxed
                && let Some(why) = text.strip_prefix(NOT_STARTED)
            {
                // The script's place in the sandbox says nothing to anybody.
                let why = why.split_once(": ").map_or(why, |(_, why)| why);
                reason = format!("execve: {why}");
                self.not_started = true;
                shown = &reason;
            }
            self.last = text.clone();
        }
        // Scripts written for an apk that put no mark before their lines made one themselves.
        shown = match shown {
            "*" => "",
            shown => shown.strip_prefix("* ").unwrap_or(shown),
        };
        let said = |line: &str| match stream {
            Stream::Stdout => self.voice.output(line),
            Stream::Stderr => self.voice.notice(line),
        };
        if let Some(heading) = self.heading.take() {
            said(heading);
        }
        said(&format!("{}{shown}", self.prefix));
    }

    /// How the script ended, in apk's words; none if well. bubblewrap tells in its own way that a
    /// signal ended what it ran, or that it could not run it.
    fn ending(&self, status: ExitStatus) -> Option<String> {
        if status.success() {
            return None;
        }
        let of_bubblewrap = self.last.strip_prefix("bwrap: ");
        Some(match (status.code(), status.signal()) {
            // What a shell says of a program that it can't run, and apk too.
            (Some(1), _) if self.not_started => "exited with error 127".to_owned(),
            (Some(1), _) if self.sandboxed && of_bubblewrap.is_some() => {
                format!("it could not be run: {}", of_bubblewrap.unwrap_or_default())
            }
            (Some(code @ 129..=192), _) if self.sandboxed => {
                format!("killed by signal {}", code - 128)
            }
            (Some(code), _) => format!("exited with error {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => format!("ended by {status}"),
        })
    }
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
