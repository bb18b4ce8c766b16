//! Changes of a recipe's text that leave everything else as it is, to the byte.

use std::ops::Range;

use base::SourceText;

use crate::recipe::Text;

/// A value that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: &'static str,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// Texts that take the place of others.
pub(super) struct Edits<'s> {
    pub(super) source: &'s SourceText,
    pub(super) made: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    /// Sets the text written for `text`, in the quotes it has.
    pub(super) fn set(
        &mut self,
        key: &'static str,
        text: &Text,
        after: &str,
        changes: &mut Vec<Change>,
    ) {
        if text.value == after {
            return;
        }
        let span = text.span();
        let written = self.source.text().get(span.clone()).unwrap_or_default();
        let quoted = match written.chars().next() {
            Some(quote @ ('"' | '\'')) => format!("{quote}{after}{quote}"),
            // A reader without our types would take it for a number.
            _ if after.parse::<f64>().is_ok() => format!("\"{after}\""),
            _ => after.to_owned(),
        };
        // An anchor's text may stand elsewhere, and be set already.
        if !self.made.iter().any(|(range, _)| *range == span) {
            self.made.push((span, quoted));
        }
        changes.push(Change {
            key,
            before: text.value.clone(),
            after: after.to_owned(),
        });
    }

    pub(super) fn applied(mut self) -> String {
        self.made.sort_by_key(|(range, _)| range.start);
        let text = self.source.text();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (range, replacement) in &self.made {
            out.push_str(&text[at..range.start]);
            out.push_str(replacement);
            at = range.end;
        }
        out.push_str(&text[at..]);
        out
    }
}
