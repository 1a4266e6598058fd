//! A follower whose disk is busy while leaders come and go.

use std::sync::Arc;

use biglock::node::Engine;
use biglock::{Outside, Stopped};

use super::votes::receive;
use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, World, at, command, heartbeat, noop};

pub const MODELS: &[Model] = &[
    Model {
        name: "replicating-truncation",
        property: "an entry that is replaced while it is written is not taken for the one that replaces it",
        threads: 4,
        goals: &[
            "something to write",
            "one write for both",
            "a write for each",
        ],
        body: truncation,
        ..GATED
    },
    Model {
        name: "replicating-restored",
        property: "an entry that is removed and comes back while it is written is durable only when the disk holds it again",
        threads: 4,
        goals: &["something to write", "a write for each"],
        body: restored,
        ..GATED
    },
    Model {
        name: "replicating-to-the-disk-thread",
        property: "entries and votes share the disk: whoever finds it busy is written afterwards, and nothing is forgotten",
        threads: 4,
        goals: &["something to write", "both are durable"],
        body: shared_disk,
        ..GATED
    },
];

/// The disk thread.
fn disk(world: &World, node: &Arc<Engine>) {
    let node = node.clone();
    world.thread("disk", move |outside| node.disk_loop(outside));
}

/// The leader of term 1 sends two entries, and the leader of term 3 another second one.
fn truncation(world: &World) {
    // Whoever raises the term writes at once; so the term is there, and the entries wait for the disk thread.
    let node = world.node(NodeSpec::new(1, 3).hard_state(1, None));
    world.elected(2, 1, 3);
    world.elected(3, 3, 2);
    let first = world.append((2, 1, 1), at(0, 0), vec![noop(1), command(1, "a")], 0);
    let second = world.append((3, 1, 3), at(1, 1), vec![noop(3)], 0);
    node.receive(&mut Outside::claim("receiver"), first);
    // The term is known, and on its way to the disk, before the entry comes.
    receive(world, &node, "receiver", [heartbeat(3, 1, 3), second]);
    disk(world, &node);
    let (stops, there) = (node.clone(), world.clone());
    world.thread("time", move |outside| {
        stops.monitor().disturb(outside);
        there.reached(match there.writes(1) {
            0 => "nothing was written",
            1 => "one write for both",
            _ => "a write for each",
        });
        stops.stop(outside, Stopped::Shutdown);
    });
    receive(world, &node, "waker", []);
}

/// Leaders of terms 1, 2 and 3: the second removes what the third brings back, for it had it from the first.
fn restored(world: &World) {
    let node = world.node(NodeSpec::new(1, 5).hard_state(1, None));
    for (leader, term) in [(2, 1), (3, 2), (4, 3)] {
        world.elected(leader, term, 5);
        world.elected(leader, term, if leader == 2 { 3 } else { 2 });
    }
    let a = || command(1, "a");
    let first = world.append((2, 1, 1), at(0, 0), vec![noop(1), a()], 0);
    let second = world.append((3, 1, 2), at(1, 1), vec![noop(2)], 0);
    let third = world.append((4, 1, 3), at(1, 1), vec![a()], 0);
    node.receive(&mut Outside::claim("receiver"), first);
    receive(world, &node, "receiver 3", [second]);
    receive(world, &node, "receiver 4", [third]);
    disk(world, &node);
    let there = world.clone();
    world.thread("time", move |outside| {
        node.monitor().disturb(outside);
        if there.writes(1) > 2 {
            there.reached("a write for each");
        }
        node.stop(outside, Stopped::Shutdown);
    });
}

/// Entries are written by the disk thread, a vote by whoever gave it.
fn shared_disk(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).hard_state(1, None));
    world.elected(2, 1, 3);
    let entries = world.append((2, 1, 1), at(0, 0), vec![noop(1)], 0);
    receive(world, &node, "receiver 2", [entries]);
    let mut vote = crate::world::request(3, 1, 2);
    if let biglock::rules::Body::RequestVote { last, .. } = &mut vote.body {
        *last = at(1, 9);
    }
    receive(world, &node, "receiver 3", [vote]);
    disk(world, &node);
    let there = world.clone();
    world.thread("time", move |outside| {
        node.monitor().disturb(outside);
        let disk = there.disk(1);
        if disk.hard_state.voted_for.is_some() && disk.log.last().index > 0 {
            there.reached("both are durable");
        }
        node.stop(outside, Stopped::Shutdown);
    });
}
