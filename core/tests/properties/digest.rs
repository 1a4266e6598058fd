//! Whom a section wakes: judged against what the waiters' predicates read, without threads.

use std::time::Duration;

use biglock::lock::Guarded;
use biglock::node::{Audience, Shared, Tell};
use biglock::rules::{Answer, Appended, At, Ballot, Beat, Body, Change, Raft, Refusal, Role};
use biglock::{Applied, MemoryStorage, NodeId, Outside, RestoreError, StateMachine, Stopped, Time};
use bytes::Bytes;

use super::for_each_seed;
use crate::common::{command, entries, message, settings};

/// A storage nobody writes to: the digest is judged without threads.
fn shared(random: &mut fastrand::Rng) -> Shared {
    let mut settings = settings(1, random.u64(1..=5));
    settings.pre_vote = random.bool();
    settings.check_quorum = random.bool();
    settings.snapshot_every = 200;
    settings.keep_entries = 2;
    let at = At {
        now: Time::ZERO,
        random: random.u64(..),
    };
    let raft = Raft::new(at, settings, Default::default());
    let storage = Box::new(MemoryStorage::new());
    Shared::new(raft, storage, Box::new(Slow), random.u64(..))
}

/// A state machine that takes its time, so that a thread of its own applies.
struct Slow;

impl StateMachine for Slow {
    fn apply(&mut self, _: Applied, _: &[u8]) -> Bytes {
        Bytes::new()
    }
    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn at(random: &mut fastrand::Rng, now: Time) -> At {
    let random = random.u64(..);
    At { now, random }
}

/// What the predicates of these waiters read, apart from the time.
fn observable(shared: &Shared, who: Audience, ballot: Option<&Ballot>) -> String {
    let raft = &shared.raft;
    let stopped = shared.stopped().is_some();
    match who {
        Audience::Election => {
            let verdict = ballot.map(|ballot| raft.verdict(ballot, Time::ZERO));
            format!("{verdict:?} {stopped}")
        }
        // Only when there is something to do, which is a time.
        Audience::Leader => format!("{stopped}"),
        Audience::Disk => format!("{} {stopped}", shared.has_write()),
        Audience::Apply => format!("{} {stopped}", shared.has_job()),
        Audience::Callers => {
            let transfer = raft.transferring_to();
            let (leadership, learners) = (shared.leadership(), raft.learners_led());
            format!("{leadership:?} {transfer:?} {learners:?} {stopped}")
        }
    }
}

/// When time alone lets these waiters go on.
fn due(shared: &Shared, who: Audience, ballot: Option<&Ballot>) -> Option<Time> {
    match who {
        Audience::Election if ballot.is_some() => shared.raft.next_look(),
        Audience::Election => shared.raft.election_deadline(),
        Audience::Leader => shared.upkeep_due(),
        Audience::Disk | Audience::Apply | Audience::Callers => None,
    }
}

fn any_body(random: &mut fastrand::Rng, raft: &Raft) -> Body {
    let end = raft.log().last();
    let attempt = match raft.role() {
        Role::PreCandidate { attempt, .. } => *attempt,
        _ => 0,
    };
    let answer = match random.u32(..4) {
        0 => Answer::Refused(Refusal::LogBehind),
        _ => Answer::Granted,
    };
    let beat = Beat {
        round: random.u64(..4),
        sent: Time::ZERO,
    };
    match random.u32(..8) {
        0 => Body::PreVote { attempt, last: end },
        1 => Body::PreVoteReply { attempt, answer },
        2 => Body::RequestVote {
            last: end,
            handed_over: random.bool(),
        },
        3 => Body::VoteReply { answer },
        4 => Body::AppendEntries {
            prev: end,
            entries: entries(&[raft.term().0][..random.usize(..2)]).into(),
            commit: end.index,
            beat,
        },
        5 => Body::TimeoutNow,
        6 => Body::ReadIndex { read: 1 },
        _ => Body::AppendReply {
            beat,
            answer: Appended::Matched(end.index),
        },
    }
}

/// Whatever a section changes that a waiter's predicate reads concerns its audience, and whatever time it waits for the alarm knows: otherwise the broadcast is
/// missing and the waiter sleeps on (rule: "broadcast exactly when a waiter could see a difference").
#[test]
fn what_a_waiter_can_see_the_digest_sees() {
    let mut changed = [0; 5];
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
                    let at = at(random, now);
                    ballot = Some(shared.raft.campaign(at));
                }
                10..25 => {
                    let at = at(random, now);
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
            let _ = shared.take_messages();
        }
    });
    println!("{changed:?}");
    assert!(changed.iter().all(|&times| times > 50), "{changed:?}");
}

/// What happens in a section of any thread but the election thread.
fn others_act(shared: &mut Shared, now: Time, random: &mut fastrand::Rng) {
    match random.u32(..100) {
        0..52 => {
            let raft = &shared.raft;
            let from = random.u64(2..=6);
            let term = (raft.term().0 + random.u64(..3)).saturating_sub(1);
            let body = any_body(random, raft);
            let leads = matches!(body, Body::AppendEntries { .. }) && term == raft.term().0;
            // No second leader of a term: to see one stops the node, and is tested there.
            let second = leads && raft.leader().is_some_and(|leader| leader.0 != from);
            // Nor entries of a term that is yet to come.
            if !second && (term == raft.term().0 || !matches!(body, Body::AppendEntries { .. })) {
                shared.receive(now, message(from, 1, term, body));
            }
        }
        52..55 => {
            let id = NodeId(6);
            let change = match random.bool() {
                true => Change::AddLearner {
                    id,
                    address: String::new(),
                },
                false => Change::Remove(id),
            };
            drop(shared.change_members(now, &change, Tell::call(|_, _| {})));
        }
        55..60 => shared.upkeep(now),
        60..65 => {
            let tell = Tell::call(|_, _| {});
            let _ = shared.propose(now, [(command(&[0; 40]), tell)]);
        }
        65..69 => drop(shared.read(now, Tell::call(|_, _| {}))),
        69..71 => drop(shared.want_snapshot(Tell::call(|_, _| {}))),
        71..73 => drop(shared.transfer(now, NodeId(random.u64(1..=5)))),
        73..86 => {
            if let Some(write) = shared.raft.take_write() {
                shared.raft.written(write.id);
            }
        }
        86..99 => {
            if let Some((mut applier, job)) = shared.take_job() {
                let done = applier.run(&Outside::claim("apply"), job);
                shared.finish_job(now, applier, done);
            }
        }
        _ if random.u32(..5) == 0 => shared.stop(Stopped::Shutdown),
        _ => {}
    }
}
