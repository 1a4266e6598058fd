//! The load: clients that write while leaders are killed, and look at the end for everything that they wrote.
//!
//! Each client appends numbers of its own, one after the other, to keys of its own: whatever was acknowledged must be there once, and in
//! order. All of them count together, by compare-and-swap, in one key: it must come to the number of swaps that were acknowledged. A
//! write that got no answer is in doubt, and may be there once or not at all.

mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use biglock_udp::{ClientConfig, ClientError, KvClient, Swapped};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use serde::Serialize;

use super::record::Broken;
use ledger::{Counter, Ledger};

/// Where all clients count.
const COUNTER: &str = "counter";

/// How long a client rests between two writes, so that the load leaves the machine some time for elections.
const REST: Duration = Duration::from_millis(2);

/// Every so many appends a client counts, and
const COUNTS: u64 = 3;
/// every so many it reads what it wrote.
const READS: u64 = 10;

/// Clients that write until this is dropped or finished.
pub struct Load {
    clients: Vec<JoinHandle<anyhow::Result<Written>>>,
    config: ClientConfig,
    acknowledged: Arc<AtomicU64>,
    /// Its end is the sign to stop.
    stop: Sender<()>,
}

/// What clients wrote.
#[derive(Default)]
struct Written {
    ledgers: Vec<Ledger>,
    counter: Counter,
    reads: u64,
    unanswered: u64,
}

/// What was looked for, and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Clients that wrote.
    pub clients: usize,
    /// Appends that were acknowledged, each of which is there once.
    pub appends: u64,
    /// Compare-and-swaps that were acknowledged, each of which counted once.
    pub swaps: u64,
    /// Reads meanwhile, each of which saw all that its client had written.
    pub reads: u64,
    /// Requests without an answer in time: none of them is there twice.
    pub unanswered: u64,
}

impl Load {
    /// Starts so many clients.
    pub fn start(config: ClientConfig, clients: u64) -> anyhow::Result<Load> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let start = |number: u64| {
            let kv = KvClient::connect(config.clone())?;
            let (stopped, acknowledged) = (stopped.clone(), acknowledged.clone());
            thread::Builder::new()
                .name(format!("client {number}"))
                .spawn(move || write(kv, number, &stopped, &acknowledged))
                .context("the system gave no thread")
        };
        Ok(Load {
            clients: (1..=clients).map(start).collect::<anyhow::Result<_>>()?,
            config,
            acknowledged,
            stop,
        })
    }

    /// How many writes were acknowledged until now.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients, and looks for all that they wrote, in a thread that tells in the end.
    pub fn finish(self) -> anyhow::Result<Receiver<anyhow::Result<Found>>> {
        let (tell, told) = crossbeam_channel::bounded(1);
        thread::Builder::new()
            .name("look for all writes".into())
            .spawn(move || {
                let _ = tell.send(self.look());
            })
            .context("the system gave no thread")?;
        Ok(told)
    }

    fn look(self) -> anyhow::Result<Found> {
        drop(self.stop);
        let mut all = Written::default();
        let clients = self.clients.len();
        for client in self.clients {
            let written = client.join().ok().context("a client panicked")??;
            all.ledgers.extend(written.ledgers);
            all.counter.add(&written.counter);
            all.reads += written.reads;
            all.unanswered += written.unanswered;
        }
        let mut kv = KvClient::connect(self.config)?;
        let mut appends = 0;
        for ledger in &all.ledgers {
            for page in ledger.pages() {
                let value = kv.get(page.key()).context("at the end")?;
                page.check(value.as_deref()).map_err(Broken::new)?;
                appends += page.acknowledged();
            }
        }
        let value = kv.get(COUNTER).context("at the end")?;
        all.counter.check(value.as_deref()).map_err(Broken::new)?;
        Ok(Found {
            clients,
            appends,
            swaps: all.counter.acknowledged,
            reads: all.reads,
            unanswered: all.unanswered,
        })
    }
}

/// What one client does.
fn write(
    mut kv: KvClient,
    number: u64,
    stopped: &Receiver<()>,
    acknowledged: &AtomicU64,
) -> anyhow::Result<Written> {
    let mut ledger = Ledger::new(number);
    let mut counter = Counter::default();
    let (mut reads, mut unanswered) = (0, 0);
    let count = |done: Result<bool, ClientError>, unanswered: &mut u64| match done {
        Ok(true) => {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error @ (ClientError::TimedOut { .. } | ClientError::SessionExpired)) => {
            *unanswered += 1;
            Err(error.may_have_run())
        }
        // A refusal would be a bug of the demo: nothing that it asks for is too large, or senseless.
        Err(_) => Err(true),
    };
    let mut expected = None;
    for turn in 1.. {
        let append = ledger.next_append();
        let done = kv.append(append.key, append.value).map(|()| true);
        ledger.append_was(count(done, &mut unanswered));

        if turn % COUNTS == 0 {
            let (old, new) = Counter::step(expected);
            let swapped = kv.compare_and_swap(COUNTER, old, new.to_string());
            let done = swapped.map(|swapped| match swapped {
                Swapped::Done => {
                    expected = Some(new);
                    true
                }
                // Another client was faster; try from there next time.
                Swapped::Found(value) => {
                    expected = Counter::read(value.as_deref());
                    false
                }
            });
            counter.swap_was(count(done, &mut unanswered));
        }
        if turn % READS == 0 {
            let page = ledger.page();
            match kv.get(page.key()) {
                Ok(value) => {
                    page.check(value.as_deref()).map_err(Broken::new)?;
                    reads += 1;
                }
                Err(_) => unanswered += 1,
            }
        }
        if stopped.recv_timeout(REST) == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    Ok(Written {
        ledgers: vec![ledger],
        counter,
        reads,
        unanswered,
    })
}
