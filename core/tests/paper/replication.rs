//! 5.3, log replication, and what 5.5 says of requests that come twice.

use biglock::Term;
use biglock::rules::{Appended, Body, Conflict, Entry, Payload, Position, RoleKind};

use crate::common::{
    Cluster, HEARTBEAT, MAX, append, append_of, appended, as_append, heartbeat, last, matched,
};

/// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each of the other servers to
/// replicate the entry."
#[test]
fn a_command_is_appended_and_sent_to_all_at_once() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    let position = cluster.propose(1, b"x");
    assert_eq!((position.index, position.term), (2, Term(1)));
    assert_eq!(cluster.log(1), [1, 1]);
    for (message, to) in cluster.wire.iter().zip(2..=5) {
        assert_eq!(message.to.0, to);
        assert_eq!(append_of(message), ((1, 1), vec![1], 1));
    }
    assert_eq!(cluster.wire.len(), 4);
}

/// "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers."
#[test]
fn an_entry_is_committed_once_a_majority_has_it() {
    // Whichever of the followers is the fastest.
    let fastest = (1..=9).flat_map(|n| (2..=n.max(2)).map(move |first| (n, first)));
    for (n, first) in fastest {
        let mut cluster = Cluster::of(n);
        cluster.elect(1);
        let index = cluster.propose(1, b"x").index;
        for (others, id) in (0..).zip((first..=n).chain(2..first)) {
            assert_eq!(
                cluster.commit(1) == index,
                (others + 1) * 2 > n,
                "a majority commits, and nothing less: {} of {n} have it",
                others + 1
            );
            cluster.deliver(1, id);
            cluster.deliver(id, 1);
            cluster.lose(|m| m.from.0 == 1 && as_append(m).is_some_and(|a| a.1.is_empty()));
        }
        assert_eq!(cluster.commit(1), index);
    }
}

/// "This also commits all preceding entries in the leader's log, including entries created by previous leaders."
#[test]
fn all_preceding_entries_are_committed_with_it() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 1, 2]);
    cluster.time_out(1);
    cluster.deliver_all();
    assert_eq!((cluster.log(1), cluster.commit(1)), (vec![1, 1, 2, 3], 4));
}

/// "The leader keeps track of the highest index it knows to be committed, and it includes that index in future AppendEntries RPCs (including
/// heartbeats) so that the other servers eventually find out."
#[test]
fn heartbeats_tell_what_is_committed() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let index = cluster.propose(1, b"x").index;
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.commit(2)), (index, index - 1));
    cluster.heartbeat(1);
    assert!(cluster.wire.iter().all(|m| append_of(m).2 == index));
    cluster.deliver_all();
    assert_eq!((cluster.commit(2), cluster.commit(3)), (index, index));
}

/// "If followers crash or run slowly, or if network packets are lost, the leader retries AppendEntries RPCs indefinitely (even after it has
/// responded to the client) until all followers eventually store all log entries."
#[test]
fn entries_are_sent_until_every_follower_has_them() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    for round in 0..50 {
        cluster.propose(1, b"x");
        cluster.heartbeat(1);
        cluster.deliver_without(&[3]);
        if round == 25 {
            cluster.restart(3);
        }
    }
    assert_eq!(cluster.commit(1), cluster.end(1));
    assert!(cluster.end(3) <= 1);
    cluster.heartbeat(1);
    cluster.deliver_all();
    assert_eq!(cluster.log(3), cluster.log(1));
}

/// The same with a network that loses two of three messages.
#[test]
fn a_lossy_network_stops_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..30 {
        cluster.propose(1, b"x");
    }
    for _ in 0..200 {
        cluster.heartbeat(1);
        while !cluster.wire.is_empty() {
            let message = cluster.wire[random.usize(..cluster.wire.len())].clone();
            cluster.wire.retain(|m| *m != message);
            if random.u32(..3) == 0 {
                cluster.wire.push(message.clone());
                cluster.deliver(message.from.0, message.to.0);
            }
        }
    }
    assert_eq!((cluster.log(2).len(), cluster.log(3).len()), (31, 31));
    assert_eq!(cluster.commit(1), 31);
}

/// "A command ... can complete as soon as a majority of the cluster has responded to a single round of remote procedure calls; a minority of slow
/// servers need not impact overall system performance" (2).
#[test]
fn a_slow_minority_holds_up_nothing() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    cluster.wire.clear();
    for _ in 0..100 {
        let index = cluster.propose(1, b"x").index;
        cluster.deliver_without(&[4, 5]);
        assert_eq!(cluster.commit(1), index);
    }
}

/// "A leader creates at most one entry with a given log index in a given term, and log entries never change their position in the log."
#[test]
fn every_entry_has_a_place_of_its_own() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let places: Vec<u64> = (0..9u8).map(|i| cluster.propose(1, &[i]).index).collect();
    assert_eq!(places, (2..11).collect::<Vec<_>>());
    cluster.deliver_all();
    for id in 1..=3 {
        for (&index, i) in places.iter().zip(0..9u8) {
            let entry = cluster.raft(id).log().get(index).expect("it is there");
            assert_eq!(entry.payload, Payload::Command(vec![i].into()));
        }
    }
}

/// "When sending an AppendEntries RPC, the leader includes the index and term of the entry in its log that immediately precedes the new
/// entries." "When a leader first comes to power, it initializes all nextIndex values to the index just after the last one in its log."
#[test]
fn the_entry_before_the_new_ones_is_named() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 2, 2]);
    cluster.time_out(1);
    cluster.deliver(1, 2);
    cluster.wire.retain(|m| m.to.0 == 1);
    cluster.deliver(2, 1);
    for message in &cluster.wire {
        assert_eq!(append_of(message), ((3, 2), vec![3], 0));
    }
    assert_eq!(cluster.wire.len(), 2);
}

/// "If the follower does not find an entry in its log with the same index and term, then it refuses the new entries."
#[test]
fn entries_that_do_not_follow_are_refused() {
    for prev in [&[1, 1, 1, 1][..], &[1, 2], &[2], &[1, 1, 2]] {
        let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 1, 1]);
        let reply = cluster.tell(1, 2, 5, append(prev, &[5], 9));
        let refused = Appended::Conflict(Conflict {
            prev: last(prev).index,
            term: (prev.len() < 4).then_some(Term(1)),
            first: if prev.len() < 4 { 1 } else { 4 },
        });
        assert_eq!(reply[0].body, appended(refused), "after {prev:?}");
        assert_eq!((cluster.log(1), cluster.commit(1)), (vec![1, 1, 1], 0));
    }
}

/// "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry and all that follow it" (figure 2).
#[test]
fn a_conflicting_entry_goes_and_all_that_follow_it() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 1, 2, 2, 2]);
    let reply = cluster.tell(1, 2, 5, append(&[1], &[1, 3], 0));
    assert_eq!(reply[0].body, matched(3));
    assert_eq!(cluster.log(1), [1, 1, 3]);
    cluster.restart(1);
    assert_eq!(cluster.log(1), [1, 1, 3], "on the disk too");
}

/// Figure 7: "when the leader at the top comes to power, it is possible that any of scenarios (a-f) could occur in follower logs." "The
/// leader handles inconsistencies by forcing the followers' logs to duplicate its own."
#[test]
fn figure_7() {
    let logs: [&[u64]; 7] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut cluster = Cluster::with_logs(7, |_| {}, |id| logs[id as usize - 1].to_vec());
    cluster.time_out(1);
    cluster.wire.clear();
    cluster.time_out(1);
    assert_eq!(cluster.term(1), 8);
    cluster.deliver_all();
    assert_eq!(cluster.role(1), RoleKind::Leader);
    let leaders = [logs[0], &[8]].concat();
    assert!((1..=7).all(|id| cluster.log(id) == leaders));
    assert_eq!(cluster.commit(1), 11);
    // "One AppendEntries RPC will be required for each term with conflicting entries, rather than one RPC per entry."
    let refusals = |id: u64| {
        let conflict = |m: &&biglock::Message| {
            let answer = |body: &Body| {
                matches!(
                    body,
                    Body::AppendReply {
                        answer: Appended::Conflict(_),
                        ..
                    }
                )
            };
            m.from.0 == id && answer(&m.body)
        };
        cluster.said.iter().filter(conflict).count()
    };
    let counted: Vec<usize> = (2..=7).map(refusals).collect();
    // (a), (b) and (e) end too early, which costs one; (e) and (f) have one and two terms of their own.
    assert_eq!(counted, [1, 1, 0, 0, 2, 2], "(a) to (f)");
}

/// "The protocol can be optimized to reduce the number of rejected AppendEntries RPCs": "the follower can include the term of the conflicting
/// entry and the first index it stores for that term." A long divergent tail costs a message for each of its terms.
#[test]
fn a_long_divergent_tail_is_skipped_term_by_term() {
    let tail: Vec<u64> = (2..=4).flat_map(|term| [term; 100]).collect();
    let old = [&[1][..], &tail].concat();
    let new = [&[1][..], &[5; 400]].concat();
    let mut cluster = Cluster::with_logs(
        3,
        |_| {},
        |id| if id == 3 { old.clone() } else { new.clone() },
    );
    cluster.elect(1);
    assert_eq!(cluster.log(3), cluster.log(1));
    let to = |m: &&biglock::Message| m.to.0 == 3 && as_append(m).is_some();
    let asked = cluster.said.iter().filter(to).count();
    assert!(asked <= 6, "{asked} messages");
}

/// "A leader never overwrites or deletes entries in its own log" (leader append-only, figure 3).
#[test]
fn a_leaders_log_only_grows() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |id| vec![1; id as usize]);
    cluster.elect(3);
    let led = cluster.log(3);
    for body in [append(&[], &[2, 2], 2), append(&[1], &[1], 2), heartbeat()] {
        cluster.tell(3, 1, 1, body);
        assert_eq!(
            (cluster.log(3), cluster.role(3)),
            (led.clone(), RoleKind::Leader)
        );
    }
}

/// 5.3, figure 7: terms never go back along a log, also not within one request.
#[test]
#[should_panic(expected = "an entry of term 1 cannot follow one of term 2")]
fn entries_whose_terms_go_back_stop_the_node() {
    Cluster::of(3).tell(1, 2, 2, append(&[], &[1, 2, 1], 0));
}

/// 5.5: "if a follower receives an AppendEntries request that includes log entries already present in its log, it ignores those entries in the
/// new request."
#[test]
fn entries_that_are_there_are_ignored() {
    let mut cluster = Cluster::of(3);
    let whole = append(&[], &[1, 1, 1, 1], 0);
    let first = cluster.tell(1, 2, 1, whole.clone());
    let write = cluster.raft(1).latest_write();
    assert_eq!(cluster.tell(1, 2, 1, whole), first);
    assert_eq!(
        cluster.raft(1).latest_write(),
        write,
        "entries that are there already are ignored: there is nothing to write"
    );
    // An old request, that came late: what follows its entries stays.
    let reply = cluster.tell(1, 2, 1, append(&[1], &[1], 0));
    assert_eq!(
        (reply[0].body.clone(), cluster.log(1).len()),
        (matched(4), 4)
    );
    assert_eq!(cluster.raft(1).latest_write(), write);
}

/// An answer that comes twice, late, or out of order takes nothing back ("matchIndex ... increases monotonically", figure 2).
#[test]
fn what_a_follower_has_is_never_less() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
    cluster.wire.clear();
    for index in [4, 2, 4, 0, 3] {
        cluster.tell(1, 2, 1, matched(index));
        assert_eq!(cluster.commit(1), 4);
    }
    // A conflict that was answered long ago.
    let old = Conflict {
        prev: 1,
        term: None,
        first: 1,
    };
    cluster.tell(1, 2, 1, appended(Appended::Conflict(old)));
    let next = cluster.propose(1, b"x").index;
    cluster.tell(1, 2, 1, matched(next));
    assert_eq!(cluster.commit(1), next);
}

/// A follower does not commit what this request did not prove to be equal, whatever the leader's commit index ("min(leaderCommit, index of last new
/// entry)", figure 2).
#[test]
fn a_follower_commits_no_further_than_it_is_proved_equal() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 1, 1, 1]);
    cluster.tell(1, 2, 2, append(&[1], &[], 4));
    assert_eq!(
        cluster.commit(1),
        1,
        "a follower commits no further than a request proved it equal to the leader"
    );
    cluster.tell(1, 2, 2, append(&[1], &[1, 2], 4));
    assert_eq!((cluster.commit(1), cluster.log(1)), (3, vec![1, 1, 2]));
}

/// Entries share a message as far as they fit; one at least.
#[test]
fn entries_are_batched_by_bytes() {
    let room = Entry::OVERHEAD * 10;
    let mut cluster = Cluster::with(2, |settings| settings.max_payload = room);
    cluster.elect(1);
    cluster.cut = vec![2];
    let before = cluster.end(1);
    for _ in 0..25 {
        cluster.propose(1, b"12345678");
    }
    cluster.wire.clear();
    cluster.heartbeat(1);
    cluster.deliver_all();
    assert_eq!(cluster.end(2), before + 25);
    let batches = cluster.said.iter().filter_map(as_append).map(|a| a.1.len());
    let most = room / (Entry::OVERHEAD + 8);
    assert_eq!(batches.max(), Some(most));
}

/// No more than so many messages with entries are in flight to a follower, and heartbeats still leave.
#[test]
fn the_messages_in_flight_are_bounded() {
    let mut cluster = Cluster::with(2, |settings| settings.max_in_flight = 4);
    cluster.elect(1);
    for _ in 0..50 {
        cluster.propose(1, b"x");
    }
    assert_eq!(cluster.wire.len(), 4);
    cluster.heartbeat(1);
    assert_eq!(cluster.wire.len(), 5);
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.end(2)), (51, 51));
}

/// Back-pressure: what is not yet applied is bounded, and beyond it the leader says so at once.
#[test]
fn a_leader_with_too_much_to_apply_is_busy() {
    use biglock::rules::ProposalRefused;
    let mut cluster = Cluster::with(3, |settings| settings.max_unapplied = 1000);
    cluster.elect(1);
    let mut taken = 0;
    let refused = loop {
        let payload = Payload::Command(vec![0; 68].into());
        match cluster.with_raft(1, |raft, at| raft.propose(at, payload)) {
            Ok(_) => taken += 1,
            Err(why) => break why,
        }
    };
    assert_eq!((refused, taken), (ProposalRefused::Busy, 10));
    cluster.deliver_all();
    cluster.propose(1, b"there is room again");
}

/// A command that fits into no message is refused when it is proposed, with the limit.
#[test]
fn a_command_that_fits_into_no_message_is_refused() {
    use biglock::rules::ProposalRefused;
    let mut cluster = Cluster::with(3, |settings| settings.max_payload = 2000);
    cluster.elect(1);
    let limit = cluster.raft(1).settings().max_command();
    cluster.propose(1, &vec![0; limit]);
    let payload = Payload::Command(vec![0; 2000].into());
    let refused = cluster.with_raft(1, |raft, at| raft.propose(at, payload));
    let size = 2000;
    assert_eq!(refused, Err(ProposalRefused::TooLarge { size, limit }));
}

/// Whoever does not lead takes nothing.
#[test]
fn only_the_leader_takes_commands() {
    use biglock::rules::ProposalRefused;
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let payload = Payload::Command(Default::default());
    let refused = cluster.with_raft(2, |raft, at| raft.propose(at, payload));
    assert_eq!(refused, Err(ProposalRefused::NotLeader));
    assert_eq!(cluster.end(2), 1);
}

/// Time alone brings a follower up to date ("repeat during idle periods", figure 2), wherever its log ends.
#[test]
fn every_kind_of_log_is_repaired_in_time() {
    for log in [&[][..], &[1], &[1, 1, 1], &[1, 2, 2], &[2; 30], &[1, 1, 2]] {
        let leaders = vec![1, 1, 3];
        let of = |id| {
            if id == 3 {
                log.to_vec()
            } else {
                leaders.clone()
            }
        };
        let mut cluster = Cluster::with_logs(3, |_| {}, of);
        cluster.elect(1);
        let end = cluster.now + MAX * 2;
        cluster.run(HEARTBEAT / 4, end, &[]);
        assert_eq!((cluster.log(3), cluster.commit(3)), (cluster.log(1), 4));
        let end = Position {
            term: Term(4),
            index: 4,
        };
        assert_eq!(cluster.raft(3).log().last(), end);
    }
}

/// A follower whose state machine lags too far behind takes no more entries, so its memory is bounded as the leader's is. It stays a follower that is heard, and
/// gets all of it when there is room.
#[test]
fn a_follower_that_lags_takes_no_more_than_fits() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.max_unapplied = 3000;
        settings.max_in_flight = 4;
        settings.check_quorum = true;
    });
    cluster.elect(1);
    cluster.lagging = Some(3);
    for _ in 0..100 {
        cluster.propose(1, &[0; 200]);
        cluster.deliver_all();
        cluster.heartbeat(1);
        cluster.deliver_all();
        let bytes = cluster.raft(3).log().bytes();
        assert!(bytes < 4000, "a follower that lags holds {bytes} bytes");
    }
    assert_eq!(cluster.commit(1), 101, "the others go on");
    // It is heard, although it takes nothing: without the other, it is what keeps the leader.
    cluster.cut = vec![2];
    let said = cluster.said.len();
    let end = cluster.now + MAX * 3;
    cluster.run(HEARTBEAT / 4, end, &[2]);
    assert_eq!(cluster.role(1), RoleKind::Leader);
    let said = cluster.said.len() - said;
    assert!(said < 100, "{said} messages to who takes nothing");

    cluster.lagging = None;
    let end = cluster.now + HEARTBEAT * 3;
    cluster.run(HEARTBEAT / 4, end, &[2]);
    assert_eq!((cluster.end(3), cluster.commit(3)), (101, 101));
}

/// What is not committed fills nobody: it may take one more entry to commit it (5.4.2).
#[test]
fn a_follower_full_of_entries_that_are_not_committed_takes_more() {
    let mut cluster = Cluster::with_logs(
        3,
        |settings| settings.max_unapplied = 100,
        |id| vec![1; if id == 3 { 0 } else { 50 }],
    );
    cluster.elect(1);
    assert_eq!((cluster.commit(1), cluster.end(2)), (51, 51));
}

/// A follower that has lost what it acknowledged breaks its promise; it is asked at heartbeats, and not as fast as it answers.
#[test]
fn a_follower_that_lost_what_it_acknowledged_is_not_asked_for_ever() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
    cluster.deliver_all();
    let conflict = |prev| {
        appended(Appended::Conflict(Conflict {
            prev,
            term: None,
            first: 1,
        }))
    };
    for prev in [6, 3, 0] {
        let answer = cluster.tell(1, 2, 1, conflict(prev));
        assert_eq!(answer, [], "where logs are known to be equal there is none");
    }
    // Nor one to whom the leader does not stream.
    cluster.time_out(3);
    cluster.deliver_without(&[2]);
    cluster.tell(3, 2, 2, matched(6));
    cluster.tell(3, 2, 2, conflict(7));
    // It is asked about the last place that is known to be equal, and says that it is not.
    for prev in [7, 6, 6, 6] {
        let answer = cluster.tell(3, 2, 2, conflict(prev));
        assert_eq!(answer, [], "it is not asked as fast as it answers");
    }
}
