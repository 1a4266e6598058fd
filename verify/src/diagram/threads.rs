//! From the notes of one execution to its diagram.

use std::collections::BTreeMap;

use biglock::NodeId;
use biglock::lock::Step;

use super::{Act, Diagram, Row, Story};
use crate::record::{Event, View};

/// How many steps are drawn from the beginning and from the end of a long execution.
const FIRST: usize = 300;
const LAST: usize = 60;

/// The diagram of an execution. `broken` is what was wrong with it.
pub fn of_threads(events: &[Event], broken: &str) -> Diagram {
    let mut lanes: Vec<&'static str> = Vec::new();
    for event in events {
        if !lanes.contains(&event.thread()) {
            lanes.push(event.thread());
        }
    }
    let mut teller = Teller {
        lanes,
        rows: Vec::new(),
        seen: BTreeMap::new(),
    };
    // An execution without end (a thread that polls) has one all the same.
    let middle = events.len().saturating_sub(LAST).max(FIRST);
    for event in &events[..events.len().min(FIRST)] {
        teller.event(event);
    }
    if middle > FIRST {
        teller.rows.push(Row::LeftOut(middle - FIRST));
    }
    for event in &events[middle.min(events.len())..] {
        teller.event(event);
    }
    Diagram {
        lanes: teller.lanes.into_iter().map(String::from).collect(),
        story: Story::Threads(teller.rows),
        broken: broken.into(),
    }
}

struct Teller {
    lanes: Vec<&'static str>,
    rows: Vec<Row>,
    /// What each node looked like when it was last seen.
    seen: BTreeMap<NodeId, View>,
}

impl Teller {
    fn event(&mut self, event: &Event) {
        let thread = event.thread();
        match *event {
            Event::Section {
                node,
                section,
                step,
                view,
                ..
            } => {
                match step {
                    Step::Wants => self.did(thread, Act::Wants(node.0, section.into())),
                    Step::Entered => self.did(thread, Act::Enters(node.0, section.into())),
                    Step::Woke => self.did(thread, Act::Wakes(node.0, section.into())),
                    Step::Wakes(other) => self.did(thread, Act::Rouses(self.lane(other))),
                    _ => {}
                }
                if let Some(view) = view {
                    self.changes(node, thread, view, step);
                }
                match step {
                    Step::Waits(what) => self.did(thread, Act::Sleeps(what.into())),
                    Step::Left(broadcast) => self.did(thread, Act::Leaves(broadcast)),
                    _ => {}
                }
            }
            Event::Sent { ref message, .. } => {
                self.did(thread, Act::Sends(message.to.0, message.to_string()));
            }
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
                let line = format!("disk of {}: {}, {vote}{log}", node.0, hard_state.term);
                self.did(thread, Act::Writes(line));
            }
            Event::Changed { ref text, .. } => self.did(thread, Act::Changes(text.clone())),
            Event::Note { text, .. } => self.did(thread, Act::Notes(text.into())),
        }
    }

    /// What the section changed: compared with when the node was last seen, which only someone under its lock can do.
    fn changes(&mut self, node: NodeId, thread: &'static str, view: View, step: Step) {
        let before = self.seen.insert(node, view);
        if matches!(step, Step::Entered | Step::Woke) {
            return;
        }
        let changes = before.map(|before| before.changes(&view));
        for change in changes.unwrap_or_default() {
            self.did(thread, Act::Changes(change));
        }
    }

    fn did(&mut self, thread: &'static str, act: Act) {
        self.rows.push(Row::Did(self.lane(thread), act));
    }

    fn lane(&self, thread: &'static str) -> usize {
        let mut lanes = self.lanes.iter();
        lanes.position(|&name| name == thread).unwrap_or(0)
    }
}
