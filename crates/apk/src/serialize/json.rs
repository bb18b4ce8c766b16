use std::io;

/// apk's JSON: two spaces of indentation, objects of an array side by side.
#[derive(Debug)]
pub(super) struct Json<W> {
    out: W,
    /// What closes what is open.
    ends: Vec<u8>,
    key_printed: bool,
    separator: bool,
    newline: bool,
}

impl<W: io::Write> Json<W> {
    pub(super) fn new(out: W) -> Json<W> {
        Json {
            out,
            ends: Vec::new(),
            key_printed: false,
            separator: false,
            newline: false,
        }
    }

    fn indent(&mut self, item: bool) -> io::Result<()> {
        if self.key_printed {
            self.out.write_all(b" ")?;
        } else {
            if item && self.separator {
                self.out.write_all(b",")?;
            }
            if self.newline {
                self.out.write_all(b"\n")?;
                for _ in &self.ends {
                    self.out.write_all(b"  ")?;
                }
            } else {
                self.out.write_all(b" ")?;
            }
        }
        self.key_printed = false;
        Ok(())
    }

    pub(super) fn start(&mut self, open: u8, close: u8) -> io::Result<()> {
        if !self.ends.is_empty() {
            self.indent(true)?;
        }
        self.out.write_all(&[open])?;
        self.ends.push(close);
        self.separator = false;
        self.newline = true;
        Ok(())
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(close) = self.ends.pop() else {
            return Ok(());
        };
        self.newline = true;
        self.indent(false)?;
        self.out.write_all(&[close])?;
        self.separator = true;
        self.newline = false;
        if self.ends.is_empty() {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    pub(super) fn key(&mut self, key: &str) -> io::Result<()> {
        self.newline = true;
        self.indent(true)?;
        write!(self.out, "\"{key}\":")?;
        self.key_printed = true;
        self.separator = true;
        Ok(())
    }

    pub(super) fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.newline = true;
        self.indent(true)?;
        self.out.write_all(b"\"")?;
        for character in String::from_utf8_lossy(text).chars() {
            match character {
                '"' => self.out.write_all(b"\\\"")?,
                '\n' => self.out.write_all(b"\\n")?,
                '\t' => self.out.write_all(b"\\t")?,
                '\\' => self.out.write_all(b"\\\\")?,
                // apk writes it as it is, which is no JSON.
                c if c < ' ' => write!(self.out, "\\u{:04x}", u32::from(c))?,
                c => write!(self.out, "{c}")?,
            }
        }
        self.out.write_all(b"\"")?;
        self.separator = true;
        Ok(())
    }

    pub(super) fn number(&mut self, number: u64) -> io::Result<()> {
        self.newline = true;
        self.indent(true)?;
        write!(self.out, "{number}")?;
        self.separator = true;
        Ok(())
    }
}
