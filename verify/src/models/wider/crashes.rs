//! A machine that crashes, and what it may have said and promised before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use biglock::node::{Decided, SnapshotTaken, Tell};
use biglock::rules::Body;
use biglock::{Message, NodeId, Outside, Position, Stopped};

use super::GATED;
use super::callers::settled;
use crate::harness::Model;
use crate::models::votes::receive;
use crate::world::{NodeSpec, World, at, command, noop, request};

pub const MODELS: &[Model] = &[
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
    Model {
        name: "wider-votes-two-crashes",
        property: "candidates that ask again and again have one vote between them, wherever the voter's two crashes come",
        threads: 3,
        goals: &[
            "told before the first crash",
            "told between the crashes",
            "told after both crashes",
            "voted for who asked last",
            "voted for who asked before",
            "nobody was told who has the vote",
        ],
        crashes: true,
        body: votes_two_crashes,
        ..GATED
    },
    Model {
        name: "wider-truncation-crash",
        property: "of two leaders' logs a follower that crashes at any point still has the one whose leader it told so",
        threads: 4,
        goals: &[
            "told the first leader",
            "told the second leader",
            "told both",
            "told neither",
            "voted for the first leader's log",
            "kept its vote",
        ],
        crashes: true,
        body: truncation_crash,
        ..GATED
    },
    Model {
        name: "wider-commit-crash",
        property: "what a leader told its caller to be committed is on its disk after a crash at any point, and decides to whom it gives its vote",
        threads: 4,
        goals: &[
            "told before the crash",
            "not told",
            "voted for the shorter log",
            "kept its vote",
        ],
        crashes: true,
        body: commit_crash,
        ..GATED
    },
    Model {
        name: "wider-snapshot-crash",
        property: "a snapshot of which a caller was told is there after a crash at any point, and what follows it joins on",
        threads: 4,
        goals: &[
            "told of none",
            "told of two entries",
            "told of five",
            "lacks what comes before",
            "goes on",
        ],
        crashes: true,
        body: snapshot_crash,
        ..GATED
    },
];

/// A vote request of a candidate whose log ends there.
fn asks(from: u64, term: u64, end: Position) -> Message {
    let mut vote = request(from, 1, term);
    if let Body::RequestVote { last, .. } = &mut vote.body {
        *last = end;
    }
    vote
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
        again.receive(outside, there.said(asks(3, 2, at(1, 1))));
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

/// Each request arrives twice, at whoever has the machine by then.
fn votes_two_crashes(world: &World) {
    world.node(NodeSpec::new(1, 5));
    for (name, candidate) in [("receiver 2", 2), ("receiver 3", 3)] {
        let there = world.clone();
        let asks = world.said(request(candidate, 1, 1));
        world.thread(name, move |outside| {
            for _ in 0..2 {
                there.deliver(outside, asks.clone());
            }
        });
    }
    let there = world.clone();
    world.thread("crash", move |outside| {
        let mut told = None;
        for when in ["told before the first crash", "told between the crashes"] {
            there.crash(1);
            told = told.or(there.vote_of(1, 1).map(|_| when));
            there.restart(NodeSpec::new(1, 5));
        }
        there.reached(told.unwrap_or("told after both crashes"));
        there.deliver(outside, there.said(request(5, 1, 1)));
    });
    let there = world.clone();
    world.finally(move || {
        let disk = there.disk(1).hard_state.voted_for;
        let told = there.vote_of(1, 1);
        assert!(disk.is_some(), "who asked last came after all crashes");
        assert!(
            told.is_none() || told == disk,
            "{told:?} has the vote, and the disk says {disk:?}"
        );
        there.reached(match told {
            Some(NodeId(5)) => "voted for who asked last",
            Some(_) => "voted for who asked before",
            None => "nobody was told who has the vote",
        });
    });
}

/// The leader of term 1 sends two entries, and the leader of term 3 another second one. After the crash node 2 asks, which has what the first sent.
fn truncation_crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).hard_state(1, None));
    world.elected(2, 1, 3);
    world.elected(3, 3, 2);
    let first = world.append((2, 1, 1), at(0, 0), vec![noop(1), command(1, "a")], 0);
    let second = world.append((3, 1, 3), at(1, 1), vec![noop(3)], 0);
    receive(world, &node, "receiver 2", [first]);
    receive(world, &node, "receiver 3", [second]);
    let writes = node.clone();
    world.thread("disk", move |outside| writes.disk_loop(outside));
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        let told = [1, 3].map(|term| there.told_up_to(1, term) > 1);
        there.reached(match told {
            [true, false] => "told the first leader",
            [false, true] => "told the second leader",
            [true, true] => "told both",
            [false, false] => "told neither",
        });
        let again = there.restart(NodeSpec::new(1, 3));
        again.receive(outside, there.said(asks(2, 4, at(1, 2))));
        match there.vote_of(1, 4) {
            Some(_) => {
                assert!(!told[1], "it told node 3 that it has the entry of term 3");
                there.reached("voted for the first leader's log");
            }
            None => there.reached("kept its vote"),
        }
        node.stop(outside, Stopped::Shutdown);
    });
}

/// Node 2 has the entry at once; node 3 never gets it, and asks for a vote after the crash.
fn commit_crash(world: &World) {
    let node = settled(world);
    let told = Arc::new(AtomicBool::new(false));
    let (there, proposes, tells) = (world.clone(), node.clone(), told.clone());
    let second = world.acknowledged(2, 1, 1, 2);
    world.thread("caller", move |outside| {
        let who = Tell::call(move |_, what: Decided| {
            tells.store(what.is_ok(), Ordering::Relaxed);
        });
        let proposed = there.propose_then(&proposes, outside, "a", who);
        if proposed.is_ok() {
            proposes.receive(outside, second);
        }
    });
    let [writes, applies] = [node.clone(), node.clone()];
    world.thread("disk", move |outside| writes.disk_loop(outside));
    world.thread("apply", move |outside| applies.apply_loop(outside));
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        let told = told.load(Ordering::Relaxed);
        there.reached(if told {
            "told before the crash"
        } else {
            "not told"
        });
        let again = there.restart(NodeSpec::new(1, 3));
        again.receive(outside, there.said(asks(3, 2, at(1, 1))));
        match there.vote_of(1, 2) {
            Some(_) => {
                assert!(!told, "its caller was told that it is committed");
                there.reached("voted for the shorter log");
            }
            None => there.reached("kept its vote"),
        }
        node.stop(outside, Stopped::Shutdown);
    });
}

/// A follower that has two entries; a snapshot of as much arrives, or one up to entry 5, and a caller wants one. After the crash what follows the
/// leader's snapshot arrives.
fn snapshot_crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).instant_disk());
    world.elected(2, 1, 3);
    let entries = world.append((2, 1, 1), at(0, 0), vec![noop(1), command(1, "a")], 2);
    let theirs = world.choose([2, 5]);
    let state: &[_] = match theirs {
        2 => &[(2, "a")],
        _ => &[(2, "a"), (4, "b")],
    };
    let snapshot = world.snapshot((2, 1, 1), at(1, theirs), state);
    node.receive(&mut Outside::claim("receiver"), entries);
    receive(world, &node, "receiver", [snapshot]);
    let told = Arc::new(AtomicU64::new(0));
    let (wants, tells) = (node.clone(), told.clone());
    world.thread("caller", move |outside| {
        let who = Tell::call(move |_, taken: SnapshotTaken| {
            tells.store(taken.map_or(0, |last| last.index), Ordering::Relaxed);
        });
        // It may come after the end: then nobody is told.
        let _ = wants.snapshot(outside, who);
    });
    let applies = node.clone();
    world.thread("apply", move |outside| applies.apply_loop(outside));
    let next = theirs + 1;
    let more = world.append((2, 1, 1), at(1, theirs), vec![command(1, "c")], next);
    let there = world.clone();
    world.thread("crash", move |outside| {
        let held = there.crash(1).snapshot.map_or(0, |held| held.last.index);
        let told = told.load(Ordering::Relaxed);
        there.reached(match told {
            0 => "told of none",
            2 => "told of two entries",
            _ => "told of five",
        });
        assert!(
            held >= told,
            "a snapshot up to entry {told} is told, and the disk has one up to {held}"
        );
        let again = there.restart(NodeSpec::new(1, 3).instant_disk());
        again.receive(outside, more);
        let status = again.status(outside);
        if status.commit < next {
            assert!(held < theirs, "what follows its snapshot joins on");
            there.reached("lacks what comes before");
        } else {
            while again.status(outside).applied < next {
                again.apply_turn(outside).expect("nothing ends it");
            }
            there.reached("goes on");
        }
        node.stop(outside, Stopped::Shutdown);
    });
}
