//! How layers are compressed.

use std::fmt;

use archive::{frames, segment};
use oci::media_type;
use serde::{Deserialize, Serialize};

/// How an image's layers are compressed. What they hold, and so their diffIDs, is the same with all but
/// [`Compression::Estargz`], which adds its table of contents as a last entry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// gzip: every program takes it.
    #[default]
    Gzip,
    /// zstd: smaller, and unpacked faster.
    Zstd,
    /// zstd at a higher level: smaller still, and slower to make.
    Best,
    /// zstd with a frame for each file and a table of contents, of which podman and CRI-O fetch only
    /// the files they don't have.
    ZstdChunked,
    /// gzip with a member for each file and a table of contents, by which containerd's stargz
    /// snapshotter starts containers before they are fetched.
    Estargz,
}

impl Compression {
    /// The media type of its layers.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::Gzip | Compression::Estargz => media_type::LAYER_TAR_GZIP,
            Compression::Zstd | Compression::Best | Compression::ZstdChunked => {
                media_type::LAYER_TAR_ZSTD
            }
        }
    }

    /// Whether its layers can be fetched file by file.
    pub fn is_lazy(self) -> bool {
        matches!(self, Compression::ZstdChunked | Compression::Estargz)
    }

    /// `bytes` on their own: a frame or a member.
    pub(super) fn unit(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Compression::Gzip | Compression::Estargz => {
                let segment = segment::deflate(bytes)?;
                segment::splice([&segment], Vec::with_capacity(segment.deflate.len() + 32))
            }
            Compression::Zstd | Compression::Best | Compression::ZstdChunked => {
                frames::frame(bytes, self.level())
            }
        }
    }

    /// zstd's level.
    pub(super) fn level(self) -> i32 {
        match self {
            Compression::Best => frames::BEST,
            _ => frames::LEVEL,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Best => "best",
            Compression::ZstdChunked => "zstd:chunked",
            Compression::Estargz => "estargz",
        })
    }
}
