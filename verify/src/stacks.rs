//! Stacks that are used again: what makes an execution cheap.
//!
//! Loom gives each thread of each execution a stack of its own, from `generator`, and takes it away at the end: five mappings, five guard pages and
//! five unmappings an execution, and each stack's pages are faulted in anew. That was over half of all time, and neither crate has a way to keep
//! them. So this program, and no library that anybody links, defines `mmap`, `mprotect` and `munmap` itself. They do what the kernel does, except
//! that a stack that is given back is kept, guard page included, and handed out at the next request for one of its size.
//!
//! **Why that is sound.**
//! - It concerns only what is asked for exactly as `generator` asks for a stack: anonymous, private, readable and writable, `MAP_STACK`, anywhere, and
//!   at most a megabyte. Everything else goes to the kernel as it came. The allocator and pthreads call inside the C library and never come here.
//! - A stack that is kept belongs to nobody else: it stays mapped, so the kernel gives its addresses to nobody, and it is in one slot, in one state.
//!   Only who was handed it may use it, until that one gives back all of it. If any part is unmapped otherwise, the slot is forgotten.
//! - Only a stack whose lowest page was made a guard is kept, and the guard stays: running over the end is a fault, as before. Who is handed such
//!   a stack and asks for its guard again has it.
//! - What is different: the memory is not zero. A stack is written before it is read; `generator` writes its own words of each new one.
//!
//! It changes no search. What an execution does depends on no address, and the row `checker-stacks` of `cargo verify` runs models with and without
//! this and compares what was found; `--fresh-stacks` runs everything without it. It is off until [`reuse`] says otherwise. On other systems
//! than Linux with the GNU C library on x86-64 or AArch64 there is none of it, and everything runs as it would with `--fresh-stacks`.
//!
//! This is the only file of the workspace's packages with unsafe code: functions that the linker finds by their names have no safe form. Nothing of it is
//! in what ships.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
))]
#[allow(
    unsafe_code,
    reason = "the functions of the C library can't be replaced otherwise"
)]
mod kept {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use libc::{
        MAP_ANONYMOUS, MAP_PRIVATE, MAP_STACK, PROT_NONE, PROT_READ, PROT_WRITE, SYS_mmap,
        SYS_mprotect, SYS_munmap, c_int, c_long, off_t, size_t,
    };

    pub const CAN: bool = true;
    /// Stacks of models have 256 kB, loom's first has 32 kB, each with its guard page.
    const LARGEST: usize = 1 << 20;

    static ON: AtomicBool = AtomicBool::new(false);
    static AGAIN: AtomicU64 = AtomicU64::new(0);
    static SLOTS: Mutex<[Slot; 16]> = Mutex::new([Slot::EMPTY; 16]);

    /// One stack. Empty if its length is zero.
    #[derive(Clone, Copy)]
    struct Slot {
        start: usize,
        length: usize,
        /// So many bytes from its start on are a guard.
        guard: usize,
        in_use: bool,
    }

    impl Slot {
        const EMPTY: Slot = Slot {
            start: 0,
            length: 0,
            guard: 0,
            in_use: false,
        };

        fn overlaps(&self, start: usize, length: usize) -> bool {
            self.start < start.saturating_add(length) && start < self.start + self.length
        }
    }

    pub fn reuse(on: bool) {
        ON.store(on, Ordering::Relaxed);
    }

    pub fn reused() -> u64 {
        AGAIN.load(Ordering::Relaxed)
    }

    fn is_on() -> bool {
        ON.load(Ordering::Relaxed)
    }

    /// Nothing that is done while this is held allocates, panics, or calls what is defined here.
    fn slots() -> MutexGuard<'static, [Slot; 16]> {
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new mapping, or a stack that was given back.
    ///
    /// # Safety
    /// As for the C library's function of this name.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn mmap(
        at: *mut c_void,
        length: size_t,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: off_t,
    ) -> *mut c_void {
        let is_stack = is_on()
            && at.is_null()
            && (1..=LARGEST).contains(&length)
            && protection == PROT_READ | PROT_WRITE
            && flags == MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK
            && file == -1
            && offset == 0;
        // SAFETY: the kernel's own call, with the caller's own arguments. What fails is -1, which is `MAP_FAILED`.
        let fresh = || unsafe {
            libc::syscall(SYS_mmap, at, length, protection, flags, file, offset) as *mut c_void
        };
        if !is_stack {
            return fresh();
        }
        let mut slots = slots();
        if let Some(kept) = slots
            .iter_mut()
            .find(|slot| !slot.in_use && slot.length == length)
        {
            kept.in_use = true;
            AGAIN.fetch_add(1, Ordering::Relaxed);
            return kept.start as *mut c_void;
        }
        let stack = fresh();
        if stack != libc::MAP_FAILED
            && let Some(slot) = slots.iter_mut().find(|slot| slot.length == 0)
        {
            *slot = Slot {
                start: stack as usize,
                length,
                guard: 0,
                in_use: true,
            };
        }
        stack
    }

    /// Another protection, unless it is the guard that a kept stack still has.
    ///
    /// # Safety
    /// As for the C library's function of this name.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn mprotect(at: *mut c_void, length: size_t, protection: c_int) -> c_int {
        // SAFETY: the kernel's own call, with the caller's own arguments.
        let protect =
            || unsafe { libc::syscall(SYS_mprotect, at, length, protection as c_long) as c_int };
        let mut slots = slots();
        let Some(slot) = slots
            .iter_mut()
            .find(|slot| slot.length > 0 && slot.overlaps(at as usize, length))
        else {
            return protect();
        };
        let is_guard = at as usize == slot.start && protection == PROT_NONE;
        if is_guard && slot.guard == length {
            return 0;
        }
        let result = protect();
        match is_guard && result == 0 && slot.guard == 0 {
            true => slot.guard = length,
            // Whatever this is, `generator` does not do it.
            false => *slot = Slot::EMPTY,
        }
        result
    }

    /// The end of a mapping; a whole stack with a guard is kept.
    ///
    /// # Safety
    /// As for the C library's function of this name.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn munmap(at: *mut c_void, length: size_t) -> c_int {
        // SAFETY: the kernel's own call, with the caller's own arguments.
        let unmap = || unsafe { libc::syscall(SYS_munmap, at, length) as c_int };
        let mut slots = slots();
        for slot in slots.iter_mut().filter(|slot| slot.length > 0) {
            let whole = slot.start == at as usize && slot.length == length;
            if is_on() && whole && slot.in_use && slot.guard > 0 {
                slot.in_use = false;
                return 0;
            }
            if slot.overlaps(at as usize, length) {
                *slot = Slot::EMPTY;
            }
        }
        unmap()
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
)))]
mod kept {
    pub const CAN: bool = false;

    pub fn reuse(_: bool) {}

    pub fn reused() -> u64 {
        0
    }
}

/// Whether that is possible here.
pub const CAN: bool = kept::CAN;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether stacks are used again from now on, where that is possible.
pub fn reuse(on: bool) {
    WANTED.store(on, Ordering::Relaxed);
    kept::reuse(on);
}

/// Whether that was asked for, possible or not.
pub fn are_to_be_used_again() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// How often a stack was used again.
pub fn reused() -> u64 {
    kept::reused()
}
