//! What tests and clients ask of a simulated cluster.

use biglock::node::{Served, Shared};
use biglock::rules::{Change, ChangeRefused, Payload, TransferRefused};
use biglock::{NodeId, ProposeError, ReadError, Time};
use bytes::Bytes;

use super::{ClientId, Outcome, Plan, Sim, Ticket};
use crate::linearizable::History;

impl Sim {
    /// Proposes a command at a node.
    ///
    /// # Errors
    /// If the node refuses it, or does not run.
    pub fn propose(
        &mut self,
        id: NodeId,
        command: impl Into<Bytes>,
    ) -> Result<Ticket, Option<ProposeError>> {
        let payload = Payload::Command(command.into());
        let (ticket, tell) = self.context.ticket(Outcome::Decided);
        let result = self.call(id, |shared, now| shared.propose(now, [(payload, tell)]).1);
        self.settled(ticket, result)
    }

    /// Asks a node for leave to read `key` of its store.
    ///
    /// # Errors
    /// If the node refuses, or does not run.
    pub fn read(&mut self, id: NodeId, key: &str) -> Result<Ticket, Option<ReadError>> {
        let store = self.machines[&id].life.as_ref().map(|l| l.store.clone());
        let store = store.ok_or(None)?;
        let key = key.to_owned();
        let (ticket, tell) = self.context.ticket(move |served: Served| {
            let value = store.get(&key);
            Outcome::Served(served, value)
        });
        let result = self.call(id, |shared, now| shared.read(now, tell));
        self.settled(ticket, result)
    }

    /// Asks a node to change the members.
    ///
    /// # Errors
    /// If the node refuses, or does not run.
    pub fn change_members(
        &mut self,
        id: NodeId,
        change: &Change,
    ) -> Result<Ticket, Option<ChangeRefused>> {
        let (ticket, tell) = self.context.ticket(Outcome::Decided);
        let result = self.call(id, |shared, now| shared.change_members(now, change, tell));
        self.settled(ticket, result)
    }

    /// Asks a node to hand over the leadership.
    ///
    /// # Errors
    /// If the node refuses, or does not run.
    pub fn transfer(&mut self, id: NodeId, to: NodeId) -> Result<(), Option<TransferRefused>> {
        let result = self.call(id, |shared, now| shared.transfer(now, to));
        result.ok_or(None)?.map_err(Some)
    }

    /// Asks a node for a snapshot. Nothing if it does not run.
    pub fn snapshot(&mut self, id: NodeId) -> Option<Ticket> {
        let (ticket, tell) = self.context.ticket(Outcome::Snapshot);
        let result = self.call(id, |shared, _| shared.want_snapshot(tell))?;
        result.is_ok().then_some(ticket)
    }

    fn call<T>(&mut self, id: NodeId, body: impl FnOnce(&mut Shared, Time) -> T) -> Option<T> {
        let machine = self.machines.get_mut(&id)?;
        let result = machine.call(&mut self.context, body);
        self.hear();
        result
    }

    fn settled<E>(
        &mut self,
        ticket: Ticket,
        result: Option<Result<(), E>>,
    ) -> Result<Ticket, Option<E>> {
        result.ok_or(None)?.map_err(Some)?;
        if !self.outcomes.contains_key(&ticket) {
            self.asked.insert(ticket);
        }
        Ok(ticket)
    }

    /// How something ended, if it has. Can be asked once.
    pub fn take_outcome(&mut self, ticket: Ticket) -> Option<Outcome> {
        self.outcomes.remove(&ticket)
    }

    /// Whether something has ended.
    pub fn has_ended(&self, ticket: Ticket) -> bool {
        self.outcomes.contains_key(&ticket)
    }

    /// A client of the key-value store begins.
    pub fn add_client(&mut self, plan: Plan) -> ClientId {
        let servers = self.machines.keys().copied().collect();
        self.clients.add(&mut self.context, servers, plan)
    }

    /// All clients.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + use<> {
        (0..self.clients.len()).map(ClientId)
    }

    /// A client asks these nodes from now on.
    pub fn set_nodes(&mut self, client: ClientId, nodes: Vec<NodeId>) {
        self.clients.set_servers(client, nodes);
    }

    /// Clients end what they have begun, and begin nothing more.
    pub fn stop_clients(&mut self) {
        self.clients.stop();
    }

    /// Whether no client waits for anything.
    pub fn clients_are_idle(&self) -> bool {
        self.clients.are_idle()
    }

    /// How many operations a client has ended.
    pub fn operations(&self, client: ClientId) -> u64 {
        self.clients.operations(client)
    }

    /// How many times a client heard that its session had expired.
    pub fn sessions_expired(&self) -> u64 {
        self.clients.expired()
    }

    /// What the clients saw.
    pub fn history(&self) -> &History {
        self.clients.history()
    }
}
