//! `--progress-fd`: lines `done/total stage` for a program that shows progress in its own way.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// What a package counts beside its bytes (apk-tools' `apk_progress_weight`).
const PACKAGE: u64 = 64 << 10;

/// Bytes that are worth a line.
const GRAIN: u64 = 128 << 10;

/// What this program copies itself, of which no event tells.
pub(crate) const COPYING: u64 = u64::MAX;

/// A stage of a run, and how far it has come.
#[derive(Debug)]
pub(crate) struct Meter {
    stage: &'static str,
    /// Bytes of what is still to be done, the next first.
    items: std::vec::IntoIter<u64>,
    total: u64,
    /// What the items before the current one come to.
    base: u64,
    told: u64,
    /// Bytes that have come of what is under way, several packages perhaps, by task.
    under_way: BTreeMap<u64, u64>,
    /// None once nobody reads any more.
    to: Option<File>,
}

impl Meter {
    /// Begins a stage of packages with these sizes in bytes; it is told of through a file
    /// descriptor that whoever started this program has left open for that.
    pub(crate) fn start(descriptor: u32, stage: &'static str, sizes: Vec<u64>) -> Meter {
        // As with apk, a descriptor that can't be written to is passed over.
        let to = OpenOptions::new()
            .append(true)
            .open(format!("/proc/self/fd/{descriptor}"))
            .ok();
        Meter {
            stage,
            total: weight(&sizes),
            items: sizes.into_iter(),
            base: 0,
            told: 0,
            under_way: BTreeMap::new(),
            to,
        }
    }

    /// Bytes of a package are going to come.
    pub(crate) fn begin(&mut self, task: u64) {
        self.under_way.insert(task, 0);
    }

    /// Some have come.
    pub(crate) fn proceed(&mut self, task: u64, bytes: u64) {
        let Some(come) = self.under_way.get_mut(&task) else {
            return;
        };
        *come = come.saturating_add(bytes);
        let come = self.under_way.values().copied();
        let done = come.fold(self.base, u64::saturating_add).min(self.total);
        if done >= self.told.saturating_add(GRAIN) {
            self.tell(done);
        }
    }

    /// No more will come. That the package is done is told apart, once it was looked at.
    pub(crate) fn finish(&mut self, task: u64) {
        self.under_way.remove(&task);
    }

    /// One more package is done.
    pub(crate) fn advance(&mut self) {
        self.under_way.remove(&COPYING);
        let Some(size) = self.items.next() else {
            return;
        };
        self.tell(self.base.saturating_add(size));
        self.base = self.base.saturating_add(weight(&[size]));
        self.tell(self.base);
    }

    /// All is done.
    pub(crate) fn end(mut self) {
        self.tell(self.total);
    }

    fn tell(&mut self, done: u64) {
        // It never goes back: of packages under way, those that are done later may have come first.
        if done <= self.told {
            return;
        }
        self.told = done;
        let line = format!("{done}/{} {}\n", self.total, self.stage);
        if let Some(to) = &mut self.to
            && to.write_all(line.as_bytes()).is_err()
        {
            self.to = None;
        }
    }
}

fn weight(sizes: &[u64]) -> u64 {
    let sizes = sizes.iter().map(|size| size.saturating_add(PACKAGE));
    sizes.fold(0, u64::saturating_add)
}
