//! What a commit says, in apk's own lines.

use std::io::{self, BufRead, Read};

use base::{Reporter, Task, Unit, Verb};

use super::transaction::PackageProblem;

/// Bytes of a package that is worth a task of its own.
const LARGE: u64 = 1 << 20;

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

    /// Begins to unpack a package of so many bytes, which come to `content` bytes of files.
    pub(super) fn unpacking(&self, label: &str, size: u64, content: u64) -> Unpacking<'r> {
        let start = || Task::start(self.reporter, Verb::Unpack, label, Some(size), Unit::Bytes);
        Unpacking {
            task: (size >= LARGE).then(start),
            size,
            content,
            written: 0,
            told: 0,
        }
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

/// A package that is unpacked. A large one tells how many of its own bytes are done, as the files that
/// were written say.
pub(super) struct Unpacking<'r> {
    task: Option<Task<'r>>,
    size: u64,
    content: u64,
    written: u64,
    told: u64,
}

impl Unpacking<'_> {
    /// What is read of a file is written.
    pub(super) fn over<'c>(&'c mut self, content: &'c mut dyn BufRead) -> impl BufRead + 'c {
        Told {
            unpacking: self,
            content,
        }
    }

    fn wrote(&mut self, bytes: u64) {
        let Some(task) = &self.task else { return };
        self.written = self.written.saturating_add(bytes).min(self.content);
        let done = u128::from(self.size) * u128::from(self.written);
        let done = done.checked_div(u128::from(self.content)).unwrap_or(0) as u64;
        if done > self.told {
            task.advance(done - self.told);
            self.told = done;
        }
    }

    pub(super) fn done(mut self) {
        if let Some(task) = self.task.take() {
            task.done();
        }
    }
}

struct Told<'c, 'r> {
    unpacking: &'c mut Unpacking<'r>,
    content: &'c mut dyn BufRead,
}

impl Read for Told<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.unpacking.wrote(count as u64);
        Ok(count)
    }
}

impl BufRead for Told<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.content.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.content.consume(count);
        self.unpacking.wrote(count as u64);
    }
}
