//! What it costs to serve what is stored.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{AMPLE, Bench};
use crate::client::{self, Manner};
use crate::image::Image;
use crate::number::number;
use crate::scenario::herd::herd;
use crate::server::Kind;
use crate::table::{Mark, Outcome, Row, Unit};
use crate::tls::Tls;
use crate::upstream::{Link, Upstream};

/// How long after the last request a server counts as idle: longer than allocators keep what was freed.
const REST: Duration = Duration::from_secs(11);

const FAILED: Row = Row {
    label: "clients that failed",
    unit: Unit::Count,
    mark: Mark::AtMost(0.0),
};
const THROUGHPUT: Row = Row {
    label: "throughput",
    unit: Unit::MbPerSecond,
    mark: Mark::AtLeastOf(Kind::Distribution),
};
const PEAK: Row = Row {
    label: "peak memory",
    unit: Unit::Mib,
    mark: Mark::AtMost(64.0),
};
const IDLE: Row = Row {
    label: "memory 11 s after the last request",
    unit: Unit::Mib,
    mark: Mark::AtMost(24.0),
};

const fn cpu(times: f64) -> Row {
    Row {
        label: "server CPU",
        unit: Unit::CpuPerGb,
        mark: Mark::AtMostOf(times, Kind::Files),
    }
}

/// Rows for plain HTTP.
pub const PLAIN: &[Row] = &[FAILED, cpu(2.0), THROUGHPUT, PEAK, IDLE];
/// Rows for TLS.
pub const TLS: &[Row] = &[FAILED, cpu(1.5), THROUGHPUT, PEAK, IDLE];

/// 50 clients, each pulling all of 128 MiB.
pub async fn run(bench: &Bench, kind: Kind, tls: Option<Arc<Tls>>, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/large", 1, 4, 32 << 20);
    let upstream = Upstream::start(Link::mib(0))?;
    upstream.hold(&image);
    let server = bench.server(kind, &upstream, tls, AMPLE).await?;
    if kind == Kind::Files {
        server.place(&image)?;
    }
    // Once to store it, and once as a hit.
    for _ in 0..2 {
        let (_, result) = client::pull(&server.target, &image.repository, &image.tag, Manner::checking()).await;
        result.context("a pull to warm up")?;
    }
    server.reset_peak()?;
    let before = server.cpu().unwrap_or_default();
    let herd = herd(bench, &server.target, &image, 50).await;
    let used = server.cpu().unwrap_or_default().saturating_sub(before);
    herd.report_failures(out);
    out.set("server CPU", used.as_secs_f64() / (number(herd.bytes) / 1e9));
    out.set(THROUGHPUT.label, number(herd.bytes) / 1e6 / herd.wall.as_secs_f64());
    out.set(PEAK.label, server.peak_mib().unwrap_or_default());
    tokio::time::sleep(REST).await;
    server.reset_peak()?;
    out.set(IDLE.label, server.peak_mib().unwrap_or_default());
    Ok(())
}
