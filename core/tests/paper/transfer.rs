//! The dissertation's 3.10: leadership transfer.

use biglock::NodeId;
use biglock::rules::{Body, ProposalRefused, RoleKind, TransferRefused};

use crate::common::{Cluster, HEARTBEAT, MAX, command, matched};

fn transfer(cluster: &mut Cluster, id: u64, to: u64) -> Result<(), TransferRefused> {
    cluster.with_raft(id, |raft, at| raft.transfer(at, NodeId(to)))
}

fn told(cluster: &Cluster, to: u64) -> usize {
    let fits = |m: &&biglock::Message| m.to.0 == to && m.body == Body::TimeoutNow;
    cluster.wire.iter().filter(fits).count()
}

/// "1. The prior leader stops accepting new client requests."
#[test]
fn while_it_hands_over_the_leader_takes_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    transfer(&mut cluster, 1, 2).expect("it leads");
    let refused = cluster.with_raft(1, |raft, at| raft.propose(at, command(b"x")));
    assert_eq!(refused, Err(ProposalRefused::Transferring));
    assert_eq!(cluster.raft(1).transferring_to(), Some(NodeId(2)));
}

/// "2. The prior leader fully updates the target server's log to match its own, using the normal log replication mechanism."
#[test]
fn the_target_is_told_only_when_it_has_everything() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let index = cluster.propose(1, b"x").index;
    transfer(&mut cluster, 1, 2).expect("it leads");
    assert_eq!(told(&cluster, 2), 0);
    cluster.tell(1, 3, 1, matched(index));
    cluster.tell(1, 2, 1, matched(index - 1));
    assert_eq!(told(&cluster, 2), 0, "committed, but the target lacks it");
    cluster.tell(1, 2, 1, matched(index));
    assert_eq!((told(&cluster, 2), told(&cluster, 3)), (1, 0));
}

/// "3. The prior leader sends a TimeoutNow request to the target server. This request has the same effect as the target server's election timer firing: the target server
/// starts a new election (incrementing its term and becoming a candidate)."
#[test]
fn the_target_starts_an_election_at_once_and_wins() {
    for extras in [false, true] {
        let mut cluster = Cluster::with(5, |settings| {
            settings.pre_vote = extras;
            settings.check_quorum = extras;
        });
        cluster.elect(1);
        cluster.propose(1, b"x");
        cluster.deliver_all();
        let began = cluster.now;
        transfer(&mut cluster, 1, 4).expect("it leads");
        cluster.deliver_all();
        assert_eq!(cluster.deadline(4), began, "now");
        cluster.time_out(4);
        cluster.deliver_all();
        assert_eq!(cluster.now, began);
        assert_eq!((cluster.leaders(), cluster.term(1)), (vec![4], 2));
    }
}

/// "Once the target server receives the TimeoutNow request, it is highly likely to start an election before any other server and become leader in the next term": here in
/// time, while everyone acts.
#[test]
fn a_transfer_takes_a_few_messages_and_no_timeout() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.pre_vote = true;
        settings.check_quorum = true;
    });
    cluster.elect(1);
    transfer(&mut cluster, 1, 3).expect("it leads");
    let end = cluster.now + HEARTBEAT;
    cluster.run(HEARTBEAT / 20, end, &[]);
    assert_eq!(cluster.leaders(), [3]);
}

/// "If leadership transfer does not complete after about an election timeout, the prior leader aborts the transfer and resumes accepting client requests."
#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.propose(1, b"x");
    let began = cluster.now;
    transfer(&mut cluster, 1, 2).expect("it leads");
    cluster.cut = vec![2];
    while cluster.raft(1).transferring_to().is_some() {
        cluster.heartbeat(1);
        cluster.deliver_without(&[2]);
        assert!(cluster.now <= began + MAX + HEARTBEAT);
    }
    assert!(cluster.now >= began + MAX);
    cluster.propose(1, b"y");
    cluster.deliver_without(&[2]);
    assert_eq!(cluster.commit(1), 3);
    transfer(&mut cluster, 1, 3).expect("another may begin");
}

/// A TimeoutNow that is lost is sent again.
#[test]
fn a_lost_message_to_start_is_sent_again() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    transfer(&mut cluster, 1, 2).expect("it leads");
    for _ in 0..3 {
        assert_eq!(told(&cluster, 2), 1);
        cluster.wire.clear();
        cluster.heartbeat(1);
    }
    cluster.deliver_all();
    assert_eq!(cluster.deadline(2), cluster.now);
    cluster.time_out(2);
    cluster.deliver_all();
    assert_eq!(cluster.leaders(), [2]);
}

/// Only the leader of the term is obeyed.
#[test]
fn only_the_leader_can_start_an_election() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let deadline = cluster.deadline(2);
    cluster.tell(2, 3, 1, Body::TimeoutNow);
    cluster.tell(2, 1, 0, Body::TimeoutNow);
    assert_eq!(cluster.deadline(2), deadline);
    cluster.tell(1, 2, 1, Body::TimeoutNow);
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

/// What makes no sense is refused, and changes nothing.
#[test]
fn transfers_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    for to in [1, 9] {
        let why = TransferRefused::NotAVoter(NodeId(to));
        assert_eq!(transfer(&mut cluster, 1, to), Err(why));
    }
    assert_eq!(
        transfer(&mut cluster, 2, 1),
        Err(TransferRefused::NotLeader)
    );
    transfer(&mut cluster, 1, 2).expect("it leads");
    assert_eq!(transfer(&mut cluster, 1, 3), Err(TransferRefused::Pending));
}

/// A transfer belongs to its term.
#[test]
fn a_transfer_does_not_outlive_the_term() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.propose(1, b"x");
    transfer(&mut cluster, 1, 2).expect("it leads");
    cluster.wire.clear();
    cluster.elect(3);
    cluster.elect(1);
    assert_eq!(cluster.raft(1).transferring_to(), None);
    assert_eq!(told(&cluster, 2), 0);
    let proposed = cluster.with_raft(1, |raft, at| raft.propose(at, command(b"y")));
    assert!(
        proposed.is_ok(),
        "a transfer ends with its term, and whoever is elected again takes proposals: {proposed:?}"
    );
}
