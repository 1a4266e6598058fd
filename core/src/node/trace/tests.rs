use super::*;
use crate::rules::{At, Beat, Body, Entry, Members, Message, Settings, Stored, Term};
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
    assert_eq!(Record::from(&stands).section, "campaign");

    write(&mut raft);
    let durable = recorder.note("election", "finish a write", &raft, false);
    assert!(durable.now.hard_state_durable);
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
    let many = (0..1000_u32).map(|n| mark(&n.to_be_bytes()).digest);
    let digests: std::collections::BTreeSet<u64> = many.collect();
    assert_eq!(digests.len(), 1000);
    let members = Payload::Members(Members::voting([NodeId(2)]));
    assert_eq!(Mark::of(at(1, 1), &members).voters, Some(vec![NodeId(2)]));
}

#[test]
fn the_term_of_each_entry_is_told_by_where_the_terms_end() {
    let mut seen = Visible::of(&node(), false);
    (seen.before, seen.log) = (at(1, 2), vec![at(2, 3), at(3, 5)]);
    let terms: Vec<_> = (1..=6).map(|index| seen.term_at(index)).collect();
    let term = |term| Some(Term(term));
    assert_eq!(terms, [None, term(1), term(2), term(3), term(3), None]);
    assert_eq!(seen.last(), at(3, 5));
    seen.log.clear();
    assert_eq!(seen.last(), at(1, 2));
}

/// What took the place of other entries is new, however much stood before and behind it.
#[test]
fn a_record_has_what_took_the_place_of_something_else() {
    let entry = |term| Entry {
        term: Term(term),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    let entries = |terms: &[u64]| terms.iter().map(|&term| entry(term)).collect();
    let append = |term, prev, terms: &[u64]| Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(term),
        body: Body::AppendEntries {
            prev,
            entries: entries(terms),
            commit: 0,
            beat: Beat::default(),
        },
    };
    let settings = Settings::new(NodeId(1), Members::voting((1..=3).map(NodeId)));
    let (mut raft, mut recorder) = (
        Raft::new(AT, settings, Stored::default()),
        Recorder::default(),
    );
    assert_eq!(new_entries(&recorder.note("", "", &raft, false)), []);
    raft.receive(AT, append(1, Position::default(), &[1, 1, 1]));
    let first = recorder.note("receiver", "handle a message", &raft, false);
    assert_eq!(new_entries(&first), [at(1, 1), at(1, 2), at(1, 3)]);
    // In the term after, three others follow the first one.
    raft.receive(AT, append(2, at(1, 1), &[2, 2, 2]));
    let second = recorder.note("receiver", "handle a message", &raft, false);
    assert_eq!(new_entries(&second), [at(2, 2), at(2, 3), at(2, 4)]);
    // None of it is left.
    raft.receive(AT, append(3, Position::default(), &[3]));
    let third = recorder.note("receiver", "handle a message", &raft, false);
    assert_eq!(new_entries(&third), [at(3, 1)]);
}

/// A section may change what is not for the disk: that is noted without a look at the log.
#[test]
fn a_record_has_what_changed_beside_the_disk() {
    let settings = Settings::new(NodeId(1), Members::voting((1..=3).map(NodeId)));
    let (mut raft, mut recorder) = (
        Raft::new(AT, settings, Stored::default()),
        Recorder::default(),
    );
    recorder.note("", "", &raft, false);
    // A pre-vote: it changes the role alone.
    let _ballot = raft.campaign(AT);
    let asks = recorder.note("election", "campaign", &raft, false);
    assert_eq!(asks.now.role, RoleKind::PreCandidate);
    assert_eq!(asks.now, Visible::of(&raft, false));
    let stopped = recorder.note("caller", "stop", &raft, true);
    assert!(stopped.now.stopped && !asks.now.stopped);
}
