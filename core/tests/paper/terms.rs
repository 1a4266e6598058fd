//! 5.1, Raft basics: terms, states, and how servers talk.

use biglock::Time;
use biglock::rules::{Answer, Body, Refusal, RoleKind};

use crate::common::{
    Cluster, HEARTBEAT, MIN, granted, grants, heartbeat, matched, message, pre_vote, request_vote,
    stale,
};

/// One message of each kind.
fn every_body() -> Vec<Body> {
    let answer = Answer::Refused(Refusal::StaleTerm);
    vec![
        pre_vote(1),
        Body::PreVoteReply { attempt: 1, answer },
        request_vote(),
        Body::VoteReply { answer },
        heartbeat(),
        matched(0),
    ]
}

/// "Followers are passive: they issue no requests on their own but simply respond to requests from leaders and candidates."
#[test]
fn followers_are_passive() {
    let mut cluster = Cluster::of(3);
    cluster.run(HEARTBEAT, Time::ZERO + MIN / 2, &[]);
    assert!(cluster.said.is_empty(), "nobody spoke unasked");
    for (to, body) in [(1, heartbeat()), (2, request_vote()), (3, pre_vote(9))] {
        let replies = cluster.tell(to, to % 3 + 1, 1, body);
        assert_eq!(replies.len(), 1, "one answer to one request: {replies:?}");
    }
}

/// "Terms are numbered with consecutive integers. Each term begins with an election."
#[test]
fn terms_are_consecutive_and_each_begins_with_an_election() {
    let mut cluster = Cluster::of(3);
    for term in 1..=5 {
        cluster.time_out(1);
        assert_eq!(
            (cluster.term(1), cluster.role(1)),
            (term, RoleKind::Candidate)
        );
        cluster.wire.clear();
    }
}

/// "In some situations an election will result in a split vote. In this case the term will end with no leader; a new term (with a new
/// election) will begin shortly."
#[test]
fn a_split_vote_ends_the_term_without_a_leader() {
    for n in [2, 4, 6, 8] {
        let mut cluster = Cluster::of(n);
        let half = n / 2;
        cluster.time_out(1);
        cluster.time_out(n);
        // Each gets the votes of its own half.
        cluster.lose(|m| (m.from.0 == 1) == (m.to.0 > half));
        cluster.deliver_all();
        assert_eq!(cluster.leaders(), [0; 0], "{n} servers, {half} votes each");
        assert!((1..=n).all(|id| cluster.term(id) == 1));

        cluster.time_out(1);
        cluster.deliver_all();
        assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 2));
    }
}

/// "Raft ensures that there is at most one leader in a given term." Two candidates of one term, and every way in which
/// the voters between them can decide.
#[test]
fn at_most_one_leader_in_a_term() {
    for n in 2..=9_u64 {
        for ways in 0..1_u64 << (n - 2) {
            let mut cluster = Cluster::of(n);
            cluster.time_out(1);
            cluster.time_out(n);
            // Voter `id` hears the first candidate first, or the last.
            for id in 2..n {
                let first = if ways >> (id - 2) & 1 == 0 { 1 } else { n };
                cluster.deliver(first, id);
            }
            cluster.deliver_all();
            assert!(cluster.leaders().len() <= 1, "{n} servers, way {ways:b}");
        }
    }
}

/// "Each server stores a current term number, which increases monotonically over time."
#[test]
fn the_current_term_never_goes_back() {
    for body in every_body() {
        let mut cluster = Cluster::of(3);
        cluster.tell(1, 2, 7, heartbeat());
        cluster.tell(1, 3, 6, body);
        assert_eq!(cluster.term(1), 7);
        cluster.restart(1);
        assert_eq!(cluster.term(1), 7);
    }
}

/// "Current terms are exchanged whenever servers communicate."
#[test]
fn every_message_carries_its_senders_current_term() {
    let mut cluster = Cluster::with(5, |settings| settings.pre_vote = true);
    for id in [1, 4, 2] {
        cluster.time_out(id);
        while let Some(message) = cluster.wire.first().cloned() {
            let (from, to) = (message.from.0, message.to.0);
            let spoken = cluster.said.len();
            cluster.deliver(from, to);
            for new in &cluster.said[spoken..] {
                assert_eq!(new.term.0, cluster.term(new.from.0), "{new}");
            }
        }
    }
    assert_eq!(cluster.leaders(), [2]);
}

/// "If one server's current term is smaller than the other's, then it updates its current term to the larger value."
#[test]
fn a_smaller_term_is_updated_to_the_larger() {
    for body in every_body() {
        let mut cluster = Cluster::of(3);
        cluster.tell(1, 2, 5, body.clone());
        assert_eq!(cluster.term(1), 5, "{}", body.name());
    }
}

/// "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
#[test]
fn a_candidate_or_leader_whose_term_is_out_of_date_reverts_to_follower() {
    for body in every_body() {
        let mut cluster = Cluster::with(3, |settings| settings.pre_vote = true);
        cluster.time_out(1);
        assert_eq!(cluster.role(1), RoleKind::PreCandidate);
        cluster.tell(1, 2, 5, body.clone());
        assert_eq!(
            cluster.role(1),
            RoleKind::Follower,
            "pre-candidate, {}",
            body.name()
        );

        let mut cluster = Cluster::of(3);
        cluster.time_out(1);
        assert_eq!(cluster.role(1), RoleKind::Candidate);
        cluster.tell(1, 2, 5, body.clone());
        assert_eq!(
            cluster.role(1),
            RoleKind::Follower,
            "candidate, {}",
            body.name()
        );

        cluster.elect(1);
        cluster.tell(1, 2, 9, body.clone());
        assert_eq!(
            cluster.role(1),
            RoleKind::Follower,
            "leader, {}",
            body.name()
        );
        assert_ne!(
            cluster.leader(1),
            Some(1),
            "a deposed leader does not name itself"
        );
    }
}

/// "If a server receives a request with a stale term number, it rejects the request."
#[test]
fn a_request_with_a_stale_term_is_rejected() {
    let refused = Answer::Refused(Refusal::StaleTerm);
    let rejections = [
        (
            pre_vote(3),
            Body::PreVoteReply {
                attempt: 3,
                answer: refused,
            },
        ),
        (request_vote(), Body::VoteReply { answer: refused }),
        (heartbeat(), stale()),
    ];
    for (request, rejection) in rejections {
        let mut cluster = Cluster::of(3);
        cluster.tell(1, 2, 7, heartbeat());
        let before = cluster.raft(1).clone();
        let replies = cluster.tell(1, 3, 6, request);
        assert_eq!(replies.len(), 1);
        assert_eq!((&replies[0].body, replies[0].term.0), (&rejection, 7));
        assert_eq!(cluster.raft(1), &before, "a stale request changes nothing");
    }
}

/// A stale *reply* answers a question that nobody asks any more (5.1: "terms act as a logical clock, they allow servers to detect obsolete
/// information").
#[test]
fn an_obsolete_reply_is_not_counted() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.wire.clear();
    cluster.time_out(1);
    cluster.tell(1, 2, 1, granted());
    cluster.tell(1, 3, 1, granted());
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 2));
    cluster.tell(1, 2, 2, granted());
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

/// "Servers retry RPCs if they do not receive a response in a timely manner, and they issue RPCs in parallel for best performance."
#[test]
fn requests_are_sent_at_once_to_all_and_retried_to_the_silent() {
    for pre_vote in [false, true] {
        let mut cluster = Cluster::with(5, |settings| settings.pre_vote = pre_vote);
        cluster.time_out(1);
        let asked = |cluster: &Cluster| cluster.wire.iter().map(|m| m.to.0).collect::<Vec<_>>();
        assert_eq!(asked(&cluster), [2, 3, 4, 5]);
        cluster.deliver(1, 3);
        cluster.deliver(3, 1);
        cluster.wire.clear();

        cluster.pass(HEARTBEAT);
        cluster.look_again(1);
        assert_eq!(asked(&cluster), [2, 4, 5], "3 has answered");
        cluster.deliver_all();
        assert_eq!(cluster.role(1), RoleKind::Leader);
    }
}

/// A message for another, or from itself, is none of a server's business.
#[test]
fn messages_for_others_are_ignored() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    let before = cluster.raft(1).clone();
    for body in every_body() {
        assert!(cluster.tell(1, 1, 9, body.clone()).is_empty());
        let astray = message(2, 3, 9, body);
        cluster.with_raft(1, |raft, at| raft.receive(at, astray));
    }
    assert_eq!(cluster.raft(1), &before);
}

/// Section 6: "servers process incoming RPC requests without consulting their current configurations"; but what a stranger grants or
/// has does not count.
#[test]
fn requests_of_strangers_are_answered_and_their_answers_do_not_count() {
    let mut cluster = Cluster::of(3);
    assert!(grants(&cluster.tell(1, 9, 1, request_vote())[0].body));
    let reply = cluster.tell(1, 8, 2, heartbeat());
    assert_eq!((&reply[0].body, cluster.leader(1)), (&matched(0), Some(8)));

    cluster.time_out(1);
    for stranger in [7, 8, 9] {
        cluster.tell(1, stranger, 3, granted());
    }
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.tell(1, 2, 3, granted());
    assert_eq!(cluster.role(1), RoleKind::Leader);
    for stranger in [7, 8, 9] {
        cluster.tell(1, stranger, 3, matched(1));
    }
    assert_eq!(cluster.commit(1), 0);
    cluster.tell(1, 3, 3, matched(1));
    assert_eq!(cluster.commit(1), 1);
}
