//! The same questions where still more comes together: too large for every day, so `cargo verify --deep` runs them.

use biglock::node::Tell;

use super::leading::leader;
use super::reading::read_meanwhile;
use super::votes::pass_time_and_stop;
use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, Wire, World, heartbeat};

pub const MODELS: &[Model] = &[Model {
    name: "reads-deep",
    property: "who reads after its own proposal was committed, and who reads meanwhile, misses nothing, whoever leads next",
    goals: &[
        "committed",
        "read its own",
        "served before the next leader",
        "not served",
    ],
    body: reads,
    ..GATED
}];

/// Node 3 is elected in term 2, by node 2. Node 1, where one proposes and reads what came of it, and another reads, hears of that later.
fn reads(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    let (there, hears) = (world.clone(), node.clone());
    world.thread("the other side", move |outside| {
        hears.monitor().disturb(outside);
        there.elected(3, 2, 2);
        let news = there.said(heartbeat(3, 1, 2));
        hears.receive(outside, news);
    });
    read_meanwhile(world, "caller a", &node);
    let (there, reads) = (world.clone(), node.clone());
    world.thread("caller b", move |outside| {
        let (who, awaited) = Tell::promise();
        if there.propose_then(&reads, outside, "a", who).is_err() {
            return;
        }
        let what = awaited.wait(outside).expect("every proposal is decided");
        there.decided("a", &what);
        if what.is_ok() && there.read(&reads, outside).is_ok() {
            there.reached("read its own");
        }
    });
    pass_time_and_stop(world, &node, &[]);
}
