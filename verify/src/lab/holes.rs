//! What the course's suite does not try: messages that arrive twice, disks that stall or fail, acknowledgements alone that are lost, one-way
//! cuts, clusters of every size, a crash at every kind of moment.

use std::time::Duration;

use biglock::kv::Command;
use biglock::{NodeId, Time, Undecided};

use super::cluster::{BUDGET, Cluster};
use super::kv::{anything, check, stop_clients};
use crate::sim::{DiskHabits, Outcome, Plan, Sim, Weather};

/// A cluster with some clients that do anything.
pub(super) fn busy(seed: u64, nodes: u64, clients: u64) -> Cluster {
    let mut cluster = Cluster::with(seed, nodes, |settings| {
        settings.snapshot_every = 2000;
        settings.keep_entries = 5;
    });
    for _ in 0..clients {
        cluster.sim.add_client(anything());
    }
    cluster
}

/// All is well again; the clients end, and what they saw is judged.
pub(super) fn conclude(mut cluster: Cluster) {
    let network = cluster.sim.network();
    network.weather = Weather::fair();
    network.to_clients = Weather::fair();
    network.local_weather.clear();
    network.loses_acks = false;
    cluster.connect_all();
    cluster.sim.start_all();
    stop_clients(&mut cluster);
    check(&mut cluster.sim);
    cluster.finish();
}

/// Every message arrives twice, the second time after any later ones: requests of clients too.
pub fn every_message_twice(seed: u64) {
    let mut cluster = busy(seed, 3, 4);
    let twice = Weather {
        delay: Duration::ZERO..Duration::from_millis(30),
        repeated: 1.0,
        reorders: true,
        ..Weather::fair()
    };
    cluster.sim.network().weather = twice.clone();
    cluster.sim.network().to_clients = twice;
    for _ in 0..10 {
        cluster.sleep(BUDGET);
        let leader = cluster.check_one_leader();
        cluster.restart(leader);
    }
    conclude(cluster);
}

/// Any machine loses its power at any moment, with a write under way as well: what was not synced is not there, or there and not reported.
pub fn crashes_in_the_middle_of_writes(seed: u64) {
    let mut cluster = busy(seed, 5, 4);
    for id in cluster.ids() {
        cluster.sim.disk(id).change(|disk| {
            disk.latency = Duration::from_millis(1)..Duration::from_millis(30);
        });
    }
    let mut in_a_write = 0;
    for _ in 0..150 {
        cluster.sleep_up_to(150);
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        in_a_write += u32::from(cluster.sim.is_writing(id));
        cluster.sim.crash(id);
        if cluster.sim.random().u8(..4) > 0 {
            cluster.sim.start(id);
        }
        let up = ids.iter().filter(|&&id| cluster.sim.is_up(id)).count();
        if up < 3 {
            cluster.sim.start_all();
        }
    }
    assert!(in_a_write > 5, "{in_a_write} crashes hit a write");
    conclude(cluster);
}

/// The leader's disk stalls for five seconds: others lead before that, and nothing that was acknowledged is lost.
pub fn the_leaders_disk_stalls(seed: u64) {
    let mut cluster = busy(seed, 3, 3);
    let leader = cluster.check_one_leader();
    cluster.sim.stall_disk(leader, Duration::from_secs(5));
    let before = cluster.sim.now();
    let replaced = |sim: &Sim| sim.leader().is_some_and(|id| id != leader);
    let limit = Duration::from_secs(5);
    assert!(
        cluster.sim.run_until(limit, replaced),
        "a leader whose disk is stuck stays"
    );
    let after = cluster.sim.now().since(before);
    // Three election timeouts of patience, and an election.
    assert!(after < Duration::from_millis(3500), "{after:?}");
    let others: Vec<NodeId> = cluster.ids();
    let committed = cluster.sim.last_committed();
    let go_on = |sim: &Sim| sim.last_committed() > committed + 10;
    assert!(cluster.sim.run_until(2 * BUDGET, go_on));
    assert!(others.len() == 3);
    cluster.sleep(Duration::from_secs(5));
    conclude(cluster);
}

/// A follower's disk stalls: nobody else notices.
pub fn a_followers_disk_stalls(seed: u64) {
    let mut cluster = busy(seed, 3, 3);
    let leader = cluster.check_one_leader();
    let term = cluster.sim.term(leader);
    cluster.sleep(BUDGET);
    let follower = cluster.after(leader, 1);
    cluster.sim.stall_disk(follower, Duration::from_secs(5));
    let committed = cluster.sim.last_committed();
    cluster.sleep(4 * BUDGET);
    assert_eq!(cluster.check_one_leader(), leader);
    assert_eq!(cluster.sim.term(leader), term);
    let more = cluster.sim.last_committed() - committed;
    assert!(more > 50, "only {more} were committed meanwhile");
    conclude(cluster);
}

/// Disks stall again and again, for as long as they like.
pub fn disks_stall(seed: u64) {
    let mut cluster = busy(seed, 5, 4);
    for _ in 0..30 {
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        let millis = cluster.sim.random().u64(..4000);
        cluster.sim.stall_disk(id, Duration::from_millis(millis));
        cluster.sleep_up_to(1500);
        if cluster.sim.random().u8(..4) == 0 {
            cluster.restart(id);
        }
    }
    for id in cluster.ids() {
        cluster.sim.stall_disk(id, Duration::ZERO);
    }
    cluster.sleep(4 * BUDGET);
    conclude(cluster);
}

/// Writes take up to a tenth of a second while leaders change: what ends may have been overwritten since it began.
pub fn slow_disks(seed: u64) {
    let mut cluster = busy(seed, 3, 4);
    for id in cluster.ids() {
        cluster.sim.disk(id).change(|disk| {
            disk.latency = Duration::from_millis(1)..Duration::from_millis(120);
        });
    }
    for _ in 0..25 {
        let leader = cluster.leader();
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        let cut = leader.filter(|_| cluster.sim.random().bool()).unwrap_or(id);
        cluster.disconnect(cut);
        let command = cluster.new_command();
        for id in ids {
            cluster.start(id, &command);
        }
        cluster.sleep_up_to(1500);
        cluster.connect_all();
        cluster.sleep_up_to(300);
    }
    conclude(cluster);
}

/// Snapshots that take many messages, which are lost, late, repeated and out of order, while newer snapshots take their place.
pub fn snapshots_in_many_pieces(seed: u64) {
    let mut cluster = Cluster::with(seed, 3, |settings| {
        settings.snapshot_every = 6000;
        settings.keep_entries = 2;
        settings.max_payload = 300;
        settings.max_in_flight = 2;
    });
    cluster.sim.network().weather = Weather {
        repeated: 0.2,
        ..Weather::unreliable()
    };
    for name in 0..4 {
        let plan = Plan::new(move |random, number| {
            let key = format!("key {} of {name}", random.u8(..40));
            Some(Command::put(key, format!("{number:0>100}")))
        });
        let soon = Duration::ZERO..Duration::from_millis(10);
        cluster.sim.add_client(plan.thinking(soon));
    }
    for _ in 0..10 {
        let leader = cluster.check_one_leader();
        let away = cluster.after(leader, 1);
        cluster.disconnect(away);
        cluster.sleep(BUDGET);
        cluster.connect_all();
        cluster.sleep_up_to(1500);
        if cluster.sim.random().bool() {
            cluster.restart(away);
        }
        let committed = cluster.sim.last_committed();
        let there = |sim: &Sim| sim.applied(away) >= committed;
        assert!(
            cluster.sim.run_until(10 * BUDGET, there),
            "a follower that is sent snapshots never catches up"
        );
    }
    let pieces = cluster.sim.traffic().snapshots;
    assert!(pieces > 100, "only {pieces} pieces were sent");
    conclude(cluster);
}

/// A write fails: the node stops, and says nothing that is not durable; the others go on.
pub fn a_write_fails(seed: u64) {
    let mut cluster = busy(seed, 3, 3);
    for _ in 0..5 {
        let leader = cluster.check_one_leader();
        cluster.sim.disk(leader).change(|disk| disk.fails = true);
        let stopped = |sim: &Sim| !sim.is_up(leader);
        assert!(cluster.sim.run_until(5 * BUDGET, stopped));
        assert_eq!(cluster.sim.waiting_callers(leader), 0);
        cluster.check_one_leader();
        cluster.sim.crash(leader);
        cluster.sim.disk(leader).change(|disk| disk.fails = false);
        cluster.sim.start(leader);
    }
    conclude(cluster);
}

/// Answers to AppendEntries are lost, and nothing else: nothing is committed, the leader gives up, nobody is told anything wrong.
pub fn only_acks_are_lost(seed: u64) {
    let mut cluster = busy(seed, 3, 3);
    for _ in 0..4 {
        cluster.check_one_leader();
        cluster.sim.network().loses_acks = true;
        // What is under way may still arrive.
        cluster.sleep(BUDGET / 20);
        let committed = cluster.sim.last_committed();
        cluster.sleep(2 * BUDGET);
        assert_eq!(cluster.sim.last_committed(), committed);
        cluster.sim.network().loses_acks = false;
        let go_on = |sim: &Sim| sim.last_committed() > committed;
        assert!(cluster.sim.run_until(5 * BUDGET, go_on));
    }
    conclude(cluster);
}

/// Links that carry messages one way only.
pub fn one_way_cuts(seed: u64) {
    let mut cluster = busy(seed, 5, 4);
    for _ in 0..25 {
        let ids = cluster.ids();
        for &from in &ids {
            for &to in &ids {
                if from != to {
                    match cluster.sim.random().u8(..10) {
                        0..3 => cluster.sim.network().cut(from, to),
                        _ => cluster.sim.network().mend(from, to),
                    }
                }
            }
        }
        cluster.sleep_up_to(1500);
    }
    conclude(cluster);
}

/// A leader that is heard and hears nobody gives up, and those who hear it elect another.
pub fn a_deaf_leader_gives_up(seed: u64) {
    let mut cluster = busy(seed, 3, 2);
    let leader = cluster.check_one_leader();
    for many in 1..3 {
        let other = cluster.after(leader, many);
        cluster.sim.network().cut(other, leader);
    }
    let replaced = |sim: &Sim| sim.leader().is_some_and(|id| id != leader);
    assert!(cluster.sim.run_until(5 * BUDGET, replaced));
    let committed = cluster.sim.last_committed();
    let go_on = |sim: &Sim| sim.last_committed() > committed + 5;
    assert!(cluster.sim.run_until(5 * BUDGET, go_on));
    conclude(cluster);
}

/// A node that hears nobody and is heard disturbs nobody: pre-vote, and votes that are refused while a leader is heard.
pub fn a_deaf_follower_disturbs_nobody(seed: u64) {
    let mut cluster = busy(seed, 3, 2);
    let leader = cluster.check_one_leader();
    let term = cluster.sim.term(leader);
    let deaf = cluster.after(leader, 1);
    for id in cluster.ids() {
        if id != deaf {
            cluster.sim.network().cut(id, deaf);
        }
    }
    cluster.sleep(5 * BUDGET);
    assert_eq!(cluster.sim.leader(), Some(leader));
    assert_eq!(cluster.sim.term(leader), term);
    cluster.connect_all();
    cluster.sleep(2 * BUDGET);
    assert_eq!(cluster.sim.leader(), Some(leader), "it comes back quietly");
    assert_eq!(cluster.sim.term(leader), term);
    conclude(cluster);
}

/// Clusters of 1 to 8: with a minority down they go on, with more down they don't, and whole they do again.
pub fn every_size(seed: u64) {
    for nodes in 1..=8 {
        let mut cluster = Cluster::new(seed, nodes);
        cluster.agree(nodes as usize, false);
        let may_fail = (nodes as usize - 1) / 2;
        let ids = cluster.ids();
        let (fail, rest) = ids.split_at(may_fail);
        fail.iter().for_each(|&id| cluster.sim.crash(id));
        cluster.agree(rest.len(), true);
        let one_more = rest[0];
        cluster.sim.crash(one_more);
        cluster.sleep(2 * BUDGET);
        let committed = cluster.sim.last_committed();
        cluster.check_no_leader();
        cluster.sim.start_all();
        cluster.agree(ids.len(), true);
        assert!(cluster.sim.last_committed() > committed);
        cluster.finish();
    }
}

/// One and two nodes with clients, crashes and slow disks.
pub fn one_and_two(seed: u64) {
    for nodes in 1..=2 {
        let mut cluster = busy(seed, nodes, 3);
        for _ in 0..15 {
            cluster.sleep_up_to(2000);
            let ids = cluster.ids();
            let id = ids[cluster.sim.random().usize(..ids.len())];
            cluster.restart(id);
        }
        conclude(cluster);
    }
}

/// Even sizes under crashes and partitions.
pub fn even_sizes(seed: u64) {
    for nodes in [4, 6] {
        let mut cluster = busy(seed, nodes, 3);
        for _ in 0..10 {
            let ids = cluster.ids();
            let half = ids.len() / 2;
            let mut mixed = ids.clone();
            cluster.sim.random().shuffle(&mut mixed);
            cluster.sim.partition(&[&mixed[..half], &mixed[half..]]);
            cluster.sleep(BUDGET / 2);
            // Exactly half of them are no majority. Whoever led before may not know yet.
            cluster.restart(mixed[0]);
            let committed = cluster.sim.last_committed();
            cluster.sleep(BUDGET);
            assert_eq!(cluster.sim.last_committed(), committed);
            cluster.connect_all();
            cluster.sleep_up_to(1000);
        }
        conclude(cluster);
    }
}

/// Shuts a node down in every state in which it, or somebody with it, can wait: nobody is left waiting.
pub fn shut_down_in_every_state(seed: u64) {
    type State = fn(&Sim, NodeId) -> bool;
    let states: [(&str, State); 6] = [
        ("follows", |sim, id| sim.is_up(id) && !sim.leads(id)),
        ("waits for votes", |sim, id| sim.is_campaigning(id)),
        ("waits for the disk", |sim, id| sim.is_writing(id)),
        ("leads with callers", |sim, id| {
            sim.leads(id) && sim.waiting_callers(id) > 0
        }),
        ("follows with callers", |sim, id| {
            sim.is_up(id) && !sim.leads(id) && sim.waiting_callers(id) > 0
        }),
        ("applies", |sim, id| sim.is_applying(id)),
    ];
    for (name, state) in states {
        let mut cluster = busy(seed, 3, 3);
        for id in cluster.ids() {
            // So that every state lasts for a while.
            let slow = Duration::from_millis(2)..Duration::from_millis(8);
            cluster.sim.set_apply_time(id, Some(slow));
            cluster.restart(id);
        }
        for id in cluster.ids() {
            match name {
                // It comes to campaign only if nobody leads.
                "waits for votes" => cluster.sim.partition(&[]),
                "leads with callers" => lead(&mut cluster, id),
                "follows" | "follows with callers" => {
                    let other = cluster.after(id, 1);
                    lead(&mut cluster, other);
                    // The clients have all found the leader.
                    assert!(cluster.sim.read(id, "key").is_ok());
                }
                _ => {}
            }
            let reached = cluster
                .sim
                .run_until(Duration::from_secs(10), |sim| state(sim, id));
            assert!(reached, "{id} never {name}");
            // This asserts that nobody waits.
            cluster.sim.shut_down(id);
            cluster.connect_all();
            cluster.sleep_up_to(300);
            cluster.sim.start(id);
        }
        conclude(cluster);
    }
}

/// Lets this node lead.
pub(super) fn lead(cluster: &mut Cluster, id: NodeId) {
    for _ in 0..20 {
        let leader = cluster.check_one_leader();
        if leader == id {
            return;
        }
        // It may be refused: another look follows.
        let _ = cluster.sim.transfer(leader, id);
    }
    panic!("{id} never leads");
}

/// Every call at a leader in the minority ends, within its patience, and none with a wrong answer.
pub fn no_call_hangs(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    let leader = cluster.check_one_leader();
    let committed = cluster.sim.last_committed();
    for id in cluster.ids() {
        if id != leader {
            cluster.disconnect(id);
        }
    }
    let command = cluster.new_command();
    let proposals: Vec<_> = (0..20)
        .filter_map(|_| cluster.start(leader, &command))
        .map(|(_, ticket)| ticket)
        .collect();
    assert_eq!(proposals.len(), 20);
    let reads: Vec<_> = (0..20)
        .filter_map(|_| cluster.sim.read(leader, "key").ok())
        .collect();
    assert_eq!(reads.len(), 20);
    let done = |sim: &Sim| sim.waiting_callers(leader) == 0;
    // It leads for half a second, and then its callers wait for another second and a half.
    assert!(cluster.sim.run_until(4 * BUDGET, done), "somebody waits");
    assert_eq!(cluster.sim.last_committed(), committed);
    for ticket in proposals {
        let outcome = cluster.sim.take_outcome(ticket);
        assert!(
            matches!(outcome, Some(Outcome::Decided(Err(Undecided::Unknown)))),
            "{outcome:?}"
        );
    }
    for ticket in reads {
        let outcome = cluster.sim.take_outcome(ticket);
        assert!(
            matches!(outcome, Some(Outcome::Served(Err(_), _))),
            "{outcome:?}"
        );
    }
    cluster.finish();
}

/// How often votes are split: with timeouts from 250 to 500 ms and a network of half a millisecond, hardly ever (paper, figure 16).
pub fn split_votes(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    let mut slowest = Duration::ZERO;
    let rounds = 50;
    cluster.check_one_leader();
    let before = cluster.sim.terms_led();
    let first_term = cluster.leader().map_or(0, |id| cluster.sim.term(id).0);
    for _ in 0..rounds {
        let leader = cluster.check_one_leader();
        let start = cluster.sim.now();
        cluster.sim.crash(leader);
        let elected = cluster
            .sim
            .run_until(10 * BUDGET, |sim| sim.leader().is_some());
        assert!(elected);
        slowest = slowest.max(cluster.sim.now().since(start));
        cluster.sim.start(leader);
    }
    let leader = cluster.check_one_leader();
    let terms = cluster.sim.term(leader).0 - first_term;
    let led = (cluster.sim.terms_led() - before) as u64;
    // A term without a leader is a split vote.
    let split = terms - led;
    assert!(split * 5 <= terms, "{split} of {terms} votes were split");
    assert!(slowest < 3 * BUDGET, "an election took {slowest:?}");
    cluster.finish();
}

/// Clocks that run up to a tenth too fast or too slow, and show anything.
pub fn clocks_drift(seed: u64) {
    let mut cluster = busy(seed, 5, 4);
    cluster.sim.let_clocks_drift(100_000);
    for _ in 0..15 {
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        cluster.restart(id);
        cluster.sleep_up_to(1500);
    }
    conclude(cluster);
}

/// Disks on which a write takes no time: whoever has something to write writes it.
pub fn instant_disks(seed: u64) {
    let disks = DiskHabits {
        instant: true,
        ..DiskHabits::default()
    };
    let mut cluster = Cluster::on_disks(seed, 5, disks);
    for _ in 0..4 {
        cluster.sim.add_client(anything());
    }
    for _ in 0..20 {
        cluster.sleep_up_to(1000);
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        cluster.restart(id);
    }
    conclude(cluster);
}

/// A session that was idle for too long has expired, and its client begins another: nothing is run twice.
pub fn sessions_expire(seed: u64) {
    let mut cluster = Cluster::unreliable(seed, 3);
    cluster.sim.network().to_clients = Weather::unreliable();
    for _ in 0..4 {
        let mut plan = anything();
        plan.session = Duration::from_millis(400);
        plan.think = Duration::ZERO..Duration::from_millis(800);
        cluster.sim.add_client(plan);
    }
    cluster.sleep(15 * BUDGET);
    assert!(cluster.sim.sessions_expired() > 0, "none has expired");
    conclude(cluster);
}

/// A session that is in use outlives every leader: log time goes on from where the one before left it, whatever the next one's clock shows.
pub fn sessions_outlive_leaders(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for _ in 0..4 {
        let mut plan = anything();
        plan.session = 10 * BUDGET;
        cluster.sim.add_client(plan);
    }
    for _ in 0..10 {
        let leader = cluster.check_one_leader();
        cluster.restart(leader);
    }
    assert_eq!(
        cluster.sim.sessions_expired(),
        0,
        "a session that is in use expired: log time is not the time of this leader's clock"
    );
    conclude(cluster);
}

/// Everything at once.
pub fn everything_at_once(seed: u64) {
    let mut cluster = busy(seed, 5, 5);
    cluster.sim.let_clocks_drift(50_000);
    for _ in 0..60 {
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        let other = ids[cluster.sim.random().usize(..ids.len())];
        match cluster.sim.random().u8(..14) {
            0 | 1 => cluster.sim.crash(id),
            2 => cluster.sim.shut_down(id),
            3..6 => cluster.sim.start_all(),
            6 => cluster.sim.network().cut(id, other),
            7 => cluster.sim.heal(),
            8 => cluster.sim.stall_disk(id, Duration::from_secs(1)),
            9 => cluster.sim.network().weather = Weather::unreliable(),
            10 => cluster.sim.network().weather = Weather::fair(),
            11 => {
                let bad = Weather {
                    repeated: 0.3,
                    ..Weather::long_reordering()
                };
                cluster.sim.network().local_weather.insert((id, other), bad);
            }
            12 => cluster.sim.network().local_weather.clear(),
            _ => cluster.sim.network().loses_acks ^= true,
        }
        cluster.sleep_up_to(800);
    }
    for id in cluster.ids() {
        cluster.sim.stall_disk(id, Duration::ZERO);
    }
    cluster.sleep(BUDGET);
    conclude(cluster);
}

/// The same seed is the same run, to the last nanosecond; another is another.
pub fn a_seed_replays(seed: u64) {
    let run = |seed| {
        let mut cluster = busy(seed, 3, 3);
        cluster.sim.network().weather = Weather::unreliable();
        cluster.sleep(3 * BUDGET);
        let leader = cluster.check_one_leader();
        cluster.restart(leader);
        cluster.sleep(2 * BUDGET);
        let sim = &cluster.sim;
        (sim.fingerprint(), sim.traffic(), sim.now() > Time::ZERO)
    };
    assert_eq!(run(seed), run(seed));
    assert_ne!(run(seed).0, run(seed.wrapping_add(1)).0);
}
