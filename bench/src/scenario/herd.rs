//! Many clients at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use super::{AMPLE, Bench};
use crate::client::{self, Manner, Target, Timings};
use crate::image::Image;
use crate::number::number;
use crate::server::Kind;
use crate::table::{Mark, Outcome, Row, Unit};
use crate::upstream::{Link, Upstream};

const FAILED: Row = Row {
    label: "clients that failed",
    unit: Unit::Count,
    mark: Mark::AtMost(0.0),
};
const BYTES: Row = Row {
    label: "bytes from upstream / bytes of the image",
    unit: Unit::Factor,
    mark: Mark::AtMost(1.0),
};
const FIRST_BYTE: Row = Row {
    label: "slowest first byte of any client",
    unit: Unit::Seconds,
    mark: Mark::AtMost(0.5),
};
const WALL: Row = Row {
    label: "wall",
    unit: Unit::Seconds,
    mark: Mark::AtMostOf(1.0, Kind::Nginx),
};
const CPU: Row = Row {
    label: "server CPU",
    unit: Unit::Seconds,
    mark: Mark::None,
};

/// Rows of the cold herd.
pub const COLD: &[Row] = &[
    FAILED,
    Row {
        label: "blob GETs at upstream (5 blobs)",
        unit: Unit::Count,
        mark: Mark::AtMost(5.0),
    },
    BYTES,
    FIRST_BYTE,
    WALL,
    CPU,
    Row {
        label: "peak memory",
        unit: Unit::Mib,
        mark: Mark::AtMost(96.0),
    },
];

/// Rows of the large herd on a small image.
pub const SMALL: &[Row] = &[
    FAILED,
    Row {
        label: "blob GETs at upstream (3 blobs)",
        unit: Unit::Count,
        mark: Mark::AtMost(3.0),
    },
    BYTES,
    FIRST_BYTE,
    WALL,
    CPU,
    Row {
        label: "peak memory",
        unit: Unit::Mib,
        mark: Mark::None,
    },
];

/// Rows of the warm herd.
pub const WARM: &[Row] = &[
    FAILED,
    Row {
        label: "requests at upstream",
        unit: Unit::Count,
        mark: Mark::AtMost(5.0),
    },
    Row {
        mark: Mark::None,
        ..FIRST_BYTE
    },
    Row {
        label: "peak memory",
        unit: Unit::Mib,
        mark: Mark::None,
    },
];

/// What came of many clients.
pub struct Herd {
    /// Until the last was done.
    pub wall: Duration,
    /// The slowest of each.
    pub worst: Timings,
    /// Bytes of blobs that they received together.
    pub bytes: u64,
    /// Why some failed.
    pub failures: Vec<String>,
}

impl Herd {
    /// The row of those that failed, and why the first of them did.
    pub fn report_failures(&self, out: &mut Outcome) {
        out.set(FAILED.label, number(self.failures.len()));
        if let Some(first) = self.failures.first() {
            out.note(format!("{} clients failed: {first}", self.failures.len()));
        }
    }
}

/// So many clients pull the image, all at once.
pub async fn herd(bench: &Bench, target: &Target, image: &Image, clients: usize) -> Herd {
    let began = Instant::now();
    let mut pulls = JoinSet::new();
    for number in 0..clients {
        let (target, repository, tag) = (target.clone(), image.repository.clone(), image.tag.clone());
        let manner = Manner {
            checks: number % bench.check_every.max(1) == 0,
            gives_up_after: None,
        };
        pulls.spawn(async move { client::pull(&target, &repository, &tag, manner).await });
    }
    let mut herd = Herd {
        wall: Duration::ZERO,
        worst: Timings::default(),
        bytes: 0,
        failures: Vec::new(),
    };
    while let Some(pulled) = pulls.join_next().await {
        let Ok((timings, result)) = pulled else { continue };
        herd.worst.header = herd.worst.header.max(timings.header);
        herd.worst.first_byte = herd.worst.first_byte.max(timings.first_byte);
        herd.worst.total = herd.worst.total.max(timings.total);
        herd.bytes += timings.bytes;
        if let Err(error) = result {
            herd.failures.push(format!("{error:#}"));
        }
    }
    herd.wall = began.elapsed();
    herd
}

/// 50 clients on 4 x 32 MiB.
pub async fn cold(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/large", 1, 4, 32 << 20);
    of(bench, kind, &image, 50, COLD, out).await
}

/// 500 clients on 2 x 512 KiB.
pub async fn small(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/small", 1, 2, 512 << 10);
    of(bench, kind, &image, 500, SMALL, out).await
}

async fn of(bench: &Bench, kind: Kind, image: &Image, clients: usize, rows: &[Row], out: &mut Outcome) -> Result<()> {
    let upstream = Upstream::start(Link::mib(100))?;
    upstream.hold(image);
    let server = bench.server(kind, &upstream, None, AMPLE).await?;
    server.reset_peak()?;
    upstream.reset();
    let before = server.cpu();
    let herd = herd(bench, &server.target, image, clients).await;
    herd.report_failures(out);
    let counts = upstream.counts();
    if let Some(row) = rows.get(1) {
        out.set(row.label, number(counts.blob_gets));
    }
    out.set(BYTES.label, number(counts.blob_bytes) / number(image.bytes()));
    out.set(FIRST_BYTE.label, herd.worst.first_byte.as_secs_f64());
    out.set(WALL.label, herd.wall.as_secs_f64());
    if let (Some(before), Some(after)) = (before, server.cpu()) {
        out.set(CPU.label, after.saturating_sub(before).as_secs_f64());
    }
    if let Some(peak) = server.peak_mib() {
        out.set("peak memory", peak);
    }
    Ok(())
}

/// 50 clients on what one has pulled before.
pub async fn warm(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/large", 1, 4, 32 << 20);
    let upstream = Upstream::start(Link::mib(100))?;
    upstream.hold(&image);
    let server = bench.server(kind, &upstream, None, AMPLE).await?;
    let (_, result) = client::pull(&server.target, &image.repository, &image.tag, Manner::checking()).await;
    result?;
    server.reset_peak()?;
    upstream.reset();
    let herd = herd(bench, &server.target, &image, 50).await;
    herd.report_failures(out);
    out.set("requests at upstream", number(upstream.counts().requests));
    out.set(FIRST_BYTE.label, herd.worst.first_byte.as_secs_f64());
    if let Some(peak) = server.peak_mib() {
        out.set("peak memory", peak);
    }
    Ok(())
}
