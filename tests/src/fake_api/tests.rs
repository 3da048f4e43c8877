//! The server keeps the promises that the operator's tests rest on.

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use regcache_api::RegistryCache;
use serde_json::{Value, json};

use super::{FakeApi, Fault};

fn read<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json! at the call")]
fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

async fn apply(api: &Api<ConfigMap>, manager: &str, object: &Value) -> ConfigMap {
    let params = PatchParams::apply(manager).force();
    api.patch("a", &params, &Patch::Apply(object)).await.unwrap()
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "x")
}

#[tokio::test]
async fn apply_removes_what_its_manager_drops_and_keeps_what_others_have() {
    let server = FakeApi::new();
    let api = maps(&server.client("x"));
    apply(&api, "one", &config_map(json!({"mine": "1", "both": "1"}))).await;
    apply(&api, "two", &config_map(json!({"theirs": "2", "both": "1"}))).await;
    let after = apply(&api, "one", &config_map(json!({"new": "1"}))).await;
    let data: Value = json!(after.data);
    assert_eq!(data, json!({"both": "1", "new": "1", "theirs": "2"}));
}

#[tokio::test]
async fn apply_without_effect_changes_no_version() {
    let server = FakeApi::new();
    let api = maps(&server.client("x"));
    let first = apply(&api, "one", &config_map(json!({"a": "1"}))).await;
    let second = apply(&api, "one", &config_map(json!({"a": "1"}))).await;
    assert_eq!(first, second);
    let actions = server.actions_since(0);
    assert_eq!((actions[0].created, actions[0].changed), (true, true));
    assert_eq!((actions[1].created, actions[1].changed), (false, false));
}

#[tokio::test]
async fn apply_without_force_meets_a_conflict() {
    let server = FakeApi::new();
    let api = maps(&server.client("x"));
    apply(&api, "one", &config_map(json!({"a": "1"}))).await;
    let other = config_map(json!({"a": "2"}));
    let refused = api
        .patch("a", &PatchParams::apply("two"), &Patch::Apply(&other))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.is_conflict()),
        "{refused}"
    );
    assert_eq!(apply(&api, "two", &other).await.data.unwrap()["a"], "2");
    apply(&api, "one", &config_map(json!({"b": "1"}))).await;
    assert_eq!(
        api.get("a").await.unwrap().data.unwrap()["a"],
        "2",
        "the field was taken over"
    );
}

#[tokio::test]
async fn items_of_lists_go_and_stay_by_their_keys() {
    let server = FakeApi::new();
    let api: Api<Service> = Api::namespaced(server.client("x"), "x");
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
               "spec": {"selector": {"app": "a"}, "ports": ports}})
    };
    let apply = async |object: Value| {
        api.patch("a", &PatchParams::apply("one").force(), &Patch::Apply(&object))
            .await
            .unwrap()
    };
    let first = apply(service(json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]))).await;
    let address = first.spec.as_ref().unwrap().cluster_ip.clone().unwrap();
    assert!(address.starts_with("10.96."), "{address}");
    let again = apply(service(json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]))).await;
    assert_eq!(first, again, "defaults are no difference");
    let second = apply(service(json!([{"name": "b", "port": 2}]))).await.spec.unwrap();
    assert_eq!(
        second.ports.unwrap().iter().map(|port| port.port).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(second.cluster_ip, Some(address));
}

fn registry_cache() -> RegistryCache {
    read(json!({
        "apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache", "metadata": {"name": "a"},
        "spec": {"upstreams": [{"host": "docker.io"}], "regions": [{"name": "r"}]},
    }))
}

#[tokio::test]
async fn status_and_spec_are_written_apart_and_only_the_spec_is_counted() {
    let server = FakeApi::new();
    let api: Api<RegistryCache> = Api::all(server.client("x"));
    let made = api.create(&PostParams::default(), &registry_cache()).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.status.unwrap().conditions[0].reason, "Pending");
    let status = json!({"apiVersion": "regcache.dev/v1alpha1", "kind": "RegistryCache",
                        "status": {"cachesReady": "1/1"}, "spec": {"paused": true}});
    let params = PatchParams::apply("status").force();
    let told = api.patch_status("a", &params, &Patch::Apply(&status)).await.unwrap();
    assert_eq!((told.spec.paused, told.metadata.generation), (None, Some(1)));
    assert_eq!(told.status.unwrap().caches_ready.as_deref(), Some("1/1"));
    let merge = json!({"spec": {"paused": true}, "status": {"cachesReady": "9/9"}});
    let changed = api
        .patch("a", &PatchParams::default(), &Patch::Merge(&merge))
        .await
        .unwrap();
    assert_eq!(
        (changed.spec.paused, changed.metadata.generation),
        (Some(true), Some(2))
    );
    assert_eq!(changed.status.unwrap().caches_ready.as_deref(), Some("1/1"));
}

#[tokio::test]
async fn finalizers_hold_an_object_and_preconditions_protect_it() {
    let server = FakeApi::new();
    let api: Api<RegistryCache> = Api::all(server.client("x"));
    let made = api.create(&PostParams::default(), &registry_cache()).await.unwrap();
    let add = json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["f"]},
    ]);
    let patch = |value: Value| Patch::Json::<()>(serde_json::from_value(value).unwrap());
    api.patch("a", &PatchParams::default(), &patch(add)).await.unwrap();
    let other = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("other".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(matches!(api.delete("a", &other).await, Err(kube::Error::Api(status)) if status.is_conflict()));
    let mine = DeleteParams {
        preconditions: Some(Preconditions {
            uid: made.uid(),
            ..Default::default()
        }),
        ..Default::default()
    };
    api.delete("a", &mine).await.unwrap();
    let dying = api.get("a").await.unwrap();
    assert!(dying.metadata.deletion_timestamp.is_some());
    let remove = json!([
        {"op": "test", "path": "/metadata/finalizers/0", "value": "f"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
    ]);
    api.patch("a", &PatchParams::default(), &patch(remove)).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn watches_start_with_what_is_there_and_tell_every_change() {
    let server = FakeApi::new();
    let api = maps(&server.client("x"));
    apply(&api, "one", &config_map(json!({"a": "1"}))).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = Box::pin(watcher(api.clone(), config));
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(watcher::Event::InitDone)) {
            seen.push(events.try_next().await.unwrap().unwrap());
        }
        assert!(matches!(
            &seen[..],
            [
                watcher::Event::Init,
                watcher::Event::InitApply(_),
                watcher::Event::InitDone
            ]
        ));
        apply(&api, "one", &config_map(json!({"a": "2"}))).await;
        let Some(watcher::Event::Apply(changed)) = events.try_next().await.unwrap() else {
            panic!("no change told")
        };
        assert_eq!(changed.data.unwrap()["a"], "2");
        api.delete("a", &DeleteParams::default()).await.unwrap();
        assert!(matches!(
            events.try_next().await.unwrap(),
            Some(watcher::Event::Delete(_))
        ));
        apply(&api, "one", &config_map(json!({"a": "1"}))).await;
    }
}

#[tokio::test]
async fn requests_fail_on_order_and_a_lost_reply_is_a_done_deed() {
    let server = FakeApi::new();
    let api = maps(&server.client("x"));
    server.fail_number(1, Fault::Forbidden);
    server.fail_number(2, Fault::Timeout);
    server.fail_number(3, Fault::LostReply);
    let map: ConfigMap = read(json!({"metadata": {"name": "a"}}));
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let refused = api.create(&PostParams::default(), &map).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.is_forbidden()),
        "{refused}"
    );
    api.create(&PostParams::default(), &map).await.unwrap_err();
    assert_eq!(server.all::<ConfigMap>().len(), 0);
    api.create(&PostParams::default(), &map).await.unwrap_err();
    assert_eq!(server.all::<ConfigMap>().len(), 1);
    server.fail_every("list", "configmaps", Fault::Internal);
    assert!(api.list(&ListParams::default()).await.is_err());
    server.heal();
    assert_eq!(
        api.list(&ListParams::default().fields("metadata.name=b"))
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    let codes: Vec<u16> = server.writes_since(0).iter().map(|action| action.code).collect();
    assert_eq!(codes, [403, 0, 0]);
}

#[tokio::test]
async fn the_simulated_cluster_runs_what_it_is_given() {
    let server = FakeApi::new();
    let client = server.client("x");
    for (name, region) in [("n1", "r1"), ("n2", "r2")] {
        server.put::<Node>(&read(json!({"metadata": {"name": name, "labels": {"region": region}}})));
    }
    let template = |extra: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        json_patch::merge(&mut spec, &extra);
        json!({"metadata": {"labels": {"app": "a"}}, "spec": spec})
    };
    let spec = |template: Value| json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "x");
    let affinity = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "region", "operator": "In", "values": ["r1"]}]}]}}}});
    let set = read(json!({"metadata": {"name": "set"}, "spec": spec(template(affinity))}));
    sets.create(&PostParams::default(), &set).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "x");
    let claim = read(
        json!({"metadata": {"name": "data"}, "spec": {"storageClassName": "missing",
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    claims.create(&PostParams::default(), &claim).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "x");
    let volume = json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
    let deployment = read(json!({"metadata": {"name": "cache"}, "spec": spec(template(volume))}));
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    server.settle();
    let pods: Vec<Pod> = server.all();
    assert_eq!(
        pods.iter()
            .map(|pod| pod.spec.as_ref().unwrap().node_name.as_deref().unwrap())
            .collect::<Vec<_>>(),
        ["n1"]
    );
    let available = |server: &FakeApi| {
        server
            .get::<Deployment>("x", "cache")
            .unwrap()
            .status
            .unwrap()
            .available_replicas
    };
    assert_eq!(available(&server), Some(0), "its volume has no such class");
    server.put::<k8s_openapi::api::storage::v1::StorageClass>(&read(
        json!({"metadata": {"name": "missing"}, "provisioner": "p"}),
    ));
    server.settle();
    assert_eq!(available(&server), Some(1));
    let settled = server.snapshot();
    server.settle();
    assert_eq!(server.snapshot(), settled);
    sets.delete("set", &DeleteParams::background()).await.unwrap();
    server.settle();
    assert_eq!(server.all::<Pod>().len(), 0);
}
