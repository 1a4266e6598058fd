//! What an answer tells a leader of a follower: each kind of sending goes on by its own rule.

use super::*;
use crate::rules::{Members, Position, Term};

/// A leader has eight entries, and asks whether the logs are equal before the ninth.
fn asked() -> Follower {
    let mut follower = Follower::new(9, Time::ZERO);
    follower.sending = Sending::Probing { asked: true };
    follower
}

fn snapshot(index: u64) -> Snapshot {
    let term = Term(1);
    Snapshot {
        last: Position { index, term },
        time: Time::ZERO,
        members: Members::default(),
        data: vec![7; 9].into(),
    }
}

fn is_streaming(follower: &Follower) -> bool {
    matches!(follower.sending, Sending::Streaming { .. })
}

/// What it says that it has may be less than what it was asked about: the rest is not durable there yet.
#[test]
fn entries_follow_when_all_that_was_asked_about_is_there() {
    let mut follower = asked();
    follower.matches(7);
    assert_eq!((follower.matched, follower.next), (7, 9));
    assert!(!is_streaming(&follower));
    follower.matches(8);
    assert_eq!((follower.matched, follower.next), (8, 9));
    assert!(is_streaming(&follower));
}

#[test]
fn an_old_answer_takes_nothing_back() {
    let mut follower = asked();
    follower.matches(8);
    follower.matches(3);
    assert_eq!((follower.matched, follower.next), (8, 9));
}

#[test]
fn an_answer_ends_all_messages_up_to_it() {
    let mut follower = asked();
    let in_flight = [3, 5, 9].into();
    follower.sending = Sending::Streaming { in_flight };
    follower.matches(5);
    let in_flight = [9].into();
    assert_eq!(follower.sending, Sending::Streaming { in_flight });
}

/// It may have some of the entries that the snapshot holds.
#[test]
fn a_snapshot_is_sent_until_all_that_it_holds_is_there() {
    let mut follower = asked();
    follower.begin_snapshot(snapshot(6));
    follower.matches(5);
    assert!(!is_streaming(&follower));
    follower.matches(6);
    assert!(is_streaming(&follower));
}

#[test]
fn a_conflict_is_expected_where_something_was_asked() {
    let conflict = |prev| Conflict {
        prev,
        term: None,
        first: 1,
    };
    let mut follower = asked();
    follower.matched = 4;
    assert!(follower.expects(conflict(8)));
    assert!(!follower.expects(conflict(7)), "nobody asked");
    assert!(!follower.expects(conflict(4)), "these are equal");
    follower.stream();
    assert!(follower.expects(conflict(5)));
    assert!(!follower.expects(conflict(4)));
    follower.begin_snapshot(snapshot(6));
    assert!(!follower.expects(conflict(8)));
}

/// What it is sent, how much of it has arrived, and from where it is sent on.
fn state(follower: &Follower) -> (u64, u64, Option<u64>, bool) {
    match &follower.sending {
        Sending::Snapshot {
            snapshot,
            acked,
            sent,
            silent,
            ..
        } => (snapshot.last.index, *acked, *sent, *silent),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_sent_of_a_snapshot_is_sent_again_if_nothing_came_back() {
    let mut follower = asked();
    follower.begin_snapshot(snapshot(6));
    let latest = snapshot(8);
    let mut set = |a: u64, s: Option<u64>| {
        if let Sending::Snapshot { acked, sent, .. } = &mut follower.sending {
            (*acked, *sent) = (a, s);
        }
        follower.resend_chunks(Some(&latest));
        state(&follower)
    };
    // A heartbeat passes, and another: nothing has arrived, so it may as well be the latest.
    assert_eq!(set(0, Some(9)), (6, 0, Some(9), true));
    assert_eq!(set(0, Some(9)), (8, 0, None, true));
    // A part has: that goes on, whatever there is by now.
    let newest = snapshot(9);
    let mut follower = asked();
    follower.begin_snapshot(snapshot(6));
    if let Sending::Snapshot { acked, sent, .. } = &mut follower.sending {
        (*acked, *sent) = (4, Some(9));
    }
    follower.resend_chunks(Some(&newest));
    follower.resend_chunks(Some(&newest));
    assert_eq!(state(&follower), (6, 4, Some(4), true));
    // An older one never takes the place of what is under way.
    let mut follower = asked();
    follower.begin_snapshot(snapshot(6));
    follower.resend_chunks(Some(&snapshot(5)));
    follower.resend_chunks(Some(&snapshot(5)));
    assert_eq!(state(&follower).0, 6);
}
