//! Whether files are as their packages say.

use std::fs::File;
use std::io::{self, Read as _};

use base::{Sha1, Sha256Hasher};
use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use sha1::Digest as _;

use super::beneath::{Beneath, Place};
use crate::database::short;
use crate::dependency::Identity;

/// A checksum of the database: a SHA-1, or a SHA-256 that was cut.
pub(super) type Checksum = (Identity, bool);

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

/// The checksum of a file's contents or a link's target; none for anything else.
pub(super) fn checksum(place: &Place, cut: bool) -> io::Result<Option<Identity>> {
    let found = place.stat()?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => {
            let target = readlinkat(&*place.directory, place.name(), Vec::new())?;
            let bytes = target.as_bytes();
            Ok(Some(if cut {
                short(Identity::Sha256(base::Digest::of(bytes)))
            } else {
                Identity::Sha1(Sha1::of(bytes))
            }))
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&*place.directory, place.name(), flags, Mode::empty())?;
            hash(File::from(file), cut).map(Some)
        }
        _ => Ok(None),
    }
}

fn hash(mut file: File, cut: bool) -> io::Result<Identity> {
    let mut buffer = vec![0; 128 << 10];
    let mut sha1 = sha1::Sha1::new();
    let mut sha256 = Sha256Hasher::default();
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if cut {
            sha256.update(&buffer[..count]);
        } else {
            sha1.update(&buffer[..count]);
        }
    }
    Ok(if cut {
        short(Identity::Sha256(sha256.finish()))
    } else {
        Identity::Sha1(Sha1::from_bytes(sha1.finalize().into()))
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
