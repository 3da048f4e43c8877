//! `testbed demo`: the main job, shown on a real cluster of four nodes in two regions.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bed::pki::Authority;
use crate::bed::wait::Look;
use crate::bed::{Cluster, ClusterSpec, Internet, PodRequest, json, wait_for};
use crate::push::Pushed;

/// Where the example's `docker.io` is, on the demo's internet.
const DOCKER_HUB: &str = "registry-1.docker.io";
const SYSTEM: &str = "regcache-system";
const PATIENCE: Duration = Duration::from_secs(180);
const MIB: usize = 1 << 20;

/// Says where the demo is.
struct Teller(Instant);

impl Teller {
    fn step(&self, text: &str) {
        println!("\n[{:>4.0} s] {text}", self.0.elapsed().as_secs_f64());
    }

    fn command(text: &str) {
        println!("         $ {text}");
    }

    fn show(text: &str) {
        text.lines().for_each(|line| println!("         {line}"));
    }
}

/// One pull, as the table shows it.
struct Row {
    node: String,
    region: String,
    served_by: String,
    seconds: f64,
    upstream_bytes: u64,
    upstream_blobs: usize,
}

/// Runs the demo from the repository's root. The cluster is gone when it returns, whatever happened.
pub fn run(root: &Path) -> Result<()> {
    let teller = Teller(Instant::now());
    teller.step("starting a Kubernetes cluster: control plane and four nodes in two regions");
    let image = root.join("target/regcache-image.tar");
    ensure!(
        image.is_file(),
        "there is no {}: run `make demo`, which builds it",
        image.display()
    );
    let cluster = Cluster::start(ClusterSpec::regions("demo", 4, 2).with_image(image))?;
    Teller::command("kubectl get nodes -L topology.kubernetes.io/region");
    Teller::show(&cluster.kubectl(&["get", "nodes", "-L", "topology.kubernetes.io/region"])?);
    let result = show(&cluster, root, &teller);
    teller.step("taking the cluster down");
    if result.is_err()
        && let Ok(dir) = cluster.dump()
    {
        println!("         logs and objects are in {}", dir.display());
    }
    cluster.stop()?;
    result
}

fn show(cluster: &Cluster, root: &Path, teller: &Teller) -> Result<()> {
    let hub = cluster.internet(DOCKER_HUB)?;
    hub.start()?;
    install(cluster, root, teller)?;
    apply(cluster, root, teller)?;

    let image = hub.push("demo/app", &[64 << 10, 16 * MIB, 4 * MIB])?;
    let name = image.name.replacen(DOCKER_HUB, "docker.io", 1);
    let size: usize = image.layers.iter().map(|layer| layer.size).sum();
    teller.step(&format!(
        "pods of {name} ({:.1} MiB) on each node, one after the other",
        mib(size as u64)
    ));
    let mut rows = Vec::new();
    for node in ["n1", "n2", "n3", "n4"] {
        let row = pull(cluster, &hub, &image, &name, node)?;
        println!("         {node}: pulled in {:.2} s", row.seconds);
        rows.push(row);
    }
    teller.step("who served whom");
    Teller::show(&table(&rows));
    check(&rows)
}

fn install(cluster: &Cluster, root: &Path, teller: &Teller) -> Result<()> {
    teller.step("installing regcache with Helm");
    let chart = |name: &str| root.join("charts").join(name).display().to_string();
    Teller::command("helm install regcache-crds charts/regcache-crds");
    cluster.helm(&[
        "install",
        "regcache-crds",
        &chart("regcache-crds"),
        "--namespace",
        SYSTEM,
        "--create-namespace",
    ])?;
    Teller::command("helm install regcache charts/regcache --namespace regcache-system --create-namespace --wait");
    let chart = chart("regcache");
    let mut words = vec![
        "install",
        "regcache",
        &chart,
        "--namespace",
        SYSTEM,
        "--create-namespace",
        "--wait",
    ];
    let values = [
        "image.repository=registry.test/regcache",
        "image.tag=dev",
        // A real roll-out takes its time; a demo may be quick.
        "rollout.soak=2s",
        "withdrawGrace=20s",
    ];
    for value in values {
        words.extend(["--set", value]);
    }
    // The demo's internet has an authority of its own.
    let authority = format!("upstreamCA={}", Authority::of_the_bed()?.certificate().display());
    words.extend(["--set-file", &authority]);
    cluster.helm(&words).map(drop)
}

fn apply(cluster: &Cluster, root: &Path, teller: &Teller) -> Result<()> {
    let example = root.join("examples/two-regions.yaml");
    teller.step("one object: a cache for docker.io in each region");
    Teller::command("kubectl apply -f examples/two-regions.yaml");
    Teller::show(&std::fs::read_to_string(&example)?);
    let example = example.display().to_string();
    cluster.kubectl(&["apply", "-f", &example])?;
    let name = cluster.kubectl(&["get", "-f", &example, "-o", "jsonpath={.metadata.name}"])?;
    teller.step("waiting until it is Ready");
    let mut told = String::new();
    wait_for(&format!("RegistryCache {name} to be Ready"), PATIENCE, || {
        let object = cluster.kubectl_json(&["get", "rcache", &name])?;
        let ready = condition(&object, "Ready").cloned().unwrap_or_default();
        let line = format!(
            "Ready={} {}: {}",
            json::text(&ready, "/status"),
            json::text(&ready, "/reason"),
            json::text(&ready, "/message")
        );
        if line != told {
            println!("         {line}");
            told.clone_from(&line);
        }
        Ok(if json::text(&ready, "/status") == "True" {
            Look::Done(())
        } else {
            Look::NotYet(line)
        })
    })?;
    Teller::command("kubectl get rcache");
    Teller::show(&cluster.kubectl(&["get", "rcache"])?);
    Teller::command("kubectl get pods -A -o wide");
    Teller::show(&cluster.kubectl(&["get", "pods", "-A", "-o", "wide"])?);
    // A kubelet hands a changed plan to its helper when it next looks after the pod.
    let files: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| node.certs_dir().join("docker.io/hosts.toml"))
        .collect();
    wait_for("hosts.toml on every node", PATIENCE, || {
        let there = files.iter().filter(|file| file.is_file()).count();
        Ok(if there == files.len() {
            Look::Done(())
        } else {
            Look::NotYet(format!("{there} of {}", files.len()))
        })
    })?;
    let file = files.first().context("a node")?;
    teller.step("what the helper wrote on n1: /etc/containerd/certs.d/docker.io/hosts.toml");
    Teller::show(&std::fs::read_to_string(file)?);
    Ok(())
}

/// One pull; who served it is read from the caches' own counters and the registry's log.
fn pull(cluster: &Cluster, hub: &Internet, image: &Pushed, name: &str, node: &str) -> Result<Row> {
    let caches = caches(cluster)?;
    let before: Result<Vec<f64>> = caches
        .iter()
        .map(|(_, address)| blobs_served(cluster, address))
        .collect();
    let since = hub.marker();
    let result = cluster.pull(&PodRequest::new(&format!("demo-{node}"), node, name))?;
    let mut served_by = Vec::new();
    for ((cache, address), before) in caches.iter().zip(before?) {
        if blobs_served(cluster, address)? > before {
            served_by.push(cache.clone());
        }
    }
    let requests: Vec<_> = hub
        .requests(since)
        .into_iter()
        .filter(|it| it.is_of(&image.repository))
        .collect();
    if requests.iter().any(crate::bed::Request::is_from_containerd) {
        served_by.push("docker.io itself".into());
    }
    let region = cluster.kubectl(&[
        "get",
        "node",
        node,
        "-o",
        r"jsonpath={.metadata.labels.topology\.kubernetes\.io/region}",
    ])?;
    let blobs = requests.iter().filter(|request| request.is_blob_get(&image.repository));
    Ok(Row {
        node: node.into(),
        region,
        served_by: served_by.join(", "),
        seconds: result.seconds,
        upstream_bytes: requests
            .iter()
            .filter(|request| request.method == "GET")
            .map(|request| request.bytes)
            .sum(),
        upstream_blobs: blobs.count(),
    })
}

/// Name and address of each cache's pod.
fn caches(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let selector = "app.kubernetes.io/component=cache";
    let pods = cluster.kubectl_json(&["get", "pods", "-n", SYSTEM, "-l", selector])?;
    let found = json::list(&pods, "/items").iter().map(|pod| {
        let region = json::text(pod, "/metadata/labels/regcache.dev~1region");
        (
            format!("cache in {region}"),
            json::text(pod, "/status/podIP").to_owned(),
        )
    });
    Ok(found.collect())
}

/// Requests for blobs that a cache has answered, by its own metrics.
fn blobs_served(cluster: &Cluster, address: &str) -> Result<f64> {
    let metrics = cluster.http_get(&format!("http://{address}:5001/metrics"))?;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("regcache_requests_total{") && line.contains("kind=\"blob\""));
    Ok(lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<6}{:<12}{:<22}{:>9}{:>20}{:>22}\n",
        "NODE", "REGION", "SERVED BY", "SECONDS", "MIB FROM UPSTREAM", "BLOBS FROM UPSTREAM"
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<6}{:<12}{:<22}{:>9.2}{:>20.2}{:>22}",
            row.node,
            row.region,
            row.served_by,
            row.seconds,
            mib(row.upstream_bytes),
            row.upstream_blobs
        );
    }
    text
}

/// The demo promises something; a demo that shows something else has failed.
fn check(rows: &[Row]) -> Result<()> {
    let mut seen: Vec<&str> = Vec::new();
    for row in rows {
        let wanted = format!("cache in {}", row.region);
        ensure!(
            row.served_by == wanted,
            "{} was served by {}, not by the {wanted}",
            row.node,
            row.served_by
        );
        if seen.contains(&row.region.as_str()) {
            ensure!(
                row.upstream_blobs == 0,
                "{}: the second pull in {} fetched blobs",
                row.node,
                row.region
            );
        }
        seen.push(&row.region);
    }
    println!(
        "\n         Each node was served by its own region's cache; the second pull in a region cost upstream no blob."
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    json::list(object, "/status/conditions")
        .iter()
        .find(|condition| json::text(condition, "/type") == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &str, region: &str, served_by: &str, upstream_blobs: usize) -> Row {
        Row {
            node: node.into(),
            region: region.into(),
            served_by: served_by.into(),
            seconds: 0.1,
            upstream_bytes: 0,
            upstream_blobs,
        }
    }

    #[test]
    fn a_demo_that_does_not_show_what_it_promises_fails() {
        assert!(check(&[row("n1", "a", "cache in a", 4), row("n3", "a", "cache in a", 0)]).is_ok());
        assert!(check(&[row("n1", "a", "docker.io itself", 0)]).is_err());
        assert!(check(&[row("n1", "a", "cache in b", 4)]).is_err());
        assert!(check(&[row("n1", "a", "cache in a", 4), row("n3", "a", "cache in a", 1)]).is_err());
    }
}
