use crate::scalar::looks_typed;
use crate::tree::{Node, Value};

/// What is written: a tree without places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A decimal integer.
    Integer(i64),
    /// Text, quoted where a reader could take it for something else.
    Text(String),
    /// A list.
    List(Vec<Item>),
    /// A mapping, in this order. Keys must differ.
    Map(Vec<(String, Item)>),
}

impl From<bool> for Item {
    fn from(value: bool) -> Item {
        Item::Bool(value)
    }
}

impl From<i64> for Item {
    fn from(value: i64) -> Item {
        Item::Integer(value)
    }
}

impl From<u32> for Item {
    fn from(value: u32) -> Item {
        Item::Integer(value.into())
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Item {
        Item::Text(text.to_owned())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Item {
        Item::Text(text)
    }
}

impl<T: Into<Item>> From<Vec<T>> for Item {
    fn from(items: Vec<T>) -> Item {
        Item::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Item>> From<Option<T>> for Item {
    fn from(item: Option<T>) -> Item {
        item.map_or(Item::Null, Into::into)
    }
}

/// Every scalar becomes text: a tree alone doesn't know what a field's type makes of it.
impl From<&Node> for Item {
    fn from(node: &Node) -> Item {
        match &node.value {
            Value::Null => Item::Null,
            Value::Scalar(scalar) => Item::Text(scalar.text.clone()),
            Value::Sequence(items) => Item::List(items.iter().map(Item::from).collect()),
            Value::Mapping(entries) => Item::Map(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), Item::from(&entry.value)))
                    .collect(),
            ),
        }
    }
}

/// Writes in block style, two spaces a level, ending with a newline. The same item always gives
/// the same bytes, and parsing gives the item back.
pub fn to_string(item: &Item) -> String {
    let mut out = String::new();
    match item {
        Item::List(items) if !items.is_empty() => list(items, 0, &mut out),
        Item::Map(entries) if !entries.is_empty() => map(entries, 0, &mut out),
        other => {
            flat(other, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(level: usize, out: &mut String) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn list(items: &[Item], level: usize, out: &mut String) {
    for (position, item) in items.iter().enumerate() {
        // The first line of a nested collection stands behind the dash.
        if position > 0 {
            indent(level, out);
        }
        out.push_str("- ");
        match item {
            Item::List(items) if !items.is_empty() => list(items, level + 1, out),
            Item::Map(entries) if !entries.is_empty() => map(entries, level + 1, out),
            other => {
                flat(other, out);
                out.push('\n');
            }
        }
    }
}

fn map(entries: &[(String, Item)], level: usize, out: &mut String) {
    for (position, (key, item)) in entries.iter().enumerate() {
        if position > 0 {
            indent(level, out);
        }
        let start = out.len();
        text(key, out);
        // A longer key can't be told from a value without a mark.
        if out.len() - start > 1000 {
            out.insert_str(start, "? ");
            out.push('\n');
            indent(level, out);
        }
        out.push(':');
        match item {
            Item::List(items) if !items.is_empty() => {
                out.push('\n');
                indent(level + 1, out);
                list(items, level + 1, out);
            }
            Item::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                indent(level + 1, out);
                map(entries, level + 1, out);
            }
            other => {
                out.push(' ');
                flat(other, out);
                out.push('\n');
            }
        }
    }
}

fn flat(item: &Item, out: &mut String) {
    match item {
        Item::Null => out.push_str("null"),
        Item::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Item::Integer(value) => out.push_str(&value.to_string()),
        Item::Text(value) => text(value, out),
        Item::List(_) => out.push_str("[]"),
        Item::Map(_) => out.push_str("{}"),
    }
}

fn text(value: &str, out: &mut String) {
    if is_plain(value) {
        out.push_str(value);
    } else {
        out.push_str(&quoted(value));
    }
}

/// The text in double quotes.
pub(crate) fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(character),
            '\u{a1}'..='\u{d7ff}' if !matches!(character, '\u{2028}' | '\u{2029}') => {
                out.push(character);
            }
            other => match u32::from(other) {
                code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push('"');
    out
}

fn is_plain(value: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_./+@=<>~^%:-".contains(&byte);
    value
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_' || first == b'/')
        && value.bytes().all(safe)
        && !value.ends_with(':')
        && !looks_typed(value)
}
