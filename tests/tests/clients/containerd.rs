//! A containerd of its own, whose only way to `up.test` is the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use regcache_tests::bed::shell;
use regcache_tests::bed::wait::wait_until;

use crate::processes::{Child, Proxy};

pub struct Containerd {
    bin: PathBuf,
    work: PathBuf,
    _child: Child,
}

impl Containerd {
    /// The containerd of that directory, with this configuration.
    pub fn start(bin: &Path, work: &Path, proxy: &Proxy, config: &str) -> Result<Self> {
        let hosts = work.join("certs.d/up.test");
        fs::create_dir_all(&hosts)?;
        // Nobody listens at the server's address: without the engine every pull fails.
        let text = format!(
            "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
            proxy.address
        );
        fs::write(hosts.join("hosts.toml"), text)?;
        let config_file = work.join("containerd.toml");
        fs::write(&config_file, config)?;
        let mut command = shell::plain(bin.join("containerd"));
        command.arg("--config").arg(&config_file);
        for (flag, name) in [("--root", "cd-root"), ("--state", "cd-state"), ("--address", "cd.sock")] {
            command.arg(flag).arg(work.join(name));
        }
        let child = Child::spawn(command, &work.join("containerd.log"))?;
        let containerd = Self {
            bin: bin.to_owned(),
            work: work.to_owned(),
            _child: child,
        };
        wait_until("containerd to answer", Duration::from_secs(60), || {
            containerd.ctr(&["version"]).is_ok()
        })?;
        Ok(containerd)
    }

    /// Its hosts directory, for `--hosts-dir`.
    pub fn hosts(&self) -> String {
        self.work.join("certs.d").display().to_string()
    }

    pub fn ctr(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(self.bin.join("ctr"));
        command
            .arg("--address")
            .arg(self.work.join("cd.sock"))
            .args(["-n", "test"]);
        shell::run(command.args(words))
    }

    /// Pulls an image; all of it is there afterwards.
    pub fn pull(&self, image: &str) -> Result<()> {
        let hosts = self.hosts();
        self.ctr(&[
            "images",
            "pull",
            "--hosts-dir",
            &hosts,
            "--snapshotter",
            "native",
            image,
        ])?;
        let shown = self.ctr(&["images", "check"])?;
        let complete = shown
            .lines()
            .any(|line| line.contains(image) && line.contains("complete"));
        ensure!(complete, "{shown}");
        Ok(())
    }
}
