//! openraft 0.9 on tokio: three nodes in one process, after the benchmark that comes with it (`cluster_benchmark`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::{
    LogFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
    Snapshot,
};
use openraft::{
    Config, EntryPayload, LogId, OptionalSend, Raft, RaftLogId, SnapshotMeta, SnapshotPolicy,
    StorageError, StorageIOError, StoredMembership, Vote,
};
use openraft_0_9 as openraft;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::openraft_load::{self, runtime};
use crate::{Command, ELECTION_TIMEOUT, HEARTBEAT, NODES, PATIENCE, Subject, command, number};

openraft::declare_raft_types!(
    /// What openraft is to be made of: its defaults.
    pub Types:
        D = Command,
        R = u64,
        Node = (),
        SnapshotData = io::Cursor<Vec<u8>>,
        Entry = openraft::impls::Entry<Types>,
        Responder = openraft::impls::OneshotResponder<Types>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

type Entry = openraft::impls::Entry<Types>;
type Handle = Raft<Types>;

/// The cluster.
pub struct Cluster {
    runtime: Runtime,
    nodes: Vec<Handle>,
    proposed: u64,
}

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
                let written = leader
                    .client_write(command(number))
                    .await
                    .expect("a leader");
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
    let members: BTreeSet<u64> = (1..=NODES).collect();
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
            target,
            node: self.nodes.lock()[&target].clone(),
        }
    }
}

struct Link {
    target: u64,
    node: Handle,
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let response = self.node.append_entries(request).await;
        response.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, (), RaftError<u64, InstallSnapshotError>>>
    {
        Err(Unreachable::new(&no_snapshots()).into())
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        let response = self.node.vote(request).await;
        response.map_err(|error| RemoteError::new(self.target, error).into())
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
    vote: Option<Vote<u64>>,
    entries: BTreeMap<u64, Entry>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError<u64>> {
        let stored = self.stored.lock();
        Ok(stored
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError<u64>> {
        let stored = self.stored.lock();
        let last = stored.entries.values().next_back();
        Ok(LogState {
            last_purged_log_id: None,
            last_log_id: last.map(|entry| *entry.get_log_id()),
        })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError<u64>> {
        self.stored.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError<u64>> {
        Ok(self.stored.lock().vote)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        written: LogFlushed<Types>,
    ) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry));
        self.stored.lock().entries.extend(entries);
        written.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, first: LogId<u64>) -> Result<(), StorageError<u64>> {
        drop(self.stored.lock().entries.split_off(&first.index));
        Ok(())
    }

    async fn purge(&mut self, _: LogId<u64>) -> Result<(), StorageError<u64>> {
        Err(StorageIOError::write_logs(&no_snapshots()).into())
    }
}

/// A state machine that does nothing: it answers a command with its number.
#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogId<u64>>,
    members: StoredMembership<u64, ()>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, ()>), StorageError<u64>> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<u64>, StorageError<u64>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let apply = |entry: Entry| {
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(command) => number(&command),
                EntryPayload::Blank => 0,
                EntryPayload::Membership(members) => {
                    self.members = StoredMembership::new(self.applied, members);
                    0
                }
            }
        };
        Ok(entries.into_iter().map(apply).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<io::Cursor<Vec<u8>>>, StorageError<u64>> {
        Err(StorageIOError::write_snapshot(None, &no_snapshots()).into())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta<u64, ()>,
        _: Box<io::Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        Err(StorageIOError::write_snapshot(None, &no_snapshots()).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError<u64>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError<u64>> {
        Err(StorageIOError::write_snapshot(None, &no_snapshots()).into())
    }
}
