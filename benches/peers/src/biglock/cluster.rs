//! Biglock's nodes as users start them.

use std::collections::VecDeque;
use std::time::Duration;

use biglock::node::{Applied, Proposal, RestoreError};
use biglock::{LocalNetwork, MemoryStorage, Node, StateMachine, Transport};
use bytes::Bytes;

use super::{LEADER, config};
use crate::stopwatch::now;
use crate::window::Window;
use crate::{NODES, PATIENCE, Subject, command, number};

/// The cluster.
pub struct Cluster {
    /// The leader first.
    nodes: Vec<Node>,
    proposed: u64,
}

impl Cluster {
    /// A cluster with a leader, over the channels of `LocalNetwork`.
    ///
    /// # Panics
    /// If it does not start, or finds no leader.
    pub fn local() -> Cluster {
        let network = LocalNetwork::new();
        Cluster::start((1..=NODES).map(|id| network.transport(id)))
    }

    /// A cluster with a leader in which nodes call each other, without a thread or channel between them, as the peers do that call each
    /// other.
    ///
    /// # Panics
    /// If it does not start, or finds no leader.
    pub fn direct() -> Cluster {
        let network = LocalNetwork::direct();
        Cluster::start((1..=NODES).map(|id| network.transport(id)))
    }

    pub(super) fn start<T: Transport + 'static>(transports: impl Iterator<Item = T>) -> Cluster {
        let node = |(id, transport)| {
            let node = Node::start(config(id), MemoryStorage::new(), transport, Echo);
            node.expect("a node that starts")
        };
        let mut nodes: Vec<Node> = (1..=NODES).zip(transports).map(node).collect();
        let led = nodes[0].wait_for_leader(PATIENCE).expect("a leader");
        let leader = led.leader.map_or(LEADER, |id| id.0);
        nodes.swap(0, leader as usize - 1);
        Cluster { nodes, proposed: 0 }
    }
}

impl Subject for Cluster {
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let leader = &self.nodes[0];
        let first = self.proposed;
        self.proposed += commands;
        let mut proposals: VecDeque<Proposal> = VecDeque::with_capacity(in_flight);
        let begin = now();
        let mut window = Window::new(first..self.proposed, in_flight);
        while !window.is_over() {
            let commands = window.open().map(|number| command(number).to_vec());
            let (proposed, all) = leader.propose_all(commands);
            all.expect("a leader that is not busy");
            proposals.extend(proposed);
            // Waits for the oldest; those that are decided too make room at once.
            let mut patience = PATIENCE;
            while let Some(oldest) = proposals.pop_front() {
                match oldest.wait_for(patience) {
                    Ok(reply) => window.answer(number(&reply.expect("a committed command"))),
                    Err(waiting) => {
                        assert!(patience.is_zero(), "a reply in time");
                        proposals.push_front(waiting);
                        break;
                    }
                }
                patience = Duration::ZERO;
            }
        }
        begin.elapsed()
    }
}

/// A state machine that does nothing: it answers a command with itself.
struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        Bytes::copy_from_slice(command)
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}
