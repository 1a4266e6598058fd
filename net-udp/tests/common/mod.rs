//! One of everything that can be on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use biglock::rules::{
    Answer, Appended, BadChange, Beat, Body, Change, Chunk, Conflict, Refusal, SnapshotHead,
};
use biglock::{
    Entries, Entry, Members, Message, NodeId, Payload, Position, SessionReply, SessionRequest,
    Term, Time,
};
use biglock_udp::Report;
use biglock_udp::codec::{Ask, ClientReply, ClientRequest, Listed, Outcome, Refused};
use serde_json::{Value, json};

pub const CLUSTER: u64 = 0xC1;

/// A message of node 1 to node 2 in term 3.
fn message(body: Body) -> Message {
    Message {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        body,
    }
}

pub const LAST: Position = Position {
    term: Term(4),
    index: 5,
};

pub const BEAT: Beat = Beat {
    round: 9,
    sent: Time::from_nanos(10),
};

/// Two members, one of which has an address.
pub fn members() -> Members {
    let change = Change::AddLearner {
        id: NodeId(7),
        address: "10.0.0.7:4000".into(),
    };
    Members::voting([NodeId(1)]).with(&change).unwrap()
}

/// An entry of every kind.
pub fn entries() -> Entries {
    let session = |request| Payload::Session(Box::new(request));
    let payloads = [
        Payload::Noop,
        Payload::Command(b"command".as_slice().into()),
        session(SessionRequest::Open {
            patience: Duration::new(1, 2),
        }),
        session(call()),
        session(SessionRequest::Close { session: 3 }),
        Payload::Members(members()),
    ];
    let entry = |payload| Entry {
        term: Term(4),
        time: Time::from_nanos(11),
        payload,
    };
    payloads.map(entry).into_iter().collect()
}

fn call() -> SessionRequest {
    SessionRequest::Call {
        session: 3,
        sequence: 4,
        seen: 4,
        command: b"call".as_slice().into(),
    }
}

/// A message of every kind, and every answer.
pub fn messages() -> Vec<Message> {
    let (last, beat) = (LAST, BEAT);
    let refused = Answer::Refused;
    let append = |entries| Body::AppendEntries {
        prev: last,
        entries,
        commit: 7,
        beat,
    };
    let head = SnapshotHead {
        last,
        time: Time::from_nanos(11),
        members: members(),
        length: 100,
    };
    let install = |head, offset| Body::InstallSnapshot {
        chunk: Chunk {
            last,
            head,
            offset,
            bytes: b"piece".as_slice().into(),
        },
        beat,
    };
    let mut bodies = vec![
        Body::PreVote { attempt: 6, last },
        Body::PreVoteReply {
            attempt: 6,
            answer: refused(Refusal::LeaderAlive),
        },
        Body::RequestVote {
            last,
            handed_over: true,
        },
        Body::VoteReply {
            answer: Answer::Granted,
        },
        append(Entries::default()),
        append(entries()),
        install(Some(head), 0),
        install(None, 5),
        Body::SnapshotReply {
            last,
            received: 10,
            beat,
        },
        Body::TimeoutNow,
        Body::ReadIndex { read: 12 },
        Body::ReadIndexReply {
            read: 12,
            index: Some(13),
        },
        Body::ReadIndexReply {
            read: 12,
            index: None,
        },
    ];
    let conflict = |term| Conflict {
        prev: 5,
        term,
        first: 2,
    };
    bodies.extend(
        [
            Appended::Matched(8),
            Appended::Conflict(conflict(None)),
            Appended::Conflict(conflict(Some(Term(2)))),
            Appended::Stale,
        ]
        .map(|answer| Body::AppendReply { beat, answer }),
    );
    bodies.extend(
        [
            Refusal::StaleTerm,
            Refusal::VotedForAnother,
            Refusal::LogBehind,
        ]
        .map(|why| Body::VoteReply {
            answer: refused(why),
        }),
    );
    bodies.into_iter().map(message).collect()
}

/// Everything that a client can ask.
#[allow(dead_code, reason = "not every test program needs it")]
pub fn asks() -> Vec<ClientRequest> {
    let asks = [
        Ask::Session(SessionRequest::Open {
            patience: Duration::new(1, 2),
        }),
        Ask::Session(call()),
        Ask::Session(SessionRequest::Close { session: 3 }),
        Ask::Read(b"key".as_slice().into()),
        Ask::Members,
        Ask::Change(Change::AddLearner {
            id: NodeId(7),
            address: "10.0.0.7:4000".into(),
        }),
        Ask::Change(Change::Promote(NodeId(7))),
        Ask::Change(Change::Demote(NodeId(7))),
        Ask::Change(Change::Remove(NodeId(7))),
        Ask::Transfer(NodeId(7)),
        Ask::Snapshot,
    ];
    let (client, xid) = (0xC11E, 2);
    asks.map(|ask| ClientRequest { client, xid, ask }).into()
}

/// Everything that can come of it.
#[allow(dead_code, reason = "not every test program needs it")]
pub fn outcomes() -> Vec<ClientReply> {
    let address = Some("10.0.0.7:4000".parse().unwrap());
    let listed = Listed {
        voter: true,
        address,
    };
    let mut outcomes = vec![
        Outcome::Value(b"value".as_slice().into()),
        Outcome::Members {
            members: BTreeMap::from([(NodeId(7), listed)]),
            leader: Some(NodeId(7)),
        },
        Outcome::Changed,
        Outcome::Leads(NodeId(7)),
        Outcome::Snapshot(LAST),
        Outcome::NotLeader { leader: None },
        Outcome::NotLeader {
            leader: Some((NodeId(7), address)),
        },
        Outcome::Busy,
        Outcome::Undecided,
        Outcome::TooLarge { size: 2, limit: 1 },
        Outcome::AnswerTooLarge { size: 3 },
    ];
    outcomes.extend(
        [
            SessionReply::Opened { session: 3 },
            SessionReply::Done(b"reply".as_slice().into()),
            SessionReply::Expired,
            SessionReply::Forgotten,
            SessionReply::Closed,
        ]
        .map(Outcome::Session),
    );
    outcomes.extend(
        [
            Refused::Change(BadChange::Full),
            Refused::CatchingUp { entries: 9 },
            Refused::NotAVoter(NodeId(7)),
            Refused::NoReads,
        ]
        .map(Outcome::Refused),
    );
    let reply = |outcome| ClientReply {
        client: 0xC11E,
        xid: 2,
        outcome,
    };
    outcomes.into_iter().map(reply).collect()
}

/// A report of node 2, which knows no leader for this reason.
#[allow(dead_code, reason = "not every test program needs it")]
pub fn report(no_leader: Value) -> Report {
    let position = json!({ "term": 4, "index": 5 });
    let mut counters = serde_json::to_value(biglock_udp::Counters::default()).unwrap();
    // Each has a number of its own, so that two that change places are seen.
    let mut counters_by_name: Vec<_> = counters.as_object_mut().unwrap().iter_mut().collect();
    counters_by_name.sort_by_key(|(name, _)| name.as_str());
    for (number, (_, count)) in (16..).zip(counters_by_name) {
        *count = json!(number);
    }
    serde_json::from_value(json!({
        "status": {
            "id": 2,
            "members": [1, 2, 3],
            "learners": [4],
            "members_committed": true,
            "term": 3,
            "role": "Candidate",
            "leader": null,
            "no_leader": no_leader,
            "voted_for": 2,
            "durable": true,
            "last": position,
            "commit": 4,
            "applied": 3,
            "snapshot": position,
            "durable_log": 2,
            "transferring_to": null,
        },
        "counters": counters,
        "threads": "election waits for votes\n",
    }))
    .unwrap()
}

/// A report for every reason to know no leader.
#[allow(dead_code, reason = "not every test program needs it")]
pub fn reports() -> Vec<Report> {
    let time = json!({ "secs": 1, "nanos": 2 });
    let votes =
        json!({ "needed": 2, "granted": [2], "refused": { "1": "LogBehind" }, "silent": [3] });
    [
        Value::Null,
        json!({ "Waiting": { "campaigns_in": time } }),
        json!({ "LostQuorum": { "campaigns_in": time } }),
        json!({ "PreVotesMissing": votes }),
        json!("VoteNotDurable"),
        json!("StuckDisk"),
        json!("NotAVoter"),
        json!({ "VotesMissing": votes }),
        json!({ "Stopped": { "why": "it was shut down" } }),
    ]
    .map(report)
    .into()
}
