//! Whatever a kill leaves, the next start serves only what is right.

use super::*;

/// What is stored, of what was ever put, and that all of it is right.
async fn check(store: &Store, all: &[(Digest, Bytes)]) -> usize {
    let mut count = 0;
    for (digest, bytes) in all {
        if let Some(found) = get(store, digest).await {
            assert!(found == bytes, "{digest} has other bytes");
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn a_kill_between_any_two_steps_of_a_fill_loses_nothing_that_was_written() {
    let (directory, store) = fresh();
    let known = content(0, 100_000);
    let known = (put(&store, &known).await, known);
    written(&store).await;
    let bytes = content(1, 300_000);
    let digest = Digest::sha256(&bytes);
    let all = [known, (digest, bytes.clone())];
    let mut images = vec![(0, image(directory.path()))];
    let mut partial = store.begin(&digest, 300_000).await.unwrap();
    images.push((0, image(directory.path())));
    for at in [0, 100_000, 200_000] {
        partial.append(vec![bytes.slice(at..at + 100_000)]).await.unwrap();
        images.push((at as u64 + 100_000, image(directory.path())));
    }
    partial.commit().await.unwrap();
    images.push((u64::MAX, image(directory.path())));
    written(&store).await;
    images.push((u64::MAX, image(directory.path())));

    for (there, image) in images {
        let store = open(image.path());
        if there == u64::MAX {
            until("the file is known", async || store.has(&digest).await).await;
            assert_eq!(check(&store, &all).await, 2);
        } else {
            assert_eq!(check(&store, &all).await, 1);
            let mut partial = store.begin(&digest, 300_000).await.unwrap();
            assert_eq!(partial.len(), there);
            let rest = bytes.slice(usize::try_from(there).unwrap()..);
            partial.append(vec![rest]).await.unwrap();
            partial.commit().await.unwrap();
            assert_eq!(check(&store, &all).await, 2);
        }
    }
}

#[tokio::test]
async fn copies_taken_at_random_moments_of_a_busy_store_all_start() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: Some(16 << 20),
        every: Duration::from_millis(1),
        ..options(directory.path())
    };
    let store = Store::open(options.clone(), &StoreMetrics::default());
    let all: Vec<_> = (0..60)
        .map(|seed| content(seed, 1 << 20))
        .map(|bytes| (Digest::sha256(&bytes), bytes))
        .collect();
    for round in all.chunks(6) {
        for (_, bytes) in round {
            put(&store, bytes).await;
        }
        // The index is being written and blobs are being evicted meanwhile: files may be torn, as by a power failure.
        let image = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().to_owned(), image.path().to_owned());
        let copied = tokio::task::spawn_blocking(move || std::panic::catch_unwind(|| copy(&from, &to)));
        put(&store, &content(1000, 1 << 20)).await;
        if copied.await.unwrap().is_err() {
            // A file went while it was copied.
            continue;
        }
        let options = Options {
            directory: image.path().to_owned(),
            ..options.clone()
        };
        let copy = Store::open(options, &StoreMetrics::default());
        check(&copy, &all).await;
        assert_eq!(copy.trouble(), None);
        assert_eq!(put(&copy, &all[0].1).await, all[0].0);
        copy.close().await;
    }
}

#[tokio::test]
async fn a_file_that_nobody_vouches_for_is_read_before_it_is_served() {
    let (directory, store) = fresh();
    let (right, wrong, large) = (content(1, 1000), content(2, 1000), content(3, 40 << 20));
    let digests = [&right, &wrong, &large].map(|bytes| Digest::sha256(bytes));
    store.close().await;
    for (digest, bytes) in digests.iter().zip([&right, &right, &large]) {
        let path = blob_path(directory.path(), digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let foreign = directory.path().join("blobs/sha256/README");
    fs::write(&foreign, "not ours").unwrap();
    let store = open(directory.path());
    until("all is settled", async || {
        get(&store, &digests[2]).await.is_some() && get(&store, &digests[0]).await.is_some()
    })
    .await;
    until("the wrong one is gone", async || {
        !blob_path(directory.path(), &digests[1]).exists()
    })
    .await;
    assert_eq!(get(&store, &digests[0]).await, Some(right));
    assert_eq!(get(&store, &digests[1]).await, None);
    assert!(foreign.exists());
}

#[tokio::test]
async fn an_entry_without_its_file_is_dropped() {
    let (directory, store) = fresh();
    let asked = put(&store, &content(1, 1000)).await;
    let short = put(&store, &content(2, 1000)).await;
    let unasked = put(&store, &content(3, 1000)).await;
    store.close().await;
    fs::remove_file(blob_path(directory.path(), &asked)).unwrap();
    fs::write(blob_path(directory.path(), &short), "short").unwrap();
    fs::remove_file(blob_path(directory.path(), &unasked)).unwrap();
    let store = open(directory.path());
    assert_eq!(get(&store, &asked).await, None);
    assert_eq!(get(&store, &short).await, None);
    until("the scan has been there", async || !store.has(&unasked).await).await;
    assert_eq!(store.statistics().blobs, 0);
    assert!(!blob_path(directory.path(), &short).exists());
}

#[tokio::test]
async fn a_blob_under_suspicion_is_read_again_and_goes_when_it_is_wrong() {
    let (directory, store) = fresh();
    let (right, wrong) = (content(1, 1000), content(2, 1000));
    let digests = [put(&store, &right).await, put(&store, &wrong).await];
    fs::write(blob_path(directory.path(), &digests[1]), &right).unwrap();
    for digest in &digests {
        store.suspect(digest).await;
    }
    until("it is settled", async || {
        store.has(&digests[0]).await && store.statistics().blobs == 1
    })
    .await;
    assert_eq!(get(&store, &digests[1]).await, None);
}
