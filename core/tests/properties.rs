//! Random schedules over the pure rules: messages lost, repeated, reordered and late, clocks that run apart, disks that are slow, crashes that
//! keep only what was durable, and campaigns at any moment. What must hold is judged from outside, by the messages and the disks. Each seed
//! replays; a failure names its own.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use biglock::lock::Guarded;
use biglock::node::{Audience, Shared};
use biglock::rules::{Answer, At, Ballot, Body, Position, Raft, Refusal, Role, RoleKind};
use biglock::{HardState, MemoryStorage, Message, Stopped, Term, Time};
use common::{Cluster, HEARTBEAT, MAX, Server, grants, last, log, message, settings};

/// Runs `body` once for each seed, and says which one failed.
fn for_each_seed(seeds: u64, mut body: impl FnMut(&mut fastrand::Rng)) {
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&mut random))) {
            eprintln!("the seed is {seed}");
            resume_unwind(panic);
        }
    }
}

/// A cluster at the mercy of its schedule, and what an onlooker has seen of it.
struct World {
    servers: BTreeMap<u64, Server>,
    /// Each has a clock of its own.
    clocks: BTreeMap<u64, Time>,
    wire: Vec<Message>,
    /// Whom nobody hears, and who hears nobody, for a while.
    cut: Option<u64>,
    seen: Seen,
    happened: Happened,
}

/// What the onlooker remembers: the whole history of what was said.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<Term, u64>,
    /// Who voted for whom in which term, by its messages.
    votes: BTreeMap<(u64, Term), u64>,
    /// The latest term in which each has spoken, before its crashes too.
    spoke: BTreeMap<u64, Term>,
}

/// What the schedules reached: a property that holds because nothing happens shows nothing.
#[derive(Debug, Default)]
struct Happened {
    elections: u64,
    crashes: u64,
    torn_writes: u64,
    refused_votes: u64,
    quorums_lost: u64,
}

impl World {
    fn new(random: &mut fastrand::Rng) -> World {
        let n = random.u64(1..=9);
        let (pre_vote, check_quorum) = (random.bool(), random.bool());
        let start = |id| {
            let mut settings = settings(id, n);
            settings.pre_vote = pre_vote;
            settings.check_quorum = check_quorum;
            let log = log([&[][..], &[1], &[1, 1], &[1, 2], &[2]][random.usize(..5)]);
            let disk = HardState {
                term: log.last().term,
                voted_for: None,
            };
            let mut server = Server::new(settings, Time::ZERO, disk, log);
            server.seed(random.u64(..));
            (id, server)
        };
        World {
            servers: (1..=n).map(start).collect(),
            clocks: (1..=n).map(|id| (id, Time::ZERO)).collect(),
            wire: Vec::new(),
            cut: None,
            seen: Seen::default(),
            happened: Happened::default(),
        }
    }

    /// One thing happens, to one server or on the wire.
    fn step(&mut self, random: &mut fastrand::Rng) {
        let id = random.u64(1..=self.servers.len() as u64);
        let now = self.clocks[&id];
        let server = self.servers.get_mut(&id).expect("it exists");
        match random.u32(..100) {
            0..52 => self.arrive(random),
            52..55 => drop(take(&mut self.wire, random)),
            55..68 => self.within(id, |server| server.finish_write()),
            68..80 => self.within(id, |server| server.count_votes(now)),
            80..84 => {
                let by = Duration::from_micros(random.u64(..50_000));
                self.clocks.insert(id, now + by);
            }
            84..86 if server.raft.election_deadline().is_some() => {
                // Often when the timeout has passed, sometimes at any moment.
                if random.u32(..4) > 0 {
                    self.clocks
                        .insert(id, now.max(server.raft.election_deadline().unwrap()));
                }
                let now = self.clocks[&id];
                self.within(id, |server| server.campaign(now));
            }
            86..98 => {
                if let Some(due) = server.raft.heartbeat_due() {
                    self.clocks.insert(id, now.max(due));
                    let now = self.clocks[&id];
                    self.within(id, |server| server.heartbeat(now));
                    let led = self.servers[&id].raft.heartbeat_due().is_some();
                    self.happened.quorums_lost += u64::from(!led);
                }
            }
            98 if random.bool() => self.crash(id, random),
            _ => self.cut = Some(id).filter(|_| random.u32(..3) > 0),
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
        let now = self.clocks[&message.to.0];
        self.within(message.to.0, |server| server.receive(now, message));
    }

    /// The machine fails in the middle of whatever it did. A write that was under way has happened, or not, and nobody was told.
    fn crash(&mut self, id: u64, random: &mut fastrand::Rng) {
        self.happened.crashes += 1;
        let old = &self.servers[&id];
        let mut disk = old.disk;
        if let Some(write) = old.writing.filter(|_| random.bool()) {
            self.happened.torn_writes += 1;
            disk = write.hard_state;
        }
        let (settings, log) = (old.raft.settings().clone(), old.raft.log().clone());
        let mut new = Server::new(settings, self.clocks[&id], disk, log);
        new.seed(random.u64(..));
        let spoke = self.seen.spoke.get(&id).copied().unwrap_or_default();
        assert!(
            new.raft.term() >= spoke,
            "node {id} forgot that it spoke in {spoke}"
        );
        self.servers.insert(id, new);
    }

    /// One section, and what is taken out of it; with everything that must hold checked on the way.
    fn within(&mut self, id: u64, section: impl FnOnce(&mut Server)) {
        let server = self.servers.get_mut(&id).expect("it exists");
        let before = server.raft.hard_state();
        section(server);
        server.raft.check_transition(before).expect("term and vote");
        server.raft.check_invariants().expect("the invariants");
        server.begin_write();
        let messages = server.raft.take_messages();
        let (term, leads) = (
            server.raft.term(),
            server.raft.role().kind() == RoleKind::Leader,
        );
        for message in &messages {
            self.hear(id, message);
        }
        self.wire.extend(messages);
        if leads {
            self.crown(id, term);
        }
    }

    /// A server leads: nobody else in its term, ever, and only with a log that a majority could vote for.
    fn crown(&mut self, id: u64, term: Term) {
        if self.seen.leaders.get(&term) == Some(&id) {
            return;
        }
        self.happened.elections += 1;
        let other = self.seen.leaders.insert(term, id);
        assert_eq!(other, None, "{id} leads in {term} too");
        let end = self.servers[&id].raft.log().last();
        let behind = |server: &&Server| server.raft.log().last() <= end;
        let behind = self.servers.values().filter(behind).count();
        assert!(behind > self.servers.len() / 2, "a log at {end:?} won");
        let voted =
            |(voter, of): &(u64, Term)| *of == term && self.seen.votes[&(*voter, *of)] == id;
        let votes = self.seen.votes.keys().filter(|key| voted(key)).count();
        // A server that is alone asks nobody, so nobody hears of its vote.
        let needed = self.servers.len() / 2 + 1;
        assert!(
            votes >= needed || needed == 1,
            "{votes} votes were said of {needed}"
        );
    }

    /// A message leaves: what it says is durable, fits what was said before, and says no more than one vote.
    fn hear(&mut self, id: u64, message: &Message) {
        let disk = self.servers[&id].disk;
        assert_eq!(message.from.0, id);
        assert!(
            disk.term >= message.term,
            "{message} leaves, the disk has {disk:?}"
        );
        let spoke = self.seen.spoke.entry(id).or_default();
        assert!(
            message.term >= *spoke,
            "{message}, after it spoke in {spoke}"
        );
        *spoke = message.term;
        let vote = match message.body {
            Body::RequestVote { .. } => id,
            Body::VoteReply { .. } if grants(&message.body) => message.to.0,
            Body::VoteReply { .. } => {
                self.happened.refused_votes += 1;
                return;
            }
            _ => return,
        };
        let durable = disk.term > message.term || disk.voted_for.map(|id| id.0) == Some(vote);
        assert!(durable, "{message} leaves, the disk has {disk:?}");
        let first = *self.seen.votes.entry((id, message.term)).or_insert(vote);
        assert_eq!(first, vote, "{id} votes twice in {}", message.term);
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

/// Election safety (figure 3), one vote in a term, terms that never go back, and nothing said that is not durable: in every step of every schedule.
#[test]
fn whatever_happens_safety_holds() {
    let mut total = Happened::default();
    for_each_seed(600, |random| {
        let mut world = World::new(random);
        for _ in 0..1500 {
            world.step(random);
        }
        total.elections += world.happened.elections;
        total.crashes += world.happened.crashes;
        total.torn_writes += world.happened.torn_writes;
        total.refused_votes += world.happened.refused_votes;
        total.quorums_lost += world.happened.quorums_lost;
    });
    println!("{total:?}");
    assert!(total.elections > 1000, "{total:?}");
    assert!(total.crashes > 1000 && total.torn_writes > 50, "{total:?}");
    assert!(
        total.refused_votes > 1000 && total.quorums_lost > 20,
        "{total:?}"
    );
}

/// Liveness (5.6): after any such history, once messages arrive in time and nobody crashes, a leader is elected within a bounded time, all know
/// it, and it stays.
#[test]
fn once_the_network_heals_a_leader_is_elected_and_stays() {
    for_each_seed(200, |random| {
        let mut world = World::new(random);
        for _ in 0..random.u32(..600) {
            world.step(random);
        }
        let now = world.clocks.values().copied().max().unwrap_or_default();
        let mut cluster = Cluster::from_parts(now, world.wire, world.servers);
        let all = cluster.ids();
        let agreed = |cluster: &Cluster| {
            let leader = cluster
                .leader(1)
                .filter(|&id| cluster.role(id) == RoleKind::Leader);
            leader.filter(|_| {
                all.iter()
                    .all(|&id| cluster.leader(id) == leader && cluster.term(id) == cluster.term(1))
            })
        };
        let delay = Duration::from_micros(random.u64(1..2_000));
        // What was under way arrives, and whoever is overdue acts.
        cluster.run(delay, now + MAX, &[]);
        let patience = now + MAX * 30;
        while agreed(&cluster).is_none() {
            assert!(
                cluster.now < patience,
                "no leader for {:?}",
                cluster.now.since(now)
            );
            let soon = cluster.now + HEARTBEAT;
            cluster.run(delay, soon, &[]);
        }
        let (leader, term) = (agreed(&cluster), cluster.term(1));
        let later = cluster.now + MAX * 20;
        cluster.run(delay, later, &[]);
        assert_eq!(
            (agreed(&cluster), cluster.term(1)),
            (leader, term),
            "it stays"
        );
    });
}

/// A storage nobody writes to: the digest is judged without threads.
fn shared(random: &mut fastrand::Rng) -> Shared {
    let mut settings = settings(1, random.u64(1..=5));
    settings.pre_vote = random.bool();
    settings.check_quorum = true;
    let at = At {
        now: Time::ZERO,
        random: random.u64(..),
    };
    let raft = Raft::new(at, settings, HardState::default(), log(&[]));
    Shared::new(raft, Box::new(MemoryStorage::new()), random.u64(..))
}

/// What the predicates of these waiters read, apart from the time: the election thread, the leader thread, and those who wait for a leader.
fn observable(shared: &Shared, who: Audience, ballot: Option<&Ballot>) -> String {
    let raft = &shared.raft;
    let stopped = shared.stopped().is_some();
    match who {
        Audience::Election => {
            let verdict = ballot.map(|ballot| raft.verdict(ballot, Time::ZERO));
            format!("{verdict:?} {stopped}")
        }
        Audience::Leader => format!("{} {stopped}", raft.heartbeat_due().is_some()),
        Audience::Callers => format!("{:?} {stopped}", shared.leadership()),
    }
}

/// When time alone lets these waiters go on.
fn due(shared: &Shared, who: Audience, ballot: Option<&Ballot>) -> Option<Time> {
    match who {
        Audience::Election if ballot.is_some() => shared.raft.next_look(),
        Audience::Election => shared.raft.election_deadline(),
        Audience::Leader => shared.raft.heartbeat_due(),
        Audience::Callers => None,
    }
}

fn any_body(random: &mut fastrand::Rng, attempt: u64) -> Body {
    let end: Position = last([&[][..], &[1]][random.usize(..2)]);
    let yes = Answer::Granted;
    let no = Answer::Refused(Refusal::LogBehind);
    let answer = if random.u32(..4) > 0 { yes } else { no };
    match random.u32(..6) {
        0 => Body::PreVote { attempt, last: end },
        1 => Body::PreVoteReply { attempt, answer },
        2 => Body::RequestVote { last: end },
        3 => Body::VoteReply { answer },
        4 => Body::AppendEntries {
            prev: end,
            commit: 1,
        },
        _ => Body::AppendReply { matched: Some(0) },
    }
}

/// Whatever a section changes that a waiter's predicate reads concerns its audience, and whatever time it waits for the alarm knows: otherwise the broadcast is
/// missing and the waiter sleeps on (rule: "broadcast exactly when a waiter could see a difference").
#[test]
fn what_a_waiter_can_see_the_digest_sees() {
    let mut changed = [0; 3];
    for_each_seed(400, |random| {
        let mut shared = shared(random);
        let (mut now, mut ballot) = (Time::ZERO, None);
        for _ in 0..200 {
            now = now + Duration::from_micros(random.u64(1..30_000));
            let all = Shared::AUDIENCES.iter();
            let seen: Vec<_> = all
                .map(|&who| observable(&shared, who, ballot.as_ref()))
                .collect();
            let digest = shared.digest();
            let waits = ballot.is_some();
            match random.u32(..100) {
                // The election thread's own sections need to wake nobody for its own sake.
                0..10 if shared.raft.election_deadline().is_some() => {
                    let at = shared.at(now);
                    ballot = Some(shared.raft.campaign(at));
                }
                10..25 => {
                    let at = shared.at(now);
                    ballot = ballot
                        .take()
                        .and_then(|ballot| shared.raft.count_votes(at, ballot));
                }
                _ => others_act(&mut shared, now, random),
            }
            let own = waits != ballot.is_some();
            for (nth, &who) in Shared::AUDIENCES.iter().enumerate() {
                let sees = observable(&shared, who, ballot.as_ref());
                if sees != seen[nth] && !(own && who == Audience::Election) {
                    changed[nth] += 1;
                    let concerned = Shared::concerns(who, &digest, &shared.digest());
                    assert!(concerned, "{who:?}: {} became {sees} unseen", seen[nth]);
                }
                if let Some(due) = due(&shared, who, ballot.as_ref()) {
                    let alarm = shared.alarm(who).expect("there is a time");
                    assert!(
                        alarm <= due,
                        "{who:?} would sleep until {alarm:?}, and not {due:?}"
                    );
                }
            }
            let _ = shared.raft.take_messages();
        }
    });
    assert!(changed.iter().all(|&times| times > 100), "{changed:?}");
}

/// What happens in a section of any thread but the election thread.
fn others_act(shared: &mut Shared, now: Time, random: &mut fastrand::Rng) {
    let at = shared.at(now);
    let raft = &mut shared.raft;
    match random.u32(..75) {
        0..60 => {
            let from = random.u64(2..=5);
            let term = (raft.term().0 + random.u64(..3)).saturating_sub(1);
            let attempt = match raft.role() {
                Role::PreCandidate { attempt, .. } => *attempt,
                _ => 0,
            };
            let body = any_body(random, attempt);
            let leads = matches!(body, Body::AppendEntries { .. }) && term == raft.term().0;
            // No second leader of a term: to see one stops the node, and is tested there.
            if !leads || raft.leader().is_none_or(|leader| leader.0 == from) {
                raft.receive(at, message(from, 1, term, body));
            }
        }
        60..64 => raft.heartbeat(at),
        64..74 => {
            if let Some(write) = raft.take_write() {
                raft.written(write.id);
            }
        }
        _ if random.u32(..5) == 0 => shared.stop(Stopped::Shutdown),
        _ => {}
    }
}
