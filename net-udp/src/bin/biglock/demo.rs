//! `biglock demo`: a cluster of processes whose leader is killed again and again.

mod cluster;
mod load;
mod picture;
mod process;
mod record;
mod rounds;
mod screen;
mod stopwatch;
mod summary;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use biglock::Config;

use crate::signals;
use crate::tuning::Tuning;
use rounds::{Demo, Interrupted};
use screen::Screen;
use summary::Summary;

/// Watch a cluster elect leaders while they are killed, and lose nothing of what clients write meanwhile.
///
/// Starts nodes as processes of their own on loopback, with durable stores in a temporary folder; kills the leader with SIGKILL, measures
/// how long until a majority of the cluster knows the next one, starts the killed node again on its old store, and so on. Checks
/// everything that the nodes tell: that no term has two leaders, that no leader comes without a majority of durable votes, that no node
/// ever takes back a term or a vote. Meanwhile clients write, and at the end they look for all that they wrote: that nothing that was
/// acknowledged is lost, and nothing was applied twice. Exits with status 1 if one of these is broken or no leader is elected.
///
/// Ctrl-C leaves no process and no file behind, nor does SIGKILL, once the nodes have noticed it. Ctrl-\ makes every node print what its
/// threads wait for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes: 3 to 9
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: u64,
    /// How often to kill the leader
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How many clients write meanwhile: 0 to 64
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=64))]
    clients: u64,
    /// Repeats the random choices of an earlier run: the election timeouts and when the leader is killed; what the machine makes of
    /// them it does not repeat [default: a new one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long to leave the cluster in peace between rounds, at least, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pause_ms: u64,
    /// Write the failovers, their summary and what was checked to this file, as JSON
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    #[command(flatten)]
    tuning: Tuning,
}

/// Fails now if a file could not be written at the end, and leaves it as it was.
fn try_to_write(path: &Path) -> anyhow::Result<()> {
    let is_new = !path.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| {
            let file = path.display();
            format!(
                "cannot write {file}: name a file in a folder that exists and may be written to"
            )
        })?;
    if is_new {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Runs the demo.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut config = Config::new(1, 1..=args.nodes);
    args.tuning.apply(&mut config);
    config.validate()?;
    if let Some(path) = &args.json {
        try_to_write(path)?;
    }
    // Short enough to be typed again.
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));

    let (signal, signals) = crossbeam_channel::unbounded();
    signals::listen(move |it| signal.send(it).is_ok())?;
    let screen = Screen::new(args, &config, seed)?;
    let mut demo = Demo::new(args, seed, &config, screen, signals)?;
    let result = demo.run();
    // Whatever happened: first nobody is left, then it is told.
    let (mut screen, failovers, record, found) = demo.end();
    let summary = Summary::new(
        args,
        seed,
        &config,
        failovers,
        &record,
        found,
        result.as_ref().err(),
    );
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&summary)?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    // If nobody reads any more, an error is still the one that ended the demo.
    let shown = screen.end(&summary);
    let status = match result.map_err(|error| error.downcast::<Interrupted>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ok(interrupted)) => interrupted.exit_code(),
        Err(Err(error)) => return Err(error),
    };
    shown.and_then(|()| screen.verdict(&summary))?;
    Ok(status)
}
