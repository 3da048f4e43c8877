//! Small images of random content, made and pushed by the test: never seen before, so that no node has them already.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;

use crate::bed::http::{Connection, Response, block_on_in_netns};
use crate::bed::oci::{self, Blob, Image};
use crate::bed::pki::Authority;
use crate::bed::{Internet, images};

/// An image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// What a pod names: `images.test/team/app:t1a2b3c`.
    pub name: String,
    /// `team/app`.
    pub repository: String,
    /// The tag, unlike any other.
    pub tag: String,
    /// The manifest's digest: `sha256:…`.
    pub manifest: String,
    /// The configuration's digest.
    pub config: String,
    /// The layers, in order.
    pub layers: Vec<Layer>,
}

/// A layer of a pushed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: usize,
}

/// An image ready to be pushed.
struct Built {
    layers: Vec<Blob>,
    config: Blob,
    manifest: Blob,
}

impl Internet {
    /// Pushes an image whose layers have these sizes (rounded up to 512 bytes; the first has at least 12 KiB, since it
    /// holds the program that the pod runs). Content and tag are new each time; random, so that nothing compresses.
    pub fn push(&self, repository: &str, layer_sizes: &[usize]) -> Result<Pushed> {
        let built = build(layer_sizes)?;
        let tag = format!("t{}", &hex::encode(random(8)?));
        let pushed = Pushed {
            name: format!("{}/{repository}:{tag}", self.host()),
            repository: repository.to_owned(),
            tag,
            manifest: built.manifest.digest.clone(),
            config: built.config.digest.clone(),
            layers: built
                .layers
                .iter()
                .map(|it| Layer {
                    digest: it.digest.clone(),
                    size: it.bytes.len(),
                })
                .collect(),
        };
        self.upload(&pushed, built)
            .with_context(|| format!("push {}", pushed.name))?;
        Ok(pushed)
    }

    fn upload(&self, pushed: &Pushed, built: Built) -> Result<()> {
        let (address, host) = (format!("{}:443", self.address()).parse()?, self.host());
        let authority = Authority::of_the_bed()?.certificate();
        let (repository, tag) = (pushed.repository.clone(), pushed.tag.clone());
        block_on_in_netns(&self.netns(), async move {
            let mut connection = Connection::tls(address, host, &authority).await?;
            for blob in built.layers.into_iter().chain([built.config]) {
                let uploads = format!("/v2/{repository}/blobs/uploads/");
                let opened = connection.send(Method::POST, &uploads, None, Bytes::new()).await?;
                let location = upload_path(&expect(opened, 202)?)?;
                let path = format!("{location}&digest={}", blob.digest);
                let kind = Some("application/octet-stream");
                expect(connection.send(Method::PUT, &path, kind, blob.bytes.into()).await?, 201)?;
            }
            let path = format!("/v2/{repository}/manifests/{tag}");
            let sent = connection
                .send(Method::PUT, &path, Some(oci::MANIFEST), built.manifest.bytes.into())
                .await?;
            expect(sent, 201).map(drop)
        })
    }
}

fn expect(response: Response, status: u16) -> Result<Response> {
    if response.status != status {
        bail!(
            "the registry answered {} instead of {status}: {}",
            response.status,
            response.text()
        );
    }
    Ok(response)
}

/// Path and query of the Location header, which always has a query.
fn upload_path(response: &Response) -> Result<String> {
    let location = response.headers.get("location").context("no Location")?.to_str()?;
    let uri: http::Uri = location.parse()?;
    Ok(uri.path_and_query().context("no path in Location")?.to_string())
}

fn build(layer_sizes: &[usize]) -> Result<Built> {
    let program = std::fs::read(images::pause_program()?)?;
    let mut layers = Vec::new();
    for (number, size) in layer_sizes.iter().enumerate() {
        layers.push(layer(number, *size, (number == 0).then_some(program.as_slice()))?);
    }
    let image = Image {
        entrypoint: vec!["/pause".to_owned()],
        ..Image::default()
    };
    let config = oci::config(&image, &layers);
    let manifest = oci::manifest(&config, &layers);
    Ok(Built {
        layers,
        config,
        manifest,
    })
}

/// A tar of `size` bytes: perhaps the program, and one file of random bytes.
fn layer(number: usize, size: usize, program: Option<&[u8]>) -> Result<Blob> {
    const BLOCK: usize = 512;
    let entry = |length: usize| BLOCK + length.next_multiple_of(BLOCK);
    // Header of the random file, and the two empty blocks that end a tar.
    let overhead = program.map_or(0, |bytes| entry(bytes.len())) + 3 * BLOCK;
    let mut tar = tar::Builder::new(Vec::new());
    if let Some(bytes) = program {
        oci::append(&mut tar, tar::EntryType::Regular, "pause", 0o755, bytes)?;
    }
    // Never empty, or two such layers would be the same blob.
    let content = random(size.saturating_sub(overhead).next_multiple_of(BLOCK).max(BLOCK))?;
    oci::append(
        &mut tar,
        tar::EntryType::Regular,
        &format!("data-{number}"),
        0o644,
        &content,
    )?;
    Ok(Blob::new(tar.into_inner()?))
}

fn random(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_size_that_was_asked_for() {
        let program = vec![1; 8632];
        assert_eq!(layer(0, 1 << 20, Some(&program)).unwrap().bytes.len(), 1 << 20);
        assert_eq!(layer(1, 4096, None).unwrap().bytes.len(), 4096);
        assert_eq!(layer(1, 4097, None).unwrap().bytes.len(), 4608);
    }

    #[test]
    fn no_two_layers_are_alike() {
        assert_ne!(layer(0, 1, None).unwrap().digest, layer(0, 1, None).unwrap().digest);
    }
}
