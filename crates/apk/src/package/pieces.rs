//! A stream that one thread decompresses into pieces while another reads them.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use base::{Digest, Sha256Hasher};

/// Decompressed bytes that are handed over at a time, and how many such pieces wait.
const PIECE: usize = 128 << 10;
const WAITING: usize = 8;

/// Both ends of a stream of pieces.
pub(super) fn pieces() -> (Filler, Pieces) {
    let (sender, receiver) = sync_channel(WAITING);
    let (returning, returned) = channel();
    let filler = Filler { sender, returned };
    let pieces = Pieces {
        receiver,
        returning,
        piece: Vec::new(),
        start: 0,
    };
    (filler, pieces)
}

/// A stream whose bytes are hashed on a thread of their own.
pub(super) struct Tapped<R> {
    stream: R,
    piece: Vec<u8>,
    filler: Filler,
}

/// The stream, and what is to be hashed of it once it was read: all of its bytes so far.
pub(super) fn tapped<R: Read>(stream: R) -> (Tapped<R>, Pieces) {
    let (filler, pieces) = pieces();
    let tapped = Tapped {
        stream,
        piece: Vec::new(),
        filler,
    };
    (tapped, pieces)
}

impl<R: Read> Read for Tapped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if count == 0 || self.piece.len() + count > PIECE {
            let mut emptied = self.filler.emptied();
            emptied.clear();
            let piece = std::mem::replace(&mut self.piece, emptied);
            // Who hashes reads to the end, whatever comes.
            self.filler.send(piece);
        }
        self.piece.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// The end that pieces go into.
pub(super) struct Filler {
    sender: SyncSender<io::Result<Vec<u8>>>,
    returned: Receiver<Vec<u8>>,
}

impl Filler {
    /// Sends a stream to its end; `false` if who reads has stopped, for a reason of its own.
    pub(super) fn fill(&self, stream: &mut impl Read) -> io::Result<bool> {
        loop {
            let mut piece = self.emptied();
            piece.resize(PIECE, 0);
            let mut filled = 0;
            while filled < piece.len() {
                match stream.read(&mut piece[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if filled == 0 {
                return Ok(true);
            }
            piece.truncate(filled);
            if !self.send(piece) {
                return Ok(false);
            }
        }
    }

    /// A piece that was read, to be filled anew.
    fn emptied(&self) -> Vec<u8> {
        self.returned.try_recv().unwrap_or_default()
    }

    /// False if who reads has stopped.
    fn send(&self, piece: Vec<u8>) -> bool {
        self.sender.send(Ok(piece)).is_ok()
    }

    /// Lets who reads fail.
    pub(super) fn fail(&self, error: io::Error) {
        // If nobody reads any more, nobody has to know.
        let _ = self.sender.send(Err(error));
    }
}

/// The end that is read; it gives emptied pieces back to be filled anew.
#[derive(Debug)]
pub(super) struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    returning: Sender<Vec<u8>>,
    piece: Vec<u8>,
    start: usize,
}

impl Pieces {
    /// SHA-256 of all of it.
    pub(super) fn sha256(mut self) -> io::Result<Digest> {
        let mut hasher = Sha256Hasher::default();
        while self.next()? {
            hasher.update(&self.piece);
        }
        Ok(hasher.finish())
    }

    /// Has the next piece; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        let Ok(piece) = self.receiver.recv() else {
            return Ok(false);
        };
        let emptied = std::mem::replace(&mut self.piece, piece?);
        self.start = 0;
        // Whoever inflates may be done already.
        let _ = self.returning.send(emptied);
        Ok(true)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = buffer.len().min(there.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.piece.len() {
            self.next()?;
        }
        Ok(&self.piece[self.start..])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }
}

/// What a stream has next, which is to be consumed; nothing at its end.
pub(crate) fn next_of(stream: &mut (impl BufRead + ?Sized)) -> io::Result<&[u8]> {
    while let Err(error) = stream.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    stream.fill_buf()
}
