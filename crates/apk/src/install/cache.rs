//! The folder of copies of package files and indexes (apk-cache(5)), beneath its root.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, Stat, accessat, fchmod, fsync, openat, renameat,
    unlinkat,
};
use store::WriteError;

use super::beneath::{Beneath, Place, is};

/// A folder of a root that need not be there. Links on the way to it are followed as the root's own
/// processes would follow them, whatever they say; what lies in it is read if it is a regular file.
///
/// Each use finds the folder anew, and writing and removing is done in the folder that was found:
/// a link that comes in between leads nowhere.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    root: PathBuf,
    path: String,
}

/// What lies in the folder.
#[derive(Clone, Debug)]
pub struct CachedFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written last.
    pub modified: SystemTime,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl CachedFile {
    fn new(name: String, found: &Stat) -> CachedFile {
        let seconds = u64::try_from(found.st_mtime).unwrap_or(0);
        CachedFile {
            name,
            size: u64::try_from(found.st_size).unwrap_or(0),
            modified: UNIX_EPOCH + Duration::from_secs(seconds),
            is_file: is(found, FileType::RegularFile),
        }
    }
}

impl CacheFolder {
    /// The folder of a root; one of this machine, if the path is absolute.
    pub fn new(root: &Path, folder: &Path) -> CacheFolder {
        match folder.is_absolute() {
            true => CacheFolder {
                root: folder.to_owned(),
                path: String::new(),
            },
            false => CacheFolder {
                root: root.to_owned(),
                path: folder.to_string_lossy().trim_matches('/').to_owned(),
            },
        }
    }

    /// Whether there is such a folder.
    ///
    /// # Errors
    /// What is there is no folder, or it can't be found out.
    pub fn exists(&self) -> Result<bool, WriteError> {
        let opened = Beneath::open(&self.root).and_then(|beneath| {
            beneath.directory(&self.path)?;
            Ok(())
        });
        match opened {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("open", None, error)),
        }
    }

    /// Where it is on this machine, links followed: for reading what it has, and for messages.
    pub fn path(&self) -> PathBuf {
        let resolved = Beneath::open(&self.root)
            .and_then(|beneath| Ok(beneath.resolve(&self.path)?))
            .unwrap_or_else(|_| PathBuf::from(&self.path));
        match resolved.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(resolved),
        }
    }

    /// Makes the folder where it is missing; says whether files can be put there.
    pub fn prepare(&self) -> bool {
        let beneath = Beneath::open(&self.root).or_else(|error| {
            // One that was named outright may be missing as a whole.
            if !self.path.is_empty() || error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::create_dir_all(&self.root)?;
            Beneath::open(&self.root)
        });
        beneath.is_ok_and(|beneath| {
            let made = self.path.is_empty() || beneath.make_directories(&self.path).is_ok();
            let directory = beneath.directory(&self.path);
            made && directory.is_ok_and(|directory| {
                accessat(&*directory, ".", Access::WRITE_OK, AtFlags::empty()).is_ok()
            })
        })
    }

    /// The regular file of that name, if there is one; no link to one.
    pub fn find(&self, name: &str) -> Option<CachedFile> {
        let found = self.place(name).and_then(|place| Ok(place.stat()?)).ok()?;
        let file = CachedFile::new(name.to_owned(), &found);
        file.is_file.then_some(file)
    }

    /// All that lies in it, by name.
    ///
    /// # Errors
    /// It can't be read.
    pub fn files(&self) -> Result<Vec<CachedFile>, WriteError> {
        let list = || -> io::Result<Vec<CachedFile>> {
            let beneath = match Beneath::open(&self.root) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                opened => opened?,
            };
            let mut files = Vec::new();
            for name in beneath.list(&self.path)? {
                // Another name could not be that of a copy, nor be spoken of.
                let Some(name) = name.to_str() else { continue };
                match beneath.within(&self.path, name)?.stat() {
                    Ok(found) => files.push(CachedFile::new(name.to_owned(), &found)),
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(files)
        };
        list().map_err(|error| self.failed("list", None, error))
    }

    /// The bytes of a file, at most `limit` of them; none if there is no such file.
    ///
    /// # Errors
    /// It is no regular file, is larger, or can't be read.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, WriteError> {
        let failed = |error| self.failed("read", Some(name), error);
        let file = match self.place(name).and_then(|place| place.open_file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > limit {
            let large = format!("it is larger than {limit} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, large)));
        }
        Ok(Some(bytes))
    }

    /// Writes a file of that name in place of what has it, mode 0644, whole or not at all. The
    /// folder is made if it is missing.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &str, content: &mut dyn Read) -> Result<(), WriteError> {
        self.prepare();
        let beside = format!(".{name}.{}.part", std::process::id());
        let mut write = || -> io::Result<()> {
            let beneath = Beneath::open(&self.root)?;
            let place = beneath.within(&self.path, name)?;
            let beside = beneath.within(&self.path, &beside)?;
            let written = write_beside(&beside, content).and_then(|()| {
                let (from, to) = (&beside.directory, &place.directory);
                Ok(renameat(&**from, beside.name(), &**to, place.name())?)
            });
            if written.is_err() {
                // It says less than the first error.
                let _ = beside.unlink();
            }
            written?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(&*place.directory, ".", flags, Mode::empty())?;
            Ok(fsync(directory)?)
        };
        write().map_err(|error| self.failed("write", Some(name), error))
    }

    /// Removes a file, a link itself, or an empty folder. What isn't there is no error.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self, name: &str) -> Result<(), WriteError> {
        let remove = || -> io::Result<()> {
            let place = self.place(name)?;
            let flags = match is(&place.stat()?, FileType::Directory) {
                true => AtFlags::REMOVEDIR,
                false => AtFlags::empty(),
            };
            Ok(unlinkat(&*place.directory, place.name(), flags)?)
        };
        match remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", Some(name), error))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, name: &str) -> io::Result<Place> {
        Ok(Beneath::open(&self.root)?.within(&self.path, name)?)
    }

    fn failed(&self, action: &'static str, name: Option<&str>, source: io::Error) -> WriteError {
        let folder = self.path();
        WriteError {
            action,
            path: name.map_or_else(|| folder.clone(), |name| folder.join(name)),
            source,
        }
    }
}

fn write_beside(beside: &Place, content: &mut dyn Read) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o644);
    let mut file = File::from(beside.create_anew(OFlags::WRONLY, mode)?);
    fchmod(&file, mode)?;
    io::copy(content, &mut file)?;
    file.sync_all()
}
