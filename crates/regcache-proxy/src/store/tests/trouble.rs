//! Disks that fail: serving goes on, and storing comes back by itself.

use std::io::ErrorKind;

use rstest::rstest;

use super::*;
use crate::store::NotStored;

#[rstest]
#[case(ErrorKind::StorageFull, NotStored::NoSpace)]
#[case(ErrorKind::QuotaExceeded, NotStored::NoSpace)]
#[case(ErrorKind::ReadOnlyFilesystem, NotStored::ReadOnly)]
#[case(ErrorKind::Other, NotStored::Disk)]
#[tokio::test]
async fn a_disk_that_fails_is_said_and_survived(#[case] fault: ErrorKind, #[case] reason: NotStored) {
    let (_directory, store) = fresh();
    let kept = content(1, 1000);
    let digest = put(&store, &kept).await;
    written(&store).await;
    let other = Digest::sha256(&content(2, 200_000));
    let mut partial = store.begin(&other, 200_000).await.unwrap();
    partial
        .append(vec![content(2, 200_000).slice(..100_000)])
        .await
        .unwrap();

    store.inner.disk.inject(Some(fault));
    assert_eq!(partial.append(vec![Bytes::from_static(b"x")]).await, Err(reason));
    assert_eq!(partial.len(), 100_000);
    drop(partial);
    assert!(store.trouble().is_some());
    assert_eq!(store.begin(&other, 200_000).await.err(), Some(reason));
    assert_eq!(get(&store, &digest).await, Some(kept));
    let manifest = content(3, 100);
    let named = Digest::sha256(&manifest);
    assert_eq!(
        store.put_manifest(&named, "text/plain", manifest.clone()).await,
        Err(reason)
    );
    assert_eq!(store.manifest(&named).await.unwrap().bytes, manifest);
    let repository = "a".parse().unwrap();
    store.note_holds("docker.io", &repository, &[named]).await;
    assert!(store.holds("docker.io", &repository, &named).await);

    store.inner.disk.inject(None);
    until("it is well again", async || store.trouble().is_none()).await;
    // What had been written before is taken up.
    assert_eq!(store.begin(&other, 200_000).await.unwrap().len(), 100_000);
    store.put_manifest(&named, "text/plain", manifest).await.unwrap();
    written(&store).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_is_bypassed_until_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::write(&path, "a file").unwrap();
    let store = open(&path);
    let digest = Digest::sha256(b"x");
    assert_eq!(store.blob(&digest).await.map(|blob| blob.size), None);
    assert!(store.trouble().unwrap().contains("store"));
    assert!(store.begin(&digest, 1).await.is_err());
    fs::remove_file(&path).unwrap();
    until("it is well", async || store.trouble().is_none()).await;
    put(&store, &content(1, 10)).await;
}

#[tokio::test]
async fn a_commit_that_fails_keeps_the_bytes_for_the_next_try() {
    let (_directory, store) = fresh();
    let bytes = content(1, 100_000);
    let digest = Digest::sha256(&bytes);
    let mut partial = store.begin(&digest, 100_000).await.unwrap();
    partial.append(vec![bytes.clone()]).await.unwrap();
    store.inner.disk.inject(Some(ErrorKind::Other));
    assert_eq!(partial.commit().await.err(), Some(NotStored::Disk));
    store.inner.disk.inject(None);
    until("it is well again", async || store.trouble().is_none()).await;
    let partial = store.begin(&digest, 100_000).await.unwrap();
    assert_eq!(partial.len(), 100_000);
    assert_eq!(read(&partial.commit().await.unwrap()), bytes);
}

#[tokio::test]
async fn an_index_that_breaks_while_in_use_is_made_anew_from_memory() {
    let (directory, store) = fresh();
    let digest = put(&store, &content(1, 1000)).await;
    store.pin(&digest).await;
    written(&store).await;
    store
        .inner
        .index_failed(&crate::store::index::IndexError::Broken("for the test".to_owned()));
    until("there is an index", async || store.inner.index().is_some()).await;
    written(&store).await;
    store.close().await;
    let store = open(directory.path());
    assert!(store.has(&digest).await);
    assert_eq!(crate::store::lock(&store.inner.catalogue).pins(), [(&digest).into()]);
}

/// A file system of its own; `None`, and a loud line, where that is not allowed.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(directory.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("SKIPPED: a really full disk is only tested where file systems may be mounted");
        None
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let umount = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        assert!(umount.unwrap().success());
    }
}

#[tokio::test]
async fn a_small_disk_is_used_as_far_as_it_goes_and_a_full_one_is_survived() {
    let Some(disk) = Tmpfs::mount("size=32m") else { return };
    let store = Store::open(
        Options {
            max_bytes: Some(1 << 30),
            ..options(disk.0.path())
        },
        &StoreMetrics::default(),
    );
    for seed in 0..10 {
        let bytes = content(seed, 5 << 20);
        let digest = put(&store, &bytes).await;
        assert_eq!(get(&store, &digest).await, Some(bytes));
    }
    let limit = store.statistics().limit_bytes;
    assert!((28 << 20..29 << 20).contains(&limit), "{limit}");

    // Somebody else takes the rest: ours makes room as long as it can.
    let (others, kept) = (disk.0.path().join("others"), content(9, 5 << 20));
    let reader = store.blob(&Digest::sha256(&kept)).await.unwrap();
    fs::write(&others, vec![0; 100 << 20]).unwrap_err();
    let bytes = content(20, 5 << 20);
    let digest = put(&store, &bytes).await;
    let second = store.blob(&digest).await.unwrap();
    fs::write(&others, vec![0; 100 << 20]).unwrap_err();
    let found = store.begin(&Digest::sha256(b"x"), 20 << 20).await;
    assert_eq!(found.err(), Some(NotStored::NoSpace));
    assert!(store.trouble().is_some());
    assert_eq!((read(&reader), read(&second)), (kept, bytes));
    fs::remove_file(&others).unwrap();
    until("it is well again", async || store.trouble().is_none()).await;
    put(&store, &content(21, 5 << 20)).await;
    store.close().await;
}

#[rstest]
#[tokio::test]
async fn a_disk_that_others_fill_is_given_room_even_when_the_index_cannot_be_written(
    #[values(false, true)] start: bool,
) {
    let Some(disk) = Tmpfs::mount("size=64m") else { return };
    let options = Options {
        max_bytes: None,
        ..options(disk.0.path())
    };
    let store = Store::open(options.clone(), &StoreMetrics::default());
    for seed in 0..8 {
        put(&store, &content(seed, 4 << 20)).await;
    }
    written(&store).await;
    if start {
        store.close().await;
    }
    let others = disk.0.path().join("others");
    // What is free now and no more: what is made free meanwhile is not for them.
    let free = rustix::fs::statvfs(disk.0.path()).unwrap();
    let free = usize::try_from(free.f_bavail * free.f_frsize).unwrap();
    let _ = fs::write(&others, vec![0; free]);
    let store = if start {
        Store::open(options, &StoreMetrics::default())
    } else {
        let repository = "a".parse().unwrap();
        let digests: Vec<_> = (0..5000_u64).map(|at| Digest::sha256(&at.to_le_bytes())).collect();
        store.note_holds("docker.io", &repository, &digests).await;
        store
    };
    until("there is room for all", async || {
        put_if_possible(&store, &content(20, 4 << 20)).await
    })
    .await;
    assert!(fs::metadata(&others).is_ok());
}

async fn put_if_possible(store: &Store, bytes: &Bytes) -> bool {
    let Ok(mut partial) = store.begin(&Digest::sha256(bytes), bytes.len() as u64).await else {
        return false;
    };
    let at = usize::try_from(partial.len()).unwrap();
    partial.append(vec![bytes.slice(at..)]).await.is_ok() && partial.commit().await.is_ok()
}
