//! The kernel of a virtual machine, and those of its modules that a build needs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::preflight::SandboxError;

/// What the machine's devices and its disk need, unless the kernel has it built in.
const WANTED: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"];

/// And its network interface, where it has one.
const WANTED_FOR_NETWORK: &str = "virtio_net";

/// No module is larger.
const LARGEST_MODULE: u64 = 64 << 20;

/// A kernel that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Its modules' folder, `lib/modules/VERSION`; a kernel may have none.
    modules: Option<PathBuf>,
}

impl Kernel {
    /// The kernel at `image`, or this host's; its modules in `modules`, or where they belong.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub(super) fn find(
        image: Option<&Path>,
        modules: Option<&Path>,
    ) -> Result<Kernel, SandboxError> {
        let missing = |what: &'static str, reason: String| SandboxError::NoMachine { what, reason };
        let image = match image {
            Some(image) => image.to_owned(),
            None => newest_in(Path::new("/boot"))
                .ok_or_else(|| missing("kernel", "there is no /boot/vmlinuz-VERSION".to_owned()))?,
        };
        let bytes = fs::read(&image)
            .map_err(|error| missing("kernel", format!("`{}`: {error}", image.display())))?;
        let modules = match modules {
            Some(modules) => Some(modules.to_owned()),
            None => version(&bytes).and_then(|version| {
                let beside = image.parent().map(|folder| folder.join("../lib/modules"));
                let places = [beside, Some(PathBuf::from("/lib/modules"))];
                let mut places = places
                    .into_iter()
                    .flatten()
                    .map(|place| place.join(&version));
                places.find(|place| place.is_dir())
            }),
        };
        Ok(Kernel { image, modules })
    }

    /// The modules that are to be loaded, in order; with those for a `network` or without.
    ///
    /// # Errors
    /// One is neither built in nor there.
    pub(super) fn modules(&self, network: bool) -> Result<Vec<Vec<u8>>, SandboxError> {
        let Some(folder) = &self.modules else {
            return Ok(Vec::new()); // all is built in, or it does not start and says so
        };
        let found = all_in(folder);
        let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let built_in: Vec<String> = built_in
            .lines()
            .filter_map(|line| module_name(Path::new(line)))
            .collect();
        let mut loaded = Vec::new();
        let mut done = Vec::new();
        let wanted_for_network = network.then_some(WANTED_FOR_NETWORK);
        for name in WANTED.into_iter().chain(wanted_for_network) {
            self.load(name, &found, &built_in, &mut done, &mut loaded)?;
        }
        Ok(loaded)
    }

    fn load(
        &self,
        name: &str,
        found: &BTreeMap<String, PathBuf>,
        built_in: &[String],
        done: &mut Vec<String>,
        loaded: &mut Vec<Vec<u8>>,
    ) -> Result<(), SandboxError> {
        let name = name.replace('-', "_");
        if done.contains(&name) || built_in.contains(&name) {
            return Ok(());
        }
        done.push(name.clone());
        let missing = |reason: String| SandboxError::NoMachine {
            what: "module",
            reason,
        };
        let path = found.get(&name).ok_or_else(|| {
            missing(format!(
                "the kernel `{}` has no `{name}` built in, and none is among its modules",
                self.image.display()
            ))
        })?;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            archive::decompress::open(File::open(path)?, archive::Limits::default())?
                .take(LARGEST_MODULE)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| missing(format!("`{}`: {error}", path.display())))?;
        for dependency in dependencies(&bytes) {
            self.load(&dependency, found, built_in, done, loaded)?;
        }
        loaded.push(bytes);
        Ok(())
    }
}

/// The kernel whose name sorts last, as versions do mostly.
fn newest_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let kernels = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz-")
    });
    kernels.max()
}

/// The version that an image for x86 names (Documentation/arch/x86/boot.rst, `kernel_version`).
fn version(image: &[u8]) -> Option<String> {
    let magic = image.get(0x202..0x206)?;
    if magic != b"HdrS" {
        return None;
    }
    let offset = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(usize::from(offset) + 0x200..)?;
    let end = text
        .iter()
        .take(256)
        .position(|byte| *byte == b' ' || *byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

/// All modules beneath `folder`, by name.
fn all_in(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.join("kernel")];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(path);
            } else if let Some(name) = module_name(&path) {
                found.insert(name, path);
            }
        }
    }
    found
}

/// `virtio_blk` of `…/virtio-blk.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (name, rest) = name.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// The modules that a module's `.modinfo` says it needs.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let text = &module[start + KEY.len()..];
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..end]);
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("lib/modules/6.1-test");
        let write = |path: &str, depends: &str| {
            let path = modules.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("\u{7f}ELF\0depends={depends}\0name=x\0")).unwrap();
        };
        write("kernel/a/virtio-pci.ko", "virtio_ring,virtio");
        write("kernel/a/virtio.ko", "virtio_ring");
        write("kernel/virtio_ring.ko", "");
        write("kernel/virtio_blk.ko", "virtio");
        write("kernel/c/virtio_console.ko", "");
        fs::write(modules.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x314].copy_from_slice(b"6.1-test (someone) #");
        fs::create_dir(folder.path().join("boot")).unwrap();
        let path = folder.path().join("boot/vmlinuz-6.1-test");
        fs::write(&path, image).unwrap();
        assert_eq!(newest_in(&folder.path().join("boot")), Some(path.clone()));
        let kernel = Kernel::find(Some(&path), None).unwrap();
        let loaded = kernel.modules(false).unwrap();
        let needs: Vec<_> = loaded
            .iter()
            .map(|module| dependencies(module).join(","))
            .collect();
        assert_eq!(
            needs,
            ["", "virtio_ring", "virtio_ring,virtio", "virtio", ""]
        );
        let error = kernel.modules(true).unwrap_err().to_string();
        assert!(error.contains("has no `virtio_net` built in"), "{error}");
        write("kernel/virtio_net.ko", "virtio");
        assert_eq!(kernel.modules(true).unwrap().len(), loaded.len() + 1);
        fs::remove_file(modules.join("kernel/virtio_blk.ko")).unwrap();
        let error = kernel.modules(false).unwrap_err().to_string();
        assert!(error.contains("has no `virtio_blk` built in"), "{error}");
        let error = Kernel::find(Some(Path::new("/missing")), None).unwrap_err();
        insta::assert_snapshot!(error, @"no virtual machine can be had, for the kernel: `/missing`: No such file or directory (os error 2); name a kernel that you may read by `--qemu-kernel` or QEMU_KERNEL_IMAGE, such as that of Debian's package `linux-image-cloud-amd64`");
    }
}
