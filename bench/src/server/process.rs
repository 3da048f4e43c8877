//! Processes of a server: what they cost, and that none is left over.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// A program and all that it has started, in a process group of their own. Killed on drop.
pub struct Group {
    child: Child,
}

impl Group {
    /// Starts the program.
    pub fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        Ok(Self { child })
    }

    /// Whether its first process is gone.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time in user and kernel mode, of the living and of those that were waited for.
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self
            .members()
            .iter()
            .filter_map(|pid| stat(*pid))
            .flat_map(|stat| stat.get(11..15).unwrap_or_default().to_vec())
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks * 1000 / per_second)
    }

    /// The sum of the processes' greatest resident sizes, MiB.
    pub fn peak_mib(&self) -> f64 {
        let kib: u32 = self
            .members()
            .iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .filter_map(|status| {
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.trim().trim_end_matches(" kB").trim().parse::<u32>().ok()
            })
            .sum();
        f64::from(kib) / 1024.0
    }

    /// Sets the greatest resident sizes back to the present ones.
    pub fn reset_peak(&self) -> Result<()> {
        for pid in self.members() {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").context("reset the peak of memory")?;
        }
        Ok(())
    }

    /// The living processes of the group.
    fn members(&self) -> Vec<u32> {
        let group = self.child.id().to_string();
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|stat| stat.get(2) == Some(&group)))
            .collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Gone already is as good.
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

/// The fields of /proc/PID/stat after the name: state, parent, group, ..., times from the twelfth on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// What the files below a directory take on disk. What vanishes meanwhile counts nothing.
pub fn disk_usage(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_usage(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_children_and_takes_them_along() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        let group = Group::spawn(&mut command).unwrap();
        while group.members().len() < 3 {
            std::thread::yield_now();
        }
        let members = group.members();
        assert!(group.peak_mib() > 0.0);
        drop(group);
        let alive = |pid: &u32| stat(*pid).is_some_and(|stat| stat[0] != "Z");
        while members.iter().any(alive) {
            std::thread::yield_now();
        }
    }
}
