//! What a node is told when it starts.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

use crate::Clock;
use crate::rules::{MAX_MEMBERS, Members, NodeId, Settings};

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
    /// The nodes of a cluster that begins, this one included: 1 to 9 of them, the same on every node. The storage keeps them, and a node that
    /// is told others when it comes back does not start: [`OtherMembers`](crate::rules::OtherMembers). Once the log names other members
    /// ([`Node::change_members`](crate::Node::change_members)), those count. None, for a node that [joins](Config::joining).
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
    /// For how long after a heartbeat that a majority answered a leader serves reads without asking (dissertation, 6.4.1): **only where the
    /// clocks of all nodes pass equally fast**, but for the difference between this and the shortest election timeout. At most nine
    /// tenths of that. Needs `check_quorum`, the same on every node. Default: none; every read asks.
    pub lease: Option<Duration>,
    /// The most messages with entries in flight to one follower; more entries wait, and share the next message. Default: 16.
    pub max_in_flight: usize,
    /// The most bytes of entries that are not yet applied here; beyond it a proposal is refused as
    /// [busy](crate::ProposeError::Busy), and a follower whose state machine lags takes no more of them for now, as if they were lost. So
    /// leave room for what is under way: `max_in_flight` messages of the transport, at the least. Default: 64 MiB.
    pub max_unapplied: usize,
    /// The most reads that wait here. Default: 65,536.
    pub max_reads: usize,
    /// How many bytes of entries make a snapshot due, which then takes their place. Default: 64 MiB.
    pub snapshot_every: usize,
    /// How many entries stay in memory behind a snapshot, for followers that are a little late. Default: 1,024.
    pub keep_entries: u64,
    /// Makes the random part of the election timeouts repeatable; nothing else. Give each node its own. Default: another one at each start.
    pub seed: Option<u64>,
    /// Where time comes from. Default: the machine's monotonic clock.
    pub clock: Clock,
    joins: bool,
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
            lease: None,
            max_in_flight: 16,
            max_unapplied: 64 << 20,
            max_reads: 65_536,
            snapshot_every: 64 << 20,
            keep_entries: 1024,
            seed: None,
            clock: Clock::monotonic(),
            joins: false,
        }
    }

    /// A node that waits until it is added to a cluster ([`Node::change_members`](crate::Node::change_members) there): it knows no
    /// members until a leader tells it, and never stands for election before that.
    pub fn joining(id: u64) -> Config {
        Config {
            joins: true,
            ..Config::new(id, [])
        }
    }

    /// Checks it, and takes out what the rules need.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn validate(&self) -> Result<Settings, ConfigError> {
        let (min, max) = (self.election_timeout_min, self.election_timeout_max);
        match self.members.len() {
            0 if self.joins => {}
            0 => return Err(ConfigError::NoMembers),
            n if n > MAX_MEMBERS => return Err(ConfigError::TooManyMembers { members: n }),
            _ => {}
        }
        if !self.joins && !self.members.contains(&self.id) {
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
        if let Some(lease) = self.lease {
            if !self.check_quorum {
                return Err(ConfigError::LeaseWithoutQuorum);
            }
            if lease > min / 10 * 9 {
                return Err(ConfigError::LeaseTooLong { lease, min });
            }
        }
        if self.max_in_flight == 0 {
            return Err(ConfigError::NothingInFlight);
        }
        let mut settings = Settings::new(self.id, Members::voting(self.members.iter().copied()));
        settings.election_timeout_min = min;
        settings.election_timeout_max = max;
        settings.heartbeat = self.heartbeat;
        settings.pre_vote = self.pre_vote;
        settings.check_quorum = self.check_quorum;
        settings.lease = self.lease;
        settings.max_in_flight = self.max_in_flight;
        settings.max_unapplied = self.max_unapplied;
        settings.max_reads = self.max_reads;
        settings.snapshot_every = self.snapshot_every;
        settings.keep_entries = self.keep_entries;
        Ok(settings)
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
    /// A lease is only as good as the promise of the others not to vote meanwhile.
    #[error(
        "a lease needs check_quorum, on every node: without it the others may elect another leader at any time"
    )]
    LeaseWithoutQuorum,
    /// The lease would outlast the others' promise.
    #[error(
        "a lease of {lease:?} is too long for election timeouts from {min:?}: make it at most nine tenths, and shorter if clocks \
         drift apart"
    )]
    LeaseTooLong {
        /// The lease.
        lease: Duration,
        /// The shortest election timeout.
        min: Duration,
    },
    /// Nothing could be sent.
    #[error("max_in_flight is zero: nothing could be sent; 16 is usual")]
    NothingInFlight,
    /// The transport's messages are too small for a list of members.
    #[error(
        "the transport carries {max_payload} bytes in a message: at least {MIN_PAYLOAD} are needed"
    )]
    MessagesTooSmall {
        /// What it carries, in bytes.
        max_payload: usize,
    },
}

/// What every transport must carry in a message, in bytes: a list of members with their addresses.
pub const MIN_PAYLOAD: usize = 1024;
