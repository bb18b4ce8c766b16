//! QEMU: a virtual machine for a build, and in it the [agent](super::agent).
//!
//! ```text
//! polpo ── first step ──▶ mke2fs, in bubblewrap     the guest and the workspace become a disk
//!       │                QEMU, in bubblewrap        of the host only programs, and its network if allowed
//!       │                  ▶ kernel, first file system of polpo's own program
//!       │                      ▶ the agent          the disk is its root; steps as in a container
//!       └─ last step ───▶ the agent writes the workspace to a second disk, as a tar archive
//! ```
//!
//! Nothing of the host is shared with the machine: it has two disks, a line to polpo, and an interface
//! only if the build has some network ([`relay`](super::relay)).

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use archive::tree::{FileTree, Node, NodeKind, TarOptions, TreePath};

use super::boot::{MACHINE, MODULES};
use super::bounds::Bounds;
use super::initramfs::Initramfs;
use super::kernel::Kernel;
use super::launch::{Bind, Ending, Launch, Standard, User, Watch};
use super::preflight::{SandboxError, find_bubblewrap, in_path};
use super::program::{self, Program};
use super::relay::{self, MachineNetwork};
use super::session::{Agent, Ends, Surroundings};
use super::{Connection, Held, INIT_ARGUMENT, Root};
use crate::plan::{OUTPUT, WORKSPACE};
use crate::recipe::CapabilityChange;

/// How a virtual machine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// By the processor itself, through /dev/kvm.
    Kvm,
    /// By QEMU's translation, ten to twenty times slower.
    Tcg,
}

/// What people choose about virtual machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineOptions {
    /// The kernel's image; none means this host's newest.
    pub kernel: Option<PathBuf>,
    /// Its modules' folder; none means `lib/modules/VERSION` beside the image's folder or in `/`.
    pub modules: Option<PathBuf>,
    /// How it computes; none means KVM where this user may use it.
    pub acceleration: Option<Acceleration>,
}

/// A way to start virtual machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    bubblewrap: PathBuf,
    qemu: PathBuf,
    mke2fs: PathBuf,
    kernel: Kernel,
    acceleration: Acceleration,
}

const KVM: &str = "/dev/kvm";

/// The disk grows with what is written, to no more than this unless a build may write more.
const DISK: u64 = 64 << 30;

/// What the machine has beyond the memory that steps may take.
const OWN_MEMORY: u64 = 512 << 20;

/// What it has where nothing is said, unless the host has little.
const MEMORY: u64 = 4 << 30;

/// Whom programs ask for names.
const NAMES: &str = "/etc/resolv.conf";

/// The folder that mke2fs and QEMU see as their own.
const FOLDER: &str = "/machine";

/// Of the host they see these.
const HOST_FOLDERS: [&str; 7] = [
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc/ld.so.cache",
    "/etc/alternatives",
];

impl Machine {
    /// Looks for all it takes.
    pub(super) fn find(options: &MachineOptions) -> Result<Machine, SandboxError> {
        let program = |name: &'static str, package: &str| {
            let sbin = Path::new("/usr/sbin").join(name);
            let found = in_path(name).or_else(|| sbin.is_file().then_some(sbin));
            found.ok_or_else(|| SandboxError::NoMachine {
                what: "program",
                reason: format!("`{name}` is not in PATH; install the package `{package}`"),
            })
        };
        let qemu = match std::env::consts::ARCH {
            "x86_64" => program("qemu-system-x86_64", "qemu-system-x86")?,
            other => {
                return Err(SandboxError::NoMachine {
                    what: "program",
                    reason: format!(
                        "polpo starts virtual machines on x86_64 alone, not on {other}"
                    ),
                });
            }
        };
        let usable = || File::options().read(true).write(true).open(KVM).is_ok();
        Ok(Machine {
            bubblewrap: find_bubblewrap()?,
            qemu,
            mke2fs: program("mke2fs", "e2fsprogs")?,
            kernel: Kernel::find(options.kernel.as_deref(), options.modules.as_deref())?,
            acceleration: options.acceleration.unwrap_or(if usable() {
                Acceleration::Kvm
            } else {
                Acceleration::Tcg
            }),
        })
    }

    /// Starts a machine with a copy of the workspace, which is empty outside from then on.
    pub(super) fn start(
        &self,
        surroundings: &Surroundings,
        watch: &Watch<'_>,
    ) -> Result<Agent, SandboxError> {
        let scratch = &surroundings.scratch;
        let folder = own_folder(surroundings);
        let parts = scratch.join("agent");
        for path in [&folder, &parts] {
            fs::create_dir_all(path).map_err(SandboxError::at("create", path))?;
        }
        let again = Program::place(&surroundings.init, &parts)?;
        let network = MachineNetwork::of(watch.network);
        let initramfs = self.initramfs(&parts, network)?;
        let path = folder.join("initramfs");
        fs::write(&path, initramfs).map_err(SandboxError::at("write", &path))?;
        let path = folder.join("kernel");
        fs::copy(&self.kernel.image, &path).map_err(SandboxError::at("write", &path))?;
        let size = watch.bounds.and_then(Bounds::disk).unwrap_or(0) + DISK;
        for (name, size) in [("disk", size), ("exchange", DISK)] {
            let path = folder.join(name);
            File::create(&path)
                .and_then(|file| file.set_len(size))
                .map_err(SandboxError::at("create", &path))?;
        }
        self.fill_disk(surroundings, &folder, watch)?;
        let workspace = surroundings.workspace()?;
        empty(workspace).map_err(SandboxError::at("empty", workspace))?;
        if let Some(bounds) = watch.bounds {
            bounds.measure_anew();
        }
        self.boot(surroundings, &folder, again, watch)
    }

    /// The kernel's modules and polpo's program.
    fn initramfs(&self, parts: &Path, network: MachineNetwork) -> Result<Vec<u8>, SandboxError> {
        let mut archive = Initramfs::default();
        let inside = program::GUEST_FOLDER.trim_start_matches('/');
        for folder in ["dev", "proc", "guest", "run", inside, MODULES] {
            archive.folder(folder);
        }
        archive.device("dev/console", 5, 1);
        archive.device("dev/null", 1, 3);
        let modules = self.kernel.modules(network != MachineNetwork::None)?;
        for (number, module) in modules.iter().enumerate() {
            archive.file(&format!("{MODULES}/{number}"), module);
        }
        for entry in fs::read_dir(parts).map_err(SandboxError::at("read", parts))? {
            let entry = entry.map_err(SandboxError::at("read", parts))?;
            let path = entry.path();
            let bytes = fs::read(&path).map_err(SandboxError::at("read", &path))?;
            let name = entry.file_name();
            archive.file(&format!("{inside}/{}", name.to_string_lossy()), &bytes);
        }
        Ok(archive.finish())
    }

    /// Makes a file system of all that steps see.
    fn fill_disk(
        &self,
        surroundings: &Surroundings,
        folder: &Path,
        watch: &Watch<'_>,
    ) -> Result<(), SandboxError> {
        let guest = "/guest";
        let names = folder.join("resolv.conf");
        fs::write(&names, format!("nameserver {}\n", relay::NAME_SERVER))
            .map_err(SandboxError::at("write", &names))?;
        let mut binds = host_binds(folder);
        binds.push(Bind {
            source: surroundings.root.root().path().to_owned(),
            target: guest.to_owned(),
            writable: true,
        });
        // Caches stay outside: nothing that is made may depend on them.
        let copied = surroundings.binds.iter().filter(|bind| {
            !bind.writable
                || bind.source.starts_with(&surroundings.scratch)
                || bind.target == WORKSPACE
        });
        binds.extend(copied.map(|bind| Bind {
            source: match &*bind.target {
                // The host's may be on its loopback device, or change.
                NAMES => names.clone(),
                _ => bind.source.clone(),
            },
            target: format!("{guest}{}", bind.target),
            ..bind.clone()
        }));
        let mut command: Vec<String> = vec![self.mke2fs.to_string_lossy().into_owned()];
        command.extend(
            [
                "-q",
                "-F",
                "-t",
                "ext4",
                "-m",
                "0",
                "-O",
                "^has_journal",
                "-E",
                "lazy_itable_init=1,nodiscard,root_owner=0:0",
                "-d",
                guest,
                "/machine/disk",
            ]
            .map(str::to_owned),
        );
        let mut said = Vec::new();
        let ending = self.launch(
            surroundings,
            &binds,
            &command,
            Standard::Captured,
            Connection::None,
            |launch| {
                launch.run(watch.deadline, watch.cancel, &mut |bytes| {
                    said.extend_from_slice(bytes)
                })
            },
        )?;
        match ending {
            Ending::Exited(0) => Ok(()),
            _ => Err(SandboxError::Engine {
                name: "mke2fs",
                message: String::from_utf8_lossy(&said).trim().to_owned(),
            }),
        }
    }

    fn boot(
        &self,
        surroundings: &Surroundings,
        folder: &Path,
        again: Vec<String>,
        watch: &Watch<'_>,
    ) -> Result<Agent, SandboxError> {
        let mut binds = host_binds(folder);
        let network = MachineNetwork::of(watch.network);
        let memory = watch.bounds.and_then(Bounds::memory);
        let memory = memory.map_or_else(usual_memory, |memory| memory + OWN_MEMORY);
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let processors = watch
            .bounds
            .and_then(|bounds| bounds.restrictions().processors)
            .map_or(processors, |limit| limit.div_ceil(1000).min(processors));
        let (accelerator, cpu) = match self.acceleration {
            Acceleration::Kvm => {
                binds.push(Bind {
                    source: KVM.into(),
                    target: KVM.to_owned(),
                    writable: true,
                });
                ("kvm", "host")
            }
            Acceleration::Tcg => ("tcg,thread=multi", "max"),
        };
        let Some((init, arguments)) = again.split_first() else {
            return Err(SandboxError::Lost);
        };
        let kernel_line = format!(
            "console=ttyS0 panic=-1 quiet loglevel=4 rdinit={init} -- {} {INIT_ARGUMENT} {MACHINE} {} {}",
            arguments.join(" "),
            surroundings.user.uid,
            network.name(),
        );
        let mut command = vec![self.qemu.to_string_lossy().into_owned()];
        let mut push = |words: &[&str]| {
            command.extend(words.iter().map(|word| (*word).to_owned()));
        };
        push(&[
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        push(&[
            "-machine",
            "q35,sata=off,smbus=off,usb=off,i8042=off,vmport=off",
        ]);
        push(&["-accel", accelerator, "-cpu", cpu]);
        push(&["-smp", &processors.to_string()]);
        push(&["-m", &format!("{}M", memory >> 20)]);
        push(&[
            "-kernel",
            "/machine/kernel",
            "-initrd",
            "/machine/initramfs",
        ]);
        push(&["-append", &kernel_line]);
        push(&["-serial", "file:/machine/console"]);
        // The first device: the port is named by its number.
        push(&["-device", "virtio-serial-pci"]);
        push(&["-chardev", "stdio,id=polpo,signal=off"]);
        push(&["-device", "virtserialport,chardev=polpo,name=polpo"]);
        for name in ["disk", "exchange"] {
            push(&[
                "-drive",
                &format!("if=none,id={name},file={FOLDER}/{name},format=raw,cache=unsafe"),
                "-device",
                &format!("virtio-blk-pci,drive={name}"),
            ]);
        }
        if network != MachineNetwork::None {
            push(&["-netdev", "user,id=network,ipv6=off"]);
            push(&["-device", "virtio-net-pci,netdev=network,romfile="]);
        }
        if network == MachineNetwork::All
            && let Ok(source) = Path::new(NAMES).canonicalize()
        {
            // Whom QEMU asks for names.
            binds.push(Bind {
                source,
                target: NAMES.to_owned(),
                writable: false,
            });
        }
        let (running, files) = self.launch(
            surroundings,
            &binds,
            &command,
            Standard::Piped,
            watch.network,
            |launch| launch.start(),
        )?;
        let setup = surroundings.setup(again, watch, None);
        let ends = Ends {
            console: Some(folder.join("console")),
            ..Ends::default()
        };
        Ok(Agent::of(running, files, setup, "QEMU", ends))
    }

    /// A program in bubblewrap that sees its own folder, and of the host what programs consist of.
    fn launch<T>(
        &self,
        surroundings: &Surroundings,
        binds: &[Bind],
        command: &[String],
        standard: Standard,
        network: Connection<'_>,
        run: impl FnOnce(&Launch<'_>) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let root = own_folder(surroundings).join("root");
        fs::create_dir_all(&root).map_err(SandboxError::at("create", &root))?;
        let root: Held = surroundings.root.beside(Root::Folder {
            path: root,
            read_only: false,
        });
        run(&Launch {
            init: &surroundings.init,
            bubblewrap: &self.bubblewrap,
            root: &root,
            binds,
            environment: &std::collections::BTreeMap::new(),
            command,
            user: User::default(),
            capabilities: &CapabilityChange::default(),
            working_directory: None,
            network,
            bounds: None,
            scratch: &surroundings.scratch,
            standard,
        })
    }
}

fn host_binds(folder: &Path) -> Vec<Bind> {
    let host = HOST_FOLDERS.iter().filter(|path| Path::new(path).exists());
    let mut binds: Vec<Bind> = host
        .map(|path| Bind {
            source: path.into(),
            target: (*path).to_owned(),
            writable: false,
        })
        .collect();
    binds.push(Bind {
        source: folder.to_owned(),
        target: FOLDER.to_owned(),
        writable: true,
    });
    binds
}

/// Half of what the host has, but no more than [`MEMORY`].
fn usual_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let line = line.strip_prefix("MemTotal:")?.trim();
        line.split(' ').next()?.parse::<u64>().ok()
    });
    total.map_or(MEMORY, |kibibytes| (kibibytes * 512).min(MEMORY))
}

/// Removes what is in a folder.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder of a machine's files.
fn own_folder(surroundings: &Surroundings) -> PathBuf {
    surroundings.scratch.join("machine")
}

/// The disk that files are handed over on.
fn exchange(surroundings: &Surroundings) -> PathBuf {
    own_folder(surroundings).join("exchange")
}

/// Puts what lies in the workspace outside onto the exchange disk: how many bytes.
pub(super) fn hand_in(surroundings: &Surroundings) -> Result<Option<u64>, SandboxError> {
    let workspace = surroundings.workspace()?;
    let failed = |message: String| SandboxError::Exchange { message };
    let tree = FileTree::scan(workspace).map_err(|error| failed(error.to_string()))?;
    if tree.is_empty() {
        return Ok(None);
    }
    let path = exchange(surroundings);
    let file = File::options()
        .write(true)
        .open(&path)
        .map_err(SandboxError::at("write", &path))?;
    let mut writer = archive::tar::Writer::new(BufWriter::new(&file));
    tree.write_tar(&mut writer, TarOptions::default())
        .map_err(|error| failed(error.to_string()))?;
    let mut buffered = writer.finish().map_err(|error| failed(error.to_string()))?;
    buffered.flush().map_err(SandboxError::at("write", &path))?;
    drop(buffered);
    let size = (&file)
        .stream_position()
        .map_err(SandboxError::at("write", &path))?;
    empty(workspace).map_err(SandboxError::at("empty", workspace))?;
    Ok(Some(size))
}

/// Unpacks into the workspace outside what the agent has put onto the exchange disk.
pub(super) fn hand_out(surroundings: &Surroundings, size: u64) -> Result<(), SandboxError> {
    let workspace = surroundings.workspace()?;
    empty(workspace).map_err(SandboxError::at("empty", workspace))?;
    let path = exchange(surroundings);
    let file = File::open(&path).map_err(SandboxError::at("read", &path))?;
    unpack(file, size, workspace).map_err(|message| SandboxError::Exchange { message })
}

/// Unpacks `size` bytes from the start of `file`.
pub(super) fn unpack(mut file: File, size: u64, into: &Path) -> Result<(), String> {
    file.seek(SeekFrom::Start(0))
        .map_err(|error| error.to_string())?;
    let limits = archive::Limits::default();
    let reader = archive::tar::Reader::new(std::io::BufReader::new(file.take(size)), limits);
    let options = archive::unpack::Options {
        set_id: true,
        xattrs: archive::unpack::Xattrs::User,
        special: archive::unpack::Special::Create,
        names: archive::unpack::Names::Any,
        imperfect: archive::unpack::Imperfect::Note,
        ..archive::unpack::Options::default()
    };
    let unpacked = archive::unpack::unpack(reader, into, &options);
    unpacked.map(drop).map_err(|error| error.to_string())
}

/// In the machine: writes the workspace to the start of `file`. Of what is no package's, only what is
/// small unless `everything` is wanted, and nothing if no archive can hold it.
pub(super) fn pack(mut file: &File, folder: &Path, everything: bool) -> Result<u64, String> {
    const SMALL: u64 = 1 << 20;
    let failed = |error: &dyn std::error::Error| error.to_string();
    let mut tree = match FileTree::scan(folder) {
        Ok(tree) => tree,
        Err(error) if everything => return Err(failed(&error)),
        Err(_) => packages_alone(folder)?,
    };
    if !everything {
        let beneath = format!("{OUTPUT}/");
        tree.retain(|path, node| {
            let path = path.as_str();
            path == OUTPUT
                || path.starts_with(&beneath)
                || node.size() <= SMALL && !matches!(node.kind, NodeKind::HardLink { .. })
        });
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| failed(&error))?;
    let mut writer = archive::tar::Writer::new(BufWriter::new(file));
    tree.write_tar(&mut writer, TarOptions::default())
        .map_err(|error| failed(&error))?;
    let mut buffered = writer.finish().map_err(|error| failed(&error))?;
    buffered.flush().map_err(|error| failed(&error))?;
    drop(buffered);
    file.sync_all().map_err(|error| failed(&error))?;
    file.stream_position().map_err(|error| failed(&error))
}

/// The packages' folders, where other things have names that no archive can hold.
fn packages_alone(folder: &Path) -> Result<FileTree, String> {
    let output = TreePath::new(OUTPUT).map_err(|error| error.to_string())?;
    let packages = FileTree::scan(&folder.join(OUTPUT)).map_err(|error| error.to_string())?;
    let mut tree = FileTree::new();
    tree.insert(output.clone(), Node::directory());
    let within = |path: &TreePath| {
        let path = output.join(path.as_str());
        path.map_err(|error| error.to_string())
    };
    for (path, node) in packages.iter() {
        let mut node = node.clone();
        if let NodeKind::HardLink { target } = &mut node.kind {
            *target = within(target)?;
        }
        tree.insert(within(path)?, node);
    }
    Ok(tree)
}
