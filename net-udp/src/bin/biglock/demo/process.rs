//! One node as a process: started, read, killed, reaped.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context;
use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, kill_process};

use super::stopwatch;
use crate::line::Line;

/// Which process of which node: a node that is started again begins another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The node.
    pub node: u64,
    /// Which of its lives, from 1.
    pub number: u32,
}

/// Something that a process did, and when the supervisor heard of it.
#[derive(Debug)]
pub struct Event {
    /// Who.
    pub life: Life,
    /// When the supervisor had read it.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What a process did.
#[derive(Debug)]
pub enum What {
    /// It told an event.
    Told(Line),
    /// It wrote this to standard error.
    Said(String),
    /// It wrote something to standard output that is no event.
    Garbled(String),
    /// It closed its standard output, so it has ended.
    Ended,
}

/// A running process. Dropping it kills and reaps it, and ends the threads that read it.
pub struct Process {
    /// Its standard input is held open: it stops when that ends, so it does not outlive its supervisor, however that one dies.
    child: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts it. What it does comes out of `events`; the last is [`What::Ended`].
    pub fn start(
        command: &mut Command,
        life: Life,
        events: &Sender<Event>,
    ) -> anyhow::Result<Process> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C in the terminal is for the supervisor, which then ends its nodes.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        // From here on whatever fails drops, and so kills, it.
        let mut process = Process {
            child,
            readers: Vec::new(),
        };
        let stdout = process.child.stdout.take().context("its output is piped")?;
        let stderr = process
            .child
            .stderr
            .take()
            .context("its errors are piped")?;
        process.read("events", stdout, life, events, Some(What::Ended), |line| {
            match serde_json::from_str(&line) {
                Ok(line) => What::Told(line),
                Err(_) => What::Garbled(line),
            }
        })?;
        process.read("errors", stderr, life, events, None, What::Said)?;
        Ok(process)
    }

    fn read(
        &mut self,
        name: &str,
        pipe: impl Read + Send + 'static,
        life: Life,
        events: &Sender<Event>,
        end: Option<What>,
        what: impl Fn(String) -> What + Send + 'static,
    ) -> anyhow::Result<()> {
        let events = events.clone();
        let reader = thread::Builder::new()
            .name(format!("{name} of node {}", life.node))
            .spawn(move || {
                let send = |at, what| events.send(Event { life, at, what });
                let lines = BufReader::new(pipe).lines().map_while(Result::ok);
                for line in lines {
                    // The arrival is what counts, so the clock is read before anything else is done.
                    let at = stopwatch::now();
                    let _ = send(at, what(line));
                }
                if let Some(end) = end {
                    let _ = send(stopwatch::now(), end);
                }
            })
            .context("the system gave no thread")?;
        self.readers.push(reader);
        Ok(())
    }

    /// Its number in the system.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL, and returns when that was sent. It is reaped when this value is dropped.
    pub fn kill(&mut self) -> anyhow::Result<Instant> {
        let at = stopwatch::now();
        self.child.kill().context("cannot kill a node")?;
        Ok(at)
    }

    /// Makes it say what its threads wait for.
    pub fn inspect(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It is ours and not yet reaped, so nobody else can have its number; and if it is dead, it has nothing to say.
            let _ = kill_process(pid, Signal::QUIT);
        }
    }

    /// How it ended, once it has.
    pub fn wait(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before; then there is nothing to kill, and it is reaped all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}
