//! What each server is told, so that all do the same.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use super::{Kind, NAMESPACE, Setup};

/// Writes the server's configuration into its directory and returns its arguments.
pub fn write(
    kind: Kind,
    directory: &Path,
    store: &Path,
    address: SocketAddr,
    admin: SocketAddr,
    setup: &Setup,
) -> Result<Vec<String>> {
    let (upstream, budget) = (setup.upstream, setup.budget_mib);
    let tls = setup
        .tls
        .as_ref()
        .map(|tls| (tls.certificate.display(), tls.key.display()));
    let file = directory.join("config");
    let store = store.display();
    let (text, arguments) = match (kind, tls) {
        (Kind::Direct, _) => return Ok(Vec::new()),
        (Kind::Regcache, None) => {
            let arguments = format!(
                "--listen {address} --admin {admin} --store {store} --max-bytes {budget}MiB \
                 --upstream {NAMESPACE}=http://{upstream}"
            );
            return Ok(arguments.split(' ').map(str::to_owned).collect());
        }
        (Kind::Regcache, Some((certificate, key))) => (
            format!(
                "listen: \"{address}\"\nadmin: \"{admin}\"\nstore: {{directory: \"{store}\", maxBytes: {budget}MiB}}\n\
                 tls: {{certificate: \"{certificate}\", key: \"{key}\"}}\n\
                 upstreams:\n- host: {NAMESPACE}\n  url: http://{upstream}\n"
            ),
            vec!["--config".to_owned(), file.display().to_string()],
        ),
        (Kind::Distribution, tls) => {
            let tls = tls.map_or(String::new(), |(certificate, key)| {
                format!("  tls: {{certificate: \"{certificate}\", key: \"{key}\"}}\n")
            });
            (
                format!(
                    "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                     storage:\n  filesystem: {{rootdirectory: \"{store}\", maxthreads: 100}}\n  delete: {{enabled: true}}\n\
                     http:\n  addr: {address}\n{tls}proxy: {{remoteurl: \"http://{upstream}\"}}\n"
                ),
                vec!["serve".to_owned(), file.display().to_string()],
            )
        }
        (Kind::Nginx | Kind::Files, tls) => {
            let base = directory.display().to_string();
            let listen = tls.map_or(format!("listen {address};"), |(certificate, key)| {
                format!("listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};")
            });
            let serving = if kind == Kind::Files {
                format!("root {store}; location = / {{ return 200 ok; }}")
            } else {
                nginx_cache(upstream)
            };
            let text = nginx(&base, &store.to_string(), budget, upstream, &listen, &serving);
            // The first log is opened before the configuration is read.
            let log = directory.join("error.log").display().to_string();
            (
                text,
                vec![
                    "-p".into(),
                    base,
                    "-e".into(),
                    log,
                    "-c".into(),
                    file.display().to_string(),
                ],
            )
        }
    };
    fs::write(&file, text)?;
    Ok(arguments)
}

/// nginx around what it serves. Two workers, as this kind of machine has processors.
fn nginx(base: &str, store: &str, budget: u64, upstream: SocketAddr, listen: &str, serving: &str) -> String {
    format!(
        "daemon off;\nworker_processes 2;\nworker_rlimit_nofile 65536;\npid {base}/pid;\nerror_log {base}/error.log crit;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;\n\
         client_body_temp_path {base}/t1; proxy_temp_path {base}/t2; fastcgi_temp_path {base}/t3;\n\
         uwsgi_temp_path {base}/t4; scgi_temp_path {base}/t5;\n\
         proxy_cache_path {store} levels=1:2 keys_zone=cache:64m max_size={budget}m inactive=60d use_temp_path=off;\n\
         upstream registry {{ server {upstream}; keepalive 32; }}\n\
         server {{ {listen} {serving} }}\n\
         }}\n"
    )
}

/// The best that `proxy_cache` is known to do for a registry: one fetch per object, stale tags when upstream fails.
fn nginx_cache(upstream: SocketAddr) -> String {
    let common = format!(
        "proxy_pass http://registry; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_set_header Host {upstream}; proxy_cache cache; proxy_cache_key $uri; proxy_cache_lock on; \
         proxy_cache_lock_timeout 900s; proxy_cache_lock_age 900s; proxy_ignore_client_abort on; proxy_force_ranges on; \
         proxy_read_timeout 25s;"
    );
    format!(
        "location / {{ {common} proxy_cache_valid 200 206 60d; }}\n\
         location = /v2/ {{ return 200 ok; }}\n\
         location ~ \"/manifests/[^:]+$\" {{ {common} proxy_cache_valid 200 1s; \
         proxy_cache_use_stale error timeout updating http_429 http_500 http_502 http_503 http_504; }}"
    )
}
