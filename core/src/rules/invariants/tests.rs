//! Each invariant can fail: a state that breaks it, and no other, is found.

use std::collections::BTreeMap;

use super::super::durability::Outgoing;
use super::super::raft::{Following, Leading};
use super::super::{
    Appended, At, Beat, Body, Entry, Follower, Log, Members, Message, Payload, Position, Refusal,
    Settings, Snapshot, Stored, Tally, Term, Voters, WriteId,
};
use super::*;
use crate::Time;

impl Raft {
    /// Breaks an invariant that no section mends.
    pub(crate) fn break_for_good(&mut self) {
        self.commit = u64::MAX;
    }
}

const ME: NodeId = NodeId(1);
const AT: At = At {
    now: Time::ZERO,
    random: 0,
};

fn follower() -> Raft {
    let mut settings = Settings::new(ME, Members::voting((1..=3).map(NodeId)));
    settings.pre_vote = false;
    settings.check_quorum = false;
    Raft::new(AT, settings, Stored::default())
}

fn entry(term: u64) -> Entry {
    Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Noop,
    }
}

fn candidate() -> Raft {
    let mut raft = follower();
    let _ = raft.campaign(AT);
    raft
}

fn leader() -> Raft {
    let mut raft = candidate();
    let vote = raft.take_write().expect("its own vote");
    raft.written(vote.id);
    raft.role = leads(&[2, 3]);
    raft
}

fn tally(raft: &mut Raft) -> &mut Tally {
    match &mut raft.role {
        Role::Candidate { tally, .. } => tally,
        other => panic!("{other:?}"),
    }
}

fn leads(others: &[u64]) -> Role {
    let follower = |&id: &u64| (NodeId(id), Follower::new(1, Time::ZERO));
    Role::Leader(Leading {
        first: 1,
        next_heartbeat: Time::ZERO,
        followers: others.iter().map(follower).collect(),
        round: 1,
        now: Time::ZERO,
        reads: Default::default(),
        transfer: None,
        lease_void: false,
        log_clock: (Time::ZERO, Time::ZERO),
        disk: None,
    })
}

fn of_2(raft: &mut Raft) -> &mut Follower {
    match &mut raft.role {
        Role::Leader(leading) => leading.followers.get_mut(&NodeId(2)).expect("it follows"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_invariant_of_a_state_can_fail() {
    type Break = fn(&mut Raft);
    let breaks: [(Raft, Break, &str); 16] = [
        (
            follower(),
            |raft| {
                raft.role = Role::Follower(Following {
                    leader: Some(ME),
                    ..Following::default()
                })
            },
            "follow itself",
        ),
        (
            follower(),
            |raft| {
                raft.role = Role::Follower(Following {
                    matched: 1,
                    ..Following::default()
                })
            },
            "equals the leader's log is in the log",
        ),
        (
            follower(),
            |raft| {
                raft.role = Role::Candidate {
                    tally: Tally {
                        granted: Voters::new(),
                        refused: BTreeMap::new(),
                        ask_again: Time::ZERO,
                    },
                    handed_over: false,
                }
            },
            "a candidate votes for itself",
        ),
        (
            candidate(),
            |raft| assert!(tally(raft).granted.insert(ME)),
            "counts when it is durable",
        ),
        (
            follower(),
            |raft| raft.role = leads(&[2, 3]),
            "voted for itself in it",
        ),
        (
            candidate(),
            |raft| raft.role = leads(&[2]),
            "listens to all other members",
        ),
        (
            leader(),
            |raft| raft.log.push(entry(0)),
            "begins with an entry of its own",
        ),
        (
            leader(),
            |raft| of_2(raft).matched = 1,
            "entries that follow those it has",
        ),
        (
            leader(),
            |raft| {
                of_2(raft).sending = Sending::Streaming {
                    in_flight: (1..=99).collect(),
                }
            },
            "no more than a window is in flight",
        ),
        (
            candidate(),
            |raft| {
                tally(raft).granted.insert(NodeId(2));
                tally(raft).refused.insert(NodeId(2), Refusal::LogBehind);
            },
            "both grants and refuses",
        ),
        (
            follower(),
            |raft| {
                let message = Message {
                    from: ME,
                    to: NodeId(2),
                    term: Term(0),
                    body: Body::AppendReply {
                        beat: Beat::default(),
                        answer: Appended::Stale,
                    },
                };
                raft.durability.outbox.push_back(Outgoing {
                    relies_on: WriteId(9),
                    message,
                });
            },
            "relies on what is yet to come",
        ),
        (
            follower(),
            |raft| raft.log.push(entry(1)),
            "of a term that is yet to come",
        ),
        (
            follower(),
            |raft| raft.durability.log = 1,
            "no entry is durable that is not in the log",
        ),
        (
            follower(),
            |raft| raft.log = Log::after(position(1), Time::ZERO),
            "what is no longer in the log is in the snapshot",
        ),
        (
            follower(),
            |raft| raft.snapshot = Some(snapshot(1)),
            "a snapshot holds what is committed",
        ),
        (
            follower(),
            |raft| raft.configs.push((1, Members::default())),
            "the members are those that the log names",
        ),
    ];
    for (mut raft, break_it, sentence) in breaks {
        assert_eq!(raft.check_invariants(), Ok(()));
        break_it(&mut raft);
        let broken = raft.check_invariants().expect_err(sentence);
        assert!(broken.contains(sentence), "{broken}");
    }
}

fn position(index: u64) -> Position {
    let term = Term(0);
    Position { term, index }
}

fn snapshot(index: u64) -> Snapshot {
    Snapshot {
        last: position(index),
        time: Time::ZERO,
        members: Members::default(),
        data: Default::default(),
    }
}

#[test]
fn every_invariant_of_a_transition_can_fail() {
    let state = |term, id| Before {
        hard_state: HardState {
            term: Term(term),
            voted_for: Some(NodeId(id)),
        },
        ..Before::default()
    };
    let mut raft = candidate();
    assert_eq!(raft.check_transition(&Before::default()), Ok(()));
    assert_eq!(raft.check_transition(&state(1, 1)), Ok(()));
    let fails = |raft: &Raft, before| raft.check_transition(&before).expect_err("broken");
    assert!(fails(&raft, state(2, 1)).contains("terms never go back"));
    assert!(fails(&raft, state(1, 2)).contains("at most one vote in a term"));
    let (commit, applied) = (1, 1);
    let committed = Before {
        commit,
        ..state(1, 1)
    };
    assert!(fails(&raft, committed).contains("what is committed stays committed"));
    let done = Before {
        applied,
        ..state(1, 1)
    };
    assert!(fails(&raft, done).contains("what is applied stays applied"));
    raft.applied = 1;
    assert!(fails(&raft, state(1, 1)).contains("and was committed"));
    raft.applied = 0;
    raft.role = leads(&[2, 3]);
    assert!(fails(&raft, state(1, 1)).contains("durable before it leads"));
    let mut raft = candidate();
    raft.break_for_good();
    assert!(fails(&raft, state(1, 1)).contains("what is committed is in the log"));
}
