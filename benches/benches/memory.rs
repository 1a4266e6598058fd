//! What a node takes from the heap: idle, and with a long log.

use biglock::{Config, LocalNetwork, MemoryStorage, Node, RoleKind};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const ENTRIES: usize = 100_000;
const COMMAND: usize = 16;

fn main() {
    if !biglock_benches::measures() {
        return;
    }
    let before = HEAP.current_usage();
    let mut config = Config::new(1, [1]);
    // Nothing is compacted here.
    config.snapshot_every = usize::MAX;
    let transport = LocalNetwork::direct().transport(1);
    // What is stored in memory would be counted twice.
    let node =
        Node::start(config, Nowhere(MemoryStorage::new()), transport, ()).expect("it starts");
    while node.status().role != RoleKind::Leader {
        node.wait_for_leader(std::time::Duration::from_secs(10))
            .expect("it leads");
    }
    let idle = HEAP.current_usage();
    let mut left = ENTRIES;
    while left > 0 {
        let (proposals, all) = node.propose_all((0..1000).map(|_| vec![7; COMMAND]));
        all.expect("it leads");
        for proposal in proposals {
            proposal.wait().expect("it is alone");
        }
        left -= 1000;
    }
    let full = HEAP.current_usage();
    println!();
    println!("MEMORY on the heap, without the stacks of its threads");
    println!();
    println!(
        "a node that idles                      {:>8.1} kB",
        (idle - before) as f64 / 1e3
    );
    println!(
        "and {ENTRIES} entries of {COMMAND} bytes       {:>8.1} MB, {:.0} bytes an entry",
        (full - idle) as f64 / 1e6,
        (full - idle) as f64 / ENTRIES as f64
    );
}

/// A storage that says yes and keeps nothing.
struct Nowhere(MemoryStorage);

impl biglock::Storage for Nowhere {
    fn load(
        &mut self,
        outside: &biglock::Outside,
    ) -> Result<biglock::Stored, biglock::StorageError> {
        self.0.load(outside)
    }

    fn write(
        &mut self,
        _: &biglock::Outside,
        _: biglock::Batch,
    ) -> Result<(), biglock::StorageError> {
        Ok(())
    }

    fn is_instant(&self) -> bool {
        true
    }
}
