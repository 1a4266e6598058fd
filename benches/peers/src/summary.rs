//! The ratios, as text.

use std::fmt::Write as _;

use crate::duel::Samples;

/// One peer under one load.
#[derive(Clone, Debug)]
pub struct Row {
    /// What carries the messages.
    pub wire: &'static str,
    /// Its name.
    pub peer: &'static str,
    /// How many commands in flight.
    pub in_flight: usize,
    /// The reach that the project set itself: Biglock's throughput over the peer's.
    pub reach: Option<f64>,
    /// What was measured.
    pub samples: Samples,
}

/// A table of the rows that have samples.
pub fn of(rows: &[Row]) -> String {
    let mut page = String::new();
    line(&mut page, "");
    line(
        &mut page,
        "THROUGHPUT, 3 nodes, memory stores, commands of 16 bytes; committed and applied on the leader, replies seen; medians, per second",
    );
    line(&mut page, "");
    line(
        &mut page,
        &format!(
            "{:8} {:>9} {:15} {:>7} | {:>9} {:>9} | {:>6} {:>6} {:>8}",
            "wire", "in flight", "peer", "samples", "peer", "Biglock", "ratio", "turns", "reach"
        ),
    );
    for row in rows {
        line(&mut page, &text(row));
    }
    line(&mut page, "");
    line(
        &mut page,
        "Ratio: Biglock's throughput over the peer's, medians. Turns: median of the ratios within each turn, Biglock right after the peer.",
    );
    page
}

fn text(row: &Row) -> String {
    let head = format!(
        "{:8} {:>9} {:15} {:>7}",
        row.wire,
        row.in_flight,
        row.peer,
        row.samples.peer.len()
    );
    let (Some(peer), Some(biglock)) = (median(&row.samples.peer), median(&row.samples.biglock))
    else {
        return format!("{head} | too short to measure");
    };
    let turns = row.samples.peer.iter().zip(&row.samples.biglock);
    let turns: Vec<f64> = turns.map(|(peer, biglock)| peer / biglock).collect();
    let ratio = peer / biglock;
    let reach = row.reach.map_or(String::new(), |reach| {
        let reached = if ratio >= reach { "yes" } else { "NO" };
        format!("{reach:.0}x {reached:>4}")
    });
    format!(
        "{head} | {:>9.0} {:>9.0} | {ratio:>6.2} {:>6.2} {reach:>8}",
        1e9 / peer,
        1e9 / biglock,
        median(&turns).unwrap_or_default(),
    )
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn line(page: &mut String, text: &str) {
    writeln!(page, "{}", text.trim_end()).expect("a string takes all");
}
