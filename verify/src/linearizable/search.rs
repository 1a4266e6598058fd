//! The search for an order of one key's operations.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Who sees a value, and who may leave it.
    uses: BTreeMap<Option<Bytes>, Uses>,
}

/// Operations that have to do with one value, as indexes, sorted.
#[derive(Default)]
struct Uses {
    /// Completed ones that found it.
    needed: Vec<usize>,
    /// Completed ones that may leave it.
    left: Vec<usize>,
    /// Unknown ones that may leave it.
    left_unknown: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Completed<'a> {
    command: &'a Command,
    invoked: usize,
    returned: usize,
    reply: &'a Reply,
    sees: Sees<'a>,
    /// Whether it is a put of what nobody saw.
    invisible: bool,
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

/// Whether the command can leave this value.
fn may_leave(command: &Command, value: &Option<Bytes>) -> bool {
    match (command, value) {
        (Command::Put { value: new, .. }, Some(value))
        | (Command::CompareAndSwap { new, .. }, Some(value)) => new == value,
        (Command::Append { value: end, .. }, Some(value)) => value.ends_with(end),
        (Command::Delete { .. }, None) => true,
        _ => false,
    }
}

fn first_that_begins_with<'s>(seen: &'s BTreeSet<Bytes>, value: &Bytes) -> Option<&'s Bytes> {
    // The first that is not less: if any begins with the value, then this one does.
    let first = seen.range(value.clone()..).next();
    first.filter(|seen| seen.starts_with(value))
}

impl<'a> Search<'a> {
    /// A search among operations that are given in the order of invocation.
    pub(super) fn new(operations: impl Iterator<Item = Operation<'a>>) -> Search<'a> {
        let mut search = Search {
            completed: Vec::new(),
            unknown: Vec::new(),
            seen: BTreeSet::new(),
            uses: BTreeMap::new(),
        };
        for operation in operations {
            search.add(operation);
        }
        search.find_invisible();
        search.find_uses();
        search
    }

    fn add(&mut self, operation: Operation<'a>) {
        let command = operation.command;
        if let Some((returned, reply)) = operation.outcome {
            let sees = match (found(command, reply), command) {
                (Some(value), _) => Sees::Read(value),
                (None, Command::CompareAndSwap { expected, .. }) => Sees::Swap(expected),
                _ => Sees::Nothing,
            };
            if let Sees::Read(Some(value)) | Sees::Swap(Some(value)) = sees {
                self.seen.insert(value.clone());
            }
            self.completed.push(Completed {
                command,
                invoked: operation.invoked,
                returned,
                reply,
                sees,
                invisible: false,
            });
        } else if !matches!(command, Command::Get { .. }) {
            if let Command::CompareAndSwap { expected, .. } = command {
                self.seen.extend(expected.clone());
            }
            self.unknown.push(operation);
        }
    }

    fn find_invisible(&mut self) {
        let seen = &self.seen;
        for operation in &mut self.completed {
            if let Command::Put { value, .. } = operation.command {
                let unseen = first_that_begins_with(seen, value).is_none();
                operation.invisible = unseen && *operation.reply == Reply::Done;
            }
        }
    }

    fn find_uses(&mut self) {
        for (at, operation) in self.completed.iter().enumerate() {
            if let Sees::Read(value) | Sees::Swap(value) = operation.sees {
                let uses = self.uses.entry(value.clone()).or_default();
                uses.needed.push(at);
            }
        }
        for (value, uses) in &mut self.uses {
            for (at, operation) in self.completed.iter().enumerate() {
                if may_leave(operation.command, value) && !matches!(operation.sees, Sees::Read(_)) {
                    uses.left.push(at);
                }
            }
            for (at, operation) in self.unknown.iter().enumerate() {
                if may_leave(operation.command, value) {
                    uses.left_unknown.push(at);
                }
            }
        }
    }

    /// Whether a value that is gone in this state is still to be seen by somebody, and nobody is left to bring it back.
    fn misses(&self, gone: &Value, state: &State) -> bool {
        let Value::Seen(gone) = gone else {
            return false;
        };
        let Some(uses) = self.uses.get(gone) else {
            return false;
        };
        // The last ones are the likeliest to be still to come.
        uses.needed.iter().rev().any(|&at| !state.has(at))
            && !uses.left.iter().rev().any(|&at| !state.has(at))
            && !uses
                .left_unknown
                .iter()
                .any(|at| state.used.binary_search(at).is_err())
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
            let enabled = self.order_harmless(&mut state);
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

    /// Orders every read that fits and, where the value does not matter, every put that nobody saw. Says which completed operations may
    /// come next: those that were invoked before the first of them had to return.
    fn order_harmless(&self, state: &mut State) -> Vec<usize> {
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
            let harmless = |&&at: &&usize| match self.completed[at].sees {
                Sees::Read(_) => self.completed(at, &state.value).is_some(),
                _ => state.value == Value::Unseen && self.completed[at].invisible,
            };
            match enabled.iter().find(harmless) {
                Some(&at) => state.order(at),
                None => return enabled,
            }
        }
    }

    /// Orders just before this blind write the puts that may come next and that nobody saw: wherever else they could be, the value that
    /// they leave is replaced before anybody looks, and so is the one that they would have replaced.
    fn hide(&self, before: &Command, enabled: &[usize], state: &mut State) {
        if matches!(before, Command::Put { .. } | Command::Delete { .. }) {
            for &at in enabled.iter().filter(|&&at| self.completed[at].invisible) {
                if !state.has(at) {
                    state.order(at);
                }
            }
        }
    }

    /// The states that follow, each with its rank: what is to be tried first is less.
    fn next(&self, state: &State, enabled: &[usize]) -> Vec<(impl Ord + Copy, State)> {
        let returned = |&at: &usize| self.completed[at].returned;
        let deadline = enabled.iter().map(returned).min().unwrap_or(usize::MAX);
        let found = &state.value;
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
                self.hide(operation.command, enabled, &mut state);
                if state.value == *found || !self.misses(found, &state) {
                    next.push((rank, state));
                }
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
                self.hide(operation.command, enabled, &mut state);
                if !self.misses(found, &state) {
                    next.push((rank, state));
                }
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
        match first_that_begins_with(&self.seen, &value) {
            // A slice of what was seen, so that the states share the memory.
            Some(seen) => Value::Seen(Some(seen.slice(..value.len()))),
            None => Value::Unseen,
        }
    }
}

impl State {
    /// Whether a completed operation is in it.
    fn has(&self, at: usize) -> bool {
        at < self.first || self.ahead.binary_search(&at).is_ok()
    }

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
