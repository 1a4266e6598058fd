//! A data race, on purpose: the sanitizer must report it, or a run without reports would mean nothing. `check` beside this file compiles it,
//! by itself: no library of the tree could, for all of them forbid unsafe code, without which Rust has no data races.

use std::cell::UnsafeCell;
use std::thread;

struct Votes(UnsafeCell<u64>);

// SAFETY: it is not safe, and must not be: that is what the sanitizer has to say.
unsafe impl Sync for Votes {}

static VOTES: Votes = Votes(UnsafeCell::new(0));

fn count_a_vote_without_the_lock() {
    // SAFETY: none, see above.
    unsafe { *VOTES.0.get() += 1 }
}

fn main() {
    let other = thread::spawn(count_a_vote_without_the_lock);
    count_a_vote_without_the_lock();
    other.join().expect("it does not panic");
}
