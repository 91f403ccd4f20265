//! Random bytes and numbers, from the library that also does the cryptography (aws-lc).

/// `N` random bytes.
///
/// Use the bytes for jitter and ids, and [`secret`] for secrets: these bytes are all zero if the
/// operating system's generator fails. It does not fail once the system has started.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

/// `N` random bytes for a secret. `None` if the operating system's generator fails.
pub fn secret<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| bytes)
}

/// A random number in `0.0..1.0`.
pub fn unit() -> f64 {
    f64::from(u32::from_be_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
