//! `biglock node`: one node as a process.

mod events;
mod inspect;
mod settings;
mod store;
mod trace;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, anyhow, bail};
use biglock::kv::KvStore;
use biglock::{Node, Outside, StartError, Stopped, WaitError};
use biglock_udp::{UdpConfig, UdpTransport, kv_reader};
use crossbeam_channel::Sender;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::prelude::*;

use crate::line::Line;
use crate::signals::{self, Signal};
use crate::status;
use events::Events;
use inspect::Inspector;
pub use settings::Args;
use settings::Settings;
use store::Store;
use trace::Trace;

/// What wakes the main thread.
enum Wake {
    Signal(Signal),
    /// Standard input has ended: whoever held its other end is gone.
    StdinEnded,
    /// The node has stopped.
    Stopped(Stopped),
}

/// Runs a node until it is told to stop, or stops by itself.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(args)?;
    let (wake, woken) = crossbeam_channel::unbounded();
    listen(wake.clone())?;
    if settings.deadlock_detection {
        inspect::watch_for_deadlocks()?;
    }
    if settings.exit_with_stdin {
        watch_stdin(wake.clone())?;
    }
    let events = settings.events.then(Events::start).transpose()?;
    start_log(events.as_ref())?;

    let id = settings.config.id;
    let mut udp = UdpConfig::new(id, settings.cluster, settings.listen);
    udp.peers = settings.peers;
    udp.max_datagram = settings.max_datagram.unwrap_or(udp.max_datagram);
    let keys = KvStore::new();
    let transport = UdpTransport::bind(udp)?.with_reader(kv_reader(keys.clone()));
    let storage = Store::open(id, &settings.place, events.as_ref())?;
    let begins_anew = storage.is_new;
    let trace = settings.trace.as_deref().map(Trace::start).transpose()?;
    let node = Node::start_observed(
        settings.config,
        storage,
        transport.clone(),
        keys,
        trace.as_ref().map(Trace::observer),
    );
    let node = Arc::new(node.map_err(|why| match why {
        StartError::OtherMembers(_) => anyhow!("{why} (`peers` names them, beside {id} itself)"),
        why => why.into(),
    })?);
    let listen = transport.local_addr();
    match &events {
        Some(events) => events.tell(Line::Started { node: id.0, listen }),
        None => {
            say(format_args!("{}", status::greeting(&node.status(), listen)));
            if begins_anew {
                say(format_args!(
                    "its folder was empty, so it begins anew; if {id} ran before, stop it: it has forgotten what it promised"
                ));
            }
        }
    }
    let watcher = watch(node.clone(), wake)?;

    let mut inspector = Inspector::default();
    let mut orphaned = false;
    let own_end = loop {
        match woken
            .recv()
            .context("nobody is left who could stop this node")?
        {
            Wake::Signal(Signal::Inspect) => inspector.inspect(&node, &transport),
            Wake::Signal(Signal::Stop(_)) => break None,
            Wake::StdinEnded => {
                orphaned = true;
                break None;
            }
            Wake::Stopped(why) => break Some(why),
        }
    };

    let before = node
        .engine()
        .stop(&mut Outside::claim("main"), Stopped::Shutdown);
    watcher.join().ok().context("the watcher panicked")?;
    inspector.finish();
    // Nobody else holds it any more, so this ends and joins all of its threads.
    drop(node);
    if let Some(trace) = trace {
        trace.finish()?;
    }
    if let Some(folder) = settings.scratch.filter(|_| orphaned) {
        remove(&folder);
    }
    let why = own_end.or(before);
    if let Some(events) = events {
        let why = why.as_ref().unwrap_or(&Stopped::Shutdown).to_string();
        events.finish(Line::Stopped { node: id.0, why });
    }
    match why {
        None | Some(Stopped::Shutdown) => Ok(ExitCode::SUCCESS),
        Some(why) => bail!("{id}: {why}"),
    }
}

/// Hands signals to the main thread. A second one to stop does not wait for it: it may be stuck in a disk.
fn listen(wake: Sender<Wake>) -> anyhow::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in signals::STOP {
        // In this order, the first arms what the second finds.
        signal_hook::flag::register_conditional_shutdown(signal, 1, stopping.clone())
            .and_then(|_| signal_hook::flag::register(signal, stopping.clone()))
            .context("the system lets nobody listen for signals")?;
    }
    signals::listen(move |signal| wake.send(Wake::Signal(signal)).is_ok())
}

/// Reads standard input to its end, which comes when the supervisor is gone, however it went.
fn watch_stdin(wake: Sender<Wake>) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut nothing = [0; 64];
            while stdin.read(&mut nothing).is_ok_and(|length| length > 0) {}
            let _ = wake.send(Wake::StdinEnded);
        })
        .context("the system gave no thread")?;
    Ok(())
}

/// Removes a folder that other nodes may be removing too: what one has just taken away makes another stumble, so each tries again. A
/// node that is starting may put its store there again, and removes it at its own end.
fn remove(folder: &Path) {
    let gone = |_: &u32| fs::remove_dir_all(folder).is_ok() || !folder.exists();
    // Whoever comes last is alone, and needs one.
    let _ = (0..100).find(gone);
}

/// Waits, on the node's own condvar, until it stops.
fn watch(node: Arc<Node>, wake: Sender<Wake>) -> anyhow::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name("watcher".into())
        .spawn(move || {
            let mut outside = Outside::claim("watcher");
            let end = node
                .engine()
                .await_leadership(&mut outside, None, |_| false);
            if let Err(WaitError::Stopped(why)) = end {
                let _ = wake.send(Wake::Stopped(why));
            }
        })
        .context("the system gave no thread")
}

/// Logs to standard error what `RUST_LOG` asks for, and nothing without it; and gives the events what they ask for.
fn start_log(events: Option<&Events>) -> anyhow::Result<()> {
    let log = match std::env::var("RUST_LOG") {
        Err(_) => None,
        Ok(filter) => {
            let filter = EnvFilter::try_new(&filter).with_context(|| {
                format!("RUST_LOG is \"{filter}\"; write for example RUST_LOG=biglock=debug")
            })?;
            let stderr = io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(stderr);
            Some(lines.with_filter(filter))
        }
    };
    if log.is_some() || events.is_some() {
        tracing_subscriber::registry()
            .with(log)
            .with(events.map(Events::layer))
            .init();
    }
    Ok(())
}

/// One line to standard error, whether or not anybody reads it.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}
