//! Everything a person sees: data on stdout, progress and problems on stderr.

pub(crate) mod failure;
mod printer;
mod problem;
mod progress;
mod report;
pub(crate) mod terminal;

pub(crate) use printer::{Format, Printer, print_raw};
pub(crate) use progress::{Progress, ProgressKind};
pub(crate) use report::{KnownRule, ReportFormat, print_problems};
