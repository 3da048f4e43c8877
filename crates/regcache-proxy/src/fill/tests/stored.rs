//! With the real store, in real time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use regcache_transfer::Digest;

use super::bench::{Site, blob, bytes_of, read};
use super::script::{Act, Script};
use crate::fill::{Answer, FillLimits, FillMetrics, Fills, How};
use crate::store::{Options, Store, StoreMetrics};

const MIB: usize = 1024 * 1024;

fn open(directory: &tempfile::TempDir) -> (Arc<Store>, Arc<Fills>) {
    let options = Options {
        max_bytes: Some(64 << 20),
        ..Options::new(directory.path())
    };
    let store = Store::open(options, &StoreMetrics::default());
    let fills = Fills::new(store.clone(), FillLimits::default(), &FillMetrics::default());
    (store, fills)
}

fn act() -> Act {
    Act {
        chunk: 16 * 1024,
        ..Act::good()
    }
}

async fn get(fills: &Fills, site: &Arc<Site>, blob: &Bytes) -> Answer {
    fills.blob(site.clone(), Digest::sha256(blob), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_filled_and_then_a_hit() {
    let directory = tempfile::tempdir().unwrap();
    let (store, fills) = open(&directory);
    for size in [0, 1000, MIB, 3 * MIB + 1] {
        let blob = blob(size);
        let script = Script::new(&blob, [], act());
        let site = Site::new("docker.io", vec![script.clone()]);
        let clients = futures::future::join_all((0..8).map(|_| get(&fills, &site, &blob))).await;
        for answer in clients {
            assert!(read(answer, Duration::ZERO, Duration::ZERO).await.is(&blob));
        }
        let stored = async {
            while !store.has(&Digest::sha256(&blob)).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), stored).await.unwrap();
        let hit = read(get(&fills, &site, &blob).await, Duration::ZERO, Duration::ZERO).await;
        assert!(hit.is(&blob), "{size}");
        assert_eq!(script.asked(), [0], "{size}");
    }
    fills.shutdown(Duration::ZERO).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_takes_up_what_this_one_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let blob = blob(3 * MIB);
    let (gate, gated) = Act::gated();
    let script = Script::new(
        &blob,
        [Act {
            chunk: 16 * 1024,
            ..gated
        }],
        act(),
    );
    let site = Site::new("docker.io", vec![script.clone()]);
    gate.send_replace(MIB as u64);
    {
        let (store, fills) = open(&directory);
        let mut answer = get(&fills, &site, &blob).await;
        let mut seen = 0;
        while seen < MIB {
            seen += bytes_of(&answer.pieces.next().await.unwrap().unwrap()).len();
        }
        fills.shutdown(Duration::ZERO).await;
        assert!(answer.pieces.next().await.unwrap().is_err());
        store.close().await;
    }
    let (store, fills) = open(&directory);
    let answer = get(&fills, &site, &blob).await;
    assert_eq!(answer.how, How::Miss);
    assert!(read(answer, Duration::ZERO, Duration::ZERO).await.is(&blob));
    assert_eq!(script.asked(), [0, MIB as u64]);
    fills.shutdown(Duration::from_secs(10)).await;
    assert!(store.has(&Digest::sha256(&blob)).await);
    store.close().await;
}
