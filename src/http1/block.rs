//! Small copies of what was read, many in one block of memory.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// So many bytes share a block at most. Whoever keeps one copy keeps the block, so it is small.
const BLOCK: usize = 4096;

/// A larger copy has an allocation of its own.
const SMALL: usize = 1024;

thread_local! {
    static REST: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A copy of these bytes. Two allocations for each head that is read would cost a tenth of a request.
pub(crate) fn keep(bytes: &[u8]) -> Bytes {
    if bytes.len() > SMALL {
        return Bytes::copy_from_slice(bytes);
    }
    REST.with_borrow_mut(|rest| {
        if rest.capacity() < bytes.len() {
            // It is the same block again where nobody has a copy of it any more.
            rest.reserve(BLOCK);
        }
        rest.extend_from_slice(bytes);
        rest.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_copied_and_stay_so() {
        let lengths = (0..200_usize).map(|at| at * 37 % 1500);
        let copies: Vec<_> = lengths.map(|length| (length, keep(&vec![length as u8; length]))).collect();
        for (length, copy) in copies {
            assert_eq!(copy, vec![length as u8; length]);
        }
    }
}
