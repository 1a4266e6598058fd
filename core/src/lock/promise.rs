//! A small cell for one caller who waits for one reply: waking it wakes nobody else.
//!
//! It has a lock of its own, which is held for a store or a look, and never while the big one is taken: keeping and awaiting ask for the
//! thread's permission, as everything does that may wait.

use std::sync::Arc;
use std::time::Duration;

use super::Outside;
use super::sync::{Condvar, Mutex};
use crate::Time;

/// The half of the one who will answer. If it is dropped, the wait ends without an answer.
pub struct Promise<T>(Option<Arc<Cell<T>>>);

/// The half of the one who waits.
pub struct Awaited<T>(Arc<Cell<T>>);

struct Cell<T> {
    content: Mutex<Content<T>>,
    kept: Condvar,
}

enum Content<T> {
    Empty { waited_for: bool },
    Kept(T),
    Broken,
}

/// Both halves of a new cell.
pub fn promise<T>() -> (Promise<T>, Awaited<T>) {
    let cell = Arc::new(Cell {
        content: Mutex::new(Content::Empty { waited_for: false }),
        kept: Condvar::new(),
    });
    (Promise(Some(cell.clone())), Awaited(cell))
}

impl<T> Promise<T> {
    /// Answers.
    pub fn keep(mut self, _: &Outside, value: T) {
        if let Some(cell) = self.0.take() {
            cell.fill(Content::Kept(value));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            cell.fill(Content::Broken);
        }
    }
}

impl<T> Cell<T> {
    fn fill(&self, new: Content<T>) {
        let mut content = self.content.lock();
        let waited_for = matches!(*content, Content::Empty { waited_for: true });
        *content = new;
        if waited_for {
            self.kept.notify_all();
        }
    }
}

impl<T> Awaited<T> {
    /// Waits for the answer. Nothing if the other half was dropped.
    pub fn wait(self, _: &Outside) -> Option<T> {
        let mut content = self.0.content.lock();
        loop {
            match std::mem::replace(&mut *content, Content::Empty { waited_for: true }) {
                Content::Kept(value) => return Some(value),
                Content::Broken => return None,
                Content::Empty { .. } => self.0.kept.wait(&mut content, None),
            }
        }
    }

    /// Waits for the answer for at most `timeout` of the machine's time. An error, with this half in it, if it has not come.
    ///
    /// # Errors
    /// If the time was up: wait again with what the error holds.
    pub fn wait_for(self, _: &Outside, timeout: Duration) -> Result<Option<T>, Awaited<T>> {
        let by = Time::ZERO + timeout;
        // Started by who has to wait: a caller that takes what is there, reply by reply, reads no clock.
        let mut clock = None;
        let mut content = self.0.content.lock();
        loop {
            match std::mem::replace(&mut *content, Content::Empty { waited_for: true }) {
                Content::Kept(value) => return Ok(Some(value)),
                Content::Broken => return Ok(None),
                Content::Empty { .. } => {}
            }
            let clock = clock.get_or_insert_with(super::Clock::monotonic);
            if by <= clock.now() {
                break;
            }
            self.0.kept.wait(&mut content, clock.timeout(Some(by)));
        }
        *content = Content::Empty { waited_for: false };
        drop(content);
        Err(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_had_before_and_after_somebody_waits() {
        let outside = Outside::claim("test");
        let (promise, awaited) = promise();
        promise.keep(&outside, 1);
        assert_eq!(awaited.wait(&outside), Some(1));
        let (promise, awaited) = super::promise();
        let waits =
            std::thread::Builder::new().spawn(move || awaited.wait(&Outside::claim("caller")));
        promise.keep(&outside, 2);
        assert_eq!(waits.unwrap().join().unwrap(), Some(2));
    }

    /// Whoever was to answer is gone, before somebody waits or meanwhile: the wait ends.
    #[test]
    fn nobody_waits_for_an_answer_that_cannot_come() {
        let outside = Outside::claim("test");
        let (promise, awaited) = promise::<u64>();
        drop(promise);
        assert_eq!(awaited.wait(&outside), None);
        let (promise, awaited) = super::promise::<u64>();
        let awaited = awaited.wait_for(&outside, Duration::ZERO).unwrap_err();
        let waits =
            std::thread::Builder::new().spawn(move || awaited.wait(&Outside::claim("caller")));
        drop(promise);
        assert_eq!(waits.unwrap().join().unwrap(), None);
    }
}
