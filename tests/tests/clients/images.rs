//! Images put into the registry: pushed by skopeo, or laid into its storage when they are too large to be sent.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use regcache_tests::bed::oci::{self, Blob, Image};
use regcache_tests::bed::shell;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::processes::Upstream;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Upstream {
    /// An image of one platform with layers of these sizes, each a tar of one file `data-N`.
    pub fn push(&self, repository: &str, tag: &str, sizes: &[usize]) -> Result<()> {
        let layout = tempfile::tempdir()?;
        let manifest = write_image(layout.path(), sizes)?;
        self.send(layout.path(), repository, tag, &manifest.descriptor(oci::MANIFEST))
    }

    /// An index of two platforms, this machine's the first; its digest.
    pub fn push_index(&self, repository: &str, tag: &str) -> Result<String> {
        let layout = tempfile::tempdir()?;
        let mut manifests = Vec::new();
        for architecture in [oci::architecture(), "riscv64"] {
            let manifest = write_image(layout.path(), &[1 << 20, 64 << 10])?;
            let mut descriptor = manifest.descriptor(oci::MANIFEST);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(descriptor);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let index = Blob::new(index.to_string().into_bytes());
        write_blob(layout.path(), &index)?;
        self.send(layout.path(), repository, tag, &index.descriptor(INDEX))?;
        Ok(index.digest)
    }

    /// An image of one layer of `size` bytes, almost all of them zero, laid into the registry's storage; the layer's
    /// digest.
    pub fn plant(&self, repository: &str, tag: &str, size: u64) -> Result<String> {
        let storage = self.work.path().join("storage/docker/registry/v2");
        let mut hasher = Sha256::new();
        let zeros = vec![0; 1 << 20];
        for _ in 0..size >> 20 {
            hasher.update(&zeros);
        }
        let digest = format!("sha256:{}", hex::encode(hasher.finalize()));
        let file = File::create(blob_file(&storage, &digest)?)?;
        // A hole: it takes no room here.
        file.set_len(size)?;
        let config = oci::config(&Image::default(), &[]);
        let layer = json!({"mediaType": oci::LAYER, "digest": digest, "size": size});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": oci::MANIFEST, "config": config.descriptor(oci::CONFIG), "layers": [layer],
        });
        let manifest = Blob::new(manifest.to_string().into_bytes());
        for blob in [&config, &manifest] {
            fs::write(blob_file(&storage, &blob.digest)?, &blob.bytes)?;
        }
        let repository = storage.join("repositories").join(repository);
        link(&repository.join("_layers"), &digest)?;
        link(&repository.join("_layers"), &config.digest)?;
        link(&repository.join("_manifests/revisions"), &manifest.digest)?;
        let current = repository.join("_manifests/tags").join(tag).join("current");
        fs::create_dir_all(&current)?;
        fs::write(current.join("link"), &manifest.digest)?;
        Ok(digest)
    }

    fn send(&self, layout: &Path, repository: &str, tag: &str, what: &serde_json::Value) -> Result<()> {
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let mut what = what.clone();
        what["annotations"] = json!({"org.opencontainers.image.ref.name": "it"});
        let index = json!({"schemaVersion": 2, "manifests": [what]});
        fs::write(layout.join("index.json"), index.to_string())?;
        let from = format!("oci:{}:it", layout.display());
        let to = format!("docker://{}/{repository}:{tag}", self.address);
        let mut skopeo = shell::plain("skopeo");
        skopeo.args([
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            &from,
            &to,
        ]);
        shell::run(&mut skopeo).map(drop)
    }
}

fn write_image(layout: &Path, sizes: &[usize]) -> Result<Blob> {
    let mut layers = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let mut content = vec![0; *size];
        std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut content)?;
        let mut tar = tar::Builder::new(Vec::new());
        let name = format!("data-{number}");
        oci::append(&mut tar, tar::EntryType::Regular, &name, 0o644, &content)?;
        layers.push(Blob::new(tar.into_inner()?));
    }
    let config = oci::config(&Image::default(), &layers);
    let manifest = oci::manifest(&config, &layers);
    for blob in layers.iter().chain([&config, &manifest]) {
        write_blob(layout, blob)?;
    }
    Ok(manifest)
}

fn write_blob(layout: &Path, blob: &Blob) -> Result<()> {
    let path = layout.join("blobs").join(blob.digest.replace(':', "/"));
    fs::create_dir_all(path.parent().context("parent")?)?;
    File::create(path)?.write_all(&blob.bytes)?;
    Ok(())
}

fn blob_file(storage: &Path, digest: &str) -> Result<std::path::PathBuf> {
    let name = digest.trim_start_matches("sha256:");
    let directory = storage.join("blobs/sha256").join(&name[..2]).join(name);
    fs::create_dir_all(&directory)?;
    Ok(directory.join("data"))
}

fn link(below: &Path, digest: &str) -> Result<()> {
    let directory = below.join(digest.replace(':', "/"));
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("link"), digest)?;
    Ok(())
}
