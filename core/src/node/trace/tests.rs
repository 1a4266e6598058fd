use super::*;
use crate::rules::{At, Entry, Members, Settings, Stored, Term};
use crate::time::Time;

fn at(term: u64, index: u64) -> Position {
    let term = Term(term);
    Position { term, index }
}

/// A node that is alone in its cluster, with entries of two terms.
fn node() -> Raft {
    let entry = |term| Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    let hard_state = HardState {
        term: Term(2),
        voted_for: None,
    };
    let stored = Stored::new(hard_state).with_entries(vec![entry(1), entry(1), entry(2)]);
    let mut settings = Settings::new(NodeId(1), Members::voting([NodeId(1)]));
    settings.pre_vote = false;
    settings.keep_entries = 0;
    Raft::new(AT, settings, stored)
}

const AT: At = At {
    now: Time::ZERO,
    random: 0,
};

fn write(raft: &mut Raft) {
    let write = raft.take_write().expect("there is something to write");
    raft.written(write.id);
}

fn new_entries(note: &Note) -> Vec<Position> {
    note.marks().iter().map(|mark| mark.at).collect()
}

#[test]
fn a_record_has_what_is_new_and_no_more() {
    let (mut raft, mut recorder) = (node(), Recorder::default());
    let start = recorder.note("election", "campaign", &raft, false);
    assert_eq!(Record::from(&start).section, START);
    assert_eq!(start.now.log, [at(1, 2), at(2, 3)]);
    assert_eq!(new_entries(&start), [at(1, 1), at(1, 2), at(2, 3)]);

    let ballot = raft.campaign(AT);
    let stands = recorder.note("election", "campaign", &raft, false);
    assert!(!stands.now.hard_state_durable);
    assert_eq!(new_entries(&stands), []);

    write(&mut raft);
    assert!(raft.count_votes(AT, ballot).is_none());
    let leads = recorder.note("election", "count the votes", &raft, false);
    assert_eq!(
        (leads.now.role, leads.now.log_durable),
        (RoleKind::Leader, 3)
    );
    assert_eq!(new_entries(&leads), [at(3, 4)], "the no-op of its term");

    write(&mut raft);
    let commits = recorder.note("disk", "finish a write", &raft, false);
    assert_eq!((commits.now.commit, commits.now.log_durable), (4, 4));
    assert_eq!(new_entries(&commits), []);
    assert_eq!(
        commits.now,
        Visible::of(&raft, false),
        "the short way and the long one"
    );

    raft.set_applied(4);
    let (last, time, members) = raft.snapshot_head(2).expect("it is applied");
    let data = bytes::Bytes::new();
    raft.compact(crate::rules::Snapshot {
        last,
        time,
        members,
        data,
    });
    let compacts = recorder.note("apply", "finish applying", &raft, true);
    assert_eq!(compacts.now.before, at(1, 2));
    assert_eq!(compacts.now.log, [at(2, 3), at(3, 4)]);
    assert!(compacts.now.stopped);
    assert_eq!(new_entries(&compacts), []);
}

#[test]
fn payloads_are_told_apart() {
    let mark = |payload: &[u8]| {
        let payload = Payload::Command(bytes::Bytes::copy_from_slice(payload));
        Mark::of(at(1, 1), &payload)
    };
    assert_eq!(mark(b"a"), mark(b"a"));
    assert_ne!(mark(b"a").digest, mark(b"b").digest);
    let members = Payload::Members(Members::voting([NodeId(2)]));
    assert_eq!(Mark::of(at(1, 1), &members).voters, Some(vec![NodeId(2)]));
}
