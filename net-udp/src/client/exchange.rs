//! One question and its answer: whom to ask, when to ask again, and whom to believe.
//!
//! # What an answer says of the other copies
//! A question is sent to several nodes, to some more than once, and the network may bring each datagram again, and late. Any of these copies
//! may have been begun, and an answer is about one of them. That a node does not lead, is busy, or refuses says that nothing came of
//! that copy, and nothing of the others: not even of those of the same datagram, so numbers for the sendings would not help. Therefore no
//! answer takes a doubt away, and nobody counts doubts. Who asks has to know what an answer means whatever became of the other
//! copies: for commands there are sessions, for changes the list of members.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use biglock::codec::TooLong;
use biglock::{Clock, Entry, NodeId, Time};
use fastrand::Rng;

use super::{ClientConfig, ClientError, Heard};
use crate::codec::{
    Ask, ClientReply, ClientRequest, HEADER, MAX_DATAGRAM, Outcome, decode_client_reply,
    encode_client_request, max_payload,
};

/// How long to wait for an answer before asking another node; each time twice as long,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long to leave a node alone that is busy, or knows no leader; each time about twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// What stands beside a question in its datagram, in bytes: client, number, kind and length.
const BESIDE: usize = HEADER + 8 + 8 + 4 + 8;

/// The most nodes that are remembered.
const MAX_SERVERS: usize = 64;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The leader, wherever it is.
    Leader,
    /// Anybody.
    Any,
    /// This node.
    Only(NodeId),
}

/// A socket, and what is known of the servers.
pub(super) struct Exchange {
    cluster: u64,
    timeout: Duration,
    socket: UdpSocket,
    clock: Clock,
    random: Rng,
    /// Which client this is.
    client: u64,
    /// The number of the last request.
    xid: u64,
    servers: BTreeMap<NodeId, SocketAddr>,
    /// Who is asked first: whoever answered last.
    target: NodeId,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// A question that is under way.
struct Question {
    whom: Whom,
    /// When its time is up.
    until: Time,
    length: usize,
    /// How often it was sent.
    sent: u32,
    /// How often one node named another since the last pause.
    hops: u32,
    wait: Duration,
    pause: Duration,
    heard: Heard,
    /// Who did not answer, and until when nobody is believed who says that it leads.
    silent: Option<(NodeId, Time)>,
}

impl Exchange {
    pub(super) fn new(config: &ClientConfig) -> Result<Exchange, ClientError> {
        let servers = config.servers.clone();
        let Some((&target, first)) = servers.first_key_value() else {
            let what = "no servers: name at least one node and its address";
            return Err(ClientError::Config(what.into()));
        };
        if servers.values().any(|a| a.is_ipv4() != first.is_ipv4()) {
            let what = "the servers have addresses of IPv4 and of IPv6: name those of one kind";
            return Err(ClientError::Config(what.into()));
        }
        let any: SocketAddr = match first {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let mut random = Rng::new();
        Ok(Exchange {
            cluster: config.cluster,
            timeout: config.timeout,
            socket: UdpSocket::bind(any).map_err(ClientError::Socket)?,
            clock: Clock::monotonic(),
            client: random.u64(..),
            random,
            xid: 0,
            servers,
            target,
            request: vec![0; config.max_datagram],
            reply: vec![0; MAX_DATAGRAM + 1],
        })
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Asks until there is an answer that ends the matter, or the time is up.
    pub(super) fn ask(
        &mut self,
        ask: Ask,
        whom: Whom,
        until: Time,
    ) -> Result<Outcome, ClientError> {
        if let Whom::Only(id) = whom {
            if !self.knows(id) {
                return Err(ClientError::UnknownServer(id));
            }
            self.target = id;
        }
        let writes = !matches!(ask, Ask::Read(_) | Ask::Members);
        let mut question = Question {
            whom,
            until,
            length: self.write(ask)?,
            sent: 0,
            hops: 0,
            wait: FIRST_WAIT,
            pause: FIRST_PAUSE,
            heard: Heard::Nothing,
            silent: None,
        };
        while self.now() < until {
            match self.try_once(&mut question) {
                // A node has one limit, for every copy; but others, and the same before it was started again, may have a longer one.
                Some(Outcome::TooLarge { size, limit }) => {
                    return Err(ClientError::TooLarge {
                        size,
                        limit,
                        may_have_run: question.sent > 1,
                    });
                }
                Some(outcome) => return Ok(outcome),
                None => {}
            }
        }
        Err(ClientError::TimedOut {
            timeout: self.timeout,
            heard: question.heard,
            may_have_run: writes && question.sent > 0,
        })
    }

    /// Sends something once, and waits for nothing.
    pub(super) fn tell(&mut self, ask: Ask) {
        if let Ok(length) = self.write(ask) {
            self.send(length);
        }
    }

    /// Writes the request, with the next number. Returns its length.
    fn write(&mut self, ask: Ask) -> Result<usize, ClientError> {
        self.xid += 1;
        let (client, xid) = (self.client, self.xid);
        let (size, limit) = match &ask {
            Ask::Session(request) => {
                let size = request.command_len();
                // As an entry between two nodes it has more beside it than here.
                let beside = Entry::OVERHEAD + request.size() - size;
                (size, max_payload(self.request.len()).saturating_sub(beside))
            }
            Ask::Read(question) => (question.len(), self.request.len().saturating_sub(BESIDE)),
            _ => (0, 0),
        };
        let too_large = ClientError::TooLarge {
            size: size as u64,
            limit: limit as u64,
            may_have_run: false,
        };
        if size > limit {
            return Err(too_large);
        }
        let request = ClientRequest { client, xid, ask };
        let written = encode_client_request(&mut self.request, self.cluster, &request);
        written.map(<[u8]>::len).map_err(|TooLong| too_large)
    }

    /// Sends what was written to whoever is asked now. If that fails it is lost, as anything may be.
    fn send(&self, length: usize) {
        if let Some(to) = self.servers.get(&self.target) {
            let _ = self.socket.send_to(&self.request[..length], to);
        }
    }

    /// Asks one node, and decides whom to ask next if it does not answer, or not for good.
    fn try_once(&mut self, question: &mut Question) -> Option<Outcome> {
        self.send(question.length);
        let asked = self.target;
        question.sent += 1;
        let by = question.until.min(self.now() + question.wait);
        let Some(outcome) = self.hear(Some(asked), by) else {
            // Once more if the datagram was lost, but by way of the others.
            question.wait = LONGEST_WAIT.min(question.wait * 2);
            question.silent = Some((asked, self.now() + FIRST_WAIT));
            self.turn(question.whom);
            return None;
        };
        match outcome {
            Outcome::NotLeader {
                leader: Some((leader, address)),
            } if question.whom == Whom::Leader => {
                self.meet(leader, address);
                let silent = question
                    .silent
                    .is_some_and(|(id, until)| id == leader && self.now() < until);
                let there = leader != asked && !silent && self.servers.contains_key(&leader);
                // Nodes that send the client to each other are left alone for a while.
                if there && question.hops < 2 {
                    question.hops += 1;
                    self.target = leader;
                    return None;
                }
                let from = asked;
                question.heard = Heard::SilentLeader { from, leader };
                self.rest(question)
            }
            Outcome::NotLeader { .. } => {
                question.heard = Heard::NoLeader(asked);
                self.turn(question.whom);
                self.rest(question)
            }
            Outcome::Busy => {
                question.heard = Heard::Busy(asked);
                self.rest(question)
            }
            Outcome::Undecided => {
                question.heard = Heard::Undecided(asked);
                self.turn(question.whom);
                self.rest(question)
            }
            outcome => Some(outcome),
        }
    }

    /// Asks the next node next.
    fn turn(&mut self, whom: Whom) {
        if matches!(whom, Whom::Only(_)) {
            return;
        }
        let next = self.servers.keys().find(|&&id| id > self.target);
        let first = self.servers.keys().next();
        if let Some(&id) = next.or(first) {
            self.target = id;
        }
    }

    /// Whether it is known where this node is.
    pub(super) fn knows(&self, id: NodeId) -> bool {
        self.servers.contains_key(&id)
    }

    /// A node is there, or elsewhere. What the user said counts.
    pub(super) fn meet(&mut self, id: NodeId, address: Option<SocketAddr>) {
        if let Some(address) = address
            && self.servers.len() < MAX_SERVERS
        {
            self.servers.entry(id).or_insert(address);
        }
    }

    /// Leaves the servers alone for a while; the answer may come all the same.
    fn rest(&mut self, question: &mut Question) -> Option<Outcome> {
        let part = 0.5 + self.random.f64() / 2.0;
        let until = self.now() + question.pause.mul_f64(part);
        question.hops = 0;
        question.pause = LONGEST_PAUSE.min(question.pause * 2);
        self.hear(None, question.until.min(until))
    }

    /// Waits for an outcome of the latest request: for any that ends the matter, whoever sends it, and for any at all from `asked`.
    fn hear(&mut self, asked: Option<NodeId>, until: Time) -> Option<Outcome> {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).ok()?;
            let length = match self.socket.recv_from(&mut self.reply) {
                Ok((length, _)) => length,
                // The time is up; or an earlier datagram found nobody, which says nothing about the one that counts.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::TimedOut => return None,
                Err(_) => continue,
            };
            let decoded = decode_client_reply(&self.reply[..length], self.cluster);
            let Ok((from, reply)) = decoded else { continue };
            let ClientReply {
                client,
                xid,
                outcome,
            } = reply;
            if (client, xid) != (self.client, self.xid) {
                continue;
            }
            if asked == Some(from) || ends(&outcome) {
                if self.servers.contains_key(&from) {
                    self.target = from;
                }
                return Some(outcome);
            }
        }
    }
}

/// Whether nothing else can come of it.
fn ends(outcome: &Outcome) -> bool {
    !matches!(
        outcome,
        Outcome::NotLeader { .. } | Outcome::Busy | Outcome::Undecided
    )
}
