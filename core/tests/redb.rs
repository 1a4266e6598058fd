//! The durable store: what it remembers, and what it refuses.
#![cfg(feature = "redb")]

use std::fs;
use std::path::Path;

use biglock::rules::{Log, Member};
use biglock::{
    Batch, Config, Entry, HardState, LocalNetwork, Members, Node, NodeId, Outside, Payload,
    Position, RedbStorage, SessionRequest, Snapshot, Storage, Stored, Term, Time,
};
use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::TempDir;

const FILE: &str = "biglock.redb";
const WRITES: &str = "biglock.writes";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &Path, id: u64) -> RedbStorage {
    RedbStorage::open(folder, NodeId(id)).unwrap()
}

fn refusal(folder: &Path, id: u64) -> String {
    RedbStorage::open(folder, NodeId(id))
        .unwrap_err()
        .to_string()
}

/// The refusal, and that it changed nothing.
#[track_caller]
fn refused(folder: &Path, parts: &[&str]) {
    let before = fs::read(folder.join(FILE)).unwrap();
    let error = refusal(folder, 1);
    for part in parts.iter().chain(&[FILE]) {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert!(fs::read(folder.join(FILE)).unwrap() == before, "{error}");
}

fn state(term: u64, voted_for: Option<u64>) -> HardState {
    HardState {
        term: Term(term),
        voted_for: voted_for.map(NodeId),
    }
}

fn entry(term: u64, command: &str) -> Entry {
    Entry {
        term: Term(term),
        time: Time::from_nanos(100 + term),
        payload: Payload::Command(command.to_owned().into()),
    }
}

fn snapshot(term: u64, index: u64, data: impl Into<Vec<u8>>) -> Snapshot {
    let address = "127.0.0.1:7000".to_owned();
    let learner = Member {
        voter: false,
        address,
    };
    Snapshot {
        last: Position {
            term: Term(term),
            index,
        },
        time: Time::from_nanos(99),
        members: Members::voting([NodeId(1), NodeId(2)])
            .iter()
            .map(|(id, member)| (id, member.clone()))
            .chain([(NodeId(3), learner)])
            .collect(),
        data: data.into().into(),
    }
}

fn load(storage: &mut RedbStorage) -> Stored {
    storage.load(&Outside::claim("test")).unwrap()
}

fn write(storage: &mut RedbStorage, batch: &Batch) {
    storage
        .write(&Outside::claim("test"), batch.clone())
        .unwrap();
}

fn vote(storage: &mut RedbStorage, hard_state: HardState) {
    write(storage, &Batch::new(hard_state));
}

/// A folder with a snapshot up to entry 2, and the entries 3, 4 and 5.
fn filled() -> TempDir {
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let entries = ["one", "two", "three", "four", "five"].map(|command| entry(1, command));
    let hard_state = state(2, Some(1));
    write(
        &mut storage,
        &Batch::new(hard_state).with_log(1, entries.to_vec()),
    );
    write(
        &mut storage,
        &Batch::new(hard_state).with_snapshot(snapshot(1, 2, "onetwo")),
    );
    folder
}

#[test]
fn a_new_folder_is_a_new_node() {
    let temporary = folder();
    let deep = temporary.path().join("data/of/node-1");
    let mut storage = open(&deep, 1);
    assert_eq!(load(&mut storage), Stored::default());
    assert_eq!(storage.dropped(), None);
    assert!(deep.join(FILE).is_file());
}

/// Whoever starts a node asks: a folder that was emptied by mistake looks like this too.
#[test]
fn a_folder_is_new_until_something_is_written() {
    let folder = folder();
    assert!(open(folder.path(), 1).is_new());
    let mut storage = open(folder.path(), 1);
    assert!(storage.is_new(), "nothing was written");
    vote(&mut storage, state(1, Some(1)));
    drop(storage);
    assert!(!open(folder.path(), 1).is_new());
}

/// A name of one part is in the current folder.
#[test]
fn a_folder_may_have_a_relative_name() {
    let here = tempfile::Builder::new()
        .prefix("relative-")
        .tempdir_in(".")
        .unwrap();
    let name = Path::new(here.path().file_name().unwrap());
    fs::remove_dir(name).unwrap();
    vote(&mut open(name, 1), state(1, Some(1)));
    assert_eq!(load(&mut open(name, 1)).hard_state, state(1, Some(1)));
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = folder();
    let last = state(u64::MAX, Some(0));
    for hard_state in [state(1, None), state(2, Some(3)), state(7, None), last] {
        let mut storage = open(folder.path(), 1);
        vote(&mut storage, hard_state);
        assert_eq!(load(&mut storage).hard_state, hard_state);
        drop(storage);
        assert_eq!(load(&mut open(folder.path(), 1)).hard_state, hard_state);
    }
    // The second of two writes counts, and the whole of it.
    let mut storage = open(folder.path(), 1);
    vote(&mut storage, state(8, Some(2)));
    vote(&mut storage, state(9, None));
    drop(storage);
    assert_eq!(
        load(&mut open(folder.path(), 1)),
        Stored::new(state(9, None))
    );
}

#[test]
fn every_kind_of_entry_comes_back() {
    let session = |request| Payload::Session(Box::new(request));
    let payloads = [
        Payload::Noop,
        Payload::Command(vec![].into()),
        Payload::Command(vec![7; 100_000].into()),
        Payload::Members(snapshot(1, 1, "").members),
        session(SessionRequest::Open {
            patience: std::time::Duration::new(3, 4),
        }),
        session(SessionRequest::Call {
            session: 1,
            sequence: 2,
            seen: 3,
            command: vec![1, 2].into(),
        }),
        session(SessionRequest::Close { session: 1 }),
    ];
    let entries: Vec<Entry> = (1..)
        .zip(payloads)
        .map(|(term, payload)| Entry {
            term: Term(term),
            time: Time::from_nanos(u64::MAX - 10 + term),
            payload,
        })
        .collect();
    let folder = folder();
    let batch = Batch::new(state(9, None)).with_log(1, entries.clone());
    write(&mut open(folder.path(), 1), &batch);
    let log = load(&mut open(folder.path(), 1)).log;
    assert_eq!(log, Log::from_iter(entries));
}

/// The definition of a batch is what `Stored::apply` does with it.
#[test]
fn the_store_does_what_a_batch_says() {
    let commands = |term, many: u64| {
        (0..many)
            .map(|number| entry(term, &format!("{term}.{number}")))
            .collect::<Vec<_>>()
    };
    let now = |term| Batch::new(state(term, None));
    let batches = [
        now(1).with_log(1, commands(1, 10)),
        // Another leader's entries take the place of the last.
        now(2).with_log(8, commands(2, 5)),
        // More, and fewer.
        now(2).with_log(13, commands(2, 200)),
        now(3).with_log(100, vec![]),
        now(3).with_log(100, commands(3, 1)),
        // A snapshot in the middle, one of the very last entry, and one of entries that were never here.
        now(3).with_snapshot(snapshot(2, 50, "fifty")),
        now(3).with_snapshot(snapshot(3, 100, vec![8; 3_000_000])),
        now(4).with_log(101, commands(4, 3)),
        now(5).with_snapshot(snapshot(5, 1_000, "leader's")),
        // Installed over a log that goes another way.
        now(5).with_log(1_001, commands(5, 9)),
        now(6)
            .with_snapshot(snapshot(6, 1_005, ""))
            .with_log(1_006, vec![]),
        // And everything from the first on.
        now(6).with_log(1_006, commands(6, 4)),
        now(7).with_log(1_006, commands(7, 2)),
    ];
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let mut expected = Stored::default();
    for (number, batch) in batches.iter().enumerate() {
        write(&mut storage, batch);
        expected.apply(batch.clone());
        assert_eq!(load(&mut storage), expected, "batch {number}");
        drop(storage);
        storage = open(folder.path(), 1);
        assert_eq!(load(&mut storage), expected, "batch {number}, opened again");
    }
}

/// The same of batches at random: what is appended, replaced by more, by as many, by fewer or by nothing, and held by a snapshot.
#[test]
fn whatever_the_batches_the_store_does_what_they_say() {
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let mut expected = Stored::default();
    let mut random = fastrand::Rng::with_seed(1);
    for term in 1..80 {
        let (before, last) = (expected.log.before().index, expected.log.last().index);
        let mut batch = Batch::new(state(term, None));
        let mut end = last;
        if random.u32(..4) == 0 {
            let index = random.u64(before..last + 3).max(1);
            let of = expected.log.term_at(index).unwrap_or(Term(term));
            batch = batch.with_snapshot(snapshot(of.0, index, "the state"));
            end = last.max(index);
        }
        if batch.snapshot.is_none() || random.bool() {
            let first = random.u64(before + 1..=end + 1).max(end.saturating_sub(9));
            let many = random.u64(..10);
            let new = (0..many).map(|number| entry(term, &format!("{term}.{number}")));
            batch = batch.with_log(first, new.collect::<Vec<_>>());
        }
        expected.apply(batch.clone());
        write(&mut storage, &batch);
        let what = format!("what was written is read again, after batch {term}");
        let found = storage.load(&Outside::claim("test")).ok();
        assert!(found.as_ref() == Some(&expected), "{what}");
        drop(storage);
        storage = RedbStorage::open(folder.path(), NodeId(1))
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!(load(&mut storage), expected, "{what}, opened again");
    }
}

#[test]
fn entries_that_the_same_batchs_snapshot_holds_are_not_kept() {
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let entries = ["one", "two", "three"].map(|command| entry(1, command));
    let batch = Batch::new(state(1, None))
        .with_snapshot(snapshot(1, 2, "onetwo"))
        .with_log(1, entries.to_vec());
    write(&mut storage, &batch);
    drop(storage);
    assert_eq!(
        Vec::from_iter(load(&mut open(folder.path(), 1)).log.iter()),
        [(3, &entry(1, "three"))]
    );
}

#[test]
fn a_batch_that_would_leave_a_gap_is_refused() {
    let folder = filled();
    let mut storage = open(folder.path(), 1);
    let before = load(&mut storage);
    let now = || Batch::new(state(2, Some(1)));
    for batch in [
        now().with_log(7, vec![entry(2, "seven")]),
        now().with_log(0, vec![]),
        now().with_snapshot(snapshot(1, 1, "one")),
        now().with_snapshot(snapshot(0, 0, "")),
    ] {
        let outside = Outside::claim("test");
        let error = storage.write(&outside, batch).unwrap_err().to_string();
        assert!(error.contains("a bug in Biglock"), "{error}");
    }
    assert_eq!(load(&mut storage), before);
}

#[test]
fn a_large_snapshot_leaves_with_its_room() {
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let room = || fs::metadata(folder.path().join(FILE)).unwrap().len();
    for index in 1..6 {
        let batch = Batch::new(state(1, None)).with_snapshot(snapshot(1, index, vec![3; 5 << 20]));
        write(&mut storage, &batch);
    }
    // The new one is written beside the old one.
    assert!(room() < 3 * (5 << 20), "{}", room());
    let batch = Batch::new(state(1, None)).with_snapshot(snapshot(1, 6, "small"));
    write(&mut storage, &batch);
    vote(&mut storage, state(2, None));
    drop(storage);
    assert!(room() < 5 << 20, "{}", room());
}

#[test]
fn a_node_comes_back_in_its_term() {
    let folder = folder();
    let start = || {
        let transport = LocalNetwork::new().transport(1);
        Node::start(Config::new(1, [1]), open(folder.path(), 1), transport, ()).unwrap()
    };
    let patience = std::time::Duration::from_secs(30);
    let node = start();
    let first = node.wait_for_leader(patience).unwrap().term;
    node.shutdown().unwrap();
    let node = start();
    assert!(node.status().term >= first);
    assert!(node.wait_for_leader(patience).unwrap().term > first);
}

#[test]
fn another_nodes_folder_is_refused_and_left_alone() {
    let folder = folder();
    vote(&mut open(folder.path(), 1), state(5, Some(1)));
    let error = refusal(folder.path(), 2);
    for part in [
        FILE,
        "belongs to node 1",
        "this is node 2",
        "a folder of its own",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    let stored = load(&mut open(folder.path(), 1));
    assert_eq!(stored, Stored::new(state(5, Some(1))));
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = folder();
    let first = open(folder.path(), 1);
    let error = refusal(folder.path(), 1);
    assert!(error.contains("is in use"), "{error}");
    assert!(
        error.contains(&folder.path().display().to_string()),
        "{error}"
    );
    drop(first);
    open(folder.path(), 1);
}

const STATE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("hard_state");
const SNAPSHOT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// Changes a table behind the store's back.
fn edit<K: redb::Key>(
    folder: &Path,
    table: TableDefinition<'_, K, &'static [u8]>,
    change: impl FnOnce(&mut redb::Table<'_, K, &'static [u8]>),
) {
    let database = Database::create(folder.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(table).unwrap());
    transaction.commit().unwrap();
}

fn put_state(folder: &Path, value: &[u8]) {
    edit(folder, STATE, |table| {
        table.insert((), value).unwrap();
    });
}

fn get_state(folder: &Path) -> Vec<u8> {
    let database = Database::open(folder.join(FILE)).unwrap();
    let table = database.begin_read().unwrap().open_table(STATE).unwrap();
    table.get(()).unwrap().unwrap().value().to_vec()
}

#[test]
fn an_unknown_format_is_refused_and_left_alone() {
    let folder = folder();
    drop(open(folder.path(), 1));
    for (value, expected) in [
        (&[4; 26][..], "format 4"),
        (&[9; 40][..], "format 9"),
        (&[][..], "format 0"),
        (&[1; 25][..], "damaged"),
        (&[1; 27][..], "damaged"),
        (&[2; 9][..], "damaged"),
        (&[3; 9][..], "damaged"),
    ] {
        put_state(folder.path(), value);
        refused(folder.path(), &[expected]);
    }
}

/// What the first version of Biglock wrote: term and vote, and no log.
#[test]
fn an_old_folder_is_read_and_grows() {
    let folder = folder();
    let numbers = |numbers: [u64; 2]| numbers.map(u64::to_be_bytes).concat();
    let record = [&[1][..], &numbers([1, 0x0203]), &[1], &4_u64.to_be_bytes()].concat();
    put_state(folder.path(), &record);
    let mut storage = open(folder.path(), 1);
    assert_eq!(load(&mut storage), Stored::new(state(0x0203, Some(4))));
    // It stays what it was until something is written.
    drop(storage);
    assert_eq!(get_state(folder.path()), record);
    assert!(refusal(folder.path(), 2).contains("belongs to node 1"));

    let batch = Batch::new(state(0x0204, None)).with_log(1, vec![entry(1, "one")]);
    write(&mut open(folder.path(), 1), &batch);
    let mut expected = Stored::default();
    expected.apply(batch);
    assert_eq!(load(&mut open(folder.path(), 1)), expected);
    assert_eq!(get_state(folder.path())[0], 3);

    // The second format was as the third, without the members with which the node began.
    let record = get_state(folder.path());
    let record = [&[2][..], &record[1..record.len() - 1]].concat();
    put_state(folder.path(), &record);
    assert_eq!(load(&mut open(folder.path(), 1)), expected);

    // One that did not vote.
    let record = [&[1][..], &numbers([1, 6]), &[0; 9]].concat();
    fs::remove_file(folder.path().join(FILE)).unwrap();
    fs::remove_file(folder.path().join(WRITES)).unwrap();
    put_state(folder.path(), &record);
    let stored = load(&mut open(folder.path(), 1));
    assert_eq!(stored, Stored::new(state(6, None)));
}

/// Whoever changes these bytes must raise the version.
#[test]
fn the_records_are_these_bytes() {
    let folder = folder();
    let mut storage = open(folder.path(), 1);
    let batch = Batch::new(state(0x0203, Some(4)))
        .with_founders(Members::voting([NodeId(7)]))
        .with_snapshot(snapshot(1, 2, "state"))
        .with_log(3, vec![entry(5, "go")]);
    write(&mut storage, &batch);
    drop(storage);
    let number = u64::to_be_bytes;
    let bytes = |text: &str| [&number(text.len() as u64)[..], text.as_bytes()].concat();

    // Version, node, term, vote; that this is the first write; where the snapshot ends; the last entry; that it began with one member,
    // which, a voter, without an address.
    let state = [
        &[3][..],
        &number(1),
        &number(0x0203),
        &[1],
        &number(4),
        &number(1),
        &number(1),
        &number(2),
        &number(3),
        &[1],
        &number(1),
        &number(7),
        &[1],
        &number(0),
    ]
    .concat();
    assert_eq!(get_state(folder.path()), state);

    // Where it ends, its time, the members, its length; then the state.
    let member = |id, voter, address| [&number(id)[..], &[voter], &bytes(address)].concat();
    let head = [
        &number(1)[..],
        &number(2),
        &number(99),
        &number(3),
        &member(1, 1, ""),
        &member(2, 1, ""),
        &member(3, 0, "127.0.0.1:7000"),
        &number(5),
    ]
    .concat();
    edit(folder.path(), SNAPSHOT, |table| {
        use redb::ReadableTable;
        assert_eq!(table.get(0).unwrap().unwrap().value(), head);
        assert_eq!(table.get(1).unwrap().unwrap().value(), b"state");
        assert!(table.get(2).unwrap().is_none());
    });

    // Term, time, that it is a command, the command.
    let entry = [&number(5)[..], &number(105), &[0, 0, 0, 1], &bytes("go")].concat();
    edit(folder.path(), LOG, |table| {
        use redb::ReadableTable;
        assert_eq!(table.get(3).unwrap().unwrap().value(), entry);
    });
}

#[test]
fn a_log_with_a_gap_is_refused_and_left_alone() {
    for index in [3, 4, 5] {
        let folder = filled();
        edit(folder.path(), LOG, |table| {
            table.remove(index).unwrap();
        });
        let missing = format!("entry {index} is missing");
        refused(folder.path(), &[&missing, "entries 3 to 5", "new id"]);
    }
    let folder = filled();
    edit(folder.path(), LOG, |table| {
        table.retain(|_, _| false).unwrap();
    });
    refused(folder.path(), &["entry 3 is missing"]);
}

#[test]
fn an_entry_that_should_not_be_there_is_refused_and_left_alone() {
    for index in [0, 2, 6, 1_000] {
        let folder = filled();
        edit(folder.path(), LOG, |table| {
            let value = table.remove(4).unwrap().unwrap().value().to_vec();
            table.insert(4, value.as_slice()).unwrap();
            table.insert(index, value.as_slice()).unwrap();
        });
        let entry = format!("has an entry {index}");
        refused(folder.path(), &[&entry, "entries 3 to 5", "new id"]);
    }
}

#[test]
fn a_record_that_makes_no_sense_is_refused_and_left_alone() {
    let claims_too_much = [&[0; 16][..], &[0, 0, 0, 1], &[0xff; 8], b"x"].concat();
    let of_the_future = [&[9; 16][..], &[0, 0, 0, 0]].concat();
    for (value, expected) in [
        (&b""[..], "truncated"),
        (b"nonsense", "truncated"),
        (&[0xee; 100], "malformed"),
        (&claims_too_much, "malformed"),
        (&of_the_future, "can't be"),
    ] {
        let folder = filled();
        edit(folder.path(), LOG, |table| {
            table.insert(4, value).unwrap();
        });
        refused(folder.path(), &["entry 4", expected, "new id"]);
    }
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused_and_left_alone() {
    let large = |folder: &Path| {
        let batch = Batch::new(state(2, Some(1)));
        let batch = batch.with_snapshot(snapshot(1, 4, vec![5; 3_000_000]));
        write(&mut open(folder, 1), &batch);
    };
    for (piece, expected) in [(0, "head"), (1, "piece 1"), (2, "piece 2"), (3, "3000000")] {
        let folder = filled();
        large(folder.path());
        edit(folder.path(), SNAPSHOT, |table| {
            table.remove(piece).unwrap();
        });
        refused(folder.path(), &["snapshot", expected, "new id"]);
    }
    let folder = filled();
    edit(folder.path(), SNAPSHOT, |table| {
        table.retain(|_, _| false).unwrap();
    });
    refused(folder.path(), &["snapshot", "up to entry 2", "new id"]);
}

#[test]
fn a_truncated_file_is_refused_and_left_alone() {
    let folder = filled();
    let file = folder.path().join(FILE);
    let whole = fs::read(&file).unwrap();
    for length in [
        whole.len() - 1,
        whole.len() - 4096,
        whole.len() / 2,
        4096,
        400,
        319,
        1,
    ] {
        fs::write(&file, &whole[..length]).unwrap();
        refused(folder.path(), &["new id"]);
        if length < 320 {
            refused(folder.path(), &[&format!("it has only {length} bytes")]);
        }
    }
    fs::write(&file, &whole).unwrap();
    open(folder.path(), 1);
}

#[test]
fn a_missing_database_is_refused() {
    let folder = filled();
    let file = folder.path().join(FILE);
    fs::remove_file(&file).unwrap();
    let error = refusal(folder.path(), 1);
    assert!(error.contains("is missing"), "{error}");
    assert!(error.contains("new id"), "{error}");
    assert!(!file.exists());
}

#[test]
fn an_old_copy_is_refused_and_left_alone() {
    let folder = filled();
    let file = folder.path().join(FILE);
    let copy = fs::read(&file).unwrap();
    vote(&mut open(folder.path(), 1), state(3, Some(2)));
    fs::write(&file, copy).unwrap();
    refused(
        folder.path(),
        &["was acknowledged", "an old copy", "new id"],
    );
}

/// It only ever adds evidence: a crash of the machine may leave anything of it.
#[test]
fn the_record_of_writes_may_be_missing_or_torn() {
    let folder = filled();
    let before = load(&mut open(folder.path(), 1));
    let file = folder.path().join(WRITES);
    let whole = fs::read(&file).unwrap();
    for left in [&b""[..], b"x", &whole[..whole.len() - 1], &[0; 130]] {
        fs::write(&file, left).unwrap();
        assert_eq!(load(&mut open(folder.path(), 1)), before);
        // It is made anew: of as many bytes, with the same number acknowledged.
        let now = fs::read(&file).unwrap();
        assert_eq!((now.len(), &now[..9]), (whole.len(), &whole[..9]));
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(load(&mut open(folder.path(), 1)), before);
}

#[test]
fn a_write_that_was_cut_off_is_told() {
    let folder = filled();
    let mut storage = open(folder.path(), 1);
    let before = load(&mut storage);
    drop(storage);
    let database = fs::read(folder.path().join(FILE)).unwrap();
    let acknowledged = fs::read(folder.path().join(WRITES)).unwrap();
    let batch = Batch::new(state(7, None)).with_log(5, vec![entry(7, "5"), entry(7, "6")]);
    write(&mut open(folder.path(), 1), &batch);
    // As it was while that was written: begun, and not yet acknowledged.
    let mut begun = fs::read(folder.path().join(WRITES)).unwrap();
    let half = begun.len() / 2;
    begun[1..9].copy_from_slice(&acknowledged[1..9]);
    begun.copy_within(..half, half);
    fs::write(folder.path().join(WRITES), &begun).unwrap();

    // If it got through after all, it is kept.
    assert_eq!(open(folder.path(), 1).dropped(), None);

    fs::write(folder.path().join(WRITES), &begun).unwrap();
    fs::write(folder.path().join(FILE), &database).unwrap();
    let mut storage = open(folder.path(), 1);
    let dropped = storage.dropped().unwrap().to_owned();
    for part in [
        FILE,
        "write 3 (term 7, entries 5 to 6)",
        "term 2 and the log up to entry 5",
    ] {
        assert!(dropped.contains(part), "{part:?} is not in {dropped:?}");
    }
    assert_eq!(load(&mut storage), before);
    // Once.
    drop(storage);
    assert_eq!(open(folder.path(), 1).dropped(), None);
}

#[test]
fn garbage_is_refused_and_left_alone() {
    let folder = folder();
    for garbage in [&b""[..], b"x", &[0; 4096], &[0x5a; 100_000]] {
        fs::write(folder.path().join(FILE), garbage).unwrap();
        refused(folder.path(), &["new id"]);
    }
}

#[test]
fn another_database_is_refused() {
    let folder = folder();
    drop(Database::create(folder.path().join(FILE)).unwrap());
    refused(folder.path(), &["none of Biglock's"]);
}

#[test]
fn a_database_that_a_crash_left_unfinished_is_made_anew() {
    let folder = folder();
    fs::write(folder.path().join("biglock.redb.new"), [0; 5000]).unwrap();
    let mut storage = open(folder.path(), 1);
    assert_eq!(load(&mut storage), Stored::default());
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = refusal(&path, 1);
    assert!(error.contains("can't make the folder"), "{error}");
}
