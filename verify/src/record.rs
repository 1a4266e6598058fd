//! What happened in one execution: the notes from which its picture is drawn.

use biglock::lock::Step;
use biglock::node::Shared;
use biglock::rules::{HardState, RoleKind};
use biglock::{Message, NodeId};

/// What one node looked like at one moment: small, so that taking it costs next to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Term and vote.
    pub hard_state: HardState,
    /// The role.
    pub role: RoleKind,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// Who granted the campaign that runs: bit `n` for node `n`.
    pub granted: u16,
    /// Who refused it.
    pub refused: u16,
    /// Whether term and vote are durable.
    pub durable: bool,
    /// Whether the node stopped.
    pub stopped: bool,
    /// The end of the log.
    pub last: u64,
    /// What is committed.
    pub commit: u64,
    /// What is applied.
    pub applied: u64,
}

impl View {
    /// What `shared` looks like.
    pub fn of(shared: &Shared) -> View {
        let raft = &shared.raft;
        let bits = |ids: &mut dyn Iterator<Item = &NodeId>| ids.fold(0, |set, id| set | 1 << id.0);
        let tally = raft.role().tally();
        View {
            hard_state: raft.hard_state(),
            role: raft.role().kind(),
            leader: raft.leader(),
            granted: tally.map_or(0, |tally| bits(&mut tally.granted.iter())),
            refused: tally.map_or(0, |tally| bits(&mut tally.refused.keys())),
            durable: raft.is_hard_state_durable(),
            stopped: shared.stopped().is_some(),
            last: raft.log().last().index,
            commit: raft.commit(),
            applied: raft.applied(),
        }
    }

    /// What changed from `self` to `next`, in words.
    pub fn changes(&self, next: &View) -> Vec<String> {
        let mut changes = Vec::new();
        let (old, new) = (self.hard_state, next.hard_state);
        if old.term != new.term {
            changes.push(format!("term {} -> {}", old.term.0, new.term.0));
        }
        if old != new
            && let Some(id) = new.voted_for
        {
            changes.push(format!("votes for {}", id.0));
        }
        if self.role != next.role {
            changes.push(format!("{} -> {}", self.role, next.role));
        }
        if self.leader != next.leader {
            changes.push(match next.leader {
                Some(id) => format!("leader {}", id.0),
                None => "no leader".into(),
            });
        }
        if next.granted != 0 && self.granted != next.granted {
            changes.push(format!("granted by {}", members(next.granted)));
        }
        if next.refused != 0 && self.refused != next.refused {
            changes.push(format!("refused by {}", members(next.refused)));
        }
        if !self.durable && next.durable {
            changes.push("that is durable".into());
        }
        if self.last != next.last {
            changes.push(format!("log up to {}", next.last));
        }
        if self.commit != next.commit {
            changes.push(format!("committed up to {}", next.commit));
        }
        if self.applied != next.applied {
            changes.push(format!("applied up to {}", next.applied));
        }
        if self.stopped != next.stopped {
            changes.push("stopped".into());
        }
        changes
    }
}

fn members(set: u16) -> String {
    let ids: Vec<String> = (0..16)
        .filter(|id| set & (1 << id) != 0)
        .map(|id| id.to_string())
        .collect();
    format!("{{{}}}", ids.join(","))
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread made a step in a section of a node.
    Section {
        /// Whose lock it is; 0 if there are no nodes.
        node: NodeId,
        /// The thread.
        thread: &'static str,
        /// The section.
        section: &'static str,
        /// The step.
        step: Step,
        /// What the thread saw; nothing while it does not hold the lock.
        view: Option<View>,
    },
    /// A thread sent a message, without the lock.
    Sent {
        /// The thread.
        thread: &'static str,
        /// The message.
        message: Message,
    },
    /// A thread wrote a record, without the lock, and it is durable.
    Wrote {
        /// The node whose disk it is.
        node: NodeId,
        /// The thread.
        thread: &'static str,
        /// Term and vote.
        hard_state: HardState,
        /// The new end of the log, if there is one: the index of its first entry, and how many there are.
        log: Option<(u64, usize)>,
    },
    /// What a thread, which has the lock, made of what it guards: in programs that have no node.
    Changed {
        /// The thread.
        thread: &'static str,
        /// How that looks now.
        text: String,
    },
    /// Anything else that is worth a line.
    Note {
        /// The thread.
        thread: &'static str,
        /// The line.
        text: &'static str,
    },
}

impl Event {
    /// The thread that did it.
    pub fn thread(&self) -> &'static str {
        match self {
            Event::Section { thread, .. }
            | Event::Sent { thread, .. }
            | Event::Wrote { thread, .. }
            | Event::Changed { thread, .. }
            | Event::Note { thread, .. } => thread,
        }
    }

    /// The same, to be called otherwise.
    pub fn thread_mut(&mut self) -> &mut &'static str {
        match self {
            Event::Section { thread, .. }
            | Event::Sent { thread, .. }
            | Event::Wrote { thread, .. }
            | Event::Changed { thread, .. }
            | Event::Note { thread, .. } => thread,
        }
    }
}
