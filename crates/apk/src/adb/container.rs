use std::io::{self, Read, Write};

use archive::Limits;
use archive::decompress::{self, Format};

use super::block::{self, BlockKind};
use super::{AdbError, Compression, MAXIMUM_PAYLOAD, Signature, schema};

/// `ADB.`, before a schema number.
const MAGIC: [u8; 4] = *b"ADB.";
/// Bytes of a signature block; apk's own are below 2048.
const MAXIMUM_SIGNATURE: u64 = 64 << 10;
/// Signature blocks of a file.
const MAXIMUM_SIGNATURES: usize = 256;

/// Reads a file block by block, decompressing; holds no data block in memory.
pub struct Reader<'a> {
    source: Box<dyn Read + Send + 'a>,
    compression: Compression,
    schema: u32,
    /// The kind of the block before, none at the start.
    last: Option<BlockKind>,
    /// Bytes of the current block that were not read yet.
    left: u64,
    /// Bytes of padding after them.
    padding: usize,
    /// A block whose header was read and which was not handed out.
    pending: Option<(BlockKind, u64)>,
}

/// A file's payload and what vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The bytes of the ADB block.
    pub payload: Vec<u8>,
    /// Its signatures, none of them verified.
    pub signatures: Vec<Signature>,
    /// How many signature blocks were of a version that is not known.
    pub skipped: usize,
}

/// A data block: the contents of a file. To be read from the [`Reader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataBlock {
    /// The number of the file's directory among the package's, from 1.
    pub path: u32,
    /// The file's number in its directory, from 1.
    pub file: u32,
    /// Bytes of contents.
    pub length: u64,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("compression", &self.compression)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Reads the header of a file; `limits` bound what it may decompress to.
    ///
    /// # Errors
    /// It is no ADB, or compressed in a way that is not known.
    pub fn new(file: impl Read + Send + 'a, limits: Limits) -> Result<Reader<'a>, AdbError> {
        let (compression, source) = decompressed(file, limits)?;
        Reader::within(compression, source)
    }

    /// Reads what [`decompressed`] gave, which may have been passed on in another way.
    ///
    /// # Errors
    /// It is no ADB.
    pub fn within(
        compression: Compression,
        source: impl Read + Send + 'a,
    ) -> Result<Reader<'a>, AdbError> {
        let mut source: Box<dyn Read + Send + 'a> = Box::new(source);
        let (mut magic, mut schema) = ([0; 4], [0; 4]);
        fill(&mut source, &mut magic, "its header")?;
        if magic != MAGIC {
            return Err(AdbError::NotAdbWithin);
        }
        fill(&mut source, &mut schema, "its header")?;
        Ok(Reader {
            source,
            compression,
            schema: u32::from_le_bytes(schema),
            last: None,
            left: 0,
            padding: 0,
            pending: None,
        })
    }

    /// How the file is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The number of its schema.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Checks that it is what the caller can use.
    ///
    /// # Errors
    /// [`AdbError::Schema`] if not.
    pub fn expect(&self, wanted: &'static schema::Schema) -> Result<(), AdbError> {
        if self.schema == wanted.id {
            Ok(())
        } else {
            Err(AdbError::Schema {
                wanted: wanted.name,
                found: self.schema,
            })
        }
    }

    /// The next block, of which nothing was read yet: its kind and the bytes it has. Its contents
    /// are read from this reader; what is left of the one before is passed over.
    ///
    /// # Errors
    /// The file is truncated, or its blocks are not the ADB, signatures, data in this order.
    pub fn next_block(&mut self) -> Result<Option<(BlockKind, u64)>, AdbError> {
        if let Some(pending) = self.pending.take() {
            return Ok(Some(pending));
        }
        self.pass()?;
        let mut bytes = [0; 16];
        let (word, rest) = bytes.split_at_mut(4);
        match read_up_to(&mut self.source, word)? {
            0 if self.last.is_none() => return Err(AdbError::NoPayload),
            0 => return Ok(None),
            4 => {}
            _ => {
                return Err(AdbError::Truncated {
                    within: "a block's header",
                });
            }
        }
        let word = u32::from_le_bytes(*word.first_chunk().unwrap_or(&[0; 4]));
        let length = block::header_length(word);
        if let Some(rest) = rest.get_mut(..length - 4) {
            fill(&mut self.source, rest, "a block's header")?;
        }
        let (kind, contents) = block::read_header(&bytes)?;
        let allowed = match self.last {
            None if kind == BlockKind::Adb => None,
            None => Some("the ADB block should"),
            Some(_) if kind == BlockKind::Adb => Some("another one stood already"),
            Some(BlockKind::Data) if kind != BlockKind::Data => Some("only data may follow"),
            Some(_) => None,
        };
        if let Some(allowed) = allowed {
            return Err(AdbError::BlockOrder {
                found: kind.name(),
                allowed,
            });
        }
        self.last = Some(kind);
        self.left = contents;
        self.padding = block::padding((length as u64).wrapping_add(contents));
        Ok(Some((kind, contents)))
    }

    /// Passes over what is left of the block.
    fn pass(&mut self) -> Result<(), AdbError> {
        let mut left = self.left;
        if left > 0 {
            let passed = io::copy(&mut self.source.by_ref().take(left), &mut io::sink());
            left -= passed.map_err(truncation("a block"))?;
        }
        if left > 0 {
            return Err(AdbError::Truncated { within: "a block" });
        }
        self.left = 0;
        let mut padding = [0; 8];
        if let Some(padding) = padding.get_mut(..self.padding) {
            fill(&mut self.source, padding, "the padding of a block")?;
        }
        self.padding = 0;
        Ok(())
    }

    /// All of a block that may have `limit` bytes.
    fn block_in_memory(&mut self, length: u64) -> Result<Vec<u8>, AdbError> {
        let mut bytes = Vec::new();
        self.by_ref()
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(truncation("a block"))?;
        if (bytes.len() as u64) < length {
            return Err(AdbError::Truncated { within: "a block" });
        }
        Ok(bytes)
    }

    /// The payload and its signatures: all that stands before the data. To be called first.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn head(&mut self) -> Result<Head, AdbError> {
        let mut head = Head::default();
        while let Some((kind, length)) = self.next_block()? {
            match kind {
                BlockKind::Adb if length > MAXIMUM_PAYLOAD => return Err(AdbError::TooLarge),
                BlockKind::Adb => head.payload = self.block_in_memory(length)?,
                BlockKind::Signature => {
                    let count = head.signatures.len() + head.skipped;
                    if length > MAXIMUM_SIGNATURE || count >= MAXIMUM_SIGNATURES {
                        head.skipped = head.skipped.saturating_add(1);
                        continue;
                    }
                    match Signature::from_block(&self.block_in_memory(length)?) {
                        Some(signature) => head.signatures.push(signature),
                        None => head.skipped += 1,
                    }
                }
                BlockKind::Data => {
                    self.pending = Some((kind, length));
                    break;
                }
            }
        }
        Ok(head)
    }

    /// Passes over all that stands before the data, and compares the payload on the way.
    ///
    /// # Errors
    /// See [`AdbError`]; [`AdbError::Changed`] when the payload is another one.
    pub fn pass_head(&mut self, payload: &[u8]) -> Result<(), AdbError> {
        while let Some((kind, length)) = self.next_block()? {
            match kind {
                BlockKind::Adb => {
                    if length != payload.len() as u64 || !self.is_next(payload)? {
                        return Err(AdbError::Changed);
                    }
                }
                BlockKind::Signature => {}
                BlockKind::Data => {
                    self.pending = Some((kind, length));
                    break;
                }
            }
        }
        Ok(())
    }

    fn is_next(&mut self, expected: &[u8]) -> Result<bool, AdbError> {
        let mut buffer = vec![0; 64 << 10];
        for expected in expected.chunks(buffer.len()) {
            let Some(buffer) = buffer.get_mut(..expected.len()) else {
                return Ok(false);
            };
            fill(self, buffer, "a block")?;
            if buffer != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next data block, after [`Reader::head`]; its contents are read from this reader.
    ///
    /// # Errors
    /// See [`AdbError`].
    pub fn next_data(&mut self) -> Result<Option<DataBlock>, AdbError> {
        let Some((_, length)) = self.next_block()? else {
            return Ok(None);
        };
        let mut numbers = [0; 8];
        let length = length
            .checked_sub(numbers.len() as u64)
            .ok_or(AdbError::Truncated {
                within: "the numbers of a data block",
            })?;
        fill(&mut self.source, &mut numbers, "a block")?;
        self.left = length;
        let [a, b, c, d, e, f, g, h] = numbers;
        Ok(Some(DataBlock {
            path: u32::from_le_bytes([a, b, c, d]),
            file: u32::from_le_bytes([e, f, g, h]),
            length,
        }))
    }
}

impl Read for Reader<'_> {
    /// Reads the contents of the current block.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let count = self.source.read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Reads how a file is compressed; gives it decompressed, from `ADB.` on. `limits` bound what comes
/// out of it.
///
/// # Errors
/// It is no ADB, or compressed in a way that is not known.
pub fn decompressed<'a>(
    mut file: impl Read + Send + 'a,
    limits: Limits,
) -> Result<(Compression, Box<dyn Read + Send + 'a>), AdbError> {
    let mut magic = [0; 4];
    fill(&mut file, &mut magic, "its header")?;
    let compression = match &magic {
        b"ADB." => {
            let file = io::Cursor::new(magic).chain(file);
            let source = decompress::open_as(Format::Plain, file, limits)?;
            return Ok((Compression::None, source));
        }
        b"ADBd" => Compression::Deflate(0),
        b"ADBc" => {
            let mut how = [0; 2];
            fill(&mut file, &mut how, "its header")?;
            let [algorithm, level] = how;
            Compression::from_header(algorithm, level).ok_or(AdbError::Compression(algorithm))?
        }
        [0x1f, 0x8b, ..] => return Err(AdbError::Gzip),
        _ => return Err(AdbError::NotAdb),
    };
    let format = match compression {
        Compression::None => Format::Plain,
        Compression::Deflate(_) => Format::Deflate,
        Compression::Zstd(_) => Format::Zstd,
    };
    Ok((compression, decompress::open_as(format, file, limits)?))
}

/// A stream that ends too early is truncated; else the system has its own reason.
fn truncation(within: &'static str) -> impl FnOnce(io::Error) -> AdbError {
    move |error| {
        if crate::member::is_truncation(&error) {
            AdbError::Truncated { within }
        } else {
            AdbError::Io(error)
        }
    }
}

fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, AdbError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(truncation("what it holds compressed")(error)),
        }
    }
    Ok(filled)
}

fn fill(source: &mut impl Read, buffer: &mut [u8], within: &'static str) -> Result<(), AdbError> {
    if read_up_to(source, buffer)? == buffer.len() {
        Ok(())
    } else {
        Err(AdbError::Truncated { within })
    }
}

/// Writes a file block by block. Compress it by writing to a [`super::Compressor`].
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// `out` failed.
    pub fn new(mut out: W, schema: u32) -> io::Result<Writer<W>> {
        out.write_all(&MAGIC)?;
        out.write_all(&schema.to_le_bytes())?;
        Ok(Writer { out })
    }

    /// Writes the payload and its signatures, to be followed by data alone.
    ///
    /// # Errors
    /// `out` failed.
    pub fn head(&mut self, payload: &[u8], signatures: &[Signature]) -> io::Result<()> {
        self.block(BlockKind::Adb, payload)?;
        signatures
            .iter()
            .try_for_each(|signature| self.block(BlockKind::Signature, &signature.to_block()))
    }

    /// Writes a block.
    ///
    /// # Errors
    /// `out` failed.
    pub fn block(&mut self, kind: BlockKind, contents: &[u8]) -> io::Result<()> {
        self.stream(kind, &[], contents.len() as u64, contents)
    }

    /// Writes a data block.
    ///
    /// # Errors
    /// `out` or `contents` failed, or `contents` has not the bytes that `block` says.
    pub fn data(&mut self, block: DataBlock, contents: impl Read) -> io::Result<()> {
        let mut numbers = block.path.to_le_bytes().to_vec();
        numbers.extend(block.file.to_le_bytes());
        self.stream(BlockKind::Data, &numbers, block.length, contents)
    }

    /// Writes a block of `length` bytes out of `contents`, after those of `start`.
    ///
    /// # Errors
    /// As [`Writer::data`].
    pub fn stream(
        &mut self,
        kind: BlockKind,
        start: &[u8],
        length: u64,
        mut contents: impl Read,
    ) -> io::Result<()> {
        let all = length
            .checked_add(start.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        let header = block::header(kind, all);
        self.out.write_all(&header)?;
        self.out.write_all(start)?;
        let copied = io::copy(&mut contents.by_ref().take(length), &mut self.out)?;
        if copied != length || contents.read(&mut [0])? != 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its size changed while it was read",
            ));
        }
        let padding = block::padding((header.len() as u64).wrapping_add(all));
        self.out
            .write_all([0; 8].get(..padding).unwrap_or_default())
    }

    /// The writer beneath.
    pub fn into_inner(self) -> W {
        self.out
    }
}
