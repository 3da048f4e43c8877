//! A tag that is stored, while upstream takes connections and never answers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::{FuturesUnordered, StreamExt};

use super::{AMPLE, Bench};
use crate::client::{self, Manner};
use crate::image::Image;
use crate::server::{Kind, Server};
use crate::table::{Mark, Outcome, Row, Unit};
use crate::upstream::{Link, Upstream};

/// How long one waits for the servers to be well again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Questions without an answer, at most.
const OUTSTANDING: usize = 100;

/// What is measured.
pub const ROWS: &[Row] = &[
    Row {
        label: "first client's pull",
        unit: Unit::Seconds,
        mark: Mark::AtMost(2.5),
    },
    Row {
        label: "next client's pull",
        unit: Unit::Seconds,
        mark: Mark::AtMost(0.05),
    },
    Row {
        label: "upstream's new tag served after it is well",
        unit: Unit::Seconds,
        mark: Mark::AtMost(1.0),
    },
];

/// The upstream hangs, two clients pull one after the other, and upstream is well again with the tag moved.
pub async fn run(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let image = Image::new("library/small", 1, 2, 512 << 10);
    let upstream = Upstream::start(Link::mib(100))?;
    upstream.hold(&image);
    let server = bench.server(kind, &upstream, None, AMPLE).await?;
    let pull = || client::pull(&server.target, &image.repository, &image.tag, Manner::checking());
    pull().await.1.context("the pull that stores it")?;
    // What a server may take for fresh is stale by now.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    upstream.set_hanging(true);
    for (who, label) in ["first client's pull", "next client's pull"].into_iter().enumerate() {
        let (timings, result) = pull().await;
        out.set(label, timings.total.as_secs_f64());
        if let Err(error) = result {
            out.note(format!("client {} failed: {error:#}", who + 1));
        }
    }
    let moved = Image::new("library/small", 2, 2, 512 << 10);
    upstream.hold(&moved);
    upstream.set_hanging(false);
    let took = tokio::time::timeout(PATIENCE, well_again(&server, &moved)).await.ok();
    if took.is_none() {
        out.note("not well within 60 s".to_owned());
    }
    let took = took.unwrap_or(PATIENCE).as_secs_f64();
    out.set("upstream's new tag served after it is well", took);
    Ok(())
}

/// Asks for the tag every 20 ms, without waiting for the answers to earlier questions, until one is the new digest.
async fn well_again(server: &Server, moved: &Image) -> Duration {
    let began = Instant::now();
    let mut next = tokio::time::interval(Duration::from_millis(20));
    let mut asked = FuturesUnordered::new();
    let ask = || client::resolve(&server.target, &moved.repository, &moved.tag);
    loop {
        tokio::select! {
            _ = next.tick(), if asked.len() < OUTSTANDING => asked.push(ask()),
            Some(answer) = asked.next() => {
                if answer.is_ok_and(|digest| digest == *moved.manifest.digest) {
                    return began.elapsed();
                }
            }
        }
    }
}
