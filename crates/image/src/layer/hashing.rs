//! SHA-256 of a layer's contents: one thread reads them, another does nothing but hash.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use base::Sha256Hasher;

use super::{LayerError, Part, Source, run, shortened};

/// Bytes that are handed over at a time, and how many such pieces wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

enum Message {
    /// So many bytes of a piece.
    Bytes(Box<[u8]>, usize),
    /// A part ends here.
    PartEnd,
}

/// Goes on from `hasher` with `parts` as tar. Gives its state after each of them too.
pub(super) fn hash_contents(
    parts: &[Part<'_>],
    mut hasher: Sha256Hasher,
) -> Result<(Sha256Hasher, Vec<String>), LayerError> {
    let (sender, messages) = sync_channel(WAITING);
    let (returning, returned) = channel();
    let reader = Reader {
        sender,
        returned,
        piece: empty(),
        filled: 0,
    };
    let mut states = Vec::with_capacity(parts.len());
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(move || reader.read(parts));
        hash(&messages, &returning, &mut hasher, &mut states);
        reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    read.map(|()| (hasher, states))
}

fn hash(
    messages: &Receiver<Message>,
    returning: &Sender<Box<[u8]>>,
    hasher: &mut Sha256Hasher,
    states: &mut Vec<String>,
) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Bytes(piece, filled) => {
                hasher.update(&piece[..filled]);
                // Whoever reads may be done already.
                let _ = returning.send(piece);
            }
            Message::PartEnd => states.push(hasher.state()),
        }
    }
}

struct Reader {
    sender: SyncSender<Message>,
    returned: Receiver<Box<[u8]>>,
    piece: Box<[u8]>,
    filled: usize,
}

fn empty() -> Box<[u8]> {
    vec![0; PIECE].into()
}

impl Reader {
    fn read(mut self, parts: &[Part<'_>]) -> Result<(), LayerError> {
        for part in parts {
            match &part.source {
                Source::Package {
                    whole: Some(package),
                    ..
                } => {
                    let length = package.run.length;
                    if self.file(&File::open(package.file())?, length)? != length {
                        return Err(shortened(&package.digest));
                    }
                }
                _ => run::write(&part.items, &mut self)?,
            }
            self.send()?;
            self.hand_over(Message::PartEnd)?;
        }
        Ok(())
    }

    /// Reads up to `length` bytes of a file into the pieces as they are handed over.
    fn file(&mut self, mut file: &File, length: u64) -> io::Result<u64> {
        let mut done = 0;
        while done < length {
            let left = usize::try_from(length - done).unwrap_or(usize::MAX);
            let end = PIECE.min(self.filled.saturating_add(left));
            match file.read(&mut self.piece[self.filled..end]) {
                Ok(0) => break,
                Ok(count) => {
                    self.filled += count;
                    done += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.filled == PIECE {
                self.send()?;
            }
        }
        Ok(done)
    }

    fn send(&mut self) -> io::Result<()> {
        let emptied = self.returned.try_recv().unwrap_or_else(|_| empty());
        let piece = std::mem::replace(&mut self.piece, emptied);
        let filled = std::mem::take(&mut self.filled);
        self.hand_over(Message::Bytes(piece, filled))
    }

    fn hand_over(&self, message: Message) -> io::Result<()> {
        // Who hashes takes all there is, unless it panics.
        let sent = self.sender.send(message);
        sent.map_err(|_| io::Error::other("nobody hashes the layer any more"))
    }
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.filled);
        self.piece[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        if self.filled == PIECE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
