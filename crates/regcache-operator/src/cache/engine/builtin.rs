//! Our own engine: one process for all upstreams of a region, from the product's own image.

use k8s_openapi::api::core::v1::{EnvVar, Probe};
use serde::Serialize;

use super::{CA_DIRECTORY, CA_FILE, Capabilities, ConfigFile, Engine, Error, METRICS_PORT, PORT, probe};
use crate::cache::validate::Site;

/// The program in the image.
const PROGRAM: &str = "/regcache-proxy";
/// Where the configuration is.
const CONFIG_DIRECTORY: &str = "/etc/regcache/proxy";
/// What its file is called.
const CONFIG_NAME: &str = "config.yaml";
/// Where blobs are.
const DATA_DIRECTORY: &str = "/var/lib/regcache";
/// Seconds that it goes on serving after SIGTERM: the helpers' probes fail at once, and they turn elsewhere meanwhile.
const SERVING_SECONDS: i64 = 10;
/// Seconds that bodies may take after that to end whole. A longer one ends early, and containerd goes on at upstream
/// from the same byte; a longer grace would only keep the next pod, which needs the volume, from starting.
const BODIES_SECONDS: i64 = 30;
/// Percent of the volume that is filled at most.
///
/// A file system gives less than its volume's size: its own tables, the journal and what it reserves come to some 3 to 7
/// percent. And the store may exceed its budget by what is being fetched. A full disk harms no pull, but then nothing
/// is stored: the last tenth is worth less than that.
const FILL_PERCENT: i128 = 90;

/// Our own engine.
pub struct Builtin;

impl Engine for Builtin {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            several_upstreams: true,
            ns: true,
            probe_blob: true,
            node_table: true,
            hot_reload: true,
        }
    }

    fn config(&self, site: &Site) -> Result<ConfigFile, Error> {
        let text = serde_yaml::to_string(&Config::of(site)).map_err(|source| Error::Serialize {
            site: site.name.clone(),
            source,
        })?;
        Ok(ConfigFile {
            directory: CONFIG_DIRECTORY,
            name: CONFIG_NAME,
            text,
        })
    }

    fn command(&self) -> Vec<String> {
        let file = format!("{CONFIG_DIRECTORY}/{CONFIG_NAME}");
        vec![PROGRAM.into(), "--config".into(), file]
    }

    fn env(&self, _site: &Site) -> Vec<EnvVar> {
        Vec::new()
    }

    fn data_directory(&self) -> &'static str {
        DATA_DIRECTORY
    }

    fn readiness(&self) -> Probe {
        probe("/readyz", METRICS_PORT, 5, 3)
    }

    fn liveness(&self) -> Probe {
        // Generous: a disk that is slow for half a minute is no reason to cut off pulls.
        probe("/livez", METRICS_PORT, 10, 6)
    }

    fn termination_grace_seconds(&self) -> i64 {
        SERVING_SECONDS + BODIES_SECONDS + 5
    }
}

/// The part of the configuration that is ours to say; what is left out has the program's own default.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    listen: String,
    admin: String,
    store: Store,
    upstreams: Vec<Upstream<'a>>,
    log_format: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    directory: &'static str,
    max_bytes: String,
}

#[derive(Serialize)]
struct Upstream<'a> {
    host: &'a str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

impl<'a> Config<'a> {
    fn of(site: &'a Site) -> Self {
        let upstreams = site.upstreams.iter();
        // Here and not by the environment: it is read again when it changes.
        let ca = site.upstream_ca.as_ref().map(|_| format!("{CA_DIRECTORY}/{CA_FILE}"));
        Self {
            listen: format!("[::]:{PORT}"),
            admin: format!("[::]:{METRICS_PORT}"),
            store: Store {
                directory: DATA_DIRECTORY,
                max_bytes: max_bytes(site.volume_bytes()),
            },
            upstreams: upstreams
                .map(|upstream| Upstream {
                    host: &upstream.host,
                    url: &upstream.url,
                    ca: ca.clone(),
                })
                .collect(),
            log_format: "json",
        }
    }
}

/// The store's budget on a volume of `bytes`, in whole MiB for the reader's sake.
fn max_bytes(bytes: i128) -> String {
    let mebibytes = bytes * FILL_PERCENT / 100 / (1 << 20);
    format!("{}MiB", mebibytes.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::shared_site;

    #[test]
    fn configuration_names_all_upstreams_and_keeps_a_tenth_of_the_volume_free() {
        let file = Builtin.config(&shared_site()).unwrap();
        assert_eq!(
            file.text,
            "\
listen: '[::]:5000'
admin: '[::]:5001'
store:
  directory: /var/lib/regcache
  maxBytes: 6451MiB
upstreams:
- host: upstream.example
  url: https://upstream.example
- host: second.example:5000
  url: http://second.test
logFormat: json
"
        );
    }

    #[test]
    fn more_authorities_count_for_every_upstream() {
        let mut site = shared_site();
        site.upstream_ca = Some("corp".into());
        let text = Builtin.config(&site).unwrap().text;
        assert_eq!(
            text.matches("  ca: /etc/regcache/upstream-ca/ca.crt\n").count(),
            2,
            "{text}"
        );
    }

    #[test]
    fn budget_is_that_of_the_smaller_of_what_is_asked_for_and_what_is_there() {
        let mut site = shared_site();
        for (size, capacity, wanted) in [
            ("10Gi", None, "9216MiB"),
            ("10Gi", Some("5Gi"), "4608MiB"),
            ("10Gi", Some("20Gi"), "9216MiB"),
            ("10Gi", Some("nonsense"), "9216MiB"),
            ("1k", None, "1MiB"),
        ] {
            site.size = size.into();
            site.capacity = capacity.map(Into::into);
            assert_eq!(max_bytes(site.volume_bytes()), wanted, "{size} {capacity:?}");
        }
    }
}
