//! raft-rs alone: three nodes in one thread, messages by direct calls.

use std::collections::VecDeque;
use std::time::Duration;

use raft::eraftpb::Message;

use super::{LEADER, Node};
use crate::stopwatch::now;
use crate::window::Window;
use crate::{NODES, Subject, command, number};

/// As in-process messages may be large.
const MAX_MESSAGE: u64 = 1 << 20;

/// The cluster.
pub struct Pure {
    nodes: Vec<Node>,
    wire: VecDeque<Message>,
    proposed: u64,
}

impl Pure {
    /// A cluster with a leader.
    ///
    /// # Panics
    /// If it finds none.
    pub fn start() -> Pure {
        let mut pure = Pure {
            nodes: (1..=NODES).map(|id| Node::new(id, MAX_MESSAGE)).collect(),
            wire: VecDeque::new(),
            proposed: 0,
        };
        pure.nodes[0].campaign();
        pure.settle(|_| ());
        assert!(pure.nodes[0].leads(), "the only candidate wins");
        pure
    }

    /// Delivers until nothing is on the way. `applied` hears of each command that the leader applied.
    fn settle(&mut self, mut applied: impl FnMut(&[u8])) {
        let wire = &mut self.wire;
        self.nodes[0].work(|messages| wire.extend(messages), &mut applied);
        while let Some(message) = wire.pop_front() {
            let to = message.to;
            let node = &mut self.nodes[to as usize - 1];
            node.step(message);
            node.work(
                |messages| wire.extend(messages),
                |command| {
                    if to == LEADER {
                        applied(command);
                    }
                },
            );
        }
    }
}

impl Subject for Pure {
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let first = self.proposed;
        self.proposed += commands;
        let begin = now();
        let mut window = Window::new(first..self.proposed, in_flight);
        while !window.is_over() {
            self.nodes[0].propose(window.open().map(command));
            self.settle(|command| window.answer(number(command)));
        }
        begin.elapsed()
    }
}
