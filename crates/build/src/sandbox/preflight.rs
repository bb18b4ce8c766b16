//! Why a sandbox can't be had here, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How far `sandbox-init` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Leaving the caller's user and mount namespaces.
    Unshare,
    /// Saying who is uid 0.
    Map,
    /// Making mounts the sandbox's own affair.
    Private,
    /// Mounting the guest.
    Overlay,
    /// Registering an emulator.
    Emulator,
    /// Entering the namespaces that hold the guest.
    Join,
    /// Making a network namespace for the proxy.
    Network,
    /// Setting limits on resources.
    Limit,
    /// Handing the arguments over.
    Arguments,
    /// Starting bubblewrap.
    Bubblewrap,
    /// Letting go of capabilities.
    Confine,
    /// Starting a step, or ending what it left behind.
    Step,
}

/// What `sandbox-init` leaves behind when it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFailure {
    /// What failed.
    pub stage: Stage,
    /// The kernel's error number.
    pub errno: Option<i32>,
}

impl InitFailure {
    pub(super) fn new(stage: Stage, error: &io::Error) -> InitFailure {
        InitFailure {
            stage,
            errno: error.raw_os_error(),
        }
    }

    /// The kernel's error in words.
    fn reason(&self) -> String {
        self.errno.map_or_else(
            || "unknown error".to_owned(),
            |errno| io::Error::from_raw_os_error(errno).to_string(),
        )
    }
}

/// No sandbox could be started; nothing of the build has run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// bubblewrap is not installed.
    #[error(
        "`bwrap` is not in PATH: steps run inside bubblewrap; install the package `bubblewrap` (version 0.8 or later)"
    )]
    NoBubblewrap,
    /// The host forbids user namespaces.
    #[error("this host does not let its users make user namespaces ({reason}); {remedy}")]
    NoUserNamespaces {
        /// The kernel's error.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The kernel or the filesystem refuses the overlay.
    #[error(
        "the guest can't be mounted as an overlay here ({reason}); overlays of users need Linux 6.5 or later and a filesystem with extended attributes"
    )]
    NoOverlay {
        /// The kernel's error.
        reason: String,
    },
    /// The kernel has one register of emulators for all users.
    #[error(
        "no emulator can be registered for a sandbox here ({reason}): Linux 6.7 and later let users do that; let root register one with the flag F, as Debian's `qemu-user-static` and `binfmt-support` do"
    )]
    NoEmulator {
        /// The kernel's error.
        reason: String,
    },
    /// Another stage of `sandbox-init` failed.
    #[error("the sandbox can't be entered: {stage:?} failed: {reason}")]
    Init {
        /// Which.
        stage: Stage,
        /// The kernel's error.
        reason: String,
    },
    /// bubblewrap itself gave up before the step started.
    #[error(
        "bubblewrap can't set up the sandbox: {message}; inside another container, allow it user namespaces and an unmasked /proc"
    )]
    Refused {
        /// What it printed.
        message: String,
    },
    /// The engine is not installed.
    #[error(
        "`{name}` is not in PATH: install it, or leave `--runner {name}` out: bubblewrap needs no engine"
    )]
    NoEngine {
        /// Its name.
        name: &'static str,
    },
    /// podman can't give its containers the users that this user has.
    #[error(
        "`newuidmap` is not in PATH: podman needs it for users whom /etc/subuid lists; install the package `uidmap`"
    )]
    NoIdMaps,
    /// An engine does not see what this process has mounted.
    #[error("{name} sees no overlay that polpo mounts: its guests have to be copied")]
    NoSharedOverlay {
        /// The engine.
        name: &'static str,
    },
    /// The container or virtual machine did not start, or ended before its time.
    #[error("{name} does not run the build: {message}")]
    Engine {
        /// What runs it.
        name: &'static str,
        /// What it said last.
        message: String,
    },
    /// A virtual machine can't be had.
    #[error(
        "no virtual machine can be had, for the {what}: {reason}{}",
        remedy(what)
    )]
    NoMachine {
        /// What it fails for.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The workspace does not get into the virtual machine, or out of it.
    #[error("the workspace can't be exchanged with the virtual machine: {message}")]
    Exchange {
        /// Why not.
        message: String,
    },
    /// There is nobody inside any more.
    #[error("the container of the build is gone; was it stopped from outside?")]
    Lost,
    /// `sandbox-init` ended without a word.
    #[error(
        "`{program} sandbox-init` does not start the sandbox; the program must call `init_if_requested` first"
    )]
    NotInit {
        /// The program.
        program: PathBuf,
    },
    /// The path of the running program is unknown.
    #[error("the path of this program is unknown ({0}); is /proc mounted?")]
    OwnPath(#[source] io::Error),
    /// A file or process around the sandbox failed.
    #[error("can't {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl SandboxError {
    pub(super) fn at<'p>(
        action: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> SandboxError + 'p {
        move |source| SandboxError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether a guest that is no overlay could still work.
    pub fn overlay_refused(&self) -> bool {
        matches!(self, SandboxError::NoOverlay { .. })
    }
}

impl From<InitFailure> for SandboxError {
    fn from(failure: InitFailure) -> SandboxError {
        let reason = failure.reason();
        let restricted = restricted_by_apparmor();
        match failure.stage {
            Stage::Unshare | Stage::Map => SandboxError::NoUserNamespaces {
                reason,
                remedy: if restricted {
                    APPARMOR
                } else {
                    USER_NAMESPACES
                },
            },
            // AppArmor's restriction lets the namespace be made and then takes its powers away.
            Stage::Private | Stage::Overlay if restricted => SandboxError::NoUserNamespaces {
                reason,
                remedy: APPARMOR,
            },
            Stage::Overlay => SandboxError::NoOverlay { reason },
            Stage::Emulator => SandboxError::NoEmulator { reason },
            Stage::Bubblewrap if failure.errno == Some(rustix::io::Errno::NOENT.raw_os_error()) => {
                SandboxError::NoBubblewrap
            }
            stage => SandboxError::Init { stage, reason },
        }
    }
}

/// What to do about what is missing for a virtual machine.
fn remedy(what: &str) -> &'static str {
    match what {
        "kernel" => {
            "; name a kernel that you may read by `--qemu-kernel` or QEMU_KERNEL_IMAGE, such as that of Debian's package `linux-image-cloud-amd64`"
        }
        "module" => {
            "; name the folder lib/modules/VERSION of that kernel by `--qemu-modules` or QEMU_KERNEL_MODULES, or take another kernel"
        }
        _ => "",
    }
}

const APPARMOR: &str = "AppArmor restricts them: give polpo a profile with the rule `userns,`, or set the sysctl `kernel.apparmor_restrict_unprivileged_userns` to 0";
const USER_NAMESPACES: &str = "set the sysctls `user.max_user_namespaces` above 0 and, where it exists, `kernel.unprivileged_userns_clone` to 1; in a container, start it with `--security-opt seccomp=unconfined` or as privileged";

fn restricted_by_apparmor() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        .is_ok_and(|text| text.trim() == "1")
}

/// Finds bubblewrap in `PATH`.
///
/// # Errors
/// [`SandboxError::NoBubblewrap`].
pub fn find_bubblewrap() -> Result<PathBuf, SandboxError> {
    in_path("bwrap").ok_or(SandboxError::NoBubblewrap)
}

/// The program of that name in `PATH`.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        let failure = |stage, errno| SandboxError::from(InitFailure { stage, errno }).to_string();
        insta::assert_snapshot!(failure(Stage::Unshare, Some(1)), @"this host does not let its users make user namespaces (Operation not permitted (os error 1)); set the sysctls `user.max_user_namespaces` above 0 and, where it exists, `kernel.unprivileged_userns_clone` to 1; in a container, start it with `--security-opt seccomp=unconfined` or as privileged");
        insta::assert_snapshot!(failure(Stage::Overlay, Some(22)), @"the guest can't be mounted as an overlay here (Invalid argument (os error 22)); overlays of users need Linux 6.5 or later and a filesystem with extended attributes");
        insta::assert_snapshot!(failure(Stage::Bubblewrap, Some(2)), @"`bwrap` is not in PATH: steps run inside bubblewrap; install the package `bubblewrap` (version 0.8 or later)");
    }
}
