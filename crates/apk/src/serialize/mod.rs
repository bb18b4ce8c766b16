//! apk's text forms of structured data: its YAML, which [`crate::adb::text`] reads back, and its
//! JSON. Byte for byte what apk 3.0.6 writes.

mod json;
mod yaml;

use std::io;

use json::Json;
use yaml::Yaml;

/// Which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Indented lines, with comments.
    #[default]
    Yaml,
    /// JSON, without comments.
    Json,
}

/// What a number means, which says how YAML shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A number.
    Plain,
    /// Permission bits: octal.
    Octal,
    /// Bytes: with a unit where it is to be read by people.
    Size,
    /// Seconds since 1970-01-01 UTC: a date where it is to be read by people.
    Time,
}

/// Writes objects, arrays and scalars as they come.
#[derive(Debug)]
pub struct Serializer<W>(Inner<W>);

#[derive(Debug)]
enum Inner<W> {
    Yaml(Yaml<W>),
    Json(Json<W>),
}

impl<W: io::Write> Serializer<W> {
    /// Writes to `out`. With `pretty`, YAML shows sizes and times for people.
    pub fn new(form: Form, pretty: bool, out: W) -> Serializer<W> {
        Serializer(match form {
            Form::Yaml => Inner::Yaml(Yaml::new(pretty, out)),
            Form::Json => Inner::Json(Json::new(out)),
        })
    }

    /// Begins an object.
    ///
    /// # Errors
    /// What is written to fails; so with all of these.
    pub fn start_object(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.start_object(None),
            Inner::Json(json) => json.start(b'{', b'}'),
        }
    }

    /// Begins the object at the root of an ADB with this schema number.
    pub fn start_schema(&mut self, schema: u32) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.start_object(Some(schema)),
            Inner::Json(json) => json.start(b'{', b'}'),
        }
    }

    /// Begins an array. YAML says how many items it has, if that is known.
    pub fn start_array(&mut self, items: Option<usize>) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.start_array(items),
            Inner::Json(json) => json.start(b'[', b']'),
        }
    }

    /// Ends the object or array that was begun last.
    pub fn end(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.end(),
            Inner::Json(json) => json.end(),
        }
    }

    /// A remark, which JSON has no place for.
    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.comment(text),
            Inner::Json(_) => Ok(()),
        }
    }

    /// The key of what follows in an object.
    pub fn key(&mut self, key: &str) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.key(key),
            Inner::Json(json) => json.key(key),
        }
    }

    /// A text. YAML writes one of many lines as a block, without its empty lines.
    pub fn text(&mut self, text: &[u8], lines: bool) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.text(text, lines),
            Inner::Json(json) => json.text(text),
        }
    }

    /// A number.
    pub fn number(&mut self, number: u64, meaning: Meaning) -> io::Result<()> {
        match &mut self.0 {
            Inner::Yaml(yaml) => yaml.number(number, meaning),
            Inner::Json(json) => json.number(number),
        }
    }
}

/// The units of sizes, each 1024 of the one before.
pub(crate) const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Bytes for people: `9765 KiB`, `9.5 MiB`, as apk shows them.
pub fn human_size(bytes: u64) -> String {
    let (whole, fraction, unit) = scaled(bytes);
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit < 2 {
        format!("{whole} {name}")
    } else {
        format!("{fraction:.1} {name}")
    }
}

/// Bytes for people in whole units: `9765 KiB`, `9 MiB`, as apk's `info` shows them.
pub fn whole_size(bytes: u64) -> String {
    let (whole, _, unit) = scaled(bytes);
    format!("{whole} {}", UNITS.get(unit).copied().unwrap_or_default())
}

/// How many of which unit, cut off and not.
fn scaled(bytes: u64) -> (u64, f32, usize) {
    let mut whole = bytes;
    // apk counts in single precision, which shows in the last digit.
    let mut fraction = bytes as f32;
    let mut unit = 0;
    while fraction >= 10_000.0 && unit + 1 < UNITS.len() {
        fraction /= 1024.0;
        whole /= 1024;
        unit += 1;
    }
    (whole, fraction, unit)
}
