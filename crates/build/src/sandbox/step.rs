//! The process that becomes a step's shell, where the [agent](super::agent) starts it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io::FdFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::preflight::{InitFailure, Stage};
use super::protocol::{Order, Setup};
use super::{enter, hold};

/// The word that makes `sandbox-init` be a step.
pub(super) const STEP: &str = "step";

/// The longest script given as an argument: the kernel takes 128 KiB for one
/// (`MAX_ARG_STRLEN` in include/uapi/linux/binfmts.h).
pub(crate) const LONGEST_ARGUMENT: usize = 120 * 1024;

/// Where a longer script is found inside.
pub(super) const SCRIPT: &str = "/dev/shm/step";

/// What the process reads first, as its length in eight bytes and JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepSpecification {
    pub(super) setup: Setup,
    pub(super) order: Order,
    /// Whether the agent maps more ids than one when it is asked.
    pub(super) further_ids: bool,
    /// The descriptor that takes an [`InitFailure`].
    pub(super) failure: i32,
}

impl StepSpecification {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        to.write_all(&(json.len() as u64).to_le_bytes())?;
        to.write_all(&json)?;
        to.flush()
    }

    fn read(from: &mut impl Read) -> io::Result<StepSpecification> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let mut json = Vec::new();
        let mut from = from.take(u64::from_le_bytes(length));
        from.read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// The command that runs `script`, if it is `short` enough to be an argument or else out of a file.
pub(super) fn shell(script: &str, short: bool) -> [String; 3] {
    let script = if short {
        script.to_owned()
    } else {
        format!(". {SCRIPT}")
    };
    ["/bin/sh".to_owned(), "-c".to_owned(), script]
}

/// Becomes the step; returns only when that failed.
#[allow(
    unsafe_code,
    reason = "the agent has given this process the descriptor by its number"
)]
pub(super) fn become_step() -> Option<()> {
    // What follows is the step's to read: nothing may be read ahead.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let specification = StepSpecification::read(&mut input).ok()?;
    // SAFETY: it is open, and nobody else here knows of it.
    let failing = unsafe { OwnedFd::from_raw_fd(specification.failure) };
    rustix::io::fcntl_setfd(&failing, FdFlags::CLOEXEC).ok()?;
    let mut failing = File::from(failing);
    let Err(failure) = execute(&specification, input, &mut failing);
    failing.write_all(&serde_json::to_vec(&failure).ok()?).ok()
}

fn execute(
    specification: &StepSpecification,
    mut input: File,
    agent: &mut File,
) -> Result<std::convert::Infallible, InitFailure> {
    let failed = |stage: Stage| move |error: io::Error| InitFailure::new(stage, &error);
    let StepSpecification { setup, order, .. } = specification;
    enter::restrict(&setup.restrictions).map_err(failed(Stage::Limit))?;
    let _ = rustix::process::setsid();
    // Engines add groups of the image's, which have no name in the new namespace; who may not drop
    // them was given none.
    let _ = rustix::thread::set_thread_groups(&[]);
    enter::make_user_namespace(setup.uid, setup.gid, || {
        if !specification.further_ids {
            return Ok(false);
        }
        agent.write_all(hold::ASKS)?;
        let mut answer = [0];
        input.read_exact(&mut answer)?;
        Ok(answer == *hold::MAPPED)
    })?;
    drop(input);
    confine(setup).map_err(failed(Stage::Confine))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/").map_err(failed(Stage::Step))?;
    enter::close_on_exec().map_err(failed(Stage::Step))?;
    let short = order.script.len() <= LONGEST_ARGUMENT;
    if !short {
        fs::write(SCRIPT, &order.script).map_err(failed(Stage::Step))?;
    }
    let [program, arguments @ ..] = shell(&order.script, short);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&order.environment);
    if !order.typed {
        command.stdin(Stdio::null());
    }
    Err(failed(Stage::Step)(command.exec()))
}

/// Keeps the capabilities that steps have, and lets go of all others for good.
pub(super) fn confine(setup: &Setup) -> io::Result<()> {
    use rustix::thread as kernel;
    let mut kept = CapabilitySet::empty();
    for name in &setup.capabilities {
        let known = CapabilitySet::from_name(name.trim_start_matches("CAP_"));
        kept |= known.ok_or(io::ErrorKind::InvalidInput)?;
    }
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match kernel::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // this kernel knows no more
            Err(error) => return Err(error.into()),
        }
    }
    kernel::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    // Whoever is not uid 0 would lose them with the next program.
    for capability in kept.iter() {
        kernel::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(kernel::set_no_new_privs(true)?)
}
