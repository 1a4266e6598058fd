//! **When** something may happen: the one big lock, and the only way in.
//!
//! Nothing here knows about Raft. [`Monitor`] owns the shared value and its condvars; [`Outside`] is a thread's permission to
//! touch the outside world, which entering the monitor borrows; [`Clock`] is where time is read. The rules that these
//! types enforce, and how, are in [`crate::locking`].

mod clock;
mod monitor;
mod promise;
pub mod sync;

pub use clock::Clock;
pub use monitor::{Guarded, Look, Monitor, Observer, Outside, Section, Step};
pub use promise::{Awaited, Promise, promise};
#[cfg(feature = "deadlock-detection")]
pub use sync::find_deadlocks;
pub use sync::{Activity, ThreadActivity};
