//! SHA-256 in a thread of its own: who reads the bytes doesn't wait for it.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::{Digest, Sha256Hasher};

/// Bytes that are handed over at a time, and how many such pieces wait.
const PIECE: usize = 1 << 20;
const WAITING: usize = 3;

/// Less than that is hashed before a thread has begun.
const LEAST: usize = 4 << 20;

enum Message {
    /// So many bytes of a piece.
    Bytes(Box<[u8]>, usize),
    /// The hash's state is asked for here.
    State,
}

/// Hashes what is written to it, while more is being written. Holds at most 6 MiB.
pub struct HashingThread {
    thread: JoinHandle<(Sha256Hasher, Vec<String>)>,
    sender: SyncSender<Message>,
    returned: Receiver<Box<[u8]>>,
    piece: Box<[u8]>,
    filled: usize,
}

impl HashingThread {
    /// Goes on from `hasher`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(hasher: Sha256Hasher) -> io::Result<HashingThread> {
        let (sender, messages) = sync_channel(WAITING);
        let (returning, returned) = channel();
        let work = move || hash(hasher, &messages, &returning);
        Ok(HashingThread {
            thread: std::thread::Builder::new().spawn(work)?,
            sender,
            returned,
            piece: empty(),
            filled: 0,
        })
    }

    /// Takes up to `length` bytes of `reader`, without another copy of them. How many there were.
    ///
    /// # Errors
    /// They can't be read.
    pub fn read_from(&mut self, mut reader: impl Read, length: u64) -> io::Result<u64> {
        let mut done = 0;
        while done < length {
            let left = usize::try_from(length - done).unwrap_or(usize::MAX);
            let end = PIECE.min(self.filled.saturating_add(left));
            match reader.read(&mut self.piece[self.filled..end]) {
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

    /// Notes the state of the hash behind all that was written up to here.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn note_state(&mut self) -> io::Result<()> {
        self.send()?;
        self.hand_over(Message::State)
    }

    /// The hash of all, and the states that were noted.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn finish(mut self) -> io::Result<(Sha256Hasher, Vec<String>)> {
        self.send()?;
        drop(self.sender);
        let hashed = self.thread.join();
        Ok(hashed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
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
        sent.map_err(|_| io::Error::other("nobody hashes any more"))
    }
}

impl Write for HashingThread {
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

fn empty() -> Box<[u8]> {
    vec![0; PIECE].into()
}

fn hash(
    mut hasher: Sha256Hasher,
    messages: &Receiver<Message>,
    returning: &Sender<Box<[u8]>>,
) -> (Sha256Hasher, Vec<String>) {
    let mut states = Vec::new();
    while let Ok(message) = messages.recv() {
        match message {
            Message::Bytes(piece, filled) => {
                hasher.update(&piece[..filled]);
                // Whoever reads may be done already.
                let _ = returning.send(piece);
            }
            Message::State => states.push(hasher.state()),
        }
    }
    (hasher, states)
}

impl Digest {
    /// The digest of all that `reader` gives, and how many bytes that is. Of many bytes, one thread reads
    /// and another does nothing but hash.
    ///
    /// # Errors
    /// It can't be read.
    pub fn of_all(mut reader: impl Read) -> io::Result<(Digest, u64)> {
        let mut start = Vec::new();
        reader.by_ref().take(LEAST as u64).read_to_end(&mut start)?;
        if start.len() < LEAST {
            return Ok((Digest::of(&start), start.len() as u64));
        }
        let mut hasher = Sha256Hasher::default();
        hasher.update(&start);
        drop(start);
        let mut hashing = HashingThread::new(hasher)?;
        let rest = hashing.read_from(reader, u64::MAX)?;
        Ok((hashing.finish()?.0.finish(), LEAST as u64 + rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Dripping<'b>(&'b [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(self.1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_thread_hashes_as_a_function_does() {
        let bytes: Vec<u8> = (0..LEAST + 2 * PIECE + 17)
            .map(|at| ((at * 31) >> 3) as u8)
            .collect();
        for length in [
            0,
            1,
            LEAST - 1,
            LEAST,
            LEAST + 1,
            LEAST + PIECE,
            bytes.len(),
        ] {
            for piece in [usize::MAX, 100_003] {
                let found = Digest::of_all(Dripping(&bytes[..length], piece)).unwrap();
                let expected = (Digest::of(&bytes[..length]), length as u64);
                assert_eq!(found, expected, "{length} {piece}");
            }
        }
        let failing = bytes.chain(Failing);
        assert_eq!(Digest::of_all(failing).unwrap_err().to_string(), "gone");
    }

    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }

    #[test]
    fn states_are_those_behind_what_was_written() {
        let bytes: Vec<u8> = (0..1 << 20u32).map(|at| (at * 7) as u8).collect();
        let mut begun = Sha256Hasher::default();
        begun.update(b"head");
        let mut hashing = HashingThread::new(begun.clone()).unwrap();
        let mut states = Vec::new();
        for cut in [0..5, 5..700_000, 700_000..700_000, 700_000..1 << 20] {
            hashing.write_all(&bytes[cut.clone()]).unwrap();
            hashing.note_state().unwrap();
            begun.update(&bytes[cut]);
            states.push(begun.state());
        }
        // No more than is asked for, of a reader that has more.
        assert_eq!(hashing.read_from(&bytes[..], 1000).unwrap(), 1000);
        assert_eq!(hashing.read_from(&bytes[..10], 1000).unwrap(), 10);
        begun.update(&bytes[..1000]);
        begun.update(&bytes[..10]);
        let (hasher, noted) = hashing.finish().unwrap();
        assert_eq!(noted, states);
        assert_eq!(hasher.finish(), begun.finish());
    }
}
