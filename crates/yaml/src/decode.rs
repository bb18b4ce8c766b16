use std::collections::BTreeMap;
use std::ops::{Deref, Range};

use base::{Problem, Severity, SourceText};

use crate::scalar;
use crate::tree::{Document, Node, Value};

/// Turns a node into a value. Implementations push what is wrong into the decoder and give `None`
/// where they have no value, so that every problem of a file is found in one go.
pub trait Decode: Sized {
    /// Decodes `node`; `None` when a problem was pushed.
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Self>;
}

/// How many problems of one document are told; nobody reads more.
pub(crate) const PROBLEM_LIMIT: usize = 500;

/// Gathers problems while a document is decoded, the first 500 of them.
#[derive(Debug)]
pub struct Decoder {
    source: SourceText,
    problems: Vec<Problem>,
}

impl Decoder {
    /// A decoder for nodes of `source`.
    pub fn new(source: SourceText) -> Decoder {
        Decoder {
            source,
            problems: Vec::new(),
        }
    }

    /// The text the nodes came from.
    pub fn source(&self) -> &SourceText {
        &self.source
    }

    /// Takes a problem.
    pub fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(problem);
        }
    }

    /// Takes an error at `span`; `label` may be empty.
    pub fn error(
        &mut self,
        rule: &'static str,
        message: impl Into<String>,
        span: Range<usize>,
        label: impl Into<String>,
    ) {
        let problem = Problem::error(rule, message).at(&self.source, span, label);
        self.problem(problem);
    }

    /// Takes the error that `node` is not what was `expected` (`a list`, `an integer`).
    pub fn mismatch(&mut self, expected: &str, node: &Node) {
        let found = match &node.value {
            // As written: quotes may be the very reason.
            Value::Scalar(scalar) => {
                let written = first_line(&self.source, &node.span);
                let written = self.source.text().get(written).unwrap_or(&scalar.text);
                let shown: String = written.chars().take(40).collect();
                let more = if shown.len() < written.len() {
                    "…"
                } else {
                    ""
                };
                format!("`{shown}{more}`")
            }
            other => other.kind().to_owned(),
        };
        self.error(
            "wrong-type",
            format!("expected {expected}, found {found}"),
            first_line(&self.source, &node.span),
            format!("not {expected}"),
        );
    }

    /// The problems so far.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All problems, in the order of their places in the file.
    pub fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| problem.labels.first().map(|label| label.span.start));
        self.problems
    }
}

/// `span`, ended at the end of its first line: long values would drown a message.
pub(crate) fn first_line(source: &SourceText, span: &Range<usize>) -> Range<usize> {
    let Some(text) = source.text().get(span.clone()) else {
        return span.clone();
    };
    let length = text.find('\n').unwrap_or(text.len());
    span.start..span.start + text[..length].trim_end().len()
}

/// Parses and decodes a document.
///
/// # Errors
/// Every problem of the file at once. Warnings alone are no error; [`decode_with_warnings`] has them.
pub fn decode<T: Decode>(source: SourceText) -> Result<T, Vec<Problem>> {
    decode_with_warnings(source).map(|(value, _)| value)
}

/// Parses and decodes a document; the second value holds what is worth a warning.
///
/// # Errors
/// Every problem of the file at once, warnings included, if one of them is an error.
pub fn decode_with_warnings<T: Decode>(
    source: SourceText,
) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    let (document, problems) = Document::parse_leniently(source);
    let Some(document) = document else {
        return Err(problems);
    };
    let mut decoder = Decoder::new(document.source.clone());
    decoder.problems = problems;
    let value = T::decode(&document.root, &mut decoder);
    settle(value, decoder)
}

/// Decodes a part of a document that was parsed before.
///
/// # Errors
/// Every problem of that part at once.
pub fn decode_node<T: Decode>(source: &SourceText, node: &Node) -> Result<T, Vec<Problem>> {
    let mut decoder = Decoder::new(source.clone());
    let value = T::decode(node, &mut decoder);
    settle(value, decoder).map(|(value, _)| value)
}

fn settle<T>(value: Option<T>, decoder: Decoder) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    let source = decoder.source.clone();
    let mut problems = decoder.finish();
    let failed = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    match value {
        Some(value) if !failed => Ok((value, problems)),
        _ => {
            if !failed {
                problems.push(Problem::error(
                    "undecodable",
                    format!("{} cannot be read as what it should be", source.name()),
                ));
            }
            Err(problems)
        }
    }
}

/// A value and the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands: start byte.
    pub start: usize,
    /// Where it stands: the byte after its last.
    pub end: usize,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Range<usize>) -> Spanned<T> {
        Spanned {
            value,
            start: span.start,
            end: span.end,
        }
    }

    /// Bytes of the source.
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Spanned<T>> {
        Some(Spanned::new(T::decode(node, decoder)?, node.span.clone()))
    }
}

/// Any scalar's text as written; null is the empty text.
impl Decode for String {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<String> {
        match &node.value {
            Value::Null => Some(String::new()),
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => {
                decoder.mismatch("text", node);
                None
            }
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<bool> {
        let value = match &node.value {
            Value::Scalar(text) => scalar::boolean(&text.text, text.plain),
            _ => None,
        };
        if value.is_none() {
            decoder.mismatch("`true` or `false`", node);
        }
        value
    }
}

fn integer<T: TryFrom<i128>>(node: &Node, expected: &str, decoder: &mut Decoder) -> Option<T> {
    let value = match &node.value {
        Value::Scalar(text) if text.plain => scalar::integer(&text.text),
        _ => None,
    };
    let value = value.and_then(|value| T::try_from(value).ok());
    if value.is_none() {
        decoder.mismatch(expected, node);
    }
    value
}

impl Decode for u32 {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<u32> {
        integer(node, "an integer between 0 and 4294967295", decoder)
    }
}

impl Decode for u64 {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<u64> {
        integer(node, "an integer that is not negative", decoder)
    }
}

impl Decode for i64 {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<i64> {
        integer(node, "an integer", decoder)
    }
}

/// Null is `None`.
impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Option<T>> {
        match node.value {
            Value::Null => Some(None),
            _ => T::decode(node, decoder).map(Some),
        }
    }
}

/// A list; null is the empty list.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<Vec<T>> {
        match &node.value {
            Value::Null => Some(Vec::new()),
            Value::Sequence(items) => {
                let decoded: Vec<Option<T>> =
                    items.iter().map(|item| T::decode(item, decoder)).collect();
                decoded.into_iter().collect()
            }
            _ => {
                decoder.mismatch("a list", node);
                None
            }
        }
    }
}

/// A mapping with any keys; null is the empty mapping.
impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(node: &Node, decoder: &mut Decoder) -> Option<BTreeMap<String, T>> {
        match &node.value {
            Value::Null => Some(BTreeMap::new()),
            Value::Mapping(entries) => {
                let decoded: Vec<Option<(String, T)>> = entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), T::decode(&entry.value, decoder)?)))
                    .collect();
                decoded.into_iter().collect()
            }
            _ => {
                decoder.mismatch("a mapping", node);
                None
            }
        }
    }
}

/// The node itself, for parts that are decoded later.
impl Decode for Node {
    fn decode(node: &Node, _: &mut Decoder) -> Option<Node> {
        Some(node.clone())
    }
}
