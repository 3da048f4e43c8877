use rstest::rstest;

use super::*;
use crate::config::{Source, Watch, parse};

#[rstest]
#[case(r#"{"auths":{"ghcr.io":{"auth":"dXNlcjpwYXNzOndvcmQ="}}}"#, "ghcr.io")]
#[case(
    r#"{"auths":{"https://ghcr.io/v2/":{"username":"user","password":"pass:word"}}}"#,
    "ghcr.io"
)]
#[case(
    r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNzOndvcmQ"}}}"#,
    "docker.io"
)]
#[case(
    r#"{"auths":{"other":{},"ghcr.io":{"auth":"dXNlcjpwYXNzOndvcmQ=","email":"x"}},"credsStore":"x"}"#,
    "ghcr.io"
)]
fn logins_are_found_as_docker_and_kubernetes_write_them(#[case] file: &str, #[case] host: &str) {
    let login = docker_login(file.as_bytes(), host).unwrap();
    assert_eq!(
        (login.username.as_str(), login.password.as_str()),
        ("user", "pass:word")
    );
}

#[rstest]
#[case("{}", "has no auths entry for ghcr.io")]
#[case(r#"{"auths":{"ghcr.io.evil":{"auth":"dTpw"}}}"#, "has no auths entry for ghcr.io")]
#[case(r#"{"auths":{"ghcr.io":{"auth":"dTpw!"}}}"#, "without user name and password")]
#[case(r#"{"auths":{"ghcr.io":{"auth":"c2VjcmV0"}}}"#, "without user name and password")]
#[case("secret", "is not a docker config.json")]
fn logins_that_are_none_are_refused_without_being_repeated(#[case] file: &str, #[case] says: &str) {
    let message = docker_login(file.as_bytes(), "ghcr.io").unwrap_err();
    assert!(message.contains(says) && !message.contains("secret"), "{message}");
}

/// A configuration in a directory of its own, with a password in a file.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("username", "user\n");
        files.write("password", "geheim\n");
        let directory = files.0.path().display().to_string();
        files.write(
            "config.yaml",
            &format!(
                "{{listen: '127.0.0.1:0', store: {{directory: {directory}}}, upstreams: [{{host: ghcr.io, credentials: \
                 {{usernameFile: {directory}/username, passwordFile: {directory}/password}}}}]}}"
            ),
        );
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn source(&self) -> Source {
        Source::File(self.0.path().join("config.yaml"))
    }
}

#[test]
fn secrets_are_read_and_never_shown() {
    let loaded = Files::new().source().read().unwrap();
    assert_eq!(loaded.upstreams[0].login.as_ref().unwrap().password, "geheim");
    assert!(!format!("{loaded:?}").contains("geheim"));
}

#[test]
fn unusable_files_are_named_with_their_field() {
    let files = Files::new();
    let message = || files.source().read().unwrap_err().to_string();
    files.write("password", "two\nlines");
    assert!(
        message().starts_with("upstreams[0].credentials.passwordFile:"),
        "{}",
        message()
    );
    files.write("password", "");
    assert!(message().contains("is not one line of text"), "{}", message());
    std::fs::remove_file(files.0.path().join("password")).unwrap();
    assert!(message().contains("passwordFile: cannot read"), "{}", message());
    let config = parse(&format!(
        "{{listen: '127.0.0.1:0', store: {{directory: s}}, upstreams: [{{host: a, ca: {}}}]}}",
        files.0.path().join("large").display()
    ));
    files.write("large", &"x".repeat(2 << 20));
    assert!(
        load(config.unwrap())
            .unwrap_err()
            .to_string()
            .contains("larger than 1 MiB")
    );
}

#[tokio::test]
async fn changes_of_the_file_and_of_those_it_names_are_told_once() {
    let files = Files::new();
    let now = files.source().read().unwrap();
    let mut watch = Watch::new(files.source(), now, std::time::Duration::from_millis(1));
    files.write("password", "other");
    let changed = watch.changed().await.unwrap();
    assert_eq!(changed.upstreams[0].login.as_ref().unwrap().password, "other");
    files.write("config.yaml", "{listen: x}");
    assert!(watch.changed().await.is_err());
    // Not told again, and the next good one is.
    let again = tokio::time::timeout(std::time::Duration::from_millis(50), watch.changed()).await;
    assert!(again.is_err());
    let good = Files::new();
    files.write(
        "config.yaml",
        &std::fs::read_to_string(good.0.path().join("config.yaml")).unwrap(),
    );
    assert!(watch.changed().await.is_ok());
}
