use super::MAXIMUM_HEX;
use crate::adb::compose;
use crate::adb::schema::{self, ArraySchema, Kind, ObjectSchema, Scalar, Schema, Words};
use crate::adb::{AdbError, Builder, Tag, Value};
use crate::dependency::{Dependency, InvalidDependency, Refused};
use crate::serialize::UNITS;

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What it is.
    pub schema: u32,
    /// The payload, written anew.
    pub payload: Vec<u8>,
}

/// A text can't be read back.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct TextError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    #[source]
    pub kind: TextErrorKind,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum TextErrorKind {
    /// The text doesn't say what it is.
    #[error("`#%SCHEMA: ` and 8 hexadecimal digits should stand here, as `adbdump` writes them")]
    NoSchema,
    /// It is something else than packages, indexes and installed databases.
    #[error("schema {0:08X} is not known (676B6370 package, 78646E69 index, 00626469 database)")]
    Schema(u32),
    /// A line that belongs to nothing.
    #[error("it is deeper than what it could belong to")]
    Deep,
    /// An item where a key should be, or the other way round.
    #[error("{0} should stand here")]
    Expected(&'static str),
    /// A key that objects of this kind have not.
    #[error("`{object}` has no field `{key}`")]
    Key {
        /// The kind of object.
        object: &'static str,
        /// The key.
        key: String,
    },
    /// A key that stood before.
    #[error("`{0}` stands here a second time")]
    Twice(&'static str),
    /// A quote without its end.
    #[error("the quote isn't closed at the end of the line")]
    Quote,
    /// A number that is none.
    #[error("`{0}` is no {1} number below 2^64")]
    Number(String, &'static str),
    /// Bytes that are not written as such, or left out.
    #[error(
        "`{0}` is no hexadecimal text of at most 512 digits; longer bytes are left out by `adbdump`"
    )]
    Hex(String),
    /// No extended attribute.
    #[error("`{0}` is no attribute: a name, `=` and its value in hexadecimal")]
    Attribute(String),
    /// The name of a package that is none.
    #[error("`{0}` can't name a package: letters, digits and `+-._`, a letter or digit first")]
    Name(String),
    /// A tag that is none.
    #[error("`{0}` is no tag: letters, digits and `+,-./:=[]_` only")]
    Tag(String),
    /// A version that is none, be it with or without a grammar.
    #[error("`{0}` is no version: it is empty, or has spaces or control characters")]
    Version(String),
    /// A dependency that is none.
    #[error(transparent)]
    Dependency(#[from] InvalidDependency),
    /// The payload grows too large.
    #[error(transparent)]
    Adb(#[from] AdbError),
}

type Result<T> = std::result::Result<T, TextError>;

/// Reads a text that [`super::Dump`] or apk wrote in YAML form.
///
/// # Errors
/// See [`TextErrorKind`].
pub fn parse(text: &[u8]) -> Result<Parsed> {
    let mut lines = Lines::new(text);
    let first = lines.take();
    let number = schema_number(first.content).ok_or(first.wrong(TextErrorKind::NoSchema))?;
    let schema = schema::by_id(number).ok_or(first.wrong(TextErrorKind::Schema(number)))?;
    let payload = payload(&mut lines, schema, 0)?;
    if let Some(line) = lines.peek() {
        return Err(line.wrong(TextErrorKind::Deep));
    }
    Ok(Parsed {
        schema: number,
        payload,
    })
}

fn schema_number(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"#%SCHEMA: ")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?.trim_end(), 16).ok()
}

fn payload(lines: &mut Lines<'_>, schema: &'static Schema, indent: usize) -> Result<Vec<u8>> {
    let mut builder = Builder::new();
    let at = lines.number;
    let root = fields(lines, &mut builder, schema.root, indent)?;
    builder.set_root(root);
    builder.finish().map_err(|error| TextError {
        line: at,
        kind: error.into(),
    })
}

/// A line: its indentation in steps of two spaces is known, and taken off.
#[derive(Clone, Copy)]
struct Line<'t> {
    number: usize,
    indent: usize,
    content: &'t [u8],
}

impl Line<'_> {
    fn wrong(&self, kind: impl Into<TextErrorKind>) -> TextError {
        TextError {
            line: self.number,
            kind: kind.into(),
        }
    }
}

/// The lines of a text, of which the first may be changed: `- ` is taken off it.
struct Lines<'t> {
    rest: Option<&'t [u8]>,
    number: usize,
    next: Option<Line<'t>>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t [u8]) -> Lines<'t> {
        Lines {
            rest: Some(text.strip_suffix(b"\n").unwrap_or(text)),
            number: 0,
            next: None,
        }
    }

    /// The next line as it is, remarks too; an empty one at the end.
    fn take(&mut self) -> Line<'t> {
        let next = self.next.take().or_else(|| self.read());
        next.unwrap_or(Line {
            number: self.number,
            indent: 0,
            content: &[],
        })
    }

    fn read(&mut self) -> Option<Line<'t>> {
        let rest = self.rest?;
        let line = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                self.rest = rest.get(end + 1..);
                rest.get(..end).unwrap_or_default()
            }
            None => {
                self.rest = None;
                rest
            }
        };
        self.number += 1;
        let mut content = line;
        let mut indent = 0;
        while let Some(rest) = content.strip_prefix(b"  ") {
            content = rest;
            indent += 1;
        }
        Some(Line {
            number: self.number,
            indent,
            content,
        })
    }

    /// The next line that isn't a remark or empty.
    fn peek(&mut self) -> Option<Line<'t>> {
        loop {
            if self.next.is_none() {
                self.next = self.read();
            }
            let next = self.next?;
            let remark = next.content.starts_with(b"#") || next.content.is_empty();
            if !remark {
                return Some(next);
            }
            self.next = None;
        }
    }

    /// Puts another line in front.
    fn push(&mut self, line: Line<'t>) {
        self.next = Some(line);
    }

    /// The lines of a block, which are deeper than `indent`, each with what is left of it once the
    /// block's own indentation is taken off.
    fn block(&mut self, indent: usize) -> Vec<u8> {
        let mut text = Vec::new();
        loop {
            if self.next.is_none() {
                self.next = self.read();
            }
            match self.next {
                Some(line) if line.indent > indent => {
                    self.next = None;
                    if !text.is_empty() {
                        text.push(b'\n');
                    }
                    for _ in indent + 1..line.indent {
                        text.extend_from_slice(b"  ");
                    }
                    text.extend_from_slice(line.content);
                }
                // An empty line has no indentation, yet the block goes on behind it.
                Some(line) if line.content.is_empty() && line.indent == 0 => {
                    self.next = None;
                    text.push(b'\n');
                }
                _ => break,
            }
        }
        while text.last() == Some(&b'\n') {
            text.pop();
        }
        text
    }
}

/// The fields of an object that stand at this indentation.
fn fields(
    lines: &mut Lines<'_>,
    builder: &mut Builder,
    schema: &'static ObjectSchema,
    indent: usize,
) -> Result<Value> {
    let mut values = vec![Value::NULL; schema.fields.len()];
    let mut seen = vec![false; schema.fields.len()];
    while let Some(line) = lines.peek() {
        if line.indent < indent {
            break;
        }
        if line.indent > indent {
            return Err(line.wrong(TextErrorKind::Deep));
        }
        if line.content.starts_with(b"- ") {
            return Err(line.wrong(TextErrorKind::Expected("a key")));
        }
        lines.take();
        let Some((key, rest)) = key_and_rest(line.content) else {
            return Err(line.wrong(TextErrorKind::Expected("a key")));
        };
        let key = String::from_utf8_lossy(key);
        let place = schema.fields.iter().position(|field| field.name == key);
        let (Some(field), Some(seen)) = (
            place.and_then(|place| schema.fields.get(place)),
            place.and_then(|place| seen.get_mut(place)),
        ) else {
            return Err(line.wrong(TextErrorKind::Key {
                object: schema.name,
                key: key.escape_debug().to_string(),
            }));
        };
        if std::mem::replace(seen, true) {
            return Err(line.wrong(TextErrorKind::Twice(field.name)));
        }
        let value = item(lines, builder, field.kind, rest, line)?;
        if let Some(slot) = place.and_then(|place| values.get_mut(place)) {
            *slot = value;
        }
    }
    Ok(builder.object(&values))
}

/// Splits `key: scalar` and `key:`.
fn key_and_rest(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = content.iter().position(|byte| *byte == b':')?;
    let (key, rest) = content.split_at(end);
    match rest.get(1..)? {
        [] => Some((key, &[])),
        [b' ', rest @ ..] => Some((key, rest)),
        _ => None,
    }
}

/// What stands behind a key or `- `, and on the lines beneath that are deeper than `line`.
fn item(
    lines: &mut Lines<'_>,
    builder: &mut Builder,
    kind: Kind,
    rest: &[u8],
    line: Line<'_>,
) -> Result<Value> {
    let inner = line.indent + 1;
    let alone = rest.is_empty() || rest.starts_with(b"#");
    match kind {
        Kind::Object(object) if alone && object.words.is_none() => {
            fields(lines, builder, object, inner)
        }
        Kind::Array(array) if alone => items(lines, builder, array, inner),
        Kind::Adb(schema) if alone => {
            let payload = payload(lines, schema, inner)?;
            Ok(builder.adb(&payload))
        }
        _ => {
            let text = match rest {
                [b'|', ..] => lines.block(line.indent),
                rest => plain(rest).map_err(|kind| line.wrong(kind))?.to_vec(),
            };
            scalar(builder, kind, &text).map_err(|kind| line.wrong(kind))
        }
    }
}

/// The items of an array that stand at this indentation.
fn items(
    lines: &mut Lines<'_>,
    builder: &mut Builder,
    array: &'static ArraySchema,
    indent: usize,
) -> Result<Value> {
    let mut values = Vec::new();
    while let Some(line) = lines.peek() {
        if line.indent < indent {
            break;
        }
        let Some(rest) = line.content.strip_prefix(b"- ") else {
            return Err(line.wrong(TextErrorKind::Expected("an item")));
        };
        if line.indent > indent {
            return Err(line.wrong(TextErrorKind::Deep));
        }
        lines.take();
        let value = match array.item {
            // The first field stands where its line begins; the others are as deep as it.
            Kind::Object(object) if object.words.is_none() => {
                lines.push(Line {
                    indent: indent + 1,
                    content: rest,
                    ..line
                });
                fields(lines, builder, object, indent + 1)?
            }
            kind => item(lines, builder, kind, rest, line)?,
        };
        values.push(value);
    }
    Ok(builder.array(array, Tag::Object, values))
}

/// A scalar in a line, without quotes and remarks.
fn plain(text: &[u8]) -> std::result::Result<&[u8], TextErrorKind> {
    if let Some(rest) = text.strip_prefix(b"'") {
        // What is quoted holds no quote, so the next one ends it.
        let end = rest.iter().position(|byte| *byte == b'\'');
        let end = end.ok_or(TextErrorKind::Quote)?;
        return Ok(rest.get(..end).unwrap_or_default());
    }
    let remark = text.windows(2).position(|pair| pair == b" #");
    Ok(text.get(..remark.unwrap_or(text.len())).unwrap_or_default())
}

fn scalar(
    builder: &mut Builder,
    kind: Kind,
    text: &[u8],
) -> std::result::Result<Value, TextErrorKind> {
    let shown = || String::from_utf8_lossy(text).escape_debug().to_string();
    match kind {
        Kind::Scalar(scalar) => match scalar {
            Scalar::Text | Scalar::Lines => Ok(builder.blob(text)),
            Scalar::Name => {
                let of_names = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
                let first = text.first().is_some_and(u8::is_ascii_alphanumeric);
                match first && text.iter().all(of_names) {
                    true => Ok(builder.blob(text)),
                    false => Err(TextErrorKind::Name(shown())),
                }
            }
            // Indexes of others hold versions that follow no grammar.
            Scalar::Version => match is_word(text) {
                true => Ok(builder.blob(text)),
                false => Err(TextErrorKind::Version(shown())),
            },
            Scalar::Hex => match hex(text) {
                Some(bytes) => Ok(builder.blob(&bytes)),
                None => Err(TextErrorKind::Hex(shown())),
            },
            Scalar::Attribute => {
                let end = text.iter().rposition(|byte| *byte == b'=');
                let pair = end.map(|end| text.split_at(end));
                let value = pair.and_then(|(_, value)| hex(value.get(1..)?));
                match (pair, value) {
                    (Some((name, _)), Some(value)) if !name.is_empty() => {
                        Ok(builder.blob_of(&[name, b"\0", &value]))
                    }
                    _ => Err(TextErrorKind::Attribute(shown())),
                }
            }
            Scalar::Integer | Scalar::Time => match number(text, 10) {
                Some(number) => Ok(builder.integer(number)),
                None => Err(TextErrorKind::Number(shown(), "decimal")),
            },
            Scalar::Octal => match number(text, 8) {
                Some(number) => Ok(builder.integer(number)),
                None => Err(TextErrorKind::Number(shown(), "octal")),
            },
            Scalar::Size => match size(text) {
                Some(number) => Ok(builder.integer(number)),
                None => Err(TextErrorKind::Number(shown(), "decimal")),
            },
        },
        Kind::Object(object) if object.words == Some(Words::Dependencies) => {
            let term = dependency(&String::from_utf8_lossy(text))?;
            Ok(compose::dependency(builder, &term))
        }
        Kind::Array(array) => match array.words {
            Some(Words::Dependencies) => {
                let terms = String::from_utf8_lossy(text)
                    .split_ascii_whitespace()
                    .map(dependency)
                    .collect::<std::result::Result<Vec<_>, _>>()?;
                Ok(compose::dependencies(builder, &terms, Tag::Object))
            }
            Some(Words::Tags) => {
                let of_tags =
                    |byte: &u8| byte.is_ascii_alphanumeric() || b"+,-./:=[]_".contains(byte);
                let mut tags = Vec::new();
                for tag in text
                    .split(|byte| *byte == b' ')
                    .filter(|tag| !tag.is_empty())
                {
                    if !tag.iter().all(of_tags) {
                        return Err(TextErrorKind::Tag(shown()));
                    }
                    tags.push(builder.blob(tag));
                }
                Ok(builder.array(array, Tag::Object, tags))
            }
            None => Err(TextErrorKind::Expected("an array of items beneath its key")),
        },
        Kind::Object(_) | Kind::Adb(_) => Err(TextErrorKind::Expected(
            "an object, its fields beneath its key",
        )),
    }
}

fn is_word(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A dependency, or a name provided in a version that follows no grammar.
fn dependency(text: &str) -> std::result::Result<Dependency, InvalidDependency> {
    Dependency::parse_untagged(text).or_else(|error| match Dependency::refused(text) {
        Refused::Kept(term) if term.is_broken() && !term.name.is_empty() => Ok(term),
        _ => Err(error),
    })
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > 2 * MAXIMUM_HEX {
        return None;
    }
    hex::decode(text).ok()
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    // A sign is no digit.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

/// A number of bytes, perhaps with a unit.
fn size(text: &[u8]) -> Option<u64> {
    let Some(space) = text.iter().position(|byte| *byte == b' ') else {
        return number(text, 10);
    };
    let (count, unit) = text.split_at(space);
    let unit = std::str::from_utf8(unit.get(1..)?).ok()?;
    let power = UNITS.iter().position(|known| *known == unit)?;
    let unit = 1024u64.checked_pow(u32::try_from(power).ok()?)?;
    number(count, 10)?.checked_mul(unit)
}
