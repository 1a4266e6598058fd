//! 5.2, leader election, sentence by sentence.

use biglock::rules::{Answer, Body, Refusal, RoleKind, Verdict, majority};
use biglock::{Message, Term, Time};

use crate::common::{
    Cluster, HEARTBEAT, MAX, MIN, Server, granted, grants, heartbeat, message, request_vote,
    settings, stale,
};

/// "When servers start up, they begin as followers."
#[test]
fn servers_start_as_followers() {
    let mut cluster = Cluster::of(3);
    assert!(
        cluster
            .ids()
            .iter()
            .all(|&id| cluster.role(id) == RoleKind::Follower)
    );
    cluster.elect(2);
    cluster.restart(2);
    assert_eq!(
        cluster.role(2),
        RoleKind::Follower,
        "whatever it was before"
    );
    assert_eq!((cluster.term(2), cluster.vote(2)), (1, Some(2)));
}

/// "A server remains in follower state as long as it receives valid RPCs from a leader or candidate."
#[test]
fn a_follower_stays_one_while_it_hears_from_a_leader() {
    let mut cluster = Cluster::of(3);
    for _ in 0..50 {
        cluster.pass(MIN / 2);
        assert!(cluster.now < cluster.deadline(1), "no reason to campaign");
        cluster.tell(1, 2, 1, heartbeat());
    }
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 1));
}

/// "... or candidate": a vote that is given counts like a heartbeat.
#[test]
fn a_follower_stays_one_while_it_gives_votes() {
    let mut cluster = Cluster::of(3);
    for term in 1..50 {
        cluster.pass(MIN / 2);
        assert!(cluster.now < cluster.deadline(1), "no reason to campaign");
        cluster.tell(1, 2, term, request_vote());
    }
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 49));
}

/// "Leaders send periodic heartbeats (AppendEntries RPCs that carry no log entries) to all followers in order to maintain their authority."
#[test]
fn leaders_send_periodic_heartbeats_to_all() {
    for n in 1..=9 {
        let mut cluster = Cluster::of(n);
        cluster.elect(1);
        for _ in 0..3 {
            let before = cluster.now;
            cluster.heartbeat(1);
            assert_eq!(cluster.now, before + HEARTBEAT, "the period");
            let to: Vec<u64> = cluster.wire.iter().map(|m| m.to.0).collect();
            assert_eq!(to, (2..=n).collect::<Vec<_>>());
            assert!(
                cluster
                    .wire
                    .iter()
                    .all(|m| matches!(m.body, Body::AppendEntries { .. }))
            );
            cluster.deliver_all();
        }
    }
}

/// "If a follower receives no communication over a period of time called the election timeout, then it assumes there is no viable leader
/// and begins an election to choose a new leader."
#[test]
fn a_follower_that_hears_nothing_begins_an_election() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    let heard = cluster.now;
    cluster.run(HEARTBEAT / 4, heard + MAX * 2, &[1]);
    let next = cluster.leaders().into_iter().find(|&id| id != 1);
    assert!(next.is_some(), "the others chose a new one");
    assert!(cluster.term(next.unwrap()) >= 2);
}

/// "To begin an election, a follower increments its current term and transitions to candidate state."
#[test]
fn to_begin_an_election_the_term_is_incremented() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 41, heartbeat());
    cluster.time_out(1);
    assert_eq!(
        (cluster.term(1), cluster.role(1)),
        (42, RoleKind::Candidate)
    );
}

/// "It then votes for itself and issues RequestVote RPCs in parallel to each of the other servers in the cluster."
#[test]
fn a_candidate_votes_for_itself_and_asks_all_others() {
    for n in 2..=9 {
        let mut cluster = Cluster::of(n);
        cluster.time_out(n);
        assert_eq!(cluster.vote(n), Some(n));
        let to: Vec<u64> = cluster.wire.iter().map(|m| m.to.0).collect();
        assert_eq!(to, (1..n).collect::<Vec<_>>());
        assert!(
            cluster
                .wire
                .iter()
                .all(|m| m.body == request_vote() && m.term == Term(1))
        );
    }
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same term."
#[test]
fn a_candidate_wins_by_a_majority_of_the_full_cluster() {
    for n in 1..=9 {
        let mut cluster = Cluster::of(n);
        let needed = majority(cluster.ids().len()) as u64;
        assert!(
            needed * 2 > n && (needed - 1) * 2 <= n,
            "{needed} of {n} is a majority"
        );
        cluster.time_out(1);
        for voter in 2..=needed {
            assert_eq!(
                cluster.role(1),
                RoleKind::Candidate,
                "{} of {n} votes",
                voter - 1
            );
            cluster.tell(1, voter, 1, granted());
        }
        assert_eq!(cluster.role(1), RoleKind::Leader, "{needed} of {n} votes");
    }
}

/// "Votes from a majority": the network may repeat one, which makes it no second vote.
#[test]
fn a_repeated_vote_counts_once() {
    let mut cluster = Cluster::of(5);
    cluster.time_out(1);
    for _ in 0..5 {
        cluster.tell(1, 2, 1, granted());
    }
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.tell(1, 3, 1, granted());
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
#[test]
fn one_vote_in_a_term_first_come_first_served() {
    let mut cluster = Cluster::of(3);
    let first = cluster.tell(1, 2, 1, request_vote());
    let second = cluster.tell(1, 3, 1, request_vote());
    let why = Answer::Refused(Refusal::VotedForAnother);
    assert!(grants(&first[0].body));
    assert_eq!(second[0].body, Body::VoteReply { answer: why });
    assert_eq!(cluster.vote(1), Some(2));
}

/// The same across a crash: the vote is durable before it is said.
#[test]
fn one_vote_in_a_term_across_a_crash() {
    let mut cluster = Cluster::of(3);
    assert!(grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    cluster.restart(1);
    assert!(!grants(&cluster.tell(1, 3, 1, request_vote())[0].body));
    assert!(
        grants(&cluster.tell(1, 2, 1, request_vote())[0].body),
        "the same answer again"
    );
}

/// A candidate gave its vote to itself.
#[test]
fn a_candidate_refuses_its_rival() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    assert!(!grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    cluster.restart(1);
    assert!(
        !grants(&cluster.tell(1, 2, 1, request_vote())[0].body),
        "not after a crash either"
    );
}

/// "The majority rule ensures that at most one candidate can win the election for a particular term": any two majorities share a server.
#[test]
fn any_two_majorities_share_a_server() {
    for n in 1..=9_usize {
        assert!(2 * majority(n) > n);
        assert!(
            n - majority(n) < majority(n),
            "and no more than needed: {n}"
        );
    }
}

/// "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all of the other servers to establish its
/// authority and prevent new elections."
#[test]
fn a_new_leader_sends_heartbeats_at_once() {
    let mut cluster = Cluster::of(5);
    cluster.time_out(1);
    cluster.wire.clear();
    cluster.tell(1, 2, 1, granted());
    cluster.tell(1, 3, 1, granted());
    assert_eq!(cluster.wire.len(), 4);
    let calls = |m: &Message| matches!(m.body, Body::AppendEntries { .. });
    assert!(cluster.wire.iter().all(calls));
    let won = cluster.now;
    cluster.deliver_all();
    for id in 2..=5 {
        assert_eq!(cluster.leader(id), Some(1));
        assert!(
            cluster.deadline(id) >= won + MIN,
            "the new election is prevented"
        );
    }
}

/// "If the leader's term (included in its RPC) is at least as large as the candidate's current term, then the candidate recognizes the
/// leader as legitimate and returns to follower state."
#[test]
fn a_candidate_recognizes_a_leader_of_its_term_or_a_later() {
    for pre_vote in [false, true] {
        for term in [1, 2, 9] {
            let mut cluster = Cluster::with(3, |settings| settings.pre_vote = pre_vote);
            cluster.tell(1, 2, u64::from(pre_vote), heartbeat());
            cluster.time_out(1);
            assert_ne!(cluster.role(1), RoleKind::Follower);
            cluster.tell(1, 2, term, heartbeat());
            assert_eq!(
                (cluster.role(1), cluster.leader(1)),
                (RoleKind::Follower, Some(2))
            );
            assert_eq!(cluster.term(1), term);
            // What comes in for the campaign that is over elects nobody.
            cluster.tell(1, 3, term, granted());
            cluster.look_again(1);
            assert_eq!(cluster.role(1), RoleKind::Follower);
        }
    }
}

/// "If the term in the RPC is smaller than the candidate's current term, then the candidate rejects the RPC and continues in candidate
/// state."
#[test]
fn a_candidate_rejects_a_leader_of_an_earlier_term() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.time_out(1);
    let reply = cluster.tell(1, 2, 1, heartbeat());
    assert_eq!(reply[0].body, stale());
    assert_eq!(
        reply[0].term,
        Term(2),
        "by which the old leader learns of it"
    );
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 2));
}

/// "If many followers become candidates at the same time, votes could be split so that no candidate obtains a majority. When this happens,
/// each candidate will time out and start a new election by incrementing its term and initiating another round of RequestVote RPCs."
#[test]
fn after_a_split_vote_each_candidate_times_out_and_starts_again() {
    for n in 2..=9 {
        let mut cluster = Cluster::of(n);
        (1..=n).for_each(|id| cluster.time_out(id));
        cluster.deliver_all();
        assert_eq!(cluster.leaders(), [0; 0], "all voted for themselves");
        for id in 1..=n {
            cluster.time_out(id);
            assert_eq!(
                (cluster.role(id), cluster.term(id)),
                (RoleKind::Candidate, 2)
            );
            assert_eq!(
                cluster.wire.iter().filter(|m| m.from.0 == id).count() as u64,
                n - 1
            );
        }
    }
}

/// "Election timeouts are chosen randomly from a fixed interval."
#[test]
fn election_timeouts_are_drawn_from_the_whole_interval() {
    let mut cluster = Cluster::of(3);
    let mut drawn = Vec::new();
    for term in 1..=1000 {
        cluster.tell(1, 2, term, heartbeat());
        drawn.push(cluster.deadline(1).since(cluster.now));
    }
    assert!(drawn.iter().all(|timeout| (MIN..=MAX).contains(timeout)));
    let tenth = (MAX - MIN) / 10;
    for part in 0..10 {
        let (from, to) = (MIN + tenth * part, MIN + tenth * (part + 1));
        let hits = drawn
            .iter()
            .filter(|&&timeout| from <= timeout && timeout < to)
            .count();
        assert!(
            (50..200).contains(&hits),
            "{hits} of 1000 between {from:?} and {to:?}"
        );
    }
}

/// "Each candidate restarts its randomized election timeout at the start of an election, and it waits for that timeout to elapse before
/// starting the next election."
#[test]
fn a_candidate_restarts_its_timeout_and_waits_for_it() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    let (began, next) = (cluster.now, cluster.deadline(1));
    assert!(next >= began + MIN && next <= began + MAX);
    // Asking again and refusals do not move it.
    cluster.tell(
        1,
        2,
        1,
        Body::VoteReply {
            answer: Answer::Refused(Refusal::VotedForAnother),
        },
    );
    cluster.pass(HEARTBEAT);
    cluster.look_again(1);
    assert_eq!(cluster.deadline(1), next);
    cluster.run(
        HEARTBEAT * 100,
        Time::from_nanos(next.as_nanos() - 1),
        &[2, 3],
    );
    assert_eq!(cluster.term(1), 1, "it waits");
    cluster.run(HEARTBEAT * 100, next, &[2, 3]);
    assert_eq!(cluster.term(1), 2, "and then starts the next");
}

/// "[Randomized timeouts] spread out the servers so that in most cases only a single server will time out; it wins the election and sends
/// heartbeats before any other servers time out."
#[test]
fn in_most_cases_a_single_server_times_out_and_wins() {
    let mut single = 0;
    for round in 0..100 {
        let mut cluster = Cluster::of(5);
        cluster.pass(HEARTBEAT * round);
        (1..=5).for_each(|id| {
            (0..round).for_each(|_| drop(cluster.tell(id, id % 5 + 1, 1, heartbeat())))
        });
        let term = cluster.term(1);
        let end = cluster.now + MAX * 2;
        cluster.run(HEARTBEAT / 40, end, &[]);
        single += u32::from(cluster.leaders().len() == 1 && cluster.term(1) == term + 1);
    }
    assert!(single >= 80, "in {single} of 100 elections");
}

/// "(a) it wins the election, (b) another server establishes itself as leader, or (c) a period of time goes by with no winner": once one of them has happened, the
/// campaign's ballot is void, and spending it does nothing.
#[test]
fn a_campaign_that_is_over_has_a_void_ballot() {
    for pre_vote in [false, true] {
        for over_by in [heartbeat(), request_vote()] {
            for later in [0, 1] {
                let mut settings = settings(1, 3);
                settings.pre_vote = pre_vote;
                let mut server = Server::new(settings, Time::ZERO, Default::default());
                server.campaign(Time::ZERO);
                server.sync();
                let term = server.raft.term().0 + later;
                server.receive(Time::ZERO, message(2, 1, term, over_by.clone()));
                server.sync();
                let goes_on = !pre_vote && later == 0 && over_by == request_vote();
                let ballot = server.ballot.take().unwrap();
                let verdict = server.raft.verdict(&ballot, Time::ZERO);
                assert_eq!(verdict, (!goes_on).then_some(Verdict::Superseded));
                let (at, before) = (server.at(Time::ZERO), server.raft.clone());
                let next = server.raft.count_votes(at, ballot);
                assert_eq!((next.is_some(), &server.raft), (goes_on, &before));
            }
        }
    }
}
