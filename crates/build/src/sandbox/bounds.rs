//! What a build may take of the machine, and how it is noticed that it takes more.
//!
//! Control groups hold the memory, the processes and the processor time of all its processes
//! together. Where the host delegates none, limits of each process stand behind a watch on their
//! sum. Nothing but a watch holds the disk.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::process::Pid;

use serde::{Deserialize, Serialize};

use super::Restrictions;
use super::control_group::ControlGroup;
use crate::plan::Limits;

/// How many processes and threads a build may have at once unless it is told otherwise: enough for
/// any compiler on any machine, too few to bring a machine down.
pub const PROCESSES: u64 = 16_384;

/// How much memory `/dev/shm` may take unless the build's memory is limited.
const SHARED_MEMORY: u64 = 1 << 30;

/// A build is stopped when less than this is left on the disk it works on…
const RESERVE: u64 = 512 << 20;

/// How often it is looked.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Looking at processes takes at most one part in this many of the time.
const WATCHING_SHARE: u32 = 4;

/// Measuring takes at most one part in this many of the time.
const MEASURING_SHARE: u32 = 20;

/// A build took more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Processes and threads at once.
    Processes(u64),
    /// Bytes of memory.
    Memory(u64),
    /// Bytes on the disk.
    Disk(u64),
    /// The disk has no more than these bytes left.
    DiskFull(u64),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Processes(limit) => write!(
                f,
                "it had more than {limit} processes at once; if that is no runaway script, allow more with `--processes`"
            ),
            Excess::Memory(limit) => write!(
                f,
                "its processes took more than {} of memory together; allow more with `--memory` or in `resources` of the recipe, or run fewer jobs at once",
                Bytes(*limit)
            ),
            Excess::Disk(limit) => write!(
                f,
                "it wrote more than {} to the disk; allow more with `--disk` or in `resources` of the recipe",
                Bytes(*limit)
            ),
            Excess::DiskFull(left) => write!(
                f,
                "only {} are left on the disk that the store is on; make room, or put the store elsewhere with `--store`",
                Bytes(*left)
            ),
        }
    }
}

/// Bytes as people write them.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let fitting = units.iter().find(|(bits, _)| self.0 >> bits > 0);
        match fitting {
            Some((bits, unit)) if self.0.is_multiple_of(1 << bits) => {
                write!(f, "{} {unit}", self.0 >> bits)
            }
            Some((bits, unit)) => {
                let tenths = (self.0 >> (bits - 10)) * 10 / 1024;
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// The limits of one build in force, for all its sandboxes.
#[derive(Debug)]
pub struct Bounds {
    limits: Limits,
    group: ControlGroup,
    folders: [PathBuf; 2],
    reserve: u64,
    disk: Mutex<Measured>,
    /// When processes are looked at again.
    watched: Mutex<Instant>,
}

/// What is known of the bytes in the folder.
#[derive(Debug)]
struct Measured {
    at: Instant,
    took: Duration,
    /// Those that were there before the build wrote anything.
    before: u64,
}

impl Bounds {
    /// Puts `limits` into force for what works in `folders`; the second may be missing yet, or lie in
    /// the first.
    pub fn new(limits: &Limits, folders: [&Path; 2]) -> Bounds {
        let processes = limits.processes.unwrap_or(PROCESSES);
        Bounds::in_group(limits, folders, ControlGroup::new(limits, processes))
    }

    /// The same without a control group: for what is no child of this process.
    pub fn watched(limits: &Limits, folders: [&Path; 2]) -> Bounds {
        Bounds::in_group(limits, folders, ControlGroup::default())
    }

    fn in_group(limits: &Limits, folders: [&Path; 2], group: ControlGroup) -> Bounds {
        let start = Instant::now();
        let before = match limits.disk {
            Some(_) => folders.into_iter().map(measure).sum(),
            None => 0,
        };
        Bounds {
            limits: limits.clone(),
            group,
            folders: folders.map(Path::to_owned),
            // …or than half of what there was when it began.
            reserve: available(folders[0]).map_or(0, |bytes| RESERVE.min(bytes / 2)),
            disk: Mutex::new(Measured {
                at: start,
                took: start.elapsed(),
                before,
            }),
            watched: Mutex::new(start),
        }
    }

    /// What may be written to the disk.
    pub(super) fn disk(&self) -> Option<u64> {
        self.limits.disk
    }

    /// What all processes may have together.
    pub(super) fn memory(&self) -> Option<u64> {
        self.limits.memory
    }

    /// What is on the disk now does not count any more.
    pub(super) fn measure_anew(&self) {
        if self.limits.disk.is_some() {
            let mut measured = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
            measured.before = self.measured();
        }
    }

    /// What a process of the build is to lay upon itself.
    pub(super) fn restrictions(&self) -> Restrictions {
        Restrictions {
            groups: self.group.entrances(),
            processes: Some(self.most_processes()),
            data: self.data(),
            file_size: self.limits.disk,
            processors: self.limits.processors,
        }
    }

    fn processes(&self) -> u64 {
        self.limits.processes.unwrap_or(PROCESSES)
    }

    /// The bytes that a process may have of its own. What is watched may be outrun, so this ends it
    /// some way behind; memory that is only set aside does not count.
    fn data(&self) -> Option<u64> {
        let limit = self.limits.memory?.saturating_mul(2);
        (!self.group.limits_memory()).then_some(limit.saturating_add(1 << 30))
    }

    /// The processes and threads that the kernel allows this user inside. Those that run into a
    /// watch are told why, so that comes first.
    fn most_processes(&self) -> u64 {
        self.processes().saturating_mul(5) / 4 + 64
    }

    /// The size of `/dev/shm`.
    pub(super) fn shared_memory(&self) -> u64 {
        self.limits
            .memory
            .map_or(SHARED_MEMORY, |memory| memory / 2)
    }

    /// What is exceeded now, if anything; `first_process` is that of the sandbox.
    pub(super) fn exceeded(&self, first_process: Option<Pid>) -> Option<Excess> {
        self.by_the_kernel()
            .or_else(|| self.by_processes(first_process?))
            .or_else(|| self.by_disk(false))
    }

    /// What was exceeded by a command that failed.
    pub(super) fn exceeded_at_last(&self) -> Option<Excess> {
        self.by_the_kernel().or_else(|| self.by_disk(true))
    }

    fn by_the_kernel(&self) -> Option<Excess> {
        if self.group.out_of_memory() {
            return self.limits.memory.map(Excess::Memory);
        }
        let out = self.group.out_of_processes();
        out.then(|| Excess::Processes(self.processes()))
    }

    /// Looks at the processes one by one, where the kernel does not see to their sum.
    fn by_processes(&self, first_process: Pid) -> Option<Excess> {
        let memory = self.limits.memory.filter(|_| !self.group.limits_memory());
        if memory.is_none() && self.group.limits_processes() {
            return None;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        if start < *watched {
            return None;
        }
        // The sandbox's own /proc lists its processes and no others.
        let first_process = first_process.as_raw_nonzero();
        let own = PathBuf::from(format!("/proc/{first_process}/root/proc"));
        let usage = Usage::of(&own).ok()?;
        let end = Instant::now();
        *watched = end + (end - start) * WATCHING_SHARE;
        self.judge(usage)
    }

    /// What is exceeded by processes that take this much, where the kernel does not see to it.
    pub(super) fn judge(&self, usage: Usage) -> Option<Excess> {
        let too_many = usage.refused || usage.processes > self.processes();
        if !self.group.limits_processes() && too_many {
            return Some(Excess::Processes(self.processes()));
        }
        let memory = self.limits.memory.filter(|_| !self.group.limits_memory());
        let exceeded = memory.filter(|limit| usage.bytes > *limit);
        exceeded.map(Excess::Memory)
    }

    fn measured(&self) -> u64 {
        let [folder, other] = &self.folders;
        let beneath = other.starts_with(folder);
        measure(folder) + if beneath { 0 } else { measure(other) }
    }

    fn by_disk(&self, now: bool) -> Option<Excess> {
        let left = available(&self.folders[0]);
        if let Some(left) = left.filter(|left| *left < self.reserve) {
            return Some(Excess::DiskFull(left));
        }
        let limit = self.limits.disk?;
        let mut measured = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if !now && measured.at.elapsed() < measured.took * MEASURING_SHARE {
            return None;
        }
        let start = Instant::now();
        let bytes = self.measured().saturating_sub(measured.before);
        measured.took = start.elapsed();
        measured.at = Instant::now();
        // A single file ends at the limit exactly.
        (bytes >= limit).then_some(Excess::Disk(limit))
    }
}

/// What processes take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Processes and threads.
    pub(super) processes: u64,
    /// Bytes of memory that belong to no file.
    pub(super) bytes: u64,
    /// The kernel has refused a process.
    #[serde(default)]
    pub(super) refused: bool,
}

impl Usage {
    /// That of all processes in `proc`, a mounted /proc.
    pub(super) fn of(proc: &Path) -> std::io::Result<Usage> {
        let mut usage = Usage::default();
        for entry in fs::read_dir(proc)?.flatten() {
            let name = entry.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let text = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field = |name: &str| {
                let field = text
                    .lines()
                    .find_map(|line| line.strip_prefix(name))?
                    .trim();
                field.split(' ').next()?.parse::<u64>().ok()
            };
            usage.processes += field("Threads:").unwrap_or(1);
            usage.bytes += field("RssAnon:").unwrap_or(0) * 1024;
        }
        Ok(usage)
    }
}

/// The bytes that this user may still write where `folder` is.
fn available(folder: &Path) -> Option<u64> {
    let filesystem = rustix::fs::statvfs(folder).ok()?;
    Some(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
}

/// The bytes that are allocated beneath `folder`, as far as it can be read. It changes meanwhile, by
/// the hands of strangers: no link is followed.
fn measure(folder: &Path) -> u64 {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(folder, flags, Mode::empty()) else {
        return 0;
    };
    let open = |path: &Path| -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)
    };
    let mut bytes = 0;
    let mut linked = BTreeSet::new();
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        let Ok(folder) = open(&path) else { continue };
        let Ok(entries) = rustix::fs::Dir::read_from(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            if stat.st_nlink > 1
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
                && !linked.insert((stat.st_dev, stat.st_ino))
            {
                continue;
            }
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                use std::os::unix::ffi::OsStrExt;
                pending.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_says_what_to_do() {
        insta::assert_snapshot!(Excess::Memory(1 << 30), @"its processes took more than 1 GiB of memory together; allow more with `--memory` or in `resources` of the recipe, or run fewer jobs at once");
        insta::assert_snapshot!(Excess::Disk(1_500_000_000), @"it wrote more than 1.3 GiB to the disk; allow more with `--disk` or in `resources` of the recipe");
        insta::assert_snapshot!(Excess::DiskFull(1023), @"only 1023 bytes are left on the disk that the store is on; make room, or put the store elsewhere with `--store`");
        insta::assert_snapshot!(Excess::Processes(9), @"it had more than 9 processes at once; if that is no runaway script, allow more with `--processes`");
    }

    #[test]
    fn bytes_are_counted_once_and_links_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::create_dir_all(path("build/deep")).unwrap();
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/large"), vec![1; 4 << 20]).unwrap();
        fs::write(path("build/deep/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(path("build/deep/file"), path("build/again")).unwrap();
        std::os::unix::fs::symlink(path("elsewhere"), path("build/link")).unwrap();
        let bytes = measure(&path("build"));
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
    }
}
