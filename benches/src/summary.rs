//! The ratios, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::load::COMMAND;
use crate::record::{Commits, Elections, Failovers, Pair, load, mean, median, quantile};

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
    match load::<Vec<Failovers>>(scratch, "failover") {
        Some((measured, age)) => failovers(&mut page, &measured, age),
        None => page.push_str("No failovers were measured: `cargo bench --bench failover`.\n"),
    }
    match load::<Vec<Commits>>(scratch, "replication") {
        Some((measured, age)) => commits(&mut page, &measured, age),
        None => page.push_str("No commits were measured: `cargo bench --bench replication`.\n"),
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
    let half = |end: &str| {
        format!(
            "{end:>9} {:>8} {:>6} {:>5} {:>6}",
            "floor", "ratio", "<= 2x", "turns"
        )
    };
    let head = format!(
        "{:8} {:8} {:9} {:>5} | {} | {}",
        "wire",
        "store",
        "pre-vote",
        "nodes",
        half("(a) lead"),
        half("(b) known")
    );
    let durable = |one: &&Elections| !one.raw_write.is_empty();
    let mut table = |title: &str, rows: Vec<&Elections>, writes: Writes| {
        if rows.is_empty() {
            return;
        }
        line(page, "");
        line(page, title);
        line(page, &head);
        for one in rows {
            line(page, &row(one, writes(one)));
        }
    };
    table(
        "Floor: the same messages over the same wire, with nothing behind them",
        measured.iter().filter(|one| !durable(one)).collect(),
        |_| &[],
    );
    table(
        "Floor: these messages and two raw durable writes, one after the other",
        measured.iter().filter(durable).collect(),
        |one| &one.raw_write,
    );
    table(
        "Floor: these messages and two commits of RedbStorage, one after the other",
        measured.iter().filter(durable).collect(),
        |one| &one.store_write,
    );
    line(page, "");
    line(
        page,
        "Ratio: median over median of floor. Turns: median of each election over the floor that was taken right after it.",
    );
    disk(page, measured);
}

/// The durable writes that were taken in turn with the elections; none if nothing is durable.
type Writes = fn(&Elections) -> &[u64];

fn row(one: &Elections, writes: &[u64]) -> String {
    format!(
        "{:8} {:8} {:9} {:>5} | {} | {}",
        one.wire,
        one.store.as_deref().unwrap_or("-"),
        yes(one.pre_vote),
        one.nodes,
        pair(&one.leader, writes),
        pair(&one.majority, writes),
    )
}

fn pair(pair: &Pair, writes: &[u64]) -> String {
    let Some(measured) = median(&pair.measured) else {
        return String::new();
    };
    let Some(floor) = median(&pair.floor) else {
        let [floor, ratio, reached, turns] = ["-"; 4];
        return format!(
            "{:>9.2} {floor:>8} {ratio:>6} {reached:>5} {turns:>6}",
            micros(measured)
        );
    };
    let floor = floor + WRITES * median(writes).unwrap_or_default();
    let ratio = measured / floor;
    let reached = if ratio <= REACH { "yes" } else { "NO" };
    format!(
        "{:>9.1} {:>8.1} {ratio:>6.2} {reached:>5} {:>6.2}",
        micros(measured),
        micros(floor),
        turns(pair, writes),
    )
}

/// The median of the ratios within each turn: a slow second of the machine, or of its disk, is in both halves of them.
fn turns(pair: &Pair, writes: &[u64]) -> f64 {
    let ratio = |(turn, (&measured, &floor)): (usize, (&u64, &u64))| {
        let write = writes.get(turn).map_or(0.0, |&write| write as f64);
        measured as f64 / (floor as f64 + WRITES * write)
    };
    let mut ratios: Vec<f64> = pair
        .measured
        .iter()
        .zip(&pair.floor)
        .enumerate()
        .map(ratio)
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
}

fn disk(page: &mut String, measured: &[Elections]) {
    let all = |samples: fn(&Elections) -> &Vec<u64>| -> Vec<u64> {
        measured.iter().flat_map(samples).copied().collect()
    };
    let raw = all(|one| &one.raw_write);
    let store = all(|one| &one.store_write);
    if let (Some(raw50), Some(store50)) = (median(&raw), median(&store)) {
        let tail = |samples: &[u64]| micros(quantile(samples, 0.99).unwrap_or_default());
        line(page, "");
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

fn failovers(page: &mut String, measured: &[Failovers], age: Duration) {
    line(page, "");
    line(
        page,
        "FAILOVERS, from the leader's death to a majority knowing the next one; milliseconds",
    );
    let rejected: usize = measured.iter().map(|one| one.rejected).sum();
    line(
        page,
        &format!(
            "measured {} s ago; {rejected} times the leader changed before it was killed",
            age.as_secs()
        ),
    );
    line(page, "");
    line(
        page,
        &format!(
            "{:8} {:8} {:9} {:>5} {:>8} {:>6} | {:>6} {:>6} {:>6} {:>6} {:>6} | {:>6} {:>6} | {:>6}",
            "wire",
            "store",
            "pre-vote",
            "nodes",
            "timeouts",
            "deaths",
            "p50",
            "mean",
            "p90",
            "p99",
            "max",
            "ideal",
            "ratio",
            "split"
        ),
    );
    for one in measured {
        let mean = mean(&one.took).unwrap_or_default();
        let ideal = ideal(one);
        let cell = |nanos: f64| format!("{:>6.1}", nanos / 1e6);
        let at = |part| cell(quantile(&one.took, part).unwrap_or_default());
        // More than one term was spent: nobody won the first.
        let split = one.terms.iter().filter(|&&terms| terms > 1).count();
        line(
            page,
            &format!(
                "{:8} {:8} {:9} {:>5} {:>8} {:>6} | {} {} {} {} {} | {} {:>6.2} | {split:>6}",
                one.wire,
                one.store,
                yes(one.pre_vote),
                one.nodes,
                format!("{}-{}", one.min / 1_000_000, one.max / 1_000_000),
                one.took.len(),
                at(0.5),
                cell(mean),
                at(0.9),
                at(0.99),
                at(1.0),
                cell(ideal),
                mean / ideal,
            ),
        );
    }
    line(page, "");
    line(
        page,
        "Ideal mean: min + range / (survivors + 1) + the floor's rounds + one raw durable write - heartbeat / 2. Ratio: mean / ideal.",
    );
}

/// The mean that deadlines drawn evenly from the range would give, if nothing cost anything but the wire and the disk.
fn ideal(one: &Failovers) -> f64 {
    let survivors = one.nodes - 1;
    one.min as f64
        + (one.max - one.min) as f64 / (survivors + 1) as f64
        + (one.round + one.write) as f64
        - one.heartbeat as f64 / 2.0
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn micros(nanos: f64) -> f64 {
    nanos / 1000.0
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{}", text.trim_end()).expect("a string takes everything");
}

fn commits(page: &mut String, measured: &[Commits], age: Duration) {
    line(page, "");
    line(
        page,
        &format!(
            "COMMITS, from the proposal to its reply; {COMMAND} bytes a command; measured {} s ago",
            age.as_secs()
        ),
    );
    line(page, "");
    line(
        page,
        &format!(
            "{:8} {:8} {:>5} {:>9} {:8} | {:>10} {:>12}",
            "wire", "store", "nodes", "in flight", "proposed", "a second", "us a command"
        ),
    );
    for one in measured {
        let Some(rate) = one.per_second() else {
            continue;
        };
        let proposed = if one.at_once { "at once" } else { "each" };
        line(
            page,
            &format!(
                "{:8} {:8} {:>5} {:>9} {proposed:8} | {rate:>10.0} {:>12.2}",
                one.wire,
                one.store,
                one.nodes,
                one.in_flight,
                1e6 / rate
            ),
        );
    }
}
