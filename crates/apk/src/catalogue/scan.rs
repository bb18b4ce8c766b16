//! What the lines of an index's text say, piece by piece: all that can be seen of an entry before it is put
//! beside the others, so that another thread does that.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::details::Texts;
use crate::dependency::Identity;

/// The fields that a plain entry may have, each once.
const PLAIN: &[u8] = b"CPVASITULomtckDpi";

/// A piece of a text, and the records that it holds.
pub(super) struct Scanned<T> {
    pub(super) text: T,
    pub(super) records: Vec<Record>,
    /// The terms of its plain entries, each once: most entries ask for what others ask for.
    pub(super) terms: Vec<Hashed>,
    /// The lists of its plain entries one after the other: places among the terms.
    pub(super) lists: Vec<u32>,
    /// What the solver does not look at of its plain entries.
    pub(super) details: Vec<u8>,
    /// How many lines it ends.
    pub(super) lines: usize,
}

/// A record of a piece.
pub(super) struct Record {
    /// Where the piece has it.
    pub(super) text: Range<usize>,
    /// How many lines of the piece come before it.
    pub(super) line: usize,
    /// What it says, if there is nothing odd about it.
    pub(super) plain: Option<PlainEntry>,
}

/// What an entry holds if there is nothing odd about it: places in its piece, its terms and its details.
pub(super) struct PlainEntry {
    pub(super) name: Hashed,
    pub(super) version: Range<usize>,
    pub(super) arch: Range<usize>,
    pub(super) origin: Range<usize>,
    pub(super) identity: Identity,
    pub(super) size: u64,
    pub(super) installed_size: u64,
    pub(super) provider_priority: Option<u64>,
    /// `depends`, `provides` and `install_if`: parts of the piece's lists.
    pub(super) lists: [Range<usize>; 3],
    pub(super) details: Range<usize>,
}

/// A text of a piece, and its hash.
#[derive(Clone)]
pub(super) struct Hashed {
    pub(super) place: Range<usize>,
    pub(super) hash: u64,
}

/// Scans a piece. Texts are hashed by `state`.
pub(super) fn scan<T: AsRef<str>>(piece: T, state: &RandomState) -> Scanned<T> {
    let text = piece.as_ref();
    let mut scanner = Scanner {
        text,
        state,
        records: Vec::with_capacity(text.len() / 400),
        terms: Vec::with_capacity(text.len() / 128),
        lists: Vec::with_capacity(text.len() / 64),
        known: HashTable::with_capacity(text.len() / 128),
        details: Vec::with_capacity(text.len() / 2),
    };
    let lines = scanner.scan();
    let Scanner {
        records,
        terms,
        lists,
        details,
        ..
    } = scanner;
    Scanned {
        text: piece,
        records,
        terms,
        lists,
        details,
        lines,
    }
}

struct Scanner<'t> {
    text: &'t str,
    state: &'t RandomState,
    records: Vec<Record>,
    terms: Vec<Hashed>,
    lists: Vec<u32>,
    /// Places among the terms, by their texts.
    known: HashTable<u32>,
    details: Vec<u8>,
}

impl<'t> Scanner<'t> {
    /// Gives how many lines are ended.
    fn scan(&mut self) -> usize {
        let text = self.text;
        let mut fields = Fields::default();
        let mut start = 0;
        let mut line = 0;
        let mut first_line = 0;
        let mut end_of_last = 0;
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        for end in ends {
            let content = text.get(end_of_last..end).unwrap_or_default();
            end_of_last = end + 1;
            line += 1;
            if content.len() >= 2 {
                fields.take(content);
                if end < text.len() {
                    continue;
                }
            }
            if fields.seen {
                let plain = self.plain_entry(&fields);
                self.records.push(Record {
                    text: start..end,
                    line: first_line,
                    plain,
                });
                fields = Fields::default();
            }
            start = end + 1;
            first_line = line;
        }
        line.saturating_sub(1)
    }

    fn plain_entry(&mut self, fields: &Fields<'t>) -> Option<PlainEntry> {
        let text = |letter| fields.get(letter).unwrap_or_default();
        let number = |letter| -> Option<Option<u64>> {
            let value = fields.get(letter);
            value.map_or(Some(None), |value| value.parse().ok().map(Some))
        };
        let name = text(b'P');
        let is_odd = fields.odd
            || name.is_empty()
            || text(b'V').is_empty()
            // apko's way to write lists.
            || text(b'i').starts_with('[');
        if is_odd {
            return None;
        }
        let identity = fields.get(b'C')?.parse().ok()?;
        let size = number(b'S')?.unwrap_or(0);
        let installed_size = number(b'I')?.unwrap_or(0);
        let provider_priority = number(b'k')?;
        let build_time = number(b't')?;
        let start = self.details.len();
        let texts = Texts {
            description: text(b'T'),
            url: text(b'U'),
            license: text(b'L'),
            commit: text(b'c'),
            maintainer: text(b'm'),
            build_time,
        };
        texts.write(&mut self.details);
        Some(PlainEntry {
            name: self.hashed(name),
            version: self.place(text(b'V')),
            arch: self.place(text(b'A')),
            origin: self.place(text(b'o')),
            identity,
            size,
            installed_size,
            provider_priority,
            lists: [b'D', b'p', b'i'].map(|letter| self.list(text(letter))),
            details: start..self.details.len(),
        })
    }

    /// Where the terms of a list are among the lists.
    fn list(&mut self, list: &'t str) -> Range<usize> {
        let start = self.lists.len();
        for term in list.split_ascii_whitespace() {
            let place = self.term(term);
            self.lists.push(place);
        }
        start..self.lists.len()
    }

    /// The place of a term, which is kept if it is new.
    fn term(&mut self, term: &'t str) -> u32 {
        let hashed = self.hashed(term);
        let Scanner {
            text, terms, known, ..
        } = self;
        let text_of = |place: &u32| {
            let term = terms.get(*place as usize);
            term.and_then(|term| text.get(term.place.clone()))
        };
        let hash_of = |place: &u32| terms.get(*place as usize).map_or(0, |term| term.hash);
        match known.entry(hashed.hash, |place| text_of(place) == Some(term), hash_of) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(slot) => {
                // A piece is far smaller than 4 GiB.
                let place = terms.len() as u32;
                slot.insert(place);
                terms.push(hashed);
                place
            }
        }
    }

    fn hashed(&self, text: &str) -> Hashed {
        Hashed {
            place: self.place(text),
            hash: self.state.hash_one(text.as_bytes()),
        }
    }

    /// Where a part of the piece is in it.
    fn place(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        match part.is_empty() {
            true => 0..0,
            false => start..start + part.len(),
        }
    }
}

/// The fields of a record, by their place in [`PLAIN`].
#[derive(Default)]
struct Fields<'t> {
    values: [Option<&'t str>; PLAIN.len()],
    seen: bool,
    odd: bool,
}

impl<'t> Fields<'t> {
    fn take(&mut self, content: &'t str) {
        self.seen = true;
        let (place, value) = match content.as_bytes() {
            [letter, b':', ..] => (place(*letter), content.get(2..)),
            _ => (None, None),
        };
        let slot = place.and_then(|place| self.values.get_mut(place));
        match (slot, value) {
            (Some(slot @ None), Some(value)) => *slot = Some(value),
            _ => self.odd = true,
        }
    }

    fn get(&self, letter: u8) -> Option<&'t str> {
        self.values.get(place(letter)?).copied().flatten()
    }
}

const fn place(letter: u8) -> Option<usize> {
    const PLACES: [u8; 128] = {
        let mut places = [u8::MAX; 128];
        let mut place = 0;
        while place < PLAIN.len() {
            places[PLAIN[place] as usize] = place as u8;
            place += 1;
        }
        places
    };
    if letter >= 128 {
        return None;
    }
    match PLACES[letter as usize] {
        u8::MAX => None,
        place => Some(place as usize),
    }
}
