//! What a transport has seen.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::codec::Invalid;

/// What a [`UdpTransport`](crate::UdpTransport) has sent, delivered and dropped since it was bound. Messages are counted one by one, also
/// those that share a datagram; what is dropped is counted by the datagram, or by the rest of one that could be read to its middle.
///
/// Each number is exact; those of one snapshot were read one after the other, so they need not add up to the last datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that the system took to send.
    pub sent: u64,
    /// Messages that it did not take, or whose receiver has no known address.
    pub not_sent: u64,
    /// Messages that were handed to the node.
    pub delivered: u64,
    /// Requests for the node's status.
    pub status_requests: u64,
    /// Requests of clients.
    pub client_requests: u64,
    /// Errors of the socket while receiving.
    pub receive_errors: u64,
    /// Dropped: [`Invalid::Oversized`].
    pub oversized: u64,
    /// Dropped: [`Invalid::Truncated`].
    pub truncated: u64,
    /// Dropped: [`Invalid::Trailing`].
    pub trailing: u64,
    /// Dropped: [`Invalid::Malformed`].
    pub malformed: u64,
    /// Dropped: [`Invalid::Version`].
    pub version: u64,
    /// Dropped: [`Invalid::Cluster`].
    pub cluster: u64,
    /// Dropped: [`Invalid::Kind`].
    pub kind: u64,
    /// Dropped: [`Invalid::Stranger`].
    pub stranger: u64,
    /// Dropped: [`Invalid::Misaddressed`].
    pub misaddressed: u64,
}

impl Counters {
    /// How many datagrams were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.oversized
            + self.truncated
            + self.trailing
            + self.malformed
            + self.version
            + self.cluster
            + self.kind
            + self.stranger
            + self.misaddressed
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count, one, many| if count == 1 { one } else { many };
        let statuses = of(self.status_requests, "status request", "status requests");
        let clients = of(
            self.client_requests,
            "client's request",
            "clients' requests",
        );
        let errors = of(self.receive_errors, "receive error", "receive errors");
        write!(f, "{} sent, {} delivered", self.sent, self.delivered)?;
        for (count, what) in [
            (self.not_sent, "not sent"),
            (self.status_requests, statuses),
            (self.client_requests, clients),
            (self.receive_errors, errors),
            (self.oversized, "oversized"),
            (self.truncated, "truncated"),
            (self.trailing, "with trailing bytes"),
            (self.malformed, "malformed"),
            (self.version, "of another version"),
            (self.cluster, "of another cluster"),
            (self.kind, "of an unknown kind"),
            (self.stranger, "from strangers"),
            (self.misaddressed, "for another node"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// The live numbers. They order nothing, hence `Relaxed` throughout.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: Count,
    pub(crate) not_sent: Count,
    pub(crate) delivered: Count,
    pub(crate) status_requests: Count,
    pub(crate) client_requests: Count,
    pub(crate) receive_errors: Count,
    oversized: Count,
    truncated: Count,
    trailing: Count,
    malformed: Count,
    version: Count,
    cluster: Count,
    kind: Count,
    stranger: Count,
    misaddressed: Count,
}

#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, many: u64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    pub(crate) fn dropped(&self, why: Invalid) {
        let count = match why {
            Invalid::Oversized => &self.oversized,
            Invalid::Truncated => &self.truncated,
            Invalid::Trailing => &self.trailing,
            Invalid::Malformed => &self.malformed,
            Invalid::Version => &self.version,
            Invalid::Cluster => &self.cluster,
            Invalid::Kind => &self.kind,
            Invalid::Stranger => &self.stranger,
            Invalid::Misaddressed => &self.misaddressed,
        };
        count.add_one();
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            sent: self.sent.get(),
            not_sent: self.not_sent.get(),
            delivered: self.delivered.get(),
            status_requests: self.status_requests.get(),
            client_requests: self.client_requests.get(),
            receive_errors: self.receive_errors.get(),
            oversized: self.oversized.get(),
            truncated: self.truncated.get(),
            trailing: self.trailing.get(),
            malformed: self.malformed.get(),
            version: self.version.get(),
            cluster: self.cluster.get(),
            kind: self.kind.get(),
            stranger: self.stranger.get(),
            misaddressed: self.misaddressed.get(),
        }
    }
}
