//! What both lines of openraft run on, and how they are loaded: tokio, and as many tasks as commands in flight.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::stopwatch::now;

/// A runtime for a cluster and those who write to it: a worker per core, as tokio has it by default.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .enable_time()
        .thread_name("openraft")
        .build()
        .expect("threads")
}

/// Writes these commands from `in_flight` tasks, each of which writes one and awaits its reply, the command's number.
pub(crate) fn commit<W, F>(
    runtime: &Runtime,
    numbers: Range<u64>,
    in_flight: usize,
    write: W,
) -> Duration
where
    W: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = u64> + Send,
{
    let next = Arc::new(AtomicU64::new(numbers.start));
    let begin = now();
    let writer = |_| {
        let next = next.clone();
        let write = write.clone();
        runtime.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return;
                }
                assert_eq!(write(number).await, number, "its own reply");
            }
        })
    };
    let writers: Vec<_> = (0..in_flight).map(writer).collect();
    runtime.block_on(async {
        for writer in writers {
            writer.await.expect("every command is committed");
        }
    });
    begin.elapsed()
}
