//! Facts: manifests, who holds what, tags.

use jiff::Timestamp;

use super::*;
use crate::names::{Repository, Tag};
use crate::store::{Manifest, NotStored, TagFact};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

fn fact(digest: Digest) -> TagFact {
    TagFact {
        digest,
        media_type: Some(TYPE.to_owned()),
        size: Some(12),
        checked_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn a_manifest_keeps_its_bytes_and_its_type() {
    let (directory, store) = fresh();
    let bytes = content(1, 3000);
    let digest = Digest::sha256(&bytes);
    store.put_manifest(&digest, TYPE, bytes.clone()).await.unwrap();
    store.put_manifest(&digest, TYPE, bytes.clone()).await.unwrap();
    let expected = Some(Manifest {
        media_type: TYPE.to_owned(),
        bytes,
    });
    assert_eq!(store.manifest(&digest).await, expected);
    store.close().await;
    let store = open(directory.path());
    assert!(store.has(&digest).await);
    assert_eq!(store.manifest(&digest).await, expected);
    assert_eq!(store.manifest(&Digest::sha256(b"other")).await, None);
}

#[tokio::test]
async fn a_blob_is_no_manifest_until_its_type_is_known() {
    let (_directory, store) = fresh();
    let bytes = content(1, 3000);
    let digest = put(&store, &bytes).await;
    assert_eq!(store.manifest(&digest).await, None);
    store.put_manifest(&digest, TYPE, bytes.clone()).await.unwrap();
    assert_eq!(store.manifest(&digest).await.unwrap().bytes, bytes);
}

#[tokio::test]
async fn a_manifest_that_has_changed_on_disk_is_not_served() {
    let (directory, store) = fresh();
    let bytes = content(1, 3000);
    let digest = Digest::sha256(&bytes);
    store.put_manifest(&digest, TYPE, bytes).await.unwrap();
    store.close().await;
    fs::write(blob_path(directory.path(), &digest), content(2, 3000)).unwrap();
    let store = open(directory.path());
    assert_eq!(store.manifest(&digest).await, None);
    assert!(!store.has(&digest).await);
}

#[tokio::test]
async fn over_long_manifests_and_types_are_refused() {
    let (_directory, store) = fresh();
    let digest = Digest::sha256(b"x");
    let long = Bytes::from(vec![0; (4 << 20) + 1]);
    assert_eq!(store.put_manifest(&digest, TYPE, long).await, Err(NotStored::Length));
    let found = store.put_manifest(&digest, &"t".repeat(256), Bytes::new()).await;
    assert_eq!(found, Err(NotStored::Length));
}

#[tokio::test]
async fn holds_are_of_one_upstream_one_repository_and_one_digest() {
    let (directory, mut store) = fresh();
    let digests = [Digest::sha256(b"a"), Digest::Sha512([1; 64])];
    for _ in 0..2 {
        store
            .note_holds("docker.io", &repository("library/nginx"), &digests)
            .await;
        for digest in &digests {
            assert!(store.holds("docker.io", &repository("library/nginx"), digest).await);
            assert!(!store.holds("ghcr.io", &repository("library/nginx"), digest).await);
            assert!(!store.holds("docker.io", &repository("library/nginx2"), digest).await);
        }
        assert!(
            !store
                .holds("docker.io", &repository("library/nginx"), &Digest::sha256(b"b"))
                .await
        );
        written(&store).await;
        store.close().await;
        store = open(directory.path());
    }
}

#[tokio::test]
async fn noting_what_is_known_writes_nothing() {
    let (_directory, store) = fresh();
    let digests: Vec<_> = (0..40_u8).map(|at| Digest::sha256(&[at])).collect();
    store.note_holds("docker.io", &repository("a"), &digests).await;
    written(&store).await;
    for _ in 0..50 {
        store.note_holds("docker.io", &repository("a"), &digests).await;
        assert_eq!(crate::store::lock(&store.inner.facts).waiting(), 0);
    }
}

#[tokio::test]
async fn tags_are_kept_and_removed_for_each_accept() {
    let (directory, store) = fresh();
    let (name, latest) = (repository("library/nginx"), tag("latest"));
    let facts = [fact(Digest::sha256(b"1")), fact(Digest::sha256(b"2"))];
    for (accept, fact) in ["a", "b"].iter().zip(&facts) {
        store.put_tag("docker.io", &name, &latest, accept, fact.clone()).await;
    }
    store.close().await;
    let store = open(directory.path());
    assert_eq!(
        store.tag("docker.io", &name, &latest, "a").await.as_ref(),
        Some(&facts[0])
    );
    assert_eq!(
        store.tag("docker.io", &name, &latest, "b").await.as_ref(),
        Some(&facts[1])
    );
    assert_eq!(store.tag("docker.io", &name, &latest, "c").await, None);
    assert_eq!(store.tag("docker.io", &name, &tag("other"), "a").await, None);
    store.remove_tag("docker.io", &name, &latest, "a").await;
    store.close().await;
    let store = open(directory.path());
    assert_eq!(store.tag("docker.io", &name, &latest, "a").await, None);
    assert!(store.tag("docker.io", &name, &latest, "b").await.is_some());
    store.remove_tag("docker.io", &name, &latest, "b").await;
    store.remove_tag("docker.io", &name, &latest, "c").await;
    assert_eq!(store.tag("docker.io", &name, &latest, "b").await, None);
}

#[tokio::test]
async fn facts_put_at_the_same_time_are_all_kept() {
    let (_directory, store) = fresh();
    let (name, latest) = (repository("a"), tag("latest"));
    let puts = (0..8).map(|at| {
        let (store, name, latest) = (&store, &name, &latest);
        async move {
            store
                .put_tag("docker.io", name, latest, &at.to_string(), fact(Digest::sha256(b"1")))
                .await;
        }
    });
    futures::future::join_all(puts).await;
    for at in 0..8 {
        assert!(
            store.tag("docker.io", &name, &latest, &at.to_string()).await.is_some(),
            "{at}"
        );
    }
}

#[tokio::test]
async fn what_a_fill_left_of_a_manifest_is_checked_before_it_is_part_of_it() {
    let (_directory, store) = fresh();
    let bytes = content(1, 100_000);
    let digest = Digest::sha256(&bytes);
    let mut partial = store.begin(&digest, 100_000).await.unwrap();
    partial.append(vec![content(2, 70_000)]).await.unwrap();
    drop(partial);
    store.put_manifest(&digest, "text/plain", bytes.clone()).await.unwrap();
    assert!(get(&store, &digest).await == Some(bytes));
}
