use serde_json::{Value, json};

use super::*;
use crate::cache::fixtures::{shared_labels_json, shared_site, site};

/// A Deployment of generation 2 whose controller has seen `observed`.
fn deployment(observed: i64, ready: i32, progressing: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "rc-upstream-example-here-0", "generation": 2},
        "status": {
            "observedGeneration": observed, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready,
            "conditions": [{"type": "Progressing", "status": "True", "reason": progressing}],
        },
    }))
    .unwrap()
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "labels": crate::cache::fixtures::labels_json()},
        "status": status,
    }))
    .unwrap()
}

fn waiting(reason: &str, message: &str) -> Pod {
    pod(&json!({"containerStatuses": [{
        "name": "cache", "ready": false, "restartCount": 3, "image": "", "imageID": "",
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": {"terminated": {"exitCode": 2, "message": "first line\npanic: no such host\n"}},
    }]}))
}

fn bound() -> PersistentVolumeClaim {
    serde_json::from_value(json!({"status": {"phase": "Bound"}})).unwrap()
}

fn view<'a>(
    site: &'a Site,
    deployment: Option<&'a Deployment>,
    volume: Option<&'a PersistentVolumeClaim>,
    pods: &'a [Pod],
) -> SiteView<'a> {
    SiteView {
        site,
        namespace: "caches",
        service: None,
        volume,
        deployment,
        pods,
        refused: None,
        failure: None,
    }
}

#[test]
fn phases_follow_the_deployment_and_its_pods() {
    let site = site();
    let broken = [waiting("ImagePullBackOff", "x")];
    let check = |what: &str, deployment: Option<Deployment>, pods: &[Pod], phase: SitePhase, reason: Option<&str>| {
        let view = view(&site, deployment.as_ref(), None, pods);
        assert_eq!(view.phase(), phase, "{what}");
        assert_eq!(view.finding().map(|finding| finding.reason), reason, "{what}");
    };
    let (new, done) = ("ReplicaSetUpdated", "NewReplicaSetAvailable");
    let progressing = Some(reasons::CACHES_PROGRESSING);
    check("nothing yet", None, &[], SitePhase::Pending, progressing);
    check(
        "first start",
        Some(deployment(2, 0, new)),
        &[],
        SitePhase::Pending,
        progressing,
    );
    check("serves", Some(deployment(2, 1, done)), &[], SitePhase::Ready, None);
    check(
        "unseen update",
        Some(deployment(1, 1, done)),
        &[],
        SitePhase::Pending,
        progressing,
    );
    let gone = Some(reasons::CACHE_UNAVAILABLE);
    check(
        "serves no longer",
        Some(deployment(2, 0, done)),
        &[],
        SitePhase::Degraded,
        gone,
    );
    let image = Some(reasons::IMAGE_PULL_FAILED);
    check(
        "no image",
        Some(deployment(2, 0, new)),
        &broken,
        SitePhase::Degraded,
        image,
    );
    check(
        "serves beside a broken pod",
        Some(deployment(2, 1, new)),
        &broken,
        SitePhase::Ready,
        None,
    );
}

#[test]
fn an_image_that_cannot_be_pulled_reads_the_same_in_both_of_the_kubelets_spellings() {
    let site = site();
    let long = "rpc error: code = NotFound desc = failed to pull and unpack image \"engine:1\": not found";
    let texts: Vec<String> = [
        waiting("ErrImagePull", long),
        waiting(
            "ImagePullBackOff",
            &format!("Back-off pulling image \"engine:1\": ErrImagePull: {long}"),
        ),
    ]
    .into_iter()
    .map(|pod| view(&site, None, None, &[pod]).finding().unwrap().message)
    .collect();
    assert_eq!(texts[0], texts[1]);
    assert_eq!(
        texts[0],
        "cache rc-upstream-example-here-0 in here: image engine:1 cannot be pulled: failed to pull and unpack image \
         \"engine:1\": not found; fix spec.cache.image"
    );
}

#[test]
fn a_crash_says_the_programs_last_words() {
    let site = site();
    let finding = view(&site, None, None, &[waiting("CrashLoopBackOff", "back-off 40s")])
        .finding()
        .unwrap();
    assert_eq!(finding.reason, reasons::CRASH_LOOP);
    assert!(
        finding
            .message
            .contains("(exit code 2): panic: no such host; see kubectl -n caches logs deploy/rc-"),
        "{}",
        finding.message
    );
}

#[test]
fn a_pod_without_a_node_says_why_and_another_sites_pod_says_nothing() {
    let site = site();
    let unscheduled = pod(&json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"},
    ]}));
    let text = view(&site, None, None, &[unscheduled]).finding().unwrap().message;
    assert!(text.contains("0/3 nodes are available"), "{text}");
    let mut foreign = waiting("ErrImagePull", "x");
    foreign.labels_mut().insert(labels::REGION.into(), "elsewhere".into());
    let finding = view(&site, None, None, &[foreign]).finding().unwrap();
    assert_eq!(finding.reason, reasons::CACHES_PROGRESSING);
}

#[test]
fn volumes_are_healthy_when_bound_and_unchanged() {
    let site = site();
    let (bound, pending) = (bound(), PersistentVolumeClaim::default());
    let reason = |view: &SiteView<'_>| view.storage().map(|finding| (finding.reason, finding.stalled));
    assert_eq!(reason(&view(&site, None, Some(&bound), &[])), None);
    let waits = Some((reasons::VOLUME_PENDING, false));
    assert_eq!(reason(&view(&site, None, Some(&pending), &[])), waits);
    assert_eq!(reason(&view(&site, None, None, &[])), waits);
    let words = "cannot shrink".to_owned();
    let mut refused = view(&site, None, Some(&bound), &[]);
    refused.refused = Some(&words);
    assert_eq!(reason(&refused), Some((reasons::VOLUME_CHANGE_REFUSED, true)));
    // The cache itself goes on.
    let deployment = deployment(2, 1, "NewReplicaSetAvailable");
    refused.deployment = Some(&deployment);
    assert_eq!(
        (refused.phase(), refused.status().message),
        (SitePhase::Ready, Some(words.clone()))
    );
}

#[test]
fn an_idle_site_complains_of_nothing() {
    let mut site = site();
    site.idle = true;
    let pods = [waiting("ErrImagePull", "x")];
    let view = view(&site, None, None, &pods);
    assert_eq!(
        (view.phase(), view.finding(), view.storage()),
        (SitePhase::Idle, None, None)
    );
    assert!(view.status().message.unwrap().contains("region here any more"));
}

#[test]
fn a_shared_cache_is_one_entry_with_all_its_upstreams() {
    let mut site = shared_site();
    site.left_out = Some("third.example is served by elder".into());
    let (deployment, bound) = (deployment(2, 1, "NewReplicaSetAvailable"), bound());
    let status = view(&site, Some(&deployment), Some(&bound), &[]).status();
    assert_eq!(
        (status.name.as_str(), status.phase),
        ("rc-owner-here-0", SitePhase::Ready)
    );
    assert_eq!(status.upstreams, ["upstream.example", "second.example:5000"]);
    assert_eq!(status.message, site.left_out);
    // Its pods are its own, not those of a cache of one upstream in the same region.
    let mut own = waiting("ErrImagePull", "x");
    let finding = |pod: &Pod| {
        view(&site, None, None, std::slice::from_ref(pod))
            .finding()
            .unwrap()
            .reason
    };
    assert_eq!(finding(&own), reasons::CACHES_PROGRESSING);
    own.metadata.labels = serde_json::from_value(shared_labels_json()).unwrap();
    assert_eq!(finding(&own), reasons::IMAGE_PULL_FAILED);
    let down = self::deployment(2, 0, "NewReplicaSetAvailable");
    let text = view(&site, Some(&down), None, &[]).finding().unwrap().message;
    assert!(
        text.ends_with("-l regcache.dev/region=here,regcache.dev/site=rc-owner-here-0"),
        "{text}"
    );
}

#[test]
fn endpoint_is_the_services_address() {
    let site = site();
    let service = |ip: &str| serde_json::from_value::<Service>(json!({"spec": {"clusterIP": ip}})).unwrap();
    for (ip, endpoint) in [
        ("10.0.0.7", Some("http://10.0.0.7:5000")),
        ("fd00::7", Some("http://[fd00::7]:5000")),
        ("None", None),
        ("", None),
    ] {
        let service = service(ip);
        let mut view = view(&site, None, None, &[]);
        view.service = Some(&service);
        assert_eq!(view.status().endpoint.as_deref(), endpoint);
    }
}
