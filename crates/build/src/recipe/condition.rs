//! `if` expressions: comparisons of texts, joined by `&&` and `||`.
//!
//! ```text
//! expression = term { ("&&" | "||") term }        both bind equally, from left to right
//! term       = "(" expression ")" | value ("==" | "!=") value
//! value      = "'" … "'" | '"' … '"' | "${{" name "}}"
//! ```
//! Quoted values may hold `${{name}}` too, so that `'${{vars.a}}' == 'x'` and
//! `${{vars.a}} == 'x'` mean the same. Escapes are `\\`, `\'`, `\"`, `\n` and `\t`; a backslash
//! before anything else stands for itself.

use std::ops::Range;

use super::substitute::{Piece, is_name, pieces};

/// How deep parentheses may nest.
const DEPTH_LIMIT: usize = 64;

/// The expression can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCondition {
    /// Bytes of the expression.
    pub span: Range<usize>,
    /// What is wrong there.
    pub message: String,
}

/// Whether an expression without variables holds.
///
/// # Errors
/// It can't be read, or it has variables.
pub fn holds(expression: &str) -> Result<bool, InvalidCondition> {
    let mut unknown = None;
    let value = evaluate(expression, &mut |name, span| {
        unknown.get_or_insert(InvalidCondition {
            span,
            message: format!("the variable `{name}` has no value here"),
        });
        None
    })?;
    match (value, unknown) {
        (Some(value), None) => Ok(value),
        (_, unknown) => Err(unknown.unwrap_or_else(|| InvalidCondition {
            span: 0..expression.len(),
            message: "the condition has no value".to_owned(),
        })),
    }
}

/// Evaluates `expression`. `lookup` gets every name and the bytes where it stands; where it has no
/// value (and has said so) the result is `None`, but the rest is still looked at.
pub(crate) fn evaluate(
    expression: &str,
    lookup: &mut dyn FnMut(&str, Range<usize>) -> Option<String>,
) -> Result<Option<bool>, InvalidCondition> {
    let mut parser = Parser {
        text: expression,
        at: 0,
        depth: 0,
        lookup,
    };
    let value = parser.expression()?;
    parser.skip_space();
    if parser.at < expression.len() {
        return Err(parser.unexpected("`&&`, `||` or the end"));
    }
    Ok(value)
}

struct Parser<'t, 'l> {
    text: &'t str,
    at: usize,
    depth: usize,
    lookup: &'l mut dyn FnMut(&str, Range<usize>) -> Option<String>,
}

impl Parser<'_, '_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn unexpected(&self, expected: &str) -> InvalidCondition {
        let rest = self.rest();
        let word = rest
            .find([' ', '\t', '\n', '=', '!', '&', '|', '(', ')'])
            .unwrap_or(rest.len());
        let length = match word {
            0 => rest.chars().next().map_or(0, char::len_utf8),
            length => length,
        };
        let found = rest.get(..length).unwrap_or_default();
        let message = if found.is_empty() {
            format!("the condition ends where {expected} should follow")
        } else {
            format!("expected {expected}, found `{found}`")
        };
        InvalidCondition {
            span: self.at..self.at + length,
            message,
        }
    }

    fn expression(&mut self) -> Result<Option<bool>, InvalidCondition> {
        let mut result = self.term()?;
        loop {
            let and = self.take("&&");
            if !and && !self.take("||") {
                return Ok(result);
            }
            let right = self.term()?;
            result = match (result, right) {
                (Some(left), Some(right)) if and => Some(left && right),
                (Some(left), Some(right)) => Some(left || right),
                _ => None,
            };
        }
    }

    fn term(&mut self) -> Result<Option<bool>, InvalidCondition> {
        if !self.take("(") {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(InvalidCondition {
                span: self.at - 1..self.at,
                message: format!("more than {DEPTH_LIMIT} nested parentheses"),
            });
        }
        let value = self.expression()?;
        if !self.take(")") {
            return Err(self.unexpected("`)`, `&&` or `||`"));
        }
        self.depth -= 1;
        Ok(value)
    }

    fn comparison(&mut self) -> Result<Option<bool>, InvalidCondition> {
        let left = self.value()?;
        let equal = self.take("==");
        if !equal && !self.take("!=") {
            return Err(self.unexpected("`==` or `!=`"));
        }
        let right = self.value()?;
        Ok(match (left, right) {
            (Some(left), Some(right)) => Some((left == right) == equal),
            _ => None,
        })
    }

    fn value(&mut self) -> Result<Option<String>, InvalidCondition> {
        self.skip_space();
        let start = self.at;
        if let Some(quote @ ('\'' | '"')) = self.rest().chars().next() {
            let body = start + 1;
            let end = self.closing_quote(body, quote).ok_or(InvalidCondition {
                span: start..self.text.len(),
                message: format!("the {quote} that begins here is never closed"),
            })?;
            self.at = end + 1;
            return self.quoted(body..end);
        }
        if self.rest().starts_with("${{") {
            let Some(Piece::Reference { name, span }) = pieces(self.rest()).next() else {
                return Err(InvalidCondition {
                    span: start..start + 3,
                    message: "a variable is written `${{name}}`".to_owned(),
                });
            };
            let (name, span) = (name.to_owned(), start + span.start..start + span.end);
            self.at = span.end;
            return Ok((self.lookup)(&name, span));
        }
        let error = self.unexpected("a quoted text or a variable");
        let word = self.text.get(error.span.clone()).unwrap_or_default();
        Err(if is_name(word) {
            InvalidCondition {
                message: format!("`{word}` needs quotes: '{word}'"),
                ..error
            }
        } else {
            error
        })
    }

    fn closing_quote(&self, from: usize, quote: char) -> Option<usize> {
        let mut characters = self.text.get(from..)?.char_indices();
        while let Some((offset, character)) = characters.next() {
            if character == '\\' {
                characters.next();
            } else if character == quote {
                return Some(from + offset);
            }
        }
        None
    }

    fn quoted(&mut self, body: Range<usize>) -> Result<Option<String>, InvalidCondition> {
        let mut value = Some(String::new());
        for piece in pieces(self.text.get(body.clone()).unwrap_or_default()) {
            match piece {
                Piece::Text(text) => {
                    if let Some(value) = &mut value {
                        unescape(text, value);
                    }
                }
                Piece::Reference { name, span } => {
                    let span = body.start + span.start..body.start + span.end;
                    value = match ((self.lookup)(name, span), value) {
                        (Some(found), Some(value)) => Some(value + &found),
                        _ => None,
                    };
                }
                Piece::Broken { span } => {
                    return Err(InvalidCondition {
                        span: body.start + span.start..body.start + span.end,
                        message: "a variable is written `${{name}}`".to_owned(),
                    });
                }
            }
        }
        Ok(value)
    }
}

fn unescape(text: &str, out: &mut String) {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some(escaped @ ('\\' | '\'' | '"')) => out.push(escaped),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_variables(expression: &str) -> Result<Option<bool>, InvalidCondition> {
        evaluate(expression, &mut |name, span| {
            assert!(expression[span].contains(name));
            match name {
                "build.arch" => Some("x86_64".to_owned()),
                "vars.quote" => Some("it's \"so\"".to_owned()),
                "vars.empty" => Some(String::new()),
                _ => None,
            }
        })
    }

    #[test]
    fn comparisons() {
        for (expression, value) in [
            ("'a' == 'a'", true),
            ("'a' != \"a\"", false),
            ("${{build.arch}} == 'x86_64'", true),
            ("${{ build.arch }}=='x86_64'", true),
            ("'${{build.arch}}' == 'x86_64'", true),
            ("\"${{ build.arch }}-linux\" == 'x86_64-linux'", true),
            ("${{vars.quote}} == 'it\\'s \"so\"'", true),
            ("'${{vars.quote}}' == ${{vars.quote}}", true),
            ("${{vars.empty}} == ''", true),
            ("('a' == 'b' || 'a' == 'a') && 'c' == 'c'", true),
            // Equal precedence: (true || true) && false.
            ("'a' == 'a' || 'a' == 'a' && 'a' == 'b'", false),
            ("'\\n\\t\\x' == '\n\t\\x'", true),
        ] {
            assert_eq!(with_variables(expression), Ok(Some(value)), "{expression}");
        }
        assert_eq!(
            with_variables("${{vars.unknown}} == 'a' && 'a' == 'b'"),
            Ok(None)
        );
    }

    #[test]
    fn bad_conditions_say_what_and_where() {
        let say = |expression: &str| {
            let error = with_variables(expression).unwrap_err();
            format!("{}: {}", error.span.start, error.message)
        };
        assert_eq!(
            say(""),
            "0: the condition ends where a quoted text or a variable should follow"
        );
        assert_eq!(say("x86_64 == 'a'"), "0: `x86_64` needs quotes: 'x86_64'");
        assert_eq!(
            say("'a'"),
            "3: the condition ends where `==` or `!=` should follow"
        );
        assert_eq!(say("'a' = 'b'"), "4: expected `==` or `!=`, found `=`");
        assert_eq!(
            say("'a' == 'b' and 'c' == 'd'"),
            "11: expected `&&`, `||` or the end, found `and`"
        );
        assert_eq!(
            say("('a' == 'b'"),
            "11: the condition ends where `)`, `&&` or `||` should follow"
        );
        assert_eq!(
            say("'a' == 'b"),
            "7: the ' that begins here is never closed"
        );
        assert_eq!(say("${{a == 'b'"), "0: a variable is written `${{name}}`");
        assert_eq!(
            say("'é' == ü"),
            "8: expected a quoted text or a variable, found `ü`"
        );
        assert!(say(&"(".repeat(100)).contains("nested parentheses"));
    }

    /// An expression and what it is worth, computed while it is put together.
    fn expressions() -> impl Strategy<Value = (String, bool)> {
        let value = prop_oneof![
            "[a-c]{0,2}".prop_map(|text| (format!("'{text}'"), text)),
            "[a-c]{0,2}".prop_map(|text| (format!("\"{text}\""), text)),
            Just(("${{v.ab}}".to_owned(), "ab".to_owned())),
            Just(("'${{ v.ab }}'".to_owned(), "ab".to_owned())),
            Just(("'\\'${{v.ab}}\\\\'".to_owned(), "'ab\\".to_owned())),
        ];
        let term = (value.clone(), any::<bool>(), value, "[ \n\t]{0,2}").prop_map(
            |((left, l), equal, (right, r), space)| {
                let operator = if equal { "==" } else { "!=" };
                (
                    format!("{left}{space}{operator}{space}{right}"),
                    (l == r) == equal,
                )
            },
        );
        term.prop_recursive(4, 24, 3, |inner| {
            (
                inner.clone(),
                prop::collection::vec((any::<bool>(), inner, "[ \n]{0,2}"), 0..3),
            )
                .prop_map(|((first, mut worth), others)| {
                    let mut text = format!("({first})");
                    for (and, (other, value), space) in others {
                        let operator = if and { "&&" } else { "||" };
                        text += &format!("{space}{operator}({other})");
                        worth = if and { worth && value } else { worth || value };
                    }
                    (text, worth)
                })
        })
    }

    proptest! {
        #[test]
        fn well_formed_expressions_have_their_worth((text, worth) in expressions()) {
            let found = evaluate(&text, &mut |name, _| (name == "v.ab").then(|| "ab".to_owned()));
            prop_assert_eq!(found, Ok(Some(worth)), "{}", text);
        }

        #[test]
        fn no_expression_panics(text in "[-a='\"!&|() \\\\${}.é\n]{0,40}") {
            if let Err(error) = evaluate(&text, &mut |name, span| {
                assert!(text.get(span).is_some());
                Some(name.to_owned())
            }) {
                prop_assert!(text.get(error.span).is_some());
            }
        }
    }
}
