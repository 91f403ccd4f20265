//! A buffer for the next write.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Larger buffers are not reused.
const KEPT: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that returns to its thread when it is dropped. A thread writes one head after another,
/// most of them in one write, so no connection needs a buffer of its own.
#[derive(Debug)]
pub struct Scratch(Vec<u8>);

impl Default for Scratch {
    fn default() -> Self {
        Self(SPARE.take())
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        if (1..=KEPT).contains(&buffer.capacity()) {
            // Fails on a thread that is ending.
            let _ = SPARE.try_with(|spare| spare.set(buffer));
        }
    }
}
