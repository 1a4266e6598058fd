//! The durable store and kill -9.
//!
//! In a program of its own: between a fork and its exec a child holds the locks of its parent's stores, and a test beside this one that opens
//! its store again at that moment would find it in use.
#![cfg(feature = "redb")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use biglock::{Batch, HardState, NodeId, Outside, RedbStorage, Storage, Term};

fn open(folder: &Path) -> RedbStorage {
    RedbStorage::open(folder, NodeId(1)).unwrap()
}

fn state(term: u64) -> HardState {
    HardState {
        term: Term(term),
        voted_for: Some(NodeId(term)),
    }
}

fn load(storage: &mut RedbStorage) -> HardState {
    storage.load(&Outside::claim("test")).unwrap().hard_state
}

/// The folder in which this program, started again, writes until it is killed.
const WRITE_IN: &str = "BIGLOCK_TEST_WRITE_IN";
/// The test that it runs then.
const THIS: &str = "nothing_that_was_written_is_lost_when_the_process_is_killed";

fn write_until_killed(folder: &Path) -> ! {
    let mut storage = open(folder);
    let from = load(&mut storage).term.0 + 1;
    for term in from.. {
        let batch = Batch::new(state(term));
        storage.write(&Outside::claim("test"), &batch).unwrap();
        println!("wrote {term}");
    }
    unreachable!("somebody kills it before the terms run out")
}

#[test]
fn nothing_that_was_written_is_lost_when_the_process_is_killed() {
    if let Some(folder) = std::env::var_os(WRITE_IN) {
        write_until_killed(folder.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", THIS, "--nocapture"])
            .env(WRITE_IN, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut said = |line: std::io::Result<String>| {
            // The test harness writes the test's name on the same line.
            line.unwrap().split_once("wrote ")?.1.parse::<u64>().ok()
        };
        let mut acknowledged = lines
            .by_ref()
            .filter_map(&mut said)
            .nth(3 + 5 * round)
            .expect("the writer writes");
        // By SIGKILL, on Unix. What it said before that counts too.
        writer.kill().unwrap();
        writer.wait().unwrap();
        acknowledged = lines.filter_map(said).last().unwrap_or(acknowledged);

        let found = load(&mut open(folder.path()));
        let Term(term) = found.term;
        assert!(
            term == acknowledged || term == acknowledged + 1,
            "term {term} after {acknowledged} was acknowledged"
        );
        assert_eq!(found, state(term), "a record is whole");
    }
}
