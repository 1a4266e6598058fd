//! Asking a node how it is.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use biglock::{Clock, NoLeader, Status};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Counters;
use crate::codec::{self, Invalid, STATUS_DATAGRAM};

/// How a node is: what it answers to [`query_status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// One consistent look at the node.
    pub status: Status,
    /// What its transport has seen.
    pub counters: Counters,
    /// What each of its threads is doing, a line per thread; the last lines may be missing if there are many.
    pub threads: String,
}

impl Report {
    /// Longer texts are cut, so that every report fits into a datagram.
    const MAX_REASON: usize = 200;
    const MAX_THREADS: usize = 450;

    /// A report, its texts cut so that it fits into a datagram.
    pub(crate) fn new(
        mut status: Status,
        counters: Counters,
        threads: impl IntoIterator<Item = String>,
    ) -> Report {
        if let Some(NoLeader::Stopped { why }) = &mut status.no_leader {
            why.truncate(why.floor_char_boundary(Report::MAX_REASON));
        }
        let mut text = String::new();
        for thread in threads {
            if text.len() + thread.len() >= Report::MAX_THREADS {
                break;
            }
            text += &thread;
            text += "\n";
        }
        Report {
            status,
            counters,
            threads: text,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        writeln!(f, "datagrams: {}", self.counters)?;
        write!(f, "{}", self.threads)
    }
}

/// Why a node did not say how it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The system gave no socket, or could not send.
    #[error("can't ask {addr}: {source}")]
    Socket {
        /// Who was asked.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("nobody listens at {addr}: is the node running, and is this its address?")]
    Refused {
        /// Who was asked.
        addr: SocketAddr,
    },
    /// There was no answer in time.
    #[error(
        "no answer from {addr} in {timeout:?}: is the node running, is it of cluster {cluster}, and does a firewall let UDP through?"
    )]
    TimedOut {
        /// Who was asked.
        addr: SocketAddr,
        /// Of which cluster it should be.
        cluster: u64,
        /// How long it had.
        timeout: Duration,
    },
    /// There was an answer, and it makes no sense.
    #[error(
        "{addr} gave an answer that can't be read: {why}; is it of the same version of Biglock?"
    )]
    Unreadable {
        /// Who was asked.
        addr: SocketAddr,
        /// What is wrong with it.
        why: Invalid,
    },
}

/// How often to ask: a request or its answer may be lost.
const TRIES: u32 = 4;

/// Asks the node at `addr` how it is, and waits for the answer for at most `timeout`. Asks again a few times in between, since a datagram
/// may be lost. The node answers even when its disk has failed, as long as its process lives; from the thread that also handles messages,
/// so not while that one waits for the disk, nor after it has panicked.
///
/// # Errors
/// If there is no answer; see [`QueryError`].
pub fn query_status(
    addr: SocketAddr,
    cluster: u64,
    timeout: Duration,
) -> Result<Report, QueryError> {
    ask(addr, cluster, timeout).map_err(|source| match source.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => QueryError::Refused { addr },
        _ => QueryError::Socket { addr, source },
    })?
}

fn ask(
    addr: SocketAddr,
    cluster: u64,
    timeout: Duration,
) -> io::Result<Result<Report, QueryError>> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // Connected: the system lets only answers from there through, and says so if nobody listens there.
    socket.connect(addr)?;

    let mut request = [0; STATUS_DATAGRAM];
    let request = codec::encode_status_request(&mut request, cluster);
    let mut answer = [0; STATUS_DATAGRAM + 1];
    let clock = Clock::monotonic();
    let start = clock.now();
    for round in 1..=TRIES {
        let until = start + timeout * round / TRIES;
        socket.send(request)?;
        loop {
            let left = until.since(clock.now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut answer) {
                Ok(length) => {
                    let report = codec::decode_report(&answer[..length], cluster);
                    return Ok(report.map_err(|why| QueryError::Unreadable { addr, why }));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => break,
                Err(e) => return Err(e),
            }
        }
    }
    Ok(Err(QueryError::TimedOut {
        addr,
        cluster,
        timeout,
    }))
}

/// The two names that systems have for it.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    /// A node of the largest cluster, in which everybody is in every set.
    fn status(no_leader: Value) -> Status {
        let everybody: Vec<u64> = (1..=9).collect();
        serde_json::from_value(json!({
            "id": 1,
            "members": everybody,
            "learners": [],
            "members_committed": true,
            "applied": 1,
            "snapshot": { "term": 1, "index": 1 },
            "durable_log": 1,
            "transferring_to": 9,
            "term": u64::MAX,
            "role": "Leader",
            "leader": 1,
            "no_leader": no_leader,
            "voted_for": 1,
            "durable": true,
            "last": { "term": 1, "index": 1 },
            "commit": 1,
        }))
        .unwrap()
    }

    #[test]
    fn the_longest_report_fits_into_a_datagram() {
        let everybody: Vec<u64> = (1..=9).collect();
        let refused: BTreeMap<u64, &str> = (1..=9).map(|id| (id, "LogBehind")).collect();
        let votes = json!({
            "needed": 5, "granted": everybody, "refused": refused, "silent": everybody,
        });
        let longest = [
            json!({ "VotesMissing": votes }),
            json!({ "Stopped": { "why": "\u{fffd}".repeat(1000) } }),
        ];
        for no_leader in longest {
            let threads = (0..100).map(|number| format!("{number:049}"));
            let report = Report::new(status(no_leader), Counters::default(), threads);
            assert_eq!(report.threads.len(), Report::MAX_THREADS);
            let mut buffer = [0; STATUS_DATAGRAM];
            let length = codec::encode_report(&mut buffer, 1, &report).unwrap().len();
            assert!(length > 700, "{length}");
        }
    }
}
