//! Small copies of received bytes, many in one block of memory.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// The size of a block that copies of heads share. Small, since one long-lived copy keeps its whole
/// block alive.
const BLOCK: usize = 4096;

/// Larger copies have an allocation of their own.
const SMALL: usize = 1024;

/// The same two limits for bodies, which are freed with their exchange.
const BODY_BLOCK: usize = 16 * 1024;
const SMALL_BODY: usize = 5 * 1024;

thread_local! {
    static HEADS: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static BODIES: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Copies a head. Allocating each copy (two for a head) would cost a tenth of a request's
/// instructions.
pub fn keep(bytes: &[u8]) -> Bytes {
    if bytes.len() > SMALL {
        return Bytes::copy_from_slice(bytes);
    }
    HEADS.with_borrow_mut(|buffer| copy(bytes, buffer, BLOCK).freeze())
}

/// Copies the beginning of a body. The caller may append to the copy.
pub fn keep_body(bytes: &[u8]) -> BytesMut {
    if bytes.len() > SMALL_BODY {
        return BytesMut::from(bytes);
    }
    BODIES.with_borrow_mut(|buffer| copy(bytes, buffer, BODY_BLOCK))
}

fn copy(bytes: &[u8], buffer: &mut BytesMut, block: usize) -> BytesMut {
    if buffer.capacity() < bytes.len() {
        // Reuses the block if all of its copies have been dropped.
        buffer.reserve(block);
    }
    buffer.extend_from_slice(bytes);
    buffer.split()
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
        // The copies share blocks. Appending to one copy must not change its neighbour.
        copies.iter_mut().for_each(|(_, copy)| copy.extend_from_slice(b"more"));
        for (length, copy) in copies {
            assert_eq!(copy, [&vec![length as u8; length][..], b"more"].concat());
        }
    }
}
