//! What needs a state that no message leads to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::lock::Monitor;
use crate::rules::{Beat, Body};
use crate::{Config, Entry, MemoryStorage, Outside, Stored};

/// A state that stays broken is found once. Whoever comes after that comes to hear of it, and must not panic in turn.
#[test]
fn a_broken_state_is_found_once() {
    let settings = Config::new(1, [1]).validate().unwrap();
    let at = At {
        now: Time::ZERO,
        random: 0,
    };
    let raft = Raft::new(at, settings, Stored::default());
    let storage = Box::new(MemoryStorage::new());
    let monitor = Monitor::new(Shared::new(raft, storage, Box::new(()), 0));
    let mut outside = Outside::claim("test");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let mut outside = Outside::claim("vandal");
        monitor.enter(&mut outside, "break it", |shared| {
            shared.raft.break_for_good();
        });
    }));
    assert!(broken.is_err());
    let why = monitor.enter(&mut outside, "look", |shared| shared.stopped().cloned());
    assert!(matches!(
        why,
        Some(Stopped::Broken {
            section: "break it"
        })
    ));
}

/// Node 1 of three, with a disk in memory.
fn one_of_three() -> Shared {
    let settings = Config::new(1, [1, 2, 3]).validate().unwrap();
    let at = At {
        now: Time::ZERO,
        random: 0,
    };
    let raft = Raft::new(at, settings, Stored::default());
    Shared::new(raft, Box::new(MemoryStorage::new()), Box::new(()), 0)
}

/// What node 2 says in term 1.
fn from_leader(body: Body) -> Message {
    Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(1),
        body,
    }
}

/// Node 1 of three, which follows node 2.
fn follower() -> Shared {
    let mut shared = one_of_three();
    let heartbeat = Body::AppendEntries {
        prev: Position::default(),
        entries: Default::default(),
        commit: 0,
        beat: Beat::default(),
    };
    shared.receive(Time::ZERO, from_leader(heartbeat));
    let (storage, write) = shared.take_work().write.expect("a new term");
    shared.finish_write(Time::ZERO, storage, write.id, Ok(()));
    assert!(shared.take_work().write.is_none());
    shared
}

/// The number of the read that this node asks its leader for.
fn asked(messages: &[Message]) -> u64 {
    let read = messages.iter().find_map(|message| match message.body {
        Body::ReadIndex { read } => Some(read),
        _ => None,
    });
    read.expect("it asks the leader")
}

/// Entries of these sizes from the leader, which says that so many are committed.
fn entries(sizes: &[usize], commit: u64) -> Body {
    let entry = |&size: &usize| Entry {
        term: Term(1),
        time: Time::ZERO,
        payload: Payload::Command(vec![0; size].into()),
    };
    Body::AppendEntries {
        prev: Position::default(),
        entries: sizes.iter().map(entry).collect(),
        commit,
        beat: Beat::default(),
    }
}

/// A thread that is woken for nothing would look again at once, and again.
#[test]
fn the_disk_thread_has_something_to_do_only_if_there_is_something_to_write_and_to_write_to() {
    let mut shared = follower();
    assert!(!shared.has_write(), "all is written");
    shared.receive(Time::ZERO, from_leader(entries(&[1], 0)));
    assert!(shared.has_write());
    let (storage, write) = shared.take_write().expect("an entry");
    assert!(!shared.has_write(), "the disk is out");
    shared.finish_write(Time::ZERO, storage, write.id, Ok(()));
    assert!(!shared.has_write(), "all is written");
    shared.receive(Time::ZERO, from_leader(entries(&[1, 1], 0)));
    shared.stop(Stopped::Shutdown);
    assert!(!shared.has_write(), "it has stopped");
}

/// Work that a section gives to nobody would be done when somebody else happens to come, or never.
#[test]
fn work_that_nobody_took_is_found_when_the_lock_is_given_up() {
    let said = |shared: &Shared, before: &Digest| shared.check(before).err().unwrap_or_default();
    let mut shared = one_of_three();
    let before = shared.digest();
    assert_eq!(said(&shared, &before), "");
    shared.receive(Time::ZERO, from_leader(entries(&[], 0)));
    assert!(said(&shared, &before).starts_with("term or vote are to be written"));

    let mut shared = follower();
    let before = shared.digest();
    shared.receive(Time::ZERO, from_leader(entries(&[1], 0)));
    assert!(said(&shared, &before).starts_with("something is to be written"));
    let (storage, write) = shared.take_write().expect("an entry");
    assert_eq!(said(&shared, &before), "", "somebody has the disk");
    shared.finish_write(Time::ZERO, storage, write.id, Ok(()));
    assert_eq!(said(&shared, &before), "");
    shared.receive(Time::ZERO, from_leader(entries(&[1], 1)));
    assert!(said(&shared, &before).starts_with("something is to be applied"));
    // What takes time is for the apply thread, whenever it comes.
    shared.want_snapshot(Tell::call(|_, _| {})).unwrap();
    assert_eq!(said(&shared, &before), "");
    shared.stop(Stopped::Shutdown);
    assert_eq!(
        said(&shared, &before),
        "",
        "a node that has stopped does nothing more"
    );
}

/// Nor is anything given out by a node that has stopped.
#[test]
fn a_node_that_has_stopped_gives_nothing_to_do() {
    let mut shared = follower();
    shared.receive(Time::ZERO, from_leader(entries(&[1], 0)));
    let (storage, write) = shared.take_write().expect("an entry");
    shared.finish_write(Time::ZERO, storage, write.id, Ok(()));
    shared.receive(Time::ZERO, from_leader(entries(&[1, 1], 1)));
    shared.stop(Stopped::Shutdown);
    assert!(!shared.has_job() && !shared.has_write());
    let work = shared.take_work();
    assert!(work.job.is_none() && work.write.is_none() && work.messages.is_empty());
}

/// One line in the log for each change, whichever section made it.
#[test]
fn who_leads_is_told_when_it_changes_and_once() {
    let mut shared = one_of_three();
    assert_eq!(shared.take_messages().news, None, "nothing has changed");
    let heartbeat = from_leader(entries(&[], 0));
    shared.receive(Time::ZERO, heartbeat);
    let term = Term(1);
    let leader = Some(NodeId(2));
    let news = Some((1, Leadership { term, leader }));
    assert_eq!(shared.take_messages().news, news);
    assert_eq!(shared.take_messages().news, None);
}

/// What is committed is applied together, but not so much of it that replies wait for long.
#[test]
fn many_small_entries_are_applied_at_once_and_few_large_ones() {
    for (sizes, together) in [(vec![10; 1000], 1000), (vec![100 << 10; 4], 2)] {
        let mut shared = follower();
        let all = sizes.len() as u64;
        shared.receive(Time::ZERO, from_leader(entries(&sizes, all)));
        let (storage, write) = shared.take_write().expect("entries");
        shared.finish_write(Time::ZERO, storage, write.id, Ok(()));
        let Some((_, Job::Apply { first, entries })) = shared.take_job() else {
            panic!("{all} are committed");
        };
        assert_eq!((first, entries.len()), (1, together));
    }
}

/// A question that the network lost is asked again after a heartbeat's time, and not before.
#[test]
fn a_read_is_asked_for_again_when_that_is_due() {
    let mut shared = follower();
    shared.read(Time::ZERO, Tell::call(|_, _| {})).unwrap();
    let first = asked(&shared.take_work().messages);
    let due = shared.upkeep_due().expect("it is looked after");
    let heartbeat = shared.raft.settings().heartbeat;
    assert_eq!(due, Time::ZERO + heartbeat);
    shared.upkeep(Time::ZERO + heartbeat / 2);
    assert!(shared.take_work().messages.is_empty());
    shared.upkeep(due);
    assert_eq!(asked(&shared.take_work().messages), first);
}

/// Whatever a caller made is dropped without the lock: it may be anything (rule 4).
#[test]
fn who_is_refused_is_dropped_outside() {
    use std::sync::Arc;
    let mut shared = one_of_three();
    let one = Arc::new(());
    let call = |one: &Arc<()>| {
        let one = one.clone();
        Tell::call(move |_, _| drop(one))
    };
    let command = |who| [(Payload::Noop, who)];
    let (_, refused) = shared.propose(Time::ZERO, command(call(&one)));
    assert!(refused.is_err(), "nobody leads");
    let add = Change::Promote(NodeId(2));
    assert!(shared.change_members(Time::ZERO, &add, call(&one)).is_err());
    shared.stop(Stopped::Shutdown);
    let late = one.clone();
    let who = Tell::call(move |_, _| drop(late));
    assert!(shared.read(Time::ZERO, who).is_err());
    let late = one.clone();
    let who = Tell::call(move |_, _| drop(late));
    assert!(shared.want_snapshot(who).is_err());
    // What is not taken out of the iterator is its owner's.
    let mut proposals = command(call(&one)).into_iter();
    let (_, refused) = shared.propose(Time::ZERO, &mut proposals);
    assert!(refused.is_err(), "it has stopped");
    assert_eq!(Arc::strong_count(&one), 6, "all are still there");
    let told = shared.take_messages().told;
    told.into_iter()
        .for_each(|told| told.tell(&Outside::claim("test")));
    drop(proposals);
    assert_eq!(Arc::strong_count(&one), 1);
}

/// So is what it proposed.
#[test]
fn what_is_refused_is_dropped_outside() {
    use std::sync::Arc;
    struct Owned {
        _lives: Arc<()>,
    }
    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            b"command"
        }
    }
    let mut shared = one_of_three();
    let one = Arc::new(());
    let command = Payload::Command(bytes::Bytes::from_owner(Owned {
        _lives: one.clone(),
    }));
    let who = Tell::call(|_, _| ());
    let (_, refused) = shared.propose(Time::ZERO, [(command, who)]);
    assert!(refused.is_err(), "nobody leads");
    assert_eq!(Arc::strong_count(&one), 2, "it is still there");
    drop(shared.take_messages());
    assert_eq!(Arc::strong_count(&one), 1);
}

/// The leader says from which index on a read may be served, and is never heard again: nobody waits until the network is whole (no call
/// hangs).
#[test]
fn a_read_ends_although_its_index_is_never_heard_committed() {
    let mut shared = follower();
    let (who, awaited) = Tell::promise();
    shared.read(Time::ZERO, who).unwrap();
    let (read, index) = (asked(&shared.take_work().messages), Some(7));
    let answer = from_leader(Body::ReadIndexReply { read, index });
    shared.receive(Time::ZERO, answer);
    assert!(shared.take_work().told.is_empty(), "7 is not applied here");
    assert_eq!(shared.waiting_callers(), 1);

    let due = shared.upkeep_due().expect("it is looked after");
    shared.upkeep(due);
    for told in shared.take_work().told {
        told.tell(&Outside::claim("test"));
    }
    assert_eq!(shared.waiting_callers(), 0);
    let end = awaited.wait(&Outside::claim("test"));
    assert!(matches!(end, Some(Err(ReadError::NoLeader))), "{end:?}");
}

/// Those who read at the same index wait each for their own time: whoever comes later does not put off the end of those before.
#[test]
fn reads_at_one_index_end_each_in_its_time() {
    let mut shared = follower();
    let patience = shared.raft.settings().patience();
    for half in 0..10 {
        let now = Time::ZERO + patience / 2 * half;
        shared.upkeep(now);
        let _ = shared.take_work();
        shared.read(now, Tell::call(|_, _| {})).unwrap();
        // The index is never heard committed here.
        let (read, index) = (asked(&shared.take_work().messages), Some(7));
        shared.receive(now, from_leader(Body::ReadIndexReply { read, index }));
        let _ = shared.take_work();
    }
    let waiting = shared.waiting_callers();
    assert!(
        waiting <= 2,
        "{waiting} wait, one for each half of a patience"
    );
}
