//! The executor of this machine: a guest out of the store, steps in the sandbox.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::{Digest, Reporter, Task, Unit, Verb};
use store::Store;
use tokio::sync::mpsc;

use super::script::{failed_command, quoted, wrapped};
use super::shell::ShellFault;
use super::{BuildOutput, ExecuteError, Executor, Owners, StepFailure};
use crate::guest::{GuestMode, Layers};
use crate::plan::{BuildPlan, FORMAT, Network, PlannedStep, WORKSPACE};
use crate::recording::{self, Miss, Proxy, RecorderSettings};
use crate::sandbox::{
    Bind, Bounds, Cancel, Connection, Emulator, Ending, Held, InitProgram, MachineOptions, Root,
    Runner, RunnerKind, SandboxError, Session, Stage, Standard, Step, Surroundings, User, Watch,
};
use crate::workspace::{BuildFolder, Workspace, WorkspaceError, within_workspace};

/// Help for those who look for what is wrong with a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debug {
    /// Every command of a step is printed before it runs (`set -x`).
    pub trace: bool,
    /// Where a step failed, a shell is opened at this process's terminal.
    pub shell: bool,
}

/// Carries out plans on this machine.
#[derive(Clone, Debug)]
pub struct LocalExecutor {
    store: Store,
    init: InitProgram,
    runner: Runner,
    /// How guests are made.
    pub guest: GuestMode,
    /// What is asked of the network, and how, by plans that record it.
    pub recorder: RecorderSettings,
    /// What steps see of this machine besides, such as the caches of clients. It is no part of the
    /// plan: nothing that a build makes may depend on it.
    pub binds: Vec<Bind>,
    /// Builds work in the folder `ARCH` of this one, and leave it; none works in the store.
    pub workspace: Option<PathBuf>,
    /// Help in finding faults.
    pub debug: Debug,
    /// Whether output is reported as that of a test.
    pub verb: Verb,
}

impl LocalExecutor {
    /// One that works with `store` and runs steps in bubblewrap. `init` is a program that calls
    /// [`init_if_requested`](crate::sandbox::init_if_requested).
    ///
    /// # Errors
    /// bubblewrap is not installed.
    pub fn new(store: Store, init: InitProgram) -> Result<LocalExecutor, SandboxError> {
        let runner = Runner::find(RunnerKind::Bubblewrap, &MachineOptions::default())?;
        Ok(LocalExecutor::with_runner(store, init, runner))
    }

    /// The same with another runner: what a build makes does not depend on it.
    pub fn with_runner(store: Store, init: InitProgram, runner: Runner) -> LocalExecutor {
        LocalExecutor {
            store,
            init,
            runner,
            guest: GuestMode::default(),
            recorder: RecorderSettings::default(),
            binds: Vec::new(),
            workspace: None,
            debug: Debug::default(),
            verb: Verb::Build,
        }
    }

    /// The store that plans' packages and sources are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Carries out `plan` upon `layers` instead of the plan's own guest packages.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub async fn execute_upon(
        &self,
        layers: Layers,
        plan: &BuildPlan,
        subject: &str,
        reporter: &dyn Reporter,
    ) -> Result<BuildOutput, ExecuteError> {
        self.start(Some(layers), plan, subject, reporter).await
    }

    async fn start(
        &self,
        layers: Option<Layers>,
        plan: &BuildPlan,
        subject: &str,
        reporter: &dyn Reporter,
    ) -> Result<BuildOutput, ExecuteError> {
        let io = |action| move |source| ExecuteError::Io { action, source };
        if plan.format != FORMAT {
            return Err(ExecuteError::Format(plan.format));
        }
        let steps = plan.steps.len() as u64;
        let task = Task::start(reporter, self.verb, subject, Some(steps), Unit::Items);
        let (guard, cancel) = Cancel::pair().map_err(io("start the build"))?;
        let (sender, events) = mpsc::channel(1024);
        let (executor, plan) = (self.clone(), plan.clone());
        // A thread of its own: the sandbox is killed when the thread that started it ends, and
        // threads of a pool end when they please.
        let thread = std::thread::Builder::new()
            .name("build".to_owned())
            .spawn(move || {
                let mut build = Build::new(&executor, &plan, &cancel, sender)?;
                build.run(layers)
            })
            .map_err(io("start the build"))?;
        let mut worker = Worker {
            events,
            guard: Some(guard),
            thread: Some(thread),
        };
        while let Some(event) = worker.events.recv().await {
            match event {
                Progress::Step(name) => task.step(&name),
                Progress::StepDone => task.advance(1),
                Progress::Line(line) => task.output(&line),
            }
        }
        let output = worker.result()?;
        task.done();
        Ok(output)
    }
}

impl Executor for LocalExecutor {
    async fn execute(
        &self,
        plan: &BuildPlan,
        subject: &str,
        reporter: &dyn Reporter,
    ) -> Result<BuildOutput, ExecuteError> {
        self.start(None, plan, subject, reporter).await
    }
}

/// What the building thread tells.
enum Progress {
    Step(String),
    StepDone,
    Line(String),
}

/// The building thread. Dropped, it stops the build and waits until everything is cleaned up.
struct Worker {
    events: mpsc::Receiver<Progress>,
    guard: Option<PipeWriter>,
    thread: Option<JoinHandle<Result<BuildOutput, ExecuteError>>>,
}

impl Worker {
    /// Waits for the thread, which is at its end.
    fn result(&mut self) -> Result<BuildOutput, ExecuteError> {
        let Some(thread) = self.thread.take() else {
            return Err(ExecuteError::Cancelled);
        };
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.guard.take());
        // The thread may be waiting for someone to listen.
        self.events.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The subfolder with the proxy's certificates.
const CERTIFICATES: &str = "certificates";

/// What programs say without a network: those of the C libraries, and of busybox, curl, git, Go and npm.
const NO_NETWORK: [&str; 7] = [
    "name resolution",
    "Name or service not known",
    "Network is unreachable",
    "bad address",
    "ould not resolve",
    "dial tcp: lookup",
    "EAI_AGAIN",
];
/// What bubblewrap says where it can't start the shell.
const NO_SHELL: &str = "execvp /bin/sh";
/// How the kernel's word for it ends, where it is started otherwise.
const NOT_FOUND: &str = "(os error 2)";

/// How many lines a failure shows.
const LAST_LINES: usize = 20;
/// A longer line is cut in two.
const LONGEST_LINE: usize = 64 * 1024;

/// What steps print: into the log as it is, to the listener in lines.
struct Output {
    log: File,
    log_error: Option<io::Error>,
    pending: Vec<u8>,
    last_lines: VecDeque<String>,
    failed_command: Option<String>,
    sender: mpsc::Sender<Progress>,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        if let Err(error) = self.log.write_all(bytes) {
            self.log_error.get_or_insert(error);
        }
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self
            .pending
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|newline| newline + 1)
            .or_else(|| (self.pending.len() > LONGEST_LINE).then_some(LONGEST_LINE))
        {
            let line: Vec<u8> = self.pending.drain(..end).collect();
            self.line(&line);
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        if let Some(command) = failed_command(text) {
            self.failed_command = Some(command.to_owned()).filter(|command| !command.is_empty());
            return;
        }
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.pop_front();
        }
        self.last_lines.push_back(text.to_owned());
        // Nobody listens any more when the build was given up.
        let _ = self.sender.blocking_send(Progress::Line(text.to_owned()));
    }

    fn end_step(&mut self) {
        if !self.pending.is_empty() {
            let line = std::mem::take(&mut self.pending);
            self.line(&line);
        }
    }

    fn begin_step(&mut self, name: &str) {
        let _ = writeln!(self.log, "## {name}");
        self.last_lines.clear();
        self.failed_command = None;
        let _ = self.sender.blocking_send(Progress::Step(name.to_owned()));
    }
}

/// One build under way, in its own thread.
struct Build<'a> {
    executor: &'a LocalExecutor,
    plan: &'a BuildPlan,
    cancel: &'a Cancel,
    folder: BuildFolder,
    output: Output,
    /// What stands for the network.
    proxy: Option<Proxy>,
    deadline: Option<Instant>,
    /// What the build may take; in force once the guest is there.
    bounds: Option<Bounds>,
}

impl<'a> Build<'a> {
    fn new(
        executor: &'a LocalExecutor,
        plan: &'a BuildPlan,
        cancel: &'a Cancel,
        sender: mpsc::Sender<Progress>,
    ) -> Result<Build<'a>, ExecuteError> {
        let folder = BuildFolder::new(&executor.store)?;
        let log = File::create(folder.path().join("log")).map_err(log_error)?;
        Ok(Build {
            executor,
            plan,
            cancel,
            folder,
            output: Output {
                log,
                log_error: None,
                pending: Vec::new(),
                last_lines: VecDeque::new(),
                failed_command: None,
                sender,
            },
            proxy: None,
            deadline: None,
            bounds: None,
        })
    }

    fn run(&mut self, layers: Option<Layers>) -> Result<BuildOutput, ExecuteError> {
        let layers = match layers {
            Some(layers) => layers,
            None => Layers::of(&self.executor.store, &self.plan.guest, &self.plan.accounts)?,
        };
        let store = &self.executor.store;
        let mut steps = self.plan.steps.iter();
        let emulator = if steps.any(|step| matches!(step, PlannedStep::Run { .. })) {
            super::shell::check(&layers, &self.executor.binds).map_err(ExecuteError::NoShell)?;
            super::foreign::emulator(self.plan.arch, &self.executor.runner)?
        } else {
            None
        };
        let user = super::accounts::run_as(&self.plan.accounts, &layers)?;
        let root = self.guest(&layers, emulator.as_ref(), user)?;
        let identities = root.identities();
        let place = root.root().clone();
        self.start_proxy()?;
        let path = match &self.executor.workspace {
            Some(above) => kept_folder(above, self.plan.arch)?,
            None => self.folder.path().join("workspace"),
        };
        let limits = &self.plan.limits;
        let folders = [self.folder.path(), path.as_path()];
        self.bounds = Some(if self.executor.runner.has_children() {
            Bounds::new(limits, folders)
        } else {
            Bounds::watched(limits, folders)
        });
        let workspace =
            Workspace::create(&path, &self.plan.packages).map_err(workspace_error("start"))?;
        for file in &self.plan.files {
            let place = within_workspace(WORKSPACE, &file.path)
                .and_then(|path| workspace.place(store, &file.digest, &path, file.mode));
            place.map_err(workspace_error("files beside the recipe"))?;
        }
        for (link, target) in &self.plan.links {
            let place =
                within_workspace(WORKSPACE, link).and_then(|path| workspace.link(&path, target));
            place.map_err(workspace_error("links beside the recipe"))?;
        }
        for folder in &self.plan.folders {
            let place =
                within_workspace(WORKSPACE, folder).and_then(|path| workspace.folder(&path));
            place.map_err(workspace_error("folders beside the recipe"))?;
        }
        let surroundings = self.surroundings(root, &workspace, user)?;
        let mut session = Session::new(self.executor.runner.clone(), surroundings);
        let started = Instant::now();
        self.deadline = self
            .plan
            .limits
            .timeout
            .map(|seconds| started + Duration::from_secs(seconds));
        for (position, step) in self.plan.steps.iter().enumerate() {
            self.output.begin_step(step.name());
            if let Some(proxy) = &self.proxy {
                proxy.begin_step(step.name());
            }
            match self.step(step, &workspace, &mut session)? {
                Ending::Exited(0) => {}
                Ending::Exited(code) => {
                    if position == 0 || self.first_run(position) {
                        self.check_shell(&mut session)?;
                    }
                    return Err(self.failed(step, code, &mut session)?);
                }
                Ending::TimedOut => {
                    return Err(ExecuteError::TimedOut {
                        step: step.name().to_owned(),
                        seconds: self.plan.limits.timeout.unwrap_or_default(),
                        log: self.keep_log()?.1,
                    });
                }
                Ending::Exceeded(excess) => {
                    return Err(ExecuteError::Exceeded {
                        step: step.name().to_owned(),
                        excess,
                        log: self.keep_log()?.1,
                    });
                }
                Ending::Cancelled => return Err(ExecuteError::Cancelled),
            }
            self.warn_of_misses();
            let _ = self.output.sender.blocking_send(Progress::StepDone);
        }
        let watch = watch(
            self.deadline,
            self.cancel,
            &self.bounds,
            &self.proxy,
            self.plan,
        );
        let everything = self.executor.workspace.is_some();
        let left = session.finish(everything, &watch)?;
        let [passwd, group] = left.names.unwrap_or_else(|| {
            ["etc/passwd", "etc/group"].map(|name| guest_text(&place, &layers, name))
        });
        let is_root = rustix::process::geteuid().is_root();
        let owners = Owners::new(
            identities.ok().filter(|_| is_root),
            left.owned,
            &passwd,
            &group,
        );
        let trees = workspace
            .outputs(&self.plan.packages)
            .map_err(workspace_error("collecting the packages"))?;
        let recording = match (&self.proxy, self.plan.network) {
            (Some(proxy), Network::Recorded) => Some(proxy.recording()),
            _ => None,
        };
        // Of what nobody waited for, too.
        self.warn_of_misses();
        let (log, _) = self.keep_log()?;
        let fresh = BuildFolder::new(store)?;
        Ok(BuildOutput {
            trees,
            owners,
            workspace: workspace.path().to_owned(),
            recording,
            log,
            folder: std::mem::replace(&mut self.folder, fresh),
        })
    }

    /// The guest, as an overlay or, where that is refused and may be, as a copy.
    fn guest(
        &self,
        layers: &Layers,
        emulator: Option<&Emulator>,
        user: User,
    ) -> Result<Held, ExecuteError> {
        let (executor, scratch) = (self.executor, self.folder.path());
        let held = |mode, name| -> Result<Held, ExecuteError> {
            let root = layers.prepare(mode, &self.subfolder(name)?)?;
            let init = &executor.init;
            Ok(if executor.runner.makes_user_namespaces() {
                let further_ids = user.uid == 0;
                Held::for_steps(init, root, emulator.cloned(), further_ids, scratch)?
            } else {
                Held::new(init, root, scratch)?
            })
        };
        let mode = match executor.guest {
            GuestMode::Automatic if !executor.runner.sees_overlays() => GuestMode::Copy,
            mode => mode,
        };
        match held(mode, "guest") {
            Err(ExecuteError::Sandbox(error))
                if error.overlay_refused() && executor.guest == GuestMode::Automatic =>
            {
                held(GuestMode::Copy, "copied-guest")
            }
            other => other,
        }
    }

    fn subfolder(&self, name: &str) -> Result<PathBuf, ExecuteError> {
        let path = self.folder.path().join(name);
        std::fs::create_dir(&path).map_err(|source| ExecuteError::Io {
            action: "create a folder for the guest",
            source,
        })?;
        Ok(path)
    }

    /// Whether no step before `position` ran in the sandbox.
    fn first_run(&self, position: usize) -> bool {
        let mut before = self.plan.steps.iter().take(position);
        !before.any(|step| matches!(step, PlannedStep::Run { .. }))
    }

    fn step(
        &mut self,
        step: &PlannedStep,
        workspace: &Workspace,
        session: &mut Session,
    ) -> Result<Ending, ExecuteError> {
        let store = &self.executor.store;
        match step {
            PlannedStep::Run {
                script,
                working_directory,
                environment,
                ..
            } => {
                let script = wrapped(script, working_directory, self.executor.debug.trace);
                let ending = self.sandboxed(&script, environment, session, Standard::Captured);
                self.output.end_step();
                ending
            }
            PlannedStep::Unpack {
                name,
                source,
                directory,
                strip_components,
            } => {
                let uri = self.source_name(source);
                within_workspace(WORKSPACE, directory)
                    .and_then(|directory| {
                        workspace.unpack(store, source, &uri, &directory, *strip_components)
                    })
                    .map_err(workspace_error(name))?;
                Ok(Ending::Exited(0))
            }
            PlannedStep::Place { name, source, path } => {
                within_workspace(WORKSPACE, path)
                    .and_then(|path| workspace.place(store, source, &path, 0o644))
                    .map_err(workspace_error(name))?;
                Ok(Ending::Exited(0))
            }
        }
    }

    fn source_name(&self, digest: &Digest) -> String {
        let mut sources = self.plan.sources.iter();
        sources
            .find(|source| source.digest == *digest)
            .map_or_else(|| digest.to_string(), |source| source.uri.clone())
    }

    /// What all steps have in common.
    fn surroundings(
        &self,
        root: Held,
        workspace: &Workspace,
        user: User,
    ) -> Result<Surroundings, ExecuteError> {
        let mut binds = vec![Bind {
            source: workspace.path().to_owned(),
            target: WORKSPACE.to_owned(),
            writable: true,
        }];
        binds.extend(self.executor.binds.iter().cloned());
        let read_only = matches!(
            root.root(),
            Root::Folder {
                read_only: true,
                ..
            }
        );
        // Somebody else than root does not change the guest either.
        if read_only || user.uid != 0 {
            for (name, target) in [("tmp", "/tmp"), ("var-tmp", "/var/tmp")] {
                let source = self.subfolder(name)?;
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
                std::fs::set_permissions(&source, mode).map_err(|source| ExecuteError::Io {
                    action: "set the mode of a folder for temporary files",
                    source,
                })?;
                binds.push(Bind {
                    source,
                    target: target.to_owned(),
                    writable: true,
                });
            }
        }
        if self.proxy.is_some() {
            binds.push(Bind {
                source: self.folder.path().join(CERTIFICATES),
                target: recording::GUEST_FOLDER.to_owned(),
                writable: false,
            });
        }
        if self.plan.network == Network::Allowed
            && let Ok(source) = Path::new("/etc/resolv.conf").canonicalize()
        {
            binds.push(Bind {
                source,
                target: "/etc/resolv.conf".to_owned(),
                writable: false,
            });
        }
        Ok(Surroundings {
            init: self.executor.init.clone(),
            root,
            binds,
            user,
            capabilities: self.plan.capabilities.clone(),
            scratch: self.folder.path().to_owned(),
        })
    }

    fn sandboxed(
        &mut self,
        script: &str,
        environment: &BTreeMap<String, String>,
        session: &mut Session,
        standard: Standard,
    ) -> Result<Ending, ExecuteError> {
        let mut whole = match self.proxy {
            Some(_) => recording::environment(),
            None => BTreeMap::new(),
        };
        whole.extend(self.plan.environment.clone());
        whole.extend(environment.clone());
        let step = Step {
            script,
            environment: &whole,
            standard,
        };
        let watch = watch(
            self.deadline,
            self.cancel,
            &self.bounds,
            &self.proxy,
            self.plan,
        );
        let output = &mut self.output;
        let ending = session.run(&step, &watch, &mut |bytes| output.take(bytes));
        // It was there when the build began.
        let shell_is_gone = |error: &SandboxError| match error {
            SandboxError::Refused { message } => message.starts_with(NO_SHELL),
            SandboxError::Init {
                stage: Stage::Step,
                reason,
            } => reason.ends_with(NOT_FOUND),
            _ => false,
        };
        ending.map_err(|error| match shell_is_gone(&error) {
            true => ExecuteError::NoShell(ShellFault::Removed),
            false => error.into(),
        })
    }

    /// Whether the shell is what kept the first step from running.
    fn check_shell(&mut self, session: &mut Session) -> Result<(), ExecuteError> {
        let lines = self.output.last_lines.clone();
        let command = self.output.failed_command.clone();
        let ending = self.sandboxed(
            "set -o pipefail",
            &BTreeMap::new(),
            session,
            Standard::Captured,
        )?;
        self.output.end_step();
        (self.output.last_lines, self.output.failed_command) = (lines, command);
        match ending {
            Ending::Exited(0) | Ending::Cancelled | Ending::TimedOut | Ending::Exceeded(_) => {
                Ok(())
            }
            Ending::Exited(_) => Err(ExecuteError::NoPipefail),
        }
    }

    fn failed(
        &mut self,
        step: &PlannedStep,
        code: i32,
        session: &mut Session,
    ) -> Result<ExecuteError, ExecuteError> {
        let mut lines = self.output.last_lines.iter();
        let gave = lines.any(|line| {
            line.contains("Invalid argument") && (line.contains("own") || line.contains("install"))
        });
        let mut lines = self.output.last_lines.iter();
        let missed_network = self.plan.network == Network::Denied
            && lines.any(|line| NO_NETWORK.iter().any(|words| line.contains(words)));
        let failure = StepFailure {
            missed_network,
            one_identity: session.one_identity().filter(|_| gave),
            step: step.name().to_owned(),
            code,
            command: self.output.failed_command.take(),
            last_lines: std::mem::take(&mut self.output.last_lines).into(),
            misses: self.misses(),
            log: self.keep_log()?.1,
        };
        if let PlannedStep::Run {
            environment,
            working_directory,
            ..
        } = step
            && self.executor.debug.shell
        {
            let _ = self
                .output
                .sender
                .blocking_send(Progress::Line(failure.to_string()));
            let _ = self.output.sender.blocking_send(Progress::Line(format!(
                "a shell where it failed ({working_directory}); end it to go on"
            )));
            self.deadline = None;
            let script = format!("cd {}; exec /bin/sh -i", quoted(working_directory));
            self.sandboxed(&script, environment, session, Standard::Terminal)?;
        }
        Ok(ExecuteError::Step(Box::new(failure)))
    }

    /// Starts what the plan has for a network, if it is neither all nor nothing.
    fn start_proxy(&mut self) -> Result<(), ExecuteError> {
        let store = self.executor.store.clone();
        let proxy = match self.plan.network {
            Network::Denied | Network::Allowed => return Ok(()),
            Network::Recorded => Proxy::record(store, self.executor.recorder.clone())?,
            Network::Replayed => Proxy::replay(store, &self.plan.recording)?,
        };
        proxy.write_certificates(&self.subfolder(CERTIFICATES)?)?;
        self.proxy = Some(proxy);
        Ok(())
    }

    /// What the network did not answer.
    fn misses(&self) -> Vec<Miss> {
        self.proxy.as_ref().map_or(Vec::new(), Proxy::take_misses)
    }

    /// Says what the network did not answer, where a step went on all the same.
    fn warn_of_misses(&mut self) {
        for miss in self.misses() {
            self.output
                .take(format!("polpo: not answered: {miss}\n").as_bytes());
        }
        self.output.end_step();
    }

    /// Stores the log: its digest, and its path for people.
    fn keep_log(&mut self) -> Result<(Digest, PathBuf), ExecuteError> {
        if let Some(error) = self.output.log_error.take() {
            return Err(log_error(error));
        }
        let store = &self.executor.store;
        let blob = store.put_file(&self.folder.path().join("log"))?;
        let path = store.path(&blob.digest).unwrap_or_default();
        Ok((blob.digest, path))
    }
}

/// The folder of `arch` in a folder that somebody wants workspaces to be in. Nobody else may enter it:
/// steps may leave programs in it that would run as this user.
fn kept_folder(above: &Path, arch: base::Arch) -> Result<PathBuf, ExecuteError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| ExecuteError::Io {
        action: "create the folder of the workspace",
        source,
    };
    let private = above.join(arch.apk());
    std::fs::create_dir_all(&private).map_err(failed)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    // The sandbox is entered from elsewhere.
    Ok(private.canonicalize().map_err(failed)?.join("workspace"))
}

/// What a step is watched for; not of the whole build, whose output is written meanwhile.
fn watch<'a>(
    deadline: Option<Instant>,
    cancel: &'a Cancel,
    bounds: &'a Option<Bounds>,
    proxy: &'a Option<Proxy>,
    plan: &BuildPlan,
) -> Watch<'a> {
    Watch {
        deadline,
        cancel,
        bounds: bounds.as_ref(),
        network: match (proxy, plan.network) {
            (Some(proxy), _) => Connection::Gateway(proxy),
            (None, Network::Allowed) => Connection::Host,
            (None, _) => Connection::None,
        },
    }
}

/// Bytes of a text of the guest.
const GUEST_TEXT: u64 = 16 << 20;

/// A text of the guest as steps left it; empty if there is none.
fn guest_text(root: &Root, layers: &Layers, name: &str) -> String {
    let written = match root {
        Root::Overlay { base, upper, .. } => base.join(upper),
        Root::Folder { path, .. } => path.clone(),
    };
    let below = || {
        let path = layers.find(name)?;
        // A package may have put a link there, which leads to a file of this machine.
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let bytes = is_file.then(|| store::find_bounded(&path, GUEST_TEXT).ok().flatten())??;
        String::from_utf8(bytes).ok()
    };
    let text = crate::workspace::text(&written, name).or_else(below);
    text.unwrap_or_default()
}

fn log_error(source: io::Error) -> ExecuteError {
    ExecuteError::Io {
        action: "write the build's log",
        source,
    }
}

fn workspace_error(step: &str) -> impl FnOnce(WorkspaceError) -> ExecuteError + '_ {
    move |source| ExecuteError::Workspace {
        step: step.to_owned(),
        source: Box::new(source),
    }
}
