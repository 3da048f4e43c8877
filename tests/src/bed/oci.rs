//! Image archives from static programs, without docker: one layer, always the same bytes for the same input.
//!
//! The archive follows the OCI image layout and carries a docker-style `manifest.json` as well, so that
//! `ctr images import`, `docker load`, `podman load` and kind all read it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer: a plain tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an image is made of.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Full name with tag: `registry.test/pause:1`.
    pub name: String,
    /// Program and fixed arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `uid[:gid]`; empty: root.
    pub user: String,
    /// Path in the image (absolute) and where the content comes from.
    pub files: Vec<(String, Source)>,
}

/// Content of a file.
#[derive(Clone, Debug)]
pub enum Source {
    /// Copied from this file; executable.
    Program(PathBuf),
    /// This text; not executable.
    Text(String),
}

/// Some bytes with their digest.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:<hex>`.
    pub digest: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Computes the digest.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))),
            bytes,
        }
    }

    /// As an OCI descriptor.
    pub fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}

/// The configuration for these layers.
pub fn config(image: &Image, layers: &[Blob]) -> Blob {
    let mut settings = json!({"Env": image.env, "WorkingDir": "/"});
    if let Some(settings) = settings.as_object_mut() {
        if !image.entrypoint.is_empty() {
            settings.insert("Entrypoint".to_owned(), json!(image.entrypoint));
        }
        if !image.command.is_empty() {
            settings.insert("Cmd".to_owned(), json!(image.command));
        }
        if !image.user.is_empty() {
            settings.insert("User".to_owned(), json!(image.user));
        }
    }
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    Blob::new(to_bytes(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })))
}

/// The manifest of a configuration and its layers.
pub fn manifest(config: &Blob, layers: &[Blob]) -> Blob {
    let layers: Vec<Value> = layers.iter().map(|layer| layer.descriptor(LAYER)).collect();
    Blob::new(to_bytes(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": layers,
    })))
}

/// Go's name of this machine's architecture, which images use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A layer with `/tmp`, `/etc`, `/run` and the image's files.
pub fn layer(image: &Image) -> Result<Blob> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut directories = std::collections::BTreeSet::from([PathBuf::from("etc"), "run".into(), "tmp".into()]);
    for (path, _) in &image.files {
        let relative = Path::new(path.trim_start_matches('/'));
        directories.extend(
            relative
                .ancestors()
                .skip(1)
                .filter(|dir| dir.file_name().is_some())
                .map(Path::to_owned),
        );
    }
    for directory in directories {
        let mode = if directory == Path::new("tmp") { 0o1777 } else { 0o755 };
        append(
            &mut tar,
            tar::EntryType::Directory,
            &format!("{}/", directory.display()),
            mode,
            &[],
        )?;
    }
    for (path, source) in &image.files {
        let (mode, bytes) = match source {
            Source::Program(file) => (
                0o755,
                std::fs::read(file).with_context(|| format!("read {}", file.display()))?,
            ),
            Source::Text(text) => (0o644, text.clone().into_bytes()),
        };
        append(
            &mut tar,
            tar::EntryType::Regular,
            path.trim_start_matches('/'),
            mode,
            &bytes,
        )?;
    }
    Ok(Blob::new(tar.into_inner()?))
}

/// Adds an entry that depends on nothing but its arguments: owner 0, time 0.
pub fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

/// Writes the image as an archive and returns the manifest's digest.
pub fn write(image: &Image, archive: &Path) -> Result<String> {
    let layers = [layer(image)?];
    let config = config(image, &layers);
    let manifest = manifest(&config, &layers);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": manifest.digest,
            "size": manifest.bytes.len(),
            "platform": {"architecture": architecture(), "os": "linux"},
            "annotations": {
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": tag_of(&image.name),
            },
        }],
    });
    let docker = json!([{
        "Config": config.path(),
        "RepoTags": [image.name],
        "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
    }]);

    // Written beside and renamed, so that nobody reads half an archive.
    let partial = archive.with_extension("partial");
    let file = std::fs::File::create(&partial).with_context(|| format!("write {}", partial.display()))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    let regular = tar::EntryType::Regular;
    append(
        &mut tar,
        regular,
        "oci-layout",
        0o644,
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    append(&mut tar, regular, "index.json", 0o644, &to_bytes(&index))?;
    append(&mut tar, regular, "manifest.json", 0o644, &to_bytes(&docker))?;
    for blob in layers.iter().chain([&config, &manifest]) {
        append(&mut tar, regular, &blob.path(), 0o644, &blob.bytes)?;
    }
    tar.into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    std::fs::rename(&partial, archive)?;
    Ok(manifest.digest)
}

/// The tag of a full image name; `latest` if it has none.
fn tag_of(name: &str) -> &str {
    name.rsplit_once('/')
        .map_or(name, |(_, last)| last)
        .split_once(':')
        .map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn sample(dir: &Path) -> Image {
        let program = dir.join("program");
        std::fs::write(&program, b"\x7fELF").unwrap();
        Image {
            name: "registry.test:5000/a/b:1".to_owned(),
            entrypoint: vec!["/bin/program".to_owned()],
            user: "65532:65532".to_owned(),
            files: vec![
                ("/bin/program".to_owned(), Source::Program(program)),
                ("/etc/ssl/certs/ca.crt".to_owned(), Source::Text("PEM".to_owned())),
            ],
            ..Image::default()
        }
    }

    fn entries(bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path, (entry.header().mode().unwrap(), content));
        }
        found
    }

    #[test]
    fn the_same_input_gives_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let image = sample(dir.path());
        let (one, two) = (dir.path().join("1.tar"), dir.path().join("2.tar"));
        assert_eq!(write(&image, &one).unwrap(), write(&image, &two).unwrap());
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_the_index_leads_to_the_layer() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("image.tar");
        let digest = write(&sample(dir.path()), &archive).unwrap();
        let entries = entries(&std::fs::read(&archive).unwrap());
        for (path, (_, content)) in entries.iter().filter(|(path, _)| path.starts_with("blobs/")) {
            assert_eq!(path, &Blob::new(content.clone()).path());
        }
        let index: Value = serde_json::from_slice(&entries["index.json"].1).unwrap();
        assert_eq!(index["manifests"][0]["digest"], json!(digest));
        assert_eq!(
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
            "1"
        );
        let manifest: Value =
            serde_json::from_slice(&entries[&format!("blobs/{}", digest.replace(':', "/"))].1).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
        assert!(entries.contains_key(&format!("blobs/{layer}")));
        let config = manifest["config"]["digest"].as_str().unwrap().replace(':', "/");
        let config: Value = serde_json::from_slice(&entries[&format!("blobs/{config}")].1).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/program"]));
    }

    #[test]
    fn programs_are_executable_and_their_directories_exist() {
        let dir = tempfile::tempdir().unwrap();
        let entries = entries(&layer(&sample(dir.path())).unwrap().bytes);
        assert_eq!(entries["bin/program"], (0o755, b"\x7fELF".to_vec()));
        assert_eq!(entries["etc/ssl/certs/ca.crt"].0, 0o644);
        assert_eq!(entries["tmp/"].0, 0o1777);
        for directory in ["bin/", "etc/", "etc/ssl/", "etc/ssl/certs/"] {
            assert!(entries.contains_key(directory), "{directory}");
        }
    }
}
