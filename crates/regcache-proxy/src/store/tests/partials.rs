//! Blobs that grow.

use super::*;
use crate::store::NotStored;

const LEN: usize = 200_000;

#[tokio::test]
async fn what_was_stored_is_given_out_and_still_there_after_opening_again() {
    let (directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = put(&store, &bytes).await;
    assert_eq!(get(&store, &digest).await, Some(bytes.clone()));
    assert!(store.has(&digest).await);
    store.close().await;
    assert_eq!(get(&store, &digest).await, None);
    assert_eq!(store.begin(&digest, 1).await.err(), Some(NotStored::Unusable));

    let store = open(directory.path());
    assert_eq!(get(&store, &digest).await, Some(bytes));
    assert_eq!(get(&store, &Digest::sha256(b"other")).await, None);
    assert!(
        files(&directory.path().join("partial"))
            .iter()
            .all(|path| path.ends_with("boot"))
    );
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (_directory, store) = fresh();
    let digest = put(&store, &Bytes::new()).await;
    assert_eq!(get(&store, &digest).await, Some(Bytes::new()));
}

#[tokio::test]
async fn sha512_is_as_good() {
    let (directory, store) = fresh();
    let bytes = content(1, 10);
    let mut hasher = Digest::Sha512([0; 64]).hasher();
    hasher.update(&bytes);
    let digest = hasher.finish();
    let mut partial = store.begin(&digest, 10).await.unwrap();
    partial.append(vec![bytes.clone()]).await.unwrap();
    partial.commit().await.unwrap();
    store.close().await;
    assert_eq!(get(&open(directory.path()), &digest).await, Some(bytes));
}

#[tokio::test]
async fn a_dropped_fill_is_taken_up_with_a_hasher_that_knows_its_bytes() {
    let (directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = Digest::sha256(&bytes);
    for end in [70_000, 150_000] {
        let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
        let at = usize::try_from(partial.len()).unwrap();
        partial.append(vec![bytes.slice(at..end)]).await.unwrap();
    }
    store.close().await;

    let store = open(directory.path());
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    assert_eq!(partial.len(), 150_000);
    let mut hasher = partial.hasher();
    hasher.update(&bytes[150_000..]);
    assert_eq!(hasher.finish(), digest);
    partial
        .append(vec![bytes.slice(150_000..160_000), bytes.slice(160_000..)])
        .await
        .unwrap();
    let blob = partial.commit().await.unwrap();
    assert_eq!(read(&blob), bytes);
}

#[tokio::test]
async fn what_was_meant_to_get_another_length_is_not_taken_up() {
    let (directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = Digest::sha256(&bytes);
    let mut partial = store.begin(&digest, 2 * LEN as u64).await.unwrap();
    partial.append(vec![bytes.clone()]).await.unwrap();
    drop(partial);
    let partial = store.begin(&digest, LEN as u64).await.unwrap();
    assert!(partial.is_empty());
    assert_eq!(partial.hasher().finish(), Digest::sha256(b""));
    // The one that grows, and the note of the boot.
    assert_eq!(files(&directory.path().join("partial")).len(), 2);
}

#[tokio::test]
async fn wrong_bytes_leave_nothing() {
    let (directory, store) = fresh();
    let digest = Digest::sha256(b"right");
    assert!(!store.has(&digest).await);
    let before = store.statistics().used_bytes;
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    partial.append(vec![content(1, LEN)]).await.unwrap();
    partial.discard().await;
    assert!(store.begin(&digest, LEN as u64).await.unwrap().is_empty());
    assert_eq!(store.statistics().used_bytes, before);
    assert_eq!(files(&directory.path().join("partial")).len(), 1);
    assert!(!store.has(&digest).await);
}

#[tokio::test]
async fn a_digest_has_one_fill_at_a_time() {
    let (_directory, store) = fresh();
    let digest = Digest::sha256(b"x");
    let first = store.begin(&digest, 1).await.unwrap();
    assert_eq!(store.begin(&digest, 1).await.err(), Some(NotStored::Busy));
    drop(first);
    assert!(store.begin(&digest, 1).await.is_ok());
}

#[tokio::test]
async fn only_what_has_its_announced_length_becomes_permanent() {
    let (_directory, store) = fresh();
    let digest = Digest::sha256(b"12345");
    let mut partial = store.begin(&digest, 5).await.unwrap();
    partial.append(vec![Bytes::from_static(b"1234")]).await.unwrap();
    let too_long = partial.append(vec![Bytes::from_static(b"56")]).await;
    assert_eq!((too_long, partial.len()), (Err(NotStored::Length), 4));
    assert_eq!(partial.commit().await.err(), Some(NotStored::Length));
    assert!(!store.has(&digest).await);
}

#[tokio::test]
async fn readers_of_the_growing_file_read_on_after_the_commit() {
    let (_directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = Digest::sha256(&bytes);
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    let file = partial.file();
    partial.append(vec![bytes.clone()]).await.unwrap();
    let blob = partial.commit().await.unwrap();
    assert!(Arc::ptr_eq(&file, &blob.file));
    // All readers share one handle.
    assert!(Arc::ptr_eq(&file, &store.blob(&digest).await.unwrap().file));
    assert_eq!(read(&Blob { size: LEN as u64, file }), bytes);
}

#[tokio::test]
async fn what_was_written_in_another_boot_is_not_taken_up() {
    let (directory, store) = fresh();
    let digest = Digest::sha256(b"x");
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    partial.append(vec![content(1, 100_000)]).await.unwrap();
    drop(partial);
    store.close().await;
    fs::write(directory.path().join("partial/boot"), "another").unwrap();
    let store = open(directory.path());
    assert!(store.begin(&digest, LEN as u64).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_file_that_is_still_read_is_never_cut() {
    let (directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = Digest::sha256(&bytes);
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    partial.append(vec![bytes.slice(..100_000)]).await.unwrap();
    let reader = partial.file();
    drop(partial);
    let path = crate::store::layout::Layout::new(directory.path().to_owned()).partial(&(&digest).into(), LEN as u64);
    fs::write(&path, [&bytes[..], &bytes[..]].concat()).unwrap();
    let used = store.statistics().used_bytes;
    let mut partial = store.begin(&digest, LEN as u64).await.unwrap();
    assert!(partial.is_empty());
    partial.append(vec![content(2, 100_000)]).await.unwrap();
    let mut seen = vec![0; 100_000];
    reader.read_exact_at(&mut seen, 0).unwrap();
    assert!(seen == bytes[..100_000], "other bytes came where a reader was");
    assert!(store.statistics().used_bytes > used, "and what it reads still counts");
}

#[tokio::test]
async fn a_file_that_was_met_during_a_fill_that_failed_is_not_forgotten() {
    let (directory, store) = fresh();
    let digest = put(&store, &content(1, LEN)).await;
    // Found wrong, or met by the scan, while a fill is under way.
    let partial = store.begin(&digest, LEN as u64).await.unwrap();
    store.inner.drop_file(&(&digest).into());
    assert!(blob_path(directory.path(), &digest).exists());
    drop(partial);
    until("it is known again", async || store.has(&digest).await).await;
}

#[tokio::test]
async fn what_the_index_may_still_speak_for_gets_its_name_when_its_bytes_are_safe() {
    use std::sync::atomic::Ordering;
    let (directory, store) = fresh();
    let bytes = content(1, LEN);
    let digest = put(&store, &bytes).await;
    let synced = |store: &Store| store.inner.disk.synced.load(Ordering::Relaxed);
    written(&store).await;
    store.close().await;
    let store = Store::open(
        Options {
            every: Duration::from_secs(3600),
            ..options(directory.path())
        },
        &StoreMetrics::default(),
    );
    assert!(store.has(&digest).await);
    store.inner.drop_file(&(&digest).into());
    // After a power failure from here on the index would find a file of the right length.
    put(&store, &bytes).await;
    assert_eq!(synced(&store), 1);
    put(&store, &content(2, LEN)).await;
    assert_eq!(synced(&store), 1, "nobody waits for others");
    store.close().await;
    let store = open(directory.path());
    store.opened().await;
    store.inner.drop_file(&(&digest).into());
    written(&store).await;
    put(&store, &bytes).await;
    assert_eq!(synced(&store), 0, "the index knows that it went");
}
