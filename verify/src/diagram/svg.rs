//! A diagram as SVG: the lanes of threads here, those of nodes in `nodes`.

use std::collections::BTreeMap;

use maud::Markup;

use super::canvas::{Canvas, Frame, LIFE, LINE, PAD};
use super::{Act, DEADLOCK, Diagram, Row, Story, nodes, place};
use crate::report::thousands;

/// Between two lanes of threads.
const GUTTER: i32 = 20;

const LEGEND: &str = "Time runs downwards, one thing after the other. A box is a stay under a node's lock: what it is for, and what it changed. \
    A hollow box changed nothing. Between boxes a thread runs without the lock: a triangle sends, a square writes to the disk. \
    A dotted line sleeps until an arrow wakes it.";

impl Diagram {
    /// The diagram for a page that has the [`STYLE`](super::STYLE). `name` is that of what is drawn, and unique in the page.
    pub fn svg(&self, name: &str) -> Markup {
        self.draw(name, false)
    }

    /// The diagram as a file of its own.
    pub fn svg_file(&self, name: &str) -> String {
        self.draw(name, true).into_string() + "\n"
    }

    fn draw(&self, name: &str, style: bool) -> Markup {
        match &self.story {
            Story::Threads(rows) => threads(self, rows).finish(name, LEGEND, style),
            Story::Nodes(journey) => nodes::draw(self, journey).finish(name, nodes::LEGEND, style),
        }
    }
}

/// How it is with one thread.
#[derive(Default)]
struct Thread<'a> {
    /// The boxes that it is in, from the outermost.
    inside: Vec<Stay>,
    /// Since where it is neither in a box nor asleep.
    awake: Option<i32>,
    asleep: Option<(i32, &'a str)>,
    wants: Option<(u64, &'a str)>,
    /// The message that it has just sent: where, and to whom.
    sent: Option<(i32, u64)>,
    /// Where the last that it did ends.
    last: i32,
}

struct Stay {
    at: Frame,
    /// Its words so far: the first, and one past those of its title.
    title: (usize, usize),
    changed: bool,
}

struct Drawing<'a> {
    canvas: Canvas<'a>,
    threads: Vec<Thread<'a>>,
    /// Whether boxes say of which node they are.
    several: bool,
    /// For each row that ends a box: whom that box has woken.
    wakes: BTreeMap<usize, Vec<usize>>,
}

fn threads<'a>(diagram: &'a Diagram, rows: &'a [Row]) -> Canvas<'a> {
    let mut nodes: Vec<u64> = rows.iter().filter_map(node_of).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let mut drawing = Drawing {
        canvas: Canvas::new(diagram, GUTTER, 0),
        threads: diagram.lanes.iter().map(|_| Thread::default()).collect(),
        several: nodes.len() > 1,
        wakes: wakes(rows),
    };
    let mut next = 0;
    for (nth, row) in rows.iter().enumerate() {
        if nth < next {
            continue;
        }
        match row {
            Row::Did(lane, act) => {
                drawing.act(nth, *lane, act);
                if let Some((again, after)) = repeated(rows, nth + 1) {
                    drawing.repeats(*lane, again);
                    next = after;
                }
                drawing.threads[*lane].last = drawing.canvas.y;
            }
            Row::LeftOut(many) => drawing.left_out(*many),
        }
    }
    let last = rows.iter().rev().find_map(|row| match row {
        Row::Did(lane, _) => Some(*lane),
        Row::LeftOut(_) => None,
    });
    drawing.end(last, diagram.broken.starts_with(DEADLOCK));
    drawing.canvas
}

/// How often the box that ends before this row is made again at once, without effect, and which row follows: a thread that polls would fill the
/// picture.
fn repeated(rows: &[Row], from: usize) -> Option<(usize, usize)> {
    let looks = rows[..from].last_chunk()?;
    let [
        Row::Did(_, Act::Wants(..)),
        Row::Did(_, Act::Enters(..)),
        Row::Did(_, Act::Leaves(false)),
    ] = looks
    else {
        return None;
    };
    let same = rows[from..].chunks_exact(looks.len());
    let again = same.take_while(|chunk| chunk == looks).count();
    (again > 1).then_some((again, from + again * looks.len()))
}

fn node_of(row: &Row) -> Option<u64> {
    match row {
        Row::Did(_, Act::Enters(node, _) | Act::Wakes(node, _)) => Some(*node),
        _ => None,
    }
}

/// At the end of which box who was woken that went on afterwards: an arrow leads from there to each of them.
fn wakes(rows: &[Row]) -> BTreeMap<usize, Vec<usize>> {
    let mut all: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    // Whom each lane has woken in the box in which it is, and by the end of which box each lane was.
    let mut rouses: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut roused: BTreeMap<usize, usize> = BTreeMap::new();
    for (nth, row) in rows.iter().enumerate() {
        match row {
            Row::Did(lane, Act::Rouses(other)) => rouses.entry(*lane).or_default().push(*other),
            Row::Did(lane, Act::Sleeps(_) | Act::Leaves(_)) => {
                let woken = rouses.remove(lane).unwrap_or_default();
                roused.extend(woken.into_iter().map(|other| (other, nth)));
            }
            Row::Did(lane, Act::Wakes(..)) => {
                if let Some(end) = roused.remove(lane) {
                    all.entry(end).or_default().push(*lane);
                }
            }
            _ => {}
        }
    }
    all
}

impl<'a> Drawing<'a> {
    fn act(&mut self, nth: usize, lane: usize, act: &'a Act) {
        let depth = self.threads[lane].inside.len();
        match act {
            Act::Wants(node, section) => {
                let y = self.canvas.y;
                self.threads[lane].wants = Some((*node, section));
                self.threads[lane].awake.get_or_insert(y);
            }
            Act::Enters(node, section) => self.enter(lane, *node, section),
            Act::Wakes(node, _) => {
                let y = self.canvas.y + PAD;
                if let Some((since, _)) = self.threads[lane].asleep.take() {
                    self.canvas.life(lane, since, y, "asleep");
                }
                self.enter(lane, *node, "wakes");
            }
            Act::Changes(change) => {
                if let Some(stay) = self.threads[lane].inside.last_mut() {
                    stay.changed = true;
                }
                self.canvas
                    .text(lane, depth.saturating_sub(1), "change", change);
            }
            Act::Sleeps(what) => {
                let text = format!("zz waits for {what}");
                self.canvas
                    .text(lane, depth.saturating_sub(1), "rest", &text);
                self.leave(lane);
                self.threads[lane].awake = None;
                self.threads[lane].asleep = Some((self.canvas.y, what));
                self.wake(nth, lane);
            }
            // Drawn where the box ends.
            Act::Rouses(_) => {}
            Act::Leaves(broadcast) => {
                if *broadcast {
                    if let Some(stay) = self.threads[lane].inside.last_mut() {
                        stay.changed = true;
                    }
                    self.canvas
                        .text(lane, depth.saturating_sub(1), "wakes", "broadcasts");
                }
                self.leave(lane);
                self.wake(nth, lane);
            }
            Act::Sends(to, message) => {
                self.outside(lane, "sends", message);
                self.threads[lane].sent = Some((self.canvas.y - LINE / 2, *to));
            }
            Act::Writes(what) => self.outside(lane, "disk", what),
            Act::Notes(text) => self.outside(lane, "note", text),
        }
    }

    /// A box begins.
    fn enter(&mut self, lane: usize, node: u64, title: &str) {
        if self.threads.iter().all(|thread| thread.inside.is_empty()) {
            self.canvas.remind();
        }
        let depth = self.threads[lane].inside.len();
        let class = format!("box n{}", (node.max(1) - 1) % 5 + 1);
        let at = self.canvas.open(lane, depth, &class);
        let sent = self.threads[lane].sent.take();
        if let Some((y, to)) = sent
            && to == node
        {
            // The sender runs the receiver's handler: the message arrives in its own lane.
            let x = self.canvas.x(lane) + 5 * depth as i32 + LIFE - 2;
            let from = (x, y + LINE / 2);
            self.canvas.arrow("message", &[from, (x, at.y)]);
        }
        let title = match self.several {
            true => format!("node {node}: {title}"),
            false => title.to_string(),
        };
        let first = self.canvas.text(lane, depth, "what", &title);
        let thread = &mut self.threads[lane];
        thread.wants = None;
        if depth == 0
            && let Some(since) = thread.awake.take()
        {
            self.canvas.life(lane, since, at.y, "awake");
        }
        let title = (first, self.canvas.said());
        self.threads[lane].inside.push(Stay {
            at,
            title,
            changed: false,
        });
    }

    /// The innermost box ends.
    fn leave(&mut self, lane: usize) {
        let Some(mut stay) = self.threads[lane].inside.pop() else {
            return;
        };
        if !stay.changed {
            stay.at.class += " idle";
            self.canvas.restyle(stay.title.0, stay.title.1, "idle");
        }
        self.canvas.close(&stay.at);
        if self.threads[lane].inside.is_empty() {
            self.threads[lane].awake = Some(self.canvas.y);
        }
    }

    /// What is done without the lock of any node.
    fn outside(&mut self, lane: usize, mark: &str, text: &str) {
        let depth = self.threads[lane].inside.len().saturating_sub(1);
        self.threads[lane].sent = None;
        let from = self.canvas.y;
        self.threads[lane].awake.get_or_insert(from);
        self.canvas.text(lane, depth, "does", text);
        let x = self.canvas.x(lane) + LIFE + 5 * depth as i32;
        self.canvas.mark(mark, x, from + LINE / 2);
        self.live(lane);
    }

    /// The line of a thread's life as far as the drawing has come, if it is in no box.
    fn live(&mut self, lane: usize) {
        let y = self.canvas.y;
        let thread = &mut self.threads[lane];
        if thread.inside.is_empty()
            && let Some(since) = &mut thread.awake
        {
            self.canvas.life(lane, *since, y, "awake");
            *since = y;
        }
    }

    /// The arrows from the end of a box to those that it woke.
    fn wake(&mut self, nth: usize, lane: usize) {
        let Some(woken) = self.wakes.remove(&nth) else {
            return;
        };
        self.canvas.y += PAD + 2;
        let y = self.canvas.y;
        let from = self.canvas.x(lane) + LIFE;
        self.live(lane);
        for other in woken {
            let to = self.canvas.x(other) + LIFE;
            self.canvas.arrow("wakes", &[(from, y), (to, y)]);
            if let Some((since, _)) = self.threads[other].asleep.take() {
                // From here on it is awake, and waits for its turn.
                self.canvas.life(other, since, y, "asleep");
                self.threads[other].awake = Some(y);
            }
        }
        self.canvas.y += PAD;
        self.live(lane);
    }

    fn repeats(&mut self, lane: usize, again: usize) {
        self.canvas.text(
            lane,
            0,
            "does",
            &format!("and so {} times more", thousands(again as u64)),
        );
        self.live(lane);
    }

    fn left_out(&mut self, many: usize) {
        for lane in 0..self.threads.len() {
            let thread = std::mem::take(&mut self.threads[lane]);
            let y = self.canvas.y;
            for mut stay in thread.inside {
                stay.at.class += " open";
                self.canvas.close(&stay.at);
            }
            if let Some((since, _)) = thread.asleep {
                self.canvas.life(lane, since, y, "asleep");
            }
            if let Some(since) = thread.awake {
                self.canvas.life(lane, since, y, "awake");
            }
        }
        self.canvas.y += 2 * PAD;
        self.canvas.rule("quiet");
        self.canvas
            .across(&format!("{} steps are left out.", thousands(many as u64)));
        self.canvas.rule("quiet");
    }

    /// Who never got any further, and where it broke.
    fn end(&mut self, last: Option<usize>, deadlock: bool) {
        let top = self.canvas.y + PAD;
        let mut bottom = top;
        for lane in 0..self.threads.len() {
            let thread = &self.threads[lane];
            // Who is inside a box shows it: the box has no end.
            let text = match (thread.wants, thread.asleep) {
                (Some((node, section)), _) => format!("wants {}", place(node, section)),
                (None, Some((_, what))) if deadlock => format!("still waits for {what}"),
                // Perhaps it was woken, and had not yet its turn.
                (None, Some((_, what))) => format!("last seen waiting for {what}"),
                (None, None) => continue,
            };
            let class = match deadlock {
                true => "stuck",
                false => "rest",
            };
            self.canvas.y = top;
            let depth = thread.inside.len();
            if let Some((since, _)) = thread.asleep {
                let line = if deadlock { "stuck" } else { "asleep" };
                self.canvas.life(lane, since, top + PAD, line);
            } else if let Some(since) = thread.awake {
                let line = if deadlock { "stuck" } else { "awake" };
                self.canvas.life(lane, since, top + PAD, line);
            }
            let at = self.canvas.open(lane, depth, &format!("box {class}"));
            self.canvas.text(lane, depth, class, &text);
            self.canvas.close(&at);
            self.threads[lane].last = self.canvas.y;
            bottom = bottom.max(self.canvas.y);
        }
        self.canvas.y = bottom;
        for lane in 0..self.threads.len() {
            let broke = !deadlock && last == Some(lane);
            for mut stay in std::mem::take(&mut self.threads[lane].inside) {
                self.canvas.y = bottom + 3;
                self.threads[lane].last = bottom + PAD;
                stay.at.class += if broke { " open bad" } else { " open" };
                self.canvas.close(&stay.at);
            }
            if broke {
                let x = self.canvas.x(lane) + LIFE;
                let y = self.threads[lane].last + PAD + 5;
                self.canvas.cross("bad", x, y, 6);
                bottom = bottom.max(y);
            }
        }
        self.canvas.y = self.canvas.y.max(bottom) + PAD;
    }
}
