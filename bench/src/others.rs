//! What else the machine is busy with: on processors that are taken, walls and throughputs say little.

use std::fs;
use std::time::Duration;

use crate::number::number;

/// How long one looks.
const LOOK: Duration = Duration::from_secs(1);

/// The share of the machine's processors that is in use while nothing of ours runs, 0 to 1.
pub async fn share() -> f64 {
    let before = times();
    tokio::time::sleep(LOOK).await;
    let after = times();
    let total = after.0.saturating_sub(before.0);
    let idle = after.1.saturating_sub(before.1).min(total);
    if total == 0 {
        0.0
    } else {
        number(total - idle) / number(total)
    }
}

/// All processor time since the machine started, and the idle part of it. The unit is of no account.
fn times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
    let idle = fields.iter().skip(3).take(2).sum();
    (fields.iter().take(8).sum(), idle)
}
