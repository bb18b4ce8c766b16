use serde::Serialize;

/// JSON as Go's encoder writes it with two spaces a level: `<`, `>` and `&` escaped, a newline at the
/// end.
pub(crate) fn pretty(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    // These characters stand nowhere but in strings.
    let mut text = serde_json::to_string_pretty(value)?;
    for (character, escaped) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if text.contains(character) {
            text = text.replace(character, escaped);
        }
    }
    text.push('\n');
    Ok(text.into_bytes())
}
