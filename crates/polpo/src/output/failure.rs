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
        match self {
            Failure::Failed { .. } => ExitCode::from(1),
            Failure::Problems(_) | Failure::Usage(_) => ExitCode::from(2),
            Failure::Interrupted => ExitCode::from(130),
        }
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
        match self {
            Failure::Failed { what, cause } => {
                let mut text = format!("error: {what}\n");
                let mut next: Option<&(dyn Error + 'static)> = Some(cause.as_ref());
                let mut last = what.clone();
                while let Some(error) = next {
                    let message = error.to_string();
                    // An error that another one quotes says nothing new.
                    if !last.contains(&message) {
                        let mut lines = message.lines();
                        let _ = writeln!(text, "  because: {}", lines.next().unwrap_or_default());
                        for line in lines {
                            let _ = writeln!(text, "           {line}");
                        }
                        last = message;
                    }
                    next = error.source();
                }
                text
            }
            Failure::Problems(problems) => {
                let mut text: String = problems
                    .iter()
                    .map(|problem| render(problem, colour))
                    .collect();
                let errors = problems
                    .iter()
                    .filter(|problem| problem.severity == Severity::Error)
                    .count();
                if errors > 1 {
                    let _ = writeln!(text, "{errors} errors; nothing was changed");
                }
                text
            }
            Failure::Interrupted => "interrupted; nothing half-made is left\n".to_owned(),
            Failure::Usage(message) => format!("error: {message}\n"),
        }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Failure {
        Failure::Problems(problems)
    }
}
