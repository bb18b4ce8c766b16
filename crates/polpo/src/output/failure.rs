use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use base::{Problem, Severity};

use super::problem::render;
use super::terminal::for_stderr;

/// Why a command ends without its result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The work failed: exit code 1.
    Failed {
        /// What polpo was about to do.
        what: String,
        /// Why it could not.
        cause: Box<dyn Error + Send + Sync>,
    },
    /// A program that was to be run can't be started: exit code 126 or 127, as shells have it.
    NotStarted {
        /// What polpo was about to do.
        what: String,
        /// Why it could not.
        cause: Box<dyn Error + Send + Sync>,
        /// 127 if there is no such program, 126 if it is none.
        code: u8,
    },
    /// The configuration is wrong: exit code 2, all problems at once.
    Problems(Vec<Problem>),
    /// Somebody asked to stop: exit code 130, as shells have it for Ctrl-C.
    Interrupted,
    /// The command line is wrong in a way that only the command itself can see: exit code 2.
    Usage(String),
}

impl Failure {
    /// The work failed for the reason `cause`.
    pub(crate) fn failed(
        what: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Failure {
        Failure::Failed {
            what: what.into(),
            cause: cause.into(),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The exit code, as a number.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Failed { .. } => 1,
            Failure::NotStarted { code, .. } => *code,
            Failure::Problems(_) | Failure::Usage(_) => 2,
            Failure::Interrupted => 130,
        }
    }

    /// What it is in one sentence: of problems, how many there are.
    pub(crate) fn summary(&self) -> String {
        match self {
            Failure::Failed { what, .. } | Failure::NotStarted { what, .. } => what.clone(),
            Failure::Problems(problems) => {
                let errors = problems
                    .iter()
                    .filter(|problem| problem.severity == Severity::Error)
                    .count();
                match errors {
                    1 => "1 error; nothing was changed".to_owned(),
                    _ => format!("{errors} errors; nothing was changed"),
                }
            }
            Failure::Interrupted => "interrupted; nothing half-made is left".to_owned(),
            Failure::Usage(message) => message.clone(),
        }
    }

    /// Why it failed, and why that, and so on.
    pub(crate) fn causes(&self) -> Vec<String> {
        let (Failure::Failed { what, cause } | Failure::NotStarted { what, cause, .. }) = self
        else {
            return Vec::new();
        };
        let mut causes: Vec<String> = Vec::new();
        let mut next: Option<&(dyn Error + 'static)> = Some(cause.as_ref());
        while let Some(error) = next {
            let message = error.to_string();
            // An error that another one quotes says nothing new.
            if !causes.last().unwrap_or(what).contains(&message) {
                causes.push(message);
            }
            next = error.source();
        }
        causes
    }

    /// What is shown on stderr, whatever that is.
    pub(crate) fn shown(&self, colour: bool) -> String {
        let text = self.text(colour);
        match self {
            // Drawn, with colours: what is quoted in it is looked at there.
            Failure::Problems(_) => text,
            _ => for_stderr(&text).into_owned(),
        }
    }

    /// Why, in words.
    pub(crate) fn text(&self, colour: bool) -> String {
        let summary = self.summary();
        match self {
            Failure::Problems(problems) => {
                let mut text: String = problems
                    .iter()
                    .map(|problem| render(problem, colour))
                    .collect();
                let errors = problems
                    .iter()
                    .filter(|problem| problem.severity == Severity::Error);
                if errors.count() > 1 {
                    let _ = writeln!(text, "{summary}");
                }
                text
            }
            Failure::Interrupted => format!("{summary}\n"),
            _ => {
                let mut text = format!("error: {summary}\n");
                for cause in self.causes() {
                    let mut lines = cause.lines();
                    let _ = writeln!(text, "  because: {}", lines.next().unwrap_or_default());
                    for line in lines {
                        let _ = writeln!(text, "           {line}");
                    }
                }
                text
            }
        }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Failure {
        Failure::Problems(problems)
    }
}
