//! Prints what the other targets measured, as ratios to the floor. Cargo runs it last, because its name comes last.

use std::path::Path;

use biglock_benches::summary;

fn main() {
    // `cargo bench -- --list` and the like are not for this target.
    if !std::env::args().any(|argument| argument == "--list") {
        print!("{}", summary::of(Path::new(env!("CARGO_TARGET_TMPDIR"))));
    }
}
