//! Paths beneath a root, and never out of it.
//!
//! Packages and scripts leave symbolic links in a root, and later packages put files behind them:
//! where `lib` is a link to `usr/lib`, `lib/x` lies in `usr/lib`. So links between directories are
//! followed, but as the root's own processes would follow them: `/` and what climbs above it is the
//! root itself (openat2's `RESOLVE_IN_ROOT`, also where a container refuses that call). The last
//! component of a path is never followed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Symbolic links that are followed on the way to one directory; the kernel's own limit.
const LINKS: usize = 40;

/// Directories that are opened on the way to one, those that `..` leads back to included. A path of
/// 4,095 bytes, the longest that a package may have, has half as many.
const STEPS: usize = 1 << 16;

/// How a directory on the way is opened.
const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::DIRECTORY);

/// Why a device, a pipe or a folder is not read.
const NO_FILE: &str = "it is no regular file";

/// A root, and the directory in it that was used last: neighbours in a package are neighbours on
/// disk.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Arc<OwnedFd>,
    last: RefCell<Option<(String, Arc<OwnedFd>)>>,
}

/// A directory, and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Arc<OwnedFd>,
    name: OsString,
}

impl Place {
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// What is there; a symbolic link itself.
    pub(super) fn stat(&self) -> rustix::io::Result<Stat> {
        fs::statat(&*self.directory, self.name(), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Opens what is there for reading, if it is a regular file and no link to one.
    pub(super) fn open_file(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&*self.directory, self.name(), flags, Mode::empty())?;
        let file = File::from(file);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other(NO_FILE)),
        }
    }

    /// Makes a new file in place of whatever has the name: what that is or leads to, another name
    /// of a file or a device say, is not written to.
    pub(super) fn create_anew(&self, access: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        match self.unlink() {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&*self.directory, self.name(), flags, mode)
    }

    /// Removes a file or link.
    pub(super) fn unlink(&self) -> rustix::io::Result<()> {
        fs::unlinkat(&*self.directory, self.name(), AtFlags::empty())
    }
}

impl Beneath {
    pub(super) fn open(path: &Path) -> io::Result<Beneath> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Beneath {
            root: Arc::new(fs::open(path, flags, Mode::empty())?),
            last: RefCell::new(None),
        })
    }

    /// The root itself.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Forgets the directory that was used last: something may have put another in its place.
    pub(super) fn forget(&self) {
        *self.last.borrow_mut() = None;
    }

    /// The directory at `path`, which has no leading or trailing `/`; empty is the root. Good for
    /// `*at` calls, not for listing.
    pub(super) fn directory(&self, path: &str) -> rustix::io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((last, directory)) = &*self.last.borrow()
            && last == path
        {
            return Ok(directory.clone());
        }
        let directory = match self.without_links(path) {
            Some(directory) => directory,
            None => self.follow(path)?.1,
        };
        *self.last.borrow_mut() = Some((path.to_owned(), directory.clone()));
        Ok(directory)
    }

    /// Where `path` is: its directory is resolved, its last component is not.
    pub(super) fn place(&self, path: &str) -> rustix::io::Result<Place> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.within(parent, name)
    }

    /// Where `name` is in the directory `parent`.
    pub(super) fn within(&self, parent: &str, name: &str) -> rustix::io::Result<Place> {
        if name.is_empty() || name == "." || name == ".." || name.contains('/') {
            return Err(Errno::INVAL);
        }
        Ok(Place {
            directory: self.directory(parent)?,
            name: name.into(),
        })
    }

    /// Where the directory at `path` is, seen from the root, once its links are followed.
    pub(super) fn resolve(&self, path: &str) -> rustix::io::Result<PathBuf> {
        let (names, _) = self.follow(path)?;
        Ok(names.into_iter().collect())
    }

    /// The directory at `path` in one call, if no link leads there and the system knows that call.
    fn without_links(&self, path: &str) -> Option<Arc<OwnedFd>> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = fs::openat2(&*self.root, path, DIRECTORY, Mode::empty(), resolve);
        opened.ok().map(Arc::new)
    }

    /// The directory at `path`, and the names that lead to it from the root, none a link's.
    fn follow(&self, path: &str) -> rustix::io::Result<(Vec<OsString>, Arc<OwnedFd>)> {
        let mut ahead: VecDeque<OsString> = components(path.as_bytes()).collect();
        let mut names: Vec<OsString> = Vec::new();
        let mut here = self.root.clone();
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = ahead.pop_front() {
            steps += 1;
            if steps > STEPS {
                return Err(Errno::NAMETOOLONG);
            }
            if name == ".." {
                // What `..` is on disk may have been moved out of the root meanwhile.
                names.pop();
                here = self.root.clone();
                for name in &names {
                    here = Arc::new(fs::openat(&*here, name, DIRECTORY, Mode::empty())?);
                }
                steps += names.len();
                continue;
            }
            match fs::openat(&*here, &name, DIRECTORY, Mode::empty()) {
                Ok(directory) => {
                    here = Arc::new(directory);
                    names.push(name);
                }
                // A link, perhaps.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = match fs::readlinkat(&*here, &name, Vec::new()) {
                        Ok(target) => target.into_bytes(),
                        Err(Errno::INVAL) => return Err(Errno::NOTDIR),
                        Err(error) => return Err(error),
                    };
                    if target.first() == Some(&b'/') {
                        names.clear();
                        here = self.root.clone();
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(component);
                    }
                    if ahead.len() > 4096 {
                        return Err(Errno::NAMETOOLONG);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok((names, here))
    }

    /// The first link on the way to `path`, or there, that leads nowhere beneath the root, and what
    /// it says.
    pub(super) fn broken_link(&self, path: &str) -> Option<(String, String)> {
        let ends = path.match_indices('/').map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            let way = &path[..end];
            let place = self.place(way).ok()?;
            if is(&place.stat().ok()?, FileType::Symlink)
                && self.directory(way).is_err()
                && self.locate(way).is_err()
            {
                let target = fs::readlinkat(&*place.directory, place.name(), Vec::new()).ok()?;
                return Some((way.to_owned(), target.to_string_lossy().into_owned()));
            }
        }
        None
    }

    /// A file's bytes, at most `limit` of them; none if there is no such file. Links to files are
    /// followed, beneath the root.
    pub(super) fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let (place, found) = match self.locate(path) {
            Ok(located) => located,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Opening a device may do something already.
        if !is(&found, FileType::RegularFile) {
            return Err(io::Error::other(NO_FILE));
        }
        let file = match place.open_file() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {limit} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    /// Where what `path` leads to is, through links, and what it is.
    fn locate(&self, path: &str) -> rustix::io::Result<(Place, Stat)> {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let place = self.place(&path)?;
            let found = place.stat()?;
            if !is(&found, FileType::Symlink) {
                return Ok((place, found));
            }
            let target = fs::readlinkat(&*place.directory, place.name(), Vec::new())?;
            let target = String::from_utf8(target.into_bytes()).map_err(|_| Errno::ILSEQ)?;
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            path = join(parent, &target);
        }
        Err(Errno::LOOP)
    }

    /// Whether a path leads to a regular file.
    pub(super) fn is_file(&self, path: &str) -> bool {
        self.locate(path)
            .is_ok_and(|(_, found)| is(&found, FileType::RegularFile))
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<OsString>> {
        let directory = match self.directory(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        Ok(list(&directory)?)
    }

    /// Makes a directory and its parents where they are missing, all with mode 0755.
    pub(super) fn make_directories(&self, path: &str) -> rustix::io::Result<()> {
        let mut made = String::new();
        for component in path.split('/') {
            let place = self.within(&made, component)?;
            match fs::mkdirat(&*place.directory, place.name(), Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let mode = Mode::from_raw_mode(0o755);
                    fs::chmodat(&*place.directory, place.name(), mode, AtFlags::empty())?;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(component);
        }
        self.directory(path).map(drop)
    }
}

/// The names in an open directory, sorted, without `.` and `..`.
pub(super) fn list(directory: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = fs::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in fs::Dir::new(opened)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Whether what was found is of a kind.
pub(super) fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// A link's target as a path from the root, without regard to other links: they are resolved when
/// it is walked.
fn join(parent: &str, target: &str) -> String {
    let path = match target.strip_prefix('/') {
        Some(rest) => rest.to_owned(),
        None => format!("{parent}/{target}"),
    };
    path.split('/')
        .filter(|component| !component.is_empty() && *component != ".")
        .collect::<Vec<_>>()
        .join("/")
}

fn components(path: &[u8]) -> impl Iterator<Item = OsString> + '_ {
    path.split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty() && *component != b".")
        .map(|component| OsStr::from_bytes(component).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_never_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("usr/lib/inner")).unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::write(root.join("secret"), "inside").unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("up", "../../../.."),
            ("absolute", "/usr/lib/inner"),
            ("host", outside.path().to_str().unwrap()),
            ("round", "round"),
            ("file", "secret"),
            ("usr/lib/climb", "../../../../../secret"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let beneath = Beneath::open(&root).unwrap();
        let inode = |directory: rustix::io::Result<Arc<OwnedFd>>| {
            rustix::fs::fstat(&*directory.unwrap()).unwrap().st_ino
        };
        assert_eq!(
            inode(beneath.directory("lib/inner")),
            inode(beneath.directory("usr/lib/inner"))
        );
        assert_eq!(
            inode(beneath.directory("absolute")),
            inode(beneath.directory("usr/lib/inner"))
        );
        assert_eq!(inode(beneath.directory("up")), inode(beneath.directory("")));
        assert_eq!(
            inode(beneath.directory("up/../lib/..")),
            inode(beneath.directory("usr"))
        );
        for (path, error) in [
            ("host", Errno::NOENT),
            ("round", Errno::LOOP),
            ("file", Errno::NOTDIR),
            ("missing/x", Errno::NOENT),
        ] {
            assert_eq!(beneath.directory(path).unwrap_err(), error, "{path}");
        }
        let read = |path| beneath.read(path, 100).unwrap();
        assert_eq!(read("usr/lib/climb").unwrap(), b"inside");
        assert_eq!(read("up/secret").unwrap(), b"inside");
        assert_eq!(read("file").unwrap(), b"inside");
        assert_eq!(read("nothing"), None);
        assert!(beneath.read("secret", 3).is_err());
        assert!(beneath.read("round", 3).is_err());
        for name in ["", ".", "..", "a/b"] {
            assert_eq!(beneath.within("", name).unwrap_err(), Errno::INVAL);
        }
    }

    #[test]
    fn directories_are_made_behind_links() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        symlink("/usr/lib", root.path().join("lib")).unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        beneath.make_directories("lib/apk/db").unwrap();
        assert!(root.path().join("usr/lib/apk/db").is_dir());
        assert_eq!(beneath.list("lib/apk").unwrap(), ["db"]);
        assert!(beneath.list("nothing").unwrap().is_empty());
    }
}
