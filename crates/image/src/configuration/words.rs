/// A quote in a command line has no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quote {0} has no end")]
pub struct UnbalancedQuote(pub char);

/// Splits a command line into words as a shell does, without expanding anything: quotes,
/// backslashes, and comments from a `#` that begins a word (the rules of Go's `shlex`).
///
/// # Errors
/// A quote without an end.
pub fn split_words(line: &str) -> Result<Vec<String>, UnbalancedQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                characters.by_ref().find(|&c| c == '\n');
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err(UnbalancedQuote('\'')),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some('"') => break,
                        Some('\\') => word.extend(characters.next()),
                        Some(inner) => word.push(inner),
                        None => return Err(UnbalancedQuote('"')),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_a_shell_has_them() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("/bin/sh -l", &["/bin/sh", "-l"]),
            (
                r#"-c /etc/nginx.conf -g "daemon off;""#,
                &["-c", "/etc/nginx.conf", "-g", "daemon off;"],
            ),
            (r"a\ b 'c d'e", &["a b", "c de"]),
            (r#""" ''"#, &["", ""]),
            ("a #b\nc#d", &["a", "c#d"]),
            (r#"'a\b' "a\"b""#, &[r"a\b", "a\"b"]),
            ("$HOME `x`", &["$HOME", "`x`"]),
        ];
        for (line, words) in cases {
            assert_eq!(split_words(line).unwrap(), words, "{line}");
        }
        assert_eq!(split_words("a 'b"), Err(UnbalancedQuote('\'')));
    }
}
