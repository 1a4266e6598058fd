//! What a leader knows of each other server, and how it sends to it (figure 2: nextIndex and matchIndex).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::{Beat, Conflict, Snapshot};
use crate::Time;

/// What a leader knows of another server (figure 2: nextIndex and matchIndex), and how it sends to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    /// "Index of the next log entry to send" (figure 2).
    pub next: u64,
    /// "Index of highest log entry known to be replicated" (figure 2), durably.
    pub matched: u64,
    /// When it last answered.
    pub heard: Time,
    /// The latest round that it answered, and when its message was sent.
    pub beat: Beat,
    /// The commit index that it was last told.
    pub told: u64,
    /// How it sends.
    pub sending: Sending,
}

/// How a leader sends to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sending {
    /// It does not know where their logs part, and asks: one message at a time.
    Probing {
        /// Whether one is under way.
        asked: bool,
    },
    /// Their logs meet, so entries follow each other without waiting for answers.
    Streaming {
        /// The last index of each message with entries that was not answered.
        in_flight: VecDeque<u64>,
    },
    /// What it needs is no longer in the log.
    Snapshot {
        /// Which snapshot. It is sent to its end, also if the leader takes another meanwhile.
        snapshot: Snapshot,
        /// How much of it has arrived, in bytes,
        acked: u64,
        /// and how much was sent; nothing before the first piece.
        sent: Option<u64>,
        /// Whether nothing has arrived since the last heartbeat.
        silent: bool,
        /// How many answers have brought nothing new since the last that did.
        repeated: u8,
    },
}

impl Follower {
    /// One of which nothing is known: "nextIndex initialized to leader last log index + 1, matchIndex to 0" (figure 2).
    pub(super) fn new(next: u64, now: Time) -> Follower {
        Follower {
            next,
            matched: 0,
            heard: now,
            beat: Beat::default(),
            told: 0,
            sending: Sending::Probing { asked: false },
        }
    }

    /// Its log equals the leader's, durably, up to here.
    pub(super) fn matches(&mut self, index: u64) {
        let known = self.matched;
        self.matched = known.max(index);
        match &mut self.sending {
            Sending::Streaming { in_flight } => {
                while in_flight.front().is_some_and(|&last| last <= index) {
                    in_flight.pop_front();
                }
            }
            // Less than what was asked about: it is not durable yet, and the next answer will say.
            Sending::Probing { .. } if self.matched + 1 >= self.next => self.stream(),
            Sending::Probing { .. } => {}
            Sending::Snapshot { snapshot, .. } if self.matched >= snapshot.last.index => {
                self.stream();
            }
            Sending::Snapshot { .. } => {}
        }
        self.next = self.next.max(self.matched + 1);
    }

    fn stream(&mut self) {
        self.sending = Sending::Streaming {
            in_flight: VecDeque::new(),
        };
    }

    /// Whether a conflict is the answer to what was last sent, and not to something long past. Where the logs are known to be equal there is
    /// none: a follower that says so has lost what it had made durable, and to ask it at once again would never end.
    pub(super) fn expects(&self, conflict: Conflict) -> bool {
        match self.sending {
            _ if conflict.prev <= self.matched => false,
            Sending::Probing { .. } => conflict.prev == self.next - 1,
            Sending::Streaming { .. } => true,
            Sending::Snapshot { .. } => false,
        }
    }

    /// A snapshot is needed: what the follower lacks is no longer in the log.
    pub(super) fn begin_snapshot(&mut self, snapshot: Snapshot) {
        self.sending = Sending::Snapshot {
            snapshot,
            acked: 0,
            sent: None,
            silent: false,
            repeated: 0,
        };
    }

    /// At every heartbeat: if nothing has arrived since the last one, what was sent after it is sent again. If nothing of it has arrived
    /// at all, it may as well be the latest, and no old one is kept for who may be dead.
    pub(super) fn resend_chunks(&mut self, latest: Option<&Snapshot>) {
        if let Sending::Snapshot {
            snapshot,
            acked,
            sent,
            silent,
            ..
        } = &mut self.sending
        {
            if *silent
                && *acked == 0
                && let Some(latest) = latest
                && snapshot.last < latest.last
            {
                *snapshot = latest.clone();
            }
            if *silent {
                *sent = Some(*acked).filter(|&acked| acked > 0);
            }
            *silent = true;
        }
    }
}
