//! The state of figure 2, and the one place where each part of it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::mem::discriminant;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Body, Log, Message, Refusal};
use crate::Time;

/// A node's name in its cluster.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// A term (5.1): Raft's logical clock.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {}", self.0)
    }
}

/// Those who answered, as a set and never as a counter: the network may repeat a vote.
pub type Voters = BTreeSet<NodeId>;

/// How many of `members` nodes are a majority.
pub const fn majority(members: usize) -> usize {
    members / 2 + 1
}

/// The persistent state of figure 2, term and vote, as **one** record: two would let a crash come between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
}

/// The number of a change to the persistent state: 0 is what was loaded, each change has the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteId(pub u64);

/// What must become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Its number.
    pub id: WriteId,
    /// The record.
    pub hard_state: HardState,
}

/// What comes in from outside with every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The time.
    pub now: Time,
    /// A fresh random number, all 64 bits of it.
    pub random: u64,
}

/// What a node knows of its cluster and never changes. [`Config`](crate::Config) makes valid ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// All nodes, this one included.
    pub members: BTreeSet<NodeId>,
    /// The shortest election timeout (5.2).
    pub election_timeout_min: Duration,
    /// The longest election timeout.
    pub election_timeout_max: Duration,
    /// How often a leader sends heartbeats, and a candidate repeats a request that was not answered.
    pub heartbeat: Duration,
    /// Whether to ask before a term is spent (dissertation, 9.6).
    pub pre_vote: bool,
    /// Whether a leader that hears no majority steps down (dissertation, 6.2).
    pub check_quorum: bool,
}

/// A node's role (figure 4). Each carries the data that has a meaning in it, and in no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows.
    Follower {
        /// The leader of the term, once it was heard.
        leader: Option<NodeId>,
        /// Whether this node led and stepped down because it heard no majority.
        lost_quorum: bool,
    },
    /// Asks whether it would be elected.
    PreCandidate {
        /// Which attempt.
        attempt: u64,
        /// The answers.
        tally: Tally,
    },
    /// Asks for votes.
    Candidate {
        /// The answers.
        tally: Tally,
    },
    /// Leads.
    Leader {
        /// When the next heartbeats are due.
        next_heartbeat: Time,
        /// When each other node last answered.
        heard: BTreeMap<NodeId, Time>,
    },
}

/// The answers to a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    /// Who said yes.
    pub granted: Voters,
    /// Who said no, and why.
    pub refused: BTreeMap<NodeId, Refusal>,
    /// When the request is repeated to those who have not answered.
    pub ask_again: Time,
}

/// A role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RoleKind {
    /// Follows.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleKind::Follower => "follower",
            RoleKind::PreCandidate => "pre-candidate",
            RoleKind::Candidate => "candidate",
            RoleKind::Leader => "leader",
        })
    }
}

/// A message, and the write it relies on: it leaves only when that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outgoing {
    pub(super) relies_on: WriteId,
    pub(super) message: Message,
}

/// One node's Raft: a plain value.
///
/// Feed it with [`receive`](Raft::receive), [`campaign`](Raft::campaign), [`count_votes`](Raft::count_votes) and
/// [`heartbeat`](Raft::heartbeat); after each, write what [`take_write`](Raft::take_write) gives and report it with
/// [`written`](Raft::written), and send what [`take_messages`](Raft::take_messages) gives. The whole of `Raft`'s part in
/// durability is in that order: it never gives a message before the write that the message relies on was reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) settings: Settings,
    /// Persistent on all servers (figure 2). Changes in `set_hard_state` alone.
    hard_state: HardState,
    /// The number of the latest change to it,
    latest: WriteId,
    /// the change that is being written,
    writing: Option<WriteId>,
    /// and the latest that is durable.
    durable: WriteId,
    pub(super) log: Log,
    /// Volatile on all servers (figure 2).
    pub(super) commit: u64,
    pub(super) role: Role,
    /// When to campaign unless a leader is heard first. Drawn once per reset, in `reset_deadline` alone.
    deadline: Time,
    /// When the leader of the current term was last heard.
    pub(super) leader_heard: Option<Time>,
    pub(super) outbox: VecDeque<Outgoing>,
}

impl Raft {
    /// A node that starts, or starts again: "when servers start up, they begin as followers" (5.2).
    ///
    /// # Panics
    /// If the settings are not valid.
    pub fn new(at: At, settings: Settings, hard_state: HardState, log: Log) -> Raft {
        assert!(
            settings.members.contains(&settings.id),
            "a node is a member of its own cluster"
        );
        assert!(
            settings.election_timeout_min <= settings.election_timeout_max,
            "an election timeout needs a range"
        );
        let mut raft = Raft {
            settings,
            hard_state,
            latest: WriteId(0),
            writing: None,
            durable: WriteId(0),
            log,
            commit: 0,
            role: Role::follower(),
            deadline: Time::NEVER,
            leader_heard: None,
            outbox: VecDeque::new(),
        };
        raft.reset_deadline(at);
        raft
    }

    /// Handles one message, whole: a handler is one section (rules 2 and 3 of the course).
    ///
    /// Messages for another node, or from one that is not a member, are ignored.
    ///
    /// # Panics
    /// If it proves that an invariant is broken: two leaders in one term.
    pub fn receive(&mut self, at: At, message: Message) {
        let from_peer = message.from != self.id() && self.settings.members.contains(&message.from);
        if message.to != self.id() || !from_peer {
            return;
        }
        // "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower" (figure 2).
        if message.term > self.term() {
            self.enter_term(at, message.term);
        }
        let Message {
            from, term, body, ..
        } = message;
        match body {
            Body::PreVote { attempt, last } => self.on_pre_vote(at, from, term, attempt, last),
            Body::RequestVote { last } => self.on_request_vote(at, from, term, last),
            Body::AppendEntries { prev, commit } => {
                self.on_append_entries(at, from, term, prev, commit);
            }
            // A reply of another term answers a question that this node no longer asks.
            _ if term != self.term() => {}
            Body::PreVoteReply { attempt, answer } => self.on_pre_vote_reply(from, attempt, answer),
            Body::VoteReply { answer } => self.on_vote_reply(from, answer),
            Body::AppendReply { .. } => self.on_append_reply(at, from),
        }
    }

    /// The next write, if there is one to make. There is at most one at a time: writes reach the disk in the order in which the
    /// sections made them, and the latest record stands for all before it.
    pub fn take_write(&mut self) -> Option<Write> {
        if self.writing.is_some() || self.latest == self.durable {
            return None;
        }
        self.writing = Some(self.latest);
        Some(Write {
            id: self.latest,
            hard_state: self.hard_state,
        })
    }

    /// The write that was taken is durable.
    ///
    /// # Panics
    /// If it is not the one that was taken.
    pub fn written(&mut self, id: WriteId) {
        assert_eq!(
            self.writing.take(),
            Some(id),
            "what is reported is what was taken"
        );
        self.durable = id;
        self.count_own_vote();
    }

    /// The messages that may leave now, in order.
    pub fn take_messages(&mut self) -> Vec<Message> {
        // Each relies on the latest write of its moment, so along the queue these never go down.
        let ready = self
            .outbox
            .iter()
            .take_while(|outgoing| outgoing.relies_on <= self.durable)
            .count();
        self.outbox
            .drain(..ready)
            .map(|outgoing| outgoing.message)
            .collect()
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.settings.id
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The latest term this node has seen.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Term and vote, as of now: perhaps not yet durable.
    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The number of the latest change to the persistent state.
    pub fn latest_write(&self) -> WriteId {
        self.latest
    }

    /// The number of the latest change that is durable.
    pub fn durable_write(&self) -> WriteId {
        self.durable
    }

    /// Whether the persistent state is as of now durable.
    pub fn is_durable(&self) -> bool {
        self.latest == self.durable
    }

    /// The role, with its data.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The index up to which entries are known to be committed.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// The leader of the current term, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match self.role {
            Role::Follower { leader, .. } => leader,
            Role::Leader { .. } => Some(self.id()),
            Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        }
    }

    /// When this node campaigns unless it hears from a leader first; nothing while it leads.
    pub fn election_deadline(&self) -> Option<Time> {
        match self.role {
            Role::Leader { .. } => None,
            _ => Some(self.deadline),
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) fn majority(&self) -> usize {
        majority(self.settings.members.len())
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.id();
        self.settings
            .members
            .clone()
            .into_iter()
            .filter(move |&id| id != me)
    }

    /// A later term begins, and in it this node has not voted.
    pub(super) fn enter_term(&mut self, at: At, term: Term) {
        self.set_hard_state(HardState {
            term,
            voted_for: None,
        });
        self.leader_heard = None;
        self.follow(at, None);
    }

    /// Becomes, or stays, a follower in the current term. A leader that steps down draws a new deadline; for the others it runs on,
    /// because only a leader's message or a vote given resets it (5.2).
    pub(super) fn follow(&mut self, at: At, leader: Option<NodeId>) {
        let led = matches!(self.role, Role::Leader { .. });
        self.role = Role::Follower {
            leader,
            lost_quorum: false,
        };
        if led {
            self.reset_deadline(at);
        }
    }

    /// **The one place where term and vote change.** In memory, that is: what is sent from here on relies on the new write.
    pub(super) fn set_hard_state(&mut self, new: HardState) {
        let old = self.hard_state;
        assert!(
            new.term >= old.term,
            "terms never go back (5.1): {old:?} cannot become {new:?}"
        );
        assert!(
            new.term > old.term || old.voted_for.is_none(),
            "a vote is given once (5.2): {old:?} cannot become {new:?}"
        );
        if new.term > old.term {
            // A new term voids what still waits to be said in an older one.
            self.outbox.clear();
        }
        self.hard_state = new;
        self.latest = WriteId(self.latest.0 + 1);
    }

    /// "Election timeouts are chosen randomly from a fixed interval" (5.2), once per reset.
    pub(super) fn reset_deadline(&mut self, at: At) {
        let Settings {
            election_timeout_min: min,
            election_timeout_max: max,
            ..
        } = self.settings;
        let range = u64::try_from((max - min).as_nanos()).unwrap_or(u64::MAX);
        let extra = at.random % range.saturating_add(1).max(1);
        self.deadline = at.now + min + Duration::from_nanos(extra);
    }

    pub(super) fn send(&mut self, to: NodeId, body: Body) {
        let message = Message {
            from: self.id(),
            to,
            term: self.term(),
            body,
        };
        // While the disk is stuck, the latest of a kind takes the place of what waits: so the queue is bounded.
        let kind = discriminant(&message.body);
        self.outbox
            .retain(|out| out.message.to != to || discriminant(&out.message.body) != kind);
        self.outbox.push_back(Outgoing {
            relies_on: self.latest,
            message,
        });
    }
}

impl Role {
    pub(super) fn follower() -> Role {
        Role::Follower {
            leader: None,
            lost_quorum: false,
        }
    }

    /// The role's name.
    pub fn kind(&self) -> RoleKind {
        match self {
            Role::Follower { .. } => RoleKind::Follower,
            Role::PreCandidate { .. } => RoleKind::PreCandidate,
            Role::Candidate { .. } => RoleKind::Candidate,
            Role::Leader { .. } => RoleKind::Leader,
        }
    }

    /// The answers to the campaign, if there is one.
    pub fn tally(&self) -> Option<&Tally> {
        match self {
            Role::PreCandidate { tally, .. } | Role::Candidate { tally } => Some(tally),
            _ => None,
        }
    }
}
