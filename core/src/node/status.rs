//! How a node is: one consistent look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::rules::{GaveUp, NodeId, Position, Raft, Refusal, Role, RoleKind, Term};

/// Who leads, and in which term, as far as one node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Leadership {
    /// The node's current term.
    pub term: Term,
    /// The leader of that term, once the node has heard it.
    pub leader: Option<NodeId>,
}

/// One consistent look at a node: everything in it was true at the same moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Those who vote in its cluster.
    pub members: BTreeSet<NodeId>,
    /// Those who only get the log.
    pub learners: BTreeSet<NodeId>,
    /// Whether it knows these to be committed.
    pub members_committed: bool,
    /// Its current term.
    pub term: Term,
    /// Its role.
    pub role: RoleKind,
    /// The leader of the term, as far as it knows.
    pub leader: Option<NodeId>,
    /// If it knows none: the rule that blocks it.
    pub no_leader: Option<NoLeader>,
    /// Whom it voted for in the term.
    pub voted_for: Option<NodeId>,
    /// Whether term and vote, as they stand here, are durable.
    pub durable: bool,
    /// The end of its log.
    pub last: Position,
    /// The index up to which it knows entries to be committed.
    pub commit: u64,
    /// The index up to which its state machine has applied them.
    pub applied: u64,
    /// The last entry in its latest snapshot.
    pub snapshot: Position,
    /// The index up to which its log is durable.
    pub durable_log: u64,
    /// To whom it hands over the leadership.
    pub transferring_to: Option<NodeId>,
}

/// Why a node knows no leader: the rule that blocks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NoLeader {
    /// It waits for a leader to be heard, or for its own election timeout (5.2).
    Waiting {
        /// How long until it campaigns.
        campaigns_in: Duration,
    },
    /// It led, and stepped down because it heard no majority (dissertation, 6.2); it campaigns when its timeout has passed.
    LostQuorum {
        /// How long until it campaigns.
        campaigns_in: Duration,
    },
    /// It led, and stepped down because a write took so long that its disk is taken for stuck.
    StuckDisk,
    /// It is no voter, and waits to hear a leader.
    NotAVoter,
    /// It asks whether it would be elected, and no majority said yes so far (dissertation, 9.6).
    PreVotesMissing(Votes),
    /// Its own vote is not yet durable, and nothing it says leaves before that.
    VoteNotDurable,
    /// It asks for votes, and no majority gave theirs so far (5.2).
    VotesMissing(Votes),
    /// It has stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Votes {
    /// How many are needed.
    pub needed: usize,
    /// Who granted.
    pub granted: BTreeSet<NodeId>,
    /// Who refused, and why.
    pub refused: BTreeMap<NodeId, Refusal>,
    /// Who has not answered.
    pub silent: BTreeSet<NodeId>,
}

impl Status {
    pub(super) fn of(raft: &Raft, now: Time) -> Status {
        Status {
            id: raft.id(),
            members: raft.members().voters().collect(),
            learners: raft.members().learners().collect(),
            members_committed: raft.members_since() <= raft.commit(),
            term: raft.term(),
            role: raft.role().kind(),
            leader: raft.leader(),
            no_leader: NoLeader::of(raft, now),
            voted_for: raft.hard_state().voted_for,
            durable: raft.is_hard_state_durable(),
            last: raft.log().last(),
            commit: raft.commit(),
            applied: raft.applied(),
            snapshot: raft.snapshot().map_or(Position::default(), |s| s.last),
            durable_log: raft.durable_log(),
            transferring_to: raft.transferring_to(),
        }
    }

    /// Who leads, and in which term.
    pub fn leadership(&self) -> Leadership {
        Leadership {
            term: self.term,
            leader: self.leader,
        }
    }
}

impl NoLeader {
    fn of(raft: &Raft, now: Time) -> Option<NoLeader> {
        let campaigns = raft.election_deadline();
        let campaigns_in = campaigns.unwrap_or(now).since(now);
        match raft.role() {
            Role::Leader(_) => None,
            Role::Follower(following) if following.leader.is_some() => None,
            Role::Follower(_) if campaigns.is_none() => Some(NoLeader::NotAVoter),
            Role::Follower(following) => Some(match following.gave_up {
                Some(GaveUp::NoQuorum) => NoLeader::LostQuorum { campaigns_in },
                Some(GaveUp::StuckDisk) => NoLeader::StuckDisk,
                Some(GaveUp::Removed) | None => NoLeader::Waiting { campaigns_in },
            }),
            Role::PreCandidate { .. } => Votes::of(raft).map(NoLeader::PreVotesMissing),
            Role::Candidate { .. } if !raft.is_hard_state_durable() => {
                Some(NoLeader::VoteNotDurable)
            }
            Role::Candidate { .. } => Votes::of(raft).map(NoLeader::VotesMissing),
        }
    }
}

impl Votes {
    fn of(raft: &Raft) -> Option<Votes> {
        let tally = raft.role().tally()?;
        let members = raft.members();
        let silent = |id: &NodeId| !tally.granted.contains(id) && !tally.refused.contains_key(id);
        Some(Votes {
            needed: members.majority(),
            granted: tally.granted.clone(),
            refused: tally.refused.clone(),
            silent: members.voters().filter(silent).collect(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} in {}, ", self.id, self.role, self.term)?;
        match (&self.leader, &self.no_leader) {
            (Some(leader), _) => write!(f, "led by {leader}"),
            (None, Some(why)) => write!(f, "no leader: {why}"),
            (None, None) => f.write_str("no leader"),
        }
    }
}

impl fmt::Display for NoLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoLeader::Waiting { campaigns_in } => write!(
                f,
                "waits to hear one, and campaigns in {campaigns_in:.0?} (5.2)"
            ),
            NoLeader::LostQuorum { campaigns_in } => write!(
                f,
                "stepped down because no majority answered, and campaigns in {campaigns_in:.0?} (dissertation, 6.2)"
            ),
            NoLeader::StuckDisk => f.write_str("stepped down because its disk is stuck"),
            NoLeader::NotAVoter => f.write_str("it does not vote, and waits to hear one"),
            NoLeader::PreVotesMissing(votes) => {
                write!(
                    f,
                    "asks whether it would be elected (dissertation, 9.6): {votes}"
                )
            }
            NoLeader::VoteNotDurable => f.write_str("its own vote is not yet durable"),
            NoLeader::VotesMissing(votes) => write!(f, "asks for votes (5.2): {votes}"),
            NoLeader::Stopped { why } => f.write_str(why),
        }
    }
}

impl fmt::Display for Votes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has {} of {}", self.granted.len(), self.needed)?;
        for (id, why) in &self.refused {
            write!(f, "; {id} refused, {why}")?;
        }
        for id in &self.silent {
            write!(f, "; {id} is silent")?;
        }
        Ok(())
    }
}
