//! Small copies of what was read, many in one block of memory.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// So many bytes share a block at most. Whoever keeps one copy keeps the block, so it is small.
const BLOCK: usize = 4096;

/// A larger copy has an allocation of its own.
const SMALL: usize = 1024;

/// The same of bodies, or of what of one came with its head: they go with their exchange.
const BODY_BLOCK: usize = 16 * 1024;
const SMALL_BODY: usize = 5 * 1024;

thread_local! {
    static REST: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static BODY_REST: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A copy of these bytes. Two allocations for each head that is read would cost a tenth of a request.
pub fn keep(bytes: &[u8]) -> Bytes {
    if bytes.len() > SMALL {
        return Bytes::copy_from_slice(bytes);
    }
    REST.with_borrow_mut(|rest| copy(bytes, rest, BLOCK).freeze())
}

/// The same of a body, or of its beginning, behind which more can be read.
pub fn keep_body(bytes: &[u8]) -> BytesMut {
    if bytes.len() > SMALL_BODY {
        return BytesMut::from(bytes);
    }
    BODY_REST.with_borrow_mut(|rest| copy(bytes, rest, BODY_BLOCK))
}

fn copy(bytes: &[u8], rest: &mut BytesMut, block: usize) -> BytesMut {
    if rest.capacity() < bytes.len() {
        // It is the same block again where nobody has a copy of it any more.
        rest.reserve(block);
    }
    rest.extend_from_slice(bytes);
    rest.split()
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
        let lengths = (0..200_usize).map(|at| at * 37 % 6000);
        let mut copies: Vec<_> =
            lengths.map(|length| (length, keep_body(&vec![length as u8; length]))).collect();
        // What is read behind one is not read into the next.
        copies.iter_mut().for_each(|(_, copy)| copy.extend_from_slice(b"more"));
        for (length, copy) in copies {
            assert_eq!(copy, [&vec![length as u8; length][..], b"more"].concat());
        }
    }
}
