use std::collections::BTreeMap;
use std::ops::Range;

use base::{Problem, SourceText};
use granit_parser::{Event, Parser, ScalarStyle, StructureStyle, Tag};

use crate::decode::PROBLEM_LIMIT;

/// The largest text that is parsed, in bytes.
pub const SIZE_LIMIT: usize = 32 << 20;

/// How deep collections may nest, aliases expanded.
pub const DEPTH_LIMIT: usize = 100;

/// What the copies that anchors and aliases make may weigh, beyond twice the size of the text.
const COPY_ALLOWANCE: usize = 4 << 20;

/// A YAML document as a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text it was parsed from.
    pub source: SourceText,
    /// The top; an empty document is `Value::Null`.
    pub root: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Bytes of the source, quotes and brackets included. For an alias, the alias itself.
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or a plain `null`.
    Null,
    /// Text that a field's type gives its meaning.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping in the order written, merge keys (`<<`) resolved.
    Mapping(Vec<Entry>),
}

/// A scalar's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, escapes and folding done, otherwise as written.
    pub text: String,
    /// Neither quoted, nor a block, nor tagged `!!str`: it may be a number or boolean.
    pub plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

impl Value {
    /// What it is, for messages: `a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar(_) => "a scalar",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Mapping(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    /// A scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }
}

impl Document {
    /// Parses `source`, which holds one document.
    ///
    /// # Errors
    /// Syntax errors, a second document, duplicate keys (each with both places), keys that are no
    /// scalars, tags polpo doesn't know, more than [`SIZE_LIMIT`] bytes or [`DEPTH_LIMIT`] levels,
    /// and aliases that expand to far more than the text.
    pub fn parse(source: SourceText) -> Result<Document, Vec<Problem>> {
        match Document::parse_leniently(source) {
            (Some(document), problems) if problems.is_empty() => Ok(document),
            (_, problems) => Err(problems),
        }
    }

    /// As [`Document::parse`], but gives the tree also when keys are duplicate or odd, so that a
    /// decoder can add its own problems.
    pub fn parse_leniently(source: SourceText) -> (Option<Document>, Vec<Problem>) {
        let mut builder = Builder {
            source: &source,
            problems: Vec::new(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            allowance: (2 * source.text().len()).saturating_add(COPY_ALLOWANCE),
            root: None,
        };
        let complete = builder.run();
        let (root, mut problems) = (builder.root, builder.problems);
        problems.sort_by_key(|problem| problem.labels.first().map(|label| label.span.start));
        let document = complete.then(|| Document {
            root: root.unwrap_or(Node {
                span: 0..0,
                value: Value::Null,
            }),
            source: source.clone(),
        });
        (document, problems)
    }
}

struct Builder<'s> {
    source: &'s SourceText,
    problems: Vec<Problem>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    allowance: usize,
    root: Option<Node>,
}

/// A collection whose end has not come yet.
struct Open {
    start: usize,
    end: usize,
    flow: bool,
    anchor: usize,
    weight: usize,
    /// Levels beneath it, itself included.
    height: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        key: Option<(Option<String>, bool, Range<usize>)>,
        merges: Vec<Node>,
    },
}

struct Anchored {
    node: Node,
    weight: usize,
    height: usize,
}

/// A node and what a copy of it costs.
struct Weighed {
    node: Node,
    plain: bool,
    weight: usize,
    height: usize,
}

impl Builder<'_> {
    fn run(&mut self) -> bool {
        let text = self.source.text();
        if text.len() > SIZE_LIMIT {
            self.problems.push(Problem::error(
                "yaml-size",
                format!(
                    "{} has {} bytes; at most {SIZE_LIMIT} are read",
                    self.source.name(),
                    text.len()
                ),
            ));
            return false;
        }
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: DEPTH_LIMIT + 1,
            block_nesting_limit: DEPTH_LIMIT + 1,
        };
        let mut complete = false;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) =
                match event {
                    Ok(event) => event,
                    Err(error) => {
                        let at = error.marker().byte_offset().unwrap_or(text.len());
                        let at = at.min(text.len());
                        self.problems.push(
                            Problem::error("yaml-syntax", format!("YAML syntax: {}", error.info()))
                                .at(self.source, at..at, "here"),
                        );
                        return false;
                    }
                };
            let span = span.byte_range().unwrap_or(0..0);
            let span = span.start.min(text.len())..span.end.min(text.len());
            if complete {
                return self.nothing_more(&event, span);
            }
            let carry_on = match event {
                Event::DocumentEnd => {
                    complete = true;
                    true
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, anchor, tag.as_deref(), span)
                }
                Event::SequenceStart(style, anchor, tag) => {
                    self.tag_of_collection(tag.as_deref(), "seq", &span);
                    self.start(style, anchor, span, Items::Sequence(Vec::new()))
                }
                Event::MappingStart(style, anchor, tag) => {
                    self.tag_of_collection(tag.as_deref(), "map", &span);
                    let items = Items::Mapping {
                        entries: Vec::new(),
                        key: None,
                        merges: Vec::new(),
                    };
                    self.start(style, anchor, span, items)
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(span),
                Event::Alias(id) => self.alias(id, span),
                Event::UnresolvedAlias(name) => {
                    self.error(
                        "yaml-alias",
                        format!("no anchor `&{name}` stands before this alias"),
                        span,
                    );
                    false
                }
                _ => true,
            };
            if !carry_on {
                return false;
            }
        }
        true
    }

    /// What follows the first document is refused: nobody would read it.
    fn nothing_more(&mut self, event: &Event<'_>, span: Range<usize>) -> bool {
        if !matches!(event, Event::DocumentStart(..)) {
            return true;
        }
        let problem = Problem::error(
            "yaml-documents",
            "a second document begins here, and only one is read",
        )
        .at(self.source, span, "")
        .help("put it into a file of its own");
        self.problem(problem);
        true
    }

    fn error(&mut self, rule: &'static str, message: String, span: Range<usize>) {
        let problem = Problem::error(rule, message).at(self.source, span, "");
        self.problem(problem);
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(problem);
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Range<usize>,
    ) -> bool {
        let mut plain = style == ScalarStyle::Plain;
        // An absent value comes as `~` without any bytes.
        let text = if plain && span.is_empty() { "" } else { text };
        let text = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => self.block_text(text, &span),
            _ => text,
        };
        let mut may_be_null = plain;
        if let Some(tag) = tag {
            match tag.core_suffix() {
                Some("null" | "bool" | "int" | "float" | "timestamp") => plain = true,
                Some("str") => (plain, may_be_null) = (false, false),
                _ if tag.original() == "!" => (plain, may_be_null) = (false, false),
                _ => self.unknown_tag(tag, &span),
            }
        }
        let value = if may_be_null && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            Value::Scalar(Scalar {
                text: text.to_owned(),
                plain,
            })
        };
        let is_key = matches!(
            self.open.last(),
            Some(Open {
                items: Items::Mapping { key: None, .. },
                ..
            })
        );
        // A key keeps its text, whatever it would mean as a value.
        let value = match value {
            Value::Null if is_key => Value::Scalar(Scalar {
                text: text.to_owned(),
                plain,
            }),
            value => value,
        };
        self.anchored(
            anchor,
            Weighed {
                weight: 64 + text.len(),
                height: 0,
                plain,
                node: Node { span, value },
            },
        )
    }

    /// go-yaml adds no newline to a block that ends where the file ends; the scanner does.
    fn block_text<'t>(&self, text: &'t str, span: &Range<usize>) -> &'t str {
        let source = self.source.text();
        if source.ends_with(['\n', '\r']) || span.end < source.trim_end().len() {
            return text;
        }
        let Some(trimmed) = text.strip_suffix('\n') else {
            return text;
        };
        let last_line = trimmed.rsplit('\n').next().unwrap_or(trimmed);
        // A folded block's last line is joined to those before it.
        let source_line = source.rsplit('\n').next().unwrap_or(source).trim_start();
        if (!last_line.is_empty() && source.ends_with(last_line))
            || (!source_line.is_empty() && trimmed.ends_with(source_line))
        {
            trimmed
        } else {
            text
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: &Range<usize>) {
        self.error(
            "yaml-tag",
            format!("the tag `{}` has no meaning here", tag.original()),
            span.clone(),
        );
    }

    fn tag_of_collection(&mut self, tag: Option<&Tag>, expected: &str, span: &Range<usize>) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
            && tag.original() != "!"
        {
            self.unknown_tag(tag, span);
        }
    }

    fn start(
        &mut self,
        style: StructureStyle,
        anchor: usize,
        span: Range<usize>,
        items: Items,
    ) -> bool {
        if self.open.len() >= DEPTH_LIMIT {
            self.too_deep(span);
            return false;
        }
        self.open.push(Open {
            start: span.start,
            end: span.end,
            flow: style == StructureStyle::Flow,
            anchor,
            weight: 64,
            height: 1,
            items,
        });
        true
    }

    fn too_deep(&mut self, span: Range<usize>) {
        self.error(
            "yaml-depth",
            format!("more than {DEPTH_LIMIT} levels of nesting"),
            span,
        );
    }

    fn end(&mut self, span: Range<usize>) -> bool {
        let Some(open) = self.open.pop() else {
            return true;
        };
        let end = if open.flow { span.end } else { open.end };
        let span = open.start..end.max(open.start);
        let value = match open.items {
            Items::Sequence(items) => Value::Sequence(items),
            Items::Mapping {
                entries, merges, ..
            } => Value::Mapping(self.merge(entries, merges)),
        };
        self.anchored(
            open.anchor,
            Weighed {
                node: Node { span, value },
                plain: false,
                weight: open.weight,
                height: open.height,
            },
        )
    }

    fn alias(&mut self, id: usize, span: Range<usize>) -> bool {
        let Some(anchored) = self.anchors.get(&id) else {
            self.error(
                "yaml-alias",
                "this alias stands inside the value it refers to".to_owned(),
                span,
            );
            return false;
        };
        let (weight, height) = (anchored.weight, anchored.height);
        if self.open.len() + height > DEPTH_LIMIT {
            self.too_deep(span);
            return false;
        }
        if !self.copy(weight, &span) {
            return false;
        }
        let Some(anchored) = self.anchors.get(&id) else {
            return false;
        };
        let node = Node {
            span,
            value: anchored.node.value.clone(),
        };
        self.place(Weighed {
            node,
            plain: false,
            weight,
            height,
        })
    }

    /// Pays for a copy of `weight`.
    fn copy(&mut self, weight: usize, span: &Range<usize>) -> bool {
        match self.allowance.checked_sub(weight) {
            Some(rest) => {
                self.allowance = rest;
                true
            }
            None => {
                self.error(
                    "yaml-alias",
                    "the aliases of this file expand to far more than its text".to_owned(),
                    span.clone(),
                );
                false
            }
        }
    }

    fn anchored(&mut self, anchor: usize, weighed: Weighed) -> bool {
        if anchor != 0 {
            if !self.copy(weighed.weight, &weighed.node.span) {
                return false;
            }
            self.anchors.insert(
                anchor,
                Anchored {
                    node: weighed.node.clone(),
                    weight: weighed.weight,
                    height: weighed.height,
                },
            );
        }
        self.place(weighed)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, weighed: Weighed) -> bool {
        let Weighed {
            node,
            plain,
            weight,
            height,
        } = weighed;
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return true;
        };
        open.weight = open.weight.saturating_add(weight);
        open.height = open.height.max(height + 1);
        open.end = open.end.max(node.span.end);
        match &mut open.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping {
                entries,
                key,
                merges,
            } => match key.take() {
                None => {
                    let text = match node.value {
                        Value::Scalar(scalar) => Some(scalar.text),
                        _ => None,
                    };
                    let bad = text.is_none();
                    *key = Some((text, plain, node.span.clone()));
                    if bad {
                        self.error("yaml-key", "a key must be a scalar".to_owned(), node.span);
                    }
                }
                Some((Some(key), true, _)) if key == "<<" => merges.push(node),
                Some((Some(key), _, key_span)) => entries.push(Entry {
                    key,
                    key_span,
                    value: node,
                }),
                Some((None, ..)) => {}
            },
        }
        true
    }

    /// Reports duplicate keys, then adds what `<<` brings: keys written win, earlier ones win.
    fn merge(&mut self, entries: Vec<Entry>, merges: Vec<Node>) -> Vec<Entry> {
        let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
        for entry in entries {
            match seen.get(&entry.key) {
                Some(first) => {
                    let problem = Problem::error(
                        "duplicate-key",
                        format!("the key `{}` stands twice", entry.key),
                    )
                    .at(self.source, entry.key_span, "again here")
                    .at(self.source, first.clone(), "first here")
                    .help("remove one of the two");
                    self.problem(problem);
                }
                None => {
                    seen.insert(entry.key.clone(), entry.key_span.clone());
                    kept.push(entry);
                }
            }
        }
        let mut add = |builder: &mut Self, node: Node| match node.value {
            Value::Mapping(entries) => {
                for entry in entries {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.key_span.clone());
                        kept.push(entry);
                    }
                }
            }
            _ => builder.error(
                "yaml-merge",
                "`<<` takes a mapping or a list of mappings".to_owned(),
                node.span,
            ),
        };
        for node in merges {
            match node.value {
                Value::Sequence(items) => items.into_iter().for_each(|item| add(self, item)),
                _ => add(self, node),
            }
        }
        kept
    }
}
