//! The way to a state as a picture: a lane per node, a line per step, time downwards.

use biglock::rules::{Payload, Role};

use super::known::{Action, Event, Library};
use super::machine::Machine;
use super::tape::{FIRST_NODE, MAX_NODES};

/// How wide a lane is.
const WIDTH: usize = 38;

/// Draws the way from the beginning to a broken law.
///
/// An arrow is the arrival of a message, from the lane of the node that sent it, perhaps long ago. `*` is what happens to a node by itself, `|` what has
/// changed there, `X` the law that is broken.
///
/// If `quiet` is a number, then after so many steps nothing fails any more, and what is under way is lost.
pub fn draw(
    library: &mut Library<'_>,
    way: &[Action],
    quiet: Option<usize>,
    broken: &str,
) -> String {
    let mut nodes = library.beginning().nodes;
    let many = library.known.order.nodes;
    let mut picture = Picture(Vec::new());
    picture.header(many);
    for (nth, &node) in nodes[..many].iter().enumerate() {
        let machine = &library.node(node).thing.machine;
        if !machine.disk.entries.is_empty() {
            let line = format!("| term {}, log {}", machine.raft.term().0, log(machine));
            picture.lane("", nth, &line);
        }
    }
    for (step, action) in (1..).zip(way) {
        if quiet == Some(step - 1) {
            picture.0.push(
                "     ..... from here on nothing fails, and what was under way is lost ....."
                    .into(),
            );
        }
        let lane = usize::from(action.node);
        let number = format!("{step:>3}");
        match action.event {
            Event::Receive(message, late) => {
                let message = &library.message(message).thing.message;
                let from = (message.from.0 - FIRST_NODE) as usize;
                let text = message.to_string();
                // To whom it goes, the arrow says.
                let text = text.replacen(&format!(" to {}", message.to), "", 1);
                picture.arrow(&number, from, lane, &text);
                if late {
                    picture.lane("", lane, "| having heard no leader for long");
                }
            }
            event => picture.lane(&number, lane, &format!("* {}", library.input(event))),
        }
        let outcome = library.step(nodes[lane], action.event);
        let next = library.outcome(outcome).next;
        let (old, new) = (library.node(nodes[lane]), library.node(next));
        for change in changes(&old.thing.machine, &new.thing.machine) {
            picture.lane("", lane, &format!("| {change}"));
        }
        nodes[lane] = next;
    }
    picture.0.push(format!("  X  {broken}"));
    rename(&(picture.0.join("\n") + "\n"))
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

struct Picture(Vec<String>);

impl Picture {
    fn header(&mut self, many: usize) {
        let names: Vec<String> = (1..=many)
            .map(|nth| format!("{:<WIDTH$}", format!("node {nth}")))
            .collect();
        self.0.push(format!("     {}", names.join(" ").trim_end()));
        let rules: Vec<String> = (0..many).map(|_| "-".repeat(WIDTH)).collect();
        self.0.push(format!("     {}", rules.join(" ")));
    }

    /// A text in a lane, broken where it is too long.
    fn lane(&mut self, number: &str, lane: usize, text: &str) {
        let mut line = String::new();
        let mut number = number;
        for word in rename(text).split(' ') {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                self.row(number, lane, &line);
                (number, line) = ("", "   ".into());
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.row(number, lane, &line);
    }

    fn row(&mut self, number: &str, lane: usize, text: &str) {
        let indent = " ".repeat(lane * (WIDTH + 1));
        self.0.push(format!("{number:<5}{indent}{text}"));
    }

    /// A message, from where it was sent to where it arrives.
    fn arrow(&mut self, number: &str, from: usize, to: usize, text: &str) {
        let text = rename(text);
        let length = from.abs_diff(to) * (WIDTH + 1);
        let shaft = "-".repeat(length.saturating_sub(text.chars().count() + 6));
        match from < to {
            true => self.row(number, from, &format!("o-- {text} {shaft}>")),
            false => self.row(number, to, &format!("<-- {text} {shaft}o")),
        }
    }
}

/// What a node's picture shows of it.
fn facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let raft = &machine.raft;
    let hard = raft.hard_state();
    let vote = hard.voted_for.map(|id| format!(" for {id}"));
    let ids = |all: Vec<String>| format!("{{{}}}", all.join(", "));
    let tally = raft.role().tally();
    let granted = tally.map(|t| ids(t.granted.iter().map(|id| id.to_string()).collect()));
    let refused = tally.map(|t| ids(t.refused.keys().map(|id| id.to_string()).collect()));
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
