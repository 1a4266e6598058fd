//! The durable store and kill -9.
//!
//! In a program of its own: between a fork and its exec a child holds the locks of its parent's stores, and a test beside this one that opens
//! its store again at that moment would find it in use.
#![cfg(feature = "redb")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use biglock::{
    Batch, Entries, Entry, HardState, Members, NodeId, Outside, Payload, Position, RedbStorage,
    Snapshot, Storage, Stored, Term, Time,
};

fn open(folder: &Path) -> RedbStorage {
    RedbStorage::open(folder, NodeId(1)).unwrap()
}

fn load(storage: &mut RedbStorage) -> Stored {
    storage.load(&Outside::claim("test")).unwrap()
}

/// The write of a number is known by the number: each changes term and vote, rewrites the last entry, appends a few, and some take a
/// snapshot.
fn batch(number: u64) -> Batch {
    let first = (4 * number).saturating_sub(4).max(1);
    let entry = |index: u64| Entry {
        term: Term(number),
        time: Time::from_nanos(index),
        payload: Payload::Command(vec![number as u8; 10 * index as usize % 3_000].into()),
    };
    let hard_state = HardState {
        term: Term(number),
        voted_for: Some(NodeId(number)),
    };
    let batch = Batch::new(hard_state)
        .with_log(first, (first..=4 * number).map(entry).collect::<Entries>());
    if !number.is_multiple_of(5) {
        return batch;
    }
    let last = Position {
        term: Term(number - 1),
        index: first - 1,
    };
    batch.with_snapshot(Snapshot {
        last,
        time: Time::from_nanos(last.index),
        members: Members::voting([NodeId(1)]),
        data: vec![number as u8; 300_000].into(),
    })
}

/// What is there after that many writes.
fn expected(writes: u64) -> Stored {
    let mut stored = Stored::default();
    (1..=writes).for_each(|number| stored.apply(batch(number)));
    stored
}

/// The folder in which this program, started again, writes until it is killed.
const WRITE_IN: &str = "BIGLOCK_TEST_WRITE_IN";
/// The test that it runs then.
const THIS: &str = "nothing_that_was_written_is_lost_when_the_process_is_killed";

fn write_until_killed(folder: &Path) -> ! {
    let mut storage = open(folder);
    let from = load(&mut storage).hard_state.term.0 + 1;
    for number in from.. {
        storage
            .write(&Outside::claim("test"), batch(number))
            .unwrap();
        println!("wrote {number}");
    }
    unreachable!("somebody kills it before the numbers run out")
}

#[test]
fn nothing_that_was_written_is_lost_when_the_process_is_killed() {
    if let Some(folder) = std::env::var_os(WRITE_IN) {
        write_until_killed(folder.as_ref());
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..8 {
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

        let mut storage = open(folder.path());
        let found = load(&mut storage);
        let Term(number) = found.hard_state.term;
        assert!(
            number == acknowledged || number == acknowledged + 1,
            "write {number} after {acknowledged} was acknowledged"
        );
        assert!(found == expected(number), "write {number} is whole");
        if let Some(dropped) = storage.dropped() {
            let next = format!("write {} (", number + 1);
            assert!(dropped.contains(&next), "{dropped}");
        }
    }
}
