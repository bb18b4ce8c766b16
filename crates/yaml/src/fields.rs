use std::ops::Range;

use base::{Problem, did_you_mean};

use crate::decode::{Decode, Decoder, first_line};
use crate::tree::{Entry, Node, Value};

/// The keys of a mapping, taken one by one; what is left over is unknown.
///
/// ```ignore
/// let mut fields = Fields::of(node, "package", decoder)?;
/// let name = fields.required("name", decoder);
/// let epoch = fields.or_default("epoch", decoder);
/// fields.finish(decoder);
/// Some(Package { name: name?, epoch })
/// ```
#[derive(Debug)]
pub struct Fields<'n> {
    what: String,
    span: Range<usize>,
    entries: Vec<(&'n Entry, bool)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The keys of `node`, which `what` names in messages (`package`). Null has no keys.
    pub fn of(node: &'n Node, what: &str, decoder: &mut Decoder) -> Option<Fields<'n>> {
        let entries = match &node.value {
            Value::Null => Vec::new(),
            Value::Mapping(entries) => entries.iter().map(|entry| (entry, false)).collect(),
            _ => {
                decoder.mismatch(&format!("a mapping for {what}"), node);
                return None;
            }
        };
        Some(Fields {
            what: what.to_owned(),
            span: node.span.clone(),
            entries,
            known: Vec::new(),
        })
    }

    /// Where the mapping stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The entry of a key, which counts as known and taken from here on.
    pub fn entry(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.known.push(key);
        let (entry, taken) = self
            .entries
            .iter_mut()
            .find(|(entry, _)| entry.key == key)?;
        *taken = true;
        Some(entry)
    }

    /// Whether the key is written, with or without a value.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(entry, _)| entry.key == key)
    }

    /// The value of a key that must be there. An absent or empty one is a problem.
    pub fn required<T: Decode>(&mut self, key: &'static str, decoder: &mut Decoder) -> Option<T> {
        match self.entry(key) {
            Some(entry) if entry.value.value != Value::Null => T::decode(&entry.value, decoder),
            found => {
                let (message, span) = match found {
                    Some(entry) => (
                        format!("`{key}` of {} has no value", self.what),
                        entry.key_span.clone(),
                    ),
                    None => (
                        format!("{} has no `{key}`", self.what),
                        first_line(decoder.source(), &self.span),
                    ),
                };
                decoder.error("missing-key", message, span, format!("`{key}` is required"));
                None
            }
        }
    }

    /// The value of a key that may be absent or empty.
    pub fn optional<T: Decode>(&mut self, key: &'static str, decoder: &mut Decoder) -> Option<T> {
        let entry = self.entry(key)?;
        match entry.value.value {
            Value::Null => None,
            _ => T::decode(&entry.value, decoder),
        }
    }

    /// The value of a key, or the default where it is absent, empty or wrong (which is reported).
    pub fn or_default<T: Decode + Default>(
        &mut self,
        key: &'static str,
        decoder: &mut Decoder,
    ) -> T {
        self.optional(key, decoder).unwrap_or_default()
    }

    /// Reports every key that was not asked for.
    pub fn finish(self, decoder: &mut Decoder) {
        for (entry, _) in self.entries.iter().filter(|(_, taken)| !taken) {
            let mut valid = self.known.clone();
            valid.sort_unstable();
            valid.dedup();
            let list = valid.join(", ");
            let help = match did_you_mean(&entry.key, valid.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`? Valid keys: {list}"),
                None => format!("valid keys: {list}"),
            };
            let problem = Problem::error(
                "unknown-key",
                format!("unknown key `{}` in {}", entry.key, self.what),
            )
            .at(decoder.source(), entry.key_span.clone(), "unknown")
            .help(help);
            decoder.problem(problem);
        }
    }
}
