//! Biglock's rules alone: three nodes in one thread, messages by direct calls.

use std::collections::VecDeque;
use std::time::Duration;

use biglock::Time;
use biglock::rules::{At, HardState, Message, Payload, Raft, Role, Stored, Verdict};

use super::{LEADER, config};
use crate::stopwatch::now;
use crate::window::Window;
use crate::{NODES, Subject, command, number};

/// As in-process messages may be large: what raft-rs has here.
const MAX_MESSAGE: usize = 1 << 20;

/// Nothing here takes any of the nodes' time, and nobody's deadline comes.
const AT: At = At {
    now: Time::ZERO,
    random: 0,
};

/// The cluster.
pub struct Pure {
    nodes: Vec<Raft>,
    wire: VecDeque<Message>,
    proposed: u64,
}

impl Pure {
    /// A cluster with a leader.
    ///
    /// # Panics
    /// If it finds none.
    pub fn start() -> Pure {
        let raft = |id| {
            let mut settings = config(id).validate().expect("a valid configuration");
            settings.max_payload = MAX_MESSAGE;
            Raft::new(AT, settings, Stored::new(HardState::default()))
        };
        let mut pure = Pure {
            nodes: (1..=NODES).map(raft).collect(),
            wire: VecDeque::new(),
            proposed: 0,
        };
        pure.elect();
        pure.settle(|_| ());
        pure
    }

    fn elect(&mut self) {
        let mut ballot = Some(self.nodes[0].campaign(AT));
        // Asking whether it would be elected, and then the election itself.
        while let Some(carried) = ballot {
            self.settle(|_| ());
            assert_eq!(self.nodes[0].standing(), Some(Verdict::Won));
            ballot = self.nodes[0].count_votes(AT, carried);
        }
        assert!(matches!(self.nodes[0].role(), Role::Leader(_)));
    }

    /// Delivers until nothing is on the way. `applied` hears of each command that the leader applied.
    fn settle(&mut self, mut applied: impl FnMut(&[u8])) {
        self.work(LEADER, &mut applied);
        while let Some(message) = self.wire.pop_front() {
            let to = message.to.0;
            self.nodes[to as usize - 1].receive(AT, message);
            self.work(to, &mut applied);
        }
    }

    /// Does what there is to do: writes, sends, applies. The log in memory is the only one, as raft-rs's is: a write costs no more than
    /// to be taken.
    fn work(&mut self, id: u64, applied: &mut impl FnMut(&[u8])) {
        let raft = &mut self.nodes[id as usize - 1];
        // The leader's appends leave before its own write is durable.
        self.wire.extend(raft.take_messages());
        while let Some(write) = raft.take_write() {
            raft.written(write.id);
            self.wire.extend(raft.take_messages());
        }
        let commit = raft.commit();
        if raft.applied() < commit {
            for index in raft.applied() + 1..=commit {
                let entry = raft.log().get(index).expect("a log without snapshots");
                if let (Payload::Command(command), LEADER) = (&entry.payload, id) {
                    applied(command);
                }
            }
            raft.set_applied(commit);
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
            let leader = &mut self.nodes[0];
            for number in window.open() {
                let command = Payload::Command(command(number).to_vec().into());
                leader.push(AT, command).expect("a leader that is not busy");
            }
            leader.send_entries();
            self.settle(|command| window.answer(number(command)));
        }
        begin.elapsed()
    }
}
