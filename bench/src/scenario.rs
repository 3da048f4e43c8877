//! What is measured: each scenario on a fresh server with an upstream of its own.

mod churn;
mod hang;
mod herd;
mod hits;
mod single;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use clap::ValueEnum;

use crate::server::{Kind, Programs, Server, Setup};
use crate::table::{Outcome, Row};
use crate::tls::Tls;
use crate::upstream::Upstream;

/// MiB that servers may store where storing is not the point.
const AMPLE: u64 = 20 << 10;

/// A scenario by its name on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Scenario {
    /// 50 clients at once, nothing stored.
    ColdHerd,
    /// 500 clients at once, a small image, nothing stored.
    Herd500,
    /// 50 clients at once, everything stored.
    WarmHerd,
    /// 50 clients, everything stored: what a hit costs.
    Hits,
    /// The same with TLS.
    HitsTls,
    /// Two clients behind 3 MiB/s.
    SlowLink,
    /// A client that hangs up halfway and comes back.
    GivesUp,
    /// A stored tag while upstream does not answer.
    Hang,
    /// Three times the budget.
    Eviction,
    /// Start with many blobs stored.
    Start,
}

/// What a scenario is about.
pub struct About {
    /// In words.
    pub title: &'static str,
    /// What it measures.
    pub rows: &'static [Row],
    /// The columns that it says something about.
    pub servers: &'static [Kind],
    /// All servers at the same time: for what waits for the link and not for a processor.
    pub together: bool,
}

/// What all scenarios need.
pub struct Bench {
    /// What is run.
    pub programs: Programs,
    /// Below it, each server gets a directory.
    pub work: PathBuf,
    /// One client in so many checks digests, the others lengths.
    pub check_every: usize,
    /// How many blobs are stored in [`Scenario::Start`].
    pub start_blobs: u32,
    /// For [`Scenario::HitsTls`].
    pub tls: Arc<Tls>,
    /// How many directories there are already.
    pub directories: AtomicUsize,
}

/// Every server that stores.
const CACHES: &[Kind] = &[Kind::Regcache, Kind::Distribution, Kind::Nginx];
/// These and none.
const WITH_DIRECT: &[Kind] = &[Kind::Regcache, Kind::Distribution, Kind::Nginx, Kind::Direct];
/// These and plain files.
const WITH_FILES: &[Kind] = &[Kind::Regcache, Kind::Distribution, Kind::Nginx, Kind::Files];

impl Scenario {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// What it is about.
    pub fn about(self) -> About {
        let (title, rows, servers, together) = match self {
            Self::ColdHerd => (
                "cold herd: 50 clients, 4 x 32 MiB, upstream 100 MiB/s and 20 ms",
                herd::COLD,
                WITH_DIRECT,
                false,
            ),
            Self::Herd500 => (
                "cold herd: 500 clients, 2 x 512 KiB, upstream 100 MiB/s and 20 ms",
                herd::SMALL,
                WITH_DIRECT,
                false,
            ),
            Self::WarmHerd => ("warm herd: 50 clients, 4 x 32 MiB stored", herd::WARM, CACHES, false),
            Self::Hits => (
                "hits: 50 clients, 4 x 32 MiB stored, plain HTTP",
                hits::PLAIN,
                WITH_FILES,
                false,
            ),
            Self::HitsTls => ("hits: 50 clients, 4 x 32 MiB stored, TLS", hits::TLS, WITH_FILES, false),
            Self::SlowLink => (
                "slow link: 2 clients, 4 x 32 MiB, upstream 3 MiB/s",
                single::SLOW,
                WITH_DIRECT,
                true,
            ),
            Self::GivesUp => (
                "a client hangs up after 48 of 128 MiB and comes back after 1 s, upstream 50 MiB/s",
                single::GIVES_UP,
                WITH_DIRECT,
                false,
            ),
            Self::Hang => (
                "stored tag, upstream accepts and never answers",
                hang::ROWS,
                CACHES,
                true,
            ),
            Self::Eviction => (
                "eviction: 4 clients pull 24 x 32 MiB through a budget of 256 MiB",
                churn::ROWS,
                CACHES,
                false,
            ),
            Self::Start => (
                "start after kill -9 with many small blobs stored",
                start::ROWS,
                CACHES,
                false,
            ),
        };
        About {
            title,
            rows,
            servers,
            together,
        }
    }

    /// Measures one server. What was measured before an error counts.
    pub async fn run(self, bench: &Bench, kind: Kind) -> Outcome {
        let mut outcome = Outcome::default();
        let out = &mut outcome;
        let result = match self {
            Self::ColdHerd => herd::cold(bench, kind, out).await,
            Self::Herd500 => herd::small(bench, kind, out).await,
            Self::WarmHerd => herd::warm(bench, kind, out).await,
            Self::Hits => hits::run(bench, kind, None, out).await,
            Self::HitsTls => hits::run(bench, kind, Some(bench.tls.clone()), out).await,
            Self::SlowLink => single::slow(bench, kind, out).await,
            Self::GivesUp => single::gives_up(bench, kind, out).await,
            Self::Hang => hang::run(bench, kind, out).await,
            Self::Eviction => churn::run(bench, kind, out).await,
            Self::Start => start::run(bench, kind, out).await,
        };
        if let Err(error) = result {
            outcome.note(format!("{error:#}"));
        }
        outcome
    }
}

impl Bench {
    /// A server with an empty store, serving.
    async fn server(&self, kind: Kind, upstream: &Upstream, tls: Option<Arc<Tls>>, budget_mib: u64) -> Result<Server> {
        let number = self.directories.fetch_add(1, Ordering::Relaxed);
        let setup = Setup {
            upstream: upstream.address,
            tls,
            budget_mib,
        };
        Server::start(kind, &self.programs, self.work.join(number.to_string()), setup).await
    }
}
