//! The cells in which callers wait for a reply of their own.

use biglock::lock::{Promise, promise};
use biglock::{Outside, Stopped};

use crate::harness::{GATED, Model};
use crate::world::{NodeSpec, World};

pub const MODELS: &[Model] = &[Model {
    name: "promises",
    property: "whoever waits has the answer, or hears that there is none; it makes no difference who was first",
    threads: 3,
    goals: &["answered", "no answer"],
    body: promises,
    ..GATED
}];

/// Two cells: each is kept, or dropped, while its owner waits or before. The node is there for its lock, at which the threads begin.
fn promises(world: &World) {
    let node = world.node(NodeSpec::new(1, 1));
    let mut halves = Vec::new();
    for (name, kept) in [
        ("caller a", world.choose([true, false])),
        ("caller b", true),
    ] {
        let (ours, theirs) = promise::<&'static str>();
        halves.push((ours, kept, name));
        let (there, node) = (world.clone(), node.clone());
        world.thread(name, move |outside| {
            node.monitor().disturb(outside);
            let answer = theirs.wait(outside);
            assert_eq!(answer, kept.then_some(name));
            there.reached(if kept { "answered" } else { "no answer" });
        });
    }
    world.thread("keeper", move |outside| {
        node.stop(outside, Stopped::Shutdown);
        for (half, kept, answer) in halves {
            answer_or_drop(half, kept, answer, outside);
        }
    });
}

fn answer_or_drop(
    half: Promise<&'static str>,
    kept: bool,
    answer: &'static str,
    outside: &Outside,
) {
    match kept {
        true => half.keep(outside, answer),
        false => drop(half),
    }
}
