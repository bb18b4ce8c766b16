//! From the text of an index into a catalogue, without entries in between.

use std::panic::resume_unwind;
use std::thread;

use super::build::{Builder, PlainEntry};
use super::details::Texts;
use crate::index::{Index, TextError};

/// The fields that a plain entry may have, each once.
const PLAIN: &[u8] = b"CPVASITULomtckDpi";

/// Bytes of text that two threads read faster than one.
const WORTH_A_THREAD: usize = 1 << 20;

/// Reads records as [`Index::parse`] does. One with anything odd about it is left to that.
///
/// Of a long text the halves are read at once. What comes of it depends on the text alone.
pub(super) fn parse(text: &str) -> Result<Builder, TextError> {
    match text.len() < WORTH_A_THREAD {
        true => parse_from(Builder::new(text.len()), text, 0),
        false => parse_halves(text),
    }
}

pub(super) fn parse_halves(text: &str) -> Result<Builder, TextError> {
    let middle = middle(text);
    let (first, second) = text.split_at(middle);
    thread::scope(|scope| {
        let second_half = scope.spawn(|| parse_plain(second));
        let builder = parse_from(Builder::new(text.len()), first, 0);
        let second_half = second_half.join();
        let mut builder = builder?;
        match second_half.unwrap_or_else(|panic| resume_unwind(panic)) {
            Some(half) => builder.append(half),
            None => {
                let lines = memchr::memchr_iter(b'\n', first.as_bytes()).count();
                builder = parse_from(builder, second, lines)?;
            }
        }
        Ok(builder)
    })
}

/// Where a record begins, about half way.
fn middle(text: &str) -> usize {
    let half = text.len() / 2;
    let rest = text.as_bytes().get(half..).unwrap_or_default();
    let gap = memchr::memmem::find(rest, b"\n\n");
    gap.map_or(text.len(), |gap| half + gap + 2)
}

/// None if anything is odd about one of the records.
fn parse_plain(text: &str) -> Option<Builder> {
    let mut builder = Builder::new(text.len());
    each_record(text, |record| {
        let plain = record.fields.plain_entry();
        let added = plain.is_some_and(|entry| builder.add_plain(&entry));
        added.then_some(()).ok_or(())
    })
    .ok()?;
    Some(builder)
}

/// Adds the records of a text that so many lines come before.
fn parse_from(mut builder: Builder, text: &str, lines: usize) -> Result<Builder, TextError> {
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
    })?;
    Ok(builder)
}

struct Record<'t> {
    text: &'t str,
    /// How many lines come before it.
    line: usize,
    fields: Fields<'t>,
}

fn each_record<'t, E>(
    text: &'t str,
    mut each: impl FnMut(Record<'t>) -> Result<(), E>,
) -> Result<(), E> {
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
    Ok(())
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
