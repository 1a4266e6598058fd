//! What a node with `--events` tells its supervisor: one JSON object per line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The store was read: term and vote, as the node's life before left them.
    Loaded {
        /// Who tells.
        node: u64,
        /// The term it goes on from.
        term: u64,
        /// Its vote in that term.
        voted_for: Option<u64>,
    },
    /// The node runs.
    Started {
        /// Who tells.
        node: u64,
        /// Where it listens.
        listen: SocketAddr,
    },
    /// Term and vote became durable. In the order in which they did.
    Durable {
        /// Who tells.
        node: u64,
        /// The term.
        term: u64,
        /// The vote in that term.
        voted_for: Option<u64>,
    },
    /// The leadership changed, as far as the node knows.
    Leadership {
        /// Who tells.
        node: u64,
        /// Counts the changes of this life from 1; two that are close together may be told in the other order.
        change: u64,
        /// The term.
        term: u64,
        /// The leader of that term.
        leader: Option<u64>,
    },
    /// The node has ended in order. Nothing comes after it.
    Stopped {
        /// Who tells.
        node: u64,
        /// Why.
        why: String,
    },
}
