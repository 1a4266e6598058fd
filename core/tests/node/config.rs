//! What a node refuses to start with, and what it says.

use std::time::Duration;

use biglock::{Config, ConfigError, LocalNetwork, MemoryStorage, Node, NodeId, StartError};

use crate::harness::ends;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The error of a node that starts with this.
fn refused(config: Config) -> ConfigError {
    let start = || {
        Node::start(
            config,
            MemoryStorage::new(),
            LocalNetwork::new().transport(1),
            (),
        )
        .err()
    };
    match ends("start", start) {
        Some(StartError::Config(error)) => error,
        other => panic!("it starts, or says {other:?}"),
    }
}

#[test]
fn no_members() {
    let error = refused(Config::new(1, []));
    assert_eq!(error, ConfigError::NoMembers);
    assert_eq!(
        error.to_string(),
        "the cluster has no members: list all nodes, this one included"
    );
}

#[test]
fn too_many_members() {
    let error = refused(Config::new(1, 1..=10));
    assert_eq!(error, ConfigError::TooManyMembers { members: 10 });
    assert_eq!(
        error.to_string(),
        "the cluster has 10 members: at most 9 can vote"
    );
    assert!(Config::new(1, 1..=9).validate().is_ok());
}

#[test]
fn not_a_member() {
    let error = refused(Config::new(4, [1, 2, 3]));
    assert_eq!(error, ConfigError::NotAMember { id: NodeId(4) });
    assert_eq!(
        error.to_string(),
        "node 4 is not in its own list of members: add it, or correct its id"
    );
}

#[test]
fn election_timeouts_upside_down() {
    let mut config = Config::new(1, [1]);
    config.election_timeout_min = ms(301);
    let error = refused(config);
    assert_eq!(
        error,
        ConfigError::EmptyElectionTimeout {
            min: ms(301),
            max: ms(300)
        }
    );
    assert_eq!(
        error.to_string(),
        "the shortest election timeout, 301ms, is longer than the longest, 300ms"
    );
}

#[test]
fn no_heartbeat() {
    let mut config = Config::new(1, [1]);
    config.heartbeat = Duration::ZERO;
    let error = refused(config);
    assert_eq!(error, ConfigError::NoHeartbeat);
    assert_eq!(
        error.to_string(),
        "the heartbeat is zero: a tenth to a fifth of the shortest election timeout is usual"
    );
}

#[test]
fn a_heartbeat_that_is_too_slow() {
    for heartbeat in [ms(76), ms(150), Duration::MAX] {
        let mut config = Config::new(1, [1]);
        config.heartbeat = heartbeat;
        let error = refused(config);
        assert_eq!(
            error,
            ConfigError::HeartbeatTooSlow {
                heartbeat,
                min: ms(150)
            }
        );
        assert_eq!(
            error.to_string(),
            format!(
                "a heartbeat every {heartbeat:?} is too slow for election timeouts from 150ms: one that is lost would start \
                 an election; make it at most half"
            )
        );
    }
    let mut config = Config::new(1, [1]);
    config.heartbeat = ms(75);
    assert!(config.validate().is_ok(), "half is allowed");
}

/// The message of a start says whose fault it is.
#[test]
fn the_start_says_that_it_is_the_configuration() {
    let start = Node::start(
        Config::new(1, []),
        MemoryStorage::new(),
        LocalNetwork::new().transport(1),
        (),
    );
    let error = start.err().unwrap().to_string();
    assert!(
        error.starts_with("configuration: the cluster has no members"),
        "{error}"
    );
}

/// Timeouts without end are odd, not wrong.
#[test]
fn endless_timeouts_do_not_overflow() {
    let mut config = Config::new(1, [1]);
    config.election_timeout_min = Duration::MAX;
    config.election_timeout_max = Duration::MAX;
    config.heartbeat = Duration::MAX / 2;
    let node = Node::start(
        config,
        MemoryStorage::new(),
        LocalNetwork::new().transport(1),
        (),
    )
    .unwrap();
    assert_eq!(node.status().leader, None);
    ends("shutdown", move || node.shutdown()).unwrap();
}

#[test]
fn a_lease_without_check_quorum() {
    let mut config = Config::new(1, [1]);
    config.lease = Some(ms(100));
    config.check_quorum = false;
    assert_eq!(refused(config.clone()), ConfigError::LeaseWithoutQuorum);
    config.check_quorum = true;
    assert!(config.validate().is_ok());
}

#[test]
fn a_lease_that_outlasts_the_others_promise() {
    let mut config = Config::new(1, [1]);
    config.check_quorum = true;
    let min = ms(150);
    config.lease = Some(ms(135));
    assert!(config.validate().is_ok(), "nine tenths are allowed");
    for lease in [ms(136), Duration::MAX] {
        config.lease = Some(lease);
        let error = refused(config.clone());
        assert_eq!(error, ConfigError::LeaseTooLong { lease, min });
    }
}

#[test]
fn nothing_in_flight() {
    let mut config = Config::new(1, [1]);
    config.max_in_flight = 0;
    assert_eq!(refused(config), ConfigError::NothingInFlight);
}
