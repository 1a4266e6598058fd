//! raft-rs over UDP: a thread and a socket per node, on loopback.
//!
//! The thread waits on the socket alone, and the proposer's commands come by it too: a second thread, or a channel beside the socket,
//! would add a hand-off to every message. Whatever one turn has for one node goes into one datagram, as long as it fits.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use protobuf::{CodedInputStream, Message as _};
use raft::eraftpb::Message;
use rustix::net::{RecvFlags, recv, sockopt};

use super::{LEADER, Node, TICK};
use crate::stopwatch::now;
use crate::window::Window;
use crate::{NODES, PATIENCE, Subject, command, number};

/// The largest datagram that is sent, a little under UDP's limit.
const MAX_DATAGRAM: usize = 60_000;

/// The most bytes of entries in one message: with the head of each entry and of the message it still fits.
const MAX_MESSAGE: u64 = 50_000;

/// What the kernel may hold for a socket: a thousand commands in flight never fill it.
const RECEIVE_BUFFER: usize = 8 << 20;

/// The most datagrams that are taken before what is ready is handled.
const MOST_DATAGRAMS: usize = 64;

/// The first byte of a datagram.
const MESSAGES: u8 = 0;
const COMMANDS: u8 = 1;
const END: u8 = 2;

/// The cluster.
pub struct Udp {
    proposer: UdpSocket,
    members: Vec<SocketAddr>,
    /// The numbers of the commands that the leader applied.
    replies: Receiver<Vec<u64>>,
    threads: Vec<JoinHandle<()>>,
    proposed: u64,
}

impl Udp {
    /// A cluster with a leader.
    ///
    /// # Panics
    /// If sockets or threads can't be had, or no leader is found.
    pub fn start() -> Udp {
        let sockets: Vec<UdpSocket> = (0..NODES).map(|_| socket().expect("a socket")).collect();
        let address = |socket: &UdpSocket| socket.local_addr().expect("an address");
        let members: Vec<SocketAddr> = sockets.iter().map(address).collect();
        let (reply, replies) = unbounded();
        let (elected, leader) = bounded(1);
        let run = |(id, socket): (u64, UdpSocket)| {
            let mut member = Member {
                id,
                node: Node::new(id, MAX_MESSAGE),
                wire: Wire {
                    socket,
                    members: members.clone(),
                    outgoing: vec![Vec::new(); NODES as usize],
                },
                reply: reply.clone(),
                elected: (id == LEADER).then(|| elected.clone()),
            };
            Builder::new()
                .name(format!("raft-rs {id}"))
                .spawn(move || member.run())
                .expect("a thread")
        };
        let threads = (1..=NODES).zip(sockets).map(run).collect();
        leader.recv_timeout(PATIENCE).expect("a leader");
        Udp {
            proposer: socket().expect("a socket"),
            members,
            replies,
            threads,
            proposed: 0,
        }
    }

    fn tell(&self, to: SocketAddr, datagram: &[u8]) {
        let sent = self
            .proposer
            .send_to(datagram, to)
            .expect("a socket that sends");
        assert_eq!(sent, datagram.len(), "a whole datagram");
    }
}

impl Subject for Udp {
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let first = self.proposed;
        self.proposed += commands;
        let begin = now();
        let mut window = Window::new(first..self.proposed, in_flight);
        let mut datagram = Vec::new();
        while !window.is_over() {
            datagram.clear();
            datagram.push(COMMANDS);
            window
                .open()
                .for_each(|number| datagram.extend(command(number)));
            self.tell(self.members[0], &datagram);
            let replies = self.replies.recv_timeout(PATIENCE).expect("a reply");
            replies.into_iter().for_each(|number| window.answer(number));
        }
        begin.elapsed()
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        for &member in &self.members {
            self.tell(member, &[END]);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A socket on loopback that waits no longer than until the next tick.
fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(TICK))?;
    // Beyond the system's limit if it lets us.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

/// One node, on its thread.
struct Member {
    id: u64,
    node: Node,
    wire: Wire,
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
        let mut datagram = vec![0; 1 << 16];
        loop {
            // Waits for the first; what else is there is taken with it.
            let mut flags = RecvFlags::empty();
            for _ in 0..MOST_DATAGRAMS {
                match recv(&self.wire.socket, &mut datagram[..], flags) {
                    Ok((length, _)) => {
                        if !self.take(&datagram[..length]) {
                            return;
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("a socket that receives: {error}"),
                }
                flags = RecvFlags::DONTWAIT;
            }
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

    /// Whether there is to be more.
    fn take(&mut self, datagram: &[u8]) -> bool {
        let Some((&kind, rest)) = datagram.split_first() else {
            return true;
        };
        match kind {
            MESSAGES => {
                let mut messages = CodedInputStream::from_bytes(rest);
                while !messages.eof().expect("bytes in memory") {
                    let message: Message = messages.read_message().expect("a whole message");
                    self.node.step(message);
                }
            }
            COMMANDS => self.node.propose(rest.as_chunks().0.iter().copied()),
            END => return false,
            _ => panic!("a datagram of a kind we know"),
        }
        true
    }

    fn work(&mut self) {
        let mut replies = Vec::new();
        let wire = &mut self.wire;
        self.node.work(
            |messages| wire.send(&messages),
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

/// A node's socket, and what is to leave by it.
struct Wire {
    socket: UdpSocket,
    members: Vec<SocketAddr>,
    /// A datagram for each member; empty if there is nothing for it.
    outgoing: Vec<Vec<u8>>,
}

impl Wire {
    fn send(&mut self, messages: &[Message]) {
        for message in messages {
            let to = message.to as usize - 1;
            let size = message.compute_size() as usize;
            if self.outgoing[to].len() + size > MAX_DATAGRAM {
                self.flush(to);
            }
            let datagram = &mut self.outgoing[to];
            if datagram.is_empty() {
                datagram.push(MESSAGES);
            }
            message
                .write_length_delimited_to_vec(datagram)
                .expect("bytes in memory");
        }
        for to in 0..self.outgoing.len() {
            self.flush(to);
        }
    }

    fn flush(&mut self, to: usize) {
        let datagram = &mut self.outgoing[to];
        if !datagram.is_empty() {
            // What is lost on the way, raft-rs sends again; what does not leave at all is our mistake.
            let sent = self.socket.send_to(datagram, self.members[to]);
            sent.expect("a socket that sends");
            datagram.clear();
        }
    }
}
