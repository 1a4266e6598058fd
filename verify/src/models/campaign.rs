//! A campaign, and what may come between its sections.

use biglock::Time;
use biglock::rules::{Answer, Body, Refusal};

use super::votes::{candidate, disturb, pass_time, pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{
    ASK_AGAIN, DEADLINE, NEXT_DEADLINE, NodeSpec, Wire, World, heartbeat, message, request,
};

pub const MODELS: &[Model] = &[
    Model {
        name: "campaign-higher-term",
        property: "a higher term that arrives at any moment of a campaign ends it, and the term belongs to nobody twice",
        threads: 3,
        goals: &[
            "the election deadline",
            "a leader",
            "campaign of term 1",
            "no campaign of term 1",
        ],
        body: higher_term,
        ..GATED
    },
    Model {
        name: "campaign-deadline",
        property: "a deadline that passes at any moment of a campaign starts the next, in a new term",
        threads: 3,
        goals: &["votes", "a leader", "asked again", "a second candidacy"],
        body: deadline,
        ..GATED
    },
    Model {
        name: "campaign-rival",
        property: "a leader heard during a campaign of its own term ends it",
        threads: 4,
        goals: &["votes", "the rival leads"],
        body: rival,
        ..GATED
    },
    Model {
        name: "campaign-shrinking-deadline",
        property: "a deadline that comes closer while the thread sleeps is not overslept",
        threads: 3,
        goals: &["the election deadline", "campaign of term 2"],
        body: shrinking_deadline,
        ..GATED
    },
    Model {
        name: "campaign-all-at-once",
        property: "votes, a rival's request, a second campaign and the end of the node, in any order, break no law",
        threads: 4,
        goals: &[
            "votes",
            "the election deadline",
            "a leader",
            "a leader steps down",
            "a second candidacy",
        ],
        body: all_at_once,
        ..GATED
    },
];

/// Nodes 1 and 3 are real, and 3's vote makes a majority; node 2 is ahead by a term or two.
fn higher_term(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).wire(Wire::Direct));
    let _voter = world.node(NodeSpec::new(3, 3).wire(Wire::Direct));
    let answer = Answer::Refused(Refusal::StaleTerm);
    let arrives = world.choose([
        request(2, 1, 1),
        request(2, 1, 2),
        heartbeat(2, 1, 2),
        message(2, 1, 2, Body::VoteReply { answer }),
    ]);
    receive(world, &node, "receiver", [arrives]);
    pass_time_and_stop(world, &node, &[DEADLINE]);
    let there = world.clone();
    world.thread("election", move |outside| {
        let ballot = node.election_turn(outside, None);
        if let Ok(Some(ballot)) = ballot {
            there.reached(match ballot.term().0 {
                1 => "campaign of term 1",
                _ => "campaign of a later term",
            });
            see_through(&node, outside, ballot);
        } else {
            there.reached("no campaign of term 1");
        }
    });
}

fn deadline(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    receive(world, &node, "receiver", [world.vote(2, 1, 1)]);
    pass_time_and_stop(world, &node, &[ASK_AGAIN, NEXT_DEADLINE]);
    let there = world.clone();
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot);
        if there.leader_of(1).is_none()
            && let Ok(Some(second)) = node.election_turn(outside, None)
        {
            assert_eq!(second.term().0, 2, "each candidacy has a term of its own");
            there.reached("a second candidacy");
            see_through(&node, outside, second);
        }
    });
}

fn rival(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    // Node 2 was elected in term 1, by node 3.
    world.elected(2, 1, 3);
    let answer = Answer::Refused(Refusal::VotedForAnother);
    let refused = |voter| message(voter, 1, 1, Body::VoteReply { answer });
    receive(world, &node, "receiver 2", [refused(2), heartbeat(2, 1, 1)]);
    receive(world, &node, "receiver 3", [refused(3)]);
    pass_time(world, &node, &[ASK_AGAIN]);
    let there = world.clone();
    let last = node.clone();
    world.finally(move || {
        let status = last.status(&mut biglock::Outside::claim("caller"));
        assert_eq!(status.role, biglock::rules::RoleKind::Follower);
        there.reached("the rival leads");
    });
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

/// The thread sleeps until 500 ms, when a leader's heartbeat draws a deadline of 100 ms. Nothing happens after that moment, so whoever
/// oversleeps it sleeps for ever.
fn shrinking_deadline(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).first_deadline(Time::from_millis(500)));
    world.elected(2, 1, 3);
    let hears = node.clone();
    let heartbeat = world.said(heartbeat(2, 1, 1));
    world.thread("receiver", move |outside| {
        hears.receive(outside, heartbeat);
        hears.monitor().tick(outside, DEADLINE);
    });
    disturb(world, &node, 1);
    let there = world.clone();
    world.thread("election", move |outside| {
        if let Ok(Some(ballot)) = node.election_turn(outside, None) {
            assert_eq!(ballot.term().0, 2);
            there.reached("campaign of term 2");
        }
    });
}

fn all_at_once(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    let arrives = world.choose([request(3, 1, 2), heartbeat(3, 1, 2)]);
    let vote = world.vote(2, 1, 1);
    receive(world, &node, "receiver 2", [vote.clone(), vote]);
    receive(world, &node, "receiver 3", [arrives]);
    pass_time_and_stop(world, &node, &[NEXT_DEADLINE]);
    let there = world.clone();
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot);
        if let Ok(Some(second)) = node.election_turn(outside, None) {
            there.reached("a second candidacy");
            see_through(&node, outside, second);
        }
    });
}
