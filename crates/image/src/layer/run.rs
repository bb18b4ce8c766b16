//! Runs of entries: what a layer is stitched from.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use apk::dependency::Identity;
use apk::package::Entry;
use archive::tar::{Header, Writer};
use archive::tree::{Content, Node, NodeKind};
use base::Digest;

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

/// Entries as tar, without its end.
pub(super) struct ItemReader<'a> {
    items: std::slice::Iter<'a, Item<'a>>,
    /// What stands before a content, or behind it.
    between: io::Cursor<Vec<u8>>,
    content: Option<(&'a Item<'a>, Box<dyn Read + Send + 'a>, u64)>,
}

impl<'a> ItemReader<'a> {
    pub(super) fn new(items: &'a [Item<'a>]) -> ItemReader<'a> {
        ItemReader {
            items: items.iter(),
            between: io::Cursor::default(),
            content: None,
        }
    }

    /// Begins the next entry, if there is one.
    fn next(&mut self) -> Result<bool, LayerError> {
        let Some(item) = self.items.next() else {
            return Ok(false);
        };
        self.between = io::Cursor::new(item.header_bytes()?);
        if let Some(content) = item.content {
            let reader = content.open();
            let reader = reader.map_err(|source| unreadable(&item.header, source))?;
            self.content = Some((item, reader, item.header.kind.size()));
        }
        Ok(true)
    }

    fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let Some((item, content, left)) = &mut self.content else {
            return Ok(0);
        };
        let failed = |source| unreadable(&item.header, source);
        let most = buffer
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        let count = loop {
            match content.read(&mut buffer[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(failed)?,
            }
        };
        *left -= count as u64;
        if *left == 0 {
            if content.read(&mut [0]).map_err(failed)? > 0 {
                return Err(failed(io::Error::other("it grew while it was read")));
            }
            self.between = io::Cursor::new(vec![0; item.padding()]);
            self.content = None;
        } else if count == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(count)
    }
}

impl Read for ItemReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let mut count = self.between.read(rest)?;
            if count == 0 {
                count = self.read_content(rest).map_err(io::Error::other)?;
            }
            if count == 0 && self.content.is_none() && !self.next().map_err(io::Error::other)? {
                break;
            }
            filled += count;
        }
        Ok(filled)
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

/// SHA-256 of entries as tar.
pub(super) fn digest(items: &[Item<'_>]) -> Result<Digest, LayerError> {
    let digested = Digest::of_all(ItemReader::new(items));
    Ok(digested.map_err(LayerError::of_reading)?.0)
}

/// The header of an entry of a package as packages of polpo's own have it: with its checksum.
pub(super) fn checked_header(entry: &Entry, mut header: Header) -> Header {
    if let Some(Identity::Sha1(checksum)) = entry.checksum {
        header.checksum = Some(checksum);
    }
    header
}

#[cfg(test)]
mod tests {
    use archive::tree::TreePath;

    use super::*;

    fn node(size: usize) -> Node {
        Node::file((0..size).map(|at| (at * 7) as u8).collect::<Vec<u8>>())
    }

    fn item<'a>(path: &str, node: &'a Node) -> Item<'a> {
        Item {
            header: node.header(&TreePath::new(path).unwrap()),
            content: content_of(node),
        }
    }

    #[test]
    fn entries_are_read_as_they_are_written() {
        let nodes = [0, 1, 511, 512, 513, 70_000].map(node);
        let long = "d/".repeat(80);
        let mut items: Vec<Item<'_>> = nodes
            .iter()
            .zip(0..)
            .map(|(node, number)| item(&format!("{long}{number}"), node))
            .collect();
        let directory = Node::directory();
        items.insert(3, item("d", &directory));
        let mut writer = Writer::new(Vec::new());
        for item in &items {
            let content = item
                .content
                .map_or(Vec::new(), |content| content.read().unwrap());
            writer.append(&item.header, &content[..]).unwrap();
        }
        let expected = writer.into_inner();
        assert_eq!(digest(&items).unwrap(), Digest::of(&expected));
        for size in [1, 7, 512, 1 << 17] {
            let mut reader = ItemReader::new(&items);
            let (mut found, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                let count = reader.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                found.extend_from_slice(&buffer[..count]);
            }
            assert!(found == expected, "{size}");
        }
    }

    #[test]
    fn a_content_of_another_length_is_told() {
        for (size, said) in [
            (9, "can't read /x for a layer: it grew while it was read"),
            (11, "can't read /x for a layer: unexpected end of file"),
        ] {
            let (ten, other) = (node(10), node(size));
            let mut item = item("x", &other);
            item.content = content_of(&ten);
            let items = [item];
            let read = ItemReader::new(&items).read_to_end(&mut Vec::new());
            let error = LayerError::of_reading(read.unwrap_err());
            assert_eq!(error.to_string(), said);
        }
    }
}
