//! A pull-through registry that misbehaves on demand; stands where CNCF distribution stands, started the same way.
//!
//! ```text
//! config (distribution's YAML) -> server: request -> store (memory, upstream) -> fault decides -> answer, or harm
//!                                 control: POST /fault, DELETE /fault, GET /requests  (on distribution's debug port)
//! ```
//! Without a fault it is an honest cache. It reads whole blobs before it answers, and keeps them in memory.

pub mod config;
pub mod control;
pub mod fault;
pub mod http1;
pub mod record;
pub mod server;
pub mod store;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use fault::Faults;
use record::Records;
use store::Store;

/// What all connections share.
pub struct Shared {
    faults: Mutex<Faults>,
    records: Records,
    store: Store,
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until it is killed.
pub fn run(file: &Path) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(file))
}

async fn serve(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let config = config::Config::parse(&text)?;
    let shared = Arc::new(Shared {
        faults: Mutex::default(),
        records: Records::default(),
        store: Store::new(&config.proxy.remoteurl)?,
    });
    let tls = config.acceptor()?;
    let main = listen(&config.http.addr).await?;
    let debug = listen(&config.http.debug.addr).await?;
    println!("faulty registry for {} on {}", config.proxy.remoteurl, config.http.addr);
    tokio::try_join!(server::serve(main, tls, shared.clone()), control::serve(debug, shared))?;
    Ok(())
}

/// Listens on an address as Go writes it: `:5000` is all of the machine's.
async fn listen(address: &str) -> Result<TcpListener> {
    if let Some(port) = address.strip_prefix(':') {
        if let Ok(listener) = TcpListener::bind(format!("[::]:{port}")).await {
            return Ok(listener);
        }
        return TcpListener::bind(format!("0.0.0.0:{port}"))
            .await
            .with_context(|| format!("listen on {address}"));
    }
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))
}
