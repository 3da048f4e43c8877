//! Bad input: a clear message, and no effect on the rest.

use anyhow::{Context, Result, ensure};
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::wait_for;
use serde_json::{Value, json};

use crate::suite::{KIB, NODES, PATIENCE, Suite, condition, refusal};

/// A change to a good object, and what the refusal must contain.
const REFUSED: &[(&str, &str, &str)] = &[
    ("/spec/nonsense", "true", "unknown field"),
    (
        "/spec/upstreams/0/host",
        "\"https://docker.io/library\"",
        "write docker.io, not https://docker.io/library",
    ),
    (
        "/spec/upstreams/0/host",
        "\"docker.io/library\"",
        "without scheme, path or user",
    ),
    ("/spec/upstreams/0/host", "\"index.docker.io\"", "write host: docker.io"),
    (
        "/spec/upstreams/0/url",
        "\"https://me:secret@registry.test\"",
        "without user, path or query",
    ),
    (
        "/spec/upstreams/0/url",
        "\"ftp://registry.test\"",
        "http:// or https://",
    ),
    ("/spec/regions/0/storage", "{\"size\": \"0\"}", "greater than zero"),
    ("/spec/regions/0/storage", "{\"size\": \"much\"}", "for example 50Gi"),
    ("/spec/regions/0/name", "\"a/b\"", "topology.kubernetes.io/region"),
    ("/spec/regions", "[]", "at least 1"),
    (
        "/spec/upstreams",
        "[{\"host\": \"a.test\"}, {\"host\": \"a.test\"}]",
        "Duplicate value",
    ),
    (
        "/spec/cache",
        "{\"engine\": \"Nginx\"}",
        "supported values: \"Builtin\", \"Distribution\"",
    ),
    ("/spec/nodes", "{\"mode\": \"Sometimes\"}", "supported values"),
    (
        "/metadata/name",
        "\"a-name-that-is-far-too-long-to-be-part-of-another-name\"",
        "use 52 characters or fewer",
    ),
];

pub fn bad_objects_are_refused_with_the_fix(suite: &mut Suite) -> Result<()> {
    suite.installed()?;
    for (path, value, message) in REFUSED {
        let mut object = json!({
            "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache", "metadata": {"name": "bad"},
            "spec": {"upstreams": [{"host": "bad.test"}], "regions": [{"name": "region-1"}]},
        });
        put(&mut object, path, serde_json::from_str(value)?)?;
        let said = refusal(suite, &object)?;
        ensure!(said.contains(message), "{path} = {value}: no {message:?} in {said}");
    }
    Ok(())
}

/// Sets a value, adding the last step of its path.
fn put(object: &mut Value, path: &str, value: Value) -> Result<()> {
    let (parent, key) = path.rsplit_once('/').context("a path")?;
    let map = object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .with_context(|| format!("no {parent}"))?;
    map.insert(key.to_owned(), value);
    Ok(())
}

/// A region without nodes, a StorageClass and an image that do not exist: each is said, the rest of the object works,
/// and so do other objects.
pub fn bad_spec_harms_nothing_else(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.apply_cache(
        "bad-class",
        &["bad-class.test"],
        &["region-1", "nowhere"],
        &json!({
            "regions": [
                {"name": "region-1", "storage": {"size": "1Gi", "storageClassName": "no-such-class"}},
                {"name": "region-2", "storage": {"size": "1Gi"}},
                {"name": "nowhere"},
            ],
        }),
    )?;
    let object = suite.wait_condition("bad-class", "StorageHealthy", "False", Some("StorageClassNotFound"))?;
    let message = condition(&object, "StorageHealthy")
        .map(|it| it["message"].to_string())
        .unwrap_or_default();
    ensure!(message.contains("no-such-class"), "{message}");
    suite.wait_published("bad-class.test", &[2, 4])?;
    let object = suite.cluster.kubectl_json(&["get", "rcache", "bad-class"])?;
    let sites = object["status"]["sites"].to_string();
    ensure!(sites.contains("NotLocal") && sites.contains("nowhere"), "{sites}");
    suite.delete_cache("bad-class")?;

    let cache = json!({"engine": "Builtin", "image": "images.test/no-such-image:1", "storage": {"size": "1Gi"}});
    suite.apply_cache(
        "bad-image",
        &["bad-image.test"],
        &["region-1"],
        &json!({"cache": cache}),
    )?;
    let object = suite.wait_condition("bad-image", "CachesAvailable", "False", Some("ImagePullFailed"))?;
    let message = condition(&object, "CachesAvailable")
        .map(|it| it["message"].to_string())
        .unwrap_or_default();
    ensure!(
        message.contains("images.test/no-such-image:1") && message.contains("spec.cache.image"),
        "{message}"
    );
    ensure!(
        !suite.is_published(1, "bad-image.test"),
        "a cache that never answered is used"
    );
    suite.delete_cache("bad-image")?;

    suite.apply_cache("far-away", &["far-away.test"], &["nowhere"], &json!({}))?;
    suite.wait_condition("far-away", "Ready", "True", Some("NoLocalRegion"))?;
    suite.delete_cache("far-away")?;

    suite.wait_ready("main")?;
    let image = suite.push(&[64 * KIB])?;
    suite.pull(1, &image.name)?;
    Ok(())
}

pub fn upstream_of_another_registrycache_is_refused(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.apply_cache("late", &["images.test", "late.test"], &["region-1"], &json!({}))?;
    let object = suite.wait_condition("late", "Stalled", "True", Some("UpstreamTaken"))?;
    let message = condition(&object, "Stalled")
        .map(|it| it["message"].to_string())
        .unwrap_or_default();
    ensure!(message.contains("images.test") && message.contains("main"), "{message}");
    // The rest of it works, and the older one is not touched.
    suite.wait_published("late.test", &[1, 3])?;
    suite.wait_ready("main")?;
    suite.delete_cache("late")
}

/// n5's containerd has no `config_path`: it ignores what the helper writes, and the helper says so.
pub fn node_without_config_path_is_named(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    wait_for("the helper on n5 to name config_path", PATIENCE, || {
        let name = suite.helper_pod(5)?["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let log = suite.cluster.kubectl(&["logs", "-n", NODES, &name])?;
        Ok(if log.contains("config_path") {
            Look::Done(())
        } else {
            Look::NotYet(log)
        })
    })?;
    let image = suite.push(&[64 * KIB])?;
    suite.pull(5, &image.name)?;
    // n3 had no certs.d at all when it started.
    suite.wait_published("images.test", &[3])
}
