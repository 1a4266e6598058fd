//! One execution as a space-time diagram: a lane per thread, time runs downwards, each section is a box with what it changed.

use std::collections::BTreeMap;

use biglock::NodeId;
use biglock::lock::Step;

use crate::record::{Event, View};

/// The longest text of a lane. A longer line is broken.
const WIDTH: usize = 34;

/// How many steps are drawn from the beginning and from the end of a long execution.
const FIRST: usize = 300;
const LAST: usize = 60;

/// Draws an execution. `broken` is what was wrong with it: the last line of the picture.
///
/// A box is a stay under the lock of the node that it names; lines outside boxes are done without the lock; `zz` is a sleep on the condvar.
pub fn draw(events: &[Event], broken: &str) -> String {
    let mut lanes: Vec<&'static str> = Vec::new();
    for event in events {
        if !lanes.contains(&event.thread()) {
            lanes.push(event.thread());
        }
    }
    let mut picture = Picture {
        lanes,
        rows: Vec::new(),
        seen: BTreeMap::new(),
        open: BTreeMap::new(),
    };
    picture.header();
    // An execution without end (a thread that polls) has one all the same.
    let middle = events.len().saturating_sub(LAST).max(FIRST);
    for event in &events[..events.len().min(FIRST)] {
        picture.event(event);
    }
    if middle > FIRST {
        let left_out = middle - FIRST;
        picture
            .rows
            .push(format!("  ... {left_out} steps are left out ..."));
    }
    for event in &events[middle.min(events.len())..] {
        picture.event(event);
    }
    picture.stuck();
    for line in broken.lines().filter(|line| !line.trim().is_empty()) {
        picture.rows.push(format!("  X  {}", line.trim()));
    }
    picture.rows.join("\n") + "\n"
}

struct Picture {
    lanes: Vec<&'static str>,
    rows: Vec<String>,
    /// What each node looked like when it was last seen.
    seen: BTreeMap<NodeId, View>,
    /// What each thread is in the middle of, and how it is drawn if that never ends.
    open: BTreeMap<&'static str, Open>,
}

#[derive(Clone, Copy)]
enum Open {
    Wants(NodeId, &'static str),
    Inside(NodeId, &'static str),
    Asleep(&'static str),
}

impl Picture {
    fn header(&mut self) {
        let names = self.lanes.clone();
        let row: Vec<String> = names.iter().map(|name| format!("{name:<WIDTH$}")).collect();
        self.rows.push(row.join(" ").trim_end().to_string());
        let rule: Vec<String> = names.iter().map(|_| "-".repeat(WIDTH)).collect();
        self.rows.push(rule.join(" "));
    }

    fn event(&mut self, event: &Event) {
        let lane = event.thread();
        match *event {
            Event::Section {
                node,
                thread,
                section,
                step,
                view,
            } => {
                self.step(node, thread, section, step);
                if let Some(view) = view {
                    self.changes(node, lane, view, step);
                }
                self.closing(thread, step);
            }
            Event::Sent { ref message, .. } => self.text(lane, &format!("> {message}")),
            Event::Wrote {
                node,
                hard_state,
                log,
                ..
            } => {
                let vote = match hard_state.voted_for {
                    Some(id) => format!("vote for {}", id.0),
                    None => "no vote".into(),
                };
                let log = match log {
                    Some((first, 0)) => format!(", nothing from {first} on"),
                    Some((first, many)) => {
                        format!(", entries {first} to {}", first + many as u64 - 1)
                    }
                    None => String::new(),
                };
                let line = format!("# disk of {}: {}, {vote}{log}", node.0, hard_state.term);
                self.text(lane, &line);
            }
            Event::Note { text, .. } => self.text(lane, &format!("* {text}")),
        }
    }

    /// The line that opens a box.
    fn step(&mut self, node: NodeId, thread: &'static str, section: &'static str, step: Step) {
        match step {
            Step::Wants => {
                self.open.insert(thread, Open::Wants(node, section));
            }
            Step::Entered => {
                self.open.insert(thread, Open::Inside(node, section));
                self.text(thread, &format!("+ node {}: {section}", node.0));
            }
            Step::Woke => {
                self.open.insert(thread, Open::Inside(node, section));
                self.text(thread, &format!("+ node {}: wakes", node.0));
            }
            _ => {}
        }
    }

    /// What the section changed: compared with when the node was last seen, which only someone under its lock can do.
    fn changes(&mut self, node: NodeId, lane: &'static str, view: View, step: Step) {
        let before = self.seen.insert(node, view);
        if matches!(step, Step::Entered | Step::Woke) {
            return;
        }
        let changes = before
            .map(|before| before.changes(&view))
            .unwrap_or_default();
        for change in changes {
            self.text(lane, &format!("| {change}"));
        }
    }

    /// The line that closes a box.
    fn closing(&mut self, thread: &'static str, step: Step) {
        match step {
            Step::Waits(what) => {
                self.open.insert(thread, Open::Asleep(what));
                self.text(thread, &format!("+ zz waits for {what}"));
            }
            Step::Left(broadcast) => {
                self.open.remove(thread);
                self.text(thread, if broadcast { "+ broadcasts" } else { "+" });
            }
            _ => {}
        }
    }

    /// Who never got any further.
    fn stuck(&mut self) {
        for (thread, open) in self.open.clone() {
            match open {
                Open::Wants(node, section) => {
                    self.text(thread, &format!("? wants node {}: {section}", node.0));
                }
                Open::Asleep(what) => self.text(thread, &format!("? still waits for {what}")),
                Open::Inside(node, section) => {
                    self.text(thread, &format!("? inside node {}: {section}", node.0));
                }
            }
        }
    }

    fn text(&mut self, lane: &'static str, text: &str) {
        let at = self
            .lanes
            .iter()
            .position(|&name| name == lane)
            .unwrap_or(0);
        let mut rest = text;
        let mut indent = "";
        while !rest.is_empty() {
            let room = WIDTH - indent.len();
            let cut = if rest.chars().count() <= room {
                rest.len()
            } else {
                let end = rest
                    .char_indices()
                    .nth(room)
                    .map_or(rest.len(), |(at, _)| at);
                rest[..end].rfind(' ').filter(|&at| at > 4).unwrap_or(end)
            };
            let row: String = (0..at)
                .map(|_| " ".repeat(WIDTH + 1))
                .chain([format!("{indent}{}", rest[..cut].trim_end())])
                .collect();
            self.rows.push(row);
            rest = rest[cut..].trim_start();
            indent = "    ";
        }
    }
}
