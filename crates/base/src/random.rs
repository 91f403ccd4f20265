//! Random bytes and numbers, from the same library as everything cryptographic.

/// `N` random bytes.
///
/// The operating system's generator does not fail after start-up; should it, the zeros that are returned only take
/// away jitter and distinct request ids, never a secret: nothing secret is made here.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

/// `N` random bytes to make a secret from; `None` where the operating system gives none.
pub fn secret<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}

/// A number in `0.0..1.0`.
pub fn unit() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
