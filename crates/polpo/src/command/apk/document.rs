//! Results as documents: JSON and YAML in the layout that apk gives them, and the text of `query`.

use std::fmt::Write as _;
use std::io;

use apk::query::{Description, Field, Value};
use apk::serialize::{Form, Meaning, Serializer};
use clap::ValueEnum;

/// How a command that queries prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Layout {
    /// Text for people.
    #[default]
    Default,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A document or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Number(u64),
    /// `counted`: YAML says how many there are.
    List {
        items: Vec<Node>,
        counted: bool,
    },
    Object(Vec<(&'static str, Node)>),
}

impl Node {
    /// A list of known length.
    pub(super) fn list(items: impl IntoIterator<Item = Node>) -> Node {
        Node::List {
            items: items.into_iter().collect(),
            counted: true,
        }
    }

    /// A list of texts.
    pub(super) fn texts(items: impl IntoIterator<Item = String>) -> Node {
        Node::list(items.into_iter().map(Node::Text))
    }

    /// What is told of a package.
    pub(super) fn description(description: Description) -> Node {
        let fields = description.into_iter().map(|(field, value)| {
            let node = match value {
                Value::Text(text) => Node::Text(text),
                Value::Number(number) => Node::Number(number),
                Value::List(texts) => Node::List {
                    items: texts.into_iter().map(Node::Text).collect(),
                    counted: is_counted(field),
                },
            };
            (field.key(), node)
        });
        Node::Object(fields.collect())
    }

    /// The document in a layout that is one for programs.
    pub(super) fn to_text(&self, layout: Layout) -> String {
        let form = match layout {
            Layout::Yaml => Form::Yaml,
            Layout::Default | Layout::Json => Form::Json,
        };
        let mut out = Vec::new();
        // Writing to memory can't fail.
        let _ = self.write(&mut Serializer::new(form, false, &mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    fn write<W: io::Write>(&self, to: &mut Serializer<W>) -> io::Result<()> {
        match self {
            Node::Text(text) => to.text(text.as_bytes(), false),
            Node::Number(number) => to.number(*number, Meaning::Plain),
            Node::List { items, counted } => {
                to.start_array(counted.then_some(items.len()))?;
                for item in items {
                    item.write(to)?;
                }
                to.end()
            }
            Node::Object(fields) => {
                to.start_object()?;
                for (key, value) in fields {
                    to.key(key)?;
                    value.write(to)?;
                }
                to.end()
            }
        }
    }
}

/// The lists that apk counts before it writes them.
fn is_counted(field: Field) -> bool {
    !matches!(
        field,
        Field::Repositories
            | Field::ReverseDepends
            | Field::ReverseInstallIf
            | Field::Contents
            | Field::Status
    )
}

/// Descriptions as `query` prints them for people: a line for each field, an empty line between
/// packages.
pub(super) fn paragraphs(descriptions: &[Description]) -> String {
    let mut out = String::new();
    for (place, description) in descriptions.iter().enumerate() {
        if place > 0 {
            out.push('\n');
        }
        for (field, value) in description {
            paragraph(*field, value, &mut out);
        }
    }
    out
}

/// Where words of a list go on in the next line.
const WIDTH: usize = 80;

fn paragraph(field: Field, value: &Value, out: &mut String) {
    // Writing to a string can't fail.
    let _ = write!(out, "{}:", field.title());
    match value {
        Value::Text(text) => _ = writeln!(out, " {text}"),
        Value::Number(number) => _ = writeln!(out, " {number}"),
        Value::List(lines) if matches!(field, Field::Contents | Field::Repositories) => {
            out.push('\n');
            for line in lines {
                let _ = writeln!(out, "  {line}");
            }
        }
        Value::List(words) => {
            let mut width = field.title().len() + 1;
            for (place, word) in words.iter().enumerate() {
                if place == 0 {
                    out.push(' ');
                } else if width < WIDTH {
                    out.push(' ');
                    width += 1;
                } else {
                    out.push_str("\n  ");
                    width = 2;
                }
                out.push_str(word);
                width += word.len();
            }
            out.push('\n');
        }
    }
}
