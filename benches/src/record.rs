//! What one run measured: every single sample, so that the summary can work with medians of elections and not of averages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The elections of one configuration, and what was measured in turn with them. All in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Elections {
    /// What carries the messages, or "pure".
    pub wire: String,
    /// What keeps term and vote; nothing on the pure rules.
    pub store: Option<String>,
    /// How many nodes.
    pub nodes: usize,
    /// Whether candidates ask first.
    pub pre_vote: bool,
    /// (a), and its floor.
    pub leader: Pair,
    /// (b), and its floor.
    pub majority: Pair,
    /// One durable write, raw and through the store.
    pub raw_write: Vec<u64>,
    /// The same through the store.
    pub store_write: Vec<u64>,
    /// Elections that were not clean ones.
    pub rejected: usize,
}

/// Samples, and the floor's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pair {
    /// What was measured.
    pub measured: Vec<u64>,
    /// The floor, taken in turn with it.
    pub floor: Vec<u64>,
}

/// The failovers of one configuration. In nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failovers {
    /// What carries the messages.
    pub wire: String,
    /// What keeps term and vote.
    pub store: String,
    /// How many nodes.
    pub nodes: usize,
    /// Whether candidates ask first.
    pub pre_vote: bool,
    /// The shortest election timeout.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// How often a leader sends.
    pub heartbeat: u64,
    /// From the leader's death until a majority knows the next one.
    pub took: Vec<u64>,
    /// How many terms each of them spent.
    pub terms: Vec<u64>,
    /// How often the leader changed before it was killed.
    pub rejected: usize,
    /// Median of the floor's question rounds.
    pub round: u64,
    /// Median of one durable write, if there is one.
    pub write: u64,
}

/// What one configuration committed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Commits {
    /// What carries the messages.
    pub wire: String,
    /// What keeps the log.
    pub store: String,
    /// How many nodes.
    pub nodes: usize,
    /// How many commands were under way at a time.
    pub in_flight: usize,
    /// Whether they were proposed all at once.
    pub at_once: bool,
    /// Commands and nanoseconds of each sample.
    pub samples: Vec<(u64, u64)>,
}

impl Commits {
    /// Commands a second: the median of the samples; nothing without any.
    pub fn per_second(&self) -> Option<f64> {
        let rate = |&(commands, nanos): &(u64, u64)| commands * 1_000_000_000 / nanos.max(1);
        median(&self.samples.iter().map(rate).collect::<Vec<_>>())
    }
}

/// More than this nobody needs of one configuration.
const ENOUGH: usize = 50_000;

/// Adds a sample.
pub fn add(samples: &mut Vec<u64>, took: Duration) {
    if samples.len() < ENOUGH {
        samples.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// The value below which `part` of the samples lie, 0 to 1; nothing without samples.
pub fn quantile(samples: &[u64], part: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * part).round() as usize] as f64)
}

/// The median; nothing without samples.
pub fn median(samples: &[u64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// The mean; nothing without samples.
pub fn mean(samples: &[u64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<u64>() as f64 / samples.len() as f64)
}

/// Saves what a bench target measured, for the summary.
///
/// # Errors
/// If the file can't be written.
pub fn save(scratch: &Path, target: &str, measured: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(scratch)?;
    fs::write(path(scratch, target), serde_json::to_vec(measured)?)
}

/// What a bench target saved last, and how long ago; nothing if it never ran.
pub fn load<T: DeserializeOwned>(scratch: &Path, target: &str) -> Option<(T, Duration)> {
    let path = path(scratch, target);
    let age = fs::metadata(&path)
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .unwrap_or_default();
    Some((serde_json::from_slice(&fs::read(path).ok()?).ok()?, age))
}

fn path(scratch: &Path, target: &str) -> PathBuf {
    scratch.join(format!("{target}.json"))
}
