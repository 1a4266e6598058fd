//! Where the other nodes are.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use biglock::rules::Members;
use biglock::{NodeId, Outside};

/// The most senders whose address is remembered though nobody named it.
const MAX_HEARD: usize = 32;

/// Where the other nodes are: as configured; or else as the log names them, once they became members; or else as they were last heard,
/// for one may have to answer a node before it is a member, or when the log does not say so yet (section 6).
pub(super) struct Addresses {
    me: NodeId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    configured: BTreeMap<NodeId, SocketAddr>,
    members: Members,
    /// What the members' addresses say, as far as it can be read.
    named: BTreeMap<NodeId, SocketAddr>,
    /// Those who were heard; the last one to speak is the last here, and the first is forgotten when there are too many.
    heard: VecDeque<(NodeId, SocketAddr)>,
}

impl Addresses {
    pub(super) fn new(me: NodeId, mut configured: BTreeMap<NodeId, SocketAddr>) -> Addresses {
        configured.remove(&me);
        let known = Known {
            configured,
            ..Known::default()
        };
        Addresses {
            me,
            known: Mutex::new(known),
        }
    }

    /// Held for one look or one change, never while something is sent.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, id: NodeId) -> Option<SocketAddr> {
        self.known().find(id)
    }

    /// The members as the node knows them.
    pub(super) fn members(&self) -> Members {
        self.known().members.clone()
    }

    /// The members have changed.
    pub(super) fn set_members(&self, _: &Outside, members: &Members) {
        let mut named = BTreeMap::new();
        for (id, member) in members.iter().filter(|(id, _)| *id != self.me) {
            match member.address.parse() {
                Ok(address) => drop(named.insert(id, address)),
                Err(_) if member.address.is_empty() => {}
                Err(_) => tracing::warn!(
                    node = self.me.0,
                    member = id.0,
                    address = member.address,
                    "a member's address is no IP address with a port; it can't be reached there"
                ),
            }
        }
        let mut known = self.known();
        known.members = members.clone();
        known.named = named;
    }

    /// A node has sent something from there.
    pub(super) fn heard(&self, id: NodeId, from: SocketAddr) {
        let mut known = self.known();
        if known.configured.contains_key(&id) || known.named.contains_key(&id) {
            return;
        }
        if known.heard.back() == Some(&(id, from)) {
            return;
        }
        known.heard.retain(|(other, _)| *other != id);
        if known.heard.len() == MAX_HEARD {
            known.heard.pop_front();
        }
        known.heard.push_back((id, from));
    }
}

impl Known {
    fn find(&self, id: NodeId) -> Option<SocketAddr> {
        let heard = || self.heard.iter().find(|(other, _)| *other == id);
        let found = self.configured.get(&id).or_else(|| self.named.get(&id));
        found.copied().or_else(|| heard().map(|(_, from)| *from))
    }
}

#[cfg(test)]
mod tests {
    use biglock::rules::Change;

    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn what_was_configured_wins_over_the_log_and_the_log_over_hearsay() {
        let addresses = Addresses::new(NodeId(1), BTreeMap::from([(NodeId(2), at(2))]));
        for id in 2..=4 {
            addresses.heard(NodeId(id), at(100));
        }
        let found = |id| addresses.find(NodeId(id));
        assert_eq!([found(2), found(3)], [Some(at(2)), Some(at(100))]);

        let mut members = Members::voting([NodeId(1)]);
        for (id, port) in [(2, 20), (3, 30)] {
            let (id, address) = (NodeId(id), at(port).to_string());
            members = members.with(&Change::AddLearner { id, address }).unwrap();
        }
        addresses.set_members(&Outside::claim("test"), &members);
        assert_eq!([found(2), found(3)], [Some(at(2)), Some(at(30))]);
        addresses.heard(NodeId(3), at(101));
        assert_eq!([found(3), found(4)], [Some(at(30)), Some(at(100))]);
        assert_eq!(addresses.members(), members);
    }

    #[test]
    fn those_who_were_heard_are_bounded_and_the_latest_are_kept() {
        let addresses = Addresses::new(NodeId(1), BTreeMap::new());
        for id in 2..1000 {
            addresses.heard(NodeId(id), at(7));
            // This one speaks all the time, and from elsewhere each time.
            addresses.heard(NodeId(1000), at(id as u16));
        }
        assert_eq!(addresses.known().heard.len(), MAX_HEARD);
        assert_eq!(addresses.find(NodeId(1000)), Some(at(999)));
        assert_eq!(addresses.find(NodeId(999)), Some(at(7)));
        assert_eq!(addresses.find(NodeId(2)), None);
    }
}
