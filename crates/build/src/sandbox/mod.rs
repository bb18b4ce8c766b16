//! The sandbox that steps run in.
//!
//! ```text
//! polpo ── once a build ──▶ polpo sandbox-init     one thread, so it may leave the user namespace
//!       │                     user + mount namespace: uid 0 is the caller
//!       │                     overlay of the guest's package trees; stays until the build ends
//!       └─ once a build ──▶ polpo sandbox-init      joins these namespaces: the steward
//!                             ├──▶ bubblewrap       own mounts, processes, IPC, host name, network
//!                             └─ for each step ──▶ /bin/sh -c STEP
//!                                                   in all of that, and in a user namespace that
//!                                                   can't be left or nested
//! ```
//!
//! Inside, a step is uid 0 of its own user namespace, whether an ordinary user or root called
//! polpo, so that both get the same result. The other ids are ids of this machine that are nobody's
//! ([`Identities`]); who has none can't change owners. Whichever process of the chain dies, those
//! below it are killed with it.

mod agent;
mod boot;
mod bounds;
mod control_group;
mod engine;
mod enter;
mod gateway;
mod hold;
mod identity;
mod initramfs;
mod kernel;
mod kernel_files;
mod launch;
mod link;
mod machine;
mod ownership;
mod preflight;
mod program;
mod protocol;
mod relay;
mod runner;
mod session;
mod step;
mod steward;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use bounds::{Bounds, Excess, PROCESSES};
pub use engine::Engine;
pub use enter::init_if_requested;
pub use gateway::{Connection, Gateway, PROXY_ADDRESS};
pub use hold::Held;
pub use identity::{Identities, OneIdentity};
pub use launch::{Bind, Cancel, Ending, Launch, Standard, User, Watch};
pub use machine::{Acceleration, Machine, MachineOptions};
pub use ownership::{Left, Owned};
pub(crate) use preflight::in_path;
pub use preflight::{InitFailure, SandboxError, Stage, find_bubblewrap};
pub(crate) use program::is_static;
pub use runner::{Runner, RunnerKind, UnknownRunner};
pub use session::{Session, Step, Surroundings};

/// The argument that makes a program be the sandbox's first process: see [`init_if_requested`].
pub const INIT_ARGUMENT: &str = "sandbox-init";

/// The host name inside.
pub const HOST_NAME: &str = "polpo";

/// What uid 0 may do inside, beyond what any user may. Enough to install files and change their
/// owner, mode and capabilities; no mounts, no devices, no raw sockets, no tracing.
pub const CAPABILITIES: [&str; 7] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
];

/// The program that is started as the sandbox's first process: one that calls
/// [`init_if_requested`] before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProgram {
    /// Its path.
    pub program: PathBuf,
    /// What comes before [`INIT_ARGUMENT`]; mostly nothing.
    pub arguments: Vec<OsString>,
}

impl InitProgram {
    /// The program that is running now.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn this() -> Result<InitProgram, SandboxError> {
        let program = std::env::current_exe().map_err(SandboxError::OwnPath)?;
        Ok(InitProgram {
            program,
            arguments: Vec::new(),
        })
    }
}

/// What is `/` inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// An overlay mount that lives as long as the sandbox; what is written lands in `upper`.
    Overlay {
        /// The folder that relative paths of the others start at. Short paths keep a mount of
        /// hundreds of layers within the kernel's limits, and the host's folders out of
        /// `/proc/self/mountinfo`.
        base: PathBuf,
        /// The trees, the uppermost first.
        lower: Vec<PathBuf>,
        /// Takes what is written.
        upper: PathBuf,
        /// The kernel's own, on the filesystem of `upper`.
        work: PathBuf,
        /// An empty folder to mount at.
        mount_point: PathBuf,
    },
    /// A folder, as it is.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// Whether nothing in it may be written.
        read_only: bool,
    },
}

impl Root {
    /// The folder that has the guest's files once the sandbox is up.
    fn path(&self) -> &std::path::Path {
        match self {
            Root::Overlay { mount_point, .. } => mount_point,
            Root::Folder { path, .. } => path,
        }
    }
}

/// A program that runs those of another architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// The line that the kernel takes for it (Documentation/admin-guide/binfmt-misc.rst), with the
    /// flag `F`: guests don't have it.
    pub registration: String,
}

/// How `sandbox-init` gets into its namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entrance {
    /// It makes them, and mounts what there is to mount; whether it asks for further ids.
    Fresh(Root, Option<Emulator>, bool),
    /// It joins those of this process.
    Join(u32),
}

/// What `sandbox-init` reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Specification {
    /// The process that started it; if that is gone already, there is nothing to do.
    parent: u32,
    entrance: Entrance,
    bubblewrap: PathBuf,
    /// bubblewrap's arguments.
    arguments: Vec<String>,
    duty: Duty,
    /// Where bubblewrap's arguments are put, out of sight of `/proc/1/cmdline`.
    arguments_file: PathBuf,
    /// A named pipe that takes the process id of the sandbox's first process and how it ended.
    status: PathBuf,
    /// Takes an [`InitFailure`] when it comes to none of that.
    failure: PathBuf,
    /// A folder with a socket that takes the listening socket of a network namespace that is made
    /// for this sandbox: [`gateway`].
    gateway: Option<PathBuf>,
    restrictions: Restrictions,
}

/// What `sandbox-init` is there for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Duty {
    /// The namespaces are held until the input ends.
    Hold,
    /// It becomes bubblewrap, which runs this.
    Become(Vec<String>),
    /// It has bubblewrap make a sandbox, and starts steps in it: [`steward`].
    Serve,
}

/// What `sandbox-init` lays upon itself before it becomes bubblewrap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Restrictions {
    /// Files of control groups that take its process's number.
    groups: Vec<PathBuf>,
    /// How many processes and threads there may be. The kernel does not hold root to it.
    processes: Option<u64>,
    /// Bytes of data for each process.
    data: Option<u64>,
    /// Bytes of each file that is written.
    file_size: Option<u64>,
    /// Thousandths of processors; as many as it takes are seen.
    processors: Option<u64>,
}
