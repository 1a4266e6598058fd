//! Elections on the rules alone: plain values, direct calls, no thread, no lock, no wire.

use std::collections::VecDeque;

use biglock::rules::{At, Raft, Role, Stored, Verdict, majority};
use biglock::{Message, Time};

use crate::nodes::config;
use crate::stopwatch::now;
use crate::{Election, Rejected};

/// A cluster of plain values. Each has a time of its own, as in [`crate::cluster`].
pub struct Pure {
    nodes: Vec<Raft>,
    times: Vec<Time>,
    random: fastrand::Rng,
    wire: VecDeque<Message>,
    term: u64,
    leader: Option<usize>,
}

impl Pure {
    /// One of `nodes` nodes.
    pub fn new(nodes: usize, pre_vote: bool) -> Pure {
        let mut random = fastrand::Rng::with_seed(1);
        let raft = |node| {
            let mut config = config(node, nodes);
            config.pre_vote = pre_vote;
            let at = At {
                now: Time::ZERO,
                random: random.u64(..),
            };
            let settings = config.validate().expect("a valid configuration");
            Raft::new(at, settings, Stored::default())
        };
        let mut pure = Pure {
            nodes: (0..nodes).map(raft).collect(),
            times: vec![Time::ZERO; nodes],
            random,
            wire: VecDeque::new(),
            term: 0,
            leader: None,
        };
        pure.settle();
        pure
    }

    /// Runs one election and settles it.
    ///
    /// # Errors
    /// If a node did not end in the next term, led by the candidate.
    pub fn elect(&mut self) -> Result<Election, Rejected> {
        let nodes = self.nodes.len();
        let candidate = self.leader.map_or(0, |leader| (leader + 1) % nodes);
        self.times[candidate] = self.times[candidate] + config(0, 1).election_timeout_max;

        let deadline = now();
        let at = self.at(candidate);
        let mut ballot = Some(self.nodes[candidate].campaign(at));
        self.carry_out(candidate);
        let (mut leader, mut majority_knows, mut known) = (None, None, 1);
        while let Some(message) = self.wire.pop_front() {
            let to = index(message.to.0);
            let at = self.at(to);
            self.nodes[to].receive(at, message);
            self.carry_out(to);
            if to == candidate {
                // What wakes the election thread: a campaign that is decided.
                if let Some(carried) =
                    ballot.take_if(|_| self.nodes[to].standing() == Some(Verdict::Won))
                {
                    ballot = self.nodes[to].count_votes(at, carried);
                    if ballot.is_none() {
                        leader = Some(now());
                    }
                    self.carry_out(to);
                }
            } else if majority_knows.is_none()
                && leader.is_some()
                && self.nodes[to].leader().is_some()
            {
                known += 1;
                if known == majority(nodes) {
                    majority_knows = Some(now());
                }
            }
        }

        self.term += 1;
        let led_by = |raft: &Raft| {
            raft.term().0 == self.term && raft.leader().map(|id| index(id.0)) == Some(candidate)
        };
        let (Some(leader), Some(majority_knows), true) =
            (leader, majority_knows, self.nodes.iter().all(led_by))
        else {
            return Err(Rejected(format!("no leader of term {}", self.term)));
        };
        self.leader = Some(candidate);
        self.settle();
        Ok(Election {
            leader: leader.since(deadline),
            majority: majority_knows.since(deadline),
        })
    }

    /// The leader hears nobody and steps down; nobody has heard a leader.
    fn settle(&mut self) {
        let config = config(0, 1);
        for node in 0..self.nodes.len() {
            let leads = matches!(self.nodes[node].role(), Role::Leader { .. });
            let aged = if leads {
                config.election_timeout_max
            } else {
                config.election_timeout_min
            };
            self.times[node] = self.times[node] + aged;
            let at = self.at(node);
            if leads {
                self.nodes[node].heartbeat(at);
                assert!(
                    self.nodes[node].leader().is_none(),
                    "a leader that hears nobody steps down"
                );
            }
        }
    }

    fn at(&mut self, node: usize) -> At {
        At {
            now: self.times[node],
            random: self.random.u64(..),
        }
    }

    /// Writes, which costs nothing here, and sends.
    fn carry_out(&mut self, node: usize) {
        let raft = &mut self.nodes[node];
        if let Some(write) = raft.take_write() {
            raft.written(write.id);
        }
        self.wire.extend(raft.take_messages());
    }
}

fn index(id: u64) -> usize {
    usize::try_from(id - 1).expect("a small cluster")
}
