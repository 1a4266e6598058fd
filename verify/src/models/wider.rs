//! The questions of the other models where more comes together: more nodes, more answers, more crash points. The small ones stay, for a mistake should be
//! found by the smallest check that can.

use biglock::rules::{Answer, Body, Refusal};
use biglock::{Message, NodeId, Stopped};

use super::votes::{candidate, disturb, pass_time, pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{
    ASK_AGAIN, NEXT_DEADLINE, NodeSpec, Wire, World, at, command, heartbeat, message, noop, request,
};

pub const MODELS: &[Model] = &[
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
        name: "wider-entries-crash",
        property: "what a follower told its leader that it has decides, after a crash at any point, to whom it gives its vote",
        threads: 3,
        goals: &[
            "told nothing",
            "told one entry",
            "told all entries",
            "voted for the shorter log",
            "kept its vote",
        ],
        crashes: true,
        body: entries_crash,
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

/// Node 2 leads term 1 and sends two entries after its no-op; node 3, which has the no-op alone, asks for a vote after the crash.
fn entries_crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).hard_state(1, None));
    world.elected(2, 1, 3);
    let first = world.append((2, 1, 1), at(0, 0), vec![noop(1)], 0);
    let second = world.append(
        (2, 1, 1),
        at(1, 1),
        vec![command(1, "a"), command(1, "b")],
        0,
    );
    receive(world, &node, "receiver", [first, second]);
    let writes = node.clone();
    world.thread("disk", move |outside| writes.disk_loop(outside));
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        let told = there.told_up_to(1, 1);
        there.reached(match told {
            0 => "told nothing",
            1 => "told one entry",
            _ => "told all entries",
        });
        let again = there.restart(NodeSpec::new(1, 3));
        let mut vote = request(3, 1, 2);
        if let Body::RequestVote { last, .. } = &mut vote.body {
            *last = at(1, 1);
        }
        again.receive(outside, there.said(vote));
        match there.vote_of(1, 2) {
            Some(_) => {
                assert!(told <= 1, "it told node 2 that it has {told} entries");
                there.reached("voted for the shorter log");
            }
            None => there.reached("kept its vote"),
        }
        node.stop(outside, Stopped::Shutdown);
    });
}
