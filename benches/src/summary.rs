//! The ratios, as text.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::record::{Elections, Pair, load, median, quantile};

/// The reach that the project set itself: at most this many times the floor.
const REACH: f64 = 2.0;

/// A leader's election waits for two durable writes: its own vote, then the voters' in parallel.
const WRITES: f64 = 2.0;

/// What the targets saved under `scratch`.
pub fn of(scratch: &Path) -> String {
    let mut page = String::new();
    match load::<Vec<Elections>>(scratch, "elections") {
        Some((measured, age)) => elections(&mut page, &measured, age),
        None => page.push_str("No elections were measured: `cargo bench --bench elections`.\n"),
    }
    page
}

fn elections(page: &mut String, measured: &[Elections], age: Duration) {
    let elections: usize = measured.iter().map(|one| one.leader.measured.len()).sum();
    let rejected: usize = measured.iter().map(|one| one.rejected).sum();
    line(page, "");
    line(
        page,
        "ELECTIONS, from the deadline firing; microseconds, medians; each in turn with its floor",
    );
    line(
        page,
        &format!(
            "{elections} elections measured {} s ago, {rejected} rejected as not clean (not one campaign, one term, each message once)",
            age.as_secs()
        ),
    );
    line(page, "");
    line(
        page,
        &format!(
            "{:8} {:8} {:9} {:>5} | {:>9} {:>8} {:>6} {:>6} | {:>9} {:>8} {:>6} {:>6}",
            "wire",
            "store",
            "pre-vote",
            "nodes",
            "(a) lead",
            "floor",
            "ratio",
            "<= 2x",
            "(b) known",
            "floor",
            "ratio",
            "<= 2x"
        ),
    );
    for one in measured {
        let writes = median(&one.raw_write).map_or(0.0, |write| WRITES * write);
        line(
            page,
            &format!(
                "{:8} {:8} {:9} {:>5} | {} | {}",
                one.wire,
                one.store.as_deref().unwrap_or("-"),
                if one.pre_vote { "yes" } else { "no" },
                one.nodes,
                pair(&one.leader, writes),
                pair(&one.majority, writes),
            ),
        );
    }
    line(page, "");
    line(
        page,
        "Floor: the same messages over the same wire with nothing behind them; durable: and two raw durable writes.",
    );
    disk(page, measured);
}

fn pair(pair: &Pair, writes: f64) -> String {
    let Some(measured) = median(&pair.measured) else {
        return String::new();
    };
    let Some(floor) = median(&pair.floor) else {
        return format!("{:>9.2} {:>8} {:>6} {:>6}", micros(measured), "-", "-", "-");
    };
    let floor = floor + writes;
    let ratio = measured / floor;
    let reached = if ratio <= REACH { "yes" } else { "NO" };
    format!(
        "{:>9.1} {:>8.1} {ratio:>6.2} {reached:>6}",
        micros(measured),
        micros(floor)
    )
}

fn disk(page: &mut String, measured: &[Elections]) {
    let all = |samples: fn(&Elections) -> &Vec<u64>| -> Vec<u64> {
        measured.iter().flat_map(samples).copied().collect()
    };
    let raw = all(|one| &one.raw_write);
    let store = all(|one| &one.store_write);
    if let (Some(raw50), Some(store50)) = (median(&raw), median(&store)) {
        let tail = |samples: &[u64]| micros(quantile(samples, 0.99).unwrap_or_default());
        line(
            page,
            &format!(
                "One durable write: raw (512 bytes in place, fdatasync) {:.0}, p99 {:.0}; a commit of RedbStorage {:.0}, p99 {:.0}: {:.2} of the raw one.",
                micros(raw50),
                tail(&raw),
                micros(store50),
                tail(&store),
                store50 / raw50,
            ),
        );
    }
}

fn micros(nanos: f64) -> f64 {
    nanos / 1000.0
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{}", text.trim_end()).expect("a string takes everything");
}
