//! The supervisor: starts the cluster, kills its leaders, waits, and measures.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use biglock::Config;
use biglock::rules::majority;
use crossbeam_channel::{Receiver, select};
use fastrand::Rng;
use thiserror::Error;

use super::Args;
use super::cluster::Cluster;
use super::load::{Found, Load};
use super::picture::{Leadership, Picture};
use super::process::{Event, What};
use super::record::Record;
use super::screen::{Progress, Screen};
use super::stopwatch::now;
use super::summary::Failover;
use crate::line::Line;
use crate::signals::{self, Signal};

/// How often to try when a node's address was taken by somebody else between being chosen and being used.
const ATTEMPTS: u32 = 5;
/// How long to leave somebody who took an address the time to give it back.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(300);
/// The screen shows the time that passes this often.
const REDRAW: Duration = Duration::from_millis(100);

/// A signal asked for the end.
#[derive(Debug, Error)]
#[error("stopped by {}", signals::name(*.0))]
pub struct Interrupted(i32);

impl Interrupted {
    /// By the shells' convention.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::try_from(128 + self.0).unwrap_or(u8::MAX))
    }
}

/// A node ended, and not by us.
#[derive(Debug, Error)]
#[error("node {node} ended by itself: {how}{words}")]
struct Died {
    node: u64,
    /// Whether it had told that it runs.
    ran: bool,
    how: String,
    words: String,
}

/// A running demo.
pub struct Demo<'a> {
    args: &'a Args,
    seed: u64,
    /// Longer than this no election takes, unless something is wrong.
    bound: Duration,
    random: Rng,
    heartbeat: Duration,
    cluster: Cluster,
    /// Those who write, from the first leader on until the last round is over.
    load: Option<Load>,
    /// What they found at the end.
    found: Option<Found>,
    signals: Receiver<Signal>,
    picture: Picture,
    record: Record,
    screen: Screen,
    failovers: Vec<Failover>,
    /// When a node first told of a change of leadership since the last kill.
    noticed_at: Option<Instant>,
    /// What each node said last on standard error.
    last_words: BTreeMap<u64, String>,
}

impl<'a> Demo<'a> {
    /// A demo of which no process runs.
    pub fn new(
        args: &'a Args,
        seed: u64,
        config: &Config,
        screen: Screen,
        signals: Receiver<Signal>,
    ) -> anyhow::Result<Demo<'a>> {
        Ok(Demo {
            args,
            seed,
            bound: Duration::from_secs(10).max(config.election_timeout_max * 40),
            random: Rng::with_seed(seed),
            heartbeat: config.heartbeat,
            cluster: Cluster::new(args, seed)?,
            load: None,
            found: None,
            signals,
            picture: Picture::default(),
            record: Record::default(),
            screen,
            failovers: Vec::new(),
            noticed_at: None,
            last_words: BTreeMap::new(),
        })
    }

    /// All rounds.
    ///
    /// # Errors
    /// If a rule is broken, no leader is elected, a write is lost or applied twice, a node ends by itself, or somebody asks for the end.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.start_all()?;
        self.settle()?;
        if self.args.clients > 0 {
            let mut config = self.cluster.client();
            config.timeout = self.bound;
            config.patience = config.patience.max(self.bound * 4);
            self.load = Some(Load::start(config, self.args.clients)?);
        }
        while self.failovers.len() < self.args.rounds as usize {
            self.round()?;
        }
        self.look_for_writes()
    }

    /// Ends the load, and looks for all that was written.
    fn look_for_writes(&mut self) -> anyhow::Result<()> {
        let Some(load) = self.load.take() else {
            return Ok(());
        };
        // How many they are is told at the end: some are acknowledged yet.
        let text = "look for all the writes that were acknowledged";
        self.screen.note(now(), "clients", text)?;
        let told = load.finish()?;
        loop {
            if let Ok(found) = told.try_recv() {
                self.found = Some(found?);
                return Ok(());
            }
            self.step(now() + REDRAW)?;
        }
    }

    /// Ends all processes and removes their folder. Gives what there is to tell.
    pub fn end(self) -> (Screen, Vec<Failover>, Record, Option<Found>) {
        drop(self.load);
        drop(self.cluster);
        (self.screen, self.failovers, self.record, self.found)
    }

    fn start_all(&mut self) -> anyhow::Result<()> {
        let mut attempt = 1;
        loop {
            let folder = self.cluster.folder().display();
            self.screen
                .note(now(), "demo", &format!("stores in {folder}"))?;
            for id in 1..=self.args.nodes {
                self.start(id, "started")?;
            }
            let all = self.args.nodes as usize;
            let result = self.wait_for("every node to start", |picture| {
                (picture.running() == all).then_some(())
            });
            match result {
                Err(error) if attempt < ATTEMPTS && is_failed_start(&error) => {
                    self.screen
                        .note(now(), "demo", &format!("{error}; trying other addresses"))?;
                    self.cluster = Cluster::new(self.args, self.seed)?;
                    self.picture = Picture::default();
                    self.record = Record::default();
                }
                result => return result.map(|_| ()),
            }
            attempt += 1;
        }
    }

    fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        let mut attempt = 1;
        loop {
            self.start(id, "restarted on its old store")?;
            let result = self.wait_for("a node to start again", |picture| {
                picture.node(id).is_some_and(|seen| seen.ran).then_some(())
            });
            match result {
                Err(error) if attempt < ATTEMPTS && is_failed_start(&error) => {
                    self.screen
                        .note(now(), "demo", &format!("{error}; trying again"))?;
                    self.picture.killed(id);
                    self.rest(BETWEEN_ATTEMPTS)?;
                }
                result => return result.map(|_| ()),
            }
            attempt += 1;
        }
    }

    fn start(&mut self, id: u64, how: &str) -> anyhow::Result<()> {
        // Before: while the process starts, others tell their events.
        let at = now();
        let (life, pid, addr) = self.cluster.start(id)?;
        self.picture.started(life, pid);
        let text = format!("{how}: process {pid}, {addr}");
        self.screen.note(at, &format!("node {id}"), &text)?;
        Ok(())
    }

    /// Waits until every node knows the same leader, and checks that it was elected as it must be.
    fn settle(&mut self) -> anyhow::Result<Leadership> {
        let (known, _) = self.wait_for("all nodes to follow one leader", Picture::known_to_all)?;
        self.record
            .check_elected(known.term, known.leader, self.majority())?;
        Ok(known)
    }

    fn round(&mut self) -> anyhow::Result<()> {
        let round = self.failovers.len() as u32 + 1;
        let name = format!("round {round}");
        // Not in step with the heartbeats, or every failover would begin at the same point between two of them.
        let heartbeat = self.heartbeat.as_micros() as u64;
        let jitter = Duration::from_micros(self.random.u64(..=heartbeat));
        self.rest(Duration::from_millis(self.args.pause_ms) + jitter)?;

        let old = self.settle()?;
        let killed_at = self.cluster.kill(old.leader)?;
        self.picture.killed(old.leader);
        self.noticed_at = None;
        let text = format!(
            "kill -9 node {}, the leader of term {}",
            old.leader, old.term
        );
        self.screen.kill(killed_at, &name, &text)?;
        self.draw();

        let majority = self.majority();
        let what = format!("a leader after node {} of term {}", old.leader, old.term);
        let (new, known_at) = self.wait_for(&what, |picture| {
            let later = |new: &Leadership| new.term > old.term && new.leader != old.leader;
            picture.known_to(majority).filter(later)
        })?;
        let all = self.args.nodes;
        let noticed_at = self.noticed_at.unwrap_or(known_at);
        let since_kill = |at: Instant| at.checked_duration_since(killed_at);
        match since_kill(known_at).zip(since_kill(noticed_at)) {
            Some((took, noticed)) => {
                let failover = Failover::new(round, old, new, took, noticed);
                let text = format!(
                    "{majority} of {all} know that node {} leads, {:.1} ms after the kill",
                    new.leader, failover.ms
                );
                self.screen.result(known_at, &name, &text)?;
                self.failovers.push(failover);
            }
            // The change had begun in the instant before, so this was not the death of a leader. It does not count.
            None => {
                let text = "the lead was changing at that moment: this round is repeated";
                self.screen.note(known_at, &name, text)?;
            }
        }
        self.restart(old.leader)?;
        self.settle()?;
        self.screen.note(
            now(),
            &name,
            &format!("all {all} nodes follow one leader again"),
        )?;
        Ok(())
    }

    fn majority(&self) -> usize {
        majority(self.args.nodes as usize)
    }

    /// Waits for something to be seen, and returns it and when the event arrived that showed it.
    fn wait_for<R>(
        &mut self,
        what: &str,
        found: impl Fn(&Picture) -> Option<R>,
    ) -> anyhow::Result<(R, Instant)> {
        let by = now() + self.bound;
        let mut at = now();
        loop {
            if let Some(found) = found(&self.picture) {
                return Ok((found, at));
            }
            if now() >= by {
                bail!("waited {:?} for {what}, in vain", self.bound);
            }
            if let Some(arrived) = self.step(by)? {
                at = arrived;
            }
        }
    }

    /// Leaves the cluster alone for a while, and listens.
    fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let by = now() + time;
        while now() < by {
            self.step(by)?;
        }
        Ok(())
    }

    /// Waits for one event, until `by` at the latest. Returns when it arrived, if one did.
    fn step(&mut self, by: Instant) -> anyhow::Result<Option<Instant>> {
        let (events, signals) = (self.cluster.events().clone(), self.signals.clone());
        let patience = by.saturating_duration_since(now()).min(REDRAW);
        let mut arrived = None;
        select! {
            recv(events) -> event => {
                let event = event.context("the cluster holds the other end")?;
                arrived = Some(event.at);
                self.hear(&event)?;
            }
            recv(signals) -> signal => match signal.context("nobody listens for signals")? {
                Signal::Inspect => self.cluster.inspect(),
                Signal::Stop(number) => {
                    let end = Interrupted(number);
                    let text = format!("{end}: kills its nodes and removes their stores");
                    self.screen.note(now(), "demo", &text)?;
                    return Err(end.into());
                }
            },
            default(patience) => {}
        }
        self.draw();
        match self.picture.ended() {
            Some(id) => Err(self.died(id)),
            None => Ok(arrived),
        }
    }

    fn draw(&mut self) {
        let progress = Progress {
            done: self.failovers.len(),
            last: self.failovers.last(),
            writes: self.load.as_ref().map(Load::acknowledged),
        };
        self.screen.draw(&self.picture, &progress);
    }

    /// Checks an event, shows it, and takes it in.
    fn hear(&mut self, event: &Event) -> anyhow::Result<()> {
        match &event.what {
            What::Told(line) => {
                let checked = self.record.take_in(event.life, line);
                self.screen
                    .event(event, self.picture.node(event.life.node))?;
                checked?;
            }
            What::Garbled(line) => {
                bail!("node {} wrote what is no event: {line}", event.life.node)
            }
            What::Said(words) => {
                self.last_words.insert(event.life.node, words.clone());
                self.screen.event(event, None)?;
            }
            What::Ended => {}
        }
        let is_current = self.picture.take_in(event);
        if is_current && matches!(event.what, What::Told(Line::Leadership { .. })) {
            self.noticed_at.get_or_insert(event.at);
        }
        Ok(())
    }

    /// Why a node ended that we did not kill.
    fn died(&mut self, id: u64) -> anyhow::Error {
        let how = self.cluster.reap(id);
        let ran = self.picture.node(id).is_some_and(|seen| seen.ran);
        // The reader of its last words has ended too, so they are in the channel.
        let left: Vec<Event> = self.cluster.events().try_iter().collect();
        for event in left {
            if let Err(error) = self.hear(&event) {
                return anyhow!("{error}; and node {id} ended by itself: {how}");
            }
        }
        let words = self.last_words.remove(&id);
        Died {
            node: id,
            ran,
            how,
            words: words.map_or(String::new(), |words| format!("; it said: {words}")),
        }
        .into()
    }
}

/// Whether a node ended before it ran: its address may have been taken.
fn is_failed_start(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Died>().is_some_and(|died| !died.ran)
}
