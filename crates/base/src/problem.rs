use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not what was meant; the work goes on.
    Warning,
    /// The work can't go on.
    Error,
}

/// A text that problems point into: a file's name, as the user gave it, and its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    name: Arc<str>,
    text: Arc<str>,
}

/// A place in a [`SourceText`]: both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl SourceText {
    /// Takes the name people know the text by, and the text.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> SourceText {
        SourceText {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The contents.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the byte at `offset` stands; past the end counts as the end.
    pub fn location(&self, offset: usize) -> Location {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Location {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// A marked range of bytes and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the problem's source.
    pub span: Range<usize>,
    /// What is there; may be empty.
    pub text: String,
}

/// One thing that is wrong, with everything a person needs to mend it.
///
/// Configuration, lint and index checks return all of theirs at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name for the kind of problem, such as `unknown-key`.
    pub rule: &'static str,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The file the labels point into, if it is about a file.
    pub source: Option<SourceText>,
    /// The places, the first one the main one.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// An error without a place or help.
    pub fn error(rule: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            rule,
            message: message.into(),
            source: None,
            labels: Vec::new(),
            help: None,
        }
    }

    /// A warning without a place or help.
    pub fn warning(rule: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Warning,
            ..Problem::error(rule, message)
        }
    }

    /// Marks `span` of `source`; several calls mark several places of one source.
    #[must_use]
    pub fn at(
        mut self,
        source: &SourceText,
        span: Range<usize>,
        text: impl Into<String>,
    ) -> Problem {
        self.source = Some(source.clone());
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Where the first label stands.
    pub fn location(&self) -> Option<Location> {
        let source = self.source.as_ref()?;
        Some(source.location(self.labels.first()?.span.start))
    }
}

impl std::fmt::Display for Problem {
    /// `file:line:column: message`, in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(source), Some(at)) = (&self.source, self.location()) {
            write!(f, "{}:{}:{}: ", source.name(), at.line, at.column)?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_offsets_bytes() {
        let source = SourceText::new("a.yaml", "eins: 1\nzwölf: x\n");
        assert_eq!(source.location(0), Location { line: 1, column: 1 });
        let x = source.text().find('x').unwrap();
        assert_eq!(source.location(x), Location { line: 2, column: 8 });
        assert_eq!(source.location(999), Location { line: 3, column: 1 });
        let inside_umlaut = source.text().find('ö').unwrap() + 1;
        assert_eq!(
            source.location(inside_umlaut),
            Location { line: 2, column: 3 }
        );
        let problem = Problem::error("r", "bad").at(&source, x..x + 1, "");
        assert_eq!(problem.to_string(), "a.yaml:2:8: bad");
    }
}
