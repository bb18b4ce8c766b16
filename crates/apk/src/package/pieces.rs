//! A stream that one thread decompresses into pieces while another reads them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Decompressed bytes that are handed over at a time, and how many such pieces wait.
const PIECE: usize = 256 << 10;
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

/// Reads a stream into pieces on a thread of its own while `read` takes them.
pub(super) fn ahead<T>(mut stream: impl Read + Send, read: impl FnOnce(Pieces) -> T) -> T {
    let (filler, pieces) = pieces();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Err(error) = filler.fill(&mut stream) {
                filler.fail(error);
            }
        });
        read(pieces)
    })
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
            let mut piece = self.returned.try_recv().unwrap_or_default();
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
            if self.sender.send(Ok(piece)).is_err() {
                return Ok(false);
            }
        }
    }

    /// Lets who reads fail.
    pub(super) fn fail(&self, error: io::Error) {
        // If nobody reads any more, nobody has to know.
        let _ = self.sender.send(Err(error));
    }
}

/// The end that is read; it gives emptied pieces back to be filled anew.
pub(super) struct Pieces {
    receiver: Receiver<io::Result<Vec<u8>>>,
    returning: Sender<Vec<u8>>,
    piece: Vec<u8>,
    start: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => {
                    let emptied = std::mem::replace(&mut self.piece, piece?);
                    self.start = 0;
                    // Whoever inflates may be done already.
                    let _ = self.returning.send(emptied);
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.start);
        buffer[..count].copy_from_slice(&self.piece[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }
}
