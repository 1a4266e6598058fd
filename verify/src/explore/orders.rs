//! The configurations: small clusters, each made to reach one kind of trouble.
//!
//! What is not among the bounds has none: every message may be lost, late, repeated or overtaken, and a timeout may pass at any moment, within as many
//! campaigns. But what is late for its receiver's term arrives only where a row has `noise` (requests) or `late_answers` (answers).

use biglock::rules::{Change, NodeId};

use super::First::{Noop, Session, Without};
use super::tape::FIRST_NODE;
use super::{Bounds, First, Order};

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Order> {
    ORDERS.iter()
}

const NONE: Bounds = Order::of(0).bounds;
/// All that a cluster knows that has committed one entry.
const ONE: &[First] = &[Noop(1)];

/// And has opened a session.
const OPEN: &[First] = &[Noop(1), Session(1)];

const fn node(nth: u64) -> NodeId {
    NodeId(FIRST_NODE + nth)
}

static ORDERS: &[Order] = &[
    Order {
        name: "orders-elections-of-2",
        property: "a term has one leader and a node one vote, on slow disks and across crashes in the middle of a write",
        bounds: Bounds {
            terms: 3,
            campaigns: 3,
            crashes: 2,
            ..NONE
        },
        slow_disk: true,
        slow_count: true,
        noise: true,
        goals: &[
            "a leader of a later term",
            "a split vote",
            "a vote is refused",
            "a write happens that nobody was told of",
        ],
        ..Order::of(2)
    },
    Order {
        name: "orders-elections-of-3",
        property: "a term has one leader, whose log holds what is committed, with old requests, and refusals that are still awaited, arriving at any time",
        bounds: Bounds {
            terms: 3,
            campaigns: 3,
            crashes: 1,
            ..NONE
        },
        noise: true,
        goals: &[
            "a leader of a later term",
            "a split vote",
            "a vote is refused",
            "a leader crashes with an uncommitted tail",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-pre-vote",
        property: "the same with pre-votes and check-quorum: who steps down keeps its vote, and nobody is locked out for good",
        bounds: Bounds {
            terms: 2,
            campaigns: 3,
            give_ups: 1,
            ..NONE
        },
        pre_vote: true,
        check_quorum: true,
        noise: true,
        goals: &[
            "a leader of a later term",
            "a vote is refused",
            "a pre-vote is refused",
            "a leader gives up",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-replication",
        property: "logs that parted meet again, and what is committed is the same everywhere",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            proposals: 1,
            beats: 1,
            ..NONE
        },
        goals: &[
            "a command is proposed",
            "an entry is committed",
            "an uncommitted entry is truncated",
            "a leader is deposed with an uncommitted tail",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-figure-8",
        property: "an entry of an earlier term is not committed because a majority has it",
        bounds: Bounds {
            terms: 4,
            campaigns: 4,
            ..NONE
        },
        one_entry: true,
        goals: &[
            "an uncommitted entry is truncated",
            "an entry that a majority had is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-snapshots",
        property: "a snapshot in pieces takes the place of whatever log there was, and a crash forgets nothing",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            beats: 1,
            crashes: 1,
            snapshots: 1,
            ..NONE
        },
        goals: &[
            "a snapshot is taken",
            "a snapshot is installed",
            "a snapshot is installed over a conflicting log",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-membership",
        property: "two leaders that each remove a node from the same four never have majorities that don't meet",
        bounds: Bounds {
            terms: 3,
            campaigns: 2,
            changes: 1,
            ..NONE
        },
        // The first was about to remove the last, and nobody else knows.
        start: &[&[Noop(1), Without(1, 3)], ONE, ONE, ONE],
        committed: 1,
        changes: || vec![Change::Remove(node(0))],
        goals: &[
            "the members change",
            "a change of the members is rolled back",
            "a member is gone",
        ],
        ..Order::of(4)
    },
    Order {
        name: "orders-joining",
        property: "a node learns, is let vote, and the first leader is removed",
        voters: 2,
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            beats: 1,
            changes: 2,
            ..NONE
        },
        changes: || {
            let (id, address) = (node(2), String::new());
            let add = Change::AddLearner { id, address };
            vec![add, Change::Promote(id), Change::Remove(node(0))]
        },
        goals: &["the members change", "a member is gone"],
        ..Order::of(3)
    },
    Order {
        name: "orders-transfer",
        property: "a leader that hands over loses nothing, and goes on if nobody takes over",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            proposals: 1,
            give_ups: 1,
            transfers: 1,
            ..NONE
        },
        goals: &[
            "a command is proposed",
            "a transfer begins",
            "a node is told to campaign",
            "a leader of a later term",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-reads",
        property: "a read on any node sees all that was committed before it began, whoever leads meanwhile",
        bounds: Bounds {
            terms: 3,
            campaigns: 2,
            reads: 1,
            retries: 1,
            ..NONE
        },
        start: &[ONE, ONE, ONE],
        committed: 1,
        read_anywhere: true,
        goals: &[
            "a stale leader is asked to read",
            "a leader is deposed while somebody reads",
            "a read is answered",
            "a read is answered by another node",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-sessions",
        property: "a request that is sent again, to whoever leads, is run once, also where a snapshot has taken the place of the first",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            calls: 2,
            crashes: 1,
            snapshots: 1,
            ..NONE
        },
        start: &[OPEN, OPEN, OPEN],
        committed: 2,
        goals: &[
            "a request is sent again",
            "a request is not run again",
            "a snapshot is taken",
            "a snapshot is installed",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-late-answers",
        property: "an answer that arrives in a later term counts for nothing, also at a node that stands or leads again",
        bounds: Bounds {
            terms: 3,
            campaigns: 3,
            proposals: 1,
            ..NONE
        },
        late_answers: true,
        goals: &[
            "an answer of an earlier term arrives at a leader",
            "a vote of an earlier term arrives at a candidate",
            "an uncommitted entry is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-replication-crashes",
        property: "logs that parted meet again although nodes fail and start again",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            proposals: 1,
            crashes: 2,
            ..NONE
        },
        goals: &[
            "a crash",
            "a leader crashes with an uncommitted tail",
            "an entry is committed",
            "an uncommitted entry is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-replication-slow-disk",
        property: "entries count where they are durable, and not where they are only in the log",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            proposals: 1,
            ..NONE
        },
        slow_disk: true,
        goals: &[
            "a command is proposed",
            "an entry is committed",
            "an uncommitted entry is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-membership-crashes",
        property: "the two leaders that each remove a node, and one node fails and starts again",
        bounds: Bounds {
            terms: 3,
            campaigns: 2,
            changes: 1,
            crashes: 1,
            ..NONE
        },
        start: &[&[Noop(1), Without(1, 3)], ONE, ONE, ONE],
        committed: 1,
        changes: || vec![Change::Remove(node(0))],
        goals: &[
            "a crash",
            "the members change",
            "a change of the members is rolled back",
            "a member is gone",
        ],
        ..Order::of(4)
    },
    Order {
        name: "orders-joining-by-snapshot",
        property: "a node that joins by a snapshot knows the members from it, also after a crash",
        voters: 2,
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            changes: 2,
            snapshots: 1,
            crashes: 1,
            ..NONE
        },
        changes: || {
            let (id, address) = (node(2), String::new());
            vec![Change::AddLearner { id, address }, Change::Promote(id)]
        },
        goals: &[
            "the members change",
            "a snapshot is taken",
            "a snapshot is installed",
            "a crash",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-late-answers-deep",
        property: "an answer of an earlier term commits nothing in figure 8, where other entries stand now in the place of those that it speaks of",
        bounds: Bounds {
            terms: 6,
            campaigns: 3,
            ..NONE
        },
        one_entry: true,
        late_answers: true,
        // The first led term 2, and the second has one of its two entries; the third led term 3, and told nobody.
        start: &[
            &[Noop(1), Noop(2), Noop(2)],
            &[Noop(1), Noop(2)],
            &[Noop(1), Noop(3)],
        ],
        committed: 1,
        goals: &[
            "an answer of an earlier term arrives at a leader",
            "a vote of an earlier term arrives at a candidate",
            "an uncommitted entry is truncated",
            "an entry that a majority had is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-replication-three-terms",
        property: "logs that parted meet again, in a third term, with a crash",
        bounds: Bounds {
            terms: 3,
            campaigns: 3,
            proposals: 1,
            crashes: 1,
            ..NONE
        },
        goals: &[
            "a crash",
            "a leader crashes with an uncommitted tail",
            "an entry is committed",
            "an uncommitted entry is truncated",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-elections-of-3-deep",
        property: "the elections of three on slow disks, with a crash in the middle of a write",
        bounds: Bounds {
            terms: 2,
            campaigns: 3,
            crashes: 1,
            ..NONE
        },
        slow_disk: true,
        slow_count: true,
        noise: true,
        goals: &[
            "a leader of a later term",
            "a split vote",
            "a write happens that nobody was told of",
        ],
        ..Order::of(3)
    },
];
