//! `var/log/apk.log`: what every run said that changed the system, or was to.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use super::beneath::Beneath;
use super::{Create, InstallError};

const LOG: &str = "var/log/apk.log";

/// The open log of a root.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Opens the log of the root at `path`, made with its folders where it is missing, and writes
    /// the heading: apk writes an empty line, the command and the time, and its version. Where a
    /// database is to be made, the root is made too.
    ///
    /// # Errors
    /// It can't be opened: it is no regular file or leads out of the root, or the folder is not
    /// the caller's to change.
    pub fn open(path: &Path, create: Create, heading: &str) -> Result<Log, InstallError> {
        create.check()?;
        let beneath = create.root(path)?;
        let failed = |source| InstallError::File {
            action: "open",
            path: path.join(LOG),
            source,
        };
        let open = || -> io::Result<File> {
            let flags = OFlags::WRONLY
                | OFlags::APPEND
                | OFlags::CREATE
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::CLOEXEC;
            beneath.make_directories("var/log")?;
            let place = beneath.place(LOG)?;
            let mode = Mode::from_raw_mode(0o644);
            let file = File::from(openat(&*place.directory, place.name(), flags, mode)?);
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            Ok(file)
        };
        let file = open().map_err(failed)?;
        (&file).write_all(heading.as_bytes()).map_err(failed)?;
        Ok(Log(file))
    }

    /// Writes a line. A log that can't be written, on a full disk say, stops nothing, as with apk.
    pub fn line(&self, line: &str) {
        let _ = (&self.0).write_all(format!("{line}\n").as_bytes());
    }
}

impl Create {
    /// Whether who runs this may make such a database.
    pub(super) fn check(self) -> Result<(), InstallError> {
        let is_root = rustix::process::getuid().is_root();
        match self {
            Create::Usermode if is_root => Err(InstallError::UsermodeAsRoot),
            Create::Database if !is_root => Err(InstallError::NotRoot),
            _ => Ok(()),
        }
    }

    /// The folder of a root that is to be changed, made if a database is to be made there.
    pub(super) fn root(self, path: &Path) -> Result<Beneath, InstallError> {
        let cannot_open = |source| InstallError::Root {
            path: path.to_owned(),
            source,
        };
        if self != Create::Never && !path.exists() {
            std::fs::create_dir(path).map_err(cannot_open)?;
        }
        Beneath::open(path).map_err(cannot_open)
    }
}
