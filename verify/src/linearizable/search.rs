//! The search for an order of one key's operations.

use std::collections::BTreeSet;

use biglock::kv::{Command, Reply};
use bytes::Bytes;

/// One operation on the key. Moments are places in the history.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub command: &'a Command,
    pub invoked: usize,
    /// When it returned, and with what; `None` if nobody knows.
    pub outcome: Option<(usize, &'a Reply)>,
}

/// How a search ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An order was found, after so many states.
    Linearizable {
        states: u64,
    },
    NoOrder,
    /// The bound was reached. The state that went furthest waited for the operation that was invoked at this moment.
    Exhausted {
        furthest: usize,
    },
}

/// The value of the key, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// Somebody may see it, or what an append makes of it.
    Seen(Option<Bytes>),
    /// Nobody saw it or anything that begins with it: only a put or a delete leads back to a value that matters.
    Unseen,
}

/// How far an order has come: which operations are in it, and the value they left. Two orders that come to the same state can go on in the
/// same ways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// All completed operations before this one, in the order of invocation, are in it, and this one is not.
    first: usize,
    /// And these completed ones, sorted.
    ahead: Vec<usize>,
    /// And these unknown ones, sorted.
    used: Vec<usize>,
    value: Value,
}

pub(super) struct Search<'a> {
    /// Those that returned, in the order of invocation.
    completed: Vec<Completed<'a>>,
    /// Those that did not and may have changed something, in the order of invocation.
    unknown: Vec<Operation<'a>>,
    /// Every value that somebody saw, or that an unknown compare-and-swap may find.
    seen: BTreeSet<Bytes>,
}

#[derive(Clone, Copy)]
struct Completed<'a> {
    command: &'a Command,
    invoked: usize,
    returned: usize,
    reply: &'a Reply,
    sees: Sees<'a>,
}

/// What an operation tells about the value that it found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees<'a> {
    Nothing,
    /// It found this and left it so.
    Read(&'a Option<Bytes>),
    /// It found this and replaced it.
    Swap(&'a Option<Bytes>),
}

/// What a reply says that the command found and left as it was, if it says so.
pub(super) fn found<'a>(command: &Command, reply: &'a Reply) -> Option<&'a Option<Bytes>> {
    match (command, reply) {
        (Command::Get { .. }, Reply::Value(value))
        | (Command::CompareAndSwap { .. }, Reply::Mismatch(value)) => Some(value),
        _ => None,
    }
}

impl<'a> Search<'a> {
    /// A search among operations that are given in the order of invocation.
    pub(super) fn new(operations: impl Iterator<Item = Operation<'a>>) -> Search<'a> {
        let mut search = Search {
            completed: Vec::new(),
            unknown: Vec::new(),
            seen: BTreeSet::new(),
        };
        for operation in operations {
            let command = operation.command;
            if let Some((returned, reply)) = operation.outcome {
                let sees = match (found(command, reply), command) {
                    (Some(value), _) => Sees::Read(value),
                    (None, Command::CompareAndSwap { expected, .. }) => Sees::Swap(expected),
                    _ => Sees::Nothing,
                };
                if let Sees::Read(Some(value)) | Sees::Swap(Some(value)) = sees {
                    search.seen.insert(value.clone());
                }
                search.completed.push(Completed {
                    command,
                    invoked: operation.invoked,
                    returned,
                    reply,
                    sees,
                });
            } else if !matches!(command, Command::Get { .. }) {
                if let Command::CompareAndSwap {
                    expected: Some(value),
                    ..
                } = command
                {
                    search.seen.insert(value.clone());
                }
                search.unknown.push(operation);
            }
        }
        search
    }

    /// Searches, depth first, through at most so many states.
    pub(super) fn run(&self, bound: u64) -> Verdict {
        let mut visited = BTreeSet::new();
        let mut furthest = 0;
        let mut stack = vec![State {
            first: 0,
            ahead: Vec::new(),
            used: Vec::new(),
            value: Value::Seen(None),
        }];
        while let Some(mut state) = stack.pop() {
            let enabled = self.order_reads(&mut state);
            if state.first == self.completed.len() {
                let states = visited.len() as u64;
                return Verdict::Linearizable { states };
            }
            if visited.contains(&state) {
                continue;
            }
            furthest = furthest.max(state.first);
            if visited.len() as u64 == bound {
                let furthest = self.completed[furthest].invoked;
                return Verdict::Exhausted { furthest };
            }
            let mut next = self.next(&state, &enabled);
            next.sort_by_key(|&(rank, _)| rank);
            stack.extend(next.into_iter().rev().map(|(_, next)| next));
            visited.insert(state);
        }
        Verdict::NoOrder
    }

    /// Orders every read that fits, and says which completed operations may come next: those that were invoked before the first of
    /// them had to return.
    fn order_reads(&self, state: &mut State) -> Vec<usize> {
        loop {
            let mut enabled = Vec::new();
            let mut deadline = usize::MAX;
            for (at, operation) in self.completed.iter().enumerate().skip(state.first) {
                if operation.invoked > deadline {
                    break;
                }
                if state.ahead.binary_search(&at).is_err() {
                    deadline = deadline.min(operation.returned);
                    enabled.push(at);
                }
            }
            let fits = |&&at: &&usize| {
                matches!(self.completed[at].sees, Sees::Read(_))
                    && self.completed(at, &state.value).is_some()
            };
            match enabled.iter().find(fits) {
                Some(&read) => state.order(read),
                None => return enabled,
            }
        }
    }

    /// The states that follow, each with its rank: what is to be tried first is less.
    fn next(&self, state: &State, enabled: &[usize]) -> Vec<(impl Ord + Copy, State)> {
        let returned = |&at: &usize| self.completed[at].returned;
        let deadline = enabled.iter().map(returned).min().unwrap_or(usize::MAX);
        let mut next = Vec::new();
        for &at in enabled {
            let operation = &self.completed[at];
            if let Some(value) = self.completed(at, &state.value) {
                let spoils = matches!(operation.command, Command::Append { .. })
                    && value == Value::Unseen
                    && state.value != Value::Unseen;
                let wanted = self.wanted(&value, enabled);
                let rank = (wanted, spoils, false, operation.returned);
                let mut state = State {
                    value,
                    ..state.clone()
                };
                state.order(at);
                next.push((rank, state));
            }
        }
        let begun = self
            .unknown
            .iter()
            .take_while(|operation| operation.invoked < deadline);
        for (at, operation) in begun.enumerate() {
            let Err(place) = state.used.binary_search(&at) else {
                continue;
            };
            // Of two that would do the same, the first.
            let twin = |earlier: usize| {
                self.unknown[earlier].command == operation.command
                    && state.used.binary_search(&earlier).is_err()
            };
            // What changes nothing, or nothing that anybody sees, may as well not have happened.
            if let Some(value) = self.apply(operation.command, None, &state.value)
                && value != state.value
                && value != Value::Unseen
                && !(0..at).any(twin)
            {
                let rank = (self.wanted(&value, enabled), false, true, operation.invoked);
                let mut state = State {
                    value,
                    ..state.clone()
                };
                state.used.insert(place, at);
                next.push((rank, state));
            }
        }
        next
    }

    /// How much a value is wanted by those that may come next: who waits for just this is before who waits for what begins with it,
    /// and among them the one who had to return first.
    fn wanted(&self, value: &Value, enabled: &[usize]) -> (u8, usize) {
        let Value::Seen(value) = value else {
            return (2, 0);
        };
        let wants = enabled.iter().filter_map(|&at| {
            let operation = &self.completed[at];
            match operation.sees {
                Sees::Read(found) | Sees::Swap(found) if found == value => {
                    Some((0, operation.returned))
                }
                Sees::Read(Some(found)) | Sees::Swap(Some(found))
                    if found.starts_with(value.as_deref().unwrap_or_default()) =>
                {
                    Some((1, operation.returned))
                }
                _ => None,
            }
        });
        wants.min().unwrap_or((2, 0))
    }

    /// What a completed operation leaves, if it can have found this value.
    fn completed(&self, at: usize, value: &Value) -> Option<Value> {
        let Completed { command, reply, .. } = self.completed[at];
        self.apply(command, Some(reply), value)
    }

    /// What a command makes of a value; nothing if the reply would have been another one.
    fn apply(&self, command: &Command, reply: Option<&Reply>, found: &Value) -> Option<Value> {
        let sees_or_swaps = matches!(
            command,
            Command::Get { .. } | Command::CompareAndSwap { .. }
        );
        let mut value = match found {
            Value::Seen(value) => value.clone(),
            // Nobody saw it, so nobody compared it with success.
            Value::Unseen if sees_or_swaps => return None,
            Value::Unseen => None,
        };
        let answer = command.run(&mut value);
        if reply.is_some_and(|reply| *reply != answer) {
            return None;
        }
        if *found == Value::Unseen && matches!(command, Command::Append { .. }) {
            return Some(Value::Unseen);
        }
        Some(self.value(value))
    }

    fn value(&self, value: Option<Bytes>) -> Value {
        let Some(value) = value else {
            return Value::Seen(None);
        };
        // The first that is not less: if any begins with the value, then this one does.
        match self.seen.range(value.clone()..).next() {
            // A slice of what was seen, so that the states share the memory.
            Some(seen) if seen.starts_with(&value) => Value::Seen(Some(seen.slice(..value.len()))),
            _ => Value::Unseen,
        }
    }
}

impl State {
    /// Adds a completed operation.
    fn order(&mut self, at: usize) {
        if let Err(place) = self.ahead.binary_search(&at) {
            self.ahead.insert(place, at);
        }
        let run = (self.first..)
            .zip(&self.ahead)
            .take_while(|(next, at)| next == *at);
        let run = run.count();
        self.first += run;
        self.ahead.drain(..run);
    }
}
