//! Message orders, exhaustively: several real [`Raft`](biglock::rules::Raft) values, a network that loses, repeats and reorders, crashes that keep
//! what was durable, timeouts at any moment. All reachable states within stated bounds, breadth first.
//!
//! | module | what it has |
//! |---|---|
//! | [`machine`] | one node, and what one input does to it |
//! | [`replica`] | what its state machine makes of the entries |
//! | [`laws`] | what must hold among several, and what must be remembered for that |
//! | [`known`] | nodes, messages and histories by number, and steps that were made before |
//! | [`search`] | the search |
//! | [`recovery`] | whether a state is a dead end |
//! | [`trace`] | the way to a state, as a picture |
//! | [`tape`] | names for states, the same however the nodes are called |
//! | [`orders`] | the configurations |
//!
//! **The network is a set.** Whatever was sent stays in it and may arrive at any time, again and again: that is every loss, every repetition
//! and every order at once, and no bound on messages is needed. It is also the memory by which votes and leaders are judged.
//!
//! **A step is made once.** What an input does to a node depends on the node and the input alone. So each pair is run once, by the real
//! rules, and its outcome is kept: a state is a few numbers, and exploring it costs no more than looking them up.
//!
//! **Each section is a step of the specification** ([`crate::spec`]): a state carries what that makes of the shortest way to it, and no edge is
//! taken that it does not allow.
//!
//! **Time is two moments** ([`tape::NOW`] and [`tape::LATE`]): a timeout may pass at any moment, and a leader was heard just now or long ago,
//! whichever suits. That is more than clocks allow, so what holds here holds in time; but a lease, which trusts clocks, can't be judged.

use std::fmt;
use std::time::Duration;

use biglock::rules::{Change, Settings};

use crate::report::{ModelRow, Searched};

pub mod known;
pub mod laws;
pub mod machine;
pub mod orders;
pub mod recovery;
pub mod replica;
pub mod search;
mod seen;
pub mod tape;
#[cfg(test)]
mod tests;
pub mod trace;

/// A configuration: what is explored, within which bounds, and what must be reached.
#[derive(Clone, Copy)]
pub struct Order {
    /// Its name.
    pub name: &'static str,
    /// The sentence that it shows.
    pub property: &'static str,
    /// How many nodes there are,
    pub nodes: usize,
    /// and how many of them are members in the beginning. The others wait to be added.
    pub voters: usize,
    /// Whether they ask before they spend a term.
    pub pre_vote: bool,
    /// Whether a leader without a majority may step down, and votes are refused while a leader is heard.
    pub check_quorum: bool,
    /// Whether a write takes time: else it is durable in the step that makes it.
    pub slow_disk: bool,
    /// Whether the election thread takes time to look at the votes.
    pub slow_count: bool,
    /// Whether a message carries one entry at most.
    pub one_entry: bool,
    /// Whether messages arrive that can only say no: refusals of a vote, and requests of a term that has passed for their receiver. Else they are lost.
    pub noise: bool,
    /// Whether answers arrive that nobody waits for any more, for the term or the role of whoever asked has passed. Else they are dropped before the rules
    /// see them, also where there is `noise`.
    pub late_answers: bool,
    /// The entries with which each node's disk begins; nothing for a new cluster.
    pub start: &'static [&'static [First]],
    /// How many of those are committed.
    pub committed: usize,
    /// Whether clients read at all nodes; else at leaders alone.
    pub read_anywhere: bool,
    /// The changes of members that are tried.
    pub changes: fn() -> Vec<Change>,
    /// How far it goes.
    pub bounds: Bounds,
    /// What must be reached.
    pub goals: &'static [&'static str],
}

/// An entry that is there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Of this term, and it says nothing.
    Noop(u64),
    /// Of this term: it opens the session of the one client that calls. The second entry, or [`replica::SESSION`] is another.
    Session(u64),
    /// Of this term: from here on all voters but the n-th are members.
    Without(u64, usize),
}

/// How often, at most, things happen in one history. Loss, repetition and reordering have no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The latest term.
    pub terms: u8,
    /// Campaigns.
    pub campaigns: u8,
    /// Commands, by all leaders together.
    pub proposals: u8,
    /// How often the client of the session sends its request, to whoever leads.
    pub calls: u8,
    /// Heartbeats of one leader in its term, beside those that reads cause.
    pub beats: u8,
    /// Leaders that wait for a majority, or a transfer, for too long.
    pub give_ups: u8,
    /// Crashes.
    pub crashes: u8,
    /// Snapshots taken.
    pub snapshots: u8,
    /// Changes of the members.
    pub changes: u8,
    /// Transfers.
    pub transfers: u8,
    /// Reads.
    pub reads: u8,
    /// Reads that are asked for again; the network does not repeat such a question.
    pub retries: u8,
}

impl Bounds {
    /// Their names and numbers, without those that are zero.
    pub fn list(&self) -> Vec<(&'static str, u8)> {
        let all = [
            ("terms", self.terms),
            ("campaigns", self.campaigns),
            ("proposals", self.proposals),
            ("times that a request is sent", self.calls),
            ("heartbeats of a leader", self.beats),
            ("patience lost", self.give_ups),
            ("crashes", self.crashes),
            ("snapshots", self.snapshots),
            ("changes", self.changes),
            ("transfers", self.transfers),
            ("reads", self.reads),
            ("reads asked again", self.retries),
        ];
        all.into_iter().filter(|&(_, many)| many > 0).collect()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self
            .list()
            .iter()
            .map(|(name, many)| format!("{name} {many}"))
            .collect();
        f.write_str(&all.join(", "))
    }
}

impl Order {
    /// A cluster of `nodes` voters that does nothing: what the others are made from.
    pub const fn of(nodes: usize) -> Order {
        Order {
            name: "",
            property: "",
            nodes,
            voters: nodes,
            pre_vote: false,
            check_quorum: false,
            slow_disk: false,
            slow_count: false,
            one_entry: false,
            noise: false,
            late_answers: false,
            start: &[],
            committed: 0,
            read_anywhere: false,
            changes: Vec::new,
            bounds: Bounds {
                terms: 0,
                campaigns: 0,
                proposals: 0,
                calls: 0,
                beats: 0,
                give_ups: 0,
                crashes: 0,
                snapshots: 0,
                changes: 0,
                transfers: 0,
                reads: 0,
                retries: 0,
            },
            goals: &[],
        }
    }

    /// Its row, as long as it has not run.
    pub fn row(&self) -> ModelRow {
        let bounds = self.bounds.list().into_iter();
        let bounds = bounds.map(|(name, many)| (name.into(), many.into()));
        let sizes = format!("{} nodes", self.nodes);
        ModelRow {
            bounds: bounds.collect(),
            searched: Searched::of(0, Some(0)),
            ..ModelRow::new(self.name, "messages", self.property, sizes)
        }
    }

    /// What this configuration asks of each node.
    pub fn settle(&self, settings: &mut Settings) {
        settings.election_timeout_min = Duration::from_millis(tape::TIMEOUT.0);
        settings.election_timeout_max = Duration::from_millis(tape::TIMEOUT.1);
        // Whatever waits for a heartbeat's time may happen at once.
        settings.heartbeat = Duration::ZERO;
        settings.pre_vote = self.pre_vote;
        settings.check_quorum = self.check_quorum;
        settings.lease = None;
        // A table of sessions goes into one piece of a snapshot.
        let whole = self.bounds.calls > 0;
        settings.max_payload = match self.one_entry {
            true => 33,
            false if whole => 4096,
            false => 200,
        };
        settings.keep_entries = 0;
    }
}
