//! What steps run in, as people choose it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::engine::{Engine, EngineKind};
use super::machine::{Machine, MachineOptions};
use super::preflight::{SandboxError, find_bubblewrap};

/// A way to run steps, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunnerKind {
    /// A sandbox of the kernel's namespaces for each step: the quickest, and without a daemon.
    #[default]
    Bubblewrap,
    /// A container of podman for each build.
    Podman,
    /// A container of docker for each build.
    Docker,
    /// A virtual machine for each build.
    Qemu,
}

impl RunnerKind {
    /// All there are.
    pub const ALL: [RunnerKind; 4] = [
        RunnerKind::Bubblewrap,
        RunnerKind::Podman,
        RunnerKind::Docker,
        RunnerKind::Qemu,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            RunnerKind::Bubblewrap => "bubblewrap",
            RunnerKind::Podman => "podman",
            RunnerKind::Docker => "docker",
            RunnerKind::Qemu => "qemu",
        }
    }
}

impl fmt::Display for RunnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The word is no runner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no runner; known are bubblewrap, podman, docker, qemu")]
pub struct UnknownRunner(pub String);

impl FromStr for RunnerKind {
    type Err = UnknownRunner;

    fn from_str(text: &str) -> Result<RunnerKind, UnknownRunner> {
        RunnerKind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownRunner(text.to_owned()))
    }
}

/// A way to run steps that this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// bubblewrap.
    Bubblewrap {
        /// Its program.
        program: PathBuf,
    },
    /// podman or docker.
    Engine(Engine),
    /// QEMU.
    Machine(Machine),
}

impl Runner {
    /// Looks for what `kind` needs.
    ///
    /// # Errors
    /// It is not installed, or not set up for this user.
    pub fn find(kind: RunnerKind, machine: &MachineOptions) -> Result<Runner, SandboxError> {
        match kind {
            RunnerKind::Bubblewrap => Ok(Runner::Bubblewrap {
                program: find_bubblewrap()?,
            }),
            RunnerKind::Podman => Engine::find(EngineKind::Podman).map(Runner::Engine),
            RunnerKind::Docker => Engine::find(EngineKind::Docker).map(Runner::Engine),
            RunnerKind::Qemu => Machine::find(machine).map(Runner::Machine),
        }
    }

    /// Whether the guest may be an overlay that this process's children alone see.
    pub(crate) fn sees_overlays(&self) -> bool {
        !matches!(self, Runner::Engine(_))
    }

    /// Whether there is a user namespace of this process's own around the guest.
    pub(crate) fn makes_user_namespaces(&self) -> bool {
        matches!(self, Runner::Bubblewrap { .. })
    }

    /// Whether its processes are children of this one, so that control groups made here hold them.
    pub(crate) fn has_children(&self) -> bool {
        matches!(self, Runner::Bubblewrap { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_known_by_their_names() {
        for kind in RunnerKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        insta::assert_snapshot!("lima".parse::<RunnerKind>().unwrap_err(), @"`lima` is no runner; known are bubblewrap, podman, docker, qemu");
    }
}
