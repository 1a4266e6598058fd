//! Section 7, InstallSnapshot in pieces: what the leader makes of each answer.

use biglock::Message;
use biglock::rules::{Beat, Body, Position};

use crate::common::Cluster;

/// A leader that has sent server 3 the first pieces of a snapshot, and lost them. 256 bytes fit beside the members, then 400.
struct Sending {
    cluster: Cluster,
    last: Position,
}

const HEAD: u64 = 256;

fn sending() -> Sending {
    let mut cluster = Cluster::with(3, |settings| {
        settings.keep_entries = 0;
        settings.max_payload = 400;
        settings.max_in_flight = 2;
    });
    cluster.time_out(1);
    cluster.deliver_without(&[3]);
    let last = cluster.snapshot(1, 5000);
    cluster.heartbeat(1);
    let sent: Vec<_> = cluster.between(1, 3).iter().filter_map(piece).collect();
    assert_eq!(sent, [(0, true), (HEAD, false), (HEAD + 400, false)]);
    cluster.wire.clear();
    Sending { cluster, last }
}

/// Where a piece begins, and whether it says whose it is.
fn piece(message: &Message) -> Option<(u64, bool)> {
    match &message.body {
        Body::InstallSnapshot { chunk, .. } => Some((chunk.offset, chunk.head.is_some())),
        _ => None,
    }
}

impl Sending {
    /// Server 3 says that it has so much; what is sent to it then.
    fn has(&mut self, received: u64) -> Vec<(u64, bool)> {
        let last = self.last;
        let beat = Beat::default();
        let body = Body::SnapshotReply {
            last,
            received,
            beat,
        };
        let said = self.cluster.tell(1, 3, 1, body);
        said.iter().filter_map(piece).collect()
    }

    /// What the next heartbeat has for it: where it begins, and how long it is.
    fn heartbeat(&mut self) -> Vec<(u64, usize)> {
        self.cluster.heartbeat(1);
        let piece = |m: &Message| match &m.body {
            Body::InstallSnapshot { chunk, .. } => Some((chunk.offset, chunk.bytes.len())),
            _ => None,
        };
        let pieces = self.cluster.between(1, 3);
        let pieces = pieces.iter().filter_map(piece).collect();
        self.cluster.wire.clear();
        pieces
    }
}

/// Who is sent a snapshot hears from its leader in every heartbeat: by a piece, or if none is due, by one with nothing in it.
#[test]
fn a_heartbeat_has_a_piece_or_is_empty() {
    let mut sending = sending();
    assert_eq!(sending.has(HEAD), []);
    assert_eq!(sending.heartbeat(), [(HEAD, 0)], "the next is under way");
    assert_eq!(sending.heartbeat(), [(HEAD, 400)], "it was silent since");
}

#[test]
fn each_answer_lets_as_much_follow_as_has_arrived() {
    let mut sending = sending();
    // 1,056 bytes are under way, and 800 may be, beyond what has arrived.
    assert_eq!(sending.has(HEAD), []);
    assert_eq!(sending.has(HEAD + 400), [(HEAD + 800, false)]);
    assert_eq!(sending.has(HEAD + 1200).len(), 2, "both that fit");
}

/// Pieces arrive, and always the wrong ones: the next was lost. Once or twice it may only have been overtaken.
#[test]
fn a_third_answer_with_nothing_new_brings_the_piece_again() {
    let mut sending = sending();
    assert_eq!(sending.has(HEAD), []);
    assert_eq!(sending.has(HEAD), []);
    assert_eq!(sending.has(HEAD), []);
    let again = sending.has(HEAD);
    assert_eq!(again[0], (HEAD, false), "{again:?}");
    // The first piece was lost: it says whose the others are.
    let mut sending = self::sending();
    assert_eq!(sending.has(0), []);
    assert_eq!(sending.has(0), []);
    assert_eq!(sending.has(0)[0], (0, true));
    // What is new begins the count anew.
    let mut sending = self::sending();
    for received in [HEAD, HEAD, HEAD, HEAD + 400, HEAD + 400, HEAD + 400] {
        let sent = sending.has(received);
        assert!(
            sent.iter().all(|(offset, _)| *offset > received),
            "{sent:?}"
        );
    }
    assert_eq!(sending.has(HEAD + 400)[0], (HEAD + 400, false));
}

/// Who has nothing any more was restarted, and gets all from the beginning. Who has less than it said is late, unless nothing else has come from it.
#[test]
fn who_has_less_than_it_said_was_restarted_or_is_late() {
    let mut sending = sending();
    sending.has(HEAD + 400);
    assert_eq!(sending.has(HEAD), [], "an answer that was overtaken");
    assert_eq!(sending.has(0)[0], (0, true), "it was restarted");

    let mut sending = self::sending();
    sending.has(HEAD + 400);
    sending.heartbeat();
    let again = sending.has(HEAD);
    assert_eq!(
        again.first(),
        Some(&(HEAD, false)),
        "it was silent since, and is sent again what it lost"
    );

    let mut sending = self::sending();
    sending.has(HEAD + 400);
    sending.heartbeat();
    assert_eq!(sending.has(0)[0], (0, true));
}

/// A snapshot that is due at any size is not due where nothing is new.
#[test]
fn a_snapshot_of_what_the_last_one_holds_is_never_due() {
    let mut cluster = Cluster::with(1, |settings| {
        settings.snapshot_every = 0;
        settings.keep_entries = 0;
    });
    cluster.elect(1);
    assert!(cluster.raft(1).wants_snapshot());
    cluster.snapshot(1, 0);
    assert!(!cluster.raft(1).wants_snapshot());
}
