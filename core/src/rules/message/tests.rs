//! A message in words, as pictures and logs have it.

use super::*;
use crate::{Entry, Payload};

fn said(body: Body) -> String {
    let message = Message {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(3),
        body,
    };
    message.to_string()
}

fn append(index: u64, many: usize) -> Body {
    let entry = Entry {
        term: Term(3),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    let term = Term(3);
    Body::AppendEntries {
        prev: Position { index, term },
        entries: vec![entry; many].into_iter().collect(),
        commit: 0,
        beat: Beat::default(),
    }
}

#[test]
fn a_message_says_what_it_is_to_whom_and_what_matters_most() {
    let beat = Beat::default();
    let prev = 7;
    let (term, first) = (None, 8);
    let reply = |answer| Body::AppendReply { beat, answer };
    for (body, words) in [
        (Body::TimeoutNow, "TimeoutNow of term 3 to node 2"),
        (Body::ReadIndex { read: 5 }, "ReadIndex of term 3 to node 2"),
        (append(4, 0), "AppendEntries of term 3 to node 2"),
        (append(4, 1), "AppendEntries of term 3 to node 2: 5 to 5"),
        (append(4, 3), "AppendEntries of term 3 to node 2: 5 to 7"),
        (
            reply(Appended::Matched(9)),
            "AppendReply of term 3 to node 2: equal up to 9",
        ),
        (
            reply(Appended::Conflict(Conflict { prev, term, first })),
            "AppendReply of term 3 to node 2: conflict at 7",
        ),
        (
            reply(Appended::Stale),
            "AppendReply of term 3 to node 2: the term has passed",
        ),
    ] {
        assert_eq!(said(body), words);
    }
    for (answer, words) in [
        (Answer::Granted, "granted"),
        (
            Answer::Refused(Refusal::StaleTerm),
            "refused, the term has passed",
        ),
        (
            Answer::Refused(Refusal::VotedForAnother),
            "refused, it voted for another",
        ),
        (
            Answer::Refused(Refusal::LogBehind),
            "refused, the candidate's log is behind",
        ),
        (
            Answer::Refused(Refusal::LeaderAlive),
            "refused, it hears from a leader",
        ),
    ] {
        let attempt = 1;
        for (body, name) in [
            (Body::VoteReply { answer }, "VoteReply"),
            (Body::PreVoteReply { attempt, answer }, "PreVoteReply"),
        ] {
            assert_eq!(said(body), format!("{name} of term 3 to node 2: {words}"));
        }
    }
}
