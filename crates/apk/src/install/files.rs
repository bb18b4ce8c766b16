//! Whether files are as their packages say.

use std::fs::File;
use std::io;

use base::{Sha1, Sha256Hasher};
use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use sha1::Digest as _;

use super::beneath::{Beneath, Place};
use crate::database::{InstalledPackage, short};
use crate::dependency::Identity;

/// A checksum of the database, and how it was made.
pub(super) type Checksum = (Identity, Algorithm);

/// Whether what is at a path, if anything is, is something else than `known` says. Without a
/// checksum, whatever is there is something else.
pub(super) fn differs(beneath: &Beneath, path: &str, known: Option<Checksum>) -> bool {
    let place = match beneath.place(path) {
        Ok(place) => place,
        Err(Errno::NOENT) => return false,
        Err(_) => return true,
    };
    match (place.stat(), known) {
        (Err(Errno::NOENT), _) => false,
        (Err(_), _) | (_, None) => true,
        (Ok(_), Some((known, cut))) => {
            !checksum(&place, cut).is_ok_and(|actual| actual == Some(short(known)))
        }
    }
}

/// How a file is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// As packages of format 2 have it.
    Sha1,
    /// As the database has it of packages of format 3: SHA-256, of which 160 bits are kept.
    Sha256Cut,
    /// Whole.
    Sha256,
}

impl Algorithm {
    /// That of a package's files.
    pub(super) fn of(package: &InstalledPackage) -> Algorithm {
        if package.broken.sha256_160 {
            Algorithm::Sha256Cut
        } else {
            Algorithm::Sha1
        }
    }
}

/// The checksum of a file's contents or a link's target; none for anything else.
pub(super) fn checksum(place: &Place, algorithm: Algorithm) -> io::Result<Option<Identity>> {
    let found = place.stat()?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => {
            let target = readlinkat(&*place.directory, place.name(), Vec::new())?;
            hash(target.as_bytes(), algorithm).map(Some)
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&*place.directory, place.name(), flags, Mode::empty())?;
            hash(File::from(file), algorithm).map(Some)
        }
        _ => Ok(None),
    }
}

fn hash(mut content: impl io::Read, algorithm: Algorithm) -> io::Result<Identity> {
    let mut buffer = vec![0; 128 << 10];
    let mut sha1 = sha1::Sha1::new();
    let mut sha256 = Sha256Hasher::default();
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match algorithm {
            Algorithm::Sha1 => sha1.update(&buffer[..count]),
            Algorithm::Sha256Cut | Algorithm::Sha256 => sha256.update(&buffer[..count]),
        }
    }
    Ok(match algorithm {
        Algorithm::Sha1 => Identity::Sha1(Sha1::from_bytes(sha1.finalize().into())),
        Algorithm::Sha256Cut => short(Identity::Sha256(sha256.finish())),
        Algorithm::Sha256 => Identity::Sha256(sha256.finish()),
    })
}

/// Why the system refused, in its words alone.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(end)) => text[..end].to_owned(),
        _ => text,
    }
}
