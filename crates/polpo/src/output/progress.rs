use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base::{Event, Outcome, Problem, Reporter, Unit, Verb};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::failure::Failure;
use super::problem::render;
use super::report::{Row, row};
use super::terminal::for_stderr;

/// How progress is shown on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressKind {
    /// Bars on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Bars that move.
    Bars,
    /// A line when something begins or ends.
    Lines,
    /// A JSON object a line, also for what goes wrong.
    Json,
    /// Nothing.
    None,
}

/// Tasks that end sooner than this are not worth a line.
const BRIEF: Duration = Duration::from_millis(200);

/// Listens to events and shows them.
pub(crate) struct Progress {
    kind: ProgressKind,
    verbose: bool,
    bars: MultiProgress,
    tasks: Mutex<BTreeMap<u64, Running>>,
}

struct Running {
    verb: Verb,
    subject: String,
    done: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `verbose` also shows what builds print.
    pub(crate) fn new(kind: ProgressKind, verbose: bool) -> Progress {
        let kind = match kind {
            ProgressKind::Auto if std::io::stderr().is_terminal() => ProgressKind::Bars,
            ProgressKind::Auto => ProgressKind::Lines,
            other => other,
        };
        let target = match kind {
            ProgressKind::Bars => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        };
        Progress {
            kind,
            verbose,
            bars: MultiProgress::with_draw_target(target),
            tasks: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether stderr shows colours.
    pub(crate) fn colour(&self) -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// Writes a line to stderr without tearing the bars.
    pub(crate) fn line(&self, line: &str) {
        if self.kind == ProgressKind::Bars && self.bars.println(line).is_ok() {
            return;
        }
        // Nobody can be told that stderr is gone.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Shows a problem that stops nothing.
    pub(crate) fn show(&self, problem: &Problem) {
        match self.kind {
            ProgressKind::Json => self.line(&problem_json(problem)),
            _ => self.line(render(problem, self.colour()).trim_end()),
        }
    }

    /// Shows why a command ends without its result.
    pub(crate) fn fail(&self, failure: &Failure) {
        if self.kind != ProgressKind::Json {
            // Nobody can be told that stderr is gone; the exit code still says it.
            let _ = std::io::stderr()
                .lock()
                .write_all(failure.shown(self.colour()).as_bytes());
            return;
        }
        if let Failure::Problems(problems) = failure {
            for problem in problems {
                self.line(&problem_json(problem));
            }
        }
        let event = serde_json::json!({
            "event": "failed", "code": failure.code(), "error": failure.summary(),
            "because": failure.causes(),
        });
        self.line(&event.to_string());
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Running>> {
        self.tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn bar(&self, verb: Verb, subject: &str, total: Option<u64>, unit: Unit) -> ProgressBar {
        let template = match (total, unit) {
            (Some(_), Unit::Bytes) => {
                "{prefix:>8} {wide_msg} {bytes:>10}/{total_bytes:<10} {bar:24} {eta:>4}"
            }
            (Some(_), Unit::Items) => "{prefix:>8} {wide_msg} {pos:>5}/{len:<5} {bar:24} {eta:>4}",
            (None, Unit::Bytes) => "{prefix:>8} {wide_msg} {bytes:>10} {spinner} {elapsed:>4}",
            (None, Unit::Items) => "{prefix:>8} {wide_msg} {spinner} {elapsed:>4}",
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        let bar = self
            .bars
            .add(bar.with_style(style).with_prefix(verb.as_str()));
        bar.set_message(subject.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn show_finished(&self, running: &Running, outcome: Outcome) {
        let seconds = running.since.elapsed();
        let (verb, subject) = (running.verb.as_str(), &running.subject);
        match outcome {
            Outcome::Failed => self.line(&format!("{verb:>8} {subject}: failed")),
            Outcome::Unchanged => self.line(&format!("{verb:>8} {subject}: unchanged")),
            Outcome::Done if self.kind == ProgressKind::Bars && seconds < BRIEF => {}
            Outcome::Done => {
                self.line(&format!(
                    "{verb:>8} {subject}: done in {:.1} s",
                    seconds.as_secs_f64()
                ));
            }
        }
    }
}

impl Reporter for Progress {
    fn report(&self, event: Event<'_>) {
        match self.kind {
            ProgressKind::None => return,
            ProgressKind::Json => return self.line(&json(&event)),
            _ => {}
        }
        match event {
            Event::Started {
                task,
                verb,
                subject,
                total,
                unit,
            } => {
                let subject = &*for_stderr(subject);
                let bar = match self.kind {
                    ProgressKind::Bars => Some(self.bar(verb, subject, total, unit)),
                    _ => None,
                };
                let running = Running {
                    verb,
                    subject: subject.to_owned(),
                    done: 0,
                    since: Instant::now(),
                    bar,
                };
                self.tasks().insert(task, running);
            }
            Event::Advanced { task, by } => {
                if let Some(running) = self.tasks().get_mut(&task) {
                    running.done += by;
                    if let Some(bar) = &running.bar {
                        bar.set_position(running.done);
                    }
                }
            }
            Event::Step { task, name } => {
                let name = for_stderr(name);
                let mut line = None;
                if let Some(running) = self.tasks().get(&task) {
                    match &running.bar {
                        Some(bar) => bar.set_message(format!("{}: {name}", running.subject)),
                        None => {
                            line = Some(format!(
                                "{:>8} {}: {name}",
                                running.verb.as_str(),
                                running.subject
                            ));
                        }
                    }
                }
                if let Some(line) = line {
                    self.line(&line);
                }
            }
            Event::Finished { task, outcome } => {
                let running = self.tasks().remove(&task);
                if let Some(running) = running {
                    if let Some(bar) = &running.bar {
                        bar.finish_and_clear();
                    }
                    self.show_finished(&running, outcome);
                }
            }
            Event::Output { line, .. } if self.verbose => self.line(&for_stderr(line)),
            Event::Output { .. } => {}
            Event::Notice { message } => {
                self.line(&format!("{:>8} {}", "note", for_stderr(message)));
            }
        }
    }
}

/// A problem as an event: as lists of problems have it.
fn problem_json(problem: &Problem) -> String {
    #[derive(Serialize)]
    struct Told<'p> {
        event: &'static str,
        #[serde(flatten)]
        problem: Row<'p>,
    }
    let told = Told {
        event: "problem",
        problem: row(problem),
    };
    // Strings and numbers can always be written.
    serde_json::to_string(&told).unwrap_or_default()
}

fn json(event: &Event<'_>) -> String {
    let value = match event {
        Event::Started {
            task,
            verb,
            subject,
            total,
            unit,
        } => serde_json::json!({
            "event": "started", "task": task, "verb": verb.as_str(), "subject": subject, "total": total,
            "unit": match unit { Unit::Bytes => "bytes", Unit::Items => "items" },
        }),
        Event::Advanced { task, by } => {
            serde_json::json!({ "event": "advanced", "task": task, "by": by })
        }
        Event::Step { task, name } => {
            serde_json::json!({ "event": "step", "task": task, "name": name })
        }
        Event::Finished { task, outcome } => serde_json::json!({
            "event": "finished", "task": task,
            "outcome": match outcome {
                Outcome::Done => "done",
                Outcome::Unchanged => "unchanged",
                Outcome::Failed => "failed",
            },
        }),
        Event::Output { task, line } => {
            serde_json::json!({ "event": "output", "task": task, "line": line })
        }
        Event::Notice { message } => serde_json::json!({ "event": "notice", "message": message }),
    };
    value.to_string()
}
