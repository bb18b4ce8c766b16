//! The folder that a build works in, touched from outside the sandbox.
//!
//! Steps fill it with what they like, links included; so every path is resolved by the kernel
//! beneath the folder (`openat2`, `RESOLVE_BENEATH`), and nothing outside is read or written
//! whatever a step has left there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use store::{Store, StoreError};

use crate::plan::{OUTPUT, WORKSPACE};

/// A file of the workspace can't be made or is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A path is not one of the workspace.
    #[error(
        "`{0}` is no path within {WORKSPACE}: a source can only be put there, and without `..`"
    )]
    Outside(String),
    /// The folder to work in is in use.
    #[error("`{path}` is not empty, so no build can work in it; empty it, or name another folder", path = .0.display())]
    NotEmpty(PathBuf),
    /// The kernel refused.
    #[error("can't {action} `{path}` in the workspace: {source}{}", escape(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what, as the guest sees it.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A source can't be unpacked.
    #[error("can't unpack {source_name} into `{directory}`: {reason}")]
    Unpack {
        /// The source.
        source_name: String,
        /// Where to.
        directory: String,
        /// Why not.
        reason: Box<archive::unpack::UnpackError>,
    },
    /// A source is not in the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn escape(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) {
        "; a link on the way leads out of the workspace"
    } else {
        ""
    }
}

/// A folder of the store's `tmp/` for one build, which goes when this is dropped, also if steps
/// took away their own right to write to what is in it.
#[derive(Debug)]
pub struct BuildFolder {
    folder: tempfile::TempDir,
}

impl BuildFolder {
    /// A fresh one. Only this user can enter it.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn new(store: &Store) -> Result<BuildFolder, StoreError> {
        let folder = store.temp_dir()?;
        // Steps may leave programs in it that would run as this user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))
            .map_err(store::WriteError::at("set the mode of", folder.path()))?;
        Ok(BuildFolder { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for BuildFolder {
    fn drop(&mut self) {
        // What can't be removed now is swept by the next one who opens the store.
        if fs::remove_dir_all(self.folder.path()).is_err() {
            let _ = open_up(self.folder.path());
        }
    }
}

/// Gives the owner all rights on the folder and those beneath, so that they can be removed.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// A workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    root: OwnedFd,
}

impl Workspace {
    /// Makes it at `path`, where there may be an empty folder, with empty folders for `packages`.
    pub(crate) fn create(path: &Path, packages: &[String]) -> Result<Workspace, WorkspaceError> {
        let at = |action, source| WorkspaceError::Io {
            action,
            path: WORKSPACE.to_owned(),
            source,
        };
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(path).map_err(|error| at("read", error))?;
                if entries.next().is_some() {
                    return Err(WorkspaceError::NotEmpty(path.to_owned()));
                }
            }
            made => made.map_err(|error| at("create", error))?,
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .map_err(|error| at("set the mode of", error))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| at("open", error.into()))?;
        let workspace = Workspace {
            path: path.to_owned(),
            root,
        };
        for package in packages {
            workspace.folder(&format!("{OUTPUT}/{package}"))?;
        }
        Ok(workspace)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder at `path`, relative to the workspace and plain; makes what is missing of
    /// it. Links within the workspace are followed.
    pub(crate) fn folder(&self, path: &str) -> Result<OwnedFd, WorkspaceError> {
        let at = |action, error: Errno| WorkspaceError::Io {
            action,
            path: format!("{WORKSPACE}/{path}"),
            source: error.into(),
        };
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        let mut folder = open(".").map_err(|error| at("open", error))?;
        let ends = path
            .match_indices('/')
            .map(|(end, _)| end)
            .chain([path.len()])
            .filter(|end| *end > 0);
        for end in ends {
            let upto = &path[..end];
            folder = match open(upto) {
                Err(Errno::NOENT) => {
                    let name = upto.rsplit('/').next().unwrap_or(upto);
                    let mode = Mode::from_raw_mode(0o755);
                    rustix::fs::mkdirat(&folder, name, mode)
                        .map_err(|error| at("create", error))?;
                    open(upto)
                }
                other => other,
            }
            .map_err(|error| at("open", error))?;
        }
        Ok(folder)
    }

    /// Writes a blob's bytes to `path`, relative to the workspace and plain, in place of a file
    /// that is there.
    pub(crate) fn place(
        &self,
        store: &Store,
        digest: &Digest,
        path: &str,
        mode: u32,
    ) -> Result<(), WorkspaceError> {
        let at = |action| {
            move |source: io::Error| WorkspaceError::Io {
                action,
                path: format!("{WORKSPACE}/{path}"),
                source,
            }
        };
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(above)?;
        let blob = store.open_verified(digest)?;
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(at("replace")(error.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| at("create")(error.into()))?;
        let file = File::from(file);
        // Shared blocks where the filesystem can do that.
        if rustix::fs::ioctl_ficlone(&file, &blob).is_err() {
            io::copy(&mut &blob, &mut &file).map_err(at("write"))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
            .map_err(at("set the mode of"))
    }

    /// Makes a link at `path`, relative to the workspace and plain.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<(), WorkspaceError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.folder(above)?;
        rustix::fs::symlinkat(target, &folder, name).map_err(|error| WorkspaceError::Io {
            action: "create the link",
            path: format!("{WORKSPACE}/{path}"),
            source: error.into(),
        })
    }

    /// Unpacks a blob into `directory`, relative to the workspace and plain.
    pub(crate) fn unpack(
        &self,
        store: &Store,
        digest: &Digest,
        source_name: &str,
        directory: &str,
        strip_components: u32,
    ) -> Result<(), WorkspaceError> {
        let failed = |reason| WorkspaceError::Unpack {
            source_name: source_name.to_owned(),
            directory: format!("{WORKSPACE}/{directory}"),
            reason: Box::new(reason),
        };
        let folder = self.folder(directory)?;
        let blob = store.open_verified(digest)?;
        let limits = archive::Limits::default();
        let plain = archive::decompress::open(blob, limits)
            .map_err(|error| failed(archive::tar::ReadError::Io(error).into()))?;
        let reader = archive::tar::Reader::new(plain, limits);
        let options = archive::unpack::Options {
            strip_components,
            names: archive::unpack::Names::Any,
            ..archive::unpack::Options::default()
        };
        // The folder by its descriptor: a path could lead elsewhere by now.
        let into = PathBuf::from(format!("/proc/self/fd/{}/.", folder.as_raw_fd()));
        archive::unpack::unpack(reader, &into, &options).map_err(failed)?;
        Ok(())
    }

    /// The packages' folders; each is a folder and no link, whatever steps have done to it.
    pub(crate) fn outputs(
        &self,
        packages: &[String],
    ) -> Result<BTreeMap<String, PathBuf>, WorkspaceError> {
        packages
            .iter()
            .map(|package| {
                let path = format!("{OUTPUT}/{package}");
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                match rustix::fs::openat2(&self.root, &path, flags, Mode::empty(), resolve) {
                    Ok(_) => {}
                    // A step may have removed what it left empty.
                    Err(Errno::NOENT) => {
                        self.folder(&path)?;
                    }
                    Err(error) => {
                        return Err(WorkspaceError::Io {
                            action: "use as a package's folder",
                            path: format!("{WORKSPACE}/{path}"),
                            source: error.into(),
                        });
                    }
                }
                Ok((package.clone(), self.path.join(&path)))
            })
            .collect()
    }
}

/// Bytes of a text; what is longer is read by nobody.
pub(crate) const LONGEST_TEXT: u64 = 1 << 20;

/// The text of the file at `path` beneath the folder `workspace`, if it is one.
pub(crate) fn text(workspace: &Path, path: &str) -> Option<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(workspace, flags, Mode::empty()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // Without NONBLOCK, a named pipe would keep us waiting for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).ok()?;
    let file = File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let length = file.take(LONGEST_TEXT + 1).read_to_string(&mut text).ok()? as u64;
    (length <= LONGEST_TEXT).then_some(text)
}

/// A path of the guest as one relative to the workspace, plain: no `.`, no `..`, no empty
/// component. `base` is what it is relative to if it is not absolute.
pub(crate) fn within_workspace(base: &str, path: &str) -> Result<String, WorkspaceError> {
    let outside = || WorkspaceError::Outside(path.to_owned());
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let mut components: Vec<&str> = Vec::new();
    for component in whole.split('/') {
        match component {
            "" | "." => {}
            ".." => return Err(outside()),
            name if name.contains('\0') => return Err(outside()),
            name => components.push(name),
        }
    }
    match components.as_slice() {
        ["home", "build", inner @ ..] => Ok(inner.join("/")),
        _ => Err(outside()),
    }
}

/// A path of the guest without `.` and `..`, as if there were no links. `base` is what it is relative
/// to if it is not absolute.
pub(crate) fn guest_path(base: &str, path: &str) -> Result<String, WorkspaceError> {
    if path.contains('\0') {
        return Err(WorkspaceError::Outside(path.to_owned()));
    }
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let mut components: Vec<&str> = Vec::new();
    for component in whole.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    Ok(format!("/{}", components.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_workspace() {
        let at =
            |path| within_workspace("/home/build/src", path).map_err(|error| error.to_string());
        assert_eq!(at(".").as_deref(), Ok("src"));
        assert_eq!(at("a//b/./c").as_deref(), Ok("src/a/b/c"));
        assert_eq!(at("/home/build").as_deref(), Ok(""));
        for outside in [
            "..",
            "a/../../..",
            "/etc",
            "/home/builder/x",
            "/home/build/../x",
        ] {
            assert!(at(outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn paths_of_the_guest() {
        let at = |path| guest_path("/home/build/src", path).map_err(|error| error.to_string());
        assert_eq!(at("").as_deref(), Ok("/home/build/src"));
        assert_eq!(at("../../other/./x/").as_deref(), Ok("/home/other/x"));
        assert_eq!(at("../../../../../etc").as_deref(), Ok("/etc"));
        assert_eq!(at("/a//b/..").as_deref(), Ok("/a"));
        assert!(at("a\0b").is_err());
    }

    #[test]
    fn links_that_steps_leave_lead_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let blob = store.put(&b"source"[..]).unwrap();
        let victim = folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        let path = folder.path().join("workspace");
        let packages = ["a".to_owned(), "b".to_owned()];
        let workspace = Workspace::create(&path, &packages).unwrap();
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, path.join(name)).unwrap();
        };
        link(&victim, "absolute");
        link(Path::new("../victim"), "relative");
        link(&victim.join("file"), "file");
        fs::create_dir(path.join("inner")).unwrap();
        link(Path::new("inner"), "inside");
        for way in ["absolute", "relative"] {
            let error = workspace
                .place(&store, &blob.digest, &format!("{way}/x/y"), 0o644)
                .unwrap_err();
            assert!(
                error.to_string().contains("out of the workspace"),
                "{error}"
            );
            workspace
                .unpack(&store, &blob.digest, "source", way, 0)
                .unwrap_err();
        }
        // A link where the file is to be is replaced, not followed.
        workspace
            .place(&store, &blob.digest, "file", 0o644)
            .unwrap();
        assert!(path.join("file").symlink_metadata().unwrap().is_file());
        // Links that stay within are followed, as steps mean them to be.
        workspace
            .place(&store, &blob.digest, "inside/x", 0o755)
            .unwrap();
        assert_eq!(fs::read(path.join("inner/x")).unwrap(), b"source");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);

        fs::remove_dir(path.join("melange-out/a")).unwrap();
        assert_eq!(workspace.outputs(&packages).unwrap().len(), 2);
        fs::remove_dir(path.join("melange-out/a")).unwrap();
        link(&victim, "melange-out/a");
        workspace.outputs(&packages).unwrap_err();
    }

    #[test]
    fn folders_nobody_may_write_to_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let build = BuildFolder::new(&store).unwrap();
        let path = build.path().to_owned();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/c"), "").unwrap();
        fs::set_permissions(path.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o555)).unwrap();
        drop(build);
        assert!(!path.exists());
    }
}
