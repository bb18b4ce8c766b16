//! Lists sorted, and texts quoted, where a style wants it: the lines of items change places, with
//! the comments right above them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::path::{Part, PathPattern};
use super::{Style, walk};
use crate::tree::{Document, Node, Value};
use crate::write;

fn is_one(patterns: &[PathPattern], path: &[Part<'_>]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path))
}

/// Makes all trees equal that [`rewrite`] may make of each other.
pub(super) fn settle(root: &mut Node, style: &Style) {
    change(root, &mut Vec::new(), style);
}

fn change(node: &mut Node, path: &mut Vec<OwnedPart>, style: &Style) {
    let borrowed: Vec<Part<'_>> = path.iter().map(OwnedPart::borrow).collect();
    let (sorted, deduplicated, quoted) = (
        is_one(&style.sorted, &borrowed),
        is_one(&style.deduplicated, &borrowed),
        is_one(&style.quoted, &borrowed),
    );
    match &mut node.value {
        Value::Scalar(scalar) if quoted => scalar.plain = false,
        Value::Null | Value::Scalar(_) => {}
        Value::Sequence(items) => {
            if items.iter().all(|item| item.text().is_some()) {
                if sorted {
                    items.sort_by(|one, other| one.text().cmp(&other.text()));
                }
                if deduplicated {
                    let mut seen = BTreeSet::new();
                    items.retain(|item| seen.insert(item.text().map(str::to_owned)));
                }
            }
            for (index, item) in items.iter_mut().enumerate() {
                path.push(OwnedPart::Index(index));
                change(item, path, style);
                path.pop();
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                path.push(OwnedPart::Key(entry.key.clone()));
                change(&mut entry.value, path, style);
                path.pop();
            }
        }
    }
}

enum OwnedPart {
    Key(String),
    Index(usize),
}

impl OwnedPart {
    fn borrow(&self) -> Part<'_> {
        match self {
            OwnedPart::Key(key) => Part::Key(key),
            OwnedPart::Index(index) => Part::Index(*index),
        }
    }
}

/// The text with its lists sorted and its texts quoted.
pub(super) fn rewrite(document: &Document, style: &Style) -> String {
    let text = document.source.text();
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    walk(
        &document.root,
        &mut Vec::new(),
        &mut |node, path| match &node.value {
            Value::Sequence(items)
                if is_one(&style.sorted, path) || is_one(&style.deduplicated, path) =>
            {
                edits.extend(reordered(
                    text,
                    items,
                    is_one(&style.sorted, path),
                    is_one(&style.deduplicated, path),
                ));
            }
            Value::Scalar(scalar) if is_one(&style.quoted, path) => {
                let written = &text[node.span.clone()];
                if !written.starts_with(['"', '|', '>', '*']) && !written.is_empty() {
                    edits.push((node.span.clone(), write::quoted(&scalar.text)));
                }
            }
            _ => {}
        },
    );
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, replacement) in edits {
        // An edit inside another one waits for the next time.
        if range.start >= at {
            out.push_str(&text[at..range.start]);
            out.push_str(&replacement);
            at = range.end;
        }
    }
    out.push_str(&text[at..]);
    out
}

/// The lines of the items in their new order, or nothing when they stand right or not on lines of
/// their own.
fn reordered(
    text: &str,
    items: &[Node],
    sorted: bool,
    deduplicated: bool,
) -> Option<(Range<usize>, String)> {
    let mut chunks: Vec<(&str, Range<usize>)> = Vec::new();
    let mut behind = 0;
    for item in items {
        let value = item.text()?;
        let written = &text[item.span.clone()];
        if written.is_empty() || written.contains('\n') || written.starts_with('*') {
            return None;
        }
        let mut start = line_start(text, item.span.start);
        if text[start..item.span.start].trim() != "-" {
            return None;
        }
        while start > behind {
            let above = line_start(text, start - 1);
            if above < behind || !text[above..start].trim_start().starts_with('#') {
                break;
            }
            // What stands above the first item may be about the list.
            start = above;
        }
        let end = text[item.span.end..]
            .find('\n')
            .map_or(text.len(), |newline| item.span.end + newline + 1);
        if let Some((_, last)) = chunks.last_mut() {
            last.end = start;
        }
        chunks.push((value, start..end));
        behind = end;
    }
    let whole = chunks.first()?.1.start..chunks.last()?.1.end;
    let mut order: Vec<usize> = (0..chunks.len()).collect();
    if sorted {
        order.sort_by_key(|place| chunks[*place].0);
    }
    if deduplicated {
        let mut seen = BTreeSet::new();
        order.retain(|place| seen.insert(chunks[*place].0));
    }
    if order.len() == chunks.len() && order.is_sorted() {
        return None;
    }
    let mut out = String::with_capacity(whole.len() + 1);
    for place in order {
        out.push_str(&text[chunks[place].1.clone()]);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }
    Some((whole, out))
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |newline| newline + 1)
}
