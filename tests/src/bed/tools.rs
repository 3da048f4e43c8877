//! The programs that clusters are made of: Debian packages, and Go modules built once at pinned versions.
//!
//! A stamp per tool says what its binary was built from, so a second call builds nothing and a changed version is built
//! again. A lock keeps two builds apart.

mod catalog;
mod debian;
mod go;

use std::fs::{self, File};
use std::time::Instant;

use anyhow::{Context, Result};

pub use catalog::{Tool, catalog};

use super::paths;

/// Makes sure that every tool is there. Prints one line per tool that has to be built.
pub fn ensure() -> Result<()> {
    debian::ensure()?;
    for directory in [paths::bin(), stamps(), paths::images()] {
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let tools = catalog();
    if missing(&tools).is_empty() {
        return Ok(());
    }
    go::check()?;
    let lock = File::create(paths::root().join("tools.lock"))?;
    if lock.try_lock().is_err() {
        println!("another build of the tools is running; waiting for it");
        lock.lock()?;
    }
    let missing = missing(&tools);
    let started = Instant::now();
    for (number, tool) in missing.iter().enumerate() {
        let usually = tool.typical_seconds;
        println!(
            "building {} {} ({} of {}), the first time about {usually} s",
            tool.name,
            tool.version,
            number + 1,
            missing.len()
        );
        let began = Instant::now();
        go::build(tool)?;
        fs::write(stamp(tool), tool.recipe())?;
        println!(
            "         {} {} built in {} s",
            tool.name,
            tool.version,
            began.elapsed().as_secs()
        );
    }
    if !missing.is_empty() {
        println!(
            "tools built in {} s, kept in {}",
            started.elapsed().as_secs(),
            paths::bin().display()
        );
    }
    Ok(())
}

/// The tools whose binary or stamp is not there, or was made from something else.
fn missing(tools: &[Tool]) -> Vec<&Tool> {
    tools
        .iter()
        .filter(|tool| {
            let recipe = fs::read_to_string(stamp(tool)).unwrap_or_default();
            recipe != tool.recipe() || !paths::tool(tool.name).is_file()
        })
        .collect()
}

fn stamps() -> std::path::PathBuf {
    paths::root().join("stamps")
}

fn stamp(tool: &Tool) -> std::path::PathBuf {
    stamps().join(tool.name)
}
