//! Unpacking a package beside its place: apk's `apk_db_install_file` and `fsys_file_extract`.

use std::io::{self, BufRead};
use std::os::fd::OwnedFd;

use archive::Limits;
use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::beneath::Place;
use super::commit::{Begun, Session};
use super::error::InstallError;
use super::files::reason;
use super::incoming::{Finished, Incoming, USUAL, join};
use super::journal::Record;
use super::ledger::Holder;
use super::place::{TEMPORARY, directory_mode, set_permissions, split, temporary};
use super::precedence::{Verdict, takes_file};
use super::transaction::ProblemKind;
use crate::database::{Permissions, attributes_hash};
use crate::package::{Entry, EntryKind, PackageError, next_of};

/// Why a package was not unpacked.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is not what it should be.
    Package(PackageError),
    /// There is no room for it, or the disk fails.
    Full {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The transaction can't go on.
    Fatal(InstallError),
}

impl From<PackageError> for Stop {
    fn from(error: PackageError) -> Stop {
        Stop::Package(error)
    }
}

/// How a file was made.
enum Made {
    /// Whole, or without some of its attributes.
    With(Missing),
    /// Not: an ordinary user can't make devices.
    Left,
    /// Not: its content can't be read. The package is at fault, and whoever reads it says so.
    Unreadable,
}

/// What could not be set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missing {
    owner: bool,
    mode: bool,
    attributes: bool,
    time: bool,
}

impl Missing {
    /// In apk's words; none if nothing is missing.
    fn words(self) -> Option<String> {
        let words: Vec<&str> = [
            (self.owner, "owner"),
            (self.mode, "permission"),
            (self.time, "mtime"),
            (self.attributes, "xattrs"),
        ]
        .iter()
        .filter_map(|(missing, word)| missing.then_some(*word))
        .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

impl Session<'_> {
    /// Unpacks a package under temporary names, and verifies it.
    pub(super) fn extract(
        &mut self,
        begun: Begun,
        mut incoming: Incoming,
    ) -> Result<Finished, Box<(Incoming, Stop)>> {
        self.beneath.forget();
        let Begun { package, data } = begun;
        let installed = package.info().installed_size;
        let mut unpacking = self
            .voice
            .unpacking(&incoming.label, package.size(), installed);
        let result = data.map_err(Stop::Package).and_then(|data| {
            package.visit_begun(data, &Limits::default(), |entry, content| {
                self.entry(&mut incoming, entry, &mut unpacking.over(content))
            })
        });
        self.beneath.forget();
        match result {
            Ok(manifest) => {
                unpacking.done();
                Ok(incoming.finish(&manifest))
            }
            Err(stop) => Err(Box::new((incoming, stop))),
        }
    }

    fn entry(
        &mut self,
        incoming: &mut Incoming,
        entry: &Entry,
        content: &mut dyn BufRead,
    ) -> Result<(), Stop> {
        // apk keeps such names for itself.
        if entry.path.starts_with('.') {
            return Ok(());
        }
        let owner = (entry.user.as_str(), entry.uid);
        let group = (entry.group.as_str(), entry.gid);
        let (uid, gid) = self
            .owners
            .resolve(self.beneath, owner, group)
            .map_err(|source| {
                Stop::Fatal(self.file_error("find the owner of", &entry.path, source))
            })?;
        let permissions = Permissions {
            uid: uid.into(),
            gid: gid.into(),
            mode: entry.mode & 0o7777,
            attributes: attributes_hash(&entry.xattrs),
        };
        if entry.is_directory() {
            return self.directory(incoming, &entry.path, permissions);
        }
        self.file(incoming, entry, permissions, content)
    }

    fn directory(
        &mut self,
        incoming: &mut Incoming,
        path: &str,
        permissions: Permissions,
    ) -> Result<(), Stop> {
        self.detail(&format!("{path} (dir)"));
        incoming.directory(path).permissions = permissions;
        let holder = Holder::Package(incoming.id);
        let before = self
            .ledger
            .directory(path)
            .and_then(|directory| directory.owner());
        self.ledger.add_claim(path, holder, permissions);
        let before = before.map(|claim| claim.permissions);
        let decides = self.ledger.settle_owner(path, holder);
        let owner = self
            .ledger
            .directory(path)
            .and_then(|directory| directory.owner())
            .map_or(permissions, |claim| claim.permissions);
        let made = self.look_at(path, before, owner)?;
        if decides && !made && before.is_some_and(|before| before != owner) {
            self.change_directory(path, owner)?;
        }
        Ok(())
    }

    /// Sees whether a directory is as `expected`, once, and makes it where it is missing; says
    /// whether it did.
    fn look_at(
        &mut self,
        path: &str,
        expected: Option<Permissions>,
        new: Permissions,
    ) -> Result<bool, Stop> {
        if path.is_empty() || self.ledger.directory_mut(path).looked_at {
            return Ok(false);
        }
        let (parent, name) = split(path);
        self.look_at(parent, Some(USUAL), USUAL)?;
        if self.examine(path, expected) {
            return Ok(false);
        }
        self.record(&Record::Make {
            path: path.to_owned(),
        })?;
        let place = self.beneath.within(parent, name);
        let made = match place.and_then(|place| self.make_directory(&place, new)) {
            Ok(made) => made,
            Err(error) if is_full(error) => {
                return Err(Stop::Full {
                    path: path.to_owned(),
                    source: error.into(),
                });
            }
            Err(error) => {
                self.directory_problem(path, &error.into());
                false
            }
        };
        self.ledger.directory_mut(path).settled = made;
        Ok(made)
    }

    /// Sees whether a directory is as `expected`; false if nothing is there.
    pub(super) fn examine(&mut self, path: &str, expected: Option<Permissions>) -> bool {
        self.ledger.directory_mut(path).looked_at = true;
        let found = match self.beneath.place(path).and_then(|place| place.stat()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return false,
            Err(_) => return true,
        };
        self.ledger.directory_mut(path).settled = expected.is_some_and(|expected| {
            let mode = directory_mode(expected.mode, self.usermode);
            found.st_mode & 0o7777 == mode & 0o7777
                && u64::from(found.st_uid) == expected.uid
                && u64::from(found.st_gid) == expected.gid
        });
        true
    }

    /// Whether it has the owner and mode that it should have.
    fn make_directory(&self, place: &Place, permissions: Permissions) -> rustix::io::Result<bool> {
        let mode = directory_mode(permissions.mode, self.usermode);
        let mode = Mode::from_raw_mode(mode & 0o7777);
        fs::mkdirat(&*place.directory, place.name(), mode)?;
        let owner = self.usermode || {
            let (uid, gid) = owner(permissions);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            fs::chownat(&*place.directory, place.name(), uid, gid, flags).is_ok()
        };
        // The umask may have taken some away.
        let mode = fs::chmodat(&*place.directory, place.name(), mode, AtFlags::empty());
        Ok(owner && mode.is_ok())
    }

    /// Gives a directory mode and owner, if it had those that it should have until now.
    pub(super) fn change_directory(
        &mut self,
        path: &str,
        permissions: Permissions,
    ) -> Result<(), Stop> {
        if !self.ledger.directory_mut(path).settled {
            return Ok(());
        }
        self.ledger.directory_mut(path).modified = true;
        let before = self.beneath.directory(path).and_then(fs::fstat);
        if let Ok(before) = before {
            self.record(&Record::Change {
                path: path.to_owned(),
                mode: before.st_mode & 0o7777,
                uid: before.st_uid,
                gid: before.st_gid,
            })?;
        }
        let mode = directory_mode(permissions.mode, self.usermode);
        let owner = (!self.usermode).then(|| numbers(permissions));
        if let Err(error) = set_permissions(self.beneath, path, mode, owner) {
            self.directory_problem(path, &error.into());
        }
        Ok(())
    }

    fn file(
        &mut self,
        incoming: &mut Incoming,
        entry: &Entry,
        permissions: Permissions,
        content: &mut dyn BufRead,
    ) -> Result<(), Stop> {
        let (directory, name) = split(&entry.path);
        if !incoming.has_directory(directory) && !directory.is_empty() {
            // Reading the package refuses it.
            return Ok(());
        }
        if let EntryKind::HardLink { target } = &entry.kind
            && !incoming.is_extracted(target)
        {
            incoming.broken_files = true;
            let kind = ProblemKind::Dangling {
                path: entry.path.clone(),
                target: target.clone(),
            };
            self.problem(&incoming.label, kind);
            return Ok(());
        }
        let own = Holder::Package(incoming.id);
        if directory.is_empty() {
            self.ledger.add_claim("", own, USUAL);
        }
        if let Some(holder) = self.ledger.file(directory, name)
            && holder != own
            && !self.may_take(incoming, &entry.path, holder)
        {
            incoming.directory(directory);
            return Ok(());
        }
        self.detail(&entry.path);
        incoming.file(&entry.path, permissions);
        if incoming.touch(directory) {
            self.record(&Record::Touch {
                path: directory.to_owned(),
            })?;
        }
        match self.make(incoming, entry, permissions, content) {
            Ok(Made::With(missing)) => {
                incoming.extracted(&entry.path);
                if let Some(what) = missing.words() {
                    // apk takes a file without its attributes for whole.
                    if missing.attributes {
                        incoming.broken_attributes = true;
                    } else {
                        incoming.broken_files = true;
                    }
                    let path = entry.path.clone();
                    self.problem(&incoming.label, ProblemKind::Attributes { path, what });
                }
            }
            Ok(Made::Left | Made::Unreadable) => {}
            Err(source) => {
                let errno = source.raw_os_error().map(Errno::from_raw_os_error);
                if errno.is_some_and(is_full) {
                    return Err(Stop::Full {
                        path: entry.path.clone(),
                        source,
                    });
                }
                incoming.broken_files = true;
                let kind = ProblemKind::File {
                    path: entry.path.clone(),
                    reason: reason(&source),
                };
                self.problem(&incoming.label, kind);
            }
        }
        Ok(())
    }

    /// Whether a package may have a file that another has.
    fn may_take(&mut self, incoming: &mut Incoming, path: &str, holder: Holder) -> bool {
        let Some(newcomer) = self.ledger.slot(incoming.id) else {
            return false;
        };
        let owner = self.ledger.holder(holder);
        match takes_file(owner, newcomer) {
            Verdict::Takes => true,
            Verdict::Leaves => false,
            Verdict::Conflict => {
                let forced = self.options.overwrite;
                let kind = ProblemKind::Overwrite {
                    path: path.to_owned(),
                    owner: owner.map(super::commit::label).unwrap_or_default(),
                    forced,
                };
                incoming.broken_files |= !forced;
                self.problem(&incoming.label, kind);
                forced
            }
        }
    }

    /// Makes a file under its temporary name.
    fn make(
        &self,
        incoming: &mut Incoming,
        entry: &Entry,
        permissions: Permissions,
        content: &mut dyn BufRead,
    ) -> io::Result<Made> {
        let place = self.temporary_place(&incoming.name, &entry.path)?;
        match &entry.kind {
            EntryKind::Directory => Ok(Made::Left),
            EntryKind::File { .. } => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = fresh(&place, |place| {
                    let mode = Mode::RUSR | Mode::WUSR;
                    fs::openat(&*place.directory, place.name(), flags, mode)
                })?;
                match copy(content, &file) {
                    Ok(true) => Ok(Made::With(self.finish_file(&file, entry, permissions))),
                    Ok(false) => {
                        let _ = place.unlink();
                        Ok(Made::Unreadable)
                    }
                    Err(error) => {
                        let _ = place.unlink();
                        Err(error)
                    }
                }
            }
            EntryKind::Symlink { target } => {
                fresh(&place, |place| {
                    fs::symlinkat(target.as_str(), &*place.directory, place.name())
                })?;
                Ok(Made::With(Missing {
                    owner: self.own(&place, permissions).is_err(),
                    ..Missing::default()
                }))
            }
            EntryKind::HardLink { target } => {
                incoming.has_hard_links = true;
                let target = self.temporary_place(&incoming.name, target)?;
                fresh(&place, |place| {
                    fs::linkat(
                        &*target.directory,
                        target.name(),
                        &*place.directory,
                        place.name(),
                        AtFlags::empty(),
                    )
                })?;
                // It is the same file, and that has all that it is to have: to set the owner again
                // would take its set-user-id bits and capabilities away.
                Ok(Made::With(Missing::default()))
            }
            _ if self.usermode => Ok(Made::Left),
            EntryKind::CharDevice { major, minor } => {
                let device = fs::makedev(*major, *minor);
                self.special(
                    &place,
                    FileType::CharacterDevice,
                    device,
                    entry,
                    permissions,
                )
            }
            EntryKind::BlockDevice { major, minor } => {
                let device = fs::makedev(*major, *minor);
                self.special(&place, FileType::BlockDevice, device, entry, permissions)
            }
            EntryKind::Fifo => self.special(&place, FileType::Fifo, 0, entry, permissions),
        }
    }

    fn special(
        &self,
        place: &Place,
        kind: FileType,
        device: u64,
        entry: &Entry,
        permissions: Permissions,
    ) -> io::Result<Made> {
        fresh(place, |place| {
            let mode = Mode::RUSR | Mode::WUSR;
            fs::mknodat(&*place.directory, place.name(), kind, mode, device)
        })?;
        Ok(Made::With(self.finish_special(place, entry, permissions)))
    }

    fn temporary_place(&self, name: &str, path: &str) -> rustix::io::Result<Place> {
        self.beneath.within(split(path).0, &temporary(name, path))
    }

    /// Owner, mode, attributes and time of an open file. The owner first: changing it takes
    /// set-user-id bits and capabilities away.
    fn finish_file(&self, file: &OwnedFd, entry: &Entry, permissions: Permissions) -> Missing {
        let mut missing = Missing::default();
        if !self.usermode {
            let (uid, gid) = owner(permissions);
            missing.owner = fs::fchown(file, uid, gid).is_err();
        }
        let mode = Mode::from_raw_mode(permissions.mode);
        missing.mode = fs::fchmod(file, mode).is_err();
        for (name, value) in &entry.xattrs {
            if self.usermode && !name.starts_with("user.") {
                continue;
            }
            let set = fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty());
            missing.attributes |= set.is_err();
        }
        missing.time = fs::futimens(file, &times(entry)).is_err();
        missing
    }

    fn finish_special(&self, place: &Place, entry: &Entry, permissions: Permissions) -> Missing {
        let directory = &*place.directory;
        let mode = Mode::from_raw_mode(permissions.mode);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let mut missing = Missing {
            owner: self.own(place, permissions).is_err(),
            mode: fs::chmodat(directory, place.name(), mode, AtFlags::empty()).is_err(),
            attributes: false,
            time: fs::utimensat(directory, place.name(), &times(entry), flags).is_err(),
        };
        let wanted = |name: &str| !self.usermode || name.starts_with("user.");
        if entry.xattrs.keys().any(|name| wanted(name)) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match fs::openat(directory, place.name(), flags, Mode::empty()) {
                Ok(file) => {
                    for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name)) {
                        let set = fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty());
                        missing.attributes |= set.is_err();
                    }
                }
                Err(_) => missing.attributes = true,
            }
        }
        missing
    }

    fn own(&self, place: &Place, permissions: Permissions) -> rustix::io::Result<()> {
        if self.usermode {
            return Ok(());
        }
        let (uid, gid) = owner(permissions);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::chownat(&*place.directory, place.name(), uid, gid, flags)
    }

    /// Removes what a package that isn't to stay left behind: temporary files, and directories
    /// that nobody else has.
    pub(super) fn undo(&mut self, incoming: &mut Incoming) -> Result<(), InstallError> {
        self.beneath.forget();
        remove_temporaries(self.beneath, incoming.touched());
        let holder = Holder::Package(incoming.id);
        let claimed: Vec<String> = self
            .ledger
            .directories()
            .filter(|(_, directory)| directory.claim(holder).is_some())
            .map(|(path, _)| path.to_owned())
            .collect();
        for path in claimed {
            for consequence in self.ledger.remove_claim(&path, holder) {
                self.follow(consequence);
            }
        }
        self.beneath.forget();
        self.journal_record(&Record::Undone)
    }

    fn record(&mut self, record: &Record) -> Result<(), Stop> {
        self.journal_record(record).map_err(Stop::Fatal)
    }
}

/// Removes the temporary files in directories: nothing else has such names.
pub(super) fn remove_temporaries<'p>(
    beneath: &super::beneath::Beneath,
    directories: impl Iterator<Item = &'p str>,
) {
    for path in directories {
        for name in beneath.list(path).unwrap_or_default() {
            let Some(name) = name.to_str() else { continue };
            let is_temporary = name.strip_prefix(TEMPORARY).is_some_and(|rest| {
                rest.len() == 48 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            if is_temporary && let Ok(place) = beneath.place(&join(path, name)) {
                let _ = place.unlink();
            }
        }
    }
}

/// Makes something; what an earlier, interrupted transaction left there is removed first.
fn fresh<T>(
    place: &Place,
    make: impl Fn(&Place) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match make(place) {
        Err(Errno::EXIST) => {
            place.unlink()?;
            make(place)
        }
        made => made,
    }
}

/// Whether what failed will fail for every other file too.
fn is_full(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG | Errno::ROFS
    )
}

/// Copies what is read into a file; false if it can't be read.
fn copy(content: &mut dyn BufRead, file: &OwnedFd) -> io::Result<bool> {
    loop {
        let Ok(piece) = next_of(content) else {
            return Ok(false);
        };
        let count = piece.len();
        if count == 0 {
            return Ok(true);
        }
        let mut rest = piece;
        while !rest.is_empty() {
            match rustix::io::write(file, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        content.consume(count);
    }
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec {
        tv_sec: i64::try_from(entry.mtime).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Owner and group as numbers; both were found to be some.
pub(super) fn numbers(permissions: Permissions) -> (u32, u32) {
    let number = |number| u32::try_from(number).unwrap_or(0);
    (number(permissions.uid), number(permissions.gid))
}

fn owner(permissions: Permissions) -> (Option<Uid>, Option<Gid>) {
    let (uid, gid) = numbers(permissions);
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}
