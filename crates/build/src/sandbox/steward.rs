//! The inner side of bubblewrap's sandboxes: one sandbox for all steps of a build.
//!
//! Making a sandbox costs more than most steps. So bubblewrap makes one and stays in it as its first
//! process, without ever starting a program (`--block-fd`); the steward, outside, starts each step
//! in the sandbox's namespaces. They are empty again when the next one starts.
//!
//! ```text
//! steward ──▶ bubblewrap       namespaces owned by the outer user namespace; first process, waits
//!    └─ for each step ──▶ attendant     outside, where no step reaches it
//!                             └─▶ /bin/sh -c STEP    in all of them, and in the inner user namespace
//! ```
//!
//! A step's rights are those of the inner user namespace: no capability that a recipe asks for gives
//! it power over the sandbox's mounts, network or processes. In the outer one, no further user
//! namespace can be made.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

use super::agent::{self, clear_shared_memory};
use super::enter::{self, INIT_FAILED};
use super::identity::write_map;
use super::launch::poll;
use super::ownership::Left;
use super::preflight::{InitFailure, Stage};
use super::protocol::{Order, Report, Request, Setup};
use super::step::{LONGEST_ARGUMENT, SCRIPT, confine, shell};
use super::{Specification, gateway, ownership};

/// How long bubblewrap may take to make a sandbox.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether it has.
const INTERVAL: Duration = Duration::from_micros(100);

/// Why there is no sandbox, or no step in it.
enum Trouble {
    Failed(InitFailure),
    /// What bubblewrap said last.
    Refused(String),
}

impl Trouble {
    fn at(stage: Stage) -> impl Fn(io::Error) -> Trouble {
        move |error| Trouble::Failed(InitFailure::new(stage, &error))
    }

    fn report(self) -> Report {
        match self {
            Trouble::Failed(failure) => Report::Failed(failure),
            Trouble::Refused(message) => Report::Unmade(message),
        }
    }
}

/// Serves until polpo is gone. Nothing that was started outlives it.
pub(super) fn serve(specification: &Specification) -> io::Result<()> {
    let (mut input, mut output) = agent::standard_streams()?;
    let Some(Request::Setup(setup)) = Request::read(&mut input)? else {
        return Ok(());
    };
    let mut steward = Steward {
        specification,
        namespaces: None,
        sandbox: None,
        setup,
    };
    let made = match steward.sandbox() {
        Ok(_) => Report::Ready(None),
        Err(trouble) => trouble.report(),
    };
    made.write(&mut output)?;
    let served = steward.serve(&mut input, &mut output);
    // Whatever went wrong: what steps gave away comes back.
    steward.end();
    for folder in &steward.setup.give_back {
        // What stays another's can't be removed, which is found out then.
        drop(ownership::take_over(folder));
    }
    served
}

struct Steward<'a> {
    specification: &'a Specification,
    setup: Setup,
    namespaces: Option<UserNamespaces>,
    sandbox: Option<Sandbox>,
}

/// The sandbox's user namespaces: that which owns the others, and beneath it that of steps.
struct UserNamespaces {
    outer: OwnedFd,
    inner: OwnedFd,
}

/// What bubblewrap has made.
struct Sandbox {
    bubblewrap: Child,
    first_process: OwnedFd,
    /// Its root folder, whichever process has its number one day.
    root: OwnedFd,
    /// What steps enter besides the process namespace.
    namespaces: ThreadNameSpaceType,
    /// Open as long as the first process is to wait.
    _wait: PipeWriter,
}

impl Sandbox {
    /// A folder as it is seen inside.
    fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}{inside}", self.root.as_raw_fd()))
    }
}

impl Steward<'_> {
    /// Answers until there is nothing more to be asked.
    fn serve(&mut self, input: &mut (impl Read + AsFd), output: &mut impl Write) -> io::Result<()> {
        while let Some(request) = Request::read(input)? {
            let report = match request {
                Request::Run(order) => match self.run(&order, input, output) {
                    Ok(Some(report)) => report,
                    Ok(None) => return Ok(()),
                    Err(trouble) => trouble.report(),
                },
                Request::Collect(folder) => {
                    let done = ownership::take_over(&folder);
                    match done.failure {
                        None => Report::Collected(Left {
                            owned: done.owned,
                            ..Left::default()
                        }),
                        Some(error) => Report::Refused(error.to_string()),
                    }
                }
                Request::Quit => return Ok(()),
                Request::Take(_) | Request::Give(_) | Request::Typed(_) | Request::Setup(_) => {
                    continue;
                }
            };
            report.write(output)?;
        }
        Ok(())
    }

    /// The sandbox, made now if there is none.
    fn sandbox(&mut self) -> Result<&Sandbox, Trouble> {
        if self.sandbox.is_none() {
            if self.namespaces.is_none() {
                let made = UserNamespaces::make(self.setup.uid, self.setup.gid);
                self.namespaces = Some(made.map_err(Trouble::at(Stage::Unshare))?);
            }
            self.sandbox = Some(self.make()?);
        }
        self.sandbox.as_ref().ok_or_else(lost)
    }

    /// Lets bubblewrap make it.
    fn make(&self) -> Result<Sandbox, Trouble> {
        let failed = Trouble::at(Stage::Arguments);
        let namespaces = self.namespaces.as_ref().ok_or_else(lost)?;
        let (waits, wait) = io::pipe().map_err(&failed)?;
        let (mut tells, status) = io::pipe().map_err(&failed)?;
        let (mut says, errors) = io::pipe().map_err(&failed)?;
        let arguments = self.specification.arguments().map_err(&failed)?;
        let numbers = [
            arguments.as_raw_fd(),
            namespaces.outer.as_raw_fd(),
            waits.as_raw_fd(),
            status.as_raw_fd(),
        ];
        let mut command = Command::new(&self.specification.bubblewrap);
        for (option, number) in ["--args", "--userns", "--block-fd", "--json-status-fd"]
            .iter()
            .zip(numbers)
        {
            command.arg(option).arg(number.to_string());
        }
        // It waits no longer when the steward is gone: then this is what it is to become, which is no
        // program, and so it ends, and with it all that is inside.
        command.args(["--as-pid-1", "--", "/"]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(errors);
        let restrictions = self.setup.restrictions.clone();
        let network = self.specification.gateway.clone();
        before_exec(&mut command, move || {
            for number in numbers {
                keep_open(number)?;
            }
            forget_children()?;
            enter::restrict(&restrictions)?;
            match &network {
                Some(folder) => gateway::open(folder, || enter::unshare(UnshareFlags::NEWNET)),
                None => Ok(()),
            }
        });
        let stage = match self.specification.gateway {
            Some(_) if self.specification.bubblewrap.is_file() => Stage::Network,
            _ => Stage::Bubblewrap,
        };
        let mut bubblewrap = command.spawn().map_err(Trouble::at(stage))?;
        drop((command, status, waits, arguments));
        let ready = first_process(&mut tells);
        let Some((number, first_process)) = ready else {
            let _ = bubblewrap.kill();
            let _ = bubblewrap.wait();
            let mut words = Vec::new();
            let _ = says.read_to_end(&mut words);
            let words = String::from_utf8_lossy(&words);
            let last = words.lines().rev().find(|line| !line.trim().is_empty());
            let last = last.unwrap_or("it ended without a word");
            let message = last.strip_prefix("bwrap: ").unwrap_or(last).to_owned();
            return Err(Trouble::Refused(message));
        };
        let joining = Trouble::at(Stage::Join);
        let root = rustix::fs::open(
            format!("/proc/{number}/root"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let sandbox = Sandbox {
            namespaces: others(number).map_err(&joining)?,
            root: root.map_err(|error| joining(error.into()))?,
            bubblewrap,
            first_process,
            _wait: wait,
        };
        // All of this was the first process's, if it is still there.
        match is_gone(&sandbox.first_process, Duration::ZERO) {
            true => Err(lost()),
            false => Ok(sandbox),
        }
    }

    /// Runs one step: what it came to, or `None` when nobody wants it any more.
    fn run(
        &mut self,
        order: &Order,
        input: &mut (impl Read + AsFd),
        output: &mut impl Write,
    ) -> Result<Option<Report>, Trouble> {
        let failed = Trouble::at(Stage::Step);
        self.sandbox()?;
        let (Some(sandbox), Some(namespaces)) = (&self.sandbox, &self.namespaces) else {
            return Err(lost());
        };
        let (printed, write) = io::pipe().map_err(&failed)?;
        let (failure, mut failing) = io::pipe().map_err(&failed)?;
        let own = rustix::process::getpid();
        let process = forked(|| {
            let attended = attend(own, sandbox, namespaces, &self.setup, order, write);
            attended.unwrap_or_else(|error| {
                let failure = InitFailure::new(Stage::Step, &error);
                if let Ok(json) = serde_json::to_vec(&failure) {
                    let _ = failing.write_all(&json);
                }
                INIT_FAILED.into()
            })
        })
        .map_err(&failed)?;
        drop(failing);
        let step = agent::Step::of(process, printed, failure);
        let mut step = step.map_err(&failed)?;
        let watched = step.watch(input, output, &sandbox.path("/proc"));
        let Some(code) = watched.map_err(&failed)? else {
            return Ok(None);
        };
        if step.was_killed() || code == i32::from(INIT_FAILED) {
            // What it was to end goes with the sandbox, and may hold on to what is drained here; the
            // next step gets another.
            self.end();
        }
        step.drain(output).map_err(&failed)?;
        if let Some(sandbox) = &self.sandbox {
            clear_shared_memory(&sandbox.path("/dev/shm"));
        }
        match step.failure().map_err(&failed)? {
            Some(failure) if code == i32::from(INIT_FAILED) => Err(Trouble::Failed(failure)),
            _ => Ok(Some(Report::Ended(code))),
        }
    }

    /// Ends the sandbox and all that is in it.
    fn end(&mut self) {
        let Some(mut sandbox) = self.sandbox.take() else {
            return;
        };
        let _ = rustix::process::pidfd_send_signal(&sandbox.first_process, Signal::KILL);
        // It is gone when all the others are.
        while !is_gone(&sandbox.first_process, PATIENCE) {}
        let _ = sandbox.bubblewrap.kill();
        let _ = sandbox.bubblewrap.wait();
    }
}

fn lost() -> Trouble {
    Trouble::at(Stage::Join)(io::ErrorKind::NotFound.into())
}

impl Specification {
    /// bubblewrap's arguments, each ended by a zero, out of sight of `/proc/1/cmdline`.
    pub(super) fn arguments(&self) -> io::Result<File> {
        let mut text = Vec::new();
        for argument in &self.arguments {
            text.extend_from_slice(argument.as_bytes());
            text.push(0);
        }
        fs::write(&self.arguments_file, text)?;
        File::open(&self.arguments_file)
    }
}

impl UserNamespaces {
    /// Makes them with all ids that there are here. A step is `uid` in its own; as another than 0, it
    /// is the only one.
    fn make(uid: u32, gid: u32) -> io::Result<UserNamespaces> {
        let (mut done, made) = io::pipe()?;
        let (mapped, mut go_on) = io::pipe()?;
        let ids = Ids::here()?;
        let own = rustix::process::getpid();
        let outer = forked(|| i32::from(outer(own, &ids, uid, gid, made, mapped).is_err()))?;
        let namespaces = (|| {
            let mut number = [0; 4];
            done.read_exact(&mut number)?;
            let process = outer.as_raw_nonzero().get().unsigned_abs();
            ids.map(process, 0, 0)?;
            go_on.write_all(&[1])?;
            done.read_exact(&mut number)?;
            let open = |process: u32| File::open(format!("/proc/{process}/ns/user"));
            Ok(UserNamespaces {
                outer: open(process)?.into(),
                inner: open(u32::from_le_bytes(number))?.into(),
            })
        })();
        // It may end, however far it came.
        let _ = go_on.write_all(&[1; 2]);
        let _ = rustix::process::waitpid(Some(outer), WaitOptions::empty());
        namespaces
    }
}

/// In a process of its own: makes the outer user namespace, and in it the inner one. `mapped` tells
/// when it has ids, and when both namespaces are taken.
fn outer(
    steward: Pid,
    ids: &Ids,
    uid: u32,
    gid: u32,
    mut made: PipeWriter,
    mut mapped: PipeReader,
) -> io::Result<()> {
    enter::unshare(UnshareFlags::NEWUSER)?;
    dies_with(steward)?;
    let own = rustix::process::getpid();
    made.write_all(&[0; 4])?;
    mapped.read_exact(&mut [0])?;
    // One more, and none in that.
    fs::write("/proc/sys/user/max_user_namespaces", "1")?;
    let (mut told, mut tell) = io::pipe()?;
    let (mut ends, mut end) = io::pipe()?;
    let inner = forked(|| {
        let mut run = || -> io::Result<()> {
            enter::unshare(UnshareFlags::NEWUSER)?;
            dies_with(own)?;
            tell.write_all(&[1])?;
            ends.read_exact(&mut [0])
        };
        i32::from(run().is_err())
    })?;
    drop(tell);
    told.read_exact(&mut [0])?;
    let process = inner.as_raw_nonzero().get().unsigned_abs();
    ids.map(process, uid, gid)?;
    made.write_all(&process.to_le_bytes())?;
    mapped.read_exact(&mut [0])?;
    end.write_all(&[1])?;
    let _ = rustix::process::waitpid(Some(inner), WaitOptions::empty());
    Ok(())
}

/// The users and the groups of this process's namespace: for each run of them the first and how many.
/// A run of a namespace within must lie in one run of this one.
struct Ids {
    users: Vec<(u64, u64)>,
    groups: Vec<(u64, u64)>,
}

impl Ids {
    fn here() -> io::Result<Ids> {
        let runs = |map: &str| -> io::Result<Vec<(u64, u64)>> {
            let text = fs::read_to_string(map)?;
            let runs = text.lines().map(|line| {
                let mut fields = line.split_whitespace().map(str::parse::<u64>);
                let first = fields.next()?.ok()?;
                Some((first, fields.nth(1)?.ok()?))
            });
            let runs: Option<Vec<(u64, u64)>> = runs.collect();
            runs.ok_or_else(|| io::ErrorKind::InvalidData.into())
        };
        Ok(Ids {
            users: runs("/proc/self/uid_map")?,
            groups: runs("/proc/self/gid_map")?,
        })
    }

    /// Maps all to themselves; for somebody other than 0, root to that one alone.
    fn map(&self, process: u32, uid: u32, gid: u32) -> io::Result<()> {
        for (file, id, runs) in [
            ("uid_map", uid, &self.users),
            ("gid_map", gid, &self.groups),
        ] {
            let text = match uid {
                0 => runs
                    .iter()
                    .map(|(first, count)| format!("{first} {first} {count}\n"))
                    .collect(),
                _ => format!("{id} 0 1\n"),
            };
            write_map(Path::new(&format!("/proc/{process}/{file}")), &text)?;
        }
        Ok(())
    }
}

/// The first process of the sandbox once that is made; `None` when it comes to nothing.
fn first_process(tells: &mut PipeReader) -> Option<(u32, OwnedFd)> {
    const NOTHING: &str = "0000000000000000";
    let deadline = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        tells.read_exact(&mut byte).ok()?;
        line.extend(byte);
    }
    let told: serde_json::Value = serde_json::from_slice(&line).ok()?;
    let number = u32::try_from(told.get("child-pid")?.as_u64()?).ok()?;
    let process = Pid::from_raw(number.try_into().ok()?)?;
    let descriptor = rustix::process::pidfd_open(process, PidfdFlags::empty()).ok()?;
    // It lets go of its capabilities when all is mounted, and waits after that.
    while Instant::now() < deadline {
        let text = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        let mut lines = text.lines();
        let capabilities = lines.find_map(|line| line.strip_prefix("CapEff:"));
        if capabilities.map(str::trim) == Some(NOTHING) {
            return Some((number, descriptor));
        }
        if is_gone(&descriptor, INTERVAL) {
            return None;
        }
    }
    None
}

/// Whether a process ends before `patience` does.
fn is_gone(process: &OwnedFd, patience: Duration) -> bool {
    let mut descriptors = [PollFd::new(process, PollFlags::IN)];
    let waited = poll(&mut descriptors, Some(patience));
    waited.is_ok() && !descriptors[0].revents().is_empty()
}

/// Those namespaces of a process that are not this one's, but for that of processes, and that of what
/// they share: each step has its own.
fn others(process: u32) -> io::Result<ThreadNameSpaceType> {
    use std::os::unix::fs::MetadataExt;
    let mut kinds = ThreadNameSpaceType::USER;
    for (name, kind) in [
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("net", ThreadNameSpaceType::NETWORK),
        ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ] {
        let own = fs::metadata(format!("/proc/self/ns/{name}"))?.ino();
        if fs::metadata(format!("/proc/{process}/ns/{name}"))?.ino() != own {
            kinds |= kind;
        }
    }
    Ok(kinds)
}

/// In a process of its own: starts the step, waits for it, and ends all that it has left behind. Gives
/// its exit code.
fn attend(
    steward: Pid,
    sandbox: &Sandbox,
    namespaces: &UserNamespaces,
    setup: &Setup,
    order: &Order,
    write: PipeWriter,
) -> io::Result<i32> {
    dies_with(steward)?;
    enter::restrict(&setup.restrictions)?;
    // Children are processes of the sandbox from here on.
    let kind = ThreadNameSpaceType::PROCESS_ID;
    rustix::thread::move_into_thread_name_spaces(sandbox.first_process.as_fd(), kind)?;
    let short = order.script.len() <= LONGEST_ARGUMENT;
    let [program, arguments @ ..] = shell(&order.script, short);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&order.environment);
    command.stdin(Stdio::null());
    command.stderr(write.try_clone()?).stdout(write);
    let enters = Enters {
        first_process: sandbox.first_process.try_clone()?,
        namespaces: sandbox.namespaces,
        inner: namespaces.inner.try_clone()?,
        setup: setup.clone(),
        script: (!short).then(|| order.script.clone()),
    };
    before_exec(&mut command, move || enters.enter());
    let child = Pid::from_child(&command.spawn()?);
    drop(command);
    let status = wait_for(child)?;
    end_the_rest(sandbox)?;
    Ok(exit_code(status))
}

/// Sees to it that this process ends when its parent does, which may have ended already.
fn dies_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::getppid() == Some(parent) {
        true => Ok(()),
        false => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn wait_for(child: Pid) -> io::Result<WaitStatus> {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The code that a shell would give for it.
fn exit_code(status: WaitStatus) -> i32 {
    let signal = || 128 + status.terminating_signal().unwrap_or_default();
    status.exit_status().unwrap_or_else(signal)
}

/// Ends all processes of the sandbox but the first.
fn end_the_rest(sandbox: &Sandbox) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let listed = sandbox.path("/proc");
    while others_run(&listed)? {
        // From among them: all there are but the first and the one that does it.
        let killer = forked(|| {
            let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
            0
        })?;
        wait_for(killer)?;
        if deadline < Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Whether `proc` lists more processes than the first.
fn others_run(proc: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(proc)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes != b"1" && bytes.iter().all(u8::is_ascii_digit) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How a step gets to where it runs.
struct Enters {
    first_process: OwnedFd,
    namespaces: ThreadNameSpaceType,
    inner: OwnedFd,
    setup: Setup,
    /// Too long for an argument.
    script: Option<String>,
}

impl Enters {
    fn enter(&self) -> io::Result<()> {
        use rustix::thread::{move_into_link_name_space, move_into_thread_name_spaces};
        // The caller's further groups, unless it may not let go of them.
        let _ = rustix::thread::set_thread_groups(&[]);
        let _ = rustix::process::setsid();
        move_into_thread_name_spaces(self.first_process.as_fd(), self.namespaces)?;
        enter::unshare(UnshareFlags::NEWIPC)?;
        move_into_link_name_space(self.inner.as_fd(), Some(LinkNameSpaceType::User))?;
        confine(&self.setup)?;
        rustix::process::chdir("/")?;
        match &self.script {
            Some(script) => fs::write(SCRIPT, script),
            None => Ok(()),
        }
    }
}

/// Does something in the new process before it becomes the command's program.
#[allow(
    unsafe_code,
    reason = "what runs between fork and exec may take locks of other threads; there is one thread"
)]
fn before_exec(command: &mut Command, action: impl Fn() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: see above.
    unsafe { command.pre_exec(action) };
}

/// Sees to it that the kernel itself takes note of the end of this process's children, and of those of
/// the next program: bubblewrap's first process gets the orphans of steps, and never looks.
#[allow(
    unsafe_code,
    reason = "dispositions of signals are the process's; there is one thread"
)]
fn forget_children() -> io::Result<()> {
    // SAFETY: no handler is given.
    match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Lets a descriptor reach the next program.
#[allow(
    unsafe_code,
    reason = "descriptors are told to a program by their numbers"
)]
fn keep_open(number: i32) -> io::Result<()> {
    // SAFETY: it is this process's copy of one that its parent keeps.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// Does `action` in a copy of this process, which ends with the code that comes of it.
#[allow(
    unsafe_code,
    reason = "in a copy of a process with several threads, others' locks would stay locked; there is one thread"
)]
fn forked(action: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: see above.
    match unsafe { libc::fork() } {
        0 => {
            let code = action();
            // SAFETY: ends the process without what the original does at its end.
            unsafe { libc::_exit(code) }
        }
        number => Pid::from_raw(number)
            .filter(|_| number > 0)
            .ok_or_else(io::Error::last_os_error),
    }
}
