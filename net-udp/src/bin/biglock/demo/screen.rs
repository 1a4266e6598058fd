//! What the demo shows: a line per event; and on a terminal, below them, how every node is now.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use biglock::Config;
use console::{Style, Term, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Args;
use super::picture::{Picture, Seen, State};
use super::process::{Event, What};
use super::stopwatch::now;
use super::summary::{Failover, Summary};
use crate::line::Line;

/// Where the demo shows itself.
pub struct Screen {
    start: Instant,
    width: usize,
    /// The lower part; nothing if nobody would see it move.
    panel: Option<ProgressBar>,
}

/// How far the demo is.
pub struct Progress<'a> {
    /// Rounds that are done.
    pub done: usize,
    /// The last of them.
    pub last: Option<&'a Failover>,
    /// How many writes were acknowledged, if somebody writes.
    pub writes: Option<u64>,
}

/// How often a second the panel may be drawn: events come in bursts.
const FRAMES: u8 = 30;

/// Above the rounds a line per node, all in one message: so that they are drawn together.
const PANEL: &str = "\n    node    role      term  leader  vote on disk       process\n{msg}\n  \
                     round {pos} of {len} {bar:24.green} {elapsed}  {prefix}";

impl Screen {
    /// Shows what is going to happen.
    pub fn new(args: &Args, config: &Config, seed: u64) -> io::Result<Screen> {
        let mut screen = Screen {
            start: now(),
            width: usize::from(Term::stdout().size().1),
            panel: None,
        };
        let (min, max) = (config.election_timeout_min, config.election_timeout_max);
        let nodes = args.nodes;
        screen.line(&style("biglock demo").bold().to_string())?;
        let majority = biglock::rules::majority(nodes as usize);
        screen.line(&format!(
            "{nodes} nodes, each a process with a durable store, talk over UDP on loopback.\n\
             Every round kills the leader with SIGKILL and measures how long it takes\n\
             until {majority} of {nodes} nodes know the next one."
        ))?;
        if args.clients > 0 {
            screen.line(&format!(
                "Meanwhile {} clients write; at the end they look for all that was acknowledged.",
                args.clients
            ))?;
        }
        screen.line(&format!(
            "Election timeouts {}-{} ms, heartbeat {} ms, pre-vote {}, --seed {seed}.\n",
            min.as_millis(),
            max.as_millis(),
            config.heartbeat.as_millis(),
            if config.pre_vote { "on" } else { "off" },
        ))?;
        let target = ProgressDrawTarget::stdout_with_hz(FRAMES);
        let panel = ProgressBar::with_draw_target(Some(u64::from(args.rounds)), target);
        // It shows nothing where nothing can move: in a pipe, and on a dumb terminal.
        if !panel.is_hidden() {
            let style = ProgressStyle::with_template(PANEL).expect("a valid template");
            screen.panel = Some(panel.with_style(style));
        }
        Ok(screen)
    }

    /// Something that the demo did.
    pub fn note(&mut self, at: Instant, who: &str, text: &str) -> io::Result<()> {
        self.row(at, who, text, &Style::new())
    }

    /// The kill.
    pub fn kill(&mut self, at: Instant, who: &str, text: &str) -> io::Result<()> {
        self.line("")?;
        self.row(at, who, text, &Style::new().red().bold())
    }

    /// What a round came to.
    pub fn result(&mut self, at: Instant, who: &str, text: &str) -> io::Result<()> {
        self.row(at, who, text, &Style::new().cyan().bold())
    }

    /// Something that a node did; `before` is how it was.
    pub fn event(&mut self, event: &Event, before: Option<&Seen>) -> io::Result<()> {
        let node = event.life.node;
        let (text, look) = match &event.what {
            What::Told(line) => match tell(node, line, before) {
                Some(told) => told,
                None => return Ok(()),
            },
            What::Said(text) | What::Garbled(text) => {
                (format!("says: {text}"), Style::new().yellow())
            }
            What::Ended => return Ok(()),
        };
        let from_the_dead =
            before.is_some_and(|seen| seen.life != event.life || seen.state == State::Killed);
        let text = if from_the_dead {
            text + " (told before it died)"
        } else {
            text
        };
        self.row(event.at, &format!("node {node}"), &text, &look)
    }

    /// How every node is now.
    pub fn draw(&mut self, picture: &Picture, progress: &Progress<'_>) {
        let Some(panel) = &self.panel else { return };
        let failover = progress.last;
        let failover = failover.map(|it| format!("last failover {:.1} ms", it.ms));
        let writes = progress.writes.map(|many| format!("{many} writes"));
        let both: Vec<String> = failover.into_iter().chain(writes).collect();
        panel.set_prefix(both.join(", "));
        panel.set_position(progress.done as u64);
        let rows: Vec<String> = picture.nodes().map(|(_, seen)| row_of(seen)).collect();
        panel.set_message(rows.join("\n"));
    }

    /// The end: the table, the histogram, and what was checked.
    pub fn end(&mut self, summary: &Summary) -> io::Result<()> {
        if let Some(panel) = self.panel.take() {
            panel.finish_and_clear();
        }
        let Some(statistics) = summary.statistics() else {
            return self.line("\nNo leader was killed, so there is nothing to tell.");
        };
        self.line(
            "\nnoticed: ms from the kill until a node's election timeout passed;\n\
             elected: ms from there until a majority knew the new leader; failover: both.\n",
        )?;
        self.line(&summary.table())?;
        self.line("")?;
        self.line(&statistics)?;
        self.line("")?;
        for line in summary.histogram(self.width) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// What was checked. Only if nothing was broken.
    pub fn verdict(&mut self, summary: &Summary) -> io::Result<()> {
        self.line("")?;
        summary
            .verdict()
            .iter()
            .try_for_each(|line| self.line(line))
    }

    fn row(&mut self, at: Instant, who: &str, text: &str, look: &Style) -> io::Result<()> {
        let time = at.saturating_duration_since(self.start);
        let time = style(format!("{:>8.3} s", Duration::as_secs_f64(&time))).dim();
        self.line(&format!("{time}  {who:<10}{}", look.apply_to(text)))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        match &self.panel {
            Some(panel) => {
                panel.println(text);
                Ok(())
            }
            None => writeln!(io::stdout(), "{text}"),
        }
    }
}

/// What a line of a node says, and its look. Nothing for what another line of the same moment says too.
fn tell(node: u64, line: &Line, before: Option<&Seen>) -> Option<(String, Style)> {
    let quiet = Style::new().dim();
    let term_before = before.map_or(0, |seen| seen.term);
    Some(match *line {
        Line::Loaded { term: 0, .. } => ("runs; its store is empty".into(), quiet),
        Line::Loaded {
            term, voted_for, ..
        } => {
            let vote = voted_for.map_or("no vote".into(), |id| format!("a vote for node {id}"));
            let text = format!("runs; its store holds term {term} and {vote}");
            (text, quiet)
        }
        Line::Durable {
            term, voted_for, ..
        } => match voted_for {
            Some(id) if id == node => {
                let text = format!("stands for election in term {term}, its own vote is durable");
                (text, Style::new().yellow())
            }
            Some(id) => (
                format!("votes for node {id} in term {term}, durably"),
                Style::new(),
            ),
            None => (format!("stores term {term}, without a vote"), quiet),
        },
        Line::Leadership { term, leader, .. } => match leader {
            Some(id) if id == node => (format!("LEADS term {term}"), Style::new().green().bold()),
            Some(id) => (
                format!("follows node {id} in term {term}"),
                Style::new().green(),
            ),
            None if term == term_before => {
                (format!("hears no leader of term {term} any more"), quiet)
            }
            // It came to a new term, which it stores: that line says so.
            None => return None,
        },
        // It has told that its store was read.
        Line::Started { .. } => return None,
        Line::Stopped { ref why, .. } => (format!("ends: {why}"), quiet),
    })
}

/// A node's line in the panel.
fn row_of(seen: &Seen) -> String {
    let role = seen.role();
    let look = match role {
        "leader" => Style::new().green().bold(),
        "follower" => Style::new().green(),
        "electing" => Style::new().yellow(),
        "killed" | "ended" => Style::new().red(),
        _ => Style::new().dim(),
    };
    let leader = seen.leader.map_or("-".into(), |id| format!("node {id}"));
    let vote = match seen.stored {
        (0, _) => "-".into(),
        (term, None) => format!("none in term {term}"),
        (term, Some(id)) => format!("node {id} in term {term}"),
    };
    let mark = if role == "killed" { "✗" } else { "●" };
    look.apply_to(format!(
        "  {mark} node {}  {role:<8}{:>6}  {leader:<6}  {vote:<17}  {}",
        seen.life.node, seen.term, seen.pid
    ))
    .to_string()
}
