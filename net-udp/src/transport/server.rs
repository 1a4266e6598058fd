//! The node's side of the [client protocol](crate::Client).
//!
//! The receiver proposes what a client asks for, and goes on: whoever has the answer sends it. A request that arrives again while
//! the first is still being executed is the *pending duplicate* of lecture 2: it is dropped, since the first will be answered. One that
//! arrives after that is proposed again, and its session knows that it was run.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biglock::node::{Decided, Reply, Served, SnapshotTaken, Tell};
use biglock::rules::{Change, ChangeRefused, Payload, ProposalRefused, TransferRefused};
use biglock::{Inbox, NodeId, Outside, ProposeError, ReadError, SessionRequest, TransferError};
use bytes::Bytes;

use super::addresses::Addresses;
use super::{Link, Reader};
use crate::codec::{self, Ask, ClientReply, ClientRequest, Listed, Outcome, Refused};

/// The most requests of clients that are being executed. More are told that the node is busy.
const MAX_PENDING: usize = 65_536;

/// Serves clients. Shared with those who will have the answers.
pub(super) struct Server {
    link: Arc<Link>,
    addresses: Arc<Addresses>,
    reader: Option<Reader>,
    /// The requests that are being executed: client and number.
    pending: Mutex<BTreeSet<(u64, u64)>>,
}

/// Requests to sessions, which wait to be proposed together.
pub(super) type Batch = Vec<(SessionRequest, Debt)>;

/// An answer that is owed.
#[derive(Clone)]
pub(super) struct Debt {
    server: Arc<Server>,
    client: u64,
    xid: u64,
    /// Where it came from.
    to: SocketAddr,
}

impl Server {
    pub(super) fn new(
        link: Arc<Link>,
        addresses: Arc<Addresses>,
        reader: Option<Reader>,
    ) -> Server {
        Server {
            link,
            addresses,
            reader,
            pending: Mutex::default(),
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins what a client asks for. Waits for nothing.
    ///
    /// What is for a session is put into `batch`, to be [proposed](Server::propose) together with others.
    pub(super) fn handle(
        self: &Arc<Server>,
        inbox: &Inbox,
        outside: &mut Outside,
        request: ClientRequest,
        from: SocketAddr,
        batch: &mut Batch,
    ) {
        let ClientRequest { client, xid, ask } = request;
        let full = {
            let mut pending = self.pending();
            let full = pending.len() >= MAX_PENDING;
            if !full && !pending.insert((client, xid)) {
                return;
            }
            full
        };
        let debt = Debt {
            server: self.clone(),
            client,
            xid,
            to: from,
        };
        if full {
            return debt.reply(outside, Outcome::Busy);
        }
        let begun = match ask {
            Ask::Session(request) => return batch.push((request, debt)),
            Ask::Read(question) => debt.read(inbox, outside, question),
            Ask::Members => debt.members(inbox, outside),
            Ask::Change(change) => debt.change(inbox, outside, &change),
            Ask::Transfer(to) => debt.transfer(inbox, outside, to),
            Ask::Snapshot => debt.snapshot(inbox, outside),
        };
        if let Err(outcome) = begun {
            debt.reply(outside, outcome);
        }
    }

    /// Proposes what is in the batch, in one section as long as nothing is refused.
    pub(super) fn propose(&self, inbox: &Inbox, outside: &mut Outside, batch: &mut Batch) {
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let proposals: Vec<_> = rest
                .iter()
                .map(|(request, debt)| (Payload::Session(request.clone().into()), debt.session()))
                .collect();
            let (many, proposed) = inbox.engine().propose(outside, proposals);
            let Err(why) = proposed else { break };
            // What is too large is so on its own account; any other reason is everybody's.
            let alone = matches!(why, ProposeError::TooLarge { .. });
            let refused = if alone {
                &rest[many..=many]
            } else {
                &rest[many..]
            };
            for (_, debt) in refused {
                debt.reply(outside, self.refused(&why));
            }
            rest = &rest[many + refused.len()..];
        }
        batch.clear();
    }

    /// Who leads, and where that one listens.
    fn not_leader(&self, leader: Option<NodeId>) -> Outcome {
        let leader = leader.map(|id| (id, self.address(id)));
        Outcome::NotLeader { leader }
    }

    fn address(&self, id: NodeId) -> Option<SocketAddr> {
        if id == self.link.id {
            let local = self.link.local;
            return Some(local).filter(|local| !local.ip().is_unspecified());
        }
        self.addresses.find(id)
    }

    fn list(&self, leader: Option<NodeId>) -> Outcome {
        let members = self.addresses.members();
        let listed = members.iter().map(|(id, member)| {
            let (voter, address) = (member.voter, self.address(id));
            (id, Listed { voter, address })
        });
        Outcome::Members {
            members: listed.collect(),
            leader,
        }
    }

    fn refused(&self, why: &ProposeError) -> Outcome {
        match why {
            ProposeError::NotLeader { leader } => self.not_leader(*leader),
            ProposeError::TooLarge { size, limit } => too_large(*size, *limit),
            // Others may go on.
            ProposeError::Stopped(_) => self.not_leader(None),
            _ => Outcome::Busy,
        }
    }

    fn unread(&self, why: &ReadError) -> Outcome {
        match why {
            ReadError::Busy => Outcome::Busy,
            _ => self.not_leader(None),
        }
    }
}

fn too_large(size: usize, limit: usize) -> Outcome {
    let (size, limit) = (size as u64, limit as u64);
    Outcome::TooLarge { size, limit }
}

/// Each begins something. The clone that it gives away replies later; if it can't begin, that one is dropped, and the outcome returned.
impl Debt {
    /// Whom to tell what became of a session's request.
    fn session(&self) -> Tell<Decided> {
        let debt = self.clone();
        Tell::call(move |outside, decided: Decided| {
            let outcome = match decided {
                Ok(Reply::Session(reply)) => Outcome::Session(reply),
                Ok(_) | Err(_) => Outcome::Undecided,
            };
            debt.reply(outside, outcome);
        })
    }

    fn read(&self, inbox: &Inbox, outside: &mut Outside, question: Bytes) -> Result<(), Outcome> {
        let reader = self.server.reader.clone();
        let reader = reader.ok_or(Outcome::Refused(Refused::NoReads))?;
        self.read_then(inbox, outside, move |_| Outcome::Value(reader(&question)))
    }

    fn members(&self, inbox: &Inbox, outside: &mut Outside) -> Result<(), Outcome> {
        let leader = inbox.status(outside).leader;
        self.read_then(inbox, outside, move |server| server.list(leader))
    }

    /// Replies with what `look` sees once this node has everything that was committed until now.
    fn read_then(
        &self,
        inbox: &Inbox,
        outside: &mut Outside,
        look: impl FnOnce(&Server) -> Outcome + Send + 'static,
    ) -> Result<(), Outcome> {
        let debt = self.clone();
        let then = move |outside: &Outside, served: Served| {
            let outcome = match served {
                Ok(()) => look(&debt.server),
                Err(why) => debt.server.unread(&why),
            };
            debt.reply(outside, outcome);
        };
        let begun = inbox.engine().read(outside, Tell::call(then));
        begun.map_err(|why| self.server.unread(&why))
    }

    fn change(&self, inbox: &Inbox, outside: &mut Outside, change: &Change) -> Result<(), Outcome> {
        let debt = self.clone();
        let then = move |outside: &Outside, decided: Decided| {
            let outcome = match decided {
                Ok(_) => Outcome::Changed,
                Err(_) => Outcome::Undecided,
            };
            debt.reply(outside, outcome);
        };
        let begun = inbox
            .engine()
            .change_members(outside, change, Tell::call(then));
        begun.map_err(|why| match why {
            ChangeRefused::Bad(why) => Outcome::Refused(Refused::Change(why)),
            ChangeRefused::CatchingUp { entries } => {
                Outcome::Refused(Refused::CatchingUp { entries })
            }
            ChangeRefused::Proposal(ProposalRefused::NotLeader) => {
                self.server.not_leader(inbox.status(outside).leader)
            }
            ChangeRefused::Proposal(ProposalRefused::TooLarge { size, limit }) => {
                too_large(size, limit)
            }
            // An earlier change, the leader's own beginning, or a transfer is to end before.
            _ => Outcome::Busy,
        })
    }

    /// Begins a transfer. What became of it the client learns when it asks again: then `to` leads, or the next attempt begins.
    fn transfer(&self, inbox: &Inbox, outside: &mut Outside, to: NodeId) -> Result<(), Outcome> {
        let leader = inbox.status(outside).leader;
        if leader == Some(to) {
            return Err(Outcome::Leads(to));
        }
        Err(match inbox.engine().begin_transfer(outside, to) {
            Err(TransferError::Refused(TransferRefused::NotAVoter(id))) => {
                Outcome::Refused(Refused::NotAVoter(id))
            }
            Ok(_) | Err(TransferError::Refused(TransferRefused::Pending)) => Outcome::Busy,
            Err(_) => self.server.not_leader(leader),
        })
    }

    fn snapshot(&self, inbox: &Inbox, outside: &mut Outside) -> Result<(), Outcome> {
        let debt = self.clone();
        let then = move |outside: &Outside, taken: SnapshotTaken| {
            let outcome = match taken {
                Ok(last) => Outcome::Snapshot(last),
                Err(_) => debt.server.not_leader(None),
            };
            debt.reply(outside, outcome);
        };
        let begun = inbox.engine().snapshot(outside, Tell::call(then));
        begun.map_err(|_| self.server.not_leader(None))
    }

    /// Pays: the request is no longer pending, and the client is told.
    fn reply(&self, outside: &Outside, outcome: Outcome) {
        let Debt {
            server,
            client,
            xid,
            to,
        } = self;
        server.pending().remove(&(*client, *xid));
        let (link, cluster) = (&*server.link, server.link.cluster);
        let mut reply = ClientReply {
            client: *client,
            xid: *xid,
            outcome,
        };
        link.with_buffer(outside, |buffer| {
            if codec::encode_client_reply(buffer, cluster, link.id, &reply).is_err() {
                let size = reply.outcome.size();
                reply.outcome = Outcome::AnswerTooLarge { size };
            }
            let sent = codec::encode_client_reply(buffer, cluster, link.id, &reply)
                .map_err(std::io::Error::other)
                .and_then(|datagram| link.socket.send_to(datagram, to));
            if let Err(error) = sent {
                tracing::debug!(node = link.id.0, %to, %error, "no reply to a client");
            }
        });
    }
}

#[cfg(test)]
mod tests;
