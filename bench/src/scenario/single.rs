//! One client or two, and a link that takes its time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{AMPLE, Bench};
use crate::client::{self, Manner};
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
const HEADER: Row = Row {
    label: "slowest header",
    unit: Unit::Seconds,
    mark: Mark::AtMost(0.5),
};
const BYTES: Row = Row {
    label: "bytes from upstream / bytes of the image",
    unit: Unit::Factor,
    mark: Mark::AtMost(1.0),
};
const WALL: Row = Row {
    label: "wall",
    unit: Unit::Seconds,
    mark: Mark::None,
};

/// Rows of the slow link.
pub const SLOW: &[Row] = &[FAILED, HEADER, BYTES, WALL];
/// Rows of the client that comes back.
pub const GIVES_UP: &[Row] = &[FAILED, BYTES, WALL];

/// Two clients, the second a second later.
pub async fn slow(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/large", 1, 4, 32 << 20);
    let upstream = Upstream::start(Link::mib(3))?;
    upstream.hold(&image);
    let server = bench.server(kind, &upstream, None, AMPLE).await?;
    upstream.reset();
    let began = Instant::now();
    let pull = async |after| {
        tokio::time::sleep(after).await;
        client::pull(&server.target, &image.repository, &image.tag, Manner::checking()).await
    };
    let pulls = [pull(Duration::ZERO), pull(Duration::from_secs(1))];
    let (mut header, mut failed) = (Duration::ZERO, 0_u64);
    for (timings, result) in futures::future::join_all(pulls).await {
        header = header.max(timings.header);
        if let Err(error) = result {
            failed += 1;
            out.note(format!("{error:#}, after {:.1} s", timings.total.as_secs_f64()));
        }
    }
    out.set(FAILED.label, number(failed));
    out.set(HEADER.label, header.as_secs_f64());
    out.set(
        BYTES.label,
        number(upstream.counts().blob_bytes) / number(image.bytes()),
    );
    out.set(WALL.label, began.elapsed().as_secs_f64());
    Ok(())
}

/// A client that hangs up, comes back and begins anew.
pub async fn gives_up(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/large", 1, 4, 32 << 20);
    let upstream = Upstream::start(Link::mib(50))?;
    upstream.hold(&image);
    let server = bench.server(kind, &upstream, None, AMPLE).await?;
    upstream.reset();
    let began = Instant::now();
    let leaving = Manner {
        gives_up_after: Some(48 << 20),
        ..Manner::checking()
    };
    // That it ends with an error is the point.
    let _ = client::pull(&server.target, &image.repository, &image.tag, leaving).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, result) = client::pull(&server.target, &image.repository, &image.tag, Manner::checking()).await;
    out.set(FAILED.label, number(u64::from(result.is_err())));
    if let Err(error) = result {
        out.note(format!("{error:#}"));
    }
    out.set(
        BYTES.label,
        number(upstream.counts().blob_bytes) / number(image.bytes()),
    );
    out.set(WALL.label, began.elapsed().as_secs_f64());
    Ok(())
}
