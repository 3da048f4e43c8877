//! The few keys of containerd's config that decide about `hosts.toml`.

use toml::{Table, Value};

/// The CRI registry's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registry {
    /// As it is written: one directory, or several with colons between.
    pub config_path: Option<String>,
    /// Whether there are mirrors of the old kind.
    pub mirrors: bool,
}

impl Registry {
    /// Looks in the table that the file's version reads: containerd 2.x ignores the old one in a `version = 3` file.
    pub fn of(config: &Table) -> Self {
        let version = config.get("version").and_then(Value::as_integer).unwrap_or(1);
        let plugins: &[&str] = match version {
            ..=1 => &["cri", "io.containerd.grpc.v1.cri"],
            2 => &["io.containerd.grpc.v1.cri"],
            _ => &["io.containerd.cri.v1.images"],
        };
        let registry = plugins
            .iter()
            .find_map(|plugin| config.get("plugins")?.get(plugin)?.get("registry")?.as_table());
        let Some(registry) = registry else {
            return Self::default();
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            config_path: registry.get("config_path").and_then(text),
            mirrors: registry
                .get("mirrors")
                .and_then(Value::as_table)
                .is_some_and(|mirrors| !mirrors.is_empty()),
        }
    }

    /// What an imported file says comes on top.
    pub fn merge(&mut self, import: Self) {
        self.mirrors |= import.mirrors;
        self.config_path = import.config_path.or(self.config_path.take());
    }
}

/// The file patterns that the config imports.
pub(super) fn imports(config: &Table) -> Vec<String> {
    let list = config.get("imports").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
