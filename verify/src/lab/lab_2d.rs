//! 2D: log compaction.

use super::cluster::{BUDGET, Cluster};
use crate::sim::{Sim, Weather};

/// How many bytes of entries make a snapshot due: some ten commands.
const EVERY: usize = 500;

/// The most that a disk may hold: a snapshot of the state, and a few entries.
const LARGEST: usize = 4000;

/// Snapshots with nothing else.
pub fn snapshot_basic(seed: u64) {
    snapshots(seed, Trouble::default());
}

/// Followers that were cut off are sent snapshots.
pub fn snapshot_install(seed: u64) {
    snapshots(
        seed,
        Trouble {
            disconnect: true,
            ..Trouble::default()
        },
    );
}

/// The same in the unreliable network.
pub fn snapshot_install_unreliable(seed: u64) {
    snapshots(
        seed,
        Trouble {
            disconnect: true,
            unreliable: true,
            ..Trouble::default()
        },
    );
}

/// Followers that crashed are sent snapshots.
pub fn snapshot_install_crash(seed: u64) {
    snapshots(
        seed,
        Trouble {
            crash: true,
            ..Trouble::default()
        },
    );
}

/// The same in the unreliable network.
pub fn snapshot_install_un_crash(seed: u64) {
    snapshots(
        seed,
        Trouble {
            crash: true,
            unreliable: true,
            ..Trouble::default()
        },
    );
}

#[derive(Clone, Copy, Default)]
struct Trouble {
    disconnect: bool,
    crash: bool,
    unreliable: bool,
}

/// A cluster whose logs are compacted often.
fn compacting(seed: u64, nodes: u64) -> Cluster {
    Cluster::of(Sim::with(seed, nodes, |settings| {
        settings.snapshot_every = EVERY;
        settings.keep_entries = 2;
    }))
}

fn snapshots(seed: u64, trouble: Trouble) {
    let Trouble {
        disconnect,
        crash,
        unreliable,
    } = trouble;
    let mut cluster = compacting(seed, 3);
    if unreliable {
        cluster.sim.network().weather = Weather::unreliable();
    }
    cluster.agree(3, true);
    let mut leader = cluster.check_one_leader();
    for round in 0..30 {
        let other = cluster.after(leader, 1);
        let (victim, sender) = match round % 3 {
            1 => (leader, other),
            _ => (other, leader),
        };
        if disconnect {
            cluster.disconnect(victim);
            cluster.agree(2, true);
        }
        if crash {
            cluster.sim.crash(victim);
            cluster.agree(2, true);
        }
        // Enough for the log to be compacted behind the victim.
        let many = 15 + cluster.sim.random().u64(..10);
        for _ in 0..many {
            let command = cluster.new_command();
            cluster.start(sender, &command);
        }
        let rest = 3 - usize::from(disconnect || crash);
        cluster.agree(rest, true);
        for id in cluster.ids() {
            let bytes = cluster.sim.disk(id).bytes();
            assert!(bytes < LARGEST, "{id} has {bytes} bytes on its disk");
        }
        if disconnect {
            cluster.connect(victim);
        }
        if crash {
            cluster.sim.start(victim);
        }
        if disconnect || crash {
            cluster.agree(3, true);
            leader = cluster.check_one_leader();
        }
    }
    let sent = cluster.sim.traffic().snapshots;
    assert!(
        sent > 0 || !disconnect && !crash,
        "no snapshot was ever sent"
    );
    cluster.finish();
}

/// All machines crash at once, five times: the index never goes back.
pub fn snapshot_all_crash(seed: u64) {
    let mut cluster = compacting(seed, 3);
    cluster.agree(3, true);
    for _ in 0..5 {
        let many = 10 + cluster.sim.random().u64(..10);
        for _ in 0..many {
            cluster.agree(3, true);
        }
        let before = cluster.agree(3, true);
        for id in cluster.ids() {
            cluster.sim.crash(id);
        }
        cluster.sim.start_all();
        let after = cluster.agree(3, true);
        assert!(after > before, "{after} after {before}");
    }
    cluster.finish();
}

/// Restart, one write, restart: the snapshot that was loaded is not forgotten.
pub fn snapshot_init(seed: u64) {
    let mut cluster = compacting(seed, 3);
    for _ in 0..30 {
        cluster.agree(3, true);
    }
    for _ in 0..2 {
        for id in cluster.ids() {
            assert!(cluster.sim.disk(id).look(|disk| disk.snapshot.is_some()));
            cluster.sim.crash(id);
        }
        cluster.sim.start_all();
        cluster.agree(3, true);
    }
    cluster.sleep(BUDGET);
    cluster.finish();
}
