use std::sync::atomic::{AtomicU64, Ordering};

/// What a piece of long work does, for the words that listeners show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Resolve packages or versions.
    Solve,
    /// Bring bytes from elsewhere.
    Fetch,
    /// Bring bytes elsewhere.
    Push,
    /// Unpack an archive into the store.
    Unpack,
    /// Turn a foreign package into an apk.
    Convert,
    /// Run the steps of a recipe.
    Build,
    /// Run the tests of a recipe.
    Test,
    /// Write packages, an index or an image.
    Write,
    /// Sign or attest.
    Sign,
    /// Check signatures and hashes.
    Verify,
    /// Change what is installed on a system.
    Install,
}

impl Verb {
    /// The verb as a lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Solve => "solve",
            Verb::Fetch => "fetch",
            Verb::Push => "push",
            Verb::Unpack => "unpack",
            Verb::Convert => "convert",
            Verb::Build => "build",
            Verb::Test => "test",
            Verb::Write => "write",
            Verb::Sign => "sign",
            Verb::Verify => "verify",
            Verb::Install => "install",
        }
    }
}

/// What a task counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: packages, steps, files.
    Items,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Nothing was to be done: the result was there already.
    Unchanged,
    /// It failed; the error says why.
    Failed,
}

/// Something that happens while polpo works. Bars, lines and JSON are made out of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A task begins.
    Started {
        /// Tells tasks of one process apart.
        task: u64,
        /// What it does.
        verb: Verb,
        /// To what: a package, a file, a URL.
        subject: &'a str,
        /// How much is to be done, where known.
        total: Option<u64>,
        /// What `total` and the progress count.
        unit: Unit,
    },
    /// A task has done `by` more.
    Advanced {
        /// The task.
        task: u64,
        /// How much more is done.
        by: u64,
    },
    /// A task has come to a named step.
    Step {
        /// The task.
        task: u64,
        /// The step's name.
        name: &'a str,
    },
    /// A task ended.
    Finished {
        /// The task.
        task: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A line that a build or a test printed.
    Output {
        /// The task that ran it.
        task: u64,
        /// The line, without its newline.
        line: &'a str,
    },
    /// A thing worth knowing that stops nothing.
    Notice {
        /// What it is.
        message: &'a str,
    },
}

/// Takes events. Implementations must not block for long: they are called from worker threads.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event<'_>);
}

/// Drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event<'_>) {}
}

/// A running task. Dropped without [`Task::done`] or [`Task::unchanged`], it counts as failed.
pub struct Task<'r> {
    reporter: &'r dyn Reporter,
    id: u64,
    open: bool,
}

impl<'r> Task<'r> {
    /// Begins a task and reports it.
    pub fn start(
        reporter: &'r dyn Reporter,
        verb: Verb,
        subject: &str,
        total: Option<u64>,
        unit: Unit,
    ) -> Task<'r> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        reporter.report(Event::Started {
            task: id,
            verb,
            subject,
            total,
            unit,
        });
        Task {
            reporter,
            id,
            open: true,
        }
    }

    /// Reports `by` more done.
    pub fn advance(&self, by: u64) {
        self.reporter.report(Event::Advanced { task: self.id, by });
    }

    /// Reports the step now under way.
    pub fn step(&self, name: &str) {
        self.reporter.report(Event::Step {
            task: self.id,
            name,
        });
    }

    /// Passes on a line of output.
    pub fn output(&self, line: &str) {
        self.reporter.report(Event::Output {
            task: self.id,
            line,
        });
    }

    /// Ends the task well.
    pub fn done(self) {
        self.finish(Outcome::Done);
    }

    /// Ends the task: there was nothing to do.
    pub fn unchanged(self) {
        self.finish(Outcome::Unchanged);
    }

    fn finish(mut self, outcome: Outcome) {
        self.open = false;
        self.reporter.report(Event::Finished {
            task: self.id,
            outcome,
        });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if self.open {
            self.reporter.report(Event::Finished {
                task: self.id,
                outcome: Outcome::Failed,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<Outcome>>);

    impl Reporter for Recorder {
        fn report(&self, event: Event<'_>) {
            if let Event::Finished { outcome, .. } = event {
                self.0.lock().unwrap().push(outcome);
            }
        }
    }

    #[test]
    fn a_dropped_task_failed() {
        let recorder = Recorder::default();
        Task::start(&recorder, Verb::Build, "hello", None, Unit::Items).done();
        drop(Task::start(
            &recorder,
            Verb::Build,
            "hello",
            None,
            Unit::Items,
        ));
        Task::start(&recorder, Verb::Build, "hello", None, Unit::Items).unchanged();
        let seen = recorder.0.into_inner().unwrap();
        assert_eq!(seen, [Outcome::Done, Outcome::Failed, Outcome::Unchanged]);
    }
}
