//! A buffer for what is written next.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// What remains of a larger head is not kept for the next one.
const KEPT: usize = 16 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer that is its thread's spare one again when it is dropped: heads are written one after another, and most in one go,
/// so no connection has to keep one.
#[derive(Debug)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// An empty one.
    pub fn new() -> Self {
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
            // Of a thread that is ending nothing is kept.
            let _ = SPARE.try_with(|spare| spare.set(buffer));
        }
    }
}
