//! Those who only look: a status, a change of leadership; and wake-ups for no reason.

use biglock::rules::RoleKind;
use biglock::{NoLeader, NodeId, Outside, Status, Stopped, Term};

use super::votes::{candidate, disturb, pass_time_and_stop, receive, see_through};
use crate::harness::{GATED, Model};
use crate::world::{DEADLINE, NodeSpec, Wire, World, heartbeat, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "watching-leadership",
        property: "who waits for a leader and who waits for a term both wake, however often the leadership changes",
        threads: 3,
        goals: &[
            "a change of leadership",
            "saw the first leader",
            "saw the second leader",
        ],
        body: leadership,
        ..GATED
    },
    Model {
        name: "watching-own-election",
        property: "a waiter hears that its own node was elected",
        threads: 3,
        goals: &["a change of leadership", "votes"],
        body: own_election,
        ..GATED
    },
    Model {
        name: "watching-status",
        property: "each status is one moment: term, vote, role and leader fit together, and terms never go back",
        threads: 4,
        goals: &[
            "saw a follower",
            "saw a candidate",
            "saw a leader",
            "saw a higher term",
        ],
        body: status,
        ..GATED
    },
    Model {
        name: "watching-spurious",
        property: "every wait bears being woken for no reason",
        threads: 4,
        goals: &[
            "the election deadline",
            "the next heartbeat",
            "a change of leadership",
        ],
        body: spurious,
        ..GATED
    },
    Model {
        name: "watching-spurious-votes",
        property: "a candidate that is woken for no reason goes on waiting for its votes",
        threads: 3,
        goals: &["votes", "a leader"],
        body: spurious_votes,
        ..GATED
    },
];

fn leadership(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    receive(
        world,
        &node,
        "receiver",
        [heartbeat(2, 1, 1), heartbeat(3, 1, 2)],
    );
    let (there, waiter) = (world.clone(), node.clone());
    world.thread("caller a", move |outside| {
        let found = waiter.await_leadership(outside, None, |seen| seen.leader.is_some());
        there.reached(match found.expect("nobody stops the node").leader {
            Some(NodeId(2)) => "saw the first leader",
            _ => "saw the second leader",
        });
    });
    let waiter = node;
    world.thread("caller b", move |outside| {
        let found = waiter.await_leadership(outside, None, |seen| seen.term >= Term(2));
        let leader = found.expect("nobody stops the node").leader;
        assert_eq!(leader, Some(NodeId(3)), "who waits for term 2 wakes in it");
    });
}

fn own_election(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    receive(world, &node, "receiver", [world.vote(2, 1, 1)]);
    let waiter = node.clone();
    world.thread("caller", move |outside| {
        let found = waiter.await_leadership(outside, None, |seen| seen.leader == Some(NodeId(1)));
        assert_eq!(found.expect("nobody stops the node").term, Term(1));
    });
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}

fn status(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).wire(Wire::Direct));
    let _voter = world.node(NodeSpec::new(2, 3).wire(Wire::Direct));
    node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    let (there, reader) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let first = consistent(&there, reader.status(outside));
        let second = consistent(&there, reader.status(outside));
        assert!(first.term <= second.term, "terms never go back");
    });
    receive(world, &node, "receiver", [request(3, 1, 2)]);
    // Whoever voted for node 3 waits for a deadline that does not come.
    pass_time_and_stop(world, &node, &[]);
    world.thread("election", move |outside| {
        if let Ok(Some(ballot)) = node.election_turn(outside, None) {
            see_through(&node, outside, ballot);
        }
    });
}

/// What must fit together in one look.
fn consistent(world: &World, status: Status) -> Status {
    let me = Some(status.id);
    world.reached(match status.role {
        RoleKind::Follower => "saw a follower",
        RoleKind::PreCandidate => "saw a pre-candidate",
        RoleKind::Candidate => "saw a candidate",
        RoleKind::Leader => "saw a leader",
    });
    if status.term.0 > 1 {
        world.reached("saw a higher term");
    }
    if let Some(NoLeader::Stopped { .. }) = status.no_leader {
        // Whatever it was, it no longer is.
        return status;
    }
    match status.role {
        RoleKind::Candidate => assert_eq!(status.voted_for, me, "a candidate votes for itself"),
        RoleKind::Leader => assert_eq!(status.leader, me, "a leader knows who leads"),
        RoleKind::Follower => assert_ne!(status.leader, me, "a follower does not lead"),
        RoleKind::PreCandidate => {}
    }
    assert_eq!(
        status.leader.is_none(),
        status.no_leader.is_some(),
        "there is a leader, or a reason why not"
    );
    status
}

fn spurious(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    let waiter = node.clone();
    world.thread("caller", move |outside| {
        let end = waiter.await_leadership(outside, None, |seen| seen.leader.is_some());
        assert!(
            end.is_err(),
            "nobody leads, so only the end of the node ends the wait"
        );
    });
    let leader = node.clone();
    world.thread("leader", move |outside| {
        assert!(
            leader.leader_turn(outside).is_err(),
            "nobody leads, so nothing is sent"
        );
    });
    let waker = node.clone();
    world.thread("waker", move |outside| {
        waker.monitor().disturb(outside);
        waker.stop(outside, Stopped::Shutdown);
    });
    world.thread("election", move |outside| {
        assert!(
            node.election_turn(outside, None).is_err(),
            "the deadline never passes"
        );
    });
}

fn spurious_votes(world: &World) {
    let (node, ballot) = candidate(world, NodeSpec::new(1, 3));
    receive(world, &node, "receiver", [world.vote(2, 1, 1)]);
    disturb(world, &node, 3);
    let there = world.clone();
    world.finally(move || assert_eq!(there.leader_of(1), Some(NodeId(1)), "the vote came"));
    world.thread("election", move |outside| {
        see_through(&node, outside, ballot)
    });
}
