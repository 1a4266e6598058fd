//! The questions of the other models where more comes together: more nodes, more answers, more crash points. The small ones stay, for a mistake should be
//! found by the smallest check that can.

mod callers;
mod crashes;

use biglock::rules::{Answer, Body, Refusal};
use biglock::{Message, NodeId, Term};

use super::votes::{candidate, disturb, pass_time, pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{ASK_AGAIN, NEXT_DEADLINE, NodeSpec, Wire, World, heartbeat, message, request};

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Model> {
    [MODELS, crashes::MODELS, callers::MODELS]
        .into_iter()
        .flatten()
}

const MODELS: &[Model] = &[
    Model {
        name: "wider-votes-5",
        property: "a candidate of 5 leads exactly if a majority granted, whatever each of the four others says, and whether it says anything",
        goals: &["votes", "a leader", "not elected", "a higher term"],
        body: votes_5,
        ..GATED
    },
    Model {
        name: "wider-campaign",
        property: "a candidate is asked by a rival and then hears it lead, while votes come, it asks again, it campaigns again, or it ends",
        goals: &[
            "votes",
            "asked again",
            "a leader",
            "a leader steps down",
            "a second candidacy",
        ],
        body: campaign,
        ..GATED
    },
    Model {
        name: "wider-candidates-of-5",
        property: "of two candidates of one term, which three others may vote for, exactly one leads, and both hear of it",
        threads: 2,
        goals: &["node 1 leads", "node 2 leads"],
        body: candidates_of_5,
        ..GATED
    },
    Model {
        name: "wider-leaderships",
        property: "whoever waits for a leader, for a term or for the end of both wakes, through three leaderships",
        threads: 3,
        goals: &[
            "a change of leadership",
            "saw leader 2",
            "saw leader 3",
            "saw leader 4",
        ],
        body: leaderships,
        ..GATED
    },
];

fn votes_5(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 5));
    let kinds = [2, 3, 4, 5].map(|_| world.choose(["granted", "refused", "lost", "higher term"]));
    let answer = |(voter, kind): (u64, &str)| {
        let refusal = |why, term| {
            let answer = Answer::Refused(why);
            message(voter, 1, term, Body::VoteReply { answer })
        };
        match kind {
            "granted" => Some(world.vote(voter, 1, 1)),
            "refused" => Some(refusal(Refusal::VotedForAnother, 1)),
            "higher term" => Some(refusal(Refusal::StaleTerm, 2)),
            _ => None,
        }
    };
    let answers: Vec<Option<Message>> = [2, 3, 4, 5].into_iter().zip(kinds).map(answer).collect();
    receive(
        world,
        &node,
        "receiver 2 3",
        answers[..2].iter().flatten().cloned(),
    );
    receive(
        world,
        &node,
        "receiver 4 5",
        answers[2..].iter().flatten().cloned(),
    );
    let many = |kind| kinds.iter().filter(|&&of| of == kind).count();
    let decided = many("granted") >= 2 || many("refused") >= 3 || many("higher term") > 0;
    if decided {
        disturb(world, &node, 1);
    } else {
        pass_time(world, &node, &[NEXT_DEADLINE]);
    }
    if many("higher term") > 0 {
        world.reached("a higher term");
    } else {
        let expected = many("granted") >= 2;
        let there = world.clone();
        world.finally(move || {
            if !expected {
                there.reached("not elected");
            }
            let leader = there.leader_of(1);
            assert_eq!(leader, expected.then_some(NodeId(1)), "who leads term 1");
        });
    }
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

/// Node 3 campaigns in term 2, and is elected by node 4 and node 5.
fn campaign(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 5));
    let votes = [2, 5].map(|voter| world.vote(voter, 1, 1));
    receive(world, &node, "receiver 2", votes);
    for voter in [4, 5] {
        world.elected(3, 2, voter);
    }
    let rival = [request(3, 1, 2), heartbeat(3, 1, 2)];
    receive(world, &node, "receiver 3", rival);
    pass_time_and_stop(world, &node, &[ASK_AGAIN, NEXT_DEADLINE]);
    let there = world.clone();
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot);
        if let Ok(Some(second)) = node.election_turn(outside, None) {
            there.reached("a second candidacy");
            see_through(&node, outside, second);
        }
    });
}

/// Nodes 1 and 2 ask for votes of one term; the three others may give one. Each candidate hears from all, so each is decided.
fn candidates_of_5(world: &World) {
    let names = ["election 1", "election 2"];
    let campaigns: Vec<_> = [1, 2]
        .into_iter()
        .map(|id| {
            let (node, ballot) = candidate(world, NodeSpec::new(id, 5).wire(Wire::Direct));
            (node, ballot, world.held(id))
        })
        .collect();
    for id in 3..=5 {
        world.node(NodeSpec::new(id, 5).wire(Wire::Direct));
    }
    for (name, (node, ballot, requests)) in names.into_iter().zip(campaigns) {
        let there = world.clone();
        world.thread(name, move |outside| {
            for request in requests {
                there.deliver(outside, request);
            }
            see_through(&node, outside, ballot);
        });
    }
    let there = world.clone();
    world.finally(move || match there.leader_of(1) {
        Some(NodeId(1)) => there.reached("node 1 leads"),
        Some(NodeId(2)) => there.reached("node 2 leads"),
        other => panic!("one of two has two of the three votes, not {other:?}"),
    });
}

/// Three leaders in three terms.
fn leaderships(world: &World) {
    let node = world.node(NodeSpec::new(1, 5));
    for (leader, term) in [(2, 1), (3, 2), (4, 3)] {
        world.elected(leader, term, 5);
    }
    let beats = [(2, 1), (3, 2), (4, 3)].map(|(leader, term)| heartbeat(leader, 1, term));
    receive(world, &node, "receiver", beats);
    let (there, waiter) = (world.clone(), node.clone());
    world.thread("caller a", move |outside| {
        let found = waiter.await_leadership(outside, None, |seen| seen.leader.is_some());
        there.reached(match found.expect("nobody stops the node").leader {
            Some(NodeId(2)) => "saw leader 2",
            Some(NodeId(3)) => "saw leader 3",
            _ => "saw leader 4",
        });
    });
    world.thread("caller b", move |outside| {
        let found = node.await_leadership(outside, None, |seen| seen.term >= Term(3));
        let leader = found.expect("nobody stops the node").leader;
        assert_eq!(leader, Some(NodeId(4)), "who waits for term 3 wakes in it");
    });
}
