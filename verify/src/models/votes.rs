//! Counting votes: the candidate waits on the condvar while others count.

use std::sync::Arc;

use biglock::node::Engine;
use biglock::rules::{Answer, Ballot, Body, Refusal};
use biglock::{Message, NodeId, Outside, Stopped, Time};

use crate::harness::{GATED, Model};
use crate::world::{DEADLINE, NEXT_DEADLINE, NodeSpec, World, message};

pub const MODELS: &[Model] = &[
    Model {
        name: "votes-3",
        property: "a candidate of 3 leads exactly if a majority granted, whatever the answers and their order",
        threads: 4,
        goals: &["votes", "a leader", "not elected", "a higher term"],
        body: votes_3,
        ..GATED
    },
    Model {
        name: "votes-5",
        property: "a candidate of 5 leads exactly if a majority granted",
        threads: 4,
        goals: &["votes", "a leader", "not elected"],
        body: votes_5,
        ..GATED
    },
    Model {
        name: "votes-repeated",
        property: "a vote that arrives three times is one vote",
        threads: 4,
        goals: &["votes", "not elected"],
        body: repeated,
        ..GATED
    },
    Model {
        name: "votes-stale",
        property: "late votes of one candidacy do not count in the next",
        threads: 3,
        goals: &["votes", "a leader", "a second candidacy"],
        body: stale,
        ..GATED
    },
    Model {
        name: "votes-pre",
        property: "a pre-vote that is won starts one election; answers to another attempt start none",
        threads: 3,
        goals: &["votes", "an election follows", "no election follows"],
        body: pre_vote,
        ..GATED
    },
];

/// A node whose deadline has passed and which has asked for votes, with the ballot of that campaign.
pub fn candidate(world: &World, spec: NodeSpec) -> (Arc<Engine>, Ballot) {
    let node = world.node(spec);
    let mut outside = Outside::claim("election");
    node.monitor().tick(&mut outside, DEADLINE);
    let ballot = node.election_turn(&mut outside, None);
    (node, ballot.expect("it runs").expect("it campaigns"))
}

/// The election thread, until no campaign is left: neither this one nor one that follows from it.
pub fn see_through(node: &Engine, outside: &mut Outside, ballot: Ballot) {
    let mut next = Some(ballot);
    while next.is_some() {
        next = node.election_turn(outside, next).unwrap_or(None);
    }
}

/// A thread that receives these messages; without any, it makes a wake-up for no reason.
pub fn receive(
    world: &World,
    node: &Arc<Engine>,
    name: &'static str,
    messages: impl IntoIterator<Item = Message>,
) {
    let node = node.clone();
    let messages: Vec<Message> = messages.into_iter().map(|m| world.said(m)).collect();
    world.thread(name, move |outside| {
        if messages.is_empty() {
            node.monitor().disturb(outside);
        }
        for message in messages {
            node.receive(outside, message);
        }
    });
}

/// A thread that lets time pass up to each of these moments, one after the other.
pub fn pass_time(world: &World, node: &Arc<Engine>, moments: &'static [Time]) {
    let node = node.clone();
    world.thread("time", move |outside| tick(&node, outside, moments));
}

fn tick(node: &Engine, outside: &mut Outside, moments: &[Time]) {
    for &to in moments {
        node.monitor().tick(outside, to);
    }
}

/// A thread that wakes everyone for no reason.
pub fn disturb(world: &World, node: &Arc<Engine>, times: usize) {
    let node = node.clone();
    world.thread("waker", move |outside| {
        for _ in 0..times {
            node.monitor().disturb(outside);
        }
    });
}

/// A thread that lets time pass, and then stops the node at whatever it is by then.
pub fn pass_time_and_stop(world: &World, node: &Arc<Engine>, moments: &'static [Time]) {
    let node = node.clone();
    world.thread("time", move |outside| {
        tick(&node, outside, moments);
        node.stop(outside, Stopped::Shutdown);
    });
}

/// The last check: whether node 1 led term 1.
fn expect_leader(world: &World, expected: bool) {
    let there = world.clone();
    world.finally(move || {
        if !expected {
            there.reached("not elected");
        }
        let leader = there.leader_of(1);
        assert_eq!(leader, expected.then_some(NodeId(1)), "who leads term 1");
    });
}

fn refusal(voter: u64, why: Refusal, term: u64) -> Message {
    let answer = Answer::Refused(why);
    message(voter, 1, term, Body::VoteReply { answer })
}

fn votes_3(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    let kinds = [2, 3].map(|_| world.choose(["granted", "refused", "lost", "higher term"]));
    for (voter, kind) in [2, 3].into_iter().zip(kinds) {
        let answer = match kind {
            "granted" => Some(world.vote(voter, 1, 1)),
            "refused" => Some(refusal(voter, Refusal::VotedForAnother, 1)),
            "higher term" => Some(refusal(voter, Refusal::StaleTerm, 2)),
            _ => None,
        };
        let name = if voter == 2 {
            "receiver 2"
        } else {
            "receiver 3"
        };
        receive(world, &node, name, answer);
    }
    let any = |kind| kinds.contains(&kind);
    let decided = any("granted") || any("higher term") || kinds == ["refused", "refused"];
    // Who hears too little must wait for the deadline; everyone else only bears a wake-up for no reason.
    if decided {
        disturb(world, &node, 1);
    } else {
        pass_time(world, &node, &[NEXT_DEADLINE]);
    }
    if any("higher term") {
        world.reached("a higher term");
    } else {
        expect_leader(world, any("granted"));
    }
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

fn votes_5(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 5));
    let grants = [2, 3, 4, 5].map(|_| world.choose([true, false]));
    let answers = [2, 3, 4, 5].into_iter().zip(grants);
    // One receiver gets two answers: there are at most four threads, and in a real node there is one.
    let [a, b, c, d]: [Message; 4] = answers
        .map(|(voter, grant)| match grant {
            true => world.vote(voter, 1, 1),
            false => refusal(voter, Refusal::VotedForAnother, 1),
        })
        .collect::<Vec<_>>()
        .try_into()
        .expect("four voters");
    expect_leader(world, grants.iter().filter(|&&grant| grant).count() >= 2);
    receive(world, &node, "receiver 2", [a]);
    receive(world, &node, "receiver 3", [b]);
    receive(world, &node, "receiver 4 5", [c, d]);
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

fn repeated(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 5));
    let vote = world.vote(2, 1, 1);
    receive(world, &node, "receiver", [vote.clone(), vote.clone()]);
    receive(world, &node, "receiver'", [vote]);
    expect_leader(world, false);
    pass_time(world, &node, &[NEXT_DEADLINE]);
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

fn stale(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 5));
    // Two votes of term 1: a majority if both come in time, and nothing at all in term 2.
    receive(
        world,
        &node,
        "receiver 2",
        [world.vote(2, 1, 1), world.vote(3, 1, 1)],
    );
    pass_time_and_stop(world, &node, &[NEXT_DEADLINE]);
    let there = world.clone();
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot);
        if there.leader_of(1).is_none()
            && let Ok(Some(second)) = node.election_turn(outside, None)
        {
            there.reached("a second candidacy");
            see_through(&node, outside, second);
        }
    });
}

fn pre_vote(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3).pre_vote());
    let ours = world.attempt_of(1);
    let attempt = world.choose([ours, ours.wrapping_add(1)]);
    let answer = Answer::Granted;
    let yes = message(2, 1, 0, Body::PreVoteReply { attempt, answer });
    receive(world, &node, "receiver", [yes.clone(), yes]);
    pass_time_and_stop(world, &node, &[NEXT_DEADLINE]);
    let there = world.clone();
    world.finally(move || match there.disk(1).hard_state.term.0 {
        0 => there.reached("no election follows"),
        term => {
            assert_eq!(
                (term, attempt),
                (1, ours),
                "one election, of the attempt that was won"
            );
            there.reached("an election follows");
        }
    });
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}
