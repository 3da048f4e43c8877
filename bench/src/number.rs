//! Counts as the table's numbers.

/// A count as a float. Exact up to 2^53, which nothing here comes near.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
