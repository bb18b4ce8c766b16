//! From the text of an index into a catalogue, without entries in between.

use std::str;

use super::build::{Builder, PlainEntry};
use super::details::Texts;
use crate::index::{Index, TextError};

/// The fields that a plain entry may have, each once.
const PLAIN: &[u8] = b"CPVASITULomtckDpi";

/// Why a text can't be understood.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is no text.
    NotUtf8,
    /// A line of it.
    Text(TextError),
}

/// Reads records as [`Index::parse`] does. One with anything odd about it is left to that.
pub(super) fn parse(text: &str) -> Result<Builder, TextError> {
    let mut builder = Builder::new(text.len());
    add(&mut builder, text, 0)?;
    Ok(builder)
}

/// The same of a text of about `length` bytes that comes in pieces, each but the last ended by a blank
/// line. Takes all of them, whatever is wrong with one, and gives their memory back.
pub(super) fn parse_pieces(
    length: usize,
    pieces: impl IntoIterator<Item = Vec<u8>>,
    mut give_back: impl FnMut(Vec<u8>),
) -> Result<Builder, Fault> {
    let mut builder = Builder::new(length);
    let mut lines = 0;
    let mut result = Ok(());
    for piece in pieces {
        // That it is no text says more than a line of it.
        match (str::from_utf8(&piece), &result) {
            (Err(_), _) => result = Err(Fault::NotUtf8),
            (Ok(text), Ok(())) => match add(&mut builder, text, lines) {
                Ok(more) => lines += more,
                Err(error) => result = Err(Fault::Text(error)),
            },
            (Ok(_), Err(_)) => {}
        }
        give_back(piece);
    }
    result.map(|()| builder)
}

/// Adds the records of a text that so many lines come before; gives how many it ends.
fn add(builder: &mut Builder, text: &str, lines: usize) -> Result<usize, TextError> {
    each_record(text, |record| {
        let plain = record.fields.plain_entry();
        if !plain.is_some_and(|entry| builder.add_plain(&entry)) {
            let entries = Index::parse(record.text).map_err(|error| TextError {
                line: error.line + record.line + lines,
                reason: error.reason,
            })?;
            entries.iter().for_each(|entry| builder.add(entry));
        }
        Ok(())
    })
}

struct Record<'t> {
    text: &'t str,
    /// How many lines come before it.
    line: usize,
    fields: Fields<'t>,
}

/// Gives how many lines are ended.
fn each_record<'t, E>(
    text: &'t str,
    mut each: impl FnMut(Record<'t>) -> Result<(), E>,
) -> Result<usize, E> {
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
        let is_last = end == text.len();
        if content.len() >= 2 {
            fields.take(content);
            if !is_last {
                continue;
            }
        }
        if !fields.is_empty() {
            each(Record {
                text: text.get(start..end).unwrap_or_default(),
                line: first_line,
                fields: std::mem::take(&mut fields),
            })?;
        }
        start = end + 1;
        first_line = line;
    }
    Ok(line.saturating_sub(1))
}

/// The fields of a record, by their place in [`PLAIN`].
#[derive(Default)]
struct Fields<'t> {
    values: [Option<&'t str>; PLAIN.len()],
    seen: bool,
    odd: bool,
}

impl<'t> Fields<'t> {
    fn is_empty(&self) -> bool {
        !self.seen
    }

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

    fn plain_entry(&self) -> Option<PlainEntry<'t>> {
        let text = |letter| self.get(letter).unwrap_or_default();
        let number = |letter| -> Option<Option<u64>> {
            self.get(letter)
                .map(|value| value.parse().ok())
                .map_or(Some(None), |value| value.map(Some))
        };
        let entry = PlainEntry {
            name: text(b'P'),
            version: text(b'V'),
            arch: text(b'A'),
            origin: text(b'o'),
            identity: self.get(b'C')?.parse().ok()?,
            size: number(b'S')?.unwrap_or(0),
            installed_size: number(b'I')?.unwrap_or(0),
            provider_priority: number(b'k')?,
            terms: [text(b'D'), text(b'p'), text(b'i')],
            texts: Texts {
                description: text(b'T'),
                url: text(b'U'),
                license: text(b'L'),
                commit: text(b'c'),
                maintainer: text(b'm'),
                build_time: number(b't')?,
            },
        };
        let plain = !self.odd
            && !entry.name.is_empty()
            && !entry.version.is_empty()
            // apko's way to write lists.
            && !text(b'i').starts_with('[');
        plain.then_some(entry)
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
