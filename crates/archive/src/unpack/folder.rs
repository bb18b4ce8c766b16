//! Walking beneath a folder and never out of it.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::UnpackError;

/// A folder and the directories on the way to where the last entry was: neighbours in an archive are
/// neighbours on disk, so most entries find their directory open.
///
/// Each step opens one component, without following symbolic links, relative to the directory before.
/// That gives what openat2's `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` would, also where a container
/// refuses that call.
#[derive(Debug)]
pub(super) struct Folder {
    root: Rc<OwnedFd>,
    open: Vec<(Vec<u8>, Rc<OwnedFd>)>,
}

/// How many components in, and why it went no further.
type Stopped = (usize, Errno);

impl Folder {
    /// The most directories inside each other; each costs an open file.
    pub(super) const DEPTH: usize = 256;

    pub(super) fn open(path: &Path) -> Result<Folder, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty()).map_err(|error| UnpackError::Folder {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Folder {
            root: Rc::new(root),
            open: Vec::new(),
        })
    }

    /// The directory at `components`. Those that are missing are made, with mode 0700, and their depths
    /// noted.
    pub(super) fn enter(
        &mut self,
        components: &[&[u8]],
        made: &mut Vec<usize>,
    ) -> Result<Rc<OwnedFd>, Stopped> {
        self.walk(components, Some(made))
    }

    /// The directory at `components`, which exists.
    pub(super) fn lookup(&mut self, components: &[&[u8]]) -> Result<Rc<OwnedFd>, Stopped> {
        self.walk(components, None)
    }

    fn walk(
        &mut self,
        components: &[&[u8]],
        mut made: Option<&mut Vec<usize>>,
    ) -> Result<Rc<OwnedFd>, Stopped> {
        let common = self
            .open
            .iter()
            .zip(components)
            .take_while(|((open, _), component)| open == *component)
            .count();
        self.open.truncate(common);
        let mut here = match self.open.last() {
            Some((_, directory)) => directory.clone(),
            None => self.root.clone(),
        };
        for (depth, component) in components.iter().enumerate().skip(common) {
            let depth = depth + 1;
            let name = OsStr::from_bytes(component);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut opened = fs::openat(&*here, name, flags, Mode::empty());
            if opened.as_ref().is_err_and(|error| *error == Errno::NOENT)
                && let Some(made) = &mut made
            {
                fs::mkdirat(&*here, name, Mode::RWXU).map_err(|error| (depth, error))?;
                made.push(depth);
                opened = fs::openat(&*here, name, flags, Mode::empty());
                if let Ok(directory) = &opened
                    && fs::fstat(directory).is_ok_and(|found| found.st_mode & 0o700 != 0o700)
                {
                    // The umask took the caller's own rights away.
                    fs::chmodat(&*here, name, Mode::RWXU, AtFlags::empty())
                        .map_err(|error| (depth, error))?;
                }
            }
            here = Rc::new(opened.map_err(|error| (depth, error))?);
            self.open.push((component.to_vec(), here.clone()));
        }
        Ok(here)
    }
}
