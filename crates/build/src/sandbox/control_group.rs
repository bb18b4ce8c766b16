//! Control groups (cgroups(7)): limits on all processes of a build together, where the host lets
//! this user have any.
//!
//! A group is made beneath this process's own or beside it. Version 2 wants the controllers handed
//! down there (`cgroup.subtree_control`), as systemd does for the services of a user; version 1
//! wants folders that may be written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::plan::Limits;

/// What the names of groups begin with; the rest is `PROCESS-NUMBER`.
const PREFIX: &str = "polpo-";

/// The kernel hands processor time out in slices of this many microseconds.
const PERIOD: u64 = 100_000;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Memory,
    Processes,
    Processors,
}

impl Controller {
    const ALL: [Controller; 3] = [
        Controller::Memory,
        Controller::Processes,
        Controller::Processors,
    ];

    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Processes => "pids",
            Controller::Processors => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group of one build. Dropped, it is removed.
#[derive(Debug, Default)]
pub(super) struct ControlGroup {
    folders: BTreeMap<Controller, (Version, PathBuf)>,
}

impl ControlGroup {
    /// A group for `limits`, with as many of the controllers as this user may use; `processes` is
    /// how many there may be at once.
    pub(super) fn new(limits: &Limits, processes: u64) -> ControlGroup {
        let mut group = ControlGroup::default();
        let wanted = Controller::ALL
            .into_iter()
            .filter(|controller| match controller {
                Controller::Memory => limits.memory.is_some(),
                Controller::Processes => true,
                Controller::Processors => limits.processors.is_some(),
            });
        let (Ok(own), Ok(mounts)) = (
            fs::read_to_string("/proc/self/cgroup"),
            fs::read_to_string("/proc/self/mountinfo"),
        ) else {
            return group;
        };
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        for controller in wanted {
            for (version, above) in places(controller, &own, &mounts) {
                sweep(&above);
                let folder = above.join(&name);
                if fs::create_dir(&folder)
                    .or_else(|error| match error.kind() {
                        io::ErrorKind::AlreadyExists => Ok(()),
                        _ => Err(error),
                    })
                    .is_err()
                {
                    continue;
                }
                group.folders.insert(controller, (version, folder.clone()));
                if group.limit(controller, limits, processes).is_ok() {
                    break;
                }
                group.folders.remove(&controller);
                if !group.own_folders().contains(folder.as_path()) {
                    let _ = fs::remove_dir(&folder);
                }
            }
        }
        group
    }

    fn limit(&self, controller: Controller, limits: &Limits, processes: u64) -> io::Result<()> {
        use Version::{One, Two};
        let Some((version, folder)) = self.folders.get(&controller) else {
            return Ok(());
        };
        let set = |name: &str, value: String| fs::write(folder.join(name), value);
        match (controller, version) {
            (Controller::Memory, version) => {
                let bytes = limits.memory.unwrap_or(u64::MAX).to_string();
                match version {
                    Two => {
                        set("memory.max", bytes)?;
                        // Kernels without these have no swap to limit, or kill one process alone,
                        // which is seen all the same.
                        let _ = set("memory.swap.max", "0".to_owned());
                        let _ = set("memory.oom.group", "1".to_owned());
                    }
                    One => {
                        set("memory.limit_in_bytes", bytes.clone())?;
                        let _ = set("memory.memsw.limit_in_bytes", bytes);
                    }
                }
                Ok(())
            }
            (Controller::Processes, _) => set("pids.max", processes.to_string()),
            (Controller::Processors, version) => {
                let thousandths = limits.processors.unwrap_or(u64::MAX / PERIOD);
                let quota = (thousandths * PERIOD / 1000).max(1000);
                match version {
                    Two => set("cpu.max", format!("{quota} {PERIOD}")),
                    One => {
                        set("cpu.cfs_period_us", PERIOD.to_string())?;
                        set("cpu.cfs_quota_us", quota.to_string())
                    }
                }
            }
        }
    }

    /// The files that take the number of a process that is to join.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.own_folders()
            .iter()
            .map(|folder| folder.join("cgroup.procs"))
            .collect()
    }

    fn own_folders(&self) -> BTreeSet<&Path> {
        let folders = self.folders.values();
        folders.map(|(_, folder)| folder.as_path()).collect()
    }

    /// Whether the kernel sees to the memory.
    pub(super) fn limits_memory(&self) -> bool {
        self.folders.contains_key(&Controller::Memory)
    }

    /// Whether the kernel sees to the number of processes.
    pub(super) fn limits_processes(&self) -> bool {
        self.folders.contains_key(&Controller::Processes)
    }

    /// Whether a process was killed because there was no memory left for it.
    pub(super) fn out_of_memory(&self) -> bool {
        self.folders
            .get(&Controller::Memory)
            .is_some_and(|(version, folder)| {
                let name = match version {
                    Version::One => "memory.oom_control",
                    Version::Two => "memory.events",
                };
                counter(&folder.join(name), "oom_kill") > 0
            })
    }

    /// Whether a process could not be started because there were too many.
    pub(super) fn out_of_processes(&self) -> bool {
        self.folders
            .get(&Controller::Processes)
            .is_some_and(|(_, folder)| counter(&folder.join("pids.events"), "max") > 0)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        for folder in self.own_folders() {
            // Processes that are dead already leave their group a little later.
            for _ in 0..100 {
                match fs::remove_dir(folder) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// How many processes the groups that this process is in, made by whoever started it, have refused.
pub(super) fn refused_processes() -> u64 {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/self").join(name));
    let (Ok(own), Ok(mounts)) = (read("cgroup"), read("mountinfo")) else {
        return 0;
    };
    own_groups(Controller::Processes, &own, &mounts)
        .iter()
        .map(|(_, folder)| counter(&folder.join("pids.events"), "max"))
        .sum()
}

/// The value of `key` in a file of `KEY NUMBER` lines; 0 if there is none.
fn counter(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        .unwrap_or(0)
}

/// The folders in which a group for `controller` may be made, the best first. `own` is
/// `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`.
fn places(controller: Controller, own: &str, mounts: &str) -> Vec<(Version, PathBuf)> {
    let hands_down = |folder: &PathBuf| {
        let handed = fs::read_to_string(folder.join("cgroup.subtree_control"));
        handed.is_ok_and(|text| {
            text.split_whitespace()
                .any(|name| name == controller.name())
        })
    };
    let mut places = Vec::new();
    for (version, own) in own_groups(controller, own, mounts) {
        if version == Version::One {
            places.push((version, own));
            continue;
        }
        let above = own.parent().map(Path::to_path_buf);
        let candidates = std::iter::once(own).chain(above);
        places.extend(
            candidates
                .filter(hands_down)
                .map(|folder| (version, folder)),
        );
    }
    places
}

/// The groups that a process is in, as far as they may limit what `controller` does.
fn own_groups(controller: Controller, own: &str, mounts: &str) -> Vec<(Version, PathBuf)> {
    let groups = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let name = controller.name();
        if controllers.split(',').any(|of| of == name)
            && let Some(own) = mounted(mounts, "cgroup", Some(name), path)
        {
            return Some((Version::One, own));
        }
        let own = controllers
            .is_empty()
            .then(|| mounted(mounts, "cgroup2", None, path))?;
        Some((Version::Two, own?))
    });
    groups.collect()
}

/// Where the group `path` of a hierarchy is found: the mount of that type, with that option.
fn mounted(mounts: &str, kind: &str, option: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, behind) = line.split_once(" - ")?;
        let mut behind = behind.split(' ');
        let same = behind.next() == Some(kind);
        let options = behind.nth(1)?;
        if !same || option.is_some_and(|wanted| !options.split(',').any(|name| name == wanted)) {
            return None;
        }
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let beneath = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(beneath))
    })
}

/// Removes groups of processes that are gone; the kernel keeps those that are in use.
fn sweep(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner).exists()
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
29 22 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
30 22 0:27 /slice /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 22 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let own = "9:memory:/user/1\n8:cpu,cpuacct:/slice/2\n0::/user.slice\n";
        let place = |controller| places(controller, own, MOUNTS);
        assert_eq!(
            place(Controller::Memory),
            [(Version::One, "/sys/fs/cgroup/memory/user/1".into())]
        );
        assert_eq!(
            place(Controller::Processors),
            [(Version::One, "/sys/fs/cgroup/cpu/2".into())]
        );
        // Not handed down in version 2, and not there in version 1.
        assert_eq!(place(Controller::Processes), []);

        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::create_dir_all(path("app.slice/shell.scope")).unwrap();
        for (group, controllers) in [
            ("app.slice", "memory pids\n"),
            ("app.slice/shell.scope", ""),
        ] {
            fs::write(path(group).join("cgroup.subtree_control"), controllers).unwrap();
        }
        let mounts = format!(
            "31 22 0:28 / {} rw - cgroup2 cgroup2 rw\n",
            folder.path().display()
        );
        let own = "0::/app.slice/shell.scope\n";
        assert_eq!(
            places(Controller::Processes, own, &mounts),
            [(Version::Two, path("app.slice"))]
        );
        assert_eq!(places(Controller::Processors, own, &mounts), []);
    }

    #[test]
    fn a_group_is_gone_with_its_build() {
        let limits = Limits {
            memory: Some(1 << 30),
            processors: Some(1500),
            ..Limits::default()
        };
        let group = ControlGroup::new(&limits, 100);
        let folders: Vec<PathBuf> = group
            .own_folders()
            .iter()
            .map(|&path| path.into())
            .collect();
        if group.limits_processes() {
            let (_, folder) = &group.folders[&Controller::Processes];
            let most = fs::read_to_string(folder.join("pids.max")).unwrap();
            assert_eq!(most.trim(), "100");
        }
        drop(group);
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
    }

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memory.events");
        fs::write(&path, "oom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(counter(&path, "oom_kill"), 2);
        assert_eq!(counter(&path, "max"), 0);
    }
}
