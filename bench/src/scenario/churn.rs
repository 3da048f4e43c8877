//! A store that is too small for what is pulled.

use std::time::Duration;

use anyhow::Result;
use futures::stream::StreamExt;

use super::{AMPLE, Bench};
use crate::client::{self, Manner};
use crate::image::Image;
use crate::number::number;
use crate::server::Kind;
use crate::table::{Mark, Outcome, Row, Unit};
use crate::upstream::{Link, Upstream};

const BUDGET_MIB: u64 = 256;
const CLIENTS: usize = 4;

/// What is measured.
pub const ROWS: &[Row] = &[
    Row {
        label: "clients that failed",
        unit: Unit::Count,
        mark: Mark::AtMost(0.0),
    },
    Row {
        label: "most that the store was over its budget",
        unit: Unit::Mib,
        // The fills in flight: one layer a client.
        mark: Mark::AtMost(128.0),
    },
    Row {
        label: "store over its budget 15 s later",
        unit: Unit::Mib,
        mark: Mark::AtMost(0.0),
    },
];

/// 24 images of one layer, four at a time, with a look at the store every 20 ms.
pub async fn run(bench: &Bench, kind: Kind, out: &mut Outcome) -> Result<()> {
    let upstream = Upstream::start(Link::mib(100))?;
    // Distribution knows no budget.
    let budget = if kind == Kind::Distribution { AMPLE } else { BUDGET_MIB };
    let server = bench.server(kind, &upstream, None, budget).await?;
    let over = || number((server.stored() >> 10).saturating_sub(BUDGET_MIB << 10)) / 1024.0;
    let pulls = (0..24).map(|number| {
        let (upstream, server) = (&upstream, &server);
        async move {
            let image = Image::new(&format!("library/n{number}"), number, 1, 32 << 20);
            upstream.hold(&image);
            client::pull(&server.target, &image.repository, &image.tag, Manner::checking())
                .await
                .1
        }
    });
    let mut pulls = futures::stream::iter(pulls).buffer_unordered(CLIENTS);
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let (mut most, mut failed) = (0.0_f64, 0_u64);
    loop {
        tokio::select! {
            _ = look.tick() => most = most.max(over()),
            pulled = pulls.next() => match pulled {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    failed += 1;
                    out.note(format!("{error:#}"));
                }
            }
        }
    }
    out.set("clients that failed", number(failed));
    out.set("most that the store was over its budget", most);
    // nginx looks every ten seconds.
    tokio::time::sleep(Duration::from_secs(15)).await;
    out.set("store over its budget 15 s later", over());
    Ok(())
}
