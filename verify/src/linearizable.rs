//! Linearizability of a key-value history: is there an order of the operations, each at one moment between its invocation and its reply, in
//! which one store that runs them one by one would have given the same replies?
//!
//! The simulator and the real cluster record a [`History`]; [`check`] judges it by what [`Command::run`] says that a command means.
//! ```
//! use biglock::Time;
//! use biglock::kv::{Command, Reply};
//! use biglock_verify::linearizable::{History, check};
//!
//! let (mut history, at) = (History::new(), Time::from_millis);
//! let put = history.invoke(at(1), 1, Command::put("fruit", "apple"));
//! history.complete(at(2), put, Reply::Done);
//! let get = history.invoke(at(3), 2, Command::get("fruit"));
//! history.complete(at(4), get, Reply::Value(None));
//!
//! let violation = check(&history).unwrap_err();
//! assert_eq!(violation.key, "fruit");
//! println!("{violation}"); // a picture of the operations, with the reply that no order explains
//! ```
//!
//! # How it searches
//! Each key is checked alone: a history is linearizable exactly if the history of each key is (locality: Herlihy and Wing 1990;
//! P-compositionality: Horn and Kroening 2015). For a key, it is the search of Wing and Gong with the memory of Lowe: depth first over
//! what has been ordered so far and the value it left, no such state twice. What keeps it small loses nothing:
//!
//! - A read whose reply fits the value is ordered at once: it changes nothing, so no order is better with it later.
//! - Values that nobody saw, and that no append can turn into one that somebody saw, are one value. A put of such a value is ordered just
//!   before another put or delete.
//! - An operation with an unknown outcome is a choice, and only where somebody may see what it did.
//! - An order ends where it replaces a value that is still to be seen, and nobody is left who could bring it back.
//! - What leads to the value that a waiting reply tells is tried first, then what had to be done first.
//!
//! 5,000 operations of 20 clients on four keys take one or two states for each operation. All of them at once on one key take some
//! twenty, and more if they do nothing but overwrite and append: give a test several keys.
//!
//! **The bound** is a number of states for each key, never a time: the same history always gets the same verdict. A search that reaches it
//! is a failure, because nobody knows whether the history was right.
//!
//! # Why not a library
//! Looked at in 2026: `todc-utils` 0.1.1 (last release 2023) has the same search, but no bound, answers yes or no without saying which
//! operation, wants a reply for each invocation, and finds the end of an operation by a walk through the whole history. The tester
//! of `stateright` 0.31 remembers no state, and recurses once per operation: it is made for the few operations of a model. `lincheck` 0.2
//! runs its own scenarios under loom, and does not judge a recorded history. `porcupine` is Go.

mod picture;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use biglock::Time;
use biglock::kv::{Command, Reply};

use search::{Operation, Search, Verdict};

/// How many states [`check`] explores for a key, which takes up to some seconds and a few hundred megabytes. A history of thousands of
/// operations on a few keys that is right takes thousands.
pub const STATES: u64 = 1_000_000;

/// Which operation of a [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(usize);

/// What the clients of a key-value store saw.
///
/// The order of the calls is the order of what happened: whoever completes an operation before another is invoked says that the one was
/// over when the other began. So record the invocation before the request leaves, and the reply once it is there; between threads,
/// share the history behind a mutex. The times are for the picture alone.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Vec<Record>,
    /// How many calls there were: the next moment.
    calls: usize,
}

/// One operation as the client saw it.
#[derive(Clone, Debug)]
struct Record {
    client: u64,
    command: Command,
    invoked: Moment,
    outcome: Outcome,
}

/// When: the place in the history, and the time to print.
#[derive(Clone, Copy, Debug)]
struct Moment {
    order: usize,
    time: Time,
}

#[derive(Clone, Debug)]
enum Outcome {
    Running,
    Unknown,
    Lost,
    Completed(Moment, Reply),
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// A client is about to send a command. One that never ends has an unknown outcome.
    pub fn invoke(&mut self, at: Time, client: u64, command: Command) -> OperationId {
        let invoked = self.moment(at);
        self.records.push(Record {
            client,
            command,
            invoked,
            outcome: Outcome::Running,
        });
        OperationId(self.records.len() - 1)
    }

    /// The client got its reply.
    ///
    /// # Panics
    /// If the operation has ended before.
    pub fn complete(&mut self, at: Time, id: OperationId, reply: Reply) {
        let returned = self.moment(at);
        self.end(id, Outcome::Completed(returned, reply));
    }

    /// The client gave up. The command may take effect at any time from its invocation on, or never.
    ///
    /// # Panics
    /// If the operation has ended before.
    pub fn unknown(&mut self, id: OperationId) {
        self.end(id, Outcome::Unknown);
    }

    /// The client was told that the command has no effect and never will, and that is held against the store.
    ///
    /// # Panics
    /// If the operation has ended before.
    pub fn lost(&mut self, id: OperationId) {
        self.end(id, Outcome::Lost);
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn moment(&mut self, time: Time) -> Moment {
        let order = self.calls;
        self.calls += 1;
        Moment { order, time }
    }

    fn end(&mut self, id: OperationId, outcome: Outcome) {
        let record = &mut self.records[id.0];
        assert!(
            matches!(record.outcome, Outcome::Running),
            "operation {} ended twice: first {record:?}, then {outcome:?}",
            id.0
        );
        record.outcome = outcome;
    }
}

/// A history that is not known to be linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The key whose operations have no order.
    pub key: String,
    /// What is wrong with them.
    pub why: Why,
    /// The operations around it: a row each, in the order of invocation, and what lies side by side overlapped.
    pub picture: String,
}

/// What is wrong with a key's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// No order explains the replies.
    NoOrder,
    /// The search reached its bound. Give the history more keys, fewer clients or fewer unknown outcomes.
    Exhausted {
        /// The bound.
        states: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { key, why, picture } = self;
        match why {
            Why::NoOrder => write!(f, "key {key:?}: no order of the operations explains ")?,
            Why::Exhausted { states } => write!(
                f,
                "key {key:?}: no order was found in {states} states, the furthest of which did not explain "
            )?,
        }
        write!(f, "the reply marked with <-\n{picture}")
    }
}

impl std::error::Error for Violation {}

/// Whether a history is linearizable, within [`STATES`] states for each key.
///
/// # Errors
/// For the first key, in the order of keys, that is not, or whose search reached the bound.
pub fn check(history: &History) -> Result<(), Violation> {
    check_within(history, STATES)
}

/// The same within another bound.
///
/// # Errors
/// As for [`check`].
pub fn check_within(history: &History, states: u64) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &history.records {
        if !matches!(record.outcome, Outcome::Lost) {
            keys.entry(record.command.key()).or_default().push(record);
        }
    }
    for (key, records) in keys {
        let (why, shown, culprit) = match verdict(&records, states) {
            Verdict::Linearizable { .. } => continue,
            Verdict::NoOrder => {
                let (shown, culprit) = shrink(&records, states);
                (Why::NoOrder, shown, culprit)
            }
            Verdict::Exhausted { furthest } => {
                let culprit = records
                    .iter()
                    .find(|record| record.invoked.order == furthest);
                let culprit = *culprit.expect("the search was about these operations");
                (Why::Exhausted { states }, records, culprit)
            }
        };
        return Err(Violation {
            key: key.into(),
            why,
            picture: picture::draw(&shown, culprit),
        });
    }
    Ok(())
}

fn verdict(records: &[&Record], states: u64) -> Verdict {
    Search::new(records.iter().map(|record| record.operation(usize::MAX))).run(states)
}

/// The fewest operations that still have no order: those up to the first reply that cannot be explained, without the reads from before
/// that do not matter. And the operation with that reply.
fn shrink<'a>(records: &[&'a Record], states: u64) -> (Vec<&'a Record>, &'a Record) {
    let by_return = |keep: &dyn Fn(&Record) -> bool| {
        let mut kept: Vec<&Record> = records.iter().copied().filter(|r| keep(r)).collect();
        kept.sort_by_key(|record| record.returned());
        kept
    };
    let fails = |until: usize, reads_from: usize| {
        let operations = records
            .iter()
            .filter(|r| r.invoked.order < until && (!r.is_read() || r.returned() >= reads_from))
            .map(|r| r.operation(until));
        matches!(Search::new(operations).run(states), Verdict::NoOrder)
    };
    // A beginning of a linearizable history is linearizable, and so is one without some of its reads: both searches are by halves.
    let completed = by_return(&|record| record.returned() < usize::MAX);
    let first = completed.partition_point(|record| !fails(record.returned() + 1, 0));
    let culprit = completed[first.min(completed.len() - 1)];
    let until = culprit.returned() + 1;
    let reads = by_return(&|record| record.is_read() && record.returned() < culprit.returned());
    let needed = reads.partition_point(|record| fails(until, record.returned() + 1));
    let reads_from = reads.get(needed).map_or(until - 1, |r| r.returned());
    let shown = records.iter().copied().filter(|record| {
        record.invoked.order < until && (!record.is_read() || record.returned() >= reads_from)
    });
    (shown.collect(), culprit)
}

impl Record {
    /// Where in the history it returned; after all of it if it did not.
    fn returned(&self) -> usize {
        match self.outcome {
            Outcome::Completed(at, _) => at.order,
            _ => usize::MAX,
        }
    }

    /// Whether its reply says that it changed nothing.
    fn is_read(&self) -> bool {
        match &self.outcome {
            Outcome::Completed(_, reply) => search::found(&self.command, reply).is_some(),
            _ => false,
        }
    }

    /// It as those see it who look before the moment `until`: what returns later has no outcome yet.
    fn operation(&self, until: usize) -> Operation<'_> {
        let outcome = match &self.outcome {
            Outcome::Completed(at, reply) if at.order < until => Some((at.order, reply)),
            _ => None,
        };
        Operation {
            command: &self.command,
            invoked: self.invoked.order,
            outcome,
        }
    }
}
