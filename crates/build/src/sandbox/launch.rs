//! The outer side: starting a sandbox, passing on what it prints, ending it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::bounds::{self, Bounds, Excess};
use super::enter::INIT_FAILED;
use super::gateway::{self, Connection};
use super::kernel_files;
use super::preflight::{InitFailure, SandboxError};
use super::{
    CAPABILITIES, Duty, HOST_NAME, Held, INIT_ARGUMENT, InitProgram, Restrictions, Root,
    Specification,
};
use crate::recipe::CapabilityChange;
use crate::signing;

/// A folder or file of the host that is seen inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is.
    pub source: PathBuf,
    /// Where it is seen, absolute.
    pub target: String,
    /// Whether it can be written to.
    pub writable: bool,
}

/// Where the three standard streams lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Input is empty; output and errors go, in order, to whoever asked for them.
    Captured,
    /// Those of this process. If they are a terminal, what runs inside can read from it and write to
    /// it, but has no control of it: it can't type into it (`TIOCSTI`) what the caller's shell would
    /// take for commands.
    Inherited,
    /// Those of this process, with control of its terminal: only for a shell that a person asked for.
    Terminal,
    /// Input and output are pipes to this process; errors go into a file.
    Piped,
}

/// How a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The command ended with this code; 128 and the number of the signal if one killed it.
    Exited(i32),
    /// The deadline passed, and everything inside was killed.
    TimedOut,
    /// Too much was taken of the machine, and everything inside was killed.
    Exceeded(Excess),
    /// The caller lost interest, and everything inside was killed.
    Cancelled,
}

/// Tells a running sandbox to stop: it stops when the [`PipeWriter`] that belongs to it is dropped.
#[derive(Debug)]
pub struct Cancel(PipeReader);

impl Cancel {
    /// A pair: the sandbox runs while the writer lives.
    ///
    /// # Errors
    /// This process has no descriptors left.
    pub fn pair() -> io::Result<(PipeWriter, Cancel)> {
        let (reader, writer) = io::pipe()?;
        Ok((writer, Cancel(reader)))
    }
}

/// A user and its group, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What ends a command before its end, and what answers it meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// When it is too late.
    pub deadline: Option<Instant>,
    /// Whether anyone still wants it.
    pub cancel: &'a Cancel,
    /// What it may take of the machine; none means all that its caller may.
    pub bounds: Option<&'a Bounds>,
    /// What it has of the network.
    pub network: Connection<'a>,
}

/// One command in a sandbox.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// What becomes the first process.
    pub init: &'a InitProgram,
    /// bubblewrap.
    pub bubblewrap: &'a Path,
    /// `/`.
    pub root: &'a Held,
    /// What else is seen, later ones over earlier ones.
    pub binds: &'a [Bind],
    /// The whole environment.
    pub environment: &'a BTreeMap<String, String>,
    /// The command and its arguments.
    pub command: &'a [String],
    /// Whom the command runs as, in the sandbox's own user namespace; outside, it is the caller all
    /// the same. Only uid 0 has the [`CAPABILITIES`] and may change the root.
    pub user: User,
    /// What else it may do, or not. Whatever is given is power over what is made inside alone: the
    /// sandbox's mounts, network and processes belong to the namespace around its own.
    pub capabilities: &'a CapabilityChange,
    /// Where the command starts; none means `/`.
    pub working_directory: Option<&'a str>,
    /// What it has of the network.
    pub network: Connection<'a>,
    /// What it may take of the machine; none means all that its caller may.
    pub bounds: Option<&'a Bounds>,
    /// A folder that only this user can enter, for the few files the start needs.
    pub scratch: &'a Path,
    /// Where the standard streams lead.
    pub standard: Standard,
}

impl Launch<'_> {
    /// Runs the command until it ends, `deadline` passes or `cancel` says so. When this returns, no
    /// process of the sandbox is left, whatever it had put into the background.
    ///
    /// The calling thread is the sandbox's parent as far as the kernel is concerned: it must live
    /// until this returns, and the sandbox dies with it.
    ///
    /// # Errors
    /// The sandbox could not be started: the command has not run.
    pub fn run(
        &self,
        deadline: Option<Instant>,
        cancel: &Cancel,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ending, SandboxError> {
        let program = &self.init.program;
        let watch = Watch {
            deadline,
            cancel,
            bounds: self.bounds,
            network: self.network,
        };
        let (mut running, files) = self.start()?;
        let mut last_words = Vec::new();
        let ending = running
            .wait(&watch, &mut |bytes| {
                last_words.extend_from_slice(bytes);
                let surplus = last_words.len().saturating_sub(4096);
                last_words.drain(..surplus);
                output(bytes);
            })
            .map_err(SandboxError::at("wait for", program))?;
        let Ending::Exited(code) = ending else {
            return Ok(ending);
        };
        let exit_code = running.exit_code();
        if exit_code != Some(0)
            && let Some(excess) = self.bounds.and_then(Bounds::exceeded_at_last)
        {
            return Ok(Ending::Exceeded(excess));
        }
        if let Some(code) = exit_code {
            return Ok(Ending::Exited(code));
        }
        // The command did not run to its end: either something before it failed, or bubblewrap
        // was killed from outside.
        if let Ok(bytes) = fs::read(&files.failure)
            && let Ok(failure) = serde_json::from_slice::<InitFailure>(&bytes)
        {
            return Err(failure.into());
        }
        if code == i32::from(INIT_FAILED) || running.said.is_empty() && last_words.is_empty() {
            return Err(SandboxError::NotInit {
                program: program.clone(),
            });
        }
        let words = String::from_utf8_lossy(&last_words);
        match words
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("bwrap: "))
        {
            Some(message) if code == 1 => Err(SandboxError::Refused {
                message: message.to_owned(),
            }),
            _ => Ok(Ending::Exited(code)),
        }
    }

    /// Starts a steward, which makes the sandbox and is told of each step by its input. Of what is said
    /// here of one command, nothing counts.
    pub(super) fn start_steward(&self) -> Result<(Running, StartFiles), SandboxError> {
        let files = StartFiles::within(self.scratch)?;
        let mut specification = self.specification(&files, Duty::Serve);
        specification.arguments = self.surroundings();
        files.write(&specification)?;
        let program = &self.init.program;
        let mut command = signing::command(program);
        // Steps see its command line, and nothing of the host's is to be in it.
        let name = files.specification.file_name().unwrap_or_default();
        command
            .arg0("polpo")
            .args(&self.init.arguments)
            .arg(INIT_ARGUMENT)
            .arg(name)
            .current_dir(files.folder())
            .stdin(Stdio::piped());
        let errors = Errors::File(files.errors.clone());
        let running = Running::spawn(command, Some(errors));
        Ok((running.map_err(SandboxError::at("start", program))?, files))
    }

    /// Starts the command.
    pub(super) fn start(&self) -> Result<(Running, StartFiles), SandboxError> {
        let files = StartFiles::within(self.scratch)?;
        let specification = self.specification(&files, Duty::Become(self.command.to_vec()));
        files.write(&specification)?;
        let gateway = match self.network {
            Connection::Gateway(_) => Some(files.await_listener()?),
            Connection::None | Connection::Host => None,
        };
        let program = &self.init.program;
        let mut command = signing::command(program);
        command
            .args(&self.init.arguments)
            .arg(INIT_ARGUMENT)
            .arg(&files.specification)
            .current_dir("/");
        let mut running = match self.standard {
            Standard::Inherited | Standard::Terminal => Running::spawn(command, None),
            Standard::Captured => {
                command.stdin(Stdio::null());
                Running::spawn(command, Some(Errors::Merged))
            }
            Standard::Piped => {
                command.stdin(Stdio::piped());
                Running::spawn(command, Some(Errors::File(files.errors.clone())))
            }
        }
        .map_err(SandboxError::at("start", program))?;
        running.status = Some(files.open_status()?);
        running.gateway = gateway;
        Ok((running, files))
    }

    fn specification(&self, files: &StartFiles, duty: Duty) -> Specification {
        Specification {
            parent: std::process::id(),
            entrance: self.root.entrance(),
            bubblewrap: self.bubblewrap.to_owned(),
            arguments: self.arguments(),
            duty,
            arguments_file: files.arguments.clone(),
            status: files.status.clone(),
            failure: files.failure.clone(),
            gateway: matches!(self.network, Connection::Gateway(_))
                .then(|| files.folder().to_owned()),
            restrictions: self
                .bounds
                .map_or_else(Restrictions::default, Bounds::restrictions),
        }
    }

    /// bubblewrap's arguments (bwrap(1)).
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push = |words: &[&str]| {
            arguments.extend(words.iter().map(|word| (*word).to_owned()));
        };
        let User { uid, gid } = self.user;
        push(&[
            "--unshare-user",
            "--uid",
            &uid.to_string(),
            "--gid",
            &gid.to_string(),
        ]);
        push(&["--disable-userns"]);
        if self.standard != Standard::Terminal {
            // No controlling terminal, so nothing can be typed into the caller's.
            push(&["--new-session"]);
        }
        let usual = if uid == 0 { &CAPABILITIES[..] } else { &[] };
        for capability in self.capabilities.applied(usual) {
            push(&["--cap-add", &capability]);
        }
        if let Some(folder) = self.working_directory {
            push(&["--chdir", folder]);
        }
        push(&["--clearenv"]);
        for (name, value) in self.environment {
            push(&["--setenv", name, value]);
        }
        // Capabilities are dropped before any is added.
        let mut whole = self.surroundings();
        whole.extend(arguments);
        whole
    }

    /// Those that say what there is inside, whoever is there.
    fn surroundings(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push = |words: &[&str]| {
            arguments.extend(words.iter().map(|word| (*word).to_owned()));
        };
        push(&["--unshare-pid", "--unshare-ipc", "--unshare-uts"]);
        push(&["--unshare-cgroup-try"]);
        // For a gateway, `sandbox-init` has made the namespace.
        if matches!(self.network, Connection::None) {
            push(&["--unshare-net"]);
        }
        push(&["--hostname", HOST_NAME, "--die-with-parent"]);
        push(&["--cap-drop", "ALL"]);
        let read_only = matches!(
            self.root.root(),
            Root::Folder {
                read_only: true,
                ..
            }
        );
        let bind = |writable| if writable { "--bind" } else { "--ro-bind" };
        push(&[
            bind(!read_only),
            &self.root.root().path().to_string_lossy(),
            "/",
        ]);
        push(&["--proc", "/proc", "--dev", "/dev"]);
        if let Some(bounds) = self.bounds {
            let size = bounds.shared_memory().to_string();
            push(&["--perms", "1777", "--size", &size, "--tmpfs", "/dev/shm"]);
        }
        for cover in kernel_files::covers() {
            push(&cover.each_ref().map(String::as_str));
        }
        for Bind {
            source,
            target,
            writable,
        } in self.binds
        {
            let how = match source.starts_with("/dev") {
                true => "--dev-bind",
                false => bind(*writable),
            };
            push(&[how, &source.to_string_lossy(), target]);
        }
        if self.bounds.is_some() {
            // It is memory, and without a limit.
            push(&["--remount-ro", "/dev"]);
        }
        if self.user.uid != 0 && !read_only {
            // All there is belongs to the one user that there is.
            push(&["--remount-ro", "/"]);
        }
        arguments
    }
}

/// The files that a start needs; removed with it.
#[derive(Debug)]
pub(super) struct StartFiles {
    folder: tempfile::TempDir,
    pub(super) specification: PathBuf,
    pub(super) arguments: PathBuf,
    pub(super) status: PathBuf,
    pub(super) failure: PathBuf,
    /// What comes out as errors, where that is not output.
    pub(super) errors: PathBuf,
}

impl StartFiles {
    pub(super) fn within(scratch: &Path) -> Result<StartFiles, SandboxError> {
        let folder = tempfile::Builder::new()
            .prefix("start-")
            .tempdir_in(scratch)
            .map_err(SandboxError::at("write in", scratch))?;
        let path = |name| folder.path().join(name);
        let status = path("status");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &status, FileType::Fifo, mode, 0)
            .map_err(|error| SandboxError::at("create", &status)(error.into()))?;
        Ok(StartFiles {
            specification: path("specification.json"),
            arguments: path("arguments"),
            failure: path("failure.json"),
            errors: path("errors"),
            status,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket that takes the listening socket of a gateway.
    pub(super) fn await_listener(&self) -> Result<UnixListener, SandboxError> {
        gateway::await_listener(self.folder())
            .map_err(SandboxError::at("make a socket in", self.folder()))
    }

    pub(super) fn write(&self, specification: &Specification) -> Result<(), SandboxError> {
        let path = &self.specification;
        let json = serde_json::to_vec(specification)
            .map_err(|error| SandboxError::at("write", path)(error.into()))?;
        fs::write(path, json).map_err(SandboxError::at("write", path))
    }

    fn open_status(&self) -> Result<File, SandboxError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(&self.status, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| SandboxError::at("read", &self.status)(error.into()))
    }
}

/// Where the errors of a process go whose output is read.
pub(super) enum Errors {
    /// To the output, in order.
    Merged,
    /// Into this file.
    File(PathBuf),
}

/// A sandbox under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    output: Option<PipeReader>,
    /// Takes what the child reads, where that comes from here.
    pub(super) input: Option<ChildStdin>,
    /// What is typed into the child while it runs.
    pub(super) keyboard: Option<Keyboard>,
    /// Takes the network's socket, and another if the sandbox is made anew.
    pub(super) gateway: Option<UnixListener>,
    /// bubblewrap's report: one JSON object when the sandbox is up, another at its end.
    status: Option<File>,
    said: Vec<u8>,
    /// Process 1 inside. Once it is gone, so is everything else inside.
    first_process: Option<(Pid, OwnedFd)>,
}

/// This process's own input, passed on as `wrap` makes it.
#[derive(Debug)]
pub(super) struct Keyboard {
    pub(super) from: OwnedFd,
    pub(super) wrap: fn(&[u8]) -> Vec<u8>,
}

/// How long a killed sandbox may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Running {
    /// Starts `command`. Where its output is read, it is in a process group of its own: keys pressed
    /// at the terminal reach polpo alone.
    pub(super) fn spawn(mut command: Command, errors: Option<Errors>) -> io::Result<Running> {
        let mut reader = None;
        if let Some(errors) = errors {
            let (read, write) = io::pipe()?;
            match errors {
                Errors::Merged => command.stderr(write.try_clone()?),
                Errors::File(path) => command.stderr(File::create(path)?),
            };
            command.stdout(write).process_group(0);
            reader = Some(read);
        }
        let mut child = command.spawn()?;
        drop(command); // and with it this process's copies of the pipe's writing end
        Ok(Running {
            input: child.stdin.take(),
            child,
            output: reader,
            keyboard: None,
            gateway: None,
            status: None,
            said: Vec::new(),
            first_process: None,
        })
    }

    fn wait(&mut self, watch: &Watch<'_>, output: &mut dyn FnMut(&[u8])) -> io::Result<Ending> {
        let ended = self.wait_for_child(watch, &mut |bytes| {
            output(bytes);
            None
        });
        // Whatever happened, nothing of the sandbox outlives this function.
        let ended = match ended {
            Ok(None) => None,
            Ok(Some(ending)) => {
                self.kill(output);
                Some(Ok(ending))
            }
            Err(error) => {
                self.kill(output);
                Some(Err(error))
            }
        };
        let status = self.child.wait()?;
        if let Some((_, first_process)) = self.first_process.take() {
            until_readable(&first_process, Instant::now() + PATIENCE)?;
        }
        self.drain(output);
        self.hear_status();
        match ended {
            Some(result) => result,
            None => {
                Ok(Ending::Exited(status.code().unwrap_or_else(|| {
                    128 + status.signal().unwrap_or_default()
                })))
            }
        }
    }

    /// `None` when the child ended by itself, else why it is to be ended, or what `output` made of
    /// what it printed.
    pub(super) fn wait_for_child(
        &mut self,
        watch: &Watch<'_>,
        output: &mut dyn FnMut(&[u8]) -> Option<Ending>,
    ) -> io::Result<Option<Ending>> {
        let child = rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        let mut status_open = self.status.is_some();
        let mut next_look = watch.bounds.map(|_| Instant::now() + bounds::INTERVAL);
        loop {
            let readable = PollFlags::IN;
            let mut descriptors = vec![
                PollFd::new(&child, readable),
                PollFd::new(&watch.cancel.0, readable),
            ];
            let status = self.status.as_ref().filter(|_| status_open);
            let status_at = status.map(|status| {
                descriptors.push(PollFd::new(status, readable));
                descriptors.len() - 1
            });
            let output_at = self.output.as_ref().map(|reader| {
                descriptors.push(PollFd::from_borrowed_fd(reader.as_fd(), readable));
                descriptors.len() - 1
            });
            let keyboard_at = self.keyboard.as_ref().map(|keyboard| {
                descriptors.push(PollFd::new(&keyboard.from, readable));
                descriptors.len() - 1
            });
            let gateway_at = self.gateway.as_ref().map(|socket| {
                descriptors.push(PollFd::from_borrowed_fd(socket.as_fd(), readable));
                descriptors.len() - 1
            });
            let until = |at: Instant| at.saturating_duration_since(Instant::now());
            let remaining = watch.deadline.map(until);
            let pause = remaining.into_iter().chain(next_look.map(until)).min();
            poll(&mut descriptors, pause)?;
            let ready: Vec<bool> = descriptors
                .iter()
                .map(|descriptor| !descriptor.revents().is_empty())
                .collect();
            drop(descriptors);
            if status_at.is_some_and(|at| ready[at]) {
                status_open = self.hear_status();
            }
            if gateway_at.is_some_and(|at| ready[at])
                && let Some(socket) = &self.gateway
                && let Connection::Gateway(gateway) = watch.network
            {
                gateway.serve(gateway::receive(socket)?);
            }
            if keyboard_at.is_some_and(|at| ready[at]) {
                self.type_in()?;
            }
            if output_at.is_some_and(|at| ready[at])
                && let Some(ending) = self.pass_on(output)
            {
                return Ok(Some(ending));
            }
            if ready[1] {
                return Ok(Some(Ending::Cancelled));
            }
            if ready[0] {
                return Ok(None);
            }
            if remaining.is_some_and(|left| left.is_zero()) {
                return Ok(Some(Ending::TimedOut));
            }
            if let Some(bounds) = watch.bounds
                && next_look.is_some_and(|at| at <= Instant::now())
            {
                let first_process = self.first_process.as_ref().map(|(pid, _)| *pid);
                if let Some(excess) = bounds.exceeded(first_process) {
                    return Ok(Some(Ending::Exceeded(excess)));
                }
                next_look = Some(Instant::now() + bounds::INTERVAL);
            }
        }
    }

    /// Reads what is there of the report; whether more may come.
    fn hear_status(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let open = loop {
            let Some(status) = &mut self.status else {
                return false;
            };
            match status.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        if self.first_process.is_none()
            && let Some(process) = self.reported("child-pid")
            && let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw)
        {
            // If it is gone already, there is nothing to wait for.
            let descriptor = rustix::process::pidfd_open(process, PidfdFlags::empty()).ok();
            self.first_process = descriptor.map(|descriptor| (process, descriptor));
        }
        open
    }

    fn reported(&self, key: &str) -> Option<i64> {
        serde_json::Deserializer::from_slice(&self.said)
            .into_iter::<BTreeMap<String, serde_json::Value>>()
            .map_while(Result::ok)
            .find_map(|object| object.get(key)?.as_i64())
    }

    /// The code the command ended with, if it ran and ended.
    fn exit_code(&self) -> Option<i32> {
        i32::try_from(self.reported("exit-code")?).ok()
    }

    /// Reads once from the output, which is known to have something or to be at its end.
    fn pass_on(&mut self, output: &mut dyn FnMut(&[u8]) -> Option<Ending>) -> Option<Ending> {
        let mut buffer = vec![0; 1 << 16];
        match self.output.as_mut().map(|reader| reader.read(&mut buffer)) {
            Some(Ok(count)) if count > 0 => return output(&buffer[..count]),
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.output = None,
        }
        None
    }

    /// Passes on what is typed.
    fn type_in(&mut self) -> io::Result<()> {
        let (Some(keyboard), Some(input)) = (&self.keyboard, &mut self.input) else {
            return Ok(());
        };
        let mut buffer = [0; 4096];
        let count = rustix::io::read(&keyboard.from, &mut buffer)?;
        input.write_all(&(keyboard.wrap)(&buffer[..count]))?;
        input.flush()?;
        if count == 0 {
            self.keyboard = None;
        }
        Ok(())
    }

    /// Passes on what is left when every writer is gone.
    pub(super) fn drain(&mut self, output: &mut dyn FnMut(&[u8])) {
        while let Some(reader) = &self.output {
            let mut descriptors = [PollFd::new(reader, PollFlags::IN)];
            match poll(&mut descriptors, Some(Duration::ZERO)) {
                Ok(()) if !descriptors[0].revents().is_empty() => {
                    let _ = self.pass_on(&mut |bytes| {
                        output(bytes);
                        None
                    });
                }
                _ => return,
            }
        }
    }

    /// Whether the child is gone before `patience` is at its end.
    pub(super) fn ends_within(&mut self, patience: Duration) -> bool {
        const INTERVAL: Duration = Duration::from_millis(20);
        let Ok(child) =
            rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
        else {
            return false;
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            // It may have more to say than a pipe holds.
            self.drain(&mut |_| {});
            if until_readable(&child, Instant::now() + INTERVAL).unwrap_or(true) {
                return true;
            }
        }
        false
    }

    fn kill(&mut self, output: &mut dyn FnMut(&[u8])) {
        self.hear_status();
        match &self.first_process {
            // The kernel kills all that is inside before process 1 is gone, and bubblewrap ends
            // by itself after that.
            Some((_, process)) => {
                let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
                let child =
                    rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty());
                self.drain(output);
                let ended = child.and_then(|child| {
                    until_readable(&child, Instant::now() + PATIENCE).map_err(|error| {
                        rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
                    })
                });
                if !matches!(ended, Ok(true)) {
                    let _ = self.child.kill();
                }
            }
            None => {
                let _ = self.child.kill();
            }
        }
    }
}

/// Whether `descriptor` became readable before `deadline`.
fn until_readable(descriptor: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let mut descriptors = [PollFd::new(descriptor, PollFlags::IN)];
        poll(&mut descriptors, Some(remaining))?;
        if !descriptors[0].revents().is_empty() {
            return Ok(true);
        }
        if remaining.is_zero() {
            return Ok(false);
        }
    }
}

/// Waits for one of `descriptors`; an interrupted wait counts as one that timed out.
pub(super) fn poll(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map(|left| Timespec {
        tv_sec: left.as_secs().min(86_400).cast_signed() as _,
        tv_nsec: left.subsec_nanos().into(),
    });
    match rustix::event::poll(descriptors, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
