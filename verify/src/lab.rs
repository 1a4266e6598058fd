//! The lab suite of MIT 6.824 (6.5840), written anew on the [simulator](crate::sim), and what it leaves out.
//!
//! | module | what |
//! |---|---|
//! | [`lab_2a`] | leader election |
//! | [`lab_2b`] | log replication |
//! | [`lab_2c`] | persistence |
//! | [`lab_2d`] | log compaction |
//! | [`rsm`] | a replicated state machine |
//! | [`kv`] | a fault-tolerant key-value service |
//! | [`holes`] | what the course's suite does not try |
//! | [`liveness`] | who keeps others from leading |
//! | [`members`] | changes of the members, learners, transfer |
//! | [`reads`] | linearizable reads off the log |
//!
//! Each test is a function of a seed. `cargo test -p biglock-verify --test lab` runs a few seeds of each, always the same;
//! `BIGLOCK_SEED=7` runs that seed alone, `BIGLOCK_SEEDS=100` the seeds 1 to 100, and with `BIGLOCK_TRACE=1` every message is printed.
//! `cargo verify --seeds 1-100` runs all of them with all tests, and the example `soak` fresh ones for as long as it is told.

pub mod cluster;
pub mod holes;
pub mod kv;
pub mod lab_2a;
pub mod lab_2b;
pub mod lab_2c;
pub mod lab_2d;
pub mod lagging;
pub mod liveness;
pub mod members;
pub mod reads;
pub mod rsm;
pub mod seeds;

use std::ops::RangeInclusive;
use std::panic;

use crate::tries::Tries;

/// A test of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Its name, with its module.
    pub name: &'static str,
    /// Runs it with a seed.
    pub run: fn(u64),
    /// How many seeds are run unless somebody says otherwise.
    pub seeds: u64,
}

/// The list of all tests, in one place: hands it to the macro that is named. A number is how many seeds are run unless somebody says
/// otherwise.
#[macro_export]
macro_rules! lab_suite {
    ($with:ident) => {
        $with! {
            lab_2a {
                initial_election 5,
                re_election 5,
                many_elections 3,
            }
            lab_2b {
                basic_agree 3,
                rpc_bytes 3,
                follower_failure 3,
                leader_failure 3,
                fail_agree 3,
                fail_no_agree 3,
                concurrent_starts 3,
                rejoin 3,
                backup 2,
                count 3,
            }
            lab_2c {
                persist_1 3,
                persist_2 2,
                persist_3 3,
                figure_8 1,
                unreliable_agree 1,
                figure_8_unreliable 1,
                reliable_churn 2,
                unreliable_churn 2,
            }
            lab_2d {
                snapshot_basic 2,
                snapshot_install 2,
                snapshot_install_unreliable 1,
                snapshot_install_crash 2,
                snapshot_install_un_crash 1,
                snapshot_all_crash 2,
                snapshot_init 2,
            }
            rsm {
                basic 2,
                concurrent 2,
                leader_failure 2,
                leader_partition 3,
                restart_replay 2,
                shutdown 2,
                restart_submit 3,
                snapshot 2,
            }
            kv {
                basic 1,
                speed 1,
                concurrent 1,
                unreliable 1,
                one_partition 2,
                many_partitions_one_client 1,
                many_partitions_many_clients 1,
                persist_one_client 1,
                persist_concurrent 1,
                persist_concurrent_unreliable 1,
                persist_partition 1,
                persist_partition_unreliable 1,
                persist_partition_unreliable_linearizable 1,
                snapshot_rpc 2,
                snapshot_size 1,
                snapshot_recover 1,
                snapshot_recover_many_clients 1,
                snapshot_unreliable 1,
                snapshot_unreliable_recover 1,
                snapshot_unreliable_recover_concurrent_partition 1,
                snapshot_unreliable_recover_concurrent_partition_linearizable 1,
            }
            holes {
                every_message_twice 2,
                crashes_in_the_middle_of_writes 2,
                the_leaders_disk_stalls 3,
                a_followers_disk_stalls 2,
                disks_stall 2,
                slow_disks 2,
                snapshots_in_many_pieces 2,
                a_write_fails 2,
                only_acks_are_lost 2,
                one_way_cuts 2,
                a_deaf_leader_gives_up 2,
                a_deaf_follower_disturbs_nobody 2,
                every_size 2,
                one_and_two 1,
                even_sizes 1,
                shut_down_in_every_state 2,
                no_call_hangs 3,
                split_votes 1,
                clocks_drift 2,
                instant_disks 2,
                sessions_expire 1,
                sessions_outlive_leaders 2,
                everything_at_once 3,
                a_seed_replays 1,
            }
            lagging {
                a_follower_is_full 2,
                all_are_slow 2,
            }
            liveness {
                a_busy_disk_is_not_stuck 2,
                a_deaf_candidate_keeps_nobody_quiet 2,
                a_candidate_that_is_behind_keeps_nobody_quiet 2,
            }
            members {
                grow_and_shrink 2,
                changes_among_faults 3,
                the_leader_removes_itself 3,
                a_removed_server_disturbs_nobody 2,
                learners_decide_nothing 2,
                transfer 2,
                transfer_among_faults 2,
                proposals_around_a_transfer 2,
                a_transfer_to_nobody_is_given_up 2,
                one_change_at_a_time 2,
                two_leaders_begin_a_change 3,
            }
            reads {
                read_index 2,
                read_index_unreliable 2,
                lease 2,
                lease_unreliable 2,
                a_leader_that_is_cut_off 1,
                followers_under_partition 2,
                reads_write_nothing 2,
            }
        }
    };
}

macro_rules! list {
    ($($module:ident { $($name:ident $seeds:literal,)* })*) => {
        /// Every test.
        pub const ALL: &[Test] = &[
            $($(Test {
                name: concat!(stringify!($module), "::", stringify!($name)),
                run: $module::$name,
                seeds: $seeds,
            },)*)*
        ];
    };
}

lab_suite!(list);

/// The test of this name.
pub fn find(name: &str) -> Option<&'static Test> {
    ALL.iter().find(|test| test.name == name)
}

/// Runs a test with the seeds that the environment asks for, or else its own.
///
/// # Panics
/// If the test fails; the seed is printed, and how to run it again.
pub fn run(test: &Test) {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        )
    };
    let seeds = match number("BIGLOCK_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("BIGLOCK_SEEDS").unwrap_or(test.seeds),
    };
    for seed in seeds {
        let told = TellSeed { test, seed };
        (test.run)(seed);
        drop(told);
    }
}

/// Runs a test with each of these seeds, and counts those that fail. `judge` is asked of each whether it did so in the words that were expected.
pub fn sample(
    test: &Test,
    seeds: RangeInclusive<u64>,
    judge: impl Fn(&str) -> bool,
    progress: impl Fn(u64),
) -> Tries {
    let mut found = Tries::default();
    // What each says is counted, and not printed.
    let before = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    for seed in seeds {
        if let Err(panic) = panic::catch_unwind(|| (test.run)(seed)) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            found.broke += 1;
            found.otherwise += u64::from(!judge(text.unwrap_or_default()));
        }
        found.of += 1;
        progress(found.of);
    }
    panic::set_hook(before);
    found
}

/// Says which seed it was if the test panics.
struct TellSeed<'a> {
    test: &'a Test,
    seed: u64,
}

impl Drop for TellSeed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell_seed(self.test.name, self.seed);
        }
    }
}

/// Says how to run a test again that failed.
pub fn tell_seed(name: &str, seed: u64) {
    eprintln!("{name} failed with seed {seed}; to see it again:");
    eprintln!("BIGLOCK_SEED={seed} cargo test -p biglock-verify --test lab -- --exact {name}");
}
