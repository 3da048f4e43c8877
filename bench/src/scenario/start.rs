//! How long a start takes when much is stored.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::StreamExt;

use super::{AMPLE, Bench};
use crate::client::{self, Manner};
use crate::image::{Blob, Image};
use crate::server::Kind;
use crate::table::{Mark, Outcome, Row, Unit};
use crate::upstream::{Link, Upstream};

/// Blobs of one image.
const LAYERS: u32 = 999;

/// What is measured.
pub const ROWS: &[Row] = &[
    Row {
        label: "blobs stored",
        unit: Unit::Count,
        mark: Mark::None,
    },
    Row {
        label: "time that storing them took",
        unit: Unit::Seconds,
        mark: Mark::None,
    },
    Row {
        label: "from start to serving",
        unit: Unit::Seconds,
        mark: Mark::AtMost(2.0),
    },
    Row {
        label: "from start to a blob from the store",
        unit: Unit::Seconds,
        mark: Mark::AtMost(2.0),
    },
    Row {
        label: "memory after the start",
        unit: Unit::Mib,
        mark: Mark::None,
    },
];

/// The server fetches them itself, as images of many tiny layers, is killed, and started again.
pub async fn run(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let upstream = Upstream::start(Link::none())?;
    let mut server = bench.server(kind, &upstream, None, AMPLE).await?;
    let images = bench.start_blobs.div_ceil(LAYERS + 1);
    let began = Instant::now();
    let pulls = (0..images).map(|number| {
        let (upstream, server) = (&upstream, &server);
        async move {
            let repository = format!("library/n{number}");
            let image = Image::new(&repository, u64::from(number), LAYERS as usize, 64);
            upstream.hold(&image);
            let (_, result) = client::pull(&server.target, &repository, &image.tag, Manner::checking()).await;
            result.with_context(|| format!("image {number} of {images}"))
        }
    });
    let mut pulls = futures::stream::iter(pulls).buffer_unordered(8);
    while let Some(pulled) = pulls.next().await {
        pulled?;
    }
    drop(pulls);
    out.set("blobs stored", f64::from(images * (LAYERS + 1)));
    out.set("time that storing them took", began.elapsed().as_secs_f64());
    server.kill();
    let took = server.run().await?;
    let since = Instant::now();
    out.set("from start to serving", took.as_secs_f64());
    let image = Image::new("library/n0", 0, LAYERS as usize, 64);
    let path = |blob: &Blob| format!("/v2/library/n0/blobs/{}", blob.digest);
    // A server may fetch while its store is not open yet: another blob each time, until one costs upstream nothing.
    for blob in &image.blobs {
        upstream.reset();
        client::answers(&server.target, &path(blob)).await?;
        if upstream.counts().blob_gets == 0 {
            out.set(
                "from start to a blob from the store",
                (took + since.elapsed()).as_secs_f64(),
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    out.set("memory after the start", server.peak_mib().unwrap_or_default());
    Ok(())
}
