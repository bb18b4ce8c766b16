//! Files that give a recipe values from outside: variables, and environment variables.

use std::collections::BTreeMap;

use base::{Problem, SourceText};

use super::text::TextMap;

/// Reads a file of variables: a YAML mapping from names to texts.
///
/// # Errors
/// Every problem: syntax, a name twice, values that are no texts.
pub fn variables(source: SourceText) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let variables: TextMap = yaml::decode(source)?;
    Ok(variables
        .iter()
        .map(|(name, value)| (name.value.clone(), value.value.clone()))
        .collect())
}

/// Reads a file of environment variables: a line `NAME=VALUE` each, maybe after `export`. `#` begins
/// a comment at the start of a line and behind a space. A value may stand in double quotes (with
/// `\n`, `\"`, `\\` and `\$`) or in single ones, over several lines; `${NAME}` and `$NAME` outside single
/// quotes are those set above, or nothing.
///
/// # Errors
/// Every line that says nothing of the kind.
pub fn environment(source: &SourceText) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let text = source.text();
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        let start = at + (line.len() - line.trim_start().len());
        let trimmed = line.trim();
        at += line.len();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let statement = trimmed.strip_prefix("export ").unwrap_or(trimmed);
        let name_end = statement
            .find(|character: char| {
                !(character.is_ascii_alphanumeric() || "_.-".contains(character))
            })
            .unwrap_or(statement.len());
        let (name, behind) = statement.split_at(name_end);
        let value = behind.trim_start();
        let Some(value) = value.strip_prefix('=').filter(|_| !name.is_empty()) else {
            let problem = Problem::error(
                "invalid-environment",
                "a line of an environment file is `NAME=VALUE`",
            );
            problems.push(problem.at(source, start..start + trimmed.len(), ""));
            continue;
        };
        let value = value.trim_start();
        match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let value_at = start + trimmed.len() - value.len() + 1;
                match quoted(text.get(value_at..).unwrap_or_default(), quote, &values) {
                    Some((value, length)) => {
                        values.insert(name.to_owned(), value);
                        let end = value_at + length;
                        // What follows on the line can only be a comment.
                        let after = text.get(end..).unwrap_or_default();
                        let line = after.split_inclusive('\n').next().unwrap_or_default();
                        if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                            let problem = Problem::error(
                                "invalid-environment",
                                "something follows the closing quote",
                            );
                            let span = end..end + line.trim_end().len();
                            problems.push(problem.at(source, span, ""));
                        }
                        at = at.max(end + line.len());
                    }
                    None => {
                        let problem =
                            Problem::error("invalid-environment", "this quote is never closed");
                        problems.push(problem.at(source, value_at - 1..value_at, ""));
                    }
                }
            }
            _ => {
                let value = value.split(" #").next().unwrap_or_default().trim_end();
                values.insert(name.to_owned(), expanded(value, &values));
            }
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

/// A value up to its closing quote, and how many bytes it takes with that.
fn quoted(text: &str, quote: char, values: &BTreeMap<String, String>) -> Option<(String, usize)> {
    let mut value = String::new();
    // Text since the last escape, in which variables count.
    let mut plain = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            let plain = if quote == '"' {
                expanded(&plain, values)
            } else {
                plain
            };
            return Some((value + &plain, at + 1));
        }
        if character == '\\' && quote == '"' {
            value += &expanded(&std::mem::take(&mut plain), values);
            match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                other @ ('"' | '\\' | '$') => value.push(other),
                other => value.extend(['\\', other]),
            }
            continue;
        }
        plain.push(character);
    }
    None
}

/// Puts values set before in the place of `$NAME` and `${NAME}`.
fn expanded(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let inner = after.strip_prefix('{').unwrap_or(after);
        let end = inner
            .find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
            .unwrap_or(inner.len());
        let (name, behind) = inner.split_at(end);
        let closed = match inner.len() == after.len() {
            true => Some(behind),
            false => behind.strip_prefix('}'),
        };
        match closed.filter(|_| !name.is_empty()) {
            Some(behind) => {
                out.push_str(values.get(name).map_or("", String::as_str));
                rest = behind;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
        environment(&SourceText::new("env", text))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn environment_files() {
        let values = read(
            "# comment\n\nA=1\nexport B = two words # not this\nC=\"x\\n$A ${B}\\$A\" # c\nD='$A\nnext'\n\
             E=\nF=a#b\nG=$A-${none}-$\nH=\"a\\qb\"\n",
        )
        .unwrap();
        let values: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            values,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "x\n1 two words$A"),
                ("D", "$A\nnext"),
                ("E", ""),
                ("F", "a#b"),
                ("G", "1--$"),
                ("H", "a\\qb"),
            ]
        );
    }

    #[test]
    fn all_bad_lines_are_told() {
        assert_eq!(
            read("A=1\n  nothing here\n=x\nB=\"a\" b\nC='open\n").unwrap_err(),
            [
                "env:2:3: a line of an environment file is `NAME=VALUE`",
                "env:3:1: a line of an environment file is `NAME=VALUE`",
                "env:4:6: something follows the closing quote",
                "env:5:3: this quote is never closed",
            ]
        );
    }

    #[test]
    fn variables_are_texts() {
        let read = |text: &str| variables(SourceText::new("vars.yaml", text));
        assert_eq!(read("a: 1.10\nb: x\n").unwrap()["a"], "1.10");
        assert_eq!(read("a: [x]\nb: {c: d}\n").unwrap_err().len(), 2);
        assert!(read("").unwrap().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "[-a='\" \\\\$\\{\\}#\né]{0,40}") {
            let source = SourceText::new("env", text.as_str());
            for problem in environment(&source).err().into_iter().flatten() {
                for label in &problem.labels {
                    assert!(text.get(label.span.clone()).is_some());
                }
            }
        }
    }
}
