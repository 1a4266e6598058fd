//! Section 7 and figure 13: log compaction and InstallSnapshot.

use biglock::rules::{
    Appended, Beat, Body, Change, Chunk, Members, Position, RoleKind, Settings, SnapshotHead,
};
use biglock::{Message, NodeId, Term, Time};
use bytes::Bytes;

use crate::common::{Cluster, HEARTBEAT, MAX, append, append_of, matched};

/// Pieces of about 100 bytes, and nothing kept behind a snapshot.
fn cluster(n: u64) -> Cluster {
    Cluster::with(n, set)
}

fn set(settings: &mut Settings) {
    settings.keep_entries = 0;
    settings.max_payload = 400;
}

fn data(cluster: &Cluster, id: u64) -> Bytes {
    cluster
        .raft(id)
        .snapshot()
        .expect("it has one")
        .data
        .clone()
}

fn is_chunk(message: &Message) -> bool {
    matches!(message.body, Body::InstallSnapshot { .. })
}

/// Where each piece begins that is on the wire.
fn offsets(cluster: &Cluster) -> Vec<u64> {
    let offset = |m: &Message| match &m.body {
        Body::InstallSnapshot { chunk, .. } => Some(chunk.offset),
        _ => None,
    };
    cluster.wire.iter().filter_map(offset).collect()
}

/// A leader whose log is gone up to its snapshot of `length` bytes, and server 3, which has nothing.
fn behind(length: usize) -> Cluster {
    behind_with(length, set)
}

fn behind_with(length: usize, set: impl Fn(&mut Settings)) -> Cluster {
    let mut cluster = Cluster::with(3, set);
    cluster.time_out(1);
    cluster.deliver_without(&[3]);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
    cluster.deliver_without(&[3]);
    cluster.snapshot(1, length);
    cluster
}

/// "Once a server completes writing a snapshot, it may delete all log entries up through the last included index, as well as any prior snapshot."
#[test]
fn a_snapshot_takes_the_place_of_the_log() {
    let mut cluster = cluster(3);
    cluster.elect(1);
    for length in [10, 20] {
        cluster.propose(1, b"x");
        cluster.deliver_all();
        let last = cluster.snapshot(1, length);
        assert_eq!(last.index, cluster.end(1));
        assert_eq!(
            (cluster.log(1).len(), cluster.raft(1).log().before()),
            (0, last)
        );
        let disk = cluster.stored(1);
        assert_eq!(
            (disk.log.iter().count(), disk.log.first()),
            (0, last.index + 1)
        );
        assert_eq!(disk.snapshot.as_ref().map(|s| s.data.len()), Some(length));
    }
    cluster.propose(1, b"and on it goes");
    cluster.deliver_all();
    cluster.restart(1);
    assert_eq!((cluster.log(1), cluster.end(1)), (vec![1], 4));
    assert_eq!((cluster.commit(1), cluster.raft(1).applied()), (3, 0));
}

/// "These are preserved to support the AppendEntries consistency check for the first log entry following the snapshot, since that entry needs a previous log
/// index and term."
#[test]
fn the_first_entry_after_a_snapshot_passes_the_consistency_check() {
    let mut cluster = cluster(3);
    cluster.elect(1);
    cluster.propose(1, b"x");
    cluster.deliver_all();
    cluster.heartbeat(1);
    cluster.deliver_all();
    (1..=3).for_each(|id| {
        cluster.snapshot(id, 10);
    });
    cluster.propose(1, b"y");
    assert_eq!(append_of(&cluster.wire[0]), ((2, 1), vec![1], 2));
    cluster.deliver_all();
    assert_eq!((cluster.log(3), cluster.commit(1)), (vec![1], 3));
    let refused = cluster.tell(3, 1, 2, append(&[1, 2], &[2], 0));
    assert_eq!(
        refused[0].body,
        matched(3),
        "what a snapshot holds is committed, and so is in every leader's log"
    );
}

/// "The leader must occasionally send snapshots to followers that lag behind. This happens when the leader has already discarded the next log entry that it
/// needs to send to a follower."
#[test]
fn a_follower_that_lags_behind_gets_the_snapshot() {
    for length in [0, 1, 100, 1000, 5000] {
        let mut cluster = behind(length);
        cluster.propose(1, b"after it");
        cluster.heartbeat(1);
        cluster.deliver_all();
        assert_eq!(data(&cluster, 3), data(&cluster, 1), "{length} bytes");
        cluster.heartbeat(1);
        cluster.deliver_all();
        assert_eq!((cluster.end(3), cluster.log(3)), (7, vec![1]));
        assert_eq!((cluster.commit(3), cluster.commit(1)), (7, 7));
        let disk = cluster.stored(3).clone();
        assert_eq!((disk.log.first(), disk.log.iter().count()), (7, 1));
        cluster.restart(3);
        assert_eq!((cluster.end(3), cluster.commit(3)), (7, 6));
    }
}

/// A follower that is only a little late does not need it: a short tail stays behind the snapshot.
#[test]
fn a_follower_that_is_a_little_late_gets_entries() {
    let mut late = Cluster::with(3, |settings| settings.keep_entries = 50);
    late.elect(1);
    for _ in 0..10 {
        late.propose(1, b"x");
    }
    late.deliver_without(&[3]);
    late.snapshot(1, 10);
    late.heartbeat(1);
    late.deliver_all();
    assert!(!late.said.iter().any(is_chunk) && late.end(3) == 11);
}

/// "The leader uses a new RPC called InstallSnapshot to send snapshots": "invoked by leader to send chunks of a snapshot to a follower. Leaders always send chunks
/// in order." (figure 13)
#[test]
fn pieces_are_sent_in_order_and_fit_the_transport() {
    let mut cluster = behind(3000);
    cluster.heartbeat(1);
    cluster.deliver_all();
    let mut end = 0;
    for message in cluster.said.iter().filter(|m| is_chunk(m)) {
        let Body::InstallSnapshot { chunk, .. } = &message.body else {
            continue;
        };
        let head = chunk
            .head
            .as_ref()
            .map_or(0, |head| head.members.size() + 64);
        assert!(
            chunk.bytes.len() + head <= 400,
            "{} bytes",
            chunk.bytes.len()
        );
        assert_eq!(
            chunk.head.is_some(),
            chunk.offset == 0,
            "with the first piece alone"
        );
        assert_eq!(chunk.offset, end);
        end += chunk.bytes.len() as u64;
    }
    assert_eq!(end, 3000);
}

/// Not all at once: a window of pieces is in flight.
#[test]
fn the_pieces_in_flight_are_bounded() {
    let mut cluster = behind_with(100_000, |settings| {
        set(settings);
        settings.max_in_flight = 3;
    });
    cluster.heartbeat(1);
    let mut most = 0;
    while !cluster.wire.is_empty() {
        most = most.max(cluster.wire.iter().filter(|m| is_chunk(m)).count());
        let (from, to) = (cluster.wire[0].from.0, cluster.wire[0].to.0);
        cluster.deliver(from, to);
    }
    assert!((2..=5).contains(&most), "{most}");
    assert_eq!(data(&cluster, 3).len(), 100_000);
}

/// "If existing log entry has same index and term as snapshot's last included entry, retain log entries following it and reply." (figure 13, 6)
#[test]
fn entries_that_follow_the_snapshot_are_retained() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 1, append(&[], &[1, 1, 1, 1], 0));
    let reply = cluster.tell(1, 3, 2, whole(2, 1));
    assert_eq!(reply[0].body, matched(2));
    assert_eq!(
        (cluster.log(1), cluster.end(1), cluster.commit(1)),
        (vec![1, 1], 4, 2)
    );
    assert_eq!(
        (
            cluster.stored(1).log.first(),
            cluster.stored(1).log.iter().count()
        ),
        (3, 2)
    );
    cluster.restart(1);
    assert_eq!((cluster.log(1), cluster.end(1)), (vec![1, 1], 4));
}

/// "Discard the entire log." (figure 13, 7)
#[test]
fn a_log_that_does_not_contain_the_snapshots_end_is_discarded() {
    for own in [&[1, 1, 1, 1][..], &[1], &[]] {
        let mut cluster = cluster(3);
        cluster.tell(1, 2, 1, append(&[], own, 0));
        let reply = cluster.tell(1, 2, 3, whole(2, 3));
        assert_eq!(reply[0].body, matched(2), "{own:?}");
        assert_eq!(
            (cluster.log(1), cluster.end(1), cluster.commit(1)),
            (vec![], 2, 2)
        );
        assert_eq!(cluster.stored(1).log.iter().count(), 0);
        cluster.restart(1);
        assert_eq!((cluster.end(1), cluster.commit(1)), (2, 2));
    }
}

fn head(index: u64, term: u64, length: u64) -> SnapshotHead {
    SnapshotHead {
        last: Position {
            index,
            term: Term(term),
        },
        time: Time::ZERO,
        members: Members::voting((1..=3).map(NodeId)),
        length,
    }
}

/// A piece of the snapshot `0, 1, 2, .. 9`.
fn piece(index: u64, term: u64, from: u64, to: u64) -> Body {
    let head = head(index, term, 10);
    Body::InstallSnapshot {
        chunk: Chunk {
            last: head.last,
            head: (from == 0).then_some(head),
            offset: from,
            bytes: (from as u8..to as u8).collect::<Vec<u8>>().into(),
        },
        beat: Beat::default(),
    }
}

fn whole(index: u64, term: u64) -> Body {
    piece(index, term, 0, 10)
}

/// How much the follower says that it has.
fn received(replies: &[Message]) -> u64 {
    match replies {
        [one] => match one.body {
            Body::SnapshotReply { received, .. } => received,
            ref other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// "Reply and wait for more data chunks if done is false" (figure 13, 4): what comes again, too early, or of an older snapshot does no harm.
#[test]
fn pieces_may_come_again_and_out_of_order() {
    let mut cluster = cluster(3);
    assert_eq!(
        received(&cluster.tell(1, 2, 1, piece(5, 1, 4, 8))),
        0,
        "too early"
    );
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(5, 1, 0, 4))), 4);
    assert_eq!(
        received(&cluster.tell(1, 2, 1, piece(5, 1, 0, 4))),
        4,
        "again"
    );
    assert_eq!(
        received(&cluster.tell(1, 2, 1, piece(5, 1, 8, 10))),
        4,
        "too early"
    );
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(5, 1, 4, 8))), 8);
    assert_eq!(
        received(&cluster.tell(1, 2, 1, piece(5, 1, 4, 8))),
        8,
        "again"
    );
    assert_eq!(
        received(&cluster.tell(1, 2, 1, piece(5, 1, 0, 4))),
        8,
        "the first again"
    );
    assert!(cluster.raft(1).snapshot().is_none());
    let done = cluster.tell(1, 2, 1, piece(5, 1, 8, 10));
    assert_eq!(done[0].body, matched(5));
    assert_eq!(data(&cluster, 1).as_ref(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let late = cluster.tell(1, 2, 1, piece(5, 1, 0, 4));
    assert_eq!(late[0].body, matched(5), "after it is done");
}

/// "Discard any existing or partial snapshot with a smaller index" (figure 13, 5).
#[test]
fn a_later_snapshot_takes_the_place_of_a_partial_one() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 1, piece(5, 1, 0, 4));
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(9, 1, 0, 4))), 4);
    // Pieces of the first one that were under way: also the one that says what it is.
    let late = received(&cluster.tell(1, 2, 1, piece(5, 1, 0, 4)));
    assert_eq!(late, 0, "an earlier one takes no later one's place");
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(5, 1, 4, 8))), 0);
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(9, 1, 4, 8))), 8);
    cluster.tell(1, 2, 1, piece(9, 1, 8, 10));
    assert_eq!((cluster.end(1), cluster.commit(1)), (9, 9));
}

/// "Leaders always send chunks in order", each its own: what another leader was sending ends with its term, however that ended, and does not stand in the
/// way of an earlier snapshot of the next one.
#[test]
fn what_an_earlier_leader_was_sending_ends_with_its_term() {
    for campaigns in [false, true] {
        let mut cluster = cluster(3);
        cluster.tell(1, 2, 1, piece(9, 1, 0, 4));
        if campaigns {
            cluster.time_out(1);
        }
        assert_eq!(
            received(&cluster.tell(1, 3, 2, piece(5, 1, 0, 4))),
            4,
            "the piece of the new leader is taken"
        );
        cluster.tell(1, 3, 2, piece(5, 1, 4, 10));
        assert_eq!((cluster.end(1), cluster.commit(1)), (5, 5));
    }
}

/// A late piece of a snapshot that is installed says nothing about the next one, half of which has arrived.
#[test]
fn a_late_piece_of_an_installed_snapshot_leaves_the_next_one_alone() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 1, whole(5, 1));
    assert_eq!(cluster.commit(1), 5);
    assert_eq!(received(&cluster.tell(1, 2, 1, piece(9, 1, 0, 4))), 4);
    cluster.tell(1, 2, 1, piece(5, 1, 4, 10));
    let received = received(&cluster.tell(1, 2, 1, piece(9, 1, 4, 8)));
    assert_eq!(received, 8, "the first half of the next one is still there");
}

/// "Reply immediately if term < currentTerm" (figure 13, 1).
#[test]
fn a_snapshot_of_a_stale_leader_is_refused() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 5, append(&[], &[], 0));
    let reply = cluster.tell(1, 3, 4, whole(5, 4));
    let stale = |body: &Body| {
        matches!(
            body,
            Body::AppendReply {
                answer: Appended::Stale,
                ..
            }
        )
    };
    assert!(stale(&reply[0].body) && reply[0].term == Term(5));
    assert!(cluster.raft(1).snapshot().is_none());
    assert_eq!(cluster.leader(1), Some(2));
}

/// InstallSnapshot comes from the leader, so it is heard as one: a long transfer starts no election.
#[test]
fn a_transfer_in_pieces_keeps_the_follower_quiet() {
    let mut cluster = behind(20_000);
    let end = cluster.now + MAX * 5;
    cluster.run(HEARTBEAT / 2, end, &[]);
    assert_eq!((cluster.leaders(), cluster.term(3)), (vec![1], 1));
    assert_eq!(data(&cluster, 3).len(), 20_000);
}

/// "The snapshot may contain ... information not already in the recipient's log", or else "describes a prefix of its log (due to retransmission or by mistake)":
/// then what follows stays, and nothing goes back.
#[test]
fn a_snapshot_of_what_is_committed_changes_nothing() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 1, append(&[], &[1, 1, 1], 3));
    let before = (
        cluster.log(1),
        cluster.commit(1),
        cluster.raft(1).latest_write(),
    );
    let reply = cluster.tell(1, 2, 1, whole(2, 1));
    assert!(matches!(
        reply[0].body,
        Body::AppendReply { answer: Appended::Matched(i), .. } if i >= 2
    ));
    assert_eq!(
        (
            cluster.log(1),
            cluster.commit(1),
            cluster.raft(1).latest_write()
        ),
        before
    );
}

/// Whatever is lost, repeated, or reordered on the way, the snapshot arrives whole.
#[test]
fn a_snapshot_arrives_over_a_bad_network() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cluster = behind(5000);
        let mut rounds = 0;
        while cluster.end(3) < 6 {
            rounds += 1;
            assert!(rounds < 500, "seed {seed}");
            cluster.heartbeat(1);
            for _ in 0..cluster.wire.len() * 2 {
                if cluster.wire.is_empty() {
                    break;
                }
                let message = cluster.wire.swap_remove(random.usize(..cluster.wire.len()));
                match random.u32(..4) {
                    0 => {}
                    1 => cluster.arrive_and_stay(message),
                    _ => cluster.arrive(message),
                }
            }
        }
        assert_eq!(data(&cluster, 3), data(&cluster, 1), "seed {seed}");
    }
}

/// What has arrived is not sent again: after a while of silence the leader goes on where the follower is.
#[test]
fn a_transfer_is_resumed_where_it_was() {
    let mut cluster = behind(3000);
    cluster.heartbeat(1);
    // The probe, its refusal, and the first pieces; then the network is gone.
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    let sent = offsets(&cluster);
    assert!(sent.len() > 4);
    for _ in 0..3 {
        cluster.deliver(1, 3);
    }
    let has = 3000.min(offsets(&cluster)[0]);
    cluster.lose(|m| m.from.0 == 1);
    cluster.deliver_all();
    cluster.wire.clear();
    cluster.heartbeat(1);
    cluster.heartbeat(1);
    let again = offsets(&cluster);
    assert!(
        again.iter().all(|&offset| offset >= has),
        "{again:?}, it has {has}"
    );
    cluster.deliver_all();
    assert_eq!(data(&cluster, 3).len(), 3000);
}

/// A follower that restarts in the middle has lost its part, and gets all of it.
#[test]
fn a_follower_that_restarts_gets_the_snapshot_from_the_beginning() {
    let mut cluster = behind(3000);
    cluster.heartbeat(1);
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    for _ in 0..3 {
        cluster.deliver(1, 3);
    }
    cluster.deliver(3, 1);
    cluster.restart(3);
    cluster.wire.clear();
    for _ in 0..4 {
        cluster.heartbeat(1);
        cluster.deliver_all();
    }
    let all = cluster.raft(3).snapshot().is_some();
    assert!(all, "it gets all of the snapshot once more");
    assert_eq!(data(&cluster, 3), data(&cluster, 1));
}

/// A piece is lost and those after it arrive: it is sent again at once, and not only when a heartbeat is due.
#[test]
fn a_lost_piece_is_sent_again_when_its_followers_arrive() {
    let mut cluster = behind_with(30_000, |settings| {
        set(settings);
        settings.max_in_flight = 8;
    });
    let (mut heartbeats, mut sent) = (0, 0);
    while cluster.end(3) == 0 {
        cluster.heartbeat(1);
        heartbeats += 1;
        while !cluster.wire.is_empty() {
            let message = cluster.wire.remove(0);
            sent += u64::from(is_chunk(&message));
            if !is_chunk(&message) || sent % 25 != 0 {
                cluster.arrive(message);
            }
        }
    }
    assert_eq!(data(&cluster, 3), data(&cluster, 1));
    // Five are lost. What nothing follows, at the very end, waits for a heartbeat, and the one after.
    assert!(heartbeats <= 3, "{heartbeats} heartbeats");
    let pieces = 30_000 / 400;
    assert!(sent < pieces * 2, "{sent} for {pieces}");
}

/// The leader takes another snapshot while one is sent: the follower gets the first to its end, never a mixture, and then what it lacks.
#[test]
fn a_snapshot_that_is_replaced_while_it_is_sent() {
    let mut cluster = behind(3000);
    cluster.heartbeat(1);
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    cluster.propose(1, b"x");
    cluster.deliver_without(&[3]);
    cluster.snapshot(1, 2000);
    while cluster.end(3) == 0 {
        if cluster.wire.is_empty() {
            cluster.heartbeat(1);
        }
        let (from, to) = (cluster.wire[0].from.0, cluster.wire[0].to.0);
        cluster.deliver(from, to);
    }
    assert_eq!((data(&cluster, 3).len(), cluster.end(3)), (3000, 6));
    cluster.deliver_all();
    assert_eq!((data(&cluster, 3).len(), cluster.end(3)), (2000, 7));
}

/// Who never answered has nothing of the first one, so it is sent the latest: and the leader keeps no old state for whoever is dead.
#[test]
fn who_is_silent_is_sent_the_latest_snapshot() {
    let mut cluster = behind(3000);
    cluster.heartbeat(1);
    assert!(cluster.between(1, 3).iter().any(is_chunk));
    cluster.deliver_without(&[3]);
    for _ in 0..3 {
        cluster.propose(1, b"x");
        cluster.deliver_without(&[3]);
        cluster.snapshot(1, 2000);
        for _ in 0..3 {
            cluster.heartbeat(1);
            cluster.deliver_without(&[3]);
        }
    }
    cluster.heartbeat(1);
    let sent = cluster.between(1, 3);
    let latest = cluster.raft(1).snapshot().map(|snapshot| snapshot.last);
    let sent = sent.iter().find_map(|message| match &message.body {
        Body::InstallSnapshot { chunk, .. } => Some(chunk.last),
        _ => None,
    });
    assert_eq!(sent, latest, "who never answered is sent the latest");
}

/// "The snapshot also includes the latest configuration in the log as of last included index."
#[test]
fn the_members_are_in_the_snapshot() {
    let mut cluster = cluster(4);
    cluster.elect(1);
    let remove = Change::Remove(NodeId(4));
    let began = cluster.with_raft(1, |raft, at| raft.change_members(at, &remove));
    began.expect("it leads");
    cluster.deliver_without(&[3]);
    cluster.snapshot(1, 10);
    // One more, which is not in it.
    let demote = Change::Demote(NodeId(2));
    let began = cluster.with_raft(1, |raft, at| raft.change_members(at, &demote));
    began.expect("the one before is committed");
    let in_snapshot = |cluster: &Cluster, id: u64| {
        let members = cluster
            .raft(id)
            .snapshot()
            .expect("it has one")
            .members
            .clone();
        members.voters().map(|id| id.0).collect::<Vec<_>>()
    };
    assert_eq!(
        in_snapshot(&cluster, 1),
        [1, 2, 3],
        "the snapshot has the members as of its last entry"
    );
    cluster.heartbeat(1);
    cluster.deliver_all();
    assert_eq!(in_snapshot(&cluster, 3), [1, 2, 3]);
    let voters = |cluster: &Cluster, id: u64| {
        let members = cluster.raft(id).members().voters();
        members.map(|id| id.0).collect::<Vec<_>>()
    };
    cluster.heartbeat(1);
    cluster.deliver_all();
    assert_eq!(voters(&cluster, 3), [1, 3]);
    cluster.restart(3);
    assert_eq!(voters(&cluster, 3), [1, 3], "from snapshot and log");
    // Back to the snapshot's, if the entry goes.
    let body = append(&[1, 1], &[9], 0);
    cluster.tell(3, 2, 9, body);
    assert_eq!(voters(&cluster, 3), [1, 2, 3]);
}

/// "Servers take snapshots independently, covering just the committed entries in their logs": of what was not applied there is none.
#[test]
fn only_what_was_applied_is_in_a_snapshot() {
    let mut cluster = cluster(3);
    cluster.tell(1, 2, 1, append(&[], &[1, 1, 1], 2));
    assert_eq!(cluster.raft(1).applied(), 2);
    assert!(cluster.raft(1).snapshot_head(2).is_some());
    assert_eq!(cluster.raft(1).snapshot_head(3), None);
    cluster.snapshot(1, 10);
    assert_eq!(
        (cluster.log(1), cluster.end(1)),
        (vec![1], 3),
        "the rest stays"
    );
}

/// "One simple strategy is to take a snapshot when the log reaches a fixed size in bytes." Of the log that was applied: more of what was not makes no snapshot
/// smaller.
#[test]
fn a_snapshot_is_due_when_the_log_reaches_a_size() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.snapshot_every = 1000;
        settings.keep_entries = 3;
    });
    cluster.elect(1);
    for _ in 0..3 {
        let mut proposed = 0;
        while !cluster.raft(1).wants_snapshot() {
            cluster.propose(1, &[0; 68]);
            cluster.deliver_all();
            proposed += 1;
        }
        assert!((9..=10).contains(&proposed), "{proposed}");
        cluster.snapshot(1, 10);
        assert!(!cluster.raft(1).wants_snapshot());
    }
    for _ in 0..20 {
        cluster.propose(1, &[0; 68]);
    }
    assert!(
        !cluster.raft(1).wants_snapshot(),
        "none of these was applied"
    );
}

/// A crash between any two writes leaves a disk with which the server starts: the batch is whole or not there.
#[test]
fn a_crash_while_a_snapshot_is_installed_leaves_the_old_or_the_new() {
    for written in [false, true] {
        let mut cluster = cluster(3);
        cluster.tell(1, 2, 1, append(&[], &[1, 1, 1], 1));
        cluster.stuck = Some(1);
        cluster.tell(1, 2, 2, whole(5, 2));
        let said = cluster.said.iter().any(|m| m.body == matched(5));
        assert!(!said, "not before it is durable");
        if written {
            cluster.release(1);
        }
        cluster.restart(1);
        assert_eq!(cluster.end(1), if written { 5 } else { 3 });
    }
}

/// Without a snapshot in the way, a server that is elected with one still brings everyone up to date.
#[test]
fn a_new_leader_with_a_snapshot_brings_up_those_without() {
    let mut cluster = behind(500);
    cluster.restart(1);
    cluster.elect(1);
    for _ in 0..3 {
        cluster.heartbeat(1);
        cluster.deliver_all();
    }
    assert_eq!(cluster.role(1), RoleKind::Leader);
    assert_eq!(
        (cluster.end(3), cluster.commit(3)),
        (cluster.end(1), cluster.commit(1))
    );
}
