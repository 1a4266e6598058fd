//! The cluster as its events tell it.

use std::collections::BTreeMap;

use super::process::{Event, Life, What};
use crate::line::Line;

/// A leader and its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leadership {
    /// The term.
    pub term: u64,
    /// The node that leads it.
    pub leader: u64,
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its current life, whose events count; those of earlier ones come too late.
    pub life: Life,
    /// Its process.
    pub pid: u32,
    /// How it does.
    pub state: State,
    /// Whether it told that it runs.
    pub ran: bool,
    /// Its term.
    pub term: u64,
    /// The leader of that term, as far as it knows.
    pub leader: Option<u64>,
    /// The number of the change after which it was so.
    change: u64,
    /// Term and vote in its store.
    pub stored: (u64, Option<u64>),
}

/// How a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process was started.
    Starting,
    /// It told that it runs.
    Running,
    /// We killed it.
    Killed,
    /// It ended, and not by us.
    Ended,
}

impl Seen {
    /// Its role, as far as that can be seen from outside.
    pub fn role(&self) -> &'static str {
        match (self.state, self.leader) {
            (State::Starting, _) => "starting",
            (State::Killed, _) => "killed",
            (State::Ended, _) => "ended",
            (State::Running, None) => "electing",
            (State::Running, Some(leader)) if leader == self.life.node => "leader",
            (State::Running, Some(_)) => "follower",
        }
    }

    fn leadership(&self) -> Option<Leadership> {
        let term = self.term;
        self.leader
            .filter(|_| self.state == State::Running)
            .map(|leader| Leadership { term, leader })
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub struct Picture {
    nodes: BTreeMap<u64, Seen>,
}

impl Picture {
    /// The nodes, by number.
    pub fn nodes(&self) -> impl Iterator<Item = (u64, &Seen)> {
        self.nodes.iter().map(|(&id, seen)| (id, seen))
    }

    /// One node.
    pub fn node(&self, id: u64) -> Option<&Seen> {
        self.nodes.get(&id)
    }

    /// A life began.
    pub fn started(&mut self, life: Life, pid: u32) {
        let stored = self.node(life.node).map_or((0, None), |seen| seen.stored);
        let seen = Seen {
            life,
            pid,
            state: State::Starting,
            ran: false,
            term: stored.0,
            leader: None,
            change: 0,
            stored,
        };
        self.nodes.insert(life.node, seen);
    }

    /// A life was ended.
    pub fn killed(&mut self, id: u64) {
        if let Some(seen) = self.nodes.get_mut(&id) {
            seen.state = State::Killed;
            seen.leader = None;
        }
    }

    /// Takes in what a process did. Returns whether it was the current life of its node.
    pub fn take_in(&mut self, event: &Event) -> bool {
        let Some(seen) = self.nodes.get_mut(&event.life.node) else {
            return false;
        };
        if seen.life != event.life || seen.state == State::Killed {
            return false;
        }
        match event.what {
            What::Told(Line::Loaded {
                term, voted_for, ..
            }) => {
                seen.term = seen.term.max(term);
                seen.stored = (term, voted_for);
            }
            What::Told(Line::Started { .. }) => {
                seen.state = State::Running;
                seen.ran = true;
            }
            What::Told(Line::Durable {
                term, voted_for, ..
            }) => seen.stored = (term, voted_for),
            What::Told(Line::Leadership {
                change,
                term,
                leader,
                ..
            }) if change > seen.change => {
                seen.change = change;
                seen.term = term;
                seen.leader = leader;
            }
            What::Ended => {
                seen.state = State::Ended;
                seen.leader = None;
            }
            // A change that was overtaken, the last words, and what is for the screen alone.
            What::Told(Line::Leadership { .. } | Line::Stopped { .. })
            | What::Said(_)
            | What::Garbled(_) => {}
        }
        true
    }

    /// Who leads in the eyes of at least `count` nodes.
    pub fn known_to(&self, count: usize) -> Option<Leadership> {
        let mut known = BTreeMap::new();
        for leadership in self.nodes.values().filter_map(Seen::leadership) {
            *known.entry(leadership).or_insert(0) += 1;
        }
        known
            .into_iter()
            .rev()
            .find(|&(_, knowing)| knowing >= count)
            .map(|(leadership, _)| leadership)
    }

    /// Who leads in the eyes of every node.
    pub fn known_to_all(&self) -> Option<Leadership> {
        self.known_to(self.nodes.len())
    }

    /// How many nodes run.
    pub fn running(&self) -> usize {
        let running = |seen: &&Seen| seen.state == State::Running;
        self.nodes.values().filter(running).count()
    }

    /// A node that ended, and not by us.
    pub fn ended(&self) -> Option<u64> {
        self.nodes()
            .find(|(_, seen)| seen.state == State::Ended)
            .map(|(id, _)| id)
    }
}
