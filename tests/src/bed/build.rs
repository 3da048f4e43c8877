//! Static programs for images, built by cargo: they run in images that contain nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::shell;

/// Builds the static programs and says where this one is: `regcache-proxy`, `faulty-registry` and the like.
///
/// The same recipe as `make image`'s, so that whichever comes second finds everything built.
pub fn static_program(program: &str) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace directory")?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
    let directory = target.join("static");
    println!("building {program}, statically linked");
    let mut script = Command::new(workspace.join("scripts/programs.sh"));
    shell::run(script.arg("image").arg(&directory))?;
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    Ok(directory.join(host).join("image").join(program))
}
