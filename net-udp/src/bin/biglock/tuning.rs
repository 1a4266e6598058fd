//! The timeouts and switches that `node` and `demo` share.

use std::time::Duration;

use biglock::Config;

/// What can be tuned. What is not set stays as it is.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Tuning")]
pub struct Tuning {
    /// Milliseconds without a leader after which a node campaigns, at least [default: 150]
    #[arg(long, value_name = "MS")]
    pub election_timeout_min_ms: Option<u64>,
    /// Milliseconds, at most; the wider the range, the rarer the split votes [default: 300]
    #[arg(long, value_name = "MS")]
    pub election_timeout_max_ms: Option<u64>,
    /// Milliseconds between heartbeats; half the shortest timeout at most [default: 30]
    #[arg(long, value_name = "MS")]
    pub heartbeat_ms: Option<u64>,
    /// Whether a candidate asks before it spends a term [default: true]
    #[arg(long, value_name = "BOOL")]
    pub pre_vote: Option<bool>,
    /// Whether a leader that hears no majority steps down [default: true]
    #[arg(long, value_name = "BOOL")]
    pub check_quorum: Option<bool>,
}

impl Tuning {
    /// What is set here, and for the rest what is set there.
    pub fn or(self, other: Tuning) -> Tuning {
        Tuning {
            election_timeout_min_ms: self
                .election_timeout_min_ms
                .or(other.election_timeout_min_ms),
            election_timeout_max_ms: self
                .election_timeout_max_ms
                .or(other.election_timeout_max_ms),
            heartbeat_ms: self.heartbeat_ms.or(other.heartbeat_ms),
            pre_vote: self.pre_vote.or(other.pre_vote),
            check_quorum: self.check_quorum.or(other.check_quorum),
        }
    }

    /// Sets in `config` what is set here.
    pub fn apply(self, config: &mut Config) {
        let millis = |value: Option<u64>, field: &mut Duration| {
            if let Some(ms) = value {
                *field = Duration::from_millis(ms);
            }
        };
        millis(
            self.election_timeout_min_ms,
            &mut config.election_timeout_min,
        );
        millis(
            self.election_timeout_max_ms,
            &mut config.election_timeout_max,
        );
        millis(self.heartbeat_ms, &mut config.heartbeat);
        config.pre_vote = self.pre_vote.unwrap_or(config.pre_vote);
        config.check_quorum = self.check_quorum.unwrap_or(config.check_quorum);
    }

    /// The flags that say the same.
    pub fn flags(self) -> Vec<String> {
        let number = |name: &str, value: Option<u64>| value.map(|v| format!("--{name}={v}"));
        let switch = |name: &str, value: Option<bool>| value.map(|v| format!("--{name}={v}"));
        [
            number("election-timeout-min-ms", self.election_timeout_min_ms),
            number("election-timeout-max-ms", self.election_timeout_max_ms),
            number("heartbeat-ms", self.heartbeat_ms),
            switch("pre-vote", self.pre_vote),
            switch("check-quorum", self.check_quorum),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
