//! A disk that fails, and a machine that crashes in the middle of a write: what the store then opens with.
//!
//! The disk here records what redb does to it between two syncs. A crash may leave any part of that, in any order, down to single sectors.
//! Each such file is then opened as a file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use bytes::Bytes;
use redb::StorageBackend;

use super::writes::Last;
use super::*;
use crate::Time;
use crate::rules::{Entry, HardState, Members, Payload, Position, Snapshot, Term};

const NODE: NodeId = NodeId(1);
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
}

/// What is between two syncs.
#[derive(Clone, Debug, Default)]
struct Stretch {
    before: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Tape {
    now: Vec<u8>,
    stretch: Stretch,
    done: Vec<Stretch>,
}

/// A disk in memory. Its sync fails once it is told so.
#[derive(Clone, Debug, Default)]
struct Disk {
    tape: Arc<Mutex<Tape>>,
    broken: Arc<AtomicBool>,
    /// Its size, in bytes.
    room: Option<u64>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.tape.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.tape.lock().unwrap().now[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.room.is_some_and(|room| length > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut tape = self.tape.lock().unwrap();
        tape.now.resize(length as usize, 0);
        tape.stretch.steps.push(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        let mut tape = self.tape.lock().unwrap();
        let before = tape.now.clone();
        let steps = Vec::new();
        let done = std::mem::replace(&mut tape.stretch, Stretch { before, steps });
        tape.done.push(done);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut tape = self.tape.lock().unwrap();
        let start = offset as usize;
        tape.now[start..start + data.len()].copy_from_slice(data);
        tape.stretch.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// A new node's store on that disk, and the folder of what it keeps beside it.
fn store(disk: &Disk) -> (RedbStorage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let database = Builder::new()
        .set_cache_size(CACHE)
        .create_with_backend(disk.clone())
        .unwrap();
    let storage = RedbStorage {
        file: "somewhere/biglock.redb".into(),
        database,
        writes: Writes::open(folder.path()).unwrap().0,
        state: State::new(NODE),
        found: None,
        dropped: None,
        _lock: tempfile::tempfile().unwrap(),
    };
    (storage, folder)
}

fn outside() -> Outside {
    Outside::claim("test")
}

fn vote(term: u64) -> Batch {
    Batch::new(HardState {
        term: Term(term),
        voted_for: Some(NodeId(2)),
    })
}

fn entries(term: u64, many: u64, size: usize) -> Vec<Entry> {
    let entry = |number| Entry {
        term: Term(term),
        time: Time::from_nanos(number),
        payload: Payload::Command(vec![(number * 7 + term) as u8; size].into()),
    };
    (0..many).map(entry).collect()
}

fn snapshot(term: u64, index: u64, size: usize) -> Snapshot {
    Snapshot {
        last: Position {
            term: Term(term),
            index,
        },
        time: Time::from_nanos(5),
        members: Members::voting([NODE, NodeId(2)]),
        data: Bytes::from_iter((0..size).map(|at| (at / 3) as u8 ^ index as u8)),
    }
}

#[test]
fn a_failed_sync_is_an_error_and_so_is_every_write_after_it() {
    let disk = Disk::default();
    let (mut storage, _folder) = store(&disk);
    storage.write(&outside(), vote(1)).unwrap();
    disk.broken.store(true, Ordering::Relaxed);
    let error = storage.write(&outside(), vote(2)).unwrap_err().to_string();
    assert!(error.contains("somewhere/biglock.redb"), "{error}");
    assert!(error.contains("the disk is gone"), "{error}");
    // A disk that seems well again proves nothing about what it dropped.
    disk.broken.store(false, Ordering::Relaxed);
    assert!(storage.write(&outside(), vote(3)).is_err());
}

#[test]
fn a_full_disk_is_an_error_and_what_was_acknowledged_is_there() {
    let disk = Disk {
        room: Some(6 << 20),
        ..Disk::default()
    };
    let (mut storage, _folder) = store(&disk);
    let mut acknowledged = Stored::default();
    let error = loop {
        let next = acknowledged.log.last().index + 1;
        let batch = vote(1).with_log(next, entries(1, 100, 1_000));
        match storage.write(&outside(), batch.clone()) {
            Ok(()) => acknowledged.apply(batch),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("the disk has room"), "{error}");
    assert!(acknowledged.log.last().index > 1_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    // When the process is killed then, and when it ends properly.
    for _ in 0..2 {
        fs::write(&file, &disk.tape.lock().unwrap().now).unwrap();
        let examined = examine::examine(&file, NODE, None).unwrap();
        assert!(examined.stored == acknowledged);
        drop(std::mem::replace(&mut storage, store(&Disk::default()).0));
    }
}

/// A life of a store: appends, a rewritten tail, one cut off, a snapshot that the log outlives, one of several pieces beyond the log's end, an
/// empty one.
fn life() -> Vec<Batch> {
    vec![
        vote(1),
        vote(1).with_log(1, entries(1, 1, 100)),
        vote(1).with_log(2, entries(1, 64, 100)),
        vote(2).with_log(60, entries(2, 30, 300)),
        vote(2).with_log(90, entries(2, 2, 9_000)),
        vote(3).with_log(91, vec![]),
        vote(3).with_snapshot(snapshot(2, 70, 3_000)),
        vote(4)
            .with_snapshot(snapshot(3, 120, snapshot::PIECE + 1))
            .with_log(121, entries(4, 40, 40)),
        vote(4).with_snapshot(snapshot(4, 160, 0)),
    ]
}

/// The file that a crash leaves of a stretch: of these steps these sectors.
fn crashed(stretch: &Stretch, kept: impl Fn(usize, usize) -> bool) -> Vec<u8> {
    let mut image = stretch.before.clone();
    for (step, what) in stretch.steps.iter().enumerate() {
        match what {
            Step::Length(length) if kept(step, 0) => image.resize(*length as usize, 0),
            Step::Length(_) => {}
            Step::Write(offset, data) => {
                for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                    let start = *offset as usize + sector * SECTOR;
                    // What lies behind the end of the file is lost with its length.
                    if kept(step, sector) && start + bytes.len() <= image.len() {
                        image[start..start + bytes.len()].copy_from_slice(bytes);
                    }
                }
            }
        }
    }
    image
}

/// What a crash can leave of a stretch, each with a name for the failure's message.
fn crashes(stretch: &Stretch, random: &mut fastrand::Rng) -> Vec<(String, Vec<u8>)> {
    let steps = stretch.steps.len();
    let mut images = Vec::new();
    // The many pages of a large snapshot: some of them will do.
    let stride = (steps / 4).max(1);
    for at in (0..=steps).step_by(stride).chain([steps]) {
        let mut add = |name: &str, image| images.push((format!("{name} {at} of {steps}"), image));
        add("killed before", crashed(stretch, |step, _| step < at));
        add(
            "torn in",
            crashed(stretch, |s, sector| s < at || (s == at && sector % 2 == 0)),
        );
        add("backwards to", crashed(stretch, |step, _| step >= at));
        add("all without", crashed(stretch, |step, _| step != at));
        add("nothing but", crashed(stretch, |step, _| step == at));
    }
    for round in 0..6 {
        let seed = random.u64(..);
        let share = random.u64(1..100);
        let kept = |step: usize, sector: usize| {
            // The same answer for the same sector, whatever the order of asking.
            let at = (step as u64) << 32 | sector as u64;
            fastrand::Rng::with_seed(seed ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..100)
                < share
        };
        images.push((
            format!("random sectors, round {round}"),
            crashed(stretch, kept),
        ));
    }
    images
}

#[test]
fn whatever_a_crash_leaves_of_a_write_all_of_it_is_there_or_nothing() {
    let mut random = fastrand::Rng::with_seed(1);
    let disk = Disk::default();
    let (mut storage, beside) = store(&disk);
    let mut now = Stored::default();
    let (mut rolled_back, mut went_through, mut cut_off) = (0, 0, 0);
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join(FILE);
    for (number, batch) in (1..).zip(life()) {
        let before = now.clone();
        now.apply(batch.clone());
        disk.tape.lock().unwrap().done.clear();
        // What stands beside the database while it is written.
        let mut writes = Writes::open(beside.path()).unwrap().0;
        writes.acknowledge(number - 1).unwrap();
        writes.begin(number, &batch).unwrap();
        let (_, begun) = Writes::open(beside.path()).unwrap();
        storage.write(&outside(), batch.clone()).unwrap();
        let (_, acknowledged) = Writes::open(beside.path()).unwrap();

        let done = disk.tape.lock().unwrap().done.clone();
        // Redb may cut the file after the transaction, which is another stretch.
        assert_eq!(
            done.iter()
                .filter(|stretch| stretch.steps.len() > 1)
                .count(),
            1,
            "a batch is one sync"
        );
        let images = done
            .iter()
            .flat_map(|stretch| crashes(stretch, &mut random));
        // Of large files a few: each takes a while to look through.
        let large = disk.tape.lock().unwrap().now.len() > 2 << 20;
        let images: Vec<_> = images.step_by(if large { 5 } else { 1 }).collect();
        for (name, image) in images {
            let name = format!("write {number}, {name}");
            fs::write(&file, &image).unwrap();
            // The first write makes the tables; before it there was no store.
            let examined = match examine::examine(&file, NODE, begun.as_ref()) {
                Err(Problem::NotOurs(_)) if number == 1 => continue,
                examined => examined.unwrap_or_else(|error| panic!("{name}: {error}")),
            };
            if examined.state.writes == number {
                assert_eq!(examined.stored, now, "{name}");
                assert_eq!(examined.dropped, None, "{name}");
                went_through += 1;
            } else {
                assert_eq!(examined.stored, before, "{name}");
                let dropped = examined.dropped.unwrap();
                assert!(dropped.contains(&format!("write {number} (")), "{dropped}");
                rolled_back += 1;
                if rolled_back % 4 != 0 {
                    continue;
                }
                // The same if the machine's crash took what stands beside it: what is left in the database itself may tell.
                let examined = examine::examine(&file, NODE, None).unwrap();
                assert_eq!(examined.stored, before, "{name}");
                cut_off += usize::from(examined.dropped.is_some());
                // And if it had been acknowledged, it is damage and not a crash.
                let error = examine::examine(&file, NODE, acknowledged.as_ref()).err();
                let error = error.expect("an acknowledged write is lost").to_string();
                assert!(
                    error.contains(&format!("write {number} was acknowledged")),
                    "{error}"
                );
            }
        }
        // The whole of it is the whole of it.
        fs::write(&file, &disk.tape.lock().unwrap().now).unwrap();
        let examined = examine::examine(&file, NODE, acknowledged.as_ref()).unwrap();
        assert_eq!((examined.stored, examined.dropped), (now.clone(), None));
    }
    assert!(
        rolled_back > 100 && went_through > 30 && cut_off > 10,
        "{rolled_back} {went_through} {cut_off}"
    );
}

/// A database with a shorter life, closed properly or killed; what is in it, and what is known of its writes.
fn lived(killed: bool) -> (Vec<u8>, Stored, Option<Last>) {
    let original = tempfile::tempdir().unwrap();
    let mut storage = RedbStorage::open(original.path(), NODE).unwrap();
    let mut stored = Stored::default();
    for batch in [
        vote(1).with_log(1, entries(1, 64, 100)),
        vote(2).with_log(60, entries(2, 30, 300)),
        vote(3).with_snapshot(snapshot(2, 70, 20_000)),
        vote(4).with_log(90, entries(4, 30, 100)),
    ] {
        storage.write(&outside(), batch.clone()).unwrap();
        stored.apply(batch);
    }
    // What a process leaves that is killed here, or later.
    let storage = killed.then_some(storage);
    let image = fs::read(original.path().join(FILE)).unwrap();
    let (_, last) = Writes::open(original.path()).unwrap();
    drop(storage);
    (image, stored, last)
}

#[test]
fn whatever_is_damaged_nothing_acknowledged_is_missing_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let mut random = fastrand::Rng::with_seed(2);
    for killed in [false, true] {
        let (image, stored, last) = lived(killed);
        let mut refused = 0;
        let mut look = |name: String, image: &[u8]| {
            fs::write(&file, image).unwrap();
            match examine::examine(&file, NODE, last.as_ref()) {
                Ok(examined) => assert_eq!(examined.stored, stored, "{name}"),
                Err(_) => refused += 1,
            }
            // Looking changes nothing.
            assert!(fs::read(&file).unwrap() == image, "{name}");
        };
        // Redb's header, and a good part of the rest.
        let somewhere = std::iter::repeat_with(|| random.usize(320..image.len()));
        for at in (0..320).step_by(3).chain(somewhere.take(120)) {
            let mut image = image.clone();
            image[at] ^= 1 << (at % 8);
            look(format!("killed: {killed}, byte {at}"), &image);
        }
        // Whole pages of rubbish, which no checksum covers if redb keeps its own books in them.
        for page in (0..24).chain((24..image.len() / 4096).step_by(8)) {
            let mut image = image.clone();
            image[page * 4096..][..64].fill(0xff);
            look(format!("killed: {killed}, page {page}"), &image);
        }
        for length in [
            0,
            319,
            320,
            4096,
            8192,
            image.len() / 2,
            image.len() - 4096,
            image.len() - 1,
        ] {
            look(
                format!("killed: {killed}, cut to {length}"),
                &image[..length],
            );
        }
        assert!(refused > 30, "{refused}");
    }
}

/// Every byte of every record is under a checksum, whether it is a page that is in use or one that a crash's repair would fall back from.
#[test]
fn a_flipped_byte_in_a_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    for killed in [false, true] {
        let (image, _, last) = lived(killed);
        // The payload of the last entries, wherever redb has put it.
        let needle = [(29 * 7 + 4) as u8; 100];
        let places: Vec<_> = (0..image.len() - 100)
            .filter(|at| image[*at..*at + 100] == needle)
            .collect();
        assert!(!places.is_empty());
        let mut image = image.clone();
        for at in places {
            image[at + 50] ^= 1;
        }
        fs::write(&file, &image).unwrap();
        let error = examine::examine(&file, NODE, last.as_ref()).err();
        let error = telling(&file)(error.expect("a record is damaged")).to_string();
        assert!(error.contains(FILE) && error.contains("new id"), "{error}");
    }
}

/// What a folder says of its writes: which was begun, and whether any was ever acknowledged.
#[test]
fn what_was_only_begun_was_not_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = || writes::Writes::written(folder.path()).expect("it can be read");
    assert!(!written(), "there is nothing");
    let (mut writes, said) = writes::Writes::open(folder.path()).expect("it can be made");
    assert!(said.is_none() && !written());
    writes.begin(1, &vote(1)).expect("there is room");
    assert!(!written());
    writes.acknowledge(1).expect("there is room");
    assert!(written());
    let (_, said) = writes::Writes::open(folder.path()).expect("it is there");
    assert_eq!(
        said.map(|last| (last.acknowledged, last.begun)),
        Some((1, 1))
    );

    // It stands there twice, and is believed only if both say the same.
    let file = folder.path().join(writes::FILE);
    let whole = std::fs::read(&file).expect("it is there");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, damaged).expect("there is room");
        let (_, said) = writes::Writes::open(folder.path()).expect("it is there");
        assert!(said.is_none(), "byte {at}: {said:?}");
    }
}
