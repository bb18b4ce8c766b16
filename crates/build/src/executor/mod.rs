//! Carrying out a [`BuildPlan`].

mod accounts;
mod foreign;
mod local;
mod owners;
mod script;
mod shell;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;

use base::{Arch, Digest, Reporter};
use store::StoreError;

use crate::guest::GuestError;
use crate::plan::BuildPlan;
use crate::recording::{Miss, ProxyError, Recording};
use crate::sandbox::{Excess, OneIdentity, SandboxError};
use crate::workspace::{BuildFolder, WorkspaceError};

pub use local::{Debug, LocalExecutor};
pub use owners::{Owner, Owners};
pub use shell::ShellFault;

/// Carries out plans: here, or somewhere else. Nothing above it knows where.
pub trait Executor: Send + Sync {
    /// Carries out `plan`. Everything it names by digest is in the store that belongs to the
    /// executor. Lines that steps print go to `reporter` as output of one task about `subject`.
    ///
    /// Dropping the future stops the build and removes what it left.
    ///
    /// # Errors
    /// A step failed, or it could not be run.
    fn execute(
        &self,
        plan: &BuildPlan,
        subject: &str,
        reporter: &dyn Reporter,
    ) -> impl Future<Output = Result<BuildOutput, ExecuteError>> + Send;
}

/// What a build made.
#[derive(Debug)]
pub struct BuildOutput {
    /// The folder of each package in the plan.
    pub trees: BTreeMap<String, PathBuf>,
    /// Whose the files in these folders are.
    pub owners: Owners,
    /// The workspace, which licence files are read from.
    pub workspace: PathBuf,
    /// What the steps got from the network, where the plan says that it is recorded.
    pub recording: Option<Recording>,
    /// All that the steps printed, a blob of the store.
    pub log: Digest,
    /// Holds the folders; they go when it is dropped.
    pub folder: BuildFolder,
}

impl BuildOutput {
    /// The text of a file of the workspace, by its path there; `None` if there is no such file, if
    /// it is no text, or larger than a text is. Links that lead out are not followed.
    pub fn text(&self, path: &str) -> Option<String> {
        crate::workspace::text(&self.workspace, path)
    }
}

/// How and where a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step.
    pub step: String,
    /// The exit code; 128 and a signal's number when that ended the step.
    pub code: i32,
    /// The command of the step that failed, where the shell can tell.
    pub command: Option<String>,
    /// The last lines of output.
    pub last_lines: Vec<String>,
    /// What the step asked of the network and was not told.
    pub misses: Vec<Miss>,
    /// Why nobody but root could be given files, where that may be what failed.
    pub one_identity: Option<OneIdentity>,
    /// It looked for a network, where steps have none.
    pub missed_network: bool,
    /// The kept log.
    pub log: PathBuf,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step `{}` failed with exit code {}",
            self.step, self.code
        )?;
        if let Some(command) = &self.command {
            write!(f, " at `{command}`")?;
        }
        for line in &self.last_lines {
            write!(f, "\n  | {line}")?;
        }
        if !self.misses.is_empty() {
            f.write_str("\nthe network did not answer:")?;
        }
        for miss in &self.misses {
            write!(f, "\n  {miss}")?;
        }
        if self.missed_network {
            f.write_str(
                "\nsteps have no network: `--network record` keeps what they fetch, once and for all",
            )?;
        }
        if let Some(reason) = &self.one_identity {
            write!(
                f,
                "\nno file could be given to others than root, who were not there: {reason}"
            )?;
        }
        write!(f, "\nthe whole log is `{}`", self.log.display())
    }
}

/// A plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// A step ended with an exit code other than 0.
    #[error(
        "{0}\nrun it again with `--debug` to see its commands and to get a shell where it failed"
    )]
    Step(Box<StepFailure>),
    /// Time was up.
    #[error("time is up: step `{step}` was stopped {seconds} s after the first began; allow more with `--timeout` or in `timeout` of the recipe\nthe log is `{}`", log.display())]
    TimedOut {
        /// The step that was running.
        step: String,
        /// The plan's limit.
        seconds: u64,
        /// The kept log.
        log: PathBuf,
    },
    /// A step took more of the machine than it may.
    #[error("step `{step}` was stopped: {excess}\nthe log is `{}`", log.display())]
    Exceeded {
        /// The step.
        step: String,
        /// Of what it took too much.
        excess: Excess,
        /// The kept log.
        log: PathBuf,
    },
    /// The caller lost interest.
    #[error("the build was stopped")]
    Cancelled,
    /// There is nobody of that name to run the steps.
    #[error(
        "`accounts.run-as` names `{0}`, but neither `accounts.users` nor the guest's /etc/passwd has that user: add it to `accounts.users`"
    )]
    NoUser(String),
    /// The guest's programs don't run on this machine.
    #[error("this machine ({host}) runs no programs of {arch}: {missing}")]
    Foreign {
        /// The guest's architecture.
        arch: Arch,
        /// The machine's.
        host: Arch,
        /// What is missing, and what to do.
        missing: &'static str,
    },
    /// The guest has no shell that can be started.
    #[error("{0}")]
    NoShell(ShellFault),
    /// The guest's shell is not up to it.
    #[error(
        "the guest's /bin/sh does not know `set -o pipefail`, which every step needs: let busybox or bash provide /bin/sh, not dash"
    )]
    NoPipefail,
    /// The plan was made by another version.
    #[error("the plan has format {0}, but this program carries out format {expected}; make the plan anew", expected = crate::plan::FORMAT)]
    Format(u32),
    /// There is no sandbox to be had.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What stands for the network can't be started.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The guest can't be made.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The workspace can't be made, or is not as it must be.
    #[error("step `{step}`: {source}")]
    Workspace {
        /// The step, or what was done around the steps.
        step: String,
        /// Why not.
        source: Box<WorkspaceError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log can't be written, or a thread not be started.
    #[error("can't {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}
