//! How much of answers is in memory because somebody looks into them.

use std::cell::Cell;
use std::rc::Rc;

/// What all answers of a thread may have collected together, in bytes. Where it is used up, answers are streamed.
pub(super) struct Pool {
    left: Rc<Cell<usize>>,
}

impl Pool {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: Rc::new(Cell::new(bytes)) }
    }

    /// The share of one response, of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { left: Rc::clone(&self.left), taken: 0 }
    }
}

/// What one response has of it, given back when it is dropped.
pub(super) struct Share {
    left: Rc<Cell<usize>>,
    taken: usize,
}

impl Share {
    /// Takes this many bytes more; false where there are not as many.
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
