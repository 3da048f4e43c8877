//! Somebody else on the gateway's port.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use regcache_tests::bed::node::init::Daemon;
use regcache_tests::bed::wait::Look;
use regcache_tests::bed::{Node, PodRequest, wait_for};
use rustix::process::Signal;

use crate::suite::{KIB, NODES, PATIENCE, Suite};

/// A TLS server with a certificate of its own in the place of a helper that died: it must not be believed while the
/// helper's file is still there, and the next helper must publish nothing and say why.
pub fn taken_by_an_impostor(suite: &mut Suite) -> Result<()> {
    suite.main_ready()?;
    suite.wait_helper(1, true)?;
    let node = suite.node(1);
    let image = suite.push(&[64 * KIB])?;
    // While the kubelet sleeps nobody restarts the helper.
    node.signal_daemon(Daemon::Kubelet, Signal::STOP)?;
    node.signal_container_processes(NODES, Signal::KILL)?;
    let impostor = Impostor::start(suite)?;
    ensure!(
        suite.is_published(1, "images.test"),
        "the dead helper's file should still be there"
    );
    let mut pod = PodRequest::new(&suite.fresh("pull"), "n1", &image.name);
    pod.timeout = PATIENCE;
    suite.cluster.start_pull(&pod)?;
    node.signal_daemon(Daemon::Kubelet, Signal::CONT)?;
    let result = suite.cluster.finish_pull(&pod)?;
    suite.cluster.kubectl(&["delete", "pod", &pod.name, "--wait=false"])?;
    ensure!(
        result.failed_attempts == 0,
        "the pull failed first: {:?}",
        result.failures
    );
    // Nothing of ours stays while the port is somebody else's, and the pod says what is the matter.
    suite.wait_withdrawn("images.test", &[1])?;
    suite.wait_helper(1, false)?;
    let name = suite.helper_pod(1)?["metadata"]["name"]
        .as_str()
        .context("a pod has a name")?
        .to_owned();
    wait_for("an event that names the port", PATIENCE, || {
        let text = suite.cluster.kubectl(&["describe", "pod", "-n", NODES, &name])?;
        Ok(if text.contains("21500") && text.contains("taken") {
            Look::Done(())
        } else {
            Look::NotYet(text)
        })
    })?;
    let seen = impostor.end()?;
    ensure!(!seen.contains("/v2/"), "the impostor was asked for an image: {seen}");
    suite.wait_helper(1, true)?;
    suite.wait_published("images.test", &[1])
}

/// openssl's test server, which prints what it is sent.
struct Impostor {
    node: Node,
    /// Its process id, as the node counts.
    pid: String,
    output: PathBuf,
}

impl Impostor {
    fn start(suite: &Suite) -> Result<Self> {
        let dir = suite.cluster.work().join("impostor");
        std::fs::create_dir_all(&dir)?;
        let node = suite.node(1);
        // As the node sees them: its own mounts hide nothing of the work directory.
        let script = format!(
            "cd {} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=impostor \
             -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem 2>req.log && echo $$ >pid && \
             exec openssl s_server -accept 127.0.0.1:21500 -key key.pem -cert cert.pem -quiet -naccept 100000 \
             >output 2>error </dev/zero",
            dir.display()
        );
        let mut starter = node.command("busybox")?.args(["sh", "-c", &script]).spawn()?;
        let listening = wait_for("the impostor to listen", PATIENCE, || {
            let listens = node.exec(&["busybox", "netstat", "-ltn"])?.contains("127.0.0.1:21500");
            Ok(if listens {
                Look::Done(())
            } else {
                Look::NotYet("not yet".into())
            })
        });
        let pid = std::fs::read_to_string(dir.join("pid"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        let impostor = Self {
            node,
            pid,
            output: dir.join("output"),
        };
        // Ends when the server does.
        std::thread::spawn(move || starter.wait());
        listening.map(|()| impostor)
    }

    /// Ends it; what it was sent.
    fn end(self) -> Result<String> {
        let output = self.output.clone();
        drop(self);
        Ok(String::from_utf8_lossy(&std::fs::read(output)?).into_owned())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        if let Err(error) = self.node.exec(&["busybox", "kill", &self.pid]) {
            eprintln!("the impostor {} goes on: {error:#}", self.pid);
        }
    }
}
