//! Starting: on anything that lies there, and quickly.

use super::*;
use crate::store::index::{Batch, Index, Record};

#[tokio::test]
async fn a_broken_or_foreign_index_is_set_aside_and_made_anew_from_the_files() {
    let (directory, mut store) = fresh();
    let bytes = content(1, 100_000);
    let digest = put(&store, &bytes).await;
    store.close().await;
    let index = directory.path().join("index.redb");
    let good = fs::read(&index).unwrap();
    let torn: Vec<u8> = good
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 4096 > 100 { 0xa5 } else { *byte })
        .collect();
    for broken in [
        b"garbage".to_vec(),
        vec![0; 1 << 16],
        good[..good.len() / 2].to_vec(),
        torn,
    ] {
        fs::write(&index, &broken).unwrap();
        store = open(directory.path());
        until("the file is known again", async || get(&store, &digest).await.is_some()).await;
        assert_eq!(get(&store, &digest).await, Some(bytes.clone()));
        assert_eq!(store.trouble(), None);
        written(&store).await;
        store.close().await;
        assert!(directory.path().join("index.redb.aside").exists());
    }
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    store = open(directory.path());
    until("the file is known again", async || get(&store, &digest).await.is_some()).await;
}

#[tokio::test]
async fn bits_that_flip_in_the_index_never_make_wrong_bytes_or_a_store_that_does_not_start() {
    let (directory, store) = fresh();
    let all: Vec<_> = (0..50).map(|seed| content(seed, 500)).collect();
    for bytes in &all {
        put(&store, bytes).await;
    }
    store.close().await;
    let index = directory.path().join("index.redb");
    let good = fs::read(&index).unwrap();
    for round in 0..40_usize {
        let mut bad = good.clone();
        for flip in 0..=round % 5 {
            let at = (round * 7919 + flip * 104_729) * 31 % bad.len();
            bad[at] ^= 1 << (round % 8);
        }
        fs::write(&index, bad).unwrap();
        let store = open(directory.path());
        for bytes in &all {
            if let Some(found) = get(&store, &Digest::sha256(bytes)).await {
                assert!(found == *bytes);
            }
        }
        store.close().await;
    }
}

#[tokio::test]
async fn a_second_store_says_so_and_takes_over_when_the_first_ends() {
    let (directory, first) = fresh();
    let bytes = content(1, 1000);
    let digest = put(&first, &bytes).await;
    let second = open(directory.path());
    assert_eq!(get(&second, &digest).await, None);
    assert!(second.trouble().unwrap().contains("in use by another process"));
    assert!(second.begin(&digest, 1).await.is_err());
    // Facts go to memory meanwhile.
    let manifest = content(2, 100);
    let named = Digest::sha256(&manifest);
    assert!(
        second
            .put_manifest(&named, "text/plain", manifest.clone())
            .await
            .is_err()
    );
    assert_eq!(second.manifest(&named).await.unwrap().bytes, manifest);
    first.close().await;
    until("the second store has taken over", async || second.trouble().is_none()).await;
    assert_eq!(get(&second, &digest).await, Some(bytes));
}

#[tokio::test]
async fn a_store_that_nobody_closes_lets_go_too() {
    let (directory, first) = fresh();
    let bytes = content(1, 1000);
    let digest = put(&first, &bytes).await;
    drop(first);
    let second = open(directory.path());
    until("the blob is there", async || get(&second, &digest).await.is_some()).await;
}

#[tokio::test]
async fn a_hundred_thousand_blobs_are_no_reason_to_start_slowly() {
    const MANY: u64 = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let index = Index::open(&directory.path().join("index.redb")).unwrap();
    let digest = |at: u64| Digest::sha256(&at.to_le_bytes());
    let record = |at: u64| Record {
        size: 8,
        used: at,
        media: at
            .is_multiple_of(10)
            .then(|| "application/vnd.oci.image.manifest.v1+json".to_owned()),
    };
    let blobs = (0..MANY).map(|at| (digest(at).into(), Some(record(at)))).collect();
    index
        .write(&Batch {
            blobs,
            facts: Vec::new(),
        })
        .unwrap();
    drop(index);
    let path = blob_path(directory.path(), &digest(7));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, 7_u64.to_le_bytes()).unwrap();

    let started = Instant::now();
    let options = Options {
        max_bytes: Some(10 << 30),
        ..options(directory.path())
    };
    let store = Store::open(options, &StoreMetrics::default());
    assert!(store.blob(&digest(7)).await.is_some());
    let taken = started.elapsed();
    // Unoptimised, and beside other tests; `make bench ARGS="--only start"` measures it.
    assert!(taken < Duration::from_secs(30), "{taken:?}");
    until("the scan has found that the others have no file", async || {
        store.statistics().blobs == 1
    })
    .await;
}
