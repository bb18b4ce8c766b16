//! The inner side of containers and virtual machines: the first process there, which runs steps one
//! after the other as polpo, outside, tells it to.
//!
//! It ends when polpo does: its input is at its end then, and with the first process the kernel ends
//! all others. Steps can't reach it: they are in a user namespace of their own, whose rights mean
//! nothing outside it.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::bounds::{self, Usage};
use super::control_group;
use super::enter::INIT_FAILED;
use super::identity::{Identities, OneIdentity};
use super::launch::poll;
use super::ownership::{self, Left};
use super::preflight::{InitFailure, Stage};
use super::protocol::{CHUNK, Order, Report, Request, Setup};
use super::step::{STEP, StepSpecification};
use super::{INIT_ARGUMENT, gateway, hold, machine};
use crate::plan::WORKSPACE;

/// The word that makes `sandbox-init` be the agent.
pub(super) const AGENT: &str = "agent";

/// How long what a step has left behind may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The steps' memory that is no file's, between two of them.
const SHARED_MEMORY: &str = "/dev/shm";

/// Serves until polpo is gone.
pub(super) fn serve(
    mut input: impl Read + AsFd,
    mut output: impl Write,
    exchange: Option<File>,
) -> io::Result<()> {
    let Some(Request::Setup(setup)) = Request::read(&mut input)? else {
        return Ok(());
    };
    if let Some(folder) = &setup.gateway {
        gateway::hand_over(Path::new(folder))?;
    }
    let identities = match setup.further_ids {
        true => Identities::of_root(),
        false => Err(OneIdentity::NotNeeded),
    };
    Report::Ready(identities.err()).write(&mut output)?;
    let identities = identities.ok();
    let served = answer(
        &setup,
        identities,
        &mut input,
        &mut output,
        exchange.as_ref(),
    );
    if identities.is_some() && !setup.give_back.is_empty() {
        // Whatever went wrong: what steps gave away comes back.
        end_all_others()?;
        for folder in &setup.give_back {
            // What stays another's can't be removed, which is found out then.
            drop(ownership::take_over(folder));
        }
    }
    served
}

/// Does what it is asked until there is nothing more.
fn answer(
    setup: &Setup,
    identities: Option<Identities>,
    mut input: &mut (impl Read + AsFd),
    mut output: &mut impl Write,
    exchange: Option<&File>,
) -> io::Result<()> {
    while let Some(request) = Request::read(&mut input)? {
        let order = match request {
            Request::Run(order) => order,
            Request::Take(size) => {
                swap(exchange, |disk| take(disk, size)).write(&mut output)?;
                continue;
            }
            Request::Give(everything) => {
                let give = |disk: &File| {
                    let size = machine::pack(disk, Path::new(WORKSPACE), everything)?;
                    Ok(Report::Given(size))
                };
                swap(exchange, give).write(&mut output)?;
                continue;
            }
            Request::Collect(folder) => {
                collect(&folder, identities).write(&mut output)?;
                continue;
            }
            Request::Quit => return Ok(()),
            Request::Typed(_) | Request::Setup(_) => continue, // too late
        };
        let report = match run(setup, identities, order, &mut input, &mut output) {
            Ok(Ok(report)) => {
                if exchange.is_some() && report != Report::Ended(0) {
                    // How much was written is measured outside.
                    rustix::fs::sync();
                }
                report
            }
            Ok(Err(Gone)) => return Ok(()),
            Err(failure) => Report::Failed(failure),
        };
        report.write(&mut output)?;
    }
    Ok(())
}

/// Does something with the exchange disk, if there is one.
fn swap(exchange: Option<&File>, with: impl FnOnce(&File) -> Result<Report, String>) -> Report {
    let report = exchange.ok_or_else(|| "there is no disk for it".to_owned());
    report.and_then(with).unwrap_or_else(Report::Refused)
}

/// Unpacks what polpo has put onto the disk.
fn take(disk: &File, size: u64) -> Result<Report, String> {
    // What was read of it before is not what is there now.
    std::fs::write("/proc/self/root/proc/sys/vm/drop_caches", "1")
        .and_then(|()| disk.try_clone())
        .map_err(|error| error.to_string())
        .and_then(|disk| machine::unpack(disk, size, Path::new(WORKSPACE)))?;
    Ok(Report::Ended(0))
}

/// Takes over what is in a folder, and tells whose it was for steps.
fn collect(folder: &Path, identities: Option<Identities>) -> Report {
    let Some(identities) = identities else {
        return Report::Collected(Left::default());
    };
    let mut done = ownership::take_over(folder);
    if let Some(error) = done.failure {
        return Report::Refused(error.to_string());
    }
    for owned in &mut done.owned {
        let (uid, gid) = identities.inside(owned.uid.into(), owned.gid.into());
        // There are no more inside than two bytes can number.
        owned.uid = u32::try_from(uid).unwrap_or_default();
        owned.gid = u32::try_from(gid).unwrap_or_default();
    }
    Report::Collected(Left {
        owned: done.owned,
        names: Some(["passwd", "group"].map(guest_text)),
    })
}

/// A text in the guest's /etc as steps left it; empty if there is none.
fn guest_text(name: &str) -> String {
    const LONGEST: u64 = 16 << 20;
    let read = || -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(
            format!("/etc/{name}"),
            flags,
            Mode::empty(),
        )?);
        let mut text = String::new();
        if file.metadata()?.is_file() {
            file.take(LONGEST).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    read().unwrap_or_default()
}

/// Ends every process but this one, however it came to be.
fn end_all_others() -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while rustix::process::kill_process_group(Pid::INIT, Signal::KILL).is_ok() {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        if deadline < Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Nobody wants the step any more.
struct Gone;

/// Runs one step: what it came to.
fn run(
    setup: &Setup,
    identities: Option<Identities>,
    order: Order,
    input: &mut (impl Read + AsFd),
    output: &mut impl Write,
) -> Result<Result<Report, Gone>, InitFailure> {
    let failed = |error: io::Error| InitFailure::new(Stage::Step, &error);
    let refused_before = control_group::refused_processes();
    let mut step = Step::start(setup, identities, order).map_err(failed)?;
    let watched = step.watch(input, output, Path::new("/proc"));
    let Some(code) = watched.map_err(failed)? else {
        return Ok(Err(Gone));
    };
    // A bomb may meet its container's limit, and be over, before it is counted.
    if code != 0 && control_group::refused_processes() > refused_before {
        let usage = Usage {
            refused: true,
            ..Usage::default()
        };
        Report::Usage(usage).write(output).map_err(failed)?;
    }
    step.end_the_rest(output).map_err(failed)?;
    clear_shared_memory(Path::new(SHARED_MEMORY));
    match step.failure().map_err(failed)? {
        Some(failure) if code == i32::from(INIT_FAILED) => Err(failure),
        _ => Ok(Ok(Report::Ended(code))),
    }
}

/// A step under way.
pub(super) struct Step {
    process: Pid,
    descriptor: OwnedFd,
    ended: Option<WaitStatus>,
    printed: Option<PipeReader>,
    typed: Option<ChildStdin>,
    /// Has something only if the step was not started.
    failure: PipeReader,
    /// What was read of that already.
    said: Vec<u8>,
}

impl Step {
    fn start(setup: &Setup, identities: Option<Identities>, order: Order) -> io::Result<Step> {
        let (printed, write) = io::pipe()?;
        let (mut failure, failing) = io::pipe()?;
        let (program, arguments) = setup.again.split_first().ok_or(io::ErrorKind::NotFound)?;
        // Nothing else is started meanwhile that could inherit it: no other thread here starts programs.
        rustix::io::fcntl_setfd(&failing, FdFlags::empty())?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([INIT_ARGUMENT, STEP])
            .stdin(Stdio::piped())
            .stderr(write.try_clone()?)
            .stdout(write);
        let mut child = command.spawn()?;
        drop(command);
        let number = failing.as_raw_fd();
        drop(failing);
        let mut typed = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let reads = order.typed;
        let specification = StepSpecification {
            setup: setup.clone(),
            further_ids: identities.is_some(),
            order,
            failure: number,
        };
        specification.write(&mut typed)?;
        let process = Pid::from_child(&child);
        let mut said = Vec::new();
        if let Some(identities) = identities {
            let mut byte = [0];
            let count = failure.read(&mut byte)?;
            if byte == *hold::ASKS {
                let mapped = identities.map(process.as_raw_nonzero().get().unsigned_abs());
                typed.write_all(if mapped.is_ok() {
                    hold::MAPPED
                } else {
                    hold::NOT_MAPPED
                })?;
            } else {
                // It has failed before, and this is how it begins to say so.
                said.extend(&byte[..count]);
            }
        }
        Ok(Step {
            descriptor: rustix::process::pidfd_open(process, PidfdFlags::empty())?,
            process,
            ended: None,
            printed: Some(printed),
            typed: reads.then_some(typed),
            failure,
            said,
        })
    }

    /// The one that `process` is or attends to, which prints into `printed`, and says in `failure` if
    /// it could not be started.
    pub(super) fn of(process: Pid, printed: PipeReader, failure: PipeReader) -> io::Result<Step> {
        Ok(Step {
            descriptor: rustix::process::pidfd_open(process, PidfdFlags::empty())?,
            process,
            ended: None,
            printed: Some(printed),
            typed: None,
            failure,
            said: Vec::new(),
        })
    }

    /// Passes on what it prints and what is typed, until it ends: its exit code, or `None` when polpo
    /// is gone. `proc` lists the processes that count for it.
    pub(super) fn watch(
        &mut self,
        input: &mut (impl Read + AsFd),
        output: &mut impl Write,
        proc: &Path,
    ) -> io::Result<Option<i32>> {
        let mut next_look = Instant::now() + bounds::INTERVAL;
        loop {
            let readable = PollFlags::IN;
            let mut descriptors = vec![
                PollFd::new(&self.descriptor, readable),
                PollFd::from_borrowed_fd(input.as_fd(), readable),
            ];
            if let Some(printed) = &self.printed {
                descriptors.push(PollFd::new(printed, readable));
            }
            let now = Instant::now();
            poll(
                &mut descriptors,
                Some(next_look.saturating_duration_since(now)),
            )?;
            let ready: Vec<bool> = descriptors
                .iter()
                .map(|descriptor| !descriptor.revents().is_empty())
                .collect();
            drop(descriptors);
            if ready.get(2) == Some(&true) {
                self.pass_on(output)?;
            }
            if ready[1] {
                match Request::read(input)? {
                    None | Some(Request::Quit) => return Ok(None),
                    Some(Request::Typed(bytes)) => self.type_in(&bytes),
                    Some(_) => {}
                }
            }
            let due = next_look <= Instant::now();
            if ready[0] || due {
                self.reap();
            }
            if let Some(status) = self.ended {
                let signal = || 128 + status.terminating_signal().unwrap_or_default();
                return Ok(Some(status.exit_status().unwrap_or_else(signal)));
            }
            if due {
                let start = Instant::now();
                if let Ok(usage) = Usage::of(proc) {
                    Report::Usage(usage).write(output)?;
                }
                // Looking at very many processes takes its time.
                let took = start.elapsed();
                next_look = Instant::now() + bounds::INTERVAL.max(took * 4);
            }
        }
    }

    fn pass_on(&mut self, output: &mut impl Write) -> io::Result<()> {
        let mut buffer = [0; CHUNK];
        let count = match &mut self.printed {
            Some(printed) => printed.read(&mut buffer)?,
            None => 0,
        };
        if count == 0 {
            self.printed = None;
            return Ok(());
        }
        Report::Printed(buffer[..count].to_vec()).write(output)
    }

    fn type_in(&mut self, bytes: &[u8]) {
        if let Some(typed) = &mut self.typed
            && !bytes.is_empty()
            && typed.write_all(bytes).is_ok()
        {
            return;
        }
        self.typed = None;
    }

    /// Ends whatever the step has put into the background, and passes on what is left of its output.
    fn end_the_rest(&mut self, output: &mut impl Write) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // All but this one.
            match rustix::process::kill_process_group(Pid::INIT, Signal::KILL) {
                Ok(()) => {}
                Err(rustix::io::Errno::SRCH) => break,
                Err(error) => return Err(error.into()),
            }
            while let Some(printed) = &self.printed {
                let mut descriptors = [PollFd::new(printed, PollFlags::IN)];
                poll(&mut descriptors, Some(Duration::ZERO))?;
                if descriptors[0].revents().is_empty() {
                    break;
                }
                self.pass_on(output)?;
            }
            if !self.reap() {
                break;
            }
            if deadline < Instant::now() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.drain(output)
    }

    /// Passes on what is left of the output, whose writers are all gone.
    pub(super) fn drain(&mut self, output: &mut impl Write) -> io::Result<()> {
        while self.printed.is_some() {
            self.pass_on(output)?;
        }
        Ok(())
    }

    /// Whether a signal ended it.
    pub(super) fn was_killed(&self) -> bool {
        self.ended.is_some_and(|status| status.signaled())
    }

    /// Why it was not started, if it was not; it is at its end.
    pub(super) fn failure(&mut self) -> io::Result<Option<InitFailure>> {
        let mut failure = std::mem::take(&mut self.said);
        self.failure.read_to_end(&mut failure)?;
        Ok(serde_json::from_slice(&failure).ok())
    }

    /// Takes note of those that ended: the kernel gives them to the first process when nobody else
    /// waits for them. Whether any are left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((process, status))) if process == self.process => {
                    self.ended = Some(status);
                }
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Each step finds it empty.
pub(super) fn clear_shared_memory(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(path),
            _ => std::fs::remove_file(path),
        };
    }
}

/// This process's input and output, without the buffers that the standard library puts before them.
pub(super) fn standard_streams() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((File::from(input), File::from(output)))
}
