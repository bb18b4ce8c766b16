//! What a commit says, in apk's own lines: to the reporter, and into `var/log/apk.log`.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;

use base::{Reporter, Task, Unit, Verb};
use rustix::fs::{Mode, OFlags, openat};

use super::beneath::Beneath;
use super::transaction::PackageProblem;

const LOG: &str = "var/log/apk.log";

/// The open log.
#[derive(Debug)]
pub(super) struct LogFile(RefCell<File>);

impl LogFile {
    /// Opens the log, made with its folders where it is missing, and writes the heading.
    pub(super) fn open(beneath: &Beneath, heading: &str) -> std::io::Result<LogFile> {
        beneath.make_directories("var/log")?;
        let place = beneath.place(LOG)?;
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = File::from(openat(&*place.directory, place.name(), flags, mode)?);
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let log = LogFile(RefCell::new(file));
        log.0.borrow_mut().write_all(heading.as_bytes())?;
        Ok(log)
    }

    /// A log that can't be written, on a full disk say, stops nothing, as with apk.
    pub(super) fn line(&self, line: &str) {
        let _ = self
            .0
            .borrow_mut()
            .write_all(format!("{line}\n").as_bytes());
    }
}

/// Where a commit speaks to.
pub(super) struct Voice<'r> {
    reporter: &'r dyn Reporter,
    log: Option<&'r LogFile>,
    task: Task<'r>,
}

impl<'r> Voice<'r> {
    /// Begins a task of `steps` steps.
    pub(super) fn start(
        reporter: &'r dyn Reporter,
        log: Option<&'r LogFile>,
        subject: &str,
        steps: u64,
    ) -> Voice<'r> {
        Voice {
            reporter,
            log,
            task: Task::start(reporter, Verb::Install, subject, Some(steps), Unit::Items),
        }
    }

    fn log(&self, line: &str) {
        if let Some(log) = self.log {
            log.line(line);
        }
    }

    /// What is done now.
    pub(super) fn step(&self, line: &str) {
        self.log(line);
        self.task.step(line);
    }

    /// A step is over.
    pub(super) fn advance(&self) {
        self.task.advance(1);
    }

    /// A line that a script printed.
    pub(super) fn output(&self, line: &str) {
        self.log(line);
        self.task.output(line);
    }

    /// A thing worth knowing.
    pub(super) fn notice(&self, line: &str) {
        self.log(line);
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
