use std::fmt;

use base::{Problem, Severity};
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use super::terminal::{for_stderr, quoted_on_stderr};

/// A problem as people read it: what, where with the line, why and what to do.
pub(crate) fn render(problem: &Problem, colour: bool) -> String {
    let mut theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    theme.characters.error = "error:".to_owned();
    theme.characters.warning = "warning:".to_owned();
    theme.characters.advice = "info:".to_owned();
    let mut text = String::new();
    let shown = Shown {
        problem,
        source: problem
            .source
            .as_ref()
            .map(|source| NamedSource::new(source.name(), quoted_on_stderr(source.text()))),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_context_lines(1)
        .with_wrap_lines(true)
        .with_break_words(false);
    match handler.render_report(&mut text, &shown) {
        Ok(()) => text,
        // The drawing failed, not the work: the plain line still says what is wrong.
        Err(fmt::Error) => format!("{problem}\n"),
    }
}

#[derive(Debug)]
struct Shown<'p> {
    problem: &'p Problem,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&for_stderr(&self.problem.message))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.problem.rule))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Info => miette::Severity::Advice,
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.source.is_none() || self.problem.labels.is_empty() {
            return None;
        }
        Some(Box::new(self.problem.labels.iter().map(|label| {
            let text = (!label.text.is_empty()).then(|| label.text.clone());
            LabeledSpan::new(text, label.span.start, label.span.len())
        })))
    }
}

#[cfg(test)]
mod tests {
    use base::SourceText;

    use super::*;

    #[test]
    fn a_problem_shows_its_line() {
        let source = SourceText::new("hello.yaml", "package:\n  name: hello\n  versio: 1\n");
        let at = source.text().find("versio").unwrap();
        let problem = Problem::error("unknown-key", "`package` has no key `versio`")
            .at(&source, at..at + 6, "did you mean `version`?")
            .help("valid keys are name, version, epoch");
        insta::assert_snapshot!(render(&problem, false), @"
        unknown-key

          error: `package` has no key `versio`
           ╭─[hello.yaml:3:3]
         2 │   name: hello
         3 │   versio: 1
           ·   ───┬──
           ·      ╰── did you mean `version`?
           ╰────
          help: valid keys are name, version, epoch
        ");
    }
}
