//! A diagram as text.

use std::collections::BTreeMap;

use super::{Act, Cause, Diagram, Journey, Row, Story, place};

/// The longest text in the lane of a thread. A longer line is broken.
const THREAD: usize = 34;

/// How wide the lane of a node is.
const NODE: usize = 38;

impl Diagram {
    /// The diagram as text.
    ///
    /// In the lane of a thread a box is a stay under the lock of the node that it names; lines outside boxes are done without the lock; `zz` is
    /// a sleep on the condvar. In the lane of a node `*` is what happens to it by itself, `|` what has changed there; an arrow is the arrival of a
    /// message, from the lane of the node that sent it, perhaps long ago. `X` is what broke.
    pub fn text(&self) -> String {
        let mut lines = match &self.story {
            Story::Threads(rows) => threads(&self.lanes, rows),
            Story::Nodes(journey) => nodes(&self.lanes, journey),
        };
        lines.extend(self.wrong().map(|line| format!("  X  {line}")));
        lines.join("\n") + "\n"
    }
}

/// What a thread is in the middle of, and how it is drawn if that never ends.
#[derive(Clone, Copy)]
enum Open<'a> {
    Wants(u64, &'a str),
    Inside(u64, &'a str),
    Asleep(&'a str),
}

fn threads(lanes: &[String], rows: &[Row]) -> Vec<String> {
    let names: Vec<String> = lanes
        .iter()
        .map(|name| format!("{name:<THREAD$}"))
        .collect();
    let rules: Vec<String> = lanes.iter().map(|_| "-".repeat(THREAD)).collect();
    let mut lines = vec![names.join(" ").trim_end().to_string(), rules.join(" ")];
    let mut open: BTreeMap<&str, Open<'_>> = BTreeMap::new();
    for row in rows {
        let &Row::Did(lane, ref act) = row else {
            if let Row::LeftOut(many) = row {
                lines.push(format!("  ... {many} steps are left out ..."));
            }
            continue;
        };
        let thread = &lanes[lane][..];
        let line = match act {
            Act::Wants(node, section) => {
                open.insert(thread, Open::Wants(*node, section));
                continue;
            }
            Act::Enters(node, section) => {
                open.insert(thread, Open::Inside(*node, section));
                format!("+ {}", place(*node, section))
            }
            Act::Wakes(node, section) => {
                open.insert(thread, Open::Inside(*node, section));
                format!("+ {}", place(*node, "wakes"))
            }
            Act::Changes(change) => format!("| {change}"),
            // In words there is the broadcast, and who wakes after it.
            Act::Rouses(_) => continue,
            Act::Sleeps(what) => {
                open.insert(thread, Open::Asleep(what));
                format!("+ zz waits for {what}")
            }
            Act::Leaves(broadcast) => {
                open.remove(thread);
                let line = if *broadcast { "+ broadcasts" } else { "+" };
                line.into()
            }
            Act::Sends(_, message) => format!("> {message}"),
            Act::Writes(what) => format!("# {what}"),
            Act::Notes(text) => format!("* {text}"),
        };
        put(&mut lines, lane, &line);
    }
    // Who never got any further.
    for (thread, open) in open {
        let lane = lanes.iter().position(|name| name == thread).unwrap_or(0);
        let line = match open {
            Open::Wants(node, section) => format!("? wants {}", place(node, section)),
            Open::Asleep(what) => format!("? still waits for {what}"),
            Open::Inside(node, section) => format!("? inside {}", place(node, section)),
        };
        put(&mut lines, lane, &line);
    }
    lines
}

/// A text in the lane of a thread, broken where it is too long.
fn put(lines: &mut Vec<String>, lane: usize, text: &str) {
    let mut rest = text;
    let mut indent = "";
    while !rest.is_empty() {
        let room = THREAD - indent.len();
        let cut = cut(rest, room);
        let row = " ".repeat(lane * (THREAD + 1));
        lines.push(format!("{row}{indent}{}", rest[..cut].trim_end()));
        rest = rest[cut..].trim_start();
        indent = "    ";
    }
}

/// Where to break a text of which so many characters have room.
pub(super) fn cut(text: &str, room: usize) -> usize {
    let Some((end, _)) = text.char_indices().nth(room) else {
        return text.len();
    };
    text[..end].rfind(' ').filter(|&at| at > 4).unwrap_or(end)
}

fn nodes(lanes: &[String], journey: &Journey) -> Vec<String> {
    let names: Vec<String> = lanes.iter().map(|name| format!("{name:<NODE$}")).collect();
    let rules: Vec<String> = lanes.iter().map(|_| "-".repeat(NODE)).collect();
    let mut picture = Picture(vec![
        format!("     {}", names.join(" ").trim_end()),
        format!("     {}", rules.join(" ")),
    ]);
    for (lane, text) in &journey.begins {
        picture.lane("", *lane, &format!("| {text}"));
    }
    for (step, hop) in (1..).zip(&journey.hops) {
        if journey.quiet == Some(step - 1) {
            picture.0.push(
                "     ..... from here on nothing fails, and what was under way is lost ....."
                    .into(),
            );
        }
        let number = format!("{step:>3}");
        match &hop.cause {
            Cause::Arrives { from, text, late } => {
                picture.arrow(&number, *from, hop.lane, text);
                if *late {
                    picture.lane("", hop.lane, "| having heard no leader for long");
                }
            }
            Cause::Happens(what) => picture.lane(&number, hop.lane, &format!("* {what}")),
        }
        for change in &hop.changes {
            picture.lane("", hop.lane, &format!("| {change}"));
        }
    }
    picture.0
}

struct Picture(Vec<String>);

impl Picture {
    /// A text in a lane, broken where it is too long.
    fn lane(&mut self, number: &str, lane: usize, text: &str) {
        let mut line = String::new();
        let mut number = number;
        for word in text.split(' ') {
            if !line.is_empty() && line.len() + 1 + word.len() > NODE {
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
        let indent = " ".repeat(lane * (NODE + 1));
        self.0.push(format!("{number:<5}{indent}{text}"));
    }

    /// A message, from where it was sent to where it arrives.
    fn arrow(&mut self, number: &str, from: usize, to: usize, text: &str) {
        let length = from.abs_diff(to) * (NODE + 1);
        let shaft = "-".repeat(length.saturating_sub(text.chars().count() + 6));
        match from < to {
            true => self.row(number, from, &format!("o-- {text} {shaft}>")),
            false => self.row(number, to, &format!("<-- {text} {shaft}o")),
        }
    }
}
