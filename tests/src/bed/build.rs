//! Static programs for images, built by cargo: they run in images that contain nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::shell;

/// Builds a program of the workspace, statically linked, and says where it is.
///
/// glibc's static form, since it comes with every Debian; the target is named so that build scripts are left alone.
pub fn static_program(package: &str, program: &str) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace directory")?;
    let directory = target_directory(workspace);
    println!("building {program}, statically linked");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--profile",
        "image",
        "--target",
        &target,
        "-p",
        package,
        "--no-default-features",
        "--bin",
        program,
    ]);
    cargo
        .current_dir(workspace)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", &directory);
    shell::run(&mut cargo)?;
    Ok(directory.join(target).join("image").join(program))
}

/// Beside cargo's own files, where `make image` builds too: other flags would make cargo build everything again.
fn target_directory(workspace: &Path) -> PathBuf {
    let base = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
    base.join("static")
}
