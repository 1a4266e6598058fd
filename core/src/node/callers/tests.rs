//! Who is told what, and when: also in orders that a cluster comes to seldom.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;

/// Those who ask, and what each was told.
#[derive(Default)]
struct Desk {
    callers: Callers,
    told: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    /// Somebody of this name, who notes what it is told.
    fn who<T: 'static>(&self, name: &'static str, say: fn(T) -> String) -> Tell<T> {
        let told = self.told.clone();
        Tell::call(move |_, what| {
            told.lock().unwrap().push(format!("{name}: {}", say(what)));
        })
    }

    fn proposes(&mut self, name: &'static str, (index, term): (u64, u64)) {
        let who = self.proposer(name);
        let term = Term(term);
        self.callers.proposes(Position { index, term }, who);
    }

    fn proposer(&self, name: &'static str) -> Tell<Decided> {
        self.who(name, |what: Decided| match what {
            Ok(Reply::Command(reply)) => String::from_utf8(reply.to_vec()).unwrap(),
            Ok(other) => format!("{other:?}"),
            Err(why) => format!("{why:?}"),
        })
    }

    /// Somebody reads what may be seen when this index is applied, and has patience until then.
    fn reads(&mut self, name: &'static str, id: u64, index: u64, until: Time) {
        let who = self.who(name, |what: Served| match what {
            Ok(()) => "served".into(),
            Err(why) => format!("{why:?}"),
        });
        let (id, index) = (ReadId(id), Some(index));
        self.callers.reads(id, who);
        self.callers.answered(ReadAnswer { id, index }, 0, until);
    }

    fn snapshot(&mut self, name: &'static str, taken_by: Option<u64>) {
        let who = self.who(name, |what: SnapshotTaken| match what {
            Ok(last) => format!("up to {}", last.index),
            Err(why) => format!("{why:?}"),
        });
        self.callers.wants_snapshot(who);
        if let Some(write) = taken_by {
            self.callers.snapshot_is(at(4, 1), WriteId(write));
        }
    }

    /// Entries of these terms were applied, the first at this index.
    fn applied(&mut self, first: u64, terms: &[u64]) {
        let reply = |(index, term): (u64, &u64)| {
            let reply = format!("ran {index} of {term}");
            (Term(*term), Reply::Command(Bytes::from(reply)))
        };
        let replies = (first..).zip(terms).map(reply);
        self.callers.applied(first, replies.collect());
    }

    /// What was told since the last look, in order.
    fn told(&mut self) -> Vec<String> {
        Told::tell_all(self.callers.take_told(), &Outside::claim("test"));
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

fn at(index: u64, term: u64) -> Position {
    let term = Term(term);
    Position { index, term }
}

fn second(second: u64) -> Time {
    Time::from_nanos(second * 1_000_000_000)
}

const NOBODY: [&str; 0] = [];

#[test]
fn each_hears_of_its_own_entry() {
    let mut desk = Desk::default();
    desk.proposes("a", (2, 1));
    desk.proposes("b", (3, 1));
    desk.proposes("c", (5, 1));
    desk.applied(1, &[1, 1]);
    assert_eq!(desk.told(), ["a: ran 2 of 1"]);
    desk.applied(3, &[1, 1, 1]);
    assert_eq!(desk.told(), ["b: ran 3 of 1", "c: ran 5 of 1"]);
    assert_eq!(desk.callers.len(), 0);
}

/// This node led term 1, lost its tail, and leads term 3: who proposed in term 1 is in its way, wherever it comes in.
#[test]
fn the_place_of_a_proposal_is_that_in_the_log() {
    let mut desk = Desk::default();
    desk.proposes("old 3", (3, 1));
    desk.proposes("old 4", (4, 1));
    desk.proposes("new 3", (3, 3));
    desk.proposes("new 4", (4, 3));
    desk.applied(3, &[3]);
    assert_eq!(
        desk.told(),
        ["old 3: Lost", "new 3: ran 3 of 3", "old 4: Lost"]
    );
    desk.applied(4, &[3]);
    assert_eq!(desk.told(), ["new 4: ran 4 of 3"]);
}

/// Section 5.3: terms never go down along a log.
#[test]
fn what_an_earlier_term_proposed_for_later_has_lost() {
    let mut desk = Desk::default();
    desk.proposes("early", (5, 1));
    desk.proposes("same", (6, 2));
    desk.proposes("later", (7, 3));
    desk.applied(3, &[1]);
    assert_eq!(desk.told(), NOBODY, "term 1 may go on");
    desk.applied(4, &[2]);
    assert_eq!(desk.told(), ["early: Lost"]);
    desk.applied(5, &[2, 2]);
    assert_eq!(desk.told(), ["same: ran 6 of 2"]);
    desk.applied(7, &[4]);
    assert_eq!(desk.told(), ["later: Lost"]);
}

#[test]
fn what_a_snapshot_skips_is_unknown() {
    let mut desk = Desk::default();
    desk.proposes("a", (3, 1));
    desk.proposes("b", (5, 1));
    desk.reads("reader", 1, 4, second(9));
    desk.callers.skipped(4);
    assert_eq!(desk.told(), ["a: Unknown", "reader: served"]);
    desk.applied(5, &[1]);
    assert_eq!(desk.told(), ["b: ran 5 of 1"]);
}

/// Nothing is said of an entry that is not among those applied: not even that it has lost.
#[test]
fn what_was_applied_before_is_unknown() {
    let mut desk = Desk::default();
    desk.proposes("a", (3, 1));
    desk.applied(4, &[1]);
    assert_eq!(desk.told(), ["a: Unknown"]);
}

#[test]
fn a_read_is_served_when_its_index_is_applied() {
    let mut desk = Desk::default();
    desk.reads("first", 1, 2, second(9));
    desk.reads("second", 2, 3, second(9));
    assert_eq!(desk.callers.reads_waiting(), 2);
    desk.applied(1, &[1, 1]);
    assert_eq!(desk.told(), ["first: served"]);
    assert_eq!(desk.callers.reads_waiting(), 1);
    desk.applied(3, &[1]);
    assert_eq!(desk.told(), ["second: served"]);
}

#[test]
fn a_read_whose_index_is_not_heard_to_be_committed_is_given_up_in_time() {
    let mut desk = Desk::default();
    desk.reads("committed", 1, 4, second(1));
    desk.reads("first", 2, 5, second(3));
    desk.reads("second", 3, 5, second(5));
    desk.reads("other", 4, 6, second(4));
    // Up to 4 it waits for this node's own state machine alone.
    assert_eq!(desk.callers.unheard_until(4), Some(second(3)));
    assert_eq!(desk.callers.unheard_until(5), Some(second(4)));
    assert_eq!(desk.callers.unheard_until(6), None);
    desk.callers.give_up_unheard(4, second(2));
    assert_eq!(desk.told(), NOBODY);
    desk.callers.give_up_unheard(4, second(3));
    assert_eq!(desk.told(), ["first: NoLeader"]);
    desk.callers.give_up_unheard(4, second(4));
    assert_eq!(desk.told(), ["other: NoLeader"]);
    assert_eq!(desk.callers.unheard_until(4), Some(second(5)));
    desk.callers.give_up_unheard(4, second(9));
    assert_eq!(desk.told(), ["second: NoLeader"]);
    assert_eq!(desk.callers.unheard_until(4), None);
    desk.applied(4, &[1]);
    assert_eq!(desk.told(), ["committed: served"]);
}

/// Time runs from the moment at which the lead was lost or something was last committed, not from the last look.
#[test]
fn proposals_are_given_up_some_time_after_the_last_that_was_committed() {
    let mut desk = Desk::default();
    let callers = &mut desk.callers;
    callers.look_after(true, 4, second(1));
    assert_eq!(callers.abandon_at(), None, "nobody waits");
    desk.proposes("a", (5, 1));
    desk.proposes("b", (6, 1));
    let callers = &mut desk.callers;
    callers.look_after(true, 4, second(2));
    assert_eq!(callers.abandon_at(), Some(second(2)));
    callers.look_after(true, 4, second(3));
    assert_eq!(callers.abandon_at(), Some(second(2)), "nothing new");
    callers.look_after(true, 5, second(4));
    assert_eq!(callers.abandon_at(), Some(second(4)), "one is committed");
    callers.look_after(false, 5, second(5));
    assert_eq!(callers.abandon_at(), Some(second(4)), "the lead is lost");
    callers.abandon(5, second(3));
    assert_eq!(desk.told(), NOBODY, "it is not time yet");
    desk.callers.abandon(5, second(4));
    assert_eq!(desk.told(), ["b: Unknown"]);
    assert_eq!(desk.callers.abandon_at(), None);
    desk.applied(5, &[1]);
    assert_eq!(desk.told(), ["a: ran 5 of 1"]);
}

/// Another leader commits what others proposed: that is no sign that it has what was proposed here.
#[test]
fn what_a_follower_commits_gives_no_more_time() {
    let mut desk = Desk::default();
    desk.proposes("a", (9, 1));
    let callers = &mut desk.callers;
    callers.look_after(false, 4, second(1));
    callers.look_after(false, 5, second(2));
    assert_eq!(callers.abandon_at(), Some(second(1)));
    // What is committed waits for this node's own state machine.
    callers.look_after(false, 9, second(3));
    assert_eq!(callers.abandon_at(), None);
}

/// A commit that was seen while another led is not news to this one.
#[test]
fn a_commit_counts_once() {
    let mut desk = Desk::default();
    desk.proposes("a", (9, 1));
    let callers = &mut desk.callers;
    callers.look_after(false, 5, second(1));
    callers.look_after(true, 5, second(2));
    assert_eq!(callers.abandon_at(), Some(second(1)));
}

#[test]
fn a_snapshot_is_told_when_the_disk_has_it() {
    let mut desk = Desk::default();
    desk.snapshot("first", Some(3));
    desk.snapshot("second", Some(5));
    assert!(!desk.callers.want_a_snapshot());
    desk.callers.durable(WriteId(2));
    assert_eq!(desk.told(), NOBODY);
    desk.callers.durable(WriteId(3));
    assert_eq!(desk.told(), ["first: up to 4"]);
    desk.callers.durable(WriteId(9));
    assert_eq!(desk.told(), ["second: up to 4"]);
}

/// Whoever wants a snapshot while one is taken gets that one, and nobody takes the place of another.
#[test]
fn all_who_want_a_snapshot_hear_of_the_same_one() {
    let mut desk = Desk::default();
    desk.snapshot("first", None);
    desk.snapshot("second", None);
    desk.snapshot("third", Some(3));
    desk.callers.durable(WriteId(3));
    let told = ["first: up to 4", "second: up to 4", "third: up to 4"];
    assert_eq!(desk.told(), told);
}

#[test]
fn all_who_wait_are_counted_and_hear_that_the_node_stops() {
    let mut desk = Desk::default();
    desk.proposes("proposal", (2, 1));
    desk.reads("read", 1, 2, second(9));
    let asks = desk.who("asks", |what: Served| format!("{:?}", what.is_err()));
    desk.callers.reads(ReadId(2), asks);
    desk.snapshot("taken", Some(3));
    desk.snapshot("wanted", None);
    assert!(desk.callers.want_a_snapshot());
    assert_eq!(desk.callers.len(), 5);
    desk.callers.stop(&Stopped::Shutdown);
    assert_eq!(
        desk.told(),
        [
            "proposal: Stopped(Shutdown)",
            "asks: true",
            "read: Stopped(Shutdown)",
            "taken: Shutdown",
            "wanted: Shutdown"
        ]
    );
    assert_eq!(desk.callers.len(), 0);
    let late = desk.proposer("late");
    desk.callers.comes_too_late(late, &Stopped::Shutdown);
    assert_eq!(desk.told(), ["late: Stopped(Shutdown)"]);
}

/// Who made several proposals sleeps until the first of them is decided, and then finds the others decided too.
#[test]
fn cells_are_filled_from_the_last_and_calls_are_made_first_in_order() {
    let mut desk = Desk::default();
    let outside = Outside::claim("test");
    let filled = desk.told.clone();
    let (who, awaited) = Tell::promise();
    desk.callers.proposes(at(1, 1), who);
    desk.proposes("called", (2, 1));
    desk.proposes("called too", (3, 1));
    desk.applied(1, &[1, 1, 1]);
    let told = desk.callers.take_told();
    let calls: Vec<bool> = told.iter().map(Told::is_call).collect();
    assert_eq!(calls, [false, true, true]);
    Told::tell_all(told, &outside);
    assert_eq!(
        *filled.lock().unwrap(),
        ["called: ran 2 of 1", "called too: ran 3 of 1"]
    );
    let reply = awaited.wait(&outside).unwrap().unwrap();
    assert_eq!(reply, Reply::Command(Bytes::from("ran 1 of 1")));
    assert!(!Told::Nothing(Box::new(())).is_call());
}
