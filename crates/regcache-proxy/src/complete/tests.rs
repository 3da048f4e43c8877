//! What is complete, from a real store.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::names::{Repository, Tag};
use crate::store::{Options, StoreMetrics, TagFact};

struct Rig {
    store: Arc<Store>,
    _directory: TempDir,
}

fn repository() -> Repository {
    "library/a".parse().unwrap()
}

impl Rig {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let mut options = Options::new(directory.path());
        // However full the disk is that tests run on.
        options.max_bytes = Some(64 * 1024 * 1024);
        Self {
            store: Store::open(options, &metrics),
            _directory: directory,
        }
    }

    async fn blob(&self, bytes: &'static [u8]) -> String {
        let digest = Digest::sha256(bytes);
        let mut partial = self.store.begin(&digest, bytes.len() as u64).await.unwrap();
        partial.append(vec![Bytes::from_static(bytes)]).await.unwrap();
        partial.commit().await.unwrap();
        digest.to_string()
    }

    async fn manifest(&self, document: Value) -> String {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::sha256(&bytes);
        self.store.put_manifest(&digest, "x/y", bytes).await.unwrap();
        self.store.note_holds("docker.io", &repository(), &[digest]).await;
        digest.to_string()
    }

    async fn tag(&self, tag: &str, digest: &str) {
        let fact = TagFact {
            digest: digest.parse().unwrap(),
            media_type: None,
            size: None,
            checked_at: Timestamp::now(),
        };
        let (tag, accept): (Tag, _) = (tag.parse().unwrap(), Accept::parse([CONTAINERD]));
        self.store
            .put_tag("docker.io", &repository(), &tag, accept.as_str(), fact)
            .await;
    }

    async fn ask(&self, images: &[&str], platform: Option<&str>) -> Value {
        let request = json!({"images": images, "platform": platform});
        let request = serde_json::from_value(request).unwrap();
        serde_json::to_value(Complete::new(self.store.clone()).answer(request).await).unwrap()
    }
}

fn elsewhere(name: &str) -> String {
    Digest::sha256(name.as_bytes()).to_string()
}

fn image(config: &str, layer: &str) -> Value {
    json!({"config": {"digest": config}, "layers": [{"digest": layer}]})
}

#[tokio::test]
async fn an_image_is_complete_when_all_that_it_names_is_here() {
    let rig = Rig::new();
    let (config, layer) = (rig.blob(b"config").await, rig.blob(b"layer").await);
    let whole = rig.manifest(image(&config, &layer)).await;
    let half = rig.manifest(image(&config, &elsewhere("absent"))).await;
    rig.tag("whole", &whole).await;
    rig.tag("half", &half).await;
    let answer = rig.ask(&["a:whole", "docker.io/library/a:half"], None).await;
    let whole = json!({
        "image": "a:whole", "digest": whole, "state": "complete",
        "platforms": [{"platform": "", "state": "complete"}],
    });
    let half = json!({
        "image": "docker.io/library/a:half", "digest": half, "state": "missing",
        "platforms": [{"platform": "", "state": "missing", "missing": [elsewhere("absent")]}],
    });
    assert_eq!(answer, json!({"images": [whole, half]}));
}

#[tokio::test]
async fn each_platform_of_an_index_is_looked_at_by_itself() {
    let rig = Rig::new();
    let (config, layer) = (rig.blob(b"config").await, rig.blob(b"layer").await);
    let here = rig.manifest(image(&config, &layer)).await;
    let platform = |os: &str, architecture: &str| json!({"os": os, "architecture": architecture});
    let index = rig.manifest(json!({"manifests": [
        {"digest": here, "platform": platform("linux", "amd64")},
        {"digest": elsewhere("arm"), "platform": platform("linux", "arm64")},
        {"digest": elsewhere("attestation"), "platform": platform("unknown", "unknown")},
    ]}));
    rig.tag("1", &index.await).await;
    let answer = rig.ask(&["a:1"], None).await;
    let platforms = json!([
        {"platform": "linux/amd64", "state": "complete"},
        {"platform": "linux/arm64", "state": "missing", "missing": [elsewhere("arm")]},
    ]);
    assert_eq!(answer["images"][0]["platforms"], platforms);
    assert_eq!(answer["images"][0]["state"], "missing");
    let answer = rig.ask(&["a:1"], Some("linux/x86_64")).await;
    assert_eq!(answer["images"][0]["state"], "complete");
    let answer = rig.ask(&["a:1"], Some("linux/arm64/v8")).await;
    assert_eq!(answer["images"][0]["state"], "missing");
    let answer = rig.ask(&["a:1"], Some("linux/s390x")).await;
    assert_eq!(answer["images"][0]["state"], "unknown");
}

#[tokio::test]
async fn what_nobody_has_asked_for_is_unknown() {
    let rig = Rig::new();
    let text = "not a manifest".to_owned();
    let odd = rig.manifest(json!(text)).await;
    rig.tag("odd", &odd).await;
    let digest = elsewhere("never");
    let names = [
        "a:never",
        &format!("a@{digest}"),
        "quay.io/library/a:odd",
        "A:1",
        "a:odd",
    ];
    let answer = rig.ask(&names, None).await;
    for (number, name) in names.iter().enumerate() {
        let image = &answer["images"][number];
        assert_eq!((&image["image"], &image["state"]), (&json!(name), &json!("unknown")));
        assert!(!image["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_manifest_that_made_room_is_missing() {
    let rig = Rig::new();
    rig.tag("1", &elsewhere("gone")).await;
    let answer = rig.ask(&["a:1"], None).await;
    assert_eq!(
        answer["images"][0]["platforms"][0]["missing"],
        json!([elsewhere("gone")])
    );
}

#[tokio::test]
async fn a_digest_is_known_in_the_repositories_that_hold_it() {
    let rig = Rig::new();
    let layer = rig.blob(b"layer").await;
    let digest = rig.manifest(image(&layer, &layer)).await;
    let answer = rig.ask(&[&format!("a@{digest}"), &format!("b@{digest}")], None).await;
    assert_eq!(answer["images"][0]["state"], "complete");
    assert_eq!(answer["images"][1]["state"], "unknown");
}

#[tokio::test]
async fn a_question_has_its_bounds() {
    let rig = Rig::new();
    let names = vec!["a:1"; MOST + 1];
    let answer = rig.ask(&names, None).await;
    let last = answer["images"].as_array().unwrap().last().unwrap();
    assert!(last["message"].as_str().unwrap().contains("more images"));
}
