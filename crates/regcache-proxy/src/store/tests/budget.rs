//! What goes when room is needed.

use super::*;
use crate::store::{NotStored, StoreMetrics};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn the_least_recently_used_goes_first_and_down_to_the_low_mark() {
    let (directory, store) = fresh();
    let mut digests = Vec::new();
    for seed in 0..6 {
        digests.push(put(&store, &content(seed, 8 * MIB)).await);
    }
    // Used again: younger than the others now.
    assert!(store.blob(&digests[0]).await.is_some());
    let newest = put(&store, &content(6, 20 * MIB)).await;
    assert!(store.has(&newest).await && store.has(&digests[0]).await);
    assert!(!store.has(&digests[1]).await);
    let statistics = store.statistics();
    assert!(
        statistics.used_bytes <= statistics.limit_bytes / 10 * 9 + 4096,
        "{statistics:?}"
    );
    let on_disk = files(&directory.path().join("blobs")).len() as u64;
    assert_eq!(on_disk, statistics.blobs);
}

#[tokio::test]
async fn what_is_read_pinned_or_filled_stays_and_others_are_not_stored() {
    let (_directory, store) = fresh();
    let read_now = put(&store, &content(1, 20 * MIB)).await;
    let pinned = put(&store, &content(2, 20 * MIB)).await;
    store.pin(&pinned).await;
    let reader = store.blob(&read_now).await.unwrap();
    let filling = store.begin(&Digest::sha256(b"filling"), 15 * MIB as u64).await.unwrap();
    let more = Digest::sha256(b"more");
    assert_eq!(store.begin(&more, 20 * MIB as u64).await.err(), Some(NotStored::Full));
    assert!(store.has(&read_now).await && store.has(&pinned).await);
    drop(filling);
    drop(reader);
    assert!(store.begin(&more, 30 * MIB as u64).await.is_ok());
    assert!(store.has(&pinned).await && !store.has(&read_now).await);
}

#[tokio::test]
async fn what_is_larger_than_the_budget_makes_nothing_go() {
    let (_directory, store) = fresh();
    let kept = put(&store, &content(1, 8 * MIB)).await;
    let found = store.begin(&Digest::sha256(b"x"), 65 * MIB as u64).await;
    assert_eq!(found.err(), Some(NotStored::TooLarge));
    assert_eq!(
        store.begin(&Digest::sha256(b"x"), u64::MAX).await.err(),
        Some(NotStored::TooLarge)
    );
    assert!(store.has(&kept).await);
}

#[tokio::test]
async fn a_smaller_budget_takes_effect_at_once() {
    let (directory, store) = fresh();
    for seed in 0..6 {
        put(&store, &content(seed, 8 * MIB)).await;
    }
    store.set_max_bytes(Some(20 << 20));
    until("the store has shrunk", async || {
        store.statistics().used_bytes <= 20 << 20
    })
    .await;
    until("the files are gone", async || {
        files(&directory.path().join("blobs")).len() <= 2
    })
    .await;
}

#[tokio::test]
async fn pins_outlast_the_process() {
    let (directory, store) = fresh();
    let (pinned, unpinned) = (
        put(&store, &content(1, 20 * MIB)).await,
        put(&store, &content(2, 20 * MIB)).await,
    );
    store.pin(&pinned).await;
    store.pin(&unpinned).await;
    store.unpin(&unpinned).await;
    store.close().await;
    let store = open(directory.path());
    put(&store, &content(3, 40 * MIB)).await;
    assert!(store.has(&pinned).await && !store.has(&unpinned).await);
}

#[tokio::test]
async fn many_fills_and_readers_never_take_more_than_the_budget() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = StoreMetrics::default();
    let store = Store::open(options(directory.path()), &metrics);
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..60_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let bytes = content(seed % 40, MIB * usize::try_from(1 + seed % 7).unwrap());
            let digest = Digest::sha256(&bytes);
            if let Some(found) = get(&store, &digest).await {
                assert!(found == bytes);
                return;
            }
            let Ok(mut partial) = store.begin(&digest, bytes.len() as u64).await else {
                return;
            };
            for at in (usize::try_from(partial.len()).unwrap()..bytes.len()).step_by(MIB) {
                partial
                    .append(vec![bytes.slice(at..bytes.len().min(at + MIB))])
                    .await
                    .unwrap();
                if seed % 11 == 0 {
                    return;
                }
            }
            let blob = partial.commit().await.unwrap();
            assert!(read(&blob) == bytes);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
        let statistics = store.statistics();
        assert!(statistics.used_bytes <= statistics.limit_bytes, "{statistics:?}");
        let on_disk: u64 = files(directory.path())
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|file| file.len())
            .sum();
        assert!(on_disk <= (64 << 20) + OVERHEAD, "{on_disk}");
    }
    assert!(metrics.evicted_bytes.get() > 0 && metrics.evicted_blobs.get() > 0);
}
