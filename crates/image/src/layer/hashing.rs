//! SHA-256 of the contents and the blobs of layers, as many at a time as there are cores, or twice as many:
//! one core hashes two streams almost in the time of one.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use base::{HashingThread, Sha256Hasher};
use rayon::prelude::*;
use store::Store;

use super::pieces::Piece;
use super::run::{Item, ItemReader};
use super::{LayerError, StoredPackage, shortened};

/// Bytes that are hashed at a time: those of two streams stay near their core.
const HASHED: usize = 128 << 10;

/// What is hashed in a row.
pub(super) struct Stream<'a> {
    pub(super) sources: Vec<Source<'a>>,
    /// What it goes on from.
    pub(super) hasher: Sha256Hasher,
    /// How many bytes follow.
    pub(super) length: u64,
}

/// A part of a stream.
pub(super) enum Source<'a> {
    Piece(&'a Piece),
    /// The whole run of a package.
    Package(&'a StoredPackage),
    Items(&'a [Item<'a>]),
    /// Nothing; the hash's state is noted there.
    State,
}

/// The hash of a stream, and the states that were noted.
pub(super) type Hashed = (Sha256Hasher, Vec<String>);

impl<'a> Source<'a> {
    fn open(&self, store: &Store) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
        Ok(match self {
            Source::Piece(piece) => piece.reader(store)?,
            Source::Package(package) => Box::new(Exactly {
                bytes: File::open(package.file())?,
                left: package.run.length,
                what: &package.digest,
            }),
            Source::Items(items) => Box::new(ItemReader::new(items)),
            Source::State => Box::new(io::empty()),
        })
    }
}

/// So many bytes of a reader, and no fewer.
pub(super) struct Exactly<'w, R> {
    pub(super) bytes: R,
    pub(super) left: u64,
    pub(super) what: &'w (dyn std::fmt::Display + Sync),
}

impl<R: Read> Read for Exactly<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.bytes.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(shortened(self.what));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Hashes streams, and gives each to `finished` by its place as soon as it is hashed.
pub(super) fn hash(
    store: &Store,
    mut streams: Vec<Stream<'_>>,
    finished: impl Fn(usize, Hashed) -> Result<(), LayerError> + Sync,
) -> Result<(), LayerError> {
    let finished = &finished;
    let work = |queue: Vec<(usize, Stream<'_>)>| {
        let queue = Mutex::new(queue);
        let workers = 0..rayon::current_num_threads();
        workers
            .into_par_iter()
            .map(|_| hash_pairs(store, &queue, finished))
            .collect::<Result<(), LayerError>>()
    };
    // The long one decides: one thread reads it, and another does nothing but hash.
    if streams.len() == 2 {
        let rest = streams.split_off(1).into_iter().map(|second| (1, second));
        let rest = rest.collect();
        let first = || {
            let first = streams.into_iter().next();
            first.map_or(Ok(()), |first| finished(0, hash_apart(store, first)?))
        };
        let (first, second) = rayon::join(first, || work(rest));
        return first.and(second);
    }
    let mut queue: Vec<_> = streams.into_iter().enumerate().collect();
    // The longest is taken first: none is left with it at the end.
    queue.sort_by_key(|(_, stream)| stream.length);
    work(queue)
}

fn hash_apart(store: &Store, stream: Stream<'_>) -> Result<Hashed, LayerError> {
    let mut hashing = HashingThread::new(stream.hasher)?;
    for source in &stream.sources {
        if let Source::State = source {
            hashing.note_state()?;
        } else {
            hashing
                .read_from(source.open(store)?, u64::MAX)
                .map_err(LayerError::of_reading)?;
        }
    }
    Ok(hashing.finish()?)
}

/// Takes streams until none is left, always two at a time.
fn hash_pairs(
    store: &Store,
    queue: &Mutex<Vec<(usize, Stream<'_>)>>,
    finished: &(impl Fn(usize, Hashed) -> Result<(), LayerError> + Sync),
) -> Result<(), LayerError> {
    let mut both = [None, None];
    loop {
        for one in &mut both {
            loop {
                if one.is_none() {
                    // A queue is as good as before if somebody panicked while it was his.
                    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                    *one = queue.pop().map(UnderWay::new);
                }
                let Some(under_way) = one else { break };
                if under_way.fill(store)? {
                    break;
                }
                if let Some(done) = one.take() {
                    finished(done.place, (done.hasher, done.states))?;
                }
            }
        }
        match &mut both {
            [Some(first), Some(second)] => UnderWay::hash_both(first, second),
            [Some(one), None] | [None, Some(one)] => one.hash(),
            [None, None] => return Ok(()),
        }
    }
}

/// A stream that is being hashed.
struct UnderWay<'a> {
    place: usize,
    sources: std::vec::IntoIter<Source<'a>>,
    reader: Option<Box<dyn Read + Send + 'a>>,
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    hasher: Sha256Hasher,
    states: Vec<String>,
}

impl<'a> UnderWay<'a> {
    fn new((place, stream): (usize, Stream<'a>)) -> UnderWay<'a> {
        UnderWay {
            place,
            sources: stream.sources.into_iter(),
            reader: None,
            buffer: vec![0; HASHED].into(),
            begin: 0,
            end: 0,
            hasher: stream.hasher,
            states: Vec::new(),
        }
    }

    /// Has bytes to hash; else the stream has ended.
    fn fill(&mut self, store: &Store) -> Result<bool, LayerError> {
        while self.begin == self.end {
            let Some(reader) = &mut self.reader else {
                match self.sources.next() {
                    None => return Ok(false),
                    Some(Source::State) => self.states.push(self.hasher.state()),
                    Some(source) => self.reader = Some(source.open(store)?),
                }
                continue;
            };
            (self.begin, self.end) = match reader.read(&mut self.buffer) {
                Ok(count) => (0, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LayerError::of_reading(error)),
            };
            if self.end == 0 {
                self.reader = None;
            }
        }
        Ok(true)
    }

    fn hash(&mut self) {
        self.hasher.update(&self.buffer[self.begin..self.end]);
        self.begin = self.end;
    }

    /// As many bytes of both.
    fn hash_both(first: &mut UnderWay<'_>, second: &mut UnderWay<'_>) {
        let count = (first.end - first.begin).min(second.end - second.begin);
        let (left, right) = (first.begin + count, second.begin + count);
        Sha256Hasher::update_both(
            (&mut first.hasher, &first.buffer[first.begin..left]),
            (&mut second.hasher, &second.buffer[second.begin..right]),
        );
        (first.begin, second.begin) = (left, right);
    }
}

#[cfg(test)]
mod tests {
    use base::Digest;

    use super::super::pieces::Place;
    use super::*;

    /// Those of one layer, of none, and of several, which are longer and shorter than others.
    #[test]
    fn streams_are_hashed_together_as_each_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let text: Vec<u8> = (0..700_000u32).map(|at| ((at * 31) >> 3) as u8).collect();
        let blob = store.put(&text[..]).unwrap().digest;
        let pieces: Vec<Piece> = [(0, 700_000), (5, 300_001), (600_000, 100_000), (9, 0)]
            .into_iter()
            .map(|(offset, size)| Piece {
                place: Place::Blob(blob),
                offset,
                size,
            })
            .collect();
        let of = |piece: &Piece| &text[piece.offset as usize..][..piece.size as usize];
        for count in [0, 1, 2, 3, 8] {
            let (mut streams, mut expected) = (Vec::new(), Vec::new());
            for number in 0..count {
                let mut hasher = Sha256Hasher::default();
                hasher.update(&text[..number]);
                let mut alone = (hasher.clone(), Vec::new());
                let mut sources = Vec::new();
                for piece in pieces.iter().cycle().skip(number).take(1 + number % 3) {
                    sources.extend([Source::Piece(piece), Source::State]);
                    alone.0.update(of(piece));
                    alone.1.push(alone.0.state());
                }
                expected.push(alone);
                streams.push(Stream {
                    sources,
                    hasher,
                    length: 10 - number as u64,
                });
            }
            let found = Mutex::new(vec![None; count]);
            hash(&store, streams, |place, hashed| {
                found.lock().unwrap()[place] = Some(hashed);
                Ok(())
            })
            .unwrap();
            let digests = |(hasher, states): (Sha256Hasher, Vec<String>)| (hasher.finish(), states);
            let found = found.into_inner().unwrap().into_iter().map(Option::unwrap);
            let found: Vec<(Digest, Vec<String>)> = found.map(digests).collect();
            let expected: Vec<_> = expected.into_iter().map(digests).collect();
            assert_eq!(found, expected, "{count}");
        }
    }

    #[test]
    fn what_is_cut_off_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blob = store.put(&b"short"[..]).unwrap().digest;
        let piece = Piece::blob(blob, 6);
        for count in 1..4 {
            let streams = (0..count).map(|_| Stream {
                sources: vec![Source::Piece(&piece)],
                hasher: Sha256Hasher::default(),
                length: 6,
            });
            let error = hash(&store, streams.collect(), |_, _| Ok(())).unwrap_err();
            let said =
                format!("can't write a layer: {blob} is shorter than it was when it was kept");
            assert_eq!(error.to_string(), said);
        }
    }
}
