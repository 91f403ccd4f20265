//! The memory of a thread for collected response bodies.

use std::cell::Cell;
use std::rc::Rc;

/// The bytes that all responses of a thread may collect together. Once they are used up, further
/// responses are streamed.
pub(super) struct Pool {
    left: Rc<Cell<usize>>,
}

impl Pool {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: Rc::new(Cell::new(bytes)) }
    }

    /// The share of one response, still empty.
    pub(super) fn share(&self) -> Share {
        Share { left: Rc::clone(&self.left), taken: 0 }
    }
}

/// The bytes that one response has collected. Dropping it returns them to the pool.
pub(super) struct Share {
    left: Rc<Cell<usize>>,
    taken: usize,
}

impl Share {
    /// Takes this many more bytes. Returns false, and takes nothing, if fewer are left.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Some(left) = self.left.get().checked_sub(bytes) else { return false };
        self.left.set(left);
        self.taken += bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.left.set(self.left.get() + self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_pool_are_limited_together_and_given_back() {
        let pool = Pool::new(10);
        let (mut one, mut two) = (pool.share(), pool.share());
        assert!(one.take(6) && two.take(4));
        assert!(!one.take(1) && two.take(0));
        drop(one);
        assert!(two.take(6) && !two.take(1));
        drop(two);
        assert!(pool.share().take(10));
    }
}
