//! Layers of which programs fetch single files: every file is compressed on its own, and a table of
//! contents says where it is.
//!
//! zstd:chunked, as github.com/containers/storage has it (`pkg/chunked`): the table and a description of
//! the tar's headers (tar-split) stand in skippable frames at the end, and annotations of the layer say
//! where. eStargz, as github.com/containerd/stargz-snapshotter has it (`docs/estargz.md`): the table is
//! the tar's last entry, and a last, empty gzip member says where.

use std::collections::BTreeMap;
use std::io::{self, Write};

use archive::ordered::Ordered;
use archive::tar::{EntryKind, Header, Writer};
use archive::{frames, tar};
use base::{Digest, Epoch, Sha256Hasher};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::run::{Item, Opened};
use super::tar_split::{self, TarSplit};
use super::{Compression, LayerError};

/// Files are cut into pieces of this size, each of which can be fetched.
const CHUNK: usize = 4 << 20;

const MANIFEST_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
const MANIFEST_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const TAR_SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// The kind of table: as CRFS has it.
const MANIFEST_TYPE: u64 = 1;
const CHUNKED_MAGIC: [u8; 8] = *b"GNUlInUx";
/// Magic number and length of a skippable frame.
const FRAME_HEAD: u64 = 8;

const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
const TOC_NAME: &str = "stargz.index.json";

/// Where a file's content is in a run, from the run's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PackedFile {
    digest: Digest,
    crc64: u64,
    chunks: Vec<PackedChunk>,
    end: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PackedChunk {
    offset: u64,
    digest: Digest,
}

/// What was compressed on its own.
struct Unit {
    bytes: Vec<u8>,
    /// What it was made of.
    spent: Vec<u8>,
    /// Of a piece of a file: which file, and its sums.
    piece: Option<(usize, Digest, u64)>,
}

/// Compresses a run file by file. Gives its length and where its files are, those that aren't empty.
pub(super) fn pack(
    compression: Compression,
    items: &[Item<'_>],
    out: &mut impl Write,
) -> Result<(u64, Vec<PackedFile>), LayerError> {
    let mut packing = Packing {
        compression,
        out,
        under_way: Ordered::default(),
        files: Vec::new(),
        position: 0,
        opened: Opened::default(),
        spare: Vec::new(),
    };
    let mut between = Vec::new();
    for item in items {
        between.extend_from_slice(&item.header_bytes()?);
        let size = item.header.kind.size();
        if size > 0 {
            packing.push(std::mem::take(&mut between), None)?;
            packing.file(item)?;
        }
        between.resize(between.len() + item.padding(), 0);
    }
    if !between.is_empty() {
        packing.push(between, None)?;
    }
    while let Some(unit) = packing.under_way.take() {
        packing.write(unit?)?;
    }
    Ok((packing.position, packing.files))
}

struct Packing<'o, W> {
    compression: Compression,
    out: &'o mut W,
    under_way: Ordered<io::Result<Unit>>,
    files: Vec<PackedFile>,
    position: u64,
    opened: Opened,
    spare: Vec<Vec<u8>>,
}

impl<W: Write> Packing<'_, W> {
    fn file(&mut self, item: &Item<'_>) -> Result<(), LayerError> {
        let place = self.files.len();
        self.files.push(PackedFile {
            digest: Digest::from_bytes([0; 32]),
            crc64: 0,
            chunks: Vec::new(),
            end: 0,
        });
        let mut hasher = Sha256Hasher::default();
        let mut crc64 = 0;
        let is_several = item.header.kind.size() > CHUNK as u64;
        let mut opened = std::mem::take(&mut self.opened);
        item.pieces(&mut opened, CHUNK, |piece| {
            if is_several {
                hasher.update(&piece);
                crc64 = tar_split::crc64(crc64, &piece);
            }
            self.push(piece, Some(place))?;
            // Large pieces of memory are given back late: they are filled again.
            let mut spare = self.spare.pop().unwrap_or_default();
            spare.clear();
            Ok(spare)
        })?;
        self.opened = opened;
        if is_several {
            // Its pieces are not all written yet: they only add to their list.
            if let Some(file) = self.files.get_mut(place) {
                file.digest = hasher.finish();
                file.crc64 = crc64;
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>, file: Option<usize>) -> Result<(), LayerError> {
        let compression = self.compression;
        let oldest = self.under_way.push(move || {
            Ok(Unit {
                bytes: compression.unit(&bytes)?,
                piece: file.map(|file| (file, Digest::of(&bytes), tar_split::crc64(0, &bytes))),
                spent: bytes,
            })
        });
        match oldest {
            Some(unit) => self.write(unit?),
            None => Ok(()),
        }
    }

    fn write(&mut self, unit: Unit) -> Result<(), LayerError> {
        let offset = self.position;
        if unit.spent.capacity() >= CHUNK {
            self.spare.push(unit.spent);
        }
        self.out.write_all(&unit.bytes)?;
        self.position += unit.bytes.len() as u64;
        if let Some((place, digest, crc64)) = unit.piece
            && let Some(file) = self.files.get_mut(place)
        {
            if file.chunks.is_empty() && file.digest == Digest::from_bytes([0; 32]) {
                file.digest = digest;
                file.crc64 = crc64;
            }
            file.chunks.push(PackedChunk { offset, digest });
            file.end = self.position;
        }
        Ok(())
    }
}

/// An entry of a table of contents, of either format.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TableEntry {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group_name: String,
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    modification_time: String,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<Digest>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct TableOfContents<'t> {
    version: u32,
    entries: &'t [TableEntry],
    #[serde(rename = "tarSplitDigest", skip_serializing_if = "Option::is_none")]
    tar_split: Option<Digest>,
}

/// The end of a layer: what says where its files are.
pub(super) struct Table {
    compression: Compression,
    entries: Vec<TableEntry>,
    tar_split: TarSplit,
}

/// What a table adds to a layer.
#[derive(Default)]
pub(super) struct End {
    pub(super) annotations: BTreeMap<String, String>,
    /// The end of the tar.
    pub(super) tar: Vec<u8>,
    /// What follows the layer's runs in the blob.
    pub(super) bytes: Vec<u8>,
}

impl Table {
    pub(super) fn new(compression: Compression) -> Table {
        Table {
            compression,
            entries: Vec::new(),
            tar_split: TarSplit::default(),
        }
    }

    /// Adds a run that stands at `base` in the blob.
    pub(super) fn add(
        &mut self,
        items: &[Item<'_>],
        files: &[PackedFile],
        base: u64,
    ) -> Result<(), LayerError> {
        let mut files = files.iter();
        for item in items {
            let header = &item.header;
            let file = match header.kind.size() {
                0 => None,
                _ => files.next(),
            };
            if self.compression == Compression::ZstdChunked {
                let crc64 = file.map(|file| file.crc64);
                self.tar_split
                    .add(&item.header_bytes()?, header, crc64, item.padding())?;
            }
            let mut entry = self.entry(header);
            let Some(file) = file else {
                self.entries.push(entry);
                continue;
            };
            entry.digest = Some(file.digest);
            entry.end_offset = match self.compression {
                Compression::ZstdChunked => base + file.end,
                _ => 0,
            };
            let is_several = file.chunks.len() > 1;
            let with_digest = is_several || self.compression == Compression::Estargz;
            for (place, chunk) in file.chunks.iter().enumerate() {
                let start = (place * CHUNK) as u64;
                let mut entry = match place {
                    0 => std::mem::take(&mut entry),
                    _ => TableEntry {
                        kind: "chunk",
                        name: header.path.clone(),
                        chunk_offset: start,
                        ..TableEntry::default()
                    },
                };
                entry.offset = base + chunk.offset;
                entry.chunk_digest = with_digest.then_some(chunk.digest);
                if is_several {
                    entry.chunk_size = (CHUNK as u64).min(header.kind.size() - start);
                }
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    fn entry(&self, header: &Header) -> TableEntry {
        let (mut link_name, mut dev_major, mut dev_minor) = (String::new(), 0, 0);
        let kind = match &header.kind {
            EntryKind::File { .. } => "reg",
            EntryKind::Directory => "dir",
            EntryKind::Symlink { target } => {
                link_name.clone_from(target);
                "symlink"
            }
            EntryKind::HardLink { target } => {
                link_name.clone_from(target);
                "hardlink"
            }
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                (dev_major, dev_minor) = (u64::from(*major), u64::from(*minor));
                match header.kind {
                    EntryKind::CharDevice { .. } => "char",
                    _ => "block",
                }
            }
            EntryKind::Fifo => "fifo",
        };
        // containers/storage knows no names of owners.
        let name = |name: &String| match self.compression {
            Compression::Estargz => name.clone(),
            _ => String::new(),
        };
        TableEntry {
            kind,
            name: header.path.clone(),
            link_name,
            mode: u64::from(header.mode),
            size: header.kind.size(),
            uid: header.uid,
            gid: header.gid,
            user_name: name(&header.user),
            group_name: name(&header.group),
            modification_time: Epoch(header.mtime).rfc3339(),
            dev_major,
            dev_minor,
            xattrs: header
                .xattrs
                .iter()
                .map(|(name, value)| (name.clone(), STANDARD.encode(value)))
                .collect(),
            ..TableEntry::default()
        }
    }

    /// Ends the layer, whose runs end at `position` in the blob.
    pub(super) fn finish(self, position: u64) -> Result<End, LayerError> {
        match self.compression {
            Compression::Estargz => self.finish_estargz(position),
            _ => self.finish_chunked(position),
        }
    }

    fn finish_chunked(self, position: u64) -> Result<End, LayerError> {
        const ZEROS: [u8; 1024] = [0; 1024];
        let mut bytes = self.compression.unit(&ZEROS)?;
        let tar_split = self.tar_split.finish(&ZEROS)?;
        let packed_split = self.compression.unit(&tar_split)?;
        let table = serde_json::to_vec(&TableOfContents {
            version: 1,
            entries: &self.entries,
            tar_split: Some(Digest::of(&packed_split)),
        })?;
        let packed_table = self.compression.unit(&table)?;
        let mut position = position + bytes.len() as u64;
        let mut numbers = Vec::new();
        for (packed, length) in [
            (&packed_table, table.len()),
            (&packed_split, tar_split.len()),
        ] {
            bytes.extend_from_slice(&frames::skippable(packed)?);
            numbers.push([position + FRAME_HEAD, packed.len() as u64, length as u64]);
            position += FRAME_HEAD + packed.len() as u64;
        }
        let mut annotations = BTreeMap::new();
        let mut footer = Vec::new();
        if let [table @ [a, b, c], split @ [d, e, f]] = &numbers[..] {
            annotations.insert(
                MANIFEST_POSITION.to_owned(),
                format!("{a}:{b}:{c}:{MANIFEST_TYPE}"),
            );
            annotations.insert(TAR_SPLIT_POSITION.to_owned(), format!("{d}:{e}:{f}"));
            for number in table.iter().chain([&MANIFEST_TYPE]).chain(split) {
                footer.extend_from_slice(&number.to_le_bytes());
            }
        }
        annotations.insert(
            MANIFEST_CHECKSUM.to_owned(),
            Digest::of(&packed_table).to_string(),
        );
        footer.extend_from_slice(&CHUNKED_MAGIC);
        bytes.extend_from_slice(&frames::skippable(&footer)?);
        Ok(End {
            annotations,
            tar: ZEROS.to_vec(),
            bytes,
        })
    }

    fn finish_estargz(self, position: u64) -> Result<End, LayerError> {
        let table = serde_json::to_vec(&TableOfContents {
            version: 1,
            entries: &self.entries,
            tar_split: None,
        })?;
        let header = Header::file(TOC_NAME, table.len() as u64);
        let ended = |source| LayerError::Entries { source };
        let mut writer = Writer::new(Vec::new());
        writer.append(&header, &table[..]).map_err(ended)?;
        let tar = writer
            .finish()
            .map_err(|error: tar::WriteError| ended(error))?;
        let mut bytes = self.compression.unit(&tar)?;
        bytes.extend_from_slice(&stargz_footer(position));
        let digest = Digest::of(&table).to_string();
        Ok(End {
            annotations: BTreeMap::from([(TOC_DIGEST.to_owned(), digest)]),
            tar,
            bytes,
        })
    }
}

/// An empty gzip member whose extra field says where the table's member begins.
fn stargz_footer(position: u64) -> Vec<u8> {
    let field = format!("{position:016x}STARGZ");
    // RFC 1952: deflate, with an extra field, no time, unknown system.
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    footer.extend_from_slice(&(field.len() as u16 + 4).to_le_bytes());
    footer.extend_from_slice(b"SG");
    footer.extend_from_slice(&(field.len() as u16).to_le_bytes());
    footer.extend_from_slice(field.as_bytes());
    // One last, stored, empty block, then sum and length of nothing.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer.extend_from_slice(&[0; 8]);
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_is_one_member_of_51_bytes() {
        let footer = stargz_footer(0xabc);
        assert_eq!(footer.len(), 51);
        assert_eq!(&footer[16..38], b"0000000000000abcSTARGZ");
        let mut members = archive::gzip::Members::new(&footer[..], archive::Limits::default());
        let mut content = Vec::new();
        io::Read::read_to_end(&mut members.next().unwrap().unwrap(), &mut content).unwrap();
        assert!(content.is_empty());
        assert!(members.next().unwrap().is_none());
    }
}
