//! The state of figure 2, and the one place where each part of it changes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::durability::Durability;
use super::read::Reads;
use super::snapshot::Incoming;
use super::transfer::Transfer;
use super::{Beat, Body, Entry, Follower, Log, Members, Message, Payload, Snapshot, Stored, Tally};
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

/// How many of `members` nodes are a majority.
pub const fn majority(members: usize) -> usize {
    members / 2 + 1
}

/// The term and vote of figure 2's persistent state, as **one** record: two would let a crash come between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
}

/// What comes in from outside with every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The time.
    pub now: Time,
    /// A fresh random number, all 64 bits of it.
    pub random: u64,
}

/// What a node is told when it starts and never changes. [`Config`](crate::Config) makes valid ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// The members of a cluster that begins: they count as long as neither log nor snapshot names others. None, for a node that waits to
    /// be added to a cluster.
    pub members: Members,
    /// The shortest election timeout (5.2).
    pub election_timeout_min: Duration,
    /// The longest election timeout.
    pub election_timeout_max: Duration,
    /// How often a leader sends heartbeats, and whoever was not answered asks again.
    pub heartbeat: Duration,
    /// Whether to ask before a term is spent (dissertation, 9.6).
    pub pre_vote: bool,
    /// Whether a leader that hears no majority steps down (dissertation, 6.2), and a vote is refused while a leader is heard (4.2.3).
    pub check_quorum: bool,
    /// For how long after a heartbeat that a majority answered the leader serves reads on its own (dissertation, 6.4.1): where clocks
    /// are trusted. Less than the shortest election timeout, by as much as clocks may drift apart in it. Nothing: it always asks.
    pub lease: Option<Duration>,
    /// The most bytes of entries, or of a snapshot, in one message.
    pub max_payload: usize,
    /// The most messages with entries, or pieces of a snapshot, in flight to one follower.
    pub max_in_flight: usize,
    /// The most bytes of entries that are not yet applied here: beyond it the leader is busy, and a follower takes no more for now.
    pub max_unapplied: usize,
    /// The most reads that wait.
    pub max_reads: usize,
    /// How many bytes of entries make a snapshot due.
    pub snapshot_every: usize,
    /// How many entries stay in memory behind a snapshot, for followers that are a little late.
    pub keep_entries: u64,
}

impl Settings {
    /// A node of this cluster with the defaults of [`Config`](crate::Config).
    pub fn new(id: NodeId, members: Members) -> Settings {
        Settings {
            id,
            members,
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            heartbeat: Duration::from_millis(30),
            pre_vote: true,
            check_quorum: true,
            lease: None,
            max_payload: 64 << 10,
            max_in_flight: 16,
            max_unapplied: 64 << 20,
            max_reads: 65_536,
            snapshot_every: 64 << 20,
            keep_entries: 1024,
        }
    }

    /// The longest command that can be proposed, in bytes: it must fit into one message with what an entry takes beside it, also as a
    /// command of a session.
    pub fn max_command(&self) -> usize {
        self.max_payload.saturating_sub(Entry::OVERHEAD + 48)
    }

    /// After how long without any success something is given up: a transfer's target, a read, a disk.
    pub(crate) fn patience(&self) -> Duration {
        self.election_timeout_max.saturating_mul(3)
    }
}

/// A node's role (figure 4). Each carries the data that has a meaning in it, and in no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows.
    Follower(Following),
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
        /// Whether the leader asked for this election.
        handed_over: bool,
    },
    /// Leads.
    Leader(Leading),
}

/// What a follower remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Following {
    /// The leader of the term, once it was heard.
    pub leader: Option<NodeId>,
    /// Whether this node led and stepped down because it heard no majority, or its disk was stuck.
    pub gave_up: Option<GaveUp>,
    /// The latest beat that was heard.
    pub(super) beat: Beat,
    /// Up to which index the log is known to equal the leader's.
    pub(super) matched: u64,
    /// Whether the leader waits for the answer to entries that are not yet durable.
    pub(super) owes: bool,
}

/// Why a leader stepped down in its own term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GaveUp {
    /// It heard no majority for the longest election timeout (dissertation, 6.2).
    NoQuorum,
    /// A write took so long that its disk is taken for stuck.
    StuckDisk,
    /// It was removed from the cluster, and that is committed (dissertation, 4.2.2).
    Removed,
}

/// What a leader remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leading {
    /// The index of the no-op with which its term began.
    pub(super) first: u64,
    /// When the next heartbeats are due.
    pub(super) next_heartbeat: Time,
    /// "For each server" (figure 2): voters and learners, without this node.
    pub(super) followers: BTreeMap<NodeId, Follower>,
    /// The latest round.
    pub(super) round: u64,
    /// The time of the latest input: messages that leave now are said to be sent then.
    pub(super) now: Time,
    /// Reads that wait for a round.
    pub(super) reads: Reads,
    /// The transfer that is under way.
    pub(super) transfer: Option<Transfer>,
    /// Whether it ever told a node to start an election: then its lease is worth nothing until the term ends.
    pub(super) lease_void: bool,
    /// The log time of its beginning, and when that was.
    pub(super) log_clock: (Time, Time),
    /// The write that was under way at the last heartbeat, and since when.
    pub(super) disk: Option<(super::WriteId, Time)>,
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

/// One node's Raft: a plain value.
///
/// Feed it with [`receive`](Raft::receive), [`campaign`](Raft::campaign), [`count_votes`](Raft::count_votes),
/// [`heartbeat`](Raft::heartbeat), [`propose`](Raft::propose) and their like; after each, write what [`take_write`](Raft::take_write)
/// gives and report it with [`written`](Raft::written), send what [`take_messages`](Raft::take_messages) gives, and apply what is
/// [committed](Raft::commit). The whole of `Raft`'s part in durability is in that order: it never gives a message before the write
/// that the message relies on was reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) settings: Settings,
    /// Persistent on all servers (figure 2). Changes in `set_hard_state` alone.
    pub(super) hard_state: HardState,
    pub(super) log: Log,
    pub(super) snapshot: Option<Snapshot>,
    /// Volatile on all servers (figure 2).
    pub(super) commit: u64,
    /// What the state machine has applied (figure 2, lastApplied), and the bytes of the entries that it has not.
    pub(super) applied: u64,
    pub(super) unapplied: usize,
    /// The bytes of the entries that are still here although the snapshot holds them.
    pub(super) kept_bytes: usize,
    /// The members, each from an index on: the latest count, "whether they are committed or not" (dissertation, 4.1). The ones before
    /// come back if their entry is truncated.
    pub(super) configs: Vec<(u64, Members)>,
    pub(super) role: Role,
    /// When to campaign unless a leader is heard first. Drawn once per reset, in `reset_deadline` alone.
    pub(super) deadline: Time,
    /// Whether the leader asked this node to start an election.
    pub(super) handed_over: bool,
    /// When a leader was last heard, in this term or an earlier one.
    pub(super) leader_heard: Option<Time>,
    /// The part of a snapshot that has arrived.
    pub(super) incoming: Option<Incoming>,
    /// Reads of this node's callers.
    pub(super) own_reads: super::read::OwnReads,
    pub(super) durability: Durability,
}

impl Raft {
    /// A node that starts, or starts again: "when servers start up, they begin as followers" (5.2).
    ///
    /// # Panics
    /// If the settings are not valid, or what was stored is not a log.
    pub fn new(at: At, settings: Settings, stored: Stored) -> Raft {
        let id = settings.id;
        assert!(
            settings.members.is_empty() || settings.members.contains(id),
            "a node is a member of its own cluster"
        );
        assert!(
            settings.election_timeout_min <= settings.election_timeout_max,
            "an election timeout needs a range"
        );
        let Stored {
            // The settings have them.
            founders: _,
            hard_state,
            snapshot,
            log,
        } = stored;
        let (commit, members) = match &snapshot {
            Some(snapshot) => (snapshot.last.index, &snapshot.members),
            None => (0, &settings.members),
        };
        assert_eq!(log.before().index, commit, "the log follows the snapshot");
        let mut configs = vec![(commit, members.clone())];
        for (index, entry) in log.iter() {
            if let Payload::Members(members) = &entry.payload {
                configs.push((index, members.clone()));
            }
        }
        // Who has just started may have promised a leader, right before, not to vote for anyone for a while (dissertation, 6.4.1).
        let leader_heard = settings.lease.map(|_| at.now);
        let mut raft = Raft {
            durability: Durability::loaded(log.last().index),
            unapplied: log.bytes(),
            settings,
            hard_state,
            log,
            snapshot,
            commit,
            applied: 0,
            kept_bytes: 0,
            configs,
            role: Role::follower(),
            deadline: Time::NEVER,
            handed_over: false,
            leader_heard,
            incoming: None,
            own_reads: super::read::OwnReads::starting_at(at.random),
        };
        raft.reset_deadline(at);
        raft
    }

    /// Handles one message, whole: a handler is one section (rules 2 and 3 of the course).
    ///
    /// Messages for another node are ignored. Requests of servers that are not members are answered: "servers process incoming RPC
    /// requests without consulting their current configurations" (section 6); their votes and answers do not count.
    ///
    /// # Panics
    /// If it proves that an invariant is broken: two leaders in one term, or another entry where one was committed.
    pub fn receive(&mut self, at: At, message: Message) {
        if message.to != self.id() || message.from == self.id() {
            return;
        }
        if self.protects_its_leader(at, &message) {
            return;
        }
        // "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to follower" (figure 2).
        if message.term > self.term() {
            self.enter_term(at, message.term);
        }
        let Message {
            from, term, body, ..
        } = message;
        let current = term == self.term();
        match body {
            Body::PreVote { attempt, last } => self.on_pre_vote(at, from, term, attempt, last),
            Body::RequestVote { last, handed_over } => {
                self.on_request_vote(at, from, term, last, handed_over);
            }
            Body::AppendEntries { .. } | Body::InstallSnapshot { .. } if !current => {
                self.refuse_stale(from);
            }
            Body::AppendEntries {
                prev,
                entries,
                commit,
                beat,
            } => self.on_append_entries(at, from, prev, entries, commit, beat),
            Body::InstallSnapshot { chunk, beat } => {
                self.on_install_snapshot(at, from, chunk, beat)
            }
            // A read is answered in whatever term it was asked: the answer says what is true now.
            Body::ReadIndex { read } => self.on_read_index(at, from, read),
            // A reply of another term answers a question that this node no longer asks.
            _ if !current => {}
            Body::PreVoteReply { attempt, answer } => self.on_pre_vote_reply(from, attempt, answer),
            Body::VoteReply { answer } => self.on_vote_reply(from, answer),
            Body::AppendReply { beat, answer } => self.on_append_reply(at, from, beat, answer),
            Body::SnapshotReply {
                last,
                received,
                beat,
            } => self.on_snapshot_reply(at, from, last, received, beat),
            Body::TimeoutNow => self.on_timeout_now(at, from),
            Body::ReadIndexReply { read, index } => self.on_read_index_reply(at, from, read, index),
        }
    }

    /// The state machine has applied everything up to `index`.
    ///
    /// # Panics
    /// If that is not committed.
    pub fn set_applied(&mut self, index: u64) {
        assert!(
            index <= self.commit,
            "only what is committed is applied (5.3): {index} is not"
        );
        let new = self.log.iter_from(self.applied + 1);
        for (_, entry) in new.take_while(|(i, _)| *i <= index) {
            self.unapplied -= entry.size();
        }
        self.applied = self.applied.max(index);
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

    /// The index up to which the state machine has applied them.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The leader of the current term, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(following) => following.leader,
            Role::Leader(_) => Some(self.id()),
            Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        }
    }

    /// When this node campaigns unless it hears from a leader first; nothing while it leads, and for a node that is no voter.
    pub fn election_deadline(&self) -> Option<Time> {
        match self.role {
            Role::Leader(_) => None,
            _ => self.may_campaign().then_some(self.deadline),
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// A later term begins, and in it this node has not voted.
    pub(super) fn enter_term(&mut self, at: At, term: Term) {
        self.set_hard_state(HardState {
            term,
            voted_for: None,
        });
        // Who heard a leader has promised it not to vote for anyone for a while (dissertation, 6.4.1). That somebody is in a later term
        // does not end the promise, so `leader_heard` stays.
        // What the leader of an earlier term asked for ended with it.
        self.handed_over = false;
        self.follow(at, None);
    }

    /// Becomes, or stays, a follower in the current term. A leader that steps down draws a new deadline; for the others it runs on,
    /// because only a leader's message or a vote given resets it (5.2).
    pub(super) fn follow(&mut self, at: At, leader: Option<NodeId>) {
        let old = std::mem::replace(&mut self.role, Role::follower());
        match old {
            // What it knows of the leader's log stays true as long as the leader leads.
            Role::Follower(following) if following.leader == leader => {
                self.role = Role::Follower(Following {
                    gave_up: None,
                    ..following
                });
                return;
            }
            Role::Leader(_) => {
                self.take_reads_back(at);
                self.reset_deadline(at);
            }
            _ => {}
        }
        self.role = Role::Follower(Following {
            leader,
            ..Following::default()
        });
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
        self.handed_over = false;
    }

    /// The log has new entries at its end, from `first` on. However many, they are one change.
    pub(super) fn appended(&mut self, first: u64) {
        for (index, entry) in self.log.iter_from(first) {
            if let Payload::Members(members) = &entry.payload {
                self.configs.push((index, members.clone()));
            }
            self.unapplied += entry.size();
        }
        self.durability.log_changed(first);
    }

    /// Removes the entry at `index` and all that follow it: "if an existing entry conflicts with a new one, delete the existing entry
    /// and all that follow it" (figure 2).
    pub(super) fn truncate(&mut self, index: u64) {
        assert!(
            index > self.commit,
            "what is committed stays (5.4): {index} was to be removed, and all up to {} is",
            self.commit
        );
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader never removes an entry (5.3)"
        );
        let before = self.log.bytes();
        self.log.truncate_from(index);
        self.unapplied -= before - self.log.bytes();
        self.configs.retain(|(from, _)| *from < index);
        self.durability.log_changed(index);
    }

    /// Drops the entries up to `index`, which a snapshot holds.
    pub(super) fn compact_to(&mut self, index: u64) {
        self.log.compact_to(index);
        let old = self.configs.iter().filter(|(from, _)| *from <= index);
        let old = old.count().saturating_sub(1);
        self.configs.drain(..old);
    }
}

impl Role {
    pub(super) fn follower() -> Role {
        Role::Follower(Following::default())
    }

    /// The role's name.
    pub fn kind(&self) -> RoleKind {
        match self {
            Role::Follower(_) => RoleKind::Follower,
            Role::PreCandidate { .. } => RoleKind::PreCandidate,
            Role::Candidate { .. } => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    /// The answers to the campaign, if there is one.
    pub fn tally(&self) -> Option<&Tally> {
        match self {
            Role::PreCandidate { tally, .. } | Role::Candidate { tally, .. } => Some(tally),
            _ => None,
        }
    }

    /// What the leader remembers, if this is one.
    pub fn leading(&self) -> Option<&Leading> {
        match self {
            Role::Leader(leading) => Some(leading),
            _ => None,
        }
    }
}
