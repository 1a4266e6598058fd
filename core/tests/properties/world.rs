//! A cluster at the mercy of its schedule, and an onlooker who judges it by the messages, the disks and the states, and never asks the rules.

use std::collections::BTreeMap;
use std::time::Duration;

use biglock::rules::{
    Appended, Body, Change, Entry, Members, Payload, Position, RoleKind, Settings, Snapshot,
};
use biglock::{Message, NodeId, Stored, Term, Time};
use bytes::Bytes;

use crate::common::{Server, command, grants, settings};

/// Servers, each with a clock and a state of its own, and the wire between them.
pub struct World {
    pub servers: BTreeMap<u64, Server>,
    pub clocks: BTreeMap<u64, Time>,
    pub wire: Vec<Message>,
    pub happened: Happened,
    /// What each server's state machine has made of its commands: a fingerprint of all of them in order.
    states: BTreeMap<u64, State>,
    /// Whom nobody hears, and who hears nobody, for a while.
    cut: Option<u64>,
    seen: Seen,
    /// Whether members come and go.
    changes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    index: u64,
    fingerprint: u64,
}

/// What the onlooker remembers: the whole history.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<Term, u64>,
    /// Who voted for whom in which term, by its messages.
    votes: BTreeMap<(u64, Term), u64>,
    /// The latest term in which each has spoken, before its crashes too.
    spoke: BTreeMap<u64, Term>,
    /// Every entry that was ever in a log, with the term of the one before it.
    entries: BTreeMap<Position, (Term, Entry)>,
    /// Up to where each server's log was looked at.
    looked: BTreeMap<u64, Position>,
    /// The end of the log of each leader, when it last did something.
    led: BTreeMap<(u64, Term), Position>,
    /// What was committed: the entry's term, and the term in which somebody first said so.
    committed: BTreeMap<u64, (Term, Term)>,
    /// The state after each entry.
    states: BTreeMap<u64, u64>,
    /// The members from each entry on that named them and was committed.
    members: BTreeMap<u64, Members>,
    /// The reads that wait, and what was committed anywhere when they began.
    reads: BTreeMap<(u64, u64), u64>,
}

/// What the schedules reached: a property that holds because nothing happens shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub elections: u64,
    pub crashes: u64,
    pub torn_writes: u64,
    pub refused_votes: u64,
    pub quorums_lost: u64,
    pub committed: u64,
    pub truncated: u64,
    pub snapshots: u64,
    pub installed: u64,
    pub changes: u64,
    pub transfers: u64,
    pub handed_over: u64,
    pub reads: u64,
}

impl Happened {
    pub fn add(&mut self, other: &Happened) {
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.torn_writes += other.torn_writes;
        self.refused_votes += other.refused_votes;
        self.quorums_lost += other.quorums_lost;
        self.committed += other.committed;
        self.truncated += other.truncated;
        self.snapshots += other.snapshots;
        self.installed += other.installed;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.handed_over += other.handed_over;
        self.reads += other.reads;
    }
}

impl World {
    /// A cluster of 1 to 5 voters; with `changes`, up to two servers wait to be added to it.
    pub fn new(random: &mut fastrand::Rng, changes: bool) -> World {
        let n = random.u64(1..=5);
        let all = if changes { n + 2 } else { n };
        let (pre_vote, check_quorum) = (random.bool(), random.bool());
        let (window, keep) = (random.usize(1..4), random.u64(..4));
        let set = |id| {
            let mut settings = settings(id, n);
            if id > n {
                settings.members = Members::default();
            }
            settings.pre_vote = pre_vote;
            settings.check_quorum = check_quorum;
            settings.max_payload = 256;
            settings.max_in_flight = window;
            settings.keep_entries = keep;
            settings
        };
        let mut start = |id| {
            let (disk, seed) = (Stored::default(), random.u64(..));
            (id, Server::with_seed(set(id), Time::ZERO, disk, seed))
        };
        let mut world = World {
            servers: (1..=all).map(&mut start).collect(),
            clocks: (1..=all).map(|id| (id, Time::ZERO)).collect(),
            wire: Vec::new(),
            happened: Happened::default(),
            states: (1..=all).map(|id| (id, State::default())).collect(),
            cut: None,
            seen: Seen::default(),
            changes,
        };
        let first = Members::voting((1..=n).map(NodeId));
        world.seen.members.insert(0, first);
        world
    }

    /// One thing happens, to one server or on the wire.
    pub fn step(&mut self, random: &mut fastrand::Rng) {
        let id = random.u64(1..=self.servers.len() as u64);
        let now = self.clocks[&id];
        let server = self.servers.get_mut(&id).expect("it exists");
        let leads = server.raft.heartbeat_due().is_some();
        match random.u32(..1000) {
            0..440 => self.arrive(random),
            440..470 => drop(take(&mut self.wire, random)),
            470..600 => self.within(id, |server, _| server.finish_write()),
            600..700 => self.within(id, |server, now| server.count_votes(now)),
            700..730 => {
                let by = Duration::from_micros(random.u64(..50_000));
                self.clocks.insert(id, now + by);
            }
            730..750 => {
                let Some(deadline) = server.raft.election_deadline() else {
                    return;
                };
                // Mostly when the timeout has passed, sometimes at any moment.
                if random.u32(..4) > 0 {
                    self.clocks.insert(id, now.max(deadline));
                }
                self.within(id, |server, now| server.campaign(now));
            }
            750..850 => {
                if let Some(due) = server.raft.heartbeat_due() {
                    self.clocks.insert(id, now.max(due));
                    self.within(id, |server, now| server.heartbeat(now));
                    let led = self.servers[&id].raft.heartbeat_due().is_some();
                    self.happened.quorums_lost += u64::from(!led);
                } else if let Some(due) = server.raft.retry_due() {
                    self.clocks.insert(id, now.max(due));
                    self.within(id, |server, now| {
                        let at = server.at(now);
                        server.raft.retry(at);
                    });
                }
            }
            850..900 if leads => {
                let payload = command(&random.u64(..).to_be_bytes());
                self.within(id, |server, now| {
                    let at = server.at(now);
                    let _ = server.raft.propose(at, payload);
                });
            }
            900..930 => self.apply(id, random.u64(1..5)),
            930..945 => self.snapshot(id),
            945..955 if leads && self.changes => self.change_members(id, random),
            955..960 if leads => {
                let to = NodeId(random.u64(1..=self.servers.len() as u64));
                let mut began = false;
                self.within(id, |server, now| {
                    let at = server.at(now);
                    began = server.raft.transfer(at, to).is_ok();
                });
                self.happened.transfers += u64::from(began);
            }
            960..980 => self.read(id),
            980..984 => self.crash(id, random),
            984..990 => self.cut = Some(id).filter(|_| random.u32(..3) > 0),
            _ => {}
        }
    }

    fn arrive(&mut self, random: &mut fastrand::Rng) {
        let Some(message) = take(&mut self.wire, random) else {
            return;
        };
        if self
            .cut
            .is_some_and(|cut| [message.from.0, message.to.0].contains(&cut))
        {
            return;
        }
        if random.u32(..8) == 0 {
            self.wire.push(message.clone());
        }
        let to = message.to.0;
        let handed = matches!(message.body, Body::TimeoutNow);
        let snapshot = self.servers[&to].raft.snapshot().map(|s| s.last);
        let end = self.servers[&to].raft.log().last();
        let installs = matches!(message.body, Body::InstallSnapshot { .. });
        self.within(to, |server, now| server.receive(now, message));
        let raft = &self.servers[&to].raft;
        let new = raft.snapshot().map(|s| s.last) != snapshot;
        self.happened.installed += u64::from(installs && new);
        self.happened.truncated += u64::from(!installs && !raft.log().contains(end));
        self.happened.handed_over += u64::from(handed);
    }

    /// The state machine applies a few of the committed entries.
    fn apply(&mut self, id: u64, many: u64) {
        let (mut state, mut upto) = (self.states[&id], 0);
        let raft = &self.servers[&id].raft;
        if state.index < raft.log().before().index {
            let snapshot = raft.snapshot().expect("it holds what is gone");
            state = State::restore(&snapshot.data);
            assert_eq!(state.index, snapshot.last.index);
            upto = state.index;
        }
        for index in state.index + 1..=raft.commit().min(state.index + many) {
            state.apply(raft.log().get(index).expect("it is committed"));
            upto = index;
            let other = *self.seen.states.entry(index).or_insert(state.fingerprint);
            assert_eq!(
                other, state.fingerprint,
                "{id} has another state at {index}"
            );
        }
        self.states.insert(id, state);
        if upto > 0 {
            self.within(id, |server, _| server.raft.set_applied(upto));
        }
    }

    fn snapshot(&mut self, id: u64) {
        let state = self.states[&id];
        let raft = &self.servers[&id].raft;
        let older = raft.snapshot().is_none_or(|s| s.last.index < state.index);
        let Some((last, time, members)) = raft.snapshot_head(state.index).filter(|_| older) else {
            return;
        };
        // Who joins knows no members before the entry that adds it.
        let named = self.seen.members.range(..=last.index).next_back();
        let known = named.map(|(_, members)| members) == Some(&members);
        assert!(known || members.is_empty(), "{members:?} as of {last:?}");
        let data = state.save();
        let snapshot = Snapshot {
            last,
            time,
            members,
            data,
        };
        self.happened.snapshots += 1;
        self.within(id, |server, _| server.raft.compact(snapshot));
    }

    fn change_members(&mut self, id: u64, random: &mut fastrand::Rng) {
        let other = NodeId(random.u64(1..=self.servers.len() as u64));
        let address = String::new();
        let change = match random.u32(..4) {
            0 => Change::AddLearner { id: other, address },
            1 => Change::Promote(other),
            2 => Change::Demote(other),
            _ => Change::Remove(other),
        };
        let mut began = false;
        self.within(id, |server, now| {
            let at = server.at(now);
            began = server.raft.change_members(at, &change).is_ok();
        });
        self.happened.changes += u64::from(began);
    }

    fn read(&mut self, id: u64) {
        let mut began = None;
        // What is acknowledged anywhere before the read begins, it must see.
        let known = self.servers.values().map(|server| server.raft.commit());
        let known = known.max().unwrap_or(0);
        let next = |server: &mut Server, now| {
            let at = server.at(now);
            began = server.raft.read(at).ok();
        };
        self.seen.reads.insert((id, u64::MAX), known);
        self.within(id, next);
        self.seen.reads.remove(&(id, u64::MAX));
        if let Some(read) = began {
            self.seen.reads.entry((id, read.0)).or_insert(known);
        }
    }

    /// The machine fails in the middle of whatever it did. A write that was under way has happened, or not, and nobody was told.
    fn crash(&mut self, id: u64, random: &mut fastrand::Rng) {
        self.happened.crashes += 1;
        let old = &self.servers[&id];
        let mut disk = old.disk.clone();
        if let Some(write) = old.writing.as_ref().filter(|_| random.bool()) {
            self.happened.torn_writes += 1;
            disk.apply(write.batch.clone());
        }
        let settings: Settings = old.raft.settings().clone();
        let new = Server::with_seed(settings, self.clocks[&id], disk, random.u64(..));
        let spoke = self.seen.spoke.get(&id).copied().unwrap_or_default();
        assert!(
            new.raft.term() >= spoke,
            "node {id} forgot that it spoke in {spoke}"
        );
        self.servers.insert(id, new);
        self.states.insert(id, State::default());
        self.seen.looked.remove(&id);
        self.seen.reads.retain(|(reader, _), _| *reader != id);
    }

    /// One section, and what is taken out of it; with everything that must hold checked on the way.
    fn within(&mut self, id: u64, section: impl FnOnce(&mut Server, Time)) {
        let now = self.clocks[&id];
        let server = self.servers.get_mut(&id).expect("it exists");
        let before = server.raft.before();
        section(server, now);
        server
            .raft
            .check_transition(&before)
            .expect("the transition");
        server.raft.check_invariants().expect("the invariants");
        server.begin_write();
        let messages = server.raft.take_messages();
        let served = server.raft.take_reads();
        let (term, role) = (server.raft.term(), server.raft.role().kind());
        for message in &messages {
            self.hear(id, message);
        }
        self.wire.extend(messages);
        for answer in served {
            // One that is answered at once is not yet in the list.
            let began = self.seen.reads.remove(&(id, answer.id.0));
            let began = began.or_else(|| self.seen.reads.get(&(id, u64::MAX)).copied());
            let began = began.expect("somebody reads");
            self.happened.reads += u64::from(answer.index.is_some());
            assert!(
                answer.index.is_none_or(|index| index >= began),
                "{id} reads at {answer:?} what was at {began} before"
            );
        }
        self.look_at_log(id);
        if role == RoleKind::Leader {
            self.crown(id, term);
        }
        self.look_at_commit(id);
    }

    /// Log matching (figure 3): whoever has an entry of this index and term has this entry, and the same before it.
    fn look_at_log(&mut self, id: u64) {
        let log = self.servers[&id].raft.log();
        let looked = self.seen.looked.get(&id).copied().unwrap_or_default();
        let from = match log.contains(looked) {
            true => looked.index + 1,
            false => log.first(),
        };
        for index in from..=log.last().index {
            let entry = log.get(index).expect("it is there").clone();
            let (term, before) = (entry.term, log.term_at(index - 1).expect("it is there"));
            let position = Position { term, index };
            let new = (before, entry);
            let known = self.seen.entries.entry(position).or_insert(new.clone());
            assert_eq!(known, &new, "{id} has another entry at {position:?}");
        }
        self.seen.looked.insert(id, log.last());
    }

    /// State machine safety (figure 3): what is committed is the same everywhere, and stays.
    fn look_at_commit(&mut self, id: u64) {
        let raft = &self.servers[&id].raft;
        for (index, entry) in raft.log().iter().take_while(|(i, _)| *i <= raft.commit()) {
            let mut new = false;
            let known = self.seen.committed.entry(index).or_insert_with(|| {
                new = true;
                (entry.term, raft.term())
            });
            assert_eq!(known.0, entry.term, "{id} committed another entry {index}");
            if new {
                self.happened.committed += 1;
                if let Payload::Members(members) = &entry.payload {
                    self.seen.members.insert(index, members.clone());
                }
            }
        }
    }

    /// A server leads.
    fn crown(&mut self, id: u64, term: Term) {
        let raft = &self.servers[&id].raft;
        let (end, gone) = (raft.log().last(), raft.log().before().index);
        // Leader append-only (figure 3).
        if let Some(before) = self.seen.led.insert((id, term), end) {
            let kept = before.index <= gone || raft.log().contains(before);
            assert!(kept && end.index >= before.index, "{id} removed {before:?}");
        }
        if self.seen.leaders.get(&term) == Some(&id) {
            return;
        }
        self.happened.elections += 1;
        // Election safety (figure 3).
        let other = self.seen.leaders.insert(term, id);
        assert_eq!(other, None, "{id} leads in {term} too");
        // Leader completeness (figure 3).
        for (&index, &(of, said)) in &self.seen.committed {
            let has = index <= gone || raft.log().contains(Position { term: of, index });
            assert!(has || said >= term, "{id} leads in {term} without {index}");
        }
        let members = raft.members();
        let voted = |&voter: &NodeId| self.seen.votes.get(&(voter.0, term)) == Some(&id);
        let votes = members.voters().filter(voted).count();
        // A server that is alone asks nobody, so nobody hears of its vote.
        let needed = members.majority();
        assert!(
            votes >= needed || needed == 1,
            "{votes} votes were said of {needed}"
        );
    }

    /// A message leaves: what it says is durable, fits what was said before, and says no more than one vote.
    fn hear(&mut self, id: u64, message: &Message) {
        let disk = &self.servers[&id].disk;
        let hard = disk.hard_state;
        assert_eq!(message.from.0, id);
        assert!(
            hard.term >= message.term,
            "{message} leaves, the disk has {hard:?}"
        );
        let spoke = self.seen.spoke.entry(id).or_default();
        assert!(
            message.term >= *spoke,
            "{message}, after it spoke in {spoke}"
        );
        *spoke = message.term;
        let vote = match &message.body {
            Body::RequestVote { .. } => id,
            Body::VoteReply { .. } if grants(&message.body) => message.to.0,
            Body::VoteReply { .. } => {
                self.happened.refused_votes += 1;
                return;
            }
            Body::AppendReply {
                answer: Appended::Matched(index),
                ..
            } => {
                let end = disk.log.last().index;
                assert!(end >= *index, "{message} leaves, the disk ends at {end}");
                // These very entries, and not only as many.
                let here = self.servers[&id].raft.log().iter_from(disk.log.first());
                let mut said = here.take_while(|(at, _)| at <= index);
                let other = said.find(|&(at, entry)| disk.log.get(at) != Some(entry));
                assert_eq!(other, None, "{message} leaves, the disk has another entry");
                return;
            }
            _ => return,
        };
        let durable = hard.term > message.term || hard.voted_for.map(|id| id.0) == Some(vote);
        assert!(durable, "{message} leaves, the disk has {hard:?}");
        let first = *self.seen.votes.entry((id, message.term)).or_insert(vote);
        assert_eq!(first, vote, "{id} votes twice in {}", message.term);
    }
}

impl State {
    fn apply(&mut self, entry: &Entry) {
        self.index += 1;
        if let Payload::Command(bytes) = &entry.payload {
            for &byte in bytes {
                self.fingerprint =
                    (self.fingerprint ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }

    /// Long enough for several pieces.
    fn save(self) -> Bytes {
        let mut bytes = [self.index.to_be_bytes(), self.fingerprint.to_be_bytes()].concat();
        bytes.resize(400, 7);
        bytes.into()
    }

    fn restore(bytes: &[u8]) -> State {
        assert!(bytes.len() == 400 && bytes[16..].iter().all(|&b| b == 7));
        let number = |at: usize| {
            let eight = bytes[at..at + 8].try_into().expect("eight bytes");
            u64::from_be_bytes(eight)
        };
        State {
            index: number(0),
            fingerprint: number(8),
        }
    }
}

/// Mostly a message that left lately, so that campaigns come to an end; sometimes one as old as any.
fn take(wire: &mut Vec<Message>, random: &mut fastrand::Rng) -> Option<Message> {
    let oldest = if random.u32(..6) == 0 {
        0
    } else {
        wire.len().saturating_sub(12)
    };
    (!wire.is_empty()).then(|| wire.remove(random.usize(oldest..wire.len())))
}
