//! Bytes that are kept in memory, under a limit on the memory that they take.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use smallvec::SmallVec;

/// The bounds of a block's size. Between them a block is half as large as all earlier ones
/// together.
const LEAST_BLOCK: usize = 1024;
const LARGEST_BLOCK: usize = 256 * 1024;

/// Bytes in order of arrival, in few blocks of memory.
///
/// Pieces are copied into blocks. Keeping references would cost more: a one-byte piece would take a
/// handle and keep its whole read buffer alive. Only a large first piece is kept without a copy
/// ([`push`](Self::push)), since it often is the whole body.
///
/// [`push`](Self::push) and [`append`](Self::append) add at the end. [`at`](Self::at) and
/// [`sealed`](Self::sealed) read without taking. [`pop`](Self::pop) takes from the beginning;
/// positions count from there afterwards.
#[derive(Debug, Default)]
pub struct KeptBytes {
    blocks: SmallVec<[Bytes; 1]>,
    /// How many blocks at the beginning have been taken and are empty.
    taken: usize,
    /// The block that is being filled.
    tail: BytesMut,
    len: usize,
    cost: usize,
    /// The limit in bytes. Blocks are sized to stay within it, unless more bytes than that are
    /// added.
    most: usize,
}

impl KeptBytes {
    /// Creates a store for at most `most` bytes. Adding more works, but then [`cost`](Self::cost)
    /// may exceed the limit by a whole block.
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// The number of bytes that are left.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory in use in bytes, including the unused ends of blocks. It stays within the limit
    /// as long as the added bytes do.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Adds a piece. A first piece of 1 KiB or more is kept without a copy, together with the
    /// buffer that it is part of.
    pub fn push(&mut self, piece: &Bytes) {
        if self.cost > 0 || piece.len() < LEAST_BLOCK {
            return self.append(piece);
        }
        self.len = piece.len();
        self.cost = piece.len();
        self.blocks.push(piece.clone());
    }

    /// Adds a copy of these bytes.
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let capacity = self.tail.capacity() - self.tail.len();
            if capacity == 0 {
                self.seal();
                self.tail = BytesMut::with_capacity(self.next_block(bytes.len()));
                self.cost += self.tail.capacity();
                continue;
            }
            let (fits, rest) = bytes.split_at(capacity.min(bytes.len()));
            self.tail.extend_from_slice(fits);
            bytes = rest;
        }
    }

    fn next_block(&self, needed: usize) -> usize {
        let usual = (self.cost / 2).clamp(LEAST_BLOCK, LARGEST_BLOCK);
        let left = self.most.saturating_sub(self.cost);
        usual.min(left.max(1)).max(needed.min(LARGEST_BLOCK))
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.blocks.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The bytes that are left, in blocks.
    pub fn sealed(&mut self) -> &[Bytes] {
        self.seal();
        &self.blocks[self.taken..]
    }

    /// The bytes from this position to the end of their block; `None` after the last byte.
    pub fn at(&self, mut position: usize) -> Option<Bytes> {
        for block in &self.blocks[self.taken..] {
            if position < block.len() {
                return Some(block.slice(position..));
            }
            position -= block.len();
        }
        self.tail.get(position..).filter(|rest| !rest.is_empty()).map(Bytes::copy_from_slice)
    }

    /// Takes the first bytes that are left, at most `most`.
    pub fn pop(&mut self, most: usize) -> Option<Bytes> {
        if self.taken == self.blocks.len() {
            self.seal();
        }
        let block = self.blocks.get_mut(self.taken)?;
        let piece = if block.len() > most { block.split_to(most) } else { std::mem::take(block) };
        if block.is_empty() {
            self.taken += 1;
        }
        self.len -= piece.len();
        Some(piece)
    }

    /// The bytes that are left, as one piece.
    pub fn into_bytes(mut self) -> Bytes {
        match self.sealed() {
            [] => Bytes::new(),
            [all] => all.clone(),
            blocks => blocks.concat().into(),
        }
    }
}

/// Reads a body to its end, without its trailers; `None` when it is longer than `most` bytes.
///
/// # Errors
/// The error of the body.
pub async fn read_all<B>(mut body: B, most: usize) -> Result<Option<Bytes>, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut kept = KeptBytes::new(most);
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(piece) = frame?.into_data() {
            if kept.len() + piece.len() > most {
                return Ok(None);
            }
            kept.push(&piece);
        }
    }
    Ok(Some(kept.into_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(pieces: &[Vec<u8>], most: usize) -> KeptBytes {
        let mut kept = KeptBytes::new(most);
        pieces.iter().for_each(|piece| kept.push(&Bytes::copy_from_slice(piece)));
        kept
    }

    #[test]
    fn pieces_of_one_byte_cost_what_they_are() {
        const MOST: usize = 64 * 1024;
        let buffer = Bytes::from(vec![7; MOST]);
        let mut kept = KeptBytes::new(MOST);
        for at in 0..MOST {
            kept.push(&buffer.slice(at..=at));
        }
        assert_eq!((kept.len(), kept.cost()), (MOST, MOST));
        assert!(kept.sealed().len() < 20, "{}", kept.blocks.len());
        // Nothing keeps the buffer.
        assert!(kept.sealed().iter().all(|block| !buffer.as_ptr_range().contains(&block.as_ptr())));
    }

    #[test]
    fn a_first_piece_that_is_not_small_is_kept_as_it_came() {
        let piece = Bytes::from(vec![1; 4096]);
        let mut kept = KeptBytes::new(64 * 1024);
        kept.push(&piece);
        assert_eq!(kept.at(0).unwrap().as_ptr(), piece.as_ptr());
        let mut small = KeptBytes::new(64 * 1024);
        small.push(&piece.slice(..LEAST_BLOCK - 1));
        assert_ne!(small.at(0).unwrap().as_ptr(), piece.as_ptr());
        assert!(small.cost() >= LEAST_BLOCK - 1);
        let mut copied = KeptBytes::new(64 * 1024);
        copied.append(&piece);
        assert_ne!(copied.at(0).unwrap().as_ptr(), piece.as_ptr());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_added_and_costs_no_more_than_the_limit(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..20),
            spare in 0_usize..5000,
            steps in prop::collection::vec(1_usize..4000, 1..50),
        ) {
            let all = pieces.concat();
            let mut kept = kept(&pieces, all.len() + spare);
            prop_assert!(kept.cost() <= all.len() + spare, "{} of {}", kept.cost(), all.len() + spare);
            prop_assert!(kept.cost() >= all.len());
            let mut read = Vec::new();
            while let Some(piece) = kept.at(read.len()) {
                prop_assert!(!piece.is_empty());
                read.extend_from_slice(&piece);
            }
            prop_assert_eq!(&read, &all);
            let (mut popped, mut steps) = (Vec::new(), steps.into_iter().cycle());
            while let Some(piece) = kept.pop(steps.next().unwrap()) {
                popped.extend_from_slice(&piece);
                prop_assert_eq!(kept.len(), all.len() - popped.len());
                prop_assert_eq!(kept.sealed().concat(), &all[popped.len()..]);
            }
            prop_assert_eq!(&popped, &all);
        }

        #[test]
        fn more_than_the_limit_is_kept_too(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..20),
            most in 0_usize..2000,
        ) {
            let all = pieces.concat();
            let kept = kept(&pieces, most);
            prop_assert!(kept.cost() <= (all.len() * 2).max(most).max(LEAST_BLOCK * 2));
            prop_assert_eq!(kept.into_bytes(), all);
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_read_on() {
        use http_body_util::Full;
        let body = || Full::new(Bytes::from_static(b"0123456789"));
        assert_eq!(read_all(body(), 10).await.unwrap().unwrap(), "0123456789");
        assert_eq!(read_all(body(), 9).await.unwrap(), None);
    }
}
