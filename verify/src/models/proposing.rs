//! Proposals, and what ends a leadership while they are under way: every proposer hears the truth, and none waits for ever.

use std::sync::Arc;

use biglock::node::{Engine, Reply, Tell};
use biglock::{Payload, SessionReply, SessionRequest, Stopped, Time};
use bytes::Bytes;

use super::leading::leader;
use super::votes::{pass_time_and_stop, receive};
use crate::harness::{GATED, Model};
use crate::world::{NEXT_DEADLINE, NodeSpec, Wire, World, at, noop, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "proposing-deposed",
        property: "whoever proposes while a higher term arrives, or the node stops, hears what is true",
        goals: &[
            "committed",
            "refused",
            "stopped while it waited",
            "a leader steps down",
        ],
        body: deposed,
        ..GATED
    },
    Model {
        name: "proposing-replaced",
        property: "whoever proposed what the next leader replaces hears that it is lost, and nothing else ends the wait",
        threads: 3,
        goals: &["lost", "refused"],
        body: replaced,
        ..GATED
    },
    Model {
        name: "proposing-kept",
        property: "whoever proposed what the next leader commits has its reply, although the node no longer leads",
        threads: 3,
        goals: &["committed", "a leader steps down"],
        body: kept,
        ..GATED
    },
    Model {
        name: "proposing-given-up",
        property: "a proposal of which nobody hears again ends as unknown, by time alone",
        threads: 3,
        goals: &[
            "unknown",
            "refused",
            "stopped while it waited",
            "a leader steps down",
        ],
        body: given_up,
        ..GATED
    },
    Model {
        name: "proposing-own-disk",
        property: "a leader counts itself when its own disk holds an entry, and not before",
        threads: 3,
        goals: &["committed", "something to write", "committed entries"],
        body: own_disk,
        ..GATED
    },
    Model {
        name: "sessions-repeated",
        property: "a request that two threads send at once, with one number, is run once, and both have its reply",
        threads: 3,
        goals: &["the second had the first one's reply", "committed entries"],
        body: repeated,
        ..GATED
    },
];

/// Proposes, and waits for the end.
fn propose(world: &World, node: &Engine, outside: &mut biglock::Outside, command: &'static str) {
    let (who, awaited) = Tell::promise();
    match world.propose_then(node, outside, command, who) {
        Ok(()) => {
            let what = awaited.wait(outside).expect("every proposal is decided");
            world.decided(command, &what);
        }
        Err(_) => world.reached("refused"),
    }
}

/// A thread that proposes, and waits for the end.
fn proposer(world: &World, node: &Arc<Engine>, name: &'static str, command: &'static str) {
    let (there, node) = (world.clone(), node.clone());
    world.thread(name, move |outside| {
        propose(&there, &node, outside, command)
    });
}

fn deposed(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    proposer(world, &node, "caller a", "a");
    let (there, other) = (world.clone(), node.clone());
    world.thread("caller b", move |outside| {
        // It waits for nothing: it is called.
        if there.propose(&other, outside, "b").is_err() {
            there.reached("refused");
        }
    });
    receive(world, &node, "receiver", [request(3, 1, 2)]);
    pass_time_and_stop(world, &node, &[]);
    let there = world.clone();
    world.finally(move || there.all_told());
}

fn replaced(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).instant(), 1);
    // Node 2 has the no-op, and votes for node 3, which has it too.
    let mut outside = biglock::Outside::claim("receiver");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    proposer(world, &node, "caller a", "a");
    proposer(world, &node, "caller b", "b");
    world.elected(3, 2, 2);
    let entries = [
        world.append((3, 1, 2), at(1, 1), vec![noop(2)], 1),
        world.append((3, 1, 2), at(2, 2), vec![], 2),
    ];
    receive(world, &node, "receiver", entries);
    let there = world.clone();
    world.finally(move || there.all_told());
}

fn kept(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).instant(), 1);
    let mut outside = biglock::Outside::claim("receiver");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    // Proposed before the threads start, and node 3 has it: one waits, the other is called.
    let (who, awaited) = Tell::promise();
    let proposed = world.propose_then(&node, &mut outside, "a", who);
    assert!(proposed.is_ok() && world.propose(&node, &mut outside, "b").is_ok());
    let there = world.clone();
    let look = node.clone();
    world.thread("caller", move |outside| {
        look.monitor().disturb(outside);
        let what = awaited.wait(outside).expect("every proposal is decided");
        assert!(what.is_ok(), "the next leader committed it: {what:?}");
        there.decided("a", &what);
    });
    world.elected(3, 2, 2);
    let (a, b) = (crate::world::command(1, "a"), crate::world::command(1, "b"));
    let first = world.append((3, 1, 2), at(1, 1), vec![a, b, noop(2)], 2);
    let second = world.append((3, 1, 2), at(2, 4), vec![], 4);
    receive(world, &node, "receiver", [first.clone(), second]);
    receive(world, &node, "receiver'", [first]);
    let there = world.clone();
    world.finally(move || there.all_told());
}

/// The moments at which nobody was heard for too long, and at which what is still open is given up.
const GIVE_UP: &[Time] = &[NEXT_DEADLINE, Time::from_millis(600)];

fn given_up(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).check_quorum().instant(), 1);
    proposer(world, &node, "caller", "a");
    let leads = node.clone();
    world.thread("leader", move |outside| leads.leader_loop(outside));
    pass_time_and_stop(world, &node, GIVE_UP);
    let there = world.clone();
    world.finally(move || there.all_told());
}

/// Everything by its own thread: who proposes, who writes, who applies, who hears the follower.
fn own_disk(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3), 1);
    let mut outside = biglock::Outside::claim("disk");
    node.disk_turn(&mut outside).expect("it runs");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    node.apply_turn(&mut outside).expect("it runs");
    let (there, proposes) = (world.clone(), node.clone());
    let second = world.acknowledged(2, 1, 1, 2);
    world.thread("caller", move |outside| {
        let (who, awaited) = Tell::promise();
        let proposed = there.propose_then(&proposes, outside, "a", who);
        assert!(proposed.is_ok(), "nothing ends the leadership");
        // The follower is faster than the leader's own disk.
        proposes.receive(outside, second);
        let what = awaited.wait(outside).expect("every proposal is decided");
        assert!(what.is_ok(), "a majority has it: {what:?}");
        there.decided("a", &what);
        proposes.stop(outside, Stopped::Shutdown);
    });
    let writes = node.clone();
    world.thread("disk", move |outside| writes.disk_loop(outside));
    world.thread("apply", move |outside| node.apply_loop(outside));
}

fn repeated(world: &World) {
    let node = leader(world, NodeSpec::new(1, 1).instant_disk(), 1);
    let mut outside = biglock::Outside::claim("caller");
    // Its no-op has the index 1, so the session that is opened next is number 2.
    let open = SessionRequest::Open {
        patience: std::time::Duration::from_secs(60),
    };
    let (who, awaited) = Tell::promise();
    let (_, opened) = node.propose(&mut outside, [(Payload::Session(open.into()), who)]);
    assert!(opened.is_ok());
    while node.status(&mut outside).applied < 2 {
        node.apply_turn(&mut outside).expect("it runs");
    }
    let session = match awaited.wait(&outside) {
        Some(Ok(Reply::Session(SessionReply::Opened { session }))) => session,
        other => panic!("a session is opened, not {other:?}"),
    };
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for name in ["caller a", "caller b"] {
        let (there, node, done) = (world.clone(), node.clone(), done.clone());
        world.thread(name, move |outside| {
            let call = SessionRequest::Call {
                session,
                sequence: 1,
                seen: 1,
                command: Bytes::from_static(b"add one"),
            };
            let (who, awaited) = Tell::promise();
            let (_, proposed) = node.propose(outside, [(Payload::Session(call.into()), who)]);
            assert!(proposed.is_ok(), "nothing ends the leadership");
            let reply = SessionReply::Done(Bytes::from_static(b"add one"));
            match awaited.wait(outside) {
                Some(Ok(Reply::Session(said))) => assert_eq!(said, reply),
                other => panic!("both have the reply, not {other:?}"),
            }
            if done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                there.reached("the second had the first one's reply");
                assert_eq!(there.ran(1, "add one"), 1, "it is run once");
                node.stop(outside, Stopped::Shutdown);
            }
        });
    }
    world.thread("apply", move |outside| node.apply_loop(outside));
}
