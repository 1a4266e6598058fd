//! openraft 0.10 on tokio: three nodes in one process, after the benchmark that comes with it (`benchmarks/minimal`).

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::entry::RaftEntry;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest,
    VoteResponse,
};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine,
};
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::{Config, EntryPayload, OptionalSend, Raft, SnapshotPolicy};
use openraft_0_10 as openraft;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::openraft_load::{self, runtime};
use crate::{ELECTION_TIMEOUT, HEARTBEAT, NODES, PATIENCE, Subject, number};

/// What openraft is to be made of: its defaults, and the responder that only answers once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Command;
    type R = u64;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Command, u64, ()>;
    type Entry = openraft::type_config::alias::DefaultEntryOf<Self>;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type AsyncRuntime = openraft_0_10::impls::TokioRuntime;
    type ErrorSource = openraft::AnyError;
}

/// A command, in a type that openraft can show.
#[derive(Clone, Copy, Debug)]
pub struct Command(crate::Command);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}", number(&self.0))
    }
}

/// The cluster.
pub struct Cluster {
    runtime: Runtime,
    nodes: Vec<Handle>,
    proposed: u64,
}

type Handle = Raft<Types, Machine>;

impl Cluster {
    /// A cluster with a leader.
    ///
    /// # Panics
    /// If it does not start, or finds no leader.
    pub fn start() -> Cluster {
        let runtime = runtime();
        let nodes = runtime.block_on(start());
        Cluster {
            runtime,
            nodes,
            proposed: 0,
        }
    }
}

impl Subject for Cluster {
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration {
        let first = self.proposed;
        self.proposed += commands;
        let leader = self.nodes[0].clone();
        let write = move |number| {
            let leader = leader.clone();
            async move {
                let command = Command(crate::command(number));
                let written = leader.client_write(command).await.expect("a leader");
                written.data
            }
        };
        openraft_load::commit(&self.runtime, first..self.proposed, in_flight, write)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            for node in &self.nodes {
                let _ = node.shutdown().await;
            }
        });
    }
}

async fn start() -> Vec<Handle> {
    let config = Config {
        election_timeout_min: ELECTION_TIMEOUT.as_millis() as u64,
        election_timeout_max: 2 * ELECTION_TIMEOUT.as_millis() as u64,
        heartbeat_interval: HEARTBEAT.as_millis() as u64,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("a valid configuration"));
    let network = Network::default();
    let mut nodes = Vec::new();
    for id in 1..=NODES {
        let log = Log::default();
        let machine = Machine::default();
        let node = Raft::new(id, config.clone(), network.clone(), log, machine);
        nodes.push(node.await.expect("a node that starts"));
    }
    *network.nodes.lock() = (1..=NODES).zip(nodes.iter().cloned()).collect();
    let members: std::collections::BTreeSet<u64> = (1..=NODES).collect();
    nodes[0].initialize(members).await.expect("a new cluster");
    for node in &nodes {
        let wait = node.wait(Some(PATIENCE));
        let led = wait.current_leader(1, "its start").await;
        led.expect("the node that started leads");
    }
    nodes
}

/// Calls the other nodes directly.
#[derive(Clone, Default)]
struct Network {
    nodes: Arc<Mutex<BTreeMap<u64, Handle>>>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &()) -> Link {
        Link {
            target: self.nodes.lock()[&target].clone(),
        }
    }
}

struct Link {
    target: Handle,
}

fn unreachable(error: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(error)
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let response = self.target.append_entries(request).await;
        response.map_err(|error| unreachable(&error).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        // Several requests on the way at a time, as over a connection.
        let responses = self.target.stream_append(requests);
        let responses = responses.map_err(|error| unreachable(&error).into());
        async move { Ok(responses.boxed()) }.boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let response = self.target.vote(request).await;
        response.map_err(|error| unreachable(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(unreachable(&no_snapshots()).into())
    }
}

/// The policy says never.
fn no_snapshots() -> io::Error {
    io::Error::other("no snapshots are taken here")
}

/// The log and the vote, in memory.
#[derive(Clone, Default)]
struct Log {
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    vote: Option<VoteOf<Types>>,
    entries: BTreeMap<u64, EntryOf<Types>>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let stored = self.stored.lock();
        Ok(stored
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.stored.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let stored = self.stored.lock();
        let last = stored.entries.values().next_back();
        Ok(LogState {
            last_purged_log_id: None,
            last_log_id: last.map(|entry| entry.log_id()),
        })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.stored.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, written: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.index(), entry));
        self.stored.lock().entries.extend(entries);
        written.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let first = last.map_or(0, |last| last.index + 1);
        drop(self.stored.lock().entries.split_off(&first));
        Ok(())
    }

    async fn purge(&mut self, _: LogIdOf<Types>) -> Result<(), io::Error> {
        Err(no_snapshots())
    }
}

/// A state machine that does nothing: it answers a command with its number.
#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogIdOf<Types>>,
    members: StoredMembershipOf<Types>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            let reply = match entry.payload {
                EntryPayload::Normal(command) => number(&command.0),
                EntryPayload::Blank => 0,
                EntryPayload::Membership(members) => {
                    self.members = StoredMembershipOf::<Types>::new(self.applied, members);
                    0
                }
            };
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMetaOf<Types>,
        _: (),
    ) -> Result<(), io::Error> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        Err(no_snapshots())
    }
}
