//! The configurations.

use super::{Bounds, Order};

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Order> {
    ORDERS.iter()
}

const NONE: Bounds = Order::of(0).bounds;

static ORDERS: &[Order] = &[
    Order {
        name: "orders-elections-of-2",
        property: "two nodes elect at most one leader in a term, whatever arrives, with slow disks and crashes",
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
        property: "so do three",
        bounds: Bounds {
            terms: 2,
            campaigns: 3,
            crashes: 1,
            ..NONE
        },
        noise: true,
        goals: &[
            "a leader of a later term",
            "a split vote",
            "a vote is refused",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-pre-vote",
        property: "pre-votes and check-quorum",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
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
        property: "divergent tails",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            proposals: 1,
            beats: 1,
            ..NONE
        },
        goals: &[
            "an entry is committed",
            "an uncommitted entry is truncated",
            "a leader is deposed with an uncommitted tail",
        ],
        ..Order::of(3)
    },
    Order {
        name: "orders-figure-8",
        property: "figure 8",
        bounds: Bounds {
            terms: 4,
            campaigns: 4,
            ..NONE
        },
        one_entry: true,
        goals: &["an entry that a majority had is truncated"],
        ..Order::of(3)
    },
    Order {
        name: "orders-transfer",
        property: "transfers",
        bounds: Bounds {
            terms: 2,
            campaigns: 2,
            transfers: 1,
            give_ups: 1,
            proposals: 1,
            ..NONE
        },
        goals: &["a transfer begins", "a node is told to campaign"],
        ..Order::of(3)
    },
];
