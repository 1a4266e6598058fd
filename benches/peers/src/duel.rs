//! A peer and Biglock under the same load, in turn.

use std::time::Duration;

use crate::Subject;

/// How a cluster is started.
pub type Start = fn() -> Box<dyn Subject>;

/// A cluster takes this many commands, then a new one takes its place: nobody compacts a log here, and it is not to fill the memory.
const MOST_COMMANDS: u64 = 500_000;

/// Fewer commands than this many windows are a warm-up, and no sample: a window has to fill, and to run empty.
const WINDOWS: u64 = 8;

/// More than this nobody needs of one configuration.
const ENOUGH: usize = 10_000;

/// A cluster, and its successors.
pub struct Lasting {
    start: Start,
    running: Option<Box<dyn Subject>>,
    committed: u64,
}

impl Lasting {
    /// Nothing runs before the first command.
    pub fn new(start: Start) -> Lasting {
        Lasting {
            start,
            running: None,
            committed: 0,
        }
    }

    /// As [`Subject::commit`]; what it takes to start a cluster is not in the time.
    pub fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        if self.committed + commands > MOST_COMMANDS {
            self.running = None;
            self.committed = 0;
        }
        self.committed += commands;
        let running = self.running.get_or_insert_with(self.start);
        running.commit(commands, in_flight)
    }
}

/// Samples of one configuration: nanoseconds for each command.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// The peer's.
    pub peer: Vec<f64>,
    /// Biglock's, each taken right after the peer's.
    pub biglock: Vec<f64>,
}

/// A peer and Biglock.
pub struct Duel {
    peer: Lasting,
    biglock: Lasting,
    samples: Samples,
}

impl Duel {
    /// Nothing runs before the first command.
    pub fn new(peer: Start, biglock: Start) -> Duel {
        Duel {
            peer: Lasting::new(peer),
            biglock: Lasting::new(biglock),
            samples: Samples::default(),
        }
    }

    /// Both commit this many commands, one after the other, so that a slow second of the machine slows both. Returns the peer's time.
    pub fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let peer = self.peer.commit(commands, in_flight);
        let biglock = self.biglock.commit(commands, in_flight);
        if commands >= WINDOWS * in_flight as u64 && self.samples.peer.len() < ENOUGH {
            let each = |took: Duration| took.as_secs_f64() * 1e9 / commands as f64;
            self.samples.peer.push(each(peer));
            self.samples.biglock.push(each(biglock));
        }
        peer
    }

    /// Stops both, and gives what was measured.
    pub fn finish(self) -> Samples {
        self.samples
    }
}
