//! Clients that nobody here wrote, through the built-in engine: containerd (the test bed's and Debian's), skopeo, umoci
//! and buildah. The registry behind it is CNCF distribution; no client knows of it, so whatever it gets came through.
//!
//! Needs root (containerd does), the test bed's tools and the static programs: `make e2e` sees to both.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that looks where nothing is fails, as it should"
)]

#[path = "clients/containerd.rs"]
mod containerd;
#[path = "clients/images.rs"]
mod images;
#[path = "clients/processes.rs"]
mod processes;

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};
use regcache_tests::bed::{paths, shell};
use sha2::{Digest, Sha256};

use crate::containerd::Containerd;
use crate::processes::{Proxy, Upstream, metric};

type Test = fn() -> Result<()>;

const TESTS: [(&str, Test); 5] = [
    ("containerd_of_the_bed_pulls_in_parallel_parts", bed_containerd),
    ("containerd_of_debian_pulls", debian_containerd),
    ("a_layer_of_three_gibibytes_passes", large_layer),
    ("skopeo_and_umoci_copy_every_platform", skopeo_and_umoci),
    ("buildah_starts_from_it", buildah),
];

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each is as many processes as this machine has cores, or more.
    arguments.test_threads = Some(1);
    let is_root = shell::is_root();
    if !is_root {
        eprintln!("SKIPPED: containerd needs root, and so do these tests");
    }
    let trials = TESTS.iter().map(|(name, test)| {
        Trial::test(*name, || test().map_err(|error| format!("{error:#}").into())).with_ignored_flag(!is_root)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// `concurrent_layer_fetch_buffer` makes containerd ask for parts of a layer at the same time and hang up early.
fn bed_containerd() -> Result<()> {
    let (upstream, work) = (Upstream::start()?, tempfile::tempdir()?);
    let proxy = Proxy::start(work.path(), &upstream)?;
    let layers = [40 * MIB, 24 * MIB, MIB];
    upstream.push("team/app", "v1", &layers)?;
    let containerd = Containerd::start(
        &paths::bin(),
        work.path(),
        &proxy,
        "version = 3
[plugins.'io.containerd.transfer.v1.local']
  concurrent_layer_fetch_buffer = 4194304
  max_concurrent_downloads = 4
[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]
  platform = 'linux'
  snapshotter = 'native'
",
    )?;
    containerd.pull("up.test/team/app:v1")?;
    // Parts far ahead of the fill may be fetched by themselves, once; never the layers over and over.
    let fetched = metric(&proxy, "regcache_upstream_received_bytes_total{", "")?;
    let size: usize = layers.iter().sum();
    let requests = metric(&proxy, "regcache_upstream_requests_total{", "kind=\"blob\"")?;
    ensure!(requests > 0.0 && fetched > 0.0, "the engine counted nothing");
    ensure!(
        fetched <= 2.5 * f64::from(u32::try_from(size)?),
        "{fetched} bytes from upstream for an image of {size}"
    );
    Ok(())
}

fn debian_containerd() -> Result<()> {
    let (upstream, work) = (Upstream::start()?, tempfile::tempdir()?);
    let proxy = Proxy::start(work.path(), &upstream)?;
    upstream.push("team/app", "v1", &[8 * MIB, 3 * MIB, 64 << 10])?;
    let containerd = Containerd::start("/usr/bin".as_ref(), work.path(), &proxy, "version = 2\n")?;
    containerd.pull("up.test/team/app:v1")
}

fn large_layer() -> Result<()> {
    let (upstream, work) = (Upstream::start()?, tempfile::tempdir()?);
    let proxy = Proxy::start(work.path(), &upstream)?;
    let digest = upstream.plant("team/large", "v1", 3 << 30)?;
    let containerd = Containerd::start(&paths::bin(), work.path(), &proxy, "version = 3\n")?;
    let hosts = containerd.hosts();
    containerd.ctr(&["content", "fetch", "--hosts-dir", &hosts, "up.test/team/large:v1"])?;
    let listed = containerd.ctr(&["content", "ls"])?;
    ensure!(listed.contains(&digest), "{listed}");
    Ok(())
}

/// By path prefix, since these clients know nothing of `ns`.
fn skopeo_and_umoci() -> Result<()> {
    let (upstream, work) = (Upstream::start()?, tempfile::tempdir()?);
    let proxy = Proxy::start(work.path(), &upstream)?;
    let index = upstream.push_index("team/multi", "v1")?;
    let name = format!("docker://{}/up.test/team/multi:v1", proxy.address);
    let layout = work.path().join("layout");
    let to = format!("oci:{}:v1", layout.display());
    let skopeo = |words: &[&str]| shell::run(shell::plain("skopeo").args(words));
    skopeo(&["copy", "--all", "--src-tls-verify=false", &name, &to])?;
    let raw = shell::plain("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &name])
        .output()?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&raw.stdout)));
    ensure!(digest == index, "the index came as {digest}, and is {index}");
    let single = work.path().join("single");
    let to = format!("oci:{}:v1", single.display());
    skopeo(&["copy", "--src-tls-verify=false", &name, &to])?;
    let bundle = work.path().join("bundle");
    let image = format!("{}:v1", single.display());
    shell::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
    let content = std::fs::read(bundle.join("rootfs/data-0"))?;
    ensure!(content.len() > MIB / 2, "the layer's file has {} bytes", content.len());
    Ok(())
}

fn buildah() -> Result<()> {
    let (upstream, work) = (Upstream::start()?, tempfile::tempdir()?);
    let proxy = Proxy::start(work.path(), &upstream)?;
    upstream.push("team/app", "v1", &[2 * MIB, 64 << 10])?;
    let name = format!("docker://{}/up.test/team/app:v1", proxy.address);
    let buildah = |words: &[&str]| {
        let mut command = shell::plain("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(work.path().join("root"));
        command.arg("--runroot").arg(work.path().join("run")).args(words);
        shell::run(&mut command)
    };
    let container = buildah(&["from", "--tls-verify=false", &name])?;
    let mounted = buildah(&["mount", container.trim()])?;
    let content = std::fs::metadata(std::path::Path::new(mounted.trim()).join("data-0"))?;
    ensure!(
        content.len() > MIB as u64,
        "the layer's file has {} bytes",
        content.len()
    );
    buildah(&["umount", container.trim()]).map(drop)
}
