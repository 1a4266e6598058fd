//! raft-rs 0.7 (the crate `raft`, TiKV's).
//!
//! The crate is the rules alone; threads and wire are ours, after its examples and TiKV: one loop takes what has arrived, all of it,
//! then handles what is ready, once.

pub mod pure;
pub mod threads;
pub mod udp;

use raft::eraftpb::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use crate::{Command, ELECTION_TIMEOUT, HEARTBEAT, NODES};

/// The node whose deadline fires first, and who leads.
pub const LEADER: u64 = 1;

/// A tick of raft-rs's clock.
const TICK: std::time::Duration = std::time::Duration::from_millis(10);

/// One node: the rules, its log in memory, and a state machine that does nothing.
struct Node {
    raft: RawNode<MemStorage>,
}

impl Node {
    /// A new node whose messages carry at most this many bytes of entries.
    fn new(id: u64, max_message: u64) -> Node {
        let ticks = |time: std::time::Duration| (time.as_millis() / TICK.as_millis()) as usize;
        let config = Config {
            id,
            election_tick: ticks(ELECTION_TIMEOUT),
            heartbeat_tick: ticks(HEARTBEAT),
            max_size_per_msg: max_message,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            // It would put messages together beyond any limit; and a turn's commands are one proposal, so one message, anyway.
            batch_append: false,
            // Followers learn what is committed with the next append or heartbeat, as in Biglock.
            skip_bcast_commit: true,
            ..Config::default()
        };
        let members = ConfState::from(((1..=NODES).collect::<Vec<_>>(), vec![]));
        let storage = MemStorage::new_with_conf_state(members);
        let logger = Logger::root(Discard, o!());
        Node {
            raft: RawNode::new(&config, storage, &logger).expect("a valid configuration"),
        }
    }

    /// Starts an election now.
    fn campaign(&mut self) {
        self.raft.campaign().expect("a node that may campaign");
    }

    fn leads(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    /// Appends these commands, as one proposal: raft-rs then looks only once for what to send.
    fn propose(&mut self, commands: impl Iterator<Item = Command>) {
        let mut proposal = Message::default();
        proposal.set_msg_type(MessageType::MsgPropose);
        proposal.from = self.raft.raft.id;
        let entry = |command: Command| Entry {
            data: command.to_vec().into(),
            ..Entry::default()
        };
        proposal.entries = commands.map(entry).collect();
        if !proposal.entries.is_empty() {
            self.raft.raft.step(proposal).expect("a leader");
        }
    }

    /// Receives a message.
    fn step(&mut self, message: Message) {
        self.raft.step(message).expect("a message of a member");
    }

    /// Does what is ready: sends, writes, applies. `applied` hears of each command.
    fn work(&mut self, mut send: impl FnMut(Vec<Message>), mut applied: impl FnMut(&[u8])) {
        let mut apply = |entries: Vec<Entry>| {
            // A new leader's first entry is empty.
            for entry in entries.iter().filter(|entry| !entry.data.is_empty()) {
                applied(&entry.data);
            }
        };
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            send(ready.take_messages());
            apply(ready.take_committed_entries());
            let mut store = self.raft.store().wl();
            store.append(ready.entries()).expect("a log without gaps");
            if let Some(state) = ready.hs() {
                store.set_hardstate(state.clone());
            }
            drop(store);
            send(ready.take_persisted_messages());
            let mut light = self.raft.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.raft.store().wl().mut_hard_state().set_commit(commit);
            }
            send(light.take_messages());
            apply(light.take_committed_entries());
            self.raft.advance_apply();
        }
    }
}
