//! The way to a state as a diagram: a lane per node, time downwards.

use biglock::rules::{Payload, Role};

use super::known::{Action, Event, Library};
use super::machine::Machine;
use super::tape::{FIRST_NODE, MAX_NODES};
use crate::diagram::{Cause, Diagram, Hop, Journey, Sent, Story};

/// The diagram of the way from the beginning to a broken law.
///
/// If `quiet` is a number, then after so many steps nothing fails any more, and what is under way is lost.
pub fn diagram(
    library: &mut Library<'_>,
    way: &[Action],
    quiet: Option<usize>,
    broken: &str,
) -> Diagram {
    let mut nodes = library.beginning().nodes;
    let many = library.known.order.nodes;
    let mut journey = Journey {
        quiet,
        ..Journey::default()
    };
    for (lane, &node) in nodes[..many].iter().enumerate() {
        let machine = &library.node(node).thing.machine;
        if machine.disk.log.last().index > 0 {
            let text = format!("term {}, log {}", machine.raft.term().0, log(machine));
            journey.begins.push((lane, text));
        }
    }
    // For each message, by number: the step that sent it last, and the how many-th of what that sent it was.
    let mut wire: Vec<(u32, usize, usize)> = Vec::new();
    for (step, action) in way.iter().enumerate() {
        let lane = usize::from(action.node);
        let cause = match action.event {
            Event::Receive(number, late) => {
                let sent = wire.iter().rev().find(|(known, _, _)| *known == number);
                if let Some(&(_, by, nth)) = sent {
                    journey.hops[by].sends[nth].arrives.push(step);
                }
                let message = &library.message(number).thing.message;
                let text = without_receiver(&message.to_string(), message.to);
                let from = (message.from.0 - FIRST_NODE) as usize;
                Cause::Arrives { from, text, late }
            }
            event => Cause::Happens(rename(&library.input(event).to_string())),
        };
        let outcome = library.step(nodes[lane], action.event);
        let outcome = library.outcome(outcome);
        let (next, numbers) = (outcome.next, outcome.sent.clone());
        library.refresh();
        let mut sends = Vec::new();
        for (nth, number) in numbers.into_iter().enumerate() {
            wire.push((number, step, nth));
            let message = &library.message(number).thing.message;
            sends.push(Sent {
                to: (message.to.0 - FIRST_NODE) as usize,
                text: without_receiver(&message.to_string(), message.to),
                arrives: Vec::new(),
            });
        }
        let (old, new) = (library.node(nodes[lane]), library.node(next));
        let changes = changes(&old.thing.machine, &new.thing.machine);
        journey.hops.push(Hop {
            lane,
            cause,
            changes: changes.iter().map(|change| rename(change)).collect(),
            sends,
        });
        nodes[lane] = next;
    }
    Diagram {
        lanes: (1..=many).map(|nth| format!("node {nth}")).collect(),
        story: Story::Nodes(journey),
        broken: rename(broken),
    }
}

/// A message's words. Whom it is for, the arrow says.
fn without_receiver(text: &str, to: biglock::NodeId) -> String {
    rename(&text.replacen(&format!(" to {to}"), "", 1))
}

/// Nodes are called 1, 2, 3 for people.
pub fn rename(text: &str) -> String {
    let all = 0..MAX_NODES as u64;
    all.fold(text.to_string(), |text, nth| {
        let (from, to) = (FIRST_NODE + nth, 1 + nth);
        text.replace(&format!("node {from}"), &format!("node {to}"))
            .replace(&format!("NodeId({from})"), &format!("NodeId({to})"))
    })
}

/// What a node's lane shows of it.
fn facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let raft = &machine.raft;
    let hard = raft.hard_state();
    let vote = hard.voted_for.map(|id| format!("for {id}"));
    let ids = |all: Vec<String>| format!("{{{}}}", all.join(", "));
    let tally = raft.role().tally();
    let granted = tally.map(|t| ids(t.granted.iter().map(|id| id.to_string()).collect()));
    let refused = tally.filter(|t| !t.refused.is_empty());
    let refused = refused.map(|t| ids(t.refused.keys().map(|id| id.to_string()).collect()));
    let leader = match raft.role() {
        Role::Follower(following) => following.leader.map(|id| id.to_string()),
        _ => None,
    };
    let snapshot = raft.snapshot().map(|s| format!("up to {}", s.last.index));
    let members: Vec<String> = raft
        .members()
        .iter()
        .map(|(id, _)| id.to_string())
        .collect();
    let some = Option::unwrap_or_default;
    vec![
        ("term", hard.term.0.to_string()),
        ("vote", some(vote)),
        ("role", raft.role().kind().to_string()),
        ("follows", some(leader)),
        ("granted by", some(granted)),
        ("refused by", some(refused)),
        ("snapshot", some(snapshot)),
        ("log", log(machine)),
        ("committed up to", raft.commit().to_string()),
        ("members", members.join(", ")),
        (
            "disk:",
            match machine.write {
                Some(_) => "a write is under way".into(),
                None => String::new(),
            },
        ),
    ]
}

/// The terms of the entries, from the first that is there.
fn log(machine: &Machine) -> String {
    let log = machine.raft.log();
    let entries = log.iter().map(|(_, entry)| match &entry.payload {
        Payload::Noop => entry.term.0.to_string(),
        Payload::Command(_) | Payload::Session(_) => format!("{}x", entry.term.0),
        Payload::Members(_) => format!("{}m", entry.term.0),
    });
    let entries: Vec<String> = entries.collect();
    match log.before().index {
        0 => format!("[{}]", entries.join(" ")),
        gone => format!("[..{gone} {}]", entries.join(" ")),
    }
}

fn changes(old: &Machine, new: &Machine) -> Vec<String> {
    let (old, new) = (facts(old), facts(new));
    let both = old.into_iter().zip(new);
    let changed = both.filter(|((_, old), (_, new))| old != new && !new.is_empty());
    changed
        .map(|(_, (what, new))| format!("{what} {new}"))
        .collect()
}
