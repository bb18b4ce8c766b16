//! JSON with the bytes of Go's `json.Marshal`: compact, and `<`, `>`, `&`, U+2028 and U+2029
//! escaped inside strings.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// `value` as Go's `json.Marshal` writes it, given that its fields come in Go's order.
///
/// # Errors
/// Only what `value`'s own `Serialize` reports; the types of this crate never fail.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes,
        GoFormatter,
    ))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn html_is_escaped_as_go_does() {
        let bytes = super::to_vec(&["a<b>&c", "\u{2028}", "Ünï\n\""]).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"["a\u003cb\u003e\u0026c","\u2028","Ünï\n\""]"#
        );
    }
}
