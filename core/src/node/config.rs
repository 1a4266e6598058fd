//! What a node is told when it starts.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

use crate::Clock;
use crate::rules::{NodeId, Settings};

/// The largest cluster. More nodes make every decision slower and none safer.
pub const MAX_MEMBERS: usize = 9;

/// What a node is told when it starts. Make one with [`Config::new`] and change what you need; [`Node::start`](crate::Node::start)
/// validates it.
///
/// ```
/// use std::time::Duration;
/// use biglock::Config;
///
/// let mut config = Config::new(1, [1, 2, 3]);
/// config.election_timeout_min = Duration::from_millis(50);
/// config.election_timeout_max = Duration::from_millis(100);
/// config.heartbeat = Duration::from_millis(10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// All nodes of the cluster, this one included: 1 to 9 of them. The same on every node.
    pub members: BTreeSet<NodeId>,
    /// The shortest time without a leader after which a node campaigns. Default: 150 ms.
    pub election_timeout_min: Duration,
    /// The longest. The wider the range, the rarer the split votes (paper, figure 16); no range at all is for tests. Default: 300 ms.
    pub election_timeout_max: Duration,
    /// How often a leader sends heartbeats; at most half of the shortest election timeout, and a fifth is better: some will be lost.
    /// Default: 30 ms.
    pub heartbeat: Duration,
    /// Whether a candidate first asks whether it would be elected, so that a node that was cut off disturbs nobody when it comes
    /// back (dissertation, 9.6). Costs one round more per election. Use it together with `check_quorum`: voters refuse while they
    /// hear a leader, even one that hears nobody. Default: true.
    pub pre_vote: bool,
    /// Whether a leader that hears no majority for the longest election timeout steps down (dissertation, 6.2). Default: true.
    pub check_quorum: bool,
    /// Makes the random part of the election timeouts repeatable. Give each node its own. Default: another one at each start.
    pub seed: Option<u64>,
    /// Where time comes from. Default: the machine's monotonic clock.
    pub clock: Clock,
}

impl Config {
    /// A node of this cluster, with the defaults above.
    pub fn new(id: u64, members: impl IntoIterator<Item = u64>) -> Config {
        Config {
            id: NodeId(id),
            members: members.into_iter().map(NodeId).collect(),
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            heartbeat: Duration::from_millis(30),
            pre_vote: true,
            check_quorum: true,
            seed: None,
            clock: Clock::monotonic(),
        }
    }

    /// Checks it, and takes out what the rules need.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn validate(&self) -> Result<Settings, ConfigError> {
        let (min, max) = (self.election_timeout_min, self.election_timeout_max);
        match self.members.len() {
            0 => return Err(ConfigError::NoMembers),
            n if n > MAX_MEMBERS => return Err(ConfigError::TooManyMembers { members: n }),
            _ => {}
        }
        if !self.members.contains(&self.id) {
            return Err(ConfigError::NotAMember { id: self.id });
        }
        if min > max {
            return Err(ConfigError::EmptyElectionTimeout { min, max });
        }
        if self.heartbeat.is_zero() {
            return Err(ConfigError::NoHeartbeat);
        }
        if self.heartbeat > min / 2 {
            let heartbeat = self.heartbeat;
            return Err(ConfigError::HeartbeatTooSlow { heartbeat, min });
        }
        Ok(Settings {
            id: self.id,
            members: self.members.clone(),
            election_timeout_min: min,
            election_timeout_max: max,
            heartbeat: self.heartbeat,
            pre_vote: self.pre_vote,
            check_quorum: self.check_quorum,
        })
    }
}

/// A [`Config`] that no node can start with. Nothing was started or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The cluster is empty.
    #[error("the cluster has no members: list all nodes, this one included")]
    NoMembers,
    /// The cluster is too large.
    #[error("the cluster has {members} members: at most {MAX_MEMBERS} can vote")]
    TooManyMembers {
        /// How many there are.
        members: usize,
    },
    /// This node is not in its own cluster.
    #[error("{id} is not in its own list of members: add it, or correct its id")]
    NotAMember {
        /// This node.
        id: NodeId,
    },
    /// The range of election timeouts is upside down.
    #[error("the shortest election timeout, {min:?}, is longer than the longest, {max:?}")]
    EmptyElectionTimeout {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The heartbeat is zero.
    #[error("the heartbeat is zero: a tenth to a fifth of the shortest election timeout is usual")]
    NoHeartbeat,
    /// One lost heartbeat would start an election.
    #[error(
        "a heartbeat every {heartbeat:?} is too slow for election timeouts from {min:?}: one that is lost would start an \
         election; make it at most half"
    )]
    HeartbeatTooSlow {
        /// The heartbeat.
        heartbeat: Duration,
        /// The shortest election timeout.
        min: Duration,
    },
}
