//! The durable store: what it remembers, and what it refuses.
#![cfg(feature = "redb")]

use std::fs;
use std::path::Path;

use biglock::{
    Batch, Config, HardState, LocalNetwork, Node, NodeId, Outside, RedbStorage, Storage, Stored,
    Term,
};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

const FILE: &str = "biglock.redb";

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

fn state(term: u64, voted_for: Option<u64>) -> HardState {
    HardState {
        term: Term(term),
        voted_for: voted_for.map(NodeId),
    }
}

fn load(storage: &mut RedbStorage) -> HardState {
    storage.load(&Outside::claim("test")).unwrap().hard_state
}

fn write(storage: &mut RedbStorage, hard_state: HardState) {
    storage
        .write(&Outside::claim("test"), &Batch::new(hard_state))
        .unwrap();
}

#[test]
fn a_new_folder_is_a_new_node() {
    let temporary = folder();
    let deep = temporary.path().join("data/of/node-1");
    let mut storage = open(&deep, 1);
    let stored = storage.load(&Outside::claim("test")).unwrap();
    assert_eq!(stored, Stored::default());
    assert!(deep.join(FILE).is_file());
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = folder();
    let last = state(u64::MAX, Some(0));
    for hard_state in [state(1, None), state(2, Some(3)), state(7, None), last] {
        let mut storage = open(folder.path(), 1);
        write(&mut storage, hard_state);
        assert_eq!(load(&mut storage), hard_state);
        drop(storage);
        assert_eq!(load(&mut open(folder.path(), 1)), hard_state);
    }
    // The second of two writes counts, and the whole of it.
    let mut storage = open(folder.path(), 1);
    write(&mut storage, state(8, Some(2)));
    write(&mut storage, state(9, None));
    drop(storage);
    assert_eq!(load(&mut open(folder.path(), 1)), state(9, None));
}

#[test]
fn a_node_comes_back_in_its_term() {
    let folder = folder();
    let start = || {
        let transport = LocalNetwork::new().transport(1);
        Node::start(Config::new(1, [1]), open(folder.path(), 1), transport).unwrap()
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
    write(&mut open(folder.path(), 1), state(5, Some(1)));
    let error = refusal(folder.path(), 2);
    for part in [
        FILE,
        "belongs to node 1",
        "this is node 2",
        "a folder of its own",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    assert_eq!(load(&mut open(folder.path(), 1)), state(5, Some(1)));
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

#[test]
fn an_unknown_format_is_refused_and_left_alone() {
    let folder = folder();
    drop(open(folder.path(), 1));
    for (value, expected) in [
        (&[2; 26][..], "format 2"),
        (&[9; 40][..], "format 9"),
        (&[][..], "format 0"),
        (&[1; 25][..], "damaged"),
    ] {
        put(&folder.path().join(FILE), value);
        let before = get(&folder.path().join(FILE));
        let error = refusal(folder.path(), 1);
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(FILE), "{error}");
        assert_eq!(get(&folder.path().join(FILE)), before);
    }
}

const TABLE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("hard_state");

fn put(file: &Path, value: &[u8]) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(TABLE).unwrap();
    table.insert((), value).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

fn get(file: &Path) -> Vec<u8> {
    use redb::ReadableDatabase;
    let database = Database::open(file).unwrap();
    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
    table.get(()).unwrap().unwrap().value().to_vec()
}

/// Version, node, term, and the vote: whoever changes these bytes must raise the version.
#[test]
fn the_record_is_these_bytes() {
    let folder = folder();
    write(&mut open(folder.path(), 1), state(0x0203, Some(4)));
    let mut expected = vec![1];
    expected.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend([0, 0, 0, 0, 0, 0, 2, 3]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert_eq!(get(&folder.path().join(FILE)), expected);
}

#[test]
fn garbage_is_refused_and_left_alone() {
    let folder = folder();
    let file = folder.path().join(FILE);
    for garbage in [&b""[..], b"x", &[0; 4096], &[0x5a; 100_000]] {
        fs::write(&file, garbage).unwrap();
        let error = refusal(folder.path(), 1);
        assert!(error.contains(FILE), "{error}");
        assert!(error.contains("new id"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), garbage);
    }
}

#[test]
fn another_database_is_refused() {
    let folder = folder();
    drop(Database::create(folder.path().join(FILE)).unwrap());
    let error = refusal(folder.path(), 1);
    assert!(error.contains("none of Biglock's"), "{error}");
}

#[test]
fn a_database_that_a_crash_left_unfinished_is_made_anew() {
    let folder = folder();
    fs::write(folder.path().join("biglock.redb.new"), [0; 5000]).unwrap();
    let mut storage = open(folder.path(), 1);
    assert_eq!(load(&mut storage), HardState::default());
}

#[test]
fn a_file_in_place_of_the_folder_is_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let error = refusal(&path, 1);
    assert!(error.contains("can't make the folder"), "{error}");
}
