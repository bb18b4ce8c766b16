//! The steps of one build, whatever they run in.
//!
//! Somebody where they run starts them and is told of each: the [steward](super::steward) of
//! bubblewrap's sandbox, or the first process of a container or machine, the
//! [agent](super::agent). It starts with the first step.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::boot::LAST_WORDS;
use super::bounds::Bounds;
use super::launch::{
    Bind, Ending, Errors, Keyboard, Launch, Running, Standard, StartFiles, User, Watch,
};
use super::ownership::Left;
use super::preflight::SandboxError;
use super::protocol::{Order, Report, Reports, Request, Setup};
use super::step::{LONGEST_ARGUMENT, SCRIPT, shell};
use super::{
    CAPABILITIES, Connection, Held, InitProgram, OneIdentity, Restrictions, Runner, machine,
};
use crate::plan::{OUTPUT, WORKSPACE};
use crate::recipe::CapabilityChange;

/// How long an agent may take to be gone. Then its runner is told to see to it: podman itself waits
/// for a process of its own that is gone already, where nobody takes note of that.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same where files have to be given back first, however many.
const PATIENCE_OF_OWNERS: Duration = Duration::from_secs(60);

/// What all steps of a build have in common.
#[derive(Debug)]
pub struct Surroundings {
    /// What becomes the first process inside.
    pub init: InitProgram,
    /// `/`.
    pub root: Held,
    /// What else is seen, later ones over earlier ones.
    pub binds: Vec<Bind>,
    /// Whom steps run as, as in [`Launch::user`].
    pub user: User,
    /// What else they may do, or not.
    pub capabilities: CapabilityChange,
    /// A folder that only this user can enter, for the few files the start needs.
    pub scratch: PathBuf,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Text for `/bin/sh`.
    pub script: &'a str,
    /// The whole environment.
    pub environment: &'a BTreeMap<String, String>,
    /// Where the standard streams lead: captured, or to a person.
    pub standard: Standard,
}

/// Where the steps of one build run, one after the other.
#[derive(Debug)]
pub struct Session {
    runner: Runner,
    surroundings: Surroundings,
    agent: Option<Agent>,
}

impl Session {
    /// Nothing is started before the first step.
    pub fn new(runner: Runner, surroundings: Surroundings) -> Session {
        Session {
            runner,
            surroundings,
            agent: None,
        }
    }

    /// Runs `step` until it ends or is ended. When this returns, nothing that it has started is left.
    /// After any other end than [`Ending::Exited`] there can't be another step.
    ///
    /// # Errors
    /// The step could not be started.
    pub fn run(
        &mut self,
        step: &Step<'_>,
        watch: &Watch<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ending, SandboxError> {
        match &self.runner {
            Runner::Bubblewrap { program } if step.standard == Standard::Captured => {
                if self.agent.is_none() {
                    let agent = self.surroundings.steward(program, watch)?;
                    if let Some(ending) = self.agent.insert(agent).ready(watch)? {
                        return Ok(ending);
                    }
                }
                self.agent()?.run(step, watch, output)
            }
            // A sandbox of its own, which can have a person's terminal.
            Runner::Bubblewrap { program } => {
                let surroundings = &self.surroundings;
                let short = step.script.len() <= LONGEST_ARGUMENT;
                let mut binds = surroundings.binds.clone();
                if !short {
                    let source = surroundings.scratch.join("script");
                    fs::write(&source, step.script).map_err(SandboxError::at("write", &source))?;
                    binds.push(Bind {
                        source,
                        target: SCRIPT.to_owned(),
                        writable: false,
                    });
                }
                let launch = Launch {
                    init: &surroundings.init,
                    bubblewrap: program,
                    root: &surroundings.root,
                    binds: &binds,
                    environment: step.environment,
                    command: &shell(step.script, short),
                    user: surroundings.user,
                    capabilities: &surroundings.capabilities,
                    working_directory: None,
                    network: watch.network,
                    bounds: watch.bounds,
                    scratch: &surroundings.scratch,
                    standard: step.standard,
                };
                launch.run(watch.deadline, watch.cancel, output)
            }
            Runner::Engine(engine) => {
                if self.agent.is_none() {
                    let agent = engine.start(&self.surroundings, watch)?;
                    if let Some(ending) = self.agent.insert(agent).ready(watch)? {
                        return Ok(ending);
                    }
                }
                self.agent()?.run(step, watch, output)
            }
            Runner::Machine(machine) => {
                if self.agent.is_none() {
                    let agent = machine.start(&self.surroundings, watch)?;
                    if let Some(ending) = self.agent.insert(agent).ready(watch)? {
                        return Ok(ending);
                    }
                } else if let Some(ending) = self.hand_in(watch)? {
                    return Ok(ending);
                }
                self.agent()?.run(step, watch, output)
            }
        }
    }

    /// Why there is nobody but root where steps run, if so.
    pub fn one_identity(&self) -> Option<OneIdentity> {
        match (&self.runner, &self.agent) {
            (Runner::Engine(_) | Runner::Machine(_), Some(agent)) => agent.one_identity,
            _ => self.surroundings.root.identities().err(),
        }
    }

    /// Ends, and sees to it that the workspace is outside: all of it, or what packages are made of. All
    /// in the packages' folder is the caller's then, unless bubblewrap's caller is root; gives what
    /// steps had given to others.
    ///
    /// # Errors
    /// It can't be had.
    pub fn finish(mut self, everything: bool, watch: &Watch<'_>) -> Result<Left, SandboxError> {
        if self.agent.is_none() {
            return Ok(Left::default());
        }
        match &self.runner {
            Runner::Machine(_) => {
                self.hand_in(watch)?;
                let agent = self.agent()?;
                let left = agent.collect(&Path::new(WORKSPACE).join(OUTPUT), watch)?;
                whole(agent.exchange(&Request::Give(everything), watch, &mut |_| {})?)?;
                let size = agent.given;
                machine::hand_out(&self.surroundings, size)?;
                Ok(left)
            }
            Runner::Engine(_) => {
                let folder = Path::new(WORKSPACE).join(OUTPUT);
                self.agent()?.collect(&folder, watch)
            }
            Runner::Bubblewrap { .. } if self.surroundings.gives_back() => {
                let folder = self.surroundings.workspace()?.join(OUTPUT);
                self.agent()?.collect(&folder, watch)
            }
            Runner::Bubblewrap { .. } => Ok(Left::default()),
        }
    }

    /// Brings into the machine what was placed in the workspace outside since the last step.
    fn hand_in(&mut self, watch: &Watch<'_>) -> Result<Option<Ending>, SandboxError> {
        let Some(size) = machine::hand_in(&self.surroundings)? else {
            return Ok(None);
        };
        let agent = self.agent()?;
        let ending = agent.exchange(&Request::Take(size), watch, &mut |_| {})?;
        Ok(Some(ending).filter(|ending| *ending != Ending::Exited(0)))
    }

    fn agent(&mut self) -> Result<&mut Agent, SandboxError> {
        self.agent.as_mut().ok_or(SandboxError::Lost)
    }
}

impl Surroundings {
    /// The folder that steps work in, outside.
    pub(super) fn workspace(&self) -> Result<&Path, SandboxError> {
        let mut binds = self.binds.iter();
        let bind = binds.find(|bind| bind.target == WORKSPACE);
        bind.map(|bind| &*bind.source).ok_or(SandboxError::Lost)
    }

    /// Starts the steward of a sandbox that `bubblewrap` makes.
    fn steward(&self, bubblewrap: &Path, watch: &Watch<'_>) -> Result<Agent, SandboxError> {
        let launch = Launch {
            init: &self.init,
            bubblewrap,
            root: &self.root,
            binds: &self.binds,
            environment: &BTreeMap::new(),
            command: &[],
            user: self.user,
            capabilities: &self.capabilities,
            working_directory: None,
            network: watch.network,
            bounds: watch.bounds,
            scratch: &self.scratch,
            standard: Standard::Piped,
        };
        let (running, files) = launch.start_steward()?;
        let mut setup = self.setup(Vec::new(), watch, None);
        // All its processes are this one's, and nobody else's count.
        setup.restrictions = watch
            .bounds
            .map_or_else(Restrictions::default, Bounds::restrictions);
        if self.gives_back() {
            setup.give_back = vec![self.scratch.clone(), self.workspace()?.to_owned()];
        }
        Ok(Agent::of(
            running,
            files,
            setup,
            "bubblewrap",
            Ends::default(),
        ))
    }

    /// Whether what steps give to others is out of the caller's reach.
    fn gives_back(&self) -> bool {
        self.root.identities().is_ok() && !rustix::process::geteuid().is_root()
    }

    /// What an agent is told first; `again` starts its program.
    pub(super) fn setup(
        &self,
        again: Vec<String>,
        watch: &Watch<'_>,
        gateway: Option<String>,
    ) -> Setup {
        let usual = if self.user.uid == 0 {
            &CAPABILITIES[..]
        } else {
            &[]
        };
        Setup {
            again,
            uid: self.user.uid,
            gid: self.user.gid,
            further_ids: self.user.uid == 0,
            capabilities: self.capabilities.applied(usual),
            restrictions: watch
                .bounds
                .map_or_else(Restrictions::default, |bounds| Restrictions {
                    groups: Vec::new(),
                    // The kernel would count what other containers of this user run, too.
                    processes: None,
                    ..bounds.restrictions()
                }),
            gateway: gateway.filter(|_| matches!(watch.network, Connection::Gateway(_))),
            give_back: Vec::new(),
        }
    }
}

/// An agent under way. Dropped, it ends, and with it everything where it is.
#[derive(Debug)]
pub(super) struct Agent {
    running: Running,
    reports: Reports,
    setup: Setup,
    /// What its runner says besides.
    errors: PathBuf,
    /// The bytes that it gave last.
    given: u64,
    /// What it found to be others'.
    collected: Left,
    /// Why there is nobody but root where it is.
    one_identity: Option<OneIdentity>,
    /// The runner's name.
    name: &'static str,
    ends: Ends,
    files: StartFiles,
}

/// What is done when an agent has to end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Should it not end by itself.
    pub(super) stop: Option<Command>,
    /// Once it is gone.
    pub(super) after: Option<Command>,
    /// A virtual machine's console, which says why it ended.
    pub(super) console: Option<PathBuf>,
}

/// What a report means while a step runs.
enum Heard {
    Ending(Ending),
    Error(SandboxError),
}

impl Agent {
    /// Starts `command`, whose input and output are those of an agent.
    pub(super) fn start(
        mut command: Command,
        files: StartFiles,
        setup: Setup,
        name: &'static str,
        ends: Ends,
    ) -> Result<Agent, SandboxError> {
        command.stdin(std::process::Stdio::piped());
        let program = PathBuf::from(command.get_program());
        let running = Running::spawn(command, Some(Errors::File(files.errors.clone())))
            .map_err(SandboxError::at("start", &program))?;
        Ok(Agent::of(running, files, setup, name, ends))
    }

    /// The agent that `running` speaks for.
    pub(super) fn of(
        running: Running,
        files: StartFiles,
        setup: Setup,
        name: &'static str,
        ends: Ends,
    ) -> Agent {
        Agent {
            running,
            reports: Reports::default(),
            setup,
            errors: files.errors.clone(),
            given: 0,
            collected: Left::default(),
            one_identity: None,
            name,
            ends,
            files,
        }
    }

    /// Waits until it is set up; how the build ended if it is not by then.
    fn ready(&mut self, watch: &Watch<'_>) -> Result<Option<Ending>, SandboxError> {
        if watch.network.is_gateway() && self.running.gateway.is_none() {
            self.running.gateway = Some(self.files.await_listener()?);
        }
        let setup = Request::Setup(self.setup.clone());
        match self.exchange(&setup, watch, &mut |_| {})? {
            Ending::Exited(0) => Ok(None),
            ending => Ok(Some(ending)),
        }
    }

    /// Makes everything in a folder, where it is, its own user's; gives what was others'.
    fn collect(&mut self, folder: &Path, watch: &Watch<'_>) -> Result<Left, SandboxError> {
        let request = Request::Collect(folder.to_owned());
        whole(self.exchange(&request, watch, &mut |_| {})?)?;
        Ok(std::mem::take(&mut self.collected))
    }

    fn run(
        &mut self,
        step: &Step<'_>,
        watch: &Watch<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ending, SandboxError> {
        let typed = step.standard == Standard::Terminal;
        let order = Request::Run(Order {
            script: step.script.to_owned(),
            environment: step.environment.clone(),
            typed,
        });
        if !typed {
            return self.exchange(&order, watch, output);
        }
        let from = io::stdin().as_fd().try_clone_to_owned();
        self.running.keyboard = Some(Keyboard {
            from: from.map_err(|error| self.io("read what is typed for", error))?,
            wrap: |bytes| {
                let mut frame = Vec::new();
                // A vector takes all that is written.
                let _ = Request::Typed(bytes.to_vec()).write(&mut frame);
                frame
            },
        });
        let ending = self.exchange(&order, watch, &mut |bytes| {
            let mut terminal = io::stdout().lock();
            let _ = terminal.write_all(bytes).and_then(|()| terminal.flush());
        });
        self.running.keyboard = None;
        ending
    }

    /// Says `request`, and listens until it is done.
    fn exchange(
        &mut self,
        request: &Request,
        watch: &Watch<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ending, SandboxError> {
        let said = match &mut self.running.input {
            Some(input) => request.write(input),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        // If it is gone already, what it said last tells more.
        let said = said
            .err()
            .filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        if let Some(error) = said {
            return Err(self.io("talk to", error));
        }
        let mut error = None;
        let (given, collected) = (&mut self.given, &mut self.collected);
        let one_identity = &mut self.one_identity;
        let reports = &mut self.reports;
        let ended = self.running.wait_for_child(watch, &mut |bytes| {
            reports.push(bytes);
            loop {
                let heard = match reports.next() {
                    Ok(None) => return None,
                    Ok(Some(Report::Ready(told))) => {
                        *one_identity = told;
                        return Some(Ending::Exited(0));
                    }
                    Ok(Some(Report::Given(size))) => {
                        *given = size;
                        return Some(Ending::Exited(0));
                    }
                    Ok(Some(Report::Collected(left))) => {
                        *collected = left;
                        return Some(Ending::Exited(0));
                    }
                    Ok(Some(report)) => hear(report, watch.bounds, output),
                    Err(_) => Some(Heard::Error(SandboxError::Lost)),
                };
                match heard {
                    None => {}
                    Some(Heard::Ending(ending)) => return Some(ending),
                    Some(Heard::Error(told)) => {
                        error = Some(told);
                        return Some(Ending::Cancelled);
                    }
                }
            }
        });
        let exceeded = || watch.bounds.and_then(Bounds::exceeded_at_last);
        if let Some(error) = error {
            return exceeded().map_or(Err(error), |excess| Ok(Ending::Exceeded(excess)));
        }
        match ended.map_err(|error| self.io("listen to", error))? {
            Some(Ending::Exited(code)) if code != 0 => {
                Ok(exceeded().map_or(Ending::Exited(code), Ending::Exceeded))
            }
            Some(ending) => Ok(ending),
            None => exceeded().map_or_else(
                || Err(self.last_words()),
                |excess| Ok(Ending::Exceeded(excess)),
            ),
        }
    }

    /// Why the runner ended before its time.
    fn last_words(&self) -> SandboxError {
        let read = |path: &Path| {
            let text = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let console = self.ends.console.as_deref().map(read).unwrap_or_default();
        let mut lines = console.lines().map(str::trim);
        if let Some(message) = lines.find_map(|line| line.strip_prefix(LAST_WORDS)) {
            return SandboxError::Engine {
                name: self.name,
                message: message.to_owned(),
            };
        }
        let text = read(&self.errors) + &console;
        let mut lines = text.lines().rev().map(str::trim);
        match lines.find(|line| !line.is_empty()) {
            Some(line) => SandboxError::Engine {
                name: self.name,
                message: line.trim_start_matches("Error: ").to_owned(),
            },
            None => SandboxError::Lost,
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> SandboxError {
        SandboxError::Io {
            action,
            path: PathBuf::from(self.name),
            source,
        }
    }
}

fn hear(report: Report, bounds: Option<&Bounds>, output: &mut dyn FnMut(&[u8])) -> Option<Heard> {
    match report {
        Report::Printed(bytes) => {
            output(&bytes);
            None
        }
        Report::Usage(usage) => bounds?
            .judge(usage)
            .map(|excess| Heard::Ending(Ending::Exceeded(excess))),
        Report::Ended(code) => Some(Heard::Ending(Ending::Exited(code))),
        Report::Ready(_) | Report::Given(_) | Report::Collected(_) => None,
        Report::Unmade(message) => Some(Heard::Error(SandboxError::Refused { message })),
        Report::Refused(message) => Some(Heard::Error(SandboxError::Exchange { message })),
        Report::Failed(failure) => Some(Heard::Error(failure.into())),
    }
}

/// Whether what steps left was brought out as a whole.
fn whole(ending: Ending) -> Result<(), SandboxError> {
    let message = match ending {
        Ending::Exited(0) => return Ok(()),
        Ending::Exited(code) => format!("bringing out what was built ended with code {code}"),
        Ending::TimedOut => "the time was up before all that was built was brought out".to_owned(),
        Ending::Exceeded(_) => {
            "a limit was reached before all that was built was brought out".to_owned()
        }
        Ending::Cancelled => "it was stopped before all that was built was brought out".to_owned(),
    };
    Err(SandboxError::Exchange { message })
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut input) = self.running.input.take() {
            // If it can't be told, the end of its input tells it.
            let _ = Request::Quit.write(&mut input);
        }
        let patience = match self.setup.give_back.is_empty() {
            true => PATIENCE,
            false => PATIENCE_OF_OWNERS,
        };
        if !self.running.ends_within(patience) {
            if let Some(stop) = &mut self.ends.stop {
                let _ = stop.status();
            }
            // An ordinary user's podman is two processes.
            let group = Pid::from_child(&self.running.child);
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.running.child.wait();
        if let Some(after) = &mut self.ends.after {
            let _ = after.status();
        }
    }
}
