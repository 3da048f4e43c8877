//! Building with Go.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::catalog::{Source, Tool};
use crate::bed::{paths, shell};

/// The oldest Go that builds all tools.
const OLDEST: (u32, u32) = (1, 26);

/// Says clearly when Go is missing or too old.
pub fn check() -> Result<()> {
    let Ok(text) = shell::run(shell::plain("go").args(["env", "GOVERSION"])) else {
        bail!(
            "Go is not installed (or not in PATH); the test bed builds Kubernetes with Go {}.{} or newer",
            OLDEST.0,
            OLDEST.1
        );
    };
    match parse_version(text.trim()) {
        Some(version) if version >= OLDEST => Ok(()),
        _ => bail!(
            "Go is too old: {} found, {}.{} or newer is needed",
            text.trim(),
            OLDEST.0,
            OLDEST.1
        ),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("go")?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

/// Builds one tool into the bin directory.
pub fn build(tool: &Tool) -> Result<()> {
    let ldflags = format!("-s -w {}", tool.ldflags);
    match &tool.source {
        Source::Install => {
            let mut command = go();
            command
                .env("GOBIN", paths::bin())
                .args(["install", "-ldflags", ldflags.trim()]);
            shell::run(command.arg(format!("{}@v{}", tool.package, tool.version)))?;
        }
        Source::Module { group, body } => {
            let dir = paths::root().join("src").join(group);
            let text = format!(
                "module example.test/{group}\n\ngo {}.{}.0\n\n{body}\n",
                OLDEST.0, OLDEST.1
            );
            let wanted = dir.join("go.mod.wanted");
            if fs::read_to_string(&wanted).is_ok_and(|previous| previous == text) {
                // Tidied before, by another tool of the group.
            } else {
                fs::create_dir_all(&dir)?;
                fs::write(dir.join("go.mod"), &text)?;
                // `-e`: tests of dependencies may need modules that nobody has; what the build needs is checked by it.
                shell::run(go().current_dir(&dir).args(["mod", "tidy", "-e"])).context("resolve modules")?;
                fs::write(&wanted, &text)?;
            }
            let mut command = go();
            command.current_dir(&dir).args([
                "build",
                "-trimpath",
                "-tags",
                tool.tags,
                "-ldflags",
                ldflags.trim(),
                "-o",
            ]);
            shell::run(command.arg(paths::tool(tool.name)).arg(&tool.package))?;
        }
    }
    Ok(())
}

/// Go with its usual settings and proxies, statically linked results.
fn go() -> Command {
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse_version("go1.26.8").unwrap() >= OLDEST);
        assert!(parse_version("go1.27rc1").unwrap() >= OLDEST);
        assert!(parse_version("go1.9.1").unwrap() < OLDEST);
        assert_eq!(parse_version("devel"), None);
    }
}
