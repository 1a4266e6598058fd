//! The lanes of nodes as SVG: a box per step, and each message from the step that sent it to the step in which it arrives.

use super::canvas::{Canvas, LINE, PAD};
use super::{Cause, Diagram, Journey};

/// Between two lanes of nodes: here messages are under way.
const GUTTER: i32 = 56;
/// Before the first lane: here are the numbers of the steps.
const LEFT: i32 = 26;

pub(super) const LEGEND: &str = "Time runs downwards, one step after the other. A box is a step of a node: why it makes one, what is \
    different afterwards, and below what it sends. An arrow leads to where a message arrives, perhaps long after; dashed, if it arrives \
    again. A cross: it does not arrive.";

/// A message that arrives.
struct Under {
    /// In this step.
    arrives: usize,
    /// From this point at the edge of its sender's box,
    from: (i32, i32),
    /// and not for the first time.
    again: bool,
}

pub(super) fn draw<'a>(diagram: &'a Diagram, journey: &'a Journey) -> Canvas<'a> {
    let mut canvas = Canvas::new(diagram, GUTTER, LEFT);
    let mut life: Vec<i32> = vec![canvas.y; diagram.lanes.len()];
    let top = canvas.y;
    for (lane, text) in &journey.begins {
        canvas.y = top;
        let at = canvas.open(*lane, 0, "box idle");
        canvas.text(*lane, 0, "rest", &format!("begins with {text}"));
        canvas.close(&at);
        life[*lane] = canvas.y;
    }
    canvas.y = life.iter().copied().max().unwrap_or(top);
    let mut wire: Vec<Under> = Vec::new();
    let steps = journey.hops.len();
    for (step, hop) in journey.hops.iter().enumerate() {
        let lane = hop.lane;
        if journey.quiet == Some(step) {
            quiet(&mut canvas);
        }
        canvas.remind();
        let broke = step + 1 == steps;
        let class = if broke { "box bad" } else { "box" };
        canvas.y += PAD / 2;
        let at = canvas.open(lane, 0, class);
        let x = canvas.x(lane);
        canvas.life(lane, life[lane], at.y, "awake");
        let number = (step + 1).to_string();
        canvas.put(canvas.x(0) - 6, at.y + LINE, "step", &number);
        match &hop.cause {
            Cause::Arrives { from, text, .. } => {
                canvas.text(lane, 0, "what", text);
                canvas.text(lane, 0, "from", &format!("from {}", diagram.lanes[*from]));
            }
            Cause::Happens(what) => {
                canvas.text(lane, 0, "what", what);
            }
        }
        if let Cause::Arrives { late: true, .. } = hop.cause {
            canvas.text(lane, 0, "rest", "having heard no leader for long");
        }
        for change in &hop.changes {
            canvas.text(lane, 0, "change", change);
        }
        if let Cause::Arrives { from, .. } = hop.cause {
            let edge = if from < lane { x } else { x + canvas.width };
            let arriving = wire.iter().filter(|under| under.arrives == step);
            for under in arriving {
                arrow(&mut canvas, under, (edge, at.y + 12), from < lane);
            }
        }
        if !hop.sends.is_empty() {
            canvas.y += PAD / 2;
        }
        for sent in &hop.sends {
            let lost = sent.arrives.is_empty();
            let text = format!("to {}: {}", diagram.lanes[sent.to], sent.text);
            let y = canvas.y + LINE / 2 + 1;
            canvas.text(lane, 0, if lost { "lost" } else { "sends" }, &text);
            let right = sent.to > lane;
            let edge = if right { x + canvas.width } else { x };
            if lost {
                let end = edge + if right { GUTTER / 4 } else { -GUTTER / 4 };
                canvas.stub(edge, end, y);
            }
            wire.extend(
                sent.arrives
                    .iter()
                    .enumerate()
                    .map(|(nth, &arrives)| Under {
                        arrives,
                        from: (edge, y),
                        again: nth > 0,
                    }),
            );
        }
        canvas.close(&at);
        life[lane] = canvas.y;
        if broke {
            let y = canvas.y + PAD + 4;
            canvas.cross("bad", x + canvas.width / 2, y, 6);
            canvas.y = y + PAD;
        }
    }
    if journey.quiet == Some(steps) {
        quiet(&mut canvas);
    }
    for (lane, since) in life.into_iter().enumerate() {
        canvas.life(lane, since, canvas.y, "awake");
    }
    canvas
}

fn quiet(canvas: &mut Canvas<'_>) {
    canvas.y += 2 * PAD;
    canvas.rule("quiet");
    canvas.across("From here on nothing fails, and what was under way is lost.");
}

/// A message on its way: level past the lanes between, down beside that of its receiver.
fn arrow(canvas: &mut Canvas<'_>, under: &Under, to: (i32, i32), rightwards: bool) {
    let class = if under.again { "repeated" } else { "message" };
    let (x, y) = under.from;
    let beside = if rightwards {
        to.0 - GUTTER + 2
    } else {
        to.0 + GUTTER - 2
    };
    match (beside - x).abs() > GUTTER {
        true => canvas.arrow(class, &[(x, y), (beside, y), to]),
        false => canvas.arrow(class, &[(x, y), to]),
    }
}
