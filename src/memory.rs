//! Returns memory to the system after a peak of load.
//!
//! glibc keeps freed memory. By itself it returns only the free end of an arena, and one small
//! allocation there can retain hundreds of megabytes. `malloc_trim` returns the free pages of all
//! arenas.

use std::time::Duration;

/// The interval of checks.
const INTERVAL: Duration = Duration::from_secs(10);

/// The process may keep this many bytes of unused memory, plus a fifth of the memory in use.
const KEPT: usize = 1024 * 1024;

/// A trim with little effect means that the remaining unused memory is in pages that are in use.
/// This many checks are then skipped, unless enough memory has been freed since.
const SKIPPED_CHECKS: u32 = 6;

/// Checks are no longer skipped once 1/`ENOUGH` of the memory in use has been freed. A few
/// allocations can retain many pages: pooled connections do after a peak, until they are closed.
const ENOUGH: usize = 8;

/// Spawns a thread that returns unused memory. The thread ends only if the system does not report
/// memory.
///
/// During a trim after a peak, an allocation may wait milliseconds for its arena. So this thread
/// must not have a lower priority than the threads that allocate.
///
/// # Errors
/// When the thread cannot be spawned.
pub fn spawn_heap_trimmer() -> std::io::Result<()> {
    std::thread::Builder::new().name("memory".into()).spawn(|| {
        let mut trimmer = Trimmer::default();
        loop {
            std::thread::sleep(INTERVAL);
            if trimmer.check().is_none() {
                break;
            }
        }
    })?;
    Ok(())
}

/// Decides when to trim.
#[derive(Default)]
struct Trimmer {
    /// The number of checks still to be skipped.
    skip: u32,
    /// The memory after the last trim.
    last: Memory,
}

impl Trimmer {
    /// Trims if a trim is due. `None` if the system does not report memory.
    fn check(&mut self) -> Option<()> {
        let before = memory()?;
        if self.is_due(before) {
            heap::trim();
            let after = memory().unwrap_or(before);
            let Memory { resident, used } = before;
            let gained = resident.saturating_sub(after.resident);
            tracing::debug!(resident, used, gained, "returned unused memory to the system");
            self.trimmed(before, after);
        }
        Some(())
    }

    fn is_due(&mut self, Memory { resident, used }: Memory) -> bool {
        let too_much = resident > used + used / 5 + KEPT;
        let stuck = self.last.resident.saturating_sub(self.last.used);
        let freed =
            resident.saturating_sub(used) > stuck + KEPT || used < self.last.used - self.last.used / ENOUGH;
        let due = too_much && (self.skip == 0 || freed);
        self.skip = self.skip.saturating_sub(1);
        due
    }

    fn trimmed(&mut self, before: Memory, after: Memory) {
        let gained = before.resident.saturating_sub(after.resident);
        self.skip = if gained < before.resident / 10 { SKIPPED_CHECKS } else { 0 };
        self.last = after;
    }
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Resident memory, without mapped files.
    resident: usize,
    /// Memory that is allocated and not freed.
    used: usize,
}

/// The memory of this process. `None` if the system does not report it.
fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(Memory { resident: kilobytes * 1024, used: heap::used()? })
}

/// The two functions of glibc that no crate wraps safely.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "both functions are safe to call; like all foreign functions, they are declared unsafe"
)]
mod heap {
    /// Allocated bytes.
    pub(super) fn used() -> Option<usize> {
        // SAFETY: `mallinfo2` takes no arguments, locks what it reads and returns numbers.
        let info = unsafe { libc::mallinfo2() };
        Some(info.uordblks + info.hblkhd)
    }

    pub(super) fn trim() {
        // SAFETY: `malloc_trim` neither moves nor frees an allocation, and takes the locks it needs
        // (MT-Safe).
        unsafe { libc::malloc_trim(0) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod heap {
    pub(super) fn used() -> Option<usize> {
        None
    }

    pub(super) fn trim() {}
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn a_trim_is_due_when_there_is_memory_to_return() {
        let memory = |resident: usize, used: usize| Memory { resident: resident << 18, used: used << 18 };
        // The unit is a quarter of a mebibyte.
        let (mut trimmer, loaded, stuck) = (Trimmer::default(), memory(64, 6), memory(27, 6));
        assert!(!trimmer.is_due(memory(10, 6)) && trimmer.is_due(loaded));
        trimmer.trimmed(loaded, stuck);
        // The trim gained much, so the next one is due immediately.
        assert!(trimmer.is_due(stuck));
        trimmer.trimmed(stuck, stuck);
        for _ in 0..SKIPPED_CHECKS {
            assert!(!trimmer.is_due(stuck));
        }
        assert!(trimmer.is_due(stuck));
        trimmer.trimmed(stuck, stuck);
        assert!(!trimmer.is_due(stuck) && !trimmer.is_due(memory(30, 6)));
        // More than `KEPT` has been freed; or less, but a large part of the memory in use.
        assert!(trimmer.is_due(memory(32, 6)) && trimmer.is_due(memory(27, 5)));
    }

    #[test]
    fn memory_of_a_peak_is_returned() {
        const PIECE: usize = 64 * 1024;
        let peak: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; PIECE]).collect();
        let at_peak = memory().unwrap();
        assert!(at_peak.used > 4096 * PIECE && at_peak.resident > 4096 * PIECE, "{at_peak:?}");
        // Every tenth piece stays, so trimming only the end of the arena would not be enough.
        let stays: Vec<_> = peak.into_iter().step_by(10).collect();
        Trimmer::default().check().unwrap();
        let after = memory().unwrap();
        assert!(after.resident < at_peak.resident / 2, "{at_peak:?} {after:?}");
        assert!(stays.iter().flatten().all(|&byte| byte == 1));
    }
}
