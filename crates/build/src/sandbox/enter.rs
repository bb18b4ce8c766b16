//! The inner side: what happens in `sandbox-init`, a process with one thread that becomes
//! bubblewrap.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::io::FdFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use rustix::thread::{CpuSet, ThreadNameSpaceType, UnshareFlags};

use super::identity::write_map;
use super::preflight::{InitFailure, Stage};
use super::relay::MachineNetwork;
use super::{
    Duty, Emulator, Entrance, INIT_ARGUMENT, Restrictions, Root, Specification, agent, boot,
    gateway, hold, program, step, steward,
};

/// The exit code of a `sandbox-init` that failed before it became bubblewrap.
pub(super) const INIT_FAILED: u8 = 125;

/// Becomes the sandbox's first process if this program was called as `PROGRAM sandbox-init SPEC`;
/// then it never returns. Programs that run builds call it first thing in `main`, before any
/// thread is started: the kernel lets only a process with one thread leave its user namespace.
pub fn init_if_requested() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != INIT_ARGUMENT) {
        return;
    }
    let Some(path) = arguments.next().map(PathBuf::from) else {
        std::process::exit(INIT_FAILED.into());
    };
    match path.to_str() {
        Some(program::PARTS) => program::tell(),
        Some(agent::AGENT) => {
            let served = agent::standard_streams()
                .and_then(|(input, output)| agent::serve(input, output, None));
            std::process::exit(i32::from(served.is_err()));
        }
        Some(boot::MACHINE) => {
            let uid = arguments.next().and_then(|uid| uid.to_str()?.parse().ok());
            let network = arguments
                .next()
                .and_then(|name| MachineNetwork::named(name.to_str()?));
            let network = network.unwrap_or(MachineNetwork::None);
            if let Err(error) = boot::serve(uid.unwrap_or_default(), network) {
                let _ = writeln!(io::stderr(), "{}{error}", boot::LAST_WORDS);
            }
            std::process::exit(0);
        }
        Some(step::STEP) => {
            step::become_step();
            std::process::exit(INIT_FAILED.into());
        }
        _ => {}
    }
    let bytes = fs::read(&path);
    let Some(specification) = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Specification>(&bytes).ok())
    else {
        std::process::exit(INIT_FAILED.into());
    };
    // Nobody reads this process's own output: the failure goes through a file.
    let Err(failure) = enter(&specification);
    if let Ok(json) = serde_json::to_vec(&failure) {
        let _ = fs::write(&specification.failure, json);
    }
    std::process::exit(INIT_FAILED.into());
}

/// Does everything up to becoming bubblewrap; returns only when that failed.
fn enter(specification: &Specification) -> Result<std::convert::Infallible, InitFailure> {
    let failed = |stage: Stage| move |error: io::Error| InitFailure::new(stage, &error);
    for group in &specification.restrictions.groups {
        fs::write(group, std::process::id().to_string()).map_err(failed(Stage::Limit))?;
    }
    match &specification.entrance {
        Entrance::Fresh(root, emulator, further_ids) => {
            make_namespaces(root, *further_ids)?;
            if let Some(emulator) = emulator {
                register(emulator).map_err(failed(Stage::Emulator))?;
            }
        }
        Entrance::Join(holder) => join(*holder).map_err(failed(Stage::Join))?,
    }
    std::env::set_current_dir("/").map_err(failed(Stage::Arguments))?;
    close_on_exec().map_err(failed(Stage::Arguments))?;
    // bubblewrap asks for the same, but only from its start on.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed(Stage::Arguments)(error.into()))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(specification.parent) {
        std::process::exit(INIT_FAILED.into());
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let command = match &specification.duty {
        Duty::Hold => {
            hold().map_err(failed(Stage::Arguments))?;
            std::process::exit(0);
        }
        Duty::Serve => {
            let served = steward::serve(specification);
            std::process::exit(i32::from(served.is_err()));
        }
        Duty::Become(command) => command,
    };
    if let Some(folder) = &specification.gateway {
        gateway::open(folder, || unshare(UnshareFlags::NEWNET)).map_err(failed(Stage::Network))?;
    }
    restrict(&specification.restrictions).map_err(failed(Stage::Limit))?;
    let arguments = specification
        .arguments()
        .map_err(failed(Stage::Arguments))?;
    let status = File::options()
        .write(true)
        .open(&specification.status)
        .map_err(failed(Stage::Arguments))?;
    for file in [arguments.as_fd(), status.as_fd()] {
        rustix::io::fcntl_setfd(file, FdFlags::empty())
            .map_err(|error| failed(Stage::Arguments)(error.into()))?;
    }
    let error = Command::new(&specification.bubblewrap)
        .arg("--json-status-fd")
        .arg(status.as_raw_fd().to_string())
        .arg("--args")
        .arg(arguments.as_raw_fd().to_string())
        .arg("--")
        .args(command)
        .env_clear()
        .exec();
    Err(InitFailure::new(Stage::Bubblewrap, &error))
}

/// Sets the limits of each process, and makes this one the first that the kernel kills when the whole
/// machine has no memory left.
pub(super) fn restrict(restrictions: &Restrictions) -> io::Result<()> {
    const EXPENDABLE: i32 = 500;
    let limits = [
        (Resource::Nproc, restrictions.processes),
        (Resource::Data, restrictions.data),
        (Resource::Fsize, restrictions.file_size),
        (Resource::Core, Some(0)),
    ];
    for (resource, limit) in limits {
        let Some(limit) = limit else { continue };
        // What the caller was given can't be raised.
        let maximum = rustix::process::getrlimit(resource).maximum;
        let limit = Some(maximum.map_or(limit, |maximum| maximum.min(limit)));
        let limit = Rlimit {
            current: limit,
            maximum: limit,
        };
        rustix::process::setrlimit(resource, limit)?;
    }
    if let Some(thousandths) = restrictions.processors {
        let wanted = usize::try_from(thousandths.div_ceil(1000)).unwrap_or(usize::MAX);
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .collect();
        if wanted < allowed.len() {
            let mut set = CpuSet::new();
            // Not the same ones for all builds.
            let first = std::process::id() as usize;
            for cpu in allowed
                .iter()
                .cycle()
                .skip(first % allowed.len())
                .take(wanted)
            {
                set.set(*cpu);
            }
            rustix::thread::sched_setaffinity(None, &set)?;
        }
    }
    let path = "/proc/self/oom_score_adj";
    let present = fs::read_to_string(path).ok();
    let present = present.and_then(|text| text.trim().parse::<i32>().ok());
    if present.is_some_and(|present| present < EXPENDABLE) {
        let _ = fs::write(path, EXPENDABLE.to_string());
    }
    Ok(())
}

/// Leaves the caller's user namespace for one that has the ids which somebody outside gives it once
/// `asked`; if nobody does, one in which the caller is `uid` and nobody else is anybody.
pub(super) fn make_user_namespace(
    uid: u32,
    gid: u32,
    asked: impl FnOnce() -> io::Result<bool>,
) -> Result<(), InitFailure> {
    let failed = |stage: Stage| move |error: io::Error| InitFailure::new(stage, &error);
    let (own_uid, own_gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER).map_err(failed(Stage::Unshare))?;
    if asked().map_err(failed(Stage::Map))? {
        return Ok(());
    }
    map_caller((uid, own_uid), (gid, own_gid)).map_err(failed(Stage::Map))
}

/// In a user namespace without ids yet: maps those of the caller, outside, to two inside.
fn map_caller(user: (u32, Uid), group: (u32, Gid)) -> io::Result<()> {
    write_map(Path::new("/proc/self/setgroups"), "deny")?;
    for (file, inside, outside) in [
        ("uid_map", user.0, user.1.as_raw()),
        ("gid_map", group.0, group.1.as_raw()),
    ] {
        let path = format!("/proc/self/{file}");
        write_map(Path::new(&path), &format!("{inside} {outside} 1"))?;
    }
    Ok(())
}

/// Asks polpo to map further ids; whether it has.
fn ask_for_ids() -> io::Result<bool> {
    let mut output = io::stdout().lock();
    output.write_all(hold::ASKS)?;
    output.flush()?;
    let mut answer = [0];
    io::stdin().lock().read_exact(&mut answer)?;
    Ok(answer == *hold::MAPPED)
}

/// Leaves the caller's user and mount namespaces and mounts the guest.
fn make_namespaces(root: &Root, further_ids: bool) -> Result<(), InitFailure> {
    let failed = |stage: Stage| move |error: io::Error| InitFailure::new(stage, &error);
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(failed(Stage::Unshare))?;
    if !further_ids || !ask_for_ids().map_err(failed(Stage::Map))? {
        map_caller((0, uid), (0, gid)).map_err(failed(Stage::Map))?;
    }
    let propagation = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    rustix::mount::mount_change("/", propagation)
        .map_err(|error| failed(Stage::Private)(error.into()))?;
    if uid.is_root() {
        protect_devices().map_err(failed(Stage::Private))?;
    }
    if let Root::Overlay {
        base,
        lower,
        upper,
        work,
        mount_point,
    } = root
    {
        std::env::set_current_dir(base).map_err(failed(Stage::Overlay))?;
        overlay(lower, upper, work, mount_point).map_err(failed(Stage::Overlay))?;
    }
    Ok(())
}

/// Registers an emulator for this user namespace and those made in it. Since Linux 6.7 each may have
/// a register of its own; it lasts as long as it is mounted.
fn register(emulator: &Emulator) -> io::Result<()> {
    const MOUNT_POINT: &str = "/proc/sys/fs/binfmt_misc";
    let none = None::<&std::ffi::CStr>;
    rustix::mount::mount(
        "none",
        MOUNT_POINT,
        "binfmt_misc",
        MountFlags::empty(),
        none,
    )?;
    fs::write(
        Path::new(MOUNT_POINT).join("register"),
        &emulator.registration,
    )
}

/// Enters the user and mount namespaces of `holder`.
fn join(holder: u32) -> io::Result<()> {
    let holder = i32::try_from(holder)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(rustix::io::Errno::SRCH)?;
    let holder = rustix::process::pidfd_open(holder, PidfdFlags::empty())?;
    let namespaces = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
    Ok(rustix::thread::move_into_thread_name_spaces(
        holder.as_fd(),
        namespaces,
    )?)
}

/// Tells polpo that the namespaces are there, and keeps them until it closes the other end.
fn hold() -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(b"\n")?;
    output.flush()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

#[allow(
    unsafe_code,
    reason = "unshare is unsafe for shared descriptor tables; this process has one thread"
)]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only FILES can make another thread see wrong descriptors, and it is not asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Sees to it that nothing about the host's device nodes can be changed, which uid 0 inside owns
/// when root builds. Reading and writing through them is another matter. bubblewrap binds these
/// nodes and keeps the flags of their mounts.
fn protect_devices() -> io::Result<()> {
    use rustix::fs::StatVfsMountFlags as Present;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = Path::new("/dev").join(name);
        let Ok(present) = rustix::fs::statvfs(&node) else {
            continue; // bubblewrap leaves out what is missing, too
        };
        // A user namespace may add flags to a mount of the host, but not take any away.
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        for (there, flag) in [
            (Present::NOSUID, MountFlags::NOSUID),
            (Present::NODEV, MountFlags::NODEV),
            (Present::NOEXEC, MountFlags::NOEXEC),
            (Present::NOATIME, MountFlags::NOATIME),
            (Present::NODIRATIME, MountFlags::NODIRATIME),
            (Present::RELATIME, MountFlags::RELATIME),
        ] {
            if present.f_flag.contains(there) {
                flags |= flag;
            }
        }
        rustix::mount::mount_bind(&node, &node)?;
        rustix::mount::mount_remount(&node, flags, "")?;
    }
    Ok(())
}

/// Mounts the trees, the first uppermost, by the mount API that takes them one by one
/// (Linux 6.5 on; `lowerdir+` in Documentation/filesystems/overlayfs.rst).
fn overlay(lower: &[PathBuf], upper: &Path, work: &Path, mount_point: &Path) -> io::Result<()> {
    use rustix::mount as kernel;
    let filesystem = kernel::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let filesystem = filesystem.as_fd();
    kernel::fsconfig_set_string(filesystem, "source", "guest")?;
    for tree in lower {
        kernel::fsconfig_set_string(filesystem, "lowerdir+", tree)?;
    }
    kernel::fsconfig_set_string(filesystem, "upperdir", upper)?;
    kernel::fsconfig_set_string(filesystem, "workdir", work)?;
    kernel::fsconfig_set_flag(filesystem, "userxattr")?;
    kernel::fsconfig_create(filesystem)?;
    let mount = kernel::fsmount(
        filesystem,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    kernel::move_mount(
        mount.as_fd(),
        "",
        rustix::fs::CWD,
        mount_point,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

/// Sees to it that no descriptor that polpo was given by its own caller reaches a step.
#[allow(
    unsafe_code,
    reason = "the numbers come from the kernel's list of this process's open descriptors"
)]
pub(super) fn close_on_exec() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number > 2 {
            // SAFETY: used for one call; a descriptor that is closed meanwhile, such as that of
            // the listing itself, makes it fail with EBADF, which is what we want of it.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
    }
    Ok(())
}
