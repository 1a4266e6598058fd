//! A network that loses, delays, repeats and reorders, between nodes and between nodes and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use biglock::rules::Body;
use biglock::{Entry, Message, NodeId, Time};
use fastrand::Rng;

use super::between;

/// How messages travel.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How long each takes.
    pub delay: Range<Duration>,
    /// The share of requests that are lost,
    pub lost_requests: f64,
    /// and of replies.
    pub lost_replies: f64,
    /// The share of messages that arrive twice, the second time after another delay.
    pub repeated: f64,
    /// The share of replies that are late,
    pub late_replies: f64,
    /// by how much.
    pub late: Range<Duration>,
    /// Whether messages of one link may overtake each other.
    pub reorders: bool,
}

const MILLI: Duration = Duration::from_millis(1);

impl Weather {
    /// Nothing is lost, everything arrives soon, and in order.
    pub fn fair() -> Weather {
        Weather {
            delay: Duration::from_micros(100)..Duration::from_micros(400),
            lost_requests: 0.0,
            lost_replies: 0.0,
            repeated: 0.0,
            late_replies: 0.0,
            late: Duration::ZERO..MILLI,
            reorders: false,
        }
    }

    /// The course's "unreliable": 0 to 26 ms, and 10 % of requests and of replies are lost.
    pub fn unreliable() -> Weather {
        Weather {
            delay: Duration::ZERO..26 * MILLI,
            lost_requests: 0.1,
            lost_replies: 0.1,
            reorders: true,
            ..Weather::fair()
        }
    }

    /// The course's "long reordering" on top of that: two thirds of the replies are late by 200 to 2,200 ms.
    pub fn long_reordering() -> Weather {
        Weather {
            late_replies: 2.0 / 3.0,
            late: 200 * MILLI..2200 * MILLI,
            ..Weather::unreliable()
        }
    }

    /// When a message that leaves at `now` arrives: never, once, or twice.
    fn arrivals(&self, random: &mut Rng, now: Time, reply: bool) -> Vec<Time> {
        let lost = match reply {
            true => self.lost_replies,
            false => self.lost_requests,
        };
        let mut arrivals = Vec::with_capacity(1);
        if random.f64() >= lost {
            arrivals.push(self.arrival(random, now, reply));
        }
        if self.repeated > 0.0 && random.f64() < self.repeated {
            arrivals.push(self.arrival(random, now, reply));
        }
        arrivals
    }

    fn arrival(&self, random: &mut Rng, now: Time, reply: bool) -> Time {
        let arrival = now + between(random, &self.delay);
        match reply && self.late_replies > 0.0 && random.f64() < self.late_replies {
            true => arrival + between(random, &self.late),
            false => arrival,
        }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests: each would be a remote procedure call of the course.
    pub requests: u64,
    /// All messages.
    pub messages: u64,
    /// Pieces of snapshots.
    pub snapshots: u64,
    /// Bytes of all messages, as far as they depend on what is said: headers are estimated.
    pub bytes: u64,
}

/// The network between the nodes, and between nodes and clients.
#[derive(Debug)]
pub struct Network {
    /// How messages travel on links that have no weather of their own.
    pub weather: Weather,
    /// Links with their own: from, to.
    pub local_weather: BTreeMap<(NodeId, NodeId), Weather>,
    /// How messages travel between clients and nodes.
    pub to_clients: Weather,
    /// Whether answers to AppendEntries are lost, and nothing else.
    pub loses_acks: bool,
    /// Links that carry nothing: from, to.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// When the last message of a link that keeps order arrives.
    latest: BTreeMap<(NodeId, NodeId), Time>,
    traffic: Traffic,
}

impl Network {
    /// A network with nothing cut.
    pub fn new(weather: Weather) -> Network {
        Network {
            to_clients: weather.clone(),
            weather,
            local_weather: BTreeMap::new(),
            loses_acks: false,
            cut: BTreeSet::new(),
            latest: BTreeMap::new(),
            traffic: Traffic::default(),
        }
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Nothing gets from one node to the other any more; the other way it may.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// What was cut is mended.
    pub fn mend(&mut self, from: NodeId, to: NodeId) {
        self.cut.remove(&(from, to));
    }

    /// Nothing is cut any more.
    pub fn mend_all(&mut self) {
        self.cut.clear();
    }

    /// Whether something that leaves now would arrive.
    pub fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// A message leaves: when it arrives.
    pub(super) fn carry(&mut self, random: &mut Rng, now: Time, message: &Message) -> Vec<Time> {
        let reply = is_reply(&message.body);
        self.traffic.messages += 1;
        self.traffic.requests += u64::from(!reply);
        let snapshot = matches!(message.body, Body::InstallSnapshot { .. });
        self.traffic.snapshots += u64::from(snapshot);
        self.traffic.bytes += size(&message.body) as u64;
        let ack = matches!(message.body, Body::AppendReply { .. });
        let link = (message.from, message.to);
        if self.loses_acks && ack || self.cut.contains(&link) {
            return Vec::new();
        }
        let weather = self.local_weather.get(&link).unwrap_or(&self.weather);
        let mut arrivals = weather.arrivals(random, now, reply);
        if !weather.reorders {
            let latest = self.latest.entry(link).or_default();
            for arrival in &mut arrivals {
                *arrival = (*arrival).max(*latest);
                *latest = *arrival;
            }
        }
        arrivals
    }

    /// The same between a node and a client.
    pub(super) fn carry_to_client(&self, random: &mut Rng, now: Time, reply: bool) -> Vec<Time> {
        self.to_clients.arrivals(random, now, reply)
    }
}

fn is_reply(body: &Body) -> bool {
    match body {
        Body::PreVote { .. }
        | Body::RequestVote { .. }
        | Body::AppendEntries { .. }
        | Body::InstallSnapshot { .. }
        | Body::TimeoutNow
        | Body::ReadIndex { .. } => false,
        Body::PreVoteReply { .. }
        | Body::VoteReply { .. }
        | Body::AppendReply { .. }
        | Body::SnapshotReply { .. }
        | Body::ReadIndexReply { .. } => true,
    }
}

fn size(body: &Body) -> usize {
    const HEADER: usize = 64;
    match body {
        Body::AppendEntries { entries, .. } => {
            HEADER + entries.iter().map(Entry::size).sum::<usize>()
        }
        Body::InstallSnapshot { chunk, .. } => HEADER + chunk.bytes.len(),
        _ => HEADER,
    }
}
