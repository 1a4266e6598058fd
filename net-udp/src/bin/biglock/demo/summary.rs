//! The end of a demo: a table, a histogram, and the same for machines.

use std::time::Duration;

use biglock::Config;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::Args;
use super::load::Found;
use super::picture::Leadership;
use super::record::{Checked, Record};

/// The failover of one round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failover {
    /// The round, from 1.
    pub round: u32,
    /// The leader that was killed,
    pub old_leader: u64,
    /// and its term.
    pub old_term: u64,
    /// The leader that came after it,
    pub new_leader: u64,
    /// and its term.
    pub new_term: u64,
    /// Milliseconds from the SIGKILL until the supervisor had read of a majority of the cluster that they know the new leader.
    pub ms: f64,
    /// The first part of them: until the first node noticed, which is to say until its election timeout passed.
    pub noticed_ms: f64,
    /// The rest: the election, or several if it took several.
    pub elected_ms: f64,
}

impl Failover {
    /// A failover that took so long, of which the first part went by before anybody noticed.
    pub fn new(
        round: u32,
        old: Leadership,
        new: Leadership,
        took: Duration,
        noticed: Duration,
    ) -> Failover {
        let (took, noticed) = (tenths(took), tenths(noticed));
        Failover {
            round,
            old_leader: old.leader,
            old_term: old.term,
            new_leader: new.leader,
            new_term: new.term,
            ms: millis(took),
            noticed_ms: millis(noticed),
            elected_ms: millis(took.saturating_sub(noticed)),
        }
    }
}

/// Tenths of a millisecond, the unit of everything that is shown: finer would be noise.
fn tenths(time: Duration) -> u64 {
    u64::try_from((time.as_micros() + 50) / 100).unwrap_or(u64::MAX)
}

fn millis(tenths: u64) -> f64 {
    tenths as f64 / 10.0
}

/// Everything there is to tell at the end.
#[derive(Debug, Serialize)]
pub struct Summary {
    nodes: u64,
    rounds: u32,
    seed: u64,
    election_timeout_min_ms: f64,
    election_timeout_max_ms: f64,
    heartbeat_ms: f64,
    pre_vote: bool,
    check_quorum: bool,
    failovers: Vec<Failover>,
    /// Of the whole failovers; nothing if no round was finished.
    failover_ms: Option<Statistics>,
    /// Of their first parts.
    noticed_ms: Option<Statistics>,
    /// Of the rest.
    elected_ms: Option<Statistics>,
    checked: Checked,
    /// What was written and found again; nothing if nobody wrote, or the demo ended before.
    writes: Option<Found>,
    /// Why the demo ended before its last round, if it did.
    ended_by: Option<String>,
}

/// Of the failover times, in milliseconds. The percentiles are by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    min: f64,
    p50: f64,
    mean: f64,
    p90: f64,
    max: f64,
}

impl Summary {
    /// The end of this demo.
    pub fn new(
        args: &Args,
        seed: u64,
        config: &Config,
        failovers: Vec<Failover>,
        record: &Record,
        writes: Option<Found>,
        ended_by: Option<&anyhow::Error>,
    ) -> Summary {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Summary {
            nodes: args.nodes,
            rounds: args.rounds,
            seed,
            election_timeout_min_ms: ms(config.election_timeout_min),
            election_timeout_max_ms: ms(config.election_timeout_max),
            heartbeat_ms: ms(config.heartbeat),
            pre_vote: config.pre_vote,
            check_quorum: config.check_quorum,
            failover_ms: Statistics::of(failovers.iter().map(|it| it.ms)),
            noticed_ms: Statistics::of(failovers.iter().map(|it| it.noticed_ms)),
            elected_ms: Statistics::of(failovers.iter().map(|it| it.elected_ms)),
            failovers,
            checked: record.checked(),
            writes,
            ended_by: ended_by.map(|error| format!("{error:#}")),
        }
    }

    /// A row per round.
    pub fn table(&self) -> String {
        let header = [
            "round",
            "term",
            "old leader",
            "new leader",
            "noticed",
            "elected",
            "failover",
        ];
        let mut table = new_table(header, &[0, 1, 4, 5, 6]);
        table.add_rows(self.failovers.iter().map(|failover| {
            [
                failover.round.to_string(),
                format!("{} → {}", failover.old_term, failover.new_term),
                format!("node {}", failover.old_leader),
                format!("node {}", failover.new_leader),
                format!("{:.1}", failover.noticed_ms),
                format!("{:.1}", failover.elected_ms),
                format!("{:.1}", failover.ms),
            ]
        }));
        table.trim_fmt()
    }

    /// The statistics; nothing if no round was finished.
    pub fn statistics(&self) -> Option<String> {
        let header = ["ms", "min", "p50", "mean", "p90", "max"];
        let mut table = new_table(header, &[1, 2, 3, 4, 5]);
        for (name, statistics) in [
            ("noticed", self.noticed_ms?),
            ("elected", self.elected_ms?),
            ("failover", self.failover_ms?),
        ] {
            let Statistics {
                min,
                p50,
                mean,
                p90,
                max,
            } = statistics;
            let numbers = [min, p50, mean, p90, max].map(|ms| format!("{ms:.1}"));
            table.add_row([name.to_string()].into_iter().chain(numbers));
        }
        Some(table.trim_fmt())
    }

    /// How often a failover took how long: a line per range, as wide as `width` columns.
    pub fn histogram(&self, width: usize) -> Vec<String> {
        let Some(histogram) = histogram(self.failovers.iter().map(|it| it.ms)) else {
            return Vec::new();
        };
        let step = step(histogram.max() - histogram.min());
        let first = histogram.min() / step * step;
        let ranges: Vec<(u64, u64)> = histogram
            .iter_linear(step)
            .map(|range| {
                (
                    range.value_iterated_to() / step * step,
                    range.count_since_last_iteration(),
                )
            })
            .filter(|&(from, _)| from >= first)
            .collect();
        let most = ranges.iter().map(|&(_, count)| count).max().unwrap_or(1);
        // What stands beside a bar takes up to 28 columns.
        let room = width.saturating_sub(28).clamp(10, 60) as u64;
        let bar = |count: u64| "█".repeat((count * room).div_ceil(most) as usize);
        let line = |&(from, count): &(u64, u64)| {
            let range = format!("{:.0}-{:.0} ms", millis(from), millis(from + step));
            match count {
                0 => format!("{range:>15}  ·"),
                _ => format!("{range:>15}  {} {count}", bar(count)),
            }
        };
        ranges.iter().map(line).collect()
    }

    /// What was checked and held, for a demo in which no rule was broken.
    pub fn verdict(&self) -> Vec<String> {
        let Checked {
            lines,
            processes,
            leaders,
            elected,
        } = self.checked;
        let mut verdict = vec![
            format!(
                "{lines} lines of {processes} processes were checked, over {}:",
                many(self.failovers.len() as u64, "kill")
            ),
            format!("  ✓ {leaders} terms had a leader, and none had two"),
            format!(
                "  ✓ {elected} leaders were followed by all nodes, and had a majority of durable votes"
            ),
            "  ✓ no node ever took back a term or a vote".into(),
        ];
        if let Some(found) = self.writes {
            let writes = found.appends + found.swaps;
            verdict.push(format!(
                "  ✓ {writes} writes of {} were acknowledged: none was lost, and none applied twice",
                many(found.clients as u64, "client")
            ));
            verdict.push(format!(
                "  ✓ {} meanwhile saw all that had been written; {} had no answer in time",
                many(found.reads, "read"),
                many(found.unanswered, "request")
            ));
        }
        verdict
    }
}

/// `1 kill`, `2 kills`.
fn many(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

fn new_table<const N: usize>(header: [&str; N], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(header);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

impl Statistics {
    fn of(times: impl Iterator<Item = f64>) -> Option<Statistics> {
        let histogram = histogram(times)?;
        Some(Statistics {
            min: millis(histogram.min()),
            p50: millis(histogram.value_at_quantile(0.5)),
            mean: (histogram.mean()).round() / 10.0,
            p90: millis(histogram.value_at_quantile(0.9)),
            max: millis(histogram.max()),
        })
    }
}

/// Times, from milliseconds to tenths of one; exact below 1.6 s, and to four digits beyond. Nothing if there are none.
fn histogram(times: impl Iterator<Item = f64>) -> Option<Histogram<u32>> {
    let mut histogram = Histogram::new(4).expect("four digits are in its range");
    for ms in times {
        histogram.saturating_record((ms * 10.0).round() as u64);
    }
    (!histogram.is_empty()).then_some(histogram)
}

/// The width of a range, such that there are about ten: 1, 2 or 5 times a power of ten, from 1 ms.
fn step(spread: u64) -> u64 {
    let mut power = 10;
    loop {
        for factor in [1, 2, 5] {
            if spread / (power * factor) < 10 {
                return power * factor;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests;
