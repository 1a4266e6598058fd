//! Keeps a number of commands in flight from one thread.

use std::ops::Range;

/// The commands of one call of [`commit`](crate::Subject::commit): which were proposed, and which were answered.
pub struct Window {
    next: u64,
    answered: u64,
    end: u64,
    in_flight: u64,
}

impl Window {
    /// Commands of these numbers, at most `in_flight` at a time.
    pub fn new(numbers: Range<u64>, in_flight: usize) -> Window {
        Window {
            next: numbers.start,
            answered: numbers.start,
            end: numbers.end,
            in_flight: in_flight as u64,
        }
    }

    /// The commands that may be proposed now.
    pub fn open(&mut self) -> Range<u64> {
        let until = self.end.min(self.answered + self.in_flight);
        let open = self.next..until;
        self.next = until;
        open
    }

    /// A reply came. One proposer's commands are answered in their order, because its leader stays the leader.
    ///
    /// # Panics
    /// If it is not the next one's.
    pub fn answer(&mut self, number: u64) {
        assert_eq!(number, self.answered, "the reply to the next command");
        assert!(number < self.next, "a command that was proposed");
        self.answered += 1;
    }

    /// Whether all were answered.
    pub fn is_over(&self) -> bool {
        self.answered == self.end
    }
}
