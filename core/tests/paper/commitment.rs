//! 5.4.2 and 5.4.3: what is committed, and by whom; and the leader's own disk (dissertation, 10.2.1).

use biglock::rules::{Appended, Body, RoleKind};
use biglock::{Message, Term};

use crate::common::{Cluster, append, append_of, appended, as_append, command, matched};

/// "Raft never commits log entries from previous terms by counting replicas. Only log entries from the leader's current term are committed by
/// counting replicas."
#[test]
fn entries_of_earlier_terms_are_not_committed_by_counting() {
    let mut cluster = Cluster::with_logs(5, |_| {}, |_| vec![1, 1, 2]);
    cluster.time_out(1);
    for id in 2..=5 {
        cluster.tell(1, id, 3, crate::common::granted());
    }
    assert_eq!(cluster.role(1), RoleKind::Leader);
    for id in 2..=5 {
        cluster.tell(1, id, 3, matched(3));
        assert_eq!(
            cluster.commit(1),
            0,
            "all have it, and it is of an earlier term"
        );
    }
    cluster.tell(1, 2, 3, matched(4));
    assert_eq!(cluster.commit(1), 0);
    // "Once an entry from the current term has been committed in this way, then all prior entries are committed indirectly."
    cluster.tell(1, 3, 3, matched(4));
    assert_eq!(cluster.commit(1), 4);
}

/// "matchIndex[]: for each server, index of highest log entry known to be replicated on server" is "reinitialized after election" (figure 2): what a
/// follower answered in an earlier term was so then, and of another entry.
#[test]
fn an_answer_of_an_earlier_term_commits_nothing() {
    let mut cluster = Cluster::with_logs(5, |_| {}, |_| vec![1]);
    // S1 leads term 2, and S2 alone gets its two entries. The answer to the second is late.
    cluster.time_out(1);
    cluster.deliver_votes(1);
    cluster.propose(1, b"x");
    cluster.deliver(1, 2);
    cluster.deliver(2, 1);
    cluster.deliver(1, 2);
    let late = cluster.between(2, 1).pop().expect("it answered");
    let Body::AppendReply { answer, .. } = late.body else {
        panic!("{late}");
    };
    assert_eq!((late.term, answer), (Term(2), Appended::Matched(3)));
    cluster.wire.clear();
    // S3 leads term 3, by the votes of S4 and S5, and overwrites what S1 has. S2 hears nothing of it.
    cluster.time_out(3);
    cluster.lose(|m| [1, 2].contains(&m.to.0));
    cluster.deliver_votes(3);
    cluster.deliver_without(&[2]);
    cluster.heartbeat(3);
    cluster.deliver_without(&[2]);
    assert_eq!((cluster.log(1), cluster.commit(1)), (vec![1, 3], 2));
    // S1 leads again, in term 4, by the same votes. S4 gets the first entry of that term.
    cluster.time_out(1);
    cluster.lose(|m| [2, 3].contains(&m.to.0));
    cluster.deliver_votes(1);
    cluster.deliver(1, 4);
    cluster.deliver(4, 1);
    cluster.wire.clear();
    let holders = |cluster: &Cluster| {
        let has = |id: &u64| cluster.log(*id).get(2) == Some(&4);
        cluster.ids().into_iter().filter(has).collect::<Vec<_>>()
    };
    assert_eq!(holders(&cluster), [1, 4]);
    // "Yes, up to 3", says S2 of the entry that it had from S1 in term 2.
    cluster.arrive(late);
    assert_eq!(
        cluster.commit(1),
        2,
        "an answer of an earlier term commits nothing: two of five have entry 3 of term 4"
    );
    // So it may still be overwritten: S5, which never had it, is elected by S2 and S3.
    cluster.time_out(5);
    cluster.lose(|m| [1, 4].contains(&m.to.0));
    cluster.deliver_votes(5);
    cluster.deliver_all();
    assert_eq!(
        (cluster.log(1), cluster.log(4)),
        (vec![1, 3, 5], vec![1, 3, 5])
    );
}

/// Five servers whose logs are [1], each message with one entry at most.
fn figure_8() -> Cluster {
    let mut cluster = Cluster::with_logs(5, |settings| settings.max_payload = 1, |_| vec![1]);
    // (a) "S1 is leader and partially replicates the log entry at index 2."
    cluster.time_out(1);
    cluster.deliver_votes(1);
    cluster.deliver(1, 2);
    cluster.wire.clear();
    assert_eq!((cluster.log(1), cluster.log(2)), (vec![1, 2], vec![1, 2]));
    // (b) "S1 crashes; S5 is elected leader for term 3 with votes from S3, S4, and itself, and accepts a different entry at log index 2."
    cluster.restart(1);
    cluster.time_out(5);
    cluster.lose(|m| [1, 2].contains(&m.to.0));
    cluster.deliver_votes(5);
    cluster.wire.clear();
    assert_eq!((cluster.role(5), cluster.term(5)), (RoleKind::Leader, 3));
    assert_eq!(cluster.log(5), [1, 3]);
    // (c) "S5 crashes; S1 restarts, is elected leader, and continues replication. At this point, the log entry from term 2 has been replicated on a
    // majority of the servers, but it is not committed."
    cluster.restart(5);
    cluster.time_out(1);
    cluster.wire.clear();
    cluster.time_out(1);
    cluster.lose(|m| m.to.0 == 5);
    cluster.deliver_votes(1);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Leader, 4));
    assert_eq!(cluster.log(1), [1, 2, 4]);
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    let has = |id: u64| cluster.log(id).get(1) == Some(&2);
    assert!([1, 2, 3].into_iter().all(has), "a majority has the entry");
    assert_eq!(cluster.log(3), [1, 2]);
    assert_eq!(cluster.commit(1), 0, "but it is not committed");
    cluster
}

/// Figure 8 (d): "if S1 crashes as in (d), S5 could be elected leader (with votes from S2, S3, and S4) and overwrite the entry with its own entry from
/// term 3."
#[test]
fn figure_8_d() {
    let mut cluster = figure_8();
    cluster.restart(1);
    cluster.wire.clear();
    cluster.time_out(5);
    cluster.wire.clear();
    cluster.time_out(5);
    cluster.lose(|m| m.to.0 == 1);
    cluster.deliver_without(&[1]);
    assert_eq!((cluster.role(5), cluster.term(5)), (RoleKind::Leader, 5));
    for id in 2..=5 {
        assert_eq!(cluster.log(id), [1, 3, 5], "{id}");
    }
    cluster.heartbeat(5);
    cluster.deliver_all();
    assert_eq!(
        cluster.log(1),
        [1, 3, 5],
        "what was never committed is overwritten"
    );
}

/// Figure 8 (e): "if S1 replicates an entry from its current term on a majority of the servers before crashing, as in (e), then this entry is committed
/// (S5 cannot win an election)."
#[test]
fn figure_8_e() {
    let mut cluster = figure_8();
    cluster.deliver_without(&[5]);
    assert_eq!(cluster.commit(1), 3);
    cluster.restart(1);
    for _ in 0..5 {
        cluster.time_out(5);
        cluster.deliver_all();
        assert_ne!(cluster.role(5), RoleKind::Leader);
    }
}

/// 5.4.3, leader completeness, small and whole: whichever two of three servers have an entry of the leader's term, and whoever stands for election
/// then, the next leader has it.
#[test]
fn the_next_leader_has_what_was_committed() {
    for (holder, missing) in [(2, 3), (3, 2)] {
        for next in 1..=3 {
            let mut cluster = Cluster::of(3);
            cluster.elect(1);
            let index = cluster.propose(1, b"x").index;
            cluster.deliver_without(&[missing]);
            assert_eq!(cluster.commit(1), index);
            (1..=3).for_each(|id| cluster.restart(id));
            cluster.time_out(next);
            cluster.deliver_all();
            let won = cluster.role(next) == RoleKind::Leader;
            assert_eq!(won, next != missing, "{holder} has it, and {next} stands");
            if won {
                assert!((1..=3).all(|id| cluster.log(id)[..2] == [1, 1]));
            }
        }
    }
}

/// 10.2.1: "The leader can write to its disk in parallel with replicating to the followers and them writing to their disks."
#[test]
fn a_leaders_entries_leave_before_they_are_on_its_disk() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.stuck = Some(1);
    let position = cluster.propose(1, b"x");
    assert_eq!(cluster.stored(1).log.iter().count(), 1);
    assert!(cluster.wire.iter().all(|m| append_of(m).1 == [1]));
    assert_eq!(cluster.wire.len(), 2);
    // Its own write is not yet durable, so it does not count.
    cluster.deliver(1, 2);
    cluster.deliver(2, 1);
    assert_eq!(cluster.commit(1), 1);
    cluster.release(1);
    assert_eq!(cluster.commit(1), position.index);
}

/// What is proposed together is in memory once: for every follower, and for the leader's disk, it is what stands in its log.
#[test]
fn a_leaders_entries_leave_without_a_copy() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.with_raft(1, |raft, at| {
        for _ in 0..20 {
            raft.push(at, command(b"x")).expect("it leads");
        }
        raft.send_entries();
    });
    let log = cluster.raft(1).log();
    let first = log.last().index - 19;
    let here = log.get(first).map(std::ptr::from_ref);
    let sent = |message: &Message| match &message.body {
        Body::AppendEntries { entries, .. } => entries.first().map(std::ptr::from_ref),
        other => panic!("{other:?}"),
    };
    let sent: Vec<_> = cluster.wire.iter().map(sent).collect();
    assert_eq!(sent, [here, here]);
    let stored = cluster.stored(1).log.get(first);
    assert_eq!(stored.map(std::ptr::from_ref), here);
}

/// 10.2.1: "The leader may even commit an entry before it has been written to its own disk, if a majority of followers have written it to their disks;
/// this is still safe."
#[test]
fn a_leader_may_commit_before_its_own_disk_has_it() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.stuck = Some(1);
    let position = cluster.propose(1, b"x");
    cluster.deliver_all();
    assert_eq!(cluster.commit(1), position.index);
    cluster.restart(1);
    assert_eq!(cluster.end(1), 1, "it had not written it");
    cluster.stuck = None;
    cluster.time_out(1);
    cluster.deliver_all();
    assert_ne!(
        cluster.role(1),
        RoleKind::Leader,
        "and is not elected without it"
    );
}

/// "Each server must persist entries before acknowledging them" (dissertation, 3.8; figure 2: "updated on stable storage before responding to RPCs").
/// A heartbeat is answered meanwhile, with what is durable.
#[test]
fn a_follower_acknowledges_what_is_durable() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 1, append(&[], &[1], 0));
    cluster.stuck = Some(1);
    assert_eq!(cluster.tell(1, 2, 1, append(&[1], &[1, 1], 0)), []);
    let reply = cluster.tell(1, 2, 1, append(&[1, 1, 1], &[], 0));
    assert_eq!(reply[0].body, matched(1));
    let before = cluster.said.len();
    cluster.release(1);
    let said: Vec<&Body> = cluster.said[before..].iter().map(|m| &m.body).collect();
    assert_eq!(said, [&matched(3)], "once it is durable, unasked");
}

/// A write that ends names what it wrote by index and term: what has been replaced meanwhile is not durable by it (ABA).
#[test]
fn a_write_that_was_overtaken_makes_nothing_durable() {
    let mut cluster = Cluster::of(3);
    cluster.stuck = Some(1);
    cluster.tell(1, 2, 1, append(&[], &[1, 1], 0));
    cluster.tell(1, 3, 2, append(&[], &[2, 2], 0));
    // The first write ends; the disk holds the entries of term 1, the log those of term 2.
    cluster.finish_one_write(1);
    assert_eq!(cluster.raft(1).durable_log(), 0);
    assert_eq!(cluster.log(1), [2, 2]);
    let acknowledged = |m: &biglock::Message| m.body == matched(2);
    assert!(!cluster.said.iter().any(acknowledged));
    cluster.release(1);
    assert_eq!(cluster.raft(1).durable_log(), 2);
    assert!(cluster.said.iter().any(acknowledged));
}

/// The leader's call and the vote that it needs never mix: what an old leader's disk finishes after it was deposed counts for nobody.
#[test]
fn a_deposed_leaders_write_commits_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.stuck = Some(1);
    cluster.propose(1, b"x");
    cluster.tell(1, 2, 1, matched(1));
    cluster.tell(1, 2, 2, appended(Appended::Stale));
    cluster.release(1);
    assert_eq!(
        (cluster.role(1), cluster.commit(1)),
        (RoleKind::Follower, 1)
    );
    assert!(
        cluster
            .said
            .iter()
            .filter(|m| m.term.0 == 2)
            .all(|m| as_append(m).is_none())
    );
}
