//! Asking a cluster for something over UDP, though datagrams get lost, arrive twice, and leaders die.

mod error;
mod exchange;
mod kv;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use biglock::rules::Change;
use biglock::{NodeId, Position, SessionReply, SessionRequest, Time};
use bytes::Bytes;

use crate::codec::{Ask, Listed, MAX_DATAGRAM, Outcome, SAFE_DATAGRAM, is_max_datagram};
pub use error::{ClientError, Heard};
use exchange::{Exchange, Whom};
pub use kv::{KvClient, Swapped, kv_reader};

/// What a [`Client`] is told. Make one with [`ClientConfig::new`] and change what you need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The cluster's id, as its nodes have it.
    pub cluster: u64,
    /// Where its nodes listen; some of them are enough, since they name the leader. All IPv4, or all IPv6.
    pub servers: BTreeMap<NodeId, SocketAddr>,
    /// How long a call may take, with all that is sent again. Default: 10 s.
    pub timeout: Duration,
    /// How long the session may be idle before the cluster forgets it. Longer than `timeout`, or a call might outlive it; better several
    /// times as long, since a session that might expire within the next call's timeout is closed before it, and another opened.
    /// Default: 60 s.
    pub patience: Duration,
    /// The longest datagram to send, in bytes: a command must fit into one. Default: 1,200, as a node's
    /// [`max_datagram`](crate::UdpConfig::max_datagram), which bounds the answers.
    pub max_datagram: usize,
}

impl ClientConfig {
    /// A client of this cluster, with the defaults above.
    pub fn new(
        cluster: u64,
        servers: impl IntoIterator<Item = (NodeId, SocketAddr)>,
    ) -> ClientConfig {
        ClientConfig {
            cluster,
            servers: servers.into_iter().collect(),
            timeout: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            max_datagram: SAFE_DATAGRAM,
        }
    }
}

/// A client of a cluster: finds the leader, sends again what was lost, and has **each command run exactly once** however often it was sent
/// (section 8 of the paper; dissertation, chapter 6; lecture 2).
///
/// Every request has a number (the XID of lecture 2), so that late and repeated replies are told from the one that is waited for. Every
/// command has besides a number in the client's *session*, which is a part of the replicated state: a command that arrives again, at
/// this leader or the next, before or after a restart, is not run again, and has the reply of the first time. With each command the
/// client says up to where it has seen the replies, so that the servers can forget those.
///
/// The session is opened by the first [`call`](Client::call). It belongs to this value: one call at a time, so give each thread a client
/// of its own. Dropping the client closes the session, if the one datagram that says so arrives; otherwise it expires.
///
/// ```no_run
/// use biglock::NodeId;
/// use biglock_udp::{ClientConfig, KvClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let servers = [(NodeId(1), "10.0.0.1:4000".parse()?), (NodeId(2), "10.0.0.2:4000".parse()?)];
/// let mut client = KvClient::connect(ClientConfig::new(7, servers))?;
/// client.append("log", "one line\n")?; // once, whatever gets lost
/// println!("{:?}", client.get("log")?); // linearizable
/// # Ok(())
/// # }
/// ```
pub struct Client {
    config: ClientConfig,
    exchange: Exchange,
    session: Option<Session>,
}

struct Session {
    id: u64,
    /// The number of the next command.
    next: u64,
    /// It does not expire before this, its patience after the last request that was answered was first sent: log time goes no faster than
    /// the leaders' clocks. By this machine's clock; if that stands still, as some do in a suspended machine, the session may have expired.
    lives_until: Time,
}

impl Client {
    /// A client with a socket of its own. Nothing is sent yet.
    ///
    /// # Errors
    /// If the configuration can't work, or the system gives no socket.
    pub fn connect(config: ClientConfig) -> Result<Client, ClientError> {
        if !is_max_datagram(config.max_datagram) {
            return Err(ClientError::Config(format!(
                "max_datagram is {} bytes: make it {SAFE_DATAGRAM}, or up to {MAX_DATAGRAM} as on the nodes",
                config.max_datagram
            )));
        }
        if config.patience <= config.timeout {
            return Err(ClientError::Config(format!(
                "patience is {:?}: make it longer than the timeout, {:?}",
                config.patience, config.timeout
            )));
        }
        Ok(Client {
            exchange: Exchange::new(&config)?,
            config,
            session: None,
        })
    }

    /// Runs a command exactly once, and returns the state machine's reply. It is sent until there is one.
    ///
    /// A client that was idle for so long that its session may expire before the [timeout](ClientConfig::timeout) closes it and opens another
    /// first. If it expires all the same (the cluster ended it early, because there were too many or their replies took too much; or lost
    /// its memory; or this machine was suspended), nobody can tell whether the command was run in it before, however often it was sent.
    ///
    /// # Errors
    /// If there is no reply in time, the session expired, or the command is too long. Ask the error whether the command
    /// [may have run](ClientError::may_have_run). If it may, it may also run yet: until the next call of this client is answered, after
    /// which a command that was not run before never is.
    pub fn call(&mut self, command: impl Into<Bytes>) -> Result<Bytes, ClientError> {
        let until = self.until();
        let number = self.next_number(until);
        let (session, sequence) = number.map_err(|why| why.having_sent(false))?;
        let lives_until = self.lives_until();
        let ask = Ask::Session(SessionRequest::Call {
            session,
            sequence,
            // One at a time: whatever came before was answered, or given up.
            seen: sequence,
            command: command.into(),
        });
        match self.exchange.ask(ask, Whom::Leader, until)? {
            Outcome::Session(SessionReply::Done(reply)) => {
                if let Some(session) = &mut self.session {
                    session.lives_until = lives_until;
                }
                Ok(reply)
            }
            // Another copy of the request may have found it open.
            Outcome::Session(SessionReply::Expired) => {
                self.session = None;
                Err(ClientError::SessionExpired)
            }
            other => Err(ClientError::of(other)),
        }
    }

    /// A session that lives until then, opened if need be, and the number of the command that comes next.
    fn next_number(&mut self, until: Time) -> Result<(u64, u64), ClientError> {
        if let Some(session) = &self.session
            && session.lives_until < until
        {
            self.close(session.id, until)?;
            self.session = None;
        }
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                let lives_until = self.lives_until();
                let id = self.open(until)?;
                self.session.insert(Session {
                    id,
                    next: 1,
                    lives_until,
                })
            }
        };
        let sequence = session.next;
        session.next += 1;
        Ok((session.id, sequence))
    }

    /// Until when a session lives that is used from now on.
    fn lives_until(&self) -> Time {
        self.exchange.now() + self.config.patience
    }

    /// Opens a session. If the reply is lost, the next attempt opens another, and the first expires.
    fn open(&mut self, until: Time) -> Result<u64, ClientError> {
        let patience = self.config.patience;
        let open = Ask::Session(SessionRequest::Open { patience });
        match self.exchange.ask(open, Whom::Leader, until)? {
            Outcome::Session(SessionReply::Opened { session }) => Ok(session),
            other => Err(ClientError::of(other)),
        }
    }

    /// Closes a session, and waits until it is: what was given up in it is never run after that.
    fn close(&mut self, session: u64, until: Time) -> Result<(), ClientError> {
        let close = Ask::Session(SessionRequest::Close { session });
        match self.exchange.ask(close, Whom::Leader, until)? {
            Outcome::Session(SessionReply::Closed | SessionReply::Expired) => Ok(()),
            other => Err(ClientError::of(other)),
        }
    }

    /// Reads from the state of any node, linearizably: the answer holds everything that was answered before this call. Nothing is
    /// written to the log. What the question means is up to the nodes' [readers](crate::UdpTransport::with_reader).
    ///
    /// # Errors
    /// If there is no answer in time, or the nodes have no readers.
    pub fn read(&mut self, question: impl Into<Bytes>) -> Result<Bytes, ClientError> {
        let until = self.until();
        let ask = Ask::Read(question.into());
        match self.exchange.ask(ask, Whom::Any, until)? {
            Outcome::Value(answer) => Ok(answer),
            other => Err(ClientError::of(other)),
        }
    }

    /// Who belongs to the cluster, and who leads it.
    ///
    /// # Errors
    /// If there is no answer in time.
    pub fn members(&mut self) -> Result<(BTreeMap<NodeId, Listed>, Option<NodeId>), ClientError> {
        let until = self.until();
        self.list(until)
    }

    fn list(
        &mut self,
        until: Time,
    ) -> Result<(BTreeMap<NodeId, Listed>, Option<NodeId>), ClientError> {
        match self.exchange.ask(Ask::Members, Whom::Any, until)? {
            Outcome::Members { members, leader } => Ok((members, leader)),
            other => Err(ClientError::of(other)),
        }
    }

    /// Changes the members, one node at a time, and returns when that is committed. What is so already counts as made, whoever made it: of two
    /// copies of this request the first may make the change, and the second is refused. So when it is refused, the
    /// [members](Client::members) are asked for, and the list is believed; what it names first may not be committed yet. A copy that the
    /// network delays may make the change after this call has ended.
    ///
    /// # Errors
    /// If it makes no sense, a learner has not caught up yet, or there is no answer in time.
    pub fn change_members(&mut self, change: Change) -> Result<(), ClientError> {
        let until = self.until();
        let ask = Ask::Change(change.clone());
        let outcome = self.exchange.ask(ask, Whom::Leader, until)?;
        if matches!(outcome, Outcome::Refused(_)) {
            let listed = self.list(until);
            let (members, _) = listed.map_err(|why| why.having_sent(true))?;
            if is_so(&change, &members) {
                return Ok(());
            }
        }
        match outcome {
            Outcome::Changed => Ok(()),
            other => Err(ClientError::of(other)),
        }
    }

    /// Hands the leadership over, and returns when that node leads. Whoever leads in between is asked again.
    ///
    /// # Errors
    /// If the node is no voter, or does not lead in time.
    pub fn transfer_leadership(&mut self, to: u64) -> Result<(), ClientError> {
        let until = self.until();
        let ask = Ask::Transfer(NodeId(to));
        match self.exchange.ask(ask, Whom::Leader, until)? {
            Outcome::Leads(_) => Ok(()),
            other => Err(ClientError::of(other)),
        }
    }

    /// Makes a node take a snapshot of its state, and drop the log before it. Returns the last entry that it holds. If it is none of the
    /// [servers](ClientConfig::servers), it is looked for among the members.
    ///
    /// # Errors
    /// If there is no answer in time, it is no member, or nobody knows where it is.
    pub fn snapshot(&mut self, node: u64) -> Result<Position, ClientError> {
        let until = self.until();
        let id = NodeId(node);
        if !self.exchange.knows(id) {
            self.look_for(id, until)?;
        }
        let whom = Whom::Only(id);
        match self.exchange.ask(Ask::Snapshot, whom, until)? {
            Outcome::Snapshot(last) => Ok(last),
            other => Err(ClientError::of(other)),
        }
    }

    /// Asks where a member is.
    fn look_for(&mut self, id: NodeId, until: Time) -> Result<(), ClientError> {
        let (mut members, _) = self.list(until)?;
        let Some(listed) = members.remove(&id) else {
            return Err(ClientError::NotAMember {
                node: id,
                members: members.into_keys().collect(),
            });
        };
        self.exchange.meet(id, listed.address);
        Ok(())
    }

    fn until(&self) -> Time {
        self.exchange.now() + self.config.timeout
    }
}

/// Whether what the change was to bring about is so.
fn is_so(change: &Change, members: &BTreeMap<NodeId, Listed>) -> bool {
    let votes = |id| members.get(id).map(|member| member.voter);
    match change {
        // One that can't be reached as it was asked for is somewhere else, as far as anybody can tell.
        Change::AddLearner { id, address } => {
            let there = members.get(id).and_then(|member| member.address);
            there.is_some_and(|there| address.parse() == Ok(there))
        }
        Change::Promote(id) => votes(id) == Some(true),
        Change::Demote(id) => votes(id) == Some(false),
        Change::Remove(id) => votes(id).is_none(),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .field("session", &self.session.as_ref().map(|session| session.id))
            .finish_non_exhaustive()
    }
}

impl Drop for Client {
    /// Says good-bye, once: nobody waits for an answer.
    fn drop(&mut self) {
        if let Some(Session { id: session, .. }) = self.session {
            let close = Ask::Session(SessionRequest::Close { session });
            self.exchange.tell(close);
        }
    }
}
