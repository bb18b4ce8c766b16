//! From the text of an index into a catalogue, without entries in between.

use std::iter;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::build::{Builder, NONE};
use super::scan::{Scanned, scan};
use crate::index::{Index, TextError};

/// Bytes that are scanned at a time, at least.
const PIECE: usize = 256 << 10;

/// Pieces that were scanned and wait to be put together.
const WAITING: usize = 4;

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
    let result = gather(&mut builder, cut(text).map(Some), drop);
    match result {
        Err(Fault::Text(error)) => Err(error),
        // It is a text.
        Ok(()) | Err(Fault::NotUtf8) => Ok(builder),
    }
}

/// The same of a text of about `length` bytes that comes in pieces, each but the last ended by a blank
/// line. Takes all of them, whatever is wrong with one, and gives their memory back.
pub(super) fn parse_pieces(
    length: usize,
    pieces: impl IntoIterator<Item = Vec<u8>, IntoIter: Send>,
    mut give_back: impl FnMut(Vec<u8>),
) -> Result<Builder, Fault> {
    let mut builder = Builder::new(length);
    let pieces = pieces.into_iter();
    let pieces = pieces.map(|piece| String::from_utf8(piece).ok());
    gather(&mut builder, pieces, |piece| give_back(piece.into_bytes()))?;
    Ok(builder)
}

/// Cuts a text behind blank lines.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        let blank = rest.as_bytes().get(PIECE..);
        let blank = blank.and_then(|bytes| memchr::memmem::find(bytes, b"\n\n"));
        let end = blank.map_or(rest.len(), |blank| PIECE + blank + 2);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Scans the pieces, of which none is one that is no text, and adds what they hold while the next are
/// scanned.
fn gather<T: AsRef<str> + Send>(
    builder: &mut Builder,
    pieces: impl Iterator<Item = Option<T>> + Send,
    mut give_back: impl FnMut(T),
) -> Result<(), Fault> {
    let state = builder.hash_state();
    let (sender, scanned) = sync_channel(WAITING);
    thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                // All are taken, unless whoever takes them panics.
                let _ = sender.send(piece.map(|piece| scan(piece, &state)));
            }
        });
        let mut lines = 0;
        let mut result = Ok(());
        for piece in scanned {
            // That it is no text says more than a line of it.
            let Some(piece) = piece else {
                result = Err(Fault::NotUtf8);
                continue;
            };
            if result.is_ok() {
                result = add(builder, &piece, lines).map_err(Fault::Text);
                lines += piece.lines;
            }
            give_back(piece.text);
        }
        result
    })
}

/// Adds the records of a piece that so many lines come before.
fn add<T: AsRef<str>>(
    builder: &mut Builder,
    piece: &Scanned<T>,
    lines: usize,
) -> Result<(), TextError> {
    let mut known = vec![NONE; piece.terms.len()];
    for record in &piece.records {
        let plain = record.plain.as_ref();
        if plain.is_some_and(|entry| builder.add_plain(piece, &mut known, entry)) {
            continue;
        }
        let text = piece.text.as_ref();
        let text = text.get(record.text.clone()).unwrap_or_default();
        let entries = Index::parse(text).map_err(|error| TextError {
            line: error.line + record.line + lines,
            reason: error.reason,
        })?;
        entries.iter().for_each(|entry| builder.add(entry));
    }
    Ok(())
}
