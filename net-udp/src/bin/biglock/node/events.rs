//! `--events`: from core's tracing events and from the store to lines on standard output.

use std::io::{self, Write};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::line::Line;

/// Where core tells of changes of leadership.
const TARGET: &str = "biglock::node::engine";

/// The thread that writes the lines, and the way to it. The channel has no bound, so that whoever reads slowly holds up no node.
pub struct Events {
    lines: Sender<Line>,
    writer: JoinHandle<()>,
}

impl Events {
    /// Starts the thread.
    pub fn start() -> anyhow::Result<Events> {
        let (lines, told) = crossbeam_channel::unbounded();
        let writer = thread::Builder::new()
            .name("events".into())
            .spawn(move || write(&told))
            .context("the system gave no thread")?;
        Ok(Events { lines, writer })
    }

    /// Writes a line, soon.
    pub fn tell(&self, line: Line) {
        // The writer ends at the last line alone.
        let _ = self.lines.send(line);
    }

    /// The way to the thread.
    pub fn lines(&self) -> Sender<Line> {
        self.lines.clone()
    }

    /// Hears what core tells.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let only_the_engine = Targets::new().with_target(TARGET, Level::INFO);
        Hear(self.lines()).with_filter(only_the_engine)
    }

    /// Writes the last line and all before it, and returns when they are written.
    pub fn finish(self, last: Line) {
        self.tell(last);
        // A panic there was reported there.
        let _ = self.writer.join();
    }
}

fn write(told: &Receiver<Line>) {
    let mut stdout = io::stdout().lock();
    for line in told {
        let text = serde_json::to_string(&line).expect("a line has only numbers and texts");
        // If nobody reads any more there is nothing left to do; whether to stop for that is not this thread's to decide.
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        if matches!(line, Line::Stopped { .. }) {
            break;
        }
    }
}

/// A layer that turns core's events into lines.
struct Hear(Sender<Line>);

impl<S: Subscriber> Layer<S> for Hear {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut change = Change::default();
        event.record(&mut change);
        if let Change {
            node: Some(node),
            change: Some(change),
            term: Some(term),
            leader,
        } = change
        {
            let _ = self.0.send(Line::Leadership {
                node,
                change,
                term,
                leader,
            });
        }
    }
}

/// The fields of a change of leadership.
#[derive(Default)]
struct Change {
    node: Option<u64>,
    change: Option<u64>,
    term: Option<u64>,
    leader: Option<u64>,
}

impl Visit for Change {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "node" => self.node = Some(value),
            "change" => self.change = Some(value),
            "term" => self.term = Some(value),
            "leader" => self.leader = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
