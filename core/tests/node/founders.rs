//! With which members a node begins, and comes back.

use biglock::kv::KvStore;
use biglock::rules::{Entry, Member, Members, Payload, Snapshot};
use biglock::{
    Batch, Config, HardState, LocalNetwork, Node, NodeId, Outside, Position, StartError, Storage,
    StorageError, Stored, Term, Time,
};

use crate::harness::{Disk, snapshot_of};

/// Starts node 1 on this disk, and shuts it down again. What it said if it did not start.
fn start(disk: &Disk, config: Config) -> Result<(), String> {
    let transport = LocalNetwork::new().transport(1);
    let before = stored(disk);
    match Node::start(config, disk.clone(), transport, KvStore::new()) {
        Ok(node) => {
            node.shutdown().expect("it stops");
            Ok(())
        }
        Err(StartError::OtherMembers(why)) => {
            assert_eq!(stored(disk), before, "nothing was changed");
            Err(why.to_string())
        }
        Err(why) => panic!("{why}"),
    }
}

fn stored(disk: &Disk) -> Stored {
    disk.clone()
        .load(&Outside::claim("test"))
        .expect("it is read")
}

/// Puts these members into the log.
fn log(disk: &Disk, members: impl IntoIterator<Item = (u64, bool)>) {
    let members = members.into_iter().map(|(id, voter)| {
        let address = "127.0.0.1:7001".into();
        (NodeId(id), Member { voter, address })
    });
    let entry = Entry {
        term: Term(1),
        time: Time::ZERO,
        payload: Payload::Members(members.collect()),
    };
    let term = Term(1);
    let hard_state = HardState {
        term,
        voted_for: None,
    };
    let batch = Batch::new(hard_state).with_log(1, vec![entry]);
    let mut disk = disk.clone();
    disk.write(&Outside::claim("test"), batch)
        .expect("it is written");
}

/// Gives a vote.
fn vote(disk: &Disk) {
    let hard_state = HardState {
        term: Term(1),
        voted_for: Some(NodeId(2)),
    };
    let mut disk = disk.clone();
    disk.write(&Outside::claim("test"), Batch::new(hard_state))
        .expect("it is written");
}

/// A typing error need not last: but to forget it is for a human to decide, for the new list may be the wrong one.
#[test]
fn a_node_that_has_promised_nothing_says_so() {
    let disk = Disk::default();
    start(&disk, Config::new(1, [1, 2, 4])).expect("a new one");
    let other = "a node that is told of other members does not start";
    let why = start(&disk, Config::new(1, [1, 2, 3])).expect_err(other);
    assert!(
        why.contains("remove its storage: it has given no vote"),
        "{why}"
    );
    vote(&disk);
    let why = start(&disk, Config::new(1, [1, 2, 3])).expect_err(other);
    assert!(why.contains("give it a storage of its own"), "{why}");
}

/// Alone, it would elect itself in a term that the others share, and acknowledge what they never see.
#[test]
fn a_node_comes_back_with_the_members_it_began_with_or_not_at_all() {
    let disk = Disk::default();
    start(&disk, Config::new(1, [1, 2, 3])).expect("a new one");
    let founders = stored(&disk).founders;
    assert_eq!(founders, Some(Members::voting([1, 2, 3].map(NodeId))));
    start(&disk, Config::new(1, [3, 2, 1])).expect("the same");
    vote(&disk);

    for (others, told) in [
        (Config::new(1, [1]), "it is told 1:"),
        (Config::new(1, [1, 2]), "it is told 1, 2:"),
        (Config::new(1, [1, 2, 3, 4]), "it is told 1, 2, 3, 4:"),
        (Config::joining(1), "it is told to join a cluster:"),
    ] {
        let why =
            start(&disk, others).expect_err("a node that is told of other members does not start");
        assert!(why.contains("began with the members 1, 2, 3, and"), "{why}");
        assert!(why.contains(told), "{why}");
        assert!(why.contains("tell it those it began with"), "{why}");
    }
}

#[test]
fn whoever_names_the_members_as_they_are_now_is_understood() {
    let disk = Disk::default();
    start(&disk, Config::new(1, [1, 2, 3])).expect("a new one");
    log(&disk, [(1, true), (2, true), (3, true), (4, false)]);
    start(&disk, Config::new(1, [1, 2, 3, 4])).expect("as they are now");
    start(&disk, Config::new(1, [1, 2, 3])).expect("as they were");
    let why = start(&disk, Config::new(1, [1, 2]))
        .expect_err("a node that is told of other members does not start");
    assert!(why.contains("its log names 1, 2, 3, 4 (learner)"), "{why}");
    // The entry may yet be taken back, and then those count with whom it began.
    let founders = stored(&disk).founders;
    assert_eq!(founders, Some(Members::voting([1, 2, 3].map(NodeId))));
}

#[test]
fn a_node_that_joined_begins_no_cluster() {
    let disk = Disk::default();
    start(&disk, Config::joining(1)).expect("a new one");
    assert_eq!(stored(&disk).founders, Some(Members::default()));
    start(&disk, Config::joining(1)).expect("the same");
    vote(&disk);
    for members in [vec![1], vec![1, 2, 3]] {
        let why = start(&disk, Config::new(1, members))
            .expect_err("a node that is told of other members does not start");
        assert!(why.contains("began as one that joins"), "{why}");
        assert!(why.contains("let it join again"), "{why}");
    }
    log(&disk, [(1, false), (2, true)]);
    start(&disk, Config::joining(1)).expect("the same");
    start(&disk, Config::new(1, [1, 2])).expect("as they are now");
}

/// What an older version wrote does not say with whom it began. Then those count that its log names; if it names none, what the node is told is
/// believed once more. Both are kept.
#[test]
fn an_older_disk_keeps_those_that_its_log_names() {
    let disk = Disk::default();
    log(&disk, [(1, true), (2, true), (3, true), (4, true)]);
    let other = "a node that is told of other members does not start";
    for members in [vec![1], vec![1, 2, 3]] {
        let why = start(&disk, Config::new(1, members)).expect_err(other);
        assert!(
            why.contains("was not kept, its log names 1, 2, 3, 4"),
            "{why}"
        );
        assert!(why.contains("tell it those that its log names"), "{why}");
    }
    start(&disk, Config::new(1, [1, 2, 3, 4])).expect("as they are now");
    let founders = stored(&disk).founders;
    assert_eq!(founders, Some(Members::voting([1, 2, 3, 4].map(NodeId))));

    let disk = Disk::default();
    vote(&disk);
    start(&disk, Config::new(1, [1, 2, 3])).expect("an older one");
    start(&disk, Config::new(1, [1])).expect_err(other);

    // One that had joined.
    let disk = Disk::default();
    log(&disk, [(1, false), (2, true)]);
    start(&disk, Config::joining(1)).expect("it joins");
}

/// A storage of somebody else's that has forgotten what lies between snapshot and log.
#[test]
fn a_storage_with_a_gap_is_refused() {
    struct Gap;
    impl Storage for Gap {
        fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
            let mut stored = Stored::default();
            stored.snapshot = Some(Snapshot {
                last: Position {
                    term: Term(1),
                    index: 7,
                },
                time: Time::ZERO,
                members: Members::voting([NodeId(1)]),
                data: snapshot_of(b"state"),
            });
            Ok(stored)
        }
        fn write(&mut self, _: &Outside, _: Batch) -> Result<(), StorageError> {
            unreachable!("it does not start")
        }
    }
    let transport = LocalNetwork::new().transport(1);
    let refused = Node::start(Config::new(1, [1, 2]), Gap, transport, KvStore::new());
    let why = refused.expect_err("a gap").to_string();
    assert!(
        why.contains("does not begin where its snapshot ends"),
        "{why}"
    );
}
