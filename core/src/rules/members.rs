//! Who belongs to the cluster (section 6; dissertation, chapter 4).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::NodeId;

/// The largest cluster, learners included. More nodes make every decision slower and none safer.
pub const MAX_MEMBERS: usize = 9;

/// The longest address, in bytes: so that the members fit into one message of every transport.
pub const MAX_ADDRESS: usize = 64;

/// Who belongs to the cluster, and who of them votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Members(BTreeMap<NodeId, Member>);

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Whether it votes, and counts for a majority. Otherwise it is a *learner*: it gets the log and decides nothing (dissertation, 4.2.1).
    pub voter: bool,
    /// Where the transport finds it. May be empty if the transport knows by itself.
    pub address: String,
}

/// A change to the members. One node at a time, so that any majority of the old members shares a node with any majority of the new ones
/// (dissertation, 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Adds a node that gets the log, but does not vote yet.
    AddLearner {
        /// The node.
        id: NodeId,
        /// Where the transport finds it: at most [`MAX_ADDRESS`] bytes.
        address: String,
    },
    /// Lets a learner vote, once it has caught up.
    Promote(NodeId),
    /// Makes a voter a learner.
    Demote(NodeId),
    /// Removes a node. The leader may remove itself: it leads until the change is committed.
    Remove(NodeId),
}

/// Why a change makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum BadChange {
    /// It is a member already.
    #[error("{0} is a member already")]
    AlreadyAMember(NodeId),
    /// It is no member.
    #[error("{0} is not a member")]
    NotAMember(NodeId),
    /// It votes already, or is a learner already.
    #[error("{0} is that already")]
    NoDifference(NodeId),
    /// The cluster is full.
    #[error("the cluster has {MAX_MEMBERS} members, which is the most: remove one first")]
    Full,
    /// Nobody would be left to vote.
    #[error("nobody would be left to vote")]
    NoVoters,
    /// The address is too long.
    #[error("the address is longer than {MAX_ADDRESS} bytes")]
    AddressTooLong,
}

impl Members {
    /// A cluster of these voters, whose addresses the transport knows.
    pub fn voting(ids: impl IntoIterator<Item = NodeId>) -> Members {
        let voter = |id| {
            let address = String::new();
            (
                id,
                Member {
                    voter: true,
                    address,
                },
            )
        };
        Members(ids.into_iter().map(voter).collect())
    }

    /// Whether this node votes.
    pub fn votes(&self, id: NodeId) -> bool {
        self.0.get(&id).is_some_and(|member| member.voter)
    }

    /// Whether this node belongs to the cluster.
    pub fn contains(&self, id: NodeId) -> bool {
        self.0.contains_key(&id)
    }

    /// One member.
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.0.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.0.iter().map(|(&id, member)| (id, member))
    }

    /// Their names.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        self.iter().filter(|(_, m)| m.voter).map(|(id, _)| id)
    }

    /// Those who don't.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> {
        self.iter().filter(|(_, m)| !m.voter).map(|(id, _)| id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: a node that waits to be added to a cluster knows none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many votes are a majority.
    pub fn majority(&self) -> usize {
        super::majority(self.voters().count())
    }

    /// Whether these nodes are a majority of the voters.
    pub fn are_majority(&self, those: &BTreeSet<NodeId>) -> bool {
        let votes = self.voters().filter(|id| those.contains(id)).count();
        votes >= self.majority()
    }

    /// The members after this change.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn with(&self, change: &Change) -> Result<Members, BadChange> {
        let mut new = self.clone();
        match change {
            Change::AddLearner { id, address } => {
                if address.len() > MAX_ADDRESS {
                    return Err(BadChange::AddressTooLong);
                }
                if new.len() >= MAX_MEMBERS {
                    return Err(BadChange::Full);
                }
                let learner = Member {
                    voter: false,
                    address: address.clone(),
                };
                if new.0.insert(*id, learner).is_some() {
                    return Err(BadChange::AlreadyAMember(*id));
                }
            }
            Change::Promote(id) => new.let_vote(*id, true)?,
            Change::Demote(id) => new.let_vote(*id, false)?,
            Change::Remove(id) => {
                new.0.remove(id).ok_or(BadChange::NotAMember(*id))?;
            }
        }
        if new.voters().next().is_none() {
            return Err(BadChange::NoVoters);
        }
        Ok(new)
    }

    fn let_vote(&mut self, id: NodeId, voter: bool) -> Result<(), BadChange> {
        let member = self.0.get_mut(&id).ok_or(BadChange::NotAMember(id))?;
        if member.voter == voter {
            return Err(BadChange::NoDifference(id));
        }
        member.voter = voter;
        Ok(())
    }

    /// What they take in a message, in bytes, at most.
    pub fn size(&self) -> usize {
        let one = |member: &Member| 24 + member.address.len();
        8 + self.0.values().map(one).sum::<usize>()
    }
}

impl FromIterator<(NodeId, Member)> for Members {
    fn from_iter<I: IntoIterator<Item = (NodeId, Member)>>(members: I) -> Members {
        Members(members.into_iter().collect())
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (id, member) in self.iter() {
            let learner = if member.voter { "" } else { " (learner)" };
            write!(f, "{comma}{}{learner}", id.0)?;
            comma = ", ";
        }
        Ok(())
    }
}
