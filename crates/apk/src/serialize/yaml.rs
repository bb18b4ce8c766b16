use std::io;

use base::Epoch;

use super::{Meaning, human_size};

/// apk's YAML: two spaces of indentation, `- ` before items, `# n items` after the key of an array.
#[derive(Debug)]
pub(super) struct Yaml<W> {
    out: W,
    pretty: bool,
    indent: usize,
    /// What is open: whether it is an array.
    arrays: Vec<bool>,
    line_started: bool,
    key_printed: bool,
}

enum Style {
    Plain,
    Quoted,
    Block,
}

impl<W: io::Write> Yaml<W> {
    pub(super) fn new(pretty: bool, out: W) -> Yaml<W> {
        Yaml {
            out,
            pretty,
            indent: 0,
            arrays: Vec::new(),
            line_started: false,
            key_printed: false,
        }
    }

    fn indent(&mut self, item: bool, continued: bool) -> io::Result<()> {
        if !self.line_started {
            for _ in 0..self.indent {
                self.out.write_all(b"  ")?;
            }
            if item && self.arrays.last() == Some(&true) {
                self.out.write_all(b"- ")?;
            }
        } else if self.key_printed && continued {
            self.out.write_all(b" ")?;
        }
        self.line_started = true;
        Ok(())
    }

    fn open(&mut self, array: bool) {
        if !self.arrays.is_empty() {
            self.indent += 1;
        }
        self.arrays.push(array);
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.line_started = false;
        self.key_printed = false;
        self.out.write_all(b"\n")
    }

    pub(super) fn start_object(&mut self, schema: Option<u32>) -> io::Result<()> {
        self.indent(true, false)?;
        self.open(false);
        if let Some(schema) = schema {
            write!(self.out, "#%SCHEMA: {schema:08X}")?;
            self.end_line()?;
        }
        Ok(())
    }

    pub(super) fn start_array(&mut self, items: Option<usize>) -> io::Result<()> {
        if let Some(items) = items {
            self.indent(true, true)?;
            write!(self.out, "# {items} items")?;
        }
        self.end_line()?;
        self.open(true);
        Ok(())
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.line_started {
            self.indent(false, true)?;
            self.out.write_all(b"# empty object")?;
            self.end_line()?;
        }
        self.arrays.pop();
        if !self.arrays.is_empty() {
            self.indent = self.indent.saturating_sub(1);
        }
        Ok(())
    }

    pub(super) fn comment(&mut self, text: &str) -> io::Result<()> {
        self.indent(false, true)?;
        write!(self.out, "# {text}")?;
        self.end_line()
    }

    pub(super) fn key(&mut self, key: &str) -> io::Result<()> {
        if self.key_printed {
            self.end_line()?;
        }
        self.indent(true, true)?;
        write!(self.out, "{key}:")?;
        self.key_printed = true;
        Ok(())
    }

    pub(super) fn text(&mut self, text: &[u8], lines: bool) -> io::Result<()> {
        self.indent(true, true)?;
        match style(text, lines) {
            Style::Plain => self.out.write_all(text)?,
            Style::Quoted => {
                self.out.write_all(b"'")?;
                self.out.write_all(text)?;
                self.out.write_all(b"'")?;
            }
            Style::Block => {
                self.out.write_all(b"|")?;
                self.end_line()?;
                self.indent += 1;
                let lines = text.split(|byte| *byte == b'\n');
                for line in lines.filter(|line| !line.is_empty()) {
                    self.indent(false, true)?;
                    self.out.write_all(line)?;
                    self.end_line()?;
                }
                self.indent -= 1;
                return Ok(());
            }
        }
        self.end_line()
    }

    pub(super) fn number(&mut self, number: u64, meaning: Meaning) -> io::Result<()> {
        self.indent(true, true)?;
        match meaning {
            Meaning::Octal if number != 0 => write!(self.out, "0{number:o}")?,
            Meaning::Size if self.pretty => self.out.write_all(human_size(number).as_bytes())?,
            Meaning::Time if self.pretty => {
                let date = Epoch(number).rfc3339();
                let date = date.trim_end_matches('Z').replace('T', " ");
                self.out.write_all(date.as_bytes())?;
            }
            _ => write!(self.out, "{number}")?,
        }
        self.end_line()
    }
}

/// How a text is written so that apk reads the same: its reader knows no escapes.
fn style(text: &[u8], lines: bool) -> Style {
    let Some(first) = text.first() else {
        return Style::Plain;
    };
    if text.len() >= 80 || lines {
        return Style::Block;
    }
    let mut style = Style::Plain;
    if b"-?:,[]{}#&*!|>'\"%@`".contains(first) {
        style = Style::Quoted;
    }
    let mut before = *first;
    for byte in text {
        match byte {
            b'\r' | b'\n' | b'\'' => return Style::Block,
            b' ' if before == b':' => style = Style::Quoted,
            b'#' if before == b' ' => return Style::Block,
            b'#' => style = Style::Quoted,
            _ => {}
        }
        before = *byte;
    }
    style
}
