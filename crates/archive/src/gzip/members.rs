use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::limits::Meter;
use crate::{LimitExceeded, Limits};

/// A gzip stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GzipError {
    /// The stream beneath failed.
    #[error("cannot read the gzip stream: {0}")]
    Io(#[source] io::Error),
    /// More came out than the limits allow.
    #[error("the gzip stream is refused: {0}")]
    Limit(#[from] LimitExceeded),
    /// There is something else where a member should start.
    #[error(
        "byte {offset} of the stream should start a gzip member but does not; {}",
        if *.offset == 0 { "this is not a gzip file" } else { "something was appended to the file" }
    )]
    NotGzip {
        /// Where.
        offset: u64,
    },
    /// A header with a method or flags that RFC 1952 does not define, or with a wrong checksum.
    #[error("the gzip member at byte {offset} has a damaged header; fetch or make the file again")]
    Header {
        /// Where the member starts.
        offset: u64,
    },
    /// The stream ends inside a member.
    #[error("the gzip member at byte {offset} is truncated; fetch or make the file again")]
    Truncated {
        /// Where the member starts.
        offset: u64,
    },
    /// The compressed data is wrong.
    #[error("the gzip member at byte {offset} is damaged: {reason}; fetch or make the file again")]
    Damaged {
        /// Where the member starts.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl From<GzipError> for io::Error {
    fn from(error: GzipError) -> io::Error {
        let kind = match &error {
            GzipError::Io(source) => source.kind(),
            GzipError::Limit(_) => io::ErrorKind::FileTooLarge,
            GzipError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// Where a member lies in its stream and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberSummary {
    /// Offset of the member's first byte in the stream.
    pub offset: u64,
    /// Compressed bytes, header and trailer included.
    pub compressed: u64,
    /// Decompressed bytes.
    pub decompressed: u64,
    /// CRC-32 of the decompressed bytes, which was checked against the trailer.
    pub crc32: u32,
}

const INPUT: usize = 64 << 10;
const OUTPUT: usize = 64 << 10;

/// Reads a stream of gzip members one after the other, with exact boundaries. Reads from the stream in
/// pieces of 64 KiB and holds one.
pub struct Members<R> {
    inner: R,
    limits: Limits,
    trailing_garbage: bool,
    input: Box<[u8]>,
    input_start: usize,
    input_end: usize,
    /// Decompressed bytes not handed out yet, so that small reads cost little.
    output: Box<[u8]>,
    output_start: usize,
    output_end: usize,
    offset: u64,
    meter: Meter,
    inflate: Decompress,
    member: Option<Progress>,
}

struct Progress {
    offset: u64,
    decompressed: u64,
    crc: crc32fast::Hasher,
    ended: bool,
}

impl<R: Read> Members<R> {
    /// Reads from the start of a member. `limits` hold for all members together.
    pub fn new(inner: R, limits: Limits) -> Members<R> {
        Members {
            inner,
            limits,
            trailing_garbage: false,
            input: vec![0; INPUT].into(),
            input_start: 0,
            input_end: 0,
            output: vec![0; OUTPUT].into(),
            output_start: 0,
            output_end: 0,
            offset: 0,
            meter: Meter::default(),
            inflate: Decompress::new(false),
            member: None,
        }
    }

    /// Ends the stream, as gzip does, where after the first member something else follows.
    pub(crate) fn ignoring_trailing_garbage(mut self) -> Members<R> {
        self.trailing_garbage = true;
        self
    }

    /// The next member; none at the end of the stream. What is left of the one before is read to its
    /// end first.
    #[expect(
        clippy::should_implement_trait,
        reason = "a member borrows the reader, which no iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Member<'_, R>>, GzipError> {
        self.drain()?;
        if !self.start()? {
            return Ok(None);
        }
        Ok(Some(Member { members: self }))
    }

    /// The number of compressed bytes read by members so far: where the next one starts, once the
    /// present one is at its end.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Begins the next member; false at the end of the stream.
    pub(crate) fn start(&mut self) -> Result<bool, GzipError> {
        let offset = self.offset;
        if !self.refill()? {
            return Ok(false);
        }
        if self.trailing_garbage && offset > 0 && self.input[self.input_start] != 0x1f {
            return Ok(false);
        }
        self.member = Some(Progress {
            offset,
            decompressed: 0,
            crc: crc32fast::Hasher::new(),
            ended: false,
        });
        self.inflate.reset(false);
        self.header(offset)?;
        Ok(true)
    }

    fn header(&mut self, offset: u64) -> Result<(), GzipError> {
        let mut crc = crc32fast::Hasher::new();
        let mut fixed = [0; 10];
        for (place, byte) in fixed.iter_mut().enumerate() {
            *byte = match self.header_byte(&mut crc) {
                Err(GzipError::Truncated { .. }) if place < 2 => {
                    return Err(GzipError::NotGzip { offset });
                }
                byte => byte?,
            };
            if place < 2 && *byte != [0x1f, 0x8b][place] {
                return Err(GzipError::NotGzip { offset });
            }
        }
        let [_, _, method, flags, ..] = fixed;
        if method != 8 || flags & 0b1110_0000 != 0 {
            return Err(GzipError::Header { offset });
        }
        let mut metadata = 0;
        if flags & 4 != 0 {
            let low = self.header_byte(&mut crc)?;
            let high = self.header_byte(&mut crc)?;
            for _ in 0..u16::from_le_bytes([low, high]) {
                metadata += 1;
                self.header_byte(&mut crc)?;
            }
        }
        for flag in [8, 16] {
            if flags & flag == 0 {
                continue;
            }
            while self.header_byte(&mut crc)? != 0 {
                metadata += 1;
                if metadata > self.limits.metadata {
                    return Err(LimitExceeded::Metadata(self.limits.metadata).into());
                }
            }
        }
        if flags & 2 != 0 {
            let expected = crc.clone().finalize() as u16;
            let low = self.header_byte(&mut crc)?;
            let high = self.header_byte(&mut crc)?;
            if u16::from_le_bytes([low, high]) != expected {
                return Err(GzipError::Header { offset });
            }
        }
        Ok(())
    }

    fn header_byte(&mut self, crc: &mut crc32fast::Hasher) -> Result<u8, GzipError> {
        let byte = self.byte()?;
        crc.update(&[byte]);
        Ok(byte)
    }

    fn byte(&mut self) -> Result<u8, GzipError> {
        if !self.refill()? {
            return Err(self.truncated());
        }
        let byte = self.input[self.input_start];
        self.consume(1);
        Ok(byte)
    }

    fn truncated(&self) -> GzipError {
        GzipError::Truncated {
            offset: self.member.as_ref().map_or(0, |member| member.offset),
        }
    }

    /// Has input ready; false at the end of the stream.
    fn refill(&mut self) -> Result<bool, GzipError> {
        while self.input_start == self.input_end {
            match self.inner.read(&mut self.input) {
                Ok(0) => return Ok(false),
                Ok(count) => (self.input_start, self.input_end) = (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(GzipError::Io(error)),
            }
        }
        Ok(true)
    }

    /// Counts `count` bytes of input as the present member's.
    fn consume(&mut self, count: usize) {
        self.input_start += count;
        self.offset += count as u64;
        self.meter.compressed += count as u64;
    }

    /// Decompressed bytes of the present member, 0 of them at its end.
    pub(crate) fn read_member(&mut self, buffer: &mut [u8]) -> Result<usize, GzipError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.output_start == self.output_end {
            if buffer.len() >= OUTPUT {
                return self.inflate_into(buffer);
            }
            let mut output = std::mem::take(&mut self.output);
            let count = self.inflate_into(&mut output);
            self.output = output;
            (self.output_start, self.output_end) = (0, count?);
        }
        let count = buffer.len().min(self.output_end - self.output_start);
        buffer[..count].copy_from_slice(&self.output[self.output_start..self.output_start + count]);
        self.output_start += count;
        Ok(count)
    }

    fn inflate_into(&mut self, buffer: &mut [u8]) -> Result<usize, GzipError> {
        loop {
            let Some(offset) = self
                .member
                .as_ref()
                .and_then(|m| (!m.ended).then_some(m.offset))
            else {
                return Ok(0);
            };
            let more = self.refill()?;
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let input = &self.input[self.input_start..self.input_end];
            let status = self
                .inflate
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|_| GzipError::Damaged {
                    offset,
                    reason: "its deflate stream is invalid",
                })?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            self.consume(read);
            self.meter.decompressed += written as u64;
            if let Some(member) = &mut self.member {
                member.crc.update(&buffer[..written]);
                member.decompressed += written as u64;
            }
            self.meter.check(&self.limits)?;
            if status == Status::StreamEnd {
                self.trailer(offset)?;
            } else if written == 0 && !more {
                return Err(self.truncated());
            } else if written == 0 && read == 0 {
                return Err(GzipError::Damaged {
                    offset,
                    reason: "its deflate stream makes no progress",
                });
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }

    fn trailer(&mut self, offset: u64) -> Result<(), GzipError> {
        let mut trailer = [0; 8];
        for byte in &mut trailer {
            *byte = self.byte()?;
        }
        let [a, b, c, d, e, f, g, h] = trailer;
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        member.ended = true;
        let reason = if u32::from_le_bytes([a, b, c, d]) != member.crc.clone().finalize() {
            "the CRC-32 of its content is wrong"
        } else if u32::from_le_bytes([e, f, g, h]) != member.decompressed as u32 {
            "the length of its content is wrong"
        } else {
            return Ok(());
        };
        Err(GzipError::Damaged { offset, reason })
    }

    /// Reads the present member to its end.
    fn drain(&mut self) -> Result<(), GzipError> {
        (self.output_start, self.output_end) = (0, 0);
        if self.member.as_ref().is_some_and(|member| !member.ended) {
            let mut output = std::mem::take(&mut self.output);
            let result = loop {
                match self.inflate_into(&mut output) {
                    Ok(0) => break Ok(()),
                    Ok(_) => {}
                    Err(error) => break Err(error),
                }
            };
            self.output = output;
            result?;
        }
        Ok(())
    }
}

/// One member; reading from it gives its decompressed bytes.
pub struct Member<'a, R> {
    members: &'a mut Members<R>,
}

impl<R: Read> Member<'_, R> {
    /// Offset of the member's first byte in the stream.
    pub fn offset(&self) -> u64 {
        self.members
            .member
            .as_ref()
            .map_or(0, |member| member.offset)
    }

    /// Reads what is left of the member, checks its trailer and says what it was.
    pub fn finish(self) -> Result<MemberSummary, GzipError> {
        self.members.drain()?;
        let end = self.members.offset;
        let Some(member) = self.members.member.take() else {
            return Err(self.members.truncated());
        };
        Ok(MemberSummary {
            offset: member.offset,
            compressed: end - member.offset,
            decompressed: member.decompressed,
            crc32: member.crc.finalize(),
        })
    }
}

impl<R: Read> Read for Member<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.members.read_member(buffer)?)
    }
}
