//! Histories that are right, histories that are wrong in each way, a slow checker to compare with, and the cost.

mod cost;
mod judged;
mod slow;

use bytes::Bytes;

use super::*;

fn value(text: &'static str) -> Option<Bytes> {
    Some(text.into())
}

/// One client after another, or several at once: `run` is an operation that nothing overlaps with.
#[derive(Default)]
struct Story {
    history: History,
    clock: u64,
}

impl Story {
    fn now(&mut self) -> Time {
        self.clock += 1;
        Time::from_millis(self.clock)
    }

    fn begin(&mut self, command: Command) -> OperationId {
        let now = self.now();
        self.history
            .invoke(now, now.as_nanos() / 1_000_000, command)
    }

    fn end(&mut self, id: OperationId, reply: Reply) {
        let now = self.now();
        self.history.complete(now, id, reply);
    }

    fn run(&mut self, command: Command, reply: Reply) {
        let id = self.begin(command);
        self.end(id, reply);
    }

    fn get(&mut self, text: &'static str) {
        self.run(Command::get("k"), Reply::Value(value(text)));
    }

    fn is_right(&self) {
        if let Err(violation) = check(&self.history) {
            panic!("{violation}");
        }
    }

    /// Fails for the key `k` without an order; the picture.
    fn is_wrong(&self) -> String {
        let violation = check(&self.history).expect_err("no order explains this history");
        assert_eq!((violation.key.as_str(), violation.why), ("k", Why::NoOrder));
        violation.picture
    }
}
