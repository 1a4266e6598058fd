//! Where an election's time goes, hop by hop. Apart from the elections that are measured, because taking notes costs time.

use std::path::Path;

use biglock_benches::cluster::Setup;
use biglock_benches::hops::{HOPS, measure};
use biglock_benches::measures;
use biglock_benches::nodes::{Store, Wire};
use biglock_benches::record::{add, median};

/// Per configuration.
const ELECTIONS: usize = 400;

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let elections = if measures() { ELECTIONS } else { 1 };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let setups: Vec<Setup> = [Store::Memory, Store::Durable]
        .into_iter()
        .flat_map(|store| [3, 5, 7].map(|nodes| (store, nodes)))
        .map(|(store, nodes)| Setup {
            nodes,
            pre_vote: false,
            wire: Wire::Udp,
            store,
        })
        .collect();
    let columns: Vec<Vec<f64>> = setups
        .iter()
        .map(|&setup| {
            let rows = measure(setup, scratch, elections);
            let hop = |hop| {
                let mut samples = Vec::new();
                rows.iter().for_each(|row| add(&mut samples, row[hop]));
                median(&samples).unwrap_or_default() / 1000.0
            };
            (0..HOPS.len()).map(hop).collect()
        })
        .collect();

    println!(
        "\nHOPS of an election over UDP without pre-vote; microseconds, medians of {elections}, with the cost of taking notes"
    );
    let heads = |text: fn(&Setup) -> String| {
        setups
            .iter()
            .map(|setup| format!("{:>9}", text(setup)))
            .collect::<String>()
    };
    println!("{:50}{}", "", heads(|setup| setup.store.to_string()));
    println!(
        "{:50}{}",
        "",
        heads(|setup| format!("{} nodes", setup.nodes))
    );
    for (hop, name) in HOPS.iter().enumerate() {
        let cells: String = columns
            .iter()
            .map(|column| format!("{:>9.1}", column[hop]))
            .collect();
        println!("{name:50}{cells}");
    }
    let sums: String = columns
        .iter()
        .map(|column| format!("{:>9.1}", column.iter().sum::<f64>()))
        .collect();
    println!("{:50}{sums}", "sum of the medians");
}
