//! Memory that a peak of load leaves behind, given back to the system.
//!
//! glibc keeps what was freed: a page goes back by itself only at the end of an arena, and a single small piece behind it
//! holds hundreds of megabytes. Asked to (`malloc_trim`), it looks through all of it.

use std::time::Duration;

/// How often a process looks at its memory.
const EVERY: Duration = Duration::from_secs(10);

/// What may be kept of what nobody uses: this much, and a fifth of what is in use.
const KEPT: usize = 1024 * 1024;

/// After a look that gained little, so many are left out, unless enough has been freed since: what is left lies in pages that
/// are in use.
const REST: u32 = 6;

/// An eighth of what was in use is enough: a little can hold many pages, as the pooled connections of a peak do until they
/// have been idle for long.
const ENOUGH: usize = 8;

/// Gives back, again and again, what is not in use: on a thread of its own, which ends only where the system does not tell how
/// much that is.
///
/// While it does so, an allocation may wait for its arena: milliseconds after a peak, and only after a peak. So the thread is to
/// be no nicer than those that allocate.
///
/// # Errors
/// When there can be no thread.
pub fn spawn_heap_trimmer() -> std::io::Result<()> {
    std::thread::Builder::new().name("memory".into()).spawn(|| {
        let mut looks = Looks::default();
        loop {
            std::thread::sleep(EVERY);
            if looks.look().is_none() {
                break;
            }
        }
    })?;
    Ok(())
}

/// When to look through all of it.
#[derive(Default)]
struct Looks {
    /// How many are to be left out.
    rest: u32,
    /// What there was after the last one.
    last: Memory,
}

impl Looks {
    /// Looks, and gives back what there is. None where the system does not tell.
    fn look(&mut self) -> Option<()> {
        let before = memory()?;
        if self.is_due(before) {
            heap::trim();
            let after = memory().unwrap_or(before);
            let Memory { resident, used } = before;
            let gained = resident.saturating_sub(after.resident);
            tracing::debug!(resident, used, gained, "memory was given back");
            self.taken(before, after);
        }
        Some(())
    }

    fn is_due(&mut self, Memory { resident, used }: Memory) -> bool {
        let too_much = resident > used + used / 5 + KEPT;
        let stuck = self.last.resident.saturating_sub(self.last.used);
        let freed =
            resident.saturating_sub(used) > stuck + KEPT || used < self.last.used - self.last.used / ENOUGH;
        let due = too_much && (self.rest == 0 || freed);
        self.rest = self.rest.saturating_sub(1);
        due
    }

    fn taken(&mut self, before: Memory, after: Memory) {
        let gained = before.resident.saturating_sub(after.resident);
        self.rest = if gained < before.resident / 10 { REST } else { 0 };
        self.last = after;
    }
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// In the machine, that of files aside.
    resident: usize,
    /// Allocated and not freed.
    used: usize,
}

/// None where the system does not tell.
fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(Memory { resident: kilobytes * 1024, used: heap::used()? })
}

/// The two questions to glibc that no crate asks safely.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "both functions are safe to call and declared unsafe, as all foreign ones are"
)]
mod heap {
    /// Bytes that are allocated.
    pub(super) fn used() -> Option<usize> {
        // SAFETY: it takes no arguments, locks what it reads and gives numbers.
        let info = unsafe { libc::mallinfo2() };
        Some(info.uordblks + info.hblkhd)
    }

    pub(super) fn trim() {
        // SAFETY: it moves and frees nothing that is allocated, and takes the locks it needs (MT-Safe).
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
    fn it_is_looked_for_when_there_is_some_to_be_found() {
        let memory = |resident: usize, used: usize| Memory { resident: resident << 18, used: used << 18 };
        // In quarters of a mebibyte.
        let (mut looks, loaded, stuck) = (Looks::default(), memory(64, 6), memory(27, 6));
        assert!(!looks.is_due(memory(10, 6)) && looks.is_due(loaded));
        looks.taken(loaded, stuck);
        // It gained much: there may be more at once.
        assert!(looks.is_due(stuck));
        looks.taken(stuck, stuck);
        for _ in 0..REST {
            assert!(!looks.is_due(stuck));
        }
        assert!(looks.is_due(stuck));
        looks.taken(stuck, stuck);
        assert!(!looks.is_due(stuck) && !looks.is_due(memory(30, 6)));
        // As much again has been freed; a little, which was a good part of what was in use.
        assert!(looks.is_due(memory(32, 6)) && looks.is_due(memory(27, 5)));
    }

    #[test]
    fn what_a_peak_left_behind_is_given_back() {
        const PIECE: usize = 64 * 1024;
        let peak: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; PIECE]).collect();
        let at_peak = memory().unwrap();
        assert!(at_peak.used > 4096 * PIECE && at_peak.resident > 4096 * PIECE, "{at_peak:?}");
        // Every tenth piece stays, so that the end of the arena is no way out.
        let stays: Vec<_> = peak.into_iter().step_by(10).collect();
        Looks::default().look().unwrap();
        let after = memory().unwrap();
        assert!(after.resident < at_peak.resident / 2, "{at_peak:?} {after:?}");
        assert!(stays.iter().flatten().all(|&byte| byte == 1));
    }
}
