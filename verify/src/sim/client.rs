//! Clients of the key-value store, as machines of state: each finds the leader, sends, waits, tries again elsewhere, and has every command
//! run once, by a session (dissertation, chapter 6).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use biglock::kv::{Command, Reply};
use biglock::node::Reply as NodeReply;
use biglock::rules::Payload;
use biglock::{NodeId, ProposeError, SessionReply, SessionRequest};
use bytes::Bytes;
use fastrand::Rng;

use super::machine::Machine;
use super::{Context, Event, Outcome, Ticket, between};
use crate::linearizable::{History, OperationId};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub usize);

/// Commands, by their number.
pub type Commands = Box<dyn FnMut(&mut Rng, u64) -> Option<Command>>;

/// What a client does.
pub struct Plan {
    /// Its commands, by their number from 0; it ends with the first that is nothing.
    pub commands: Commands,
    /// How long it waits between an operation and the next.
    pub think: Range<Duration>,
    /// The share of its `Get`s that go off the log: by a read at whichever node, leader or not.
    pub reads_off_log: f64,
    /// How long it waits for an answer before it asks another node.
    pub patience: Duration,
    /// The only nodes that it can ask; all, if there is none.
    pub nodes: Vec<NodeId>,
    /// For how long its session may be idle.
    pub session: Duration,
}

impl Plan {
    /// A client that gives these commands one after the other, as fast as it gets answers.
    pub fn new(commands: impl FnMut(&mut Rng, u64) -> Option<Command> + 'static) -> Plan {
        Plan {
            commands: Box::new(commands),
            think: Duration::ZERO..Duration::from_millis(5),
            reads_off_log: 0.0,
            patience: Duration::from_millis(150),
            nodes: Vec::new(),
            session: Duration::from_secs(3600),
        }
    }

    /// The same with longer pauses.
    pub fn thinking(mut self, think: Range<Duration>) -> Plan {
        self.think = think;
        self
    }

    /// The same with some reads off the log.
    pub fn reading_off_log(mut self, share: f64) -> Plan {
        self.reads_off_log = share;
        self
    }
}

/// A client's request to a node.
#[derive(Clone, Debug)]
pub(super) struct Request {
    client: ClientId,
    /// Which question of the client's: the same when it asks again.
    question: u64,
    ask: Ask,
}

#[derive(Clone, Debug)]
enum Ask {
    Session(SessionRequest),
    Read(String),
}

/// A node's answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Session(SessionReply),
    Value(Option<Bytes>),
    /// Ask somebody else: this one, if the node knows who leads.
    Elsewhere(Option<NodeId>),
}

struct Client {
    plan: Plan,
    servers: Vec<NodeId>,
    /// Whom it asks.
    server: usize,
    session: Option<u64>,
    /// The number of the next command in the session.
    sequence: u64,
    /// How many commands it has taken from its plan.
    taken: u64,
    ended: u64,
    /// What it waits for.
    doing: Option<Doing>,
    question: u64,
    /// The alarm that counts: an older one was overtaken.
    alarm: u64,
    /// Nothing more is to begin.
    stopped: bool,
}

#[derive(Clone, Debug)]
enum Doing {
    /// Opens the session in which this command is to be run.
    Open(Command),
    Call(OperationId, Command),
    Read(OperationId, String),
}

/// All clients, and what they saw.
#[derive(Default)]
pub(super) struct Clients {
    all: Vec<Client>,
    history: History,
    /// How many heard that their session had expired.
    expired: u64,
    /// Whom to answer when a node has decided.
    pending: BTreeMap<Ticket, (ClientId, u64, NodeId)>,
}

impl Clients {
    pub(super) fn add(
        &mut self,
        context: &mut Context,
        mut servers: Vec<NodeId>,
        plan: Plan,
    ) -> ClientId {
        if !plan.nodes.is_empty() {
            servers = plan.nodes.clone();
        }
        let id = ClientId(self.all.len());
        self.all.push(Client {
            server: context.random.usize(..servers.len()),
            servers,
            plan,
            session: None,
            sequence: 1,
            taken: 0,
            ended: 0,
            doing: None,
            question: 0,
            alarm: 0,
            stopped: false,
        });
        self.think(context, id);
        id
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn set_servers(&mut self, id: ClientId, servers: Vec<NodeId>) {
        self.all[id.0].server = 0;
        self.all[id.0].servers = servers;
    }

    pub(super) fn stop(&mut self) {
        for client in &mut self.all {
            client.stopped = true;
        }
    }

    pub(super) fn are_idle(&self) -> bool {
        self.all.iter().all(|c| c.doing.is_none() && c.stopped)
    }

    pub(super) fn operations(&self, id: ClientId) -> u64 {
        self.all[id.0].ended
    }

    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// A pause.
    fn think(&mut self, context: &mut Context, id: ClientId) {
        let pause = between(&mut context.random, &self.all[id.0].plan.think);
        self.set_alarm(context, id, pause);
    }

    fn set_alarm(&mut self, context: &mut Context, id: ClientId, after: Duration) {
        let client = &mut self.all[id.0];
        client.alarm += 1;
        let alarm = client.alarm;
        context.at(context.now + after, Event::Client(id, alarm));
    }

    /// A pause or the patience is over.
    pub(super) fn wake(&mut self, context: &mut Context, id: ClientId, alarm: u64) {
        let client = &mut self.all[id.0];
        if client.alarm != alarm {
            return;
        }
        if client.doing.is_some() {
            client.server = (client.server + 1) % client.servers.len();
            return self.ask(context, id);
        }
        if client.stopped {
            return;
        }
        let number = client.taken;
        let Some(command) = (client.plan.commands)(&mut context.random, number) else {
            client.stopped = true;
            return;
        };
        client.taken += 1;
        let off_log = context.random.f64() < client.plan.reads_off_log;
        match &command {
            Command::Get { key } if off_log => {
                let key = key.clone();
                let operation = self.history.invoke(context.now, id.0 as u64, command);
                self.all[id.0].doing = Some(Doing::Read(operation, key));
            }
            _ => self.call(context, id, command),
        }
        self.all[id.0].question += 1;
        self.ask(context, id);
    }

    /// Begins a command, or first the session for it.
    fn call(&mut self, context: &Context, id: ClientId, command: Command) {
        let client = &mut self.all[id.0];
        client.doing = Some(if client.session.is_some() {
            let operation = self
                .history
                .invoke(context.now, id.0 as u64, command.clone());
            Doing::Call(operation, command)
        } else {
            Doing::Open(command)
        });
    }

    /// Sends what it is about, perhaps not for the first time.
    fn ask(&mut self, context: &mut Context, id: ClientId) {
        let client = &self.all[id.0];
        let Some(doing) = &client.doing else {
            return;
        };
        let ask = match doing {
            Doing::Open(_) => Ask::Session(SessionRequest::Open {
                patience: client.plan.session,
            }),
            Doing::Call(_, command) => Ask::Session(SessionRequest::Call {
                session: client.session.unwrap_or_default(),
                sequence: client.sequence,
                seen: client.sequence,
                command: command.clone().into(),
            }),
            Doing::Read(_, key) => Ask::Read(key.clone()),
        };
        let request = Request {
            client: id,
            question: client.question,
            ask,
        };
        let (server, patience) = (client.servers[client.server], client.plan.patience);
        let network = &context.network;
        let arrivals = network.carry_to_client(&mut context.random, context.now, false);
        for at in arrivals {
            context.at(at, Event::Request(server, request.clone()));
        }
        self.set_alarm(context, id, patience);
    }

    /// A request arrives at a node.
    pub(super) fn serve(&mut self, context: &mut Context, machine: &mut Machine, request: Request) {
        let Some(life) = &machine.life else {
            return;
        };
        let Request {
            client,
            question,
            ask,
        } = request;
        let node = machine.id;
        let (ticket, refused) = match ask {
            Ask::Session(request) => {
                let (ticket, tell) = context.ticket(Outcome::Decided);
                let payload = Payload::Session(request.into());
                let result = machine.call(context, |s, now| s.propose(now, [(payload, tell)]).1);
                let leader = match result {
                    Some(Err(ProposeError::NotLeader { leader })) => leader,
                    _ => None,
                };
                (ticket, (!matches!(result, Some(Ok(())))).then_some(leader))
            }
            Ask::Read(key) => {
                let store = life.store.clone();
                let (ticket, tell) = context.ticket(move |served| {
                    let value = store.get(&key);
                    Outcome::Served(served, value)
                });
                let result = machine.call(context, |s, now| s.read(now, tell));
                (ticket, (!matches!(result, Some(Ok(())))).then_some(None))
            }
        };
        match refused {
            None => {
                self.pending.insert(ticket, (client, question, node));
            }
            Some(leader) => {
                self.answer(context, client, question, node, Answer::Elsewhere(leader));
            }
        }
    }

    /// Somebody was told something. If it was a node's for a client, the answer leaves; else the outcome comes back.
    pub(super) fn told(
        &mut self,
        context: &mut Context,
        ticket: Ticket,
        outcome: Outcome,
    ) -> Option<Outcome> {
        let Some((client, question, node)) = self.pending.remove(&ticket) else {
            return Some(outcome);
        };
        let answer = match outcome {
            Outcome::Decided(Ok(NodeReply::Session(reply))) => Answer::Session(reply),
            Outcome::Served(Ok(()), value) => Answer::Value(value),
            _ => Answer::Elsewhere(None),
        };
        self.answer(context, client, question, node, answer);
        None
    }

    /// Whether a client waits for this.
    pub(super) fn awaits(&self, ticket: Ticket) -> bool {
        self.pending.contains_key(&ticket)
    }

    /// Nobody will tell.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.pending.remove(&ticket);
    }

    fn answer(
        &self,
        context: &mut Context,
        client: ClientId,
        question: u64,
        node: NodeId,
        answer: Answer,
    ) {
        let network = &context.network;
        let arrivals = network.carry_to_client(&mut context.random, context.now, true);
        for at in arrivals {
            context.at(at, Event::Answer(client, question, node, answer.clone()));
        }
    }

    /// An answer arrives at a client.
    pub(super) fn hear(
        &mut self,
        context: &mut Context,
        id: ClientId,
        question: u64,
        from: NodeId,
        answer: Answer,
    ) {
        let client = &mut self.all[id.0];
        if client.question != question {
            return;
        }
        let Some(doing) = client.doing.clone() else {
            return;
        };
        let now = context.now;
        match (doing, answer) {
            (_, Answer::Elsewhere(leader)) => {
                if client.servers[client.server] != from {
                    // It asks another one already.
                    return;
                }
                let known = leader.and_then(|l| client.servers.iter().position(|&s| s == l));
                let pause = match known {
                    Some(leader) => {
                        client.server = leader;
                        client.alarm += 1;
                        return self.ask(context, id);
                    }
                    None => Duration::from_millis(20),
                };
                return self.set_alarm(context, id, pause);
            }
            (Doing::Open(command), Answer::Session(SessionReply::Opened { session })) => {
                client.session = Some(session);
                client.sequence = 1;
                client.question += 1;
                self.call(context, id, command);
                return self.ask(context, id);
            }
            (Doing::Call(operation, _), Answer::Session(SessionReply::Done(reply))) => {
                let reply = Reply::decode(&reply).expect("the store replies");
                client.sequence += 1;
                self.history.complete(now, operation, reply);
            }
            (Doing::Call(operation, _), Answer::Session(SessionReply::Expired)) => {
                client.session = None;
                self.expired += 1;
                self.history.unknown(operation);
            }
            (Doing::Read(operation, _), Answer::Value(value)) => {
                self.history.complete(now, operation, Reply::Value(value));
            }
            (doing, answer) => panic!("client {id:?} asked {doing:?} and heard {answer:?}"),
        }
        let client = &mut self.all[id.0];
        client.doing = None;
        client.ended += 1;
        self.think(context, id);
    }
}
