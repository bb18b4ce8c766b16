//! apk packages. Those of format 3 are ADBs ([`crate::adb`]); what follows is of format 2: three gzip members, [signature] control data, that are one tar archive.
//!
//! The control member holds `.PKGINFO` and the scripts; its compressed bytes are what signatures
//! cover, and their SHA-1 is the package's identity. `.PKGINFO` names the SHA-256 of the compressed
//! data member, and the data's entries carry their own SHA-1. So one signature, or one line of a
//! signed index, vouches for every byte. Nothing is handed out before its link of that chain held.
//!
//! # Segments of the data
//! The data member of a package written here is three runs of deflate blocks, each bounded by a
//! full flush: the directories; all other entries; the end-of-archive blocks. Each refers to
//! nothing outside itself, so an image layer takes over the one in the middle as it is, after
//! directories of its own. [`Segments`] says where they lie; who writes a package has it from
//! [`write`], who reads one from [`Package::segments`]. To all others it is an ordinary gzip member.
//!
//! Nothing in a package announces its segments. A reader looks for the fixed bytes of the end
//! blocks and for a flush where the last directory ends, and believes only what it inflated: so no
//! package can claim a segment that holds something else than its tar entries, or that would
//! swallow what a layer puts after it.

mod data;
mod error;
mod info;
mod manifest;
mod pieces;
mod read;
mod run;
mod seal;
mod segments;
mod v3;
mod visit;
mod write;
mod write_v3;

pub use data::Data;
pub use error::{PackageError, Part};
pub use info::{Defect, InfoError, PackageInfo, TermList, Ungrammatical};
pub use manifest::{Entry, EntryKind, Manifest};
pub(crate) use pieces::next_of;
pub use read::{Format, Package};
pub use run::{Deflated, Run, RunError};
pub use seal::Seal;
pub use segments::{Segment, Segments};
pub use write::{PackageContents, Written, write};
pub use write_v3::{Listing, Packing, WrittenV3, stream_v3, write_v3};

use std::fmt;

use serde::{Deserialize, Serialize};

/// Decompressed bytes of signature and control members together.
pub const MAXIMUM_CONTROL: u64 = 10 << 20;

/// Bytes of a script; apk fails beyond.
pub const MAXIMUM_SCRIPT: u64 = 256 << 10;

/// When a script of a package runs. Ordered by file name, as the control member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// After removal.
    PostDeinstall,
    /// After installation.
    PostInstall,
    /// After an upgrade.
    PostUpgrade,
    /// Before removal.
    PreDeinstall,
    /// Before installation.
    PreInstall,
    /// Before an upgrade.
    PreUpgrade,
    /// When directories that match [`PackageInfo::triggers`] changed.
    Trigger,
}

impl Script {
    /// Every script.
    pub const ALL: [Script; 7] = [
        Script::PostDeinstall,
        Script::PostInstall,
        Script::PostUpgrade,
        Script::PreDeinstall,
        Script::PreInstall,
        Script::PreUpgrade,
        Script::Trigger,
    ];

    /// apk's name: `pre-install` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Script::PostDeinstall => "post-deinstall",
            Script::PostInstall => "post-install",
            Script::PostUpgrade => "post-upgrade",
            Script::PreDeinstall => "pre-deinstall",
            Script::PreInstall => "pre-install",
            Script::PreUpgrade => "pre-upgrade",
            Script::Trigger => "trigger",
        }
    }

    /// The script that apk calls `name`.
    pub fn from_name(name: &str) -> Option<Script> {
        Script::ALL
            .into_iter()
            .find(|script| script.as_str() == name)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
