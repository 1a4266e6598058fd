//! Snapshots: one that is installed while entries are applied, and one that is taken meanwhile.

use biglock::lock::promise;
use biglock::node::{SnapshotTaken, Tell};
use biglock::{Outside, Stopped};

use super::leading::leader;
use super::votes::receive;
use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, Wire, World, at, command, noop};

pub const MODELS: &[Model] = &[
    Model {
        name: "installing-while-applying",
        property: "a snapshot that arrives while entries are applied is restored after them, or not at all: nothing is applied twice or out of order",
        threads: 4,
        goals: &["committed entries", "restored", "applied one by one"],
        body: while_applying,
        ..GATED
    },
    Model {
        name: "installing-while-taking",
        property: "who wants a snapshot gets one, whichever snapshot arrives meanwhile",
        threads: 3,
        goals: &[
            "committed entries",
            "its own was taken",
            "another was installed",
        ],
        body: while_taking,
        ..GATED
    },
    Model {
        name: "installing-over-a-proposal",
        property: "a proposer whose entry a snapshot replaces does not wait for ever",
        threads: 3,
        goals: &["unknown", "committed entries", "a leader steps down"],
        body: over_a_proposal,
        ..GATED
    },
];

fn while_applying(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).instant_disk());
    world.elected(2, 1, 3);
    let (a, b) = (command(1, "a"), command(1, "b"));
    let entries = world.append((2, 1, 1), at(0, 0), vec![noop(1), a, b], 3);
    let snapshot = world.snapshot((2, 1, 1), at(1, 3), &[(2, "a"), (3, "b")]);
    receive(world, &node, "receiver", [entries]);
    receive(world, &node, "receiver'", [snapshot]);
    let applies = node.clone();
    world.thread("apply", move |outside| applies.apply_loop(outside));
    let there = world.clone();
    world.thread("time", move |outside| {
        node.monitor().disturb(outside);
        if node.status(outside).applied == 3 {
            there.reached(match there.ran(1, "b") {
                0 => "restored",
                _ => "applied one by one",
            });
        }
        node.stop(outside, Stopped::Shutdown);
    });
}

fn while_taking(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).instant_disk());
    world.elected(2, 1, 3);
    let entries = world.append((2, 1, 1), at(0, 0), vec![noop(1), command(1, "a")], 2);
    let more = vec![(2, "a"), (4, "b")];
    let snapshot = world.snapshot((2, 1, 1), at(1, 5), &more);
    node.receive(&mut Outside::claim("receiver"), entries);
    receive(world, &node, "receiver", [snapshot]);
    let (there, wants) = (world.clone(), node.clone());
    world.thread("caller", move |outside| {
        let (promise, awaited) = promise();
        let disk = there.clone();
        // Looked at by whoever tells: later it may be there all the same.
        let who = Tell::call(move |outside, taken: SnapshotTaken| {
            let told = taken.as_ref().map_or(0, |last| last.index);
            let held = disk.disk(1).snapshot.map_or(0, |held| held.last.index);
            assert!(
                held >= told,
                "a snapshot up to entry {told} is told, and the disk does not hold it"
            );
            promise.keep(outside, taken);
        });
        wants.snapshot(outside, who).expect("nothing ends it");
        let taken = awaited.wait(outside).expect("who wants a snapshot is told");
        let taken = taken.expect("nothing ends it").index;
        there.reached(match taken {
            5 => "another was installed",
            _ => "its own was taken",
        });
        wants.stop(outside, Stopped::Shutdown);
    });
    world.thread("apply", move |outside| node.apply_loop(outside));
}

/// The next leader has committed the entry, and compacted its log.
fn over_a_proposal(world: &World) {
    let node = leader(
        world,
        NodeSpec::new(1, 3).wire(Wire::Nowhere).instant_disk(),
        1,
    );
    let mut outside = Outside::claim("caller");
    node.receive(&mut outside, world.acknowledged(2, 1, 1, 1));
    let (who, awaited) = Tell::promise();
    let proposed = world.propose_then(&node, &mut outside, "a", who);
    assert!(proposed.is_ok());
    world.elected(3, 2, 2);
    let snapshot = world.snapshot((3, 1, 2), at(2, 3), &[(2, "a")]);
    receive(world, &node, "receiver", [snapshot]);
    let applies = node.clone();
    world.thread("apply", move |outside| applies.apply_loop(outside));
    let there = world.clone();
    world.thread("caller", move |outside| {
        node.monitor().disturb(outside);
        let what = awaited.wait(outside).expect("every proposal is decided");
        there.decided("a", &what);
        node.stop(outside, Stopped::Shutdown);
    });
}
