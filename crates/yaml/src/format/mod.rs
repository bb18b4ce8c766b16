//! The layout of a file brought into one form, its comments, its order of keys and what it says
//! untouched.

mod layout;
mod order;
mod path;

use base::{Problem, SourceText};

pub use path::{InvalidPath, PathPattern};

use crate::tree::{Document, Node, Value};
use path::Part;

/// How a file is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Spaces a level, from 1 to 8.
    pub indent: usize,
    /// Collections whose entries have an empty line between them.
    pub gaps: Vec<PathPattern>,
    /// Lists of texts that are sorted, by bytes.
    pub sorted: Vec<PathPattern>,
    /// Lists of texts that have each one once.
    pub deduplicated: Vec<PathPattern>,
    /// Texts in double quotes.
    pub quoted: Vec<PathPattern>,
}

impl Default for Style {
    fn default() -> Style {
        Style {
            indent: 2,
            gaps: Vec::new(),
            sorted: Vec::new(),
            deduplicated: Vec::new(),
            quoted: Vec::new(),
        }
    }
}

/// Lays out `source` again: the indentation of the style, lists a level deeper than their key, one
/// space behind `:`, `-` and before a comment, no spaces at the ends of lines, empty lines where the
/// style has them and between comments, one newline at the end. Scalars keep their way of writing;
/// plain ones over several lines come to one.
///
/// # Errors
/// The problems of the YAML; or that this file can't be laid out without changing what it says, as
/// with keys that are no texts.
pub fn format(source: &SourceText, style: &Style) -> Result<String, Vec<Problem>> {
    round(source, style, 2)
}

/// Lays out; up to so many `rounds` more if that makes more to do.
fn round(source: &SourceText, style: &Style, rounds: u32) -> Result<String, Vec<Problem>> {
    let text = source.text();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.replace("\r\n", "\n");
    // A carriage return ends a line, too, if it stands alone.
    let mut original = None;
    if lines.contains('\r') {
        original = Some(Document::parse(source.clone())?);
        lines = lines.replace('\r', "\n");
    }
    // Problems are told of the text as it is.
    let mut document = match Document::parse(SourceText::new(source.name(), lines)) {
        Ok(document) => document,
        Err(_) => Document::parse(source.clone())?,
    };
    let mut is_kept = original.is_none_or(|original| says_the_same(&original.root, &document.root));
    let ordered = order::rewrite(&document, style);
    if ordered != document.source.text() {
        let mut before = document.root;
        document = Document::parse(SourceText::new(source.name(), ordered))?;
        let mut after = document.root.clone();
        order::settle(&mut before, style);
        order::settle(&mut after, style);
        is_kept &= says_the_same(&before, &after);
    }
    let refusal = |offset: usize| {
        let end = text[offset..]
            .find('\n')
            .map_or(text.len(), |end| offset + end);
        let problem = Problem::error(
            "unformattable",
            "this file can't be laid out without changing what it says",
        )
        .at(source, offset..end, "from here")
        .help("write this part plainly: no complex keys, no tabs before texts");
        vec![problem]
    };
    let out = layout::lay_out(&document, style).map_err(|offset| {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        refusal(offset)
    })?;
    // Whatever is written, what is said must be the same.
    match Document::parse(SourceText::new(source.name(), out.as_str())) {
        Ok(again) if is_kept && says_the_same(&document.root, &again.root) => {
            // An item over several lines stands in one now, and may belong elsewhere in its list.
            if rounds == 0 || order::rewrite(&again, style) == out {
                return Ok(out);
            }
            let again = SourceText::new(source.name(), out);
            round(&again, style, rounds - 1).map_err(|_| refusal(0))
        }
        _ => Err(refusal(0)),
    }
}

/// Whether two trees differ in nothing but places.
fn says_the_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Null, Value::Null) => true,
        (Value::Scalar(one), Value::Scalar(other)) => one == other,
        (Value::Sequence(one), Value::Sequence(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| says_the_same(one, other))
        }
        (Value::Mapping(one), Value::Mapping(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| {
                    one.key == other.key && says_the_same(&one.value, &other.value)
                })
        }
        _ => false,
    }
}

/// Calls `visit` with every node and its path, outer ones first.
fn walk<'n>(
    node: &'n Node,
    path: &mut Vec<Part<'n>>,
    visit: &mut dyn FnMut(&'n Node, &[Part<'n>]),
) {
    visit(node, path);
    match &node.value {
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Part::Index(index));
                walk(item, path, visit);
                path.pop();
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                path.push(Part::Key(&entry.key));
                walk(&entry.value, path, visit);
                path.pop();
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
}

#[cfg(test)]
mod tests;
