//! Runs of entries: what a layer is stitched from.

use std::io::{self, Read, Write};

use apk::dependency::Identity;
use apk::package::{Entry, Manifest, Segment};
use archive::tar::{Header, Writer};
use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};
use base::{Digest, DigestWriter};

use super::{LayerError, unreadable, unwritable};

/// Zeros up to the next block of a tar.
const BLOCK: u64 = 512;

/// An entry of a layer.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) header: Header,
    /// A file's bytes.
    pub(super) content: Option<&'a Content>,
}

impl Item<'_> {
    /// What stands before the content in a tar.
    pub(super) fn header_bytes(&self) -> Result<Vec<u8>, LayerError> {
        let mut writer = Writer::new(Vec::with_capacity(3 * BLOCK as usize));
        writer
            .header(&self.header)
            .map_err(|source| unwritable(&self.header, source))?;
        Ok(writer.into_inner())
    }

    /// How many zeros follow the content.
    pub(super) fn padding(&self) -> usize {
        let size = self.header.kind.size();
        (size.next_multiple_of(BLOCK) - size) as usize
    }

    /// Reads the content in pieces of this size, the last of which may be shorter.
    pub(super) fn pieces(
        &self,
        size: usize,
        mut take: impl FnMut(Vec<u8>) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        let Some(content) = self.content else {
            return Ok(());
        };
        let failed = |source| unreadable(&self.header, source);
        let mut left = self.header.kind.size();
        let mut content = content.open().map_err(failed)?;
        while left > 0 {
            let mut piece = vec![0; left.min(size as u64) as usize];
            content.read_exact(&mut piece).map_err(failed)?;
            left -= piece.len() as u64;
            take(piece)?;
        }
        match content.read(&mut [0]).map_err(failed)? {
            0 => Ok(()),
            _ => Err(failed(io::Error::other("it grew while it was read"))),
        }
    }
}

/// A file's bytes.
pub(super) fn content_of(node: &Node) -> Option<&Content> {
    match &node.kind {
        NodeKind::File { content, .. } => Some(content),
        _ => None,
    }
}

/// Writes entries as tar, without its end.
pub(super) fn write(items: &[Item<'_>], out: impl Write) -> Result<(), LayerError> {
    let mut writer = Writer::new(out);
    for item in items {
        let appended = match item.content {
            Some(content) => {
                let content = content
                    .open()
                    .map_err(|source| unreadable(&item.header, source))?;
                writer.append(&item.header, content)
            }
            None => writer.append(&item.header, io::empty()),
        };
        appended.map_err(|source| unwritable(&item.header, source))?;
    }
    Ok(())
}

/// SHA-256 of entries as tar.
pub(super) fn digest(items: &[Item<'_>]) -> Result<Digest, LayerError> {
    let mut out = DigestWriter::new(io::sink());
    write(items, &mut out)?;
    Ok(out.finish().1)
}

/// The header of an entry of a package as packages of polpo's own have it: with its checksum.
pub(super) fn checked_header(entry: &Entry, mut header: Header) -> Header {
    if let Some(Identity::Sha1(checksum)) = entry.checksum {
        header.checksum = Some(checksum);
    }
    header
}

/// Whether a segment of a package holds its files as they are written here: then what it inflates to
/// need never be looked at. `tree` is the package's.
pub(crate) fn is_segment_of(
    manifest: &Manifest,
    tree: &FileTree,
    segment: &Segment,
) -> Result<bool, LayerError> {
    let items: Vec<Item<'_>> = manifest
        .entries
        .iter()
        .filter(|entry| !entry.is_directory())
        .filter_map(|entry| {
            let path = TreePath::new(&entry.path).ok()?;
            let node = tree.get(&entry.path)?;
            Some(Item {
                header: checked_header(entry, node.header(&path)),
                content: content_of(node),
            })
        })
        .collect();
    let mut summed = Summed::default();
    write(&items, &mut summed)?;
    let crc32 = summed.crc.finalize();
    Ok((crc32, summed.length) == (segment.crc32, segment.length))
}

#[derive(Default)]
struct Summed {
    crc: crc32fast::Hasher,
    length: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
