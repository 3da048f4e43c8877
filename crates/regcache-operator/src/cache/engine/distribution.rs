//! CNCF distribution, 3.1.2 or later, as a pull-through cache of one upstream.

use k8s_openapi::api::core::v1::{EnvVar, Probe};
use serde::Serialize;

use super::{CA_DIRECTORY, Capabilities, ConfigFile, Engine, Error, METRICS_PORT, PORT, probe, variable};
use crate::cache::validate::Site;

/// Where the configuration is.
const CONFIG_DIRECTORY: &str = "/etc/distribution";
/// What its file is called.
const CONFIG_NAME: &str = "config.yml";
/// Where blobs are.
const DATA_DIRECTORY: &str = "/var/lib/registry";
/// How long running pulls may go on after SIGTERM. Without it the program ignores SIGTERM's meaning and cuts them off.
const DRAIN_SECONDS: i64 = 25;

/// CNCF distribution.
pub struct Distribution;

impl Engine for Distribution {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            several_upstreams: false,
            ns: false,
            probe_blob: false,
            node_table: false,
            hot_reload: false,
        }
    }

    fn config(&self, site: &Site) -> Result<ConfigFile, Error> {
        let [upstream] = site.upstreams.as_slice() else {
            return Err(Error::NotOneUpstream {
                site: site.name.clone(),
                count: site.upstreams.len(),
            });
        };
        let text = serde_yaml::to_string(&Config::of(&upstream.url)).map_err(|source| Error::Serialize {
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
        vec!["registry".into(), "serve".into(), file]
    }

    fn env(&self, site: &Site) -> Vec<EnvVar> {
        // By default it looks for a trace collector for ever and complains.
        let mut env = vec![variable("OTEL_TRACES_EXPORTER", "none")];
        // Go reads its usual file beside this directory. SSL_CERT_FILE would take the place of that file.
        env.extend(site.upstream_ca.iter().map(|_| variable("SSL_CERT_DIR", CA_DIRECTORY)));
        env
    }

    fn data_directory(&self) -> &'static str {
        DATA_DIRECTORY
    }

    fn readiness(&self) -> Probe {
        probe("/", PORT, 5, 3)
    }

    fn liveness(&self) -> Probe {
        // Generous: a disk that is slow for half a minute is no reason to cut off pulls.
        probe("/debug/health", METRICS_PORT, 10, 6)
    }

    fn termination_grace_seconds(&self) -> i64 {
        DRAIN_SECONDS + 15
    }
}

/// The part of distribution's configuration that is ours to say.
#[derive(Serialize)]
struct Config {
    version: f64,
    log: Log,
    storage: Storage,
    http: Http,
    health: Health,
    proxy: Proxy,
}

#[derive(Serialize)]
struct Log {
    level: &'static str,
    accesslog: AccessLog,
}

#[derive(Serialize)]
struct AccessLog {
    disabled: bool,
}

/// No descriptor cache: with expiry it answers for blobs that are gone, with nothing in them.
#[derive(Serialize)]
struct Storage {
    filesystem: Filesystem,
    delete: Enabled,
}

#[derive(Serialize)]
struct Filesystem {
    rootdirectory: &'static str,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct Http {
    addr: String,
    draintimeout: String,
    debug: Debug,
}

#[derive(Serialize)]
struct Debug {
    addr: String,
    prometheus: Enabled,
}

#[derive(Serialize)]
struct Health {
    storagedriver: StorageDriver,
}

#[derive(Serialize)]
struct StorageDriver {
    enabled: bool,
    interval: &'static str,
    threshold: u8,
}

#[derive(Serialize)]
struct Proxy {
    remoteurl: String,
}

impl Config {
    fn of(upstream: &str) -> Self {
        Self {
            version: 0.1,
            log: Log {
                level: "info",
                // On: it is the proof of who was served.
                accesslog: AccessLog { disabled: false },
            },
            storage: Storage {
                filesystem: Filesystem {
                    rootdirectory: DATA_DIRECTORY,
                },
                // Off, what expires is never removed, and turning it on later does not catch up.
                delete: Enabled { enabled: true },
            },
            http: Http {
                addr: format!(":{PORT}"),
                draintimeout: format!("{DRAIN_SECONDS}s"),
                debug: Debug {
                    addr: format!(":{METRICS_PORT}"),
                    prometheus: Enabled { enabled: true },
                },
            },
            health: Health {
                storagedriver: StorageDriver {
                    enabled: true,
                    interval: "10s",
                    threshold: 3,
                },
            },
            proxy: Proxy {
                remoteurl: upstream.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixtures::{shared_site, site};

    #[test]
    fn several_upstreams_are_too_many() {
        assert!(matches!(
            Distribution.config(&shared_site()),
            Err(Error::NotOneUpstream { count: 2, .. })
        ));
    }

    #[test]
    fn configuration_is_a_pull_through_cache_of_one_upstream() {
        let file = Distribution.config(&site()).unwrap();
        assert_eq!(
            file.text,
            "\
version: 0.1
log:
  level: info
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: /var/lib/registry
  delete:
    enabled: true
http:
  addr: :5000
  draintimeout: 25s
  debug:
    addr: :5001
    prometheus:
      enabled: true
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
proxy:
  remoteurl: https://upstream.example
"
        );
    }
}
