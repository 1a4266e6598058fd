//! A small cluster of pure [`Raft`] values in virtual time: no thread, no lock, no socket, and every message in the test's hand.

#![allow(
    dead_code,
    reason = "each test file is a crate of its own and uses its part"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use biglock::rules::{
    Answer, Appended, At, Ballot, Beat, Body, Entry, Log, Members, Payload, Position, Raft,
    ReadAnswer, ReadId, RoleKind, Settings, Snapshot, Write,
};
use biglock::{HardState, Message, NodeId, Stored, Term, Time};
use bytes::Bytes;

/// The timeouts of every test: elections after 100 to 200 ms, heartbeats every 20 ms.
pub const MIN: Duration = Duration::from_millis(100);
pub const MAX: Duration = Duration::from_millis(200);
pub const HEARTBEAT: Duration = Duration::from_millis(20);

/// One server: the rules, the disk under them, and what its threads would remember between two sections.
pub struct Server {
    pub raft: Raft,
    /// What a crash leaves.
    pub disk: Stored,
    /// The write that is under way.
    pub writing: Option<Write>,
    /// The campaign that is under way.
    pub ballot: Option<Ballot>,
    random: fastrand::Rng,
}

impl Server {
    pub fn new(settings: Settings, now: Time, disk: Stored) -> Server {
        let seed = settings.id.0;
        Server::with_seed(settings, now, disk, seed)
    }

    /// One whose random numbers are these: of its own life, if it lives more than once.
    pub fn with_seed(settings: Settings, now: Time, disk: Stored, seed: u64) -> Server {
        let mut random = fastrand::Rng::with_seed(seed);
        let at = At {
            now,
            random: random.u64(..),
        };
        Server {
            raft: Raft::new(at, settings, disk.clone()),
            disk,
            writing: None,
            ballot: None,
            random,
        }
    }

    /// The input of a step at this moment.
    pub fn at(&mut self, now: Time) -> At {
        At {
            now,
            random: self.random.u64(..),
        }
    }

    pub fn receive(&mut self, now: Time, message: Message) {
        let at = self.at(now);
        self.raft.receive(at, message);
    }

    /// Campaigns, whatever the deadline says. Not if it leads.
    pub fn campaign(&mut self, now: Time) {
        let at = self.at(now);
        self.ballot = Some(self.raft.campaign(at));
    }

    /// What the election thread does when it wakes.
    pub fn count_votes(&mut self, now: Time) {
        let at = self.at(now);
        if let Some(ballot) = self.ballot.take() {
            self.ballot = self.raft.count_votes(at, ballot);
        }
    }

    pub fn heartbeat(&mut self, now: Time) {
        let at = self.at(now);
        self.raft.heartbeat(at);
    }

    /// The disk begins to write, if there is something to write and it is free.
    pub fn begin_write(&mut self) {
        if self.writing.is_none() {
            self.writing = self.raft.take_write();
        }
    }

    /// The disk has written.
    pub fn finish_write(&mut self) {
        if let Some(write) = self.writing.take() {
            self.disk.apply(write.batch);
            self.raft.written(write.id);
        }
    }

    /// A disk that needs no time.
    pub fn sync(&mut self) {
        while !self.raft.is_durable() {
            self.begin_write();
            self.finish_write();
        }
    }

    /// A state machine that needs no time.
    pub fn apply(&mut self) {
        self.raft.set_applied(self.raft.commit());
    }
}

/// Servers 1 to n and the wire between them. Disks need no time unless one is [stuck](Cluster::stuck), the time stands still unless it
/// is moved, and a message stays on the wire until it is delivered or lost.
pub struct Cluster {
    pub now: Time,
    /// What is under way, in the order in which it left.
    pub wire: Vec<Message>,
    /// All that ever left.
    pub said: Vec<Message>,
    /// Whose disk writes nothing until it is released.
    pub stuck: Option<u64>,
    /// Whose state machine applies nothing.
    pub lagging: Option<u64>,
    /// Whose messages, from it and to it, are lost by [`run`](Cluster::run).
    pub cut: Vec<u64>,
    /// How often somebody was started again.
    lives: u64,
    servers: BTreeMap<u64, Server>,
}

impl Cluster {
    /// `n` servers as in the paper: without pre-vote and check-quorum.
    pub fn of(n: u64) -> Cluster {
        Cluster::with(n, |_| {})
    }

    /// The same, with other settings.
    pub fn with(n: u64, change: impl Fn(&mut Settings)) -> Cluster {
        Cluster::with_logs(n, change, |_| Vec::new())
    }

    /// The same, with logs whose entries have these terms. Every server starts in the latest term of its log.
    pub fn with_logs(
        n: u64,
        change: impl Fn(&mut Settings),
        terms: impl Fn(u64) -> Vec<u64>,
    ) -> Cluster {
        let start = |id| {
            let mut settings = settings(id, n);
            change(&mut settings);
            (id, Server::new(settings, Time::ZERO, stored(&terms(id))))
        };
        Cluster::from_parts(Time::ZERO, Vec::new(), (1..=n).map(start).collect())
    }

    /// Servers that have a history.
    pub fn from_parts(now: Time, wire: Vec<Message>, servers: BTreeMap<u64, Server>) -> Cluster {
        Cluster {
            now,
            wire,
            said: Vec::new(),
            stuck: None,
            lagging: None,
            cut: Vec::new(),
            lives: 0,
            servers,
        }
    }

    pub fn raft(&self, id: u64) -> &Raft {
        &self.servers[&id].raft
    }

    pub fn disk(&self, id: u64) -> HardState {
        self.servers[&id].disk.hard_state
    }

    /// All that the disk holds.
    pub fn stored(&self, id: u64) -> &Stored {
        &self.servers[&id].disk
    }

    /// The terms of the entries in this server's log, without those that a snapshot has replaced.
    pub fn log(&self, id: u64) -> Vec<u64> {
        let entries = self.raft(id).log().iter();
        entries.map(|(_, entry)| entry.term.0).collect()
    }

    pub fn commit(&self, id: u64) -> u64 {
        self.raft(id).commit()
    }

    /// The end of this server's log.
    pub fn end(&self, id: u64) -> u64 {
        self.raft(id).log().last().index
    }

    pub fn term(&self, id: u64) -> u64 {
        self.raft(id).term().0
    }

    pub fn role(&self, id: u64) -> RoleKind {
        self.raft(id).role().kind()
    }

    pub fn vote(&self, id: u64) -> Option<u64> {
        self.raft(id).hard_state().voted_for.map(|id| id.0)
    }

    pub fn leader(&self, id: u64) -> Option<u64> {
        self.raft(id).leader().map(|id| id.0)
    }

    pub fn ids(&self) -> Vec<u64> {
        self.servers.keys().copied().collect()
    }

    pub fn leaders(&self) -> Vec<u64> {
        let leads = |id: &u64| self.role(*id) == RoleKind::Leader;
        self.ids().into_iter().filter(leads).collect()
    }

    /// When this server campaigns.
    pub fn deadline(&self, id: u64) -> Time {
        self.raft(id).election_deadline().unwrap_or(Time::NEVER)
    }

    /// Lets time pass; nobody acts.
    pub fn pass(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// This server's election timeout passes.
    pub fn time_out(&mut self, id: u64) {
        self.now = self.now.max(self.deadline(id));
        self.step(id, Server::campaign);
    }

    /// This leader's heartbeats are due.
    pub fn heartbeat(&mut self, id: u64) {
        let due = self.raft(id).heartbeat_due();
        self.now = self.now.max(due.expect("it leads"));
        self.step(id, Server::heartbeat);
    }

    /// Whoever waits for votes looks again at what it has.
    pub fn look_again(&mut self, id: u64) {
        self.step(id, Server::count_votes);
    }

    /// A stuck disk goes on.
    pub fn release(&mut self, id: u64) {
        self.stuck = None;
        self.step(id, |_, _| {});
    }

    /// This server crashes and starts again with what its disk has. What it sent is still on the wire.
    pub fn restart(&mut self, id: u64) {
        let old = &self.servers[&id];
        self.lives += 1;
        let (settings, disk) = (old.raft.settings().clone(), old.disk.clone());
        let new = Server::with_seed(settings, self.now, disk, 1000 * self.lives + id);
        self.servers.insert(id, new);
    }

    /// This message arrives.
    pub fn arrive(&mut self, message: Message) {
        self.step(message.to.0, |server, now| server.receive(now, message));
    }

    /// The same, and it is still under way.
    pub fn arrive_and_stay(&mut self, message: Message) {
        self.wire.push(message.clone());
        self.arrive(message);
    }

    /// Server `to` gets this message now, wherever it came from; returns what it says to that.
    pub fn tell(&mut self, to: u64, from: u64, term: u64, body: Body) -> Vec<Message> {
        let message = message(from, to, term, body);
        let before = self.said.len();
        self.step(to, |server, now| server.receive(now, message));
        self.said[before..].to_vec()
    }

    /// Delivers the oldest message on the wire between these two.
    pub fn deliver(&mut self, from: u64, to: u64) {
        let between = |m: &Message| (m.from, m.to) == (NodeId(from), NodeId(to));
        let at = self.wire.iter().position(between);
        let message = self.wire.remove(at.expect("a message is on the wire"));
        self.step(to, |server, now| server.receive(now, message));
    }

    /// Delivers what is on the wire, and what comes of it, until nothing is left.
    pub fn deliver_all(&mut self) {
        while !self.wire.is_empty() {
            let message = self.wire.remove(0);
            self.step(message.to.0, |server, now| server.receive(now, message));
        }
    }

    /// Delivers the requests for votes of this candidate, and the answers, and loses its calls: it is elected and nobody knows.
    pub fn deliver_votes(&mut self, candidate: u64) {
        let vote =
            |m: &Message| matches!(m.body, Body::RequestVote { .. } | Body::VoteReply { .. });
        while let Some(at) = self.wire.iter().position(vote) {
            let message = self.wire.remove(at);
            self.step(message.to.0, |server, now| server.receive(now, message));
        }
        assert_eq!(self.role(candidate), RoleKind::Leader);
    }

    /// A stuck disk finishes the write that it is making, and begins the next.
    pub fn finish_one_write(&mut self, id: u64) {
        self.step(id, |server, _| server.finish_write());
    }

    /// Loses whatever on the wire fits.
    pub fn lose(&mut self, fits: impl Fn(&Message) -> bool) {
        self.wire.retain(|message| !fits(message));
    }

    /// Delivers all, but whatever comes from or goes to one of these is lost.
    pub fn deliver_without(&mut self, cut: &[u64]) {
        while !self.wire.is_empty() {
            let message = self.wire.remove(0);
            if !cut.contains(&message.from.0) && !cut.contains(&message.to.0) {
                self.step(message.to.0, |server, now| server.receive(now, message));
            }
        }
    }

    /// One section of this server's, by hand.
    pub fn with_raft<R>(&mut self, id: u64, section: impl FnOnce(&mut Raft, At) -> R) -> R {
        let mut result = None;
        self.step(id, |server, now| {
            let at = server.at(now);
            result = Some(section(&mut server.raft, at));
        });
        result.expect("it ran")
    }

    /// This leader gets a command from a client.
    pub fn propose(&mut self, id: u64, bytes: &[u8]) -> Position {
        let payload = command(bytes);
        self.with_raft(id, |raft, at| raft.propose(at, payload))
            .expect("it leads")
    }

    /// This server takes a snapshot of all that it has applied, so many bytes long. Returns the last entry that it holds.
    pub fn snapshot(&mut self, id: u64, length: usize) -> Position {
        self.with_raft(id, |raft, _| {
            let (last, time, members) = raft.snapshot_head(raft.applied()).expect("it is here");
            let data = (0..length).map(|i| i as u8).collect::<Vec<u8>>().into();
            raft.compact(Snapshot {
                last,
                time,
                members,
                data,
            });
            last
        })
    }

    /// Somebody reads here.
    pub fn read(&mut self, id: u64) -> ReadId {
        self.with_raft(id, |raft, at| raft.read(at))
            .expect("there is room")
    }

    /// The reads of this server's callers that were answered since the last call.
    pub fn served(&mut self, id: u64) -> Vec<ReadAnswer> {
        self.with_raft(id, |raft, _| raft.take_reads())
    }

    /// What is on the wire between these two.
    pub fn between(&self, from: u64, to: u64) -> Vec<Message> {
        let fits = |m: &&Message| (m.from.0, m.to.0) == (from, to);
        self.wire.iter().filter(fits).cloned().collect()
    }

    /// Makes this server the leader, with the help of everyone.
    pub fn elect(&mut self, id: u64) {
        self.time_out(id);
        self.deliver_all();
        assert_eq!(self.role(id), RoleKind::Leader, "server {id} is elected");
    }

    /// Lets everything happen in time, with messages that need `delay`, until `end`. The servers in `down` do nothing.
    pub fn run(&mut self, delay: Duration, end: Time, down: &[u64]) {
        let mut wire: Vec<(Time, Message)> = Vec::new();
        let (mut moved, mut still) = (self.now, 0);
        loop {
            still = if moved < self.now { 0 } else { still + 1 };
            moved = self.now;
            assert!(still < 10_000, "the time stands still at {:?}", self.now);
            let cut = self.cut.clone();
            self.lose(|m| cut.contains(&m.from.0) || cut.contains(&m.to.0));
            let sent = std::mem::take(&mut self.wire);
            wire.extend(sent.into_iter().map(|message| (self.now + delay, message)));
            let up = |id: &u64| !down.contains(id);
            let next = wire.iter().map(|(at, _)| *at).min().unwrap_or(Time::NEVER);
            let timer = |id: u64| self.servers[&id].timer();
            let timers = self.ids().into_iter().filter(up).map(timer);
            let next = timers.min().unwrap_or(Time::NEVER).min(next).max(self.now);
            if next > end {
                self.wire = wire.into_iter().map(|(_, message)| message).collect();
                self.now = end;
                return;
            }
            self.now = next;
            let (due, later) = wire.into_iter().partition(|(at, _)| *at <= next);
            wire = later;
            for (_, message) in due {
                if up(&message.to.0) {
                    self.step(message.to.0, |server, now| server.receive(now, message));
                }
            }
            for id in self.ids().into_iter().filter(up) {
                if self.servers[&id].timer() <= next {
                    self.step(id, Server::timer_fires);
                }
            }
        }
    }

    /// One section of one server, and what its threads do then: write, send, and count the votes if they are decided.
    fn step(&mut self, id: u64, section: impl FnOnce(&mut Server, Time)) {
        let server = self.servers.get_mut(&id).expect("the server exists");
        let before = server.raft.before();
        section(server, self.now);
        // A pre-vote may be won, and then the election; no more can be decided in one step.
        for _ in 0..3 {
            let told = server.raft.check_transition(&before);
            told.and(server.raft.check_invariants())
                .expect("the invariants hold");
            if self.stuck == Some(id) {
                server.begin_write();
            } else {
                server.finish_write();
                server.sync();
            }
            if self.lagging != Some(id) {
                server.apply();
            }
            let messages = server.raft.take_messages();
            self.said.extend(messages.iter().cloned());
            self.wire.extend(messages);
            if server.ballot.is_none() || server.raft.standing().is_none() {
                return;
            }
            server.count_votes(self.now);
        }
        panic!("server {id} counts votes for ever");
    }
}

impl Server {
    /// When something happens here by itself.
    fn timer(&self) -> Time {
        let election = match &self.ballot {
            Some(ballot) if self.raft.verdict(ballot, Time::ZERO).is_none() => {
                self.raft.next_look().unwrap_or(Time::NEVER)
            }
            _ => self.raft.election_deadline().unwrap_or(Time::NEVER),
        };
        let own = [self.raft.heartbeat_due(), self.raft.retry_due()];
        own.into_iter().flatten().fold(election, Time::min)
    }

    fn timer_fires(&mut self, now: Time) {
        if self.raft.heartbeat_due().is_some_and(|due| due <= now) {
            return self.heartbeat(now);
        }
        if self.raft.retry_due().is_some_and(|due| due <= now) {
            let at = self.at(now);
            return self.raft.retry(at);
        }
        self.count_votes(now);
        if self.ballot.is_none() && self.raft.election_deadline().is_some_and(|by| by <= now) {
            self.campaign(now);
        }
    }
}

pub fn settings(id: u64, n: u64) -> Settings {
    let mut settings = Settings::new(NodeId(id), Members::voting((1..=n).map(NodeId)));
    settings.election_timeout_min = MIN;
    settings.election_timeout_max = MAX;
    settings.heartbeat = HEARTBEAT;
    settings.pre_vote = false;
    settings.check_quorum = false;
    settings
}

/// Entries that have these terms.
pub fn entries(terms: &[u64]) -> Vec<Entry> {
    let entry = |&term: &u64| Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: command(b""),
    };
    terms.iter().map(entry).collect()
}

pub fn command(bytes: &[u8]) -> Payload {
    Payload::Command(Bytes::copy_from_slice(bytes))
}

/// A log whose entries have these terms.
pub fn log(terms: &[u64]) -> Log {
    entries(terms).into_iter().collect()
}

/// A disk with such a log, and the latest of its terms.
pub fn stored(terms: &[u64]) -> Stored {
    let disk = HardState {
        term: log(terms).last().term,
        voted_for: None,
    };
    Stored::new(disk).with_entries(entries(terms))
}

/// The end of such a log.
pub fn last(terms: &[u64]) -> Position {
    log(terms).last()
}

pub fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    Message {
        from: NodeId(from),
        to: NodeId(to),
        term: Term(term),
        body,
    }
}

/// RequestVote of a candidate whose log is empty.
pub fn request_vote() -> Body {
    request_vote_with(Position::default())
}

/// RequestVote of a candidate whose log ends there.
pub fn request_vote_with(last: Position) -> Body {
    Body::RequestVote {
        last,
        handed_over: false,
    }
}

/// AppendEntries of a leader whose log is empty.
pub fn heartbeat() -> Body {
    append(&[], &[], 0)
}

/// AppendEntries: after a log of the terms `prev` come entries of the terms `new`.
pub fn append(prev: &[u64], new: &[u64], commit: u64) -> Body {
    Body::AppendEntries {
        prev: last(prev),
        entries: entries(new).into(),
        commit,
        beat: Beat::default(),
    }
}

pub fn appended(answer: Appended) -> Body {
    let beat = Beat::default();
    Body::AppendReply { beat, answer }
}

/// The answer of a follower whose log equals the leader's up to there.
pub fn matched(index: u64) -> Body {
    appended(Appended::Matched(index))
}

/// The answer to a leader whose term has passed.
pub fn stale() -> Body {
    appended(Appended::Stale)
}

pub fn pre_vote(attempt: u64) -> Body {
    Body::PreVote {
        attempt,
        last: Position::default(),
    }
}

pub fn granted() -> Body {
    Body::VoteReply {
        answer: Answer::Granted,
    }
}

/// Whether this is a yes, to a vote or a pre-vote.
pub fn grants(body: &Body) -> bool {
    matches!(
        body,
        Body::VoteReply {
            answer: Answer::Granted
        } | Body::PreVoteReply {
            answer: Answer::Granted,
            ..
        }
    )
}

/// What an AppendEntries says: the index and term before its entries, their terms, and the leader's commit index.
pub fn as_append(message: &Message) -> Option<((u64, u64), Vec<u64>, u64)> {
    match &message.body {
        Body::AppendEntries {
            prev,
            entries,
            commit,
            ..
        } => {
            let terms = entries.iter().map(|entry| entry.term.0).collect();
            Some(((prev.index, prev.term.0), terms, *commit))
        }
        _ => None,
    }
}

/// The same of one that must be one.
pub fn append_of(message: &Message) -> ((u64, u64), Vec<u64>, u64) {
    as_append(message).unwrap_or_else(|| panic!("{message} is no AppendEntries"))
}
