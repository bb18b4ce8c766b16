//! The inner side of a virtual machine: its first process, until it is the [agent](super::agent).
//!
//! It is started by the kernel out of the first file system, makes what bubblewrap makes elsewhere,
//! and moves into the guest.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode};
use rustix::mount::MountFlags;

use super::relay::MachineNetwork;
use super::{HOST_NAME, agent, program};
use crate::plan::WORKSPACE;

/// The word that makes `sandbox-init` be the first process of a virtual machine; the user that steps
/// run as comes after it, and then what they have of the network.
pub(super) const MACHINE: &str = "machine";

/// Where the modules lie that are to be loaded, by number.
pub(super) const MODULES: &str = "modules";

/// The disk with the guest, and the one that files are handed over on.
const DISKS: [&str; 2] = ["/dev/vda", "/dev/vdb"];

/// The port that polpo is at.
const PORT: &str = "/dev/vport0p1";

/// What the console shows before the reason why there is no machine.
pub(super) const LAST_WORDS: &str = "polpo: ";

/// How long devices may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves until polpo is gone; then the machine ends, for its first process does.
pub(super) fn serve(uid: u32, network: MachineNetwork) -> io::Result<()> {
    mount("proc", "/proc", "proc", MountFlags::empty(), c"")?;
    mount("dev", "/dev", "devtmpfs", MountFlags::empty(), c"")?;
    let mut number = 0;
    while let Ok(module) = File::open(format!("/{MODULES}/{number}")) {
        load(&module)?;
        number += 1;
    }
    // A disk that could be opened once can be mounted.
    drop(open_device(Path::new(DISKS[0]))?);
    let exchange = open_device(Path::new(DISKS[1]))?;
    let port = open_device(Path::new(PORT))?;
    enter_guest(uid)?;
    fs::write("/proc/sys/kernel/hostname", HOST_NAME)?;
    protect_settings()?;
    network.set_up()?;
    let output = port.try_clone()?;
    agent::serve(port, output, Some(exchange))
}

/// Mounts the guest and makes it the root.
fn enter_guest(uid: u32) -> io::Result<()> {
    let none = MountFlags::empty();
    mount(
        DISKS[0],
        "/guest",
        "ext4",
        MountFlags::NOATIME,
        c"noinit_itable",
    )?;
    let parts = format!("/guest{}", program::GUEST_FOLDER);
    fs::create_dir_all(&parts)?;
    rustix::mount::mount_bind(program::GUEST_FOLDER, &parts)?;
    mount("proc", "/guest/proc", "proc", none, c"")?;
    mount("dev", "/guest/dev", "tmpfs", none, c"mode=0755,size=64k")?;
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let path = format!("/guest/dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(major, minor);
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device)?;
        rustix::fs::chmod(&path, mode)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ] {
        std::os::unix::fs::symlink(target, format!("/guest/dev/{name}"))?;
    }
    fs::create_dir("/guest/dev/pts")?;
    fs::create_dir("/guest/dev/shm")?;
    mount(
        "pts",
        "/guest/dev/pts",
        "devpts",
        none,
        c"ptmxmode=0666,mode=0620",
    )?;
    mount(
        "shm",
        "/guest/dev/shm",
        "tmpfs",
        none,
        c"mode=1777,size=50%",
    )?;
    rustix::mount::mount_remount("/guest/dev", MountFlags::BIND | MountFlags::RDONLY, "")?;
    std::env::set_current_dir("/guest")?;
    rustix::mount::mount_move("/guest", "/")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    if uid != 0 {
        // All there is belongs to the one user that there is.
        for folder in [WORKSPACE, "/tmp", "/var/tmp"] {
            rustix::mount::mount_bind(folder, folder)?;
        }
        rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}

/// uid 0 of a step owns the kernel's files, too.
fn protect_settings() -> io::Result<()> {
    let settings = "/proc/sys";
    rustix::mount::mount_bind(settings, settings)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    Ok(rustix::mount::mount_remount(settings, flags, "")?)
}

fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &std::ffi::CStr,
) -> io::Result<()> {
    rustix::mount::mount(source, target, kind, flags, data).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("can't mount {target}: {error}"))
    })
}

/// Opens a device once it is there: its name may be before it is.
fn open_device(path: &Path) -> io::Result<File> {
    let start = Instant::now();
    loop {
        let error = match File::options().read(true).write(true).open(path) {
            Ok(device) => return Ok(device),
            Err(error) => error,
        };
        let early = matches!(
            error.raw_os_error(),
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV)
        );
        if !early || start.elapsed() > PATIENCE {
            let message = format!("can't open {}: {error}", path.display());
            return Err(io::Error::new(error.kind(), message));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[allow(unsafe_code, reason = "the system call has no wrapper here")]
fn load(module: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the parameters are an empty string of C.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            module.as_raw_fd(),
            c"".as_ptr(),
            0_i32,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
