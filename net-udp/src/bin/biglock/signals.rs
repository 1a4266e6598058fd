//! Signals, as values in a channel.

use std::thread;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// The signals that ask for the end. (signal-hook's `TERM_SIGNALS` have SIGQUIT among them, which here asks for something else.)
pub const STOP: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT (Ctrl-C), SIGTERM, and SIGHUP (the terminal is gone): stop in order.
    Stop(i32),
    /// SIGQUIT (Ctrl-\): say what every thread waits for, and go on.
    Inspect,
}

/// The name of a signal, e.g. "SIGINT".
pub fn name(number: i32) -> &'static str {
    signal_name(number).unwrap_or("a signal")
}

/// From now on hands every signal to `deliver`, in a thread that lives as long as the process, or until `deliver` says false.
///
/// # Errors
/// If the system refuses.
pub fn listen(mut deliver: impl FnMut(Signal) -> bool + Send + 'static) -> anyhow::Result<()> {
    let mut signals = Signals::new(STOP.iter().chain(&[SIGQUIT]))
        .context("the system lets nobody listen for signals")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for number in signals.forever() {
                let signal = match number {
                    SIGQUIT => Signal::Inspect,
                    stop => Signal::Stop(stop),
                };
                if !deliver(signal) {
                    break;
                }
            }
        })
        .context("the system gave no thread")?;
    Ok(())
}
