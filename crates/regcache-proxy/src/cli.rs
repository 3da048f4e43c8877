//! The flags: a configuration file, or everything that a single proxy without Kubernetes needs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use regcache_runtime::args;
use regcache_runtime::telemetry::LogFormat;

use crate::config::{Config, Source, StoreConfig, TAGS, UpstreamConfig, duration, size, upstream_flag};

/// A pull-through cache for container registries: each blob is fetched once, and everybody has its first bytes at once.
#[derive(Debug, Parser)]
#[command(name = "regcache-proxy", version)]
pub struct Cli {
    /// A YAML file with everything, looked at again whenever it changes; instead of all other flags.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "listen", "admin", "store", "max_bytes", "upstream", "tag_max_age", "tag_stale_for", "log_format",
    ])]
    config: Option<PathBuf>,
    /// Where images are served [default: 127.0.0.1:5000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where health and metrics are served; nowhere when absent.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The directory of what is kept.
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    store: Option<PathBuf>,
    /// How much is kept at most, such as 20GiB; what the disk allows when absent.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// A registry as image names spell it, and where it is; can be given several times.
    #[arg(long, value_name = "HOST=URL", required_unless_present = "config")]
    // Not parsed by clap, which repeats what it does not understand: there may be a password in it.
    upstream: Vec<String>,
    /// For how long an answer about a tag is good without asking upstream, such as 1m [default: 0s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    tag_max_age: Option<Duration>,
    /// For how long it is good when upstream cannot be asked [default: 168h].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    tag_stale_for: Option<Duration>,
    /// How log lines look: json or text [default: json].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// How long everything is served after SIGTERM, while probes already fail.
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "10s", hide = true)]
    pub drain: Duration,
    /// How long bodies may take to finish after that.
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "30s", hide = true)]
    pub grace: Duration,
}

impl Cli {
    /// Where the configuration comes from.
    ///
    /// # Errors
    /// When the flags contradict one another.
    pub fn source(&self) -> Result<Source, String> {
        if let Some(file) = &self.config {
            return Ok(Source::File(file.clone()));
        }
        let mut upstreams: Vec<UpstreamConfig> = Vec::new();
        for text in &self.upstream {
            let (host, url) = upstream_flag(text).map_err(|problem| format!("--upstream: {problem}"))?;
            if upstreams.iter().any(|upstream| upstream.host == host) {
                return Err(format!("--upstream {host}: is there already, name each registry once"));
            }
            let mut upstream = UpstreamConfig::new(host, url);
            upstream.tags.max_age = self.tag_max_age.unwrap_or(TAGS.max_age);
            upstream.tags.stale_for = self.tag_stale_for.unwrap_or(TAGS.stale_for);
            upstreams.push(upstream);
        }
        Ok(Source::Flags(Box::new(Config {
            listen: self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5000))),
            admin: self.admin,
            store: StoreConfig {
                directory: self.store.clone().unwrap_or_default(),
                max_bytes: self.max_bytes,
            },
            tls: None,
            upstreams,
            log_format: self.log_format.unwrap_or_default(),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, String> {
        let words = format!("regcache-proxy {line}");
        let cli = Cli::try_parse_from(words.split_ascii_whitespace()).map_err(|error| error.to_string())?;
        match cli.source()? {
            Source::Flags(config) => Ok(*config),
            Source::File(file) => Err(format!("file {}", file.display())),
        }
    }

    #[test]
    fn flags_that_scripts_rely_on_are_understood() {
        let line = "--listen 127.0.0.1:5000 --admin 127.0.0.1:5001 --store DIR --max-bytes 20GiB \
                    --upstream docker.io=https://registry-1.docker.io --upstream corp:5000=http://127.0.0.1:9 \
                    --tag-max-age 1m --tag-stale-for 2h";
        let config = parse(line).unwrap();
        assert_eq!(config.listen.port(), 5000);
        assert_eq!(config.admin.unwrap().port(), 5001);
        assert_eq!(config.store.directory, PathBuf::from("DIR"));
        assert_eq!(config.store.max_bytes, Some(20 << 30));
        assert_eq!(config.upstreams[1].url.as_str(), "http://127.0.0.1:9/");
        assert_eq!(config.upstreams[1].tags.max_age, Duration::from_secs(60));
        assert_eq!(config.upstreams[0].tags.stale_for, Duration::from_secs(7200));
    }

    #[test]
    fn a_password_that_is_written_where_none_belongs_is_not_repeated() {
        for upstream in [
            "a.io=https://me:secret@a.io",
            "https://me:secret@a.io",
            "me:secret@a.io",
        ] {
            let error = parse(&format!("--store d --upstream {upstream}")).unwrap_err();
            assert!(error.contains("--upstream") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn little_is_needed_and_the_file_stands_alone() {
        let config = parse("--store d --upstream docker.io").unwrap();
        assert_eq!(
            (config.listen.to_string().as_str(), config.admin),
            ("127.0.0.1:5000", None)
        );
        assert_eq!(config.upstreams[0].tags, TAGS);
        assert_eq!(parse("--config a.yaml").unwrap_err(), "file a.yaml");
        for wrong in [
            "",
            "--store d",
            "--upstream docker.io",
            "--config a.yaml --store d",
            "--store d --upstream docker.io --max-bytes lots",
            "--store d --upstream docker.io --upstream docker.io",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
