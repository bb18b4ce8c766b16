//! What a commit says, in apk's own lines.

use base::{Reporter, Task, Unit, Verb};

use super::transaction::PackageProblem;

/// Where a commit speaks to.
pub(super) struct Voice<'r> {
    reporter: &'r dyn Reporter,
    task: Task<'r>,
}

impl<'r> Voice<'r> {
    /// Begins a task of `steps` steps.
    pub(super) fn start(reporter: &'r dyn Reporter, subject: &str, steps: u64) -> Voice<'r> {
        Voice {
            reporter,
            task: Task::start(reporter, Verb::Install, subject, Some(steps), Unit::Items),
        }
    }

    /// What is done now.
    pub(super) fn step(&self, line: &str) {
        self.task.step(line);
    }

    /// A step is over.
    pub(super) fn advance(&self) {
        self.task.advance(1);
    }

    /// A line that a script printed.
    pub(super) fn output(&self, line: &str) {
        self.task.output(line);
    }

    /// A thing worth knowing.
    pub(super) fn notice(&self, line: &str) {
        self.reporter.report(base::Event::Notice { message: line });
    }

    pub(super) fn problem(&self, problem: &PackageProblem) {
        let weight = if problem.is_error() {
            "ERROR"
        } else {
            "WARNING"
        };
        self.notice(&format!("{weight}: {problem}"));
    }

    pub(super) fn done(self) {
        self.task.done();
    }
}
