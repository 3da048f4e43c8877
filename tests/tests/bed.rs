//! The test bed itself: what the end-to-end tests rely on. Needs root; says so and passes over the tests otherwise.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test without a harness, which the lints do not know for one"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use regcache_tests::bed::cluster::control::Component;
use regcache_tests::bed::internet::Marker;
use regcache_tests::bed::node::init::Daemon;
use regcache_tests::bed::process::Journal;
use regcache_tests::bed::wait::wait_until;
use regcache_tests::bed::{Cluster, ClusterSpec, PodRequest, cgroups, cluster, images, reaper, shell};
use regcache_tests::faulty::fault::{Fault, Kind};

const MIB: usize = 1 << 20;

const TESTS: [(&str, fn()); 5] = [
    (
        "a_pod_pulls_and_the_registry_counts_it",
        a_pod_pulls_and_the_registry_counts_it,
    ),
    (
        "a_claim_binds_and_a_node_survives_its_power_cycle",
        a_claim_binds_and_a_node_survives_its_power_cycle,
    ),
    (
        "two_clusters_stand_side_by_side_and_each_leaves_nothing",
        two_clusters_stand_side_by_side_and_each_leaves_nothing,
    ),
    (
        "what_a_killed_run_left_is_removed_by_the_next",
        what_a_killed_run_left_is_removed_by_the_next,
    ),
    (
        "faults_happen_as_set_and_end_as_told",
        faults_happen_as_set_and_end_as_told,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test starts clusters; two at a time would only be slower.
    arguments.test_threads = Some(1);
    let is_root = shell::is_root();
    if !is_root {
        eprintln!("SKIPPED: the tests of the test bed start real clusters in namespaces and need root");
    }
    let trials = TESTS.iter().map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(!is_root)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn a_pod_pulls_and_the_registry_counts_it() {
    let cluster = Cluster::start(ClusterSpec::regions("bed-pull", 2, 2)).unwrap();
    let images = cluster.internet("images.test").unwrap();
    let image = images.push("team/app", &[64 * 1024, MIB, 300 * 1024]).unwrap();
    let before = images.marker();
    let result = cluster.pull(&PodRequest::new("first", "n1", &image.name)).unwrap();
    assert!(result.seconds < 10.0 && result.failed_attempts == 0, "{result:?}");
    let gets = images.blob_gets(before, "team/app");
    // Three layers and the configuration.
    assert_eq!(gets.len(), 4, "{gets:?}");
    assert!(gets.iter().all(regcache_tests::bed::Request::is_from_containerd));
    assert!(images.bytes_sent(before, "team/app") > (MIB + 64 * 1024 + 300 * 1024) as u64);

    // A pull that fails at first is counted, and the registry's return ends it.
    images.stop().unwrap();
    let other = PodRequest::new("second", "n2", &image.name);
    cluster.start_pull(&other).unwrap();
    wait_until("a failed attempt", Duration::from_secs(60), || {
        cluster.failed_attempts("second").unwrap_or(0) > 0
    })
    .unwrap();
    images.start().unwrap();
    let result = cluster.finish_pull(&other).unwrap();
    assert!(
        result.failed_attempts >= 1 && result.failures[0].contains("refused"),
        "{result:?}"
    );

    // A slow line: one MiB at 512 KiB/s.
    let image = images.push("team/slow", &[MIB]).unwrap();
    images.limit(Some(512 * 1024)).unwrap();
    wait_until("the limit to be read", Duration::from_millis(200), || false).unwrap_err();
    let through = images.bytes_through();
    let slow = PodRequest::new("slow", "n1", &image.name);
    cluster.start_pull(&slow).unwrap();
    wait_until("a quarter of the layer", Duration::from_secs(30), || {
        images.bytes_through() - through > 256 * 1024
    })
    .unwrap();
    assert!(
        images.bytes_through() - through < MIB as u64,
        "the middle of a layer can be caught"
    );
    let result = cluster.finish_pull(&slow).unwrap();
    assert!((1.5..5.0).contains(&result.seconds), "{result:?}");
    images.limit(None).unwrap();
    cluster.stop().unwrap();
}

fn a_claim_binds_and_a_node_survives_its_power_cycle() {
    let cluster = Cluster::start(ClusterSpec::regions("bed-power", 2, 1)).unwrap();
    cluster
        .apply(
            "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, labels: {app: writer}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: n1}
  containers:
  - name: main
    image: registry.test/busybox:1
    command: [/bin/sh, -c, 'busybox date >> /data/boots; busybox wget -qO- http://images.test || true; busybox sleep 100000']
    securityContext: {runAsUser: 65532}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: claim}}]
",
        )
        .unwrap();
    cluster
        .wait_pods_ready("default", "app=writer", 1, Duration::from_secs(60))
        .unwrap();
    assert_eq!(
        cluster
            .kubectl(&["get", "pvc", "claim", "-o", "jsonpath={.status.phase}"])
            .unwrap(),
        "Bound"
    );
    // Names of the internet and of services resolve in pods; others fail at once.
    let lookup = |name: &str| cluster.kubectl(&["exec", "writer", "--", "busybox", "nslookup", name]);
    assert!(lookup("images.test").unwrap().contains("10.77.0.200"));
    assert!(
        lookup("kubernetes.default.svc.cluster.local")
            .unwrap()
            .contains("10.78.0.1")
    );
    assert!(lookup("nowhere.example").is_err());

    let node = cluster.node(1);
    std::fs::write(node.certs_dir().join("mark"), "kept").unwrap();
    std::fs::write(node.dir().join("run/mark"), "forgotten").unwrap();
    assert!(
        node.signal_container_processes("default/writer/", rustix::process::Signal::STOP)
            .unwrap()
            > 0
    );
    node.power_cycle().unwrap();
    assert!(!node.dir().join("run/mark").exists());
    let boots = || {
        cluster
            .kubectl(&["exec", "writer", "--", "busybox", "wc", "-l", "/data/boots"])
            .unwrap_or_default()
    };
    wait_until("the pod's second start", Duration::from_secs(90), || {
        boots().starts_with('2')
    })
    .unwrap();
    assert_eq!(node.exec(&["cat", "/etc/containerd/certs.d/mark"]).unwrap(), "kept");

    // Daemons and control plane can be killed and started one by one.
    node.signal_daemon(Daemon::Containerd, rustix::process::Signal::KILL)
        .unwrap();
    node.start_daemon(Daemon::Containerd).unwrap();
    assert!(node.exec(&["ctr", "version"]).is_ok());
    cluster.kill_component(Component::ApiServer).unwrap();
    assert!(cluster.kubectl(&["get", "nodes"]).is_err());
    cluster.start_component(Component::ApiServer).unwrap();
    cluster.wait_api().unwrap();
    cluster.stop().unwrap();
}

fn two_clusters_stand_side_by_side_and_each_leaves_nothing() {
    let one = Cluster::start(ClusterSpec::regions("bed-one", 1, 1)).unwrap();
    let two = Cluster::start(ClusterSpec::regions("bed-two", 1, 1)).unwrap();
    one.kubectl(&["create", "namespace", "only-in-one"]).unwrap();
    assert!(two.kubectl(&["get", "namespace", "only-in-one"]).is_err());
    let image = one.internet("images.test").unwrap().push("a", &[MIB]).unwrap();
    assert!(
        two.internet("images.test")
            .unwrap()
            .requests(Marker::default())
            .iter()
            .all(|it| !it.is_of("a"))
    );
    one.pull(&PodRequest::new("a", "n1", &image.name)).unwrap();
    let containers = reaper::containers(one.work());
    assert!(
        containers.len() >= 2 && !cgroups::existing(&containers).is_empty(),
        "sandbox and container"
    );
    one.stop().unwrap();
    assert_eq!(cgroups::existing(&containers), Vec::<std::path::PathBuf>::new());
    assert_eq!(reaper::leftovers("bed-one"), Vec::<String>::new());
    // The other one does not even notice.
    let image = two.internet("images.test").unwrap().push("b", &[MIB]).unwrap();
    two.pull(&PodRequest::new("b", "n1", &image.name)).unwrap();
    drop(two);
    assert_eq!(reaper::leftovers("bed-two"), Vec::<String>::new());
}

fn what_a_killed_run_left_is_removed_by_the_next() {
    let name = "bed-crash";
    // As after SIGKILL: the value is forgotten, so nothing is cleaned and the lock goes with it.
    let cluster = Cluster::start(ClusterSpec::regions(name, 1, 1)).unwrap();
    let etcd = Journal::of(cluster.work()).find("etcd").unwrap();
    cluster.abandon();
    assert!(etcd.is_alive() && !reaper::leftovers(name).is_empty());
    let started = Instant::now();
    let cluster = Cluster::start(ClusterSpec::regions(name, 1, 1)).unwrap();
    assert!(!etcd.is_alive(), "started over after {:?}", started.elapsed());
    cluster.abandon();
    cluster::down(name).unwrap();
    assert_eq!(reaper::leftovers(name), Vec::<String>::new());
}

#[expect(clippy::too_many_lines, reason = "one cluster for one fault after another")]
fn faults_happen_as_set_and_end_as_told() {
    let spec = ClusterSpec::regions("bed-faulty", 1, 1).with_image(images::faulty_archive().unwrap());
    let cluster = Cluster::start(spec).unwrap();
    cluster
        .apply(&format!(
            "apiVersion: v1
kind: ConfigMap
metadata: {{name: faulty}}
data:
  config.yml: |
    version: 0.1
    storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
    http: {{addr: ':5000', debug: {{addr: ':5001'}}}}
    proxy: {{remoteurl: 'https://images.test'}}
---
apiVersion: v1
kind: Pod
metadata: {{name: faulty, labels: {{app: faulty}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {}
    securityContext: {{runAsUser: 65532, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
    readinessProbe: {{httpGet: {{path: /, port: 5000}}, periodSeconds: 1}}
    volumeMounts: [{{name: config, mountPath: /etc/distribution}}]
  volumes: [{{name: config, configMap: {{name: faulty}}}}]
",
            images::FAULTY
        ))
        .unwrap();
    cluster
        .wait_pods_ready("default", "app=faulty", 1, Duration::from_secs(60))
        .unwrap();
    let address = cluster.pod_ip("default", "faulty").unwrap();
    let node = cluster.node(1);
    let mirror = node.certs_dir().join("images.test");
    std::fs::create_dir(&mirror).unwrap();
    let server = "server = \"https://images.test\"\n";
    let hosts = format!("{server}[host.\"http://{address}:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(mirror.join("hosts.toml"), hosts).unwrap();
    let upstream = cluster.internet("images.test").unwrap();

    // Honest: the node gets all of it from the cache.
    let image = upstream.push("honest", &[MIB, 4 * MIB]).unwrap();
    let before = upstream.marker();
    let result = cluster.pull(&PodRequest::new("honest", "n1", &image.name)).unwrap();
    assert_eq!(result.failed_attempts, 0, "{result:?}");
    assert!(
        upstream
            .requests(before)
            .iter()
            .all(|request| !request.is_from_containerd())
    );

    // 503: the node goes to upstream by itself.
    cluster.set_faults(&address, &[Fault::status(503)]).unwrap();
    let image = upstream.push("status", &[MIB]).unwrap();
    let before = upstream.marker();
    cluster.pull(&PodRequest::new("status", "n1", &image.name)).unwrap();
    assert!(
        upstream
            .blob_gets(before, "status")
            .iter()
            .all(regcache_tests::bed::Request::is_from_containerd)
    );

    // Wrong bytes, then a reset, once each: both attempts fail, as measured; then it is honest again.
    let faults = [
        Fault::of_blobs(Kind::WrongBytes, 1000).times(1),
        Fault::of_blobs(Kind::HalfReset, 1000).times(1),
    ];
    cluster.set_faults(&address, &faults).unwrap();
    let image = upstream.push("broken", &[MIB]).unwrap();
    let result = cluster.pull(&PodRequest::new("broken", "n1", &image.name)).unwrap();
    assert_eq!(result.failed_attempts, 2, "{result:?}");
    let harmed = |kind| move |it: &regcache_tests::faulty::record::Record| it.fault == Some(kind);
    let requests = cluster.faulty_requests(&address).unwrap();
    assert_eq!(requests.iter().filter(|it| harmed(Kind::WrongBytes)(it)).count(), 1);
    let reset = requests.iter().find(|it| harmed(Kind::HalfReset)(it)).unwrap();
    assert_eq!((reset.sent, reset.ended), (MIB as u64 / 2, true));

    // Half and an orderly end: containerd goes on from there.
    cluster
        .set_faults(&address, &[Fault::of_blobs(Kind::HalfFin, 1000).times(1)])
        .unwrap();
    let image = upstream.push("short", &[MIB]).unwrap();
    let result = cluster.pull(&PodRequest::new("short", "n1", &image.name)).unwrap();
    assert_eq!(result.failed_attempts, 0, "{result:?}");
    assert!(
        cluster
            .faulty_requests(&address)
            .unwrap()
            .iter()
            .any(|it| it.range.as_deref() == Some("bytes=524288-"))
    );

    // Headers and no body: the pull hangs, the pod of the cache stays ready, and a restart of containerd frees the node.
    cluster
        .set_faults(&address, &[Fault::of_blobs(Kind::HeadersOnly, 1000)])
        .unwrap();
    let image = upstream.push("hanging", &[MIB]).unwrap();
    let pod = PodRequest::new("hanging", "n1", &image.name);
    cluster.start_pull(&pod).unwrap();
    let hangs = || {
        cluster
            .faulty_requests(&address)
            .unwrap_or_default()
            .iter()
            .any(|it| harmed(Kind::HeadersOnly)(it) && !it.ended)
    };
    wait_until("a hanging body", Duration::from_secs(20), hangs).unwrap();
    cluster
        .wait_pods_ready("default", "app=faulty", 1, Duration::from_secs(5))
        .unwrap();
    cluster.set_faults(&address, &[]).unwrap();
    node.signal_daemon(Daemon::Containerd, rustix::process::Signal::KILL)
        .unwrap();
    wait_until("the connection to break", Duration::from_secs(10), || !hangs()).unwrap();
    node.start_daemon(Daemon::Containerd).unwrap();
    cluster.finish_pull(&pod).unwrap();
    cluster.stop().unwrap();
}
