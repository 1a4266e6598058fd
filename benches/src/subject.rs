//! One configuration under measurement: each election in turn with its floor, so that a slow minute of the machine slows both.

use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, Setup};
use crate::disk::Disk;
use crate::floor::Floor;
use crate::nodes::{Store, Wire};
use crate::pure::Pure;
use crate::record::{Elections, add};
use crate::{Election, Rejected};

/// So many unclean elections are a bug, here or in the core.
const MOST_REJECTED: usize = 100;

/// A configuration. Nothing runs before the first election, so a filter costs nothing.
pub struct Subject {
    kind: Kind,
    running: Option<Running>,
    record: Elections,
}

enum Kind {
    Pure(usize, bool),
    Cluster(Setup, PathBuf),
}

enum Running {
    Pure(Pure),
    Cluster(Box<Cluster>, Floor, Option<Box<Disk>>),
}

impl Subject {
    /// The rules alone.
    pub fn pure(nodes: usize, pre_vote: bool) -> Subject {
        Subject {
            kind: Kind::Pure(nodes, pre_vote),
            running: None,
            record: Elections {
                wire: "pure".into(),
                nodes,
                pre_vote,
                ..Elections::default()
            },
        }
    }

    /// Real nodes, their files under `scratch`.
    pub fn cluster(
        nodes: usize,
        pre_vote: bool,
        wire: Wire,
        store: Store,
        scratch: &Path,
    ) -> Subject {
        let setup = Setup {
            nodes,
            pre_vote,
            wire,
            store,
        };
        Subject {
            kind: Kind::Cluster(setup, scratch.into()),
            running: None,
            record: Elections {
                wire: wire.to_string(),
                store: Some(store.to_string()),
                nodes,
                pre_vote,
                ..Elections::default()
            },
        }
    }

    /// Runs one clean election, and its floor. An unclean one is counted, and a new cluster runs another.
    ///
    /// # Panics
    /// If one after another is unclean.
    pub fn elect(&mut self) -> Election {
        loop {
            match self.try_elect() {
                Ok(election) => return election,
                Err(rejected) => {
                    eprintln!("rejected: {rejected}");
                    self.running = None;
                    self.record.rejected += 1;
                    assert!(self.record.rejected < MOST_REJECTED, "{rejected}");
                }
            }
        }
    }

    fn try_elect(&mut self) -> Result<Election, Rejected> {
        let record = &mut self.record;
        let election = match self.running.get_or_insert_with(|| self.kind.start()) {
            Running::Pure(pure) => pure.elect()?,
            Running::Cluster(cluster, floor, disk) => {
                let election = cluster.elect()?;
                let below = floor.elect()?;
                add(&mut record.leader.floor, below.leader);
                add(&mut record.majority.floor, below.majority);
                if let Some(disk) = disk {
                    add(
                        &mut record.raw_write,
                        disk.raw().expect("a disk that works"),
                    );
                    add(&mut record.store_write, disk.store());
                }
                election
            }
        };
        add(&mut record.leader.measured, election.leader);
        add(&mut record.majority.measured, election.majority);
        Ok(election)
    }

    /// Stops it, and gives what was measured.
    pub fn finish(self) -> Elections {
        self.record
    }
}

impl Kind {
    fn start(&self) -> Running {
        match self {
            Kind::Pure(nodes, pre_vote) => Running::Pure(Pure::new(*nodes, *pre_vote)),
            Kind::Cluster(setup, scratch) => {
                let disk = (setup.store == Store::Durable)
                    .then(|| Box::new(Disk::open(scratch).expect("a disk")));
                let cluster = Box::new(Cluster::start(*setup, scratch));
                let floor = Floor::start(setup.wire, setup.nodes, setup.pre_vote);
                Running::Cluster(cluster, floor, disk)
            }
        }
    }
}
