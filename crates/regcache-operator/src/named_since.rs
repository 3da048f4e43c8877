//! Since when a running cache's configuration names an upstream: how the two controllers tell each other.
//!
//! A cache of several upstreams takes up a changed configuration without a restart, some time after the ConfigMap
//! changed (the kubelet has to hand it out), and tells nobody when. A plan must not name it for an upstream earlier. So
//! the cache controller notes on the ConfigMap when each upstream came in, and the nodes controller waits. What was
//! there before the first pod needs no time: a pod starts with the configuration as it is then.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use regcache_api::labels::NAMED_SINCE;

/// By host: since when the configuration names it; nothing: since before the first pod.
pub type NamedSince = BTreeMap<String, Option<Timestamp>>;

/// What the ConfigMap of a cache says. A note that cannot be read says nothing: all of it is noted anew.
pub fn read(config_map: &ConfigMap) -> NamedSince {
    let text = config_map.annotations().get(NAMED_SINCE);
    let noted = text.and_then(|text| serde_json::from_str::<BTreeMap<String, Option<String>>>(text).ok());
    noted
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(host, since)| match since {
            None => Some((host, None)),
            Some(since) => Some((host, Some(since.parse().ok()?))),
        })
        .collect()
}

/// The note for `hosts`: those that `before` has keep their time, the others came `now`.
pub fn note<'a>(hosts: impl IntoIterator<Item = &'a str>, before: &NamedSince, now: Option<Timestamp>) -> String {
    let noted: BTreeMap<&str, Option<String>> = hosts
        .into_iter()
        .map(|host| {
            let since = before.get(host).copied().unwrap_or(now);
            (host, since.map(|since| since.to_string()))
        })
        .collect();
    // A map of texts can always be written; an empty note would only be written anew.
    serde_json::to_string(&noted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(text: String) -> ConfigMap {
        let mut config_map = ConfigMap::default();
        config_map.annotations_mut().insert(NAMED_SINCE.into(), text);
        config_map
    }

    #[test]
    fn each_upstream_keeps_its_own_time() {
        let at = |second| Timestamp::from_second(second).ok();
        let first = note(["a", "b"], &NamedSince::new(), None);
        assert_eq!(first, r#"{"a":null,"b":null}"#);
        let second = note(["b", "c"], &read(&config_map(first)), at(5));
        let third = note(["b", "c", "d"], &read(&config_map(second)), at(9));
        let wanted: NamedSince = [("b".into(), None), ("c".into(), at(5)), ("d".into(), at(9))].into();
        assert_eq!(read(&config_map(third)), wanted);
    }

    #[test]
    fn what_cannot_be_read_is_noted_anew() {
        for text in ["", "[]", r#"{"a":7}"#, r#"{"a":"soon"}"#] {
            assert_eq!(read(&config_map(text.into())), NamedSince::new(), "{text}");
        }
        assert_eq!(read(&ConfigMap::default()), NamedSince::new());
    }
}
