//! Linearizable reads, and the end of the leadership on which they rely.

use std::sync::Arc;

use biglock::node::Engine;

use super::leading::leader;
use super::votes::{pass_time_and_stop, receive};
use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, Wire, World, at, command, noop};

pub const MODELS: &[Model] = &[
    Model {
        name: "reading-term-change",
        property: "no read is served by a leader that another has superseded: what that one committed before the read began is not missed",
        threads: 3,
        goals: &["served before the next leader", "not served"],
        body: term_change,
        ..GATED
    },
    Model {
        name: "reading-first-entry",
        property: "a read that comes before the leader has committed an entry of its term waits for that",
        threads: 3,
        goals: &["served", "not served"],
        body: first_entry,
        ..GATED
    },
];

/// Node 3 is elected in term 2, by node 2, and commits its no-op there. Node 1 hears of it later.
fn term_change(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    let (there, hears) = (world.clone(), node.clone());
    world.thread("the other side", move |outside| {
        hears.monitor().disturb(outside);
        there.elected(3, 2, 2);
        there.committed_elsewhere(2);
        there.note("the other side", "node 3 leads term 2, and commits entry 2");
        let news = there.append((3, 1, 2), at(1, 1), vec![noop(2)], 2);
        hears.receive(outside, news);
    });
    read_meanwhile(world, "caller", &node);
    // In the new term node 1 asks node 3, which does not answer.
    pass_time_and_stop(world, &node, &[]);
}

/// A caller reads at the leader of term 1, while node 3 is elected in term 2.
pub(super) fn read_meanwhile(world: &World, name: &'static str, node: &Arc<Engine>) {
    let (there, reads) = (world.clone(), node.clone());
    world.thread(name, move |outside| {
        reads.monitor().disturb(outside);
        let superseded = there.leader_of(2).is_some();
        match there.read(&reads, outside) {
            Ok(()) if superseded => {
                panic!("who was superseded can't serve it, and node 3 was not heard")
            }
            Ok(()) => there.reached("served before the next leader"),
            Err(_) => there.reached("not served"),
        }
    });
}

/// Node 2 led term 1 and committed an entry, which node 1 has too; but node 1, which leads term 2, can't know that it is committed before
/// its own no-op is.
fn first_entry(world: &World) {
    world.elected(2, 1, 3);
    world.committed_elsewhere(1);
    let disk = NodeSpec::new(1, 3).stored(1, vec![command(1, "a")]);
    // Nobody hears node 1 until the threads start.
    world.cut(1, 2);
    let node = leader(world, disk.wire(Wire::Answered).instant(), 2);
    world.mend();
    let (there, reads) = (world.clone(), node.clone());
    world.thread("caller", move |outside| match there.read(&reads, outside) {
        Ok(()) => there.reached("served"),
        Err(_) => there.reached("not served"),
    });
    receive(world, &node, "receiver", [world.acknowledged(2, 1, 2, 2)]);
    pass_time_and_stop(world, &node, &[]);
}
