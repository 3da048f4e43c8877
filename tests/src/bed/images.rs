//! The images that every node of the test bed has from the start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::oci::{self, Image, Source};
use super::{build, paths, pki, shell};

/// The sandbox of every pod.
pub const PAUSE: &str = "registry.test/pause:1";
/// A shell: `/bin/sh`, and every applet as `/bin/busybox NAME`.
pub const BUSYBOX: &str = "registry.test/busybox:1";
/// CNCF distribution, trusting the test bed's authority.
pub const REGISTRY: &str = "registry.test/registry:3.1.2";
/// A cache that misbehaves on demand; runs in the place of [`REGISTRY`].
pub const FAULTY: &str = "registry.test/faulty:1";

/// How distribution's own image starts it; the faulty one is started alike.
const SERVE: [&str; 2] = ["serve", "/etc/distribution/config.yml"];

/// Makes the archives of pause, busybox and registry.
pub fn ensure() -> Result<Vec<PathBuf>> {
    let bundle = pki::Authority::of_the_bed()?.bundle()?;
    let busybox = ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    let busybox = busybox.context("busybox is not installed")?;
    let images = [
        ("pause", program_image(PAUSE, "/pause", &pause_program()?)),
        ("busybox", busybox_image(&busybox)),
        ("registry", registry_image(REGISTRY, &paths::tool("registry"), &bundle)),
    ];
    fs::create_dir_all(paths::images())?;
    images
        .into_iter()
        .map(|(stem, image)| ensure_archive(stem, &image))
        .collect()
}

/// Builds the faulty registry and makes its archive ([`FAULTY`]), for [`super::ClusterSpec::with_image`].
pub fn faulty_archive() -> Result<PathBuf> {
    let program = build::static_program("faulty-registry")?;
    fs::create_dir_all(paths::images())?;
    ensure_archive(
        "faulty",
        &registry_image(FAULTY, &program, &pki::Authority::of_the_bed()?.bundle()?),
    )
}

/// Writes the archive unless it is there and younger than its programs.
fn ensure_archive(stem: &str, image: &Image) -> Result<PathBuf> {
    let archive = paths::images().join(format!("{stem}.tar"));
    let stamp = paths::images().join(format!("{stem}.recipe"));
    let mut parts = vec![format!("{image:?}")];
    for (_, source) in &image.files {
        if let Source::Program(path) = source {
            let metadata = fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
            parts.push(format!("{} {:?}", metadata.len(), metadata.modified()?));
        }
    }
    let recipe = parts.join("\n");
    if !archive.is_file() || fs::read_to_string(&stamp).unwrap_or_default() != recipe {
        oci::write(image, &archive)?;
        fs::write(stamp, recipe)?;
    }
    Ok(archive)
}

/// An image of one program, started without arguments.
fn program_image(name: &str, path: &str, program: &Path) -> Image {
    Image {
        name: name.to_owned(),
        entrypoint: vec![path.to_owned()],
        env: vec!["PATH=/bin:/".to_owned()],
        files: vec![(path.to_owned(), Source::Program(program.to_owned()))],
        ..Image::default()
    }
}

fn busybox_image(program: &Path) -> Image {
    let mut image = program_image(BUSYBOX, "/bin/busybox", program);
    image
        .files
        .push(("/bin/sh".to_owned(), Source::Program(program.to_owned())));
    image
}

fn registry_image(name: &str, program: &Path, bundle: &str) -> Image {
    let mut image = program_image(name, "/bin/registry", program);
    image.entrypoint = vec!["registry".to_owned()];
    image.command = SERVE.map(str::to_owned).to_vec();
    image.files.push((
        "/etc/ssl/certs/ca-certificates.crt".to_owned(),
        Source::Text(bundle.to_owned()),
    ));
    image
}

/// The static program that test images run; compiled at the first use.
pub fn pause_program() -> Result<PathBuf> {
    let program = paths::tool("pause");
    let source = include_str!("pause.c");
    let kept = paths::root().join("src").join("pause.c");
    if !program.is_file() || fs::read_to_string(&kept).unwrap_or_default() != source {
        fs::create_dir_all(paths::root().join("src"))?;
        fs::create_dir_all(paths::bin())?;
        let building = kept.with_file_name("pause-building.c");
        fs::write(&building, source)?;
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-static",
            "-Os",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-pie",
            "-no-pie",
            "-s",
        ]);
        shell::run(gcc.args(["-Wl,--build-id=none", "-o"]).arg(&program).arg(&building))?;
        fs::rename(building, kept)?;
    }
    Ok(program)
}
