//! What a terminal is shown.
//!
//! Names, descriptions and whatever else packages, servers and scripts say may hold bytes that a
//! terminal obeys: they move the cursor over what stands there, set its title, fill the clipboard.
//! So where a stream is a terminal, control characters are written as `\x1b`, and those that turn
//! the direction of writing as `\u202e`. Where it is a file or a pipe, bytes stay as they are.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

/// Text for stdout.
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    shown(text, io::stdout().is_terminal())
}

/// Text for stderr.
pub(crate) fn for_stderr(text: &str) -> Cow<'_, str> {
    shown(text, io::stderr().is_terminal())
}

/// Lines of a file for stderr, with every byte in its column: control characters are blotted out.
pub(crate) fn quoted_on_stderr(text: &str) -> String {
    match io::stderr().is_terminal() {
        true => blotted(text),
        false => text.to_owned(),
    }
}

fn blotted(text: &str) -> String {
    let blot = |character: char| match character.len_utf8() {
        _ if !is_obeyed(character) => character,
        1 => '?',
        2 => '\u{b7}',
        _ => '\u{fffd}',
    };
    text.chars().map(blot).collect()
}

fn shown(text: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal || !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        let code = u32::from(character);
        // Writing to a string can't fail.
        let _ = match character {
            _ if !is_obeyed(character) => out.write_char(character),
            _ if code < 0x100 => write!(out, "\\x{code:02x}"),
            _ => write!(out, "\\u{code:04x}"),
        };
    }
    Cow::Owned(out)
}

/// Whether a terminal takes a character for more than something to draw. Lines and columns are the
/// text's own.
fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// Stdout for text that is written little by little: a line at a time.
pub(crate) struct Stdout {
    line: Vec<u8>,
    terminal: bool,
}

impl Stdout {
    pub(crate) fn new() -> Stdout {
        Stdout {
            line: Vec::new(),
            terminal: io::stdout().is_terminal(),
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.terminal {
            return io::stdout().write(bytes);
        }
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            let text = String::from_utf8_lossy(&lines);
            io::stdout().write_all(shown(&text, true).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        io::stdout().write_all(shown(&text, true).as_bytes())?;
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_what_it_would_obey() {
        let text = "a\u{1b}[2J\tb\r\n\u{7f}\u{9b}31m \u{202e}evil\u{2069} ünïcödé";
        assert_eq!(
            shown(text, true),
            "a\\x1b[2J\tb\\x0d\n\\x7f\\x9b31m \\u202eevil\\u2069 ünïcödé"
        );
        assert_eq!(shown(text, false), text);
        assert_eq!(
            blotted("k: \u{1b}[2J\u{9b}\u{202e}x"),
            "k: ?[2J\u{b7}\u{fffd}x"
        );
        assert_eq!(blotted(text).len(), text.len());
        assert!(matches!(shown("plain\n", true), Cow::Borrowed("plain\n")));
    }
}
