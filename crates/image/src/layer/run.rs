//! Runs of entries: what a layer is stitched from.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use apk::dependency::Identity;
use apk::package::Entry;
use archive::tar::{Header, Writer};
use archive::tree::{Content, Node, NodeKind};
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

    /// Reads the content in pieces of this size, the last of which may be shorter. `take` gives back memory
    /// for the next.
    pub(super) fn pieces(
        &self,
        opened: &mut Opened,
        size: usize,
        mut take: impl FnMut(Vec<u8>) -> Result<Vec<u8>, LayerError>,
    ) -> Result<(), LayerError> {
        let Some(content) = self.content else {
            return Ok(());
        };
        let failed = |source| unreadable(&self.header, source);
        let mut left = self.header.kind.size();
        let mut content = opened.open(content).map_err(failed)?;
        let mut piece = Vec::new();
        while left > 0 {
            piece.resize(left.min(size as u64) as usize, 0);
            content.read_exact(&mut piece).map_err(failed)?;
            left -= piece.len() as u64;
            piece = take(piece)?;
        }
        match content.read(&mut [0]).map_err(failed)? {
            0 => Ok(()),
            _ => Err(failed(io::Error::other("it grew while it was read"))),
        }
    }
}

/// The file that contents were read from last: the next is most often in the same.
#[derive(Default)]
pub(super) struct Opened(Option<(Arc<Path>, File)>);

impl Opened {
    pub(super) fn open<'c>(&'c mut self, content: &'c Content) -> io::Result<Box<dyn Read + 'c>> {
        let Content::Part { path, offset, size } = content else {
            return Ok(content.open()?);
        };
        let (_, file) = match self.0.take() {
            Some((other, file)) if other == *path => self.0.insert((other, file)),
            _ => self.0.insert((Arc::clone(path), File::open(path)?)),
        };
        file.seek(SeekFrom::Start(*offset))?;
        Ok(Box::new(file.take(*size)))
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
    let mut opened = Opened::default();
    for item in items {
        let appended = match item.content {
            Some(content) => {
                let content = opened
                    .open(content)
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
