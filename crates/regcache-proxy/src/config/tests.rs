use std::path::Path;

use rstest::rstest;

use super::*;

const FULL: &str = r#"
listen: "[::]:5000"
admin: "[::]:5001"
store: {directory: /var/lib/regcache, maxBytes: 45GiB}
tls: {certificate: /tls/tls.crt, key: /tls/tls.key, clientCA: /tls/ca.crt}
upstreams:
- host: docker.io
  credentials: {usernameFile: /hub/username, passwordFile: /hub/password}
  ca: /hub/ca.crt
  realmHosts: [auth.corp]
  proxyURL: http://user:geheim@proxy.corp:3128
  tags: {maxAge: 1m, staleFor: 24h}
  repositories: {allow: ["library/*"], deny: [library/secret]}
  maxTransfers: 4
- host: registry.corp:5000
  url: http://registry.corp:5000/mirror
  credentials: {dockerConfigFile: /corp/config.json}
logFormat: text
"#;

#[test]
fn every_field_is_taken_up() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.listen.to_string(), "[::]:5000");
    assert_eq!(config.admin.unwrap().port(), 5001);
    assert_eq!(config.store.max_bytes, Some(45 << 30));
    assert_eq!(config.tls.unwrap().client_ca.unwrap(), Path::new("/tls/ca.crt"));
    assert_eq!(config.log_format, LogFormat::Text);
    let [hub, corp] = &config.upstreams[..] else {
        panic!("two upstreams");
    };
    assert_eq!(hub.url.as_str(), "https://registry-1.docker.io/");
    assert_eq!(hub.tags.max_age, Duration::from_secs(60));
    assert_eq!(hub.tags.stale_for, Duration::from_secs(24 * 3600));
    assert_eq!(hub.realm_hosts, ["auth.corp"]);
    assert_eq!(hub.max_transfers, 4);
    assert!(hub.repositories.permit("library/nginx") && !hub.repositories.permit("library/secret"));
    assert_eq!(corp.url.as_str(), "http://registry.corp:5000/mirror");
    assert_eq!(
        corp.credentials,
        Some(CredentialFiles::DockerConfig("/corp/config.json".into()))
    );
    assert_eq!((corp.tags, corp.max_transfers), (TAGS, MAX_TRANSFERS));
}

#[test]
fn what_is_needed_is_enough() {
    let config = parse("{listen: '127.0.0.1:0', store: {directory: s}, upstreams: [{host: ghcr.io}]}").unwrap();
    assert_eq!(config.admin, None);
    assert_eq!(config.store.max_bytes, None);
    assert_eq!(
        config.upstreams,
        [UpstreamConfig::new(
            "ghcr.io".into(),
            "https://ghcr.io".parse().unwrap()
        )]
    );
}

#[test]
fn passwords_in_urls_are_never_shown() {
    let config = parse(FULL).unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
    let wrong = FULL.replace("http://user:geheim@proxy.corp:3128", "user:geheim@proxy.corp");
    assert!(!parse(&wrong).unwrap_err().to_string().contains("geheim"));
    let wrong = FULL.replace("http://registry.corp:5000/mirror", "http://user:geheim@registry.corp");
    let message = parse(&wrong).unwrap_err().to_string();
    assert!(
        message.starts_with("upstreams[1].url:") && !message.contains("geheim"),
        "{message}"
    );
}

/// The whole message, causes included.
fn message(text: &str) -> String {
    watch::chain(&parse(text).unwrap_err())
}

#[rstest]
#[case("[::]:5000", "5000", "listen: \"5000\" is not an address with port")]
#[case("admin: \"[::]:5001\"", "admin: '[::]:5000'", "admin: the same address as listen")]
#[case("/var/lib/regcache", "''", "store.directory: empty")]
#[case(
    "45GiB",
    "45 apples",
    "store.maxBytes: \"45 apples\" is not a size: write for example 20GiB"
)]
#[case("45GiB", "0", "store.maxBytes: \"0\" keeps nothing")]
#[case("45GiB", "99999999TiB", "store.maxBytes:")]
#[case(
    "docker.io",
    "Docker.io",
    "upstreams[0].host: \"Docker.io\" is not a registry's host"
)]
#[case("docker.io", "docker.io/library", "upstreams[0].host:")]
#[case(
    "docker.io",
    "registry.corp:5000",
    "upstreams[1].host: \"registry.corp:5000\" is there already"
)]
#[case(
    "http://registry.corp",
    "ftp://registry.corp",
    "upstreams[1].url: \"ftp://registry.corp:5000/mirror\""
)]
#[case("5000/mirror", "5000/?a=b", "upstreams[1].url:")]
#[case(
    "usernameFile: /hub/username, ",
    "",
    "upstreams[0].credentials: write usernameFile and passwordFile"
)]
#[case("[auth.corp]", "[auth.corp, 'https://x']", "upstreams[0].realmHosts[1]:")]
#[case("maxAge: 1m", "maxAge: 60", "upstreams[0].tags.maxAge: \"60\" is not a duration")]
#[case("staleFor: 24h", "staleFor: 999999h", "upstreams[0].tags.staleFor:")]
#[case("library/*", "Library/*", "upstreams[0].repositories.allow[0]:")]
#[case("maxTransfers: 4", "maxTransfers: 0", "upstreams[0].maxTransfers: 0 is not possible")]
#[case("logFormat: text", "logFormat: xml", "logFormat: \"xml\" is not a log format")]
#[case("maxTransfers", "maxTransfer", "unknown field `maxTransfer`")]
#[case("clientCA", "clientCa", "unknown field `clientCa`")]
#[case("certificate: /tls/tls.crt, ", "", "missing field `certificate`")]
fn mistakes_are_named_with_the_field_and_the_way_out(#[case] right: &str, #[case] wrong: &str, #[case] says: &str) {
    assert!(FULL.contains(right));
    let message = message(&FULL.replacen(right, wrong, 1));
    assert!(message.contains(says), "{message}");
}

#[test]
fn no_upstream_and_too_many_are_refused() {
    let with = |list: String| format!("{{listen: '127.0.0.1:1', store: {{directory: s}}, upstreams: [{list}]}}");
    assert!(message(&with(String::new())).starts_with("upstreams: empty"));
    let many: Vec<_> = (0..65).map(|number| format!("{{host: h{number}}}")).collect();
    assert!(message(&with(many.join(","))).starts_with("upstreams: more than 64"));
}

#[rstest]
#[case("1048576", 1 << 20)]
#[case("20GiB", 20 << 30)]
#[case("20Gi", 20 << 30)]
#[case("5 MB", 5_000_000)]
#[case("1TiB", 1 << 40)]
fn sizes_are_read(#[case] text: &str, #[case] bytes: u64) {
    assert_eq!(size(text), Ok(bytes));
}

#[rstest]
#[case("docker.io", true)]
#[case("registry.corp:5000", true)]
#[case("localhost", true)]
#[case("10.0.0.1:80", true)]
#[case("[fd00::1]:5000", true)]
#[case("[fd00::1]", true)]
#[case("", false)]
#[case("a..b", false)]
#[case("-a", false)]
#[case("a:0", false)]
#[case("a:+1", false)]
#[case("a:70000", false)]
#[case("a:", false)]
#[case("a_b", false)]
#[case("[::zz]", false)]
fn hosts_are_those_of_image_names(#[case] text: &str, #[case] fits: bool) {
    assert_eq!(values::host(text).is_ok(), fits);
}

#[test]
fn upstream_flags_are_read() {
    let (host, url) = upstream_flag("docker.io=https://registry-1.docker.io").unwrap();
    assert_eq!(
        (host.as_str(), url.as_str()),
        ("docker.io", "https://registry-1.docker.io/")
    );
    assert_eq!(
        upstream_flag("docker.io").unwrap().1.as_str(),
        "https://registry-1.docker.io/"
    );
    assert_eq!(upstream_flag("a=http://127.0.0.1:1").unwrap().1.scheme(), "http");
    assert!(upstream_flag("a=b").unwrap_err().contains("write for example"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}") {
        let _ = parse(&text);
        let _ = size(&text);
        let _ = upstream_flag(&text);
    }
}
