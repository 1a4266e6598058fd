//! raft-rs with a thread per node, and channels between them.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use raft::eraftpb::Message;

use super::{LEADER, Node, TICK};
use crate::stopwatch::now;
use crate::window::Window;
use crate::{Command, NODES, PATIENCE, Subject, command, number};

/// As in-process messages may be large.
const MAX_MESSAGE: u64 = 1 << 20;

/// The most inputs that are taken before what is ready is handled.
const MOST_INPUTS: usize = 1024;

enum Input {
    Messages(Vec<Message>),
    Command(Command),
    End,
}

/// The cluster.
pub struct Threads {
    inputs: Vec<Sender<Input>>,
    /// The numbers of the commands that the leader applied.
    replies: Receiver<Vec<u64>>,
    threads: Vec<JoinHandle<()>>,
    proposed: u64,
}

impl Threads {
    /// A cluster with a leader.
    ///
    /// # Panics
    /// If threads can't be started, or no leader is found.
    pub fn start() -> Threads {
        let (inputs, inboxes): (Vec<_>, Vec<_>) = (0..NODES).map(|_| unbounded()).unzip();
        let (reply, replies) = unbounded();
        let (elected, leader) = bounded(1);
        let run = |(id, inbox): (u64, Receiver<Input>)| {
            let mut member = Member {
                id,
                node: Node::new(id, MAX_MESSAGE),
                peers: inputs.clone(),
                inbox,
                proposals: Vec::new(),
                reply: reply.clone(),
                elected: (id == LEADER).then(|| elected.clone()),
            };
            Builder::new()
                .name(format!("raft-rs {id}"))
                .spawn(move || member.run())
                .expect("a thread")
        };
        let threads = (1..=NODES).zip(inboxes).map(run).collect();
        leader.recv_timeout(PATIENCE).expect("a leader");
        Threads {
            inputs,
            replies,
            threads,
            proposed: 0,
        }
    }
}

impl Subject for Threads {
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let first = self.proposed;
        self.proposed += commands;
        let begin = now();
        let mut window = Window::new(first..self.proposed, in_flight);
        while !window.is_over() {
            for number in window.open() {
                let input = Input::Command(command(number));
                self.inputs[0].send(input).expect("a node that runs");
            }
            let replies = self.replies.recv_timeout(PATIENCE).expect("a reply");
            replies.into_iter().for_each(|number| window.answer(number));
        }
        begin.elapsed()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for input in &self.inputs {
            let _ = input.send(Input::End);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One node, on its thread.
struct Member {
    id: u64,
    node: Node,
    peers: Vec<Sender<Input>>,
    inbox: Receiver<Input>,
    /// The commands of this turn.
    proposals: Vec<Command>,
    reply: Sender<Vec<u64>>,
    /// To be told once, by the leader.
    elected: Option<Sender<()>>,
}

impl Member {
    fn run(&mut self) {
        if self.id == LEADER {
            self.node.campaign();
            self.work();
        }
        let mut next_tick = now() + TICK;
        loop {
            match self.inbox.recv_deadline(next_tick) {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(input) => {
                    self.take(input);
                    for _ in 1..MOST_INPUTS {
                        match self.inbox.try_recv() {
                            Ok(Input::End) => return,
                            Ok(input) => self.take(input),
                            Err(_) => break,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.node.propose(self.proposals.drain(..));
            next_tick = self.tick(next_tick);
            self.work();
        }
    }

    fn tick(&mut self, due: Instant) -> Instant {
        if now() < due {
            return due;
        }
        self.node.raft.tick();
        now() + TICK
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Messages(messages) => {
                for message in messages {
                    self.node.step(message);
                }
            }
            Input::Command(command) => self.proposals.push(command),
            Input::End => {}
        }
    }

    fn work(&mut self) {
        let mut replies = Vec::new();
        let peers = &self.peers;
        self.node.work(
            |messages| {
                let mut messages = messages.into_iter().peekable();
                // What goes to one node goes at once.
                while let Some(first) = messages.next() {
                    let to = first.to;
                    let mut together = vec![first];
                    while let Some(next) = messages.next_if(|next| next.to == to) {
                        together.push(next);
                    }
                    let _ = peers[to as usize - 1].send(Input::Messages(together));
                }
            },
            |command| replies.push(number(command)),
        );
        if self.id == LEADER && !replies.is_empty() {
            let _ = self.reply.send(replies);
        }
        if self.node.leads()
            && let Some(elected) = self.elected.take()
        {
            let _ = elected.send(());
        }
    }
}
