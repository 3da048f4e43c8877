//! Running a program to its end, with an error that says which one failed and what it printed.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A command without proxy settings (they would send cluster traffic astray) in the given network namespace.
pub fn in_netns(netns: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = plain("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg(program);
    command
}

/// A command without proxy settings.
pub fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

/// Runs it to its end; standard output on success, an error with standard error otherwise.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", describe(command)))?;
    text_of(command, &output)
}

/// The same with something on standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", describe(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .with_context(|| format!("write to {}", describe(command)))?;
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for {}", describe(command)))?;
    text_of(command, &output)
}

fn text_of(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let shown = String::from_utf8_lossy(&output.stdout);
        bail!(
            "{} failed ({}): {} {}",
            describe(command),
            output.status,
            error.trim(),
            shown.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip` with words separated by blanks.
pub fn ip(words: &str) -> Result<()> {
    run(plain("ip").args(words.split_whitespace())).map(drop)
}

/// Whether a program can be found in PATH (or the directories of system programs).
pub fn exists(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|dir| Path::new(dir).join(program).is_file())
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Program and arguments in one line.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_program_its_arguments_and_what_it_said() {
        let error = run(plain("sh").args(["-c", "echo no such thing >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sh -c") && error.contains("no such thing") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn input_arrives() {
        assert_eq!(run_with_input(&mut plain("cat"), "a: 1\n").unwrap(), "a: 1\n");
    }
}
