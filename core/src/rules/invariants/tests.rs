//! Each invariant can fail: a state that breaks it, and no other, is found.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::raft::{Outgoing, Tally};
use super::super::{At, Body, Log, Message, Refusal, Settings, Term, Voters, WriteId};
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
    let settings = Settings {
        id: ME,
        members: (1..=3).map(NodeId).collect(),
        election_timeout_min: Duration::from_millis(100),
        election_timeout_max: Duration::from_millis(200),
        heartbeat: Duration::from_millis(20),
        pre_vote: false,
        check_quorum: false,
    };
    Raft::new(AT, settings, HardState::default(), Log::new())
}

fn candidate() -> Raft {
    let mut raft = follower();
    let _ = raft.campaign(AT);
    raft
}

fn tally(raft: &mut Raft) -> &mut Tally {
    match &mut raft.role {
        Role::Candidate { tally } => tally,
        other => panic!("{other:?}"),
    }
}

fn leads(heard: &[u64]) -> Role {
    Role::Leader {
        next_heartbeat: Time::ZERO,
        heard: heard.iter().map(|&id| (NodeId(id), Time::ZERO)).collect(),
    }
}

#[test]
fn every_invariant_of_a_state_can_fail() {
    type Break = fn(&mut Raft);
    let breaks: [(Raft, Break, &str); 9] = [
        (
            follower(),
            |raft| {
                raft.role = Role::Follower {
                    leader: Some(ME),
                    lost_quorum: false,
                }
            },
            "follow itself",
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
            "listens to all others",
        ),
        (
            candidate(),
            |raft| assert!(tally(raft).granted.insert(NodeId(99))),
            "only members' votes count",
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
                    body: Body::AppendReply { matched: None },
                };
                raft.outbox.push_back(Outgoing {
                    relies_on: WriteId(9),
                    message,
                });
            },
            "relies on what is yet to come",
        ),
        (
            follower(),
            Raft::break_for_good,
            "what is committed is in the log",
        ),
    ];
    for (mut raft, break_it, sentence) in breaks {
        assert_eq!(raft.check_invariants(), Ok(()));
        break_it(&mut raft);
        let broken = raft.check_invariants().expect_err(sentence);
        assert!(broken.contains(sentence), "{broken}");
    }
}

#[test]
fn every_invariant_of_a_transition_can_fail() {
    let mut raft = candidate();
    let state = |term, id| HardState {
        term: Term(term),
        voted_for: Some(NodeId(id)),
    };
    assert_eq!(raft.check_transition(HardState::default()), Ok(()));
    assert_eq!(raft.check_transition(state(1, 1)), Ok(()));
    let fails = |raft: &Raft, before| raft.check_transition(before).expect_err("broken");
    assert!(fails(&raft, state(2, 1)).contains("terms never go back"));
    assert!(fails(&raft, state(1, 2)).contains("at most one vote in a term"));
    raft.role = leads(&[2, 3]);
    assert!(fails(&raft, state(1, 1)).contains("durable before it leads"));
}
