use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::catalogue::Reachable;
use crate::dependency::{Dependency, Identity};
use crate::version::compare;

/// A package that may be chosen: what the solver needs of an index entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// The package's name.
    pub name: String,
    /// Its version, as written; usually valid, but apk does not insist.
    pub version: String,
    /// The architecture, `noarch`, or empty for one that suits all.
    pub arch: String,
    /// The source package, or empty.
    pub origin: String,
    /// Identifies the package file. Packages of equal identity are one package.
    pub identity: Option<Identity>,
    /// What must be installed (or, with `!`, absent) beside it. Many packages of an index speak of
    /// the same terms, which they may share.
    pub depends: Vec<Arc<Dependency>>,
    /// Other names it answers to; those with a version it owns alone.
    pub provides: Vec<Arc<Dependency>>,
    /// It is installed unasked once all of these are.
    pub install_if: Vec<Arc<Dependency>>,
    /// Preferred among providers of one unversioned name; 0 means: never chosen by such a name.
    pub provider_priority: u64,
    /// Bytes to download.
    pub size: u64,
    /// Bytes on disk. A package of 0 bytes is virtual: it needs no repository.
    pub installed_size: u64,
    /// The package file lies in the download cache, so it can be installed without network.
    pub cached: bool,
    /// Why it can never be installed (an index field or a term that was not understood), in words.
    pub defects: Vec<String>,
}

/// Terms as a candidate has them.
pub(crate) fn shared(terms: impl IntoIterator<Item = Dependency>) -> Vec<Arc<Dependency>> {
    terms.into_iter().map(Arc::new).collect()
}

/// An index, in the order of the repositories file: earlier ones win ties.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    /// The URL or folder, for messages.
    pub name: &'a str,
    /// The tag without `@`; packages of a tagged repository are chosen only for terms with it.
    pub tag: Option<&'a str>,
    /// Whether its packages can be fetched now (not so for a remote one without network).
    pub available: bool,
    /// Its entries, in the order of the index: among equals, apk takes the first.
    pub packages: &'a [Candidate],
}

/// A package of the installed database.
#[derive(Clone, Debug)]
pub struct Installed<'a> {
    /// The package.
    pub package: &'a Candidate,
    /// The tag it was installed with, without `@`.
    pub tag: Option<&'a str>,
}

/// A package that is neither installed nor in an index.
#[derive(Clone, Debug)]
pub struct Unindexed<'a> {
    /// The package.
    pub package: &'a Candidate,
    /// Where it comes from.
    pub kind: UnindexedKind,
}

/// Where a package outside the indexes comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnindexedKind {
    /// A file named on the command line.
    File,
    /// The list of installed packages that a cache keeps for a system in memory.
    Cache,
    /// `add --virtual` makes it.
    Virtual,
}

/// Everything a solution may draw from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The architectures accepted beside `noarch`: apk's `/etc/apk/arch`.
    pub arches: &'a [&'a str],
    /// Repository tags, without `@`, that are told before others: those of `/etc/apk/world`, in its
    /// order. Behind them come those of installed packages and those of repositories.
    pub tags: &'a [&'a str],
    /// The installed database, in its order.
    pub installed: &'a [Installed<'a>],
    /// Packages from elsewhere.
    pub unindexed: &'a [Unindexed<'a>],
    /// The indexes.
    pub repositories: &'a [Repository<'a>],
    /// Set if the indexes hold only what can be reached: where that is in the whole ones.
    pub reachable: Option<&'a Reachable<'a>>,
}

/// What apk's command line options prefer, for all of the world or for one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `--upgrade`: the latest version, rather than the installed one.
    pub upgrade: bool,
    /// `--available`: what a repository has, even if that is older than what is installed.
    pub available: bool,
    /// Unpack again what stays.
    pub reinstall: bool,
    /// `--latest`: the latest version, even if that makes the world unsolvable.
    pub latest: bool,
    /// `upgrade --ignore`: the installed version.
    pub installed: bool,
    /// `del`: do not keep it because it is installed.
    pub remove: bool,
}

/// Preferences for the providers of one name.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// The name.
    pub name: &'a str,
    /// For its providers.
    pub preferences: Preferences,
    /// For what they depend on.
    pub inherited: Preferences,
}

/// A question to [`Universe::solve`](super::Universe::solve).
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What is asked for; the order does not matter.
    pub world: &'a [Dependency],
    /// For all of the world.
    pub preferences: Preferences,
    /// For single names.
    pub goals: &'a [Goal<'a>],
    /// The package manager renews itself first: all else stays as far as possible.
    pub preupgrade: bool,
    /// `--force-broken-world`: leave out the terms of the world that cannot be satisfied. What
    /// `goals` asks for still holds then, which apk forgets.
    pub leave_out_broken: bool,
    /// Take no notice of conflicts between packages: all that is asked for, side by side, as
    /// `apk fetch --recursive` wants it.
    pub ignore_conflicts: bool,
    /// Between packages that apk's preferences hold equal but for the order of repositories, the
    /// higher version wins, and after it the name that comes first: apko's rule, so that a
    /// repository put in front does not take over the names that both provide.
    pub newest_across_repositories: bool,
    /// Who provides a name without version may be chosen by it like any other, but satisfies no
    /// term with a version, and has no part in the comparison of versions: apko's rule.
    pub any_unversioned_provider: bool,
}

/// A package that was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The package.
    pub package: &'a Candidate,
    /// The repository to take it from (an index into [`Sources::repositories`]) and its place in
    /// the whole index ([`Repository::packages`], unless that is only what can be reached); none if it is installed already or comes from elsewhere.
    pub place: Option<(usize, usize)>,
    /// It can be had now: from a repository within reach, from the cache or from a file.
    pub available: bool,
}

/// One step towards the solution. At least one of `before` and `after` is there.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What is installed now.
    pub before: Option<Selected<'a>>,
    /// What will be; equal to `before` if nothing changes.
    pub after: Option<Selected<'a>>,
    /// The repository tag it is installed with now.
    pub tag_before: Option<&'a str>,
    /// The tag it will have.
    pub tag_after: Option<&'a str>,
    /// It stays, but is to be unpacked again.
    pub reinstall: bool,
}

/// An answer that satisfies every term.
#[derive(Clone, Debug)]
pub struct Solution<'a> {
    /// The steps, in order: what a package depends on comes before it (unless they form a ring).
    pub changes: Vec<Change<'a>>,
    /// With [`Request::leave_out_broken`]: the terms left out.
    pub left_out: Vec<Dependency>,
}

/// What a [`Change`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there.
    Install,
    /// It goes.
    Remove,
    /// To a later version.
    Upgrade,
    /// To an earlier version.
    Downgrade,
    /// To another package of an equal version.
    Replace,
    /// The same, unpacked again.
    Reinstall,
    /// The same, with another repository tag.
    Retag,
    /// Nothing.
    Keep,
}

impl Change<'_> {
    /// What it comes to.
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Install,
            (_, None) => ChangeKind::Remove,
            (Some(before), Some(after)) if std::ptr::eq(before.package, after.package) => {
                if self.reinstall {
                    ChangeKind::Reinstall
                } else if self.tag_before != self.tag_after {
                    ChangeKind::Retag
                } else {
                    ChangeKind::Keep
                }
            }
            (Some(before), Some(after)) => {
                match compare(&after.package.version, &before.package.version) {
                    Ordering::Less => ChangeKind::Downgrade,
                    Ordering::Equal => ChangeKind::Replace,
                    Ordering::Greater => ChangeKind::Upgrade,
                }
            }
        }
    }
}

/// As apk says it: `Upgrading libfoo (1.0-r0 -> 1.1-r0)`.
impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        let verb = match kind {
            ChangeKind::Install => "Installing",
            ChangeKind::Remove => "Purging",
            ChangeKind::Upgrade => "Upgrading",
            ChangeKind::Downgrade => "Downgrading",
            ChangeKind::Replace => "Replacing",
            ChangeKind::Reinstall if self.after.is_some_and(|after| after.available) => {
                "Reinstalling"
            }
            ChangeKind::Reinstall => "[APK unavailable, skipped] Reinstalling",
            ChangeKind::Retag => "Updating pinning",
            ChangeKind::Keep => "Keeping",
        };
        let before = self.before.map(|before| before.package);
        let after = self.after.map(|after| after.package);
        let Some(package) = after.or(before) else {
            return Ok(());
        };
        write!(f, "{verb} {}", package.name)?;
        if let Some(tag) = self.tag_after {
            write!(f, "@{tag}")?;
        }
        match (kind, before) {
            (ChangeKind::Upgrade | ChangeKind::Downgrade | ChangeKind::Replace, Some(before)) => {
                write!(f, " ({} -> {})", before.version, package.version)
            }
            _ => write!(f, " ({})", package.version),
        }
    }
}

impl<'a> Solution<'a> {
    /// All packages that will be installed, in order.
    pub fn packages(&self) -> impl Iterator<Item = Selected<'a>> + '_ {
        self.changes.iter().filter_map(|change| change.after)
    }
}
