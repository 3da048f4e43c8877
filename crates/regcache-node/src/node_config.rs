//! Reads the node's containerd config and says what keeps containerd from using `hosts.toml`. Never edits anything.
//!
//! Files are published all the same: they are harmless where they are not read, and work as soon as the config is put
//! right. The node counts as unsupported until then, by a finding.

use std::path::{Path, PathBuf};

use crate::state::Finding;

mod table;

use table::Registry;

/// The directory in which the config lies on the node, where imports are named absolutely.
const USUAL_DIR: &str = "/etc/containerd";

/// Where things are.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// containerd's config as this process sees it.
    pub config: PathBuf,
    /// The directory that we publish into, as the node knows it.
    pub certs_dir: PathBuf,
}

impl NodeConfig {
    /// What is wrong; empty: nothing.
    pub fn findings(&self) -> Vec<Finding> {
        match self.read() {
            Ok(registry) => judge(&registry, &self.certs_dir),
            Err(finding) => vec![finding],
        }
    }

    /// The registry settings of the config and its imports.
    fn read(&self) -> Result<Registry, Finding> {
        let text = std::fs::read_to_string(&self.config).map_err(|error| {
            finding(
                "config-unreadable",
                format!(
                    "containerd's config {} cannot be read ({error}), so nobody knows whether hosts.toml is used; set \
                     the chart's node.containerdConfig to its path on the node",
                    self.config.display()
                ),
            )
        })?;
        let unparsable = |path: &Path, error: &toml::de::Error| {
            let message = format!(
                "containerd's config {} is not valid TOML ({})",
                path.display(),
                error.message()
            );
            finding("config-invalid", message)
        };
        let main: toml::Table = text.parse().map_err(|error| unparsable(&self.config, &error))?;
        let mut registry = Registry::of(&main);
        for pattern in table::imports(&main) {
            for path in self.import(&pattern) {
                let Ok(text) = std::fs::read_to_string(&path) else {
                    continue;
                };
                let import: toml::Table = text.parse().map_err(|error| unparsable(&path, &error))?;
                registry.merge(Registry::of(&import));
            }
        }
        Ok(registry)
    }

    /// The files that an import means. Only what lies beside or below the config can be seen from here.
    fn import(&self, pattern: &str) -> Vec<PathBuf> {
        let Some(base) = self.config.parent() else {
            return Vec::new();
        };
        let pattern = Path::new(pattern);
        let inside = pattern.strip_prefix(USUAL_DIR).unwrap_or(pattern);
        if inside.is_absolute() || inside.components().any(|part| part == std::path::Component::ParentDir) {
            return Vec::new();
        }
        let path = base.join(inside);
        let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let Some((before, after)) = name.split_once('*') else {
            return vec![path];
        };
        let fits =
            |name: &str| name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
        let entries = path
            .parent()
            .and_then(|dir| std::fs::read_dir(dir).ok())
            .into_iter()
            .flatten()
            .flatten();
        let mut found: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_str().is_some_and(fits))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        found
    }
}

/// What `registry` means for files in `certs_dir`. Pure.
fn judge(registry: &Registry, certs_dir: &Path) -> Vec<Finding> {
    let ours = certs_dir.display();
    let mut findings = Vec::new();
    if registry.mirrors {
        findings.push(finding(
            "legacy-mirrors",
            "containerd's config has registry mirrors of the old kind, which exclude config_path; move them into \
             hosts.toml files and restart containerd",
        ));
    }
    let path = registry.config_path.as_deref().unwrap_or_default();
    let roots: Vec<&str> = path.split(':').filter(|root| !root.is_empty()).collect();
    let fix =
        format!("set config_path = \"{ours}\" for the CRI registry in containerd's config and restart containerd");
    match roots.as_slice() {
        [] => findings.push(finding(
            "no-config-path",
            format!("containerd's config sets no config_path, so containerd ignores every hosts.toml; {fix}"),
        )),
        [one] if Path::new(one) == certs_dir => {}
        [one] => findings.push(finding(
            "other-config-path",
            format!(
                "containerd reads hosts.toml from {one}, regcache writes into {ours}; set the chart's node.certsDir to {one}, or \
                 {fix}"
            ),
        )),
        _ => findings.push(finding(
            "several-config-paths",
            format!(
                "containerd's config_path names several directories ({path}), which containerd 2.1 and later take for \
                 one that does not exist; {fix}"
            ),
        )),
    }
    findings
}

fn finding(id: &str, message: impl Into<String>) -> Finding {
    Finding {
        id: id.into(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let config = NodeConfig {
            config: dir.path().join("config.toml"),
            certs_dir: "/etc/containerd/certs.d".into(),
        };
        config.findings().into_iter().map(|finding| finding.id).collect()
    }

    const V1: &str = "[plugins.cri.registry]\nconfig_path = \"/etc/containerd/certs.d\"";
    const V2: &str =
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d/\"";
    const V3: &str =
        "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d\"";

    #[rstest]
    #[case::old(V1, &[])]
    #[case::one_x(V2, &[])]
    #[case::two_x(V3, &[])]
    #[case::old_table_in_a_new_file(&V2.replace("version = 2", "version = 3"), &["no-config-path"])]
    #[case::empty("", &["no-config-path"])]
    #[case::not_toml("[", &["config-invalid"])]
    #[case::empty_value(&V3.replace("/etc/containerd/certs.d", ""), &["no-config-path"])]
    #[case::two_roots(
        &V3.replace("/etc/containerd/certs.d", "/etc/containerd/certs.d:/etc/docker/certs.d"),
        &["several-config-paths"])]
    #[case::elsewhere(&V3.replace("/etc/containerd", "/etc/cri"), &["other-config-path"])]
    #[case::mirrors(
        &format!("{V2}\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = []"),
        &["legacy-mirrors"])]
    #[case::empty_mirrors(&format!("{V2}\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]"), &[])]
    fn configs(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(findings(&[("config.toml", text)]), expected);
    }

    #[test]
    fn a_missing_config_is_a_finding() {
        assert_eq!(findings(&[]), ["config-unreadable"]);
    }

    #[rstest]
    #[case("/etc/containerd/conf.d/*.toml", "conf.d/50-registry.toml", &[])]
    #[case("conf.d/*.toml", "conf.d/50-registry.toml", &[])]
    #[case("conf.d/50-registry.toml", "conf.d/50-registry.toml", &[])]
    #[case("/etc/containerd/conf.d/*.toml", "conf.d/50-registry.conf", &["no-config-path"])]
    #[case("../*.toml", "conf.d/50-registry.toml", &["no-config-path"])]
    #[case("/elsewhere/*.toml", "conf.d/50-registry.toml", &["no-config-path"])]
    fn imports_count(#[case] pattern: &str, #[case] name: &str, #[case] expected: &[&str]) {
        let main = format!("version = 3\nimports = [\"{pattern}\"]");
        assert_eq!(findings(&[("config.toml", &main), (name, V3)]), expected);
    }

    #[test]
    fn messages_name_the_fix() {
        let registry = Registry {
            config_path: Some("/etc/cri/certs.d".into()),
            mirrors: false,
        };
        let findings = judge(&registry, Path::new("/etc/containerd/certs.d"));
        assert_eq!(
            findings[0].message,
            "containerd reads hosts.toml from /etc/cri/certs.d, regcache writes into /etc/containerd/certs.d; set \
             the chart's node.certsDir to /etc/cri/certs.d, or set config_path = \"/etc/containerd/certs.d\" for the CRI registry \
             in containerd's config and restart containerd"
        );
    }
}
