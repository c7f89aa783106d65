//! Randomness, for the edges: ids, secrets and jitter. Decisions take what they need as arguments.

/// `N` bytes from the system's cryptographic generator.
///
/// # Panics
/// When the system has no randomness to give, which no part of Outhook could do without.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness there are no safe ids or secrets")]
    getrandom::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// An even draw from 0 (inclusive) to 1 (exclusive), for jitter.
#[must_use]
pub fn unit_interval() -> f64 {
    f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0)
}
