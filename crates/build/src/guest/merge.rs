//! Putting trees together in one folder, for hosts where an overlay can't be had.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::GuestError;

/// How a file gets from a tree into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It shares its blocks where the filesystem can do that, else it is copied.
    Clone,
    /// It is the same file: neither of the two may ever be written to.
    HardLink,
}

/// Puts `layers`, the lowest first, into the folder `into`. Of two files at one path the upper
/// one is taken; folders are merged and have the mode of the uppermost.
pub(super) fn merge(layers: &[PathBuf], into: &Path, method: Method) -> Result<(), GuestError> {
    let mut merger = Merger::new(into, method);
    for layer in layers {
        merger.add(layer, &|path| Some(path.to_owned()))?;
    }
    merger.finish()
}

/// A folder that trees are put into.
pub(super) struct Merger<'a> {
    into: &'a Path,
    method: Method,
    /// Modes that folders get in the end: until then, all can be written to.
    folders: BTreeMap<PathBuf, u32>,
}

impl<'a> Merger<'a> {
    pub(super) fn new(into: &'a Path, method: Method) -> Merger<'a> {
        Merger {
            into,
            method,
            folders: BTreeMap::new(),
        }
    }

    /// Puts a tree on top of those before. `place` says where an entry goes; `None` leaves it out,
    /// but not what is below it.
    pub(super) fn add(
        &mut self,
        layer: &Path,
        place: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), GuestError> {
        // Files with several names keep them.
        let mut linked: BTreeMap<u64, PathBuf> = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(folder) = pending.pop() {
            let here = layer.join(&folder);
            for entry in fs::read_dir(&here).map_err(GuestError::at("list", &here))? {
                let entry = entry.map_err(GuestError::at("list", &here))?;
                let relative = folder.join(entry.file_name());
                let from = entry.path();
                let metadata = from
                    .symlink_metadata()
                    .map_err(GuestError::at("read", &from))?;
                if metadata.is_dir() {
                    pending.push(relative.clone());
                }
                let Some(place) = place(&relative) else {
                    continue;
                };
                let to = self.into.join(&place);
                if metadata.is_dir() {
                    self.folder(&place)?;
                    self.folders.insert(place, metadata.mode() & 0o7777);
                    continue;
                }
                self.free(&place)?;
                if metadata.nlink() > 1
                    && self.method == Method::Clone
                    && let Some(first) = linked.get(&metadata.ino())
                {
                    fs::hard_link(first, &to).map_err(GuestError::at("link", &to))?;
                    continue;
                }
                self.entry(&from, &metadata, &to)
                    .map_err(GuestError::at("create", &to))?;
                if metadata.nlink() > 1 {
                    linked.insert(metadata.ino(), to);
                }
            }
        }
        Ok(())
    }

    /// Sees to it that `path` is a folder, and so are those above it.
    fn folder(&mut self, path: &Path) -> Result<(), GuestError> {
        let to = self.into.join(path);
        match to.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => fs::remove_file(&to).map_err(GuestError::at("replace", &to))?,
            Err(_) => {
                if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
                    self.folder(above)?;
                }
            }
        }
        fs::create_dir(&to).map_err(GuestError::at("create", &to))?;
        self.folders.entry(path.to_owned()).or_insert(0o755);
        Ok(())
    }

    /// Sees to it that nothing is at `path` and something could be.
    fn free(&mut self, path: &Path) -> Result<(), GuestError> {
        if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
            self.folder(above)?;
        }
        let to = self.into.join(path);
        match to.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {
                self.folders.retain(|folder, _| !folder.starts_with(path));
                fs::remove_dir_all(&to).map_err(GuestError::at("replace", &to))
            }
            Ok(_) => fs::remove_file(&to).map_err(GuestError::at("replace", &to)),
            Err(_) => Ok(()),
        }
    }

    fn entry(&self, from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
        if metadata.is_symlink() {
            return std::os::unix::fs::symlink(fs::read_link(from)?, to);
        }
        if !metadata.is_file() {
            return Ok(()); // a device or a pipe: a guest has its own /dev
        }
        if self.method == Method::HardLink && fs::hard_link(from, to).is_ok() {
            return Ok(());
        }
        let source = File::open(from)?;
        let target = File::create_new(to)?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            io::copy(&mut &source, &mut &target)?;
        }
        target.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        target.set_modified(metadata.modified()?)
    }

    /// Gives folders their modes.
    pub(super) fn finish(self) -> Result<(), GuestError> {
        for (path, mode) in self.folders.iter().rev() {
            let path = self.into.join(path);
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))
                .map_err(GuestError::at("set the mode of", &path))?;
        }
        Ok(())
    }
}
