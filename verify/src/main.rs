//! `cargo verify`: runs every model, or plants every known bug, and says what came of it.

// Only `stacks` may have any, and it says why.
#![deny(unsafe_code)]

#[cfg(biglock_loom)]
mod front;
#[cfg(any(biglock_loom, biglock_shuttle))]
mod said;
#[cfg(biglock_shuttle)]
mod sample;
#[cfg(biglock_loom)]
mod stacks;

#[cfg(biglock_loom)]
fn main() -> std::process::ExitCode {
    front::main()
}

#[cfg(biglock_shuttle)]
fn main() -> std::process::ExitCode {
    sample::main()
}

#[cfg(not(any(biglock_loom, biglock_shuttle)))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "This is a build without the checker. Run `cargo verify`.\n\
         If you did, the variable RUSTFLAGS or CARGO_BUILD_RUSTFLAGS is set and keeps `--cfg biglock_loom` out: unset it, or add that to it."
    );
    std::process::ExitCode::from(2)
}
