//! One of everything that can be on the wire.

use biglock::rules::{Answer, Body, Position, Refusal};
use biglock::{Message, NodeId, Term};
use biglock_udp::Report;
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

/// A message of every kind, and every answer.
pub fn messages() -> Vec<Message> {
    let last = Position {
        term: Term(4),
        index: 5,
    };
    let refused = Answer::Refused;
    let mut bodies = vec![
        Body::PreVote { attempt: 6, last },
        Body::PreVoteReply {
            attempt: 6,
            answer: refused(Refusal::LeaderAlive),
        },
        Body::RequestVote { last },
        Body::VoteReply {
            answer: Answer::Granted,
        },
        Body::AppendEntries {
            prev: last,
            commit: 7,
        },
        Body::AppendReply { matched: None },
        Body::AppendReply { matched: Some(8) },
    ];
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
            "term": 3,
            "role": "Candidate",
            "leader": null,
            "no_leader": no_leader,
            "voted_for": 2,
            "durable": true,
            "last": position,
            "commit": 4,
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
        json!({ "VotesMissing": votes }),
        json!({ "Stopped": { "why": "it was shut down" } }),
    ]
    .map(report)
    .into()
}
