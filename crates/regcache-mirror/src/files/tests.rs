//! Tables of `path -> content` before and after, on a real file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rstest::rstest;

use super::*;

/// What is below `root`: files with content, directories with a slash, links with their target.
pub(super) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(root, "", &mut found);
    found
}

fn collect(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            found.insert(name, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
        } else if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
            found.insert(format!("{name}/"), String::new());
        } else {
            found.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// Lays out `entries`: a name with a trailing slash is a directory, a content `-> x` a symlink.
fn lay_out(root: &Path, entries: &[(&str, &str)]) {
    for (name, content) in entries {
        let path = root.join(name.trim_end_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else if let Some(target) = content.strip_prefix("-> ") {
            symlink(target, path).unwrap();
        } else {
            fs::write(path, content).unwrap();
        }
    }
}

pub(super) fn publication(host: &str, ca: &str) -> Publication {
    Publication {
        host: host.into(),
        server: format!("https://{host}"),
        port: 21500,
        ca_pem: ca.into(),
    }
}

/// The tree after `publication` alone.
pub(super) fn published(publication: &Publication) -> BTreeMap<String, String> {
    let host = &publication.host;
    BTreeMap::from([
        (format!("{host}/"), String::new()),
        (format!("{host}/hosts.toml"), publication.text()),
        (
            format!("{host}/{}", publication.instance().ca_file()),
            publication.ca_pem.clone(),
        ),
    ])
}

pub(super) fn remove_all(certs: &CertsDir) {
    for dir in certs.scan().unwrap() {
        if let Some(withdrawn) = certs.withdraw(&dir, Whose::Any).unwrap() {
            certs.finish_withdraw(&withdrawn).unwrap();
        }
    }
}

fn certs(root: &Path) -> CertsDir {
    CertsDir::new(root, "/etc/containerd/certs.d")
}

#[rstest]
#[case("docker.io")]
#[case("registry.corp:5000")]
fn publish_then_withdraw_leaves_nothing(#[case] host: &str) {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let publication = publication(host, "ca one");
    assert!(certs.publish(&publication).unwrap().wrote);
    assert_eq!(tree(root.path()), published(&publication));
    remove_all(&certs);
    assert_eq!(tree(root.path()), BTreeMap::new());
}

#[test]
fn second_publish_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let publication = publication("docker.io", "ca");
    certs.publish(&publication).unwrap();
    let path = root.path().join("docker.io/hosts.toml");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    assert!(!certs.publish(&publication).unwrap().wrote);
    assert!(certs.is_published(&publication).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

/// What somebody else may have there, and the file that the message has to name.
#[rstest]
#[case::their_file(&[("docker.io/hosts.toml", "server = \"https://a\"")], "docker.io/hosts.toml")]
#[case::server_only(&[("docker.io/hosts.toml", "")], "docker.io/hosts.toml")]
#[case::docker_certificates(&[("docker.io/ca.crt", "pem")], "docker.io/ca.crt")]
#[case::docker_client_pair(&[("docker.io/a.cert", "pem"), ("docker.io/a.key", "pem")], "docker.io/a.cert")]
#[case::somebodys_ca(&[("docker.io/ca-0123456789abcdef.pem", "pem")], "docker.io/ca-0123456789abcdef.pem")]
#[case::a_directory_inside(&[("docker.io/x/", "")], "docker.io/x")]
#[case::hosts_toml_is_a_directory(&[("docker.io/hosts.toml/", "")], "docker.io/hosts.toml")]
#[case::a_file_instead_of_the_directory(&[("docker.io", "x")], "docker.io")]
#[case::linked_directory(&[("elsewhere/", ""), ("docker.io", "-> elsewhere")], "docker.io")]
#[case::dangling_link(&[("docker.io", "-> nowhere")], "docker.io")]
#[case::linked_hosts_toml(&[("x", "text"), ("docker.io/hosts.toml", "-> ../x")], "docker.io/hosts.toml")]
#[case::linked_ca(&[("docker.io/ca-0123456789abcdef.pem", "-> /etc/passwd")], "docker.io/ca-0123456789abcdef.pem")]
#[case::default_for_all(&[("_default/hosts.toml", "x")], "_default")]
#[case::spegel(&[("_backup/docker.io/hosts.toml", "x")], "_backup")]
fn what_is_somebody_elses_stays_byte_for_byte(#[case] before: &[(&str, &str)], #[case] named: &str) {
    let root = tempfile::tempdir().unwrap();
    lay_out(root.path(), before);
    let expected = tree(root.path());
    let certs = certs(root.path());
    let error = certs.publish(&publication("docker.io", "ca")).unwrap_err();
    assert!(matches!(error, FilesError::Conflict(_)), "{error}");
    assert!(
        error.to_string().contains(&format!("/etc/containerd/certs.d/{named} ")),
        "{error}"
    );
    assert!(matches!(certs.inspect("docker.io").unwrap(), Found::Foreign(_)));
    remove_all(&certs);
    assert_eq!(tree(root.path()), expected);
}

#[rstest]
#[case("registry.corp:5000", "registry.corp_5000_/hosts.toml", true)]
#[case("registry.corp:5000", "registry.corp:5000/hosts.toml", true)]
#[case("registry.corp:5000", "registry.corp/hosts.toml", false)]
#[case("registry.corp", "registry.corp_5000_/hosts.toml", false)]
fn both_spellings_of_a_port_count(#[case] host: &str, #[case] theirs: &str, #[case] conflict: bool) {
    let root = tempfile::tempdir().unwrap();
    lay_out(root.path(), &[(theirs, "x")]);
    let result = certs(root.path()).publish(&publication(host, "ca"));
    assert_eq!(matches!(result, Err(FilesError::Conflict(_))), conflict);
}

#[test]
fn an_empty_directory_is_used() {
    let root = tempfile::tempdir().unwrap();
    lay_out(root.path(), &[("docker.io/", "")]);
    assert_eq!(certs(root.path()).inspect("docker.io").unwrap(), Found::Absent);
    assert!(
        certs(root.path())
            .publish(&publication("docker.io", "ca"))
            .unwrap()
            .wrote
    );
}

#[test]
fn a_foreign_file_that_appears_beside_ours_survives_the_withdrawal() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    certs.publish(&publication("docker.io", "ca")).unwrap();
    lay_out(root.path(), &[("docker.io/ca.crt", "theirs")]);
    assert!(matches!(
        certs.inspect("docker.io").unwrap(),
        Found::Foreign(Conflict::ForeignEntry { .. })
    ));
    remove_all(&certs);
    let expected = [("docker.io/", ""), ("docker.io/ca.crt", "theirs")];
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    assert_eq!(tree(root.path()), expected);
}

#[test]
fn a_file_that_somebody_replaced_is_theirs_and_our_ca_goes() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    certs.publish(&publication("docker.io", "ca")).unwrap();
    lay_out(root.path(), &[("docker.io/hosts.toml", "theirs")]);
    remove_all(&certs);
    assert_eq!(
        tree(root.path()).get("docker.io/hosts.toml").map(String::as_str),
        Some("theirs")
    );
    assert_eq!(tree(root.path()).len(), 2);
}

#[test]
fn the_successors_file_survives_its_predecessors_end() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let (old, new) = (publication("docker.io", "old"), publication("docker.io", "new"));
    let dir = HostDir::of("docker.io").unwrap();
    certs.publish(&old).unwrap();
    // The old one has been told to stop and has unlinked; the new one publishes before the old one finishes.
    let leaving = certs.withdraw(&dir, Whose::Instance(&old.instance())).unwrap().unwrap();
    certs.publish(&new).unwrap();
    certs.finish_withdraw(&leaving).unwrap();
    assert_eq!(tree(root.path()), published(&new));
}

#[test]
fn a_predecessor_that_is_late_finds_nothing_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let (old, new) = (publication("docker.io", "old"), publication("docker.io", "new"));
    let dir = HostDir::of("docker.io").unwrap();
    certs.publish(&old).unwrap();
    let stale = certs.publish(&new).unwrap().stale;
    assert_eq!(stale, [old.instance()]);
    // Its CA is still there for pulls that have read the old file, and goes with it.
    let leaving = certs.withdraw(&dir, Whose::Instance(&old.instance())).unwrap().unwrap();
    certs.finish_withdraw(&leaving).unwrap();
    assert_eq!(tree(root.path()), published(&new));
    assert_eq!(certs.withdraw(&dir, Whose::Instance(&old.instance())).unwrap(), None);
}

#[test]
fn garbage_is_collected_but_never_the_ca_in_use() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let (old, new) = (publication("docker.io", "old"), publication("docker.io", "new"));
    certs.publish(&old).unwrap();
    let stale = certs.publish(&new).unwrap().stale;
    certs.collect_garbage("docker.io", &[new.instance()]).unwrap();
    assert_eq!(tree(root.path()).len(), 4);
    certs.collect_garbage("docker.io", &stale).unwrap();
    assert_eq!(tree(root.path()), published(&new));
}

#[test]
fn a_damaged_ca_or_text_is_repaired() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let publication = publication("docker.io", "ca");
    certs.publish(&publication).unwrap();
    lay_out(
        root.path(),
        &[(&format!("docker.io/{}", publication.instance().ca_file()), "")],
    );
    assert!(!certs.is_published(&publication).unwrap());
    assert!(certs.publish(&publication).unwrap().wrote);
    assert_eq!(tree(root.path()), published(&publication));
    let cut = publication.text().replace("dial_timeout", "#");
    lay_out(root.path(), &[("docker.io/hosts.toml", &cut)]);
    assert!(certs.publish(&publication).unwrap().wrote);
    assert_eq!(tree(root.path()), published(&publication));
}

#[test]
fn a_default_that_comes_later_is_a_conflict_and_ours_can_still_go() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    certs.publish(&publication("docker.io", "ca")).unwrap();
    lay_out(root.path(), &[("_default/hosts.toml", "x")]);
    assert!(matches!(
        certs.inspect("docker.io").unwrap(),
        Found::Foreign(Conflict::Default { .. })
    ));
    remove_all(&certs);
    assert_eq!(tree(root.path()).len(), 2);
}

#[test]
fn a_link_over_our_directory_leads_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let certs = certs(root.path());
    let publication = publication("docker.io", "ca");
    certs.publish(&publication).unwrap();
    fs::rename(root.path().join("docker.io"), root.path().join("moved")).unwrap();
    symlink("moved", root.path().join("docker.io")).unwrap();
    let before = tree(root.path());
    let dir = HostDir::of("docker.io").unwrap();
    assert_eq!(certs.withdraw(&dir, Whose::Any).unwrap(), None);
    assert!(certs.publish(&publication).is_err());
    certs.collect_garbage("docker.io", &[publication.instance()]).unwrap();
    assert_eq!(tree(root.path()), before);
}

#[test]
fn a_root_that_is_not_there_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let error = certs(&root.path().join("gone"))
        .publish(&publication("docker.io", "ca"))
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot open /etc/containerd/certs.d");
}

#[test]
fn permissions_let_containerd_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let publication = publication("docker.io", "ca");
    certs(root.path()).publish(&publication).unwrap();
    for name in [
        "docker.io/hosts.toml".to_owned(),
        format!("docker.io/{}", publication.instance().ca_file()),
    ] {
        let mode = fs::metadata(root.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444);
    }
}
