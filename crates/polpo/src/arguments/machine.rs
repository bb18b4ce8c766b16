use std::path::PathBuf;

use build::plan::Limits;
use build::sandbox::{Acceleration, MachineOptions, RunnerKind};
use clap::Args;

/// What steps may take of the machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct MachineLimits {
    /// Processors that steps may use, such as `2` or `500m` [default: the recipe's]
    #[arg(long, value_name = "COUNT", value_parser = processors)]
    pub(crate) cpu: Option<u64>,
    /// Memory of all processes of a step together, such as `8Gi` [default: the recipe's]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
    /// What a build may write to the disk, such as `20Gi` [default: the recipe's]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) disk: Option<u64>,
    /// Wall time of all steps together, such as `1h30m` [default: the recipe's]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) timeout: Option<u64>,
    /// Processes and threads that a build may have at once [default: 16384]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) processes: Option<u64>,
}

impl MachineLimits {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            memory: self.memory,
            processors: self.cpu,
            disk: self.disk,
            processes: self.processes,
        }
    }
}

/// What steps run in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runner")]
pub(crate) struct StepRunner {
    /// What steps run in: bubblewrap, podman, docker or qemu; packages are the same
    #[arg(
        long,
        value_name = "RUNNER",
        env = "POLPO_RUNNER",
        default_value = "bubblewrap"
    )]
    pub(crate) runner: RunnerKind,
    /// Kernel of virtual machines [default: this host's newest]
    #[arg(long, value_name = "FILE", env = "QEMU_KERNEL_IMAGE")]
    pub(crate) qemu_kernel: Option<PathBuf>,
    /// Folder of that kernel's modules [default: lib/modules/VERSION where the kernel is, or of the host]
    #[arg(long, value_name = "DIR", env = "QEMU_KERNEL_MODULES")]
    pub(crate) qemu_modules: Option<PathBuf>,
    /// Whether virtual machines compute by the processor or by translation [default: kvm where it
    /// may be used]
    #[arg(long, value_enum, value_name = "HOW", env = "POLPO_QEMU_ACCELERATION")]
    pub(crate) qemu_acceleration: Option<QemuAcceleration>,
}

/// How a virtual machine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum QemuAcceleration {
    /// By the processor itself
    Kvm,
    /// By translation, ten to twenty times slower
    Tcg,
}

impl StepRunner {
    pub(crate) fn machine(&self) -> MachineOptions {
        MachineOptions {
            kernel: self.qemu_kernel.clone(),
            modules: self.qemu_modules.clone(),
            acceleration: self.qemu_acceleration.map(|how| match how {
                QemuAcceleration::Kvm => Acceleration::Kvm,
                QemuAcceleration::Tcg => Acceleration::Tcg,
            }),
        }
    }
}

/// Folders of this machine that steps work in or see.
#[derive(Debug, Default, Args)]
pub(crate) struct Folders {
    /// Folder of files that recipes use, such as patches [default: RECIPE without .yaml]
    #[arg(long, value_name = "DIR")]
    pub(crate) source_dir: Option<PathBuf>,
    /// Do not put the files of the recipe's folder into the workspace
    #[arg(long)]
    pub(crate) empty_workspace: bool,
    /// Work in DIR/ARCH/workspace, which must be empty or missing, and leave there what steps leave
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace_dir: Option<PathBuf>,
    /// Folder that steps see as /var/cache/melange and may write to, for caches of compilers; what
    /// they make must not depend on it
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
}

fn bytes(text: &str) -> Result<u64, String> {
    build::recipe::bytes(text).ok_or_else(|| {
        "it is a number of bytes, or one with a unit such as 512Mi, 8Gi or 20G".into()
    })
}

fn processors(text: &str) -> Result<u64, String> {
    build::recipe::processors(text)
        .ok_or_else(|| "it is a number of processors, such as 2, 0.5 or 500m".into())
}

fn seconds(text: &str) -> Result<u64, String> {
    build::recipe::Duration::parse(text)
        .map(build::recipe::Duration::seconds)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "it is a time such as 90s or 1h30m".into())
}
