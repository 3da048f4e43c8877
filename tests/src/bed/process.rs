//! Processes that outlive the one that started them: recorded in a journal with their start time, so that they can be
//! found and ended later, by anybody, without ever hitting a stranger that got a recycled process id.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;
use super::wait::wait_until;

/// A process as it was when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its id in this machine's root PID namespace.
    pub pid: i32,
    /// Clock ticks since boot at its start; with the pid it names one process for ever.
    pub start: u64,
    /// What it is for: `etcd`, `n1`, …
    pub role: String,
}

impl Recorded {
    /// Whether that very process still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start)| start == self.start && state != 'Z' && state != 'X')
    }

    /// Sends a signal, if that very process still runs.
    pub fn signal(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            // A failure means that it ended in this moment.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and waits until it is gone.
    pub fn end(&self) -> Result<()> {
        self.signal(Signal::KILL);
        wait_until(
            &format!("the end of process {} ({})", self.pid, self.role),
            Duration::from_secs(20),
            || !self.is_alive(),
        )
    }

    fn to_line(&self) -> String {
        format!("{} {} {}\n", self.pid, self.start, self.role)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let pid = words.next()?.parse().ok()?;
        let start = words.next()?.parse().ok()?;
        Some(Self {
            pid,
            start,
            role: words.next()?.to_owned(),
        })
    }
}

/// The list of a cluster's processes.
#[derive(Clone, Debug)]
pub struct Journal(PathBuf);

impl Journal {
    /// The journal in a cluster's work directory.
    pub fn of(work: &Path) -> Self {
        Self(work.join("processes"))
    }

    /// All that was ever started, oldest first.
    pub fn all(&self) -> Vec<Recorded> {
        fs::read_to_string(&self.0)
            .unwrap_or_default()
            .lines()
            .filter_map(Recorded::from_line)
            .collect()
    }

    /// The living process of that role.
    pub fn find(&self, role: &str) -> Option<Recorded> {
        self.all()
            .into_iter()
            .rev()
            .find(|process| process.role == role && process.is_alive())
    }

    /// Starts a process in a session of its own, output appended to `log`, and records it.
    pub fn spawn(&self, role: &str, log: &Path, command: &Command) -> Result<Recorded> {
        let _gate = interrupt::gate()?;
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut detached = detached(command);
        detached.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut child = detached.spawn().with_context(|| format!("start {role}"))?;
        let pid = i32::try_from(child.id()).context("process id")?;
        let start = stat(pid)
            .map(|(_, start)| start)
            .with_context(|| format!("{role} ended at once; see {}", log.display()))?;
        let recorded = Recorded {
            pid,
            start,
            role: role.to_owned(),
        };
        let mut journal = OpenOptions::new().create(true).append(true).open(&self.0)?;
        journal.write_all(recorded.to_line().as_bytes())?;
        // Waited for by a thread, so that it never stays a zombie.
        std::thread::spawn(move || child.wait());
        Ok(recorded)
    }
}

/// The same command under `setsid`, which keeps the process id: away from the terminal's signals.
fn detached(command: &Command) -> Command {
    let mut detached = Command::new("setsid");
    detached.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => detached.env(name, value),
            None => detached.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        detached.current_dir(directory);
    }
    detached
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The program's name is in parentheses and may itself contain blanks and parentheses.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    // `starttime` is field 22, counted from 1; the state was field 3.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// A running process by its id, recorded as it is now.
pub fn look_up(pid: i32, role: &str) -> Option<Recorded> {
    stat(pid).map(|(_, start)| Recorded {
        pid,
        start,
        role: role.to_owned(),
    })
}

/// All process ids of the machine.
pub fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The first child of a process, if it has one.
pub fn first_child(pid: i32) -> Option<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_a_strange_program_name() {
        let text = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 98765 1 2";
        assert_eq!(parse_stat(text), Some(('S', 98765)));
    }

    #[test]
    fn a_recycled_id_is_not_the_recorded_process() {
        let me = i32::try_from(std::process::id()).unwrap();
        let now = look_up(me, "test").unwrap();
        assert!(now.is_alive());
        let earlier = Recorded {
            start: now.start - 1,
            ..now
        };
        assert!(!earlier.is_alive());
        earlier.signal(Signal::KILL); // would end this test
    }

    #[test]
    fn journal_gives_back_what_was_started_and_finds_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::of(dir.path());
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let process = journal.spawn("sleeper", &dir.path().join("log"), &sleep).unwrap();
        assert_eq!(journal.all(), vec![process.clone()]);
        assert_eq!(journal.find("sleeper"), Some(process.clone()));
        process.end().unwrap();
        assert_eq!(journal.find("sleeper"), None);
    }
}
