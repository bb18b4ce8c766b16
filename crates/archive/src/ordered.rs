//! Work on the pieces of a stream: on all cores, its results in the order of the pieces.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How many pieces of work are under way in all streams together.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Pieces of work under way, at most two for each core, so that no more than their results is held: also
/// of several streams together, but that each may have one.
pub struct Ordered<T> {
    under_way: VecDeque<Arc<Job<T>>>,
    most: usize,
}

impl<T: Send + 'static> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered {
            under_way: VecDeque::new(),
            most: 2 * rayon::current_num_threads().max(1),
        }
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Hands `work` to any core that is free. Where as much is under way as may be, waits for the
    /// oldest first and gives its result.
    pub fn push(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let all = UNDER_WAY.load(Ordering::Relaxed);
        let oldest = if self.under_way.len() >= self.most || all >= self.most {
            self.take()
        } else {
            None
        };
        let job = Job::new(work);
        self.under_way.push_back(Arc::clone(&job));
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(move || {
            job.run();
        });
        oldest
    }

    /// The result of the oldest piece, once it is there; none if nothing is under way.
    pub fn take(&mut self) -> Option<T> {
        let job = self.under_way.pop_front()?;
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        // Helping is what keeps this from waiting for a core that waits for this one. Where another core
        // is at it, the pieces behind it are to be done meanwhile.
        if !job.run() {
            for next in &self.under_way {
                if job.is_done() {
                    break;
                }
                next.run();
            }
        }
        Some(job.wait())
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(self.under_way.len(), Ordering::Relaxed);
    }
}

/// A piece of work: whoever comes first does it.
struct Job<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

enum State<T> {
    Waiting(Box<dyn FnOnce() -> T + Send>),
    Running,
    Done(T),
}

impl<T> Job<T> {
    fn new(work: impl FnOnce() -> T + Send + 'static) -> Arc<Job<T>> {
        Arc::new(Job {
            state: Mutex::new(State::Waiting(Box::new(work))),
            done: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self) -> bool {
        matches!(*self.state(), State::Done(_))
    }

    /// Does the work unless somebody has begun to; whether it did.
    fn run(&self) -> bool {
        let work = {
            let mut state = self.state();
            match std::mem::replace(&mut *state, State::Running) {
                State::Waiting(work) => work,
                begun => {
                    *state = begun;
                    return false;
                }
            }
        };
        let result = work();
        *self.state() = State::Done(result);
        self.done.notify_one();
        true
    }

    /// The result, once it is there: the work must have begun, and is waited for once.
    fn wait(&self) -> T {
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, State::Running) {
                State::Done(result) => return result,
                other => *state = other,
            }
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
