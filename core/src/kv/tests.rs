//! The store alone: what each command means, what travels, and what a snapshot keeps.

use std::error::Error;

use super::*;
use crate::Time;

const AT: Applied = Applied {
    index: 1,
    time: Time::ZERO,
};

fn apply(store: &KvStore, command: Command) -> Reply {
    let reply = store.clone().apply(AT, &Bytes::from(command));
    Reply::decode(&reply).unwrap()
}

fn bytes(text: &'static str) -> Option<Bytes> {
    Some(text.into())
}

fn one_of_each() -> [Command; 6] {
    [
        Command::put("key", "value"),
        Command::append("key", "more"),
        Command::delete("key"),
        Command::compare_and_swap("key", None, "new"),
        Command::compare_and_swap("key", bytes("old"), "new"),
        Command::get("key"),
    ]
}

#[test]
fn what_was_put_is_there_until_it_is_deleted() {
    let store = KvStore::new();
    assert_eq!(apply(&store, Command::put("k", "1")), Reply::Done);
    assert_eq!(apply(&store, Command::put("k", "2")), Reply::Done);
    assert_eq!(apply(&store, Command::get("k")), Reply::Value(bytes("2")));
    assert_eq!(store.get("k"), bytes("2"));
    assert_eq!(apply(&store, Command::delete("k")), Reply::Done);
    assert_eq!(apply(&store, Command::get("k")), Reply::Value(None));
    assert_eq!(store.get("k"), None);
}

#[test]
fn an_empty_value_is_not_a_missing_one() {
    let store = KvStore::new();
    apply(&store, Command::put("k", ""));
    assert_eq!(apply(&store, Command::get("k")), Reply::Value(bytes("")));
    assert_eq!(store.len(), 1);
}

#[test]
fn append_adds_to_the_end_and_creates_what_is_missing() {
    let store = KvStore::new();
    assert_eq!(apply(&store, Command::append("k", "ab")), Reply::Done);
    assert_eq!(apply(&store, Command::append("k", "c")), Reply::Done);
    assert_eq!(store.get("k"), bytes("abc"));
}

#[test]
fn deleting_what_is_missing_is_done_at_once() {
    let store = KvStore::new();
    assert_eq!(apply(&store, Command::delete("k")), Reply::Done);
    assert!(store.is_empty());
}

#[test]
fn compare_and_swap_swaps_only_what_it_expected() {
    let store = KvStore::new();
    let swap = |expected, new| Command::compare_and_swap("k", expected, new);
    assert_eq!(
        apply(&store, swap(bytes("a"), "b")),
        Reply::Mismatch(None),
        "a missing key is not the expected value"
    );
    assert!(store.is_empty(), "and is not made");
    assert_eq!(apply(&store, swap(None, "a")), Reply::Done);
    assert_eq!(
        apply(&store, swap(None, "b")),
        Reply::Mismatch(bytes("a")),
        "a key that is there is not missing"
    );
    assert_eq!(apply(&store, swap(bytes("a"), "b")), Reply::Done);
    assert_eq!(
        apply(&store, swap(bytes("a"), "c")),
        Reply::Mismatch(bytes("b")),
        "what succeeded once does not succeed again"
    );
    assert_eq!(store.get("k"), bytes("b"));
    assert!(!store.is_empty());
}

#[test]
fn keys_do_not_touch_each_other() {
    let store = KvStore::new();
    apply(&store, Command::put("a", "1"));
    for command in one_of_each() {
        apply(&store, command);
        assert_eq!(store.get("a"), bytes("1"));
    }
}

#[test]
fn every_handle_sees_the_same_state() {
    let store = KvStore::new();
    let reader = store.clone();
    apply(&store, Command::put("k", "1"));
    assert_eq!(reader.get("k"), bytes("1"));
    assert_eq!(format!("{reader:?}"), "KvStore { len: 1, .. }");
}

/// What is in a log today must be read by the versions to come: these bytes may not change.
#[test]
fn the_format_of_the_log_stays() {
    let put = Bytes::from(Command::put("k", "v"));
    assert_eq!(&put[..], b"\0\0\0\0\0\0\0\0\0\0\0\x01k\0\0\0\0\0\0\0\x01v");
    let numbers = one_of_each().map(|command| Bytes::from(command)[3]);
    assert_eq!(numbers, [0, 1, 2, 3, 3, 4]);
    let snapshot = KvStore::new().snapshot();
    assert_eq!(
        &snapshot[..],
        b"\0\0\0\0\0\0\0\x0dbiglock::kv 1\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn replies_survive_the_journey() {
    for reply in [
        Reply::Done,
        Reply::Value(None),
        Reply::Value(bytes("v")),
        Reply::Mismatch(None),
        Reply::Mismatch(bytes("v")),
        Reply::Malformed,
    ] {
        assert_eq!(Reply::decode(&codec::encode(&reply)), Ok(reply));
    }
    assert!(Reply::decode(b"").is_err());
    assert!(Reply::decode(b"\0\0\0\0and more").is_err());
}

/// Cut short, continued, or with any byte changed: a reply says so or it is another command, but nothing panics and nothing asks for all
/// memory.
#[test]
fn a_malformed_command_is_answered_and_changes_nothing() {
    let malformed = codec::encode(&Reply::Malformed);
    for command in one_of_each().map(Bytes::from) {
        let mut store = KvStore::new();
        for end in 0..command.len() {
            assert_eq!(store.apply(AT, &command[..end]), malformed);
        }
        assert_eq!(store.apply(AT, &[&command[..], b"!"].concat()), malformed);
        assert!(store.is_empty());
        for at in 0..command.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = command.to_vec();
                changed[at] ^= change;
                let reply = Reply::decode(&store.apply(AT, &changed)).unwrap();
                assert!(reply == Reply::Malformed || codec::decode::<Command>(&changed).is_ok());
            }
        }
    }
}

#[test]
fn a_snapshot_keeps_everything_and_equal_states_have_equal_ones() {
    let mut one = KvStore::new();
    let mut other = KvStore::new();
    apply(&one, Command::put("a", "1"));
    apply(&one, Command::put("b", vec![0, 255]));
    apply(&one, Command::put("c", "gone"));
    apply(&one, Command::delete("c"));
    apply(&other, Command::put("b", vec![0]));
    apply(&other, Command::append("b", vec![255]));
    apply(&other, Command::append("a", "1"));
    let snapshot = one.snapshot();
    assert_eq!(snapshot, other.snapshot());

    let mut restored = KvStore::new();
    let reader = restored.clone();
    apply(&restored, Command::put("old", "gone after the restore"));
    restored.restore(&snapshot).unwrap();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(reader.get("a"), bytes("1"), "handles stay connected");
    assert_eq!(reader.len(), 2);
}

#[test]
fn a_damaged_snapshot_is_an_error_and_changes_nothing() {
    let mut store = KvStore::new();
    apply(&store, Command::put("key", "value"));
    let snapshot = store.snapshot();
    let mut damaged: Vec<Vec<u8>> = (0..snapshot.len())
        .map(|end| snapshot[..end].to_vec())
        .collect();
    damaged.push([&snapshot[..], b"!"].concat());
    // Every byte of a length or of the format; the key and the value could be anything.
    for at in (0..snapshot.len()).filter(|at| ![32, 33, 34].contains(at) && *at < 43) {
        let mut changed = snapshot.to_vec();
        changed[at] ^= 0x80;
        damaged.push(changed);
    }
    for bytes in damaged {
        let mut other = store.clone();
        assert!(other.restore(&bytes).is_err(), "{bytes:?}");
        assert_eq!(store.snapshot(), snapshot);
    }
}

#[test]
fn the_error_says_what_to_do() {
    let mut store = KvStore::new();
    let error = store.restore(b"not a snapshot").unwrap_err();
    assert!(error.to_string().contains("let the leader send it one"));
    assert!(error.source().is_some());
    let newer = codec::encode(&("biglock::kv 2", BTreeMap::<&str, &[u8]>::new()));
    let error = store.restore(&newer).unwrap_err();
    assert!(error.to_string().contains("run the version that wrote it"));
}
