//! Reading a .deb (deb(5)): its control file, and its data as a tree.

use std::io::Read;

use archive::tar::Reader as TarReader;
use archive::tree::FileTree;
use archive::{Limits, ar, decompress};
use tempfile::TempDir;

use super::Seed;
use super::error::DebDefect;
use super::tree;

/// A control file is a page of text.
const LARGEST_CONTROL: u64 = 1 << 20;

/// A .deb in memory.
pub(super) struct Deb {
    /// The control file's text.
    pub(super) control: String,
    /// The files, moved and picked as the seed wants.
    pub(super) tree: FileTree,
    /// Holds the larger files of the tree.
    _scratch: TempDir,
}

/// Reads a .deb, with its larger files in `scratch`; `omit` and `keep` of the seed decide which files come along.
pub(super) fn read(deb: impl Read + Send, seed: &Seed, scratch: TempDir) -> Result<Deb, DebDefect> {
    let limits = Limits::default();
    let mut members = ar::Reader::new(deb)?;
    let mut control = None;
    let mut files = None;
    while let Some(member) = members.next()? {
        let name = member.name().trim_end_matches('/').to_owned();
        if name.starts_with("control.tar") {
            let reader = TarReader::new(decompress::open(member, limits)?, limits);
            control = Some(control_file(reader)?);
        } else if name.starts_with("data.tar") {
            let reader = TarReader::new(decompress::open(member, limits)?, limits);
            files = Some(tree::read(reader, seed, scratch.path())?);
        }
    }
    Ok(Deb {
        control: control.ok_or(DebDefect::Missing("control file"))?,
        tree: files.ok_or(DebDefect::Missing("data.tar"))?,
        _scratch: scratch,
    })
}

fn control_file<R: Read>(mut reader: TarReader<R>) -> Result<String, DebDefect> {
    while let Some(entry) = reader.next()? {
        if entry.header().path == "control" {
            let mut bytes = Vec::new();
            entry.take(LARGEST_CONTROL).read_to_end(&mut bytes)?;
            return String::from_utf8(bytes).map_err(|_| DebDefect::NotUtf8);
        }
    }
    Err(DebDefect::Missing("control file"))
}
