//! What apk's commands say: results on stdout, warnings and errors on stderr, in apk's words.

use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use apk::install::Log;
use base::{Event, Reporter, Unit};

use super::meter::{COPYING, Meter};
use super::options::Global;
use crate::output::failure::Failure;
use crate::output::{Format, Progress, terminal};

/// Where a run of an apk command speaks, and how much it says.
pub(crate) struct Console<'p> {
    verbosity: u8,
    /// Only the document at the end goes to stdout.
    document: AtomicBool,
    /// Where all that is said is written too, if the run may change the system.
    log: OnceLock<Log>,
    /// `--progress-fd`, and the stage that is told of there.
    descriptor: Option<u32>,
    meter: Mutex<Option<Meter>>,
    progress: &'p Progress,
}

impl<'p> Console<'p> {
    pub(crate) fn new(global: &Global, progress: &'p Progress) -> Console<'p> {
        Console {
            verbosity: global.verbosity(),
            document: AtomicBool::new(false),
            log: OnceLock::new(),
            // 0 means none, as with apk.
            descriptor: global.progress_fd.filter(|descriptor| *descriptor != 0),
            meter: Mutex::new(None),
            progress,
        }
    }

    /// 1 is usual, 0 with `-q`, more with `-v`.
    pub(crate) fn verbosity(&self) -> u8 {
        self.verbosity
    }

    /// How many columns a line has: the terminal's, or apk's 50 where there is none.
    pub(crate) fn width(&self) -> usize {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 25)
            .unwrap_or(50)
    }

    /// From now on stdout carries a document in this form: lines for people are left out if it is
    /// JSON.
    pub(crate) fn document(&self, format: Format) {
        self.document
            .store(format == Format::Json, Ordering::Relaxed);
    }

    /// Whether stdout carries a JSON document.
    pub(crate) fn is_document(&self) -> bool {
        self.document.load(Ordering::Relaxed)
    }

    /// From now on all that is said goes into this log too.
    pub(crate) fn log_to(&self, log: Log) {
        // A run opens one log.
        let _ = self.log.set(log);
    }

    /// Lines for the log alone.
    pub(crate) fn log(&self, text: &str) {
        if let Some(log) = self.log.get() {
            log.line(text);
        }
    }

    /// Begins to tell of a stage's progress, if that is asked for: of packages of these sizes.
    pub(crate) fn start_stage(&self, name: &'static str, sizes: impl FnOnce() -> Vec<u64>) {
        if let Some(descriptor) = self.descriptor {
            *self.meter() = Some(Meter::start(descriptor, name, sizes()));
        }
    }

    /// One more package of the stage is done.
    pub(crate) fn advance_stage(&self) {
        self.measure(Meter::advance);
    }

    /// Bytes of a package of the stage have come, of which no event tells.
    pub(crate) fn begin_package(&self) {
        self.measure(|meter| meter.begin(COPYING));
    }

    /// Some more of them.
    pub(crate) fn proceed_package(&self, bytes: u64) {
        self.measure(|meter| meter.proceed(COPYING, bytes));
    }

    fn measure(&self, tell: impl FnOnce(&mut Meter)) {
        if let Some(meter) = self.meter().as_mut() {
            tell(meter);
        }
    }

    /// The stage is over.
    pub(crate) fn end_stage(&self) {
        if let Some(meter) = self.meter().take() {
            meter.end();
        }
    }

    fn meter(&self) -> MutexGuard<'_, Option<Meter>> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of a result.
    pub(crate) fn line(&self, line: &str) {
        self.log(line);
        if !self.document.load(Ordering::Relaxed) {
            self.write(&mut io::stdout().lock(), &format!("{line}\n"));
        }
    }

    /// A line of a result, unless `-q`.
    pub(crate) fn message(&self, line: &str) {
        if self.verbosity >= 1 {
            self.line(line);
        }
    }

    /// A line that `-v` asks for.
    pub(crate) fn detail(&self, line: &str) {
        if self.verbosity >= 2 {
            self.line(line);
        }
    }

    /// Something that is wrong, yet stops nothing.
    pub(crate) fn warning(&self, text: &str) {
        self.say("WARNING: ", text);
    }

    /// What went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.say("ERROR: ", text);
    }

    /// Text for stderr, as it is.
    pub(crate) fn explanation(&self, text: &str) {
        self.say("", text.trim_end());
    }

    /// Asks whether to go on; anything but yes means no, the end of the input means yes.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        self.write(&mut io::stdout().lock(), question);
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Failure::failed("the answer can't be read", error))?;
        Ok(answer.is_empty() || answer.starts_with(['y', 'Y', '\n']))
    }

    fn say(&self, prefix: &str, text: &str) {
        self.log(&format!("{prefix}{text}"));
        let text = terminal::for_stderr(text);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        self.progress.line(&format!("{prefix}{first}"));
        for line in lines {
            self.progress.line(line);
        }
    }

    fn write(&self, stream: &mut impl Write, text: &str) {
        // Whoever read the output has seen enough; the exit code still says how it ended.
        let _ = stream
            .write_all(terminal::for_stdout(text).as_bytes())
            .and_then(|()| stream.flush());
    }
}

/// What a transaction tells on its way.
impl Reporter for Console<'_> {
    fn report(&self, event: Event<'_>) {
        match event {
            Event::Step { name, .. } => self.message(name),
            // What a script prints is not apk's to leave out.
            Event::Output { line, .. } => self.line(line),
            Event::Notice { message } => self.explanation(message),
            event => {
                self.measure(|meter| match event {
                    Event::Started {
                        task,
                        unit: Unit::Bytes,
                        ..
                    } => meter.begin(task),
                    Event::Advanced { task, by } => meter.proceed(task, by),
                    Event::Finished { task, .. } => meter.finish(task),
                    _ => {}
                });
                self.progress.report(event);
            }
        }
    }
}
